//! What stands before each endpoint: the request is held to the row of the endpoint, and refused unless all of it is as the row says.

use super::peer::{Peer, Side};
use super::routes::Row;
use crate::access::Role;
use crate::control::Shared;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

/// The gate of one endpoint.
#[derive(Clone)]
pub(super) struct Gate {
    pub(super) row: &'static Row,
    pub(super) shared: Shared,
}

/// Lets a request through, or answers it.
pub(super) async fn hold(State(gate): State<Gate>, request: Request, next: Next) -> Response {
    let row = gate.row;
    if !row.sides.admit(side(&request)) {
        return not_there();
    }
    if !row.who.admits(role(&gate.shared, &request)) {
        return StatusCode::FORBIDDEN.into_response();
    }
    next.run(request).await
}

/// From which side a request comes; one that nobody says it of is from the side that may less.
pub(super) fn side(request: &Request) -> Side {
    request.extensions().get::<Peer>().map_or(Side::Lan, |peer| peer.side)
}

/// What is said of a path that is not there, or not for this side.
pub(super) fn not_there() -> Response {
    (StatusCode::NOT_FOUND, "there is no such page\n").into_response()
}

/// Who asks. While there are no accounts, whoever is on the management side is an operator.
fn role(_shared: &Shared, request: &Request) -> Option<Role> {
    (side(request) == Side::Management).then_some(Role::Operator)
}
