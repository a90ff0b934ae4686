//! From where keys are used: who looks for strangers among the callers of a key is told of each network that the key was
//! used from, once a day and pair, soon after the first call.
//!
//! Nothing is exact here, and nothing may be slow: it happens at each verdict. A call whose pair of key and network was told of today
//! finds a word that says so. Otherwise it leaves a note, if there is room for one and nobody else is leaving one at this moment;
//! the next call of the pair tries again. Two pairs with the same place in the table push each other out, and then are told
//! of more than once; one pair of some 32,000 that share a place looks like the other, and is told of when that is gone or the
//! day is over. The table is small so that it stays close to the processor.

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

    /// Has the processor fetch the word of a pair.
    #[inline]
    pub(crate) fn prefetch(&self, slot: u32, network: Network) {
        if let Some(word) = self.told.get(place(slot, network)) {
            word.load(Ordering::Relaxed);
        }
    }

    /// A key was allowed.
    #[inline]
    pub(crate) fn saw(&self, slot: u32, caller: Caller) {
        let Some(word) = self.told.get(place(slot, caller.network)) else { return };
        let day = caller.at.as_micros().div_euclid(MICROS_PER_DAY) as u64;
        // Zero is nobody's.
        let pair = (mix(&[caller.key.as_u128() as u64, caller.network.to_bits() ^ day << 48]) >> 48) as u16 | 1;
        if word.load(Ordering::Relaxed) != pair {
            self.note(word, pair, caller);
        }
    }

    #[cold]
    fn note(&self, word: &AtomicU16, pair: u16, caller: Caller) {
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
            word.store(pair, Ordering::Relaxed);
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

#[inline]
fn place(slot: u32, network: Network) -> usize {
    let spread = (network.to_bits() ^ u64::from(slot) << 32).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (spread >> (64 - PLACES.ilog2())) as usize
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn caller(key: u128, third: u8, day: i64) -> Caller {
        let network = Network::of([198, 51, third, 7].into());
        Caller { key: KeyId::from_u128(key), network, at: Timestamp::from_micros(day * MICROS_PER_DAY) }
    }

    #[test]
    fn a_pair_is_told_of_once_a_day() {
        let callers = Callers::new(true);
        for _ in 0..3 {
            callers.saw(1, caller(1, 1, 20_000));
            callers.saw(1, caller(1, 2, 20_000));
            callers.saw(2, caller(2, 1, 20_000));
        }
        assert_eq!(callers.take(), [caller(1, 1, 20_000), caller(1, 2, 20_000), caller(2, 1, 20_000)]);
        callers.saw(1, caller(1, 1, 20_000));
        callers.saw(1, caller(1, 1, 20_001));
        // The slot is another key's now.
        callers.saw(1, caller(3, 1, 20_001));
        assert_eq!(callers.take(), [caller(1, 1, 20_001), caller(3, 1, 20_001)]);
    }

    #[test]
    fn what_finds_no_room_is_told_of_later() {
        let callers = Callers::new(true);
        for key in 0..2 * NOTES_MAX as u32 {
            callers.saw(key, caller(u128::from(key) + 1, 1, 20_000));
        }
        assert_eq!(callers.take().len(), NOTES_MAX);
        let late = 2 * NOTES_MAX as u32 - 1;
        callers.saw(late, caller(u128::from(late) + 1, 1, 20_000));
        assert_eq!(callers.take().len(), 1);
        let nobody = Callers::new(false);
        nobody.prefetch(1, caller(1, 1, 0).network);
        nobody.saw(1, caller(1, 1, 20_000));
        assert!(nobody.take().is_empty());
    }
}
