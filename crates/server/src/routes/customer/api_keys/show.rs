//! `GET {base}/api-keys/{id}`

use axum::extract::State;
use axum::response::Response;
use claviger_domain::id::KeyId;

use crate::ServerState;
use crate::answer::Answer;
use crate::error::Failure;
use crate::extract::{Caller, Id};
use crate::query::{Nothing, Query};
use crate::views::{InForm, KeyView};

/// Show an API key.
#[utoipa::path(
    get,
    path = "/api-keys/{id}",
    operation_id = "showApiKey",
    tag = "API keys",
    params(("id" = String, Path, description = "The key's id.")),
    responses((status = 200, description = "The key.", body = InForm<KeyView>))
)]
pub(crate) async fn show(
    caller: Caller,
    State(state): State<ServerState>,
    Id(id): Id<KeyId>,
    Query(Nothing): Query<Nothing>,
) -> Result<Response, Failure> {
    let row = state.app.find_key(&caller.actor(), id).await?;
    let view = KeyView::of(&row, state.app.now());
    Ok(Answer::ok(&caller.in_form(view))?.etag(row.revision)?.done())
}
