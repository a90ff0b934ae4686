//! What an operator or the holder of a key can do: authorise, transact, publish.
//!
//! Every operation here is one transaction of the store. Whoever acts is looked up again inside it, so that
//! a key that was revoked a moment ago changes nothing any more; whatever alters a verdict is published in
//! the same transaction; and the caller is answered only when the engine has applied it. There is no HTTP
//! and no SQL text here, and nothing here decides about presented secrets: that is the engine.
//!
//! Reading order: [`App`], [`actor`] (who acts, and how far they see), [`keys`], [`definitions`],
//! [`usage`], then the small ones.

pub mod actor;
pub mod credentials;
pub mod definitions;
pub mod error;
mod follower;
pub mod keys;
mod maintenance;
pub mod organizations;
pub mod usage;

use std::sync::Arc;

use claviger_domain::change::Revision;
use claviger_domain::random::Entropy;
use claviger_domain::time::{Clock, Timestamp};
use claviger_engine::Engine;
use claviger_store::{OpenError, Store, Tx};

pub use actor::Actor;
pub use claviger_store::admin_tokens::AdminToken;
pub use claviger_store::keys::{KeyFilter, KeyRow};
pub use claviger_store::{Database, Page, PageRequest};
pub use definitions::Applied;
pub use error::AppError;
pub use keys::{CreateKey, Issued, KeyPlace, Lifetime, UpdateKey};
pub use usage::{UsageCounts, UsageQuery, UsageReport};

use follower::Follower;
use usage::Ledger;

/// A deployment as its operations see it: the store, the engine that follows it, a clock and randomness.
pub struct App {
    store: Store,
    engine: Arc<Engine>,
    follower: Arc<Follower>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    ledger: Ledger,
}

/// What a mutation leaves, and the revision at which every engine knows of it.
#[derive(Clone, Debug)]
pub struct Mutated<T> {
    /// The thing as it is now.
    pub value: T,
    /// The revision.
    pub revision: Revision,
}

impl App {
    /// Opens the database, loads the engine from it and starts the housekeeping that runs beside it.
    /// Must be called inside a tokio runtime that outlives the app.
    pub async fn open(
        database: &Database,
        engine: Arc<Engine>,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Arc<Self>, StartError> {
        let store = Store::open(database).await?;
        let incarnation = store.next_incarnation().await?;
        let follower = Arc::new(Follower::new(store.clone(), Arc::clone(&engine)));
        follower.load().await?;
        let app = Arc::new(Self { store, engine, follower, clock, entropy, ledger: Ledger::new(incarnation) });
        maintenance::start(&app);
        Ok(app)
    }

    /// The engine that follows this deployment.
    pub fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    /// The clock that everything here runs by.
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }

    /// The present instant.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Writes what is only in memory and closes the database.
    pub async fn close(&self) {
        if let Err(error) = self.flush_usage().await {
            tracing::error!(%error, "usage of the last seconds could not be written");
        }
        self.store.close().await;
    }

    /// Makes a transaction durable and waits until the engine has applied it. Goes on to the end even when
    /// the caller is gone: a committed revocation must reach the engine whoever is still listening.
    async fn commit(&self, tx: Tx) -> Result<Revision, AppError> {
        let (follower, now) = (Arc::clone(&self.follower), self.now());
        let done = tokio::spawn(async move {
            let committed = tx.commit(now).await?;
            let revision = committed.revision;
            follower.take(committed).await?;
            Ok::<_, AppError>(revision)
        });
        done.await.map_err(|error| AppError::Internal { context: format!("commit task: {error}") })?
    }

    /// Answers a mutation that found nothing to change: what made it so must have reached the engine, which the
    /// call that changed it may have failed to see to. Gives the transaction up.
    async fn settle(&self, tx: Tx) -> Result<Revision, AppError> {
        let committed = Revision(tx.revision().0 - 1);
        drop(tx);
        self.follower.reach(committed).await?;
        Ok(committed)
    }
}

/// The deployment cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The database cannot be used.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The database can be opened but not read.
    #[error("the database cannot be read: {0}")]
    Read(#[from] claviger_store::StoreError),
}
