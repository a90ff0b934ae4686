//! One line of log a request: method, route, status and time taken, and why if it failed.
//!
//! Never a header, a query value or a path: those are the caller's, and may hold a secret.

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::Method;

use crate::ServerState;
use crate::error::Failure;

/// The route that an inner router chose, for the log.
#[derive(Clone)]
struct Route(MatchedPath);

/// Writes the line.
pub(crate) async fn log(State(state): State<ServerState>, request: Request, next: Next) -> Response {
    let started = state.app.now();
    let method = known_method(request.method());
    let outer = request.extensions().get::<MatchedPath>().cloned();
    let response = next.run(request).await;
    let inner = response.extensions().get::<Route>().map(|Route(path)| path.clone());
    let route = inner.or(outer);
    let route = route.as_ref().map_or("-", MatchedPath::as_str);
    let latency_us = state.app.now().as_micros() - started.as_micros();
    let reason = response.extensions().get::<Failure>().map(Failure::reason);
    tracing::info!(method, route, status = response.status().as_u16(), latency_us, reason, "request");
    response
}

/// Tells [`log`], which stands outside of the router this is a layer of, which route was taken.
pub(crate) async fn note_route(request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().cloned();
    let mut response = next.run(request).await;
    if let Some(route) = route {
        response.extensions_mut().insert(Route(route));
    }
    response
}

/// A method may be any word of the caller's.
pub(crate) fn known_method(method: &Method) -> &'static str {
    method.as_str().parse().map_or("other", claviger_domain::endpoint::Method::as_str)
}
