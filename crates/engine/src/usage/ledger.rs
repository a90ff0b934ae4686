//! The ledger: counts that no table takes, because their hour has none or it is full. Exact, but slow.
//!
//! It is an ordinary map, behind a lock, whose totals are also kept in entries of the region. An entry is six words:
//!
//! | word | holds |
//! |---|---|
//! | 0 | zero if the entry is free, else a mark, the scope's number (16 bits from 8) and the outcome (8); written last |
//! | 1-2 | id of the key |
//! | 3 | hour |
//! | 4 | total (40 bits), last minute (6), check of both (18) |
//! | 5 | check of the words 0 to 3 |
//!
//! So a count is safe with the one store of word 4. Where there are more counts than entries, the others are in the map
//! only: exact while the process lives.

use std::collections::HashMap;
use std::fmt;

use claviger_domain::id::KeyId;

use super::TOTAL_MAX;
use super::region::{ENTRY_WORDS, Part, Region, mix};
use crate::record::Meta;
use crate::sync::{AtomicU64, Ordering};

const USED: u64 = 1 << 63;
const TOTAL_SHIFT: u32 = 24;
const MINUTE_SHIFT: u32 = 18;

/// What is counted together.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct Subject {
    pub(crate) hour: i64,
    pub(crate) key: KeyId,
    pub(crate) scope: u16,
    pub(crate) outcome: u8,
}

/// How often, and of which key.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Count {
    pub(crate) account: u32,
    pub(crate) meta: Meta,
    pub(crate) total: u64,
    pub(crate) minute: u8,
}

/// Totals by subject.
#[derive(Debug)]
pub(crate) struct Ledger {
    totals: HashMap<Subject, (Count, Option<u32>)>,
    entries: Entries,
    /// Totals without an entry.
    homeless: usize,
}

impl Ledger {
    /// The ledger of a fresh region.
    pub(crate) fn new(region: &Region) -> Self {
        let words = region.groups(region.layout().entries());
        let entries = Entries { words, next: 0, free: Vec::new() };
        Self { totals: HashMap::new(), entries, homeless: 0 }
    }

    /// Adds a count, which is safe when this returns, if there is room for it.
    pub(crate) fn add(&mut self, subject: Subject, count: Count) {
        let Self { totals, entries, homeless } = self;
        let (sum, place) = totals.entry(subject).or_insert_with(|| {
            let place = entries.take();
            *homeless += usize::from(place.is_none());
            (Count { total: 0, ..count }, place)
        });
        let is_new = sum.total == 0;
        sum.total = sum.total.saturating_add(count.total).min(TOTAL_MAX);
        sum.minute = sum.minute.max(count.minute);
        if let Some(place) = *place {
            if is_new {
                entries.write(place, &subject, sum);
            } else {
                entries.update(place, &subject, sum);
            }
        }
    }

    pub(crate) fn totals(&self) -> impl Iterator<Item = (Subject, Count)> {
        self.totals.iter().map(|(subject, (count, _))| (*subject, *count))
    }

    /// Totals that only memory has.
    pub(crate) fn homeless(&self) -> usize {
        self.homeless
    }

    /// Forgets the totals of hours up to this one, and gives their room to others that have none.
    pub(crate) fn forget_through(&mut self, hour: i64) {
        let Self { totals, entries, homeless } = self;
        totals.retain(|subject, (_, place)| {
            let is_kept = subject.hour > hour;
            match place {
                Some(place) if !is_kept => entries.give_back(*place),
                None if !is_kept => *homeless -= 1,
                _ => {}
            }
            is_kept
        });
        if *homeless == 0 {
            return;
        }
        for (subject, (count, place)) in totals.iter_mut().filter(|(_, (_, place))| place.is_none()) {
            let Some(free) = entries.take() else { return };
            entries.write(free, subject, count);
            *place = Some(free);
            *homeless -= 1;
        }
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        self.totals.capacity() * size_of::<(Subject, (Count, Option<u32>))>()
            + self.entries.free.capacity() * size_of::<u32>()
    }
}

/// The entries of the region.
struct Entries {
    words: Part<[[AtomicU64; ENTRY_WORDS]]>,
    next: u32,
    free: Vec<u32>,
}

impl Entries {
    fn take(&mut self) -> Option<u32> {
        if let Some(place) = self.free.pop() {
            return Some(place);
        }
        let place = self.next;
        self.words.get().get(place as usize)?;
        self.next += 1;
        Some(place)
    }

    fn give_back(&mut self, place: u32) {
        self.words.get()[place as usize][0].store(0, Ordering::Release);
        self.free.push(place);
    }

    fn write(&self, place: u32, subject: &Subject, count: &Count) {
        let words = &self.words.get()[place as usize];
        let identity = identity_of(subject);
        for (word, value) in words[1..4].iter().zip(&identity[1..]) {
            word.store(*value, Ordering::Relaxed);
        }
        let check = mix(&identity);
        words[4].store(count_word(check, count.total, count.minute), Ordering::Relaxed);
        words[5].store(check, Ordering::Relaxed);
        words[0].store(identity[0], Ordering::Release);
    }

    fn update(&self, place: u32, subject: &Subject, count: &Count) {
        let check = mix(&identity_of(subject));
        self.words.get()[place as usize][4].store(count_word(check, count.total, count.minute), Ordering::Release);
    }
}

impl fmt::Debug for Entries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entries").field("next", &self.next).field("free", &self.free.len()).finish_non_exhaustive()
    }
}

/// What stands in a used place of a region: subject, total and last minute. `None` if it makes no sense.
pub(crate) type Found = Option<(Subject, u64, u8)>;

/// What an entry says, unless it is free.
pub(crate) fn read(words: &[AtomicU64; ENTRY_WORDS]) -> Option<Found> {
    let words = words.each_ref().map(|word| word.load(Ordering::Acquire));
    let [head, high, low, hour, count, check] = words;
    if head == 0 {
        return None;
    }
    let subject = Subject {
        hour: hour as i64,
        key: KeyId::from_u128(u128::from(high) << 64 | u128::from(low)),
        scope: (head >> 8) as u16,
        outcome: head as u8,
    };
    let (total, minute) = (count >> TOTAL_SHIFT, (count >> MINUTE_SHIFT) as u8 & 0x3f);
    let is_sound = identity_of(&subject) == [head, high, low, hour]
        && mix(&[head, high, low, hour]) == check
        && count_word(check, total, minute) == count;
    Some(is_sound.then_some((subject, total, minute)))
}

fn identity_of(subject: &Subject) -> [u64; 4] {
    let id = subject.key.as_u128();
    let head = USED | u64::from(subject.scope) << 8 | u64::from(subject.outcome);
    [head, (id >> 64) as u64, id as u64, subject.hour as u64]
}

fn count_word(check: u64, total: u64, minute: u8) -> u64 {
    let value = total << TOTAL_SHIFT | u64::from(minute) << MINUTE_SHIFT;
    value | mix(&[check, value]) >> (u64::BITS - MINUTE_SHIFT)
}
