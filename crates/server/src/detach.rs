//! What changes something is carried through, whoever is still listening.
//!
//! A connection that breaks drops the future of its request at whatever it was waiting for. Mutations share a transaction with
//! those of other callers, so none of them is left half way: each runs in a task of its own.

use axum::extract::Request;
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

use crate::error::Failure;

/// Runs requests with an unsafe method (RFC 9110 section 9.2.1) to their end.
pub(crate) async fn layer(request: Request, next: Next) -> Response {
    if request.method().is_safe() {
        return next.run(request).await;
    }
    match tokio::spawn(next.run(request)).await {
        Ok(response) => response,
        Err(error) => Failure::broken(&format!("request: {error}")).into_response(),
    }
}
