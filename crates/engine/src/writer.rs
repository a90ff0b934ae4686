//! Taking in what the feed says. One writer at a time, so everything here may think.

mod accounts;

use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;

use claviger_domain::change::{Change, Verifier};
use claviger_domain::definition::{Api, Definition};
use claviger_domain::id::{KeyId, OrganizationId, VerifierId};
use claviger_domain::key::{ApiName, Environment, Key, Kind};
use claviger_domain::restriction::Restrictions;
use claviger_domain::scope::Scopes;
use claviger_domain::time::{Timestamp, has_expired};
use hashbrown::HashTable;

use self::accounts::Book;
use crate::directory::{CompiledApi, Directory, Names};
use crate::error::ApplyError;
use crate::index::{SLOTS_MAX, Table};
use crate::record::{Fields, Meta, Record, Terms};
use crate::scopes::{NO_SET, ScopeSets};
use crate::shared::Shared;
use crate::sync::Ordering;
use crate::texts::TextsWriter;
use crate::usage::{rested_at, turn};
use crate::verdict::ApiIndex;

/// The terms of keys that are not known. An untouched record points at them.
const TERMS_UNKNOWN: u32 = 0;

/// What only the writer knows.
#[derive(Debug)]
pub(crate) struct Writer {
    index: Arc<Table>,
    /// Places of the index that are not empty.
    index_used: usize,
    /// Slots by key id.
    slots: HashTable<u32>,
    hasher: RandomState,
    slot_rows: Rows,
    /// Slots of removed keys, each with the turn of the hour tables at which it may be used again.
    slots_resting: VecDeque<(u32, u64)>,
    /// How many keys name the key at a slot as their parent.
    children: HashMap<u32, u32>,
    /// Rows of the terms that plain keys share, with the number of keys that do.
    terms_shared: HashMap<Meta, (u32, u32)>,
    terms: Rows,
    restrictions: Rows,
    book: Book,
    apis: Vec<ApiEntry>,
    api_indexes: HashMap<ApiName, ApiIndex>,
    texts: TextsWriter,
    verifiers: HashMap<VerifierId, Verifier>,
    /// Keys that had expired by this instant are kept as dead ones.
    dead_by: Timestamp,
    /// The slot at which the search for expired keys goes on.
    search_from: u32,
}

/// Numbers of rows that are given out and taken back.
#[derive(Debug, Default)]
struct Rows {
    next: u32,
    free: Vec<u32>,
}

impl Rows {
    fn take(&mut self) -> u32 {
        self.free.pop().unwrap_or_else(|| {
            self.next += 1;
            self.next - 1
        })
    }
}

#[derive(Debug)]
struct ApiEntry {
    name: ApiName,
    sets: ScopeSets,
    names: Names,
    compiled: Option<Arc<CompiledApi>>,
}

/// What a snapshot held.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) apis: HashSet<ApiName>,
    pub(crate) keys: HashSet<KeyId>,
    pub(crate) organizations: HashSet<OrganizationId>,
    pub(crate) subscriptions: HashMap<OrganizationId, Vec<ApiName>>,
    pub(crate) verifiers: HashSet<VerifierId>,
}

impl Seen {
    pub(crate) fn note(&mut self, change: &Change) {
        match change {
            Change::Key(key) => {
                self.keys.insert(key.id);
            }
            Change::Organization(organization) => {
                self.organizations.insert(organization.id);
            }
            Change::Verifier(verifier) => {
                self.verifiers.insert(verifier.id);
            }
            Change::Subscription(subscription) => {
                self.subscriptions.entry(subscription.organization).or_default().push(subscription.api.clone());
            }
            Change::Api(api) => {
                self.apis.insert(api.definition.name().clone());
            }
            Change::KeyRemoved { .. } => {}
        }
    }
}

/// What a record points at and must give back when it does so no more.
struct Holdings {
    terms: u32,
    meta: Meta,
    is_private: bool,
    parent: Option<u32>,
    restrictions: Option<u32>,
    detail: Option<u32>,
    digest: [u64; 4],
    old: Option<([u64; 4], i64)>,
    account: u32,
}

impl Writer {
    pub(crate) fn new(shared: &Shared) -> Self {
        let meta = Meta::new(NO_SET, ApiIndex(u16::MAX), Kind::Secret, Environment::Test, Meta::UNKNOWN);
        let unknown = Terms { meta, parent: None, restrictions: None, old: None };
        shared.records.write_terms(TERMS_UNKNOWN, &unknown).expect("an empty slab has room");
        Self {
            index: shared.index(),
            index_used: 0,
            slots: HashTable::new(),
            hasher: RandomState::new(),
            slot_rows: Rows::default(),
            slots_resting: VecDeque::new(),
            children: HashMap::new(),
            terms_shared: HashMap::new(),
            terms: Rows { next: TERMS_UNKNOWN + 1, free: Vec::new() },
            restrictions: Rows::default(),
            book: Book::default(),
            apis: Vec::new(),
            api_indexes: HashMap::new(),
            texts: TextsWriter::default(),
            verifiers: HashMap::new(),
            dead_by: Timestamp::from_micros(i64::MIN),
            search_from: 0,
        }
    }

    /// Makes room for this many keys at once, which is faster than growing into it.
    pub(crate) fn reserve(&mut self, shared: &Shared, keys: usize) {
        let Self { slots, hasher, .. } = self;
        slots.reserve(keys, |slot| hash_of_slot(hasher, shared, *slot));
        if keys + self.index_used > self.index.entries_max() {
            self.rebuild_index(shared, keys);
        }
    }

    /// Takes in one change.
    pub(crate) fn apply(&mut self, shared: &Shared, change: &Change) -> Result<(), ApplyError> {
        match change {
            Change::Api(api) => self.apply_api(shared, api),
            Change::Organization(organization) => self.apply_organization(shared, organization),
            Change::Subscription(subscription) => self.apply_subscription(shared, subscription),
            Change::Key(key) => self.apply_key(shared, key),
            Change::KeyRemoved { id } => self.remove_key(shared, *id),
            Change::Verifier(verifier) => {
                self.verifiers.insert(verifier.id, verifier.clone());
                self.publish_verifiers(shared);
                Ok(())
            }
        }
    }

    /// Forgets what a snapshot did not hold.
    pub(crate) fn retain(&mut self, shared: &Shared, seen: &Seen) -> Result<(), ApplyError> {
        let known = |slot: &u32| id_of_slot(shared, *slot);
        let gone: Vec<KeyId> = self.slots.iter().filter_map(known).filter(|id| !seen.keys.contains(id)).collect();
        for id in gone {
            self.remove_key(shared, id)?;
        }
        self.verifiers.retain(|id, _| seen.verifiers.contains(id));
        self.publish_verifiers(shared);
        let mut is_without = false;
        for (_, index) in self.api_indexes.iter().filter(|(name, _)| !seen.apis.contains(*name)) {
            is_without |= self.apis[usize::from(index.0)].compiled.take().is_some();
        }
        if is_without {
            self.publish_directory(shared);
        }
        // After the apis: an account of one that is gone is closed.
        self.retain_accounts(shared, seen)
    }

    /// How many keys are known, counting those that are only named as a parent.
    pub(crate) fn keys(&self) -> usize {
        self.slots.len()
    }

    /// Whether nothing was ever taken in.
    pub(crate) fn is_empty(&self) -> bool {
        self.slots.is_empty() && self.book.is_empty() && self.verifiers.is_empty() && self.apis.is_empty()
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        let tables = places(&self.slots) * (size_of::<u32>() + 1) + self.book.memory_bytes();
        let lists = (self.slot_rows.free.capacity() + self.terms.free.capacity()) * size_of::<u32>()
            + self.slots_resting.capacity() * size_of::<(u32, u64)>()
            + self.children.capacity() * size_of::<(u32, u32)>()
            + self.terms_shared.capacity() * size_of::<(Meta, (u32, u32))>();
        tables + lists + self.texts.memory_bytes()
    }

    fn apply_api(&mut self, shared: &Shared, api: &Api) -> Result<(), ApplyError> {
        let index = self.api_index(api.definition.name())?;
        let entry = &mut self.apis[usize::from(index.0)];
        let mut names = shared.lock_scope_names();
        let compiled = CompiledApi::new(api, &entry.sets, &mut entry.names, |scope| names.number(scope))?;
        drop(names);
        if let Some(hash) = compiled.own_meter_hash() {
            shared.accounts.note_meter(index, hash);
        }
        let former = entry.compiled.replace(Arc::new(compiled));
        self.publish_directory(shared);
        // After the directory, so that whoever sees an account on a new plan finds the plan.
        if former.is_none_or(|former| !sells_the_same(former.definition(), &api.definition)) {
            self.review_api(shared, index);
        }
        Ok(())
    }

    fn publish_directory(&self, shared: &Shared) {
        let epoch = shared.epoch.load(Ordering::Relaxed) + 1;
        let directory = Arc::new(Directory::new(epoch, self.apis.iter().map(|entry| entry.compiled.clone()).collect()));
        // The view first: whoever chooses an api by the directory finds it in the view.
        shared.publish(|view| view.directory = Arc::clone(&directory));
        shared.epoch.store(epoch, Ordering::Release);
        shared.directory.store(directory);
    }

    fn apply_key(&mut self, shared: &Shared, key: &Key) -> Result<(), ApplyError> {
        let slot = self.slot_or_insert(shared, key.id)?;
        let api = self.api_index(&key.api)?;
        let account = self.account_row(shared, key.organization, api)?;
        let is_dead = key.revocation.is_some() || has_expired(key.expires_at, self.dead_by);
        let terms = self.insert_terms_of(shared, key, is_dead)?;
        let detail = if is_dead {
            None
        } else {
            let detail = self.texts.insert(&shared.texts, &key.name, &key.metadata);
            Some(detail.ok_or(ApplyError::Full("names and metadata"))?)
        };
        let digest = key.digest.words();
        let fields = Fields { terms, digest, id: key.id, account, detail, expires_at: key.expires_at };
        let former = holdings(shared, slot);
        shared.records.write(slot, &fields).ok_or(ApplyError::Full("keys"))?;
        let Some(former) = former else { return Ok(()) };
        let old_digest = key.old_secret.map(|old| old.digest.words());
        self.reindex(shared, slot, &former, &fields, old_digest);
        self.give_back(shared, &former);
        Ok(())
    }

    /// Of a dead key only what it takes to say of what it died: anybody can make keys and end them, again and again, and
    /// they stay known.
    fn insert_terms_of(&mut self, shared: &Shared, key: &Key, is_dead: bool) -> Result<u32, ApplyError> {
        let api = self.api_index(&key.api)?;
        let set = if is_dead { NO_SET } else { self.acquire_set(api, &key.scopes)? };
        let flags = [
            (key.revocation.is_some(), Meta::REVOKED),
            (key.disabled, Meta::DISABLED),
            (key.expires_at.is_some(), Meta::EXPIRES),
            (key.old_secret.is_some(), Meta::OLD),
        ];
        let flags = flags.into_iter().filter(|(is_set, _)| *is_set).fold(0, |all, (_, flag)| all | flag);
        // Nothing that becomes of its parent alters a revoked key.
        let parent = match key.parent_id.filter(|_| key.revocation.is_none()) {
            Some(id) => Some(self.slot_or_insert(shared, id)?),
            None => None,
        };
        let rules = if is_dead { &Restrictions::NONE } else { &key.restrictions };
        let restrictions = self.insert_restrictions(shared, rules)?;
        let old = key.old_secret.map(|old| (old.digest.words(), old.overlap_ends_at.as_micros()));
        let meta = Meta::new(set, api, key.kind, key.environment, flags);
        self.insert_terms(shared, &Terms { meta, parent, restrictions, old })
    }

    /// Looks at so many slots for keys that had expired by an instant, and keeps of them what is kept of dead keys. From
    /// now on keys that come and had expired by then are kept so from the beginning.
    pub(crate) fn shed_expired(&mut self, shared: &Shared, by: Timestamp, slots: u32) -> Result<(), ApplyError> {
        self.dead_by = by;
        for _ in 0..slots.min(self.slot_rows.next) {
            let slot = self.search_from % self.slot_rows.next;
            self.search_from = slot + 1;
            self.shed_if_expired(shared, slot)?;
        }
        Ok(())
    }

    fn shed_if_expired(&mut self, shared: &Shared, slot: u32) -> Result<(), ApplyError> {
        let inspect = |record: &Record<'_>| (record.id(), record.expires_at());
        let Some((id, expires_at)) = shared.records.read(slot, inspect) else { return Ok(()) };
        if !has_expired(expires_at, self.dead_by) {
            return Ok(());
        }
        let Some(former) = holdings(shared, slot).filter(|former| former.meta.set() != NO_SET) else { return Ok(()) };
        let Holdings { parent, old, digest, account, .. } = former;
        let terms = Terms { meta: former.meta.with_set(NO_SET), parent, restrictions: None, old };
        let terms = self.insert_terms(shared, &terms)?;
        let fields = Fields { terms, digest, id, account, detail: None, expires_at };
        shared.records.write(slot, &fields).ok_or(ApplyError::Full("keys"))?;
        self.give_back(shared, &former);
        Ok(())
    }

    /// How many slots have ever held a key.
    pub(crate) fn slots(&self) -> u32 {
        self.slot_rows.next
    }

    /// Forgets a key. Its slot rests until nothing can be counted for it any more.
    fn remove_key(&mut self, shared: &Shared, id: KeyId) -> Result<(), ApplyError> {
        let Some(slot) = self.find_slot(shared, id) else {
            return Ok(());
        };
        let Some(former) = holdings(shared, slot) else {
            return Ok(());
        };
        if former.meta.has(Meta::UNKNOWN) {
            return Ok(());
        }
        for digest in former.digests() {
            self.remove_from_index(&digest, slot);
        }
        let (kind, environment) = (former.meta.kind(), former.meta.environment());
        let meta = Meta::new(NO_SET, former.meta.api(), kind, environment, Meta::UNKNOWN);
        let terms = self.insert_terms(shared, &Terms { meta, parent: None, restrictions: None, old: None })?;
        let account = former.account;
        let fields = Fields { terms, digest: [0; 4], id, account, detail: None, expires_at: None };
        shared.records.write(slot, &fields).ok_or(ApplyError::Full("keys"))?;
        self.give_back(shared, &former);
        self.drop_if_unneeded(shared, slot);
        Ok(())
    }

    /// Takes an unknown key out of the id index, unless a child still leads to it.
    fn drop_if_unneeded(&mut self, shared: &Shared, slot: u32) {
        let Some((id, meta)) = shared.records.read(slot, |record| (record.id(), record.meta())) else {
            return;
        };
        if !meta.has(Meta::UNKNOWN) || self.children.contains_key(&slot) {
            return;
        }
        // Only once, though a key that is its own parent comes here twice.
        if let Ok(entry) = self.slots.find_entry(self.hasher.hash_one(id), |known| *known == slot) {
            entry.remove();
            // Where nothing is counted, no slot needs rest.
            let rested_at = if shared.is_counting { rested_at(&shared.hours) } else { 0 };
            self.slots_resting.push_back((slot, rested_at));
        }
    }

    fn find_slot(&self, shared: &Shared, id: KeyId) -> Option<u32> {
        let is_same = |slot: &u32| id_of_slot(shared, *slot) == Some(id);
        self.slots.find(self.hasher.hash_one(id), is_same).copied()
    }

    /// The slot of the id. A new one holds an unknown key of that id.
    fn slot_or_insert(&mut self, shared: &Shared, id: KeyId) -> Result<u32, ApplyError> {
        if let Some(slot) = self.find_slot(shared, id) {
            return Ok(slot);
        }
        let slot = self.take_slot(shared);
        if slot as usize >= SLOTS_MAX {
            return Err(ApplyError::Full("keys"));
        }
        let leftover = holdings(shared, slot);
        let fields =
            Fields { terms: TERMS_UNKNOWN, digest: [0; 4], id, account: u32::MAX, detail: None, expires_at: None };
        shared.records.write(slot, &fields).ok_or(ApplyError::Full("keys"))?;
        if let Some(leftover) = leftover {
            self.give_back(shared, &leftover);
        }
        let Self { slots, hasher, .. } = self;
        slots.insert_unique(hasher.hash_one(id), slot, |slot| hash_of_slot(hasher, shared, *slot));
        Ok(slot)
    }

    fn take_slot(&mut self, shared: &Shared) -> u32 {
        let turn = turn(&shared.hours);
        while let Some((slot, _)) = self.slots_resting.pop_front_if(|(_, rested_at)| *rested_at <= turn) {
            self.slot_rows.free.push(slot);
        }
        self.slot_rows.take()
    }

    fn api_index(&mut self, name: &ApiName) -> Result<ApiIndex, ApplyError> {
        if let Some(index) = self.api_indexes.get(name) {
            return Ok(*index);
        }
        let index = u16::try_from(self.apis.len()).ok().filter(|index| *index != u16::MAX);
        let index = ApiIndex(index.ok_or(ApplyError::Full("apis"))?);
        self.apis.push(ApiEntry {
            name: name.clone(),
            sets: ScopeSets::new(),
            names: Names::default(),
            compiled: None,
        });
        self.api_indexes.insert(name.clone(), index);
        Ok(index)
    }

    fn insert_restrictions(&mut self, shared: &Shared, rules: &Restrictions) -> Result<Option<u32>, ApplyError> {
        if rules.is_none() {
            return Ok(None);
        }
        let row = self.restrictions.take();
        let place = shared.restrictions.ensure(row).ok_or(ApplyError::Full("restrictions"))?;
        place.store(Some(Arc::new(rules.clone())));
        Ok(Some(row))
    }

    fn acquire_set(&mut self, api: ApiIndex, scopes: &Scopes) -> Result<u32, ApplyError> {
        let ApiEntry { sets, compiled, .. } = &mut self.apis[usize::from(api.0)];
        sets.acquire(scopes, compiled.as_ref().map(|api| (&api.bits, &api.masks)))
    }

    fn release_set(&mut self, api: ApiIndex, set: u32) {
        if let Some(entry) = self.apis.get_mut(usize::from(api.0)) {
            entry.sets.release(set);
        }
    }

    /// A row with these terms, shared if they are plain. It uses the scope set once, however many keys use it.
    fn insert_terms(&mut self, shared: &Shared, terms: &Terms) -> Result<u32, ApplyError> {
        let is_private = terms.parent.is_some() || terms.restrictions.is_some() || terms.old.is_some();
        if !is_private && let Some((row, uses)) = self.terms_shared.get_mut(&terms.meta) {
            *uses += 1;
            let row = *row;
            self.release_set(terms.meta.api(), terms.meta.set());
            return Ok(row);
        }
        let row = self.terms.take();
        shared.records.write_terms(row, terms).ok_or(ApplyError::Full("keys"))?;
        if let Some(parent) = terms.parent {
            *self.children.entry(parent).or_insert(0) += 1;
        }
        if !is_private {
            self.terms_shared.insert(terms.meta, (row, 1));
        }
        Ok(row)
    }

    /// Takes back what a record pointed at before it was written anew.
    fn give_back(&mut self, shared: &Shared, former: &Holdings) {
        if let Some(row) = former.restrictions {
            if let Some(place) = shared.restrictions.get(row) {
                place.store(None);
            }
            self.restrictions.free.push(row);
        }
        if let Some(block) = former.detail {
            self.texts.remove(&shared.texts, block);
        }
        self.give_back_terms(former);
        if let Some(parent) = former.parent
            && let Some(children) = self.children.get_mut(&parent)
        {
            *children -= 1;
            if *children == 0 {
                self.children.remove(&parent);
                self.drop_if_unneeded(shared, parent);
            }
        }
    }

    fn give_back_terms(&mut self, former: &Holdings) {
        if former.terms == TERMS_UNKNOWN {
            return;
        }
        if !former.is_private
            && let Some((_, uses)) = self.terms_shared.get_mut(&former.meta)
        {
            *uses -= 1;
            if *uses > 0 {
                return;
            }
            self.terms_shared.remove(&former.meta);
        }
        self.terms.free.push(former.terms);
        self.release_set(former.meta.api(), former.meta.set());
    }

    /// Brings the index up to date with a record that was just written.
    fn reindex(&mut self, shared: &Shared, slot: u32, former: &Holdings, now: &Fields, old_digest: Option<[u64; 4]>) {
        let digests = [Some(now.digest), old_digest];
        let is_indexed = |digest: &[u64; 4]| former.digests().any(|known| known == *digest);
        let new = || digests.iter().flatten().filter(|digest| !is_indexed(digest));
        if self.index_used + new().count() > self.index.entries_max() {
            // Built from the records, it has the new entries already.
            self.rebuild_index(shared, 2);
        } else {
            for digest in new() {
                self.index_used += usize::from(self.index.insert(digest, slot, now.account));
            }
        }
        for digest in former.digests().filter(|digest| !digests.contains(&Some(*digest))) {
            self.remove_from_index(&digest, slot);
        }
    }

    fn remove_from_index(&mut self, digest: &[u64; 4], slot: u32) {
        if self.index.remove(digest, slot) {
            self.index_used -= 1;
        }
    }

    /// Builds a new index from the records, without the places of removed entries, and lets readers use it.
    fn rebuild_index(&mut self, shared: &Shared, additional: usize) {
        // Keys in an overlap have two entries each.
        let slots = 0..self.slot_rows.next;
        let entries: usize =
            slots.filter_map(|slot| holdings(shared, slot)).map(|holdings| holdings.digests().count()).sum();
        let index = Table::with_capacity(entries + additional.max(entries / 4));
        self.index_used = 0;
        for slot in 0..self.slot_rows.next {
            let Some(holdings) = holdings(shared, slot) else { continue };
            for digest in holdings.digests() {
                self.index_used += usize::from(index.insert(&digest, slot, holdings.account));
            }
        }
        self.index = Arc::new(index);
        shared.publish(|view| view.index = Arc::clone(&self.index));
    }

    fn publish_verifiers(&self, shared: &Shared) {
        let live = self.verifiers.values().filter(|verifier| verifier.revoked_at.is_none());
        let digests: HashSet<[u8; 32]> = live.map(|verifier| *verifier.digest.as_bytes()).collect();
        shared.verifiers.store(Arc::new(digests));
    }
}

impl Holdings {
    /// The digests that the index has entries for.
    fn digests(&self) -> impl Iterator<Item = [u64; 4]> {
        let digest = (!self.meta.has(Meta::UNKNOWN)).then_some(self.digest);
        [digest, self.old.map(|(digest, _)| digest)].into_iter().flatten()
    }
}

fn holdings(shared: &Shared, slot: u32) -> Option<Holdings> {
    let inspect = |record: &Record<'_>| {
        let (parent, restrictions) = record.parent_and_restrictions();
        let old = record.old();
        Holdings {
            terms: record.terms(),
            meta: record.meta(),
            is_private: parent.is_some() || restrictions.is_some() || old.is_some(),
            parent,
            restrictions,
            detail: record.detail(),
            digest: record.digest(),
            old,
            account: record.account(),
        }
    };
    shared.records.read(slot, inspect)
}

/// Whether what is said of plans and subscriptions is the same.
fn sells_the_same(one: &Definition, other: &Definition) -> bool {
    one.plans() == other.plans() && one.subscription_rules() == other.subscription_rules()
}

/// Places of a hash table, each of which is a number and a control byte.
fn places(table: &HashTable<u32>) -> usize {
    (table.capacity() * 8).div_ceil(7).next_power_of_two()
}

fn id_of_slot(shared: &Shared, slot: u32) -> Option<KeyId> {
    #[expect(clippy::redundant_closure_for_method_calls, reason = "the method alone is not general enough")]
    shared.records.read(slot, |record| record.id())
}

fn hash_of_slot(hasher: &RandomState, shared: &Shared, slot: u32) -> u64 {
    // Every slot in the table has a record.
    id_of_slot(shared, slot).map_or(0, |id| hasher.hash_one(id))
}
