//! Usage: how often each key was allowed and denied, by hour.
//!
//! A verification counts in the table of its hour: one compare-and-swap. Now and then somebody collects: it
//! reads all counts, which are absolute totals since the engine was made, so that writing them down twice is
//! writing them down once.
//!
//! # Why no count is lost
//!
//! - There are three tables, and an hour belongs to the one at the hour modulo 3. A collection in hour *h* leaves them
//!   with *h - 1*, *h* and *h + 1*. A request whose hour has no table, or whose table is full, goes into the *ledger*,
//!   an ordinary map behind a lock: exact, but slow. Whoever makes an engine that counts sees to it that somebody
//!   collects at least once an hour, and that [`EngineOptions::usage_cells`](crate::EngineOptions::usage_cells) fits.
//! - A table whose hour is over is handed over to a later hour while verifications go on. One of these may have found
//!   its cell just before (it computed its hour at the boundary, or was taken off its core). The hour is part of the
//!   very word that is compared and swapped, and handing over swaps every such word, those of unused cells
//!   included, for one of the new hour. So each count of the old hour is either in the word that was swapped out, and
//!   so in the ledger, or its compare-and-swap fails and it goes to the ledger by itself. It never lands in another
//!   hour, nor in a cell that has become another key's.
//! - Hours up to *h - 2* are closed by a collection in hour *h*: that is the last to return their totals. A request so
//!   late that its hour was closed meanwhile is counted in the earliest hour that is not, under the ledger's lock.
//! - Cells know keys by slot, to be small. The slot of a removed key is not reused before five further turns of the
//!   hour were collected, and its record keeps id, organization, api and environment until then. By then every hour
//!   is closed in which a verification that still found the key can have begun (its clock may be an hour fast), so if
//!   one is still on its way, it ends in the ledger, which knows keys by id.

mod hour_table;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use claviger_domain::denial::Denial;
use claviger_domain::id::{KeyId, OrganizationId};
use claviger_domain::key::{ApiName, Environment};
use claviger_domain::scope::Scope;
use claviger_domain::time::Timestamp;

pub(crate) use self::hour_table::{HourTable, Tag};
use crate::directory::Directory;
use crate::record::{Meta, Record};
use crate::shared::Shared;
use crate::sync::Ordering;
use crate::verdict::ScopeIndex;

/// The scope number of requests for endpoints that the definition does not name.
const NO_SCOPE: u16 = u16::MAX;
const MICROS_PER_MINUTE: i64 = 60_000_000;
const MINUTES_PER_HOUR: i64 = 60;
/// Turns of the hour for which the slot of a removed key rests.
const TURNS_OF_REST: u64 = 5;

/// The counts of an engine.
#[derive(Debug)]
pub struct Usage {
    shared: Arc<Shared>,
    books: Mutex<Books>,
}

/// How often a key met an outcome in an hour, as an absolute number since the engine was made.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UsageTotal {
    /// The key.
    pub key: KeyId,
    /// Whose it is.
    pub organization: OrganizationId,
    /// The api it is for.
    pub api: ApiName,
    /// Its environment. The usage of test keys is not kept.
    pub environment: Environment,
    /// Whole hours since the Unix epoch, see [`Timestamp::hour`].
    pub hour: i64,
    /// The scope of the endpoint; `None` for endpoints that the definition does not name.
    pub scope: Option<Scope>,
    /// Why it was denied; `None` counts the allowed requests.
    pub outcome: Option<Denial>,
    /// How often.
    pub count: u64,
    /// The last time, to the minute.
    pub last_used: Timestamp,
}

/// A verdict on a found key, to be counted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sighting {
    pub(crate) slot: u32,
    pub(crate) id: KeyId,
    pub(crate) organization: u32,
    pub(crate) meta: Meta,
    pub(crate) outcome: Option<Denial>,
}

#[derive(Debug)]
struct Books {
    /// Hours up to this one take no more counts.
    closed_through: i64,
    /// What is in no table.
    ledger: HashMap<Subject, Count>,
}

/// What is counted together.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Subject {
    hour: i64,
    key: KeyId,
    scope: u16,
    outcome: u8,
}

#[derive(Clone, Copy, Debug)]
struct Count {
    organization: u32,
    meta: Meta,
    total: u64,
    minute: u8,
}

impl Usage {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, books: Mutex::new(Books { closed_through: i64::MIN, ledger: HashMap::new() }) }
    }

    /// The totals of all hours that are still counted, and for the last time those of hours that no longer are.
    ///
    /// An hour is closed by the first collection that begins at least one full hour after its end. Each total is
    /// absolute, so a later one replaces an earlier one of the same key, hour, scope and outcome.
    pub fn collect(&self, now: Timestamp) -> Vec<UsageTotal> {
        let mut books = self.lock();
        self.turn_over(&mut books, now.hour());
        let mut totals = books.ledger.clone();
        let closed_through = books.closed_through;
        books.ledger.retain(|subject, _| subject.hour > closed_through);
        for table in &self.shared.hours {
            let Some(hour) = table.hour() else { continue };
            table.totals().for_each(|(tag, total, minute)| self.add_cell(&mut totals, hour, tag, total, minute));
        }
        drop(books);
        let directory = self.shared.directory.load();
        totals.iter().filter_map(|(subject, count)| self.resolve(&directory, subject, count)).collect()
    }

    /// Gets ready to count a verdict on an endpoint that asks for this scope.
    #[inline]
    pub(crate) fn tally(&self, now: Timestamp, scope: Option<ScopeIndex>) -> Tally<'_> {
        let hour = now.hour();
        Tally {
            usage: self,
            table: &self.shared.hours[hour.rem_euclid(3) as usize],
            hour,
            minute: now.as_micros().div_euclid(MICROS_PER_MINUTE).rem_euclid(MINUTES_PER_HOUR) as u8,
            scope: scope.map_or(NO_SCOPE, |scope| scope.0),
        }
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        self.lock().ledger.capacity() * size_of::<(Subject, Count)>()
    }

    /// Sees to it that the tables are those of the hours around this one, and moves older totals to the ledger.
    fn turn_over(&self, books: &mut Books, hour: i64) {
        let closed_through = hour.saturating_sub(2);
        if !self.shared.is_counting || closed_through < books.closed_through {
            return;
        }
        books.closed_through = closed_through;
        let mut has_turned = false;
        for (place, table) in self.shared.hours.iter().enumerate() {
            let wanted = [hour - 1, hour, hour + 1];
            let wanted = wanted.into_iter().find(|hour| hour.rem_euclid(3) == place as i64).unwrap_or(hour);
            if table.hour() != Some(wanted) {
                let ledger = &mut books.ledger;
                table.hand_over(wanted, |own, tag, total, minute| self.add_cell(ledger, own, tag, total, minute));
                has_turned = true;
            }
        }
        if has_turned {
            self.shared.turns.fetch_add(1, Ordering::Release);
        }
    }

    fn add_cell(&self, totals: &mut HashMap<Subject, Count>, hour: i64, tag: Tag, total: u64, minute: u8) {
        let facts = |record: &Record<'_>| (record.id(), record.organization(), record.meta());
        // Slots that are counted are not reused, so the record is still that of the key.
        let Some((key, organization, meta)) = self.shared.records.read(tag.slot(), facts) else { return };
        let subject = Subject { hour, key, scope: tag.scope(), outcome: tag.outcome() };
        add(totals, subject, Count { organization, meta, total, minute });
    }

    fn resolve(&self, directory: &Directory, subject: &Subject, count: &Count) -> Option<UsageTotal> {
        let organization = self.shared.organizations.id(count.organization)?;
        let api = directory.compiled(count.meta.api())?;
        let minutes = subject.hour.saturating_mul(MINUTES_PER_HOUR).saturating_add(i64::from(count.minute));
        Some(UsageTotal {
            key: subject.key,
            organization,
            api: api.definition().name().clone(),
            environment: count.meta.environment(),
            hour: subject.hour,
            scope: api.scope_name(ScopeIndex(subject.scope)).cloned(),
            outcome: outcome_of(subject.outcome),
            count: count.total,
            last_used: Timestamp::from_micros(minutes.saturating_mul(MICROS_PER_MINUTE)),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where a verdict is going to be counted.
pub(crate) struct Tally<'a> {
    usage: &'a Usage,
    table: &'a HourTable,
    hour: i64,
    minute: u8,
    scope: u16,
}

impl Tally<'_> {
    /// Has the processor fetch what counting a request of this key will need.
    #[inline]
    pub(crate) fn prefetch(&self, slot: u32) {
        self.table.prefetch(slot);
    }

    #[inline]
    pub(crate) fn count(&self, sighting: &Sighting) {
        let outcome = outcome_number(sighting.outcome);
        let is_counted = self.table.count(self.hour, self.minute, Tag::new(sighting.slot, self.scope, outcome));
        if !is_counted && self.usage.shared.is_counting {
            self.count_in_ledger(sighting, outcome);
        }
    }

    #[cold]
    fn count_in_ledger(&self, sighting: &Sighting, outcome: u8) {
        let mut books = self.usage.lock();
        let hour = self.hour.max(books.closed_through.saturating_add(1));
        let subject = Subject { hour, key: sighting.id, scope: self.scope, outcome };
        let count = Count { organization: sighting.organization, meta: sighting.meta, total: 1, minute: self.minute };
        add(&mut books.ledger, subject, count);
    }
}

/// Whether a slot that was given up at one turn of the hour may be used again at another.
pub(crate) fn has_rested(since: u64, now: u64) -> bool {
    now >= since.saturating_add(TURNS_OF_REST)
}

fn add(totals: &mut HashMap<Subject, Count>, subject: Subject, count: Count) {
    let sum = totals.entry(subject).or_insert(Count { total: 0, ..count });
    sum.total += count.total;
    sum.minute = sum.minute.max(count.minute);
}

fn outcome_number(outcome: Option<Denial>) -> u8 {
    outcome.map_or(0, |denial| denial as u8)
}

fn outcome_of(number: u8) -> Option<Denial> {
    Denial::ALL.into_iter().find(|denial| *denial as u8 == number)
}
