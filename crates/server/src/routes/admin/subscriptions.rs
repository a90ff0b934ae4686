//! `/admin/v1/organizations/{id}/subscriptions`: what the billing system says.

use axum::extract::State;
use axum::response::Response;
use claviger_domain::id::OrganizationId;
use claviger_domain::key::ApiName;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::listed;
use crate::ServerState;
use crate::answer::Answer;
use crate::error::Failure;
use crate::extract::{Id, Ids, Operator};
use crate::json::Json;
use crate::query::{Nothing, Query};
use crate::requests::SetSubscriptionBody;
use crate::views::List;
use crate::views::subscription::{SaidView, SubscriptionView};

pub(crate) fn router() -> OpenApiRouter<ServerState> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(show, set))
}

/// List an organization's subscriptions.
///
/// Apis whose default plan holds are not among them.
#[utoipa::path(
    get,
    path = "/admin/v1/organizations/{id}/subscriptions",
    operation_id = "adminListSubscriptions",
    tag = "Subscriptions",
    params(("id" = String, Path, description = "The organization's id.")),
    responses((status = 200, description = "The subscriptions, by api.", body = List<SaidView>))
)]
async fn list(
    _: Operator,
    State(state): State<ServerState>,
    Id(id): Id<OrganizationId>,
    Query(Nothing): Query<Nothing>,
) -> Result<Response, Failure> {
    listed::<_, SaidView>(state.app.list_subscriptions(id).await?)
}

/// Show what an organization has of an api.
///
/// Where nothing was said of it, this is the api's default plan.
#[utoipa::path(
    get,
    path = "/admin/v1/organizations/{id}/subscriptions/{api}",
    operation_id = "adminShowSubscription",
    tag = "Subscriptions",
    params(
        ("id" = String, Path, description = "The organization's id."),
        ("api" = String, Path, description = "The api's name.")
    ),
    responses((status = 200, description = "What holds now.", body = SubscriptionView))
)]
async fn show(
    _: Operator,
    State(state): State<ServerState>,
    Ids(id, api): Ids<OrganizationId, ApiName>,
    Query(Nothing): Query<Nothing>,
) -> Result<Response, Failure> {
    let report = state.app.find_subscription(id, &api).await?;
    Ok(Answer::ok(&SubscriptionView::of(report, &api, state.app.now()))?.done())
}

/// Set an organization's plan or billing state.
///
/// It acts on the next call, on all of the organization's keys and without touching them. What happened before the newest thing
/// that is known changes nothing (`applied` is false then), so events may be delivered late, twice and in any order.
#[utoipa::path(
    put,
    path = "/admin/v1/organizations/{id}/subscriptions/{api}",
    operation_id = "adminSetSubscription",
    tag = "Subscriptions",
    params(
        ("id" = String, Path, description = "The organization's id."),
        ("api" = String, Path, description = "The api's name.")
    ),
    request_body = SetSubscriptionBody,
    responses((status = 200, description = "What holds now.", body = SubscriptionView))
)]
async fn set(
    operator: Operator,
    State(state): State<ServerState>,
    Ids(id, api): Ids<OrganizationId, ApiName>,
    Query(Nothing): Query<Nothing>,
    Json(body): Json<SetSubscriptionBody>,
) -> Result<Response, Failure> {
    let mutation = state.app.set_subscription(operator.actor(), id, &api, body.into()).await?;
    let done = mutation.commit().await?;
    let view = SubscriptionView::of(done.value, &api, state.app.now());
    Ok(Answer::ok(&view)?.revision(done.revision).done())
}
