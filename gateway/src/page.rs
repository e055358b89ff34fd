//! The page, its data and its metrics, over HTTP on the management side.
//!
//! The page is rendered here and readable without scripts; a few lines of JavaScript fetch it again each second and put
//! the new part in place of the old. Nothing is loaded from elsewhere, and the Content-Security-Policy says so. Only
//! counts and states are shown: there is nothing about a person to show.

mod metrics;
mod numbers;
mod view;

use crate::control::Shared;
use axum::Router;
use axum::extract::{Request, State};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{Html, IntoResponse, Json, Response};
use axum::routing::get;
use std::net::SocketAddr;
use tokio::net::TcpListener;

const CSP: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; \
                   base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Serves until the process ends.
pub(crate) async fn serve(listener: TcpListener, shared: Shared, _listen: SocketAddr) -> std::io::Result<()> {
    axum::serve(listener, router(shared)).await
}

fn router(shared: Shared) -> Router {
    Router::new()
        .route(
            "/",
            get(
                |State(s): State<Shared>| async move { Html(view::page(&s.snapshot.borrow()).into_string()) },
            ),
        )
        .route("/healthz", get(|| async { "ok\n" }))
        .route(
            "/api/v1/now",
            get(|State(s): State<Shared>| async move { Json(s.snapshot.borrow().as_ref().clone()) }),
        )
        .route(
            "/metrics",
            get(|State(s): State<Shared>| async move {
                let text = metrics::render(&s.snapshot.borrow());
                ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text)
            }),
        )
        .route("/style.css", get(|| async { ([(CONTENT_TYPE, "text/css")], include_str!("page/style.css")) }))
        .route(
            "/page.js",
            get(|| async { ([(CONTENT_TYPE, "text/javascript")], include_str!("page/page.js")) }),
        )
        .fallback(|| async { (StatusCode::NOT_FOUND, "there is no such page\n").into_response() })
        .layer(middleware::from_fn(headers))
        .with_state(shared)
}

/// On every answer, errors included.
async fn headers(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(CSP));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
