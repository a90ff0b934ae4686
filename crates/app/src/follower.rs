//! Keeps the engine at the head of the feed. The engine hears of nothing in any other way, on the node that
//! made the change too.

use std::sync::Arc;
use std::time::Duration;

use claviger_domain::change::{Change, Revision};
use claviger_engine::Engine;
use claviger_store::{Connection, Store, StoreError, feed};
use futures_util::StreamExt as _;

use crate::AppError;

const TRANSACTIONS_PER_READ: u32 = 1000;
const SNAPSHOT_BUFFER: usize = 1024;
const RETRY_EVERY: Duration = Duration::from_millis(200);

pub(crate) struct Follower {
    store: Store,
    engine: Arc<Engine>,
    // One reader of the feed at a time: transactions are applied in order.
    turn: tokio::sync::Mutex<()>,
}

impl Follower {
    pub(crate) fn new(store: Store, engine: Arc<Engine>) -> Self {
        Self { store, engine, turn: tokio::sync::Mutex::new(()) }
    }

    /// Loads everything from one unmoving view of the database.
    pub(crate) async fn load(&self) -> Result<(), StoreError> {
        let mut reader = self.store.read().await?;
        let revision = feed::find_revision(&mut reader).await?;
        let (sender, mut receiver) = tokio::sync::mpsc::channel::<Change>(SNAPSHOT_BUFFER);
        let engine = Arc::clone(&self.engine);
        let loading =
            tokio::task::spawn_blocking(move || engine.load(revision, std::iter::from_fn(|| receiver.blocking_recv())));
        let sent = send_snapshot(&mut reader, sender).await;
        let loaded = loading.await;
        sent?;
        match loaded {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(StoreError::Row { table: "keys", reason: error.to_string() }),
            Err(error) => Err(StoreError::Row { table: "keys", reason: error.to_string() }),
        }
    }

    /// Returns when the engine has applied the revision. When the feed cannot be read now, goes on trying in
    /// the background, so that what was committed is applied as soon as it can be.
    pub(crate) async fn reach(self: &Arc<Self>, revision: Revision) -> Result<(), AppError> {
        match self.catch_up(revision).await {
            Ok(()) => Ok(()),
            Err(error) => {
                let follower = Arc::clone(self);
                tokio::spawn(async move {
                    while let Err(error) = follower.catch_up(revision).await {
                        tracing::error!(%error, %revision, "the feed cannot be read; trying again");
                        tokio::time::sleep(RETRY_EVERY).await;
                    }
                });
                Err(error)
            }
        }
    }

    async fn catch_up(&self, wanted: Revision) -> Result<(), AppError> {
        let _turn = self.turn.lock().await;
        while self.engine.revision() < wanted {
            let mut reader = self.store.read().await?;
            let transactions =
                feed::list_transactions(&mut reader, self.engine.revision(), TRANSACTIONS_PER_READ).await?;
            if transactions.is_empty() {
                return Err(AppError::Internal { context: format!("revision {wanted} is not in the feed") });
            }
            for transaction in transactions {
                self.engine.apply(transaction.revision, &transaction.changes).map_err(|error| AppError::Internal {
                    context: format!("revision {} cannot be applied: {error}", transaction.revision),
                })?;
            }
        }
        Ok(())
    }
}

async fn send_snapshot(reader: &mut Connection, changes: tokio::sync::mpsc::Sender<Change>) -> Result<(), StoreError> {
    let mut snapshot = std::pin::pin!(feed::stream_snapshot(reader).await?);
    while let Some(change) = snapshot.next().await {
        if changes.send(change?).await.is_err() {
            // The engine has stopped listening; why, it says itself.
            break;
        }
    }
    Ok(())
}
