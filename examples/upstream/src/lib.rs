//! The sample upstream: the operator's own API in the demo, the thing that Claviger's keys protect.
//!
//! It has two endpoints, both real: `POST /api/v1/evaluate` finds personal data in a text, and `/v1/users`
//! keeps users. It is *not* where keys are checked. A guard in front of it does that and says who is
//! calling with a [`Caller`] request extension; a request that comes without one is a wiring mistake, and
//! is answered with 500 `unguarded` instead of data.
//!
//! Every answer is in one envelope: `{"success": true, "data": …}` or
//! `{"success": false, "error": {"code": "…", "message": "…", "status": 400}}`.
//!
//! Reading order: [`router`] here, `evaluate.rs` and `users.rs` (one file per endpoint), `body.rs` (how a
//! JSON body is read), `answer.rs` (the envelope), then [`pii`].

mod answer;
mod body;
mod evaluate;
pub mod pii;
mod users;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, post};
use http::StatusCode;

use crate::answer::Failure;

/// The greatest request body, in bytes.
pub const BODY_BYTES_MAX: usize = 256 * 1024;

/// Who is calling, as the guard verified it.
///
/// The wiring inserts this as a request extension after the key was allowed; nothing in the request itself
/// can set it.
#[derive(Clone, Debug)]
pub struct Caller {
    /// The id of the organization that holds the key.
    pub organization: String,
    /// Whether the key is a live key; what a test key writes is never kept.
    pub live: bool,
}

/// The sample API with full paths and a user store of its own, which lives as long as the router.
///
/// It can be merged into a larger router: it has no fallback, and owns exactly `/api/v1/evaluate`,
/// `/v1/users` and what is below them. A host that gives it a whole listener or host name mounts
/// [`not_found`] as the fallback.
pub fn router() -> Router {
    Router::new()
        .route("/api/v1/evaluate", post(evaluate::evaluate).fallback(method_not_allowed))
        .route("/api/v1/evaluate/", any(not_found))
        .route("/api/v1/evaluate/{*rest}", any(not_found))
        .route("/v1/users", post(users::create).fallback(method_not_allowed))
        .route("/v1/users/", any(not_found))
        .route("/v1/users/{id}", get(users::show).fallback(method_not_allowed))
        .route("/v1/users/{id}/", any(not_found))
        .route("/v1/users/{id}/{*rest}", any(not_found))
        .with_state(users::Users::seeded())
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        // A route layer leaves paths that are not ours to the host, and the last one added runs first: no
        // handler, and no 404 or 405 either, is reached without a caller.
        .route_layer(middleware::from_fn(require_caller))
}

/// The 404 of the sample API, for a host to use as the fallback beside [`router`].
pub async fn not_found() -> Response {
    Failure::new(StatusCode::NOT_FOUND, "not_found", "There is nothing at this path.").into_response()
}

async fn method_not_allowed() -> Failure {
    Failure::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "method_not_allowed",
        "This path does not answer to this method; the Allow header lists the ones it does.",
    )
}

/// Fails closed: being reachable without the guard must look broken, never open.
async fn require_caller(request: Request, next: Next) -> Response {
    if request.extensions().get::<Caller>().is_some() {
        next.run(request).await
    } else {
        Failure::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "unguarded",
            "This request did not come through the API key check, so it was not served. Mount the guard in front of \
             this API.",
        )
        .into_response()
    }
}

#[cfg(test)]
mod tests;
