//! From tables to alerts: what is so, what is so no more, and what is not worth saying twice.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::sync::atomic::Ordering;

use claviger_domain::alert::{Alert, AlertKind};
use claviger_domain::audit::Author;
use claviger_domain::id::{AlertId, KeyId, OrganizationId};
use claviger_domain::key::{ApiName, Key};
use claviger_domain::limits;
use claviger_domain::time::{Timestamp, has_expired};
use claviger_store::alerts::{self, AlertFilter};
use claviger_store::networks::KeyNetwork;
use claviger_store::usage_reports::{Spans, UsageAccount, list_accounts, list_key_hours, sum_by_key, sum_units};
use claviger_store::{Connection, PageRequest, apis, keys, networks, organizations};
use serde_json::{Map, Value, json};

use super::rules::{self, HOURS_PER_WEEK, HourCalls, QuotaMark};
use super::settings::{self, AlertSettings};
use super::{AlertChange, is_closed_by_person_after};
use crate::mutation::Work;
use crate::usage::report::Whereabouts;
use crate::usage::{ALLOWED, ALLOWED_FREE, EXTRA_UNITS};
use crate::{Actor, App, AppError, KeyRow};

const HOUR_SECONDS: i64 = 3600;
const DAY_SECONDS: i64 = 24 * HOUR_SECONDS;
/// After a pause, or at a start, so many hours are judged, and those before are not.
const HOURS_AT_ONCE_MAX: i64 = 3;
/// Alerts that are written in one transaction.
const ALERTS_PER_WRITE: usize = 50;
/// What is newer was not judged before, mostly.
const JUST_NOW_SECONDS: i64 = 900;
/// What is that many days old is told of.
const OLD_DAYS: i64 = 90;
/// So long after the last unusual hour it is over.
const CALM_SECONDS: i64 = 6 * HOUR_SECONDS;
/// Weeks of a key's history that an hour is held against.
const HISTORY_WEEKS: i64 = 8;
const ROWS_AT_ONCE: u32 = 200;
/// Networks that an alert names, of those that are new and of others.
const NETWORKS_NAMED: usize = 5;

/// What an alert is about.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Subject {
    organization: OrganizationId,
    api: ApiName,
    key: Option<KeyId>,
    kind: AlertKind,
}

impl Subject {
    fn of(alert: &Alert) -> Self {
        Self { organization: alert.organization, api: alert.api.clone(), key: alert.key, kind: alert.kind }
    }
}

/// Something that is so now.
struct Finding {
    /// Since when: an alert that a person closed after this is about the same.
    since: Timestamp,
    /// A figure of the detail that says when it is worse than it was when it was last told of.
    stage: Option<&'static str>,
    detail: Map<String, Value>,
}

type Findings = BTreeMap<Subject, Finding>;

impl App {
    /// Judges what there is to judge, opens alerts and closes them.
    pub async fn evaluate_alerts(&self) -> Result<(), AppError> {
        let now = self.now();
        let mut known: HashMap<OrganizationId, AlertSettings> = HashMap::new();
        // Hours that are over and were not judged. Quotas and networks that are just new are looked at each time; all keys, their
        // calls and networks once an hour, for they may be millions.
        let last = now.hour() - 1;
        let judged = self.ledger.judged_hour.load(Ordering::SeqCst).max(last - HOURS_AT_ONCE_MAX);
        let hours = judged + 1..last + 1;
        let is_new_hour = !hours.is_empty();
        let mut findings = Findings::new();
        self.judge_networks(now, is_new_hour, &mut findings).await?;
        self.judge_accounts(now, &hours, &mut known, &mut findings).await?;
        self.close_what_is_over(now, is_new_hour, &findings, &mut known).await?;
        self.tell(findings, now, &mut known).await?;
        if is_new_hour {
            self.judge_keys(now, &mut known).await?;
            self.ledger.judged_hour.store(last, Ordering::SeqCst);
        }
        Ok(())
    }

    async fn settings_of<'k>(
        &self,
        known: &'k mut HashMap<OrganizationId, AlertSettings>,
        organization: OrganizationId,
    ) -> Result<&'k AlertSettings, AppError> {
        Ok(match known.entry(organization) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(place) => {
                let mut reader = self.store.read().await?;
                place.insert(settings::read(&mut reader, organization).await?)
            }
        })
    }

    /// What keys are, whatever they are used for: old, about to expire, forgotten. There may be millions of them, so they are told of
    /// as they are found.
    async fn judge_keys(
        &self,
        now: Timestamp,
        known: &mut HashMap<OrganizationId, AlertSettings>,
    ) -> Result<(), AppError> {
        let mut after = None;
        loop {
            let mut reader = self.store.read().await?;
            let ids = alerts::list_watched_keys(&mut reader, now, after, ROWS_AT_ONCE).await?;
            let rows = keys::list_by_id(&mut reader, &ids).await?;
            drop(reader);
            let mut findings = Findings::new();
            for row in rows {
                judge_key(&self.with_last_used(row), now, &mut findings);
            }
            self.tell(findings, now, known).await?;
            match ids.last() {
                Some(last) if ids.len() == ROWS_AT_ONCE as usize => after = Some(*last),
                _ => return Ok(()),
            }
        }
    }

    /// From where keys are used that were not used from there before.
    async fn judge_networks(&self, now: Timestamp, is_all: bool, findings: &mut Findings) -> Result<(), AppError> {
        self.write_networks().await?;
        let seconds = if is_all { rules::NEW_HOURS * HOUR_SECONDS } else { JUST_NOW_SECONDS };
        let since = now.plus_seconds(-seconds).unwrap_or(now);
        let mut past = None;
        loop {
            let mut reader = self.store.read().await?;
            let settled = rules::SETTLED_HOURS * HOUR_SECONDS;
            let ids = networks::list_keys_with_new(&mut reader, since, settled, past, ROWS_AT_ONCE).await?;
            for row in keys::list_by_id(&mut reader, &ids).await? {
                let own = networks::list_of_key(&mut reader, row.key.id).await?;
                judge_networks_of(&row.key, &own, now, findings);
            }
            match ids.last() {
                Some(last) if ids.len() == ROWS_AT_ONCE as usize => past = Some(*last),
                _ => return Ok(()),
            }
        }
    }

    async fn judge_accounts(
        &self,
        now: Timestamp,
        hours: &Range<i64>,
        known: &mut HashMap<OrganizationId, AlertSettings>,
        findings: &mut Findings,
    ) -> Result<(), AppError> {
        let mut after = None;
        loop {
            let mut reader = self.store.read().await?;
            let accounts = list_accounts(&mut reader, (None, None), after.as_ref(), ROWS_AT_ONCE).await?;
            drop(reader);
            let Some(last) = accounts.last() else { return Ok(()) };
            after = Some((last.organization, last.api.clone()));
            for account in &accounts {
                let mut reader = self.store.read().await?;
                judge_quota(&mut reader, account, now, findings).await?;
                drop(reader);
                for hour in hours.clone() {
                    let settings = self.settings_of(known, account.organization).await?.clone();
                    let mut reader = self.store.read().await?;
                    judge_hour(&mut reader, account, hour, &settings, findings).await?;
                }
            }
        }
    }

    async fn close_what_is_over(
        &self,
        now: Timestamp,
        is_new_hour: bool,
        findings: &Findings,
        known: &mut HashMap<OrganizationId, AlertSettings>,
    ) -> Result<(), AppError> {
        let filter = AlertFilter { is_open: Some(true), ..AlertFilter::default() };
        let mut page = PageRequest { after: None, limit: ROWS_AT_ONCE };
        loop {
            let mut reader = self.store.read().await?;
            let open = alerts::list(&mut reader, &filter, page).await?;
            let mut over = Vec::new();
            for alert in &open.rows {
                let is_muted = self.settings_of(known, alert.organization).await?.muted.contains(&alert.kind);
                let is_calm = alert.last_seen_at.plus_seconds(CALM_SECONDS).is_some_and(|end| end <= now);
                let is_so = match alert.kind {
                    AlertKind::KeyAge90 | AlertKind::KeyExpiry | AlertKind::KeyUnused90 if is_new_hour => {
                        self.is_still_so(&mut reader, alert, now).await?
                    }
                    AlertKind::UsageSpike | AlertKind::DenialBurst if is_new_hour => {
                        !is_calm || is_among(findings, alert)
                    }
                    AlertKind::NewNetwork if is_new_hour => is_among(findings, alert),
                    AlertKind::Quota80 | AlertKind::Quota100 => is_among(findings, alert),
                    _ => true,
                };
                if is_muted || !is_so {
                    over.push(alert.id);
                }
            }
            drop(reader);
            for alert in over {
                self.close_by_itself(alert).await?;
            }
            match open.rows.last() {
                Some(last) if open.more => page.after = Some(last.id),
                _ => return Ok(()),
            }
        }
    }

    /// Whether what an alert says of a key is so still.
    async fn is_still_so(&self, reader: &mut Connection, alert: &Alert, now: Timestamp) -> Result<bool, AppError> {
        let Some(key) = alert.key else { return Ok(false) };
        let Some(row) = keys::find(reader, key).await? else { return Ok(false) };
        if row.key.revocation.is_some() || has_expired(row.key.expires_at, now) {
            return Ok(false);
        }
        let mut findings = Findings::new();
        judge_key(&self.with_last_used(row), now, &mut findings);
        Ok(is_among(&findings, alert))
    }

    async fn close_by_itself(&self, id: AlertId) -> Result<(), AppError> {
        let mut work = self.begin(&Actor::system()).await?;
        let found = alerts::find(work.tx.connection().await?, id).await?;
        // Somebody else may have closed it since.
        let Some(alert) = found.filter(|alert| alert.closed.is_none()) else { return Ok(()) };
        let alert = Alert { closed: Some((work.now, Author::System)), ..alert };
        alerts::put(&mut work.tx, &alert).await?;
        Self::alert_changed(&mut work, &alert, AlertChange::Closed).await?;
        work.done(()).commit().await?;
        Ok(())
    }

    /// Opens and repeats alerts, a number of them in one transaction.
    async fn tell(
        &self,
        findings: Findings,
        now: Timestamp,
        known: &mut HashMap<OrganizationId, AlertSettings>,
    ) -> Result<(), AppError> {
        let mut worth = Vec::new();
        let mut reader = self.store.read().await?;
        for (subject, finding) in findings {
            let is_muted = self.settings_of(known, subject.organization).await?.muted.contains(&subject.kind);
            let newest = if is_muted { None } else { find_newest(&mut reader, &subject).await? };
            if !is_muted && is_worth_writing(newest.as_ref(), &subject, &finding, now) {
                worth.push((subject, finding));
            }
        }
        drop(reader);
        while !worth.is_empty() {
            let batch = worth.split_off(worth.len().saturating_sub(ALERTS_PER_WRITE));
            let mut work = self.begin(&Actor::system()).await?;
            let mut is_changed = false;
            for (subject, finding) in batch {
                is_changed |= self.open_or_repeat(&mut work, subject, finding, now).await?;
            }
            if is_changed {
                work.done(()).commit().await?;
            }
        }
        Ok(())
    }

    /// Returns whether anything was written.
    async fn open_or_repeat(
        &self,
        work: &mut Work,
        subject: Subject,
        finding: Finding,
        now: Timestamp,
    ) -> Result<bool, AppError> {
        // What was read is looked at again, now that nobody else writes.
        let newest = find_newest(work.tx.connection().await?, &subject).await?;
        if !is_worth_writing(newest.as_ref(), &subject, &finding, now) {
            return Ok(false);
        }
        let Subject { organization, api, key, kind } = subject;
        let (alert, change) = if let Some(open) = newest.filter(|alert| alert.closed.is_none()) {
            let is_due = is_due(&open, &finding, now);
            let last_repeated_at = if is_due { now } else { open.last_repeated_at };
            let alert = Alert { last_repeated_at, last_seen_at: now, detail: finding.detail, ..open };
            (alert, is_due.then_some(AlertChange::Repeated))
        } else {
            let reader = work.tx.connection().await?;
            if alerts::count_open(reader, organization, &api, kind).await? >= limits::ALERTS_OPEN_MAX {
                return Ok(false);
            }
            let alert = Alert {
                id: AlertId::new(work.now, &*self.entropy),
                organization,
                api,
                key,
                kind,
                opened_at: now,
                last_repeated_at: now,
                last_seen_at: now,
                closed: None,
                detail: finding.detail,
            };
            (alert, Some(AlertChange::Opened))
        };
        alerts::put(&mut work.tx, &alert).await?;
        if let Some(change) = change {
            Self::alert_changed(work, &alert, change).await?;
        }
        Ok(true)
    }
}

fn is_among(findings: &Findings, alert: &Alert) -> bool {
    findings.contains_key(&Subject::of(alert))
}

async fn find_newest(connection: &mut Connection, subject: &Subject) -> Result<Option<Alert>, AppError> {
    let Subject { organization, api, key, kind } = subject;
    Ok(alerts::find_newest(connection, *organization, api, *key, *kind).await?)
}

/// Whether it is told of once more: some time after the last time, or when it has become worse.
fn is_due(open: &Alert, finding: &Finding, now: Timestamp) -> bool {
    let is_next_stage = finding.stage.is_some_and(|stage| open.detail.get(stage) != finding.detail.get(stage));
    let pause = match open.kind {
        // These have their stages.
        AlertKind::KeyExpiry => return is_next_stage,
        // Nobody does anything about it within a day.
        AlertKind::KeyAge90 | AlertKind::KeyUnused90 => 7 * DAY_SECONDS,
        _ => DAY_SECONDS,
    };
    is_next_stage || open.last_repeated_at.plus_seconds(pause).is_some_and(|at| at <= now)
}

fn is_worth_writing(newest: Option<&Alert>, subject: &Subject, finding: &Finding, now: Timestamp) -> bool {
    match newest {
        None => true,
        Some(open) if open.closed.is_none() => {
            // That an hour was unusual again keeps it open.
            let is_of_hour = matches!(subject.kind, AlertKind::UsageSpike | AlertKind::DenialBurst);
            is_of_hour || is_due(open, finding, now)
        }
        Some(closed) => !is_closed_by_person_after(closed, finding.since),
    }
}

/// How people know a key.
fn named(key: &Key) -> Map<String, Value> {
    let mut detail = Map::new();
    detail.insert("name".to_owned(), key.name.as_str().into());
    detail.insert("prefix".to_owned(), key.prefix.as_str().into());
    detail.insert("hint".to_owned(), key.hint.as_str().into());
    detail
}

fn hours_between(from: Timestamp, to: Timestamp) -> i64 {
    (to.as_micros() - from.as_micros()).div_euclid(HOUR_SECONDS * 1_000_000)
}

/// Keys with a `referrer` restriction are in pages that everybody opens, and one that is dead tells nothing.
fn judge_networks_of(key: &Key, own: &[KeyNetwork], now: Timestamp, findings: &mut Findings) {
    let is_dead = key.revocation.is_some() || has_expired(key.expires_at, now);
    if is_dead || key.disabled || key.restrictions.referrer.is_some() {
        return;
    }
    let first_uses: Vec<i64> = own.iter().map(|network| network.first_seen.hour()).collect();
    let new = rules::new_networks(&first_uses, now.hour());
    let Some(newest) = new.last().map(|place| own[*place]) else { return };
    let named_networks = |places: &mut dyn Iterator<Item = usize>| {
        places.take(NETWORKS_NAMED).map(|place| Value::from(own[place].network.to_string())).collect::<Vec<_>>()
    };
    let mut detail = named(key);
    detail.insert("networks".to_owned(), named_networks(&mut new.iter().rev().copied()).into());
    let mut before = (0..own.len()).rev().filter(|place| !new.contains(place));
    detail.insert("known_networks".to_owned(), named_networks(&mut before).into());
    detail.insert("first_seen".to_owned(), json!(newest.first_seen));
    let kind = AlertKind::NewNetwork;
    let subject = Subject { organization: key.organization, api: key.api.clone(), key: Some(key.id), kind };
    findings.insert(subject, Finding { since: newest.first_seen, stage: Some("first_seen"), detail });
}

fn judge_key(row: &KeyRow, now: Timestamp, findings: &mut Findings) {
    let key = &row.key;
    let mut find = |kind, since: Timestamp, stage: Option<&'static str>, detail: Map<String, Value>| {
        let subject = Subject { organization: key.organization, api: key.api.clone(), key: Some(key.id), kind };
        findings.insert(subject, Finding { since, stage, detail });
    };
    let with = |figures: &[(&str, Value)]| {
        let mut detail = named(key);
        detail.extend(figures.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
        detail
    };
    let made = key.rotated_at.unwrap_or(key.created_at).max(key.created_at);
    if rules::is_old(hours_between(made, now), OLD_DAYS) {
        find(AlertKind::KeyAge90, made, None, with(&[("secret_since", json!(made))]));
    }
    let used = row.last_used.unwrap_or(key.created_at).max(key.created_at);
    if !key.disabled && rules::is_old(hours_between(used, now), OLD_DAYS) {
        find(AlertKind::KeyUnused90, used, None, with(&[("last_used", json!(row.last_used))]));
    }
    if let Some(expires_at) = key.expires_at
        && let Some(days) = rules::expiry(hours_between(now, expires_at) + 1)
    {
        let days = i64::from(days);
        let since = expires_at.plus_seconds(-days * DAY_SECONDS).unwrap_or(now);
        find(
            AlertKind::KeyExpiry,
            since,
            Some("days"),
            with(&[("expires_at", json!(expires_at)), ("days", days.into())]),
        );
    }
}

async fn judge_quota(
    reader: &mut Connection,
    account: &UsageAccount,
    now: Timestamp,
    findings: &mut Findings,
) -> Result<(), AppError> {
    let Some(organization) = organizations::find(reader, account.organization).await? else { return Ok(()) };
    let Some(api) = apis::find(reader, &account.api).await? else { return Ok(()) };
    let whereabouts = Whereabouts::find(reader, &organization, &api).await?;
    let (Some(limit), period) = (whereabouts.limit(), whereabouts.period(now)) else { return Ok(()) };
    let place = (account.organization, account.api.clone());
    let used = sum_units(reader, &place, &period.hours()).await?.unsigned_abs();
    let Some(mark) = rules::quota(used, limit) else { return Ok(()) };
    let detail = json!({"limit": limit, "used": used, "resets_at": period.end});
    let kinds = [(AlertKind::Quota80, QuotaMark::Eighty), (AlertKind::Quota100, QuotaMark::Hundred)];
    for (kind, _) in kinds.into_iter().filter(|(_, its)| *its <= mark) {
        let subject = Subject { organization: place.0, api: place.1.clone(), key: None, kind };
        let detail = detail.as_object().cloned().unwrap_or_default();
        findings.insert(subject, Finding { since: period.start, stage: None, detail });
    }
    Ok(())
}

async fn judge_hour(
    reader: &mut Connection,
    account: &UsageAccount,
    hour: i64,
    settings: &AlertSettings,
    findings: &mut Findings,
) -> Result<(), AppError> {
    let place = (account.organization, account.api.clone());
    let spans = Spans::new(None, "", &(hour..hour + 1));
    let mut calls: BTreeMap<KeyId, HourCalls> = BTreeMap::new();
    for sum in sum_by_key(reader, &place, &spans).await? {
        calls.entry(sum.key).or_default().add(&sum.outcome, sum.total);
    }
    let thresholds = &settings.thresholds;
    for (id, calls) in calls {
        // What cannot be unusual is not looked at any closer.
        if calls.allowed < thresholds.spike_calls && calls.denied < thresholds.burst_denials {
            continue;
        }
        let Some(row) = keys::find(reader, id).await? else { continue };
        let history = read_history(reader, &place, &row.key, hour).await?;
        let allowed: Vec<u64> = history.iter().map(|hour| hour.allowed).collect();
        let usual = rules::usual(&allowed);
        let spike = rules::spike(calls.allowed, usual, thresholds);
        let burst = rules::denial_burst(calls, &history[history.len().saturating_sub(HOURS_PER_WEEK)..], thresholds);
        for (kind, judged) in [(AlertKind::UsageSpike, spike), (AlertKind::DenialBurst, burst)] {
            if !judged.is_unusual {
                continue;
            }
            let start = crate::usage::report::start_of(hour);
            let mut detail = named(&row.key);
            let figures = json!({
                "hour": start, "allowed": calls.allowed, "denied": calls.denied, "threshold": judged.threshold,
                "usual": usual.map(|usual| usual.median.round()),
            });
            detail.extend(figures.as_object().cloned().unwrap_or_default());
            let subject = Subject { organization: place.0, api: place.1.clone(), key: Some(id), kind };
            // A person who closed it does not hear of it again for a day.
            let since = start.plus_seconds(-DAY_SECONDS).unwrap_or(start);
            findings.insert(subject, Finding { since, stage: None, detail });
        }
    }
    Ok(())
}

/// What came of a key's calls in each hour before one, from the first in which it was used.
async fn read_history(
    reader: &mut Connection,
    place: &(OrganizationId, ApiName),
    key: &Key,
    hour: i64,
) -> Result<Vec<HourCalls>, AppError> {
    let first = (hour - HISTORY_WEEKS * HOURS_PER_WEEK as i64).max(key.created_at.hour());
    let sums = list_key_hours(reader, place, key.id, &(first..hour)).await?;
    let Some(first) = sums.iter().map(|sum| sum.start).min() else { return Ok(Vec::new()) };
    let mut history = vec![HourCalls::default(); usize::try_from(hour - first).unwrap_or(0)];
    for sum in sums {
        if let Some(calls) = usize::try_from(sum.start - first).ok().and_then(|place| history.get_mut(place)) {
            calls.add(&sum.outcome, sum.total);
        }
    }
    Ok(history)
}

impl HourCalls {
    fn add(&mut self, outcome: &str, total: i64) {
        match outcome {
            EXTRA_UNITS => {}
            ALLOWED | ALLOWED_FREE => self.allowed += total.unsigned_abs(),
            _ => self.denied += total.unsigned_abs(),
        }
    }
}
