//! Usage: how often each key was allowed and denied, by hour.
//!
//! A verification counts in the table of its hour, which it finds in its [`View`]; that is an atomic addition.
//! Now and then somebody collects: it reads all counts, which are absolute totals since the engine was
//! made, so that writing them down twice is writing them down once.
//!
//! # Why no count is lost
//!
//! - A view holds the tables of three hours: at a collection in hour *h*, those of *h - 1*, *h* and *h + 1*. A request
//!   whose hour has no table, or whose table is full, goes into the *ledger*, an ordinary map behind a lock: exact,
//!   but slow. Whoever makes an engine that counts sees to it that somebody collects at least once an hour, and that
//!   [`EngineOptions::usage_cells`](crate::EngineOptions::usage_cells) fits.
//! - Tables are never emptied and reused. A table whose hour is over is taken out of the view first. A verification
//!   that began before (it computed its hour just before the boundary, or was taken off its core) holds the old view
//!   and so keeps the table alive; it may go on counting in it for as long as it likes. Only when nobody holds the
//!   table any more, which its reference count proves, are its totals moved into the ledger and the table dropped.
//!   Until then it is collected like the others.
//! - Hours up to *h - 2* are closed by a collection in hour *h*. Their totals leave the ledger with the collection that
//!   finds no retired table left that could add to them, and are in its answer for the last time. A request so late
//!   that its hour was closed meanwhile is counted in the earliest hour that is not.
//! - Cells know keys by slot, to be small. A removed key's slot is not reused before all tables that stood in a view
//!   at its removal are retired, and its record keeps id, organization, api and environment until then.

mod hour_table;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use claviger_domain::denial::Denial;
use claviger_domain::id::{KeyId, OrganizationId};
use claviger_domain::key::{ApiName, Environment};
use claviger_domain::scope::Scope;
use claviger_domain::time::Timestamp;

pub(crate) use self::hour_table::HourTable;
use self::hour_table::Tag;
use crate::directory::Directory;
use crate::record::Meta;
use crate::shared::{Shared, View};
use crate::sync::Ordering;
use crate::verdict::ScopeIndex;

/// The scope number of requests for endpoints that the definition does not name.
const NO_SCOPE: u16 = u16::MAX;
const MICROS_PER_MINUTE: i64 = 60_000_000;
const MINUTES_PER_HOUR: i64 = 60;

/// The counts of an engine.
#[derive(Debug)]
pub struct Usage {
    shared: Arc<Shared>,
    cells: usize,
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
    /// Tables that no view has any more, but perhaps a verification.
    retired: Vec<Arc<HourTable>>,
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
    pub(crate) fn new(shared: Arc<Shared>, cells: usize) -> Self {
        let books = Books { closed_through: i64::MIN, retired: Vec::new(), ledger: HashMap::new() };
        Self { shared, cells, books: Mutex::new(books) }
    }

    /// All totals that may have changed since the hour before the previous one began.
    ///
    /// The totals of an hour are returned by every collection until the hour is closed, the last time by a collection
    /// at least one full hour after its end. Each is absolute, so a later one replaces an earlier one of the same
    /// key, hour, scope and outcome.
    pub fn collect(&self, now: Timestamp) -> Vec<UsageTotal> {
        let mut books = self.lock();
        self.turn_over(&mut books, now.hour());
        let mut totals = books.ledger.clone();
        let view = self.shared.view();
        for table in view.hours.iter().flatten().chain(&books.retired) {
            self.add_totals(table, &mut totals);
        }
        if books.retired.is_empty() {
            let closed_through = books.closed_through;
            books.ledger.retain(|subject, _| subject.hour > closed_through);
        }
        drop(books);
        totals.iter().filter_map(|(subject, count)| self.resolve(&view.directory, subject, count)).collect()
    }

    /// Gets ready to count a verdict on an endpoint that asks for this scope.
    #[inline]
    pub(crate) fn tally<'a>(&'a self, view: &'a View, now: Timestamp, scope: Option<ScopeIndex>) -> Tally<'a> {
        let hour = now.hour();
        Tally {
            usage: self,
            table: view.hours.as_ref().map(|hours| &*hours[hour.rem_euclid(3) as usize]),
            hour,
            minute: now.as_micros().div_euclid(MICROS_PER_MINUTE).rem_euclid(MINUTES_PER_HOUR) as u8,
            scope: scope.map_or(NO_SCOPE, |scope| scope.0),
        }
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        let books = self.lock();
        let tables = books.retired.iter().map(|table| table.memory_bytes()).sum::<usize>();
        tables + books.ledger.capacity() * size_of::<(Subject, Count)>()
    }

    /// Sees to it that the view has the tables of the hours around this one, and moves the others to the ledger.
    fn turn_over(&self, books: &mut Books, hour: i64) {
        let Some(hours) = self.shared.view().hours.clone() else {
            return;
        };
        books.closed_through = books.closed_through.max(hour - 2);
        let wanted = [hour - 1, hour, hour + 1];
        for (place, table) in hours.into_iter().enumerate() {
            let own = wanted.into_iter().find(|hour| hour.rem_euclid(3) == place as i64).unwrap_or(hour);
            if table.hour() == Some(own) {
                continue;
            }
            self.shared.publish(|view| {
                let serial = self.shared.newest_serial.load(Ordering::Relaxed) + 1;
                self.shared.newest_serial.store(serial, Ordering::Relaxed);
                if let Some(hours) = &mut view.hours {
                    hours[place] = Arc::new(HourTable::new(self.cells, serial, Some(own)));
                }
            });
            books.retired.push(table);
            self.move_to_ledger(books);
        }
        self.move_to_ledger(books);
        let view = self.shared.view();
        let in_use = view.hours.iter().flatten().chain(&books.retired);
        let oldest = in_use.map(|table| table.serial).min().unwrap_or(u64::MAX);
        self.shared.oldest_serial.store(oldest, Ordering::Release);
    }

    /// Moves the totals of retired tables that nobody holds any more.
    fn move_to_ledger(&self, books: &mut Books) {
        for mut table in std::mem::take(&mut books.retired) {
            // Alone with it: everything that was ever counted in it is there to be seen, and nothing will be added.
            if Arc::get_mut(&mut table).is_none() {
                books.retired.push(table);
                continue;
            }
            self.add_totals(&table, &mut books.ledger);
        }
    }

    fn add_totals(&self, table: &HourTable, totals: &mut HashMap<Subject, Count>) {
        let Some(hour) = table.hour() else { return };
        for (tag, total, minute) in table.totals() {
            let facts = |record: &crate::record::Record<'_>| (record.id(), record.organization(), record.meta());
            // Slots that are counted are not reused, so the record is still that of the key.
            let Some((key, organization, meta)) = self.shared.records.read(tag.slot(), facts) else {
                continue;
            };
            let subject = Subject { hour, key, scope: tag.scope(), outcome: tag.outcome() };
            add(totals, subject, Count { organization, meta, total, minute });
        }
    }

    fn resolve(&self, directory: &Directory, subject: &Subject, count: &Count) -> Option<UsageTotal> {
        let (organization, _) = self.shared.organizations.find(count.organization)?;
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
    table: Option<&'a HourTable>,
    hour: i64,
    minute: u8,
    scope: u16,
}

impl Tally<'_> {
    /// Has the processor fetch what counting a request of this key will need.
    #[inline]
    pub(crate) fn prefetch(&self, slot: u32) {
        if let Some(table) = self.table {
            table.prefetch(slot);
        }
    }

    #[inline]
    pub(crate) fn count(&self, sighting: &Sighting) {
        let Some(table) = self.table else { return };
        let outcome = outcome_number(sighting.outcome);
        if !table.count(self.hour, self.minute, Tag::new(sighting.slot, self.scope, outcome)) {
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
