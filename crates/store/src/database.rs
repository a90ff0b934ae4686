//! Opening the database, reading from it, and the one way to write to it.

use std::path::{Path, PathBuf};

use claviger_domain::change::{Change, Revision};
use claviger_domain::time::Timestamp;
use sqlx::migrate::MigrateError;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{Sqlite, Transaction};

use crate::feed;

/// The connection that every query runs on.
pub type Connection = sqlx::SqliteConnection;

/// A connection with one unchanging view of the database, for reads that must fit together.
pub type Reader = Transaction<'static, Sqlite>;

const READERS_MAX: u32 = 8;

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
    #[error("{path} is not a Claviger database or is damaged: {reason}")]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What the database says.
        reason: String,
    },
    /// A newer Claviger has written to it.
    #[error("{path} was written by a newer version of Claviger (migration {migration}); start that version instead")]
    Newer {
        /// The file.
        path: PathBuf,
        /// The migration that this version does not know.
        migration: i64,
    },
    /// Anything else.
    #[error("cannot open {path}: {reason}")]
    Other {
        /// The file.
        path: PathBuf,
        /// What the database says.
        reason: String,
    },
}

/// The database: one writer, some readers.
#[derive(Clone, Debug)]
pub struct Store {
    writer: SqlitePool,
    readers: SqlitePool,
}

impl Store {
    /// Opens the database, making it when it is not there, and brings its tables up to date.
    pub async fn open(path: &Path) -> Result<Self, OpenError> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .foreign_keys(true)
            .journal_mode(SqliteJournalMode::Wal)
            // An answered mutation survives a power cut.
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(std::time::Duration::from_secs(5));
        let writer = SqlitePoolOptions::new().max_connections(1).connect_with(options.clone()).await;
        let writer = writer.map_err(|error| open_error(path, &error))?;
        sqlx::migrate!("migrations/sqlite").run(&writer).await.map_err(|error| match error {
            MigrateError::VersionMissing(migration) | MigrateError::VersionTooNew(migration, _) => {
                OpenError::Newer { path: path.to_owned(), migration }
            }
            MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => open_error(path, &error),
            other => OpenError::Other { path: path.to_owned(), reason: other.to_string() },
        })?;
        let readers = SqlitePoolOptions::new().max_connections(READERS_MAX).connect_with(options.read_only(true)).await;
        let readers = readers.map_err(|error| open_error(path, &error))?;
        Ok(Self { writer, readers })
    }

    /// A view of the database as it is now.
    pub async fn read(&self) -> Result<Reader, StoreError> {
        Ok(self.readers.begin().await?)
    }

    /// The one way to write. Waits for its turn; nothing is kept unless [`Tx::commit`] returns.
    pub async fn begin(&self) -> Result<Tx, StoreError> {
        let mut inner = self.writer.begin_with("BEGIN IMMEDIATE").await?;
        let revision = feed::next_revision(&mut inner).await?;
        Ok(Tx { inner, revision, changes: Vec::new() })
    }

    /// Raises and returns the number of this run of the process, under which it owns its usage rows.
    pub async fn next_incarnation(&self) -> Result<i64, StoreError> {
        let mut tx = self.writer.begin_with("BEGIN IMMEDIATE").await?;
        let incarnation =
            sqlx::query_scalar("UPDATE deployment SET incarnation = incarnation + 1 RETURNING incarnation")
                .fetch_one(&mut *tx)
                .await?;
        tx.commit().await?;
        Ok(incarnation)
    }

    /// A transaction for usage totals, which no verdict depends on and no revision counts.
    pub(crate) async fn begin_unpublished(&self) -> Result<Transaction<'static, Sqlite>, StoreError> {
        Ok(self.writer.begin_with("BEGIN IMMEDIATE").await?)
    }

    /// Closes every connection, writing the journal back into the database.
    pub async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }
}

fn open_error(path: &Path, error: &sqlx::Error) -> OpenError {
    const SQLITE_CORRUPT: &str = "11";
    const SQLITE_NOTADB: &str = "26";
    let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
    match code.as_deref() {
        Some(SQLITE_CORRUPT | SQLITE_NOTADB) => OpenError::Corrupt { path: path.to_owned(), reason: error.to_string() },
        _ => OpenError::Other { path: path.to_owned(), reason: error.to_string() },
    }
}

/// A mutation: data and the changes that tell of it, committed together or not at all.
#[derive(Debug)]
pub struct Tx {
    inner: Transaction<'static, Sqlite>,
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
        &mut self.inner
    }

    /// Makes everything durable.
    pub async fn commit(mut self, now: Timestamp) -> Result<Revision, StoreError> {
        feed::insert_changes(&mut self.inner, self.revision, now, &self.changes).await?;
        self.inner.commit().await?;
        Ok(self.revision)
    }
}
