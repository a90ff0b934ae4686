//! One transaction after another, each shared by all mutations that wait when it begins or come while it is open.
//!
//! A mutation asks for its [`Turn`], in which it alone reads and writes the transaction. When it has done what it was
//! asked it gives the turn back, [`Turn::finish`], and waits. When nobody else waits for a turn the transaction is made
//! durable, the engine takes in all of it, and only then is every mutation in it answered. So one write to disk serves
//! as many callers as there are, and an answered mutation is durable and known.
//!
//! A mutation that fails or whose caller hangs up drops its turn, which undoes what it did and nothing else. Once
//! finished, a mutation goes on to the end, whoever is still listening.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, PoisonError};

use claviger_domain::change::Revision;
use claviger_domain::id::KeyId;
use claviger_domain::time::Clock;
use claviger_store::{Store, StoreError, Tx, feed};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};

use crate::AppError;
use crate::follower::Follower;
use crate::keys::Room;

/// Mutations that wait for a turn; further ones are refused.
const QUEUE_MAX: usize = 1024;
/// Of those, the mutations of one key: its holder does not keep everybody else waiting.
const QUEUE_OF_KEY_MAX: usize = 64;
/// Mutations in one transaction: the first of them waits for the last.
const PARTS_MAX: usize = 128;

/// Hands out turns.
pub(crate) struct Writer {
    queue: mpsc::Sender<Ask>,
    waiting: Mutex<HashMap<KeyId, usize>>,
}

type Ask = oneshot::Sender<Result<Turn, AppError>>;

/// The open part of the shared transaction. Dropped, it never was.
pub(crate) struct Turn {
    held: Option<Held>,
}

struct Held {
    tx: Tx,
    back: oneshot::Sender<Ended>,
}

/// How a turn ended.
enum Ended {
    Finished(Tx, oneshot::Sender<Result<(), AppError>>),
    Abandoned(Tx),
}

impl Writer {
    /// Starts the task that owns the transactions. It ends when the writer is dropped.
    pub(crate) fn start(store: Store, follower: Arc<Follower>, room: Arc<Room>, clock: Arc<dyn Clock>) -> Self {
        let (queue, asks) = mpsc::channel(QUEUE_MAX);
        tokio::spawn(run(Group { asks, store, follower, room, clock }));
        Self { queue, waiting: Mutex::default() }
    }

    /// Waits for a turn for this key, or for the operator. Refused where too many wait already.
    pub(crate) async fn turn(&self, key: Option<KeyId>) -> Result<Turn, AppError> {
        let _waiting = key.map(|key| Waiting::enter(self, key)).transpose()?;
        let (ask, turn) = oneshot::channel();
        self.queue.try_send(ask).map_err(|error| match error {
            TrySendError::Full(_) => AppError::Unavailable { context: format!("{QUEUE_MAX} mutations wait already") },
            TrySendError::Closed(_) => gone(),
        })?;
        turn.await.map_err(|_| gone())?
    }
}

/// A key's place among those that wait, given up when dropped.
struct Waiting<'w> {
    writer: &'w Writer,
    key: KeyId,
}

impl<'w> Waiting<'w> {
    fn enter(writer: &'w Writer, key: KeyId) -> Result<Self, AppError> {
        let mut waiting = writer.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let count = waiting.entry(key).or_default();
        if *count >= QUEUE_OF_KEY_MAX {
            return Err(AppError::TooManyAtOnce);
        }
        *count += 1;
        Ok(Self { writer, key })
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut waiting = self.writer.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if let Entry::Occupied(mut count) = waiting.entry(self.key) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }
}

fn gone() -> AppError {
    AppError::Unavailable { context: "the writer has stopped".to_owned() }
}

impl std::ops::Deref for Turn {
    type Target = Tx;

    fn deref(&self) -> &Tx {
        &self.held.as_ref().expect("a turn holds the transaction until it ends").tx
    }
}

impl std::ops::DerefMut for Turn {
    fn deref_mut(&mut self) -> &mut Tx {
        &mut self.held.as_mut().expect("a turn holds the transaction until it ends").tx
    }
}

impl Turn {
    /// Ends the turn and returns when everything it saw and did is durable and the engine knows of it.
    pub(crate) async fn finish(mut self) -> Result<(), AppError> {
        let Some(Held { tx, back }) = self.held.take() else { return Err(gone()) };
        let (answer, done) = oneshot::channel();
        back.send(Ended::Finished(tx, answer)).map_err(|_| gone())?;
        done.await.map_err(|_| gone())?
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some(Held { tx, back }) = self.held.take() {
            // Where nobody listens the transaction is dropped, which undoes all of it.
            let _ = back.send(Ended::Abandoned(tx));
        }
    }
}

struct Group {
    asks: mpsc::Receiver<Ask>,
    store: Store,
    follower: Arc<Follower>,
    room: Arc<Room>,
    clock: Arc<dyn Clock>,
}

async fn run(mut group: Group) {
    while let Some(first) = group.asks.recv().await {
        let mut waiting = Vec::new();
        let outcome = group.serve(first, &mut waiting).await;
        if outcome.is_err() {
            // Room may have been counted with keys ended in it that are alive after all.
            group.room.forget();
        }
        for answer in waiting {
            let outcome = outcome.as_ref().map_or_else(|error| Err(repeated(error)), |()| Ok(()));
            // A caller that hung up is not told.
            let _ = answer.send(outcome);
        }
    }
}

/// The same error for another of those who shared the transaction.
fn repeated(error: &AppError) -> AppError {
    match error {
        AppError::Unavailable { context } => AppError::Unavailable { context: context.clone() },
        other => AppError::Internal { context: other.to_string() },
    }
}

impl Group {
    /// Serves one transaction from its first part to its commit. Whoever finished in it is left in `waiting`.
    async fn serve(
        &mut self,
        first: Ask,
        waiting: &mut Vec<oneshot::Sender<Result<(), AppError>>>,
    ) -> Result<(), AppError> {
        let mut tx = match self.store.begin().await {
            Ok(tx) => tx,
            Err(error) => {
                self.refuse_all(first, &error);
                return Ok(());
            }
        };
        let seen = tx.revision_before();
        self.follower.begins_at(seen);
        let mut next = Some(first);
        let mut parts = 0;
        while let Some(ask) = next.take() {
            parts += 1;
            let (back, ended) = oneshot::channel();
            // A caller that hung up before its turn drops it, which ends it.
            let _ = ask.send(Ok(Turn { held: Some(Held { tx, back }) }));
            let (returned, finished) = match ended.await {
                Ok(Ended::Finished(tx, answer)) => (tx, Some(answer)),
                Ok(Ended::Abandoned(tx)) => (tx, None),
                Err(_) => return Err(AppError::Internal { context: "a turn was lost".to_owned() }),
            };
            tx = returned;
            match finished.map(|answer| (tx.keep(), answer)) {
                Some((Ok(()), answer)) => waiting.push(answer),
                Some((Err(error), answer)) => {
                    let _ = answer.send(Err(error.into()));
                    tx.discard().await?;
                }
                None => tx.discard().await?,
            }
            if parts < PARTS_MAX {
                next = self.asks.try_recv().ok();
            }
        }
        if waiting.is_empty() {
            return Ok(());
        }
        self.commit(tx, seen).await
    }

    async fn commit(&self, tx: Tx, seen: Revision) -> Result<(), AppError> {
        let committed: Vec<feed::Transaction> = match tx.commit(self.clock.now()).await {
            Ok(committed) => committed,
            Err(error) => {
                // It may have happened all the same: then the engine must hear of it, though nobody is told that it did.
                self.follower.recover_later();
                return Err(error.into());
            }
        };
        // Those who changed nothing saw what earlier transactions did, which must have reached the engine too.
        self.follower.take(&committed, seen).await
    }

    /// The database is away: all who wait are told now, not one after the other.
    fn refuse_all(&mut self, first: Ask, error: &StoreError) {
        let refusal = || Err(AppError::Unavailable { context: error.to_string() });
        let _ = first.send(refusal());
        while let Ok(ask) = self.asks.try_recv() {
            let _ = ask.send(refusal());
        }
    }
}
