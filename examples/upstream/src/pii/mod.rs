//! Finds personal data in a text: what kind, and where, but never what it said.
//!
//! [`find`] runs one detector per [`Kind`] over a folded copy of the text (`fold.rs`), then settles overlaps.
//! A detector looks for the shape first and then proves what can be proved: check digits, number ranges,
//! country tables. Where a kind has no proof (phones), the shape has to be unmistakable.
//!
//! The time is linear in the length of the text, whatever the text: a detector looks a bounded distance
//! ahead of where it stands, or never looks twice at what it passed. A new detector must keep to that.
//!
//! Reading order: this file, `fold.rs`, then the detectors, `card.rs` first.

mod api_key;
mod card;
mod email;
mod fold;
mod iban;
mod ip_address;
mod phone;
mod us_ssn;

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::ops::Range;

use regex::bytes::Regex;

/// A kind of personal data.
///
/// The order is from the most to the least telling: of two findings of the same length in one place, the
/// earlier kind is reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A key of one of the APIs that Claviger protects.
    ApiKey,
    /// An international bank account number.
    Iban,
    /// A payment card number.
    Card,
    /// A United States social security number.
    UsSsn,
    /// An e-mail address.
    Email,
    /// An IPv4 or IPv6 address.
    IpAddress,
    /// A telephone number.
    Phone,
}

impl Kind {
    /// The name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::ApiKey => "api_key",
            Self::Iban => "iban",
            Self::Card => "card",
            Self::UsSsn => "us_ssn",
            Self::Email => "email",
            Self::IpAddress => "ip_address",
            Self::Phone => "phone",
        }
    }
}

/// One piece of personal data: positions only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What it is.
    pub kind: Kind,
    /// Where it starts, in Unicode code points from the start of the text.
    pub start: usize,
    /// Where it ends (the first code point after it), in Unicode code points from the start of the text.
    pub end: usize,
}

/// All personal data in `text`, by position. No two findings overlap: where detectors disagree the longest
/// finding wins, because it is the one that leaves nothing of the others uncovered when it contains them.
pub fn find(text: &str) -> Vec<Finding> {
    let folded = fold::fold(text);
    let mut found = Vec::new();
    for (kind, detect) in [
        (Kind::ApiKey, api_key::detect as fn(&[u8], &mut Vec<Range<usize>>)),
        (Kind::Iban, iban::detect),
        (Kind::Card, card::detect),
        (Kind::UsSsn, us_ssn::detect),
        (Kind::Email, email::detect),
        (Kind::IpAddress, ip_address::detect),
        (Kind::Phone, phone::detect),
    ] {
        let mut ranges = Vec::new();
        detect(&folded, &mut ranges);
        found.extend(ranges.into_iter().map(|range| Finding { kind, start: range.start, end: range.end }));
    }
    without_overlaps(found)
}

/// Whether `text` is exactly one e-mail address.
pub fn is_email(text: &str) -> bool {
    let folded = fold::fold(text);
    let mut ranges = Vec::new();
    email::detect(&folded, &mut ranges);
    matches!(ranges.as_slice(), [range] if range.len() == folded.len())
}

fn without_overlaps(mut found: Vec<Finding>) -> Vec<Finding> {
    found.sort_by_key(|finding| (Reverse(finding.end - finding.start), finding.kind, finding.start));
    let mut kept: BTreeMap<usize, Finding> = BTreeMap::new();
    for finding in found {
        // The last one kept that starts before this one ends is the only one that can overlap it.
        let neighbour = kept.range(..finding.end).next_back();
        if neighbour.is_none_or(|(_, neighbour)| neighbour.end <= finding.start) {
            kept.insert(finding.start, finding);
        }
    }
    kept.into_values().collect()
}

/// Offers each match of `shape` to `prove`, which answers what was found in it, if anything. After a refusal
/// the search goes on one byte further, so that a false start hides nothing; this is linear only because
/// every shape given here has a greatest length.
fn each_match(
    shape: &Regex,
    text: &[u8],
    found: &mut Vec<Range<usize>>,
    prove: impl Fn(Range<usize>) -> Option<Range<usize>>,
) {
    let mut at = 0;
    while at <= text.len()
        && let Some(matched) = shape.find_at(text, at)
    {
        match prove(matched.range()) {
            Some(range) => {
                at = range.end;
                found.push(range);
            }
            None => at = matched.start() + 1,
        }
    }
}

/// The byte before `index`, or a space at the start of the text.
fn before(text: &[u8], index: usize) -> u8 {
    index.checked_sub(1).map_or(b' ', |index| text[index])
}

/// The byte at `index`, or a space past the end of the text.
fn at(text: &[u8], index: usize) -> u8 {
    text.get(index).copied().unwrap_or(b' ')
}

/// Whether `range` is only a piece of a longer word or number: a letter or digit touches it, or a further
/// number is tied to it by one of `ties` (as the last part of `1.2.3.4.5` is by a dot).
fn is_piece(text: &[u8], range: &Range<usize>, ties: &[u8]) -> bool {
    let (left, right) = (before(text, range.start), at(text, range.end));
    left.is_ascii_alphanumeric()
        || right.is_ascii_alphanumeric()
        || (ties.contains(&left) && range.start >= 2 && text[range.start - 2].is_ascii_digit())
        || (ties.contains(&right) && at(text, range.end + 1).is_ascii_digit())
}

#[cfg(test)]
mod tests;
