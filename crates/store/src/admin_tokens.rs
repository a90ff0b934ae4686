//! The table of admin tokens: the operator's credentials for the admin API over HTTP.

use claviger_domain::id::AdminTokenId;
use claviger_domain::key::Name;
use claviger_domain::secret::SecretDigest;
use claviger_domain::time::Timestamp;

use crate::dialect::on_either;
use crate::row::{id_number, time, word};
use crate::{Connection, StoreError, Tx};

const TABLE: &str = "admin_tokens";

/// An admin token, without its secret.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AdminToken {
    /// Its id.
    pub id: AdminTokenId,
    /// The name the operator gave it.
    pub name: Name,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
}

#[derive(sqlx::FromRow)]
struct Row {
    id: Vec<u8>,
    name: String,
    created_at: i64,
    revoked_at: Option<i64>,
}

impl TryFrom<Row> for AdminToken {
    type Error = StoreError;

    fn try_from(row: Row) -> Result<Self, StoreError> {
        Ok(Self {
            id: AdminTokenId::from_u128(id_number(TABLE, &row.id)?),
            name: word(TABLE, &row.name)?,
            created_at: Timestamp::from_micros(row.created_at),
            revoked_at: time(row.revoked_at),
        })
    }
}

/// Writes a new token.
pub async fn create(tx: &mut Tx, token: &AdminToken, digest: &SecretDigest) -> Result<(), StoreError> {
    on_either!(
        tx.connection(),
        sqlx::query(
            "INSERT INTO admin_tokens (id, name, digest, created_at, revoked_at) VALUES ($1, $2, $3, $4, NULL)"
        )
        .bind(token.id.to_bytes().to_vec())
        .bind(token.name.as_str())
        .bind(digest.as_bytes().to_vec())
        .bind(token.created_at.as_micros()),
        execute
    )?;
    Ok(())
}

/// Revokes a token; the time of an earlier revocation stays.
pub async fn revoke(tx: &mut Tx, id: AdminTokenId, now: Timestamp) -> Result<Option<AdminToken>, StoreError> {
    let row: Option<Row> = on_either!(
        tx.connection(),
        sqlx::query_as(
            "UPDATE admin_tokens SET revoked_at = COALESCE(revoked_at, $2) WHERE id = $1
         RETURNING id, name, created_at, revoked_at",
        )
        .bind(id.to_bytes().to_vec())
        .bind(now.as_micros()),
        fetch_optional
    )?;
    row.map(AdminToken::try_from).transpose()
}

/// Whether a token with this digest exists and was not revoked.
pub async fn is_live(connection: &mut Connection, digest: &SecretDigest) -> Result<bool, StoreError> {
    let found: Option<i64> = on_either!(
        connection,
        sqlx::query_scalar("SELECT created_at FROM admin_tokens WHERE digest = $1 AND revoked_at IS NULL")
            .bind(digest.as_bytes().to_vec()),
        fetch_optional
    )?;
    Ok(found.is_some())
}

/// Every token, newest first.
pub async fn list(connection: &mut Connection) -> Result<Vec<AdminToken>, StoreError> {
    let rows: Vec<Row> = on_either!(
        connection,
        sqlx::query_as("SELECT id, name, created_at, revoked_at FROM admin_tokens ORDER BY id DESC"),
        fetch_all
    )?;
    rows.into_iter().map(AdminToken::try_from).collect()
}
