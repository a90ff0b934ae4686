//! From where: the networks that keys are used from, and those that present keys which are nobody's.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use claviger_domain::id::KeyId;
use claviger_domain::key::ApiName;
use claviger_domain::limits::{KEY_NETWORKS_MAX, UNKNOWN_KEY_NETWORKS_MAX};
use claviger_domain::network::Network;
use claviger_domain::time::Timestamp;

use crate::dialect::on_either;
use crate::row::{id_number, word};
use crate::{Connection, Store, StoreError, rows};

/// A network that a key was used from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct KeyNetwork {
    /// The key.
    pub key: KeyId,
    /// The network.
    pub network: Network,
    /// The first use that is known.
    pub first_seen: Timestamp,
    /// The last; of uses on one day it may be the first.
    pub last_seen: Timestamp,
}

/// Calls with keys that are nobody's, over some hours.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UnknownKeys {
    /// The api that the keys claimed to be for.
    pub api: ApiName,
    /// Their prefix.
    pub prefix: String,
    /// From where; `None` where that is not known, or there were too many.
    pub network: Option<Network>,
    /// How many calls.
    pub calls: i64,
    /// The first and the last hour in which there were some.
    pub hours: (i64, i64),
}

type NetworkRow = (Vec<u8>, String, i64, i64);

fn key_network((key, network, first_seen, last_seen): NetworkRow) -> Result<KeyNetwork, StoreError> {
    Ok(KeyNetwork {
        key: KeyId::from_u128(id_number("key_networks", &key)?),
        network: word("key_networks", &network)?,
        first_seen: Timestamp::from_micros(first_seen),
        last_seen: Timestamp::from_micros(last_seen),
    })
}

/// Writes that keys were used from networks at some instants, all or none. A key that has [`KEY_NETWORKS_MAX`] of them gets
/// no more.
pub async fn put_callers(store: &Store, callers: &[(KeyId, Network, Timestamp)]) -> Result<(), StoreError> {
    let mut tx = store.begin_unpublished().await?;
    let keys: BTreeSet<KeyId> = callers.iter().map(|(key, ..)| *key).collect();
    let keys = keys.iter().map(|key| key.to_bytes().to_vec().into()).collect();
    let head = "SELECT key_id, network, first_seen, last_seen FROM key_networks WHERE key_id";
    let known: Vec<NetworkRow> = rows::select_in(&mut tx, &[head], keys).await?;
    let mut networks: BTreeMap<KeyId, BTreeSet<Network>> = BTreeMap::new();
    for row in known {
        let KeyNetwork { key, network, .. } = key_network(row)?;
        networks.entry(key).or_default().insert(network);
    }
    let mut seen: BTreeMap<(KeyId, Network), (Timestamp, Timestamp)> = BTreeMap::new();
    for (key, network, at) in callers {
        let networks = networks.entry(*key).or_default();
        if networks.contains(network) || networks.len() < KEY_NETWORKS_MAX {
            networks.insert(*network);
            let (first, last) = seen.entry((*key, *network)).or_insert((*at, *at));
            (*first, *last) = ((*first).min(*at), (*last).max(*at));
        }
    }
    let row = |((key, network), (first, last)): (&(KeyId, Network), &(Timestamp, Timestamp))| {
        let (first, last) = (first.as_micros(), last.as_micros());
        vec![key.to_bytes().to_vec().into(), network.to_string().into(), first.into(), last.into()]
    };
    rows::write(
        &mut tx,
        "INSERT INTO key_networks (key_id, network, first_seen, last_seen)",
        "ON CONFLICT (key_id, network) DO UPDATE SET last_seen = excluded.last_seen
         WHERE excluded.last_seen > key_networks.last_seen",
        seen.iter().map(row).collect(),
    )
    .await?;
    tx.commit().await
}

/// The networks of a key, in the order in which it was first used from them.
pub async fn list_of_key(connection: &mut Connection, key: KeyId) -> Result<Vec<KeyNetwork>, StoreError> {
    let found: Vec<NetworkRow> = on_either!(
        connection,
        sqlx::query_as(
            "SELECT key_id, network, first_seen, last_seen FROM key_networks WHERE key_id = $1
             ORDER BY first_seen, network",
        )
        .bind(key.to_bytes().to_vec()),
        fetch_all
    )?;
    found.into_iter().map(key_network).collect()
}

/// Keys, in the order of their ids and past one of them, that were first used from some network at or after an instant, and from
/// another one at least so many seconds before that. At most `limit` of them.
pub async fn list_keys_with_new(
    connection: &mut Connection,
    since: Timestamp,
    settled_seconds: i64,
    past: Option<KeyId>,
    limit: u32,
) -> Result<Vec<KeyId>, StoreError> {
    let found: Vec<(Vec<u8>,)> = on_either!(
        connection,
        sqlx::query_as(
            "SELECT DISTINCT key_id FROM key_networks AS fresh
             WHERE first_seen >= $1 AND ($2 IS NULL OR key_id > $2)
               AND EXISTS (SELECT 1 FROM key_networks AS old
                   WHERE old.key_id = fresh.key_id AND old.first_seen <= fresh.first_seen - $3)
             ORDER BY key_id LIMIT $4",
        )
        .bind(since.as_micros())
        .bind(past.map(|key| key.to_bytes().to_vec()))
        .bind(settled_seconds.saturating_mul(1_000_000))
        .bind(i64::from(limit)),
        fetch_all
    )?;
    found.into_iter().map(|(key,)| Ok(KeyId::from_u128(id_number("key_networks", &key)?))).collect()
}

/// Forgets networks that keys were last used from before an instant, at most `limit` of them. Returns whether there may be more.
pub async fn forget_callers(store: &Store, before: Timestamp, limit: u32) -> Result<bool, StoreError> {
    let mut tx = store.begin_unpublished().await?;
    let forgotten = on_either!(
        &mut tx,
        sqlx::query(
            "DELETE FROM key_networks WHERE (key_id, network) IN
                 (SELECT key_id, network FROM key_networks WHERE last_seen < $1 ORDER BY last_seen LIMIT $2)",
        )
        .bind(before.as_micros())
        .bind(i64::from(limit)),
        execute
    )?;
    tx.commit().await?;
    Ok(forgotten >= u64::from(limit))
}

/// Adds calls with unknown keys to those of an hour, all or none: api, prefix, network and calls, each api, prefix and
/// network once. An hour in which there are [`UNKNOWN_KEY_NETWORKS_MAX`] of them gets no more networks; what they would have had is counted
/// without one.
pub async fn add_unknown_keys(
    store: &Store,
    hour: i64,
    calls: &[(ApiName, String, Option<Network>, i64)],
) -> Result<(), StoreError> {
    let mut tx = store.begin_unpublished().await?;
    let known: Vec<(String, String, String)> = on_either!(
        &mut tx,
        sqlx::query_as("SELECT api, prefix, network FROM unknown_keys WHERE hour = $1").bind(hour),
        fetch_all
    )?;
    let mut known: BTreeSet<(String, String, String)> = known.into_iter().collect();
    let mut sums: BTreeMap<(String, String, String), i64> = BTreeMap::new();
    for (api, prefix, network, calls) in calls {
        let network = network.map(|network| network.to_string()).unwrap_or_default();
        let mut place = (api.to_string(), prefix.clone(), network);
        if !known.contains(&place) && known.len() >= UNKNOWN_KEY_NETWORKS_MAX {
            place.2.clear();
        }
        known.insert(place.clone());
        *sums.entry(place).or_default() += calls;
    }
    let row = |((api, prefix, network), calls): ((String, String, String), i64)| {
        vec![hour.into(), api.into(), prefix.into(), network.into(), calls.into()]
    };
    rows::write(
        &mut tx,
        "INSERT INTO unknown_keys (hour, api, prefix, network, calls)",
        "ON CONFLICT (hour, api, prefix, network) DO UPDATE SET calls = unknown_keys.calls + excluded.calls",
        sums.into_iter().map(row).collect(),
    )
    .await?;
    tx.commit().await
}

/// Calls with unknown keys in some hours, of one api or of all, the most first, at most `limit`.
pub async fn list_unknown_keys(
    connection: &mut Connection,
    api: Option<&ApiName>,
    hours: &Range<i64>,
    limit: u32,
) -> Result<Vec<UnknownKeys>, StoreError> {
    let found: Vec<(String, String, String, i64, i64, i64)> = on_either!(
        connection,
        sqlx::query_as(
            "SELECT api, prefix, network, CAST(SUM(calls) AS BIGINT) AS sum, MIN(hour), MAX(hour) FROM unknown_keys
             WHERE hour >= $1 AND hour < $2 AND (CAST($3 AS TEXT) IS NULL OR api = $3)
             GROUP BY api, prefix, network ORDER BY sum DESC, api, prefix, network LIMIT $4",
        )
        .bind(hours.start)
        .bind(hours.end)
        .bind(api.map(ApiName::as_str))
        .bind(i64::from(limit)),
        fetch_all
    )?;
    let read = |(api, prefix, network, calls, first, last): (String, String, String, i64, i64, i64)| {
        let network = if network.is_empty() { None } else { Some(word("unknown_keys", &network)?) };
        Ok(UnknownKeys { api: word("unknown_keys", &api)?, prefix, network, calls, hours: (first, last) })
    };
    found.into_iter().map(read).collect()
}

/// Forgets the hours before one, an hour a call. Returns whether there was one.
pub async fn forget_unknown_keys(store: &Store, before: i64) -> Result<bool, StoreError> {
    let mut tx = store.begin_unpublished().await?;
    let forgotten = on_either!(
        &mut tx,
        sqlx::query("DELETE FROM unknown_keys WHERE hour < $1 AND hour = (SELECT MIN(hour) FROM unknown_keys)",)
            .bind(before),
        execute
    )?;
    tx.commit().await?;
    Ok(forgotten > 0)
}
