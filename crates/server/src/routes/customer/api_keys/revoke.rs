//! `DELETE {base}/api-keys/{id}`

use axum::extract::State;
use axum::response::Response;
use claviger_domain::id::KeyId;

use crate::ServerState;
use crate::answer::Answer;
use crate::error::Failure;
use crate::extract::{Caller, Id};
use crate::precondition::IfMatch;
use crate::query::Query;
use crate::requests::RevokeQuery;
use crate::views::Revoked;

/// Revoke an API key.
///
/// When this has answered, the key is accepted nowhere, and never will be again. Keys made with it as their parent
/// die with it. Doing it again changes nothing.
#[utoipa::path(
    delete,
    path = "/api-keys/{id}",
    operation_id = "revokeApiKey",
    tag = "API keys",
    params(("id" = String, Path, description = "The key's id."), RevokeQuery),
    responses((status = 200, description = "The key is revoked.", body = Revoked))
)]
pub(crate) async fn revoke(
    caller: Caller,
    State(state): State<ServerState>,
    Id(id): Id<KeyId>,
    Query(query): Query<RevokeQuery>,
    if_match: IfMatch,
) -> Result<Response, Failure> {
    let (actor, reason) = (caller.actor(), query.reason);
    let mutation = if_match.attempt(|revision| state.app.revoke_key(&actor, id, reason.clone(), revision)).await?;
    let key = mutation.commit().await?;
    let body = Revoked { success: caller.wants_envelope().then_some(true), message: "API key revoked successfully" };
    Ok(Answer::ok(&body)?.revision(key.revision).done())
}
