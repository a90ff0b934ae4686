//! From where keys are used: who looks for strangers among the callers of a key is told of each network that the key was
//! used from, once a day and pair, soon after the first call.
//!
//! Nothing is exact here, and nothing may be slow: it happens at each verdict. A call whose pair of key and network was told of today
//! finds a word that says so. Otherwise it leaves a note, if there is room for one and nobody else is leaving one at this moment;
//! the next call of the pair tries again. Two pairs with the same place in the table push each other out, and then are told
//! of more than once; one pair of some 32,000 that share a place looks like the other, and is told of when that is gone or the
//! day is over, as is that of a key whose slot was another's on the same day. The table is small so that it stays close to the
//! processor.

use std::sync::{Mutex, PoisonError, TryLockError};

use claviger_domain::id::KeyId;
use claviger_domain::network::Network;
use claviger_domain::time::Timestamp;

use crate::sync::{AtomicBool, AtomicU16, Ordering};
use crate::usage::mix;

/// Pairs that are known to have been told of.
const PLACES: usize = 1 << 15;
/// Notes that wait for whoever takes them.
const NOTES_MAX: usize = 4096;
const MICROS_PER_DAY: i64 = 24 * 3_600_000_000;

/// A key was allowed from a network.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Caller {
    /// The key.
    pub key: KeyId,
    /// From where.
    pub network: Network,
    /// When.
    pub at: Timestamp,
}

/// A slot, a network and a day, as they stand in the table.
#[derive(Clone, Copy)]
pub(crate) struct Pair {
    place: usize,
    mark: u16,
}

/// What was told of, and what is to be told.
#[derive(Debug)]
pub(crate) struct Callers {
    told: Box<[AtomicU16]>,
    /// There is no room for notes: looked at before their lock is.
    is_full: AtomicBool,
    notes: Mutex<Vec<Caller>>,
}

impl Callers {
    /// Keeps notes, or with `is_kept` false does nothing.
    pub(crate) fn new(is_kept: bool) -> Self {
        let places = if is_kept { PLACES } else { 0 };
        Self {
            told: (0..places).map(|_| AtomicU16::new(0)).collect(),
            is_full: AtomicBool::new(false),
            notes: Mutex::new(Vec::with_capacity(places.min(NOTES_MAX))),
        }
    }

    /// Where a pair stands on that day, which the processor begins to fetch.
    #[inline]
    pub(crate) fn find(&self, slot: u32, network: Network, day: u64) -> Pair {
        // Of the network's number all bits matter, of the day the last ones, and slots are small: they do not meet.
        let hash = mix(&[network.to_bits() ^ day << 48, u64::from(slot)]);
        // Zero is nobody's.
        let pair = Pair { place: (hash >> 32) as usize % PLACES, mark: hash as u16 | 1 };
        if let Some(mark) = self.told.get(pair.place) {
            mark.load(Ordering::Relaxed);
        }
        pair
    }

    /// A key was allowed.
    #[inline]
    pub(crate) fn saw(&self, pair: Pair, caller: Caller) {
        if let Some(mark) = self.told.get(pair.place)
            && mark.load(Ordering::Relaxed) != pair.mark
        {
            self.note(mark, pair.mark, caller);
        }
    }

    #[cold]
    fn note(&self, told: &AtomicU16, mark: u16, caller: Caller) {
        if self.is_full.load(Ordering::Relaxed) {
            return;
        }
        let mut notes = match self.notes.try_lock() {
            Ok(notes) => notes,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return,
        };
        if notes.len() < NOTES_MAX {
            notes.push(caller);
            told.store(mark, Ordering::Relaxed);
        }
        self.is_full.store(notes.len() >= NOTES_MAX, Ordering::Relaxed);
    }

    /// Takes the notes.
    pub(crate) fn take(&self) -> Vec<Caller> {
        // Made before the lock is taken: whoever leaves a note meanwhile gives up.
        let fresh = Vec::with_capacity(self.told.len().min(NOTES_MAX));
        let mut notes = self.notes.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = std::mem::replace(&mut *notes, fresh);
        self.is_full.store(false, Ordering::Relaxed);
        taken
    }
}

/// The day of an instant, as pairs are told apart by.
#[inline]
pub(crate) fn day(at: Timestamp) -> u64 {
    at.as_micros().div_euclid(MICROS_PER_DAY) as u64
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn caller(key: u128, third: u8, day: i64) -> Caller {
        let network = Network::of([198, 51, third, 7].into());
        Caller { key: KeyId::from_u128(key), network, at: Timestamp::from_micros(day * MICROS_PER_DAY) }
    }

    fn saw(callers: &Callers, slot: u32, caller: Caller) {
        callers.saw(callers.find(slot, caller.network, day(caller.at)), caller);
    }

    #[test]
    fn a_pair_is_told_of_once_a_day() {
        let callers = Callers::new(true);
        for _ in 0..3 {
            saw(&callers, 1, caller(1, 1, 20_000));
            saw(&callers, 1, caller(1, 2, 20_000));
            saw(&callers, 2, caller(2, 1, 20_000));
        }
        assert_eq!(callers.take(), [caller(1, 1, 20_000), caller(1, 2, 20_000), caller(2, 1, 20_000)]);
        saw(&callers, 1, caller(1, 1, 20_000));
        saw(&callers, 1, caller(1, 1, 20_001));
        saw(&callers, 2, caller(3, 1, 20_001));
        assert_eq!(callers.take(), [caller(1, 1, 20_001), caller(3, 1, 20_001)]);
    }

    #[test]
    fn what_finds_no_room_is_told_of_later() {
        let callers = Callers::new(true);
        for key in 0..2 * NOTES_MAX as u32 {
            saw(&callers, key, caller(u128::from(key) + 1, 1, 20_000));
        }
        assert_eq!(callers.take().len(), NOTES_MAX);
        let late = 2 * NOTES_MAX as u32 - 1;
        saw(&callers, late, caller(u128::from(late) + 1, 1, 20_000));
        assert_eq!(callers.take().len(), 1);
        let nobody = Callers::new(false);
        saw(&nobody, 1, caller(1, 1, 20_000));
        assert!(nobody.take().is_empty());
    }
}
