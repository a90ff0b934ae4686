//! The table of billing periods that go on though their calendar was changed.

use claviger_domain::id::OrganizationId;
use claviger_domain::key::ApiName;
use claviger_domain::period::RunningPeriod;

use crate::dialect::on_either;
use crate::row::{id_number, word};
use crate::usage::Account;
use crate::{Connection, StoreError, Tx};

const TABLE: &str = "running_periods";

fn period(number: i64, since: i64) -> Result<RunningPeriod, StoreError> {
    let number = u16::try_from(number).map_err(|error| StoreError::Row { table: TABLE, reason: error.to_string() })?;
    Ok(RunningPeriod { number, since })
}

/// That of an account, if its calendar was ever changed. It may be over.
pub async fn find(
    connection: &mut Connection,
    organization: OrganizationId,
    api: &ApiName,
) -> Result<Option<RunningPeriod>, StoreError> {
    let row: Option<(i64, i64)> = on_either!(
        connection,
        sqlx::query_as("SELECT number, since FROM running_periods WHERE organization = $1 AND api = $2")
            .bind(organization.to_bytes().to_vec())
            .bind(api.as_str()),
        fetch_optional
    )?;
    row.map(|(number, since)| period(number, since)).transpose()
}

/// Those of all accounts.
pub async fn list_all(connection: &mut Connection) -> Result<Vec<(Account, RunningPeriod)>, StoreError> {
    let rows: Vec<(Vec<u8>, String, i64, i64)> = on_either!(
        connection,
        sqlx::query_as("SELECT organization, api, number, since FROM running_periods"),
        fetch_all
    )?;
    let read = |(organization, api, number, since): (Vec<u8>, String, i64, i64)| {
        let organization = OrganizationId::from_u128(id_number(TABLE, &organization)?);
        Ok(((organization, word(TABLE, &api)?), period(number, since)?))
    };
    rows.into_iter().map(read).collect()
}

/// Writes that of an account.
pub async fn put(tx: &mut Tx, account: &Account, running: RunningPeriod) -> Result<(), StoreError> {
    on_either!(
        tx.writing().await?,
        sqlx::query(
            "INSERT INTO running_periods (organization, api, number, since) VALUES ($1, $2, $3, $4)
             ON CONFLICT (organization, api) DO UPDATE SET number = excluded.number, since = excluded.since",
        )
        .bind(account.0.to_bytes().to_vec())
        .bind(account.1.as_str())
        .bind(i64::from(running.number))
        .bind(running.since),
        execute
    )?;
    Ok(())
}
