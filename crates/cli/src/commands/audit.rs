//! `claviger audit`

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, IsTerminal as _, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::process::ExitCode;

use claviger_domain::audit::{AuditEvent, Chain, FirstBad, Head};
use claviger_domain::key::hex_digest;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::{Session, note_next_page};
use crate::args::audit::{AuditArgs, AuditCommand, AuditExportArgs, AuditListArgs, AuditVerifyArgs};
use crate::failure::{Context as _, Failure};
use crate::output::time::{long_value, short_value};
use crate::output::{self, Column, Table, text};

const PATH: &str = "/admin/v1/audit";
/// Events that the server is asked to verify at once.
const PART_EVENTS: u32 = 20_000;

pub(super) async fn run(args: &AuditArgs) -> Result<ExitCode, Failure> {
    let session = || Session::new(&args.client);
    match &args.command {
        AuditCommand::List(list) => list_events(&session()?, list).await?,
        AuditCommand::Show { number } => show(&session()?, *number).await?,
        AuditCommand::Verify(verify) => match &verify.file {
            Some(file) => return verify_file(file, verify, args.client.json),
            None => return verify_log(&session()?, verify).await,
        },
        AuditCommand::Export(export) => export_log(&session()?, export).await?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn list_events(session: &Session, args: &AuditListArgs) -> Result<(), Failure> {
    let answer = session.server.get(PATH, &args.query()).await?;
    session.show(&answer, || table(session, &answer))?;
    note_next_page(&answer, "claviger audit list");
    Ok(())
}

fn table(session: &Session, answer: &Value) -> String {
    let rows = output::rows(answer);
    if rows.is_empty() {
        return "There are no such events.".to_owned();
    }
    let mut table = Table::new(&[
        Column::Number("NUMBER"),
        Column::Whole("TIME"),
        Column::Whole("WHO"),
        Column::Whole("WHAT"),
        Column::Whole("TARGET"),
        Column::Whole("FROM"),
    ]);
    for event in rows {
        table.row([
            event["number"].to_string(),
            short_value(&event["at"], session.now, ""),
            text(event, "actor"),
            what(event),
            text(event, "target"),
            text(event, "source"),
        ]);
    }
    table.lines()
}

/// What was done, and of a refusal also why, of what, and how many more there were like it.
fn what(event: &Value) -> String {
    if event["unreadable"] == true {
        return "unreadable".to_owned();
    }
    let after = &event["after"];
    if event["action"] != "admin.refused" {
        return text(event, "action");
    }
    let more = match after["suppressed"].as_u64() {
        None | Some(0) => String::new(),
        Some(more) => format!(", and {more} more"),
    };
    let (reason, method, route) = (text(after, "reason"), text(after, "method"), text(after, "route"));
    format!("admin.refused: {reason}, {method} {route}{more}")
}

async fn show(session: &Session, number: i64) -> Result<(), Failure> {
    // Numbers have no gaps: the first event below the next number is the one.
    let query = [("cursor", Some((number + 1).to_string())), ("limit", Some("1".to_owned()))];
    let answer = session.server.get(PATH, &query).await?;
    let found = output::rows(&answer).iter().find(|event| event["number"] == number);
    let event = found.ok_or_else(|| {
        Failure::new(format!("there is no event {number}")).next("see what there is with `claviger audit list`")
    })?;
    if event["unreadable"] == true {
        return Err(Failure::new(format!("event {number} is not as it was written, and cannot be read"))
            .next("see what is wrong with `claviger audit verify`"));
    }
    session.show(event, || details(session, event))
}

fn details(session: &Session, event: &Value) -> String {
    let head = output::fields(&[
        ("number", event["number"].to_string()),
        ("time", long_value(&event["at"], session.now, "")),
        ("who", text(event, "actor")),
        ("from", text(event, "source")),
        ("what", text(event, "action")),
        ("target", text(event, "target")),
        ("organization", text(event, "organization")),
        ("revision", event["revision"].to_string()),
    ]);
    let lines = difference(&event["before"], &event["after"]);
    if lines.is_empty() { head } else { format!("{head}\n\n{}", lines.join("\n")) }
}

/// A line for each member: `+` is new, `-` is gone, `~` became something else.
fn difference(before: &Value, after: &Value) -> Vec<String> {
    let members = |value: &Value| value.as_object().cloned().unwrap_or_default();
    let (before, after) = (members(before), members(after));
    let mut names: Vec<&String> = before.keys().collect();
    names.extend(after.keys().filter(|name| !before.contains_key(*name)));
    let line = |name: &&String| {
        let said = match (before.get(*name), after.get(*name)) {
            (Some(was), Some(is)) => format!("~ {name}: {was} → {is}"),
            (Some(was), None) => format!("- {name}: {was}"),
            (None, is) => format!("+ {name}: {}", is.unwrap_or(&Value::Null)),
        };
        output::clean(&said)
    };
    names.iter().map(line).collect()
}

/// What was found, here or by the server.
struct Verified {
    events: i64,
    head: Head,
    first_bad: Option<Bad>,
}

#[derive(Deserialize)]
struct Bad {
    number: i64,
    reason: String,
}

impl Verified {
    fn first(&self) -> i64 {
        self.head.number + 1 - self.events
    }

    /// Prints what is good, or fails as `broken` has it.
    fn show(&self, json: bool, broken: impl FnOnce(&Bad) -> Failure) -> Result<ExitCode, Failure> {
        if json {
            let head = json!({"number": self.head.number, "hash": self.head.hash_text()});
            let bad = self.first_bad.as_ref().map(|bad| json!({"number": bad.number, "reason": bad.reason}));
            let first = (self.events > 0).then(|| self.first());
            output::print_json(&json!({"events": self.events, "first": first, "head": head, "first_bad": bad}))?;
            return Ok(if self.first_bad.is_none() { ExitCode::SUCCESS } else { ExitCode::FAILURE });
        }
        if let Some(bad) = &self.first_bad {
            return Err(broken(bad));
        }
        let numbers = match self.events {
            0 => String::new(),
            _ => format!(", number {} to {}", self.first(), self.head.number),
        };
        let count = output::count(self.events as usize, "event");
        output::print(&format!("{count} as they were written{numbers}\nhead  {}", self.head))?;
        Ok(ExitCode::SUCCESS)
    }
}

/// A part of the server's answer.
#[derive(Deserialize)]
struct Part {
    events: i64,
    head: PartHead,
    first_bad: Option<Bad>,
    more: bool,
}

#[derive(Deserialize)]
struct PartHead {
    number: i64,
    hash: String,
}

/// Asks for the whole log, a part at a time: no request takes longer the longer the log is.
async fn verify_log(session: &Session, args: &AuditVerifyArgs) -> Result<ExitCode, Failure> {
    let mut verified = Verified { events: 0, head: args.after.unwrap_or(Head::START), first_bad: None };
    let progress = progress(newest(session).await?.saturating_sub(verified.head.number));
    loop {
        let after = (verified.head != Head::START).then(|| verified.head.to_string());
        let expected = args.expect.map(|head| head.to_string());
        let query = [("expected", expected), ("after", after), ("limit", Some(PART_EVENTS.to_string()))];
        let part = session.server.get(&format!("{PATH}/verification"), &query).await?;
        let part: Option<Part> = serde_json::from_value(part).ok();
        let head = part.as_ref().and_then(|part| format!("{}:{}", part.head.number, part.head.hash).parse().ok());
        let (part, head) = part.zip(head).ok_or_else(|| Failure::new("the server's answer was not understood"))?;
        progress.inc(part.events.unsigned_abs());
        verified = Verified { events: verified.events + part.events, head, first_bad: part.first_bad };
        if !part.more {
            break;
        }
    }
    progress.finish_and_clear();
    let code = verified.show(session.json, |bad| {
        Failure::new(format!("the audit log is not as it was written: event {}: {}", bad.number, bad.reason))
            .next("compare it with an export that was kept elsewhere; whoever altered it could write to the database")
    })?;
    if verified.head != Head::START && !session.json {
        output::note(&format!(
            "\nNote the head down somewhere else. Later, only it shows that the log was not shortened or written anew:\n\
             claviger audit verify --expect {}",
            verified.head
        ));
    }
    Ok(code)
}

/// One line of an export, the event as the very text that was hashed.
#[derive(Deserialize)]
struct Line<'a> {
    #[serde(borrow)]
    event: &'a RawValue,
    hash: &'a str,
}

fn verify_file(file: &Path, args: &AuditVerifyArgs, json: bool) -> Result<ExitCode, Failure> {
    let reader: Box<dyn BufRead> = if file == Path::new("-") {
        Box::new(io::stdin().lock())
    } else {
        Box::new(BufReader::new(File::open(file).or_fail(|| format!("read {}", file.display()))?))
    };
    let mut chain =
        Chain::begin(args.after.unwrap_or(Head::START), args.expect).map_err(|bad| bad_file(&bad.into()))?;
    let mut bad = None;
    for (position, text) in reader.lines().enumerate() {
        let text = text.or_fail(|| format!("read {}", file.display()))?;
        let line: Line<'_> = serde_json::from_str(&text)
            .map_err(|_| Failure::new(format!("line {} is not that of an audit export", position + 1)))?;
        if let Err(found) = take(&mut chain, &line) {
            bad = Some(found);
            break;
        }
    }
    let first_bad = bad.or(chain.end().err()).map(Bad::from);
    Verified { events: chain.checked(), head: chain.head(), first_bad }.show(json, bad_file)
}

impl From<FirstBad> for Bad {
    fn from(bad: FirstBad) -> Self {
        Self { number: bad.number, reason: bad.flaw.to_string() }
    }
}

fn bad_file(bad: &Bad) -> Failure {
    let failure = Failure::new(format!("the export is not as it was written: event {}: {}", bad.number, bad.reason));
    if bad.number == 1 {
        return failure.next(
            "an export that does not begin with the first event is checked with --after NUMBER:HASH of the event before it",
        );
    }
    failure
}

fn take(chain: &mut Chain, line: &Line<'_>) -> Result<(), FirstBad> {
    let number =
        serde_json::from_str::<AuditEvent>(line.event.get()).map_or(chain.head().number + 1, |event| event.number);
    let hash = hex_digest::parse(line.hash).map_or([0; 32], |hash| *hash.as_bytes());
    chain.take(number, line.event.get(), &hash)
}

/// The number of the last event.
async fn newest(session: &Session) -> Result<i64, Failure> {
    let newest = session.server.get(PATH, &[("limit", Some("1".to_owned()))]).await?;
    Ok(output::rows(&newest).first().and_then(|event| event["number"].as_i64()).unwrap_or_default())
}

async fn export_log(session: &Session, args: &AuditExportArgs) -> Result<(), Failure> {
    let newest = newest(session).await?;
    let mut after = args.after.unwrap_or(0);
    let mut sink: Box<dyn Write> = match &args.file {
        Some(file) => Box::new(open(file, args.after.is_some())?),
        None => Box::new(io::stdout()),
    };
    let progress = progress(newest.saturating_sub(after));
    loop {
        let lines = session.server.get_text(&format!("{PATH}/export"), &[("after", Some(after.to_string()))]).await?;
        let Some(last) = lines.strip_suffix(b"\n").and_then(|lines| lines.rsplit(|byte| *byte == b'\n').next()) else {
            break;
        };
        let last = last_number(last).ok_or_else(|| Failure::new("the server sent what is no audit export"))?;
        match sink.write_all(&lines).and_then(|()| sink.flush()) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
            Err(error) => {
                progress.abandon();
                return Err(Failure::new(format!("cannot write the export: {error}"))
                    .next(format!("go on with --after {after}, when the last line is whole")));
            }
            Ok(()) => progress.inc((last - after).unsigned_abs()),
        }
        after = last;
    }
    progress.finish_and_clear();
    if let Some(file) = &args.file {
        output::note(&format!("Written to {}, up to event {after}.", file.display()));
    }
    Ok(())
}

/// It goes on after the last event of the file, so that two exports one after the other are one.
fn open(file: &Path, is_continued: bool) -> Result<File, Failure> {
    // Names and addresses stand in it.
    let mut options = OpenOptions::new();
    options.mode(0o600).append(true);
    if is_continued {
        return options.create(true).open(file).or_fail(|| format!("write {}", file.display()));
    }
    options.create_new(true).open(file).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => Failure::new(format!("{} is there already", file.display()))
            .next("name another file, or add to this one with --after NUMBER"),
        _ => Failure::new(format!("cannot write {}: {error}", file.display())),
    })
}

fn last_number(line: &[u8]) -> Option<i64> {
    let line: Line<'_> = serde_json::from_slice(line).ok()?;
    serde_json::from_str::<Value>(line.event.get()).ok()?["number"].as_i64()
}

/// Drawn on a terminal only.
fn progress(events: i64) -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::with_draw_target(Some(events.unsigned_abs()), ProgressDrawTarget::stderr());
    match ProgressStyle::with_template("{bar:40} {human_pos} of {human_len} events, {eta} left") {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_says_why_and_how_many() {
        let refused = |suppressed: u64| {
            let after = json!({"reason": "no_token", "method": "GET", "route": "/admin/v1/keys/{id}", "suppressed": suppressed});
            what(&json!({"action": "admin.refused", "after": after}))
        };
        assert_eq!(refused(0), "admin.refused: no_token, GET /admin/v1/keys/{id}");
        assert_eq!(refused(41), "admin.refused: no_token, GET /admin/v1/keys/{id}, and 41 more");
        assert_eq!(what(&json!({"action": "admin.signed_in", "after": null})), "admin.signed_in");
        assert_eq!(what(&json!({"number": 7, "unreadable": true})), "unreadable");
    }

    #[test]
    fn what_changed_is_said_line_by_line() {
        let check = |before: Value, after: Value, expected: &[&str]| assert_eq!(difference(&before, &after), expected);
        check(json!({"name": "a", "x": 1}), json!({"name": "b"}), &["~ name: \"a\" → \"b\"", "- x: 1"]);
        check(Value::Null, json!({"scopes": ["*"]}), &["+ scopes: [\"*\"]"]);
        check(json!({"name": "a"}), Value::Null, &["- name: \"a\""]);
        check(Value::Null, Value::Null, &[]);
        check(Value::Null, json!({"name": "\u{202e}"}), &["+ name: \"\\u{202e}\""]);
    }
}
