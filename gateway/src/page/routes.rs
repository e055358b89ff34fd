//! Every endpoint, once: where it is, who may ask, from which side.
//!
//! The router is made of this table and of nothing else, so that a handler without a row can't be reached; what has no row is answered by
//! 404. Each row is behind the [gate], which holds a request to what the row says before the handler sees it.
//! `GET` changes nothing: whatever changes something is a `POST`, `PUT` or `DELETE`, and the gate asks more of those.
//!
//! A row for a view of people who are logged in:
//!
//! ```text
//! Row::view("/rules", "rules", "Rules and their hits", Who::LoggedIn, |on| method(on, rules_page)).with(&[LANG])
//! ```

use super::gate::{self, Gate};
use super::login;
use super::peer::Side;
use super::{CSS, SCRIPT, SVG};
use crate::access::Role;
use crate::control::Shared;
use crate::control::reports::Written;
use crate::control::snapshot::Snapshot;
use crate::control::told::{CharterNow, DeviceNow};
use crate::{alerts, past};
use axum::Router;
use axum::http::header::CONTENT_TYPE;
use axum::middleware;
use axum::routing::{MethodFilter, MethodRouter, on as method};
use glassgate_policy::explain::Explanation;
use glassgate_sealed::case::{Brief, Summary};
use schemars::{JsonSchema, Schema, SchemaGenerator};

/// An endpoint.
#[derive(Clone, Copy)]
pub(super) struct Row {
    pub(super) verb: Verb,
    /// As axum writes it: `{name}` stands for one segment.
    pub(super) path: &'static str,
    /// What it is called: `operationId` of the OpenAPI file, and in records.
    pub(super) name: &'static str,
    /// What it is for, in a line.
    pub(super) about: &'static str,
    pub(super) who: Who,
    pub(super) sides: Sides,
    pub(super) kind: Kind,
    /// What may stand in the query.
    pub(super) query: &'static [Param],
    /// Whether its form may be as long as any body.
    pub(super) long: bool,
    /// What it answers with, where that is JSON; where it is not a request, what it takes.
    pub(super) schema: Option<Describe>,
    handler: fn(MethodFilter) -> MethodRouter<Shared>,
}

/// Describes a type as JSON schema, and the types in it beside.
pub(super) type Describe = fn(&mut SchemaGenerator) -> Schema;

/// How it is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    /// And `HEAD`.
    Get,
    Post,
    Put,
    Delete,
}

impl Verb {
    /// As it stands in a request.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Delete => "DELETE",
        }
    }

    /// Whether it may change something.
    pub(super) const fn changes(self) -> bool {
        !matches!(self, Self::Get)
    }

    const fn filter(self) -> MethodFilter {
        match self {
            Self::Get => MethodFilter::GET,
            Self::Post => MethodFilter::POST,
            Self::Put => MethodFilter::PUT,
            Self::Delete => MethodFilter::DELETE,
        }
    }
}

/// Who may ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Who {
    /// Everybody who gets here.
    Anyone,
    /// Whoever is logged in, in whatever role.
    LoggedIn,
    /// Whoever is logged in in one of these roles.
    Only(&'static [Role]),
    /// Whoever is logged in, or reads `/metrics` with a token of their own.
    Scraper,
    /// Whoever pushes who has an address: they have a token of their own, which the handler looks at.
    Pusher,
}

impl Who {
    /// Whether somebody in this role may, or somebody who is not logged in.
    pub(super) fn admits(self, role: Option<Role>) -> bool {
        match self {
            Self::Anyone | Self::Pusher => true,
            Self::LoggedIn | Self::Scraper => role.is_some(),
            Self::Only(roles) => role.is_some_and(|role| roles.contains(&role)),
        }
    }
}

/// From which sides it may be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sides {
    Management,
    /// Also by the people whose traffic crosses the gateway.
    Both,
}

impl Sides {
    /// Whether a request from there may be answered.
    pub(super) fn admit(self, side: Side) -> bool {
        side == Side::Management || self == Self::Both
    }
}

/// What it answers with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A page for people: whoever is not logged in is shown where to.
    View,
    /// Data for programs, as this media type: in the OpenAPI file.
    Data(&'static str),
    /// Data without an end, which that file has no words for.
    Stream,
    /// A file that is the same for everybody.
    File(&'static str),
}

/// A parameter of a query.
#[derive(Clone, Copy, Debug)]
pub(super) struct Param {
    pub(super) name: &'static str,
    /// Its schema, as JSON.
    pub(super) schema: &'static str,
    pub(super) about: &'static str,
}

/// The language of a view.
pub(super) const LANG: Param = Param {
    name: "lang",
    schema: r#"{"type":"string","enum":["en","zh"]}"#,
    about: "The language; without it what the browser prefers",
};

/// A name that is asked about.
const NAME: Param = Param {
    name: "name",
    schema: r#"{"type":"string","maxLength":253}"#,
    about: "The name, as it would stand in a hello",
};

/// Of whom it is asked.
const GROUP: Param = Param {
    name: "group",
    schema: r#"{"type":"string","maxLength":64}"#,
    about: "As if its client were of this group of the directory",
};

pub(super) const JSON: &str = "application/json";
pub(super) const TEXT: &str = "text/plain; charset=utf-8";

impl Row {
    /// A page for people, on the management side.
    pub(super) const fn view(
        path: &'static str,
        name: &'static str,
        about: &'static str,
        who: Who,
        handler: fn(MethodFilter) -> MethodRouter<Shared>,
    ) -> Self {
        let (verb, sides, kind) = (Verb::Get, Sides::Management, Kind::View);
        Self { verb, path, name, about, who, sides, kind, query: &[], long: false, schema: None, handler }
    }

    /// Data for programs, on the management side.
    pub(super) const fn data(
        path: &'static str,
        name: &'static str,
        about: &'static str,
        who: Who,
        handler: fn(MethodFilter) -> MethodRouter<Shared>,
    ) -> Self {
        Self { kind: Kind::Data(JSON), ..Self::view(path, name, about, who, handler) }
    }

    /// A file for everybody, on both sides.
    const fn file(
        path: &'static str,
        name: &'static str,
        kind: &'static str,
        handler: fn(MethodFilter) -> MethodRouter<Shared>,
    ) -> Self {
        let view = Self::view(path, name, "Part of the pages", Who::Anyone, handler);
        Self { kind: Kind::File(kind), sides: Sides::Both, ..view }
    }

    /// What may stand in its query.
    pub(super) const fn with(self, query: &'static [Param]) -> Self {
        Self { query, ..self }
    }

    /// Asked in another way.
    pub(super) const fn by(self, verb: Verb) -> Self {
        Self { verb, ..self }
    }

    /// Takes a form that is longer than others: the text of a charter.
    pub(super) const fn long(self) -> Self {
        Self { long: true, ..self }
    }

    /// Answers with this type; a row that changes something takes it.
    pub(super) const fn of<T: JsonSchema>(self) -> Self {
        Self { schema: Some(SchemaGenerator::subschema_for::<T>), ..self }
    }

    /// Answers with another media type.
    pub(super) const fn answers(self, kind: &'static str) -> Self {
        Self { kind: Kind::Data(kind), ..self }
    }

    /// Also for the people whose traffic crosses the gateway.
    pub(super) const fn on_both_sides(self) -> Self {
        Self { sides: Sides::Both, ..self }
    }
}

/// Who holds shares of sealed records.
pub(super) const HOLDERS: &[Role] = &[Role::HumanResources, Role::DataProtectionOfficer, Role::WorksCouncil];
/// Who runs the gateway.
pub(super) const RUNNERS: &[Role] = &[Role::Operator, Role::Engineer];
/// Who may know that there are cases.
pub(super) const READERS_OF_CASES: &[Role] =
    &[Role::HumanResources, Role::DataProtectionOfficer, Role::WorksCouncil, Role::Auditor];

/// All endpoints.
pub(super) const ROUTES: &[Row] = &[
    Row::view("/", "now_page", "What the gateway does now", Who::LoggedIn, |on| method(on, super::page))
        .with(&[LANG]),
    Row::view("/traffic", "traffic_page", "What was counted over days", Who::LoggedIn, |on| {
        method(on, super::traffic_page)
    })
    .with(&[LANG]),
    Row::view(
        "/rules",
        "rules_page",
        "Rules, what they did, and why a name is treated as it is",
        Who::LoggedIn,
        |on| method(on, super::rules::view),
    )
    .with(&[LANG, NAME, GROUP]),
    Row::view("/rules/accept", "accept_list", "Take a list that is held", Who::Only(RUNNERS), |on| {
        method(on, super::rules::accept)
    })
    .by(Verb::Post),
    Row::view("/charter", "charter_page", "The charter that is installed", Who::LoggedIn, |on| {
        method(on, super::charter::view)
    })
    .with(&[LANG]),
    Row::view("/charter/new", "new_charter", "Write a charter, step by step", Who::LoggedIn, |on| {
        method(on, super::wizard::begin)
    })
    .with(&[LANG]),
    Row::view("/charter/draft", "draft_charter", "The next step of a charter", Who::LoggedIn, |on| {
        method(on, super::wizard::step)
    })
    .by(Verb::Post)
    .long(),
    Row::view("/charter/install", "install_charter", "Install what was signed", Who::Only(RUNNERS), |on| {
        method(on, super::wizard::install)
    })
    .by(Verb::Post)
    .long(),
    Row::view("/cases", "cases_page", "Cases of sealed records", Who::Only(READERS_OF_CASES), |on| {
        method(on, super::cases::view)
    })
    .with(&[LANG]),
    Row::view("/cases/draft", "draft_case", "Write a request", Who::Only(HOLDERS), |on| {
        method(on, super::cases::draft)
    })
    .by(Verb::Post),
    Row::view("/cases/submit", "submit_statement", "Hand in what was signed", Who::Only(HOLDERS), |on| {
        method(on, super::cases::submit)
    })
    .by(Verb::Post),
    Row::data("/api/v1/cases", "cases", "Cases of sealed records", Who::Only(READERS_OF_CASES), |on| {
        method(on, super::cases::data)
    })
    .of::<Vec<Summary>>(),
    Row::data("/api/v1/cases/{case}", "case_request", "A request, to be signed", Who::Only(HOLDERS), |on| {
        method(on, super::cases::brief)
    })
    .of::<Brief>(),
    Row::view("/system", "system_page", "Version, processes and disks", Who::LoggedIn, |on| {
        method(on, super::system::view)
    })
    .with(&[LANG]),
    Row::view("/device", "device_page", "How the device that asks is treated", Who::Anyone, |on| {
        method(on, super::device::view)
    })
    .on_both_sides()
    .with(&[LANG]),
    Row::view("/device/looks", "device_looks", "Who looked, by the code of a letter", Who::Anyone, |on| {
        method(on, super::letter::looks)
    })
    .on_both_sides()
    .by(Verb::Post),
    Row::data("/api/v1/charter", "charter", "The charter that is installed", Who::LoggedIn, |on| {
        method(on, super::charter::data)
    })
    .of::<CharterNow>(),
    Row::data("/api/v1/explain", "explain", "Why a name is treated as it is", Who::LoggedIn, |on| {
        method(on, super::rules::data)
    })
    .of::<Explanation>()
    .with(&[NAME, GROUP]),
    Row::data("/api/v1/device", "device", "How the device that asks is treated", Who::Anyone, |on| {
        method(on, super::device::data)
    })
    .of::<DeviceNow>()
    .on_both_sides(),
    Row::view("/log", "log_page", "The audit log", Who::LoggedIn, |on| method(on, super::log_page))
        .with(&[LANG]),
    Row::data("/api/v1/now", "now", "What the gateway does now", Who::LoggedIn, |on| method(on, super::data))
        .of::<Snapshot>(),
    Row { kind: Kind::Stream, ..NOW_STREAM }.with(&[LANG]),
    Row::data("/api/v1/alerts", "alerts", "Alerts that are raised, and who is told", Who::LoggedIn, |on| {
        method(on, super::alerts::data)
    })
    .of::<alerts::Shown<'_>>(),
    Row::data("/api/v1/report", "report", "What was counted over a span", Who::LoggedIn, |on| {
        method(on, super::report)
    })
    .of::<past::Report>()
    .with(super::REPORT_QUERY),
    Row::data("/api/v1/reports", "reports", "Reports that were written", Who::LoggedIn, |on| {
        method(on, super::reports::data)
    })
    .of::<Vec<Written>>(),
    Row::data("/api/v1/reports/{file}", "report_file", "A report, to be kept", Who::LoggedIn, |on| {
        method(on, super::reports::file)
    })
    .answers("application/octet-stream"),
    Row::data("/api/v1/records", "records", "Records of the audit log", Who::LoggedIn, |on| {
        method(on, super::records)
    })
    .of::<past::Records>()
    .with(super::RECORDS_QUERY),
    Row::data(PUSH, "push_address", "Say who has an address", Who::Pusher, |on| {
        method(on, super::push::push)
    })
    .of::<super::push::Pushed>()
    .by(Verb::Put),
    Row::data(PUSH, "withdraw_address", "Withdraw what was said", Who::Pusher, |on| {
        method(on, super::push::withdraw)
    })
    .by(Verb::Delete),
    Row::data("/metrics", "metrics", "Counters for Prometheus", Who::Scraper, |on| {
        method(on, super::numbers_for_prometheus)
    })
    .answers(super::PROMETHEUS),
    Row::data("/healthz", "health", "Whether frames are forwarded", Who::Anyone, |on| {
        method(on, super::health)
    })
    .answers(TEXT),
    Row::data("/api/v1/openapi.json", "openapi", "This interface, as OpenAPI", Who::LoggedIn, |on| {
        method(on, super::openapi::file)
    }),
    Row::view("/login", "login_page", "The form of the login", Who::Anyone, |on| method(on, login::form))
        .with(&[LANG]),
    Row::view("/login", "login", "Log in", Who::Anyone, |on| method(on, login::login_now)).by(Verb::Post),
    Row::view("/logout", "logout", "Log out", Who::LoggedIn, |on| method(on, login::logout)).by(Verb::Post),
    Row::view("/account", "account_page", "The own account", Who::LoggedIn, |on| method(on, login::account))
        .with(&[LANG]),
    Row::view("/account/password", "change_password", "Choose another password", Who::LoggedIn, |on| {
        method(on, login::change_password)
    })
    .by(Verb::Post),
    Row::view("/join", "join_page", "The form of an invitation", Who::Anyone, |on| {
        method(on, login::joining)
    })
    .with(&[LANG]),
    Row::view("/join", "join", "Choose a password with a secret", Who::Anyone, |on| {
        method(on, login::join_now)
    })
    .by(Verb::Post),
    Row::view("/join/confirm", "join_confirm", "Show the first code", Who::Anyone, |on| {
        method(on, login::confirm_now)
    })
    .by(Verb::Post),
    Row::file("/.well-known/security.txt", "security_txt", TEXT, |on| method(on, super::security_txt)),
    Row::view(
        "/.well-known/change-password",
        "well_known_change",
        "Leads to the account",
        Who::Anyone,
        |on| method(on, login::well_known_change),
    ),
    Row::file("/style.css", "style", CSS, |on| fixed(on, CSS, include_str!("style.css"))),
    Row::file("/page.js", "script", SCRIPT, |on| fixed(on, SCRIPT, include_str!("page.js"))),
    Row::file("/icon.svg", "icon", SVG, |on| fixed(on, SVG, include_str!("icon.svg"))),
];

const NOW_STREAM: Row =
    Row::data("/api/v1/now/stream", "now_stream", "The view of now, as events", Who::LoggedIn, |on| {
        method(on, super::live::stream)
    });

const PUSH: &str = "/api/v1/identity/addresses/{address}";

/// Whether a path is that of a view, for somebody to be led to after the login.
pub(super) fn is_view(path: &str) -> bool {
    ROUTES.iter().any(|row| row.path == path && row.verb == Verb::Get && row.kind == Kind::View)
}

/// Whether somebody in this role may have a view: what leads nowhere is not shown.
pub(super) fn admits(path: &str, role: Option<Role>) -> bool {
    ROUTES.iter().any(|row| row.path == path && row.verb == Verb::Get && row.who.admits(role))
}

fn fixed(on: MethodFilter, kind: &'static str, text: &'static str) -> MethodRouter<Shared> {
    method(on, move || async move { ([(CONTENT_TYPE, kind)], text) })
}

/// The router of all rows, each behind its gate.
pub(super) fn router(shared: &Shared) -> Router<Shared> {
    ROUTES.iter().fold(Router::new(), |router, row| {
        let gate = Gate { row, shared: shared.clone() };
        let handler = (row.handler)(row.verb.filter());
        router.route(row.path, handler.route_layer(middleware::from_fn_with_state(gate, gate::hold)))
    })
}
