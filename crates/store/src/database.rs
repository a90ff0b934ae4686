//! Reading, and the one way to write.

use claviger_domain::change::{Change, Revision};
use claviger_domain::time::Timestamp;

use crate::dialect::{Connection, Database, Pools, on_either};
use crate::feed;

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

    /// The one way to write. Waits for its turn; nothing is kept unless [`Tx::commit`] returns.
    pub async fn begin(&self) -> Result<Tx, StoreError> {
        let mut connection = self.pools.write().await?;
        let revision = feed::next_revision(&mut connection).await?;
        Ok(Tx { connection, revision, changes: Vec::new() })
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

/// A mutation: data and the changes that tell of it, committed together or not at all.
#[derive(Debug)]
pub struct Tx {
    connection: Connection,
    revision: Revision,
    changes: Vec<Change>,
}

impl Tx {
    /// The revision that this transaction will have.
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// Adds a change to what followers will hear.
    pub fn publish(&mut self, change: Change) {
        self.changes.push(change);
    }

    /// For reads inside the transaction.
    pub fn connection(&mut self) -> &mut Connection {
        &mut self.connection
    }

    /// Makes everything durable and returns what followers will read.
    ///
    /// # Errors
    /// Nothing is kept: also when a change, read back, would not be what it was, for then no follower could go on.
    pub async fn commit(mut self, now: Timestamp) -> Result<feed::Transaction, StoreError> {
        feed::insert_changes(&mut self.connection, self.revision, now, &self.changes).await?;
        self.connection.commit().await?;
        Ok(feed::Transaction { revision: self.revision, changes: self.changes })
    }
}
