//! The page, its data and its metrics, over HTTP on the management side.
//!
//! The page is rendered here and readable without scripts; a few lines of JavaScript fetch it again each second and put
//! the new figures in place of the old. Nothing is loaded from elsewhere, and the Content-Security-Policy says so. Only
//! counts and states are shown: there is nothing about a person to show. What is past comes from the rollup store, and stands still.
//!
//! Little can be changed from here, and each such act is on record before it counts: the own [login], a step of a [case](cases) that its
//! holder signed elsewhere, and, for whoever holds the token, [who has an address](push).
//!
//! Requests must name the gateway as it is [called](hosts); then the [gate] of the endpoint holds them to who may ask, from where.

mod alerts;
mod cases;
mod chart;
mod charter;
mod device;
mod gate;
#[cfg(test)]
mod hostile;
pub(crate) mod hosts;
mod hybrid;
pub(crate) mod lang;
mod letter;
pub(crate) mod live;
mod log;
mod login;
#[cfg(test)]
mod matrix_tests;
mod metrics;
pub(crate) mod numbers;
mod openapi;
pub(crate) mod peer;
pub(crate) mod push;
mod qr;
pub(crate) mod reports;
mod routes;
mod rules;
#[cfg(test)]
pub(crate) mod sample;
pub(crate) mod scrape;
mod server;
mod shell;
#[cfg(test)]
mod speed;
#[cfg(test)]
pub(crate) mod stage;
mod system;
pub(crate) mod terms;
#[cfg(test)]
mod tests;
pub(crate) mod tls;
mod traffic;
mod view;
#[cfg(test)]
mod wire_tests;
mod wizard;
mod words;

use crate::control::past::Unanswered;
use crate::control::snapshot::Snapshot;
use crate::control::told::Tell;
use crate::control::{Command, Shared};
use axum::extract::{Query, Request, State};
use axum::http::header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HOST, LOCATION, TRANSFER_ENCODING};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{Html, IntoResponse, Json, Response};
use axum::serve::Listener;
use axum::{Extension, Router};
use glassgate_store::{Question, Search};
use jiff::Timestamp;
use lang::Lang;
use peer::{Peer, Side};
use routes::Param;
use server::Channel;
use shell::Reader;
use std::sync::Arc;
use tokio::sync::oneshot;

/// On every answer. There is no `Strict-Transport-Security`: whoever took our own certificate for granted once would be locked out by it when
/// that changes, since browsers then show no way on.
const HEADERS: [(&str, &str); 8] = [
    (
        "content-security-policy",
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; base-uri 'none'; \
         object-src 'none'; form-action 'self'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types now",
    ),
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    // Not `no-referrer`: under that browsers send forms with `Origin: null`, and the gate takes none from there (Fetch, section 3.2).
    ("referrer-policy", "same-origin"),
    ("cache-control", "no-store"),
    ("cross-origin-resource-policy", "same-origin"),
    ("cross-origin-opener-policy", "same-origin"),
    ("permissions-policy", "camera=(), geolocation=(), microphone=()"),
];
/// How long an answer may take.
const LONGEST: std::time::Duration = std::time::Duration::from_secs(30);
/// The longest body.
const MAX_BODY: u64 = 64 << 10;
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";
const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";

/// How long the slow path may take to answer.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(5);
/// Acts of people that are shown.
const ACTS: usize = 20;
/// Records of a page of a search.
const RECORDS: usize = 50;

/// Serves until the process ends.
pub(crate) async fn serve<L: Listener<Addr = Peer>>(listener: L, shared: Shared) -> std::io::Result<()> {
    let tls = shared.tls.clone();
    server::run(listener, router(shared), tls).await
}

fn router(shared: Shared) -> Router {
    routes::router(&shared)
        .fallback(async || gate::not_there())
        .layer(middleware::from_fn_with_state(shared.clone(), guarded))
        .with_state(shared)
}

/// What may be asked of a report.
const REPORT_QUERY: &[Param] = &[
    Param {
        name: "from",
        schema: MOMENT,
        about: "Seconds since 1970: counts of hours that begin then or later",
    },
    Param { name: "to", schema: MOMENT, about: "Seconds since 1970: and before then" },
    Param {
        name: "step",
        schema: r#"{"type":"string","enum":["hour","day","whole"]}"#,
        about: "How counts are added up",
    },
    Param { name: "by_category", schema: r#"{"type":"boolean"}"#, about: "Add up groups and services" },
    Param { name: "group", schema: WORD, about: "Only this group" },
    Param { name: "category", schema: WORD, about: "Only this category" },
    Param { name: "service", schema: WORD, about: "Only this service" },
];
const WORD: &str = r#"{"type":"string"}"#;
/// What may be asked of records.
const RECORDS_QUERY: &[Param] = &[
    Param { name: "kind", schema: r#"{"type":"string"}"#, about: "Only records of this kind" },
    Param { name: "acts", schema: r#"{"type":"boolean"}"#, about: "Only what people did" },
    Param { name: "from", schema: MOMENT, about: "Seconds since 1970: written then or later" },
    Param { name: "to", schema: MOMENT, about: "Seconds since 1970: written before then" },
    Param {
        name: "before",
        schema: r#"{"type":"integer","minimum":0}"#,
        about: "Only records before this number",
    },
    Param {
        name: "limit",
        schema: r#"{"type":"integer","minimum":0}"#,
        about: "At most so many, and never more than the gateway gives",
    },
];
const MOMENT: &str = r#"{"type":"integer","format":"int64"}"#;

fn now(shared: &Shared) -> Arc<Snapshot> {
    shared.snapshot.borrow().clone()
}

/// Asks the slow path what is in force.
pub(crate) async fn told<T>(
    shared: &Shared,
    tell: impl FnOnce(oneshot::Sender<T>) -> Tell,
) -> Result<T, Unanswered> {
    let (answer, told) = oneshot::channel();
    let gone = || Unanswered::Unavailable("the slow path does not answer".to_owned());
    shared.commands.send(Command::Tell(tell(answer))).map_err(|_| gone())?;
    tokio::time::timeout(PATIENCE, told).await.map_err(|_| gone())?.map_err(|_| gone())
}

async fn page(
    State(shared): State<Shared>,
    Extension(asker): Extension<gate::Asker>,
    headers: HeaderMap,
    Query(looked): Query<shell::Looked>,
) -> Html<String> {
    let lang = Lang::of(looked.lang.as_deref(), &headers);
    Html(view::page(&now(&shared), Reader::of(&asker, lang)).into_string())
}

async fn data(State(shared): State<Shared>) -> Json<Snapshot> {
    Json(now(&shared).as_ref().clone())
}

/// What was counted over days and months.
async fn traffic_page(
    State(shared): State<Shared>,
    Extension(asker): Extension<gate::Asker>,
    headers: HeaderMap,
    Query(looked): Query<traffic::Looked>,
) -> Html<String> {
    let lang = Lang::of(looked.lang.as_deref(), &headers);
    let [series, sums] = looked.questions(Timestamp::now().as_second());
    let told = match shared.past.report(series).await {
        Ok(series) => shared.past.report(sums).await.map(|sums| (series, sums)),
        Err(why) => Err(why),
    };
    let written = reports::list(&shared).await;
    Html(traffic::page(&now(&shared), &looked, &told, &written, Reader::of(&asker, lang)).into_string())
}

/// The audit log.
async fn log_page(
    State(shared): State<Shared>,
    Extension(asker): Extension<gate::Asker>,
    headers: HeaderMap,
    Query(looked): Query<log::Looked>,
) -> Html<String> {
    let lang = Lang::of(looked.lang.as_deref(), &headers);
    let acts = shared.past.records(Search { acts: true, limit: ACTS, ..Search::default() }).await;
    let time = |text: &Option<String>| text.as_deref().and_then(crate::report::parse);
    let search = Search {
        kinds: looked.kind.iter().filter(|kind| !kind.is_empty()).cloned().collect(),
        from: time(&looked.from),
        to: time(&looked.to),
        before: looked.before,
        limit: RECORDS,
        ..Search::default()
    };
    let found = shared.past.records(search).await;
    Html(log::page(&now(&shared), &looked, &acts, &found, Reader::of(&asker, lang)).into_string())
}

/// The same as JSON. Times are seconds since 1970.
async fn report(State(shared): State<Shared>, Query(question): Query<Question>) -> Response {
    answer(shared.past.report(question).await)
}

async fn records(State(shared): State<Shared>, Query(asked): Query<Asked>) -> Response {
    let Asked { kind, acts, from, to, before, limit } = asked;
    let kinds = kind.into_iter().filter(|kind| !kind.is_empty()).collect();
    let limit = limit.unwrap_or(RECORDS);
    answer(shared.past.records(Search { kinds, acts, from, to, before, limit }).await)
}

/// What records are asked for, in an address.
#[derive(Default, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Asked {
    kind: Option<String>,
    acts: bool,
    from: Option<i64>,
    to: Option<i64>,
    before: Option<u64>,
    limit: Option<usize>,
}

fn answer<T: serde::Serialize>(outcome: Result<T, Unanswered>) -> Response {
    let status = match &outcome {
        Ok(_) => StatusCode::OK,
        Err(Unanswered::Question(_)) => StatusCode::BAD_REQUEST,
        Err(Unanswered::Unavailable(_)) => StatusCode::SERVICE_UNAVAILABLE,
    };
    match outcome {
        Ok(answer) => Json(answer).into_response(),
        Err(why) => (status, Json(serde_json::json!({ "error": why.to_string() }))).into_response(),
    }
}

async fn numbers_for_prometheus(State(shared): State<Shared>) -> Response {
    ([(CONTENT_TYPE, PROMETHEUS)], metrics::render(&now(&shared))).into_response()
}

/// 200 while frames are forwarded, 503 else; to those who are logged in what needs attention, a line each.
async fn health(State(shared): State<Shared>, Extension(asker): Extension<gate::Asker>) -> Response {
    let now = now(&shared);
    let forwards = now.processes.iter().any(|p| p.name == "dataplane" && p.state == "up");
    let status = if forwards { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let mut text = if forwards { "forwarding\n" } else { "not forwarding\n" }.to_owned();
    for trouble in now.troubles.iter().filter(|_| asker.viewer.is_some()) {
        text += trouble;
        text.push('\n');
    }
    (status, text).into_response()
}

/// Refuses what is not for this gateway, in clear where somebody may listen, or without bounds; puts headers on every answer.
async fn guarded(State(shared): State<Shared>, request: Request, next: Next) -> Response {
    let side = gate::side(&request);
    let mut response = match refused(&shared, &request) {
        Some(response) => response,
        None => match tokio::time::timeout(LONGEST, next.run(request)).await {
            Ok(response) => response,
            Err(_) => (StatusCode::SERVICE_UNAVAILABLE, "this took too long\n").into_response(),
        },
    };
    // Not even that there is something which is asked for in another way.
    if side == Side::Lan && response.status() == StatusCode::METHOD_NOT_ALLOWED {
        response = gate::not_there();
    }
    let headers = response.headers_mut();
    for (name, value) in HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

/// What a request is answered with before anybody looks for what it asks for.
fn refused(shared: &Shared, request: &Request) -> Option<Response> {
    let headers = request.headers();
    if !shared.hosts.admit(headers) {
        if gate::side(request) == Side::Lan {
            return Some(gate::not_there());
        }
        let why = "ask for this gateway by its address: the name in your request is not one of its own\n";
        return Some((StatusCode::MISDIRECTED_REQUEST, why).into_response());
    }
    if request.extensions().get::<Channel>() == Some(&Channel::Exposed) {
        let host = headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
        let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
        let to = HeaderValue::from_str(&format!("https://{host}{path}")).ok();
        return Some(match to {
            Some(to) => (StatusCode::PERMANENT_REDIRECT, [(LOCATION, to)]).into_response(),
            None => StatusCode::BAD_REQUEST.into_response(),
        });
    }
    // Nothing here is sent in pieces. Where two lengths are said, programs on the way may believe different ones (RFC 9112, section 6.3).
    let close = [(CONNECTION, "close")];
    if headers.contains_key(TRANSFER_ENCODING) {
        return Some(
            (StatusCode::LENGTH_REQUIRED, close, "say how long it is: Content-Length\n").into_response(),
        );
    }
    let length = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if length.unwrap_or_default() > MAX_BODY {
        return Some((StatusCode::PAYLOAD_TOO_LARGE, close, "the body is too long\n").into_response());
    }
    None
}

/// RFC 9116.
async fn security_txt(State(shared): State<Shared>) -> Response {
    let Some(contact) = &shared.contact else { return gate::not_there() };
    let until = Timestamp::now().as_second() + 30 * 86_400;
    let until = Timestamp::from_second(until).map(|at| at.to_string()).unwrap_or_default();
    let text = format!("Contact: {contact}\nExpires: {until}\nPreferred-Languages: en, zh\n");
    ([(CONTENT_TYPE, routes::TEXT)], text).into_response()
}
