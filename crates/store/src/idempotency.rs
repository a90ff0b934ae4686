//! The table of kept answers to requests that carried an Idempotency-Key.

use claviger_domain::time::Timestamp;

use crate::dialect::on_either;
use crate::{Connection, StoreError, Tx};

/// A request that may be a repetition: whose it is, its Idempotency-Key and what it asks for. Both digests are SHA-256.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Attempt {
    /// Whose key it is: two callers may use the same without meeting.
    pub caller: String,
    /// Digest of the Idempotency-Key.
    pub key_digest: [u8; 32],
    /// Digest of all that makes the request what it is.
    pub fingerprint: [u8; 32],
}

/// What was answered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeptAnswer {
    /// The fingerprint of the request that was answered.
    pub fingerprint: Vec<u8>,
    /// The answer, encrypted.
    pub answer: Vec<u8>,
    /// When it was kept.
    pub created_at: Timestamp,
}

/// The answer to an earlier request of the same caller and key.
pub async fn find(connection: &mut Connection, attempt: &Attempt) -> Result<Option<KeptAnswer>, StoreError> {
    let found: Option<(Vec<u8>, Vec<u8>, i64)> = on_either!(
        connection,
        sqlx::query_as("SELECT fingerprint, answer, created_at FROM idempotency WHERE caller = $1 AND key_digest = $2")
            .bind(&attempt.caller)
            .bind(attempt.key_digest.to_vec()),
        fetch_optional
    )?;
    let kept = |(fingerprint, answer, created_at)| KeptAnswer {
        fingerprint,
        answer,
        created_at: Timestamp::from_micros(created_at),
    };
    Ok(found.map(kept))
}

/// Keeps the answer to a request, in the transaction that does what was asked.
pub async fn put(tx: &mut Tx, attempt: &Attempt, now: Timestamp, answer: Vec<u8>) -> Result<(), StoreError> {
    on_either!(
        tx.writing().await?,
        sqlx::query(
            "INSERT INTO idempotency (caller, key_digest, fingerprint, created_at, answer) VALUES ($1, $2, $3, $4, $5)"
        )
        .bind(&attempt.caller)
        .bind(attempt.key_digest.to_vec())
        .bind(attempt.fingerprint.to_vec())
        .bind(now.as_micros())
        .bind(answer),
        execute
    )?;
    Ok(())
}

/// Forgets answers that were kept before an instant, at most `limit` of them. Returns how many.
pub async fn delete_before(tx: &mut Tx, before: Timestamp, limit: u32) -> Result<u64, StoreError> {
    let deleted = on_either!(
        tx.writing().await?,
        sqlx::query(
            "DELETE FROM idempotency WHERE (caller, key_digest) IN
                 (SELECT caller, key_digest FROM idempotency WHERE created_at < $1 ORDER BY created_at LIMIT $2)",
        )
        .bind(before.as_micros())
        .bind(i64::from(limit)),
        execute
    )?;
    Ok(deleted)
}
