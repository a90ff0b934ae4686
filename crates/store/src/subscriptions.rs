//! The table of subscriptions.

use claviger_domain::id::OrganizationId;
use claviger_domain::key::ApiName;
use claviger_domain::plan::PlanName;
use claviger_domain::subscription::{AnchorDay, Subscription};
use claviger_domain::time::Timestamp;

use crate::dialect::on_either;
use crate::row::{id_number, word};
use crate::{Connection, StoreError, Tx};

const TABLE: &str = "subscriptions";

#[derive(sqlx::FromRow)]
struct Row {
    organization: Vec<u8>,
    api: String,
    plan: String,
    state: String,
    state_since: i64,
    api_access: bool,
    anchor_day: Option<i64>,
    event_at: i64,
}

impl TryFrom<Row> for Subscription {
    type Error = StoreError;

    fn try_from(row: Row) -> Result<Self, StoreError> {
        let anchor_day = |day: i64| {
            let day = u8::try_from(day).ok().and_then(|day| AnchorDay::try_from(day).ok());
            day.ok_or_else(|| StoreError::Row { table: TABLE, reason: "an anchor day that no month has".to_owned() })
        };
        Ok(Self {
            organization: OrganizationId::from_u128(id_number(TABLE, &row.organization)?),
            api: word(TABLE, &row.api)?,
            plan: word(TABLE, &row.plan)?,
            state: word(TABLE, &row.state)?,
            state_since: Timestamp::from_micros(row.state_since),
            api_access: row.api_access,
            anchor_day: row.anchor_day.map(anchor_day).transpose()?,
            event_at: Timestamp::from_micros(row.event_at),
        })
    }
}

/// Writes a subscription, new or altered.
pub async fn put(tx: &mut Tx, subscription: &Subscription) -> Result<(), StoreError> {
    let revision = tx.revision().0;
    tx.forget_what_is_known();
    on_either!(
        tx.writing().await?,
        sqlx::query(
            "INSERT INTO subscriptions
             (organization, api, plan, state, state_since, api_access, anchor_day, event_at, revision)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
         ON CONFLICT (organization, api) DO UPDATE SET plan = excluded.plan, state = excluded.state,
             state_since = excluded.state_since, api_access = excluded.api_access, anchor_day = excluded.anchor_day,
             event_at = excluded.event_at, revision = excluded.revision",
        )
        .bind(subscription.organization.to_bytes().to_vec())
        .bind(subscription.api.as_str())
        .bind(subscription.plan.as_str())
        .bind(subscription.state.as_str())
        .bind(subscription.state_since.as_micros())
        .bind(subscription.api_access)
        .bind(subscription.anchor_day.map(|day| i64::from(day.get())))
        .bind(subscription.event_at.as_micros())
        .bind(revision),
        execute
    )?;
    Ok(())
}

/// The subscription of an organization on an api.
pub async fn find(
    connection: &mut Connection,
    organization: OrganizationId,
    api: &ApiName,
) -> Result<Option<Subscription>, StoreError> {
    let row: Option<Row> = on_either!(
        connection,
        sqlx::query_as(
            "SELECT organization, api, plan, state, state_since, api_access, anchor_day, event_at FROM subscriptions
         WHERE organization = $1 AND api = $2",
        )
        .bind(organization.to_bytes().to_vec())
        .bind(api.as_str()),
        fetch_optional
    )?;
    row.map(Subscription::try_from).transpose()
}

/// The subscriptions of an organization, by api.
pub async fn list(connection: &mut Connection, organization: OrganizationId) -> Result<Vec<Subscription>, StoreError> {
    let rows: Vec<Row> = on_either!(
        connection,
        sqlx::query_as(
            "SELECT organization, api, plan, state, state_since, api_access, anchor_day, event_at FROM subscriptions
         WHERE organization = $1 ORDER BY api",
        )
        .bind(organization.to_bytes().to_vec()),
        fetch_all
    )?;
    rows.into_iter().map(Subscription::try_from).collect()
}

/// Every subscription.
pub async fn list_all(connection: &mut Connection) -> Result<Vec<Subscription>, StoreError> {
    let rows: Vec<Row> = on_either!(
        connection,
        sqlx::query_as(
            "SELECT organization, api, plan, state, state_since, api_access, anchor_day, event_at FROM subscriptions
         ORDER BY organization, api",
        ),
        fetch_all
    )?;
    rows.into_iter().map(Subscription::try_from).collect()
}

/// The plans that organizations have on an api, with how many have each.
pub async fn count_by_plan(connection: &mut Connection, api: &ApiName) -> Result<Vec<(PlanName, i64)>, StoreError> {
    let rows: Vec<(String, i64)> = on_either!(
        connection,
        sqlx::query_as("SELECT plan, COUNT(*) FROM subscriptions WHERE api = $1 GROUP BY plan ORDER BY plan")
            .bind(api.as_str()),
        fetch_all
    )?;
    rows.into_iter().map(|(plan, count)| Ok((word(TABLE, &plan)?, count))).collect()
}
