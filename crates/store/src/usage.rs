//! The table of usage: absolute totals, so that writing the same total twice changes nothing.

use claviger_domain::id::{KeyId, OrganizationId};
use claviger_domain::key::ApiName;
use claviger_domain::time::Timestamp;

use crate::dialect::on_either;
use crate::row::id_number;
use crate::{Connection, Store, StoreError};

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

/// Writes totals of one incarnation, all or none.
pub async fn put_totals(store: &Store, incarnation: i64, rows: &[UsageRow]) -> Result<(), StoreError> {
    let mut tx = store.begin_unpublished().await?;
    for row in rows {
        on_either!(
            &mut tx,
            sqlx::query(
                "INSERT INTO usage (organization, api, hour, key_id, scope, outcome, incarnation, total)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
             ON CONFLICT (organization, api, hour, key_id, scope, outcome, incarnation)
             DO UPDATE SET total = excluded.total WHERE excluded.total > usage.total",
            )
            .bind(row.organization.to_bytes().to_vec())
            .bind(row.api.as_str())
            .bind(row.hour)
            .bind(row.key.to_bytes().to_vec())
            .bind(&row.scope)
            .bind(&row.outcome)
            .bind(incarnation)
            .bind(row.total),
            execute
        )?;
        if let Some(last_used) = row.last_used {
            on_either!(
                &mut tx,
                sqlx::query("UPDATE keys SET last_used = $2 WHERE id = $1 AND (last_used IS NULL OR last_used < $2)")
                    .bind(row.key.to_bytes().to_vec())
                    .bind(last_used.as_micros()),
                execute
            )?;
        }
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
