//! The names of the scopes that are counted, by number.
//!
//! A cell knows a scope by a number of 16 bits, the same for all apis. Names are appended to an area of the region before an
//! api that has them is shown to anybody: a word that holds a check and the length in bytes, then the bytes, eight to
//! a word. The first word is written last, and nothing is ever changed. A scope for which there is no room gets no number:
//! its calls are counted as those of no scope from the beginning, so that what is collected and what is recovered agree.

use std::collections::HashMap;
use std::fmt;

use claviger_domain::scope::Scope;

use super::region::{Part, Region, mix};
use crate::sync::{AtomicU64, Ordering};

/// The number of requests for endpoints that the definition does not name.
pub(crate) const NO_SCOPE: u16 = u16::MAX;
const LENGTH_BITS: u32 = 8;

/// The writing end.
pub(crate) struct ScopeNames {
    area: Part<[AtomicU64]>,
    used: usize,
    names: Vec<Scope>,
    numbers: HashMap<Scope, u16>,
}

impl ScopeNames {
    /// The names of a fresh region: none.
    pub(crate) fn new(region: &Region) -> Self {
        let area = region.part(region.layout().names());
        Self { area, used: 0, names: Vec::new(), numbers: HashMap::new() }
    }

    /// The number of a scope, which it keeps for ever; [`NO_SCOPE`] if there is no room for it.
    pub(crate) fn number(&mut self, scope: &Scope) -> u16 {
        if let Some(number) = self.numbers.get(scope) {
            return *number;
        }
        let number = u16::try_from(self.names.len()).unwrap_or(NO_SCOPE);
        if number == NO_SCOPE || self.append(scope, number).is_none() {
            return NO_SCOPE;
        }
        self.names.push(scope.clone());
        self.numbers.insert(scope.clone(), number);
        number
    }

    pub(crate) fn name(&self, number: u16) -> Option<&Scope> {
        self.names.get(usize::from(number))
    }

    fn append(&mut self, scope: &Scope, number: u16) -> Option<()> {
        let body: Vec<u64> = scope.as_str().as_bytes().chunks(8).map(word_of).collect();
        let place = self.used + 1;
        let area = self.area.get().get(self.used..place + body.len())?;
        let (head, words) = area.split_first()?;
        for (word, value) in words.iter().zip(&body) {
            word.store(*value, Ordering::Relaxed);
        }
        head.store(head_of(scope.as_str().len(), number, &body), Ordering::Release);
        self.used = place + body.len();
        Some(())
    }
}

impl fmt::Debug for ScopeNames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScopeNames").field("names", &self.names).finish_non_exhaustive()
    }
}

/// The names in an area, by number, up to the first that makes no sense.
pub(crate) fn read(area: &[AtomicU64]) -> Vec<Scope> {
    let mut names = Vec::new();
    let mut rest = area;
    while let Some((name, after)) = read_one(rest, names.len()) {
        names.push(name);
        rest = after;
    }
    names
}

fn read_one(area: &[AtomicU64], number: usize) -> Option<(Scope, &[AtomicU64])> {
    let (head, rest) = area.split_first()?;
    let head = head.load(Ordering::Acquire);
    let length = (head & ((1 << LENGTH_BITS) - 1)) as usize;
    let (words, after) = rest.split_at_checked(length.div_ceil(8))?;
    let body: Vec<u64> = words.iter().map(|word| word.load(Ordering::Relaxed)).collect();
    if head != head_of(length, u16::try_from(number).ok()?, &body) {
        return None;
    }
    let bytes: Vec<u8> = body.iter().flat_map(|word| word.to_le_bytes()).take(length).collect();
    let name = std::str::from_utf8(&bytes).ok()?.parse().ok()?;
    Some((name, after))
}

fn head_of(length: usize, number: u16, body: &[u64]) -> u64 {
    let check = mix(&[length as u64, u64::from(number), mix(body)]);
    check << LENGTH_BITS | length as u64
}

fn word_of(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte))
}
