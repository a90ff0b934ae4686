//! The audit log: listed, walked from its first event to its last, and written out.

use claviger_domain::audit::{Chain, FirstBad, Flaw, Head, hash_text};
use claviger_store::audit::{self, AuditFilter, AuditRow, ListedEvent};
use claviger_store::{Connection, Page, PageRequest};
use serde::Serialize;
use serde_json::value::RawValue;

use crate::{Actor, App, AppError};

/// Events that are read from the database at once.
const CHUNK_ROWS: u32 = 500;
/// Most events of one export.
pub const EXPORT_ROWS_MAX: usize = 10_000;
/// An export ends with the event that takes it past this.
const EXPORT_BYTES_MAX: usize = 4 * 1024 * 1024;

/// How far to walk along the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AuditWalk {
    /// Begins after this event, which the log must hold; [`Head::START`] is the beginning.
    pub after: Head,
    /// What the log must still hold, where the walk comes to it.
    pub expected: Option<Head>,
    /// Most events that are checked.
    pub limit: Option<u32>,
}

impl Default for AuditWalk {
    fn default() -> Self {
        Self { after: Head::START, expected: None, limit: None }
    }
}

/// What a walk along the log found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AuditVerification {
    /// How many events are as they were written, from the first of the walk on.
    pub events: i64,
    /// The last of them.
    pub head: Head,
    /// The first that is not, which ends the walk.
    pub first_bad: Option<FirstBad>,
    /// Whether the walk ended before the log did.
    pub more: bool,
}

/// A part of the log as text: one JSON object a line, oldest first.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AuditExport {
    /// The lines, each with its end.
    pub lines: String,
    /// The number of the last event in it, or the one that was asked to go on after.
    pub last: i64,
    /// Whether more follow.
    pub more: bool,
}

/// One line: the event as the very text that was hashed, and its hash in hexadecimal.
#[derive(Serialize)]
struct Line<'a> {
    event: &'a RawValue,
    hash: String,
}

impl App {
    /// Lists events, newest first. A cursor is the number of an event. Only the operator may.
    pub async fn list_audit(
        &self,
        actor: &Actor,
        filter: &AuditFilter,
        page: PageRequest<i64>,
    ) -> Result<Page<ListedEvent>, AppError> {
        actor.must_be_operator()?;
        let mut reader = self.store.read().await?;
        Ok(audit::list(&mut reader, filter, page).await?)
    }

    /// Walks along the log, as it is now, and checks every event against all before it: numbers, texts, hashes, and
    /// the columns that events are found by. With `expected`, a head that was noted down before, the log must still
    /// hold exactly that event: nothing else shows that its end was cut off or that all of it was written anew.
    ///
    /// A long log is walked in parts, each from the head of the one before.
    pub async fn verify_audit(&self, actor: &Actor, walk: AuditWalk) -> Result<AuditVerification, AppError> {
        actor.must_be_operator()?;
        let mut reader = self.store.read().await?;
        let begun = match find_flaw(&mut reader, walk.after).await? {
            Some(flaw) => Err(FirstBad { number: walk.after.number, flaw }),
            None => Chain::begin(walk.after, walk.expected),
        };
        let mut chain = match begun {
            Ok(chain) => chain,
            Err(bad) => {
                return Ok(AuditVerification { events: 0, head: walk.after, first_bad: Some(bad), more: false });
            }
        };
        // Whatever stands before the first event does not belong there.
        let mut past = if walk.after == Head::START { i64::MIN } else { walk.after.number };
        let mut left = walk.limit.map_or(i64::MAX, i64::from);
        let (first_bad, more) = loop {
            let limit = left.clamp(1, i64::from(CHUNK_ROWS)) as u32;
            let rows = audit::list_rows(&mut reader, past, limit).await?;
            let Some(last) = rows.last() else { break (chain.end().err(), false) };
            if left == 0 {
                break (None, true);
            }
            past = last.number;
            if let Some(bad) = rows.iter().find_map(|row| take(&mut chain, row).err()) {
                break (Some(bad), false);
            }
            left -= rows.len() as i64;
        };
        Ok(AuditVerification { events: chain.checked(), head: chain.head(), first_bad, more })
    }

    /// Writes out events past a number, at most `limit` and [`EXPORT_ROWS_MAX`] of them. Only the operator may.
    pub async fn export_audit(&self, actor: &Actor, after: i64, limit: usize) -> Result<AuditExport, AppError> {
        actor.must_be_operator()?;
        let mut reader = self.store.read().await?;
        let limit = limit.min(EXPORT_ROWS_MAX);
        let mut export = AuditExport { lines: String::new(), last: after, more: true };
        let mut written = 0;
        while export.more {
            let rows = audit::list_rows(&mut reader, export.last, CHUNK_ROWS).await?;
            export.more = !rows.is_empty();
            for row in rows {
                if written == limit || export.lines.len() >= EXPORT_BYTES_MAX {
                    return Ok(export);
                }
                export.lines.push_str(&line(&row)?);
                export.lines.push('\n');
                export.last = row.number;
                written += 1;
            }
        }
        Ok(export)
    }
}

/// What is wrong with an event that the log is said to hold.
async fn find_flaw(reader: &mut Connection, said: Head) -> Result<Option<Flaw>, AppError> {
    if said == Head::START {
        return Ok(None);
    }
    let found = audit::list_rows(reader, said.number - 1, 1).await?;
    Ok(match found.first() {
        None => Some(Flaw::CutOff),
        Some(row) if row.number != said.number => Some(Flaw::Missing),
        Some(row) if row.hash != said.hash => Some(Flaw::NotAsNoted),
        Some(_) => None,
    })
}

fn take(chain: &mut Chain, row: &AuditRow) -> Result<(), FirstBad> {
    let number = chain.head().number + 1;
    chain.take(row.number, &row.body, &row.hash)?;
    if row.columns_agree { Ok(()) } else { Err(FirstBad { number, flaw: Flaw::Columns }) }
}

/// A text that is not one line of JSON was not written by Claviger; it is shown as a JSON string, which is no event.
fn line(row: &AuditRow) -> Result<String, AppError> {
    let broken = |error: serde_json::Error| AppError::Internal { context: format!("audit event: {error}") };
    let is_one_line = !row.body.contains(['\n', '\r']);
    let event = match serde_json::from_str::<&RawValue>(&row.body) {
        // Without blanks around it, which would be lost.
        Ok(event) if is_one_line && event.get() == row.body => event.to_owned(),
        _ => serde_json::value::to_raw_value(&row.body).map_err(broken)?,
    };
    serde_json::to_string(&Line { event: &event, hash: hash_text(&row.hash) }).map_err(broken)
}
