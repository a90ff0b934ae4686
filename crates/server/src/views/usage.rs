//! Usage as the outside sees it.

use std::collections::BTreeMap;

use claviger_app::{
    Calls, DayUsage, KeyUsage, OrganizationUsage, OtherKeys, Quota, UnknownKeyReport, UsageCounts, UsageReport,
};
use claviger_domain::day::Day;
use claviger_domain::id::{KeyId, OrganizationId};
use claviger_domain::key::{ApiName, Environment, Kind, Name};
use claviger_domain::period::TimeZone;
use claviger_domain::plan::PlanName;
use claviger_domain::time::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

use crate::openapi::words;

/// The usage of a billing period, or between two days.
#[derive(Serialize, ToSchema)]
#[schema(as = Usage)]
pub(crate) struct UsageView {
    /// The first instant of the period.
    #[schema(value_type = String, format = DateTime)]
    period_start: Timestamp,
    /// The first instant after it.
    #[schema(value_type = String, format = DateTime)]
    period_end: Timestamp,
    /// Where the organization's days and billing periods begin, by its name in the IANA database.
    #[schema(value_type = String, example = "Europe/Berlin")]
    time_zone: TimeZone,
    #[serde(flatten)]
    quota: QuotaView,
    /// Of all the organization's keys.
    organization: UsageOf,
    /// Of the key that asks.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    key: Option<UsageOf>,
    /// By key, those with most calls first, at most 100. A test key sees test keys only.
    by_key: Vec<UsageOfKey>,
    /// Of all keys that are not in `by_key`.
    other_keys: UsageOfOthers,
    /// By day of the time zone, live keys only, from the first day of the period to its last or to today.
    daily: Vec<UsageOfDay>,
}

/// What may be used, what was and what is left.
#[derive(Serialize, ToSchema)]
struct QuotaView {
    /// The plan that the organization has now. `null` where the API has no plans, or the organization none of them.
    #[schema(value_type = Option<String>, required)]
    plan: Option<PlanName>,
    /// The units that the plan allows in this billing period. `null` without such a limit, and for any other period.
    #[schema(required)]
    limit: Option<u64>,
    /// The billable units that were used.
    used: u64,
    /// The units that are left of `limit`.
    #[schema(required)]
    remaining: Option<u64>,
    /// When the limit begins anew. `null` for any other period than this one.
    #[schema(value_type = Option<String>, format = DateTime, required)]
    resets_at: Option<Timestamp>,
}

impl QuotaView {
    fn of(plan: Option<PlanName>, quota: Quota) -> Self {
        let Quota { limit, used, remaining, resets_at } = quota;
        Self { plan, limit, used, remaining, resets_at }
    }
}

/// The calls of one organization or key.
#[derive(Serialize, ToSchema)]
pub(crate) struct UsageOf {
    /// Whose.
    id: String,
    /// All calls.
    total: u64,
    /// Those that passed.
    allowed: u64,
    /// Those that were refused. They are never billed.
    denied: u64,
    /// The units on the bill: what those calls cost that were allowed, with live keys.
    billable: u64,
    /// Calls by the scope that was asked for.
    by_scope: BTreeMap<String, u64>,
    /// Calls by environment.
    by_environment: BTreeMap<String, u64>,
    /// Calls by outcome: `allowed`, `allowed_free`, or the code of the denial.
    by_outcome: BTreeMap<String, u64>,
}

/// Calls, and what they cost.
#[derive(Serialize, ToSchema)]
struct CallsView {
    /// All calls.
    total: u64,
    /// Those that passed.
    allowed: u64,
    /// Those that were refused.
    denied: u64,
    /// The units on the bill.
    billable: u64,
}

impl From<Calls> for CallsView {
    fn from(calls: Calls) -> Self {
        let Calls { total, allowed, denied, billable } = calls;
        Self { total, allowed, denied, billable }
    }
}

/// The calls with one key.
#[derive(Serialize, ToSchema)]
struct UsageOfKey {
    /// The key's id.
    #[schema(value_type = String, example = "key_01kaf3w8x9e6y8m5n4q2r7s1t0")]
    id: KeyId,
    /// The name that people gave it. `null`, as what follows, when the key is forgotten, or when the caller may not read
    /// keys (`api_keys:read`).
    #[schema(value_type = Option<String>, required)]
    name: Option<Name>,
    /// What it is for.
    #[schema(value_type = Option<words::Kind>, required)]
    kind: Option<Kind>,
    /// Where it works.
    #[schema(value_type = Option<words::Environment>, required)]
    environment: Option<Environment>,
    /// The public head of its secret.
    #[schema(required)]
    prefix: Option<String>,
    /// The last four characters of its secret.
    #[schema(required)]
    hint: Option<String>,
    #[serde(flatten)]
    calls: CallsView,
}

impl From<KeyUsage> for UsageOfKey {
    fn from(usage: KeyUsage) -> Self {
        let KeyUsage { id, key, calls } = usage;
        let (kind, environment) = (key.as_ref().map(|key| key.kind), key.as_ref().map(|key| key.environment));
        let (prefix, hint) = (key.as_ref().map(|key| key.prefix.clone()), key.as_ref().map(|key| key.hint.clone()));
        Self { id, name: key.map(|key| key.name), kind, environment, prefix, hint, calls: calls.into() }
    }
}

/// The calls with several keys.
#[derive(Serialize, ToSchema)]
struct UsageOfOthers {
    /// How many keys.
    keys: u64,
    #[serde(flatten)]
    calls: CallsView,
}

impl From<OtherKeys> for UsageOfOthers {
    fn from(others: OtherKeys) -> Self {
        Self { keys: others.keys, calls: others.calls.into() }
    }
}

/// The calls of a day.
#[derive(Serialize, ToSchema)]
struct UsageOfDay {
    /// The day.
    #[schema(value_type = String, format = Date)]
    date: Day,
    #[serde(flatten)]
    calls: CallsView,
}

impl From<DayUsage> for UsageOfDay {
    fn from(usage: DayUsage) -> Self {
        Self { date: usage.day, calls: usage.calls.into() }
    }
}

impl UsageView {
    /// The report; `key` is the calling key, if it was one.
    pub(crate) fn of(report: UsageReport, key: Option<KeyId>) -> Self {
        Self {
            period_start: report.period_start,
            period_end: report.period_end,
            time_zone: report.time_zone,
            quota: QuotaView::of(report.plan, report.quota),
            organization: UsageOf::of(report.organization.to_string(), report.organization_counts),
            key: key.zip(report.key_counts).map(|(id, counts)| UsageOf::of(id.to_string(), counts)),
            by_key: report.by_key.into_iter().map(UsageOfKey::from).collect(),
            other_keys: report.other_keys.into(),
            daily: report.daily.into_iter().map(UsageOfDay::from).collect(),
        }
    }
}

impl UsageOf {
    fn of(id: String, counts: UsageCounts) -> Self {
        Self {
            id,
            total: counts.total,
            allowed: counts.allowed,
            denied: counts.denied,
            billable: counts.billable,
            by_scope: counts.by_scope,
            by_environment: counts.by_environment,
            by_outcome: counts.by_outcome,
        }
    }
}

/// What one organization used of an API in a billing period.
#[derive(Serialize, ToSchema)]
#[schema(as = OrganizationUsage)]
pub(crate) struct OrganizationUsageView {
    /// The organization.
    #[schema(value_type = String)]
    organization: OrganizationId,
    /// The name that people see.
    #[schema(value_type = String)]
    name: Name,
    /// The first instant of its period.
    #[schema(value_type = String, format = DateTime)]
    period_start: Timestamp,
    /// The first instant after it.
    #[schema(value_type = String, format = DateTime)]
    period_end: Timestamp,
    #[serde(flatten)]
    quota: QuotaView,
}

impl From<OrganizationUsage> for OrganizationUsageView {
    fn from(usage: OrganizationUsage) -> Self {
        let OrganizationUsage { organization, period_start, period_end, plan, quota } = usage;
        let quota = QuotaView::of(plan, quota);
        Self { organization: organization.id, name: organization.name, period_start, period_end, quota }
    }
}

/// Calls with keys of a prefix that are nobody's, from a network.
#[derive(Serialize, ToSchema)]
#[schema(as = UnknownKeys)]
pub(crate) struct UnknownKeyView {
    /// The api that the keys claimed to be for.
    #[schema(value_type = String)]
    api: ApiName,
    /// Their prefix.
    prefix: String,
    /// The /24 of IPv4 or /48 of IPv6 that they came from; `null` where it is not known, or there were too many.
    #[schema(example = "198.51.100.0/24")]
    network: Option<String>,
    /// How many calls.
    calls: i64,
    /// Beginning of the first hour in which there were some.
    #[schema(value_type = String, format = DateTime)]
    first_hour: Timestamp,
    /// Beginning of the last.
    #[schema(value_type = String, format = DateTime)]
    last_hour: Timestamp,
}

impl From<UnknownKeyReport> for UnknownKeyView {
    fn from(report: UnknownKeyReport) -> Self {
        let UnknownKeyReport { api, prefix, network, calls, first_hour, last_hour } = report;
        Self { api, prefix, network: network.map(|network| network.to_string()), calls, first_hour, last_hour }
    }
}
