//! What became of events: the log of each endpoint, what can be sent again, and a ping to see whether anything arrives.

use claviger_domain::audit::Action;
use claviger_domain::event::{Event, EventType};
use claviger_domain::id::{EventId, WebhookId};
use claviger_domain::limits;
use claviger_domain::webhook::DeliveryState;
use claviger_store::deliveries::{self, Attempt, Delivery, Replay};
use claviger_store::{Page, PageRequest};
use serde_json::{Map, Value, json};

use super::webhooks::{find, of};
use crate::actor::Deed;
use crate::{Actor, App, AppError, Mutation, WebhookRow};

const NOT_FOUND: AppError = AppError::NotFound { what: "delivery" };

/// A delivery with its attempts, the newest first.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ShownDelivery {
    /// The delivery.
    pub delivery: Delivery,
    /// The attempts, at most [`limits::WEBHOOK_ATTEMPTS_SHOWN_MAX`].
    pub attempts: Vec<Attempt>,
}

/// What was queued once more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ReplayedWebhook {
    /// How many deliveries.
    pub replayed: u64,
    /// Whether there may be more that fit: [`limits::WEBHOOK_REPLAY_MAX`] were reached.
    pub more: bool,
}

impl App {
    /// Lists deliveries to an endpoint, newest first.
    pub async fn list_deliveries(
        &self,
        id: WebhookId,
        state: Option<DeliveryState>,
        page: PageRequest<EventId>,
    ) -> Result<Page<Delivery>, AppError> {
        let mut reader = self.store.read().await?;
        find(&mut reader, id).await?;
        Ok(deliveries::list(&mut reader, id, state, page).await?)
    }

    /// Shows the delivery of an event to an endpoint.
    pub async fn find_delivery(&self, id: WebhookId, event: EventId) -> Result<ShownDelivery, AppError> {
        let mut reader = self.store.read().await?;
        find(&mut reader, id).await?;
        let delivery = deliveries::find(&mut reader, id, event).await?.ok_or(NOT_FOUND)?;
        let attempts = deliveries::list_attempts(&mut reader, id, event, limits::WEBHOOK_ATTEMPTS_SHOWN_MAX).await?;
        Ok(ShownDelivery { delivery, attempts })
    }

    /// Sends an endpoint a ping, whatever it wants to be told.
    pub async fn test_webhook(&self, actor: &Actor, id: WebhookId) -> Result<Mutation<Delivery>, AppError> {
        actor.must_be_operator()?;
        let mut work = self.begin(actor).await?;
        let row = find(work.tx.connection().await?, id).await?;
        must_be_enabled(&row)?;
        let organization = row.endpoint.organization;
        let event = Event {
            id: EventId::new(work.now, &*self.entropy),
            kind: EventType::Ping,
            at: work.now,
            organization,
            api: None,
            data: Map::from_iter([("endpoint".to_owned(), json!(id))]),
        };
        deliveries::create(&mut work.tx, id, &event).await?;
        let after = Map::from_iter([("event".to_owned(), json!(event.id))]);
        work.record(of(deed(Action::WebhookTested, id, after), organization));
        let delivery = deliveries::find(work.tx.connection().await?, id, event.id).await?.ok_or(NOT_FOUND)?;
        Ok(work.done(delivery))
    }

    /// Queues deliveries to an endpoint once more: the one of an event, which is sent at once even while it waits for its
    /// next attempt, or those of a time that fit. They keep their ids.
    pub async fn replay_webhook(
        &self,
        actor: &Actor,
        id: WebhookId,
        which: Replay,
    ) -> Result<Mutation<ReplayedWebhook>, AppError> {
        actor.must_be_operator()?;
        if which.event.is_none() && which.since.is_none() {
            let message = "Name one event, or since when deliveries are to be made again.".to_owned();
            return Err(AppError::Invalid { field: Some("since".to_owned()), message });
        }
        let mut work = self.begin(actor).await?;
        let row = find(work.tx.connection().await?, id).await?;
        must_be_enabled(&row)?;
        let now = work.now;
        let replayed = deliveries::replay(&mut work.tx, id, &which, now, limits::WEBHOOK_REPLAY_MAX).await?;
        let done = ReplayedWebhook { replayed, more: replayed >= u64::from(limits::WEBHOOK_REPLAY_MAX) };
        if replayed == 0 {
            if which.event.is_some() {
                return Err(NOT_FOUND);
            }
            let revision = work.tx.revision_before();
            return Ok(work.at(done, revision));
        }
        let mut after = Map::from_iter([("deliveries".to_owned(), json!(replayed))]);
        let mut say = |name: &str, value: Option<Value>| after.extend(value.map(|value| (name.to_owned(), value)));
        say("event", which.event.map(|event| json!(event)));
        say("since", which.since.map(|at| json!(at)));
        say("until", which.until.map(|at| json!(at)));
        work.record(of(deed(Action::WebhookReplayed, id, after), row.endpoint.organization));
        Ok(work.done(done))
    }
}

fn deed(action: Action, id: WebhookId, after: Map<String, Value>) -> Deed {
    Deed { action, target: id.to_string(), organization: None, before: None, after: Some(after) }
}

fn must_be_enabled(row: &WebhookRow) -> Result<(), AppError> {
    match row.endpoint.disabled {
        None => Ok(()),
        Some(_) => Err(AppError::conflict("The webhook endpoint is disabled. Enable it first.")),
    }
}
