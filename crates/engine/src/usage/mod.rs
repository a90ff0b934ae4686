//! Usage: how often each key was allowed and denied, by hour.
//!
//! A verification counts in the table of its hour: one compare-and-swap. Now and then somebody collects: it
//! reads all counts, which are absolute totals since the engine was made, so that writing them down twice is
//! writing them down once. What was written down is closed in the end, so that its room can be used again.
//!
//! # Why no count is lost
//!
//! - There are three tables, and an hour belongs to the one at the hour modulo 3. In hour *h* they are to be those of
//!   *h - 1*, *h* and *h + 1*. A request whose hour has no table, or whose table is full, goes into the *ledger*,
//!   a map behind a lock: exact, but slow. Whoever makes an engine that counts sees to it that somebody collects and
//!   closes a few times an hour, and that [`EngineOptions::usage_cells`](crate::EngineOptions::usage_cells) fits.
//! - A table comes to another hour in two steps, both of them [`Usage::close_hours`], with a [`Usage::collect`] between
//!   them. The first *closes* hours up to *h - 2*. A verification may just have found its cell there (it computed its
//!   hour at the boundary, or was taken off its core). The hour is part of the very word that is compared and swapped,
//!   and closing changes it in every such word, those of unused cells included. So each count is either in the
//!   closed total, which never changes again, or its compare-and-swap fails and it goes to the ledger by itself. The
//!   second step *hands over* a table that was closed and has been collected since, and forgets its totals. A count
//!   never lands in another hour, nor in a cell that has become another key's.
//! - A request so late that its hour is closed is counted in the earliest hour that is not, under the ledger's lock.
//! - `close_hours` is called when all that `collect` returned is kept elsewhere. Where that cannot be done,
//!   nothing is closed and nothing handed over: new hours are counted in the ledger.
//! - When the clock jumps back, requests are counted in the earliest hour that is not closed. When it jumps ahead, the
//!   hours between are closed. Either way the ledger takes what the tables do not.
//! - Cells know keys by slot, to be small. The slot of a removed key is not reused before every table was handed over
//!   twice, and its record keeps id, account, api and environment until then. Whoever claims a cell then looks
//!   again whether the table is still of its hour. So a verification that found the key before it was removed
//!   leaves no cell for the next owner of the slot, however late it is: it ends in the ledger, which knows keys by id.
//!
//! # Why a crash loses none either
//!
//! All that is counted stands in one region of words, which may outlive the process; [`recover()`] finds every total there that
//! `collect` would have returned. Think of a crash between any two stores:
//!
//! - A count is one compare-and-swap, or in the ledger one store. Before it the verdict was not given yet.
//! - The key of a cell: its id was written before its tag, without which nobody counts there. Who died in between has
//!   counted nothing there. The hour of a table was written before anybody counted for it, the name of a scope before
//!   any api with it was shown, what an entry of the ledger is about before the entry was marked as used.
//! - Closing changes no total. A table that is half closed is read like one that is open or closed.
//! - Handing over forgets only what is kept elsewhere. A table that is half handed over still says its old hour; what it
//!   still has is a total that was kept before. So does the ledger, from which the same hours are forgotten.
//!
//! Only where the ledger has more totals than its part of the region has room for does it hold some in memory alone:
//! [`Usage::unsafe_entries`] says how many.

mod hour_table;
mod ledger;
mod outcome;
mod recover;
mod region;
mod scope_names;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use claviger_domain::id::{KeyId, OrganizationId};
use claviger_domain::key::{ApiName, Environment};
use claviger_domain::scope::Scope;
use claviger_domain::secret::SecretDigest;
use claviger_domain::time::Timestamp;

pub(crate) use self::hour_table::HourTable;
#[cfg(all(test, loom))]
pub(crate) use self::hour_table::State;
pub(crate) use self::hour_table::Tag;
use self::ledger::{Count, Ledger, Subject};
pub use self::outcome::Outcome;
#[cfg(all(test, loom))]
pub(crate) use self::recover::read_table;
pub use self::recover::{Recovered, RecoveredTotal, recover};
#[cfg(all(test, loom))]
pub(crate) use self::region::Layout;
pub use self::region::{CountersError, RecoverError, Words, words_needed};
pub(crate) use self::region::{Part, Region, TABLES, mix};
pub(crate) use self::scope_names::{NO_SCOPE, ScopeNames};
use crate::directory::Directory;
pub use crate::limits::cells::RecoveredLimits;
use crate::record::{Meta, Record};
use crate::shared::{Shared, View};

const MICROS_PER_MINUTE: i64 = 60_000_000;
const MINUTES_PER_HOUR: i64 = 60;
/// The greatest total, at which counting stops: 40 bits.
const TOTAL_MAX: u64 = (1 << 40) - 1;
/// How often every table is handed over before the slot of a removed key is used again.
const TURNS_OF_REST: u64 = 2;

/// The counts of an engine.
#[derive(Debug)]
pub struct Usage {
    shared: Arc<Shared>,
    books: Mutex<Books>,
}

/// How often a key met an outcome in an hour, as an absolute number since the engine was made. Numbers end at 2^40 - 1
/// and stay there.
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
    /// What became of it.
    pub outcome: Outcome,
    /// How often; of extra units, how many.
    pub count: u64,
    /// The last time, to the minute.
    pub last_used: Timestamp,
}

/// A verdict on a found key, to be counted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sighting {
    pub(crate) slot: u32,
    pub(crate) id: KeyId,
    pub(crate) account: u32,
    pub(crate) meta: Meta,
    pub(crate) outcome: Outcome,
    /// What it cost.
    pub(crate) cost: u32,
}

#[derive(Debug)]
struct Books {
    /// Hours up to this one take no more counts.
    closed_through: i64,
    /// The last totals of hours up to this one were collected.
    collected_through: i64,
    /// What is in no table.
    ledger: Ledger,
}

impl Usage {
    /// The counts in a fresh region, whose tables are those of `shared`.
    pub(crate) fn new(shared: Arc<Shared>, region: &Region) -> Self {
        let ledger = Ledger::new(region);
        let books = Books { closed_through: i64::MIN, collected_through: i64::MIN, ledger };
        Self { shared, books: Mutex::new(books) }
    }

    /// The totals of all hours that were not handed over, closed ones included.
    ///
    /// Each total is absolute, so a later one replaces an earlier one of the same key, hour, scope and outcome.
    /// Collecting changes nothing, but for tables that have had no hour yet: they get those around `now`.
    pub fn collect(&self, now: Timestamp) -> Vec<UsageTotal> {
        let mut books = self.lock();
        self.open_unset_tables(now.hour().max(books.closed_through.saturating_add(2)));
        let totals = self.sum(&books, |_| true);
        books.collected_through = books.closed_through;
        drop(books);
        self.resolve_all(totals)
    }

    /// Ends the counting for all hours that ended at least one full hour ago, and gives the room of those that were
    /// closed and collected before to hours to come. Returns the totals of all hours that are closed and not
    /// handed over: they never change again.
    ///
    /// To be called only after everything that was ever collected is kept elsewhere, for it is forgotten here. What this
    /// returns is not forgotten before it was collected once more, and another call has followed that.
    pub fn close_hours(&self, now: Timestamp) -> Vec<UsageTotal> {
        if !self.shared.is_counting {
            return Vec::new();
        }
        let mut books = self.lock();
        let closed_through = books.closed_through.max(now.hour().saturating_sub(2));
        let hour = closed_through.saturating_add(2);
        for (place, table) in self.shared.hours.iter().enumerate() {
            if table.hour().is_some_and(|own| own <= books.collected_through) {
                table.hand_over(hour_of_table(place, hour));
            }
        }
        let collected_through = books.collected_through;
        books.ledger.forget_through(collected_through);
        self.open_unset_tables(hour);
        // Before the tables: whoever is refused by a closed table finds the hour closed.
        books.closed_through = closed_through;
        for table in self.shared.hours.iter().filter(|table| table.hour().is_some_and(|own| own <= closed_through)) {
            table.close();
        }
        let totals = self.sum(&books, |hour| hour <= closed_through);
        drop(books);
        self.resolve_all(totals)
    }

    /// When the key of this id was last allowed, to the minute, as far as the tables of the last hours know. Takes no lock,
    /// and looks at little: one key may be asked for whenever somebody wants to know.
    ///
    /// What is counted in the ledger it does not see, as [`collect`](Self::collect) does.
    pub fn last_used(&self, key: KeyId, digest: &SecretDigest) -> Option<Timestamp> {
        let is_its = |slot| self.shared.records.read(slot, |record| record.id() == key) == Some(true);
        let find = |view: &View| view.index.find(&digest.words(), |slot, _| is_its(slot).then_some(slot));
        let slot = self.shared.with_view(find)?;
        let last = self.shared.hours.iter().filter_map(|table| table.last_allowed(slot, key)).max();
        last.map(|(hour, minute)| last_used(hour, minute))
    }

    /// How many totals are in memory only, and so would be lost in a crash: more keys were counted than there is room for.
    pub fn unsafe_entries(&self) -> usize {
        self.lock().ledger.homeless()
    }

    /// Gets ready to count a verdict on an endpoint that asks for the scope of this number.
    #[inline]
    pub(crate) fn tally(&self, now: Timestamp, scope: u16) -> Tally<'_> {
        let hour = now.hour();
        Tally {
            usage: self,
            table: &self.shared.hours[hour.rem_euclid(3) as usize],
            hour,
            minute: now.as_micros().div_euclid(MICROS_PER_MINUTE).rem_euclid(MINUTES_PER_HOUR) as u8,
            scope,
        }
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        self.lock().ledger.memory_bytes()
    }

    /// Sees to it that every table has an hour: the ones around this.
    fn open_unset_tables(&self, hour: i64) {
        for (place, table) in self.shared.hours.iter().enumerate() {
            table.take_hour(hour_of_table(place, hour));
        }
    }

    /// Adds up tables and ledger.
    fn sum(&self, books: &Books, is_wanted: impl Fn(i64) -> bool) -> HashMap<Subject, Count> {
        let mut totals: HashMap<Subject, Count> =
            books.ledger.totals().filter(|(subject, _)| is_wanted(subject.hour)).collect();
        for table in &self.shared.hours {
            let Some(hour) = table.hour().filter(|hour| is_wanted(*hour)) else { continue };
            table.totals().for_each(|(tag, total, minute)| self.add_cell(&mut totals, hour, tag, total, minute));
        }
        totals
    }

    fn add_cell(&self, totals: &mut HashMap<Subject, Count>, hour: i64, tag: Tag, total: u64, minute: u8) {
        let facts = |record: &Record<'_>| (record.id(), record.account(), record.meta());
        // Slots that are counted are not reused, so the record is still that of the key.
        let Some((key, account, meta)) = self.shared.records.read(tag.slot(), facts) else { return };
        let subject = Subject { hour, key, scope: tag.scope(), outcome: tag.outcome() };
        let sum = totals.entry(subject).or_insert(Count { account, meta, total: 0, minute });
        sum.total = sum.total.saturating_add(total).min(TOTAL_MAX);
        sum.minute = sum.minute.max(minute);
    }

    fn resolve_all(&self, totals: HashMap<Subject, Count>) -> Vec<UsageTotal> {
        let directory = self.shared.directory.load();
        let names = self.shared.lock_scope_names();
        totals.iter().filter_map(|(subject, count)| self.resolve(&directory, &names, subject, count)).collect()
    }

    fn resolve(
        &self,
        directory: &Directory,
        names: &ScopeNames,
        subject: &Subject,
        count: &Count,
    ) -> Option<UsageTotal> {
        let organization = self.shared.accounts.id(count.account)?;
        let api = directory.compiled(count.meta.api())?;
        Some(UsageTotal {
            key: subject.key,
            organization,
            api: api.definition().name().clone(),
            environment: count.meta.environment(),
            hour: subject.hour,
            scope: names.name(subject.scope).cloned(),
            outcome: Outcome::of_number(subject.outcome)?,
            count: count.total,
            last_used: last_used(subject.hour, count.minute),
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
        self.add(sighting, sighting.outcome, 1);
        if sighting.outcome == Outcome::Allowed && sighting.cost > 1 {
            self.add(sighting, Outcome::ExtraUnits, sighting.cost - 1);
        }
    }

    #[inline]
    fn add(&self, sighting: &Sighting, outcome: Outcome, more: u32) {
        let tag = Tag::new(sighting.slot, self.scope, outcome.number());
        let is_counted = self.table.count(self.hour, self.minute, tag, sighting.id, more);
        if !is_counted && self.usage.shared.is_counting {
            self.add_to_ledger(sighting, outcome, more);
        }
    }

    #[cold]
    fn add_to_ledger(&self, sighting: &Sighting, outcome: Outcome, more: u32) {
        let mut books = self.usage.lock();
        let hour = self.hour.max(books.closed_through.saturating_add(1));
        let subject = Subject { hour, key: sighting.id, scope: self.scope, outcome: outcome.number() };
        let (account, meta, total) = (sighting.account, sighting.meta, u64::from(more));
        let count = Count { account, meta, total, minute: self.minute };
        books.ledger.add(subject, count);
    }
}

/// The turn at which a slot that is given up now may be used again.
pub(crate) fn rested_at(tables: &[HourTable; TABLES]) -> u64 {
    tables.iter().map(HourTable::turns).max().map_or(0, |turns| turns + TURNS_OF_REST)
}

/// The turn that every table has come to.
pub(crate) fn turn(tables: &[HourTable; TABLES]) -> u64 {
    tables.iter().map(HourTable::turns).min().unwrap_or(0)
}

/// The hour around this one whose place this is.
fn hour_of_table(place: usize, hour: i64) -> i64 {
    let around = [hour.saturating_sub(1), hour, hour.saturating_add(1)];
    around.into_iter().find(|hour| hour.rem_euclid(TABLES as i64) == place as i64).unwrap_or(hour)
}

fn last_used(hour: i64, minute: u8) -> Timestamp {
    let minutes = hour.saturating_mul(MINUTES_PER_HOUR).saturating_add(i64::from(minute));
    Timestamp::from_micros(minutes.saturating_mul(MICROS_PER_MINUTE))
}
