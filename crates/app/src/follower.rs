//! Keeps the engine at the head of the feed. The engine hears of nothing in any other way, on the node that
//! made the change too.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use claviger_domain::change::{Change, Revision};
use claviger_domain::time::Timestamp;
use claviger_engine::{ApplyError, Engine};
use claviger_store::snapshot::{Chunk, Decoder};
use claviger_store::{Connection, Store, StoreError, feed, snapshot};
use futures_util::StreamExt as _;
use tokio::sync::Notify;

use crate::AppError;

/// One of them may hold as many changes as an import has keys.
const TRANSACTIONS_PER_READ: u32 = 64;
const SNAPSHOT_CHUNKS_AHEAD: usize = 4;
const RETRY_EVERY: Duration = Duration::from_millis(200);

/// Further than any feed goes: the engine will never be where it should.
const GIVEN_UP: Revision = Revision(i64::MAX);

pub(crate) struct Follower {
    store: Store,
    engine: Arc<Engine>,
    // One reader of the feed at a time: transactions are applied in order.
    turn: tokio::sync::Mutex<()>,
    /// The last revision that is known to be committed and that the engine did not reach when it should have.
    missed: Mutex<Revision>,
    /// Wakes the task that brings the engine to where the database is.
    behind: Arc<Notify>,
    /// Whether the last snapshot was read to its end.
    is_loaded: AtomicBool,
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.behind.notify_one();
    }
}

impl Follower {
    /// Follows with an engine that nothing was loaded into yet.
    pub(crate) fn start(store: Store, engine: Arc<Engine>) -> Arc<Self> {
        let follower = Arc::new(Self {
            store,
            engine,
            turn: tokio::sync::Mutex::new(()),
            missed: Mutex::default(),
            behind: Arc::default(),
            is_loaded: AtomicBool::new(false),
        });
        tokio::spawn(recover(Arc::downgrade(&follower), Arc::clone(&follower.behind)));
        follower
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

    /// Applies transactions that this node has just committed on top of a revision, or reads the feed when the engine is
    /// not there.
    pub(crate) async fn take(&self, committed: &[feed::Transaction], on_top_of: Revision) -> Result<(), AppError> {
        {
            let _turn = self.turn.lock().await;
            let is_next =
                self.is_loaded.load(Ordering::SeqCst) && self.engine.is_loaded() && self.engine.revision() == on_top_of;
            let mut applied = committed.iter().map(|next| self.engine.apply(next.revision, &next.changes));
            if is_next && applied.all(|outcome| outcome.is_ok()) {
                return Ok(());
            }
        }
        self.reach(committed.last().map_or(on_top_of, |last| last.revision)).await
    }

    /// Must be told where a transaction begins that nobody else can commit beside. Whatever the engine knows was
    /// committed before, so when it knows more, the database has gone back: a failover has lost transactions, or a
    /// backup was put in the place of it. Then nothing that the engine knows can be relied on, and its revisions
    /// will be given to others: it says no to everything until all of it is loaded anew.
    pub(crate) fn begins_at(&self, database: Revision) {
        let mut missed = self.lock_missed();
        let known = self.engine.revision().max(*missed);
        if known <= database || *missed == GIVEN_UP {
            return;
        }
        tracing::error!(%known, %database, "the database has gone back; everything is loaded anew");
        *missed = Revision::default();
        self.engine.unload();
        drop(missed);
        self.recover_later();
    }

    /// Looks in the background, until it could be looked, whether the database is further than the engine.
    pub(crate) fn recover_later(&self) {
        self.behind.notify_one();
    }

    /// Returns when the engine has applied the revision. When it cannot be brought there now, the engine says no to
    /// everything, for it may not know of a revocation that is committed, and goes on trying in the background.
    async fn reach(&self, revision: Revision) -> Result<(), AppError> {
        let outcome = self.catch_up(revision).await;
        if let Err(error) = &outcome {
            tracing::error!(%error, %revision, "the engine is behind the database and denies everything until it is not");
            let mut missed = self.lock_missed();
            *missed = revision.max(*missed);
            self.engine.grant_lease(Timestamp::from_micros(i64::MIN));
            drop(missed);
            self.recover_later();
        }
        outcome
    }

    /// Another process has taken over: this engine hears of nothing any more, so it says no from now on.
    pub(crate) fn give_up(&self) {
        let mut missed = self.lock_missed();
        *missed = GIVEN_UP;
        self.engine.grant_lease(Timestamp::from_micros(i64::MIN));
    }

    /// Lets the engine say yes again, if it has missed nothing.
    fn restore_lease(&self) -> bool {
        let missed = self.lock_missed();
        let has_all = self.engine.is_loaded() && self.engine.revision() >= *missed;
        if has_all {
            self.engine.grant_lease(Timestamp::from_micros(i64::MAX));
        }
        has_all
    }

    fn lock_missed(&self) -> MutexGuard<'_, Revision> {
        self.missed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Brings the engine to whatever the database is at now.
    async fn reach_latest(&self) -> Result<Revision, AppError> {
        // A transaction whose outcome nobody heard may still be on its way: whoever begins one waits for its end.
        drop(self.store.begin().await?);
        let latest = {
            // Nothing is applied meanwhile, so the database is no less far than the engine, unless it has gone back.
            let _turn = self.turn.lock().await;
            let mut reader = self.store.read().await?;
            let latest = feed::find_revision(&mut reader).await?;
            self.begins_at(latest);
            latest
        };
        self.catch_up(latest).await?;
        Ok(latest)
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

/// Whenever it is woken, tries until the engine is where the database is, then lets it say yes.
async fn recover(follower: Weak<Follower>, behind: Arc<Notify>) {
    loop {
        behind.notified().await;
        loop {
            let Some(follower) = follower.upgrade() else { return };
            let latest = follower.reach_latest().await;
            if let Ok(revision) = latest
                && follower.restore_lease()
            {
                tracing::info!(%revision, "the engine has what the database has");
                break;
            }
            drop(follower);
            tokio::time::sleep(RETRY_EVERY).await;
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
