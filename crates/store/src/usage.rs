//! The table of usage: absolute totals, so that writing the same total twice changes nothing.

use std::collections::BTreeMap;

use claviger_domain::id::{KeyId, OrganizationId};
use claviger_domain::key::ApiName;
use claviger_domain::time::Timestamp;

use crate::dialect::on_either;
use crate::row::id_number;
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
}

/// A sum over hours.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UsageSum {
    /// The scope, or `none`.
    pub scope: String,
    /// `allowed` or the code of the denial.
    pub outcome: String,
    /// How often.
    pub total: i64,
}

/// Writes totals of one incarnation, all or none. Of two for the same thing the greater counts.
pub async fn put_totals(store: &Store, incarnation: i64, rows: &[UsageRow]) -> Result<(), StoreError> {
    let mut tx = store.begin_unpublished().await?;
    let mut greatest: BTreeMap<_, &UsageRow> = BTreeMap::new();
    for row in rows {
        let known = greatest.entry((row.key, row.hour, &row.scope, &row.outcome)).or_insert(row);
        if known.total < row.total {
            *known = row;
        }
    }
    let total = |row: &UsageRow| {
        vec![
            row.organization.to_bytes().to_vec().into(),
            row.api.as_str().into(),
            row.hour.into(),
            row.key.to_bytes().to_vec().into(),
            row.scope.as_str().into(),
            row.outcome.as_str().into(),
            incarnation.into(),
            row.total.into(),
        ]
    };
    rows::write(
        &mut tx,
        "INSERT INTO usage (organization, api, hour, key_id, scope, outcome, incarnation, total)",
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
    Ok(())
}

/// Sums of an organization's calls to an api from one hour up to another, of one key where one is named.
pub async fn sum(
    connection: &mut Connection,
    organization: OrganizationId,
    api: &ApiName,
    key: Option<KeyId>,
    hours: std::ops::Range<i64>,
) -> Result<Vec<UsageSum>, StoreError> {
    let rows: Vec<(String, String, i64)> = on_either!(
        connection,
        sqlx::query_as(
            "SELECT scope, outcome, CAST(SUM(total) AS BIGINT) FROM usage
         WHERE organization = $1 AND api = $2 AND hour >= $3 AND hour < $4 AND ($5 IS NULL OR key_id = $5)
         GROUP BY scope, outcome ORDER BY scope, outcome",
        )
        .bind(organization.to_bytes().to_vec())
        .bind(api.as_str())
        .bind(hours.start)
        .bind(hours.end)
        .bind(key.map(|id| id.to_bytes().to_vec())),
        fetch_all
    )?;
    Ok(rows.into_iter().map(|(scope, outcome, total)| UsageSum { scope, outcome, total }).collect())
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
        Ok(UsageRow { organization, api: api.clone(), hour, key, scope, outcome, total, last_used: None })
    };
    rows.into_iter().map(row).collect()
}
