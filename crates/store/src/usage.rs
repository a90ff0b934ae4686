//! The table of usage: absolute totals, so that writing the same total twice changes nothing.
//!
//! Hours that are over become days, see [`usage_retention`](crate::usage_retention). A total may come late all the
//! same: a process was killed, and what it had counted is written down when its file is seen again. So whoever writes
//! first holds the accounts that the totals are of, and takes back what was made of a late hour; it is added up anew.
//! Totals of hours that are not kept any more are the only ones that are not written: what was made of them cannot be
//! told from what they add.

use std::collections::{BTreeMap, BTreeSet};

use claviger_domain::id::{KeyId, OrganizationId};
use claviger_domain::key::ApiName;
use claviger_domain::time::Timestamp;

use crate::dialect::on_either;
use crate::row::{id_number, word};
use crate::{Connection, Store, StoreError, feed, rows};

/// How often something happened with a key within an hour, in this run of the process.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UsageRow {
    /// Whose calls.
    pub organization: OrganizationId,
    /// To which api.
    pub api: ApiName,
    /// Hours since the Unix epoch.
    pub hour: i64,
    /// With which key.
    pub key: KeyId,
    /// The scope of the endpoint, or `none`.
    pub scope: String,
    /// `allowed` or the code of the denial.
    pub outcome: String,
    /// The total so far.
    pub total: i64,
    /// When the key last passed, to the minute; `None` for denials.
    pub last_used: Option<Timestamp>,
    /// The key that an ephemeral key was made with, where it is known.
    pub parent: Option<KeyId>,
}

/// An organization on an api.
pub type Account = (OrganizationId, ApiName);

/// Writes totals of one incarnation, all or none. Of two for the same thing the greater counts. Returns how many came too
/// late to be written.
pub async fn put_totals(store: &Store, incarnation: i64, rows: &[UsageRow]) -> Result<usize, StoreError> {
    let mut tx = store.begin_unpublished().await?;
    let mut greatest: BTreeMap<_, &UsageRow> = BTreeMap::new();
    let pruned = hold_accounts(&mut tx, rows).await?;
    let is_kept = |row: &&UsageRow| {
        pruned.get(&(row.organization, row.api.clone())).is_none_or(|pruned_before| *pruned_before <= row.hour)
    };
    let late = rows.len() - rows.iter().filter(is_kept).count();
    for row in rows.iter().filter(is_kept) {
        let known = greatest.entry((row.key, row.hour, &row.scope, &row.outcome)).or_insert(row);
        if known.total < row.total {
            *known = row;
        }
    }
    // The key that an ephemeral key was made with pays for it, also when nobody knows the ephemeral key any more.
    let keys: BTreeSet<KeyId> = greatest.values().map(|row| row.key).collect();
    let keys = keys.iter().map(|key| key.to_bytes().to_vec().into()).collect();
    let head = "SELECT id, parent_id FROM keys WHERE parent_id IS NOT NULL AND id";
    let parents: Vec<(Vec<u8>, Vec<u8>)> = rows::select_in(&mut tx, &[head], keys).await?;
    let parents: BTreeMap<Vec<u8>, Vec<u8>> = parents.into_iter().collect();
    let total = |row: &UsageRow| {
        let key = row.key.to_bytes().to_vec();
        let parent = row.parent.map(|parent| parent.to_bytes().to_vec()).or_else(|| parents.get(&key).cloned());
        vec![
            row.organization.to_bytes().to_vec().into(),
            row.api.as_str().into(),
            row.hour.into(),
            key.into(),
            row.scope.as_str().into(),
            row.outcome.as_str().into(),
            incarnation.into(),
            row.total.into(),
            parent.into(),
        ]
    };
    rows::write(
        &mut tx,
        "INSERT INTO usage (organization, api, hour, key_id, scope, outcome, incarnation, total, parent)",
        "ON CONFLICT (organization, api, hour, key_id, scope, outcome, incarnation)
         DO UPDATE SET total = excluded.total WHERE excluded.total > usage.total",
        greatest.into_values().map(total).collect(),
    )
    .await?;
    let mut last_used: BTreeMap<KeyId, Timestamp> = BTreeMap::new();
    for (key, at) in rows.iter().filter_map(|row| Some((row.key, row.last_used?))) {
        let latest = last_used.entry(key).or_insert(at);
        *latest = at.max(*latest);
    }
    if !last_used.is_empty() {
        // Whoever writes keys holds this row first, so that no two wait for each other's keys.
        feed::lock_revision(&mut tx).await?;
        let at = |(key, at): (KeyId, Timestamp)| vec![key.to_bytes().to_vec().into(), at.as_micros().into()];
        rows::write(
            &mut tx,
            "WITH used (id, at) AS (",
            ") UPDATE keys SET last_used = used.at FROM used
             WHERE keys.id = used.id AND (last_used IS NULL OR last_used < used.at)",
            last_used.into_iter().map(at).collect(),
        )
        .await?;
    }
    tx.commit().await?;
    Ok(late)
}

/// Holds the accounts that rows are of until the transaction ends, so that nobody makes days of their hours meanwhile, and
/// takes back what was made of hours that get a total only now. Returns which hours of each are not kept any more.
async fn hold_accounts(tx: &mut Connection, rows: &[UsageRow]) -> Result<BTreeMap<Account, i64>, StoreError> {
    let mut first: BTreeMap<Account, i64> = BTreeMap::new();
    for row in rows {
        let hour = first.entry((row.organization, row.api.clone())).or_insert(row.hour);
        *hour = row.hour.min(*hour);
    }
    let place = |account: &Account| vec![account.0.to_bytes().to_vec().into(), account.1.as_str().into()];
    let new = |(account, hour): (&Account, &i64)| {
        let mut row = place(account);
        row.extend([(*hour).into(), (*hour).into(), "".into(), 0.into(), 0.into()]);
        row
    };
    rows::write(
        tx,
        "INSERT INTO usage_accounts
             (organization, api, rolled_through, aligned_since, time_zone, pruned_before, rolling_to)",
        "ON CONFLICT (organization, api) DO NOTHING",
        first.iter().map(new).collect(),
    )
    .await?;
    let held: Vec<(Vec<u8>, String, i64, i64, i64)> = rows::select_with(
        tx,
        "WITH wanted (its_organization, its_api) AS (",
        ") UPDATE usage_accounts SET rolling_to = rolling_to FROM wanted
         WHERE organization = its_organization AND api = its_api
         RETURNING organization, api, rolled_through, rolling_to, pruned_before",
        first.keys().map(place).collect(),
    )
    .await?;
    let mut pruned = BTreeMap::new();
    for (organization, api, rolled_through, rolling_to, pruned_before) in held {
        let organization = OrganizationId::from_u128(id_number("usage_accounts", &organization)?);
        let account = (organization, word("usage_accounts", &api)?);
        let kept = rows.iter().filter(|row| (row.organization, &row.api) == (account.0, &account.1));
        let late = kept.map(|row| row.hour).filter(|hour| *hour >= pruned_before).min();
        if let Some(hour) = late.filter(|hour| *hour < rolled_through.max(rolling_to)) {
            take_back(tx, &account, hour, rolled_through, pruned_before).await?;
        }
        pruned.insert(account, pruned_before);
    }
    Ok(pruned)
}

/// Has the days of an account from that of an hour on be added up anew, and the one that is being added up as well.
async fn take_back(
    tx: &mut Connection,
    account: &Account,
    hour: i64,
    rolled_through: i64,
    pruned_before: i64,
) -> Result<(), StoreError> {
    let day: Option<i64> = on_either!(
        &mut *tx,
        sqlx::query_scalar("SELECT MAX(day) FROM usage_days WHERE organization = $1 AND api = $2 AND day <= $3")
            .bind(account.0.to_bytes().to_vec())
            .bind(account.1.as_str())
            .bind(hour),
        fetch_one
    )?;
    // Where no day is known, none was made of this hour.
    let since = if hour < rolled_through { day.unwrap_or(hour).max(pruned_before) } else { rolled_through };
    on_either!(
        tx,
        sqlx::query(
            "UPDATE usage_accounts SET rolling_to = 0,
                 rolled_through = CASE WHEN rolled_through > $3 THEN $3 ELSE rolled_through END,
                 aligned_since = CASE WHEN aligned_since > $3 THEN $3 ELSE aligned_since END
             WHERE organization = $1 AND api = $2",
        )
        .bind(account.0.to_bytes().to_vec())
        .bind(account.1.as_str())
        .bind(since),
        execute
    )?;
    Ok(())
}

/// Totals of one incarnation, of an organization's calls to an api from an hour on.
pub async fn list_from(
    connection: &mut Connection,
    incarnation: i64,
    organization: OrganizationId,
    api: &ApiName,
    hour: i64,
) -> Result<Vec<UsageRow>, StoreError> {
    let rows: Vec<(i64, Vec<u8>, String, String, i64)> = on_either!(
        connection,
        sqlx::query_as(
            "SELECT hour, key_id, scope, outcome, total FROM usage
             WHERE organization = $1 AND api = $2 AND hour >= $3 AND incarnation = $4",
        )
        .bind(organization.to_bytes().to_vec())
        .bind(api.as_str())
        .bind(hour)
        .bind(incarnation),
        fetch_all
    )?;
    let row = |(hour, key, scope, outcome, total): (i64, Vec<u8>, _, _, _)| {
        let key = KeyId::from_u128(id_number("usage", &key)?);
        Ok(UsageRow { organization, api: api.clone(), hour, key, scope, outcome, total, last_used: None, parent: None })
    };
    rows.into_iter().map(row).collect()
}
