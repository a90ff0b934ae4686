//! The counters of one hour: open addressing over cells of two words, claimed by compare-and-swap.

use crate::sync::{AtomicI64, AtomicU64, AtomicUsize, Ordering};

/// The hour of a table that nobody has counted in yet.
const UNSET: i64 = i64::MIN;
const MINUTE_BITS: u32 = 8;
const MINUTE_MASK: u64 = (1 << MINUTE_BITS) - 1;

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

#[repr(align(16))]
#[derive(Debug, Default)]
struct Cell {
    /// Zero while the cell is free.
    tag: AtomicU64,
    /// The count, and in its low bits the last minute of the hour in which something was counted.
    count: AtomicU64,
}

/// The counters of one hour.
#[derive(Debug)]
pub(crate) struct HourTable {
    /// Tables are numbered in the order in which they came into use.
    pub(crate) serial: u64,
    /// The hour it counts, or [`UNSET`]. Once set it stays.
    hour: AtomicI64,
    cells: Box<[Cell]>,
    /// One bit per cell, set before the cell is claimed: collecting looks only at those.
    touched: Box<[AtomicU64]>,
    claimed: AtomicUsize,
}

impl HourTable {
    /// A table for an hour, or for the first hour that somebody counts in.
    pub(crate) fn new(cells: usize, serial: u64, hour: Option<i64>) -> Self {
        let cells = cells.next_power_of_two().max(if cfg!(loom) { 2 } else { 64 });
        Self {
            serial,
            hour: AtomicI64::new(hour.unwrap_or(UNSET)),
            cells: (0..cells).map(|_| Cell::default()).collect(),
            touched: (0..cells.div_ceil(64)).map(|_| AtomicU64::new(0)).collect(),
            claimed: AtomicUsize::new(0),
        }
    }

    /// The hour it counts, once it has one.
    pub(crate) fn hour(&self) -> Option<i64> {
        Some(self.hour.load(Ordering::Acquire)).filter(|hour| *hour != UNSET)
    }

    /// Counts one. False if the table is of another hour, or full.
    #[inline]
    pub(crate) fn count(&self, hour: i64, minute: u8, tag: Tag) -> bool {
        if !self.is_for(hour) {
            return false;
        }
        let Some(cell) = self.cell(tag) else { return false };
        let minute = u64::from(minute);
        let mut seen = cell.count.load(Ordering::Relaxed);
        // The minute changes at most 59 times an hour, and only upwards; nearly always this is a plain addition.
        while seen & MINUTE_MASK < minute {
            let next = (seen & !MINUTE_MASK | minute) + (1 << MINUTE_BITS);
            match cell.count.compare_exchange_weak(seen, next, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return true,
                Err(now) => seen = now,
            }
        }
        cell.count.fetch_add(1 << MINUTE_BITS, Ordering::Relaxed);
        true
    }

    /// Has the processor fetch the line in which the key is probably counted.
    #[inline]
    pub(crate) fn prefetch(&self, slot: u32) {
        self.cells[self.first_place(slot)].tag.load(Ordering::Relaxed);
    }

    /// Everything counted so far: tag, total and last minute.
    pub(crate) fn totals(&self) -> impl Iterator<Item = (Tag, u64, u8)> {
        self.touched_places().filter_map(|place| {
            let cell = &self.cells[place];
            let tag = cell.tag.load(Ordering::Acquire);
            let count = cell.count.load(Ordering::Relaxed);
            let total = count >> MINUTE_BITS;
            (tag != 0 && total != 0).then_some((Tag(tag), total, (count & MINUTE_MASK) as u8))
        })
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        size_of_val(&*self.cells) + size_of_val(&*self.touched)
    }

    /// Whether it counts this hour, which it does from now on if it had none.
    #[inline]
    fn is_for(&self, hour: i64) -> bool {
        let own = self.hour.load(Ordering::Relaxed);
        own == hour || (own == UNSET && self.take_hour(hour))
    }

    #[cold]
    fn take_hour(&self, hour: i64) -> bool {
        match self.hour.compare_exchange(UNSET, hour, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => true,
            Err(taken) => taken == hour,
        }
    }

    /// The cell of the tag, claimed if need be. `None` when the table is full.
    #[inline]
    fn cell(&self, tag: Tag) -> Option<&Cell> {
        let mask = self.cells.len() - 1;
        let first = self.first_place(tag.slot());
        for step in 0..=mask {
            let place = first.wrapping_add(step) & mask;
            let cell = &self.cells[place];
            let known = cell.tag.load(Ordering::Acquire);
            if known == tag.0 || (known == 0 && self.claim(place, tag)?) {
                return Some(cell);
            }
        }
        None
    }

    /// The first cell to look in for what is counted of a slot. Four neighbouring slots share a cache line: keys
    /// that were made together are often used together. Which scope and outcome it will be does not matter, so the
    /// line can be fetched before they are known.
    #[inline]
    fn first_place(&self, slot: u32) -> usize {
        let line = u64::from(slot >> 2).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        ((line << 2) as usize | (slot & 3) as usize) & (self.cells.len() - 1)
    }

    /// Claims a free cell. False if it went to another tag, `None` when the table is full.
    #[cold]
    fn claim(&self, place: usize, tag: Tag) -> Option<bool> {
        if self.claimed.load(Ordering::Relaxed) >= self.cells.len() - self.cells.len().div_ceil(8) {
            return None;
        }
        // First the bit, then the tag: whoever counts in the cell, claimed by whomever, knows that it is collected.
        self.touched[place / 64].fetch_or(1 << (place % 64), Ordering::Relaxed);
        match self.cells[place].tag.compare_exchange(0, tag.0, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => {
                self.claimed.fetch_add(1, Ordering::Relaxed);
                Some(true)
            }
            Err(taken) => Some(taken == tag.0),
        }
    }

    fn touched_places(&self) -> impl Iterator<Item = usize> {
        self.touched.iter().enumerate().flat_map(|(word, bits)| {
            let bits = bits.load(Ordering::Relaxed);
            (0..64).filter(move |bit| bits >> bit & 1 == 1).map(move |bit| word * 64 + bit)
        })
    }
}
