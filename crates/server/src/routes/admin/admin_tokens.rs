//! `/admin/v1/admin-tokens`

use axum::extract::State;
use axum::response::Response;
use claviger_domain::id::AdminTokenId;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::ServerState;
use crate::answer::Answer;
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
    let found = state.app.list_admin_tokens().await?;
    Ok(Answer::ok(&List::bare(found.into_iter().map(AdminTokenView::from).collect(), None))?.done())
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
    _: Operator,
    State(state): State<ServerState>,
    Query(Nothing): Query<Nothing>,
    Json(body): Json<NameBody>,
) -> Result<Response, Failure> {
    let (created, token) = state.app.create_admin_token(body.name).await?;
    let location = format!("/admin/v1/admin-tokens/{}", created.value.id);
    let view = IssuedToken::of(AdminTokenView::from(created.value), token);
    Ok(Answer::created(&location, &view)?.revision(created.revision).done())
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
    _: Operator,
    State(state): State<ServerState>,
    Id(id): Id<AdminTokenId>,
    Query(Nothing): Query<Nothing>,
) -> Result<Response, Failure> {
    let revoked = state.app.revoke_admin_token(id).await?;
    Ok(Answer::ok(&AdminTokenView::from(revoked.value))?.revision(revoked.revision).done())
}
