//! The table of members.

use claviger_domain::id::{MemberId, OrganizationId};
use claviger_domain::mail::EmailAddress;
use claviger_domain::member::{Member, Role};
use claviger_domain::time::Timestamp;

use crate::dialect::on_either;
use crate::row::{from_json, id_number, to_json, word};
use crate::{Connection, StoreError, Tx};

const TABLE: &str = "members";

#[derive(sqlx::FromRow)]
struct Row {
    id: Vec<u8>,
    organization: Vec<u8>,
    email: String,
    name: String,
    role: String,
    created_at: i64,
    alert_mails: Option<String>,
}

impl TryFrom<Row> for Member {
    type Error = StoreError;

    fn try_from(row: Row) -> Result<Self, StoreError> {
        Ok(Self {
            id: MemberId::from_u128(id_number(TABLE, &row.id)?),
            organization: OrganizationId::from_u128(id_number(TABLE, &row.organization)?),
            email: word(TABLE, &row.email)?,
            name: word(TABLE, &row.name)?,
            role: word(TABLE, &row.role)?,
            alert_mails: row.alert_mails.as_deref().map(|kinds| from_json(TABLE, kinds)).transpose()?,
            created_at: Timestamp::from_micros(row.created_at),
        })
    }
}

/// Writes a member, new or altered. There is one of each address in an organization.
pub async fn put(tx: &mut Tx, member: &Member) -> Result<(), StoreError> {
    on_either!(
        tx.writing().await?,
        sqlx::query(
            "INSERT INTO members (id, organization, email, name, role, created_at, alert_mails)
             VALUES ($1, $2, $3, $4, $5, $6, $7)
             ON CONFLICT (id) DO UPDATE SET name = excluded.name, role = excluded.role,
                 alert_mails = excluded.alert_mails",
        )
        .bind(member.id.to_bytes().to_vec())
        .bind(member.organization.to_bytes().to_vec())
        .bind(member.email.as_str())
        .bind(member.name.as_str())
        .bind(member.role.as_str())
        .bind(member.created_at.as_micros())
        .bind(member.alert_mails.as_ref().map(to_json)),
        execute
    )?;
    Ok(())
}

/// Takes a member out of its organization.
pub async fn delete(tx: &mut Tx, id: MemberId) -> Result<(), StoreError> {
    on_either!(
        tx.writing().await?,
        sqlx::query("DELETE FROM members WHERE id = $1").bind(id.to_bytes().to_vec()),
        execute
    )?;
    Ok(())
}

/// The member of that id.
pub async fn find(connection: &mut Connection, id: MemberId) -> Result<Option<Member>, StoreError> {
    let row: Option<Row> = on_either!(
        connection,
        sqlx::query_as("SELECT * FROM members WHERE id = $1").bind(id.to_bytes().to_vec()),
        fetch_optional
    )?;
    row.map(Member::try_from).transpose()
}

/// The member of an organization who reads mail at this address.
pub async fn find_by_email(
    connection: &mut Connection,
    organization: OrganizationId,
    email: &EmailAddress,
) -> Result<Option<Member>, StoreError> {
    let row: Option<Row> = on_either!(
        connection,
        sqlx::query_as("SELECT * FROM members WHERE organization = $1 AND email = $2")
            .bind(organization.to_bytes().to_vec())
            .bind(email.as_str()),
        fetch_optional
    )?;
    row.map(Member::try_from).transpose()
}

/// The members of an organization, oldest first; there are at most as many as the limits allow.
pub async fn list(connection: &mut Connection, organization: OrganizationId) -> Result<Vec<Member>, StoreError> {
    let rows: Vec<Row> = on_either!(
        connection,
        sqlx::query_as("SELECT * FROM members WHERE organization = $1 ORDER BY id")
            .bind(organization.to_bytes().to_vec()),
        fetch_all
    )?;
    rows.into_iter().map(Member::try_from).collect()
}

/// How many members of an organization have a role.
pub async fn count_of_role(
    connection: &mut Connection,
    organization: OrganizationId,
    role: Role,
) -> Result<i64, StoreError> {
    Ok(on_either!(
        connection,
        sqlx::query_scalar("SELECT COUNT(*) FROM members WHERE organization = $1 AND role = $2")
            .bind(organization.to_bytes().to_vec())
            .bind(role.as_str()),
        fetch_one
    )?)
}
