//! `POST {base}/api-keys/{id}/rotate`

use axum::extract::State;
use axum::response::Response;
use claviger_app::Issued;
use claviger_domain::id::KeyId;

use crate::ServerState;
use crate::answer::Answer;
use crate::error::Failure;
use crate::extract::{Caller, Id};
use crate::idempotency::finish;
use crate::json::OptionalJson;
use crate::precondition::IfMatch;
use crate::query::{Nothing, Query};
use crate::requests::RotateKeyBody;
use crate::views::{InForm, IssuedKey};

/// Rotate an API key.
///
/// The key keeps its id and gets a new secret, which is in the answer and can never be read again. The old secret
/// works on for `overlap_seconds`. Of three secrets the oldest is dead.
#[utoipa::path(
    post,
    path = "/api-keys/{id}/rotate",
    operation_id = "rotateApiKey",
    tag = "API keys",
    params(("id" = String, Path, description = "The key's id.")),
    request_body = RotateKeyBody,
    responses((status = 200, description = "The key and its new secret.", body = InForm<IssuedKey>))
)]
pub(crate) async fn rotate(
    caller: Caller,
    State(state): State<ServerState>,
    Id(id): Id<KeyId>,
    Query(Nothing): Query<Nothing>,
    if_match: IfMatch,
    OptionalJson(body): OptionalJson<RotateKeyBody>,
) -> Result<Response, Failure> {
    let (actor, overlap) = (caller.actor(), body.overlap_seconds);
    let mutation = if_match.attempt(|revision| state.app.rotate_key(&actor, id, overlap, revision)).await?;
    let answer = |issued: Issued, revision| {
        let etag = issued.row.revision;
        let key = IssuedKey::of(issued, state.app.now());
        Ok(Answer::ok(&caller.in_form(key))?.etag(etag)?.revision(revision))
    };
    finish(&state, caller.keyed(), mutation, answer).await
}
