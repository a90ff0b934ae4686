//! The sending: what is due is taken from the tables, sent, and written down as what it became.

use std::sync::{Arc, Weak};
use std::time::Duration;

use claviger_courier::{Answer, Post, Target};
use claviger_domain::audit::Action;
use claviger_domain::limits;
use claviger_domain::time::{Timestamp, has_expired};
use claviger_domain::webhook::{DeliveryState, DisabledReason};
use claviger_store::deliveries::{self, Attempt, Delivery as Row};
use claviger_store::mails::{self, MailRow};
use claviger_store::webhooks::{self, WebhookRow};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};
use zeroize::Zeroizing;

use super::schedule::next_attempt;
use super::seal::Bound;
use super::{Delivery, Place};
use crate::{Actor, App, AppError};

/// So often it is asked what is due, when nobody says that something is.
const REASON_CHARS_MAX: usize = 500;
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// The same while the database is away.
const LOOK_AGAIN_AFTER: Duration = Duration::from_secs(5);
/// So often keys that expired are looked for and queues are shortened.
const TIDY_EVERY: Duration = Duration::from_secs(10);
/// What is over is forgotten with every so many of those.
const FORGET_EVERY_TIDIES: u32 = 30;
/// So long what is under way may still take when the process ends. What does not come to its end then is sent once more.
const GRACE: Duration = Duration::from_secs(5);
/// Endpoints that are looked at for something to send: more than can be busy, so that some among them are not.
const ENDPOINTS_LOOKED_AT: u32 = 2 * limits::WEBHOOKS_AT_ONCE_MAX as u32;

const GONE: u16 = 410;
/// Statuses with which `Retry-After` means us.
const COME_LATER: [u16; 2] = [429, 503];

/// Something to send.
pub(super) struct Errand {
    // Given up when what became of it is written.
    _place: Place,
    what: What,
}

enum What {
    Event(Box<WebhookRow>, Box<Row>),
    Mail(Box<MailRow>),
}

/// What an attempt led to.
struct Outcome {
    after: Row,
    attempt: Option<Attempt>,
    is_gone: bool,
}

/// Runs until the app is closed or dropped.
pub(super) async fn run(app: Weak<App>, delivery: Arc<Delivery>) {
    let Some(outbox) = app.upgrade().map(|app| Arc::clone(app.store.outbox())) else { return };
    let mut stop = delivery.stop.subscribe();
    let mut under_way = JoinSet::new();
    let mut tidy = interval(TIDY_EVERY);
    tidy.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut tidies = 0_u32;
    while !*stop.borrow_and_update() {
        let Some(taken) = take(&app, &delivery, &mut under_way).await else { break };
        let wait = if taken.is_ok() { LOOK_EVERY } else { LOOK_AGAIN_AFTER };
        tokio::select! {
            biased;
            _ = stop.changed() => {}
            _ = tidy.tick() => {
                let Some(app) = app.upgrade() else { break };
                let forgets = tidies.is_multiple_of(FORGET_EVERY_TIDIES);
                tidies = tidies.wrapping_add(1);
                if let Err(error) = app.tidy_deliveries(forgets).await {
                    tracing::error!(%error, "housekeeping of webhooks and mails failed; trying again");
                }
            }
            Some(_) = under_way.join_next() => {}
            () = outbox.notified() => {}
            () = sleep(wait) => {}
        }
    }
    let all = async { while under_way.join_next().await.is_some() {} };
    // What is left is aborted as the set is dropped.
    let _ = timeout(GRACE, all).await;
}

/// Begins what is due. `None` when the app is gone.
async fn take(app: &Weak<App>, delivery: &Arc<Delivery>, under_way: &mut JoinSet<()>) -> Option<Result<(), AppError>> {
    let app = app.upgrade()?;
    // What was begun and has ended needs no more of it.
    while under_way.try_join_next().is_some() {}
    let errands = match app.take_due(delivery).await {
        Ok(errands) => errands,
        Err(error) => {
            tracing::error!(%error, "what is due to webhooks and by mail cannot be read; trying again");
            return Some(Err(error));
        }
    };
    for errand in errands {
        let (app, delivery) = (Arc::clone(&app), Arc::clone(delivery));
        under_way.spawn(async move { app.run_errand(&delivery, errand).await });
    }
    Some(Ok(()))
}

impl App {
    /// Sends everything that is due at this moment, and returns how many attempts that took. For whoever moves the clock by
    /// hand; with [`App::start_delivery`] it goes by itself.
    pub async fn run_due(self: &Arc<Self>) -> Result<usize, AppError> {
        let delivery = Arc::clone(self.delivery()?);
        self.tidy_deliveries(true).await?;
        let mut attempts = 0;
        loop {
            let errands = self.take_due(&delivery).await?;
            if errands.is_empty() {
                return Ok(attempts);
            }
            attempts += errands.len();
            let mut under_way = JoinSet::new();
            for errand in errands {
                let (app, delivery) = (Arc::clone(self), Arc::clone(&delivery));
                under_way.spawn(async move { app.run_errand(&delivery, errand).await });
            }
            under_way.join_all().await;
        }
    }

    async fn tidy_deliveries(&self, forgets: bool) -> Result<(), AppError> {
        self.announce_expired().await?;
        self.trim_queues().await?;
        if forgets {
            self.forget_deliveries().await?;
        }
        Ok(())
    }

    /// Chooses what to send now: of each endpoint a few, beginning after the one that was served last.
    async fn take_due(&self, delivery: &Arc<Delivery>) -> Result<Vec<Errand>, AppError> {
        let mut last_served = delivery.last_served.lock().await;
        // Before the tables are read: what ends meanwhile may still stand in them as due.
        let under_way = delivery.under_way().clone();
        let mut room = limits::WEBHOOKS_AT_ONCE_MAX.saturating_sub(under_way.count_events());
        let mut reader = self.store.read().await?;
        let now = self.now();
        let mut errands = Vec::new();
        let is_due = deliveries::find_next_due(&mut reader).await?.is_some_and(|next| next <= now);
        let mut endpoints = Vec::new();
        if is_due && room > 0 {
            let past = *last_served;
            endpoints = deliveries::list_due_endpoints(&mut reader, now, past, ENDPOINTS_LOOKED_AT).await?;
            if past.is_some() && endpoints.len() < ENDPOINTS_LOOKED_AT as usize {
                let others = deliveries::list_due_endpoints(&mut reader, now, None, ENDPOINTS_LOOKED_AT).await?;
                endpoints.extend(others.into_iter().filter(|id| past.is_some_and(|past| *id <= past)));
            }
        }
        for endpoint in endpoints {
            let most = limits::WEBHOOKS_AT_ONCE_PER_ENDPOINT_MAX;
            let busy = under_way.events.get(&endpoint);
            let free = most.saturating_sub(busy.map_or(0, std::collections::HashSet::len)).min(room);
            if free == 0 {
                continue;
            }
            let Some(row) = webhooks::find(&mut reader, endpoint).await? else { continue };
            // Those under way are due as well.
            let due = deliveries::list_due(&mut reader, endpoint, now, most as u32).await?;
            let due = due.into_iter().filter(|due| busy.is_none_or(|busy| !busy.contains(&due.event)));
            for due in due.take(free) {
                let place = delivery.enter_event(endpoint, due.event);
                errands.push(Errand { _place: place, what: What::Event(Box::new(row.clone()), Box::new(due)) });
                room -= 1;
            }
            *last_served = Some(endpoint);
        }
        let most = limits::MAILS_AT_ONCE_MAX;
        if under_way.mails.len() < most {
            let due = mails::list_due(&mut reader, now, most as u32).await?;
            let due = due.into_iter().filter(|mail| !under_way.mails.contains(&mail.id));
            for mail in due.take(most - under_way.mails.len()) {
                let place = delivery.enter_mail(mail.id);
                errands.push(Errand { _place: place, what: What::Mail(Box::new(mail)) });
            }
        }
        Ok(errands)
    }

    /// Sends, and writes down what became of it: until that is written, nothing is sent again.
    async fn run_errand(&self, delivery: &Delivery, errand: Errand) {
        let Errand { _place: place, what } = errand;
        match what {
            What::Event(endpoint, row) => {
                let outcome = self.try_event(delivery, &endpoint, &row).await;
                while let Err(error) = self.record_event(&endpoint, row.attempts, &outcome).await {
                    tracing::error!(%error, event = %row.event, "what became of an event cannot be written; trying again");
                    sleep(LOOK_AGAIN_AFTER).await;
                }
            }
            What::Mail(mail) => {
                let after = self.try_mail(delivery, *mail).await;
                while let Err(error) = self.record_mail(&after).await {
                    tracing::error!(%error, mail = %after.id, "what became of a mail cannot be written; trying again");
                    sleep(LOOK_AGAIN_AFTER).await;
                }
            }
        }
        drop(place);
    }

    /// Tries to bring an event to its endpoint.
    async fn try_event(&self, delivery: &Delivery, endpoint: &WebhookRow, row: &Row) -> Outcome {
        let at = self.now();
        if endpoint.endpoint.disabled.is_some() {
            let after = given_up(row.clone(), "the endpoint is disabled".to_owned(), at);
            return Outcome { after, attempt: None, is_gone: false };
        }
        let began = Instant::now();
        let answered = self.ask(delivery, endpoint, row, at).await;
        let milliseconds = i64::try_from(began.elapsed().as_millis()).unwrap_or(i64::MAX);
        let (now, number) = (self.now(), row.attempts + 1);
        let row = Row { attempts: number, round: row.round + 1, ..row.clone() };
        let attempt = Attempt { number, at, milliseconds, status: None, reason: None, answer: None };
        let (attempt, status, not_before) = match answered {
            Ok(Answer { status, retry_after_seconds, body }) => {
                let attempt = Attempt { status: Some(i64::from(status)), answer: Some(body), ..attempt };
                (attempt, Some(status), retry_after_seconds.filter(|_| COME_LATER.contains(&status)))
            }
            Err(reason) => (Attempt { reason: Some(reason), ..attempt }, None, None),
        };
        let is_gone = status == Some(GONE);
        let after = match status {
            Some(200..=299) => {
                Row { state: DeliveryState::Delivered, next_at: None, finished_at: Some(now), reason: None, ..row }
            }
            Some(GONE) => given_up(row, "the endpoint answered 410 and is disabled".to_owned(), now),
            _ => match next_attempt(row.round, now, not_before, &*self.entropy) {
                Some(next_at) => Row { next_at: Some(next_at), ..row },
                None => given_up(row, "the last attempt failed".to_owned(), now),
            },
        };
        Outcome { after, attempt: Some(attempt), is_gone }
    }

    async fn ask(
        &self,
        delivery: &Delivery,
        endpoint: &WebhookRow,
        row: &Row,
        at: Timestamp,
    ) -> Result<Answer, String> {
        // What is allowed may have changed since the URL was accepted.
        let target = Target::parse(&endpoint.endpoint.url, delivery.courier.reach());
        let target = target.map_err(|error| format!("the URL {error}"))?;
        let bound = Bound::Webhook(endpoint.endpoint.id);
        let open = |sealed: &Vec<u8>| {
            let key: Option<Zeroizing<Vec<u8>>> = delivery.seal.open(bound, sealed);
            key.ok_or_else(|| "the signing secret cannot be decrypted; give the endpoint a new one".to_owned())
        };
        let overlaps = !has_expired(endpoint.endpoint.overlap_ends_at, at);
        let sealed = [Some(&endpoint.secret), endpoint.old_secret.as_ref().filter(|_| overlaps)];
        let keys = sealed.into_iter().flatten().map(open).collect::<Result<Vec<_>, _>>()?;
        let keys: Vec<&[u8]> = keys.iter().map(|key| key.as_slice()).collect();
        let (id, seconds) = (row.event.to_string(), at.as_micros().div_euclid(1_000_000));
        let signature = claviger_courier::signature::sign(&keys, &id, seconds, &row.body);
        let post = Post { id: &id, seconds, signature: &signature, body: &row.body };
        delivery.courier.post(&target, post).await.map_err(|error| shortened(&error.to_string()))
    }

    async fn record_event(
        &self,
        endpoint: &WebhookRow,
        attempts_before: i64,
        outcome: &Outcome,
    ) -> Result<(), AppError> {
        let Outcome { after, attempt, is_gone } = outcome;
        let id = after.endpoint;
        let mut work = self.begin(&Actor::system()).await?;
        let (now, revision) = (work.now, work.tx.revision_before());
        // The endpoint may have been deleted meanwhile, and the delivery with it.
        let found = webhooks::find(work.tx.connection().await?, id).await?;
        if !deliveries::update(&mut work.tx, attempts_before, after, attempt.as_ref()).await? {
            return Ok(());
        }
        let mut is_told = false;
        if let Some(found) = found {
            let has_url = found.endpoint.url == endpoint.endpoint.url;
            match after.state {
                _ if *is_gone && has_url && found.endpoint.disabled.is_none() => {
                    let mut row = found.clone();
                    row.endpoint.disabled = Some(DisabledReason::Gone);
                    super::webhooks::put(&mut work, Action::WebhookUpdated, Some(&found), &row).await?;
                    is_told = true;
                }
                DeliveryState::Delivered if found.failing_since.is_some() => {
                    webhooks::set_failing_since(&mut work.tx, id, None).await?;
                }
                DeliveryState::Failed if attempt.is_some() && found.failing_since.is_none() => {
                    webhooks::set_failing_since(&mut work.tx, id, Some(now)).await?;
                }
                _ => {}
            }
        }
        if is_told {
            work.done(()).commit().await?
        } else {
            work.at((), revision).commit().await?
        };
        if after.state == DeliveryState::Failed && attempt.is_some() {
            let reason = after.reason.as_deref().unwrap_or_default();
            tracing::warn!(endpoint = %id, event = %after.event, reason, "an event was given up");
        }
        Ok(())
    }
}

/// Why nothing arrived, for the log: what the other side says of itself may be long.
fn shortened(reason: &str) -> String {
    reason.chars().take(REASON_CHARS_MAX).collect()
}

fn given_up(row: Row, reason: String, now: Timestamp) -> Row {
    Row { state: DeliveryState::Failed, next_at: None, finished_at: Some(now), reason: Some(reason), ..row }
}
