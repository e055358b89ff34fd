//! The page, its data and its metrics, over HTTP on the management side.
//!
//! The page is rendered here and readable without scripts; a few lines of JavaScript fetch it again each second and put
//! the new figures in place of the old. Nothing is loaded from elsewhere, and the Content-Security-Policy says so. Only
//! counts and states are shown: there is nothing about a person to show. What is past comes from the rollup store, and stands still.
//!
//! Whoever holds a token may say [who has an address](push); everything else is for reading only.
//!
//! Requests must name the gateway by address (or as `localhost`): a name that somebody else's DNS points here, as a
//! page in a visitor's browser could (DNS rebinding), is refused.

mod chart;
mod charter;
mod device;
mod gate;
mod lang;
mod log;
mod metrics;
pub(crate) mod numbers;
pub(crate) mod peer;
pub(crate) mod push;
mod qr;
mod routes;
mod rules;
#[cfg(test)]
pub(crate) mod sample;
mod server;
mod shell;
mod system;
mod terms;
#[cfg(test)]
mod tests;
mod traffic;
mod view;
mod words;

use crate::control::past::Unanswered;
use crate::control::snapshot::Snapshot;
use crate::control::told::Tell;
use crate::control::{Command, Shared};
use axum::Router;
use axum::extract::{Query, Request, State};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
    X_FRAME_OPTIONS,
};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{Html, IntoResponse, Json, Response};
use axum::serve::Listener;
use glassgate_store::{Question, Search};
use jiff::Timestamp;
use lang::Lang;
use peer::{Peer, Side};
use routes::Param;
use std::net::IpAddr;
use std::sync::Arc;
use tokio::sync::oneshot;

const CSP: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; \
                   base-uri 'none'; form-action 'self'; frame-ancestors 'none'";
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
    server::run(listener, router(shared)).await
}

fn router(shared: Shared) -> Router {
    routes::router(&shared)
        .fallback(async || gate::not_there())
        .layer(middleware::from_fn(guarded))
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
async fn told<T>(shared: &Shared, tell: impl FnOnce(oneshot::Sender<T>) -> Tell) -> Result<T, Unanswered> {
    let (answer, told) = oneshot::channel();
    let gone = || Unanswered::Unavailable("the slow path does not answer".to_owned());
    shared.commands.send(Command::Tell(tell(answer))).map_err(|_| gone())?;
    tokio::time::timeout(PATIENCE, told).await.map_err(|_| gone())?.map_err(|_| gone())
}

async fn page(State(shared): State<Shared>) -> Html<String> {
    Html(view::page(&now(&shared)).into_string())
}

async fn data(State(shared): State<Shared>) -> Json<Snapshot> {
    Json(now(&shared).as_ref().clone())
}

/// What was counted over days and months.
async fn traffic_page(
    State(shared): State<Shared>,
    headers: HeaderMap,
    Query(looked): Query<traffic::Looked>,
) -> Html<String> {
    let lang = Lang::of(looked.lang.as_deref(), &headers);
    let [series, sums] = looked.questions(Timestamp::now().as_second());
    let told = match shared.past.report(series).await {
        Ok(series) => shared.past.report(sums).await.map(|sums| (series, sums)),
        Err(why) => Err(why),
    };
    Html(traffic::page(&now(&shared), &looked, &told, lang).into_string())
}

/// The audit log.
async fn log_page(
    State(shared): State<Shared>,
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
    Html(log::page(&now(&shared), &looked, &acts, &found, lang).into_string())
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
        Err(why) => (status, format!("{why}\n")).into_response(),
    }
}

async fn numbers_for_prometheus(State(shared): State<Shared>) -> Response {
    ([(CONTENT_TYPE, PROMETHEUS)], metrics::render(&now(&shared))).into_response()
}

/// 200 while frames are forwarded, 503 else; what needs attention, a line each.
async fn health(State(shared): State<Shared>) -> Response {
    let now = now(&shared);
    let forwards = now.processes.iter().any(|p| p.name == "dataplane" && p.state == "up");
    let status = if forwards { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let mut text = if forwards { "forwarding\n" } else { "not forwarding\n" }.to_owned();
    for trouble in &now.troubles {
        text += trouble;
        text.push('\n');
    }
    (status, text).into_response()
}

/// Refuses strange names, and whoever is not on the management side; puts headers on every answer, errors included.
async fn guarded(request: Request, next: Next) -> Response {
    let mut response = if names_us(request.headers()) {
        next.run(request).await
    } else if gate::side(&request) == Side::Lan {
        gate::not_there()
    } else {
        let why = "ask for this gateway by its address: the name in your request is not one of its own\n";
        (StatusCode::MISDIRECTED_REQUEST, why).into_response()
    };
    let headers = response.headers_mut();
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(CSP));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert("cross-origin-resource-policy", HeaderValue::from_static("same-origin"));
    headers.insert("cross-origin-opener-policy", HeaderValue::from_static("same-origin"));
    response
}

/// Whether `Host` is an address or `localhost`, with or without a port.
fn names_us(headers: &HeaderMap) -> bool {
    let mut hosts = headers.get_all(HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else { return false };
    let Ok(host) = host.to_str() else { return false };
    if let Some(v6) = host.strip_prefix('[') {
        return v6.split_once(']').is_some_and(|(ip, port)| {
            ip.parse::<IpAddr>().is_ok() && (port.is_empty() || is_port(port.strip_prefix(':')))
        });
    }
    let (name, port_is_good) = match host.split_once(':') {
        Some((name, port)) => (name, is_port(Some(port))),
        None => (host, true),
    };
    port_is_good && (name.eq_ignore_ascii_case("localhost") || name.parse::<std::net::Ipv4Addr>().is_ok())
}

fn is_port(text: Option<&str>) -> bool {
    text.is_some_and(|port| !port.is_empty() && port.parse::<u16>().is_ok())
}
