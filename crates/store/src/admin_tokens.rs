//! The table of admin tokens: the operator's credentials for the admin API over HTTP.

use claviger_domain::audit::Audited;
use claviger_domain::id::AdminTokenId;
use claviger_domain::key::Name;
use claviger_domain::secret::SecretDigest;
use claviger_domain::time::Timestamp;
use serde_json::{Map, Value};

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

impl Audited for AdminToken {
    fn audit_view(&self) -> Map<String, Value> {
        let revoked_at = self.revoked_at.map_or(Value::Null, |at| at.to_string().into());
        [
            ("id".to_owned(), self.id.to_string().into()),
            ("name".to_owned(), self.name.as_str().into()),
            ("created_at".to_owned(), self.created_at.to_string().into()),
            ("revoked_at".to_owned(), revoked_at),
        ]
        .into_iter()
        .collect()
    }
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
        tx.writing().await?,
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

/// Writes when a token was revoked.
pub async fn revoke(tx: &mut Tx, id: AdminTokenId, at: Timestamp) -> Result<(), StoreError> {
    on_either!(
        tx.writing().await?,
        sqlx::query("UPDATE admin_tokens SET revoked_at = $2 WHERE id = $1")
            .bind(id.to_bytes().to_vec())
            .bind(at.as_micros()),
        execute
    )?;
    Ok(())
}

/// The token with this digest, revoked or not.
pub async fn find_by_digest(
    connection: &mut Connection,
    digest: &SecretDigest,
) -> Result<Option<AdminToken>, StoreError> {
    let row: Option<Row> = on_either!(
        connection,
        sqlx::query_as("SELECT id, name, created_at, revoked_at FROM admin_tokens WHERE digest = $1")
            .bind(digest.as_bytes().to_vec()),
        fetch_optional
    )?;
    row.map(AdminToken::try_from).transpose()
}

/// The token of that id.
pub async fn find(connection: &mut Connection, id: AdminTokenId) -> Result<Option<AdminToken>, StoreError> {
    let row: Option<Row> = on_either!(
        connection,
        sqlx::query_as("SELECT id, name, created_at, revoked_at FROM admin_tokens WHERE id = $1")
            .bind(id.to_bytes().to_vec()),
        fetch_optional
    )?;
    row.map(AdminToken::try_from).transpose()
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
