//! `POST {base}/api-keys/{id}/disable`

use axum::extract::State;
use axum::response::Response;
use claviger_domain::id::KeyId;

use super::mutated;
use crate::ServerState;
use crate::error::Failure;
use crate::extract::{Caller, Id};
use crate::precondition::IfMatch;
use crate::query::{Nothing, Query};
use crate::views::{InForm, KeyView};

/// Disable an API key.
///
/// It is refused everywhere until it is enabled again.
#[utoipa::path(
    post,
    path = "/api-keys/{id}/disable",
    operation_id = "disableApiKey",
    tag = "API keys",
    params(("id" = String, Path, description = "The key's id.")),
    responses((status = 200, description = "The key as it is now.", body = InForm<KeyView>))
)]
pub(crate) async fn disable(
    caller: Caller,
    State(state): State<ServerState>,
    Id(id): Id<KeyId>,
    Query(Nothing): Query<Nothing>,
    if_match: IfMatch,
) -> Result<Response, Failure> {
    let actor = caller.actor();
    let mutation = if_match.attempt(|revision| state.app.disable_key(&actor, id, revision)).await?;
    mutated(&state, &caller, mutation).await
}
