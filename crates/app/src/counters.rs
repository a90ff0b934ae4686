//! The file of usage counters: what a process that was killed had counted is written down before counting begins anew.

use std::collections::HashMap;
use std::path::Path;

use claviger_domain::denial::Denial;
use claviger_domain::id::KeyId;
use claviger_domain::key::{Environment, Key};
use claviger_domain::random::Entropy;
use claviger_engine::usage::{RecoveredTotal, recover, words_needed};
use claviger_engine::{Engine, EngineOptions};
use claviger_store::counters::{CounterFile, CounterFileError, LeftBehind};
use claviger_store::usage::UsageRow;
use claviger_store::{Store, StoreError, keys, usage};

use crate::StartError;
use crate::usage::{ALLOWED, NO_SCOPE, ROWS_PER_WRITE};

/// Makes the engine, which counts in the file under an incarnation of its own, if there is to be a file.
pub(crate) async fn open(
    store: &Store,
    path: Option<&Path>,
    options: EngineOptions,
    entropy: &dyn Entropy,
) -> Result<(Engine, i64), StartError> {
    let Some(path) = path else { return Ok((Engine::new(options), store.next_incarnation().await?)) };
    let mut candidate = [0; 16];
    entropy.fill(&mut candidate);
    let database = store.identify(candidate).await?;
    let mut file = CounterFile::open(path, database)?;
    match file.left_behind() {
        LeftBehind::Nothing => {}
        LeftBehind::Words(words) => match recover(words) {
            Ok(recovered) => {
                if recovered.skipped > 0 {
                    tracing::error!(skipped = recovered.skipped, "some usage counters made no sense and are lost");
                }
                write_down(store, recovered.incarnation, recovered.totals).await?;
            }
            Err(error) => {
                tracing::error!(%error, "the usage counters that were left behind cannot be read");
                file = set_aside(file, path, database)?;
            }
        },
        LeftBehind::OfAnotherDatabase => {
            tracing::error!("the usage counters that were left behind are of another database");
            file = set_aside(file, path, database)?;
        }
        LeftBehind::Unreadable => {
            tracing::error!("the file of usage counters is not one of this version");
            file = set_aside(file, path, database)?;
        }
    }
    // Only now: whoever dies before this leaves the file as it was, and it is all written down again, to the same rows.
    let incarnation = store.next_incarnation().await?;
    let words = file.begin(words_needed(options.usage_cells))?;
    let engine = Engine::with_counters(options, std::sync::Arc::new(words), incarnation)
        .map_err(|error| StartError::Counters(error.to_string()))?;
    Ok((engine, incarnation))
}

/// Keeps a file that nothing can be done with under another name.
fn set_aside(file: CounterFile, path: &Path, database: [u8; 16]) -> Result<CounterFile, StartError> {
    let mut other = path.as_os_str().to_owned();
    other.push(".set-aside");
    std::fs::rename(path, &other).map_err(|error| StartError::Counters(error.to_string()))?;
    tracing::error!(kept = ?other, "it is kept under another name, and counting begins anew");
    drop(file);
    Ok(CounterFile::open(path, database)?)
}

/// Writes the totals of a former incarnation; those that the table has already change nothing.
async fn write_down(store: &Store, incarnation: i64, totals: Vec<RecoveredTotal>) -> Result<(), StoreError> {
    let mut known: HashMap<KeyId, Option<Key>> = HashMap::new();
    let mut rows = Vec::new();
    let mut reader = store.read().await?;
    for total in totals {
        let key = match known.entry(total.key) {
            std::collections::hash_map::Entry::Occupied(found) => found.into_mut(),
            std::collections::hash_map::Entry::Vacant(place) => {
                place.insert(keys::find(&mut reader, total.key).await?.map(|row| row.key))
            }
        };
        // Before a key is forgotten its usage is written; that of test keys is not kept.
        if let Some(key) = key.as_ref().filter(|key| key.environment == Environment::Live) {
            rows.push(row_of(key, &total));
        }
    }
    drop(reader);
    for rows in rows.chunks(ROWS_PER_WRITE) {
        usage::put_totals(store, incarnation, rows).await?;
    }
    tracing::info!(totals = rows.len(), "usage of the process before is written down");
    Ok(())
}

fn row_of(key: &Key, total: &RecoveredTotal) -> UsageRow {
    UsageRow {
        organization: key.organization,
        api: key.api.clone(),
        hour: total.hour,
        key: key.id,
        scope: total.scope.as_ref().map_or_else(|| NO_SCOPE.to_owned(), ToString::to_string),
        outcome: total.outcome.map_or(ALLOWED, Denial::as_str).to_owned(),
        total: i64::try_from(total.count).unwrap_or(i64::MAX),
        last_used: total.outcome.is_none().then_some(total.last_used),
    }
}

impl From<CounterFileError> for StartError {
    fn from(error: CounterFileError) -> Self {
        Self::Counters(error.to_string())
    }
}
