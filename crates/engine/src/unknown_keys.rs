//! Calls with keys that are nobody's, by prefix and by the network that they come from: who guesses, or goes on using a
//! secret that was forgotten long ago.
//!
//! Whoever can reach the verifier can make these calls, so there is a fixed number of cells for them, and no call waits, allocates or
//! takes a lock for its sake but the first of a pair of prefix and network. What finds no cell is counted by prefix alone, and
//! if that finds none either, not at all.
//!
//! Counts are taken by putting an empty table in the place of the one that was counted in. Who still counts in that when it
//! is read is found by its reference: it is read when nobody has it any more.

use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use claviger_domain::key::ApiName;
use claviger_domain::network::Network;

use crate::sync::{AtomicU64, Ordering};
use crate::usage::mix;
use crate::verdict::ApiIndex;

/// Pairs of prefix and network.
const PAIRS: usize = 1024;
/// Prefixes alone.
const PREFIXES: usize = 64;
/// Cells in which a pair is looked for.
const WINDOW: usize = 16;

/// How often keys that are nobody's were presented.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct UnknownKeyCalls {
    /// The api that they claimed to be for.
    pub api: ApiName,
    /// Their prefix.
    pub prefix: String,
    /// From where; `None` where the address is unknown, or of which there were too many.
    pub network: Option<Network>,
    /// How often.
    pub calls: u64,
}

/// A prefix: the api's place in the directory, and the format's in the api.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Prefix {
    pub(crate) api: ApiIndex,
    pub(crate) format: u16,
}

/// The counts.
#[derive(Debug)]
pub(crate) struct UnknownKeys {
    table: ArcSwap<Table>,
    /// Tables that somebody may still count in.
    replaced: Mutex<Vec<Arc<Table>>>,
}

#[derive(Debug)]
struct Table {
    pairs: Box<[Cell]>,
    prefixes: Box<[Cell]>,
    /// Held while a cell is claimed.
    claims: Mutex<()>,
}

/// A pair, or a prefix, and how often. The tag is written last: whoever reads it finds the rest.
#[derive(Debug, Default)]
struct Cell {
    tag: AtomicU64,
    prefix: AtomicU64,
    network: AtomicU64,
    calls: AtomicU64,
}

impl UnknownKeys {
    pub(crate) fn new() -> Self {
        Self { table: ArcSwap::from_pointee(Table::new()), replaced: Mutex::default() }
    }

    /// A key of this prefix was presented that is nobody's.
    #[inline]
    pub(crate) fn count(&self, prefix: Prefix, network: Option<Network>) {
        let table = self.table.load();
        let network = network.map_or(0, Network::to_bits);
        let cell = find(&table.pairs, &table.claims, prefix, network);
        if let Some(cell) = cell.or_else(|| find(&table.prefixes, &table.claims, prefix, 0)) {
            cell.calls.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Takes the counts: each call is in one answer.
    pub(crate) fn take(&self) -> Vec<(Prefix, u64, u64)> {
        let mut replaced = self.replaced.lock().unwrap_or_else(PoisonError::into_inner);
        replaced.push(self.table.swap(Arc::new(Table::new())));
        let mut taken = Vec::new();
        for table in std::mem::take(&mut *replaced) {
            match Arc::try_unwrap(table) {
                Ok(table) => taken.extend(table.pairs.iter().chain(&table.prefixes).filter_map(Cell::read)),
                Err(still_used) => replaced.push(still_used),
            }
        }
        taken
    }
}

impl Table {
    fn new() -> Self {
        let cells = |count: usize| (0..count).map(|_| Cell::default()).collect();
        Self { pairs: cells(PAIRS), prefixes: cells(PREFIXES), claims: Mutex::default() }
    }
}

impl Cell {
    fn read(&self) -> Option<(Prefix, u64, u64)> {
        if self.tag.load(Ordering::Acquire) == 0 {
            return None;
        }
        let prefix = self.prefix.load(Ordering::Relaxed);
        let prefix = Prefix { api: ApiIndex((prefix >> 16) as u16), format: prefix as u16 };
        Some((prefix, self.network.load(Ordering::Relaxed), self.calls.load(Ordering::Relaxed)))
    }
}

/// The cell, claimed if need be.
#[inline]
fn find<'t>(cells: &'t [Cell], claims: &Mutex<()>, prefix: Prefix, network: u64) -> Option<&'t Cell> {
    let prefix = u64::from(prefix.api.0) << 16 | u64::from(prefix.format);
    let tag = mix(&[prefix, network]) | 1;
    let places = (0..WINDOW).map(|step| &cells[(tag >> 1).wrapping_add(step as u64) as usize % cells.len()]);
    for cell in places.clone() {
        match cell.tag.load(Ordering::Acquire) {
            0 => return claim(places, claims, tag, prefix, network),
            found if found == tag => return Some(cell),
            _ => {}
        }
    }
    None
}

#[cold]
fn claim<'t>(
    mut places: impl Iterator<Item = &'t Cell>,
    claims: &Mutex<()>,
    tag: u64,
    prefix: u64,
    network: u64,
) -> Option<&'t Cell> {
    let _held = claims.lock().unwrap_or_else(PoisonError::into_inner);
    let is_ours = |cell: &&Cell| matches!(cell.tag.load(Ordering::Relaxed), found if found == 0 || found == tag);
    let cell = places.find(is_ours)?;
    if cell.tag.load(Ordering::Relaxed) == 0 {
        cell.prefix.store(prefix, Ordering::Relaxed);
        cell.network.store(network, Ordering::Relaxed);
        cell.tag.store(tag, Ordering::Release);
    }
    Some(cell)
}
