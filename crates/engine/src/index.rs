//! The index from digests to slots: open addressing with linear probing over one word per entry.
//!
//! A table may have any size, so that one for ten million keys need not be one for sixteen.
//!
//! An entry is 12 bits of the digest (the *tag*), a *hint* of 24 bits that lets readers fetch something else besides
//! the record at once, and the slot + 1 in 28 bits. Digests are uniformly random, so their own bits are the hash: the
//! tag comes from one word, the place from another. One writer inserts and removes; readers only load. A table that
//! grows is built anew beside the old one and swapped in: a reader that still looks at the old one began before the
//! change that made it grow was finished.

use crate::sync::{AtomicU64, Ordering};

const EMPTY: u64 = 0;
/// A removed entry. Its slot is one that no record has, its tag one of those that records have.
const TOMBSTONE: u64 = SLOT_MASK;
const SLOT_BITS: u32 = 28;
const SLOT_MASK: u64 = (1 << SLOT_BITS) - 1;
const HINT_BITS: u32 = 24;
const HINT_MASK: u64 = (1 << HINT_BITS) - 1;
const TAG_SHIFT: u32 = SLOT_BITS + HINT_BITS;
/// Slots that an entry can name.
pub(crate) const SLOTS_MAX: usize = SLOT_MASK as usize - 1;

/// The entries.
#[derive(Debug)]
pub(crate) struct Table {
    entries: Box<[AtomicU64]>,
}

impl Table {
    /// A table for this many entries: at most 5/6 full.
    pub(crate) fn with_capacity(count: usize) -> Self {
        let (least, line) = if cfg!(loom) { (4, 4) } else { (64, 8) };
        let size = (count * 6).div_ceil(5).max(least).next_multiple_of(line);
        Self { entries: (0..size).map(|_| AtomicU64::new(EMPTY)).collect() }
    }

    /// How many entries, removed ones included, it may hold.
    pub(crate) fn entries_max(&self) -> usize {
        self.entries.len() * 5 / 6
    }

    /// Has the processor fetch the line in which the digest's entry probably is.
    #[inline]
    pub(crate) fn prefetch(&self, digest: &[u64; 4]) {
        self.entries[self.first_place(digest)].load(Ordering::Relaxed);
    }

    /// Tries the slots whose digest may be this one, each with its hint, until `accept` takes one.
    #[inline]
    pub(crate) fn find<T>(&self, digest: &[u64; 4], mut accept: impl FnMut(u32, u32) -> Option<T>) -> Option<T> {
        for place in self.places(digest) {
            let entry = self.entries[place].load(Ordering::Acquire);
            if entry == EMPTY {
                return None;
            }
            if entry >> TAG_SHIFT == tag(digest) {
                // A tombstone passes for a slot that no record has.
                let slot = (entry & SLOT_MASK) as u32 - 1;
                let found = accept(slot, (entry >> SLOT_BITS & HINT_MASK) as u32);
                if found.is_some() {
                    return found;
                }
            }
        }
        None
    }

    /// Adds an entry, and says whether it took a place that was empty. The caller keeps the table from filling up.
    /// Of the hint only the low bits are kept.
    pub(crate) fn insert(&self, digest: &[u64; 4], slot: u32, hint: u32) -> bool {
        for place in self.places(digest) {
            let entry = self.entries[place].load(Ordering::Relaxed);
            if entry == EMPTY || entry == TOMBSTONE {
                // Whoever sees the entry sees the record that was written before it.
                let hint = (u64::from(hint) & HINT_MASK) << SLOT_BITS;
                self.entries[place].store(entry_of(digest, slot) | hint, Ordering::Release);
                return entry == EMPTY;
            }
        }
        unreachable!("a table is at most 5/6 full")
    }

    /// Removes an entry, and says whether it left an empty place.
    pub(crate) fn remove(&self, digest: &[u64; 4], slot: u32) -> bool {
        for place in self.places(digest) {
            let entry = self.entries[place].load(Ordering::Relaxed);
            if entry == EMPTY {
                return false;
            }
            if entry & !(HINT_MASK << SLOT_BITS) == entry_of(digest, slot) {
                let next = self.entries[(place + 1) % self.entries.len()].load(Ordering::Relaxed);
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
        let first = self.first_place(digest);
        (first..self.entries.len()).chain(0..first)
    }

    /// The upper bits of one word of the digest, as a part of the table.
    #[inline]
    fn first_place(&self, digest: &[u64; 4]) -> usize {
        ((u128::from(digest[1]) * self.entries.len() as u128) >> 64) as usize
    }
}

#[inline]
fn tag(digest: &[u64; 4]) -> u64 {
    digest[0] >> TAG_SHIFT
}

/// The entry without its hint.
#[inline]
fn entry_of(digest: &[u64; 4], slot: u32) -> u64 {
    tag(digest) << TAG_SHIFT | (u64::from(slot) + 1)
}
