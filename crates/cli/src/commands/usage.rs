//! `claviger usage`

use std::fs::OpenOptions;
use std::io::{self, IsTerminal as _, Write};
use std::os::unix::fs::OpenOptionsExt as _;

use claviger_domain::period::TimeZone;
use claviger_domain::time::Timestamp;
use serde_json::Value;

use super::{Session, note_next_page};
use crate::args::usage::{UnknownKeysArgs, UsageArgs, UsageCommand, UsageExportArgs, UsageListArgs};
use crate::failure::{Context as _, Failure};
use crate::output::time::short_value;
use crate::output::{self, Column, Table, text};

const PATH: &str = "/admin/v1/usage";
/// Scopes and keys that are shown one by one.
const SHOWN: usize = 10;

pub(super) async fn run(args: &UsageArgs) -> Result<(), Failure> {
    match &args.command {
        Some(UsageCommand::List(list)) => list_organizations(&Session::new(&list.client)?, list).await,
        Some(UsageCommand::Export(export)) => write_out(&Session::new(&export.client)?, export).await,
        Some(UsageCommand::UnknownKeys(args)) => list_unknown_keys(&Session::new(&args.client)?, args).await,
        None => show(&Session::new(&args.client)?, args).await,
    }
}

async fn show(session: &Session, args: &UsageArgs) -> Result<(), Failure> {
    let query = [
        ("organization", args.org.map(|id| id.to_string())),
        ("api", args.api.as_ref().map(ToString::to_string)),
        ("period", args.period.map(|month| month.to_string())),
        ("from", args.from.map(|day| day.to_string())),
        ("to", args.to.map(|day| day.to_string())),
    ];
    let answer = session.server.get(PATH, &query).await?;
    let is_plain = !io::stdout().is_terminal() || std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    session.show(&answer, || report(session, &answer, is_plain))
}

/// The day of an instant where the organization is.
fn local_day(answer: &Value, name: &str) -> String {
    let zone = text(answer, "time_zone").parse::<TimeZone>().unwrap_or_default();
    match text(answer, name).parse::<Timestamp>() {
        Ok(at) => zone.day_of(at.hour()).to_string(),
        Err(_) => text(answer, name),
    }
}

fn report(session: &Session, answer: &Value, is_plain: bool) -> String {
    let day = |name: &str| local_day(answer, name);
    let end = short_value(&answer["period_end"], session.now, "");
    let counts = &answer["organization"];
    let calls = |name: &str| grouped(number(&counts[name]));
    let units = |name: &str| answer[name].as_u64().map_or(String::new(), grouped);
    let daily = answer["daily"].as_array().map_or(&[][..], Vec::as_slice);
    let head = output::fields(&[
        ("organization", text(counts, "id")),
        ("period", format!("{} to {} (ends {end})", day("period_start"), day("period_end"))),
        ("time zone", text(answer, "time_zone")),
        ("plan", text(answer, "plan")),
        ("limit", units("limit")),
        ("used", used(answer)),
        ("remaining", units("remaining")),
        ("resets", short_value(&answer["resets_at"], session.now, "")),
        ("allowed", calls("allowed")),
        ("denied", calls("denied")),
        ("billable", calls("billable")),
        ("days", sparkline(daily, is_plain)),
    ]);
    let parts = [("SCOPE", "by_scope"), ("ENVIRONMENT", "by_environment"), ("OUTCOME", "by_outcome")];
    let tables = parts.into_iter().filter_map(|(title, name)| breakdown(title, &counts[name]));
    std::iter::once(head).chain(tables).chain(by_key(answer)).collect::<Vec<_>>().join("\n\n")
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_default()
}

/// `1 200 (12 %)`.
fn used(answer: &Value) -> String {
    let used = number(&answer["used"]);
    match answer["limit"].as_u64().filter(|limit| *limit > 0) {
        Some(limit) => format!("{} ({} %)", grouped(used), u128::from(used) * 100 / u128::from(limit)),
        None => grouped(used),
    }
}

/// The calls of each day, the highest bar for the busiest. Where it is not for a terminal of our time, digits.
fn sparkline(daily: &[Value], is_plain: bool) -> String {
    const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    const DIGITS: [char; 8] = ['1', '2', '3', '4', '5', '6', '7', '8'];
    let calls: Vec<u64> = daily.iter().map(|day| number(&day["total"])).collect();
    let Some(most) = calls.iter().max().copied().filter(|most| *most > 0) else { return String::new() };
    let marks = if is_plain { DIGITS } else { BARS };
    let bar = |calls: u64| {
        let level = (u128::from(calls) * 8).div_ceil(u128::from(most));
        level.checked_sub(1).map_or(if is_plain { '.' } else { ' ' }, |level| marks[level as usize])
    };
    let line: String = calls.iter().map(|calls| bar(*calls)).collect();
    let first = daily.first().map(|day| text(day, "date")).unwrap_or_default();
    format!("{line}  since {first}, at most {}", grouped(most))
}

/// The scopes, environments or outcomes with most calls.
fn breakdown(title: &'static str, counts: &Value) -> Option<String> {
    let counts = counts.as_object().filter(|counts| !counts.is_empty())?;
    let mut counts: Vec<(&String, u64)> = counts.iter().map(|(name, calls)| (name, number(calls))).collect();
    counts.sort_by_key(|(_, calls)| std::cmp::Reverse(*calls));
    let rest: u64 = counts.iter().skip(SHOWN).map(|(_, calls)| calls).sum();
    let mut table = Table::new(&[Column::Whole(title), Column::Number("CALLS")]);
    for (name, calls) in counts.iter().take(SHOWN) {
        table.row([(*name).clone(), grouped(*calls)]);
    }
    if counts.len() > SHOWN {
        table.row([format!("{} others", counts.len() - SHOWN), grouped(rest)]);
    }
    Some(table.lines())
}

/// The keys with most calls.
fn by_key(answer: &Value) -> Option<String> {
    let keys = answer["by_key"].as_array().filter(|keys| !keys.is_empty())?;
    let columns = [
        Column::Whole("KEY"),
        Column::Prose("NAME"),
        Column::Whole("SECRET"),
        Column::Number("CALLS"),
        Column::Number("DENIED"),
        Column::Number("BILLABLE"),
    ];
    let mut table = Table::new(&columns);
    let numbers = |of: &Value| ["total", "denied", "billable"].map(|name| number(&of[name]));
    for key in keys.iter().take(SHOWN) {
        let secret = key["prefix"].as_str().map_or(String::new(), |prefix| format!("{prefix}…{}", text(key, "hint")));
        table.row([text(key, "id"), text(key, "name"), secret].into_iter().chain(numbers(key).map(grouped)));
    }
    let others = &answer["other_keys"];
    let hidden = keys.iter().skip(SHOWN).map(numbers).chain([numbers(others)]);
    let rest = hidden.fold([0; 3], |sum, more| [sum[0] + more[0], sum[1] + more[1], sum[2] + more[2]]);
    if rest[0] > 0 {
        let count = number(&others["keys"]) + keys.len().saturating_sub(SHOWN) as u64;
        let name = if count == 0 { "forgotten keys".to_owned() } else { format!("{count} others") };
        table.row([String::new(), name, String::new()].into_iter().chain(rest.map(grouped)));
    }
    Some(table.lines())
}

async fn list_organizations(session: &Session, args: &UsageListArgs) -> Result<(), Failure> {
    let query = [
        ("api", Some(args.api.to_string())),
        ("period", args.period.map(|month| month.to_string())),
        ("limit", args.page.limit.map(|limit| limit.to_string())),
        ("cursor", args.page.cursor.clone()),
    ];
    let answer = session.server.get(&format!("{PATH}/organizations"), &query).await?;
    session.show(&answer, || {
        let columns = [
            Column::Whole("ORGANIZATION"),
            Column::Prose("NAME"),
            Column::Whole("PLAN"),
            Column::Number("USED"),
            Column::Number("LIMIT"),
            Column::Whole("RESETS"),
        ];
        let mut table = Table::new(&columns);
        for row in output::rows(&answer) {
            let limit = row["limit"].as_u64().map_or("-".to_owned(), grouped);
            let resets = short_value(&row["resets_at"], session.now, "-");
            table.row([text(row, "organization"), text(row, "name"), text(row, "plan"), used(row), limit, resets]);
        }
        if output::rows(&answer).is_empty() { "There are no organizations.".to_owned() } else { table.lines() }
    })?;
    if !session.json {
        note_next_page(&answer, &format!("claviger usage list --api {}", args.api));
    }
    Ok(())
}

async fn list_unknown_keys(session: &Session, args: &UnknownKeysArgs) -> Result<(), Failure> {
    let query = [
        ("api", args.api.as_ref().map(ToString::to_string)),
        ("since", args.since.map(|at| at.to_string())),
        ("until", args.until.map(|at| at.to_string())),
        ("limit", args.limit.map(|limit| limit.to_string())),
    ];
    let answer = session.server.get(&format!("{PATH}/unknown-keys"), &query).await?;
    session.show(&answer, || {
        let columns = [
            Column::Whole("API"),
            Column::Whole("PREFIX"),
            Column::Whole("NETWORK"),
            Column::Number("CALLS"),
            Column::Whole("FROM THE HOUR"),
            Column::Whole("TO THE HOUR"),
        ];
        let mut table = Table::new(&columns);
        for row in output::rows(&answer) {
            let network = row["network"].as_str().unwrap_or("others").to_owned();
            let hour = |name: &str| short_value(&row[name], session.now, "-");
            let calls = grouped(number(&row["calls"]));
            table.row([text(row, "api"), text(row, "prefix"), network, calls, hour("first_hour"), hour("last_hour")]);
        }
        let nobody = "Nobody presented keys that are nobody's.";
        if output::rows(&answer).is_empty() { nobody.to_owned() } else { table.lines() }
    })
}

async fn write_out(session: &Session, args: &UsageExportArgs) -> Result<(), Failure> {
    let first = [
        ("format", Some(args.format.as_str().to_owned())),
        ("organization", args.org.map(|id| id.to_string())),
        ("api", args.api.as_ref().map(ToString::to_string)),
        ("period", args.period.map(|month| month.to_string())),
        ("from", args.from.map(|at| at.to_string())),
        ("to", args.to.map(|at| at.to_string())),
    ];
    let mut sink: Box<dyn Write> = match &args.file {
        // Names stand in it.
        Some(file) => Box::new(
            OpenOptions::new()
                .mode(0o600)
                .write(true)
                .create_new(true)
                .open(file)
                .or_fail(|| format!("write {}", file.display()))?,
        ),
        None => Box::new(io::stdout()),
    };
    let path = format!("{PATH}/export");
    let mut cursor = None;
    loop {
        let mut query = first.to_vec();
        query.push(("cursor", cursor.take()));
        let (lines, next) = session.server.get_part(&path, &query).await?;
        match sink.write_all(&lines).and_then(|()| sink.flush()) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
            written => written.or_fail(|| "write the export".to_owned())?,
        }
        let next = next.as_deref().map(|next| next.split('&').find_map(|part| part.strip_prefix("cursor=")));
        cursor = match next {
            None => break,
            Some(Some(next)) => Some(next.to_owned()),
            Some(None) => return Err(Failure::new("the server's answer was not understood")),
        };
    }
    if let Some(file) = &args.file {
        output::note(&format!("Written to {}.", file.display()));
    }
    Ok(())
}

/// `1 234 567`, with narrow blanks that cannot be mistaken for a decimal point or comma.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn long_numbers_are_grouped() {
        let cases = [(0, "0"), (999, "999"), (1000, "1 000"), (1_234_567, "1 234 567")];
        for (number, expected) in cases {
            assert_eq!(grouped(number), expected);
        }
    }

    #[test]
    fn days_are_drawn_in_eighths_of_the_busiest() {
        let days =
            |calls: &[u64]| calls.iter().map(|total| json!({"date": "2026-10-01", "total": total})).collect::<Vec<_>>();
        assert_eq!(sparkline(&days(&[0, 1, 50, 99, 100]), false), " ▁▄██  since 2026-10-01, at most 100");
        assert_eq!(sparkline(&days(&[0, 1, 50, 99, 100]), true), ".1488  since 2026-10-01, at most 100");
        assert_eq!(sparkline(&days(&[0, 0]), true), "");
        assert_eq!(sparkline(&days(&[u64::MAX]), true).chars().next(), Some('8'));
    }

    #[test]
    fn what_was_used_is_said_beside_the_limit() {
        assert_eq!(used(&json!({"used": 1200, "limit": 10_000})), "1 200 (12 %)");
        assert_eq!(used(&json!({"used": 7, "limit": null})), "7");
        assert_eq!(used(&json!({"used": 7, "limit": 0})), "7");
    }

    #[test]
    fn keys_beyond_the_first_are_added_up() {
        let key = |number: u64| json!({"id": format!("key_{number}"), "name": "n", "prefix": "tk_", "hint": "abcd", "total": number, "denied": 1, "billable": 0});
        let keys: Vec<Value> = (1..=12).rev().map(key).collect();
        let answer = json!({"by_key": keys, "other_keys": {"keys": 5, "total": 100, "denied": 0, "billable": 0}});
        let shown = by_key(&answer).unwrap();
        assert_eq!(shown.lines().count(), 12, "{shown}");
        let last: Vec<&str> = shown.lines().last().unwrap().split_whitespace().collect();
        assert_eq!(last, ["7", "others", "103", "2", "0"]);
        assert!(by_key(&json!({"by_key": []})).is_none());
    }
}
