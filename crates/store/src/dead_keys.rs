//! Keys that ended, in the table of keys: what is to be forgotten.

use claviger_domain::id::KeyId;
use claviger_domain::key::Key;
use claviger_domain::time::Timestamp;

use crate::dialect::on_either;
use crate::expiry::Mark;
use crate::keys::{KeyRow, Row, TABLE};
use crate::row::word;
use crate::{Connection, StoreError, rows};

// Each is about one instant: for one or the other, SQLite would go through all keys, in the writer's turn.
macro_rules! dead_ephemeral {
    ($ended_at:literal) => {
        concat!(
            "SELECT * FROM keys WHERE kind = 'ephemeral' AND ",
            $ended_at,
            " < $1 ORDER BY ",
            $ended_at,
            " LIMIT $2"
        )
    };
}

macro_rules! dead {
    ($ended_at:literal) => {
        concat!(
            "SELECT * FROM keys WHERE kind <> 'ephemeral' AND ",
            $ended_at,
            " < $1 AND (",
            $ended_at,
            ", id) > ($2, $3) AND NOT EXISTS (SELECT 1 FROM keys AS child WHERE child.parent_id = keys.id)
             ORDER BY ",
            $ended_at,
            ", id LIMIT $4"
        )
    };
}

/// How a key ended. One that did both is found by either.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// Somebody revoked it.
    Revoked,
    /// It expired.
    Expired,
}

impl End {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Revoked, Self::Expired];

    /// The place of a key in the order in which keys ended so, if it did.
    pub fn mark(self, key: &Key) -> Option<Mark> {
        let at = match self {
            Self::Revoked => key.revocation.as_ref().map(|revocation| revocation.at),
            Self::Expired => key.expires_at,
        };
        at.map(|at| Mark { at, key: key.id })
    }

    pub(crate) const fn of_ephemeral(self) -> &'static str {
        match self {
            Self::Revoked => dead_ephemeral!("revoked_at"),
            Self::Expired => dead_ephemeral!("expires_at"),
        }
    }

    pub(crate) const fn of_others(self) -> &'static str {
        match self {
            Self::Revoked => dead!("revoked_at"),
            Self::Expired => dead!("expires_at"),
        }
    }
}

/// Ephemeral keys that ended so before an instant, at most `limit` of them.
pub async fn list_dead_ephemeral(
    connection: &mut Connection,
    end: End,
    before: Timestamp,
    limit: u32,
) -> Result<Vec<Key>, StoreError> {
    let rows: Vec<Row> = on_either!(
        connection,
        sqlx::query_as(end.of_ephemeral()).bind(before.as_micros()).bind(i64::from(limit)),
        fetch_all
    )?;
    rows.into_iter().map(|row| Ok(KeyRow::try_from(row)?.key)).collect()
}

/// Keys that ended so before an instant, in the order in which they did, past a mark, at most `limit`. Ephemeral keys, and
/// keys that have children, are not among them.
pub async fn list_dead(
    connection: &mut Connection,
    end: End,
    before: Timestamp,
    past: Mark,
    limit: u32,
) -> Result<Vec<Key>, StoreError> {
    let rows: Vec<Row> = on_either!(
        connection,
        sqlx::query_as(end.of_others())
            .bind(before.as_micros())
            .bind(past.at.as_micros())
            .bind(past.key.to_bytes().to_vec())
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
