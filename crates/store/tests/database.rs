//! Opening, transactions and the feed on a real database file.

use claviger_domain::change::{Change, Revision};
use claviger_domain::id::OrganizationId;
use claviger_domain::organization::{Organization, OrganizationStatus};
use claviger_domain::time::Timestamp;
use claviger_store::{OpenError, Store, feed, organizations};

const NOW: Timestamp = Timestamp::from_micros(1_767_225_600_000_000);

fn organization(number: u128) -> Organization {
    Organization {
        id: OrganizationId::from_u128(number),
        name: format!("organization {number}").parse().unwrap(),
        status: OrganizationStatus::Active,
        created_at: NOW,
    }
}

async fn open() -> (Store, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    (Store::open(&folder.path().join("claviger.db")).await.unwrap(), folder)
}

async fn create(store: &Store, number: u128) -> Revision {
    let mut tx = store.begin().await.unwrap();
    organizations::put(&mut tx, &organization(number)).await.unwrap();
    tx.publish(Change::Organization(organization(number)));
    tx.commit(NOW).await.unwrap()
}

#[tokio::test]
async fn revisions_count_committed_transactions_without_gaps() {
    let (store, _folder) = open().await;
    assert_eq!(create(&store, 1).await, Revision(1));
    let mut abandoned = store.begin().await.unwrap();
    organizations::put(&mut abandoned, &organization(2)).await.unwrap();
    drop(abandoned);
    assert_eq!(create(&store, 3).await, Revision(2));
    let mut reader = store.read().await.unwrap();
    assert_eq!(organizations::find(&mut reader, OrganizationId::from_u128(2)).await.unwrap(), None);
    let feed = feed::list_transactions(&mut reader, Revision(0), 10).await.unwrap();
    let expected = [(1, 1), (2, 3)].map(|(revision, number)| feed::Transaction {
        revision: Revision(revision),
        changes: vec![Change::Organization(organization(number))],
    });
    assert_eq!(feed, expected);
    assert_eq!(feed::list_transactions(&mut reader, Revision(2), 10).await.unwrap(), []);
    assert_eq!(feed::list_transactions(&mut reader, Revision(0), 1).await.unwrap().len(), 1);
}

#[tokio::test]
async fn concurrent_writers_take_turns() {
    let (store, _folder) = open().await;
    let writers = (1..=20).map(|number| {
        let store = store.clone();
        tokio::spawn(async move { create(&store, number).await })
    });
    let mut revisions = Vec::new();
    for writer in writers.collect::<Vec<_>>() {
        revisions.push(writer.await.unwrap().0);
    }
    revisions.sort_unstable();
    assert_eq!(revisions, (1..=20).collect::<Vec<_>>());
}

#[tokio::test]
async fn old_transactions_are_forgotten_but_never_the_newest() {
    let (store, _folder) = open().await;
    for number in 1..=3 {
        create(&store, number).await;
    }
    let mut tx = store.begin().await.unwrap();
    let deleted = feed::delete_transactions_before(&mut tx, NOW.plus_seconds(1).unwrap()).await.unwrap();
    assert_eq!((deleted, tx.commit(NOW).await.unwrap()), (2, Revision(4)));
    let mut reader = store.read().await.unwrap();
    let left = feed::list_transactions(&mut reader, Revision(0), 10).await.unwrap();
    assert_eq!(left.iter().map(|transaction| transaction.revision.0).collect::<Vec<_>>(), [3, 4]);
}

#[tokio::test]
async fn each_start_is_an_incarnation_of_its_own() {
    let (store, folder) = open().await;
    assert_eq!(store.next_incarnation().await.unwrap(), 1);
    store.close().await;
    let store = Store::open(&folder.path().join("claviger.db")).await.unwrap();
    assert_eq!(store.next_incarnation().await.unwrap(), 2);
}

#[tokio::test]
async fn what_is_not_a_database_is_said_to_be_damaged() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("claviger.db");
    std::fs::write(
        &path,
        "this is a text file, and quite a long one, so that it cannot be an empty database\n".repeat(100),
    )
    .unwrap();
    assert!(matches!(Store::open(&path).await, Err(OpenError::Corrupt { .. })));
}

#[tokio::test]
async fn a_database_of_a_newer_version_is_left_alone() {
    let (store, folder) = open().await;
    store.close().await;
    let path = folder.path().join("claviger.db");
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(&path);
    let mut connection = sqlx::ConnectOptions::connect(&options).await.unwrap();
    sqlx::query(
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
         VALUES (9999, 'from the future', TRUE, x'00', 0)",
    )
    .execute(&mut connection)
    .await
    .unwrap();
    sqlx::Connection::close(connection).await.unwrap();
    assert!(matches!(Store::open(&path).await, Err(OpenError::Newer { migration: 9999, .. })));
}

#[tokio::test]
async fn a_row_that_makes_no_sense_is_an_error() {
    let (store, folder) = open().await;
    create(&store, 1).await;
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(folder.path().join("claviger.db"));
    let mut connection = sqlx::ConnectOptions::connect(&options).await.unwrap();
    sqlx::query("UPDATE organizations SET status = 'sleeping'").execute(&mut connection).await.unwrap();
    let mut reader = store.read().await.unwrap();
    let error = organizations::list_all(&mut reader).await.unwrap_err();
    assert!(error.to_string().contains("organizations"), "{error}");
}
