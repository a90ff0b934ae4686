//! Databases that cannot be used, each said for what it is.

use claviger_store::{Database, OpenError, Store, organizations};
use claviger_testkit::Postgres;

const FUTURE: &str = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
     VALUES (9999, 'from the future', TRUE, ''";

#[tokio::test]
async fn what_is_not_a_database_is_said_to_be_damaged() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("claviger.db");
    std::fs::write(&path, "this is a text file, and too long a one to be an empty database\n".repeat(100)).unwrap();
    assert!(matches!(Store::open(&Database::Sqlite(path)).await, Err(OpenError::Corrupt { .. })));
}

#[tokio::test]
async fn a_newer_sqlite_database_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    crate::sqlite_store(&folder).await.close().await;
    let path = folder.path().join("claviger.db");
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(&path);
    let mut connection = sqlx::ConnectOptions::connect(&options).await.unwrap();
    sqlx::query(sqlx::AssertSqlSafe(format!("{FUTURE}, 0)"))).execute(&mut connection).await.unwrap();
    sqlx::Connection::close(connection).await.unwrap();
    assert!(matches!(Store::open(&Database::Sqlite(path)).await, Err(OpenError::Newer { migration: 9999, .. })));
}

#[tokio::test]
async fn a_newer_postgres_database_is_left_alone() {
    let url = Postgres::shared().create_database();
    Store::open(&Database::Postgres(url.clone())).await.unwrap().close().await;
    let mut connection = <sqlx::PgConnection as sqlx::Connection>::connect(&url).await.unwrap();
    sqlx::query(sqlx::AssertSqlSafe(format!("{FUTURE}, 0)"))).execute(&mut connection).await.unwrap();
    assert!(matches!(Store::open(&Database::Postgres(url)).await, Err(OpenError::Newer { migration: 9999, .. })));
}

#[tokio::test]
async fn a_postgres_database_has_one_claviger() {
    let database = Database::Postgres(Postgres::shared().create_database());
    let first = Store::open(&database).await.unwrap();
    assert!(matches!(Store::open(&database).await, Err(OpenError::Taken { .. })));
    first.close().await;
    assert!(Store::open(&database).await.is_ok());
}

/// Whatever data directory the other one has, and whatever it calls the file.
#[tokio::test]
async fn a_sqlite_database_has_one_claviger() {
    let folder = tempfile::tempdir().unwrap();
    let first = crate::sqlite_store(&folder).await;
    let path = folder.path().join("claviger.db");
    let alias = folder.path().join("alias.db");
    std::os::unix::fs::symlink(&path, &alias).unwrap();
    for name in [&path, &alias] {
        assert!(matches!(Store::open(&Database::Sqlite(name.clone())).await, Err(OpenError::Taken { .. })));
    }
    first.close().await;
    assert!(Store::open(&Database::Sqlite(alias)).await.is_ok());
}

#[tokio::test]
async fn a_database_that_is_away_says_where_and_no_password() {
    let database = Database::Postgres("postgres://ada:hunter2@127.0.0.1:1/keys".to_owned());
    let error = Store::open(&database).await.unwrap_err().to_string();
    assert!(error.contains("127.0.0.1:1") && !error.contains("hunter2"), "{error}");
}

#[tokio::test]
async fn a_row_that_makes_no_sense_is_an_error() {
    let url = Postgres::shared().create_database();
    let store = Store::open(&Database::Postgres(url.clone())).await.unwrap();
    let mut connection = <sqlx::PgConnection as sqlx::Connection>::connect(&url).await.unwrap();
    let asleep = "INSERT INTO organizations VALUES ('\\x00000000000000000000000000000001', 'Acme', 'sleeping', 0, 0)";
    sqlx::query(asleep).execute(&mut connection).await.unwrap();
    let error = organizations::list_all(&mut store.read().await.unwrap()).await.unwrap_err();
    assert!(error.to_string().contains("organizations"), "{error}");
}
