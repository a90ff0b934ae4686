//! Reading the region of an engine that has died.

use std::collections::BTreeMap;

use claviger_domain::id::KeyId;
use claviger_domain::scope::Scope;
use claviger_domain::time::Timestamp;

use super::hour_table::{self, State};
use super::ledger::{self, Found, Subject};
use super::region::{Header, Layout, RecoverError, TABLES};
use super::scope_names::{self, NO_SCOPE};
use super::{Outcome, TOTAL_MAX, last_used};
use crate::accounts::Account;
use crate::limits::cells::{RecoveredLimits, identity};
use crate::sync::{AtomicU64, Ordering};

/// What an engine had counted when it died, apart from what it had [handed over](super::Usage::close_hours).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Recovered {
    /// As the engine was given it.
    pub incarnation: i64,
    /// Absolute totals, by hour and key; at most one for each key, hour, scope and outcome.
    pub totals: Vec<RecoveredTotal>,
    /// What was used of rate limits, for [`Engine::with_counters`](crate::Engine::with_counters).
    pub limits: RecoveredLimits,
    /// Cells and entries that made no sense. None after the death of a process; perhaps some after that of a machine.
    pub skipped: usize,
}

/// How often a key met an outcome in an hour, as [`UsageTotal`](super::UsageTotal) says it of a living engine. Whose the
/// key is, and whether it is a live one, the region does not know.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RecoveredTotal {
    /// The key. Where a machine has died it may be one that never was.
    pub key: KeyId,
    /// Whole hours since the Unix epoch.
    pub hour: i64,
    /// The scope of the endpoint; `None` for endpoints that the definition does not name.
    pub scope: Option<Scope>,
    /// What became of it.
    pub outcome: Outcome,
    /// How often; of extra units, how many.
    pub count: u64,
    /// The last time, to the minute.
    pub last_used: Timestamp,
}

/// Reads the words that an engine counted in. It must be dead, or at least not counting.
///
/// The same words always give the same answer: writing it down twice is writing it down once.
///
/// # Errors
/// When these are not the words of an engine of this version, or not all of them. What makes no sense within them is
/// skipped.
pub fn recover(words: &[AtomicU64]) -> Result<Recovered, RecoverError> {
    let header = Header::read(words)?;
    let layout = header.layout;
    let names = scope_names::read(&words[layout.names()]);
    let mut sums = Sums { names, totals: BTreeMap::new(), skipped: 0 };
    for table in 0..TABLES {
        read_table(words, layout, table).for_each(|found| sums.add(found));
    }
    let entries = words[layout.entries()].as_chunks().0;
    entries.iter().filter_map(ledger::read).for_each(|found| sums.add(found));
    let Sums { names, totals, skipped } = sums;
    let totals = totals.into_iter().filter_map(|(subject, (count, minute))| {
        Some(RecoveredTotal {
            key: subject.key,
            hour: subject.hour,
            scope: names.get(usize::from(subject.scope)).cloned(),
            outcome: Outcome::of_number(subject.outcome)?,
            count,
            last_used: last_used(subject.hour, minute),
        })
    });
    Ok(Recovered { incarnation: header.incarnation, totals: totals.collect(), limits: limits(words, layout), skipped })
}

/// What was used of rate limits: in the lines of accounts, and in cells.
fn limits(words: &[AtomicU64], layout: Layout) -> RecoveredLimits {
    let mut limits = RecoveredLimits::default();
    let hashes = &words[layout.meters()];
    for line in words[layout.accounts()].as_chunks().0 {
        let account = Account::of(line);
        let (value, interval) = account.meter_words();
        let hash = hashes.get(usize::from(account.state().api().0)).map_or(0, |word| word.load(Ordering::Acquire));
        if value != 0 && hash != 0 {
            limits.note(identity(account.organization().as_u128(), hash, false), value, interval);
        }
    }
    limits.read(words[layout.limit_cells()].as_chunks().0);
    limits
}

/// What the cells of a table say.
pub(crate) fn read_table(words: &[AtomicU64], layout: Layout, table: usize) -> impl Iterator<Item = Found> {
    let state = State::from_word(Header::state(words, table));
    let (cells, ids) = (words[layout.cells(table)].as_chunks().0, words[layout.ids(table)].as_chunks().0);
    cells.iter().zip(ids).filter_map(move |(cell, id)| hour_table::read(state, cell, id))
}

struct Sums {
    names: Vec<Scope>,
    totals: BTreeMap<Subject, (u64, u8)>,
    skipped: usize,
}

impl Sums {
    fn add(&mut self, found: Found) {
        let Some((subject, total, minute)) = found else {
            self.skipped += 1;
            return;
        };
        let is_scope = subject.scope == NO_SCOPE || usize::from(subject.scope) < self.names.len();
        let hours = Timestamp::from_micros(i64::MIN).hour()..=Timestamp::from_micros(i64::MAX).hour();
        let is_sound = is_scope && Outcome::of_number(subject.outcome).is_some() && hours.contains(&subject.hour);
        if !is_sound || total == 0 || minute >= 60 {
            self.skipped += 1;
            return;
        }
        let sum = self.totals.entry(subject).or_insert((0, 0));
        sum.0 = sum.0.saturating_add(total).min(TOTAL_MAX);
        sum.1 = sum.1.max(minute);
    }
}
