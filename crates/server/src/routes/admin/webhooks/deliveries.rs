//! `/admin/v1/webhooks/{id}/deliveries`, and what makes new ones: `/test` and `/replay`.

use axum::extract::State;
use axum::response::Response;
use claviger_app::{DeliveryAttempt, PageRequest, Replay, ReplayedWebhook, ShownDelivery, WebhookDelivery};
use claviger_domain::event::EventType;
use claviger_domain::id::{EventId, WebhookId};
use claviger_domain::time::Timestamp;
use claviger_domain::webhook::DeliveryState;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::PATH;
use crate::ServerState;
use crate::answer::Answer;
use crate::error::Failure;
use crate::extract::{Id, Ids, Operator};
use crate::idempotency::finish;
use crate::json::Json;
use crate::openapi::words;
use crate::query::{FromQuery, Nothing, Parameters, Query};
use crate::requests::page;
use crate::views::List;

pub(super) fn router() -> OpenApiRouter<ServerState> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(show)).routes(routes!(test)).routes(routes!(replay))
}

/// An event on its way to an endpoint, or arrived, or given up.
#[derive(Serialize, ToSchema)]
#[schema(as = Delivery)]
struct DeliveryView {
    /// The event: `webhook-id` in every attempt.
    #[schema(value_type = String, example = "evt_01kaf3w8x9e6y8m5n4q2r7s1t0")]
    event: EventId,
    /// What happened.
    #[serde(rename = "type")]
    #[schema(value_type = String, example = "key.revoked")]
    kind: EventType,
    /// What became of it.
    #[schema(value_type = words::DeliveryState)]
    state: DeliveryState,
    /// How often it was tried.
    attempts: i64,
    /// When it is tried next.
    #[schema(value_type = Option<String>, format = DateTime, required)]
    next_attempt_at: Option<Timestamp>,
    /// When it was first queued.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// When it arrived or was given up.
    #[schema(value_type = Option<String>, format = DateTime, required)]
    finished_at: Option<Timestamp>,
    /// Why it was given up.
    #[schema(required)]
    reason: Option<String>,
}

impl From<WebhookDelivery> for DeliveryView {
    fn from(delivery: WebhookDelivery) -> Self {
        Self {
            event: delivery.event,
            kind: delivery.kind,
            state: delivery.state,
            attempts: delivery.attempts,
            next_attempt_at: delivery.next_at,
            created_at: delivery.created_at,
            finished_at: delivery.finished_at,
            reason: delivery.reason,
        }
    }
}

/// A delivery, with what is sent and what was answered.
#[derive(Serialize, ToSchema)]
#[schema(as = ShownDelivery)]
struct ShownDeliveryView {
    #[serde(flatten)]
    delivery: DeliveryView,
    /// The event as it is sent.
    #[schema(value_type = Object)]
    payload: Value,
    /// The newest attempts, at most 50, newest first.
    log: Vec<AttemptView>,
}

/// One attempt.
#[derive(Serialize, ToSchema)]
#[schema(as = DeliveryAttempt)]
struct AttemptView {
    /// Its number, counted from one.
    number: i64,
    /// When it began.
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    /// How long it took.
    milliseconds: i64,
    /// The status that was answered.
    #[schema(required)]
    status: Option<i64>,
    /// Why nothing was answered.
    #[schema(required)]
    reason: Option<String>,
    /// The beginning of what was answered, at most 1024 bytes.
    #[schema(required)]
    answer: Option<String>,
}

impl From<DeliveryAttempt> for AttemptView {
    fn from(attempt: DeliveryAttempt) -> Self {
        let DeliveryAttempt { number, at, milliseconds, status, reason, answer } = attempt;
        Self { number, at, milliseconds, status, reason, answer }
    }
}

/// Which deliveries to list.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "the document's side of DeliveryList")]
struct DeliveryListParameters {
    /// Only those of which this became.
    #[param(value_type = Option<words::DeliveryState>)]
    state: Option<DeliveryState>,
    /// Most rows of a page.
    #[param(minimum = 1, maximum = 200, default = 50)]
    limit: Option<u32>,
    /// The `next_cursor` of the page before.
    cursor: Option<String>,
}

/// A page of deliveries.
struct DeliveryList {
    state: Option<DeliveryState>,
    page: PageRequest<EventId>,
}

impl FromQuery for DeliveryList {
    fn from_query(parameters: &mut Parameters) -> Result<Self, Failure> {
        Ok(Self { state: parameters.take("state")?, page: page(parameters)? })
    }
}

/// List the deliveries to a webhook endpoint.
///
/// What is over is remembered for 30 days.
#[utoipa::path(
    get,
    path = "/admin/v1/webhooks/{id}/deliveries",
    operation_id = "adminListWebhookDeliveries",
    tag = "Webhooks",
    params(("id" = String, Path, description = "The endpoint's id."), DeliveryListParameters),
    responses((
        status = 200,
        description = "A page of deliveries, newest first.",
        body = List<DeliveryView>,
        headers(("Link" = String, description = "The next page, with `rel=\"next\"`, if there is one."))
    ))
)]
async fn list(
    _: Operator,
    State(state): State<ServerState>,
    Id(id): Id<WebhookId>,
    Query(DeliveryList { state: wanted, page }): Query<DeliveryList>,
) -> Result<Response, Failure> {
    let found = state.app.list_deliveries(id, wanted, page).await?;
    let next = found.rows.last().filter(|_| found.more).map(|delivery| delivery.event.to_string());
    let filter = wanted.map_or(String::new(), |state| format!("&state={}", state.as_str()));
    let path = format!("{PATH}/{id}/deliveries");
    let next_page = next.as_deref().map(|cursor| format!("{path}?limit={}&cursor={cursor}{filter}", page.limit));
    let rows = found.rows.into_iter().map(DeliveryView::from).collect();
    Ok(Answer::ok(&List::bare(rows, next))?.next_page(next_page.as_deref())?.done())
}

/// Show a delivery: what is sent, and what each attempt led to.
#[utoipa::path(
    get,
    path = "/admin/v1/webhooks/{id}/deliveries/{event}",
    operation_id = "adminShowWebhookDelivery",
    tag = "Webhooks",
    params(
        ("id" = String, Path, description = "The endpoint's id."),
        ("event" = String, Path, description = "The event's id.")
    ),
    responses((status = 200, description = "The delivery.", body = ShownDeliveryView))
)]
async fn show(
    _: Operator,
    State(state): State<ServerState>,
    Ids(id, event): Ids<WebhookId, EventId>,
    Query(Nothing): Query<Nothing>,
) -> Result<Response, Failure> {
    let ShownDelivery { delivery, attempts } = state.app.find_delivery(id, event).await?;
    let payload = serde_json::from_str(&delivery.body)
        .map_err(|error| Failure::broken(&format!("a delivery's body: {error}")))?;
    let log = attempts.into_iter().map(AttemptView::from).collect();
    Ok(Answer::ok(&ShownDeliveryView { delivery: delivery.into(), payload, log })?.done())
}

/// Send a webhook endpoint a ping.
///
/// The answer says that it will be sent; the delivery says what became of it.
#[utoipa::path(
    post,
    path = "/admin/v1/webhooks/{id}/test",
    operation_id = "adminTestWebhook",
    tag = "Webhooks",
    params(("id" = String, Path, description = "The endpoint's id.")),
    responses((status = 200, description = "The delivery of the ping.", body = DeliveryView))
)]
async fn test(
    operator: Operator,
    State(state): State<ServerState>,
    Id(id): Id<WebhookId>,
    Query(Nothing): Query<Nothing>,
) -> Result<Response, Failure> {
    let mutation = state.app.test_webhook(operator.actor(), id).await?;
    let answer = |delivery, revision| Ok(Answer::ok(&DeliveryView::from(delivery))?.revision(revision));
    finish(&state, operator.keyed(), mutation, answer).await
}

/// What to send once more: one event, or what was queued in a time.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "an object")]
struct ReplayBody {
    /// This event, whatever became of it. One that waits for its next attempt is sent at once.
    #[schema(value_type = Option<String>)]
    event: Option<EventId>,
    /// What was queued at this instant or later.
    #[schema(value_type = Option<String>, format = DateTime)]
    since: Option<Timestamp>,
    /// What was queued before this instant.
    #[schema(value_type = Option<String>, format = DateTime)]
    until: Option<Timestamp>,
    /// Of a time, also what arrived. Without it, only what was given up.
    #[serde(default)]
    delivered_too: bool,
}

/// What was queued once more.
#[derive(Serialize, ToSchema)]
#[schema(as = ReplayedWebhook)]
struct ReplayedView {
    /// How many deliveries.
    replayed: u64,
    /// Whether there may be more that fit: a request queues 1000 at most. Send it again when these are over.
    more: bool,
}

/// Send events to a webhook endpoint once more.
///
/// They keep their ids, so that a receiver that remembers ids does nothing twice.
#[utoipa::path(
    post,
    path = "/admin/v1/webhooks/{id}/replay",
    operation_id = "adminReplayWebhook",
    tag = "Webhooks",
    params(("id" = String, Path, description = "The endpoint's id.")),
    request_body = ReplayBody,
    responses((status = 200, description = "How many will be sent.", body = ReplayedView))
)]
async fn replay(
    operator: Operator,
    State(state): State<ServerState>,
    Id(id): Id<WebhookId>,
    Query(Nothing): Query<Nothing>,
    Json(body): Json<ReplayBody>,
) -> Result<Response, Failure> {
    let ReplayBody { event, since, until, delivered_too } = body;
    if event.is_some() && (since.is_some() || until.is_some() || delivered_too) {
        return Err(Failure::invalid_field("event", "stands alone: an event is one delivery"));
    }
    let wanted = (event.is_none() && !delivered_too).then_some(DeliveryState::Failed);
    let which = Replay { event, since, until, state: wanted };
    let mutation = state.app.replay_webhook(operator.actor(), id, which).await?;
    let answer = |done: ReplayedWebhook, revision| {
        let ReplayedWebhook { replayed, more } = done;
        Ok(Answer::ok(&ReplayedView { replayed, more })?.revision(revision))
    };
    finish(&state, operator.keyed(), mutation, answer).await
}
