//! Hours of usage become days, and are forgotten after some more time; so are days.
//!
//! A day is the organization's own, and begins with an hour. It is added up in three steps, each a transaction or more:
//! [`begin_day`] says which hours will be in it, [`put_day`] writes the sums, and [`end_day`] says that they hold. Until
//! then whoever reads takes the hours. A process that dies in between has the next one begin again. A total that is
//! written meanwhile for one of the hours undoes the first step, and `end_day` does nothing.
//!
//! Forgetting begins with saying which hours are not to be looked at any more. Those are in days by then.

use std::ops::Range;

use claviger_domain::id::KeyId;

use crate::dialect::on_either;
use crate::row::id_number;
use crate::usage::Account;
use crate::{Connection, Store, StoreError, rows};

/// A sum over a day.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DayRow {
    /// The key.
    pub key: KeyId,
    /// The scope, or `none`.
    pub scope: String,
    /// What came of the calls.
    pub outcome: String,
    /// How often.
    pub total: i64,
    /// The key that an ephemeral key was made with, where it is known.
    pub parent: Option<KeyId>,
}

/// The first hour of an account at or after another that has usage.
pub async fn find_hour(connection: &mut Connection, account: &Account, from: i64) -> Result<Option<i64>, StoreError> {
    Ok(on_either!(
        connection,
        sqlx::query_scalar("SELECT MIN(hour) FROM usage WHERE organization = $1 AND api = $2 AND hour >= $3")
            .bind(account.0.to_bytes().to_vec())
            .bind(account.1.as_str())
            .bind(from),
        fetch_one
    )?)
}

/// The first day of an account that is kept.
pub async fn find_first_day(connection: &mut Connection, account: &Account) -> Result<Option<i64>, StoreError> {
    Ok(on_either!(
        connection,
        sqlx::query_scalar("SELECT MIN(day) FROM usage_days WHERE organization = $1 AND api = $2")
            .bind(account.0.to_bytes().to_vec())
            .bind(account.1.as_str()),
        fetch_one
    )?)
}

/// Begins to add up a day of an account in a time zone. Its first hour must be the one up to which days hold. Returns
/// whether it is.
pub async fn begin_day(
    store: &Store,
    account: &Account,
    day: &Range<i64>,
    time_zone: &str,
) -> Result<bool, StoreError> {
    let mut tx = store.begin_unpublished().await?;
    let begun = on_either!(
        &mut tx,
        sqlx::query(
            "UPDATE usage_accounts SET rolling_to = $4,
                 aligned_since = CASE WHEN time_zone = $5 THEN aligned_since ELSE $3 END, time_zone = $5
             WHERE organization = $1 AND api = $2 AND rolled_through = $3",
        )
        .bind(account.0.to_bytes().to_vec())
        .bind(account.1.as_str())
        .bind(day.start)
        .bind(day.end)
        .bind(time_zone),
        execute
    )?;
    tx.commit().await?;
    Ok(begun > 0)
}

/// Key, scope, outcome, total and parent.
type SumRow = (Vec<u8>, String, String, i64, Option<Vec<u8>>);

/// The sums over a day, those of every incarnation together. To be read after [`begin_day`].
pub async fn sum_day(
    connection: &mut Connection,
    account: &Account,
    day: &Range<i64>,
) -> Result<Vec<DayRow>, StoreError> {
    let found: Vec<SumRow> = on_either!(
        connection,
        sqlx::query_as(
            "SELECT key_id, scope, outcome, CAST(SUM(total) AS BIGINT), parent FROM usage
             WHERE organization = $1 AND api = $2 AND hour >= $3 AND hour < $4
             GROUP BY key_id, scope, outcome, parent ORDER BY key_id, scope, outcome",
        )
        .bind(account.0.to_bytes().to_vec())
        .bind(account.1.as_str())
        .bind(day.start)
        .bind(day.end),
        fetch_all
    )?;
    let id = |bytes: &[u8]| id_number("usage", bytes).map(KeyId::from_u128);
    let mut sums: Vec<DayRow> = Vec::with_capacity(found.len());
    for (key, scope, outcome, total, parent) in found {
        let sum = DayRow { key: id(&key)?, scope, outcome, total, parent: parent.as_deref().map(id).transpose()? };
        match sums.last_mut() {
            // Whose child a key is may have been found out in the course of the day.
            Some(last) if (last.key, &last.scope, &last.outcome) == (sum.key, &sum.scope, &sum.outcome) => {
                last.total += sum.total;
                last.parent = last.parent.or(sum.parent);
            }
            _ => sums.push(sum),
        }
    }
    Ok(sums)
}

/// Writes sums over a day, in place of all that there are of it where these are the first. With the last ones the day is
/// ended as by [`end_day`]; returns whether it is.
pub async fn put_day(
    store: &Store,
    account: &Account,
    day: &Range<i64>,
    sums: &[DayRow],
    (is_first, is_last): (bool, bool),
) -> Result<bool, StoreError> {
    let mut tx = store.begin_unpublished().await?;
    if is_first {
        on_either!(
            &mut tx,
            sqlx::query("DELETE FROM usage_days WHERE organization = $1 AND api = $2 AND day >= $3 AND day < $4")
                .bind(account.0.to_bytes().to_vec())
                .bind(account.1.as_str())
                .bind(day.start)
                .bind(day.end),
            execute
        )?;
    }
    let row = |sum: &DayRow| {
        vec![
            account.0.to_bytes().to_vec().into(),
            account.1.as_str().into(),
            day.start.into(),
            sum.key.to_bytes().to_vec().into(),
            sum.scope.as_str().into(),
            sum.outcome.as_str().into(),
            sum.total.into(),
            sum.parent.map(|parent| parent.to_bytes().to_vec()).into(),
        ]
    };
    rows::write(
        &mut tx,
        "INSERT INTO usage_days (organization, api, day, key_id, scope, outcome, total, parent)",
        "",
        sums.iter().map(row).collect(),
    )
    .await?;
    let is_ended = is_last && end(&mut tx, account, day).await?;
    tx.commit().await?;
    Ok(is_ended)
}

/// Says that a day is added up, unless one of its hours got a total since it was begun. Returns whether it is.
pub async fn end_day(store: &Store, account: &Account, day: &Range<i64>) -> Result<bool, StoreError> {
    let mut tx = store.begin_unpublished().await?;
    let is_ended = end(&mut tx, account, day).await?;
    tx.commit().await?;
    Ok(is_ended)
}

async fn end(tx: &mut Connection, account: &Account, day: &Range<i64>) -> Result<bool, StoreError> {
    let ended = on_either!(
        tx,
        sqlx::query(
            "UPDATE usage_accounts SET rolled_through = $4
             WHERE organization = $1 AND api = $2 AND rolled_through = $3 AND rolling_to = $4",
        )
        .bind(account.0.to_bytes().to_vec())
        .bind(account.1.as_str())
        .bind(day.start)
        .bind(day.end),
        execute
    )?;
    Ok(ended > 0)
}

/// Forgets hours of an account before one, at most about `limit` rows of them; as far as they are in days, and only whole
/// days. Returns whether there are more.
pub async fn delete_hours(store: &Store, account: &Account, before: i64, limit: u32) -> Result<bool, StoreError> {
    let mut tx = store.begin_unpublished().await?;
    let day: Option<i64> = on_either!(
        &mut tx,
        sqlx::query_scalar::<_, Option<i64>>(
            "SELECT CASE WHEN rolled_through <= $3 THEN rolled_through ELSE
                 (SELECT MAX(day) FROM usage_days WHERE organization = $1 AND api = $2 AND day <= $3) END
             FROM usage_accounts WHERE organization = $1 AND api = $2",
        )
        .bind(account.0.to_bytes().to_vec())
        .bind(account.1.as_str())
        .bind(before),
        fetch_optional
    )?
    .flatten();
    let Some(before) = day else { return Ok(false) };
    // First of all, so that nobody looks for half of a day.
    on_either!(
        &mut tx,
        sqlx::query(
            "UPDATE usage_accounts SET pruned_before = $3 WHERE organization = $1 AND api = $2 AND pruned_before < $3",
        )
        .bind(account.0.to_bytes().to_vec())
        .bind(account.1.as_str())
        .bind(before),
        execute
    )?;
    let (until, more) = cut(&mut tx, FIRST_HOURS, account, before, limit).await?;
    for table in [DELETE_HOURS, DELETE_ACCOUNT_HOURS] {
        delete(&mut tx, table, account, until).await?;
    }
    tx.commit().await?;
    Ok(more)
}

/// Forgets days of an account before one, at most about `limit` rows of them. Returns whether there are more.
pub async fn delete_days(store: &Store, account: &Account, before: i64, limit: u32) -> Result<bool, StoreError> {
    let mut tx = store.begin_unpublished().await?;
    let (until, more) = cut(&mut tx, FIRST_DAYS, account, before, limit).await?;
    delete(&mut tx, DELETE_DAYS, account, until).await?;
    tx.commit().await?;
    Ok(more)
}

const FIRST_HOURS: [&str; 2] = [
    "SELECT MIN(hour) FROM usage WHERE organization = $1 AND api = $2 AND hour < $3",
    "SELECT hour FROM usage WHERE organization = $1 AND api = $2 AND hour < $3 ORDER BY hour LIMIT 1 OFFSET $4",
];
const FIRST_DAYS: [&str; 2] = [
    "SELECT MIN(day) FROM usage_days WHERE organization = $1 AND api = $2 AND day < $3",
    "SELECT day FROM usage_days WHERE organization = $1 AND api = $2 AND day < $3 ORDER BY day LIMIT 1 OFFSET $4",
];
const DELETE_HOURS: &str = "DELETE FROM usage WHERE organization = $1 AND api = $2 AND hour < $3";
const DELETE_ACCOUNT_HOURS: &str = "DELETE FROM usage_account_hours WHERE organization = $1 AND api = $2 AND hour < $3";
const DELETE_DAYS: &str = "DELETE FROM usage_days WHERE organization = $1 AND api = $2 AND day < $3";

/// Up to where there are about so many rows, the first hour or day at least; and whether there are more.
async fn cut(
    tx: &mut Connection,
    [first, past_limit]: [&'static str; 2],
    account: &Account,
    before: i64,
    limit: u32,
) -> Result<(i64, bool), StoreError> {
    let organization = account.0.to_bytes().to_vec();
    let past: Option<i64> = on_either!(
        &mut *tx,
        sqlx::query_scalar(past_limit)
            .bind(organization.clone())
            .bind(account.1.as_str())
            .bind(before)
            .bind(i64::from(limit)),
        fetch_optional
    )?;
    let Some(past) = past else { return Ok((before, false)) };
    let first: Option<i64> =
        on_either!(tx, sqlx::query_scalar(first).bind(organization).bind(account.1.as_str()).bind(before), fetch_one)?;
    Ok((past.max(first.unwrap_or(past) + 1), true))
}

async fn delete(tx: &mut Connection, query: &'static str, account: &Account, before: i64) -> Result<(), StoreError> {
    on_either!(
        tx,
        sqlx::query(query).bind(account.0.to_bytes().to_vec()).bind(account.1.as_str()).bind(before),
        execute
    )?;
    Ok(())
}
