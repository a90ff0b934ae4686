//! Everything in which the two databases differ: opening, transactions, migrations, and what an error means.
//!
//! Every query is written once and runs on both through [`on_either!`].

use std::fs::{File, TryLockError};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use sqlx::migrate::{MigrateError, Migrator};
use sqlx::postgres::{PgConnectOptions, PgConnection, PgPool, PgPoolOptions};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{ConnectOptions as _, Connection as _, Postgres, Sqlite, Transaction};
use tokio::sync::Mutex;

use crate::{OpenError, StoreError};

static SQLITE_MIGRATIONS: Migrator = sqlx::migrate!("migrations/sqlite");
static POSTGRES_MIGRATIONS: Migrator = sqlx::migrate!("migrations/postgres");

const CONNECTIONS_MAX: u32 = 8;
/// How long an operation waits for a connection before it says that the database is away.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);
/// Memory for the pages that the writer knows, in KiB as SQLite has it: an index of random digests is touched everywhere.
const SQLITE_WRITER_CACHE: &str = "-65536";
/// Pages of 4 KiB that the journal may have before they are written back into the database. A page that was written a
/// hundred times meanwhile is written back once.
const SQLITE_JOURNAL_PAGES: &str = "4096";
/// How long PostgreSQL may take to answer a statement before it counts as away: a server that hangs, or a network that
/// carries nothing any more, keeps connections open and says nothing.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// How long after its last use a connection counts as sound.
const TRUSTED_FOR: Duration = Duration::from_secs(1);
/// The advisory lock that one Claviger holds on its PostgreSQL database.
const POSTGRES_LOCK: i64 = 0x636c_6176_6967_6572;

/// SQLite may undo a transaction by itself when a disk is full or fails, and then takes each statement for a transaction
/// of its own. The savepoint is gone then, which [`Connection::must_be_whole`] finds out.
const SQLITE_BEGIN: &str = "BEGIN IMMEDIATE; SAVEPOINT whole";
const SQLITE_IS_WHOLE: &str = "RELEASE SAVEPOINT whole";

/// Which database, and where.
#[derive(Clone, PartialEq, Eq)]
pub enum Database {
    /// A file of the embedded database.
    Sqlite(PathBuf),
    /// A PostgreSQL database, by its connection URL.
    Postgres(String),
}

/// The text is not a database URL.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("a database URL begins with sqlite: or postgres://")]
pub struct DatabaseError;

impl FromStr for Database {
    type Err = DatabaseError;

    fn from_str(text: &str) -> Result<Self, DatabaseError> {
        if text.starts_with("postgres://") || text.starts_with("postgresql://") {
            return Ok(Self::Postgres(text.to_owned()));
        }
        match text.strip_prefix("sqlite:").map(|path| path.strip_prefix("//").unwrap_or(path)) {
            Some(path) if !path.is_empty() => Ok(Self::Sqlite(PathBuf::from(path))),
            _ => Err(DatabaseError),
        }
    }
}

/// Says where without the password.
impl std::fmt::Display for Database {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Sqlite(path) => write!(f, "{}", path.display()),
            Self::Postgres(url) => match PgConnectOptions::from_str(url) {
                Ok(options) => {
                    let name = options.get_database().unwrap_or("postgres");
                    write!(f, "PostgreSQL database {name} on {}:{}", options.get_host(), options.get_port())
                }
                Err(_) => f.write_str("the PostgreSQL database"),
            },
        }
    }
}

impl std::fmt::Debug for Database {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

/// A transaction on either database.
#[derive(Debug)]
pub enum Connection {
    /// On the embedded one.
    Sqlite(Transaction<'static, Sqlite>),
    /// On PostgreSQL, until it does not answer in time: then whatever follows fails at once.
    Postgres {
        /// The transaction.
        tx: Transaction<'static, Postgres>,
        /// Whether an answer did not come.
        is_silent: bool,
    },
}

/// Runs a query on whichever database the connection is to. `$query` is expanded once for each.
macro_rules! on_either {
    ($connection:expr, $query:expr, execute) => {
        match $connection {
            $crate::Connection::Sqlite(tx) => $query.execute(&mut **tx).await.map(|done| done.rows_affected()),
            $crate::Connection::Postgres { tx, is_silent } => {
                $crate::dialect::in_time(is_silent, $query.execute(&mut **tx)).await.map(|done| done.rows_affected())
            }
        }
    };
    ($connection:expr, $query:expr, $method:ident) => {
        match $connection {
            $crate::Connection::Sqlite(tx) => $query.$method(&mut **tx).await,
            $crate::Connection::Postgres { tx, is_silent } => {
                $crate::dialect::in_time(is_silent, $query.$method(&mut **tx)).await
            }
        }
    };
}
pub(crate) use on_either;

/// Connections to either database.
#[derive(Clone, Debug)]
pub(crate) enum Pools {
    Sqlite { writer: SqlitePool, readers: SqlitePool, lock: Arc<File> },
    Postgres { pool: PgPool, lock: Arc<SessionLock> },
}

impl Pools {
    pub(crate) async fn open(database: &Database) -> Result<Self, OpenError> {
        match database {
            Database::Sqlite(path) => open_sqlite(path).await,
            Database::Postgres(url) => open_postgres(url).await,
        }
        .map_err(|error| open_error(database, error))
    }

    /// A transaction that sees the database as it is now and does not write.
    pub(crate) async fn read(&self) -> Result<Connection, StoreError> {
        Ok(match self {
            Self::Sqlite { readers, .. } => Connection::Sqlite(readers.begin().await?),
            Self::Postgres { pool, .. } => {
                on_postgres(pool.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")).await?
            }
        })
    }

    /// A transaction that may write.
    pub(crate) async fn write(&self) -> Result<Connection, StoreError> {
        Ok(match self {
            Self::Sqlite { writer, .. } => Connection::Sqlite(writer.begin_with(SQLITE_BEGIN).await?),
            Self::Postgres { pool, .. } => on_postgres(pool.begin()).await?,
        })
    }

    /// Whether another process may open the database while this one has it open.
    pub(crate) fn can_lose_lock(&self) -> bool {
        match self {
            // The lock on its file lives as long as the process.
            Self::Sqlite { .. } => false,
            Self::Postgres { .. } => true,
        }
    }

    /// Takes the lock again, if it was lost and nobody else has it.
    pub(crate) async fn hold_lock(&self) -> Result<(), StoreError> {
        if let Self::Postgres { lock, .. } = self {
            lock.hold().await?;
        }
        Ok(())
    }

    pub(crate) async fn close(&self) {
        match self {
            Self::Sqlite { writer, readers, lock } => {
                readers.close().await;
                writer.close().await;
                // Where this fails, the end of the process does it.
                let _ = lock.unlock();
            }
            Self::Postgres { pool, lock } => {
                pool.close().await;
                lock.release().await;
            }
        }
    }
}

impl Connection {
    /// Fails where the database has undone the transaction that began this one. Asked once, before the last writes: if
    /// it happens during those, they fail themselves.
    pub(crate) async fn must_be_whole(&mut self) -> Result<(), StoreError> {
        if let Self::Sqlite(tx) = self {
            sqlx::raw_sql(SQLITE_IS_WHOLE).execute(&mut **tx).await?;
        }
        Ok(())
    }

    pub(crate) async fn commit(self) -> Result<(), StoreError> {
        match self {
            Self::Sqlite(tx) => tx.commit().await?,
            Self::Postgres { tx, mut is_silent } => in_time(&mut is_silent, tx.commit()).await?,
        }
        Ok(())
    }
}

async fn on_postgres(
    begin: impl Future<Output = Result<Transaction<'static, Postgres>, sqlx::Error>>,
) -> Result<Connection, sqlx::Error> {
    let mut is_silent = false;
    let tx = in_time(&mut is_silent, begin).await?;
    Ok(Connection::Postgres { tx, is_silent })
}

/// The answer, if it comes in time and all before it did.
pub(crate) async fn in_time<T>(
    is_silent: &mut bool,
    answer: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, sqlx::Error> {
    if !*is_silent && let Ok(answer) = tokio::time::timeout(ANSWER_TIMEOUT, answer).await {
        return answer;
    }
    *is_silent = true;
    let text = format!("PostgreSQL has not answered for {} s", ANSWER_TIMEOUT.as_secs());
    Err(io::Error::new(io::ErrorKind::TimedOut, text).into())
}

/// The advisory lock, and the session that it lives and dies with.
#[derive(Debug)]
pub(crate) struct SessionLock {
    options: PgConnectOptions,
    session: Mutex<Option<PgConnection>>,
}

impl SessionLock {
    /// Takes the lock if it is not held any more, or not yet. False if somebody else holds it.
    async fn hold(&self) -> Result<bool, sqlx::Error> {
        let mut held = self.session.lock().await;
        if let Some(session) = held.as_mut() {
            if in_time(&mut false, session.ping()).await.is_ok() {
                return Ok(true);
            }
            *held = None;
        }
        let mut session = in_time(&mut false, self.options.connect()).await?;
        let lock = sqlx::query_scalar("SELECT pg_try_advisory_lock($1)").bind(POSTGRES_LOCK);
        let is_ours = in_time(&mut false, lock.fetch_one(&mut session)).await?;
        if is_ours {
            *held = Some(session);
        }
        Ok(is_ours)
    }

    async fn release(&self) {
        if let Some(mut session) = self.session.lock().await.take() {
            // Where this is not heard, the end of the session is, somewhat later.
            let unlock = sqlx::query("SELECT pg_advisory_unlock($1)").bind(POSTGRES_LOCK);
            let _ = in_time(&mut false, unlock.execute(&mut session)).await;
            let _ = in_time(&mut false, session.close()).await;
        }
    }
}

enum Opening {
    Sql(sqlx::Error),
    Migrate(MigrateError),
    File(io::Error),
    Taken,
}

impl From<io::Error> for Opening {
    fn from(error: io::Error) -> Self {
        Self::File(error)
    }
}

impl From<sqlx::Error> for Opening {
    fn from(error: sqlx::Error) -> Self {
        Self::Sql(error)
    }
}

impl From<MigrateError> for Opening {
    fn from(error: MigrateError) -> Self {
        Self::Migrate(error)
    }
}

async fn open_sqlite(path: &Path) -> Result<Pools, Opening> {
    // Made here, for its owner alone; the journal beside it takes the same permissions.
    let for_owner = |path: &Path| File::options().create(true).append(true).mode(0o600).open(path);
    for_owner(path)?;
    // A file of its own: SQLite's locks on the database belong to the process, and closing any handle to it lets them go.
    let lock = for_owner(&path.canonicalize()?.with_added_extension("lock"))?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(Opening::Taken),
        Err(TryLockError::Error(error)) => return Err(error.into()),
    }
    let options = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .foreign_keys(true)
        .journal_mode(SqliteJournalMode::Wal)
        // An answered mutation survives a power cut.
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(ACQUIRE_TIMEOUT)
        // What a savepoint may have to put back is kept in memory.
        .pragma("temp_store", "memory")
        // Their texts are up to 100 KB long: a slow disk would fill the log with them.
        .disable_statement_logging();
    let writing =
        options.clone().pragma("cache_size", SQLITE_WRITER_CACHE).pragma("wal_autocheckpoint", SQLITE_JOURNAL_PAGES);
    // A connection whose transaction SQLite has undone by itself is of no more use: the driver thinks that it goes on.
    let pool = |connections| {
        SqlitePoolOptions::new().max_connections(connections).test_before_acquire(false).after_release(
            |connection, _| Box::pin(async { connection.ping().await.map(|()| !connection.is_in_transaction()) }),
        )
    };
    let writer = pool(1).connect_with(writing).await?;
    SQLITE_MIGRATIONS.run(&writer).await?;
    let readers = pool(CONNECTIONS_MAX).acquire_timeout(ACQUIRE_TIMEOUT);
    let readers = readers.connect_with(options.read_only(true)).await?;
    Ok(Pools::Sqlite { writer, readers, lock: Arc::new(lock) })
}

async fn open_postgres(url: &str) -> Result<Pools, Opening> {
    let options = PgConnectOptions::from_str(url)?.application_name("claviger").disable_statement_logging();
    let lock = SessionLock { options: options.clone(), session: Mutex::default() };
    if !lock.hold().await? {
        return Err(Opening::Taken);
    }
    let pool = PgPoolOptions::new().max_connections(CONNECTIONS_MAX).acquire_timeout(ACQUIRE_TIMEOUT);
    // One that was at work a moment ago is not asked whether it is still there.
    let pool = pool.test_before_acquire(false).before_acquire(|connection, seen| {
        Box::pin(async move {
            if seen.idle_for < TRUSTED_FOR {
                return Ok(true);
            }
            in_time(&mut false, connection.ping()).await.map(|()| true)
        })
    });
    // A connection that hangs is closed, or it would keep its place in the pool until the system gives it up.
    let pool = pool
        .after_release(|connection, _| Box::pin(async { in_time(&mut false, connection.ping()).await.map(|()| true) }));
    let pool = pool.connect_with(options).await?;
    POSTGRES_MIGRATIONS.run(&pool).await?;
    Ok(Pools::Postgres { pool, lock: Arc::new(lock) })
}

fn open_error(database: &Database, error: Opening) -> OpenError {
    const SQLITE_CORRUPT: &str = "11";
    const SQLITE_NOTADB: &str = "26";
    let place = database.to_string();
    match error {
        Opening::Taken => OpenError::Taken { place },
        Opening::File(error) => OpenError::Other { place, reason: error.to_string() },
        Opening::Migrate(MigrateError::VersionMissing(migration) | MigrateError::VersionTooNew(migration, _)) => {
            OpenError::Newer { place, migration }
        }
        Opening::Sql(error)
        | Opening::Migrate(MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _)) => {
            let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
            match (database, code.as_deref()) {
                (Database::Sqlite(_), Some(SQLITE_CORRUPT | SQLITE_NOTADB)) => {
                    OpenError::Corrupt { place, reason: error.to_string() }
                }
                _ => OpenError::Other { place, reason: error.to_string() },
            }
        }
        Opening::Migrate(other) => OpenError::Other { place, reason: other.to_string() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn migrations_have_equal_names() {
        let names = |migrator: &'static Migrator| {
            migrator.iter().map(|migration| (migration.version, migration.description.clone())).collect::<Vec<_>>()
        };
        assert_eq!(names(&SQLITE_MIGRATIONS), names(&POSTGRES_MIGRATIONS));
    }

    #[test]
    fn database_urls_are_read() {
        assert_eq!("sqlite:/a/b.db".parse(), Ok(Database::Sqlite("/a/b.db".into())));
        assert_eq!("sqlite://b.db".parse(), Ok(Database::Sqlite("b.db".into())));
        assert_eq!("mysql://x".parse::<Database>(), Err(DatabaseError));
        assert_eq!("sqlite:".parse::<Database>(), Err(DatabaseError));
        let secret: Database = "postgres://ada:hunter2@db.test:5433/keys".parse().unwrap();
        assert_eq!(secret.to_string(), "PostgreSQL database keys on db.test:5433");
        assert!(!format!("{secret:?}").contains("hunter2"));
    }
}
