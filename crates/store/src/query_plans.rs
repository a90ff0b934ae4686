//! How SQLite goes about what is asked in the writer's turn, where everybody who writes waits for it. There may be a million
//! keys: none of it may go through all of them.

use sqlx::AssertSqlSafe;

use crate::{Connection, Database, Store, key_counts};

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
