//! How SQLite goes about what is asked in the writer's turn, where everybody who writes waits for it. There may be a million
//! keys: none of it may go through all of them.

use sqlx::AssertSqlSafe;

use crate::dead_keys::End;
use crate::{Connection, Database, Store, expiry, key_counts};

/// The steps that SQLite takes for a statement.
async fn plan(connection: &mut Connection, statement: &str) -> Vec<String> {
    let Connection::Sqlite(tx) = connection else { panic!("not SQLite") };
    let explained = sqlx::query_as(AssertSqlSafe(format!("EXPLAIN QUERY PLAN {statement}")));
    let steps: Vec<(i64, i64, i64, String)> = explained.fetch_all(&mut **tx).await.unwrap();
    steps.into_iter().map(|(_, _, _, step)| step).collect()
}

async fn store(folder: &tempfile::TempDir) -> Store {
    Store::open(&Database::Sqlite(folder.path().join("claviger.db"))).await.unwrap()
}

#[tokio::test]
async fn keys_are_counted_from_an_index_alone() {
    let folder = tempfile::tempdir().unwrap();
    let mut reader = store(&folder).await.read().await.unwrap();
    for statement in [key_counts::LIVE, key_counts::KEPT] {
        let steps = plan(&mut reader, statement).await;
        let [step] = &*steps else { panic!("{steps:?}") };
        assert!(step.starts_with("SEARCH keys USING COVERING INDEX keys_counted (organization=? AND api=?"), "{step}");
    }
}

#[tokio::test]
async fn keys_that_ended_are_found_without_going_through_all() {
    let folder = tempfile::tempdir().unwrap();
    let mut reader = store(&folder).await.read().await.unwrap();
    for (statement, index) in [
        (End::Revoked.of_ephemeral(), "ephemeral_keys_by_revocation"),
        (End::Expired.of_ephemeral(), "ephemeral_keys_by_expiry"),
        (End::Revoked.of_others(), "keys_by_revocation"),
        (End::Expired.of_others(), "keys_by_expiry"),
        (expiry::LIST, "keys_by_expiry"),
        (expiry::PUT_TOLD, "keys_by_expiry"),
    ] {
        let steps = plan(&mut reader, statement).await;
        assert!(steps[0].starts_with(&format!("SEARCH keys USING INDEX {index} (")), "{statement}: {steps:?}");
        // Nor are they sorted before the first is known.
        let goes_through_all = |step: &String| step.starts_with("SCAN") || step.contains("TEMP B-TREE");
        assert!(!steps.iter().any(goes_through_all), "{statement}: {steps:?}");
    }
}
