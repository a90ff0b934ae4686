//! The engine itself: loading, applying, asking.

use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::Guard;
use claviger_domain::change::{Change, Revision};
use claviger_domain::id::{KeyId, OrganizationId};
use claviger_domain::key::ApiName;
use claviger_domain::network::Network;
use claviger_domain::scope::Scopes;
use claviger_domain::secret::SecretDigest;
use claviger_domain::time::Timestamp;
use serde_json::value::RawValue;

use crate::callers::Caller;
use crate::directory::Directory;
use crate::error::ApplyError;
use crate::record::{Meta, Record};
use crate::scopes::FULL_SET;
use crate::shared::{NOT_LOADED, Shared};
use crate::sync::Ordering;
use crate::unknown_keys::{Prefix, UnknownKeyCalls};
use crate::usage::{CountersError, RecoveredLimits, Region, Usage, Words};
use crate::verdict::{Request, Verdict, VerifiedKey};
use crate::verify;
use crate::writer::{Seen, Writer};

/// Calls of [`Engine::shed_expired`] until every key was looked at.
const SHED_CALLS: u32 = 8;
/// Slots that are looked at before the writer's lock is given back.
const SLOTS_AT_ONCE: u32 = 4096;
/// What is left of name and metadata of a dead key.
const TEXTS_OF_THE_DEAD: &[u8] = br#""name":"","metadata":{}"#;

/// How large an engine is made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EngineOptions {
    /// Cells of each hour's table of counts, rounded up to a power of two: one is used by each key, scope and outcome
    /// that occur together in an hour. There are three tables, and with all that belongs to it a cell takes about 37
    /// bytes in each. When 7/8 of them are used, the rest is counted exactly but slowly. Zero counts nothing.
    ///
    /// A quarter as many rate limits of single keys, at most 2^18, and accounts can be found again after a crash, 32 and 64
    /// bytes each.
    pub usage_cells: usize,
    /// Keys to make room for at once. A hint: more fit, fewer waste room. There will be room for half as many accounts, at
    /// most 2^20, that are found again after a crash.
    pub keys: usize,
}

impl EngineOptions {
    /// Cells of an engine with few keys, and of one with many. The latter are what the memory of a key at ten million of
    /// them has room for.
    const USAGE_CELLS: RangeInclusive<usize> = 1 << 18..=1 << 20;

    /// What suits this many keys: up to a quarter of a million, each has four cells.
    pub fn for_keys(keys: usize) -> Self {
        let wanted = keys.saturating_mul(4).clamp(*Self::USAGE_CELLS.start(), *Self::USAGE_CELLS.end());
        Self { usage_cells: wanted.next_power_of_two(), keys }
    }
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self::for_keys(0)
    }
}

/// The name, scopes and metadata of a key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Description {
    /// The name people gave it.
    pub name: String,
    /// The JSON text of the object that the holder keeps beside it.
    pub metadata_json: String,
    /// `["*"]`, or the names of the scopes it holds, including those that the api's definition no longer has.
    pub scopes: Vec<String>,
}

/// Decides on presented secrets, in memory. Shared between threads by reference.
///
/// ```
/// use claviger_domain::change::Revision;
/// use claviger_domain::credential::Credential;
/// use claviger_domain::denial::Denial;
/// use claviger_domain::time::Timestamp;
/// use claviger_engine::{Engine, EngineOptions, Request};
///
/// let engine = Engine::new(EngineOptions::default());
/// let request = Request {
///     credential: Credential::Missing,
///     api: None,
///     endpoint: None,
///     ip: None,
///     referrer: None,
///     scopes: &[],
///     cost: None,
///     at_least_revision: Revision(0),
/// };
/// let now = Timestamp::from_micros(0);
/// assert_eq!(engine.verify(now, &request).decision, Err(Denial::Unavailable));
/// engine.load(Revision(1), std::iter::empty()).unwrap();
/// assert_eq!(engine.verify(now, &request).decision, Err(Denial::Missing));
/// ```
#[derive(Debug)]
pub struct Engine {
    shared: Arc<Shared>,
    usage: Usage,
    writer: Mutex<Writer>,
}

impl Engine {
    /// An engine that knows nothing and says no to everything until it is loaded. Its counts are in ordinary memory.
    pub fn new(options: EngineOptions) -> Self {
        Self::with_region(options, Region::in_memory(options), RecoveredLimits::default())
    }

    /// As [`new`](Self::new), with its counts in these words, which are all zero and at least
    /// [`words_needed`](crate::usage::words_needed) of them. They are the engine's alone. When the process has died
    /// and the words have not, [`recover`](crate::usage::recover()) reads the counts, and says this `incarnation`:
    /// any number by which the caller tells the totals of this engine from those of others. `limits` is what was
    /// recovered from the process before, and is [not spent](RecoveredLimits::forget_spent): without it, rate limits
    /// begin anew.
    ///
    /// # Errors
    /// When the words are too few or not zero.
    pub fn with_counters(
        options: EngineOptions,
        words: Words,
        incarnation: i64,
        limits: RecoveredLimits,
    ) -> Result<Self, CountersError> {
        Ok(Self::with_region(options, Region::new(options, words, incarnation)?, limits))
    }

    fn with_region(options: EngineOptions, region: Region, limits: RecoveredLimits) -> Self {
        let shared = Arc::new(Shared::new(region.clone(), limits));
        let mut writer = Writer::new(&shared);
        writer.reserve(&shared, options.keys);
        let usage = Usage::new(Arc::clone(&shared), &region);
        Self { shared, usage, writer: Mutex::new(writer) }
    }

    /// Takes in a snapshot: everything that was true at a revision. What the engine knew and the snapshot does not
    /// hold is forgotten, so a follower that lost its place loads again. Parents may come after their children.
    ///
    /// # Errors
    /// [`ApplyError::Stale`] changes nothing: the engine already knows more, and was not told to
    /// [unload](Self::unload). After any other error it says no to everything until a load succeeds.
    pub fn load(&self, revision: Revision, changes: impl Iterator<Item = Change>) -> Result<(), ApplyError> {
        self.try_load(revision, changes.map(Ok))
    }

    /// [`Engine::load`] of a snapshot that may turn out to be unreadable. Room is made at once for as many keys as the
    /// iterator is sure to yield.
    ///
    /// # Errors
    /// As for [`Engine::load`], and the first error among the changes.
    pub fn try_load<E: From<ApplyError>>(
        &self,
        revision: Revision,
        changes: impl Iterator<Item = Result<Change, E>>,
    ) -> Result<(), E> {
        let mut writer = self.lock_writer();
        if revision < self.revision() {
            return Err(ApplyError::Stale.into());
        }
        // A key that is known already needs no more room.
        let keys = changes.size_hint().0.saturating_sub(writer.keys());
        writer.reserve(&self.shared, keys);
        let mut seen = (!writer.is_empty()).then(Seen::default);
        let load = || {
            for change in changes {
                let change = change?;
                if let Some(seen) = &mut seen {
                    seen.note(&change);
                }
                writer.apply(&self.shared, &change)?;
            }
            Ok(seen.as_ref().map_or(Ok(()), |seen| writer.retain(&self.shared, seen))?)
        };
        self.publish_revision(revision, load())
    }

    /// Says no to everything until the next load, which may be of any revision. For when what the engine knows is no longer
    /// true: the database has gone back, to before a failover or to a backup.
    pub fn unload(&self) {
        let _writer = self.lock_writer();
        self.shared.revision.store(NOT_LOADED, Ordering::Release);
    }

    /// Takes in the changes of one transaction, after which the engine is at its revision. A revision that is not
    /// newer than the engine's is ignored: applying twice is applying once.
    ///
    /// # Errors
    /// [`ApplyError::NotLoaded`] before the first load. After any other error the engine says no to everything until
    /// a load succeeds.
    pub fn apply(&self, revision: Revision, changes: &[Change]) -> Result<(), ApplyError> {
        let mut writer = self.lock_writer();
        let current = self.shared.revision.load(Ordering::Acquire);
        if current == NOT_LOADED {
            return Err(ApplyError::NotLoaded);
        }
        if revision.0 <= current {
            return Ok(());
        }
        let applied = changes.iter().try_for_each(|change| writer.apply(&self.shared, change));
        self.publish_revision(revision, applied)
    }

    /// Forgets names, metadata, scopes and restrictions of keys that had expired by this instant, as those of revoked keys
    /// are forgotten at once. Looks at an eighth of all keys each time it is called. To be called every few seconds, with an
    /// instant that a clock which is set back will not go before; if it does, these keys are refused all the same.
    ///
    /// # Errors
    /// When there is no room to work in. What was not forgotten stays as it was.
    pub fn shed_expired(&self, by: Timestamp) -> Result<(), ApplyError> {
        let mut slots = (self.lock_writer().slots() / SHED_CALLS).max(SLOTS_AT_ONCE);
        while slots > 0 {
            // Changes have their turn in between.
            let some = slots.min(SLOTS_AT_ONCE);
            self.lock_writer().shed_expired(&self.shared, by, some)?;
            slots -= some;
        }
        Ok(())
    }

    /// The revision of the last snapshot or transaction that was taken in; zero before the first.
    pub fn revision(&self) -> Revision {
        Revision(self.shared.revision.load(Ordering::Acquire).max(0))
    }

    /// Whether a snapshot was loaded. Until then every verdict is `unavailable`.
    pub fn is_loaded(&self) -> bool {
        self.shared.revision.load(Ordering::Acquire) != NOT_LOADED
    }

    /// Lets the engine say yes until this instant, exclusively. A new engine needs no lease: it has one for ever.
    pub fn grant_lease(&self, until: Timestamp) {
        self.shared.lease.store(until.as_micros(), Ordering::Release);
    }

    /// When the lease ends.
    pub fn lease_ends_at(&self) -> Timestamp {
        Timestamp::from_micros(self.shared.lease.load(Ordering::Acquire))
    }

    /// Decides on a request, in this order: loaded, lease, revision; credential; format; digest; revoked, disabled,
    /// expired; organization and subscription; environment; ip, referrer, endpoint; scopes; rate limits, then quotas. The
    /// first that fails is the answer, and every answer on a key that was found is counted.
    ///
    /// Does no I/O, reads no clock, and allocates nothing on the way to a yes. Where there are limits, it may wait for another
    /// verification of the same account, for a few dozen instructions.
    pub fn verify(&self, now: Timestamp, request: &Request<'_>) -> Verdict {
        verify::verify(&self.shared, &self.usage, now, request)
    }

    /// The apis of this moment.
    pub fn directory(&self) -> Guard<Arc<Directory>> {
        self.shared.directory.load()
    }

    /// Name, scopes and metadata of a key that a verdict named. `None` if the key was removed since. Of a dead key all of
    /// them are empty, see [`write_description`](Self::write_description).
    pub fn describe(&self, key: &VerifiedKey) -> Option<Description> {
        let mut json = Vec::new();
        if !self.write_description(key, &mut json) {
            return None;
        }
        read_description(&json)
    }

    /// Appends `"scopes":[…],"name":"…","metadata":{…}` of a key that a verdict named, ready for a JSON object: copies
    /// of bytes. False, with nothing appended, if the key was removed since. Of a dead key, which is one that was revoked or
    /// [shed](Self::shed_expired), all of them are empty.
    pub fn write_description(&self, key: &VerifiedKey, out: &mut Vec<u8>) -> bool {
        let start = out.len();
        let out = std::cell::RefCell::new(out);
        // Scopes and texts in one look: both are another key's as soon as this one has left them.
        let append = |record: &Record<'_>| {
            let mut out = out.borrow_mut();
            out.truncate(start);
            if record.id() != key.id {
                return false;
            }
            self.append_scopes(record.meta(), &mut out);
            out.push(b',');
            match record.detail() {
                Some(block) => self.shared.texts.append(block, &mut out),
                None if record.meta().has(Meta::UNKNOWN) => false,
                None => {
                    out.extend_from_slice(TEXTS_OF_THE_DEAD);
                    true
                }
            }
        };
        let is_appended = self.shared.records.read(key.slot, append).unwrap_or(false);
        if !is_appended {
            out.borrow_mut().truncate(start);
        }
        is_appended
    }

    /// Appends `"scopes":["*"]`, or the names of the scopes it holds, including those that the api no longer has.
    fn append_scopes(&self, meta: Meta, out: &mut Vec<u8>) {
        out.extend_from_slice(b"\"scopes\":[");
        if meta.set() == FULL_SET {
            out.extend_from_slice(b"\"*\"");
        } else {
            let directory = self.shared.directory.load();
            let scopes = directory.compiled(meta.api()).and_then(|api| api.scopes(meta.set()));
            let names = match scopes.as_ref().and_then(|scopes| scopes.as_deref()) {
                Some(Scopes::Named(names)) => Some(names),
                _ => None,
            };
            for (position, name) in names.into_iter().flatten().enumerate() {
                // Scopes have no characters that JSON escapes.
                out.extend_from_slice(if position == 0 { b"\"" } else { b",\"" });
                out.extend_from_slice(name.as_str().as_bytes());
                out.push(b'"');
            }
        }
        out.push(b']');
    }

    /// Whether this is the digest of the token of a verifier that is not revoked.
    pub fn is_verifier(&self, digest: &SecretDigest) -> bool {
        self.shared.verifiers.load().contains(digest.as_bytes())
    }

    /// Sees to it that an organization has used at least so many units of its quota on an api in a billing period, which
    /// [`BillingCalendar`](claviger_domain::period::BillingCalendar) numbers. For a new engine: what was used is written
    /// down as usage and the engine knows nothing of it. Saying it twice, or too late, takes nothing from anybody.
    ///
    /// # Errors
    /// When there are more accounts than the engine can number.
    pub fn seed_usage(
        &self,
        organization: OrganizationId,
        api: &ApiName,
        period: u16,
        units: u64,
    ) -> Result<(), ApplyError> {
        self.lock_writer().seed_usage(&self.shared, organization, api, period, units)
    }

    /// The same for the quota of a key, whose ephemeral keys count as itself. Keys that the engine does not know are left out.
    pub fn seed_key_usage(&self, key: KeyId, period: u16, units: u64) {
        self.lock_writer().seed_key_usage(&self.shared, key, period, units);
    }

    /// From where keys were used, of live keys that are not ephemeral: each pair of key and network about once a day, and
    /// only those that were not taken before. Where some 4,000 wait, others are told of the next time they call.
    pub fn take_callers(&self) -> Vec<Caller> {
        self.shared.callers.take()
    }

    /// How often keys were presented, since this was last asked, that are well-formed and nobody's.
    pub fn take_unknown_keys(&self) -> Vec<UnknownKeyCalls> {
        let directory = self.shared.directory.load();
        let named = |(prefix, network, calls): (Prefix, u64, u64)| {
            let api = directory.compiled(prefix.api)?;
            let (name, prefix) = (api.definition().name().clone(), api.prefix(prefix.format)?.to_owned());
            Some(UnknownKeyCalls { api: name, prefix, network: Network::from_bits(network), calls })
        };
        self.shared.unknown_keys.take().into_iter().filter_map(named).collect()
    }

    /// The counts.
    pub fn usage(&self) -> &Usage {
        &self.usage
    }

    /// What the engine has allocated, apart from a few fixed kilobytes and the texts of definitions, restrictions
    /// and scope sets.
    pub fn memory_bytes(&self) -> usize {
        self.lock_writer().memory_bytes() + self.shared.memory_bytes() + self.usage.memory_bytes()
    }

    fn publish_revision<E>(&self, revision: Revision, outcome: Result<(), E>) -> Result<(), E> {
        // Half a transaction is worse than none.
        let revision = if outcome.is_ok() { revision.0.max(0) } else { NOT_LOADED };
        self.shared.revision.store(revision, Ordering::Release);
        outcome
    }

    fn lock_writer(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What [`Engine::write_description`] wrote.
fn read_description(json: &[u8]) -> Option<Description> {
    let object = [b"{", json, b"}"].concat();
    let fields: HashMap<&str, &RawValue> = serde_json::from_slice(&object).ok()?;
    let text = |field| fields.get(field).map(|value| value.get());
    Some(Description {
        name: serde_json::from_str(text("name")?).ok()?,
        metadata_json: text("metadata")?.to_owned(),
        scopes: serde_json::from_str(text("scopes")?).ok()?,
    })
}

impl Default for Engine {
    fn default() -> Self {
        Self::new(EngineOptions::default())
    }
}
