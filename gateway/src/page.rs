//! The page, its data and its metrics, over HTTP on the management side.

use crate::control::Shared;
use axum::Router;
use axum::extract::State;
use axum::response::Json;
use axum::routing::get;
use std::net::SocketAddr;
use tokio::net::TcpListener;

/// Serves until the process ends.
pub(crate) async fn serve(listener: TcpListener, shared: Shared, _listen: SocketAddr) -> std::io::Result<()> {
    axum::serve(listener, router(shared)).await
}

fn router(shared: Shared) -> Router {
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route(
            "/api/v1/now",
            get(|State(s): State<Shared>| async move { Json(s.snapshot.borrow().as_ref().clone()) }),
        )
        .with_state(shared)
}
