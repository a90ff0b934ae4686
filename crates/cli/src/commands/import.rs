//! `claviger keys import FILE`: the file is read and sent in parts, each of which the server takes in as a whole.

mod lines;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::pin::pin;

use futures_util::stream::{self, StreamExt as _};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Deserialize;
use serde_json::{Value, json};

use self::lines::{Batch, Batches, Digests, Input};
use super::Session;
use crate::args::keys::ImportArgs;
use crate::connection::IMPORT_NEXT;
use crate::failure::{Context as _, Failure};
use crate::output;

/// Refusals that are kept for the JSON document; all of them are told as they come.
const KEPT_MAX: usize = 1000;
/// Refusals that the summary for people repeats.
const SHOWN_MAX: usize = 10;

pub(super) async fn run(session: &Session, args: &ImportArgs) -> Result<(), Failure> {
    let input = Input::open(&args.file, args.strict)?;
    let mut report = Report::default();
    if args.strict {
        let mut check = Pass { session, input: &input, args, dry_run: true, memory: Some(Memory::default()) };
        check.run(&mut report).await?;
        if report.refused == 0 && !args.dry_run {
            output::note(&format!("{} would be imported and no line is refused. Importing.", keys(report.imported)));
            report = Report::default();
            Pass { session, input: &input, args, dry_run: false, memory: None }.run(&mut report).await?;
        } else if !args.dry_run {
            report.imported = 0;
        }
    } else {
        Pass { session, input: &input, args, dry_run: args.dry_run, memory: None }.run(&mut report).await?;
    }
    if session.json {
        output::print_json(&report.document(args.dry_run))?;
    } else {
        output::print(&report.summary(args.dry_run))?;
    }
    report.outcome(args)
}

/// One reading of the whole file.
struct Pass<'p> {
    session: &'p Session,
    input: &'p Input,
    args: &'p ImportArgs,
    dry_run: bool,
    memory: Option<Memory>,
}

/// What a dry run of many requests must remember, because the server forgets each of them.
#[derive(Default)]
struct Memory {
    digests: Digests,
    rooms: Rooms,
}

/// How many keys would be new, and for how many there is room, by organization and api.
#[derive(Default)]
struct Rooms(HashMap<(String, String), (i64, i64)>);

impl Pass<'_> {
    async fn run(&mut self, report: &mut Report) -> Result<(), Failure> {
        let reading = || format!("read {}", self.args.file.display());
        let bar = progress(self.input.length());
        let (mut digests, mut rooms) = self.memory.take().map(|memory| (memory.digests, memory.rooms)).unzip();
        let mut batches = Batches::new(self.input.read().or_fail(reading)?);
        let batches = std::iter::from_fn(|| batches.next().or_fail(reading).transpose());
        let requests = batches.map(|batch| {
            let mut refusals = Vec::new();
            if let Ok(batch) = &batch {
                refusals.extend(batch.too_long());
                refusals.extend(digests.iter_mut().flat_map(|digests: &mut Digests| digests.repeated(batch)));
            }
            let pass = &*self;
            async move { Ok::<_, Failure>(pass.send(batch?, refusals).await) }
        });
        let mut answers = pin!(stream::iter(requests).buffered(self.requests_at_once()));
        while let Some(sent) = answers.next().await {
            let Sent { lines, bytes, mut refusals, answer } = sent.inspect_err(|_| bar.finish_and_clear())?;
            let answer = answer.map_err(|failure| {
                bar.finish_and_clear();
                self.broken_off(failure, report)
            })?;
            refusals.extend(answer.errors);
            refusals.extend(rooms.iter_mut().flat_map(|rooms: &mut Rooms| rooms.without(&answer.places)));
            refusals.sort_by_key(|refusal| refusal.line);
            report.imported += answer.imported;
            report.existing += answer.existing;
            report.lines += lines as u64;
            for refusal in refusals {
                bar.suspend(|| output::note(&refusal.to_string()));
                report.refuse(refusal);
            }
            bar.set_message(report.counts());
            bar.inc(bytes);
            if self.args.strict && !self.dry_run && report.refused > 0 {
                // It was right a moment ago: somebody else changed something meanwhile.
                break;
            }
        }
        bar.finish_and_clear();
        Ok(())
    }

    /// While the server takes one part in, the next is on its way, unless what comes depends on what was answered: a
    /// strict import ends with the first refusal, and what a pipe holds may take long to come.
    fn requests_at_once(&self) -> usize {
        if self.args.strict || self.input.length().is_none() { 1 } else { 2 }
    }

    /// Sends a part of the file, with what is wrong with it already. What the server refuses gets its line in the file.
    async fn send(&self, batch: Batch, refusals: Vec<Refusal>) -> Sent {
        let Batch { first, lines, bytes, body, .. } = batch;
        let of_file = |error: Refusal| Refusal { line: error.line.map(|line| line + first - 1), ..error };
        let answer = self.session.server.import(body, self.dry_run, self.args.strict).await;
        let answer = answer.and_then(|answer| {
            let mut answer: Answer =
                serde_json::from_value(answer).map_err(|_| Failure::new("the server's answer was not understood"))?;
            answer.errors = answer.errors.into_iter().map(of_file).collect();
            Ok(answer)
        });
        Sent { lines, bytes, refusals, answer }
    }

    /// The failure, with how far the import came.
    fn broken_off(&self, failure: Failure, report: &Report) -> Failure {
        match (report.lines, self.dry_run) {
            (0, _) => failure,
            (_, true) => failure.about(&format!("after line {}, with nothing imported", report.lines)),
            (lines, false) => failure.about(&format!("after line {lines}")).next(IMPORT_NEXT),
        }
    }
}

/// A part of the file that was sent, and what became of it.
struct Sent {
    lines: usize,
    bytes: u64,
    refusals: Vec<Refusal>,
    answer: Result<Answer, Failure>,
}

impl Rooms {
    /// Organizations whose room ends with this part of the file.
    fn without(&mut self, places: &[Place]) -> Vec<Refusal> {
        let mut refusals = Vec::new();
        for Place { organization, api, new, left } in places {
            let message = format!("{organization} has room for {left} more keys of API {api}, and the file has more");
            let was_within = match self.0.entry((organization.clone(), api.clone())) {
                Entry::Occupied(mut entry) => {
                    let (sum, room) = entry.get_mut();
                    let was_within = *sum <= *room;
                    (*sum, *room) = (*sum + new, *left);
                    was_within && *sum > *room
                }
                Entry::Vacant(entry) => {
                    entry.insert((*new, *left));
                    new > left
                }
            };
            if was_within {
                refusals.push(Refusal { line: None, field: Some("organization".to_owned()), message });
            }
        }
        refusals
    }
}

/// What the server says of a part of the file.
#[derive(Deserialize)]
struct Answer {
    imported: u64,
    existing: u64,
    errors: Vec<Refusal>,
    #[serde(default)]
    places: Vec<Place>,
}

/// The new keys of one organization in one api.
#[derive(Deserialize)]
struct Place {
    organization: String,
    api: String,
    new: i64,
    left: i64,
}

/// Why a line, or the file as a whole, is refused.
#[derive(Clone, Deserialize)]
struct Refusal {
    line: Option<u64>,
    field: Option<String>,
    message: String,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.line {
            Some(line) => write!(f, "line {line}: {}", output::clean(&self.message)),
            None => f.write_str(&output::clean(&self.message)),
        }
    }
}

/// What became of the lines.
#[derive(Default)]
struct Report {
    lines: u64,
    imported: u64,
    existing: u64,
    refused: u64,
    kept: Vec<Refusal>,
}

impl Report {
    fn refuse(&mut self, refusal: Refusal) {
        self.refused += 1;
        if self.kept.len() < KEPT_MAX {
            self.kept.push(refusal);
        }
    }

    fn counts(&self) -> String {
        format!("{} imported, {} there already, {} refused", self.imported, self.existing, self.refused)
    }

    fn document(&self, dry_run: bool) -> Value {
        let error =
            |refusal: &Refusal| json!({"line": refusal.line, "field": refusal.field, "message": refusal.message});
        let errors: Vec<Value> = self.kept.iter().map(error).collect();
        json!({
            "imported": self.imported, "existing": self.existing, "refused": self.refused, "errors": errors,
            "dry_run": dry_run,
        })
    }

    fn summary(&self, dry_run: bool) -> String {
        let label = if dry_run { "new" } else { "imported" };
        let mut summary = output::fields(&[
            (label, self.imported.to_string()),
            ("existing", self.existing.to_string()),
            ("refused", self.refused.to_string()),
        ]);
        for refusal in self.kept.iter().take(SHOWN_MAX) {
            summary.push_str(&format!("\n  {refusal}"));
        }
        if self.refused > SHOWN_MAX as u64 {
            summary.push_str(&format!("\n  and {} more", self.refused - SHOWN_MAX as u64));
        }
        summary
    }

    /// A refused line is a failure, whatever else went well.
    fn outcome(&self, args: &ImportArgs) -> Result<(), Failure> {
        if self.refused == 0 {
            return Ok(());
        }
        let refused = match self.refused {
            1 => "1 line was refused".to_owned(),
            many => format!("{many} lines were refused"),
        };
        Err(if args.dry_run {
            Failure::new(refused).next("correct what was refused")
        } else if args.strict && self.imported == 0 {
            Failure::new(format!("{refused}, so nothing was imported"))
                .next("correct what was refused, then import the file")
        } else {
            Failure::new(refused)
                .next("correct them and import the file again: what was imported already is passed over")
        })
    }
}

fn keys(count: u64) -> String {
    format!("{count} key{}", if count == 1 { "" } else { "s" })
}

/// Seen on a terminal only.
fn progress(length: Option<u64>) -> ProgressBar {
    let (bar, template) = match length {
        Some(length) => (ProgressBar::new(length), "{bar:30} {percent:>3}%  {msg}  ({eta} left)"),
        None => (ProgressBar::no_length(), "{spinner} {bytes}  {msg}"),
    };
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    bar.with_style(style)
}
