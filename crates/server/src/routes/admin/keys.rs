//! `/admin/v1/keys`: keys of any organization, on behalf of it.

use axum::extract::State;
use axum::response::Response;
use claviger_app::{CreateKey, Issued, KeyPlace, KeyRow, Mutation, UpdateKey};
use claviger_domain::id::KeyId;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::ServerState;
use crate::answer::Answer;
use crate::error::Failure;
use crate::extract::{Id, OperatorOrMember};
use crate::idempotency::finish;
use crate::json::{Json, OptionalJson};
use crate::precondition::IfMatch;
use crate::query::{Nothing, Query};
use crate::requests::{
    AdminCreateKeyBody, AdminKeyList, AdminKeyListParameters, KeyListParameters, RevokeQuery, RotateKeyBody,
    UpdateKeyBody,
};
use crate::views::{AdminKeyView, IssuedAdminKey, List};

const PATH: &str = "/admin/v1/keys";

pub(crate) fn router() -> OpenApiRouter<ServerState> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(show, update, revoke))
        .routes(routes!(rotate))
        .routes(routes!(disable))
        .routes(routes!(enable))
}

/// List keys.
#[utoipa::path(
    get,
    path = "/admin/v1/keys",
    operation_id = "adminListKeys",
    tag = "Keys",
    params(AdminKeyListParameters, KeyListParameters),
    responses((
        status = 200,
        description = "A page of keys, newest first.",
        body = List<AdminKeyView>,
        headers(("Link" = String, description = "The next page, with `rel=\"next\"`, if there is one."))
    ))
)]
async fn list(
    operator: OperatorOrMember,
    State(state): State<ServerState>,
    Query(AdminKeyList(list)): Query<AdminKeyList>,
) -> Result<Response, Failure> {
    let page = state.app.list_keys(operator.actor(), list.filter.clone(), list.page).await?;
    let now = state.app.now();
    let next = page.rows.last().filter(|_| page.more).map(|row| row.key.id.to_string());
    let next_page = next.as_deref().map(|cursor| list.next_page(PATH, cursor));
    let rows = page.rows.iter().map(|row| AdminKeyView::of(row, now)).collect();
    Ok(Answer::ok(&List::bare(rows, next))?.next_page(next_page.as_deref())?.done())
}

/// Create a key for an organization.
///
/// The secret is in the answer and can never be read again.
#[utoipa::path(
    post,
    path = "/admin/v1/keys",
    operation_id = "adminCreateKey",
    tag = "Keys",
    request_body = AdminCreateKeyBody,
    responses((status = 201, description = "The key and its secret.", body = IssuedAdminKey))
)]
async fn create(
    operator: OperatorOrMember,
    State(state): State<ServerState>,
    Query(Nothing): Query<Nothing>,
    Json(body): Json<AdminCreateKeyBody>,
) -> Result<Response, Failure> {
    let (place, input): (KeyPlace, CreateKey) = body.try_into()?;
    let mutation = state.app.create_key(operator.actor(), place, input).await?;
    let answer = |issued: Issued, revision| {
        let location = format!("{PATH}/{}", issued.row.key.id);
        let etag = issued.row.revision;
        let key = IssuedAdminKey::of(issued, state.app.now());
        Ok(Answer::created(&location, &key)?.etag(etag)?.revision(revision))
    };
    finish(&state, operator.keyed(), mutation, answer).await
}

/// Show a key.
#[utoipa::path(
    get,
    path = "/admin/v1/keys/{id}",
    operation_id = "adminShowKey",
    tag = "Keys",
    params(("id" = String, Path, description = "The key's id.")),
    responses((status = 200, description = "The key.", body = AdminKeyView))
)]
async fn show(
    operator: OperatorOrMember,
    State(state): State<ServerState>,
    Id(id): Id<KeyId>,
    Query(Nothing): Query<Nothing>,
) -> Result<Response, Failure> {
    let row = state.app.find_key(operator.actor(), id).await?;
    Ok(Answer::ok(&AdminKeyView::of(&row, state.app.now()))?.etag(row.revision)?.done())
}

/// Change a key.
#[utoipa::path(
    patch,
    path = "/admin/v1/keys/{id}",
    operation_id = "adminUpdateKey",
    tag = "Keys",
    params(("id" = String, Path, description = "The key's id.")),
    request_body = UpdateKeyBody,
    responses((status = 200, description = "The key as it is now.", body = AdminKeyView))
)]
async fn update(
    operator: OperatorOrMember,
    State(state): State<ServerState>,
    Id(id): Id<KeyId>,
    Query(Nothing): Query<Nothing>,
    if_match: IfMatch,
    Json(body): Json<UpdateKeyBody>,
) -> Result<Response, Failure> {
    let (app, input) = (&state.app, UpdateKey::from(body));
    let mutation = |revision| app.update_key(operator.actor(), id, input.clone(), revision);
    mutated(&state, &operator, if_match.attempt(mutation).await?).await
}

/// Revoke a key.
///
/// When this has answered, the key is accepted nowhere, and never will be again. Doing it again changes nothing.
#[utoipa::path(
    delete,
    path = "/admin/v1/keys/{id}",
    operation_id = "adminRevokeKey",
    tag = "Keys",
    params(("id" = String, Path, description = "The key's id."), RevokeQuery),
    responses((status = 200, description = "The key as it is now.", body = AdminKeyView))
)]
async fn revoke(
    operator: OperatorOrMember,
    State(state): State<ServerState>,
    Id(id): Id<KeyId>,
    Query(query): Query<RevokeQuery>,
    if_match: IfMatch,
) -> Result<Response, Failure> {
    let (app, reason) = (&state.app, query.reason);
    let mutation = |revision| app.revoke_key(operator.actor(), id, reason.clone(), revision);
    mutated(&state, &operator, if_match.attempt(mutation).await?).await
}

/// Rotate a key.
///
/// The new secret is in the answer and can never be read again. The old one works on for `overlap_seconds`.
#[utoipa::path(
    post,
    path = "/admin/v1/keys/{id}/rotate",
    operation_id = "adminRotateKey",
    tag = "Keys",
    params(("id" = String, Path, description = "The key's id.")),
    request_body = RotateKeyBody,
    responses((status = 200, description = "The key and its new secret.", body = IssuedAdminKey))
)]
async fn rotate(
    operator: OperatorOrMember,
    State(state): State<ServerState>,
    Id(id): Id<KeyId>,
    Query(Nothing): Query<Nothing>,
    if_match: IfMatch,
    OptionalJson(body): OptionalJson<RotateKeyBody>,
) -> Result<Response, Failure> {
    let app = &state.app;
    let mutation = |revision| app.rotate_key(operator.actor(), id, body.overlap_seconds, revision);
    let mutation = if_match.attempt(mutation).await?;
    let answer = |issued: Issued, revision| {
        let etag = issued.row.revision;
        Ok(Answer::ok(&IssuedAdminKey::of(issued, app.now()))?.etag(etag)?.revision(revision))
    };
    finish(&state, operator.keyed(), mutation, answer).await
}

/// Disable a key.
#[utoipa::path(
    post,
    path = "/admin/v1/keys/{id}/disable",
    operation_id = "adminDisableKey",
    tag = "Keys",
    params(("id" = String, Path, description = "The key's id.")),
    responses((status = 200, description = "The key as it is now.", body = AdminKeyView))
)]
async fn disable(
    operator: OperatorOrMember,
    State(state): State<ServerState>,
    Id(id): Id<KeyId>,
    Query(Nothing): Query<Nothing>,
    if_match: IfMatch,
) -> Result<Response, Failure> {
    let mutation = |revision| state.app.disable_key(operator.actor(), id, revision);
    mutated(&state, &operator, if_match.attempt(mutation).await?).await
}

/// Enable a disabled key.
#[utoipa::path(
    post,
    path = "/admin/v1/keys/{id}/enable",
    operation_id = "adminEnableKey",
    tag = "Keys",
    params(("id" = String, Path, description = "The key's id.")),
    responses((status = 200, description = "The key as it is now.", body = AdminKeyView))
)]
async fn enable(
    operator: OperatorOrMember,
    State(state): State<ServerState>,
    Id(id): Id<KeyId>,
    Query(Nothing): Query<Nothing>,
    if_match: IfMatch,
) -> Result<Response, Failure> {
    let mutation = |revision| state.app.enable_key(operator.actor(), id, revision);
    mutated(&state, &operator, if_match.attempt(mutation).await?).await
}

async fn mutated(
    state: &ServerState,
    operator: &OperatorOrMember,
    mutation: Mutation<KeyRow>,
) -> Result<Response, Failure> {
    let answer = |row: KeyRow, revision| {
        let view = AdminKeyView::of(&row, state.app.now());
        Ok(Answer::ok(&view)?.etag(row.revision)?.revision(revision))
    };
    finish(state, operator.keyed(), mutation, answer).await
}
