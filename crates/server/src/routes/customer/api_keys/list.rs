//! `GET {base}/api-keys`

use axum::extract::State;
use axum::response::Response;

use crate::ServerState;
use crate::error::Failure;
use crate::extract::Caller;
use crate::query::Query;
use crate::requests::{KeyList, KeyListParameters};
use crate::views::{KeyView, List};

/// List the organization's API keys.
///
/// Newest first, the dead ones too. A test key sees test keys only.
#[utoipa::path(
    get,
    path = "/api-keys",
    operation_id = "listApiKeys",
    tag = "API keys",
    params(KeyListParameters),
    responses((
        status = 200,
        description = "A page of keys.",
        body = List<KeyView>,
        headers(("Link" = String, description = "The next page, with `rel=\"next\"`, if there is one."))
    ))
)]
pub(crate) async fn list(
    caller: Caller,
    State(state): State<ServerState>,
    Query(list): Query<KeyList>,
) -> Result<Response, Failure> {
    let page = state.app.list_keys(&caller.actor(), list.filter.clone(), list.page).await?;
    let now = state.app.now();
    let next = page.rows.last().filter(|_| page.more).map(|row| row.key.id.to_string());
    let next_page = next.as_deref().map(|cursor| list.next_page(&caller.path("/api-keys"), cursor));
    let rows = page.rows.iter().map(|row| KeyView::of(row, now)).collect();
    caller.list(rows, next, next_page.as_deref())
}
