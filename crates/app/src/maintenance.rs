//! Housekeeping beside the operations: usage is written, and what nobody can need any more is forgotten.

use std::sync::{Arc, Weak};
use std::time::Duration;

use claviger_domain::audit::Action;
use claviger_domain::change::Change;
use claviger_domain::id::KeyId;
use claviger_domain::key::Key;
use claviger_domain::limits;
use claviger_domain::secret::SecretDigest;
use claviger_domain::time::Timestamp;
use claviger_engine::Engine;
use claviger_store::dead_keys::{self, End};
use claviger_store::expiry::Mark;
use claviger_store::{alerts, feed, idempotency, invitations, keys, retired_digests};

use crate::actor::Deed;
use crate::keys::digests;
use crate::mutation::Work;
use crate::{Actor, App, AppError};

const FLUSH_USAGE_EVERY: Duration = Duration::from_secs(10);
const FORGET_EVERY_FLUSHES: u32 = 30;
const JUDGE_EVERY: Duration = Duration::from_mins(5);
/// So long an answer is kept for whoever repeats a request.
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
    let watched = Weak::clone(&app);
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
            if let Err(error) = app.write_networks().await {
                tracing::error!(%error, "from where keys are used could not be written; trying again");
            }
            let (engine, now) = (Arc::clone(&app.engine), app.now());
            // With very many keys it takes a moment.
            let _ = tokio::task::spawn_blocking(move || shed_expired(&engine, now)).await;
            app.write_visits(false).await;
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
        }
    });
    tokio::spawn(judge(watched));
}

/// Judges alerts now and then, in a task of its own: with millions of keys it takes its time, and usage must not wait for it.
async fn judge(app: Weak<App>) {
    let mut ticks = tokio::time::interval(JUDGE_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    ticks.tick().await;
    loop {
        ticks.tick().await;
        let Some(app) = app.upgrade() else { return };
        if let Err(error) = app.evaluate_alerts().await {
            tracing::error!(%error, "alerts could not be judged; trying again");
        }
    }
}

/// Has the engine forget what it need not know of keys that expired.
pub(crate) fn shed_expired(engine: &Engine, now: Timestamp) {
    if let Err(error) = engine.shed_expired(seconds_ago(now, EXPIRED_KEYS_KEPT_SECONDS)) {
        tracing::error!(%error, "the engine could not forget what it knows of expired keys");
    }
}

impl App {
    /// Forgets what nobody can need any more, in small batches: ephemeral keys that died an hour ago, keys that were made
    /// with a test key a day ago and have expired by that (seed 003: test data is not kept), other keys that ended
    /// [long ago](limits::DEAD_KEYS_KEPT_DAYS), answers that nobody may ask for again and old transactions of the feed.
    pub async fn forget(&self) -> Result<(), AppError> {
        // Counts of a key must be written before the key is gone.
        self.flush_usage().await?;
        while self.forget_old_texts().await? {}
        while self.forget_short_lived_keys().await? {}
        for end in End::ALL {
            let mut past = Mark::FIRST;
            while let Some(last) = self.forget_dead_keys(end, past).await? {
                past = last;
            }
        }
        self.forget_networks().await
    }

    /// A batch of answers and transactions. Whether there may be more.
    async fn forget_old_texts(&self) -> Result<bool, AppError> {
        let mut work = self.begin(&Actor::system()).await?;
        let (day_ago, feed_kept) = (seconds_ago(work.now, ONE_DAY_SECONDS), seconds_ago(work.now, FEED_KEPT_SECONDS));
        let feed = feed::delete_transactions_before(&mut work.tx, feed_kept, FEED_FORGOTTEN_AT_ONCE).await?;
        let answers = idempotency::delete_before(&mut work.tx, day_ago, FORGOTTEN_AT_ONCE).await?;
        // An invitation whose time is over is shown for as long again.
        let invitations = invitations::delete_expired(&mut work.tx, day_ago, FORGOTTEN_AT_ONCE).await?;
        let year_ago = seconds_ago(work.now, limits::ALERTS_KEPT_DAYS * ONE_DAY_SECONDS);
        let alerts = alerts::delete_closed_before(&mut work.tx, year_ago, FORGOTTEN_AT_ONCE).await?;
        if feed > 0 || answers > 0 || invitations > 0 || alerts > 0 {
            work.done(()).commit().await?;
        }
        Ok(answers.max(alerts) >= u64::from(FORGOTTEN_AT_ONCE) || feed >= u64::from(FEED_FORGOTTEN_AT_ONCE))
    }

    /// A batch of ephemeral keys and of test keys. Whether there may be more.
    async fn forget_short_lived_keys(&self) -> Result<bool, AppError> {
        let mut work = self.begin(&Actor::system()).await?;
        let (hour_ago, test_life) = (
            seconds_ago(work.now, limits::DEAD_EPHEMERAL_KEYS_KEPT_SECONDS),
            limits::MADE_WITH_TEST_KEY_TTL_SECONDS_MAX,
        );
        let test_before = seconds_ago(work.now, test_life);
        let reader = work.tx.connection().await?;
        let mut dead = dead_keys::list_old_test(reader, test_before, test_life, FORGOTTEN_AT_ONCE).await?;
        for end in End::ALL {
            dead.extend(dead_keys::list_dead_ephemeral(reader, end, hour_ago, FORGOTTEN_AT_ONCE).await?);
        }
        // A key may be there for more than one reason.
        dead.sort_unstable_by_key(|key| key.id);
        dead.dedup_by_key(|key| key.id);
        self.forget_keys(work, &dead).await?;
        Ok(dead.len() >= FORGOTTEN_AT_ONCE as usize)
    }

    /// A batch of other keys that ended so long ago, past a mark. The last that was looked at, if there may be more.
    async fn forget_dead_keys(&self, end: End, past: Mark) -> Result<Option<Mark>, AppError> {
        let mut work = self.begin(&Actor::system()).await?;
        let before = seconds_ago(work.now, limits::DEAD_KEYS_KEPT_DAYS * ONE_DAY_SECONDS);
        let reader = work.tx.connection().await?;
        let mut dead = dead_keys::list_dead(reader, end, before, past, FORGOTTEN_AT_ONCE).await?;
        let last = dead.last().and_then(|key| end.mark(key)).filter(|_| dead.len() >= FORGOTTEN_AT_ONCE as usize);
        let ids: Vec<KeyId> = dead.iter().map(|key| key.id).collect();
        // By a maker one finds the keys that a leaked secret may have made, so it stays as long as they do.
        let makers = dead_keys::list_makers_among(reader, &ids).await?;
        dead.retain(|key| !makers.contains(&key.id));
        for key in &dead {
            // No import takes its secret for a new one.
            let digests: Vec<SecretDigest> = digests(key).collect();
            retired_digests::create_all(&mut work.tx, key, &digests, work.now).await?;
        }
        self.forget_keys(work, &dead).await?;
        Ok(last)
    }

    async fn forget_keys(&self, mut work: Work, dead: &[Key]) -> Result<(), AppError> {
        let now = work.now;
        for key in dead {
            keys::delete(&mut work.tx, key.id).await?;
            let deed = Deed::new(Action::KeyRemoved, key.id, Some(key), None).of(key.organization);
            work.tell(Change::KeyRemoved { id: key.id }, deed);
        }
        if dead.is_empty() {
            return Ok(());
        }
        work.done(()).commit().await?;
        for key in dead {
            self.ledger.forget_key(key, now);
            self.room.has_changed(key.organization, &key.api);
        }
        Ok(())
    }
}

fn seconds_ago(now: Timestamp, seconds: i64) -> Timestamp {
    now.plus_seconds(-seconds).unwrap_or(Timestamp::from_micros(0))
}
