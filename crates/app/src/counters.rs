//! The file of usage counters: what a process that was killed had counted is written down before counting begins anew.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use claviger_domain::id::KeyId;
use claviger_domain::key::{Environment, Key};
use claviger_domain::random::Entropy;
use claviger_domain::time::Timestamp;
use claviger_engine::usage::{RecoveredLimits, RecoveredTotal, recover, words_needed};
use claviger_engine::{Engine, EngineOptions};
use claviger_store::counters::{CounterFile, CounterFileError, LeftBehind};
use claviger_store::usage::UsageRow;
use claviger_store::{Store, StoreError, keys, usage};

use crate::StartError;
use crate::usage::{NO_SCOPE, ROWS_PER_WRITE, warn_of_late};

/// Makes the engine, which counts in the file under an incarnation of its own, if there is to be a file.
pub(crate) async fn open(
    store: &Store,
    path: Option<&Path>,
    options: EngineOptions,
    entropy: &dyn Entropy,
    now: Timestamp,
) -> Result<(Engine, i64), StartError> {
    let Some(path) = path else { return Ok((Engine::new(options), store.next_incarnation(0).await?)) };
    let mut candidate = [0; 16];
    entropy.fill(&mut candidate);
    let database = store.identify(candidate).await?;
    let (mut past, mut limits) = take_back(store, path, database).await?;
    let mut file = CounterFile::open(path, database)?;
    match take_over(store, &file).await? {
        Taken::All { incarnation, limits: left } => {
            past = past.max(incarnation);
            limits.merge(left);
        }
        Taken::Nothing { of } => file = set_aside(file, path, database, of)?,
    }
    limits.forget_spent(now);
    // Only now: whoever dies before this leaves the file as it was, and it is all written down again, to the same rows.
    let incarnation = store.next_incarnation(past).await?;
    let words = file.begin(words_needed(options))?;
    let engine = Engine::with_counters(options, std::sync::Arc::new(words), incarnation, limits)
        .map_err(|error| StartError::Counters(error.to_string()))?;
    Ok((engine, incarnation))
}

/// What became of the words in a file.
enum Taken {
    /// Their usage is written down, under this incarnation, zero if there was none; what was used of rate limits goes
    /// from engine to engine.
    All { incarnation: i64, limits: RecoveredLimits },
    /// They cannot be, because they are of another database, if it is known which.
    Nothing { of: Option<[u8; 16]> },
}

async fn take_over(store: &Store, file: &CounterFile) -> Result<Taken, StartError> {
    match file.left_behind() {
        LeftBehind::Nothing => Ok(Taken::All { incarnation: 0, limits: RecoveredLimits::default() }),
        LeftBehind::Words(words) => match recover(words) {
            Ok(recovered) => {
                if recovered.skipped > 0 {
                    tracing::error!(skipped = recovered.skipped, "some usage counters made no sense and are lost");
                }
                write_down(store, recovered.incarnation, recovered.totals).await?;
                Ok(Taken::All { incarnation: recovered.incarnation, limits: recovered.limits })
            }
            Err(error) => {
                tracing::error!(%error, "the usage counters that were left behind cannot be read");
                Ok(Taken::Nothing { of: None })
            }
        },
        LeftBehind::OfAnotherDatabase(other) => {
            tracing::error!("the usage counters that were left behind are of another database");
            Ok(Taken::Nothing { of: Some(other) })
        }
        LeftBehind::Unreadable => {
            tracing::error!("the file of usage counters is not one of this version");
            Ok(Taken::Nothing { of: None })
        }
    }
}

/// Keeps a file that nothing can be done with under another name, until its database is opened beside it.
fn set_aside(
    file: CounterFile,
    path: &Path,
    database: [u8; 16],
    of: Option<[u8; 16]>,
) -> Result<CounterFile, StartError> {
    let other = free_name(path, of);
    std::fs::rename(path, &other).map_err(|error| StartError::Counters(error.to_string()))?;
    tracing::error!(kept = %other.display(), "it is kept under another name, and counting begins anew");
    drop(file);
    Ok(CounterFile::open(path, database)?)
}

/// Writes down what was set aside of this database. Returns the highest incarnation that had counted there, and what was
/// used of rate limits.
async fn take_back(store: &Store, path: &Path, database: [u8; 16]) -> Result<(i64, RecoveredLimits), StartError> {
    let (mut past, mut limits) = (0, RecoveredLimits::default());
    for number in 1.. {
        let other = name_aside(path, Some(database), number);
        if !other.exists() {
            break;
        }
        let file = CounterFile::open(&other, database)?;
        // What is not this database's after all stays where it is.
        let Taken::All { incarnation, limits: left } = take_over(store, &file).await? else { continue };
        past = past.max(incarnation);
        limits.merge(left);
        std::fs::remove_file(&other).map_err(|error| StartError::Counters(error.to_string()))?;
        tracing::info!(file = %other.display(), "usage counters that were set aside are written down");
    }
    Ok((past, limits))
}

/// The first name that no file has.
fn free_name(path: &Path, of: Option<[u8; 16]>) -> PathBuf {
    let mut names = (1..).map(|number| name_aside(path, of, number));
    names.find(|name| !name.exists()).expect("there is always another number")
}

fn name_aside(path: &Path, of: Option<[u8; 16]>, number: u32) -> PathBuf {
    let of = of.map_or("unreadable".to_owned(), |id| format!("{:032x}", u128::from_be_bytes(id)));
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{of}.{number}"));
    name.into()
}

/// Writes the totals of a former incarnation; those that the table has already change nothing.
async fn write_down(store: &Store, incarnation: i64, totals: Vec<RecoveredTotal>) -> Result<(), StoreError> {
    let ids: HashSet<KeyId> = totals.iter().map(|total| total.key).collect();
    let ids: Vec<KeyId> = ids.into_iter().collect();
    let found = keys::list_by_id(&mut store.read().await?, &ids).await?;
    let known: HashMap<KeyId, Key> = found.into_iter().map(|row| (row.key.id, row.key)).collect();
    // Before a key is forgotten its usage is written; that of test keys is not kept.
    let live = |total: &RecoveredTotal| known.get(&total.key).filter(|key| key.environment == Environment::Live);
    let rows: Vec<UsageRow> = totals.iter().filter_map(|total| live(total).map(|key| row_of(key, total))).collect();
    for rows in rows.chunks(ROWS_PER_WRITE) {
        warn_of_late(usage::put_totals(store, incarnation, rows).await?);
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
        outcome: total.outcome.as_str().to_owned(),
        total: i64::try_from(total.count).unwrap_or(i64::MAX),
        last_used: total.outcome.is_allowed().then_some(total.last_used),
        parent: key.parent_id,
    }
}

impl From<CounterFileError> for StartError {
    fn from(error: CounterFileError) -> Self {
        Self::Counters(error.to_string())
    }
}
