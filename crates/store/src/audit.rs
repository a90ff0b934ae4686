//! The table of audit events: appended to by [`crate::Tx::commit`] only, and never altered.

use claviger_domain::audit::{Action, AuditEvent, Author, Head, chain_hash};
use claviger_domain::id::OrganizationId;
use claviger_domain::time::Timestamp;

use crate::dialect::on_either;
use crate::row::from_json;
use crate::{Connection, Page, PageRequest, StoreError, rows};

const TABLE: &str = "audit";

/// An event as it stands in the table, checked or not.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AuditRow {
    /// Its number.
    pub number: i64,
    /// The text that was hashed.
    pub body: String,
    /// The hash.
    pub hash: Vec<u8>,
    /// Whether the columns that it is found by agree with the text.
    pub columns_agree: bool,
}

/// A place in the list.
#[derive(Clone, PartialEq, Debug)]
pub enum ListedEvent {
    /// What its text says.
    Event(Box<AuditEvent>),
    /// Its text is not that of an event with this number. Verification tells more.
    Unreadable {
        /// The number.
        number: i64,
    },
}

impl ListedEvent {
    /// Its number.
    pub fn number(&self) -> i64 {
        match self {
            Self::Event(event) => event.number,
            Self::Unreadable { number } => *number,
        }
    }

    /// What its text says, where that can be read.
    pub fn event(self) -> Option<AuditEvent> {
        match self {
            Self::Event(event) => Some(*event),
            Self::Unreadable { .. } => None,
        }
    }
}

/// Which events to list. What is `None` does not matter.
#[derive(Clone, Debug, Default)]
pub struct AuditFilter {
    /// Of this organization's things.
    pub organization: Option<OrganizationId>,
    /// Done by this actor.
    pub actor: Option<Author>,
    /// Of this sort.
    pub action: Option<Action>,
    /// Done to this target.
    pub target: Option<String>,
    /// At this instant or later.
    pub since: Option<Timestamp>,
    /// Before this instant.
    pub until: Option<Timestamp>,
}

/// Appends events in order to the log that ends there, numbering and chaining them. Returns the new end.
pub(crate) async fn append(
    connection: &mut Connection,
    mut head: Head,
    events: Vec<AuditEvent>,
) -> Result<Head, StoreError> {
    let mut values = Vec::with_capacity(events.len());
    for mut event in events {
        event.number = head.number + 1;
        let body = event.to_body();
        head = Head { number: event.number, hash: chain_hash(&head.hash, &body) };
        values.push(vec![
            event.number.into(),
            event.at.as_micros().into(),
            event.actor.to_string().into(),
            event.action.as_str().into(),
            event.target.into(),
            rows::Value::Bytes(event.organization.map(|id| id.to_bytes().to_vec())),
            body.into(),
            head.hash.to_vec().into(),
        ]);
    }
    let columns = "INSERT INTO audit (number, at, actor, action, target, organization, body, hash)";
    rows::write(connection, columns, "", values).await?;
    Ok(head)
}

/// The end of the chain.
pub async fn find_head(connection: &mut Connection) -> Result<Head, StoreError> {
    let last: Option<(i64, Vec<u8>)> = on_either!(
        connection,
        sqlx::query_as("SELECT number, hash FROM audit ORDER BY number DESC LIMIT 1"),
        fetch_optional
    )?;
    let Some((number, hash)) = last else { return Ok(Head::START) };
    let hash =
        hash.try_into().map_err(|_| StoreError::Row { table: TABLE, reason: "a hash of another length".to_owned() })?;
    Ok(Head { number, hash })
}

/// The same list for each index that can lead to it, so that each has a query plan of its own: the query says for certain
/// that one column is given.
macro_rules! list_events {
    ($place:literal) => {
        concat!(
            "SELECT number, body FROM audit WHERE ",
            $place,
            " AND ($1 IS NULL OR organization = $1)
              AND (CAST($2 AS TEXT) IS NULL OR actor = $2)
              AND (CAST($3 AS TEXT) IS NULL OR action = $3)
              AND (CAST($4 AS TEXT) IS NULL OR target = $4)
              AND (CAST($5 AS BIGINT) IS NULL OR at >= $5)
              AND (CAST($6 AS BIGINT) IS NULL OR at < $6)
              AND number < $7
            ORDER BY number DESC LIMIT $8"
        )
    };
}

/// A page of events, newest first. An event that cannot be read is there with its number: it is others that are looked for.
pub async fn list(
    connection: &mut Connection,
    filter: &AuditFilter,
    page: PageRequest<i64>,
) -> Result<Page<ListedEvent>, StoreError> {
    // What is done to one thing is little, and what one actor does mostly less than what an organization is told.
    let query = match (&filter.target, filter.actor, filter.organization) {
        (Some(_), _, _) => list_events!("target = $4"),
        (None, Some(_), _) => list_events!("actor = $2"),
        (None, None, Some(_)) => list_events!("organization = $1"),
        (None, None, None) => list_events!("TRUE"),
    };
    let rows: Vec<(i64, String)> = on_either!(
        connection,
        sqlx::query_as(query)
            .bind(filter.organization.map(|id| id.to_bytes().to_vec()))
            .bind(filter.actor.map(|actor| actor.to_string()))
            .bind(filter.action.map(Action::as_str))
            .bind(filter.target.as_deref())
            .bind(filter.since.map(Timestamp::as_micros))
            .bind(filter.until.map(Timestamp::as_micros))
            .bind(page.after.unwrap_or(i64::MAX))
            .bind(i64::from(page.limit) + 1),
        fetch_all
    )?;
    let listed = |(number, body): (i64, String)| match from_json::<AuditEvent>(TABLE, &body) {
        Ok(event) if event.number == number => ListedEvent::Event(Box::new(event)),
        _ => ListedEvent::Unreadable { number },
    };
    Ok(Page::of(rows.into_iter().map(listed).collect(), page.limit))
}

type Columns = (i64, i64, String, String, String, Option<Vec<u8>>, String, Vec<u8>);

/// Events past a number, oldest first, at most `limit` of them, as they stand.
pub async fn list_rows(connection: &mut Connection, past: i64, limit: u32) -> Result<Vec<AuditRow>, StoreError> {
    let rows: Vec<Columns> = on_either!(
        connection,
        sqlx::query_as(
            "SELECT number, at, actor, action, target, organization, body, hash FROM audit
             WHERE number > $1 ORDER BY number LIMIT $2"
        )
        .bind(past)
        .bind(i64::from(limit)),
        fetch_all
    )?;
    let row = |(number, at, actor, action, target, organization, body, hash): Columns| {
        let columns_agree = from_json::<AuditEvent>(TABLE, &body).is_ok_and(|event| {
            event.number == number
                && event.at.as_micros() == at
                && event.actor.to_string() == actor
                && event.action.as_str() == action
                && event.target == target
                && event.organization.map(|id| id.to_bytes().to_vec()) == organization
        });
        AuditRow { number, body, hash, columns_agree }
    };
    Ok(rows.into_iter().map(row).collect())
}
