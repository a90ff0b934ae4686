//! The table of apis.

use claviger_domain::definition::Api;
use claviger_domain::key::ApiName;

use crate::dialect::on_either;
use crate::row::{from_json, to_json};
use crate::{Connection, StoreError, Tx};

/// Writes an api, new or redefined.
pub async fn put(tx: &mut Tx, api: &Api) -> Result<(), StoreError> {
    let revision = tx.revision().0;
    tx.forget_what_is_known();
    on_either!(
        tx.writing().await?,
        sqlx::query(
            "INSERT INTO apis (name, body, revision) VALUES ($1, $2, $3)
         ON CONFLICT (name) DO UPDATE SET body = excluded.body, revision = excluded.revision",
        )
        .bind(api.definition.name().as_str())
        .bind(to_json(api))
        .bind(revision),
        execute
    )?;
    Ok(())
}

/// The api of that name.
pub async fn find(connection: &mut Connection, name: &ApiName) -> Result<Option<Api>, StoreError> {
    let body: Option<String> = on_either!(
        connection,
        sqlx::query_scalar("SELECT body FROM apis WHERE name = $1").bind(name.as_str()),
        fetch_optional
    )?;
    body.map(|body| from_json("apis", &body)).transpose()
}

/// Every api, by name.
pub async fn list(connection: &mut Connection) -> Result<Vec<Api>, StoreError> {
    let bodies: Vec<String> =
        on_either!(connection, sqlx::query_scalar("SELECT body FROM apis ORDER BY name"), fetch_all)?;
    bodies.iter().map(|body| from_json("apis", body)).collect()
}
