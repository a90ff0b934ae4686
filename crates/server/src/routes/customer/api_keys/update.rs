//! `PATCH {base}/api-keys/{id}`

use axum::extract::State;
use axum::response::Response;
use claviger_app::UpdateKey;
use claviger_domain::id::KeyId;

use super::mutated;
use crate::ServerState;
use crate::error::Failure;
use crate::extract::{Caller, Id};
use crate::json::Json;
use crate::precondition::IfMatch;
use crate::query::{Nothing, Query};
use crate::requests::UpdateKeyBody;
use crate::views::{InForm, KeyView};

/// Change an API key.
///
/// What is absent stays as it is. What is narrowed acts at once; nothing can become wider than the key that asks.
#[utoipa::path(
    patch,
    path = "/api-keys/{id}",
    operation_id = "updateApiKey",
    tag = "API keys",
    params(("id" = String, Path, description = "The key's id.")),
    request_body = UpdateKeyBody,
    responses((status = 200, description = "The key as it is now.", body = InForm<KeyView>))
)]
pub(crate) async fn update(
    caller: Caller,
    State(state): State<ServerState>,
    Id(id): Id<KeyId>,
    Query(Nothing): Query<Nothing>,
    if_match: IfMatch,
    Json(body): Json<UpdateKeyBody>,
) -> Result<Response, Failure> {
    let input = UpdateKey::from(body);
    let actor = caller.actor();
    let mutation = if_match.attempt(|revision| state.app.update_key(&actor, id, input.clone(), revision)).await?;
    mutated(&state, &caller, mutation).await
}
