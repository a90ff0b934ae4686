//! The table of mails on their way.

use claviger_domain::id::MailId;
use claviger_domain::time::Timestamp;
use claviger_domain::webhook::DeliveryState;

use crate::dialect::on_either;
use crate::row::{id_number, time, word};
use crate::{Connection, StoreError, Tx};

const TABLE: &str = "mails";

/// A mail on its way, or gone, or given up.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MailRow {
    /// Its id.
    pub id: MailId,
    /// The mail, encrypted, while it is pending.
    pub content: Option<Vec<u8>>,
    /// What became of it.
    pub state: DeliveryState,
    /// How often it was tried.
    pub attempts: i64,
    /// When it is next tried, while it is pending.
    pub next_at: Option<Timestamp>,
    /// When it was queued.
    pub created_at: Timestamp,
    /// When it went or was given up.
    pub finished_at: Option<Timestamp>,
    /// Why the last attempt failed.
    pub reason: Option<String>,
}

#[derive(sqlx::FromRow)]
struct Row {
    id: Vec<u8>,
    content: Option<Vec<u8>>,
    state: String,
    attempts: i64,
    next_at: Option<i64>,
    created_at: i64,
    finished_at: Option<i64>,
    reason: Option<String>,
}

impl TryFrom<Row> for MailRow {
    type Error = StoreError;

    fn try_from(row: Row) -> Result<Self, StoreError> {
        Ok(Self {
            id: MailId::from_u128(id_number(TABLE, &row.id)?),
            content: row.content,
            state: word(TABLE, &row.state)?,
            attempts: row.attempts,
            next_at: time(row.next_at),
            created_at: Timestamp::from_micros(row.created_at),
            finished_at: time(row.finished_at),
            reason: row.reason,
        })
    }
}

/// Queues a mail.
pub async fn create(tx: &mut Tx, id: MailId, content: Vec<u8>, now: Timestamp) -> Result<(), StoreError> {
    tx.fill_outbox();
    on_either!(
        tx.writing().await?,
        sqlx::query(
            "INSERT INTO mails (id, content, state, attempts, next_at, created_at) VALUES ($1, $2, 'pending', 0, $3, $3)"
        )
        .bind(id.to_bytes().to_vec())
        .bind(content)
        .bind(now.as_micros()),
        execute
    )?;
    Ok(())
}

/// How many wait.
pub async fn count_pending(connection: &mut Connection) -> Result<i64, StoreError> {
    let count = "SELECT COUNT(*) FROM mails WHERE next_at IS NOT NULL";
    Ok(on_either!(connection, sqlx::query_scalar(count), fetch_one)?)
}

/// The mail of that id.
pub async fn find(connection: &mut Connection, id: MailId) -> Result<Option<MailRow>, StoreError> {
    let row: Option<Row> = on_either!(
        connection,
        sqlx::query_as("SELECT * FROM mails WHERE id = $1").bind(id.to_bytes().to_vec()),
        fetch_optional
    )?;
    row.map(MailRow::try_from).transpose()
}

/// Those that are due, the longest due first, at most `limit`.
pub async fn list_due(connection: &mut Connection, now: Timestamp, limit: u32) -> Result<Vec<MailRow>, StoreError> {
    let rows: Vec<Row> = on_either!(
        connection,
        sqlx::query_as("SELECT * FROM mails WHERE next_at <= $1 ORDER BY next_at, id LIMIT $2")
            .bind(now.as_micros())
            .bind(i64::from(limit)),
        fetch_all
    )?;
    rows.into_iter().map(MailRow::try_from).collect()
}

/// Writes what became of a mail that was pending.
pub async fn update(tx: &mut Tx, mail: &MailRow) -> Result<(), StoreError> {
    on_either!(
        tx.writing().await?,
        sqlx::query(
            "UPDATE mails SET content = $2, state = $3, attempts = $4, next_at = $5, finished_at = $6, reason = $7
             WHERE id = $1 AND next_at IS NOT NULL",
        )
        .bind(mail.id.to_bytes().to_vec())
        .bind(mail.content.as_deref())
        .bind(mail.state.as_str())
        .bind(mail.attempts)
        .bind(mail.next_at.map(Timestamp::as_micros))
        .bind(mail.finished_at.map(Timestamp::as_micros))
        .bind(mail.reason.as_deref()),
        execute
    )?;
    Ok(())
}

/// Forgets mails that were over before an instant, at most `limit` of them. Returns how many.
pub async fn forget_finished(tx: &mut Tx, before: Timestamp, limit: u32) -> Result<u64, StoreError> {
    let deleted = on_either!(
        tx.writing().await?,
        sqlx::query(
            "DELETE FROM mails WHERE id IN
                 (SELECT id FROM mails WHERE finished_at < $1 ORDER BY finished_at LIMIT $2)",
        )
        .bind(before.as_micros())
        .bind(i64::from(limit)),
        execute
    )?;
    Ok(deleted)
}
