//! Keeps the engine at the head of the feed. The engine hears of nothing in any other way, on the node that
//! made the change too.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use claviger_domain::change::{Change, Revision};
use claviger_domain::time::Timestamp;
use claviger_engine::{ApplyError, Engine};
use claviger_store::snapshot::{Chunk, Decoder};
use claviger_store::{Connection, Store, StoreError, feed, snapshot};
use futures_util::StreamExt as _;

use crate::AppError;

const TRANSACTIONS_PER_READ: u32 = 1000;
const SNAPSHOT_CHUNKS_AHEAD: usize = 4;
const RETRY_EVERY: Duration = Duration::from_millis(200);

pub(crate) struct Follower {
    store: Store,
    engine: Arc<Engine>,
    // One reader of the feed at a time: transactions are applied in order.
    turn: tokio::sync::Mutex<()>,
    is_recovering: AtomicBool,
    /// Whether the last snapshot was read to its end.
    is_loaded: AtomicBool,
}

impl Follower {
    pub(crate) fn new(store: Store, engine: Arc<Engine>) -> Self {
        Self {
            store,
            engine,
            turn: tokio::sync::Mutex::new(()),
            is_recovering: AtomicBool::new(false),
            is_loaded: AtomicBool::new(false),
        }
    }

    /// Loads everything from one unmoving view of the database.
    pub(crate) async fn load(&self) -> Result<(), StoreError> {
        self.is_loaded.store(false, Ordering::SeqCst);
        let mut reader = self.store.read().await?;
        let revision = feed::find_revision(&mut reader).await?;
        let keys = snapshot::count_keys(&mut reader).await?;
        let (sender, receiver) = tokio::sync::mpsc::channel(SNAPSHOT_CHUNKS_AHEAD);
        let engine = Arc::clone(&self.engine);
        let loading =
            tokio::task::spawn_blocking(move || engine.try_load(revision, SnapshotChanges::new(receiver, keys)));
        send_snapshot(&mut reader, sender).await;
        match loading.await {
            Ok(Ok(())) => {
                self.is_loaded.store(true, Ordering::SeqCst);
                Ok(())
            }
            Ok(Err(LoadError::Store(error))) => Err(error),
            Ok(Err(LoadError::Engine(error))) => Err(StoreError::Row { table: "keys", reason: error.to_string() }),
            Err(error) => Err(StoreError::Row { table: "keys", reason: error.to_string() }),
        }
    }

    /// Applies a transaction that this node has just committed, or reads the feed up to it when others came between.
    pub(crate) async fn take(self: &Arc<Self>, committed: feed::Transaction) -> Result<(), AppError> {
        {
            let _turn = self.turn.lock().await;
            let is_next = self.engine.is_loaded() && self.engine.revision().0 + 1 == committed.revision.0;
            if is_next && self.engine.apply(committed.revision, &committed.changes).is_ok() {
                return Ok(());
            }
        }
        self.reach(committed.revision).await
    }

    /// Returns when the engine has applied the revision. When it cannot be brought there now, the engine says no to
    /// everything, for it may not know of a revocation that is committed, and goes on trying in the background.
    pub(crate) async fn reach(self: &Arc<Self>, revision: Revision) -> Result<(), AppError> {
        let outcome = self.catch_up(revision).await;
        if let Err(error) = &outcome {
            tracing::error!(%error, %revision, "the engine is behind the database and denies everything until it is not");
            self.engine.grant_lease(Timestamp::from_micros(i64::MIN));
            if !self.is_recovering.swap(true, Ordering::SeqCst) {
                tokio::spawn(recover(Arc::downgrade(self), revision));
            }
        }
        outcome
    }

    async fn catch_up(&self, wanted: Revision) -> Result<(), AppError> {
        let _turn = self.turn.lock().await;
        if !self.is_loaded.load(Ordering::SeqCst) || !self.engine.is_loaded() {
            // A snapshot that was cut short leaves the engine with a part of it. A change that could not be applied leaves the engine empty: everything is read anew.
            self.load().await?;
        }
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

/// Tries until the engine is where it should be, then lets it say yes again.
async fn recover(follower: Weak<Follower>, revision: Revision) {
    let mut wanted = revision;
    loop {
        tokio::time::sleep(RETRY_EVERY).await;
        let Some(follower) = follower.upgrade() else { return };
        let latest = async {
            let mut reader = follower.store.read().await?;
            Ok::<_, AppError>(feed::find_revision(&mut reader).await?)
        };
        if let Ok(latest) = latest.await {
            wanted = wanted.max(latest);
        }
        if follower.catch_up(wanted).await.is_ok() {
            follower.is_recovering.store(false, Ordering::SeqCst);
            follower.engine.grant_lease(Timestamp::from_micros(i64::MAX));
            tracing::info!(revision = %wanted, "the engine has caught up with the database");
            return;
        }
    }
}

/// What the reader of a snapshot sends; nothing, when all of it was sent.
type Sent = Result<Option<Chunk>, StoreError>;

async fn send_snapshot(reader: &mut Connection, chunks: tokio::sync::mpsc::Sender<Sent>) {
    let sent = async {
        let mut snapshot = std::pin::pin!(feed::stream_snapshot(reader).await?);
        while let Some(chunk) = snapshot.next().await {
            if chunks.send(Ok(Some(chunk?))).await.is_err() {
                // The engine has stopped listening; why, it says itself.
                break;
            }
        }
        Ok(None)
    };
    let end = sent.await;
    // Nobody listens only when the engine has failed already.
    chunks.send(end).await.ok();
}

enum LoadError {
    Store(StoreError),
    Engine(ApplyError),
}

impl From<ApplyError> for LoadError {
    fn from(error: ApplyError) -> Self {
        Self::Engine(error)
    }
}

/// The changes of a snapshot, made on the thread that asks for them.
struct SnapshotChanges {
    chunks: tokio::sync::mpsc::Receiver<Sent>,
    decoder: Decoder,
    ready: std::vec::IntoIter<Change>,
    keys: usize,
    is_at_end: bool,
}

impl SnapshotChanges {
    fn new(chunks: tokio::sync::mpsc::Receiver<Sent>, keys: usize) -> Self {
        Self { chunks, decoder: Decoder::default(), ready: Vec::new().into_iter(), keys, is_at_end: false }
    }

    fn next_chunk(&mut self) -> Result<Option<Chunk>, StoreError> {
        let cut_short = "the reading of the snapshot was given up";
        let lost = || StoreError::Row { table: "keys", reason: cut_short.to_owned() };
        self.chunks.blocking_recv().ok_or_else(lost)?
    }
}

impl Iterator for SnapshotChanges {
    type Item = Result<Change, LoadError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(change) = self.ready.next() {
                return Some(Ok(change));
            }
            if self.is_at_end {
                return None;
            }
            match self.next_chunk().and_then(|chunk| chunk.map(|chunk| self.decoder.decode(chunk)).transpose()) {
                Ok(Some(changes)) => self.ready = changes.into_iter(),
                Ok(None) => self.is_at_end = true,
                Err(error) => {
                    self.is_at_end = true;
                    return Some(Err(LoadError::Store(error)));
                }
            }
        }
    }

    /// At least the keys: the engine makes room for so many.
    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.keys, None)
    }
}
