//! The index from digests to slots: open addressing with linear probing over one word per entry.
//!
//! An entry is 32 bits of the digest (the *tag*) and the slot + 1. Digests are uniformly random, so
//! their own bits are the hash: the tag comes from one word, the place from another. One writer inserts
//! and removes; readers only load. A table that grows is built anew beside the old one and swapped in: a reader that
//! still looks at the old one began before the change that made it grow was finished.

use crate::sync::{AtomicU64, Ordering};

const EMPTY: u64 = 0;
/// A removed entry. Its slot is beyond every slab.
const TOMBSTONE: u64 = u32::MAX as u64;

/// The entries.
#[derive(Debug)]
pub(crate) struct Table {
    entries: Box<[AtomicU64]>,
}

impl Table {
    /// A table for this many entries: at most 7/8 full.
    pub(crate) fn with_capacity(count: usize) -> Self {
        let least = if cfg!(loom) { 4 } else { 64 };
        let size = (count + count.div_ceil(7)).next_power_of_two().max(least);
        Self { entries: (0..size).map(|_| AtomicU64::new(EMPTY)).collect() }
    }

    /// How many entries, removed ones included, it may hold.
    pub(crate) fn entries_max(&self) -> usize {
        self.entries.len() / 8 * 7 + self.entries.len() % 8 * 7 / 8
    }

    /// Has the processor fetch the line in which the digest's entry probably is.
    #[inline]
    pub(crate) fn prefetch(&self, digest: &[u64; 4]) {
        self.entries[digest[1] as usize & (self.entries.len() - 1)].load(Ordering::Relaxed);
    }

    /// Tries the slots whose digest may be this one until `accept` takes one.
    #[inline]
    pub(crate) fn find<T>(&self, digest: &[u64; 4], mut accept: impl FnMut(u32) -> Option<T>) -> Option<T> {
        for place in self.places(digest) {
            let entry = self.entries[place].load(Ordering::Acquire);
            if entry == EMPTY {
                return None;
            }
            if entry >> 32 == tag(digest) {
                let found = accept((entry as u32).wrapping_sub(1));
                if found.is_some() {
                    return found;
                }
            }
        }
        None
    }

    /// Adds an entry, and says whether it took a place that was empty. The caller keeps the table from filling up.
    pub(crate) fn insert(&self, digest: &[u64; 4], slot: u32) -> bool {
        for place in self.places(digest) {
            let entry = self.entries[place].load(Ordering::Relaxed);
            if entry == EMPTY || entry == TOMBSTONE {
                // Whoever sees the entry sees the record that was written before it.
                self.entries[place].store(entry_of(digest, slot), Ordering::Release);
                return entry == EMPTY;
            }
        }
        unreachable!("a table is at most 7/8 full")
    }

    /// Removes an entry, and says whether it left an empty place.
    pub(crate) fn remove(&self, digest: &[u64; 4], slot: u32) -> bool {
        for place in self.places(digest) {
            let entry = self.entries[place].load(Ordering::Relaxed);
            if entry == EMPTY {
                return false;
            }
            if entry == entry_of(digest, slot) {
                let next = self.entries[(place + 1) & (self.entries.len() - 1)].load(Ordering::Relaxed);
                let left = if next == EMPTY { EMPTY } else { TOMBSTONE };
                self.entries[place].store(left, Ordering::Release);
                return left == EMPTY;
            }
        }
        false
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        size_of_val(&*self.entries)
    }

    /// All places, from the digest's own on.
    #[inline]
    fn places(&self, digest: &[u64; 4]) -> impl Iterator<Item = usize> + use<> {
        let mask = self.entries.len() - 1;
        let first = digest[1] as usize;
        (0..=mask).map(move |step| first.wrapping_add(step) & mask)
    }
}

#[inline]
fn tag(digest: &[u64; 4]) -> u64 {
    digest[0] >> 32
}

#[inline]
fn entry_of(digest: &[u64; 4], slot: u32) -> u64 {
    tag(digest) << 32 | (u64::from(slot) + 1)
}
