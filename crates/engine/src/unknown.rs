//! Denials of keys that are nobody's: how many, under which prefix, and from where.
//!
//! There is no key to count them by, and whoever sends them may send anything, so there is little room: exact until that
//! is used up, and then together. They are in memory alone and not billed, and a crash loses those that nobody has taken.

use std::collections::HashMap;
use std::fmt;
use std::hash::BuildHasher as _;
use std::hash::RandomState;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Mutex, MutexGuard, PoisonError};

use claviger_domain::denial::Denial;
use claviger_domain::key::ApiName;

/// Parts, each with a lock of its own, so that callers of all cores seldom meet.
const SHARDS: usize = 16;
/// What a part tells apart.
const COUNTS_PER_SHARD: usize = 512;
/// The bits of an address that say whose it is.
const V4_BITS: u8 = 24;
const V6_BITS: u8 = 48;

/// Where calls came from.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Network {
    /// The network, a /24 or /48, that has this first address.
    Of(IpAddr),
    /// The caller's address was not known.
    Unknown,
    /// One of many: there was no more room to tell them apart.
    Other,
}

impl Network {
    fn of(address: Option<IpAddr>) -> Self {
        let address = address.map(|address| address.to_canonical());
        match address {
            None => Self::Unknown,
            Some(IpAddr::V4(address)) => {
                Self::Of(Ipv4Addr::from_bits(address.to_bits() & u32::MAX << (32 - V4_BITS)).into())
            }
            Some(IpAddr::V6(address)) => {
                Self::Of(Ipv6Addr::from_bits(address.to_bits() & u128::MAX << (128 - V6_BITS)).into())
            }
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Of(address) => write!(f, "{address}/{}", if address.is_ipv4() { V4_BITS } else { V6_BITS }),
            Self::Unknown => f.write_str("unknown"),
            Self::Other => f.write_str("other"),
        }
    }
}

/// What is counted together.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Unknown {
    /// The api, if one could be chosen.
    pub api: Option<ApiName>,
    /// The prefix of the api's keys that the secret began with, if it did with one.
    pub prefix: Option<String>,
    /// From where.
    pub network: Network,
    /// `malformed` or `not_found`.
    pub denial: Denial,
    /// Whole hours since the Unix epoch.
    pub hour: i64,
}

/// The counts.
#[derive(Debug)]
pub(crate) struct Unknowns {
    shards: [Mutex<HashMap<Unknown, u64>>; SHARDS],
    hasher: RandomState,
}

impl Unknowns {
    pub(crate) fn new() -> Self {
        Self { shards: std::array::from_fn(|_| Mutex::default()), hasher: RandomState::new() }
    }

    /// Counts one from this address, which stands in place of the network.
    #[cold]
    pub(crate) fn count(&self, ip: Option<IpAddr>, unknown: Unknown) {
        let network = Network::of(ip);
        let mut unknown = Unknown { network, ..unknown };
        let shard = self.hasher.hash_one(network) as usize % SHARDS;
        let mut counts = lock(&self.shards[shard]);
        if counts.len() >= COUNTS_PER_SHARD && !counts.contains_key(&unknown) {
            // What else they are told apart by are the operator's own apis and prefixes, and hours.
            unknown.network = Network::Other;
        }
        let count = counts.entry(unknown).or_insert(0);
        *count = count.saturating_add(1);
    }

    /// Takes all that was counted since the last time.
    pub(crate) fn take(&self) -> Vec<(Unknown, u64)> {
        let mut all: HashMap<Unknown, u64> = HashMap::new();
        for shard in &self.shards {
            for (unknown, count) in lock(shard).drain() {
                *all.entry(unknown).or_insert(0) += count;
            }
        }
        let mut all: Vec<_> = all.into_iter().collect();
        all.sort();
        all
    }
}

fn lock(shard: &Mutex<HashMap<Unknown, u64>>) -> MutexGuard<'_, HashMap<Unknown, u64>> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn unknown(prefix: &str) -> Unknown {
        let prefix = Some(prefix.to_owned());
        Unknown { api: None, prefix, network: Network::Unknown, denial: Denial::NotFound, hour: 7 }
    }

    #[test]
    fn callers_are_told_apart_by_their_network() {
        let unknowns = Unknowns::new();
        let addresses = ["203.0.113.7", "::ffff:203.0.113.9", "203.0.114.7", "2001:db8:1:2::3", "2001:db8:1:9::4"];
        for ip in addresses {
            unknowns.count(ip.parse().ok(), unknown("a_"));
        }
        unknowns.count(None, unknown("a_"));
        unknowns.count(None, unknown("b_"));
        let seen = |(unknown, count): (Unknown, u64)| (unknown.network.to_string(), unknown.prefix.unwrap(), count);
        let mut seen: Vec<_> = unknowns.take().into_iter().map(seen).collect();
        seen.sort();
        let expected = [
            ("2001:db8:1::/48", "a_", 2),
            ("203.0.113.0/24", "a_", 2),
            ("203.0.114.0/24", "a_", 1),
            ("unknown", "a_", 1),
            ("unknown", "b_", 1),
        ];
        assert_eq!(seen, expected.map(|(network, prefix, count)| (network.to_owned(), prefix.to_owned(), count)));
        assert_eq!(unknowns.take(), []);
    }

    #[test]
    fn there_is_an_end_to_what_is_told_apart_and_none_to_what_is_counted() {
        let unknowns = Unknowns::new();
        for number in 0..100_000_u32 {
            unknowns.count(Some(Ipv4Addr::from_bits(number << 8).into()), unknown("a_"));
        }
        let taken = unknowns.take();
        assert!(taken.len() <= SHARDS * COUNTS_PER_SHARD + 1, "{}", taken.len());
        assert_eq!(taken.iter().map(|(_, count)| count).sum::<u64>(), 100_000);
        assert!(taken.iter().any(|(unknown, count)| unknown.network == Network::Other && *count > 90_000));
    }
}
