//! Usage: from the engine's counters to the table (live keys) or to memory (test keys), and back as reports.
//!
//! Reading order: this file (how counts get there), [`report`] (what is shown of them), [`export`], [`retention`] (hours
//! become days, and are forgotten).

pub mod export;
mod memory;
pub mod report;
pub mod retention;
pub(crate) mod seed;

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use claviger_domain::id::{KeyId, OrganizationId};
use claviger_domain::key::{ApiName, Environment, Key};
use claviger_domain::time::Timestamp;
use claviger_engine::{Outcome, UsageTotal};
use claviger_store::usage::UsageRow;
use claviger_store::usage_reports::find_account;
use claviger_store::{Connection, usage};
use tokio::sync::OnceCell;

use self::memory::Memory;
use self::retention::UsageRetention;
use crate::{App, AppError, KeyRow};

/// Name of the scope of calls to endpoints that the definition does not list.
pub const NO_SCOPE: &str = "none";
/// Name of the outcome of a call that passed and cost something.
pub const ALLOWED: &str = Outcome::Allowed.as_str();
/// Name of the outcome of a call that passed and cost nothing.
pub const ALLOWED_FREE: &str = Outcome::AllowedFree.as_str();
/// Name of what is no call: units beyond the first of calls that passed.
pub const EXTRA_UNITS: &str = Outcome::ExtraUnits.as_str();
/// Rows that are written in one transaction: between them, revocations have their turn.
pub(crate) const ROWS_PER_WRITE: usize = 500;
/// Written totals of hours older than this are not kept in memory any longer.
const HOURS_REMEMBERED: i64 = 4;
/// The engine closes hours that are so many before the present one.
const HOURS_OPEN: i64 = 2;

/// Calls, counted in several ways. Every `by_` adds up to `total`; `billable` counts units, of which a call may cost
/// none or many.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct UsageCounts {
    /// All of them.
    pub total: u64,
    /// Those that passed.
    pub allowed: u64,
    /// Those that were refused.
    pub denied: u64,
    /// The units that those cost which passed, with live keys.
    pub billable: u64,
    /// By the scope of the endpoint.
    pub by_scope: BTreeMap<String, u64>,
    /// By the environment of the key.
    pub by_environment: BTreeMap<String, u64>,
    /// By outcome: `allowed`, or the code of the denial.
    pub by_outcome: BTreeMap<String, u64>,
}

impl UsageCounts {
    pub(crate) fn add(&mut self, environment: Environment, scope: &str, outcome: &str, total: u64) {
        let is_live = environment == Environment::Live;
        if is_live && matches!(outcome, ALLOWED | EXTRA_UNITS) {
            self.billable += total;
        }
        if outcome == EXTRA_UNITS {
            return;
        }
        self.total += total;
        // For whoever reads a report, a call that passed is one, whatever it cost.
        let outcome = if outcome == ALLOWED_FREE { ALLOWED } else { outcome };
        if outcome == ALLOWED {
            self.allowed += total;
        } else {
            self.denied += total;
        }
        *self.by_scope.entry(scope.to_owned()).or_default() += total;
        *self.by_environment.entry(environment.to_string()).or_default() += total;
        *self.by_outcome.entry(outcome.to_owned()).or_default() += total;
    }
}

impl App {
    /// How much more each total is than what the table has of it.
    async fn less_what_is_written(
        &self,
        reader: &mut Connection,
        place: &Place,
        totals: HashMap<Bucket, i64>,
    ) -> Result<HashMap<Bucket, u64>, AppError> {
        let mut written: HashMap<Bucket, i64> = HashMap::new();
        let mut pruned_before = 0;
        if let Some(first) = totals.keys().map(|bucket| bucket.hour).min() {
            let rows = usage::list_from(reader, self.ledger.incarnation, place.0, &place.1, first).await?;
            written.extend(rows.iter().map(|row| (Bucket::of(row), row.total)));
            pruned_before = find_account(reader, place).await?.map_or(0, |account| account.pruned_before);
        }
        let more = |(bucket, total): (Bucket, i64)| {
            let more = total - written.get(&bucket).copied().unwrap_or(0);
            (bucket, more.max(0).unsigned_abs())
        };
        // Of hours that were forgotten the engine may still speak, when the clock has made a leap.
        let kept = totals.into_iter().filter(|(bucket, _)| bucket.hour >= pruned_before);
        Ok(kept.map(more).filter(|(_, more)| *more > 0).collect())
    }

    /// Takes over what the engine has counted, without writing it. Returns when everything that was counted before the
    /// call is there, and holds it still: whoever calls does nothing slow with it.
    async fn collect_usage(&self) -> tokio::sync::MutexGuard<'_, Unwritten> {
        let ledger = &self.ledger;
        let arrived = ledger.collections_started.load(Ordering::SeqCst);
        let mut unwritten = ledger.unwritten.lock().await;
        // A collection that began after this call did has already taken what this call is about.
        if unwritten.collection <= arrived {
            unwritten.collection = ledger.collections_started.fetch_add(1, Ordering::SeqCst) + 1;
            let now = self.now();
            for total in self.engine.usage().collect(now) {
                ledger.take(&mut unwritten, total);
            }
            unwritten.forget_before(now.hour() - HOURS_REMEMBERED);
            ledger.memory().sum_up(now);
        }
        unwritten
    }

    /// Writes what has been counted with live keys.
    pub(crate) async fn flush_usage(&self) -> Result<(), AppError> {
        let due: Vec<UsageRow> = self.collect_usage().await.pending.values().cloned().collect();
        for rows in due.chunks(ROWS_PER_WRITE) {
            warn_of_late(usage::put_totals(&self.store, self.ledger.incarnation, rows).await?);
            self.ledger.unwritten.lock().await.wrote(rows);
            self.ledger.memory().wrote(rows);
        }
        let mut unwritten = self.ledger.unwritten.lock().await;
        // The engine forgets only totals of hours that were closed. If somebody else collected some since, they come first.
        if unwritten.pending.keys().all(|bucket| bucket.hour > unwritten.closed_through) {
            let now = self.now();
            unwritten.closed_through = unwritten.closed_through.max(now.hour() - HOURS_OPEN);
            for total in self.engine.usage().close_hours(now) {
                self.ledger.take(&mut unwritten, total);
            }
        }
        Ok(())
    }
}

impl App {
    /// The row with the last use that the engine or memory knows of, if that is later.
    pub(crate) fn with_last_used(&self, row: KeyRow) -> KeyRow {
        let counted = self.engine.usage().last_used(row.key.id, &row.key.digest);
        let collected = self.ledger.memory().last_used(row.key.id);
        KeyRow { last_used: row.last_used.max(collected).max(counted), ..row }
    }
}

/// What has been counted and where it has gone.
pub(crate) struct Ledger {
    /// The number of this run of the process.
    incarnation: i64,
    collections_started: AtomicU64,
    unwritten: tokio::sync::Mutex<Unwritten>,
    memory: Mutex<Memory>,
    retention: Mutex<UsageRetention>,
    /// The hour in which hours were last made days of.
    tended_in: AtomicI64,
    /// The last hour whose calls were judged.
    pub(crate) judged_hour: AtomicI64,
    /// What tells this database from every other.
    deployment: OnceCell<[u8; 16]>,
}

type Place = (OrganizationId, ApiName);

/// Totals of hours that are not kept any more say nothing that could be added to what was made of them.
pub(crate) fn warn_of_late(totals: usize) {
    if totals > 0 {
        tracing::warn!(totals, "usage of hours that are not kept any more came too late and is not counted");
    }
}

#[derive(PartialEq, Eq, Hash, Clone)]
struct Bucket {
    key: KeyId,
    hour: i64,
    scope: String,
    outcome: String,
}

impl Bucket {
    fn of(row: &UsageRow) -> Self {
        Self { key: row.key, hour: row.hour, scope: row.scope.clone(), outcome: row.outcome.clone() }
    }
}

/// Totals of live keys that the table does not have yet, and what it has.
#[derive(Default)]
struct Unwritten {
    collection: u64,
    pending: HashMap<Bucket, UsageRow>,
    written: HashMap<Bucket, i64>,
    /// Hours up to this one the engine has closed.
    closed_through: i64,
}

impl Unwritten {
    /// Takes note of rows that the table has. Meanwhile there may be more to write.
    fn wrote(&mut self, rows: &[UsageRow]) {
        for row in rows {
            let bucket = Bucket::of(row);
            if self.pending.get(&bucket).is_some_and(|pending| pending.total <= row.total) {
                self.pending.remove(&bucket);
            }
            let written = self.written.entry(bucket).or_insert(row.total);
            *written = row.total.max(*written);
        }
    }

    fn forget_before(&mut self, hour: i64) {
        self.written.retain(|bucket, _| bucket.hour >= hour);
    }

    fn of(&self, place: &Place, hours: &Range<i64>) -> HashMap<Bucket, i64> {
        let is_of_place = |row: &&UsageRow| row.organization == place.0 && row.api == place.1;
        let rows = self.pending.values().filter(is_of_place).filter(|row| hours.contains(&row.hour));
        rows.map(|row| (Bucket::of(row), row.total)).collect()
    }
}

impl Ledger {
    pub(crate) fn new(incarnation: i64) -> Self {
        Self {
            incarnation,
            collections_started: AtomicU64::new(0),
            unwritten: tokio::sync::Mutex::default(),
            memory: Mutex::default(),
            retention: Mutex::default(),
            tended_in: AtomicI64::new(i64::MIN),
            judged_hour: AtomicI64::new(i64::MIN),
            deployment: OnceCell::new(),
        }
    }

    /// Forgets a key that is no more.
    pub(crate) fn forget_key(&self, key: &Key, now: Timestamp) {
        self.memory().forget_key(&(key.organization, key.api.clone()), key.id, now.hour());
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, unwritten: &mut Unwritten, total: UsageTotal) {
        let bucket = Bucket {
            key: total.key,
            hour: total.hour,
            scope: total.scope.as_ref().map_or_else(|| NO_SCOPE.to_owned(), ToString::to_string),
            outcome: total.outcome.as_str().to_owned(),
        };
        let is_test = total.environment == Environment::Test;
        let count = i64::try_from(total.count).unwrap_or(i64::MAX);
        if !is_test && unwritten.written.get(&bucket) == Some(&count) {
            return;
        }
        let mut memory = self.memory();
        if total.outcome.is_allowed() {
            memory.note_use(&total);
        }
        if is_test {
            memory.put_test((total.organization, total.api), bucket, total.count);
            return;
        }
        let row = UsageRow {
            organization: total.organization,
            api: total.api,
            hour: bucket.hour,
            key: bucket.key,
            scope: bucket.scope.clone(),
            outcome: bucket.outcome.clone(),
            total: count,
            last_used: total.outcome.is_allowed().then_some(total.last_used),
            parent: None,
        };
        unwritten.pending.insert(bucket, row);
    }
}
