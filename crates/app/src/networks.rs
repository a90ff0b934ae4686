//! From where: what the engine noted of networks gets into the tables, to be judged and shown.

use std::collections::BTreeMap;

use claviger_domain::key::ApiName;
use claviger_domain::limits::KEY_NETWORKS_KEPT_DAYS;
use claviger_domain::network::Network;
use claviger_domain::time::Timestamp;
use claviger_engine::Caller;
use claviger_store::networks;
use tokio::sync::Mutex;

use crate::usage::report::start_of;
use crate::{Actor, App, AppError};

/// Notes that are kept while the database is away.
const WAITING_MAX: usize = 20_000;
/// Notes that are written in one transaction.
const NOTES_PER_WRITE: usize = 500;
/// Rows that are forgotten in one transaction.
const FORGOTTEN_AT_ONCE: u32 = 2000;
const DAY_SECONDS: i64 = 24 * 3600;
const HOURS_PER_DAY: i64 = 24;
/// For how many hours calls with unknown keys are shown when nobody says since when.
const SHOWN_HOURS: i64 = 24;

/// Of which unknown keys calls are asked for.
#[derive(Clone, Debug, Default)]
pub struct UnknownKeyQuery {
    /// Only those that claimed to be for this api.
    pub api: Option<ApiName>,
    /// From the hour of this instant on; of the last day when left out.
    pub since: Option<Timestamp>,
    /// Before this instant; until now when left out.
    pub until: Option<Timestamp>,
    /// At most so many, those with the most calls first.
    pub limit: u32,
}

/// Calls with keys that are well-formed and nobody's.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UnknownKeyReport {
    /// The api that they claimed to be for.
    pub api: ApiName,
    /// Their prefix.
    pub prefix: String,
    /// From where; `None` where the address was not known, or too many were seen in an hour.
    pub network: Option<Network>,
    /// How many calls.
    pub calls: i64,
    /// Beginning of the first hour in which there were some.
    pub first_hour: Timestamp,
    /// Beginning of the last.
    pub last_hour: Timestamp,
}

/// What is to be written.
#[derive(Default)]
pub(crate) struct Noted(Mutex<Waiting>);

#[derive(Default)]
struct Waiting {
    callers: Vec<Caller>,
    /// By hour, api, prefix and network.
    unknown: BTreeMap<(i64, ApiName, String, Option<Network>), u64>,
}

impl Waiting {
    fn add(&mut self, hour: i64, api: ApiName, prefix: String, network: Option<Network>, calls: u64) {
        let mut place = (hour, api, prefix, network);
        if self.unknown.len() >= WAITING_MAX && !self.unknown.contains_key(&place) {
            // There are far fewer prefixes than networks.
            place.3 = None;
        }
        *self.unknown.entry(place).or_default() += calls;
    }
}

impl App {
    /// Writes from where keys were used, and who presented keys that are nobody's. What cannot be written waits.
    pub async fn write_networks(&self) -> Result<(), AppError> {
        let mut waiting = self.noted.0.lock().await;
        let hour = self.now().hour();
        waiting.callers.extend(self.engine.take_callers());
        waiting.callers.truncate(WAITING_MAX);
        for calls in self.engine.take_unknown_keys() {
            waiting.add(hour, calls.api, calls.prefix, calls.network, calls.calls);
        }
        while !waiting.callers.is_empty() {
            let count = waiting.callers.len().min(NOTES_PER_WRITE);
            let rows: Vec<_> =
                waiting.callers[..count].iter().map(|caller| (caller.key, caller.network, caller.at)).collect();
            networks::put_callers(&self.store, &rows).await?;
            waiting.callers.drain(..count);
        }
        while let Some(hour) = waiting.unknown.keys().next().map(|(hour, ..)| *hour) {
            let of_hour = waiting.unknown.iter().take_while(|((its, ..), _)| *its == hour);
            let rows: Vec<_> = of_hour
                .map(|((_, api, prefix, network), calls)| {
                    (api.clone(), prefix.clone(), *network, i64::try_from(*calls).unwrap_or(i64::MAX))
                })
                .collect();
            networks::add_unknown_keys(&self.store, hour, &rows).await?;
            waiting.unknown.retain(|(its, ..), _| *its != hour);
        }
        Ok(())
    }

    /// Forgets networks that are long out of use, and unknown keys as usage of the same hour is forgotten.
    pub(crate) async fn forget_networks(&self) -> Result<(), AppError> {
        let now = self.now();
        let before = now.plus_seconds(-KEY_NETWORKS_KEPT_DAYS * DAY_SECONDS).unwrap_or(Timestamp::from_micros(0));
        while networks::forget_callers(&self.store, before, FORGOTTEN_AT_ONCE).await? {}
        let kept = i64::from(self.usage_retention().hours_kept_days()) * HOURS_PER_DAY;
        while networks::forget_unknown_keys(&self.store, now.hour() - kept).await? {}
        Ok(())
    }

    /// Lists calls with keys that are well-formed and nobody's, by prefix and network: those with the most calls first. Only
    /// the operator may.
    pub async fn list_unknown_keys(
        &self,
        actor: &Actor,
        query: &UnknownKeyQuery,
    ) -> Result<Vec<UnknownKeyReport>, AppError> {
        actor.must_be_operator()?;
        self.write_networks().await?;
        let until = query.until.map_or(self.now().hour() + 1, |until| {
            // An hour that has begun by then is among them.
            Timestamp::from_micros(until.as_micros().saturating_sub(1)).hour() + 1
        });
        let since = query.since.map_or(until - SHOWN_HOURS, Timestamp::hour);
        let mut reader = self.store.read().await?;
        let found = networks::list_unknown_keys(&mut reader, query.api.as_ref(), &(since..until), query.limit).await?;
        Ok(found
            .into_iter()
            .map(|networks::UnknownKeys { api, prefix, network, calls, hours: (first, last) }| UnknownKeyReport {
                api,
                prefix,
                network,
                calls,
                first_hour: start_of(first),
                last_hour: start_of(last),
            })
            .collect())
    }
}
