//! The counters of one hour: open addressing over cells of two words, claimed and counted in by compare-and-swap.
//!
//! A table is used for one hour after another. Every count word says of which hour it is, so whoever counts for
//! an hour that the table has left fails, however late it comes, and what it meant to count is booked elsewhere.
//!
//! Beside each cell stands the id of its key, for whoever finds the words when the process has died. The id is written
//! while the tag of the cell is [`RESERVED`], before anybody can count under it.
//! See the [module above](super) for the whole argument.

use std::fmt;

use claviger_domain::id::KeyId;

use super::ledger::{Found, Subject};
use super::region::{Part, Region, mix};
use super::{Outcome, TOTAL_MAX};
use crate::sync::{AtomicU64, AtomicUsize, Ordering, relax};

/// The hour of a table and whether counting in it goes on, in one word. Zero is the word of a table that has had no hour.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum State {
    /// It takes the first hour that somebody counts in.
    Unset,
    /// It counts this hour.
    Open(i64),
    /// It holds the last totals of this hour.
    Closed(i64),
}

impl State {
    const OPEN: u64 = 1;
    const CLOSED: u64 = 2;

    #[inline]
    fn word(self) -> u64 {
        match self {
            Self::Unset => 0,
            Self::Open(hour) => (hour as u64) << 2 | Self::OPEN,
            Self::Closed(hour) => (hour as u64) << 2 | Self::CLOSED,
        }
    }

    /// Any word that makes no sense counts as [`Unset`](Self::Unset).
    pub(crate) fn from_word(word: u64) -> Self {
        let hour = (word as i64) >> 2;
        match word & 3 {
            Self::OPEN => Self::Open(hour),
            Self::CLOSED => Self::Closed(hour),
            _ => Self::Unset,
        }
    }

    fn hour(self) -> Option<i64> {
        match self {
            Self::Unset => None,
            Self::Open(hour) | Self::Closed(hour) => Some(hour),
        }
    }
}

/// What a cell counts: the slot of the key, the scope's number and the outcome, in one word that is never zero.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Tag(u64);

/// The tag of a cell whose key id is being written. Only who has reserved a cell ends that.
const RESERVED: u64 = 1;

impl Tag {
    /// Neither free nor [`RESERVED`].
    const CLAIMED: u64 = 1 << 63;
    const BITS: u64 = Self::CLAIMED | ((1 << 56) - 1);

    /// `outcome` is the number of one.
    #[inline]
    pub(crate) fn new(slot: u32, scope: u16, outcome: u8) -> Self {
        Self(Self::CLAIMED | u64::from(slot) | u64::from(scope) << 32 | u64::from(outcome) << 48)
    }

    pub(crate) fn slot(self) -> u32 {
        self.0 as u32
    }

    pub(crate) fn scope(self) -> u16 {
        (self.0 >> 32) as u16
    }

    pub(crate) fn outcome(self) -> u8 {
        (self.0 >> 48) as u8
    }
}

/// A count: 40 bits of total, 18 of the hour, 6 of the last minute in which something was counted. Zero is the word of
/// a cell that was never used. A word whose hour is all ones is closed: its total never changes again.
#[derive(Clone, Copy)]
struct Count(u64);

impl Count {
    const TOTAL_SHIFT: u32 = 24;
    const HOUR_SHIFT: u32 = 6;
    const MINUTE_MASK: u64 = (1 << Self::HOUR_SHIFT) - 1;
    const HOUR_MASK: u64 = (1 << Self::TOTAL_SHIFT) - 1 - Self::MINUTE_MASK;
    /// Hours are told apart modulo 30 years.
    const HOURS: i64 = (1 << (Self::TOTAL_SHIFT - Self::HOUR_SHIFT)) - 2;

    /// Nothing yet, in this hour.
    #[inline]
    fn none_in(hour: i64) -> Self {
        // Never zero, so that no hour looks like an unused cell.
        Self((hour.rem_euclid(Self::HOURS) as u64 + 1) << Self::HOUR_SHIFT)
    }

    #[inline]
    fn total(self) -> u64 {
        self.0 >> Self::TOTAL_SHIFT
    }

    fn minute(self) -> u8 {
        (self.0 & Self::MINUTE_MASK) as u8
    }

    /// So many more, in a minute of the hour that `none` is of. `None` if this is a count of another hour.
    #[inline]
    fn plus(self, more: u32, none: Self, minute: u8) -> Option<Self> {
        let counted = if self.0 == 0 { none } else { self };
        if counted.0 & Self::HOUR_MASK != none.0 {
            return None;
        }
        let last = (counted.0 & Self::MINUTE_MASK).max(u64::from(minute));
        // It stays at the greatest total there is rather than begin anew.
        let total = (counted.total() + u64::from(more)).min(TOTAL_MAX);
        Some(Self(total << Self::TOTAL_SHIFT | none.0 | last))
    }
}

/// A tag, zero while the cell is free, and a count.
pub(crate) type Cell = [AtomicU64; 2];
const TAG: usize = 0;
const COUNT: usize = 1;

/// The counters of one hour at a time.
pub(crate) struct HourTable {
    state: Part<AtomicU64>,
    cells: Part<[Cell]>,
    /// Id of the key of each cell, see [`hide`].
    ids: Part<[[AtomicU64; 2]]>,
    /// One bit per cell, set before something is counted in it: collecting looks only at those.
    touched: Box<[AtomicU64]>,
    /// Cells that are claimed, roughly. Away from what every verification reads.
    claimed: Box<AtomicUsize>,
    /// How often it was handed over.
    turns: AtomicU64,
}

impl HourTable {
    /// A table of a fresh region, which takes the first hour that somebody counts in. Without cells, it counts nothing.
    pub(crate) fn new(region: &Region, table: usize) -> Self {
        let layout = region.layout();
        let cells: Part<[Cell]> = region.groups(layout.cells(table));
        Self {
            touched: (0..cells.get().len().div_ceil(64)).map(|_| AtomicU64::new(0)).collect(),
            state: region.state(table),
            cells,
            ids: region.groups(layout.ids(table)),
            claimed: Box::new(AtomicUsize::new(0)),
            turns: AtomicU64::new(0),
        }
    }

    pub(crate) fn state(&self) -> State {
        State::from_word(self.state.get().load(Ordering::Acquire))
    }

    /// The hour of what it holds, if it has one.
    pub(crate) fn hour(&self) -> Option<i64> {
        self.state().hour()
    }

    pub(crate) fn turns(&self) -> u64 {
        self.turns.load(Ordering::Acquire)
    }

    /// Has the processor fetch the line in which the key is probably counted.
    #[inline]
    pub(crate) fn prefetch(&self, slot: u32) {
        let cells = *self.cells.get();
        if let Some(cell) = cells.get(first_place(cells, slot)) {
            cell[TAG].load(Ordering::Relaxed);
        }
    }

    /// Counts so many of a key. False if the table is of another hour, closed, or full.
    #[inline]
    pub(crate) fn count(&self, hour: i64, minute: u8, tag: Tag, key: KeyId, more: u32) -> bool {
        if self.state.get().load(Ordering::Acquire) != State::Open(hour).word() && !self.take_hour(hour) {
            return false;
        }
        let Some(place) = self.find_or_claim(hour, tag, key) else { return false };
        let none = Count::none_in(hour);
        let count = &self.cells.get()[place][COUNT];
        let mut seen = Count(count.load(Ordering::Relaxed));
        loop {
            let Some(next) = seen.plus(more, none, minute) else { return false };
            if seen.total() == 0 {
                // Before the count: whoever counts after this, and so has seen it, knows that the cell is collected.
                self.touched[place / 64].fetch_or(1 << (place % 64), Ordering::Relaxed);
            }
            match count.compare_exchange_weak(seen.0, next.0, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return true,
                Err(now) => seen = Count(now),
            }
        }
    }

    /// Everything counted so far in its hour: tag, total and last minute.
    pub(crate) fn totals(&self) -> impl Iterator<Item = (Tag, u64, u8)> {
        let places = self.touched.iter().enumerate().flat_map(|(word, bits)| {
            let bits = bits.load(Ordering::Relaxed);
            (0..64).filter(move |bit| bits >> bit & 1 == 1).map(move |bit| word * 64 + bit)
        });
        places.filter_map(|place| {
            let cell = &self.cells.get()[place];
            let count = Count(cell[COUNT].load(Ordering::Acquire));
            // The tag was there before the count.
            let tag = Tag(cell[TAG].load(Ordering::Relaxed));
            (count.total() > 0).then_some((tag, count.total(), count.minute()))
        })
    }

    /// Hour and minute of the last allowed request of a key, if it was counted here.
    pub(crate) fn last_allowed(&self, slot: u32, key: KeyId) -> Option<(i64, u8)> {
        let (state, cells, ids) = (self.state(), *self.cells.get(), *self.ids.get());
        let mask = cells.len().checked_sub(1)?;
        let first = first_place(cells, slot);
        (0..=mask)
            .map(|step| first.wrapping_add(step) & mask)
            .take_while(|place| cells[*place][TAG].load(Ordering::Acquire) != 0)
            .filter_map(|place| read(state, &cells[place], &ids[place])?)
            .filter(|(subject, ..)| {
                subject.key == key && Outcome::of_number(subject.outcome).is_some_and(Outcome::is_allowed)
            })
            .map(|(subject, _, minute)| (subject.hour, minute))
            .max()
    }

    /// Gives a table that has had no hour this one. False if it has another, or none because it counts nothing.
    #[cold]
    pub(crate) fn take_hour(&self, hour: i64) -> bool {
        if self.cells.get().is_empty() {
            return false;
        }
        let (unset, open) = (State::Unset.word(), State::Open(hour).word());
        match self.state.get().compare_exchange(unset, open, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => true,
            Err(taken) => taken == open,
        }
    }

    /// Ends the counting in an open table. One caller at a time.
    ///
    /// A count that is added before its cell is reached is among the [`totals`](Self::totals) from now on, one that would
    /// be added after is refused. The totals stay where they are.
    pub(crate) fn close(&self) {
        let State::Open(hour) = self.state() else { return };
        self.state.get().store(State::Closed(hour).word(), Ordering::Release);
        for cell in *self.cells.get() {
            // Unused cells too: nobody who is late may count in them either.
            cell[COUNT].fetch_or(Count::HOUR_MASK, Ordering::AcqRel);
        }
    }

    /// Forgets the totals of a closed table, and opens it for another hour. One caller at a time.
    pub(crate) fn hand_over(&self, hour: i64) {
        let State::Closed(_) = self.state() else { return };
        for bits in &self.touched {
            bits.store(0, Ordering::Relaxed);
        }
        for cell in *self.cells.get() {
            // Nobody else changes the count of a closed cell.
            cell[COUNT].store(Count::none_in(hour).0, Ordering::Release);
            free(&cell[TAG]);
        }
        self.claimed.store(0, Ordering::Relaxed);
        self.turns.fetch_add(1, Ordering::Release);
        self.state.get().store(State::Open(hour).word(), Ordering::Release);
    }

    /// What it has allocated beside the region.
    pub(crate) fn memory_bytes(&self) -> usize {
        size_of_val(&*self.touched)
    }

    /// Place of the tag's cell, claimed if need be. `None` when the table is full or no longer of this hour.
    #[inline]
    fn find_or_claim(&self, hour: i64, tag: Tag, key: KeyId) -> Option<usize> {
        let cells = *self.cells.get();
        let mask = cells.len() - 1;
        let first = first_place(cells, tag.slot());
        for step in 0..=mask {
            let place = first.wrapping_add(step) & mask;
            let known = cells[place][TAG].load(Ordering::Acquire);
            if known == tag.0 || (known & Tag::CLAIMED == 0 && self.claim(place, hour, tag, key)?) {
                return Some(place);
            }
        }
        None
    }

    /// Claims a cell that was free. False if it went to another tag, `None` when there is nothing to claim.
    #[cold]
    fn claim(&self, place: usize, hour: i64, tag: Tag, key: KeyId) -> Option<bool> {
        let cells = *self.cells.get();
        let known = &cells[place][TAG];
        let mut attempt = 0;
        loop {
            if self.claimed.load(Ordering::Relaxed) >= cells.len() - cells.len() / 8 {
                return None;
            }
            match known.compare_exchange(0, RESERVED, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => break,
                Err(RESERVED) => relax(attempt),
                Err(taken) => return Some(taken == tag.0),
            }
            attempt += 1;
        }
        // If the table was handed over since, it passed this cell before, and this sees at least that it was closed. In
        // its next hour the slot may be another key's.
        if self.state.get().load(Ordering::Acquire) != State::Open(hour).word() {
            known.store(0, Ordering::Release);
            return None;
        }
        for (word, value) in self.ids.get()[place].iter().zip(hide(key, tag)) {
            word.store(value, Ordering::Relaxed);
        }
        self.claimed.fetch_add(1, Ordering::Relaxed);
        known.store(tag.0, Ordering::Release);
        Some(true)
    }
}

impl fmt::Debug for HourTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HourTable").field("state", &self.state()).finish_non_exhaustive()
    }
}

/// The first cell to look in for what is counted of a slot. Four neighbouring slots share a cache line: keys
/// that were made together are often used together. Which scope and outcome it will be does not matter, so the
/// line can be fetched before they are known.
#[inline]
fn first_place(cells: &[Cell], slot: u32) -> usize {
    // 2^64 divided by the golden ratio: spreads small numbers over the high bits.
    let line = u64::from(slot >> 2).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
    ((line << 2) as usize | (slot & 3) as usize) & cells.len().wrapping_sub(1)
}

/// Frees a cell, once nobody is at it.
fn free(tag: &AtomicU64) {
    let mut attempt = 0;
    loop {
        // A write, though it changes nothing: whoever reserves the cell after it sees what was done before it.
        match tag.compare_exchange(0, 0, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => return,
            Err(RESERVED) => relax(attempt),
            Err(_) => return tag.store(0, Ordering::Release),
        }
        attempt += 1;
    }
}

/// The words of a key's id beside its cell: with any other tag than the cell's they are those of no key.
fn hide(key: KeyId, tag: Tag) -> [u64; 2] {
    let id = key.as_u128();
    [(id >> 64) as u64 ^ mix(&[tag.0]), id as u64 ^ mix(&[tag.0, 1])]
}

/// What a cell says, unless it has counted nothing.
pub(crate) fn read(state: State, cell: &Cell, id: &[AtomicU64; 2]) -> Option<Found> {
    let count = Count(cell[COUNT].load(Ordering::Acquire));
    if count.total() == 0 {
        return None;
    }
    let tag = Tag(cell[TAG].load(Ordering::Acquire));
    let is_claimed = tag.0 & Tag::CLAIMED != 0 && tag.0 & !Tag::BITS == 0;
    let hour_bits = count.0 & Count::HOUR_MASK;
    let is_of = |hour| hour_bits == Count::none_in(hour).0;
    let hour = match state {
        State::Open(hour) => is_of(hour).then_some(hour),
        // Closing a table, or handing it over, may have been interrupted.
        State::Closed(hour) => (hour_bits == Count::HOUR_MASK || is_of(hour)).then_some(hour),
        State::Unset => None,
    };
    let Some(hour) = hour.filter(|_| is_claimed) else { return Some(None) };
    let [high, low] = hide(KeyId::from_u128(0), tag);
    let [high, low] =
        [(&id[0], high), (&id[1], low)].map(|(word, mask)| u128::from(word.load(Ordering::Acquire) ^ mask));
    let subject = Subject { hour, key: KeyId::from_u128(high << 64 | low), scope: tag.scope(), outcome: tag.outcome() };
    Some(Some((subject, count.total(), count.minute())))
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_total_stops_at_its_end_and_spills_into_nothing() {
        let none = Count::none_in(7);
        let nearly = Count((TOTAL_MAX - 5) << Count::TOTAL_SHIFT | none.0 | 3);
        for more in [5, 6, 100_000] {
            let full = nearly.plus(more, none, 9).unwrap();
            assert_eq!((full.total(), full.minute()), (TOTAL_MAX, 9));
            assert_eq!(full.0 & Count::HOUR_MASK, none.0);
            assert_eq!(full.plus(1, none, 2).map(|still| still.0), Some(full.0));
        }
        assert!(nearly.plus(1, Count::none_in(8), 0).is_none());
    }
}
