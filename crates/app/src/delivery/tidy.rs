//! What keeps the outbox small: queues have an end, and what is over is forgotten.

use claviger_domain::limits;
use claviger_store::{deliveries, mails, webhooks};

use crate::{Actor, App, AppError};

/// Rows that one transaction touches.
const AT_ONCE: u32 = 500;
const OVERFULL: &str = "too many events waited for the endpoint, and this was the oldest";

impl App {
    /// Gives up the oldest deliveries of every queue that is too long.
    pub(super) async fn trim_queues(&self) -> Result<(), AppError> {
        let mut reader = self.store.read().await?;
        let overfull = deliveries::list_overfull(&mut reader, limits::WEBHOOK_QUEUE_MAX).await?;
        drop(reader);
        for (endpoint, count) in overfull {
            tracing::warn!(%endpoint, count, "too many events wait for a webhook endpoint; the oldest are given up");
            let mut left = u32::try_from(count - limits::WEBHOOK_QUEUE_MAX).unwrap_or(u32::MAX);
            while left > 0 {
                let batch = left.min(AT_ONCE);
                let mut work = self.begin(&Actor::system()).await?;
                let now = work.now;
                deliveries::fail_oldest(&mut work.tx, endpoint, batch, OVERFULL, now).await?;
                let row = webhooks::find(work.tx.connection().await?, endpoint).await?;
                if row.is_some_and(|row| row.failing_since.is_none()) {
                    webhooks::set_failing_since(&mut work.tx, endpoint, Some(now)).await?;
                }
                let revision = work.tx.revision_before();
                work.at((), revision).commit().await?;
                left -= batch;
            }
        }
        Ok(())
    }

    /// Forgets what has been over for long, and what is left of endpoints that were deleted.
    pub(super) async fn forget_deliveries(&self) -> Result<(), AppError> {
        loop {
            let mut work = self.begin(&Actor::system()).await?;
            let before = work.now.plus_seconds(-limits::DELIVERY_LOG_DAYS * 24 * 3600);
            let has_deleted = webhooks::has_deleted(work.tx.connection().await?).await?;
            let mut counts = [0; 3];
            if let Some(before) = before {
                counts[0] = deliveries::forget_finished(&mut work.tx, before, AT_ONCE).await?;
                counts[1] = mails::forget_finished(&mut work.tx, before, AT_ONCE).await?;
            }
            if has_deleted {
                counts[2] = webhooks::purge(&mut work.tx, AT_ONCE).await?;
            }
            if has_deleted || counts.iter().any(|count| *count > 0) {
                let revision = work.tx.revision_before();
                work.at((), revision).commit().await?;
            }
            if counts.iter().all(|count| *count < u64::from(AT_ONCE)) {
                return Ok(());
            }
        }
    }
}
