//! The table of verifiers.

use claviger_domain::change::Verifier;
use claviger_domain::id::VerifierId;
use claviger_domain::time::Timestamp;

use crate::dialect::on_either;
use crate::row::{digest, id_number, time, word};
use crate::{Connection, StoreError, Tx};

const TABLE: &str = "verifiers";

#[derive(sqlx::FromRow)]
struct Row {
    id: Vec<u8>,
    name: String,
    digest: Vec<u8>,
    created_at: i64,
    revoked_at: Option<i64>,
}

impl TryFrom<Row> for Verifier {
    type Error = StoreError;

    fn try_from(row: Row) -> Result<Self, StoreError> {
        Ok(Self {
            id: VerifierId::from_u128(id_number(TABLE, &row.id)?),
            name: word(TABLE, &row.name)?,
            digest: digest(TABLE, &row.digest)?,
            created_at: Timestamp::from_micros(row.created_at),
            revoked_at: time(row.revoked_at),
        })
    }
}

/// Writes a verifier, new or revoked.
pub async fn put(tx: &mut Tx, verifier: &Verifier) -> Result<(), StoreError> {
    on_either!(
        tx.writing().await?,
        sqlx::query(
            "INSERT INTO verifiers (id, name, digest, created_at, revoked_at) VALUES ($1, $2, $3, $4, $5)
         ON CONFLICT (id) DO UPDATE SET revoked_at = excluded.revoked_at",
        )
        .bind(verifier.id.to_bytes().to_vec())
        .bind(verifier.name.as_str())
        .bind(verifier.digest.as_bytes().to_vec())
        .bind(verifier.created_at.as_micros())
        .bind(verifier.revoked_at.map(Timestamp::as_micros)),
        execute
    )?;
    Ok(())
}

/// The verifier of that id.
pub async fn find(connection: &mut Connection, id: VerifierId) -> Result<Option<Verifier>, StoreError> {
    let row: Option<Row> = on_either!(
        connection,
        sqlx::query_as("SELECT id, name, digest, created_at, revoked_at FROM verifiers WHERE id = $1")
            .bind(id.to_bytes().to_vec()),
        fetch_optional
    )?;
    row.map(Verifier::try_from).transpose()
}

/// Every verifier, newest first.
pub async fn list(connection: &mut Connection) -> Result<Vec<Verifier>, StoreError> {
    let rows: Vec<Row> = on_either!(
        connection,
        sqlx::query_as("SELECT id, name, digest, created_at, revoked_at FROM verifiers ORDER BY id DESC"),
        fetch_all
    )?;
    rows.into_iter().map(Verifier::try_from).collect()
}
