//! `POST {base}/api-keys`

use axum::extract::State;
use axum::response::Response;
use claviger_app::{Issued, KeyPlace};

use crate::ServerState;
use crate::answer::Answer;
use crate::error::Failure;
use crate::extract::Caller;
use crate::idempotency::finish;
use crate::json::Json;
use crate::query::{Nothing, Query};
use crate::requests::CreateKeyBody;
use crate::views::{InForm, IssuedKey};

/// Create an API key.
///
/// The secret is in the answer and can never be read again. A key cannot make one with more access than it has
/// itself; what it leaves open is as restricted as itself. An ephemeral key's parent is the key that asks.
#[utoipa::path(
    post,
    path = "/api-keys",
    operation_id = "createApiKey",
    tag = "API keys",
    request_body = CreateKeyBody,
    responses((status = 201, description = "The key and its secret.", body = InForm<IssuedKey>))
)]
pub(crate) async fn create(
    caller: Caller,
    State(state): State<ServerState>,
    Query(Nothing): Query<Nothing>,
    Json(body): Json<CreateKeyBody>,
) -> Result<Response, Failure> {
    let mutation = state.app.create_key(&caller.actor(), KeyPlace::default(), body.try_into()?).await?;
    let answer = |issued: Issued, revision| {
        let location = caller.path(&format!("/api-keys/{}", issued.row.key.id));
        let etag = issued.row.revision;
        let key = IssuedKey::of(issued, state.app.now());
        Ok(Answer::created(&location, &caller.in_form(key))?.etag(etag)?.revision(revision))
    };
    finish(&state, caller.keyed(), mutation, answer).await
}
