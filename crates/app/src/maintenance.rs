//! Housekeeping beside the operations: usage is written, and what nobody can need any more is forgotten.

use std::sync::{Arc, Weak};
use std::time::Duration;

use claviger_domain::change::Change;
use claviger_domain::time::Timestamp;
use claviger_store::{feed, keys};

use crate::{App, AppError};

const FLUSH_USAGE_EVERY: Duration = Duration::from_secs(10);
const FORGET_EVERY_FLUSHES: u32 = 30;
/// A dead ephemeral key is shown for a day, then forgotten; its usage stays.
const EPHEMERAL_KEPT_SECONDS: i64 = 24 * 3600;
/// A follower further behind than this starts from a snapshot.
const FEED_KEPT_SECONDS: i64 = 7 * 24 * 3600;
const FORGOTTEN_AT_ONCE: u32 = 500;

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
            if tick.is_multiple_of(FORGET_EVERY_FLUSHES)
                && let Err(error) = app.forget().await
            {
                tracing::error!(%error, "housekeeping failed; trying again");
            }
        }
    });
}

impl App {
    /// Forgets ephemeral keys that died a day ago and old transactions of the feed, in small batches.
    pub async fn forget(&self) -> Result<(), AppError> {
        let now = self.now();
        let past = |seconds: i64| now.plus_seconds(-seconds).unwrap_or(Timestamp::from_micros(0));
        // Counts of a key must be written before the key is gone.
        self.flush_usage().await?;
        loop {
            let mut tx = self.store.begin().await?;
            let dead =
                keys::list_dead_ephemeral(tx.connection(), past(EPHEMERAL_KEPT_SECONDS), FORGOTTEN_AT_ONCE).await?;
            let old = feed::delete_transactions_before(&mut tx, past(FEED_KEPT_SECONDS)).await?;
            if dead.is_empty() && old == 0 {
                return Ok(());
            }
            for &id in &dead {
                keys::delete(&mut tx, id).await?;
                tx.publish(Change::KeyRemoved { id });
            }
            self.commit(tx).await?;
            if dead.len() < FORGOTTEN_AT_ONCE as usize {
                return Ok(());
            }
        }
    }
}
