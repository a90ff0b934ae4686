//! The table of open invitations.

use claviger_domain::id::{InvitationId, OrganizationId};
use claviger_domain::member::Invitation;
use claviger_domain::secret::SecretDigest;
use claviger_domain::time::Timestamp;

use crate::dialect::on_either;
use crate::row::{id_number, word};
use crate::{Connection, StoreError, Tx};

const TABLE: &str = "invitations";

#[derive(sqlx::FromRow)]
struct Row {
    id: Vec<u8>,
    organization: Vec<u8>,
    email: String,
    role: String,
    created_at: i64,
    expires_at: i64,
}

impl TryFrom<Row> for Invitation {
    type Error = StoreError;

    fn try_from(row: Row) -> Result<Self, StoreError> {
        Ok(Self {
            id: InvitationId::from_u128(id_number(TABLE, &row.id)?),
            organization: OrganizationId::from_u128(id_number(TABLE, &row.organization)?),
            email: word(TABLE, &row.email)?,
            role: word(TABLE, &row.role)?,
            created_at: Timestamp::from_micros(row.created_at),
            expires_at: Timestamp::from_micros(row.expires_at),
        })
    }
}

/// Writes a new invitation, with the digest of its link's token. It takes the place of an older one to the same address.
pub async fn put(tx: &mut Tx, invitation: &Invitation, digest: &SecretDigest) -> Result<(), StoreError> {
    on_either!(
        tx.writing().await?,
        sqlx::query(
            "INSERT INTO invitations (id, organization, email, role, digest, created_at, expires_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7)
         ON CONFLICT (organization, email) DO UPDATE SET id = excluded.id, role = excluded.role,
             digest = excluded.digest, created_at = excluded.created_at, expires_at = excluded.expires_at",
        )
        .bind(invitation.id.to_bytes().to_vec())
        .bind(invitation.organization.to_bytes().to_vec())
        .bind(invitation.email.as_str())
        .bind(invitation.role.as_str())
        .bind(digest.as_bytes().to_vec())
        .bind(invitation.created_at.as_micros())
        .bind(invitation.expires_at.as_micros()),
        execute
    )?;
    Ok(())
}

/// The invitation of that id.
pub async fn find(connection: &mut Connection, id: InvitationId) -> Result<Option<Invitation>, StoreError> {
    let row: Option<Row> = on_either!(
        connection,
        sqlx::query_as("SELECT id, organization, email, role, created_at, expires_at FROM invitations WHERE id = $1")
            .bind(id.to_bytes().to_vec()),
        fetch_optional
    )?;
    row.map(Invitation::try_from).transpose()
}

/// The invitation whose link has the token of this digest.
pub async fn find_by_digest(
    connection: &mut Connection,
    digest: &SecretDigest,
) -> Result<Option<Invitation>, StoreError> {
    let row: Option<Row> = on_either!(
        connection,
        sqlx::query_as(
            "SELECT id, organization, email, role, created_at, expires_at FROM invitations WHERE digest = $1"
        )
        .bind(digest.as_bytes().to_vec()),
        fetch_optional
    )?;
    row.map(Invitation::try_from).transpose()
}

/// The invitations of an organization, oldest first.
pub async fn list(connection: &mut Connection, organization: OrganizationId) -> Result<Vec<Invitation>, StoreError> {
    let rows: Vec<Row> = on_either!(
        connection,
        sqlx::query_as(
            "SELECT id, organization, email, role, created_at, expires_at FROM invitations
         WHERE organization = $1 ORDER BY id"
        )
        .bind(organization.to_bytes().to_vec()),
        fetch_all
    )?;
    rows.into_iter().map(Invitation::try_from).collect()
}

/// Takes an invitation back.
pub async fn delete(tx: &mut Tx, id: InvitationId) -> Result<(), StoreError> {
    on_either!(
        tx.writing().await?,
        sqlx::query("DELETE FROM invitations WHERE id = $1").bind(id.to_bytes().to_vec()),
        execute
    )?;
    Ok(())
}

/// Forgets invitations that expired before an instant, at most `limit` of them.
pub async fn delete_expired(tx: &mut Tx, before: Timestamp, limit: u32) -> Result<u64, StoreError> {
    Ok(on_either!(
        tx.writing().await?,
        sqlx::query(
            "DELETE FROM invitations WHERE id IN
             (SELECT id FROM invitations WHERE expires_at < $1 ORDER BY expires_at LIMIT $2)"
        )
        .bind(before.as_micros())
        .bind(i64::from(limit)),
        execute
    )?)
}
