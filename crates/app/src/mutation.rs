//! Mutations: begun, done, and made durable together with the answer to whoever asked.

use std::sync::Arc;

use claviger_domain::change::{Change, Revision};
use claviger_domain::random::Entropy;
use claviger_domain::time::Timestamp;
use claviger_store::idempotency;

use crate::actor::{Deed, Need};
use crate::delivery::Delivery;
use crate::writer::Turn;
use crate::{Actor, App, AppError};

/// How long a secret that was replaced is given the answer that replaced it. Whoever lost it asks again at once; whoever finds
/// the secret and guesses the Idempotency-Key comes later.
const ANSWERED_TO_REPLACED_SECONDS: i64 = 15 * 60;

/// A mutation that is done and not durable. Nothing of it is kept, and no engine hears of it, unless it is committed.
///
/// Between the two the answer can be written, so that it is kept in the same transaction where the request may be
/// repeated.
#[must_use = "nothing is kept until it is committed"]
pub struct Mutation<T> {
    value: T,
    revision: Revision,
    commit: Commit,
}

/// What is left of a mutation when its value was taken.
#[must_use = "nothing is kept until it is committed"]
pub struct Commit {
    turn: Turn,
    actor: Actor,
    now: Timestamp,
}

/// What a mutation left, and the revision at which every engine knows of it.
#[derive(Clone, Debug)]
pub struct Mutated<T> {
    /// The thing as it is now.
    pub value: T,
    /// The revision.
    pub revision: Revision,
}

impl<T> Mutation<T> {
    /// Makes it durable and returns when the engine has taken it in.
    pub async fn commit(self) -> Result<Mutated<T>, AppError> {
        self.commit.finish(None).await?;
        Ok(Mutated { value: self.value, revision: self.revision })
    }

    /// The value and its revision, to answer with, and the commit without which neither is true.
    pub fn into_parts(self) -> (T, Revision, Commit) {
        (self.value, self.revision, self.commit)
    }
}

impl Commit {
    /// Makes the mutation durable, with the encrypted answer if the request may be repeated, and returns when the engine
    /// has taken it in.
    pub async fn finish(mut self, answer: Option<Vec<u8>>) -> Result<(), AppError> {
        if let (Some(attempt), Some(answer)) = (self.actor.attempt(), answer) {
            idempotency::put(&mut self.turn, attempt, self.now, answer).await?;
        }
        self.turn.finish().await
    }
}

/// A mutation under way: the open transaction, who does it and when.
pub(crate) struct Work {
    pub(crate) tx: Turn,
    pub(crate) now: Timestamp,
    pub(crate) entropy: Arc<dyn Entropy>,
    pub(crate) delivery: Option<Arc<Delivery>>,
    actor: Actor,
}

impl App {
    /// Waits for a turn to write. A request that was answered before is not done again.
    pub(crate) async fn begin(&self, actor: &Actor) -> Result<Work, AppError> {
        let mut tx = self.writer.turn(actor.acting_key()).await?;
        actor.must_not_be_revoked(&mut tx).await?;
        if let Some(attempt) = actor.attempt()
            && let Some(kept) = idempotency::find(tx.without_new_keys(), attempt).await?
        {
            actor.must_not_be_removed(&mut tx).await?;
            // The answer may be of a moment ago, and must be durable before it is given again.
            tx.finish().await?;
            return Err(if kept.fingerprint == attempt.fingerprint {
                AppError::AlreadyAnswered { answer: kept.answer }
            } else {
                AppError::IdempotencyKeyReused
            });
        }
        let delivery = self.delivery.get().cloned();
        Ok(Work { tx, now: self.now(), entropy: Arc::clone(&self.entropy), delivery, actor: actor.clone() })
    }
}

impl App {
    /// The answer that was given to an attempt of this actor a short while ago, for a secret that was replaced since. The
    /// key must be alive and able to manage keys as before. Whether the secret is the one that was answered, only opening the answer tells.
    pub async fn find_kept_answer(&self, actor: &Actor) -> Result<Option<Vec<u8>>, AppError> {
        let Some(attempt) = actor.attempt() else { return Ok(None) };
        let mut reader = self.store.read().await?;
        let now = self.now();
        let kept = idempotency::find(&mut reader, attempt).await?;
        let is_recent = |at: Timestamp| at.plus_seconds(ANSWERED_TO_REPLACED_SECONDS).is_some_and(|end| now < end);
        let Some(kept) = kept.filter(|kept| is_recent(kept.created_at)) else { return Ok(None) };
        match actor.look_up(&mut reader, Need::WriteKeys, now).await {
            Ok(_) => Ok(Some(kept.answer)),
            Err(AppError::Denied(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

impl Work {
    /// Tells followers, the audit log and, of what they may want to know, webhooks.
    pub(crate) fn tell(&mut self, change: Change, deed: Deed) {
        self.announce_change(&change, deed.action);
        self.tx.publish(change);
        self.record(deed);
    }

    /// Tells the audit log.
    pub(crate) fn record(&mut self, deed: Deed) {
        let event = self.actor.event(self.now, deed);
        self.tx.record(event);
    }

    /// The mutation that was done, with what it led to.
    pub(crate) fn done<T>(self, value: T) -> Mutation<T> {
        let revision = self.tx.revision();
        self.at(value, revision)
    }

    /// The mutation that found nothing to change: what it shows is of this revision. It is committed all the same,
    /// for what made it so must have reached the engine, which the call that changed it may have failed to see to.
    pub(crate) fn at<T>(self, value: T, revision: Revision) -> Mutation<T> {
        Mutation { value, revision, commit: Commit { turn: self.tx, actor: self.actor, now: self.now } }
    }
}
