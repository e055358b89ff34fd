//! What stands before each endpoint: the request is held to the row of the endpoint, and refused unless all of it is as the row says.
//!
//! In this order: the side it comes from, who asks, their role, and for what changes something that it was sent from a page of ours.

use super::lang::Lang;
use super::login;
use super::peer::{Peer, Side};
use super::routes::{Kind, Row, Who};
use super::server::Channel;
use crate::access::{Access, From, Source, Viewer};
use crate::control::Shared;
use axum::body::{Body, to_bytes};
use axum::extract::{Form, FromRequest as _, Request, State};
use axum::http::header::{AUTHORIZATION, COOKIE, HOST, LOCATION, ORIGIN, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Json, Response};
use glassgate_policy::access::CameFrom;
use serde_json::json;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use subtle::ConstantTimeEq as _;

/// The cookie of a session. Its prefix has browsers hold it to this host, all of it, and TLS.
pub(super) const SESSION: &str = "__Host-glassgate";
/// The cookie that forms are tied to before anybody is logged in.
pub(super) const FORM: &str = "__Host-glassgate-form";
/// The longest body of a form.
const MAX_FORM: usize = 16 << 10;
/// That of one with the text of a charter: no body is longer.
const MAX_LONG_FORM: usize = 64 << 10;

/// The gate of one endpoint.
#[derive(Clone)]
pub(super) struct Gate {
    pub(super) row: &'static Row,
    pub(super) shared: Shared,
}

/// Who asks.
#[derive(Clone, Debug)]
pub(super) struct Asker {
    /// Who is logged in, or the program that a token is of.
    pub(super) viewer: Option<Viewer>,
    /// The secret of their session.
    pub(super) session: Option<String>,
    pub(super) from: From,
}

/// What stands in a form.
#[derive(Clone, Debug, Default)]
pub(super) struct Fields(pub(super) HashMap<String, String>);

impl Fields {
    /// One of them; empty if it is not there.
    pub(super) fn get(&self, name: &str) -> &str {
        self.0.get(name).map(String::as_str).unwrap_or_default()
    }
}

/// Lets a request through, or answers it.
pub(super) async fn hold(State(gate): State<Gate>, mut request: Request, next: Next) -> Response {
    let Gate { row, shared } = &gate;
    let side = side(&request);
    if !row.sides.admit(side) {
        return not_there();
    }
    let access = &shared.access;
    let asker = asker(access, &request, side);
    let role = asker.viewer.as_ref().map(|viewer| viewer.role);
    let scrapes = row.who == Who::Scraper
        && (shared.scrape.admits(request.headers()) || shared.scrape.is_open(peer(&request)));
    if !row.who.admits(role) && !scrapes {
        if role.is_none() {
            return who_are_you(row, &request);
        }
        access.tell_denied(asker.viewer.as_ref(), asker.from.side, row.name);
        return refuse(row, StatusCode::FORBIDDEN, ROLE, lang(&request));
    }
    if row.verb.changes() && row.who != Who::Pusher {
        let lang = lang(&request);
        let most = if row.long { MAX_LONG_FORM } else { MAX_FORM };
        let fields = match form(access, &asker, &mut request, most).await {
            Ok(fields) => fields,
            Err((status, why)) => {
                access.tell_denied(asker.viewer.as_ref(), asker.from.side, row.name);
                return refuse(row, status, why, lang);
            }
        };
        request.extensions_mut().insert(fields);
    }
    request.extensions_mut().insert(asker);
    next.run(request).await
}

/// From which side a request comes; one that nobody says it of is from the side that may less.
pub(super) fn side(request: &Request) -> Side {
    request.extensions().get::<Peer>().map_or(Side::Lan, |peer| peer.side)
}

fn peer(request: &Request) -> IpAddr {
    request.extensions().get::<Peer>().map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.address.ip())
}

/// What is said of a path that is not there, or not for this side.
pub(super) fn not_there() -> Response {
    (StatusCode::NOT_FOUND, "there is no such page\n").into_response()
}

fn asker(access: &Access, request: &Request, side: Side) -> Asker {
    let headers = request.headers();
    let came = if side == Side::Management { CameFrom::Management } else { CameFrom::Lan };
    let from = From { source: Source::of(peer(request)), side: came };
    // On the other side nobody is logged in, whatever they show.
    if side != Side::Management {
        return Asker { viewer: None, session: None, from };
    }
    if let Some(session) = cookie(headers, SESSION)
        && let Some(viewer) = access.viewer(session, is_of_a_person(headers))
    {
        return Asker { viewer: Some(viewer), session: Some(session.to_owned()), from };
    }
    // A program shows a token and has no session: it changes nothing, since it has no form of ours.
    let viewer = bearer(headers).and_then(|token| access.program(token));
    Asker { viewer, session: None, from }
}

/// Whether a person asked, and not a script of the page that looks again each second.
fn is_of_a_person(headers: &HeaderMap) -> bool {
    headers.get("sec-fetch-dest").is_none_or(|dest| dest != "empty")
}

/// The one cookie of that name; two are none.
pub(super) fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let all = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
    let pairs = all.flat_map(|value| value.split(';')).filter_map(|pair| pair.trim().split_once('='));
    let mut ours = pairs.filter(|(found, _)| *found == name).map(|(_, value)| value);
    match (ours.next(), ours.next()) {
        (Some(value), None) if value.len() <= 64 => Some(value),
        _ => None,
    }
}

/// The one token of a request.
pub(super) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = only(headers, AUTHORIZATION)?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token)
}

/// The value of a header that stands there once.
fn only(headers: &HeaderMap, name: impl axum::http::header::AsHeaderName) -> Option<&str> {
    let mut all = headers.get_all(name).iter();
    match (all.next(), all.next()) {
        (Some(one), None) => one.to_str().ok(),
        _ => None,
    }
}

/// What somebody hears who is not logged in.
fn who_are_you(row: &Row, request: &Request) -> Response {
    // A script would take the page of the login for what it asked for.
    if row.kind != Kind::View || !is_of_a_person(request.headers()) {
        let mut response = refuse(row, StatusCode::UNAUTHORIZED, WHO, lang(request));
        response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        return response;
    }
    let to = format!("/login?next={}", row.path.replace('/', "%2F"));
    see_other(&to)
}

/// Shows another page.
pub(super) fn see_other(path: &str) -> Response {
    let to = HeaderValue::from_str(path).unwrap_or_else(|_| HeaderValue::from_static("/"));
    (StatusCode::SEE_OTHER, [(LOCATION, to)]).into_response()
}

/// Why not, in both languages.
type Why = [&'static str; 2];

const ROLE: Why = ["Your role may not have this", "您的角色无权访问"];
const WHO: Why = ["Log in at /login, or show a token", "请在 /login 登录，或出示令牌"];
const FOREIGN: Why = [
    "This was not sent from a page of this gateway: load the page again",
    "该请求不是从本网关的页面发出的：请重新加载页面",
];
const LONG: Why = ["The form is too long, or ends before its end", "表单过长或不完整"];
const NO_FORM: Why = ["This is no form", "这不是表单"];

fn refuse(row: &Row, status: StatusCode, [en, zh]: Why, lang: Lang) -> Response {
    match row.kind {
        Kind::View => (status, login::notice(status, lang.say(en, zh), lang)).into_response(),
        _ => (status, Json(json!({ "error": en }))).into_response(),
    }
}

/// The language that whoever is refused reads.
fn lang(request: &Request) -> Lang {
    let query = request.uri().query().unwrap_or_default();
    let asked = query.split('&').find_map(|pair| pair.strip_prefix("lang="));
    Lang::of(asked, request.headers())
}

/// What a form says, if it was sent from a page of ours by a browser that says so.
async fn form(
    access: &Access,
    asker: &Asker,
    request: &mut Request,
    most: usize,
) -> Result<Fields, (StatusCode, Why)> {
    let foreign = (StatusCode::FORBIDDEN, FOREIGN);
    let headers = request.headers();
    let scheme = request.extensions().get::<Channel>().map_or("https", |channel| channel.scheme());
    let host = only(headers, HOST).ok_or(foreign)?;
    if only(headers, ORIGIN) != Some(&format!("{scheme}://{host}"))
        || only(headers, "sec-fetch-site") != Some("same-origin")
    {
        return Err(foreign);
    }
    let expected = match &asker.viewer {
        Some(viewer) => viewer.token.clone(),
        None => access.form_token(cookie(headers, FORM).ok_or(foreign)?),
    };
    let (parts, body) = std::mem::take(request).into_parts();
    let body = to_bytes(body, most).await;
    let body = body.map_err(|_| (StatusCode::PAYLOAD_TOO_LARGE, LONG))?;
    let copy = Request::from_parts(parts.clone(), Body::from(body));
    let fields = Form::<HashMap<String, String>>::from_request(copy, &()).await;
    *request = Request::from_parts(parts, Body::empty());
    let Form(fields) = fields.map_err(|_| (StatusCode::UNSUPPORTED_MEDIA_TYPE, NO_FORM))?;
    let fields = Fields(fields);
    let same = bool::from(fields.get("token").as_bytes().ct_eq(expected.as_bytes()));
    // The token of a program is empty, and opens nothing here.
    if same && !expected.is_empty() { Ok(fields) } else { Err(foreign) }
}
