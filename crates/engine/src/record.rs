//! The records of the keys, and how one is read while the writer changes it.
//!
//! A record is one cache line of eight words:
//!
//! | word | holds |
//! |---|---|
//! | 0 | sequence number (32 bits, odd while the record is being written), row of its terms (32) |
//! | 1-4 | digest of the current secret |
//! | 5-6 | id |
//! | 7 | row of the [account](crate::accounts) (32), place of name and metadata + 1 (32) |
//!
//! What it may do stands in its *terms*, another line, shared by all plain keys that may do the same:
//!
//! | word | holds |
//! |---|---|
//! | 0 | [`Meta`]: scope set, api, kind, environment, and flags |
//! | 1 | slot of the parent + 1 (32), row of the restrictions + 1 (32) |
//! | 2 | when the overlap of the last rotation ends |
//! | 3-6 | digest of the old secret |
//!
//! The time of expiry, which many keys have none of, stands in a slab of its own.
//!
//! **Reading** is a seqlock in which every word is atomic: read word 0, then whatever hangs on the record (its
//! words, its terms, its expiry, scope words, restrictions, texts), then word 0 again. If it changed, read again.
//! **Writing** keeps two rules, which the loom tests check: the words of a record change only between an odd
//! and an even sequence number, and what hangs on a record is overwritten only after the record has stopped
//! pointing at it, behind a release fence. So whoever has seen a word of the new owner also sees that
//! the record changed. Slots of forgotten keys are reused: a reader that came by a stale index entry compares all
//! 256 bits of the digest under the same protection.

use claviger_domain::id::KeyId;
use claviger_domain::key::{Environment, Kind};
use claviger_domain::time::Timestamp;

use crate::index::SLOTS_MAX;
use crate::slab::{Line, Slab};
use crate::sync::{AtomicU64, Ordering, fence, relax};
use crate::verdict::ApiIndex;

/// Everything about a key that is one of a few values, in one word.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Meta(pub(crate) u64);

impl Meta {
    pub(crate) const REVOKED: u64 = 1 << 51;
    pub(crate) const DISABLED: u64 = 1 << 52;
    /// There is a time of expiry.
    pub(crate) const EXPIRES: u64 = 1 << 53;
    /// There is an old secret.
    pub(crate) const OLD: u64 = 1 << 54;
    /// No key is known by this id: it was removed, or only named as a parent so far.
    pub(crate) const UNKNOWN: u64 = 1 << 55;

    pub(crate) fn new(set: u32, api: ApiIndex, kind: Kind, environment: Environment, flags: u64) -> Self {
        let kind = match kind {
            Kind::Secret => 0,
            Kind::Restricted => 1,
            Kind::Ephemeral => 2,
        };
        let environment = u64::from(environment == Environment::Live);
        Self(u64::from(set) | u64::from(api.0) << 32 | kind << 48 | environment << 50 | flags)
    }

    pub(crate) fn with_set(self, set: u32) -> Self {
        Self(self.0 >> 32 << 32 | u64::from(set))
    }

    pub(crate) fn set(self) -> u32 {
        self.0 as u32
    }

    pub(crate) fn api(self) -> ApiIndex {
        ApiIndex((self.0 >> 32) as u16)
    }

    pub(crate) fn kind(self) -> Kind {
        match (self.0 >> 48) & 3 {
            0 => Kind::Secret,
            1 => Kind::Restricted,
            _ => Kind::Ephemeral,
        }
    }

    pub(crate) fn environment(self) -> Environment {
        if self.has(1 << 50) { Environment::Live } else { Environment::Test }
    }

    pub(crate) fn has(self, flag: u64) -> bool {
        self.0 & flag != 0
    }
}

/// The words of a record, as the writer gives them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fields {
    pub(crate) terms: u32,
    pub(crate) digest: [u64; 4],
    pub(crate) id: KeyId,
    pub(crate) account: u32,
    pub(crate) detail: Option<u32>,
    pub(crate) expires_at: Option<Timestamp>,
}

/// The words of terms, as the writer gives them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms {
    pub(crate) meta: Meta,
    pub(crate) parent: Option<u32>,
    pub(crate) restrictions: Option<u32>,
    /// The old secret's digest and when it stops working.
    pub(crate) old: Option<([u64; 4], i64)>,
}

/// All records and their terms.
#[derive(Debug)]
pub(crate) struct Records {
    lines: Slab<Line>,
    terms: Slab<Line>,
    expiries: Slab<AtomicU64>,
}

impl Records {
    pub(crate) fn new() -> Self {
        Self { lines: Slab::new(SLOTS_MAX), terms: Slab::new(SLOTS_MAX), expiries: Slab::new(SLOTS_MAX) }
    }

    /// Has the processor fetch a record.
    #[inline]
    pub(crate) fn prefetch(&self, slot: u32) {
        if let Some(line) = self.lines.get(slot) {
            line.0[0].load(Ordering::Relaxed);
        }
    }

    /// Looks at a record until a look was not disturbed by the writer. `None` if there is no such slot.
    ///
    /// `inspect` may see a mixture of old and new and must bear it; what it returned then is thrown away.
    #[inline(always)]
    pub(crate) fn read<T>(&self, slot: u32, inspect: impl Fn(&Record<'_>) -> T) -> Option<T> {
        let line = self.lines.get(slot)?;
        let mut attempt = 0;
        loop {
            if let Some(seen) = self.try_read(line, slot, &inspect) {
                return Some(seen);
            }
            relax(attempt);
            attempt += 1;
        }
    }

    /// One look. `None` if it was disturbed.
    #[inline(always)]
    fn try_read<T>(&self, line: &Line, slot: u32, inspect: impl Fn(&Record<'_>) -> T) -> Option<T> {
        let head = line.0[0].load(Ordering::Acquire);
        if head >> 32 & 1 != 0 {
            // Odd: the writer is at it.
            return None;
        }
        let terms = self.terms.get(head as u32)?;
        let seen = inspect(&Record { records: self, slot, line, terms });
        // Whatever was loaded before this is not newer than what the next load returns.
        fence(Ordering::Acquire);
        (line.0[0].load(Ordering::Relaxed) == head).then_some(seen)
    }

    /// One look, for tests that try every way it can go.
    #[cfg(all(test, loom))]
    pub(crate) fn look<T>(&self, slot: u32, inspect: impl Fn(&Record<'_>) -> T) -> Option<T> {
        self.try_read(self.lines.get(slot)?, slot, inspect)
    }

    /// Writes a record. One writer at a time.
    pub(crate) fn write(&self, slot: u32, fields: &Fields) -> Option<()> {
        let line = self.lines.ensure(slot)?;
        // Makes sure that readers find what they are led to.
        self.terms.get(fields.terms)?;
        let expiry = match fields.expires_at {
            Some(at) => Some((self.expiries.ensure(slot)?, at)),
            None => None,
        };
        let head = line.0[0].load(Ordering::Relaxed);
        let sequence = (head >> 32) as u32;
        let head_of = |sequence: u32, terms: u32| u64::from(sequence) << 32 | u64::from(terms);
        line.0[0].store(head_of(sequence.wrapping_add(1), head as u32), Ordering::Relaxed);
        fence(Ordering::Release);
        for (word, value) in line.0[1..5].iter().zip(fields.digest) {
            word.store(value, Ordering::Relaxed);
        }
        let id = fields.id.as_u128();
        line.0[5].store((id >> 64) as u64, Ordering::Relaxed);
        line.0[6].store(id as u64, Ordering::Relaxed);
        line.0[7].store(u64::from(fields.account) << 32 | handle(fields.detail), Ordering::Relaxed);
        if let Some((row, at)) = expiry {
            row.store(at.as_micros() as u64, Ordering::Relaxed);
        }
        line.0[0].store(head_of(sequence.wrapping_add(2), fields.terms), Ordering::Release);
        Some(())
    }

    /// Writes terms that no record points at. One writer at a time.
    pub(crate) fn write_terms(&self, row: u32, terms: &Terms) -> Option<()> {
        let line = self.terms.ensure(row)?;
        // Whoever sees one of these words also sees that the last record to use the row has left it.
        fence(Ordering::Release);
        line.0[0].store(terms.meta.0, Ordering::Relaxed);
        line.0[1].store(handle(terms.parent) << 32 | handle(terms.restrictions), Ordering::Relaxed);
        if let Some((digest, ends_at)) = terms.old {
            line.0[2].store(ends_at as u64, Ordering::Relaxed);
            for (word, value) in line.0[3..7].iter().zip(digest) {
                word.store(value, Ordering::Relaxed);
            }
        }
        Some(())
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        self.lines.memory_bytes() + self.terms.memory_bytes() + self.expiries.memory_bytes()
    }
}

/// A row as half a word, in which zero is none: so an untouched record points at nothing.
fn handle(row: Option<u32>) -> u64 {
    row.map_or(0, |row| u64::from(row) + 1)
}

/// A record during one look.
pub(crate) struct Record<'a> {
    records: &'a Records,
    slot: u32,
    line: &'a Line,
    terms: &'a Line,
}

/// Which of a key's secrets a digest is of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Match {
    Current,
    /// The one before the last rotation, which works until then.
    Old {
        overlap_ends_at: Timestamp,
    },
}

impl Record<'_> {
    /// Whose secret this is the digest of. Never stops at the first difference.
    #[inline]
    pub(crate) fn matches(&self, digest: &[u64; 4]) -> Option<Match> {
        if is_same(&self.line.0[1..5], digest) {
            return Some(Match::Current);
        }
        if self.meta().has(Meta::OLD) && is_same(&self.terms.0[3..7], digest) {
            let overlap_ends_at = Timestamp::from_micros(self.terms.0[2].load(Ordering::Relaxed) as i64);
            return Some(Match::Old { overlap_ends_at });
        }
        None
    }

    pub(crate) fn digest(&self) -> [u64; 4] {
        std::array::from_fn(|word| self.line.0[1 + word].load(Ordering::Relaxed))
    }

    /// The old secret's digest and when it stops working.
    pub(crate) fn old(&self) -> Option<([u64; 4], i64)> {
        let digest = || std::array::from_fn(|word| self.terms.0[3 + word].load(Ordering::Relaxed));
        self.meta().has(Meta::OLD).then(|| (digest(), self.terms.0[2].load(Ordering::Relaxed) as i64))
    }

    #[inline]
    pub(crate) fn id(&self) -> KeyId {
        let [high, low] = [5, 6].map(|word| u128::from(self.line.0[word].load(Ordering::Relaxed)));
        KeyId::from_u128(high << 64 | low)
    }

    #[inline]
    pub(crate) fn meta(&self) -> Meta {
        Meta(self.terms.0[0].load(Ordering::Relaxed))
    }

    pub(crate) fn terms(&self) -> u32 {
        self.line.0[0].load(Ordering::Relaxed) as u32
    }

    /// Slot of the parent and row of the restrictions.
    #[inline]
    pub(crate) fn parent_and_restrictions(&self) -> (Option<u32>, Option<u32>) {
        let word = self.terms.0[1].load(Ordering::Relaxed);
        (((word >> 32) as u32).checked_sub(1), (word as u32).checked_sub(1))
    }

    #[inline]
    pub(crate) fn account(&self) -> u32 {
        (self.line.0[7].load(Ordering::Relaxed) >> 32) as u32
    }

    pub(crate) fn detail(&self) -> Option<u32> {
        (self.line.0[7].load(Ordering::Relaxed) as u32).checked_sub(1)
    }

    #[inline]
    pub(crate) fn expires_at(&self) -> Option<Timestamp> {
        if !self.meta().has(Meta::EXPIRES) {
            return None;
        }
        // A record that says so has a row; without one the key counts as long dead.
        let micros = self.records.expiries.get(self.slot).map_or(0, |row| row.load(Ordering::Relaxed));
        Some(Timestamp::from_micros(micros as i64))
    }
}

/// Compares in constant time.
#[inline]
fn is_same(words: &[AtomicU64], digest: &[u64; 4]) -> bool {
    let difference =
        words.iter().zip(digest).fold(0, |all, (word, value)| all | (word.load(Ordering::Relaxed) ^ value));
    difference == 0
}
