//! `POST {base}/api-keys/{id}/enable`

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

/// Enable a disabled API key.
#[utoipa::path(
    post,
    path = "/api-keys/{id}/enable",
    operation_id = "enableApiKey",
    tag = "API keys",
    params(("id" = String, Path, description = "The key's id.")),
    responses((status = 200, description = "The key as it is now.", body = InForm<KeyView>))
)]
pub(crate) async fn enable(
    caller: Caller,
    State(state): State<ServerState>,
    Id(id): Id<KeyId>,
    Query(Nothing): Query<Nothing>,
    if_match: IfMatch,
) -> Result<Response, Failure> {
    let actor = caller.actor();
    let mutation = if_match.attempt(|revision| state.app.enable_key(&actor, id, revision)).await?;
    mutated(&state, &caller, mutation).await
}
