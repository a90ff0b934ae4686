//! `/admin/v1/admin-tokens`

use axum::extract::State;
use axum::response::Response;
use claviger_app::AdminToken;
use claviger_domain::id::AdminTokenId;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{credentials, listed};
use crate::ServerState;
use crate::error::Failure;
use crate::extract::{Id, Operator};
use crate::json::Json;
use crate::query::{Nothing, Query};
use crate::requests::NameBody;
use crate::views::{AdminTokenView, IssuedToken, List};

pub(crate) fn router() -> OpenApiRouter<ServerState> {
    OpenApiRouter::new().routes(routes!(list, create)).routes(routes!(revoke))
}

/// List the admin tokens, newest first, the revoked ones too.
#[utoipa::path(
    get,
    path = "/admin/v1/admin-tokens",
    operation_id = "adminListAdminTokens",
    tag = "Credentials",
    responses((status = 200, description = "Every admin token.", body = List<AdminTokenView>))
)]
async fn list(
    _: Operator,
    State(state): State<ServerState>,
    Query(Nothing): Query<Nothing>,
) -> Result<Response, Failure> {
    listed::<_, AdminTokenView>(state.app.list_admin_tokens().await?)
}

/// Create an admin token.
///
/// Its token is in the answer and can never be read again.
#[utoipa::path(
    post,
    path = "/admin/v1/admin-tokens",
    operation_id = "adminCreateAdminToken",
    tag = "Credentials",
    request_body = NameBody,
    responses((status = 201, description = "The admin token and its token.", body = IssuedToken<AdminTokenView>))
)]
async fn create(
    operator: Operator,
    State(state): State<ServerState>,
    Query(Nothing): Query<Nothing>,
    Json(body): Json<NameBody>,
) -> Result<Response, Failure> {
    let mutation = state.app.create_admin_token(operator.actor(), body.name).await?;
    let path = |admin_token: &AdminToken| format!("/admin/v1/admin-tokens/{}", admin_token.id);
    credentials::created::<_, AdminTokenView>(&state, &operator, mutation, path).await
}

/// Revoke an admin token.
///
/// Doing it again changes nothing.
#[utoipa::path(
    delete,
    path = "/admin/v1/admin-tokens/{id}",
    operation_id = "adminRevokeAdminToken",
    tag = "Credentials",
    params(("id" = String, Path, description = "The admin token's id.")),
    responses((status = 200, description = "The admin token as it is now.", body = AdminTokenView))
)]
async fn revoke(
    operator: Operator,
    State(state): State<ServerState>,
    Id(id): Id<AdminTokenId>,
    Query(Nothing): Query<Nothing>,
) -> Result<Response, Failure> {
    let revoked = state.app.revoke_admin_token(operator.actor(), id).await?.commit().await?;
    credentials::revoked::<_, AdminTokenView>(revoked)
}
