//! Keys that ended, in the table of keys: what is to be forgotten.

use claviger_domain::id::KeyId;
use claviger_domain::key::Key;
use claviger_domain::time::Timestamp;

use crate::dialect::on_either;
use crate::keys::{KeyRow, Row, TABLE};
use crate::row::word;
use crate::{Connection, StoreError, rows};

/// Ephemeral keys that were revoked or expired before an instant, at most `limit` of them.
pub async fn list_dead_ephemeral(
    connection: &mut Connection,
    before: Timestamp,
    limit: u32,
) -> Result<Vec<Key>, StoreError> {
    let rows: Vec<Row> = on_either!(
        connection,
        sqlx::query_as(
            "SELECT * FROM keys WHERE kind = 'ephemeral' AND (expires_at < $1 OR revoked_at < $1) ORDER BY id LIMIT $2"
        )
        .bind(before.as_micros())
        .bind(i64::from(limit)),
        fetch_all
    )?;
    rows.into_iter().map(|row| Ok(KeyRow::try_from(row)?.key)).collect()
}

/// Keys that were revoked or expired before an instant, in the order of their ids, past one of them, at most `limit`.
/// Ephemeral keys, and keys that have children, are not among them.
pub async fn list_dead(
    connection: &mut Connection,
    before: Timestamp,
    past: Option<KeyId>,
    limit: u32,
) -> Result<Vec<Key>, StoreError> {
    let rows: Vec<Row> = on_either!(
        connection,
        sqlx::query_as(
            "SELECT * FROM keys
             WHERE (expires_at < $1 OR revoked_at < $1) AND kind <> 'ephemeral' AND ($2 IS NULL OR id > $2)
               AND NOT EXISTS (SELECT 1 FROM keys AS child WHERE child.parent_id = keys.id)
             ORDER BY id LIMIT $3"
        )
        .bind(before.as_micros())
        .bind(past.map(|id| id.to_bytes().to_vec()))
        .bind(i64::from(limit)),
        fetch_all
    )?;
    rows.into_iter().map(|row| Ok(KeyRow::try_from(row)?.key)).collect()
}

/// Those of these keys with which keys were made that are still there.
pub async fn list_makers_among(connection: &mut Connection, ids: &[KeyId]) -> Result<Vec<KeyId>, StoreError> {
    let ids = ids.iter().map(|id| id.to_string().into()).collect();
    let head = "SELECT DISTINCT created_by FROM keys WHERE created_by <> 'operator' AND created_by";
    let found: Vec<(String,)> = rows::select_in(connection, &[head], ids).await?;
    found.into_iter().map(|(id,)| word(TABLE, &id)).collect()
}

/// Test keys that were made with another key before an instant, to live for so many seconds at most, oldest first, at
/// most `limit` of them. Keys that have children wait until those are gone.
pub async fn list_old_test(
    connection: &mut Connection,
    before: Timestamp,
    ttl_seconds_max: i64,
    limit: u32,
) -> Result<Vec<Key>, StoreError> {
    // Creation is kept in whole seconds, expiry is not.
    let life = (ttl_seconds_max + 1).saturating_mul(1_000_000);
    let rows: Vec<Row> = on_either!(
        connection,
        sqlx::query_as(
            "SELECT * FROM keys
             WHERE environment = 'test' AND created_at < $1 AND created_by LIKE 'key_%'
               AND expires_at - created_at < $3
               AND NOT EXISTS (SELECT 1 FROM keys AS child WHERE child.parent_id = keys.id)
             ORDER BY created_at LIMIT $2",
        )
        .bind(before.as_micros())
        .bind(i64::from(limit))
        .bind(life),
        fetch_all
    )?;
    rows.into_iter().map(|row| Ok(KeyRow::try_from(row)?.key)).collect()
}
