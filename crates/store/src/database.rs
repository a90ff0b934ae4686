//! Reading, and the one way to write.

use claviger_domain::audit::AuditEvent;
use claviger_domain::change::{Change, Revision};
use claviger_domain::time::Timestamp;

use crate::dialect::{Connection, Database, Pools, on_either};
use crate::{audit, feed};

/// The database did not do what was asked of it.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It is away, full, locked or broken. The caller may try again.
    #[error("database: {0}")]
    Database(#[from] sqlx::Error),
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
}

impl Store {
    /// Opens the database, making a file that is not there, and brings its tables up to date.
    pub async fn open(database: &Database) -> Result<Self, OpenError> {
        Ok(Self { pools: Pools::open(database).await? })
    }

    /// A view of the database as it is now, which does not move while it is held.
    pub async fn read(&self) -> Result<Connection, StoreError> {
        self.pools.read().await
    }

    /// The one way to write: opens a transaction with its first [member](Tx) and waits until it is its turn. Nothing
    /// is kept unless [`Tx::commit`] returns.
    pub async fn begin(&self) -> Result<Tx, StoreError> {
        let mut connection = self.pools.write().await?;
        let revision = feed::lock_revision(&mut connection).await?;
        let mut tx = Tx {
            connection,
            revision,
            kept: Vec::new(),
            kept_bodies: Vec::new(),
            kept_events: Vec::new(),
            changes: Vec::new(),
            events: Vec::new(),
        };
        on_either!(&mut tx.connection, sqlx::raw_sql("SAVEPOINT member"), execute)?;
        Ok(tx)
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

    /// Raises and returns the number of this run of the process, under which it owns its usage rows.
    pub async fn next_incarnation(&self) -> Result<i64, StoreError> {
        let mut connection = self.pools.write().await?;
        let raised = on_either!(
            &mut connection,
            sqlx::query_scalar("UPDATE deployment SET incarnation = incarnation + 1 RETURNING incarnation"),
            fetch_one
        )?;
        connection.commit().await?;
        Ok(raised)
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
/// The mutations are its *members*. One is open at a time: it reads and writes, tells what followers will hear and what
/// the audit log will say, and is then kept or discarded without touching the others. Each that is kept and changed something has a
/// revision of its own.
#[derive(Debug)]
pub struct Tx {
    connection: Connection,
    /// That of the last member that was kept, or of the database.
    revision: Revision,
    kept: Vec<feed::Transaction>,
    /// Of `kept`, as they will stand in the feed.
    kept_bodies: Vec<(Revision, String)>,
    kept_events: Vec<AuditEvent>,
    changes: Vec<Change>,
    events: Vec<AuditEvent>,
}

impl Tx {
    /// The revision that the open member will have.
    pub fn revision(&self) -> Revision {
        Revision(self.revision.0 + 1)
    }

    /// The revision of everything that the open member sees.
    pub fn revision_before(&self) -> Revision {
        self.revision
    }

    /// Adds a change to what followers will hear.
    pub fn publish(&mut self, change: Change) {
        self.changes.push(change);
    }

    /// Adds an event to the audit log; its number and revision are given to it here.
    pub fn record(&mut self, event: AuditEvent) {
        let revision = self.revision();
        self.events.push(AuditEvent { revision, ..event });
    }

    /// For reads inside the transaction.
    pub fn connection(&mut self) -> &mut Connection {
        &mut self.connection
    }

    /// Keeps what the open member did, to be made durable with the transaction. It takes a revision if it changed
    /// anything that followers or the audit log hear of.
    ///
    /// # Errors
    /// Nothing is kept when a change, read back, would not be what it was, for then no follower could go on. The member
    /// must be discarded.
    pub fn keep(&mut self) -> Result<(), StoreError> {
        if self.changes.is_empty() && self.events.is_empty() {
            return Ok(());
        }
        let body = feed::readable_body(&self.changes)?;
        self.revision = self.revision();
        self.kept_bodies.push((self.revision, body));
        self.kept.push(feed::Transaction { revision: self.revision, changes: std::mem::take(&mut self.changes) });
        self.kept_events.append(&mut self.events);
        Ok(())
    }

    /// Undoes what the open member did, and only that.
    ///
    /// # Errors
    /// The transaction is lost with all its members.
    pub async fn discard(&mut self) -> Result<(), StoreError> {
        self.changes.clear();
        self.events.clear();
        on_either!(&mut self.connection, sqlx::raw_sql("ROLLBACK TO SAVEPOINT member"), execute)?;
        Ok(())
    }

    /// Opens the next member, after the one before was kept or discarded.
    ///
    /// # Errors
    /// The transaction is lost with all its members.
    pub async fn open_member(&mut self) -> Result<(), StoreError> {
        let next = sqlx::raw_sql("RELEASE SAVEPOINT member; SAVEPOINT member");
        on_either!(&mut self.connection, next, execute)?;
        Ok(())
    }

    /// Makes everything durable, the open member too, and returns what followers will read.
    ///
    /// # Errors
    /// Nothing is kept, unless the database did it and could not say so.
    pub async fn commit(mut self, now: Timestamp) -> Result<Vec<feed::Transaction>, StoreError> {
        self.keep()?;
        if !self.kept.is_empty() {
            audit::append(&mut self.connection, self.kept_events).await?;
            feed::insert_bodies(&mut self.connection, now, self.kept_bodies).await?;
        }
        self.connection.commit().await?;
        Ok(self.kept)
    }
}
