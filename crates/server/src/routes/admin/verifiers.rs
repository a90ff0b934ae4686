//! `/admin/v1/verifiers`

use axum::extract::State;
use axum::response::Response;
use claviger_domain::change::Verifier;
use claviger_domain::id::VerifierId;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{credentials, listed};
use crate::ServerState;
use crate::error::Failure;
use crate::extract::{Id, Operator};
use crate::json::Json;
use crate::query::{Nothing, Query};
use crate::requests::NameBody;
use crate::views::{IssuedToken, List, VerifierView};

pub(crate) fn router() -> OpenApiRouter<ServerState> {
    OpenApiRouter::new().routes(routes!(list, create)).routes(routes!(revoke))
}

/// List the verifiers, newest first, the revoked ones too.
#[utoipa::path(
    get,
    path = "/admin/v1/verifiers",
    operation_id = "adminListVerifiers",
    tag = "Credentials",
    responses((status = 200, description = "Every verifier.", body = List<VerifierView>))
)]
async fn list(
    _: Operator,
    State(state): State<ServerState>,
    Query(Nothing): Query<Nothing>,
) -> Result<Response, Failure> {
    listed::<_, VerifierView>(state.app.list_verifiers().await?)
}

/// Create a verifier.
///
/// Its token is in the answer and can never be read again.
#[utoipa::path(
    post,
    path = "/admin/v1/verifiers",
    operation_id = "adminCreateVerifier",
    tag = "Credentials",
    request_body = NameBody,
    responses((status = 201, description = "The verifier and its token.", body = IssuedToken<VerifierView>))
)]
async fn create(
    operator: Operator,
    State(state): State<ServerState>,
    Query(Nothing): Query<Nothing>,
    Json(body): Json<NameBody>,
) -> Result<Response, Failure> {
    let mutation = state.app.create_verifier(operator.actor(), body.name).await?;
    let path = |verifier: &Verifier| format!("/admin/v1/verifiers/{}", verifier.id);
    credentials::created::<_, VerifierView>(&state, &operator, mutation, path).await
}

/// Revoke a verifier.
///
/// Doing it again changes nothing.
#[utoipa::path(
    delete,
    path = "/admin/v1/verifiers/{id}",
    operation_id = "adminRevokeVerifier",
    tag = "Credentials",
    params(("id" = String, Path, description = "The verifier's id.")),
    responses((status = 200, description = "The verifier as it is now.", body = VerifierView))
)]
async fn revoke(
    operator: Operator,
    State(state): State<ServerState>,
    Id(id): Id<VerifierId>,
    Query(Nothing): Query<Nothing>,
) -> Result<Response, Failure> {
    let revoked = state.app.revoke_verifier(operator.actor(), id).await?.commit().await?;
    credentials::revoked::<_, VerifierView>(revoked)
}
