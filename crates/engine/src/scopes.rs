//! Scopes as bits. Keys that hold the same scopes share one *scope set*; each compiled api keeps one word
//! per set that says which of its scopes the set holds.
//!
//! A definition that changes gets words of its own, so a reader never applies the bits of one definition
//! to the words of another. Names outside the definition get no bit and give no power, but stay in the
//! set: a later definition may know them.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use claviger_domain::definition::Definition;
use claviger_domain::scope::{Scope, Scopes};

use crate::directory::intern;
use crate::error::ApplyError;
use crate::slab::Slab;
use crate::sync::{AtomicU64, Ordering};
use crate::verdict::ScopeIndex;

/// The bit of full access, which every other bit is measured against.
pub(crate) const FULL: u64 = 1 << 63;
/// The set of keys with full access.
pub(crate) const FULL_SET: u32 = 0;
/// The set that nobody made, which dead keys have: its word is zero in every api.
pub(crate) const NO_SET: u32 = u32::MAX;
/// Sets of one api. Each needs a key of its own that is not dead: of keys there is a limit to those.
const SETS_MAX: usize = 1 << 22;

/// Whether a holder of `mask` may do what asks for `bit`. A bit of zero is held by nobody but full access.
#[inline]
pub(crate) fn holds(mask: u64, bit: u64) -> bool {
    mask & (bit | FULL) != 0
}

/// The scopes that a definition knows, sorted by name.
#[derive(Debug)]
pub(crate) struct ScopeBits(Vec<(Scope, ScopeIndex, u64)>);

impl ScopeBits {
    /// Gives every scope of the definition a bit, and a number in `names` that it keeps for ever.
    pub(crate) fn new(definition: &Definition, names: &mut Vec<Scope>) -> Result<Self, ApplyError> {
        let mut bits = Vec::new();
        for (position, scope) in definition.scopes().into_iter().enumerate() {
            let index = ScopeIndex(intern(names, &scope.name, "scope names")?);
            // A definition has at most SCOPES_PER_API_MAX = 60 scopes.
            bits.push((scope.name, index, 1 << position));
        }
        bits.sort_by(|one, other| one.0.cmp(&other.0));
        Ok(Self(bits))
    }

    /// Number and bit of a scope, if the definition knows it.
    pub(crate) fn find(&self, name: &str) -> Option<(ScopeIndex, u64)> {
        let found = self.0.binary_search_by(|(scope, ..)| scope.as_str().cmp(name)).ok()?;
        let (_, index, bit) = &self.0[found];
        Some((*index, *bit))
    }

    /// The word of a set.
    fn mask(&self, scopes: &Scopes) -> u64 {
        match scopes {
            Scopes::Full => FULL,
            Scopes::Named(names) => {
                names.iter().filter_map(|name| self.find(name.as_str())).fold(0, |mask, (_, bit)| mask | bit)
            }
        }
    }
}

/// The word of each scope set, under one definition.
#[derive(Debug)]
pub(crate) struct ScopeMasks(Slab<AtomicU64>);

impl ScopeMasks {
    pub(crate) fn new() -> Self {
        Self(Slab::new(SETS_MAX))
    }

    /// The word of a set; zero if the set is younger than the definition that these words are of.
    #[inline]
    pub(crate) fn get(&self, set: u32) -> u64 {
        self.0.get(set).map_or(0, |mask| mask.load(Ordering::Relaxed))
    }

    fn set(&self, set: u32, mask: u64) -> Result<(), ApplyError> {
        self.0.ensure(set).ok_or(ApplyError::Full("scope sets"))?.store(mask, Ordering::Relaxed);
        Ok(())
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        self.0.memory_bytes()
    }
}

/// The scope sets of one api, as the writer keeps them.
#[derive(Debug)]
pub(crate) struct ScopeSets {
    /// The named sets, with the number of terms that use each.
    named: HashMap<BTreeSet<Scope>, (u32, u32)>,
    free: Vec<u32>,
    next: u32,
    /// The sets by number, for readers that describe a key.
    pub(crate) by_number: Arc<Slab<ArcSwapOption<Scopes>>>,
}

impl ScopeSets {
    pub(crate) fn new() -> Self {
        let by_number = Slab::<ArcSwapOption<Scopes>>::new(SETS_MAX);
        if let Some(full) = by_number.ensure(FULL_SET) {
            full.store(Some(Arc::new(Scopes::Full)));
        }
        Self { named: HashMap::new(), free: Vec::new(), next: FULL_SET + 1, by_number: Arc::new(by_number) }
    }

    /// The number of the set, which counts as used once more. A new one gets its word in `current`.
    pub(crate) fn acquire(
        &mut self,
        scopes: &Scopes,
        current: Option<(&ScopeBits, &ScopeMasks)>,
    ) -> Result<u32, ApplyError> {
        let Scopes::Named(names) = scopes else {
            return Ok(FULL_SET);
        };
        if let Some((set, uses)) = self.named.get_mut(names) {
            *uses += 1;
            return Ok(*set);
        }
        let set = self.free.pop().unwrap_or(self.next);
        self.by_number.ensure(set).ok_or(ApplyError::Full("scope sets"))?.store(Some(Arc::new(scopes.clone())));
        if let Some((bits, masks)) = current {
            masks.set(set, bits.mask(scopes))?;
        }
        self.next = self.next.max(set + 1);
        self.named.insert(names.clone(), (set, 1));
        Ok(set)
    }

    /// Counts the set as used once less. Nobody may find it any more in a record if this was the last use.
    pub(crate) fn release(&mut self, set: u32) {
        let Some(row) = self.by_number.get(set).filter(|_| set != FULL_SET) else {
            return;
        };
        let Some(scopes) = row.load_full() else { return };
        let Scopes::Named(names) = &*scopes else { return };
        let Some((_, uses)) = self.named.get_mut(names) else {
            return;
        };
        *uses -= 1;
        if *uses == 0 {
            self.named.remove(names);
            row.store(None);
            self.free.push(set);
        }
    }

    /// The words of all sets under a new definition.
    pub(crate) fn masks(&self, bits: &ScopeBits) -> Result<ScopeMasks, ApplyError> {
        let masks = ScopeMasks::new();
        masks.set(FULL_SET, FULL)?;
        for (names, (set, _)) in &self.named {
            let held = names.iter().filter_map(|name| bits.find(name.as_str()));
            masks.set(*set, held.fold(0, |mask, (_, bit)| mask | bit))?;
        }
        Ok(masks)
    }
}
