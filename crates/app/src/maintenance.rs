//! Housekeeping beside the operations: usage is written, and what nobody can need any more is forgotten.

use std::sync::{Arc, Weak};
use std::time::Duration;

use claviger_domain::audit::Action;
use claviger_domain::change::Change;
use claviger_domain::key::Key;
use claviger_domain::limits;
use claviger_domain::time::Timestamp;
use claviger_engine::Engine;
use claviger_store::{feed, idempotency, keys};

use crate::actor::Deed;
use crate::{Actor, App, AppError};

const FLUSH_USAGE_EVERY: Duration = Duration::from_secs(10);
const FORGET_EVERY_FLUSHES: u32 = 30;
/// So long a dead ephemeral key is shown, and an answer is kept for whoever repeats a request. Usage stays.
const ONE_DAY_SECONDS: i64 = 24 * 3600;
/// So long after its expiry the engine knows all of a key: no clock is set back by more.
const EXPIRED_KEYS_KEPT_SECONDS: i64 = 3600;
/// A follower further behind than this starts from a snapshot.
const FEED_KEPT_SECONDS: i64 = 7 * 24 * 3600;
const FORGOTTEN_AT_ONCE: u32 = 500;
const FEED_FORGOTTEN_AT_ONCE: u32 = 5000;

/// Runs until the app is dropped.
pub(crate) fn start(app: &Arc<App>) {
    let app: Weak<App> = Arc::downgrade(app);
    tokio::spawn(async move {
        let mut ticks = tokio::time::interval(FLUSH_USAGE_EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        ticks.tick().await;
        for tick in 1_u32.. {
            ticks.tick().await;
            let Some(app) = app.upgrade() else { return };
            if let Err(error) = app.flush_usage().await {
                tracing::error!(%error, "usage could not be written; trying again");
            }
            let (engine, now) = (Arc::clone(&app.engine), app.now());
            // With very many keys it takes a moment.
            let _ = tokio::task::spawn_blocking(move || shed_expired(&engine, now)).await;
            if tick.is_multiple_of(FORGET_EVERY_FLUSHES)
                && let Err(error) = app.forget().await
            {
                tracing::error!(%error, "housekeeping failed; trying again");
            }
            if tick.is_multiple_of(FORGET_EVERY_FLUSHES)
                && let Err(error) = app.tend_usage().await
            {
                tracing::error!(%error, "usage could not be added up by day; trying again");
            }
            if tick.is_multiple_of(FORGET_EVERY_FLUSHES)
                && let Err(error) = app.evaluate_alerts().await
            {
                tracing::error!(%error, "alerts could not be judged; trying again");
            }
        }
    });
}

/// Has the engine forget what it need not know of keys that expired.
pub(crate) fn shed_expired(engine: &Engine, now: Timestamp) {
    let by = now.plus_seconds(-EXPIRED_KEYS_KEPT_SECONDS).unwrap_or(Timestamp::from_micros(0));
    if let Err(error) = engine.shed_expired(by) {
        tracing::error!(%error, "the engine could not forget what it knows of expired keys");
    }
}

impl App {
    /// Forgets ephemeral keys that died a day ago, keys that were made with a test key a day ago and have expired by
    /// that (seed 003: test data is not kept), answers that nobody may ask for again and old transactions of the feed, in small batches.
    pub async fn forget(&self) -> Result<(), AppError> {
        let (now, actor) = (self.now(), Actor::system());
        let past = |seconds: i64| now.plus_seconds(-seconds).unwrap_or(Timestamp::from_micros(0));
        // Counts of a key must be written before the key is gone.
        self.flush_usage().await?;
        loop {
            let mut work = self.begin(&actor).await?;
            let day_ago = past(ONE_DAY_SECONDS);
            let mut dead = keys::list_dead_ephemeral(work.tx.connection().await?, day_ago, FORGOTTEN_AT_ONCE).await?;
            let reader = work.tx.connection().await?;
            let test_life = limits::MADE_WITH_TEST_KEY_TTL_SECONDS_MAX;
            let old_test = keys::list_old_test(reader, past(test_life), test_life, FORGOTTEN_AT_ONCE).await?;
            let is_ephemeral = |key: &Key| dead.iter().any(|known| known.id == key.id);
            let old_test: Vec<Key> = old_test.into_iter().filter(|key| !is_ephemeral(key)).collect();
            dead.extend(old_test);
            let feed =
                feed::delete_transactions_before(&mut work.tx, past(FEED_KEPT_SECONDS), FEED_FORGOTTEN_AT_ONCE).await?;
            let answers = idempotency::delete_before(&mut work.tx, day_ago, FORGOTTEN_AT_ONCE).await?;
            for key in &dead {
                keys::delete(&mut work.tx, key.id).await?;
                let deed = Deed::new(Action::KeyRemoved, key.id, Some(key), None).of(key.organization);
                work.tell(Change::KeyRemoved { id: key.id }, deed);
            }
            let is_all = dead.len() < FORGOTTEN_AT_ONCE as usize
                && answers < u64::from(FORGOTTEN_AT_ONCE)
                && feed < u64::from(FEED_FORGOTTEN_AT_ONCE);
            if !dead.is_empty() || feed > 0 || answers > 0 {
                work.done(()).commit().await?;
            }
            for key in &dead {
                self.ledger.forget_key(key, now);
            }
            if is_all {
                return Ok(());
            }
        }
    }
}
