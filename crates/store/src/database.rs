//! Reading, and the one way to write.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use claviger_domain::audit::AuditEvent;
use claviger_domain::change::{Change, Revision};
use claviger_domain::definition::Api;
use claviger_domain::event::Event;
use claviger_domain::id::OrganizationId;
use claviger_domain::key::ApiName;
use claviger_domain::organization::Organization;
use claviger_domain::subscription::Subscription;
use claviger_domain::time::Timestamp;
use tokio::sync::Notify;

use crate::dialect::{Connection, Database, Pools, on_either};
use crate::known::{Known, LastKnown};
use crate::{apis, audit, deliveries, feed, keys, organizations, rows, subscriptions};

/// The database did not do what was asked of it.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It is away, full, locked or broken. The caller may try again.
    #[error("database: {0}")]
    Database(#[from] sqlx::Error),
    /// Another Claviger has begun to write to it, so this one may not any more.
    #[error("another Claviger has started on the database")]
    Superseded,
    /// A row makes no sense. Only the operator can help.
    #[error("row of table {table}: {reason}")]
    Row {
        /// The table.
        table: &'static str,
        /// What is wrong with it.
        reason: String,
    },
}

/// The database cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The file is not a database or is damaged.
    #[error("{place} is not a Claviger database or is damaged: {reason}")]
    Corrupt {
        /// Where it is.
        place: String,
        /// What the database says.
        reason: String,
    },
    /// A newer Claviger has written to it.
    #[error("{place} was written by a newer version of Claviger (migration {migration}); start that version instead")]
    Newer {
        /// Where it is.
        place: String,
        /// The migration that this version does not know.
        migration: i64,
    },
    /// Another Claviger runs on it.
    #[error("another Claviger is running on {place}; stop it first")]
    Taken {
        /// Where it is.
        place: String,
    },
    /// Anything else.
    #[error("cannot open {place}: {reason}")]
    Other {
        /// Where it is.
        place: String,
        /// What the database says.
        reason: String,
    },
}

/// The database: one writer at a time, some readers.
#[derive(Clone, Debug)]
pub struct Store {
    pools: Pools,
    last_known: LastKnown,
    /// The number of this run of the process; zero before it has one.
    incarnation: Arc<AtomicI64>,
    outbox: Arc<Notify>,
}

impl Store {
    /// Opens the database, making a file that is not there, and brings its tables up to date.
    pub async fn open(database: &Database) -> Result<Self, OpenError> {
        let pools = Pools::open(database).await?;
        Ok(Self { pools, last_known: LastKnown::default(), incarnation: Arc::default(), outbox: Arc::default() })
    }

    /// A view of the database as it is now, which does not move while it is held.
    pub async fn read(&self) -> Result<Connection, StoreError> {
        self.pools.read().await
    }

    /// The one way to write: opens a transaction with its first [part](Tx) and waits until it is its turn. Nothing
    /// is kept unless [`Tx::commit`] returns.
    ///
    /// # Errors
    /// [`StoreError::Superseded`] when another process has an incarnation since this one had its own: the lock that keeps
    /// others out is lost with its session, and this is what it is for.
    pub async fn begin(&self) -> Result<Tx, StoreError> {
        let mut connection = self.pools.write().await?;
        let (revision, newest) = feed::lock_revision(&mut connection).await?;
        self.must_be_newest(newest)?;
        Ok(Tx {
            connection,
            revision,
            kept: Vec::new(),
            kept_bodies: Vec::new(),
            kept_events: Vec::new(),
            changes: Vec::new(),
            events: Vec::new(),
            announced: Vec::new(),
            kept_announced: Vec::new(),
            fills_outbox: false,
            outbox: Arc::clone(&self.outbox),
            new_keys: Vec::new(),
            kept_keys: 0,
            has_savepoint: false,
            is_sending: false,
            known: self.last_known.take(revision),
            last_known: self.last_known.clone(),
        })
    }

    /// Wakes whoever sends events and mails, when there may be something new to send.
    pub fn outbox(&self) -> &Arc<Notify> {
        &self.outbox
    }

    /// The 16 bytes that tell this database from every other: `candidate`, unless it had some before.
    pub async fn identify(&self, candidate: [u8; 16]) -> Result<[u8; 16], StoreError> {
        let mut connection = self.pools.write().await?;
        let id: Vec<u8> = on_either!(
            &mut connection,
            sqlx::query_scalar("UPDATE deployment SET id = COALESCE(id, $1) RETURNING id").bind(candidate.to_vec()),
            fetch_one
        )?;
        connection.commit().await?;
        id.try_into().map_err(|_| StoreError::Row { table: "deployment", reason: "an id of another length".to_owned() })
    }

    /// Raises and returns the number of this run of the process, under which it owns its usage rows. From then on, whoever
    /// had a number before writes nothing but those. It is past another that is known: a database that was restored may
    /// have forgotten it, and rows are never shared.
    pub async fn next_incarnation(&self, past: i64) -> Result<i64, StoreError> {
        let mut connection = self.pools.write().await?;
        let raised = on_either!(
            &mut connection,
            sqlx::query_scalar(
                "UPDATE deployment SET incarnation = CASE WHEN incarnation < $1 THEN $1 ELSE incarnation END + 1
                 RETURNING incarnation",
            )
            .bind(past),
            fetch_one
        )?;
        connection.commit().await?;
        self.incarnation.store(raised, Ordering::SeqCst);
        Ok(raised)
    }

    /// Looks whether this is still the one process that may write, and takes the lock that keeps others out again where
    /// it was lost.
    ///
    /// # Errors
    /// [`StoreError::Superseded`] if it is not, and never will be. After any other, nobody knows.
    pub async fn stand_guard(&self) -> Result<(), StoreError> {
        if !self.pools.can_lose_lock() {
            return Ok(());
        }
        let mut reader = self.read().await?;
        self.must_be_newest(feed::find_incarnation(&mut reader).await?)?;
        drop(reader);
        self.pools.hold_lock().await?;
        Ok(())
    }

    fn must_be_newest(&self, newest: i64) -> Result<(), StoreError> {
        let own = self.incarnation.load(Ordering::SeqCst);
        if own == 0 || own == newest { Ok(()) } else { Err(StoreError::Superseded) }
    }

    /// A transaction for usage totals, which no verdict depends on and no revision counts.
    pub(crate) async fn begin_unpublished(&self) -> Result<Connection, StoreError> {
        self.pools.write().await
    }

    /// Closes every connection, writing the journal back into the database.
    pub async fn close(&self) {
        self.pools.close().await;
    }
}

/// A transaction that one mutation after another shares, so that one write to disk makes all of them durable.
///
/// The mutations are its *parts*. One is open at a time: it reads and writes, tells what followers will hear and what
/// the audit log will say, and is then kept or discarded without touching the others, which opens the next. Each that is
/// kept and changed something has a revision of its own.
///
/// What many parts do alike costs each of them nothing: new keys are sent to the database together, when somebody
/// looks or at the end, and apis and organizations are remembered (`Known`). A part has a savepoint from its first own write.
#[derive(Debug)]
pub struct Tx {
    connection: Connection,
    /// That of the last part that was kept, or of the database.
    revision: Revision,
    kept: Vec<feed::Transaction>,
    /// Of `kept`, as they will stand in the feed.
    kept_bodies: Vec<(Revision, String)>,
    kept_events: Vec<AuditEvent>,
    changes: Vec<Change>,
    events: Vec<AuditEvent>,
    /// What webhooks tell of, of the open part and of those that were kept.
    announced: Vec<Event>,
    kept_announced: Vec<Event>,
    fills_outbox: bool,
    outbox: Arc<Notify>,
    /// Rows of keys that the database does not have yet: `kept_keys` of parts that were kept, then the open one's.
    new_keys: Vec<Vec<rows::Value>>,
    kept_keys: usize,
    has_savepoint: bool,
    /// Whether rows of parts that were kept are on their way: whoever is cancelled then leaves nobody knowing whether
    /// they arrived, so they are taken back and sent again.
    is_sending: bool,
    known: Known,
    last_known: LastKnown,
}

impl Tx {
    /// The revision that the open part will have.
    pub fn revision(&self) -> Revision {
        Revision(self.revision.0 + 1)
    }

    /// The revision of everything that the open part sees.
    pub fn revision_before(&self) -> Revision {
        self.revision
    }

    /// Adds a change to what followers will hear.
    pub fn publish(&mut self, change: Change) {
        self.changes.push(change);
    }

    /// Adds an event to the audit log; its revision is given to it here, its number when it is written.
    pub fn record(&mut self, event: AuditEvent) {
        let revision = self.revision();
        self.events.push(AuditEvent { revision, ..event });
    }

    /// Whether a webhook endpoint may want to be told of something. Where there is none, nobody need make an event.
    pub fn has_listeners(&self) -> bool {
        self.known.has_webhooks != Some(false)
    }

    /// Adds an event for every webhook endpoint that wants it. Which those are, is asked as the transaction ends, so that
    /// hardly anything is done for it where there are none.
    pub fn announce(&mut self, event: Event) {
        self.announced.push(event);
    }

    /// There will be something to send.
    pub(crate) fn fill_outbox(&mut self) {
        self.fills_outbox = true;
    }

    /// For reads inside the transaction.
    pub async fn connection(&mut self) -> Result<&mut Connection, StoreError> {
        self.send_new_keys().await?;
        Ok(&mut self.connection)
    }

    /// For reads to which keys that are new in this transaction do not matter, as they do not to whom its caller is: nobody
    /// has been told their secrets yet.
    pub fn without_new_keys(&mut self) -> &mut Connection {
        &mut self.connection
    }

    /// For writes of the open part, which can be undone from here on.
    pub(crate) async fn writing(&mut self) -> Result<&mut Connection, StoreError> {
        self.send_new_keys().await?;
        self.set_savepoint().await?;
        Ok(&mut self.connection)
    }

    /// The api of that name.
    pub async fn find_api(&mut self, name: &ApiName) -> Result<Option<Arc<Api>>, StoreError> {
        if let Some(known) = self.known.apis.get(name) {
            return Ok(Some(Arc::clone(known)));
        }
        let found = apis::find(&mut self.connection, name).await?.map(Arc::new);
        if let Some(api) = &found {
            self.known.apis.insert(name.clone(), Arc::clone(api));
        }
        Ok(found)
    }

    /// The organization of that id.
    pub async fn find_organization(&mut self, id: OrganizationId) -> Result<Option<Organization>, StoreError> {
        if let Some(known) = self.known.organizations.get(&id) {
            return Ok(Some(known.clone()));
        }
        let found = organizations::find(&mut self.connection, id).await?;
        self.known.organizations.extend(found.clone().map(|organization| (id, organization)));
        Ok(found)
    }

    /// The subscription of an organization on an api.
    pub async fn find_subscription(
        &mut self,
        organization: OrganizationId,
        api: &ApiName,
    ) -> Result<Option<Subscription>, StoreError> {
        let place = (organization, api.clone());
        if let Some(known) = self.known.subscriptions.get(&place) {
            return Ok(known.clone());
        }
        let found = subscriptions::find(&mut self.connection, organization, api).await?;
        self.known.subscriptions.insert(place, found.clone());
        Ok(found)
    }

    /// What is known must be read anew.
    pub(crate) fn forget_what_is_known(&mut self) {
        self.known = Known::default();
    }

    /// Takes rows of new keys, to be sent when somebody looks.
    pub(crate) fn add_keys(&mut self, rows: impl Iterator<Item = Vec<rows::Value>>) {
        self.new_keys.extend(rows);
    }

    async fn send_new_keys(&mut self) -> Result<(), StoreError> {
        if self.new_keys.is_empty() {
            return Ok(());
        }
        if self.kept_keys > 0 {
            // They stay here until they have arrived.
            let kept = self.new_keys[..self.kept_keys].to_vec();
            on_either!(&mut self.connection, sqlx::raw_sql("SAVEPOINT sending"), execute)?;
            self.is_sending = true;
            keys::insert(&mut self.connection, kept).await?;
            self.is_sending = false;
            self.new_keys.drain(..std::mem::take(&mut self.kept_keys));
        }
        if !self.new_keys.is_empty() {
            self.set_savepoint().await?;
            let own = std::mem::take(&mut self.new_keys);
            keys::insert(&mut self.connection, own).await?;
        }
        Ok(())
    }

    async fn set_savepoint(&mut self) -> Result<(), StoreError> {
        if !self.has_savepoint {
            // It hides those of earlier parts. When this is cancelled there may be one more: nothing was written after it.
            on_either!(&mut self.connection, sqlx::raw_sql("SAVEPOINT part"), execute)?;
            self.has_savepoint = true;
        }
        Ok(())
    }

    /// Keeps what the open part did, to be made durable with the transaction. It takes a revision if it changed
    /// anything that followers or the audit log hear of.
    ///
    /// # Errors
    /// Nothing is kept when a change, read back, would not be what it was, for then no follower could go on. The part
    /// must be discarded.
    pub fn keep(&mut self) -> Result<(), StoreError> {
        let is_told = !self.changes.is_empty() || !self.events.is_empty();
        if is_told {
            let body = feed::readable_body(&self.changes)?;
            self.revision = self.revision();
            self.kept_bodies.push((self.revision, body));
            let changes = std::mem::take(&mut self.changes);
            self.kept.push(feed::Transaction { revision: self.revision, changes });
            self.kept_events.append(&mut self.events);
        }
        self.kept_announced.append(&mut self.announced);
        self.kept_keys = self.new_keys.len();
        self.has_savepoint = false;
        Ok(())
    }

    /// Undoes what the open part did, and only that.
    ///
    /// # Errors
    /// The transaction is lost with all its parts.
    pub async fn discard(&mut self) -> Result<(), StoreError> {
        self.changes.clear();
        self.events.clear();
        self.announced.clear();
        self.new_keys.truncate(self.kept_keys);
        self.forget_what_is_known();
        if self.has_savepoint {
            on_either!(&mut self.connection, sqlx::raw_sql("ROLLBACK TO SAVEPOINT part"), execute)?;
        } else if self.is_sending {
            on_either!(&mut self.connection, sqlx::raw_sql("ROLLBACK TO SAVEPOINT sending"), execute)?;
        }
        (self.has_savepoint, self.is_sending) = (false, false);
        Ok(())
    }

    /// Makes everything durable, the open part too, and returns what followers will read.
    ///
    /// # Errors
    /// Nothing is kept, unless the database did it and could not say so.
    pub async fn commit(mut self, now: Timestamp) -> Result<Vec<feed::Transaction>, StoreError> {
        self.keep()?;
        self.connection.must_be_whole().await?;
        // Nothing comes after them, so that there is nothing to come back to.
        keys::insert(&mut self.connection, std::mem::take(&mut self.new_keys)).await?;
        if !self.kept_announced.is_empty() {
            let announced = std::mem::take(&mut self.kept_announced);
            self.fills_outbox |= deliveries::insert(&mut self.connection, &mut self.known, announced).await? > 0;
        }
        if self.kept.is_empty() {
            // PostgreSQL answers the COMMIT of a transaction that has failed as if it were well, but no read.
            feed::find_revision(&mut self.connection).await?;
        } else {
            let head = match self.known.audit {
                Some(head) => head,
                None => audit::find_head(&mut self.connection).await?,
            };
            self.known.audit = Some(audit::append(&mut self.connection, head, self.kept_events).await?);
            feed::insert_bodies(&mut self.connection, now, self.kept_bodies).await?;
        }
        self.connection.commit().await?;
        self.last_known.put(self.revision, self.known);
        if self.fills_outbox {
            self.outbox.notify_one();
        }
        Ok(self.kept)
    }
}
