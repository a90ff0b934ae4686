//! The tables of events on their way to webhook endpoints, and of each attempt to bring one there.

use claviger_domain::event::{Event, EventType};
use claviger_domain::id::{EventId, WebhookId};
use claviger_domain::time::Timestamp;
use claviger_domain::webhook::DeliveryState;

use crate::dialect::on_either;
use crate::known::Known;
use crate::row::{id_number, time, word};
use crate::rows::{self, Value};
use crate::{Connection, Page, PageRequest, StoreError, Tx, webhooks};

const TABLE: &str = "webhook_deliveries";

/// An event on its way to an endpoint, or arrived, or given up.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Delivery {
    /// Where to.
    pub endpoint: WebhookId,
    /// Which event.
    pub event: EventId,
    /// What happened.
    pub kind: EventType,
    /// What is sent.
    pub body: String,
    /// What became of it.
    pub state: DeliveryState,
    /// Attempts since it was queued.
    pub round: i64,
    /// All attempts.
    pub attempts: i64,
    /// When the next is due, while it is pending.
    pub next_at: Option<Timestamp>,
    /// When it was first queued.
    pub created_at: Timestamp,
    /// When it arrived or was given up.
    pub finished_at: Option<Timestamp>,
    /// Why it was given up.
    pub reason: Option<String>,
}

/// One attempt.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Attempt {
    /// Its number, counted from one.
    pub number: i64,
    /// When it began.
    pub at: Timestamp,
    /// How long it took.
    pub milliseconds: i64,
    /// What was answered.
    pub status: Option<i64>,
    /// Why nothing was.
    pub reason: Option<String>,
    /// The beginning of what came with the status.
    pub answer: Option<String>,
}

/// Which deliveries to an endpoint to make once more. What is `None` does not matter.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Replay {
    /// Of this event, whatever became of it.
    pub event: Option<EventId>,
    /// Queued at this instant or later.
    pub since: Option<Timestamp>,
    /// Queued before this instant.
    pub until: Option<Timestamp>,
    /// Only those of which this became. Without an event, what is pending stays as it is.
    pub state: Option<DeliveryState>,
}

#[derive(sqlx::FromRow)]
struct Row {
    endpoint: Vec<u8>,
    event: Vec<u8>,
    event_type: String,
    body: String,
    state: String,
    round: i64,
    attempts: i64,
    next_at: Option<i64>,
    created_at: i64,
    finished_at: Option<i64>,
    reason: Option<String>,
}

impl TryFrom<Row> for Delivery {
    type Error = StoreError;

    fn try_from(row: Row) -> Result<Self, StoreError> {
        Ok(Self {
            endpoint: WebhookId::from_u128(id_number(TABLE, &row.endpoint)?),
            event: EventId::from_u128(id_number(TABLE, &row.event)?),
            kind: word(TABLE, &row.event_type)?,
            body: row.body,
            state: word(TABLE, &row.state)?,
            round: row.round,
            attempts: row.attempts,
            next_at: time(row.next_at),
            created_at: Timestamp::from_micros(row.created_at),
            finished_at: time(row.finished_at),
            reason: row.reason,
        })
    }
}

fn pending(endpoint: WebhookId, event: &Event, body: &str) -> Vec<Value> {
    vec![
        endpoint.to_bytes().to_vec().into(),
        event.id.to_bytes().to_vec().into(),
        event.kind.as_str().into(),
        body.into(),
        DeliveryState::Pending.as_str().into(),
        0.into(),
        0.into(),
        event.at.as_micros().into(),
        event.at.as_micros().into(),
    ]
}

const INSERT: &str = "INSERT INTO webhook_deliveries
    (endpoint, event, event_type, body, state, round, attempts, next_at, created_at)";

/// Queues events for the endpoints that want them. Returns how many deliveries that makes.
pub(crate) async fn insert(
    connection: &mut Connection,
    known: &mut Known,
    events: Vec<Event>,
) -> Result<usize, StoreError> {
    if !webhooks::has_any(connection, known).await? {
        return Ok(0);
    }
    let mut queued = Vec::new();
    for event in events {
        let mut body = None;
        // Nobody's things are the operator's alone.
        for organization in [event.organization.map(Some), Some(None)].into_iter().flatten() {
            for listener in webhooks::listeners(connection, known, organization).await?.iter() {
                if listener.wants(event.kind) {
                    queued.push(pending(listener.id, &event, body.get_or_insert_with(|| event.to_body())));
                }
            }
        }
    }
    let count = queued.len();
    rows::write(connection, INSERT, "", queued).await?;
    Ok(count)
}

/// Queues an event for one endpoint, whatever it wants.
pub async fn create(tx: &mut Tx, endpoint: WebhookId, event: &Event) -> Result<(), StoreError> {
    tx.fill_outbox();
    let row = pending(endpoint, event, &event.to_body());
    rows::write(tx.writing().await?, INSERT, "", vec![row]).await?;
    Ok(())
}

/// When the next attempt of any is due.
pub async fn find_next_due(connection: &mut Connection) -> Result<Option<Timestamp>, StoreError> {
    let next = "SELECT MIN(next_at) FROM webhook_deliveries WHERE next_at IS NOT NULL";
    let found: Option<i64> = on_either!(connection, sqlx::query_scalar(next), fetch_one)?;
    Ok(time(found))
}

/// Endpoints to which something is due, in the order of their ids, past one of them, at most `limit`.
pub async fn list_due_endpoints(
    connection: &mut Connection,
    now: Timestamp,
    past: Option<WebhookId>,
    limit: u32,
) -> Result<Vec<WebhookId>, StoreError> {
    let rows: Vec<Vec<u8>> = on_either!(
        connection,
        sqlx::query_scalar(
            "SELECT id FROM webhook_endpoints
             WHERE deleted_at IS NULL AND ($1 IS NULL OR id > $1)
               AND EXISTS (SELECT 1 FROM webhook_deliveries WHERE endpoint = id AND next_at <= $2)
             ORDER BY id LIMIT $3",
        )
        .bind(past.map(|id| id.to_bytes().to_vec()))
        .bind(now.as_micros())
        .bind(i64::from(limit)),
        fetch_all
    )?;
    rows.iter().map(|id| Ok(WebhookId::from_u128(id_number(TABLE, id)?))).collect()
}

/// What is due to an endpoint, the longest due first, at most `limit`.
pub async fn list_due(
    connection: &mut Connection,
    endpoint: WebhookId,
    now: Timestamp,
    limit: u32,
) -> Result<Vec<Delivery>, StoreError> {
    let rows: Vec<Row> = on_either!(
        connection,
        sqlx::query_as(
            "SELECT * FROM webhook_deliveries WHERE endpoint = $1 AND next_at <= $2 ORDER BY next_at, event LIMIT $3",
        )
        .bind(endpoint.to_bytes().to_vec())
        .bind(now.as_micros())
        .bind(i64::from(limit)),
        fetch_all
    )?;
    rows.into_iter().map(Delivery::try_from).collect()
}

/// Writes what an attempt made of a delivery that was pending after so many attempts; without an attempt, what was decided
/// about it. False if it is not as it was: somebody else has decided, and nothing is written.
pub async fn update(
    tx: &mut Tx,
    attempts_before: i64,
    delivery: &Delivery,
    attempt: Option<&Attempt>,
) -> Result<bool, StoreError> {
    let (endpoint, event) = (delivery.endpoint.to_bytes().to_vec(), delivery.event.to_bytes().to_vec());
    let updated = on_either!(
        tx.writing().await?,
        sqlx::query(
            "UPDATE webhook_deliveries SET state = $3, round = $4, attempts = $5, next_at = $6, finished_at = $7, reason = $8
             WHERE endpoint = $1 AND event = $2 AND attempts = $9 AND next_at IS NOT NULL",
        )
        .bind(&endpoint)
        .bind(&event)
        .bind(delivery.state.as_str())
        .bind(delivery.round)
        .bind(delivery.attempts)
        .bind(delivery.next_at.map(Timestamp::as_micros))
        .bind(delivery.finished_at.map(Timestamp::as_micros))
        .bind(delivery.reason.as_deref())
        .bind(attempts_before),
        execute
    )?;
    let Some(attempt) = attempt.filter(|_| updated > 0) else { return Ok(updated > 0) };
    on_either!(
        tx.writing().await?,
        sqlx::query(
            "INSERT INTO webhook_attempts (endpoint, event, number, at, milliseconds, status, reason, answer)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        )
        .bind(&endpoint)
        .bind(&event)
        .bind(attempt.number)
        .bind(attempt.at.as_micros())
        .bind(attempt.milliseconds)
        .bind(attempt.status)
        .bind(attempt.reason.as_deref())
        .bind(attempt.answer.as_deref()),
        execute
    )?;
    Ok(true)
}

/// The endpoints for which more than so many deliveries wait, with how many do.
pub async fn list_overfull(connection: &mut Connection, most: i64) -> Result<Vec<(WebhookId, i64)>, StoreError> {
    let rows: Vec<(Vec<u8>, i64)> = on_either!(
        connection,
        sqlx::query_as(
            "SELECT endpoint, COUNT(*) FROM webhook_deliveries WHERE next_at IS NOT NULL
             GROUP BY endpoint HAVING COUNT(*) > $1 ORDER BY endpoint",
        )
        .bind(most),
        fetch_all
    )?;
    rows.into_iter().map(|(id, count)| Ok((WebhookId::from_u128(id_number(TABLE, &id)?), count))).collect()
}

/// Gives up the oldest deliveries that wait for an endpoint, so many of them.
pub async fn fail_oldest(
    tx: &mut Tx,
    endpoint: WebhookId,
    count: u32,
    reason: &str,
    now: Timestamp,
) -> Result<u64, StoreError> {
    let failed = on_either!(
        tx.writing().await?,
        sqlx::query(
            "UPDATE webhook_deliveries SET state = 'failed', next_at = NULL, finished_at = $3, reason = $4
             WHERE endpoint = $1 AND event IN
                 (SELECT event FROM webhook_deliveries WHERE endpoint = $1 AND next_at IS NOT NULL
                  ORDER BY event LIMIT $2)",
        )
        .bind(endpoint.to_bytes().to_vec())
        .bind(i64::from(count))
        .bind(now.as_micros())
        .bind(reason),
        execute
    )?;
    Ok(failed)
}

/// A page of deliveries to an endpoint, newest first.
pub async fn list(
    connection: &mut Connection,
    endpoint: WebhookId,
    state: Option<DeliveryState>,
    page: PageRequest<EventId>,
) -> Result<Page<Delivery>, StoreError> {
    let rows: Vec<Row> = on_either!(
        connection,
        sqlx::query_as(
            "SELECT * FROM webhook_deliveries
             WHERE endpoint = $1 AND (CAST($2 AS TEXT) IS NULL OR state = $2) AND ($3 IS NULL OR event < $3)
             ORDER BY event DESC LIMIT $4",
        )
        .bind(endpoint.to_bytes().to_vec())
        .bind(state.map(DeliveryState::as_str))
        .bind(page.after.map(|id| id.to_bytes().to_vec()))
        .bind(i64::from(page.limit) + 1),
        fetch_all
    )?;
    let rows = rows.into_iter().map(Delivery::try_from).collect::<Result<_, _>>()?;
    Ok(Page::of(rows, page.limit))
}

/// The delivery of an event to an endpoint.
pub async fn find(
    connection: &mut Connection,
    endpoint: WebhookId,
    event: EventId,
) -> Result<Option<Delivery>, StoreError> {
    let row: Option<Row> = on_either!(
        connection,
        sqlx::query_as("SELECT * FROM webhook_deliveries WHERE endpoint = $1 AND event = $2")
            .bind(endpoint.to_bytes().to_vec())
            .bind(event.to_bytes().to_vec()),
        fetch_optional
    )?;
    row.map(Delivery::try_from).transpose()
}

type AttemptColumns = (i64, i64, i64, Option<i64>, Option<String>, Option<String>);

/// The attempts to deliver an event to an endpoint, newest first, at most `limit`.
pub async fn list_attempts(
    connection: &mut Connection,
    endpoint: WebhookId,
    event: EventId,
    limit: u32,
) -> Result<Vec<Attempt>, StoreError> {
    let rows: Vec<AttemptColumns> = on_either!(
        connection,
        sqlx::query_as(
            "SELECT number, at, milliseconds, status, reason, answer FROM webhook_attempts
             WHERE endpoint = $1 AND event = $2 ORDER BY number DESC LIMIT $3",
        )
        .bind(endpoint.to_bytes().to_vec())
        .bind(event.to_bytes().to_vec())
        .bind(i64::from(limit)),
        fetch_all
    )?;
    let attempt = |(number, at, milliseconds, status, reason, answer): AttemptColumns| Attempt {
        number,
        at: Timestamp::from_micros(at),
        milliseconds,
        status,
        reason,
        answer,
    };
    Ok(rows.into_iter().map(attempt).collect())
}

/// Queues deliveries to an endpoint once more, the oldest first, at most `limit` of them. Returns how many.
pub async fn replay(
    tx: &mut Tx,
    endpoint: WebhookId,
    which: &Replay,
    now: Timestamp,
    limit: u32,
) -> Result<u64, StoreError> {
    tx.fill_outbox();
    let queued = on_either!(
        tx.writing().await?,
        sqlx::query(
            "UPDATE webhook_deliveries
             SET state = 'pending', round = 0, next_at = $2, finished_at = NULL, reason = NULL
             WHERE endpoint = $1 AND event IN
                 (SELECT event FROM webhook_deliveries
                  WHERE endpoint = $1 AND ($3 IS NULL OR event = $3) AND ($3 IS NOT NULL OR state <> 'pending')
                    AND (CAST($4 AS BIGINT) IS NULL OR created_at >= $4)
                    AND (CAST($5 AS BIGINT) IS NULL OR created_at < $5)
                    AND (CAST($6 AS TEXT) IS NULL OR state = $6)
                  ORDER BY event LIMIT $7)",
        )
        .bind(endpoint.to_bytes().to_vec())
        .bind(now.as_micros())
        .bind(which.event.map(|id| id.to_bytes().to_vec()))
        .bind(which.since.map(Timestamp::as_micros))
        .bind(which.until.map(Timestamp::as_micros))
        .bind(which.state.map(DeliveryState::as_str))
        .bind(i64::from(limit)),
        execute
    )?;
    Ok(queued)
}

/// Forgets deliveries that were over before an instant, with their attempts, at most `limit` of them. Returns how many.
pub async fn forget_finished(tx: &mut Tx, before: Timestamp, limit: u32) -> Result<u64, StoreError> {
    let deleted = on_either!(
        tx.writing().await?,
        sqlx::query(
            "DELETE FROM webhook_deliveries WHERE (endpoint, event) IN
                 (SELECT endpoint, event FROM webhook_deliveries WHERE finished_at < $1 ORDER BY finished_at LIMIT $2)",
        )
        .bind(before.as_micros())
        .bind(i64::from(limit)),
        execute
    )?;
    Ok(deleted)
}
