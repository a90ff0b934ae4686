//! Usage: from the engine's counters to the table (live keys) or to memory (test keys), and back as reports.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use claviger_domain::denial::Denial;
use claviger_domain::id::{KeyId, OrganizationId};
use claviger_domain::key::{ApiName, Environment};
use claviger_domain::time::Timestamp;
use claviger_engine::UsageTotal;
use claviger_store::usage::{UsageRow, UsageSum};
use claviger_store::{apis, organizations, usage};

use crate::actor::{Acting, Need};
use crate::{Actor, App, AppError, KeyRow};

/// Name of the scope of calls to endpoints that the definition does not list.
pub const NO_SCOPE: &str = "none";
/// Name of the outcome of a call that passed.
pub const ALLOWED: &str = "allowed";
/// Written totals of hours older than this are not kept in memory any longer.
const HOURS_REMEMBERED: i64 = 4;

/// Whose usage. The operator names both; a key that acts asks for its own place.
#[derive(Clone, Debug, Default)]
pub struct UsageQuery {
    /// The organization.
    pub organization: Option<OrganizationId>,
    /// The api.
    pub api: Option<ApiName>,
}

/// The calls of this month (UTC).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UsageReport {
    /// Whose.
    pub organization: OrganizationId,
    /// To which api.
    pub api: ApiName,
    /// First instant of the month.
    pub period_start: Timestamp,
    /// First instant after the month.
    pub period_end: Timestamp,
    /// With all of the organization's keys.
    pub organization_counts: UsageCounts,
    /// With the key that asks, when a key does.
    pub key_counts: Option<UsageCounts>,
}

/// Calls, counted in several ways. Every `by_` adds up to `total`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct UsageCounts {
    /// All of them.
    pub total: u64,
    /// Those that passed.
    pub allowed: u64,
    /// Those that were refused.
    pub denied: u64,
    /// Those that cost something: passed, with a live key.
    pub billable: u64,
    /// By the scope of the endpoint.
    pub by_scope: BTreeMap<String, u64>,
    /// By the environment of the key.
    pub by_environment: BTreeMap<String, u64>,
    /// By outcome: `allowed`, or the code of the denial.
    pub by_outcome: BTreeMap<String, u64>,
}

impl UsageCounts {
    fn add(&mut self, environment: Environment, scope: &str, outcome: &str, total: u64) {
        self.total += total;
        if outcome == ALLOWED {
            self.allowed += total;
            if environment == Environment::Live {
                self.billable += total;
            }
        } else {
            self.denied += total;
        }
        *self.by_scope.entry(scope.to_owned()).or_default() += total;
        *self.by_environment.entry(environment.to_string()).or_default() += total;
        *self.by_outcome.entry(outcome.to_owned()).or_default() += total;
    }
}

impl App {
    /// The calls of this month, up to this very moment.
    pub async fn usage(&self, actor: &Actor, query: UsageQuery) -> Result<UsageReport, AppError> {
        self.flush_usage().await?;
        let now = self.now();
        let mut reader = self.store.read().await?;
        let (organization, api, key) = match actor.look_up(&mut reader, Need::ReadUsage, now).await? {
            Acting::Key { key, .. } => (key.organization, key.api.clone(), Some(key.id)),
            Acting::Operator => {
                let organization = query.organization.ok_or(AppError::invalid("organization", "is missing"))?;
                let api = query.api.ok_or(AppError::invalid("api", "is missing"))?;
                let found = organizations::find(&mut reader, organization).await?;
                found.ok_or(AppError::NotFound { what: "organization" })?;
                apis::find(&mut reader, &api).await?.ok_or(AppError::NotFound { what: "API" })?;
                (organization, api, None)
            }
        };
        let (period_start, period_end) = (now.month_start(), now.next_month_start());
        let hours = period_start.hour()..period_end.hour();
        let counts = async |reader: &mut _, key| {
            let live = usage::sum(reader, organization, &api, key, hours.clone()).await?;
            Ok::<_, AppError>(self.ledger.counts(&live, organization, &api, key, &hours))
        };
        let organization_counts = counts(&mut reader, None).await?;
        let key_counts = match key {
            Some(key) => Some(counts(&mut reader, Some(key)).await?),
            None => None,
        };
        Ok(UsageReport { organization, api, period_start, period_end, organization_counts, key_counts })
    }

    /// Takes the engine's counters to where they are kept. Returns when everything that was counted before
    /// the call is there.
    pub(crate) async fn flush_usage(&self) -> Result<(), AppError> {
        let ledger = &self.ledger;
        let arrived = ledger.flushes_started.load(Ordering::SeqCst);
        let mut flushed = ledger.flushed.lock().await;
        if flushed.started > arrived {
            // A flush that began after this call did has already taken what this call is about.
            return Ok(());
        }
        let started = ledger.flushes_started.fetch_add(1, Ordering::SeqCst) + 1;
        let now = self.now();
        for total in self.engine.usage().collect(now) {
            ledger.take(&mut flushed, total);
        }
        let due = flushed.due();
        if !due.is_empty() {
            usage::put_totals(&self.store, ledger.incarnation, &due).await?;
        }
        flushed.wrote(due, now.hour());
        flushed.started = started;
        ledger.forget_before(now.month_start().hour());
        Ok(())
    }
}

/// What has been counted and where it has gone.
pub(crate) struct Ledger {
    incarnation: i64,
    flushes_started: AtomicU64,
    flushed: tokio::sync::Mutex<Flushed>,
    test: Mutex<TestUsage>,
}

#[derive(PartialEq, Eq, Hash, Clone)]
struct Bucket {
    key: KeyId,
    hour: i64,
    scope: String,
    outcome: String,
}

#[derive(Default)]
struct Flushed {
    started: u64,
    pending: HashMap<Bucket, UsageRow>,
    written: HashMap<Bucket, i64>,
}

#[derive(Default)]
struct TestUsage {
    totals: HashMap<Bucket, (OrganizationId, ApiName, u64)>,
    last_used: HashMap<KeyId, Timestamp>,
}

impl Flushed {
    fn due(&self) -> Vec<UsageRow> {
        self.pending.values().cloned().collect()
    }

    fn wrote(&mut self, rows: Vec<UsageRow>, hour_now: i64) {
        for row in rows {
            let bucket = Bucket { key: row.key, hour: row.hour, scope: row.scope, outcome: row.outcome };
            self.pending.remove(&bucket);
            self.written.insert(bucket, row.total);
        }
        self.written.retain(|bucket, _| bucket.hour > hour_now - HOURS_REMEMBERED);
    }
}

impl Ledger {
    pub(crate) fn new(incarnation: i64) -> Self {
        Self {
            incarnation,
            flushes_started: AtomicU64::new(0),
            flushed: tokio::sync::Mutex::default(),
            test: Mutex::default(),
        }
    }

    /// Test keys' last use is known only here.
    pub(crate) fn with_last_used(&self, row: KeyRow) -> KeyRow {
        let test = self.test.lock().unwrap_or_else(PoisonError::into_inner);
        let last_used = row.last_used.max(test.last_used.get(&row.key.id).copied());
        KeyRow { last_used, ..row }
    }

    fn take(&self, flushed: &mut Flushed, total: UsageTotal) {
        let bucket = Bucket {
            key: total.key,
            hour: total.hour,
            scope: total.scope.map_or_else(|| NO_SCOPE.to_owned(), |scope| scope.to_string()),
            outcome: total.outcome.map_or(ALLOWED, Denial::as_str).to_owned(),
        };
        if total.environment == Environment::Test {
            let mut test = self.test.lock().unwrap_or_else(PoisonError::into_inner);
            if total.outcome.is_none() {
                let last_used = test.last_used.entry(total.key).or_insert(total.last_used);
                *last_used = (*last_used).max(total.last_used);
            }
            test.totals.insert(bucket, (total.organization, total.api, total.count));
            return;
        }
        let total_now = i64::try_from(total.count).unwrap_or(i64::MAX);
        if flushed.written.get(&bucket) == Some(&total_now) {
            return;
        }
        let row = UsageRow {
            organization: total.organization,
            api: total.api,
            hour: bucket.hour,
            key: bucket.key,
            scope: bucket.scope.clone(),
            outcome: bucket.outcome.clone(),
            total: total_now,
            last_used: total.outcome.is_none().then_some(total.last_used),
        };
        flushed.pending.insert(bucket, row);
    }

    fn counts(
        &self,
        live: &[UsageSum],
        organization: OrganizationId,
        api: &ApiName,
        key: Option<KeyId>,
        hours: &std::ops::Range<i64>,
    ) -> UsageCounts {
        let mut counts = UsageCounts::default();
        for sum in live {
            counts.add(Environment::Live, &sum.scope, &sum.outcome, sum.total.unsigned_abs());
        }
        let test = self.test.lock().unwrap_or_else(PoisonError::into_inner);
        for (bucket, (owner, of_api, total)) in &test.totals {
            let fits = *owner == organization && of_api == api && key.is_none_or(|key| key == bucket.key);
            if fits && hours.contains(&bucket.hour) {
                counts.add(Environment::Test, &bucket.scope, &bucket.outcome, *total);
            }
        }
        counts
    }

    /// Test usage is kept for the month it belongs to.
    fn forget_before(&self, hour: i64) {
        let mut test = self.test.lock().unwrap_or_else(PoisonError::into_inner);
        test.totals.retain(|bucket, _| bucket.hour >= hour);
    }
}
