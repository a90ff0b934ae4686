//! Reports: what an account used in a billing period or between two days, and what is left of its quota.
//!
//! The number that refuses a call is the number on the bill. What was *used* is the sum of the same units that the engine
//! counts against the quota, over the same hours.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

use claviger_domain::day::{Day, Month};
use claviger_domain::definition::{API_KEYS_READ, Api};
use claviger_domain::id::{KeyId, OrganizationId};
use claviger_domain::key::{ApiName, Environment, Key};
use claviger_domain::limits;
use claviger_domain::organization::Organization;
use claviger_domain::period::{BillingCalendar, Period, RunningPeriod, TimeZone};
use claviger_domain::plan::PlanName;
use claviger_domain::scope::Scope;
use claviger_domain::subscription::{Subscription, terms};
use claviger_domain::time::Timestamp;
use claviger_store::usage_reports::{Spans, StartSum, find_account, sum_by_key, sum_by_start, sum_units};
use claviger_store::{Connection, Page, PageRequest, apis, keys, organizations, running_periods, subscriptions};

use super::{ALLOWED, ALLOWED_FREE, Bucket, EXTRA_UNITS, Place, UsageCounts};
use crate::actor::{Acting, Need};
use crate::{Actor, App, AppError};

const MICROS_PER_HOUR: i64 = 3_600_000_000;

/// Whose usage, and of when. The operator names organization and api; a key that acts asks for its own place.
#[derive(Clone, Debug, Default)]
pub struct UsageQuery {
    /// The organization.
    pub organization: Option<OrganizationId>,
    /// The api.
    pub api: Option<ApiName>,
    /// Of when.
    pub range: UsageRange,
}

/// Of when a report is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum UsageRange {
    /// Of this billing period.
    #[default]
    Current,
    /// Of the billing period that begins in a month.
    Period(Month),
    /// From one day of the organization's time zone to another, both included.
    Days {
        /// The first.
        from: Day,
        /// The last; today when left out.
        to: Option<Day>,
    },
}

/// The calls of a billing period, or between two days.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UsageReport {
    /// Whose.
    pub organization: OrganizationId,
    /// To which api.
    pub api: ApiName,
    /// Where its days begin.
    pub time_zone: TimeZone,
    /// First instant of it.
    pub period_start: Timestamp,
    /// First instant after it.
    pub period_end: Timestamp,
    /// The plan that the organization has now, if the api has plans.
    pub plan: Option<PlanName>,
    /// The quota.
    pub quota: Quota,
    /// With all of the organization's keys.
    pub organization_counts: UsageCounts,
    /// With the key that asks, when a key does.
    pub key_counts: Option<UsageCounts>,
    /// With single keys, those with most calls first.
    pub by_key: Vec<KeyUsage>,
    /// With all keys that are not in `by_key`.
    pub other_keys: OtherKeys,
    /// By day, live keys only, up to today.
    pub daily: Vec<DayUsage>,
}

/// What may be used, what was and what is left, in units.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Quota {
    /// What the plan allows in this billing period; `None` where nothing limits, or where it is another period.
    pub limit: Option<u64>,
    /// What was used.
    pub used: u64,
    /// What is left of the limit.
    pub remaining: Option<u64>,
    /// When it begins anew; `None` where it is not this period.
    pub resets_at: Option<Timestamp>,
}

/// Calls with a key or several.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Calls {
    /// All.
    pub total: u64,
    /// Those that passed.
    pub allowed: u64,
    /// Those that were refused.
    pub denied: u64,
    /// The units that they cost.
    pub billable: u64,
}

/// Calls with one key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeyUsage {
    /// The key's id.
    pub id: KeyId,
    /// The key, if it is still there and whoever asks may read keys.
    pub key: Option<Key>,
    /// The calls.
    pub calls: Calls,
}

/// Calls with keys that are not listed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct OtherKeys {
    /// How many keys, as far as they are known one by one.
    pub keys: u64,
    /// The calls.
    pub calls: Calls,
}

/// Calls of a day.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DayUsage {
    /// The day.
    pub day: Day,
    /// The calls.
    pub calls: Calls,
}

/// What an organization used of an api in a billing period.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OrganizationUsage {
    /// The organization.
    pub organization: Organization,
    /// First instant of the period.
    pub period_start: Timestamp,
    /// First instant after it.
    pub period_end: Timestamp,
    /// The plan that it has now, if the api has plans.
    pub plan: Option<PlanName>,
    /// The quota.
    pub quota: Quota,
}

impl Calls {
    fn add(&mut self, environment: Environment, outcome: &str, total: u64) {
        if environment == Environment::Live && matches!(outcome, ALLOWED | EXTRA_UNITS) {
            self.billable += total;
        }
        match outcome {
            EXTRA_UNITS => return,
            ALLOWED | ALLOWED_FREE => self.allowed += total,
            _ => self.denied += total,
        }
        self.total += total;
    }

    fn add_all(&mut self, other: Self) {
        self.total += other.total;
        self.allowed += other.allowed;
        self.denied += other.denied;
        self.billable += other.billable;
    }
}

/// Where a report is of, with all that says which hours are in it.
pub(crate) struct Whereabouts {
    place: Place,
    calendar: BillingCalendar,
    /// The period that goes on since the calendar was another.
    kept: Option<RunningPeriod>,
    plan: Option<PlanName>,
    limit: Option<u64>,
}

/// The calendar of an account.
pub(crate) fn calendar(organization: &Organization, subscription: Option<&Subscription>) -> BillingCalendar {
    let anchor_day = subscription.and_then(|subscription| subscription.anchor_day);
    BillingCalendar { time_zone: organization.time_zone.clone(), anchor_day }
}

impl Whereabouts {
    pub(crate) async fn find(
        reader: &mut Connection,
        organization: &Organization,
        api: &Api,
    ) -> Result<Self, AppError> {
        let name = api.definition.name();
        let subscription = subscriptions::find(reader, organization.id, name).await?;
        let (_, plan) = terms(&api.definition, subscription.as_ref());
        Ok(Self {
            place: (organization.id, name.clone()),
            calendar: calendar(organization, subscription.as_ref()),
            kept: running_periods::find(reader, organization.id, name).await?,
            plan: plan.map(|plan| plan.name.clone()),
            limit: plan.and_then(|plan| plan.quota),
        })
    }

    /// The hours of a range, and whether they are those of the present period.
    fn hours(&self, range: UsageRange, now: Timestamp) -> Result<(Range<i64>, bool), AppError> {
        let current = self.period(now);
        let period = match range {
            UsageRange::Current => current,
            UsageRange::Period(month) => self.calendar.period_of(month),
            UsageRange::Days { from, to } => {
                let zone = &self.calendar.time_zone;
                let to = to.unwrap_or_else(|| zone.day_of(now.hour()));
                if to < from {
                    return Err(AppError::invalid("to", "must not be before from"));
                }
                if from.days_until(to) >= limits::USAGE_REPORT_DAYS_MAX {
                    let message = format!("is more than {} days before to", limits::USAGE_REPORT_DAYS_MAX);
                    return Err(AppError::invalid("from", message));
                }
                return Ok((zone.first_hour(from)..zone.first_hour(to.next()), false));
            }
        };
        Ok((period.hours(), period == current))
    }

    /// What the plan allows in a billing period.
    pub(crate) fn limit(&self) -> Option<u64> {
        self.limit
    }

    /// The billing period that an instant is in.
    pub(crate) fn period(&self, at: Timestamp) -> Period {
        self.calendar.running(self.kept, at)
    }

    /// The hours of the period that begins in a month.
    pub(super) fn hours_of(&self, month: Month) -> Range<i64> {
        self.calendar.period_of(month).hours()
    }

    fn quota(&self, used: u64, hours: &Range<i64>, is_current: bool) -> Quota {
        let limit = self.limit.filter(|_| is_current);
        let remaining = limit.map(|limit| limit.saturating_sub(used));
        Quota { limit, used, remaining, resets_at: is_current.then(|| start_of(hours.end)) }
    }
}

/// The first instant of an hour.
pub(crate) fn start_of(hour: i64) -> Timestamp {
    Timestamp::from_micros(hour.saturating_mul(MICROS_PER_HOUR))
}

impl App {
    /// The calls of a period, up to this very moment where it is the present one.
    pub async fn usage(&self, actor: &Actor, query: UsageQuery) -> Result<UsageReport, AppError> {
        let now = self.now();
        let mut reader = self.store.read().await?;
        let acting = actor.look_up(&mut reader, Need::ReadUsage, now).await?;
        let (organization, api) = match &acting {
            Acting::Key { key, .. } => (key.organization, key.api.clone()),
            Acting::Member(member) => {
                if query.organization.is_some_and(|organization| organization != member.organization) {
                    return Err(AppError::NotFound { what: "organization" });
                }
                (member.organization, query.api.ok_or(AppError::invalid("api", "is missing"))?)
            }
            Acting::Operator => (
                query.organization.ok_or(AppError::invalid("organization", "is missing"))?,
                query.api.ok_or(AppError::invalid("api", "is missing"))?,
            ),
        };
        let whereabouts = find_whereabouts(&mut reader, organization, &api).await?;
        drop(reader);
        let place = &whereabouts.place;
        let (hours, is_current) = whereabouts.hours(query.range, now)?;
        // First what is not written, then a view of the table: what is written in between is in both, and the table's part
        // is taken away again.
        let unwritten = self.collect_usage().await.of(place, &hours);
        let mut reader = self.store.read().await?;
        let unwritten = self.less_what_is_written(&mut reader, place, unwritten).await?;
        let zone = &whereabouts.calendar.time_zone;
        let spans = Spans::new(find_account(&mut reader, place).await?.as_ref(), zone.name(), &hours);
        let mut tally = Tally { asking: acting.key_id(), ..Tally::default() };
        for sum in sum_by_key(&mut reader, place, &spans).await? {
            tally.add(Environment::Live, Some(sum.key), &sum.scope, &sum.outcome, sum.total.unsigned_abs());
        }
        let mut starts = sum_by_start(&mut reader, place, &spans).await?;
        for (Bucket { key, hour, scope, outcome }, total) in unwritten {
            tally.add(Environment::Live, Some(key), &scope, &outcome, total);
            starts.push(StartSum { start: hour, outcome, total: total.cast_signed() });
        }
        for calls in self.ledger.memory().test_calls(place, &hours, now) {
            tally.add(Environment::Test, calls.key, calls.scope, calls.outcome, calls.total);
        }
        let Tally { counts, of_asking, keys, mut rest, .. } = tally;
        let by_key = list_most_used(&mut reader, &acting, keys, &mut rest).await?;
        Ok(UsageReport {
            organization,
            api,
            period_start: start_of(hours.start),
            period_end: start_of(hours.end),
            plan: whereabouts.plan.clone(),
            quota: whereabouts.quota(counts.billable, &hours, is_current),
            organization_counts: counts,
            key_counts: acting.key_id().map(|_| of_asking),
            by_key,
            other_keys: rest,
            daily: by_day(zone, &hours, now, starts),
            time_zone: zone.clone(),
        })
    }

    /// What each organization used of an api, in its own present billing period or in the one that begins in a month. By
    /// organization, newest first. Only the operator may.
    pub async fn list_organization_usage(
        &self,
        actor: &Actor,
        api: &ApiName,
        month: Option<Month>,
        page: PageRequest<OrganizationId>,
    ) -> Result<Page<OrganizationUsage>, AppError> {
        actor.must_be_operator()?;
        let (now, range) = (self.now(), month.map_or(UsageRange::Current, UsageRange::Period));
        let mut reader = self.store.read().await?;
        let api = apis::find(&mut reader, api).await?.ok_or(AppError::NotFound { what: "API" })?;
        let found = organizations::list(&mut reader, page).await?;
        let mut listed = Vec::with_capacity(found.rows.len());
        for organization in found.rows {
            let whereabouts = Whereabouts::find(&mut reader, &organization, &api).await?;
            let (hours, is_current) = whereabouts.hours(range, now)?;
            listed.push((organization, whereabouts, hours, is_current));
        }
        drop(reader);
        let unwritten: Vec<HashMap<Bucket, i64>> = {
            let collected = self.collect_usage().await;
            listed.iter().map(|(_, whereabouts, hours, _)| collected.of(&whereabouts.place, hours)).collect()
        };
        let mut reader = self.store.read().await?;
        let mut rows = Vec::with_capacity(listed.len());
        for ((organization, whereabouts, hours, is_current), unwritten) in listed.into_iter().zip(unwritten) {
            let mut calls = Calls {
                billable: sum_units(&mut reader, &whereabouts.place, &hours).await?.unsigned_abs(),
                ..Calls::default()
            };
            for (bucket, more) in self.less_what_is_written(&mut reader, &whereabouts.place, unwritten).await? {
                calls.add(Environment::Live, &bucket.outcome, more);
            }
            rows.push(OrganizationUsage {
                organization,
                period_start: start_of(hours.start),
                period_end: start_of(hours.end),
                quota: whereabouts.quota(calls.billable, &hours, is_current),
                plan: whereabouts.plan,
            });
        }
        Ok(Page { rows, more: found.more })
    }
}

async fn find_whereabouts(
    reader: &mut Connection,
    organization: OrganizationId,
    api: &ApiName,
) -> Result<Whereabouts, AppError> {
    let found = organizations::find(reader, organization).await?;
    let organization = found.ok_or(AppError::NotFound { what: "organization" })?;
    let api = apis::find(reader, api).await?.ok_or(AppError::NotFound { what: "API" })?;
    Whereabouts::find(reader, &organization, &api).await
}

/// Everything, added up in all the ways that a report shows.
#[derive(Default)]
struct Tally {
    /// The key that asks.
    asking: Option<KeyId>,
    counts: UsageCounts,
    of_asking: UsageCounts,
    keys: BTreeMap<KeyId, Calls>,
    /// Of keys that nobody knows any more.
    rest: OtherKeys,
}

impl Tally {
    fn add(&mut self, environment: Environment, key: Option<KeyId>, scope: &str, outcome: &str, total: u64) {
        self.counts.add(environment, scope, outcome, total);
        if key.is_some() && key == self.asking {
            self.of_asking.add(environment, scope, outcome, total);
        }
        let calls = match key {
            Some(key) => self.keys.entry(key).or_default(),
            None => &mut self.rest.calls,
        };
        calls.add(environment, outcome, total);
    }
}

/// The keys with most calls; all others are added to the rest. Whoever asks learns of keys only what it may see, and what
/// they are called only where it may read keys.
async fn list_most_used(
    reader: &mut Connection,
    acting: &Acting,
    keys: BTreeMap<KeyId, Calls>,
    rest: &mut OtherKeys,
) -> Result<Vec<KeyUsage>, AppError> {
    let mut by_use: Vec<(KeyId, Calls)> = keys.into_iter().collect();
    by_use.sort_by_key(|(key, calls)| (std::cmp::Reverse(calls.total), *key));
    let more = by_use.split_off(by_use.len().min(limits::USAGE_REPORT_KEYS_MAX));
    let ids: Vec<KeyId> = by_use.iter().map(|(key, _)| *key).collect();
    let found = keys::list_by_id(reader, &ids).await?;
    let mut found: HashMap<KeyId, Key> = found.into_iter().map(|row| (row.key.id, row.key)).collect();
    let may_read = acting.holds(&API_KEYS_READ.parse::<Scope>().expect("built-in scopes are scopes"));
    let mut listed = Vec::with_capacity(by_use.len());
    let mut hidden = more;
    for (id, calls) in by_use {
        let key = found.remove(&id);
        // A key that is no more can only have been a live one, or one that made it.
        let is_seen = key.as_ref().map_or(!acting.is_test_key(), |key| acting.sees(key));
        if is_seen {
            listed.push(KeyUsage { id, key: key.filter(|_| may_read), calls });
        } else {
            hidden.push((id, calls));
        }
    }
    for (_, calls) in hidden {
        rest.keys += 1;
        rest.calls.add_all(calls);
    }
    Ok(listed)
}

/// Sums by hour or day, as days of a time zone: all of the range that have begun.
fn by_day(zone: &TimeZone, hours: &Range<i64>, now: Timestamp, starts: Vec<StartSum>) -> Vec<DayUsage> {
    let end = hours.end.min(now.hour() + 1);
    let mut days: Vec<(i64, DayUsage)> = Vec::new();
    let mut day = zone.day_of(hours.start);
    while zone.first_hour(day) < end {
        // A day that was left out has no hours: the next one begins where it does.
        if zone.first_hour(day.next()) > zone.first_hour(day) {
            days.push((zone.first_hour(day), DayUsage { day, calls: Calls::default() }));
        }
        day = day.next();
    }
    for sum in starts {
        let place = days.partition_point(|(first, _)| *first <= sum.start);
        if let Some((_, usage)) = place.checked_sub(1).and_then(|place| days.get_mut(place)) {
            usage.calls.add(Environment::Live, &sum.outcome, sum.total.unsigned_abs());
        }
    }
    days.into_iter().map(|(_, usage)| usage).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_those_of_the_time_zone() {
        let zone: TimeZone = "Europe/Berlin".parse().unwrap();
        let hour = |text: &str| text.parse::<Timestamp>().unwrap().hour();
        let hours = hour("2026-03-27T23:00:00Z")..hour("2026-03-30T22:00:00Z");
        let sum =
            |start: &str, outcome: &str, total| StartSum { start: hour(start), outcome: outcome.to_owned(), total };
        let starts = vec![
            sum("2026-03-27T23:00:00Z", ALLOWED, 1),
            // The day on which the clocks go forward has 23 hours.
            sum("2026-03-28T23:00:00Z", ALLOWED, 10),
            sum("2026-03-29T21:00:00Z", EXTRA_UNITS, 90),
            sum("2026-03-29T22:00:00Z", "expired", 1000),
        ];
        let days = by_day(&zone, &hours, "2026-04-10T00:00:00Z".parse().unwrap(), starts.clone());
        let shown: Vec<_> = days.iter().map(|day| (day.day.to_string(), day.calls.total, day.calls.billable)).collect();
        let expected = [("2026-03-28", 1, 1), ("2026-03-29", 10, 100), ("2026-03-30", 1000, 0)];
        assert_eq!(shown, expected.map(|(day, total, billable)| (day.to_owned(), total, billable)));
        let today = by_day(&zone, &hours, "2026-03-28T00:00:00Z".parse().unwrap(), starts);
        assert_eq!(today.len(), 1);
    }
}
