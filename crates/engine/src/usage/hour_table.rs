//! The counters of one hour: open addressing over cells of two words, claimed and counted in by compare-and-swap.
//!
//! A table is used for one hour after another. Every count word says of which hour it is, so whoever counts for
//! an hour that the table has left fails, however late it comes, and what it meant to count is booked elsewhere.
//! See the [module above](super) for the whole argument.

use crate::sync::{AtomicI64, AtomicU64, AtomicUsize, Ordering};

/// What the hour of a table is while it has none.
const UNSET: i64 = i64::MIN;
/// What it is while it is handed over.
const CLOSED: i64 = i64::MIN + 1;

/// What a cell counts: the slot of the key, the scope's number and the outcome, in one word that is never zero.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Tag(u64);

impl Tag {
    const CLAIMED: u64 = 1 << 63;

    /// `outcome` is zero for an allowed request, else the number of the denial.
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
/// a cell that was never used.
#[derive(Clone, Copy)]
struct Count(u64);

impl Count {
    const TOTAL_SHIFT: u32 = 24;
    const HOUR_SHIFT: u32 = 6;
    const MINUTE_MASK: u64 = (1 << Self::HOUR_SHIFT) - 1;
    /// Hours are told apart modulo 30 years.
    const HOURS: i64 = (1 << (Self::TOTAL_SHIFT - Self::HOUR_SHIFT)) - 1;

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

    /// One more, in a minute of the hour that `none` is of. `None` if this is a count of another hour.
    #[inline]
    fn plus_one(self, none: Self, minute: u8) -> Option<Self> {
        let hour_mask = (1 << Self::TOTAL_SHIFT) - 1 - Self::MINUTE_MASK;
        let counted = if self.0 == 0 { none } else { self };
        if counted.0 & hour_mask != none.0 {
            return None;
        }
        let last = (counted.0 & Self::MINUTE_MASK).max(u64::from(minute));
        Some(Self((counted.0 & !Self::MINUTE_MASK | last) + (1 << Self::TOTAL_SHIFT)))
    }
}

#[repr(align(16))]
#[derive(Debug, Default)]
struct Cell {
    /// Zero while the cell is free.
    tag: AtomicU64,
    count: AtomicU64,
}

/// The counters of one hour at a time.
#[derive(Debug)]
pub(crate) struct HourTable {
    hour: AtomicI64,
    cells: Box<[Cell]>,
    /// One bit per cell, set before something is counted in it: collecting looks only at those.
    touched: Box<[AtomicU64]>,
    /// Cells that are claimed, roughly. Away from what every verification reads.
    claimed: Box<AtomicUsize>,
}

impl HourTable {
    /// A table that takes the first hour that somebody counts in. Without cells, it counts nothing.
    pub(crate) fn new(cells: usize) -> Self {
        let least = if cfg!(loom) { 2 } else { 64 };
        let cells = if cells == 0 { 0 } else { cells.next_power_of_two().max(least) };
        Self {
            hour: AtomicI64::new(UNSET),
            cells: (0..cells).map(|_| Cell::default()).collect(),
            touched: (0..cells.div_ceil(64)).map(|_| AtomicU64::new(0)).collect(),
            claimed: Box::new(AtomicUsize::new(0)),
        }
    }

    /// The hour it counts, if it has one.
    pub(crate) fn hour(&self) -> Option<i64> {
        Some(self.hour.load(Ordering::Acquire)).filter(|hour| ![UNSET, CLOSED].contains(hour))
    }

    /// Has the processor fetch the line in which the key is probably counted.
    #[inline]
    pub(crate) fn prefetch(&self, slot: u32) {
        if let Some(cell) = self.cells.get(self.first_place(slot)) {
            cell.tag.load(Ordering::Relaxed);
        }
    }

    /// Counts one. False if the table is of another hour, or full.
    #[inline]
    pub(crate) fn count(&self, hour: i64, minute: u8, tag: Tag) -> bool {
        if self.hour.load(Ordering::Acquire) != hour && !self.take_hour(hour) {
            return false;
        }
        let Some(place) = self.find_or_claim(tag) else { return false };
        let none = Count::none_in(hour);
        let count = &self.cells[place].count;
        let mut seen = Count(count.load(Ordering::Relaxed));
        loop {
            let Some(next) = seen.plus_one(none, minute) else { return false };
            if next.total() == 1 {
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
            let count = Count(self.cells[place].count.load(Ordering::Acquire));
            self.total(place, count)
        })
    }

    /// Gives the table to another hour, and each of its totals to `take`, with the hour they are of. One caller at a time.
    ///
    /// A count that is added before its cell is reached is taken, one that would be added after is refused.
    pub(crate) fn hand_over(&self, hour: i64, mut take: impl FnMut(i64, Tag, u64, u8)) {
        // A table without an hour can take one no more.
        let former = self.hour.swap(CLOSED, Ordering::AcqRel);
        for bits in &self.touched {
            bits.store(0, Ordering::Relaxed);
        }
        for (place, cell) in self.cells.iter().enumerate() {
            // Unused cells too: nobody who is late may count in them either.
            let count = Count(cell.count.swap(Count::none_in(hour).0, Ordering::AcqRel));
            if let Some((tag, total, minute)) = self.total(place, count) {
                take(former, tag, total, minute);
            }
            cell.tag.store(0, Ordering::Relaxed);
        }
        self.claimed.store(0, Ordering::Relaxed);
        self.hour.store(hour, Ordering::Release);
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        size_of_val(&*self.cells) + size_of_val(&*self.touched)
    }

    fn total(&self, place: usize, count: Count) -> Option<(Tag, u64, u8)> {
        // The tag was there before the count.
        let tag = self.cells[place].tag.load(Ordering::Relaxed);
        (count.total() > 0).then_some((Tag(tag), count.total(), count.minute()))
    }

    /// Gives a table without an hour this one. False if it has another.
    #[cold]
    fn take_hour(&self, hour: i64) -> bool {
        if self.cells.is_empty() {
            return false;
        }
        match self.hour.compare_exchange(UNSET, hour, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => true,
            Err(taken) => taken == hour,
        }
    }

    /// Place of the tag's cell, claimed if need be. `None` when the table is full.
    #[inline]
    fn find_or_claim(&self, tag: Tag) -> Option<usize> {
        let mask = self.cells.len() - 1;
        let first = self.first_place(tag.slot());
        for step in 0..=mask {
            let place = first.wrapping_add(step) & mask;
            let known = self.cells[place].tag.load(Ordering::Acquire);
            if known == tag.0 || (known == 0 && self.claim(place, tag)?) {
                return Some(place);
            }
        }
        None
    }

    /// Claims a free cell. False if it went to another tag, `None` when the table is full.
    #[cold]
    fn claim(&self, place: usize, tag: Tag) -> Option<bool> {
        if self.claimed.load(Ordering::Relaxed) >= self.cells.len() - self.cells.len() / 8 {
            return None;
        }
        match self.cells[place].tag.compare_exchange(0, tag.0, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => {
                self.claimed.fetch_add(1, Ordering::Relaxed);
                Some(true)
            }
            Err(taken) => Some(taken == tag.0),
        }
    }

    /// The first cell to look in for what is counted of a slot. Four neighbouring slots share a cache line: keys
    /// that were made together are often used together. Which scope and outcome it will be does not matter, so the
    /// line can be fetched before they are known.
    #[inline]
    fn first_place(&self, slot: u32) -> usize {
        // 2^64 divided by the golden ratio: spreads small numbers over the high bits.
        let line = u64::from(slot >> 2).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        ((line << 2) as usize | (slot & 3) as usize) & self.cells.len().wrapping_sub(1)
    }
}
