//! Client addresses: the rules that restrict them, and finding the client behind trusted proxies.
//!
//! An IPv4-mapped IPv6 address (`::ffff:203.0.113.7`, RFC 4291 section 2.5.5.2) is the IPv4 address
//! everywhere, so that a dual-stack socket cannot change what a rule means.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::str::FromStr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The most hops of a forwarding header that are walked.
pub const HOPS_MAX: usize = 32;

/// Reads an address, strictly: no port, zone, whitespace or leading zeros. IPv4-mapped IPv6 becomes IPv4.
pub fn parse_address(text: &str) -> Option<IpAddr> {
    text.parse::<IpAddr>().ok().map(|address| address.to_canonical())
}

/// A network of addresses, written `203.0.113.0/24` or `2001:db8::/32`; a single address is a `/32` or
/// a `/128` and displays as such.
///
/// IPv4 and IPv6 are kept apart: `::/0` is all of IPv6 and matches no IPv4 address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct IpRule(IpNet);

impl IpRule {
    /// Whether this is `0.0.0.0/0` or `::/0`: no restriction at all for that family.
    pub fn is_any(&self) -> bool {
        self.0.prefix_len() == 0
    }

    /// Whether the address is in the network.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.contains(&address.to_canonical())
    }

    /// Whether each address of this network is in the other.
    pub fn is_within(&self, other: &Self) -> bool {
        other.0.contains(&self.0)
    }
}

impl fmt::Display for IpRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for IpRule {
    type Err = IpRuleError;

    fn from_str(text: &str) -> Result<Self, IpRuleError> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let network = match address.parse().map_err(|_| IpRuleError::Address)? {
            IpAddr::V4(address) => v4_network(address, parse_prefix(prefix, 32)?)?,
            IpAddr::V6(address) => {
                let prefix = parse_prefix(prefix, 128)?;
                match address.to_ipv4_mapped() {
                    Some(mapped) => {
                        let prefix = prefix.checked_sub(96).ok_or(IpRuleError::MappedPrefix)?;
                        v4_network(mapped, prefix)?
                    }
                    None => Ipv6Net::new(address, prefix).map_err(|_| IpRuleError::Prefix(128))?.into(),
                }
            }
        };
        if network.addr() != network.network() {
            return Err(IpRuleError::HostBits { written: network, network: network.trunc() });
        }
        Ok(Self(network))
    }
}

fn v4_network(address: Ipv4Addr, prefix: u8) -> Result<IpNet, IpRuleError> {
    Ok(Ipv4Net::new(address, prefix).map_err(|_| IpRuleError::Prefix(32))?.into())
}

/// A prefix length in plain decimal: the integer parser alone would take `+8` and `08`.
fn parse_prefix(text: Option<&str>, longest: u8) -> Result<u8, IpRuleError> {
    let Some(text) = text else {
        return Ok(longest);
    };
    let is_plain = text == "0" || (!text.starts_with('0') && text.bytes().all(|byte| byte.is_ascii_digit()));
    let prefix = text.parse().ok().filter(|prefix| is_plain && *prefix <= longest);
    prefix.ok_or(IpRuleError::Prefix(longest))
}

impl TryFrom<String> for IpRule {
    type Error = IpRuleError;

    fn try_from(text: String) -> Result<Self, IpRuleError> {
        text.parse()
    }
}

impl From<IpRule> for String {
    fn from(rule: IpRule) -> Self {
        rule.to_string()
    }
}

/// Why a text is not an [`IpRule`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum IpRuleError {
    /// No address before the prefix.
    #[error(
        "expected an address or a network such as 203.0.113.7, 203.0.113.0/24 or 2001:db8::/32, \
         without port, zone, spaces or leading zeros"
    )]
    Address,
    /// The prefix length is no number, or greater than this family's.
    #[error("expected a prefix length from 0 to {0} after the '/'")]
    Prefix(u8),
    /// An IPv4-mapped address whose prefix reaches outside the mapped range.
    #[error("an IPv4-mapped network needs a prefix of at least 96; write the IPv4 network instead")]
    MappedPrefix,
    /// The address has bits set to the right of the prefix: probably not the network that was meant.
    #[error("{written} has host bits set; did you mean {network}?")]
    HostBits {
        /// The address and prefix as they were read.
        written: IpNet,
        /// The network they lie in.
        network: IpNet,
    },
}

/// The header in which trusted proxies say for whom they forward. Never both: a proxy that appends to one
/// passes the other through as the client sent it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ForwardingHeader {
    /// `X-Forwarded-For: 203.0.113.7, 10.0.0.1`
    XForwardedFor,
    /// `Forwarded: for=203.0.113.7;proto=https, for="[2001:db8::1]:4711"` (RFC 7239)
    Forwarded,
}

impl ForwardingHeader {
    /// The header's name in lower case.
    pub fn name(self) -> &'static str {
        match self {
            Self::XForwardedFor => "x-forwarded-for",
            Self::Forwarded => "forwarded",
        }
    }

    /// The address in one comma-separated element of the header.
    fn parse_hop(self, element: &[u8]) -> Option<IpAddr> {
        let element = str::from_utf8(element).ok()?.trim_matches([' ', '\t']);
        match self {
            Self::XForwardedFor => parse_address(element).or_else(|| parse_node(element)),
            Self::Forwarded => parse_node(forwarded_for(element)?),
        }
    }
}

/// The proxies whose forwarding header is believed. The default trusts nobody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustedProxies {
    rules: Vec<IpRule>,
    header: ForwardingHeader,
}

impl Default for TrustedProxies {
    fn default() -> Self {
        Self::new(Vec::new(), ForwardingHeader::XForwardedFor)
    }
}

impl TrustedProxies {
    /// Trusts the peers in any of the networks to append to the header.
    pub fn new(rules: Vec<IpRule>, header: ForwardingHeader) -> Self {
        Self { rules, header }
    }

    /// The header that the proxies append to.
    pub fn header(&self) -> ForwardingHeader {
        self.header
    }

    /// Whether the address is one of the proxies.
    pub fn trusts(&self, address: IpAddr) -> bool {
        self.rules.iter().any(|rule| rule.contains(address))
    }

    /// The client's address, or `None` if it cannot be known for sure.
    ///
    /// `header_lines` are the values of all lines of [`header`](Self::header), in the order received. If the
    /// peer is a trusted proxy they are walked from the last line to the first and from right to left,
    /// since each proxy appends at the end and the client wrote the beginning. The first address that is
    /// not trusted is the client; if all are, the leftmost; without a header, the peer. What cannot be
    /// parsed on the walk, or a walk of more than [`HOPS_MAX`], is `None`; what stands to the left of the
    /// client is never looked at.
    pub fn client_address<'a>(
        &self,
        peer: IpAddr,
        header_lines: impl DoubleEndedIterator<Item = &'a [u8]>,
    ) -> Option<IpAddr> {
        let mut client = peer.to_canonical();
        if !self.trusts(client) {
            return Some(client);
        }
        let elements = header_lines.rev().flat_map(|line| line.rsplit(|byte| *byte == b','));
        for (hops, element) in elements.enumerate() {
            if hops == HOPS_MAX {
                return None;
            }
            client = self.header.parse_hop(element)?;
            if !self.trusts(client) {
                return Some(client);
            }
        }
        Some(client)
    }
}

/// The unquoted value of the one `for` parameter of a `forwarded-element` (RFC 7239 section 4).
///
/// A quoted string with a `,`, `;`, `"` or `\` in it is legal there, but refused here: it is what it
/// takes to hide a forged element in another parameter (a proxy may copy the client's `Host` into one).
/// Without them an element can be cut at each comma and semicolon, from either side, with one outcome.
fn forwarded_for(element: &str) -> Option<&str> {
    let mut found = None;
    for pair in element.split(';') {
        // `for=192.0.2.1;` and `;;` are legal: the grammar has empty pairs.
        if pair.is_empty() {
            continue;
        }
        let (name, value) = pair.split_once('=')?;
        let value = match value.strip_prefix('"') {
            Some(quoted) => quoted.strip_suffix('"').filter(|text| !text.contains(['"', '\\']))?,
            None => Some(value).filter(|value| is_token(value))?,
        };
        if !is_token(name) {
            return None;
        }
        if name.eq_ignore_ascii_case("for") && found.replace(value).is_some() {
            return None;
        }
    }
    found
}

/// `token` of RFC 9110 section 5.6.2.
fn is_token(text: &str) -> bool {
    let is_tchar = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(is_tchar)
}

/// A node (RFC 7239 section 6) that names an address: `192.0.2.1` or `[2001:db8::1]`, with or without a
/// numeric port. `unknown` and obfuscated names and ports name nobody.
fn parse_node(text: &str) -> Option<IpAddr> {
    let (address, after) = if let Some(bracketed) = text.strip_prefix('[') {
        let (address, after) = bracketed.split_once(']')?;
        (IpAddr::V6(address.parse().ok()?), after)
    } else {
        let (address, after) = text.split_at(text.find(':').unwrap_or(text.len()));
        (IpAddr::V4(address.parse().ok()?), after)
    };
    if !after.is_empty() {
        let port = after.strip_prefix(':')?;
        let is_port = port.bytes().all(|byte| byte.is_ascii_digit()) && port.len() <= 5;
        if !is_port || port.parse::<u16>().is_err() {
            return None;
        }
    }
    Some(address.to_canonical())
}

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;

    use proptest::prelude::*;

    use super::*;

    fn rule(text: &str) -> IpRule {
        text.parse().unwrap_or_else(|error| panic!("{text:?}: {error}"))
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn addresses_are_strict_and_canonical() {
        let check = |text: &str, expected: Option<&str>| {
            assert_eq!(parse_address(text), expected.map(address), "{text:?}");
        };
        check("203.0.113.7", Some("203.0.113.7"));
        check("2001:DB8:0::1", Some("2001:db8::1"));
        check("::ffff:203.0.113.7", Some("203.0.113.7"));
        check("::ffff:cb00:7107", Some("203.0.113.7"));
        check("::203.0.113.7", Some("::203.0.113.7"));
        let texts = "203.0.113.07 0313.0.113.7 0xcb.0.113.7 3405803783 203.0.113 203.0.113.256 203.0.113.7.1
            203.0.113.7:80 203.0.113.7/32 [2001:db8::1] fe80::1%eth0 fe80::1%1 ::ffff:203.0.113.07 1::2::3 :::
            12345:: localhost ٢.٠.٠.١";
        let spaced = ["", " ", "203.0.113.7 ", " 203.0.113.7", "203.0.113.7\0"];
        for text in texts.split_whitespace().chain(spaced) {
            check(text, None);
        }
    }

    #[test]
    fn rules_have_one_text() {
        let check = |text: &str, expected: &str| {
            assert_eq!(rule(text).to_string(), expected);
            assert_eq!(serde_json::to_string(&rule(text)).unwrap(), format!("\"{expected}\""));
            assert_eq!(serde_json::from_str::<IpRule>(&format!("\"{text}\"")).unwrap(), rule(expected));
        };
        check("203.0.113.7", "203.0.113.7/32");
        check("203.0.113.7/32", "203.0.113.7/32");
        check("203.0.113.0/24", "203.0.113.0/24");
        check("0.0.0.0/0", "0.0.0.0/0");
        check("2001:DB8::", "2001:db8::/128");
        check("2001:db8:0:0::/32", "2001:db8::/32");
        check("::/0", "::/0");
        check("::ffff:203.0.113.7", "203.0.113.7/32");
        check("::ffff:203.0.113.0/120", "203.0.113.0/24");
        check("::ffff:0:0/96", "0.0.0.0/0");
    }

    #[test]
    fn bad_rules_are_refused() {
        let check = |text: &str, expected: IpRuleError| {
            assert_eq!(text.parse::<IpRule>(), Err(expected), "{text:?}");
        };
        let texts = "/ /24 * 203.0.113 203.0.113.7:80 [2001:db8::1] [2001:db8::]/32 fe80::1%eth0 fe80::%eth0/10
            010.0.0.0/8 10.0.0.00/8 0xa.0.0.0/8 10/8 example.com";
        for text in texts.split_whitespace().chain(["", " 10.0.0.0/8", "10.0.0.0 /8"]) {
            check(text, IpRuleError::Address);
        }
        let texts = "10.0.0.0/ 10.0.0.0/33 10.0.0.0/256 10.0.0.0/-1 10.0.0.0/+8 10.0.0.0/08 10.0.0.0/00 10.0.0.0/8/8
            10.0.0.0/255.0.0.0 10.0.0.0/٨";
        for text in texts.split_whitespace().chain(["10.0.0.0/ 8", "10.0.0.0/8 "]) {
            check(text, IpRuleError::Prefix(32));
        }
        for text in ["2001:db8::/129", "2001:db8::/", "2001:db8::/032", "::ffff:10.0.0.0/999"] {
            check(text, IpRuleError::Prefix(128));
        }
        for text in ["::ffff:0:0/95", "::ffff:10.0.0.0/8", "::ffff:10.0.0.0/24"] {
            check(text, IpRuleError::MappedPrefix);
        }
    }

    #[test]
    fn host_bits_are_refused_with_a_suggestion() {
        let check = |text: &str, expected: &str| {
            assert_eq!(text.parse::<IpRule>().unwrap_err().to_string(), expected);
        };
        check("203.0.113.7/24", "203.0.113.7/24 has host bits set; did you mean 203.0.113.0/24?");
        check("1.2.3.4/0", "1.2.3.4/0 has host bits set; did you mean 0.0.0.0/0?");
        check("2001:db8::1/32", "2001:db8::1/32 has host bits set; did you mean 2001:db8::/32?");
        check("::1/0", "::1/0 has host bits set; did you mean ::/0?");
        check("::ffff:10.0.0.1/104", "10.0.0.1/8 has host bits set; did you mean 10.0.0.0/8?");
    }

    #[test]
    fn rules_contain_addresses_and_rules() {
        let check = |text: &str, inner: &str, expected: bool| {
            assert_eq!(rule(text).contains(address(inner)), expected, "{inner} in {text}");
            assert_eq!(rule(inner).is_within(&rule(text)), expected, "{inner} within {text}");
        };
        check("203.0.113.0/24", "203.0.113.255", true);
        check("203.0.113.0/24", "203.0.114.0", false);
        check("203.0.113.0/24", "::ffff:203.0.113.9", true);
        check("203.0.113.7", "203.0.113.7", true);
        check("203.0.113.7", "203.0.113.8", false);
        check("0.0.0.0/0", "198.51.100.1", true);
        check("0.0.0.0/0", "2001:db8::1", false);
        check("::/0", "2001:db8::1", true);
        check("::/0", "198.51.100.1", false);
        check("::/0", "::ffff:198.51.100.1", false);
        check("2001:db8::/32", "2001:db8:ffff::1", true);
        check("2001:db8::/32", "2001:db9::1", false);
        assert!(rule("10.1.0.0/16").is_within(&rule("10.0.0.0/8")));
        assert!(!rule("10.0.0.0/8").is_within(&rule("10.1.0.0/16")));
        assert!(rule("0.0.0.0/0").is_any() && rule("::/0").is_any());
        assert!(!rule("0.0.0.0/1").is_any() && !rule("0.0.0.0").is_any());
    }

    fn proxies(header: ForwardingHeader) -> TrustedProxies {
        TrustedProxies::new(vec![rule("10.0.0.0/8"), rule("2001:db8::/32")], header)
    }

    fn check_client(header: ForwardingHeader, peer: &str, lines: &[&str], expected: Option<&str>) {
        let found = proxies(header).client_address(address(peer), lines.iter().map(|line| line.as_bytes()));
        assert_eq!(found, expected.map(address), "{peer} {lines:?}");
    }

    #[test]
    fn the_peer_is_the_client_unless_trusted() {
        let check = |peer, lines: &[&str], expected| {
            check_client(ForwardingHeader::XForwardedFor, peer, lines, Some(expected));
            check_client(ForwardingHeader::Forwarded, peer, lines, Some(expected));
        };
        check("198.51.100.1", &[], "198.51.100.1");
        check("198.51.100.1", &["203.0.113.7"], "198.51.100.1");
        check("198.51.100.1", &["for=203.0.113.7"], "198.51.100.1");
        check("198.51.100.1", &["garbage"], "198.51.100.1");
        check("::ffff:198.51.100.1", &["10.0.0.1"], "198.51.100.1");
        // Trusted, but it says nothing: it speaks for itself.
        check("10.0.0.1", &[], "10.0.0.1");
        check("::ffff:10.0.0.1", &[], "10.0.0.1");

        let nobody = TrustedProxies::default();
        assert!(!nobody.trusts(address("127.0.0.1")));
        let lines: [&[u8]; 1] = [b"203.0.113.7"];
        let found = nobody.client_address(address("127.0.0.1"), lines.into_iter());
        assert_eq!(found, Some(address("127.0.0.1")));
    }

    #[test]
    fn x_forwarded_for_is_walked_from_the_right() {
        let check = |lines: &[&str], expected| {
            check_client(ForwardingHeader::XForwardedFor, "10.0.0.1", lines, expected);
        };
        check(&["203.0.113.7"], Some("203.0.113.7"));
        check(&["1.1.1.1, 203.0.113.7"], Some("203.0.113.7"));
        check(&["1.1.1.1, 203.0.113.7, 10.2.3.4"], Some("203.0.113.7"));
        check(&["1.1.1.1,203.0.113.7 ,\t10.2.3.4 "], Some("203.0.113.7"));
        check(&["1.1.1.1", "203.0.113.7", "10.2.3.4, 2001:db8::5"], Some("203.0.113.7"));
        check(&["203.0.113.7", "1.1.1.1"], Some("1.1.1.1"));
        check(&["10.9.9.9, 10.2.3.4"], Some("10.9.9.9"));
        check(&["10.9.9.9", "10.2.3.4"], Some("10.9.9.9"));
        check(&["203.0.113.7:5"], Some("203.0.113.7"));
        check(&["203.0.113.7, 10.0.0.2:65535"], Some("203.0.113.7"));
        check(&["[2001:db9::1]:5"], Some("2001:db9::1"));
        check(&["[2001:db9::1]"], Some("2001:db9::1"));
        check(&["2001:db9::1"], Some("2001:db9::1"));
        check(&["::ffff:203.0.113.7"], Some("203.0.113.7"));
        check(&["[::ffff:203.0.113.7]:80"], Some("203.0.113.7"));
        check(&["203.0.113.7, ::ffff:10.0.0.9"], Some("203.0.113.7"));
        // What the client wrote to the left of itself is never read.
        check(&["garbage, 203.0.113.7"], Some("203.0.113.7"));
        check(&["\u{fffd}, \0", "203.0.113.7"], Some("203.0.113.7"));
        let texts = r#", 203.0.113.7, unknown _hidden garbage 203.0.113.7,unknown 203.0.113.7,,10.0.0.2 203.0.113.7:
            203.0.113.7:x 203.0.113.7:65536 203.0.113.7:000080 203.0.113.7:+80 203.0.113.7:-1 203.0.113.7:80:80
            203.0.113.07 0xcb.0.113.7 203.0.113.7/32 [2001:db9::1 2001:db9::1] [2001:db9::1]80 [2001:db9::1]:
            [203.0.113.7] [fe80::1%eth0] fe80::1%eth0 "203.0.113.7" for=203.0.113.7"#;
        let spaced = ["", " ", "203.0.113.7 10.0.0.2", "\u{a0}203.0.113.7", "203.0.113.7\0"];
        for text in texts.split_whitespace().chain(spaced) {
            check(&[text], None);
        }
        check(&["203.0.113.7", ""], None);
    }

    #[test]
    fn forwarded_is_walked_from_the_right() {
        let check = |lines: &[&str], expected| {
            check_client(ForwardingHeader::Forwarded, "10.0.0.1", lines, expected);
        };
        check(&["for=203.0.113.7"], Some("203.0.113.7"));
        check(&["For=203.0.113.7;Proto=https;by=10.0.0.1"], Some("203.0.113.7"));
        check(&["proto=https;for=203.0.113.7;"], Some("203.0.113.7"));
        check(&["for=\"203.0.113.7\""], Some("203.0.113.7"));
        check(&["for=\"203.0.113.7:4711\""], Some("203.0.113.7"));
        check(&["for=\"[2001:db9::1]\""], Some("2001:db9::1"));
        check(&["for=\"[2001:db9::1]:4711\""], Some("2001:db9::1"));
        check(&["for=\"[::ffff:203.0.113.7]\""], Some("203.0.113.7"));
        check(&["for=1.1.1.1, for=203.0.113.7;host=\"api.example.com:80\" , for=10.0.0.2"], Some("203.0.113.7"));
        check(&["for=1.1.1.1", "for=203.0.113.7", "for=\"[2001:db8::2]\""], Some("203.0.113.7"));
        check(&["for=10.9.9.9, for=10.0.0.2"], Some("10.9.9.9"));
        check(&["for=\"1.1.1.1, for=203.0.113.7"], Some("203.0.113.7"));
        let texts = r#"; 203.0.113.7 for for= for="" for=" for=unknown for=_hidden for="_hidden:80" by=203.0.113.7
            for="203.0.113.7:_port" host=a;proto=b for=203.0.113.7;for=1.1.1.1 for=203.0.113.7;FOR=203.0.113.7
            for=203.0.113.7:80 for=[2001:db9::1] for="2001:db9::1" for=2001:db9::1 for="203.0.113.7 for=203.0.113.7"
            for="203.0.113.7"x for="203.0.\113.7" for=203.0.113.7;x for=203.0.113.7;=y for=203.0.113.7;x="y
            x-for=203.0.113.7 for=203.0.113.7, for='203.0.113.7'"#;
        let spaced =
            ["", "for=203.0.113.7; proto=https", "for =203.0.113.7", "for= 203.0.113.7", "for=203.0.113.7;x=a b"];
        for text in texts.split_whitespace().chain(spaced) {
            check(&[text], None);
        }
        // A forged element inside another parameter of the proxy's own element.
        check(&["for=203.0.113.7;host=\"evil, for=1.1.1.1\""], None);
        check(&["for=203.0.113.7;host=\"evil;for=1.1.1.1\""], None);
        check(&["for=203.0.113.7;host=\"a\\\", for=1.1.1.1;x=\\\"b\""], None);
        check(&["for=1.1.1.1;x=\"", "for=203.0.113.7"], Some("203.0.113.7"));
    }

    #[test]
    fn the_walk_is_bounded() {
        let trusted = ["10.0.0.2"; HOPS_MAX - 1].join(",");
        let check = |line: String, expected| {
            check_client(ForwardingHeader::XForwardedFor, "10.0.0.1", &[&line], expected);
        };
        check(format!("203.0.113.7,{trusted}"), Some("203.0.113.7"));
        check(format!("10.0.0.3,{trusted}"), Some("10.0.0.3"));
        check(format!("203.0.113.7,10.0.0.2,{trusted}"), None);
    }

    #[test]
    fn header_names() {
        for header in [ForwardingHeader::XForwardedFor, ForwardingHeader::Forwarded] {
            assert_eq!(serde_json::to_string(&header).unwrap(), format!("\"{}\"", header.name()));
            assert_eq!(proxies(header).header(), header);
        }
    }

    fn any_rule() -> impl Strategy<Value = IpRule> {
        // Few distinct bits, so that containment happens.
        let v4 = (0..4_u32, 0..=32_u8)
            .prop_map(|(bits, prefix)| IpNet::from(Ipv4Net::new(Ipv4Addr::from(bits << 29 | bits), prefix).unwrap()));
        let v6 = (0..4_u128, 0..=128_u8)
            .prop_map(|(bits, prefix)| IpNet::from(Ipv6Net::new(Ipv6Addr::from(bits << 125 | bits), prefix).unwrap()));
        prop_oneof![v4, v6].prop_map(|network| IpRule(network.trunc()))
    }

    proptest! {
        #[test]
        fn no_text_panics(text in any::<String>()) {
            let _ = text.parse::<IpRule>();
            for header in [ForwardingHeader::XForwardedFor, ForwardingHeader::Forwarded] {
                let _ = proxies(header).client_address(address("10.0.0.1"), [text.as_bytes()].into_iter());
            }
        }

        #[test]
        fn rules_round_trip(rule in any_rule()) {
            prop_assert_eq!(rule.to_string().parse(), Ok(rule));
        }

        #[test]
        fn every_address_is_a_rule_for_itself(address: IpAddr) {
            let rule: IpRule = address.to_string().parse().unwrap();
            prop_assert!(rule.contains(address));
            prop_assert_eq!(parse_address(&address.to_string()), Some(address.to_canonical()));
        }

        #[test]
        fn within_means_containing_both_ends(inner in any_rule(), outer in any_rule()) {
            let ends = [inner.0.network(), inner.0.broadcast()];
            if inner.is_within(&outer) {
                // An end in the mapped range is IPv4, and in neither.
                prop_assert!(ends.iter().all(|end| outer.contains(*end) || !inner.contains(*end)));
            } else {
                prop_assert!(ends.iter().any(|end| !outer.contains(*end)));
            }
        }

        #[test]
        fn what_the_client_sends_never_matters(forged in "[ -~]{0,40}", header_is_standard: bool) {
            let (header, appended) = if header_is_standard {
                (ForwardingHeader::Forwarded, "for=203.0.113.7;host=\"x\", for=\"[2001:db8::1]\"")
            } else {
                (ForwardingHeader::XForwardedFor, "203.0.113.7, 2001:db8::1")
            };
            let joined = format!("{forged}, {appended}");
            check_client(header, "10.0.0.1", &[&joined], Some("203.0.113.7"));
            check_client(header, "10.0.0.1", &[&forged, appended], Some("203.0.113.7"));
        }
    }
}
