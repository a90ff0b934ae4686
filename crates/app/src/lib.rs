//! What an operator or the holder of a key can do: authorise, transact, publish.
//!
//! Every operation here has its turn in a transaction of the store. Whoever acts is looked up again inside it, so that
//! a key that was revoked a moment ago changes nothing any more; whatever alters a verdict is published in
//! the same transaction, beside the audit event; and the caller is answered only when it is durable and the engine has
//! applied it. There is no HTTP
//! and no SQL text here, and nothing here decides about presented secrets: that is the engine.
//!
//! Reading order: [`App`], [`actor`] (who acts, and how far they see), [`Mutation`] and `writer` (how something is
//! changed, many at once), [`keys`], [`definitions`], [`usage`], [`audit`], [`visits`] (who came to the admin API), [`networks`] (from where), [`delivery`]
//! (how others are told), then the small ones.

pub mod actor;
pub mod alerts;
pub mod audit;
mod counters;
pub mod credentials;
pub mod definitions;
pub mod delivery;
pub mod error;
mod follower;
mod guard;
pub mod keys;
mod maintenance;
pub mod members;
mod mutation;
pub mod networks;
pub mod organizations;
pub mod subscriptions;
pub mod usage;
pub mod visits;
mod writer;

use std::path::Path;
use std::sync::{Arc, OnceLock};

use claviger_domain::random::Entropy;
use claviger_domain::time::{Clock, Timestamp};
use claviger_engine::{Engine, EngineOptions};
use claviger_store::{OpenError, Store, snapshot};

pub use actor::Actor;
pub use alerts::settings::AlertSettings;
pub use audit::{AuditExport, AuditVerification, AuditWalk};
pub use claviger_store::admin_tokens::AdminToken;
pub use claviger_store::alerts::AlertFilter;
pub use claviger_store::audit::{AuditFilter, ListedEvent};
pub use claviger_store::deliveries::{Attempt as DeliveryAttempt, Delivery as WebhookDelivery, Replay};
pub use claviger_store::idempotency::Attempt;
pub use claviger_store::keys::{KeyFilter, KeyRow, Selection};
pub use claviger_store::webhooks::WebhookRow;
pub use claviger_store::{Database, DatabaseError, Page, PageRequest};
pub use definitions::Applied;
pub use delivery::{CreateWebhook, DeliverySettings, IssuedWebhook, ReplayedWebhook, ShownDelivery, UpdateWebhook};
pub use error::AppError;
pub use keys::{
    BulkRevoked, CreateKey, ImportKey, ImportKeys, ImportPlace, ImportedKeys, Issued, KeyPlace, Lifetime, UpdateKey,
};
pub use members::{Invited, RemoveMember, RemovedMember, Rest, UpdateMember};
pub use mutation::{Commit, Mutated, Mutation};
pub use networks::{UnknownKeyQuery, UnknownKeyReport};
pub use organizations::UpdateOrganization;
pub use subscriptions::{SetSubscription, SubscriptionReport};
pub use usage::UsageCounts;
pub use usage::export::{ExportCursor, ExportFormat, ExportQuery, ExportRange, UsageExport};
pub use usage::report::{
    Calls, DayUsage, KeyUsage, OrganizationUsage, OtherKeys, Quota, UsageQuery, UsageRange, UsageReport,
};
pub use usage::retention::UsageRetention;
pub use visits::{RefusalReason, Refused, Visitor};

use delivery::Delivery;
use follower::Follower;
use keys::Room;
use networks::Noted;
use usage::Ledger;
use visits::Visits;
use writer::Writer;

/// A deployment as its operations see it: the store, the engine that follows it, a clock and randomness.
pub struct App {
    store: Store,
    engine: Arc<Engine>,
    writer: Writer,
    room: Arc<Room>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    ledger: Ledger,
    delivery: OnceLock<Arc<Delivery>>,
    visits: Visits,
    noted: Noted,
}

impl App {
    /// Opens the database, loads an engine from it and starts the housekeeping that runs beside it. Usage is counted in
    /// the file `counters`, so that none is lost when the process is killed, or in memory alone if there is to be none.
    /// Without options, the engine is as large as suits the keys that there are.
    /// Must be called inside a tokio runtime that outlives the app.
    pub async fn open(
        database: &Database,
        counters: Option<&Path>,
        options: Option<EngineOptions>,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Arc<Self>, StartError> {
        let store = Store::open(database).await?;
        let options = match options {
            Some(options) => options,
            None => EngineOptions::for_keys(snapshot::count_keys(&mut store.read().await?).await?),
        };
        let (engine, incarnation) = counters::open(&store, counters, options, &*entropy, clock.now()).await?;
        let engine = Arc::new(engine);
        maintenance::shed_expired(&engine, clock.now());
        let follower = Follower::start(store.clone(), Arc::clone(&engine));
        follower.load().await?;
        usage::seed::seed(&store, &engine, clock.now()).await?;
        guard::start(store.clone(), &follower);
        let (room, ledger) = (Arc::<Room>::default(), Ledger::new(incarnation));
        let writer = Writer::start(store.clone(), follower, Arc::clone(&room), Arc::clone(&clock));
        let delivery = OnceLock::new();
        let (visits, visited) = visits::open();
        let app = Arc::new(Self {
            store,
            engine,
            writer,
            room,
            clock,
            entropy,
            ledger,
            delivery,
            visits,
            noted: Noted::default(),
        });
        visits::start(&app, visited);
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

    /// The randomness that everything here uses.
    pub fn entropy(&self) -> &Arc<dyn Entropy> {
        &self.entropy
    }

    /// The present instant.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Stops what is under way, writes what is only in memory and closes the database.
    pub async fn close(&self) {
        if let Some(delivery) = self.delivery.get() {
            delivery.stop().await;
        }
        self.write_visits(true).await;
        if let Err(error) = self.flush_usage().await {
            tracing::error!(%error, "usage of the last seconds could not be written");
        }
        if let Err(error) = self.write_networks().await {
            tracing::error!(%error, "from where keys were used in the last seconds could not be written");
        }
        self.store.close().await;
    }
}

/// The deployment cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The database cannot be used.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The file of usage counters cannot be used.
    #[error("the usage counters cannot be used: {0}")]
    Counters(String),
    /// The database can be opened but not read.
    #[error("the database cannot be read: {0}")]
    Read(#[from] claviger_store::StoreError),
}
