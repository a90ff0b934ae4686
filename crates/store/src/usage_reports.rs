//! What the tables of usage say: sums over hours and days, of one account or all.
//!
//! An account is an organization on an api. Its hours become days after a while, and are forgotten after some more
//! ([`usage_retention`](crate::usage_retention)). A sum takes each hour from where it is: see [`Spans`].

use std::ops::Range;

use claviger_domain::id::{KeyId, OrganizationId};
use claviger_domain::key::ApiName;

use crate::dialect::on_either;
use crate::row::{id_number, word};
use crate::usage::Account;
use crate::{Connection, StoreError, rows};

const TABLE: &str = "usage_accounts";

/// How far an account's hours have become days. All are hours since the Unix epoch.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UsageAccount {
    /// Whose usage.
    pub organization: OrganizationId,
    /// Of which api.
    pub api: ApiName,
    /// Hours before it are in days.
    pub rolled_through: i64,
    /// Days from it on are those of `time_zone`.
    pub aligned_since: i64,
    /// The name of a time zone; empty before there are days.
    pub time_zone: String,
    /// Hours before it are in days only.
    pub pruned_before: i64,
}

#[derive(sqlx::FromRow)]
struct AccountRow {
    organization: Vec<u8>,
    api: String,
    rolled_through: i64,
    aligned_since: i64,
    time_zone: String,
    pruned_before: i64,
}

impl TryFrom<AccountRow> for UsageAccount {
    type Error = StoreError;

    fn try_from(row: AccountRow) -> Result<Self, StoreError> {
        Ok(Self {
            organization: OrganizationId::from_u128(id_number(TABLE, &row.organization)?),
            api: word(TABLE, &row.api)?,
            rolled_through: row.rolled_through,
            aligned_since: row.aligned_since,
            time_zone: row.time_zone,
            pruned_before: row.pruned_before,
        })
    }
}

/// Where the hours of a range are found, each in one place. A range that ends before it begins is empty.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Spans {
    /// Days that begin in these.
    pub days: [Range<i64>; 2],
    /// Hours in these.
    pub hours: [Range<i64>; 2],
}

impl Spans {
    /// The places of a range that begins and ends with days of a time zone. Where the time zone was another one when days
    /// were made, their hours are taken as long as they are kept; after that, a day belongs to where it began.
    pub fn new(account: Option<&UsageAccount>, time_zone: &str, range: &Range<i64>) -> Self {
        let Range { start, end } = *range;
        let Some(account) = account else { return Self { days: [0..0, 0..0], hours: [start..end, 0..0] } };
        let (pruned, rolled) = (account.pruned_before, account.rolled_through.max(account.pruned_before));
        let aligned = if account.time_zone == time_zone { account.aligned_since } else { rolled };
        let aligned = aligned.clamp(pruned, rolled);
        Self {
            days: [start..end.min(pruned), start.max(aligned)..end.min(rolled)],
            hours: [start.max(pruned)..end.min(aligned), start.max(rolled)..end],
        }
    }
}

/// A sum over a range, of one key.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct KeySum {
    /// The key.
    pub key: KeyId,
    /// The scope, or `none`.
    pub scope: String,
    /// What came of the calls.
    pub outcome: String,
    /// How often.
    pub total: i64,
}

/// A sum over what begins with an hour: that hour itself, or a day.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct StartSum {
    /// The hour.
    pub start: i64,
    /// What came of the calls.
    pub outcome: String,
    /// How often.
    pub total: i64,
}

/// A query over both tables: what it selects, from the columns `start`, `key_id`, `parent`, `scope`, `outcome` and
/// `total` of all rows in the spans, and what follows.
macro_rules! over_spans {
    ($select:literal, $tail:literal) => {
        concat!(
            $select,
            " FROM (
                SELECT day AS start, key_id, parent, scope, outcome, total FROM usage_days
                WHERE organization = $1 AND api = $2 AND day >= $3 AND day < $4
                UNION ALL SELECT day, key_id, parent, scope, outcome, total FROM usage_days
                WHERE organization = $1 AND api = $2 AND day >= $5 AND day < $6
                UNION ALL SELECT hour, key_id, parent, scope, outcome, total FROM usage
                WHERE organization = $1 AND api = $2 AND hour >= $7 AND hour < $8
                UNION ALL SELECT hour, key_id, parent, scope, outcome, total FROM usage
                WHERE organization = $1 AND api = $2 AND hour >= $9 AND hour < $10
            ) AS parts ",
            $tail
        )
    };
}

/// Binds what [`over_spans!`] asks for.
macro_rules! bind_spans {
    ($query:expr, $account:expr, $spans:expr) => {
        $query
            .bind($account.0.to_bytes().to_vec())
            .bind($account.1.as_str())
            .bind($spans.days[0].start)
            .bind($spans.days[0].end)
            .bind($spans.days[1].start)
            .bind($spans.days[1].end)
            .bind($spans.hours[0].start)
            .bind($spans.hours[0].end)
            .bind($spans.hours[1].start)
            .bind($spans.hours[1].end)
    };
}

/// The account, if it has any usage.
pub async fn find_account(connection: &mut Connection, account: &Account) -> Result<Option<UsageAccount>, StoreError> {
    let row: Option<AccountRow> = on_either!(
        connection,
        sqlx::query_as("SELECT * FROM usage_accounts WHERE organization = $1 AND api = $2")
            .bind(account.0.to_bytes().to_vec())
            .bind(account.1.as_str()),
        fetch_optional
    )?;
    row.map(UsageAccount::try_from).transpose()
}

/// Accounts that have usage, by organization and api: of one organization and one api where they are named, those past
/// an account where one is given.
pub async fn list_accounts(
    connection: &mut Connection,
    (organization, api): (Option<OrganizationId>, Option<&ApiName>),
    after: Option<&Account>,
    limit: u32,
) -> Result<Vec<UsageAccount>, StoreError> {
    // Not asked for is before all: a condition that names the columns alone lets the index be used.
    let first = organization.or(after.map(|after| after.0)).unwrap_or(OrganizationId::from_u128(0));
    let past = after.map_or((first, ""), |after| (after.0, after.1.as_str()));
    let rows: Vec<AccountRow> = on_either!(
        connection,
        sqlx::query_as(
            "SELECT * FROM usage_accounts WHERE (organization, api) > ($1, $2)
             AND ($3 IS NULL OR organization = $3) AND ($4 IS NULL OR api = $4)
             ORDER BY organization, api LIMIT $5",
        )
        .bind(past.0.to_bytes().to_vec())
        .bind(past.1)
        .bind(organization.map(|id| id.to_bytes().to_vec()))
        .bind(api.map(ApiName::as_str))
        .bind(i64::from(limit)),
        fetch_all
    )?;
    rows.into_iter().map(UsageAccount::try_from).collect()
}

/// Sums of an account's calls over spans, by key, scope and outcome.
pub async fn sum_by_key(
    connection: &mut Connection,
    account: &Account,
    spans: &Spans,
) -> Result<Vec<KeySum>, StoreError> {
    let rows: Vec<(Vec<u8>, String, String, i64)> = on_either!(
        connection,
        bind_spans!(
            sqlx::query_as(over_spans!(
                "SELECT key_id, scope, outcome, CAST(SUM(total) AS BIGINT)",
                "GROUP BY key_id, scope, outcome ORDER BY key_id, scope, outcome"
            )),
            account,
            spans
        ),
        fetch_all
    )?;
    let sum = |(key, scope, outcome, total): (Vec<u8>, _, _, _)| {
        Ok(KeySum { key: KeyId::from_u128(id_number("usage", &key)?), scope, outcome, total })
    };
    rows.into_iter().map(sum).collect()
}

/// Sums of an account's calls over spans, by what they begin with and outcome, in order.
pub async fn sum_by_start(
    connection: &mut Connection,
    account: &Account,
    spans: &Spans,
) -> Result<Vec<StartSum>, StoreError> {
    let rows: Vec<(i64, String, i64)> = on_either!(
        connection,
        bind_spans!(
            sqlx::query_as(over_spans!(
                "SELECT start, outcome, CAST(SUM(total) AS BIGINT)",
                "GROUP BY start, outcome ORDER BY start, outcome"
            )),
            account,
            spans
        ),
        fetch_all
    )?;
    Ok(rows.into_iter().map(|(start, outcome, total)| StartSum { start, outcome, total }).collect())
}

/// Billable units of an account from one hour up to another.
pub async fn sum_units(connection: &mut Connection, account: &Account, hours: &Range<i64>) -> Result<i64, StoreError> {
    let pruned = find_account(connection, account).await?.map_or(0, |account| account.pruned_before);
    Ok(on_either!(
        connection,
        sqlx::query_scalar(
            "SELECT CAST(COALESCE(SUM(units), 0) AS BIGINT) FROM (
                 SELECT units FROM usage_account_hours
                 WHERE organization = $1 AND api = $2 AND hour >= $3 AND hour < $4
                 UNION ALL SELECT total FROM usage_days
                 WHERE organization = $1 AND api = $2 AND day >= $5 AND day < $6
                 AND outcome IN ('allowed', 'extra_units')
             ) AS parts",
        )
        .bind(account.0.to_bytes().to_vec())
        .bind(account.1.as_str())
        .bind(hours.start.max(pruned))
        .bind(hours.end)
        .bind(hours.start)
        .bind(hours.end.min(pruned)),
        fetch_one
    )?)
}

/// Billable units of accounts, each since an hour that is still kept: a start reads all of them, so that limits go on
/// where they were. Accounts that used none are left out.
pub async fn list_account_units(
    connection: &mut Connection,
    since: &[(Account, i64)],
) -> Result<Vec<(Account, i64)>, StoreError> {
    let wanted = |((organization, api), hour): &(Account, i64)| {
        vec![organization.to_bytes().to_vec().into(), api.as_str().into(), (*hour).into()]
    };
    let rows: Vec<(Vec<u8>, String, i64)> = rows::select_with(
        connection,
        "WITH wanted (its_organization, its_api, since) AS (",
        ") SELECT organization, api, CAST(SUM(units) AS BIGINT) FROM wanted
         JOIN usage_account_hours ON organization = its_organization AND api = its_api AND hour >= since
         GROUP BY organization, api",
        since.iter().map(wanted).collect(),
    )
    .await?;
    let units = |(organization, api, units): (Vec<u8>, String, i64)| {
        Ok(((OrganizationId::from_u128(id_number(TABLE, &organization)?), word(TABLE, &api)?), units))
    };
    rows.into_iter().map(units).collect()
}

/// Billable units of each key of an account over spans. What an ephemeral key used is its parent's.
pub async fn list_key_units(
    connection: &mut Connection,
    account: &Account,
    spans: &Spans,
) -> Result<Vec<(KeyId, i64)>, StoreError> {
    let rows: Vec<(Vec<u8>, i64)> = on_either!(
        connection,
        bind_spans!(
            sqlx::query_as(over_spans!(
                "SELECT COALESCE(parts.parent, keys.parent_id, key_id) AS payer, CAST(SUM(total) AS BIGINT)",
                "LEFT JOIN keys ON keys.id = key_id WHERE outcome IN ('allowed', 'extra_units')
                 GROUP BY COALESCE(parts.parent, keys.parent_id, key_id) ORDER BY payer"
            )),
            account,
            spans
        ),
        fetch_all
    )?;
    rows.into_iter().map(|(key, units)| Ok((KeyId::from_u128(id_number("usage", &key)?), units))).collect()
}

/// Calls with one key in each hour of a range in which there were any: hour, outcome and how often.
pub async fn list_key_hours(
    connection: &mut Connection,
    account: &Account,
    key: KeyId,
    hours: &Range<i64>,
) -> Result<Vec<StartSum>, StoreError> {
    let wanted = |hour: i64| {
        let key = key.to_bytes().to_vec();
        vec![account.0.to_bytes().to_vec().into(), account.1.as_str().into(), hour.into(), key.into()]
    };
    // Each hour is sought by itself: between them stand all other keys of the account.
    let rows: Vec<(i64, String, i64)> = rows::select_with(
        connection,
        "WITH wanted (its_organization, its_api, its_hour, its_key) AS (",
        ") SELECT hour, outcome, CAST(SUM(total) AS BIGINT) FROM wanted CROSS JOIN usage
         WHERE organization = its_organization AND api = its_api AND hour = its_hour AND key_id = its_key
         GROUP BY hour, outcome",
        hours.clone().map(wanted).collect(),
    )
    .await?;
    Ok(rows.into_iter().map(|(start, outcome, total)| StartSum { start, outcome, total }).collect())
}

/// A row of an export: what came of the calls with a key in what begins with an hour.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ExportRow {
    /// The hour, or the first of the day.
    pub start: i64,
    /// The key.
    pub key: KeyId,
    /// The scope, or `none`.
    pub scope: String,
    /// What came of the calls; empty where all that is billable was asked for together.
    pub outcome: String,
    /// How often.
    pub total: i64,
}

/// What an export is of.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ExportPart {
    /// The account.
    pub account: Account,
    /// From one hour up to another.
    pub range: Range<i64>,
    /// Only billable units, those of all outcomes together.
    pub is_billable_only: bool,
    /// Only what comes after this row: its start, key, scope and outcome.
    pub after: Option<(i64, KeyId, String, String)>,
}

/// A query for a page of an export.
macro_rules! page_of {
    ($table:literal, $start:literal, $outcome:literal, $condition:literal) => {
        concat!(
            "SELECT ",
            $start,
            ", key_id, scope, ",
            $outcome,
            " AS what, CAST(SUM(total) AS BIGINT) FROM ",
            $table,
            " WHERE organization = $1 AND api = $2 AND ",
            $start,
            " >= $3 AND ",
            $start,
            " < $4 AND (",
            $start,
            ", key_id, scope, ",
            $outcome,
            ") > ($5, $6, $7, $8) ",
            $condition,
            " GROUP BY ",
            $start,
            ", key_id, scope, what ORDER BY ",
            $start,
            ", key_id, scope, what LIMIT $9"
        )
    };
}

const HOURS: &str = page_of!("usage", "hour", "outcome", "");
const DAYS: &str = page_of!("usage_days", "day", "outcome", "");
const BILLABLE_HOURS: &str = page_of!("usage", "hour", "''", "AND outcome IN ('allowed', 'extra_units')");
const BILLABLE_DAYS: &str = page_of!("usage_days", "day", "''", "AND outcome IN ('allowed', 'extra_units')");

/// A page of an export: days of hours that are not kept any more, then hours.
pub async fn list_export(
    connection: &mut Connection,
    part: &ExportPart,
    limit: u32,
) -> Result<Vec<ExportRow>, StoreError> {
    let pruned = find_account(connection, &part.account).await?.map_or(0, |account| account.pruned_before);
    let (days, hours) = if part.is_billable_only { (BILLABLE_DAYS, BILLABLE_HOURS) } else { (DAYS, HOURS) };
    let after = part.after.clone().unwrap_or((i64::MIN, KeyId::from_u128(0), String::new(), String::new()));
    let mut rows: Vec<ExportRow> = Vec::new();
    for (query, from, to) in
        [(days, part.range.start, part.range.end.min(pruned)), (hours, part.range.start.max(pruned), part.range.end)]
    {
        let left = i64::from(limit) - rows.len() as i64;
        // A row value is compared as a whole, and that its first is not before the last is what the index goes by.
        let found: Vec<(i64, Vec<u8>, String, String, i64)> = on_either!(
            &mut *connection,
            sqlx::query_as(query)
                .bind(part.account.0.to_bytes().to_vec())
                .bind(part.account.1.as_str())
                .bind(from.max(after.0))
                .bind(to)
                .bind(after.0)
                .bind(after.1.to_bytes().to_vec())
                .bind(after.2.as_str())
                .bind(after.3.as_str())
                .bind(left),
            fetch_all
        )?;
        for (start, key, scope, outcome, total) in found {
            rows.push(ExportRow { start, key: KeyId::from_u128(id_number("usage", &key)?), scope, outcome, total });
        }
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(aligned_since: i64, rolled_through: i64, pruned_before: i64) -> UsageAccount {
        UsageAccount {
            organization: OrganizationId::from_u128(1),
            api: "tork".parse().unwrap(),
            rolled_through,
            aligned_since,
            time_zone: "UTC".to_owned(),
            pruned_before,
        }
    }

    #[test]
    fn each_hour_is_in_one_place() {
        let accounts = [account(0, 240, 0), account(0, 240, 96), account(120, 240, 48), account(0, 0, 0)];
        for account in accounts {
            for (zone, start, end) in [("UTC", 24, 480), ("UTC", 144, 168), ("Asia/Tokyo", 33, 480), ("UTC", 0, 48)] {
                let spans = Spans::new(Some(&account), zone, &(start..end));
                for hour in 0..500 {
                    // Days begin every 24 hours here.
                    let is_day = |span: &Range<i64>| span.contains(&hour) || span.contains(&(hour / 24 * 24));
                    let in_days = spans.days.iter().filter(|span| is_day(span)).count();
                    let in_hours = spans.hours.iter().filter(|span| span.contains(&hour)).count();
                    let is_asked = (start..end).contains(&hour);
                    let is_of_edge = hour < account.pruned_before && zone != "UTC";
                    assert!(is_of_edge || in_days + in_hours == usize::from(is_asked), "{account:?} {spans:?} {hour}");
                }
            }
        }
        let none = Spans::new(None, "UTC", &(24..48));
        assert_eq!((none.days, none.hours), ([0..0, 0..0], [24..48, 0..0]));
    }
}
