//! What webhooks are told of.

use claviger_domain::audit::Action;
use claviger_domain::change::Change;
use claviger_domain::event::{Event, EventType};
use claviger_domain::id::{EventId, KeyId};
use claviger_domain::key::Kind;
use claviger_domain::time::Timestamp;
use claviger_store::expiry::{self, Mark};

use crate::mutation::Work;
use crate::{Actor, App, AppError};

/// Expired keys that are told of in one transaction.
const EXPIRED_AT_ONCE: u32 = 500;

impl Work {
    /// Adds an event for every webhook endpoint that wants it, to be sent when this transaction is durable. Nothing is made
    /// where no endpoint would want it.
    pub(crate) fn announce(&mut self, event: impl FnOnce(EventId, Timestamp) -> Event) {
        if self.tx.has_listeners() {
            let id = EventId::new(self.now, &*self.entropy);
            self.tx.announce(event(id, self.now));
        }
    }

    /// The event of a change that was told to followers. Ephemeral keys come and go by the thousand, and imported ones by the
    /// million: of those nothing is told.
    pub(crate) fn announce_change(&mut self, change: &Change, action: Action) {
        match (change, action) {
            (Change::Key(key), _) if key.kind == Kind::Ephemeral => {}
            (Change::Key(key), Action::KeyCreated) => {
                self.announce(|id, at| Event::of_key(id, EventType::KeyCreated, at, key));
            }
            (Change::Key(key), Action::KeyRotated) => {
                self.announce(|id, at| Event::of_key(id, EventType::KeyRotated, at, key));
            }
            (Change::Key(key), Action::KeyRevoked) => {
                self.announce(|id, at| Event::of_key(id, EventType::KeyRevoked, at, key));
            }
            (Change::Subscription(subscription), Action::SubscriptionUpdated) => {
                self.announce(|id, at| Event::of_subscription(id, at, subscription));
            }
            _ => {}
        }
    }
}

impl App {
    /// Tells of keys that died by themselves since this was last done; the first time, of none. Nothing is written while
    /// nothing has expired. Returns how many there were.
    ///
    /// A clock that is set back takes the mark with it, for keys that are made then die in instants that come again. Those
    /// that were told of are not told of again: each says which expiry of its own that was.
    pub(super) async fn announce_expired(&self) -> Result<usize, AppError> {
        let mut told = 0;
        loop {
            let now = self.now();
            let mut reader = self.store.read().await?;
            let mark = expiry::find_mark(&mut reader).await?;
            if let Some(mark) = mark.filter(|mark| mark.at <= now)
                && expiry::list(&mut reader, mark, now, 1).await?.is_empty()
            {
                return Ok(told);
            }
            drop(reader);
            let mut work = self.begin(&Actor::system()).await?;
            let now = work.now;
            let mark = expiry::find_mark(work.tx.connection().await?).await?.filter(|mark| mark.at <= now);
            let keys = match mark {
                Some(mark) => expiry::list(work.tx.connection().await?, mark, now, EXPIRED_AT_ONCE).await?,
                None => Vec::new(),
            };
            let is_all = keys.len() < EXPIRED_AT_ONCE as usize;
            let last = keys.last().and_then(|key| Some(Mark { at: key.expires_at?, key: key.id }));
            // The last of the instant, so that nothing of it is seen twice.
            let whole = Mark { at: now, key: KeyId::from_u128(u128::MAX) };
            let reached = last.filter(|_| !is_all).unwrap_or(whole);
            expiry::put_mark(&mut work.tx, reached).await?;
            if let Some(past) = mark.filter(|_| !keys.is_empty()) {
                expiry::put_told(&mut work.tx, past, reached).await?;
            }
            for key in &keys {
                work.announce(|id, at| Event::of_key(id, EventType::KeyExpired, at, key));
            }
            told += keys.len();
            let revision = work.tx.revision_before();
            work.at((), revision).commit().await?;
            if is_all {
                return Ok(told);
            }
        }
    }
}
