//! `PUT` and `DELETE /api/v1/identity/addresses/{address}`: who has an address, from whoever holds the token.
//!
//! For networks whose logins are known to something that speaks no RADIUS: a portal, a VPN server's hook, a script of the directory.
//! Whoever pushes says it again before it runs out; a push takes the place of the one before, and a withdrawal of nothing is
//! fine, so that all of it can be repeated.
//!
//! ```text
//! PUT /api/v1/identity/addresses/10.1.2.3
//! Authorization: Bearer TOKEN
//!
//! {"account": "zhang.wei", "device": "3c:22:fb:01:02:03", "until": "2027-01-04T18:00:00+08:00"}
//! ```
//!
//! Answers: 204; 400 what is written wrong, with line and column; 401 the token; 413 too long; 422 a value that can't be;
//! 503 no room, or no slow path. Errors are `{"error": "…"}`.

use crate::control::{Command, PushChange, Shared};
use crate::secret;
use anyhow::{Context as _, Result};
use axum::body::{Body, to_bytes};
use axum::extract::{Path, Request, State};
use axum::http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Json, Response};
use glassgate_policy::identity::{Mac, is_of_one_host};
use jiff::Timestamp;
use ring::hmac;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::oneshot;

/// The longest body.
const MAX_BODY: usize = 4096;
/// The longest name of an account.
const MAX_ACCOUNT: usize = 253;
/// How long a body may take, and the slow path.
const PATIENCE: Duration = Duration::from_secs(5);
/// The longest that a push may hold, seconds: as a lease.
const LONGEST_S: i64 = 86_400;

/// Who may push, and what was pushed.
pub(crate) struct Push {
    key: hmac::Key,
    tag: hmac::Tag,
    counts: Counts,
}

/// Requests by what became of them.
#[derive(Debug, Default)]
struct Counts {
    set: AtomicU64,
    withdrawn: AtomicU64,
    wrong_token: AtomicU64,
    bad_request: AtomicU64,
    not_taken: AtomicU64,
}

impl Push {
    /// Reads the token.
    pub(crate) fn open(path: &std::path::Path) -> Result<Self> {
        let token = secret::read(path).with_context(|| format!("the token {}", path.display()))?;
        Self::new(&token)
    }

    fn new(token: &[u8]) -> Result<Self> {
        // What is compared are tags under a key that nobody knows, in constant time: how long that takes tells nothing of
        // the token.
        let random = ring::rand::SystemRandom::new();
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &random).ok().context("there is no randomness")?;
        let tag = hmac::sign(&key, token);
        Ok(Self { key, tag, counts: Counts::default() })
    }

    fn admits(&self, headers: &HeaderMap) -> bool {
        let mut all = headers.get_all(AUTHORIZATION).iter();
        let (Some(one), None) = (all.next(), all.next()) else { return false };
        let Some((scheme, token)) = one.as_bytes().split_at_checked(7) else { return false };
        scheme.eq_ignore_ascii_case(b"bearer ") && hmac::verify(&self.key, token, self.tag.as_ref()).is_ok()
    }

    /// What was pushed, by what became of it: pushes, withdrawals, and what was refused, by reason.
    pub(crate) fn counts(&self) -> (u64, u64, [(&'static str, u64); 3]) {
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let refused = [
            ("wrong_token", of(&self.counts.wrong_token)),
            ("bad_request", of(&self.counts.bad_request)),
            ("not_taken", of(&self.counts.not_taken)),
        ];
        (of(&self.counts.set), of(&self.counts.withdrawn), refused)
    }
}

/// What is pushed.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Pushed {
    /// An account of the directory. It, the device or both must be there.
    #[schemars(length(min = 1, max = 253))]
    account: Option<String>,
    /// A hardware address, as `3c:22:fb:01:02:03`.
    device: Option<String>,
    /// Until when, with an offset, as `2027-01-04T18:00:00+08:00`: at most a day ahead.
    #[schemars(extend("format" = "date-time"))]
    until: String,
}

/// Why not.
#[derive(Debug, Serialize)]
struct Refusal {
    error: String,
}

type Refused = (StatusCode, String);

pub(super) async fn push(
    State(shared): State<Shared>,
    Path(address): Path<String>,
    request: Request,
) -> Response {
    answer(&shared, request, async |shared, body| {
        let ip = address_of(&address)?;
        let change = change(ip, &read(body).await?)?;
        tell(shared, change, |counts| &counts.set).await
    })
    .await
}

pub(super) async fn withdraw(
    State(shared): State<Shared>,
    Path(address): Path<String>,
    request: Request,
) -> Response {
    answer(&shared, request, async |shared, _| {
        let change = PushChange::Withdraw { ip: address_of(&address)? };
        tell(shared, change, |counts| &counts.withdrawn).await
    })
    .await
}

/// Holds a request to the token, does what it asks for, and counts what is refused.
async fn answer(
    shared: &Shared,
    request: Request,
    act: impl AsyncFnOnce(&Shared, Body) -> Result<(), Refused>,
) -> Response {
    let Some(push) = &shared.push else {
        let error = "nobody may push here: `identity.push_token` names no file".to_owned();
        return (StatusCode::NOT_FOUND, Json(Refusal { error })).into_response();
    };
    let (head, body) = request.into_parts();
    if !push.admits(&head.headers) {
        push.counts.wrong_token.fetch_add(1, Ordering::Relaxed);
        let error = "this needs `Authorization: Bearer` with the token of this gateway".to_owned();
        let mut response = (StatusCode::UNAUTHORIZED, Json(Refusal { error })).into_response();
        response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        return response;
    }
    match act(shared, body).await {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err((status, error)) => {
            let counts = &push.counts;
            let count = if status.is_server_error() { &counts.not_taken } else { &counts.bad_request };
            count.fetch_add(1, Ordering::Relaxed);
            (status, Json(Refusal { error })).into_response()
        }
    }
}

fn address_of(text: &str) -> Result<IpAddr, Refused> {
    // The same host, however it is written.
    text.parse()
        .map(|ip: IpAddr| ip.to_canonical())
        .map_err(|_| (StatusCode::BAD_REQUEST, "the path does not end with a network address".to_owned()))
}

async fn read(body: Body) -> Result<Pushed, Refused> {
    let bytes = match tokio::time::timeout(PATIENCE, to_bytes(body, MAX_BODY)).await {
        Ok(Ok(bytes)) => bytes,
        Ok(Err(_)) => {
            let why = format!("the body has more than {MAX_BODY} bytes, or ends before its end");
            return Err((StatusCode::PAYLOAD_TOO_LARGE, why));
        }
        Err(_) => return Err((StatusCode::REQUEST_TIMEOUT, "the body took too long".to_owned())),
    };
    // An array of the values would be read as well.
    if !bytes.trim_ascii_start().starts_with(b"{") {
        return Err((StatusCode::BAD_REQUEST, "the body: line 1 column 0: this is no object".to_owned()));
    }
    // What is wrong is told with line and column.
    serde_json::from_slice(&bytes).map_err(|e| (StatusCode::BAD_REQUEST, format!("the body: {e}")))
}

fn change(ip: IpAddr, pushed: &Pushed) -> Result<PushChange, Refused> {
    let refuse = |why: String| Err((StatusCode::UNPROCESSABLE_ENTITY, why));
    if !is_of_one_host(ip) {
        return refuse(format!("{ip} is no address of one host"));
    }
    let account = pushed.account.clone();
    if account
        .as_ref()
        .is_some_and(|name| name.is_empty() || name.len() > MAX_ACCOUNT || name.chars().any(char::is_control))
    {
        return refuse(format!("`account` must have 1 to {MAX_ACCOUNT} bytes, without control characters"));
    }
    let mac = match pushed.device.as_deref().map(Mac::parse) {
        None => None,
        Some(Some(mac)) if mac.is_unicast() => Some(mac),
        Some(_) => return refuse("`device` must be a hardware address, as `3c:22:fb:01:02:03`".to_owned()),
    };
    if account.is_none() && mac.is_none() {
        return refuse("`account`, `device` or both must be there".to_owned());
    }
    let Ok(until) = pushed.until.parse::<Timestamp>() else {
        return refuse("`until` must be a moment with its offset, as `2027-01-04T18:00:00+08:00`".to_owned());
    };
    let left_s = until.as_second() - Timestamp::now().as_second();
    if left_s <= 0 {
        return refuse("`until` is over; DELETE ends what was said before".to_owned());
    }
    if left_s > LONGEST_S {
        return refuse("`until` is more than a day ahead: say it again before it runs out".to_owned());
    }
    Ok(PushChange::Set { ip, account, mac, seconds: left_s.unsigned_abs() })
}

/// Has the slow path take it.
async fn tell(
    shared: &Shared,
    change: PushChange,
    count: impl FnOnce(&Counts) -> &AtomicU64,
) -> Result<(), Refused> {
    let unavailable = |why: &str| (StatusCode::SERVICE_UNAVAILABLE, why.to_owned());
    let (answer, outcome) = oneshot::channel();
    shared
        .commands
        .send(Command::Push { change, answer })
        .map_err(|_| unavailable("the gateway is stopping"))?;
    match tokio::time::timeout(PATIENCE, outcome).await {
        Ok(Ok(true)) => {
            if let Some(push) = &shared.push {
                count(&push.counts).fetch_add(1, Ordering::Relaxed);
            }
            Ok(())
        }
        Ok(Ok(false)) => Err(unavailable("there is no room for a session more")),
        _ => Err(unavailable("the gateway did not take it in time")),
    }
}

#[cfg(test)]
mod tests;
