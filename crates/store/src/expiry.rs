//! Which keys have died by themselves since somebody looked, and up to where they did.

use claviger_domain::id::KeyId;
use claviger_domain::key::Key;
use claviger_domain::time::Timestamp;

use crate::dialect::on_either;
use crate::row::id_number;
use crate::{Connection, StoreError, Tx, keys};

/// A place in the order in which keys end: the instant, and of those that end then, the key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Mark {
    /// The instant.
    pub at: Timestamp,
    /// The key.
    pub key: KeyId,
}

impl Mark {
    /// Before all keys.
    pub const FIRST: Self = Self { at: Timestamp::from_micros(i64::MIN), key: KeyId::from_u128(0) };
}

/// Up to where it was looked.
pub async fn find_mark(connection: &mut Connection) -> Result<Option<Mark>, StoreError> {
    let (at, key): (Option<i64>, Option<Vec<u8>>) = on_either!(
        connection,
        sqlx::query_as("SELECT expired_until, expired_key FROM deployment WHERE only_row = 1"),
        fetch_one
    )?;
    let (Some(at), Some(key)) = (at, key) else { return Ok(None) };
    Ok(Some(Mark { at: Timestamp::from_micros(at), key: KeyId::from_u128(id_number("deployment", &key)?) }))
}

/// Says up to where it was looked.
pub async fn put_mark(tx: &mut Tx, mark: Mark) -> Result<(), StoreError> {
    on_either!(
        tx.writing().await?,
        sqlx::query("UPDATE deployment SET expired_until = $1, expired_key = $2 WHERE only_row = 1")
            .bind(mark.at.as_micros())
            .bind(mark.key.to_bytes().to_vec()),
        execute
    )?;
    Ok(())
}

/// With the instants said apart: from pairs alone SQLite does not see that an index has these keys, and goes through all.
pub(crate) const PUT_TOLD: &str = "UPDATE keys SET expiry_told = expires_at
     WHERE expires_at >= $1 AND expires_at <= $3 AND (expires_at, id) > ($1, $2) AND (expires_at, id) <= ($3, $4)
       AND parent_id IS NULL AND revoked_at IS NULL";

/// Says of all keys past a mark and up to another that their expiry was told, whenever they come by again.
pub async fn put_told(tx: &mut Tx, past: Mark, reached: Mark) -> Result<(), StoreError> {
    on_either!(
        tx.writing().await?,
        sqlx::query(PUT_TOLD)
            .bind(past.at.as_micros())
            .bind(past.key.to_bytes().to_vec())
            .bind(reached.at.as_micros())
            .bind(reached.key.to_bytes().to_vec()),
        execute
    )?;
    Ok(())
}

pub(crate) const LIST: &str = "SELECT id FROM keys
     WHERE (expires_at, id) > ($1, $2) AND expires_at <= $3 AND parent_id IS NULL AND revoked_at IS NULL
       AND (expiry_told IS NULL OR expiry_told <> expires_at)
     ORDER BY expires_at, id LIMIT $4";

/// Keys that expired past the mark and until an instant, that one included, in that order, at most `limit`. Those that
/// were revoked are not among them, and neither are ephemeral ones, whose life is their expiry, nor those of which just
/// that expiry was [told](put_told).
pub async fn list(
    connection: &mut Connection,
    past: Mark,
    until: Timestamp,
    limit: u32,
) -> Result<Vec<Key>, StoreError> {
    let ids: Vec<Vec<u8>> = on_either!(
        connection,
        sqlx::query_scalar(LIST)
            .bind(past.at.as_micros())
            .bind(past.key.to_bytes().to_vec())
            .bind(until.as_micros())
            .bind(i64::from(limit)),
        fetch_all
    )?;
    let ids: Vec<KeyId> =
        ids.iter().map(|id| Ok(KeyId::from_u128(id_number("keys", id)?))).collect::<Result<_, StoreError>>()?;
    let mut found: Vec<Key> = keys::list_by_id(connection, &ids).await?.into_iter().map(|row| row.key).collect();
    found.sort_unstable_by_key(|key| (key.expires_at, key.id));
    Ok(found)
}
