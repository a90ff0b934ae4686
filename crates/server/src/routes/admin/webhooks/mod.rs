//! `/admin/v1/webhooks`

mod deliveries;
mod shapes;

use axum::extract::State;
use axum::response::Response;
use claviger_app::{CreateWebhook, IssuedWebhook, UpdateWebhook, WebhookRow};
use claviger_domain::id::WebhookId;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::ServerState;
use crate::answer::Answer;
use crate::error::Failure;
use crate::extract::{Id, Operator};
use crate::idempotency::finish;
use crate::json::{Json, OptionalJson};
use crate::query::{Nothing, Query};
use crate::views::List;
use shapes::{
    CreateWebhookBody, IssuedWebhookView, RotateSecretBody, UpdateWebhookBody, WebhookList, WebhookListParameters,
    WebhookView,
};

const PATH: &str = "/admin/v1/webhooks";

pub(crate) fn router() -> OpenApiRouter<ServerState> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(show, update, delete))
        .routes(routes!(rotate_secret))
        .merge(deliveries::router())
}

/// List the webhook endpoints.
#[utoipa::path(
    get,
    path = "/admin/v1/webhooks",
    operation_id = "adminListWebhooks",
    tag = "Webhooks",
    params(WebhookListParameters),
    responses((
        status = 200,
        description = "A page of endpoints, newest first.",
        body = List<WebhookView>,
        headers(("Link" = String, description = "The next page, with `rel=\"next\"`, if there is one."))
    ))
)]
async fn list(
    _: Operator,
    State(state): State<ServerState>,
    Query(WebhookList { organization, page }): Query<WebhookList>,
) -> Result<Response, Failure> {
    let found = state.app.list_webhooks(organization, page).await?;
    let next = found.rows.last().filter(|_| found.more).map(|row| row.endpoint.id.to_string());
    let filter = organization.map_or(String::new(), |id| format!("&organization={id}"));
    let next_page = next.as_deref().map(|cursor| format!("{PATH}?limit={}&cursor={cursor}{filter}", page.limit));
    let rows = found.rows.into_iter().map(WebhookView::from).collect();
    Ok(Answer::ok(&List::bare(rows, next))?.next_page(next_page.as_deref())?.done())
}

/// Create a webhook endpoint.
///
/// The signing secret is in the answer and can never be read again. Nothing is sent to private, local and reserved
/// addresses, whatever the name of the host resolves to later.
#[utoipa::path(
    post,
    path = "/admin/v1/webhooks",
    operation_id = "adminCreateWebhook",
    tag = "Webhooks",
    request_body = CreateWebhookBody,
    responses((status = 201, description = "The endpoint and its signing secret.", body = IssuedWebhookView))
)]
async fn create(
    operator: Operator,
    State(state): State<ServerState>,
    Query(Nothing): Query<Nothing>,
    Json(body): Json<CreateWebhookBody>,
) -> Result<Response, Failure> {
    let input = CreateWebhook::from(body);
    let mutation = state.app.create_webhook(operator.actor(), input).await?;
    let answer = |issued: IssuedWebhook, revision| {
        let location = format!("{PATH}/{}", issued.row.endpoint.id);
        Ok(Answer::created(&location, &IssuedWebhookView::of(issued))?.revision(revision))
    };
    finish(&state, operator.keyed(), mutation, answer).await
}

/// Show a webhook endpoint.
#[utoipa::path(
    get,
    path = "/admin/v1/webhooks/{id}",
    operation_id = "adminShowWebhook",
    tag = "Webhooks",
    params(("id" = String, Path, description = "The endpoint's id.")),
    responses((status = 200, description = "The endpoint.", body = WebhookView))
)]
async fn show(
    _: Operator,
    State(state): State<ServerState>,
    Id(id): Id<WebhookId>,
    Query(Nothing): Query<Nothing>,
) -> Result<Response, Failure> {
    Ok(Answer::ok(&WebhookView::from(state.app.find_webhook(id).await?))?.done())
}

/// Change a webhook endpoint, or switch it off or on.
///
/// While it is off, it is told nothing of what happens. What still waited for it and comes due meanwhile is given up,
/// and can be replayed.
#[utoipa::path(
    patch,
    path = "/admin/v1/webhooks/{id}",
    operation_id = "adminUpdateWebhook",
    tag = "Webhooks",
    params(("id" = String, Path, description = "The endpoint's id.")),
    request_body = UpdateWebhookBody,
    responses((status = 200, description = "The endpoint as it is now.", body = WebhookView))
)]
async fn update(
    operator: Operator,
    State(state): State<ServerState>,
    Id(id): Id<WebhookId>,
    Query(Nothing): Query<Nothing>,
    Json(body): Json<UpdateWebhookBody>,
) -> Result<Response, Failure> {
    let mutation = state.app.update_webhook(operator.actor(), id, UpdateWebhook::from(body)).await?;
    let updated = mutation.commit().await?;
    Ok(Answer::ok(&WebhookView::from(updated.value))?.revision(updated.revision).done())
}

/// Delete a webhook endpoint.
///
/// Its log goes with it, and what waited for it is not sent.
#[utoipa::path(
    delete,
    path = "/admin/v1/webhooks/{id}",
    operation_id = "adminDeleteWebhook",
    tag = "Webhooks",
    params(("id" = String, Path, description = "The endpoint's id.")),
    responses((status = 200, description = "The endpoint as it was.", body = WebhookView))
)]
async fn delete(
    operator: Operator,
    State(state): State<ServerState>,
    Id(id): Id<WebhookId>,
    Query(Nothing): Query<Nothing>,
) -> Result<Response, Failure> {
    let deleted = state.app.delete_webhook(operator.actor(), id).await?.commit().await?;
    Ok(Answer::ok(&WebhookView::from(deleted.value))?.revision(deleted.revision).done())
}

/// Give a webhook endpoint a new signing secret.
///
/// It is in the answer and can never be read again. For `overlap_seconds` everything is signed with both, so that whoever
/// checks signatures can change over at any moment of them.
#[utoipa::path(
    post,
    path = "/admin/v1/webhooks/{id}/rotate-secret",
    operation_id = "adminRotateWebhookSecret",
    tag = "Webhooks",
    params(("id" = String, Path, description = "The endpoint's id.")),
    request_body = RotateSecretBody,
    responses((status = 200, description = "The endpoint and its new signing secret.", body = IssuedWebhookView))
)]
async fn rotate_secret(
    operator: Operator,
    State(state): State<ServerState>,
    Id(id): Id<WebhookId>,
    Query(Nothing): Query<Nothing>,
    OptionalJson(body): OptionalJson<RotateSecretBody>,
) -> Result<Response, Failure> {
    let mutation = state.app.rotate_webhook_secret(operator.actor(), id, body.overlap_seconds()).await?;
    let answer = |issued, revision| Ok(Answer::ok(&IssuedWebhookView::of(issued))?.revision(revision));
    finish(&state, operator.keyed(), mutation, answer).await
}

/// An endpoint without its secrets.
impl From<WebhookRow> for WebhookView {
    fn from(row: WebhookRow) -> Self {
        Self::of(row.endpoint, row.failing_since)
    }
}
