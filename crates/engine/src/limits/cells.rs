//! Where meters stand that are not an account's own: cells of four words in the region.
//!
//! | word | holds |
//! |---|---|
//! | 0 | [`Tag`]: which key or account, and which limit; zero while the cell is free |
//! | 1 | identity: a hash of the same by id and names, which a successor of the process knows it by |
//! | 2 | value of the meter; of a quota the units used |
//! | 3 | interval that the value was written with |
//!
//! It is an open table. A cell is claimed with a compare-and-swap on its tag, in a window of a few places that depends on
//! the subject alone, and is never freed: so a subject that found no place in its window never will, and is kept in a map
//! instead, exactly but with a lock. There the entries go whose units have all come back.
//!
//! Slots are used again. The tag then is that of the former key, but its identity is not: whoever opens the cell for
//! another identity begins at what was recovered of that, or at nothing. The words 1 to 3 are touched only by who holds
//! the lock of the account. (Two accounts, of the former key and of the next, could meet in a cell only if a verification
//! were held up for as long as a slot rests. Then a value may be lost, and nothing else.)
//!
//! What was recovered from the process before is in a map that nothing changes, and in cells of its own, for the case that
//! this process dies too before its subject has called.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use claviger_domain::time::Timestamp;

use super::NANOS_PER_MICRO;
use crate::accounts::Held;
use crate::sync::{AtomicU64, Ordering, fence};
use crate::usage::{Part, Region, mix};

/// Places in which a subject's cells are looked for.
const WINDOW: usize = 32;
/// Entries of the map before those are looked for that can go.
const PURGE_AT_MIN: usize = 1024;

pub(crate) type Cell = [AtomicU64; 4];
const TAG: usize = 0;
const IDENTITY: usize = 1;
const VALUE: usize = 2;
const INTERVAL: usize = 3;

/// Which key or account, and which limit.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Tag(u64);

impl Tag {
    const CLAIMED: u64 = 1 << 63;
    /// What a former process left.
    const LEFT: u64 = 1 << 62;
    const ACCOUNT: u64 = 1 << 61;
    const TEST: u64 = 1 << 60;
    /// The number of a quota, which is no rate limit's.
    pub(crate) const QUOTA: u16 = u16::MAX;

    /// Of the key at a slot.
    pub(crate) fn of_key(slot: u32, limit: u16) -> Self {
        Self(Self::CLAIMED | u64::from(limit) << 32 | u64::from(slot))
    }

    /// Of an account, for one environment.
    pub(crate) fn of_account(row: u32, limit: u16, is_test: bool) -> Self {
        let environment = if is_test { Self::TEST } else { 0 };
        Self(Self::CLAIMED | Self::ACCOUNT | environment | u64::from(limit) << 32 | u64::from(row))
    }

    fn limit(self) -> u16 {
        (self.0 >> 32) as u16
    }

    /// The first place to look in: the same for all limits of a subject.
    fn place(self) -> u64 {
        let subject = self.0 & (Self::LEFT | Self::ACCOUNT | u64::from(u32::MAX));
        subject.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32
    }
}

/// By what a meter is known to the next process: a hash of whose it is and of which limit. Never zero.
pub(crate) fn identity(id: u128, limit: u64, is_test: bool) -> u64 {
    mix(&[(id >> 64) as u64, id as u64, limit, u64::from(is_test)]) | 1
}

/// What was used of rate limits when a process ended, by identity: value and interval.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct RecoveredLimits(HashMap<u64, (u64, u64)>);

impl RecoveredLimits {
    /// How many meters.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Forgets what has come back by this instant. To be called before it is given to an engine, which keeps what it is given.
    pub fn forget_spent(&mut self, now: Timestamp) {
        let micros = u64::try_from(now.as_micros()).unwrap_or(0);
        self.0.retain(|_, (value, _)| *value > micros.saturating_mul(NANOS_PER_MICRO));
    }

    /// Adds what another process left.
    pub fn merge(&mut self, other: Self) {
        for (identity, (value, interval)) in other.0 {
            self.note(identity, value, interval);
        }
    }

    /// Of two that are said of the same, the one that lets fewer pass.
    pub(crate) fn note(&mut self, identity: u64, value: u64, interval: u64) {
        let known = self.0.entry(identity).or_default();
        *known = (*known).max((value, interval));
    }

    pub(crate) fn find(&self, identity: u64) -> Option<(u64, u64)> {
        self.0.get(&identity).copied()
    }

    /// What the cells of a dead process say.
    pub(crate) fn read(&mut self, cells: &[Cell]) {
        for cell in cells {
            let [tag, identity, value, interval] = cell.each_ref().map(|word| word.load(Ordering::Acquire));
            let is_quota = Tag(tag).limit() == Tag::QUOTA && tag & Tag::LEFT == 0;
            if tag & Tag::CLAIMED != 0 && identity != 0 && value != 0 && !is_quota {
                self.note(identity, value, interval);
            }
        }
    }
}

/// The cells.
pub(crate) struct Cells {
    table: Part<[Cell]>,
    more: Mutex<More>,
    left: RecoveredLimits,
}

/// Cells that found no place.
#[derive(Debug, Default)]
struct More {
    cells: HashMap<Tag, Arc<Cell>>,
    purge_at: usize,
}

/// Where a meter stands.
pub(crate) enum Place<'a> {
    /// In the account's line.
    Own,
    /// In a cell, under this identity.
    Cell(&'a Cell, u64),
    /// In a cell of the map.
    More(Arc<Cell>, u64),
}

impl Cells {
    /// The cells of a fresh region, with what a former process left.
    pub(crate) fn new(region: &Region, left: RecoveredLimits) -> Self {
        let cells = Self { table: region.groups(region.layout().limit_cells()), more: Mutex::default(), left };
        cells.keep_what_was_left();
        cells
    }

    pub(crate) fn left(&self) -> &RecoveredLimits {
        &self.left
    }

    /// The place of a meter, claimed if need be. `now` is in nanoseconds, by the clock of meters.
    #[inline]
    pub(crate) fn place(&self, tag: Tag, identity: u64, now: u64) -> Place<'_> {
        match self.find_or_claim(tag) {
            Some(cell) => Place::Cell(cell, identity),
            None => Place::More(self.find_or_make(tag, now), identity),
        }
    }

    /// Has the processor fetch the cell in which the first meter of a key probably stands.
    #[inline]
    pub(crate) fn prefetch_key(&self, slot: u32) {
        let cells = *self.table.get();
        let mask = cells.len().wrapping_sub(1);
        if let Some(cell) = cells.get(Tag::of_key(slot, 0).place() as usize & mask) {
            cell[TAG].load(Ordering::Relaxed);
        }
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        let more = self.lock();
        // An entry's cell stands alone, with its two reference counts.
        let cell = size_of::<Cell>() + 2 * size_of::<usize>();
        let cells = more.cells.capacity() * size_of::<(Tag, Arc<Cell>)>() + more.cells.len() * cell;
        cells + self.left.0.capacity() * size_of::<(u64, (u64, u64))>()
    }

    #[inline]
    fn find_or_claim(&self, tag: Tag) -> Option<&Cell> {
        let cells = *self.table.get();
        let mask = cells.len().checked_sub(1)?;
        let first = tag.place() as usize;
        for step in 0..WINDOW.min(cells.len()) {
            let cell = &cells[first.wrapping_add(step) & mask];
            let mut known = cell[TAG].load(Ordering::Acquire);
            if known == 0 {
                let claimed = cell[TAG].compare_exchange(0, tag.0, Ordering::AcqRel, Ordering::Acquire);
                known = claimed.map_or_else(|taken| taken, |_| tag.0);
            }
            if known == tag.0 {
                return Some(cell);
            }
        }
        None
    }

    #[cold]
    fn find_or_make(&self, tag: Tag, now: u64) -> Arc<Cell> {
        let mut more = self.lock();
        if let Some(cell) = more.cells.get(&tag) {
            return Arc::clone(cell);
        }
        if more.cells.len() >= more.purge_at.max(PURGE_AT_MIN) {
            // Nobody else has it, for it is only given out under this lock, and it says nothing any more.
            let is_needed = |tag: &Tag, cell: &mut Arc<Cell>| {
                let is_held = Arc::strong_count(cell) > 1;
                // Whoever has just let go of it has written before.
                fence(Ordering::Acquire);
                is_held || tag.limit() == Tag::QUOTA || cell[VALUE].load(Ordering::Acquire) > now
            };
            more.cells.retain(is_needed);
            more.purge_at = more.cells.len() * 2;
        }
        Arc::clone(more.cells.entry(tag).or_default())
    }

    /// Writes down what a former process left, unless there is so much of it that no room would be left.
    fn keep_what_was_left(&self) {
        let mut left: Vec<(u64, (u64, u64))> =
            self.left.0.iter().map(|(identity, meter)| (*identity, *meter)).collect();
        // What takes longest to come back first.
        left.sort_unstable_by_key(|(identity, (value, _))| (std::cmp::Reverse(*value), *identity));
        for (identity, (value, interval)) in left.into_iter().take(self.table.get().len() / 2) {
            let tag = Tag(Tag::CLAIMED | Tag::LEFT | identity & u64::from(u32::MAX));
            let Some(cell) = self.find_or_claim(tag).filter(|cell| cell[IDENTITY].load(Ordering::Relaxed) == 0) else {
                continue;
            };
            begin(cell, identity, value, interval);
        }
    }

    fn lock(&self) -> MutexGuard<'_, More> {
        self.more.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place<'_> {
    /// Value and interval of the meter, which are those of its identity. `held` is the account's.
    #[inline]
    pub(crate) fn open<'p>(&'p self, held: &Held<'p>, left: &RecoveredLimits) -> (&'p AtomicU64, &'p AtomicU64) {
        let (cell, identity): (&Cell, u64) = match self {
            Self::Own => return held.meter(),
            Self::Cell(cell, identity) => (cell, *identity),
            Self::More(cell, identity) => (cell, *identity),
        };
        if cell[IDENTITY].load(Ordering::Relaxed) != identity {
            let (value, interval) = left.find(identity).unwrap_or_default();
            begin(cell, identity, value, interval);
        }
        (&cell[VALUE], &cell[INTERVAL])
    }
}

/// Makes a cell that of an identity. Whoever dies in between leaves it with nothing used, and not with another's.
fn begin(cell: &Cell, identity: u64, value: u64, interval: u64) {
    cell[VALUE].store(0, Ordering::Relaxed);
    cell[IDENTITY].store(identity, Ordering::Release);
    cell[INTERVAL].store(interval, Ordering::Release);
    cell[VALUE].store(value, Ordering::Release);
}

impl fmt::Debug for Cells {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cells").field("in_region", &self.table.get().len()).finish_non_exhaustive()
    }
}
