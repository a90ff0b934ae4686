//! What monitoring asks: `/healthz`, `/readyz`, `/metrics`; and `/openapi.json`.

use std::sync::LazyLock;

use axum::extract::State;
use axum::response::Response;
use bytes::Bytes;
use claviger_domain::change::Revision;
use claviger_domain::time::has_expired;
use http::HeaderValue;
use http::header::CONTENT_TYPE;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::ServerState;
use crate::answer::Answer;
use crate::error::Failure;

/// The routes.
pub(crate) fn router() -> OpenApiRouter<ServerState> {
    OpenApiRouter::new()
        .routes(routes!(health))
        .routes(routes!(readiness))
        .routes(routes!(metrics))
        .routes(routes!(document))
}

/// The process runs.
#[derive(Serialize, ToSchema)]
struct Health {
    /// `ok`.
    status: &'static str,
}

/// Ask whether the process runs.
#[utoipa::path(
    get,
    path = "/healthz",
    operation_id = "health",
    tag = "Operations",
    responses((status = 200, description = "It runs.", body = Health))
)]
async fn health() -> Result<Response, Failure> {
    Ok(Answer::ok(&Health { status: "ok" })?.done())
}

/// Requests can be answered.
#[derive(Serialize, ToSchema)]
struct Readiness {
    /// `ready`.
    status: &'static str,
    /// The last change that the engine has applied.
    #[schema(value_type = i64)]
    revision: Revision,
}

/// Ask whether requests can be answered.
///
/// No, while the engine is not loaded or holds no lease: every verdict would be `unavailable`.
#[utoipa::path(
    get,
    path = "/readyz",
    operation_id = "readiness",
    tag = "Operations",
    responses((status = 200, description = "They can.", body = Readiness))
)]
async fn readiness(State(state): State<ServerState>) -> Result<Response, Failure> {
    let engine = state.app.engine();
    if !engine.is_loaded() || has_expired(Some(engine.lease_ends_at()), state.app.now()) {
        return Err(Failure::unavailable());
    }
    Ok(Answer::ok(&Readiness { status: "ready", revision: engine.revision() })?.done())
}

/// Read the metrics.
#[utoipa::path(
    get,
    path = "/metrics",
    operation_id = "metrics",
    tag = "Operations",
    responses((
        status = 200,
        description = "OpenMetrics text.",
        body = String,
        content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8"
    ))
)]
async fn metrics(State(state): State<ServerState>) -> Response {
    let text = format!(
        "# HELP claviger_build What runs.\n\
         # TYPE claviger_build info\n\
         claviger_build_info{{version=\"{}\"}} 1\n\
         # HELP claviger_revision The last change that the engine has applied.\n\
         # TYPE claviger_revision gauge\n\
         claviger_revision {}\n\
         # EOF\n",
        env!("CARGO_PKG_VERSION"),
        state.app.engine().revision(),
    );
    let mut response = Response::new(text.into());
    let content_type = HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response
}

/// Read this document.
///
/// Served on both listeners.
#[utoipa::path(
    get,
    path = "/openapi.json",
    operation_id = "openapi",
    tag = "Operations",
    responses((status = 200, description = "The OpenAPI document.", body = Object))
)]
pub(crate) async fn document() -> Result<Response, Failure> {
    static DOCUMENT: LazyLock<Option<Bytes>> =
        LazyLock::new(|| serde_json::to_vec(&crate::openapi()).ok().map(Bytes::from));
    let Some(document) = DOCUMENT.clone() else {
        return Err(Failure::broken("the document cannot be written"));
    };
    let mut response = Response::new(document.into());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(response)
}
