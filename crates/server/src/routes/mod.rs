//! The routes. Files mirror URLs.

mod admin;
mod customer;
mod ops;
mod verify;

pub(crate) use admin::{BULK_REVOKE_PATH, IMPORT_PATH, ImportReport};

use axum::Router;
use axum::extract::Request;
use axum::middleware::{from_fn, from_fn_with_state, map_response};
use axum::response::Response;
use axum::routing::get;
use claviger_domain::limits;
use tower::ServiceExt as _;
use utoipa::openapi::OpenApi;

use crate::ServerState;
use crate::answer::no_store;
use crate::error::Failure;
use crate::{detach, idempotency, trace, visit};

/// The public listener's router.
pub(crate) fn public(state: ServerState, fallback: Option<Router>) -> Router {
    let customer = customer::Customer::new(state.clone(), fallback);
    Router::new()
        .route("/openapi.json", get(ops::document))
        .method_not_allowed_fallback(method_not_allowed)
        .layer(map_response(no_store))
        .fallback(move |request: Request| async move { customer.answer(request).await })
        .layer(from_fn_with_state(state.clone(), trace::log))
        .with_state(state)
}

/// The internal listener's router.
pub(crate) fn internal(state: ServerState) -> Router {
    let admin = admin::router().layer(from_fn_with_state(state.clone(), visit::layer));
    let (router, _) = admin.merge(ops::router()).split_for_parts();
    router
        .fallback(no_route)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(from_fn(idempotency::layer))
        .layer(from_fn(detach::layer))
        .layer(map_response(no_store))
        .layer(from_fn_with_state(state.clone(), trace::log))
        .with_state(state)
}

/// What the routes say about themselves: the customer API's part, whose paths are below a base path, and the
/// internal listener's.
pub(crate) fn documents() -> (OpenApi, OpenApi) {
    let (_, customer) = customer::router().split_for_parts();
    let (_, mut internal) = admin::router().merge(ops::router()).split_for_parts();
    internal.merge(verify::document());
    (customer, internal)
}

/// The largest body that a request to this path may have.
pub(crate) fn body_bytes_max(path: &str) -> usize {
    if path == IMPORT_PATH { limits::IMPORT_BYTES_MAX } else { limits::BODY_BYTES_MAX }
}

async fn no_route() -> Failure {
    Failure::no_route()
}

async fn method_not_allowed() -> Failure {
    Failure::method_not_allowed()
}

/// Sends a request on to a router that is complete.
async fn call(router: Router, request: Request) -> Response {
    match router.oneshot(request).await {
        Ok(response) => response,
        Err(never) => match never {},
    }
}
