//! The table of organizations.

use claviger_domain::id::OrganizationId;
use claviger_domain::organization::{Organization, OrganizationStatus};
use claviger_domain::time::Timestamp;

use crate::dialect::on_either;
use crate::row::{id_number, word};
use crate::{Connection, Page, PageRequest, StoreError, Tx};

const TABLE: &str = "organizations";

#[derive(sqlx::FromRow)]
struct Row {
    id: Vec<u8>,
    name: String,
    status: String,
    time_zone: String,
    created_at: i64,
}

impl TryFrom<Row> for Organization {
    type Error = StoreError;

    fn try_from(row: Row) -> Result<Self, StoreError> {
        Ok(Self {
            id: OrganizationId::from_u128(id_number(TABLE, &row.id)?),
            name: word(TABLE, &row.name)?,
            status: word(TABLE, &row.status)?,
            time_zone: word(TABLE, &row.time_zone)?,
            created_at: Timestamp::from_micros(row.created_at),
        })
    }
}

/// Writes an organization, new or altered.
pub async fn put(tx: &mut Tx, organization: &Organization) -> Result<(), StoreError> {
    let revision = tx.revision().0;
    tx.forget_what_is_known();
    on_either!(
        tx.writing().await?,
        sqlx::query(
            "INSERT INTO organizations (id, name, status, time_zone, created_at, revision) VALUES ($1, $2, $3, $4, $5, $6)
         ON CONFLICT (id) DO UPDATE SET name = excluded.name, status = excluded.status,
             time_zone = excluded.time_zone, revision = excluded.revision",
        )
        .bind(organization.id.to_bytes().to_vec())
        .bind(organization.name.as_str())
        .bind(OrganizationStatus::as_str(organization.status))
        .bind(organization.time_zone.name())
        .bind(organization.created_at.as_micros())
        .bind(revision),
        execute
    )?;
    Ok(())
}

/// The organization of that id.
pub async fn find(connection: &mut Connection, id: OrganizationId) -> Result<Option<Organization>, StoreError> {
    let row: Option<Row> = on_either!(
        connection,
        sqlx::query_as("SELECT id, name, status, time_zone, created_at FROM organizations WHERE id = $1")
            .bind(id.to_bytes().to_vec()),
        fetch_optional
    )?;
    row.map(Organization::try_from).transpose()
}

/// A page of organizations, newest first.
pub async fn list(
    connection: &mut Connection,
    page: PageRequest<OrganizationId>,
) -> Result<Page<Organization>, StoreError> {
    let rows: Vec<Row> = on_either!(
        connection,
        sqlx::query_as(
            "SELECT id, name, status, time_zone, created_at FROM organizations
         WHERE ($1 IS NULL OR id < $1) ORDER BY id DESC LIMIT $2",
        )
        .bind(page.after.map(|id| id.to_bytes().to_vec()))
        .bind(i64::from(page.limit) + 1),
        fetch_all
    )?;
    let rows = rows.into_iter().map(Organization::try_from).collect::<Result<_, _>>()?;
    Ok(Page::of(rows, page.limit))
}

/// Every organization, oldest first.
pub async fn list_all(connection: &mut Connection) -> Result<Vec<Organization>, StoreError> {
    let rows: Vec<Row> = on_either!(
        connection,
        sqlx::query_as("SELECT id, name, status, time_zone, created_at FROM organizations ORDER BY id"),
        fetch_all
    )?;
    rows.into_iter().map(Organization::try_from).collect()
}
