//! The view *Now* as it changes: server-sent events, one each second.
//!
//! What is sent is the view itself, rendered once a second, language and role however many listen, and only while somebody does. The listeners are few
//! and bounded, and each ends with the session that it came with. A listener waits at its connection like one without a request, so it gives way when
//! others need the [place](super::server); its browser comes back by itself, or asks each second as if there were no stream.
//!
//! The format is that of the HTML standard, section 9.2.

use super::gate::{Asker, bearer};
use super::lang::Lang;
use super::shell::{self, Reader};
use super::view;
use crate::access::Access;
use crate::control::Shared;
use crate::control::snapshot::Snapshot;
use crate::visible::visible;
use axum::Extension;
use axum::body::{Body, Bytes};
use axum::extract::{Query, State};
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use hyper::body::Frame;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

/// The media type.
pub(super) const EVENTS: &str = "text/event-stream";
/// Listeners in all: half of the connections that the server takes.
const LISTENERS: usize = 16;
/// Of a session, or a program. A browser opens six connections to a host, and needs some for the other views.
const EACH: usize = 2;
/// How often the view is sent.
const EVERY: Duration = Duration::from_secs(1);
/// A stream ends before the server ends its connection, so that it ends whole.
const LONGEST: Duration = Duration::from_secs(100);

/// Who listens, and what was rendered last.
#[derive(Default)]
pub(crate) struct Live {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    /// What each listener came in by.
    listeners: Vec<Arc<str>>,
    /// One for each language and role that listens: the way between the views is of the role.
    rendered: Vec<(Reader, Rendered)>,
    /// How often something was rendered.
    renderings: u64,
}

struct Rendered {
    at: Instant,
    event: Bytes,
}

/// The place of a listener, until it is dropped.
struct Place {
    live: Arc<Live>,
    key: Arc<str>,
}

impl Live {
    /// A place for somebody who came in by this.
    fn enter(live: &Arc<Self>, key: &str) -> Option<Place> {
        let mut inner = live.lock();
        let own = inner.listeners.iter().filter(|listener| ***listener == *key).count();
        if inner.listeners.len() >= LISTENERS || own >= EACH {
            return None;
        }
        let key: Arc<str> = key.into();
        inner.listeners.push(key.clone());
        Some(Place { live: live.clone(), key })
    }

    /// The view as an event, not older than a second.
    fn event(&self, now: &watch::Receiver<Arc<Snapshot>>, reader: Reader) -> Bytes {
        let mut inner = self.lock();
        let at = Instant::now();
        let is_new = |last: &Rendered| at.saturating_duration_since(last.at) < EVERY;
        if let Some((_, last)) = inner.rendered.iter().find(|(of, last)| *of == reader && is_new(last)) {
            return last.event.clone();
        }
        let event = event(&visible(&view::live(&now.borrow(), reader).into_string()));
        inner.renderings += 1;
        inner.rendered.retain(|(of, _)| *of != reader);
        inner.rendered.push((reader, Rendered { at, event: event.clone() }));
        event
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut inner = self.live.lock();
        if let Some(at) = inner.listeners.iter().position(|key| Arc::ptr_eq(key, &self.key)) {
            inner.listeners.swap_remove(at);
        }
        if inner.listeners.is_empty() {
            inner.rendered.clear();
        }
    }
}

/// A line of the text is a line of the event; carriage returns would be ends of lines as well.
fn event(text: &str) -> Bytes {
    let mut event = String::with_capacity(text.len() + 64);
    // A browser whose stream ends comes back after so many milliseconds.
    event.push_str("retry: 1000\n");
    for line in text.split(['\n', '\r']) {
        event.push_str("data: ");
        event.push_str(line);
        event.push('\n');
    }
    event.push('\n');
    event.into()
}

/// What somebody came in by, to be held against each second.
#[derive(Clone)]
enum Pass {
    Session(String),
    Token(String),
}

impl Pass {
    fn secret(&self) -> &str {
        let (Self::Session(secret) | Self::Token(secret)) = self;
        secret
    }

    /// Whether it still lets somebody in. It keeps no session alive.
    fn is_good(&self, access: &Access) -> bool {
        match self {
            Self::Session(secret) => access.viewer(secret, false).is_some(),
            Self::Token(token) => access.program(token).is_some(),
        }
    }
}

/// `GET /api/v1/now/stream`.
pub(super) async fn stream(
    State(shared): State<Shared>,
    Extension(asker): Extension<Asker>,
    headers: HeaderMap,
    Query(looked): Query<shell::Looked>,
) -> Response {
    let lang = Lang::of(looked.lang.as_deref(), &headers);
    let reader = Reader::of(&asker, lang);
    let pass = match (asker.session, bearer(&headers)) {
        (Some(session), _) => Pass::Session(session),
        (None, Some(token)) => Pass::Token(token.to_owned()),
        (None, None) => return StatusCode::UNAUTHORIZED.into_response(),
    };
    let Some(place) = Live::enter(&shared.live, pass.secret()) else {
        let why = "too many listen already: ask for /api/v1/now\n";
        return (StatusCode::SERVICE_UNAVAILABLE, [(RETRY_AFTER, "10")], why).into_response();
    };
    let now = Instant::now();
    let listener = Listener { shared, pass, reader, _place: place, due: now, until: now + LONGEST };
    let body = Body::new(Stream { next: Box::pin(listener.next()) });
    ([(CONTENT_TYPE, EVENTS)], body).into_response()
}

struct Listener {
    shared: Shared,
    pass: Pass,
    reader: Reader,
    _place: Place,
    due: Instant,
    until: Instant,
}

impl Listener {
    /// Waits until it is time; the event and who waits for the next, or nothing when it is over.
    async fn next(mut self) -> Option<(Self, Bytes)> {
        sleep_until(self.due).await;
        if self.due >= self.until || !self.pass.is_good(&self.shared.access) {
            return None;
        }
        // Whoever was slow to take the last one gets the next a second after that.
        self.due = Instant::now() + EVERY;
        let event = self.shared.live.event(&self.shared.snapshot, self.reader);
        Some((self, event))
    }
}

type Next = Pin<Box<dyn Future<Output = Option<(Listener, Bytes)>> + Send>>;

/// The body of an answer that has no end of its own.
struct Stream {
    next: Next,
}

impl hyper::body::Body for Stream {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let next = ready!(self.next.as_mut().poll(cx));
        let Some((listener, event)) = next else {
            // Asked again, which nobody should, it ends again.
            self.next = Box::pin(std::future::ready(None));
            return Poll::Ready(None);
        };
        self.next = Box::pin(listener.next());
        Poll::Ready(Some(Ok(Frame::data(event))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_few_and_given_back() {
        let live = Arc::new(Live::default());
        let two: Vec<Place> = (0..EACH).map(|_| Live::enter(&live, "a").unwrap()).collect();
        assert!(Live::enter(&live, "a").is_none(), "a third of one session");
        let others: Vec<Place> =
            (EACH..LISTENERS).map(|n| Live::enter(&live, &n.to_string()).unwrap()).collect();
        assert!(Live::enter(&live, "z").is_none(), "all are taken");
        drop(two);
        assert!(Live::enter(&live, "a").is_some());
        drop(others);
        assert!(live.lock().listeners.is_empty());
    }

    #[test]
    fn an_event_is_the_text_line_by_line() {
        assert_eq!(event("a\nb\r\nc"), "retry: 1000\ndata: a\ndata: b\ndata: \ndata: c\n\n");
    }

    #[test]
    fn one_rendering_a_second_and_language_for_however_many() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
        runtime.unwrap().block_on(async {
            let live = Live::default();
            let (publish, now) = watch::channel(Arc::new(Snapshot::default()));
            for second in 0..5 {
                publish.send_replace(Arc::new(Snapshot {
                    version: format!("9.9.{second}"),
                    time: format!("2026-11-21T14:00:0{second}Z"),
                    ..Snapshot::default()
                }));
                for _ in 0..LISTENERS {
                    let shown = live.event(&now, Lang::En.into());
                    assert!(String::from_utf8_lossy(&shown).contains(&format!(":0{second}")));
                    live.event(&now, Lang::Zh.into());
                }
                assert_eq!(live.lock().renderings, 2 * (second + 1));
                tokio::time::advance(EVERY).await;
            }
        });
    }
}
