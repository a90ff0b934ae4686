//! Usage for other programs: CSV for people with a spreadsheet, NDJSON, and CloudEvents for whoever writes the bill.
//!
//! Only hours that are closed and written down are in an export, so what was exported once is exported the same way
//! again. An event's id is made of what it counts and of nothing else: a meter that takes it in twice bills once.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::ops::Range;
use std::str::FromStr;

use claviger_domain::day::Month;
use claviger_domain::id::{KeyId, OrganizationId};
use claviger_domain::key::{ApiName, WordError};
use claviger_domain::limits;
use claviger_domain::organization::Organization;
use claviger_domain::period::TimeZone;
use claviger_domain::time::Timestamp;
use claviger_store::usage_reports::{ExportPart, ExportRow, UsageAccount, find_account, list_accounts, list_export};
use claviger_store::{Connection, apis, keys, organizations};
use serde::Serialize;

use super::Place;
use super::report::{Whereabouts, start_of};
use crate::{Actor, App, AppError};

/// An export ends with the row that takes it past this.
const BYTES_MAX: usize = 4 * 1024 * 1024;
const ROWS_AT_ONCE: u32 = 1000;
/// What spreadsheets take for the beginning of a formula, the wide forms of East Asian input included.
const FORMULA_BEGINNINGS: [char; 10] = ['=', '+', '-', '@', '\t', '\r', '\u{ff1d}', '\u{ff0b}', '\u{ff0d}', '\u{ff20}'];
/// What the first line of a CSV export says.
pub const CSV_HEAD: &str = "start,end,organization,organization_name,api,key,key_name,scope,outcome,count\r\n";

/// How an export is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ExportFormat {
    /// Comma-separated values (RFC 4180).
    Csv,
    /// A JSON object a line.
    Ndjson,
    /// A CloudEvent 1.0 a line, of what is billable.
    CloudEvents,
}

impl ExportFormat {
    /// The word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Csv => "csv",
            Self::Ndjson => "ndjson",
            Self::CloudEvents => "cloudevents",
        }
    }
}

impl FromStr for ExportFormat {
    type Err = WordError;

    fn from_str(text: &str) -> Result<Self, WordError> {
        let all = [Self::Csv, Self::Ndjson, Self::CloudEvents];
        all.into_iter().find(|format| format.as_str() == text).ok_or(WordError("csv, ndjson, cloudevents"))
    }
}

/// What to export.
#[derive(Clone, Debug)]
pub struct ExportQuery {
    /// How it is written.
    pub format: ExportFormat,
    /// Only of this organization.
    pub organization: Option<OrganizationId>,
    /// Only of this api.
    pub api: Option<ApiName>,
    /// Of when.
    pub range: ExportRange,
    /// Where the part before ended.
    pub after: Option<ExportCursor>,
    /// Most rows, and never more than [`limits::USAGE_EXPORT_ROWS_MAX`].
    pub limit: u32,
}

/// Of when an export is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ExportRange {
    /// Of the billing period of each organization that begins in a month.
    Period(Month),
    /// From one instant up to another; up to the last hour that is closed when left out.
    Between {
        /// On a whole hour.
        from: Timestamp,
        /// On a whole hour.
        to: Option<Timestamp>,
    },
}

/// Where an export goes on: in an account, after a row of it if one was exported already.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ExportCursor {
    place: Place,
    row: Option<(i64, KeyId, String, String)>,
}

/// The text is no cursor.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("is not the cursor of an export")]
pub struct ExportCursorError;

impl std::fmt::Display for ExportCursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}~{}", self.place.0, self.place.1)?;
        match &self.row {
            Some((start, key, scope, outcome)) => write!(f, "~{start}~{key}~{scope}~{outcome}"),
            None => Ok(()),
        }
    }
}

impl FromStr for ExportCursor {
    type Err = ExportCursorError;

    fn from_str(text: &str) -> Result<Self, ExportCursorError> {
        fn part<T: FromStr>(text: &str) -> Result<T, ExportCursorError> {
            text.parse().map_err(|_| ExportCursorError)
        }
        let is_word = |text: &str| text.len() <= 64 && text.bytes().all(|byte| byte.is_ascii_graphic());
        match text.split('~').collect::<Vec<_>>()[..] {
            [organization, api] => Ok(Self { place: (part(organization)?, part(api)?), row: None }),
            [organization, api, start, key, scope, outcome] if is_word(scope) && is_word(outcome) => {
                let row = (part(start)?, part(key)?, scope.to_owned(), outcome.to_owned());
                Ok(Self { place: (part(organization)?, part(api)?), row: Some(row) })
            }
            _ => Err(ExportCursorError),
        }
    }
}

/// A part of an export as text.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UsageExport {
    /// The lines, each with its end. The first part of CSV begins with a head.
    pub lines: String,
    /// Where to go on, if there is more.
    pub next: Option<ExportCursor>,
}

/// A row as NDJSON has it.
#[derive(Serialize)]
struct Line<'a> {
    start: Timestamp,
    end: Timestamp,
    organization: OrganizationId,
    organization_name: &'a str,
    api: &'a str,
    key: KeyId,
    key_name: Option<&'a str>,
    scope: &'a str,
    outcome: &'a str,
    count: i64,
}

/// CloudEvents 1.0, in the JSON format.
#[derive(Serialize)]
struct CloudEvent<'a> {
    specversion: &'static str,
    id: String,
    source: String,
    r#type: &'static str,
    subject: OrganizationId,
    time: Timestamp,
    datacontenttype: &'static str,
    data: EventData<'a>,
}

#[derive(Serialize)]
struct EventData<'a> {
    organization: OrganizationId,
    api: &'a str,
    key: KeyId,
    scope: &'a str,
    start: Timestamp,
    end: Timestamp,
    units: i64,
}

impl App {
    /// Exports usage of live keys, by organization, api, hour, key, scope and outcome. What is no longer kept by the hour is
    /// exported by the day, but for events: two exports of the same must be the same. Only the operator may.
    pub async fn export_usage(&self, actor: &Actor, query: &ExportQuery) -> Result<UsageExport, AppError> {
        actor.must_be_operator()?;
        let closed = self.close_usage().await?;
        let deployment = self.deployment_id().await?;
        let mut export = UsageExport { lines: String::new(), next: None };
        if query.format == ExportFormat::Csv && query.after.is_none() {
            export.lines.push_str(CSV_HEAD);
        }
        let mut left = query.limit.min(limits::USAGE_EXPORT_ROWS_MAX);
        let mut reader = self.store.read().await?;
        must_exist(&mut reader, query).await?;
        let mut resumed = query.after.clone();
        let mut after: Option<Place> = None;
        loop {
            let mut begun = None;
            let account = if let Some(cursor) = resumed.take() {
                begun = cursor.row;
                let account = find_account(&mut reader, &cursor.place).await?;
                account.ok_or(AppError::invalid("cursor", ExportCursorError.to_string()))?
            } else {
                let of = (query.organization, query.api.as_ref());
                let mut next = list_accounts(&mut reader, of, after.as_ref(), 1).await?;
                let Some(next) = next.pop() else { return Ok(export) };
                next
            };
            let place: Place = (account.organization, account.api.clone());
            after = Some(place.clone());
            let Some(organization) = organizations::find(&mut reader, place.0).await? else { continue };
            let range = export_range(&mut reader, &organization, &account, query, closed).await?;
            let is_billable_only = query.format == ExportFormat::CloudEvents;
            let mut part = ExportPart { account: place.clone(), range, is_billable_only, after: begun };
            loop {
                if left == 0 || export.lines.len() >= BYTES_MAX {
                    export.next = Some(ExportCursor { place, row: part.after });
                    return Ok(export);
                }
                let rows = list_export(&mut reader, &part, left.min(ROWS_AT_ONCE)).await?;
                let Some(last) = rows.last() else { break };
                part.after = Some((last.start, last.key, last.scope.clone(), last.outcome.clone()));
                left -= rows.len() as u32;
                let writer = Writer { organization: &organization, account: &account, deployment };
                writer.write(&mut reader, query.format, &rows, &mut export.lines).await?;
            }
        }
    }

    /// Writes what was counted. Returns the first hour that is still open, or not written yet.
    async fn close_usage(&self) -> Result<i64, AppError> {
        self.flush_usage().await?;
        let unwritten = self.ledger.unwritten.lock().await;
        let pending = unwritten.pending.keys().map(|bucket| bucket.hour).min();
        let closed = unwritten.closed_through + 1;
        Ok(pending.map_or(closed, |hour| hour.min(closed)))
    }

    /// What tells this deployment from every other.
    async fn deployment_id(&self) -> Result<[u8; 16], AppError> {
        let identify = async || {
            let mut candidate = [0; 16];
            self.entropy.fill(&mut candidate);
            self.store.identify(candidate).await
        };
        Ok(*self.ledger.deployment.get_or_try_init(identify).await?)
    }
}

async fn must_exist(reader: &mut Connection, query: &ExportQuery) -> Result<(), AppError> {
    if let Some(id) = query.organization {
        organizations::find(reader, id).await?.ok_or(AppError::NotFound { what: "organization" })?;
    }
    let is_asked = |cursor: &ExportCursor| {
        query.organization.is_none_or(|id| id == cursor.place.0)
            && query.api.as_ref().is_none_or(|api| *api == cursor.place.1)
    };
    if !query.after.as_ref().is_none_or(is_asked) {
        return Err(AppError::invalid("cursor", ExportCursorError.to_string()));
    }
    if let Some(api) = &query.api {
        apis::find(reader, api).await?.ok_or(AppError::NotFound { what: "API" })?;
    }
    Ok(())
}

/// The hours to export of an account.
async fn export_range(
    reader: &mut Connection,
    organization: &Organization,
    account: &UsageAccount,
    query: &ExportQuery,
    closed: i64,
) -> Result<Range<i64>, AppError> {
    let range = match query.range {
        ExportRange::Between { from, to } => from.hour()..to.map_or(closed, Timestamp::hour),
        ExportRange::Period(month) => {
            let Some(api) = apis::find(reader, &account.api).await? else { return Ok(0..0) };
            Whereabouts::find(reader, organization, &api).await?.hours_of(month)
        }
    };
    if query.format == ExportFormat::CloudEvents && range.start < account.pruned_before {
        return Err(AppError::conflict(format!(
            "Usage of {} before {} is no longer kept by the hour, so its events could not be told from those that were exported \
             before. Begin later, or export it as csv.",
            organization.id,
            start_of(account.pruned_before)
        )));
    }
    Ok(range.start..range.end.min(closed))
}

/// Writes rows of an account.
struct Writer<'a> {
    organization: &'a Organization,
    account: &'a UsageAccount,
    deployment: [u8; 16],
}

impl Writer<'_> {
    async fn write(
        &self,
        reader: &mut Connection,
        format: ExportFormat,
        rows: &[ExportRow],
        lines: &mut String,
    ) -> Result<(), AppError> {
        if format == ExportFormat::CloudEvents {
            return rows.iter().try_for_each(|row| push_json(lines, &self.event(row)));
        }
        let mut ids: Vec<KeyId> = rows.iter().map(|row| row.key).collect();
        ids.sort_unstable();
        ids.dedup();
        let found = keys::list_by_id(reader, &ids).await?;
        let names: HashMap<KeyId, String> = found.into_iter().map(|row| (row.key.id, row.key.name.into())).collect();
        for row in rows {
            let line = self.line(row, names.get(&row.key).map(String::as_str));
            if format == ExportFormat::Csv { push_csv(lines, &line) } else { push_json(lines, &line)? }
        }
        Ok(())
    }

    /// Where what begins with an hour ends: that hour, or its day.
    fn end(&self, start: i64) -> i64 {
        if start >= self.account.pruned_before {
            return start + 1;
        }
        let zone: TimeZone = self.account.time_zone.parse().unwrap_or_default();
        zone.first_hour(zone.day_of(start).next())
    }

    fn line<'l>(&'l self, row: &'l ExportRow, key_name: Option<&'l str>) -> Line<'l> {
        Line {
            start: start_of(row.start),
            end: start_of(self.end(row.start)),
            organization: self.organization.id,
            organization_name: self.organization.name.as_str(),
            api: self.account.api.as_str(),
            key: row.key,
            key_name,
            scope: &row.scope,
            outcome: &row.outcome,
            count: row.total,
        }
    }

    fn event<'l>(&'l self, row: &'l ExportRow) -> CloudEvent<'l> {
        let (organization, api) = (self.organization.id, self.account.api.as_str());
        let (start, end) = (start_of(row.start), start_of(row.start + 1));
        let source = self.deployment.iter().fold("urn:claviger:".to_owned(), |mut source, byte| {
            // Writing to a String does not fail.
            let _ = write!(source, "{byte:02x}");
            source
        });
        CloudEvent {
            specversion: "1.0",
            id: format!("{organization}/{api}/{start}/{}/{}", row.key, row.scope),
            source,
            r#type: "com.claviger.usage.v1",
            subject: organization,
            time: end,
            datacontenttype: "application/json",
            data: EventData { organization, api, key: row.key, scope: &row.scope, start, end, units: row.total },
        }
    }
}

fn push_json(lines: &mut String, value: &impl Serialize) -> Result<(), AppError> {
    let text = serde_json::to_string(value)
        .map_err(|error| AppError::Internal { context: format!("usage export: {error}") })?;
    lines.push_str(&text);
    lines.push('\n');
    Ok(())
}

fn push_csv(lines: &mut String, line: &Line<'_>) {
    let fields = [
        line.start.to_string(),
        line.end.to_string(),
        line.organization.to_string(),
        line.organization_name.to_owned(),
        line.api.to_owned(),
        line.key.to_string(),
        line.key_name.unwrap_or_default().to_owned(),
        line.scope.to_owned(),
        line.outcome.to_owned(),
        line.count.to_string(),
    ];
    let fields: Vec<String> = fields.iter().map(|field| csv_field(field)).collect();
    lines.push_str(&fields.join(","));
    lines.push_str("\r\n");
}

/// A field as RFC 4180 has it. A name that a spreadsheet would take for a formula and carry out begins with a quote,
/// which makes it text there.
fn csv_field(text: &str) -> String {
    let is_formula = text.starts_with(FORMULA_BEGINNINGS);
    let text = if is_formula { format!("'{text}") } else { text.to_owned() };
    if text.contains([',', '"', '\r', '\n']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_quoted_and_no_formula_is_carried_out() {
        let cases = [
            ("plain", "plain"),
            ("a, b", "\"a, b\""),
            ("say \"hi\"", "\"say \"\"hi\"\"\""),
            ("=HYPERLINK(\"http://x\",\"y\")", "\"'=HYPERLINK(\"\"http://x\"\",\"\"y\"\")\""),
            ("+1", "'+1"),
            ("-1", "'-1"),
            ("@sum", "'@sum"),
            ("\u{ff1d}1+1", "'\u{ff1d}1+1"),
            ("a=b", "a=b"),
        ];
        for (text, field) in cases {
            assert_eq!(csv_field(text), field);
        }
    }

    #[test]
    fn cursors_are_read_as_they_are_written() {
        let place = (OrganizationId::from_u128(7), "tork".parse().unwrap());
        let row = Some((491_000, KeyId::from_u128(9), "api_keys:read".to_owned(), String::new()));
        for row in [row, None] {
            let cursor = ExportCursor { place: place.clone(), row };
            assert_eq!(cursor.to_string().parse(), Ok(cursor));
        }
        for bad in ["", "~", "org_1~tork", "a~b~c~d~e~f", "~~~~~~~"] {
            assert_eq!(bad.parse::<ExportCursor>(), Err(ExportCursorError), "{bad}");
        }
    }
}
