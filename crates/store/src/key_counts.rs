//! How many keys there are, in the table of keys: what plans and limits are about.

use claviger_domain::id::OrganizationId;
use claviger_domain::key::{ApiName, Key};
use claviger_domain::limits;
use claviger_domain::time::Timestamp;

use crate::dialect::on_either;
use crate::keys::{KeyRow, Row};
use crate::{Connection, StoreError};

/// How many keys of an organization and api there are.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct KeyCounts {
    /// Those that are not ephemeral and neither revoked nor expired.
    pub standing: i64,
    /// Of these, the ones that are not disabled.
    pub enabled: i64,
    /// Ephemeral keys that are neither revoked nor expired.
    pub ephemeral: i64,
}

/// Counts what is in the index `keys_counted`, and nothing else: it is done in the writer's turn.
macro_rules! counted {
    ($condition:literal) => {
        concat!(
            "SELECT COUNT(CASE WHEN kind <> 'ephemeral' THEN 1 END),
                 COUNT(CASE WHEN kind <> 'ephemeral' AND NOT disabled THEN 1 END),
                 COUNT(CASE WHEN kind = 'ephemeral' THEN 1 END)
             FROM keys WHERE organization = $1 AND api = $2",
            $condition
        )
    };
}

pub(crate) const LIVE: &str = counted!(" AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > $3)");
pub(crate) const KEPT: &str = counted!("");

/// How many keys of an organization and api are neither revoked nor expired.
pub async fn count_live(
    connection: &mut Connection,
    organization: OrganizationId,
    api: &ApiName,
    now: Timestamp,
) -> Result<KeyCounts, StoreError> {
    let (standing, enabled, ephemeral) = on_either!(
        connection,
        sqlx::query_as::<_, (i64, i64, i64)>(LIVE)
            .bind(organization.to_bytes().to_vec())
            .bind(api.as_str())
            .bind(now.as_micros()),
        fetch_one
    )?;
    Ok(KeyCounts { standing, enabled, ephemeral })
}

/// How many keys of an organization and api are kept, those that ended included: ephemeral ones and others.
pub async fn count_kept(
    connection: &mut Connection,
    organization: OrganizationId,
    api: &ApiName,
) -> Result<KeyCounts, StoreError> {
    let (standing, enabled, ephemeral) = on_either!(
        connection,
        sqlx::query_as::<_, (i64, i64, i64)>(KEPT).bind(organization.to_bytes().to_vec()).bind(api.as_str()),
        fetch_one
    )?;
    Ok(KeyCounts { standing, enabled, ephemeral })
}

/// The keys of an organization and api that are enabled, not ephemeral and neither revoked nor expired: all but the
/// oldest so many of them.
pub async fn list_enabled_beyond(
    connection: &mut Connection,
    organization: OrganizationId,
    api: &ApiName,
    now: Timestamp,
    oldest: i64,
) -> Result<Vec<Key>, StoreError> {
    let rows: Vec<Row> = on_either!(
        connection,
        sqlx::query_as(
            "SELECT * FROM keys
             WHERE organization = $1 AND api = $2 AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > $3)
               AND kind <> 'ephemeral' AND NOT disabled
             ORDER BY created_at, id LIMIT $4 OFFSET $5",
        )
        .bind(organization.to_bytes().to_vec())
        .bind(api.as_str())
        .bind(now.as_micros())
        .bind(limits::KEYS_PER_ORGANIZATION_MAX)
        .bind(oldest),
        fetch_all
    )?;
    rows.into_iter().map(|row| Ok(KeyRow::try_from(row)?.key)).collect()
}
