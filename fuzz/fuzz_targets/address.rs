//! Client addresses: `domain::address` beside a plain walk from the right, on forwarding headers made of addresses in all
//! their spellings and of anything else.
//!
//! Two more things must hold: what stands to the left of the client never matters, and IPv4 written as IPv4-mapped IPv6
//! changes nothing.

#![no_main]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use arbitrary::Arbitrary;
use claviger_domain::address::{ForwardingHeader, HOPS_MAX, IpRule, TrustedProxies, parse_address};
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    peer: Host,
    trusted: Vec<Network>,
    is_forwarded: bool,
    lines: Vec<Vec<Element<'a>>>,
    rule: &'a str,
}

/// An address. Most are of a few, so that it happens that they are trusted.
#[derive(Arbitrary, Debug, Clone, Copy)]
enum Host {
    Proxy(u8),
    Proxy6(u8),
    Client(u8),
    Any(IpAddr),
}

#[derive(Arbitrary, Debug, Clone, Copy)]
struct Network {
    address: Host,
    prefix: u8,
}

/// One element of the header.
#[derive(Arbitrary, Debug)]
enum Element<'a> {
    Plain(Host),
    Port(Host, u16),
    Bracketed(Host),
    Parameters(Host, &'a str),
    Repeated(Host, u8),
    Raw(&'a [u8]),
}

fuzz_target!(|input: Input<'_>| {
    let header = if input.is_forwarded { ForwardingHeader::Forwarded } else { ForwardingHeader::XForwardedFor };
    let networks: Vec<(IpAddr, u8)> = input.trusted.iter().map(|network| network.masked()).collect();
    let rules = networks.iter().map(|(address, prefix)| {
        let text = format!("{address}/{prefix}");
        let rule: IpRule = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(rule.to_string(), text);
        rule
    });
    let proxies = TrustedProxies::new(rules.collect(), header);
    let peer = input.peer.address();
    let lines = |is_mapped: bool| -> Vec<Vec<u8>> {
        let line = |elements: &Vec<Element<'_>>| {
            let texts: Vec<Vec<u8>> = elements.iter().map(|element| element.text(header, is_mapped)).collect();
            texts.join(&b","[..])
        };
        input.lines.iter().map(line).collect()
    };
    let ask = |peer: IpAddr, lines: &[Vec<u8>]| proxies.client_address(peer, lines.iter().map(Vec::as_slice));

    let written = lines(false);
    let found = ask(peer, &written);
    let is_trusted = |address| networks.iter().any(|network| is_in(address, *network));
    let (expected, elements_read) = plain_walk(peer, is_trusted, header, &written);
    assert_eq!(
        found,
        expected,
        "{peer} {:?}",
        written.iter().map(|line| line.escape_ascii().to_string()).collect::<Vec<_>>()
    );
    for address in [Some(peer), found].into_iter().flatten() {
        assert_eq!(proxies.trusts(address), is_trusted(address.to_canonical()), "{address}");
    }

    // Every address the other way: what is IPv4 as IPv6 and back.
    let mapped_peer = mapped(peer.to_canonical());
    assert_eq!(ask(mapped_peer, &lines(true)), found, "mapped");

    if found.is_some() && elements_read > 0 {
        let mut elements: Vec<&[u8]> = written.iter().flat_map(|line| line.split(|byte| *byte == b',')).collect();
        let kept = elements.split_off(elements.len() - elements_read);
        let is_all_trusted = found.is_some_and(&is_trusted);
        if !is_all_trusted {
            for forged in [&b"203.0.113.66"[..], b"for=203.0.113.66", b"garbage\"", b"for=\"x"] {
                let kept = kept.iter().map(|element| element.to_vec());
                let lines: Vec<Vec<u8>> = std::iter::once(forged.to_vec()).chain(kept).collect();
                assert_eq!(ask(peer, &lines), found, "{}", forged.escape_ascii());
            }
        }
    }

    if let Ok(rule) = input.rule.parse::<IpRule>() {
        assert_eq!(rule.to_string().parse(), Ok(rule), "{}", input.rule);
        assert!(rule.is_within(&rule));
    }
    if let Some(address) = parse_address(input.rule) {
        assert_eq!(address, address.to_canonical());
        assert!(input.rule.parse::<IpRule>().is_ok_and(|rule| rule.contains(address)), "{}", input.rule);
    }
});

impl Host {
    fn address(self) -> IpAddr {
        match self {
            Self::Proxy(last) => Ipv4Addr::new(10, 0, 0, last).into(),
            Self::Proxy6(last) => Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last.into()).into(),
            Self::Client(last) => Ipv4Addr::new(203, 0, 113, last).into(),
            Self::Any(address) => address,
        }
    }
}

impl Network {
    /// The network's first address in the family that it counts as, and its prefix.
    fn masked(self) -> (IpAddr, u8) {
        match self.address.address().to_canonical() {
            IpAddr::V4(address) => {
                let prefix = self.prefix % 33;
                let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
                (Ipv4Addr::from_bits(address.to_bits() & mask).into(), prefix)
            }
            IpAddr::V6(address) => {
                let prefix = self.prefix % 129;
                let mask = u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0);
                let first = Ipv6Addr::from_bits(address.to_bits() & mask);
                // A text in the mapped range would be read as IPv4.
                if first.to_ipv4_mapped().is_some() {
                    (Ipv6Addr::LOCALHOST.into(), 128)
                } else {
                    (first.into(), prefix)
                }
            }
        }
    }
}

impl Element<'_> {
    fn text(&self, header: ForwardingHeader, is_mapped: bool) -> Vec<u8> {
        let is_forwarded = header == ForwardingHeader::Forwarded;
        let spelled = |host: Host| {
            let address = host.address().to_canonical();
            if is_mapped { mapped(address) } else { address }
        };
        let node = |host: Host, port: Option<u16>| {
            let address = spelled(host);
            let name = if address.is_ipv6() { format!("[{address}]") } else { address.to_string() };
            let node = port.map_or(name.clone(), |port| format!("{name}:{port}"));
            if is_forwarded { format!("for=\"{node}\"") } else { node }
        };
        match self {
            Self::Plain(host) if is_forwarded => node(*host, None).into_bytes(),
            Self::Plain(host) => spelled(*host).to_string().into_bytes(),
            Self::Bracketed(host) => node(*host, None).into_bytes(),
            Self::Port(host, port) => node(*host, Some(*port)).into_bytes(),
            Self::Parameters(host, more) => format!("{};{more}", node(*host, None)).into_bytes(),
            Self::Repeated(host, times) => {
                let times = usize::from(times % 40);
                vec![node(*host, None); times].join(", ").into_bytes()
            }
            Self::Raw(bytes) => bytes.to_vec(),
        }
    }
}

fn mapped(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().into(),
        IpAddr::V6(_) => address,
    }
}

/// Bit by bit.
fn is_in(address: IpAddr, (network, prefix): (IpAddr, u8)) -> bool {
    let bits = |address: IpAddr| -> Vec<bool> {
        let bytes = match address {
            IpAddr::V4(address) => address.octets().to_vec(),
            IpAddr::V6(address) => address.octets().to_vec(),
        };
        bytes.iter().flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1 == 1)).collect()
    };
    let (address, network) = (bits(address), bits(network));
    address.len() == network.len() && address[..prefix.into()] == network[..prefix.into()]
}

/// The client, and how many elements from the right it takes to know.
fn plain_walk(
    peer: IpAddr,
    is_trusted: impl Fn(IpAddr) -> bool,
    header: ForwardingHeader,
    lines: &[Vec<u8>],
) -> (Option<IpAddr>, usize) {
    let mut elements = Vec::new();
    if !lines.is_empty() {
        let joined = lines.join(&b","[..]);
        elements.extend(joined.split(|byte| *byte == b',').map(<[u8]>::to_vec));
    }
    let mut client = peer.to_canonical();
    let mut read = 0;
    while is_trusted(client) {
        let Some(element) = elements.pop() else { break };
        if read == HOPS_MAX {
            return (None, read);
        }
        read += 1;
        match plain_hop(header, &element) {
            Some(address) => client = address.to_canonical(),
            None => return (None, read),
        }
    }
    (Some(client), read)
}

fn plain_hop(header: ForwardingHeader, element: &[u8]) -> Option<IpAddr> {
    let text = String::from_utf8(element.to_vec()).ok()?;
    let text = text.trim_start_matches([' ', '\t']).trim_end_matches([' ', '\t']);
    if header == ForwardingHeader::XForwardedFor {
        return text.parse().ok().or_else(|| plain_node(text));
    }
    let is_token = |text: &str| {
        let is_delimiter = |c: char| "\"(),/:;<=>?@[\\]{}".contains(c);
        !text.is_empty() && text.chars().all(|c| c.is_ascii_graphic() && !is_delimiter(c))
    };
    let mut nodes = Vec::new();
    for pair in text.split(';').filter(|pair| !pair.is_empty()) {
        let equals = pair.find('=')?;
        let (name, value) = (&pair[..equals], &pair[equals + 1..]);
        let is_quoted = value.len() >= 2 && value.starts_with('"') && value.ends_with('"');
        let value = if is_quoted { &value[1..value.len() - 1] } else { value };
        let is_sound = if is_quoted { !value.contains(['"', '\\']) } else { is_token(value) };
        if !is_token(name) || !is_sound {
            return None;
        }
        if name.to_ascii_lowercase() == "for" {
            nodes.push(value);
        }
    }
    let [node] = nodes[..] else { return None };
    plain_node(node)
}

/// `192.0.2.1`, `192.0.2.1:80`, `[2001:db8::1]`, `[2001:db8::1]:80`.
fn plain_node(text: &str) -> Option<IpAddr> {
    let (name, port) = match text.rfind(':').filter(|colon| !text[*colon..].contains(']')) {
        Some(colon) => (&text[..colon], Some(&text[colon + 1..])),
        None => (text, None),
    };
    let is_port = |port: &str| {
        let is_short = (1..=5).contains(&port.len()) && port.chars().all(|c| c.is_ascii_digit());
        is_short && port.chars().fold(0, |value, digit| value * 10 + digit.to_digit(10).unwrap_or(0)) <= 65535
    };
    if !port.is_none_or(is_port) {
        return None;
    }
    if name.starts_with('[') && name.ends_with(']') && name.len() > 2 {
        return name[1..name.len() - 1].parse::<Ipv6Addr>().ok().map(IpAddr::from);
    }
    name.parse::<Ipv4Addr>().ok().map(IpAddr::from)
}
