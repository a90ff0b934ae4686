//! The table of webhook endpoints.

use std::sync::Arc;

use claviger_domain::event::{EventFilter, EventType};
use claviger_domain::id::{OrganizationId, WebhookId};
use claviger_domain::key::Name;
use claviger_domain::time::Timestamp;
use claviger_domain::webhook::{DisabledReason, WebhookEndpoint};

use crate::dialect::on_either;
use crate::known::Known;
use crate::row::{from_json, id_number, time, to_json, word};
use crate::{Connection, Page, PageRequest, StoreError, Tx};

const TABLE: &str = "webhook_endpoints";

/// An endpoint with what nobody is shown.
#[derive(Clone, PartialEq, Eq)]
pub struct WebhookRow {
    /// The endpoint.
    pub endpoint: WebhookEndpoint,
    /// Its signing key, encrypted.
    pub secret: Vec<u8>,
    /// The one that it had before, encrypted, as long as the overlap runs or nobody has forgotten it.
    pub old_secret: Option<Vec<u8>>,
    /// Since when deliveries to it are given up.
    pub failing_since: Option<Timestamp>,
}

/// Without the secrets, encrypted as they are.
impl std::fmt::Debug for WebhookRow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WebhookRow").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}

#[derive(sqlx::FromRow)]
struct Row {
    id: Vec<u8>,
    organization: Option<Vec<u8>>,
    url: String,
    description: Option<String>,
    events: String,
    secret: Vec<u8>,
    old_secret: Option<Vec<u8>>,
    overlap_ends_at: Option<i64>,
    disabled: Option<String>,
    failing_since: Option<i64>,
    created_at: i64,
    rotated_at: Option<i64>,
}

impl TryFrom<Row> for WebhookRow {
    type Error = StoreError;

    fn try_from(row: Row) -> Result<Self, StoreError> {
        let organization = row.organization.as_deref().map(|bytes| id_number(TABLE, bytes)).transpose()?;
        let endpoint = WebhookEndpoint {
            id: WebhookId::from_u128(id_number(TABLE, &row.id)?),
            organization: organization.map(OrganizationId::from_u128),
            url: row.url,
            description: row.description.as_deref().map(|name| word(TABLE, name)).transpose()?,
            events: from_json(TABLE, &row.events)?,
            disabled: row.disabled.as_deref().map(|reason| word(TABLE, reason)).transpose()?,
            created_at: Timestamp::from_micros(row.created_at),
            rotated_at: time(row.rotated_at),
            overlap_ends_at: time(row.overlap_ends_at),
        };
        Ok(Self { endpoint, secret: row.secret, old_secret: row.old_secret, failing_since: time(row.failing_since) })
    }
}

/// An endpoint that may be told something, and what it wants to be told.
#[derive(Clone, Debug)]
pub(crate) struct Listener {
    pub(crate) id: WebhookId,
    events: EventFilter,
}

impl Listener {
    pub(crate) fn wants(&self, kind: EventType) -> bool {
        self.events.wants(kind)
    }
}

/// Writes an endpoint, new or altered. Whose it is never changes. It must be told in the audit log, which is how others
/// know that what they remember of endpoints is not so any more.
pub async fn put(tx: &mut Tx, row: &WebhookRow) -> Result<(), StoreError> {
    tx.forget_what_is_known();
    let endpoint = &row.endpoint;
    on_either!(
        tx.writing().await?,
        sqlx::query(
            "INSERT INTO webhook_endpoints
             (id, organization, url, description, events, secret, old_secret, overlap_ends_at, disabled, failing_since,
              created_at, rotated_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
         ON CONFLICT (id) DO UPDATE SET url = excluded.url, description = excluded.description,
             events = excluded.events, secret = excluded.secret, old_secret = excluded.old_secret,
             overlap_ends_at = excluded.overlap_ends_at, disabled = excluded.disabled,
             failing_since = excluded.failing_since, rotated_at = excluded.rotated_at",
        )
        .bind(endpoint.id.to_bytes().to_vec())
        .bind(endpoint.organization.map(|id| id.to_bytes().to_vec()))
        .bind(&endpoint.url)
        .bind(endpoint.description.as_ref().map(Name::as_str))
        .bind(to_json(&endpoint.events))
        .bind(&row.secret)
        .bind(&row.old_secret)
        .bind(endpoint.overlap_ends_at.map(Timestamp::as_micros))
        .bind(endpoint.disabled.map(DisabledReason::as_str))
        .bind(row.failing_since.map(Timestamp::as_micros))
        .bind(endpoint.created_at.as_micros())
        .bind(endpoint.rotated_at.map(Timestamp::as_micros)),
        execute
    )?;
    Ok(())
}

/// Says since when deliveries to an endpoint are given up, or that they are not.
pub async fn set_failing_since(tx: &mut Tx, id: WebhookId, since: Option<Timestamp>) -> Result<(), StoreError> {
    on_either!(
        tx.writing().await?,
        sqlx::query("UPDATE webhook_endpoints SET failing_since = $2 WHERE id = $1")
            .bind(id.to_bytes().to_vec())
            .bind(since.map(Timestamp::as_micros)),
        execute
    )?;
    Ok(())
}

/// The endpoint of that id.
pub async fn find(connection: &mut Connection, id: WebhookId) -> Result<Option<WebhookRow>, StoreError> {
    let row: Option<Row> = on_either!(
        connection,
        sqlx::query_as("SELECT * FROM webhook_endpoints WHERE id = $1 AND deleted_at IS NULL")
            .bind(id.to_bytes().to_vec()),
        fetch_optional
    )?;
    row.map(WebhookRow::try_from).transpose()
}

/// A page of endpoints, of one organization or all, newest first.
pub async fn list(
    connection: &mut Connection,
    organization: Option<OrganizationId>,
    page: PageRequest<WebhookId>,
) -> Result<Page<WebhookRow>, StoreError> {
    let rows: Vec<Row> = on_either!(
        connection,
        sqlx::query_as(
            "SELECT * FROM webhook_endpoints
             WHERE deleted_at IS NULL AND ($1 IS NULL OR organization = $1) AND ($2 IS NULL OR id < $2)
             ORDER BY id DESC LIMIT $3",
        )
        .bind(organization.map(|id| id.to_bytes().to_vec()))
        .bind(page.after.map(|id| id.to_bytes().to_vec()))
        .bind(i64::from(page.limit) + 1),
        fetch_all
    )?;
    let rows = rows.into_iter().map(WebhookRow::try_from).collect::<Result<_, _>>()?;
    Ok(Page::of(rows, page.limit))
}

/// How many endpoints an organization, or the operator, has.
pub async fn count(connection: &mut Connection, organization: Option<OrganizationId>) -> Result<i64, StoreError> {
    let text = match organization {
        Some(_) => "SELECT COUNT(*) FROM webhook_endpoints WHERE organization = $1 AND deleted_at IS NULL",
        None => {
            "SELECT COUNT(*) FROM webhook_endpoints WHERE organization IS NULL AND $1 IS NULL AND deleted_at IS NULL"
        }
    };
    let id = organization.map(|id| id.to_bytes().to_vec());
    Ok(on_either!(connection, sqlx::query_scalar(text).bind(id), fetch_one)?)
}

/// Takes an endpoint away: nothing finds it any more, and its secrets are gone. It must be told in the audit log. What is
/// left of it, [`purge`] removes in small batches.
pub async fn delete(tx: &mut Tx, id: WebhookId, now: Timestamp) -> Result<(), StoreError> {
    tx.forget_what_is_known();
    on_either!(
        tx.writing().await?,
        sqlx::query("UPDATE webhook_endpoints SET deleted_at = $2, secret = $3, old_secret = NULL WHERE id = $1")
            .bind(id.to_bytes().to_vec())
            .bind(now.as_micros())
            .bind(Vec::<u8>::new()),
        execute
    )?;
    Ok(())
}

/// Removes deliveries to endpoints that were deleted, at most `limit` of them, and endpoints that have none. Returns how many
/// deliveries there were.
pub async fn purge(tx: &mut Tx, limit: u32) -> Result<u64, StoreError> {
    let removed = on_either!(
        tx.writing().await?,
        sqlx::query(
            "DELETE FROM webhook_deliveries WHERE (endpoint, event) IN
                 (SELECT endpoint, event FROM webhook_endpoints JOIN webhook_deliveries ON endpoint = id
                  WHERE deleted_at IS NOT NULL LIMIT $1)",
        )
        .bind(i64::from(limit)),
        execute
    )?;
    let endpoints = "DELETE FROM webhook_endpoints WHERE deleted_at IS NOT NULL
                     AND NOT EXISTS (SELECT 1 FROM webhook_deliveries WHERE endpoint = webhook_endpoints.id)";
    on_either!(tx.writing().await?, sqlx::query(endpoints), execute)?;
    Ok(removed)
}

/// Whether anything of endpoints that were deleted is left.
pub async fn has_deleted(connection: &mut Connection) -> Result<bool, StoreError> {
    let deleted = "SELECT deleted_at FROM webhook_endpoints WHERE deleted_at IS NOT NULL LIMIT 1";
    let found: Option<i64> = on_either!(connection, sqlx::query_scalar(deleted), fetch_optional)?;
    Ok(found.is_some())
}

/// The endpoints that may be told what happens to things of an organization, or to nobody's: those of that organization, or
/// of the operator.
pub(crate) async fn listeners(
    connection: &mut Connection,
    known: &mut Known,
    organization: Option<OrganizationId>,
) -> Result<Arc<[Listener]>, StoreError> {
    if let Some(known) = known.listeners.get(&organization) {
        return Ok(Arc::clone(known));
    }
    let text = match organization {
        Some(_) => {
            "SELECT id, events FROM webhook_endpoints
             WHERE organization = $1 AND disabled IS NULL AND deleted_at IS NULL ORDER BY id"
        }
        None => {
            "SELECT id, events FROM webhook_endpoints
             WHERE organization IS NULL AND $1 IS NULL AND disabled IS NULL AND deleted_at IS NULL ORDER BY id"
        }
    };
    let id = organization.map(|id| id.to_bytes().to_vec());
    let rows: Vec<(Vec<u8>, String)> = on_either!(connection, sqlx::query_as(text).bind(id), fetch_all)?;
    let listener = |(id, events): (Vec<u8>, String)| {
        Ok(Listener { id: WebhookId::from_u128(id_number(TABLE, &id)?), events: from_json(TABLE, &events)? })
    };
    let found: Arc<[Listener]> = rows.into_iter().map(listener).collect::<Result<_, StoreError>>()?;
    known.listeners.insert(organization, Arc::clone(&found));
    Ok(found)
}

/// Whether there is an endpoint that may be told anything.
pub(crate) async fn has_any(connection: &mut Connection, known: &mut Known) -> Result<bool, StoreError> {
    if let Some(known) = known.has_webhooks {
        return Ok(known);
    }
    let any = "SELECT created_at FROM webhook_endpoints WHERE disabled IS NULL AND deleted_at IS NULL LIMIT 1";
    let found: Option<i64> = on_either!(connection, sqlx::query_scalar(any), fetch_optional)?;
    known.has_webhooks = Some(found.is_some());
    Ok(found.is_some())
}
