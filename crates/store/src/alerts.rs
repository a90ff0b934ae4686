//! The tables of alerts and of what organizations want to be told.

use claviger_domain::alert::{Alert, AlertKind};
use claviger_domain::audit::Author;
use claviger_domain::id::{AlertId, KeyId, OrganizationId};
use claviger_domain::key::ApiName;
use claviger_domain::time::Timestamp;

use crate::dialect::on_either;
use crate::row::{from_json, id_number, to_json, word};
use crate::{Connection, Page, PageRequest, StoreError, Tx};

const TABLE: &str = "alerts";

#[derive(sqlx::FromRow)]
struct Row {
    id: Vec<u8>,
    organization: Vec<u8>,
    api: String,
    key_id: Vec<u8>,
    kind: String,
    opened_at: i64,
    last_repeated_at: i64,
    last_seen_at: i64,
    closed_at: Option<i64>,
    closed_by: Option<String>,
    detail: String,
}

impl TryFrom<Row> for Alert {
    type Error = StoreError;

    fn try_from(row: Row) -> Result<Self, StoreError> {
        let key = if row.key_id.is_empty() { None } else { Some(KeyId::from_u128(id_number(TABLE, &row.key_id)?)) };
        let closed_by: Option<Author> = row.closed_by.as_deref().map(|author| word(TABLE, author)).transpose()?;
        let closed = match (row.closed_at, closed_by) {
            (Some(at), Some(by)) => Some((Timestamp::from_micros(at), by)),
            (None, None) => None,
            _ => return Err(StoreError::Row { table: TABLE, reason: "is half closed".to_owned() }),
        };
        Ok(Self {
            id: AlertId::from_u128(id_number(TABLE, &row.id)?),
            organization: OrganizationId::from_u128(id_number(TABLE, &row.organization)?),
            api: word(TABLE, &row.api)?,
            key,
            kind: word(TABLE, &row.kind)?,
            opened_at: Timestamp::from_micros(row.opened_at),
            last_repeated_at: Timestamp::from_micros(row.last_repeated_at),
            last_seen_at: Timestamp::from_micros(row.last_seen_at),
            closed,
            detail: from_json(TABLE, &row.detail)?,
        })
    }
}

/// Which alerts to list.
#[derive(Clone, Debug, Default)]
pub struct AlertFilter {
    /// Only of this organization.
    pub organization: Option<OrganizationId>,
    /// Only of this api.
    pub api: Option<ApiName>,
    /// Only about this key.
    pub key: Option<KeyId>,
    /// Only of this kind.
    pub kind: Option<AlertKind>,
    /// Only those that are open, or only those that are not.
    pub is_open: Option<bool>,
}

/// Writes an alert, new or altered. One that is new must be the only open one of its account, key and kind.
pub async fn put(tx: &mut Tx, alert: &Alert) -> Result<(), StoreError> {
    on_either!(
        tx.writing().await?,
        sqlx::query(
            "INSERT INTO alerts (id, organization, api, key_id, kind, opened_at, last_repeated_at, last_seen_at,
                 closed_at, closed_by, detail)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
             ON CONFLICT (id) DO UPDATE SET last_repeated_at = excluded.last_repeated_at,
                 last_seen_at = excluded.last_seen_at, closed_at = excluded.closed_at,
                 closed_by = excluded.closed_by, detail = excluded.detail",
        )
        .bind(alert.id.to_bytes().to_vec())
        .bind(alert.organization.to_bytes().to_vec())
        .bind(alert.api.as_str())
        .bind(alert.key.map_or(Vec::new(), |key| key.to_bytes().to_vec()))
        .bind(alert.kind.as_str())
        .bind(alert.opened_at.as_micros())
        .bind(alert.last_repeated_at.as_micros())
        .bind(alert.last_seen_at.as_micros())
        .bind(alert.closed.map(|(at, _)| at.as_micros()))
        .bind(alert.closed.map(|(_, by)| by.to_string()))
        .bind(to_json(&alert.detail)),
        execute
    )?;
    Ok(())
}

/// The alert of that id.
pub async fn find(connection: &mut Connection, id: AlertId) -> Result<Option<Alert>, StoreError> {
    let row: Option<Row> = on_either!(
        connection,
        sqlx::query_as("SELECT * FROM alerts WHERE id = $1").bind(id.to_bytes().to_vec()),
        fetch_optional
    )?;
    row.map(Alert::try_from).transpose()
}

/// The newest alert of an account, key and kind, open or closed.
pub async fn find_newest(
    connection: &mut Connection,
    organization: OrganizationId,
    api: &ApiName,
    key: Option<KeyId>,
    kind: AlertKind,
) -> Result<Option<Alert>, StoreError> {
    let row: Option<Row> = on_either!(
        connection,
        sqlx::query_as(
            "SELECT * FROM alerts WHERE organization = $1 AND api = $2 AND key_id = $3 AND kind = $4
             ORDER BY id DESC LIMIT 1",
        )
        .bind(organization.to_bytes().to_vec())
        .bind(api.as_str())
        .bind(key.map_or(Vec::new(), |key| key.to_bytes().to_vec()))
        .bind(kind.as_str()),
        fetch_optional
    )?;
    row.map(Alert::try_from).transpose()
}

/// How many alerts of a kind an account has open.
pub async fn count_open(
    connection: &mut Connection,
    organization: OrganizationId,
    api: &ApiName,
    kind: AlertKind,
) -> Result<i64, StoreError> {
    Ok(on_either!(
        connection,
        sqlx::query_scalar(
            "SELECT COUNT(*) FROM alerts WHERE organization = $1 AND api = $2 AND kind = $3 AND closed_at IS NULL",
        )
        .bind(organization.to_bytes().to_vec())
        .bind(api.as_str())
        .bind(kind.as_str()),
        fetch_one
    )?)
}

/// The same list for each index that can lead to it, so that each has a query plan of its own: the query says for certain
/// that a condition holds.
macro_rules! list_alerts {
    ($place:literal) => {
        concat!(
            "SELECT * FROM alerts WHERE ",
            $place,
            " AND ($1 IS NULL OR organization = $1) AND ($2 IS NULL OR api = $2)
              AND ($3 IS NULL OR key_id = $3) AND ($4 IS NULL OR kind = $4)
              AND ($5 IS NULL OR (closed_at IS NULL) = $5) AND ($6 IS NULL OR id < $6)
            ORDER BY id DESC LIMIT $7"
        )
    };
}

/// A page of alerts, newest first.
pub async fn list(
    connection: &mut Connection,
    filter: &AlertFilter,
    page: PageRequest<AlertId>,
) -> Result<Page<Alert>, StoreError> {
    let query = match (filter.organization, filter.is_open) {
        (Some(_), Some(true)) => list_alerts!("organization = $1 AND closed_at IS NULL"),
        (Some(_), _) => list_alerts!("organization = $1"),
        (None, Some(true)) => list_alerts!("closed_at IS NULL"),
        (None, _) => list_alerts!("TRUE"),
    };
    let rows: Vec<Row> = on_either!(
        connection,
        sqlx::query_as(query)
            .bind(filter.organization.map(|id| id.to_bytes().to_vec()))
            .bind(filter.api.as_ref().map(ApiName::as_str))
            .bind(filter.key.map(|id| id.to_bytes().to_vec()))
            .bind(filter.kind.map(AlertKind::as_str))
            .bind(filter.is_open)
            .bind(page.after.map(|id| id.to_bytes().to_vec()))
            .bind(i64::from(page.limit) + 1),
        fetch_all
    )?;
    let rows = rows.into_iter().map(Alert::try_from).collect::<Result<_, _>>()?;
    Ok(Page::of(rows, page.limit))
}

/// Forgets alerts that were closed before an instant, at most `limit` of them. Returns how many.
pub async fn delete_closed_before(tx: &mut Tx, before: Timestamp, limit: u32) -> Result<u64, StoreError> {
    Ok(on_either!(
        tx.writing().await?,
        sqlx::query(
            "DELETE FROM alerts WHERE id IN (SELECT id FROM alerts WHERE closed_at < $1 ORDER BY closed_at LIMIT $2)"
        )
        .bind(before.as_micros())
        .bind(i64::from(limit)),
        execute
    )?)
}

/// What an organization wants to be told, as the text that it was put as.
pub async fn find_settings(
    connection: &mut Connection,
    organization: OrganizationId,
) -> Result<Option<String>, StoreError> {
    Ok(on_either!(
        connection,
        sqlx::query_scalar("SELECT body FROM alert_settings WHERE organization = $1")
            .bind(organization.to_bytes().to_vec()),
        fetch_optional
    )?)
}

/// Writes what an organization wants to be told.
pub async fn put_settings(tx: &mut Tx, organization: OrganizationId, body: &str) -> Result<(), StoreError> {
    on_either!(
        tx.writing().await?,
        sqlx::query(
            "INSERT INTO alert_settings (organization, body) VALUES ($1, $2)
             ON CONFLICT (organization) DO UPDATE SET body = excluded.body",
        )
        .bind(organization.to_bytes().to_vec())
        .bind(body),
        execute
    )?;
    Ok(())
}

/// Live keys that may be told of at an instant, past a key: neither revoked nor expired nor ephemeral, in the order of
/// their ids.
pub async fn list_watched_keys(
    connection: &mut Connection,
    now: Timestamp,
    after: Option<KeyId>,
    limit: u32,
) -> Result<Vec<KeyId>, StoreError> {
    let ids: Vec<Vec<u8>> = on_either!(
        connection,
        sqlx::query_scalar(
            "SELECT id FROM keys WHERE id > $1 AND environment = 'live' AND kind <> 'ephemeral'
             AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > $2) ORDER BY id LIMIT $3",
        )
        .bind(after.unwrap_or(KeyId::from_u128(0)).to_bytes().to_vec())
        .bind(now.as_micros())
        .bind(i64::from(limit)),
        fetch_all
    )?;
    ids.iter().map(|id| Ok(KeyId::from_u128(id_number("keys", id)?))).collect()
}
