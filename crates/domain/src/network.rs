//! Whose address it is, more or less: networks coarse enough to be few and fine enough to tell strangers.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::num::NonZeroU64;
use std::str::FromStr;

use thiserror::Error;

use crate::address::IpRule;

const V4_BITS: u8 = 24;
const V6_BITS: u8 = 48;
/// Set in the number of an IPv4 network, whose other bits are the address's; in that of an IPv6 network the next one is.
const IS_V4: NonZeroU64 = NonZeroU64::new(1 << 63).unwrap();
const IS_V6: NonZeroU64 = NonZeroU64::new(1 << 62).unwrap();

/// The /24 of an IPv4 address or the /48 of an IPv6 address: what one customer of a provider mostly has.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Network(NonZeroU64);

impl Network {
    /// The network of an address. One of IPv4 that is mapped into IPv6 is one of IPv4.
    #[inline]
    pub fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self(IS_V4 | u64::from(address.to_bits() >> (32 - V4_BITS))),
            IpAddr::V6(address) => Self(IS_V6 | (address.to_bits() >> (128 - V6_BITS)) as u64),
        }
    }

    /// The network of a [number](Self::to_bits); `None` if it is none's.
    pub fn from_bits(bits: u64) -> Option<Self> {
        let is_v4 = bits >> V4_BITS == IS_V4.get() >> V4_BITS;
        let is_v6 = bits >> V6_BITS == IS_V6.get() >> V6_BITS;
        NonZeroU64::new(bits).filter(|_| is_v4 || is_v6).map(Self)
    }

    /// A number that is this network's alone.
    #[inline]
    pub fn to_bits(self) -> u64 {
        self.0.get()
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bits = self.to_bits();
        if bits & IS_V4.get() != 0 {
            write!(f, "{}/{V4_BITS}", Ipv4Addr::from_bits((bits as u32) << (32 - V4_BITS)))
        } else {
            let address = u128::from(bits & !IS_V6.get()) << (128 - V6_BITS);
            write!(f, "{}/{V6_BITS}", Ipv6Addr::from_bits(address))
        }
    }
}

/// The text is not a /24 of IPv4 or a /48 of IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("is not a network such as 198.51.100.0/24 or 2001:db8:7::/48")]
pub struct NetworkError;

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let (address, _) = text.split_once('/').ok_or(NetworkError)?;
        let network = Self::of(address.parse().map_err(|_| NetworkError)?);
        // Only what a network is written as is read as one.
        let is_one = text.parse::<IpRule>().is_ok() && network.to_string() == text;
        if is_one { Ok(network) } else { Err(NetworkError) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_share_a_network_and_strangers_do_not() {
        let of = |text: &str| Network::of(text.parse().unwrap()).to_string();
        assert_eq!(of("198.51.100.7"), "198.51.100.0/24");
        assert_eq!(of("198.51.101.7"), "198.51.101.0/24");
        assert_eq!(of("::ffff:198.51.100.9"), "198.51.100.0/24");
        assert_eq!(of("2001:db8:7:1::1"), "2001:db8:7::/48");
        assert_eq!((of("0.0.0.0"), of("::")), ("0.0.0.0/24".to_owned(), "::/48".to_owned()));
        assert_eq!(of("255.255.255.255"), "255.255.255.0/24");
        assert_eq!(of("ffff:ffff:ffff:ffff::"), "ffff:ffff:ffff::/48");
    }

    #[test]
    fn other_numbers_are_no_networks() {
        for bits in [0, 1, u64::MAX, 3 << 62, IS_V4.get() | 1 << V4_BITS, IS_V6.get() | 1 << V6_BITS] {
            assert_eq!(Network::from_bits(bits), None, "{bits:x}");
        }
    }

    #[test]
    fn what_is_written_is_read_and_nothing_else() {
        for text in ["198.51.100.0/24", "0.0.0.0/24", "2001:db8:7::/48", "::/48", "ffff:ffff:ffff::/48"] {
            let network: Network = text.parse().unwrap();
            assert_eq!((network.to_string().as_str(), Network::from_bits(network.to_bits())), (text, Some(network)));
        }
        for text in ["", "198.51.100.0", "198.51.100.7/24", "198.51.100.0/16", "::ffff:1.2.3.0/24", "2001:DB8:7::/48"] {
            assert_eq!(text.parse::<Network>(), Err(NetworkError), "{text}");
        }
    }
}
