//! IP addresses, version 4 and 6, as programs write them.
//!
//! Much that is not an address can be read as one (`a::b` in code, `12::30`), so a version 6 address is
//! reported only if it lies in a block that is in use.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::ops::Range;

use super::is_piece;

/// The longest written form: six groups and an embedded version 4 address.
const V6_LENGTH_MAX: usize = 45;
const V4_LENGTH_MAX: usize = 15;

pub(super) fn detect(text: &[u8], found: &mut Vec<Range<usize>>) {
    for token in tokens(text, |byte| byte.is_ascii_digit() || byte == b'.') {
        let token = trim_dots(text, token);
        if !is_piece(text, &token, b"") && parse::<Ipv4Addr>(text, &token, V4_LENGTH_MAX).is_some() {
            found.push(token);
        }
    }
    for token in tokens(text, |byte| byte.is_ascii_hexdigit() || matches!(byte, b'.' | b':')) {
        let token = trim_colons(text, trim_dots(text, token));
        if is_v6(text, &token) {
            found.push(token);
            continue;
        }
        // `ip6:2001:db8::1`: a label, tied to the address by the colon that also parts the groups.
        let colon = token.clone().find(|index| text[*index] == b':');
        if let Some(colon) = colon
            && is_v6(text, &(colon + 1..token.end))
        {
            found.push(colon + 1..token.end);
        }
    }
}

fn is_v6(text: &[u8], token: &Range<usize>) -> bool {
    !is_piece(text, token, b"") && parse(text, token, V6_LENGTH_MAX).is_some_and(is_in_use)
}

/// The longest stretches of bytes that `belongs` accepts.
fn tokens(text: &[u8], belongs: impl Fn(u8) -> bool) -> impl Iterator<Item = Range<usize>> {
    let mut position = 0;
    std::iter::from_fn(move || {
        let start = (position..text.len()).find(|index| belongs(text[*index]));
        let end = start.and_then(|start| (start..text.len()).find(|index| !belongs(text[*index])));
        position = end.unwrap_or(text.len());
        start.map(|start| start..position)
    })
}

/// Full stops and dotted leaders around an address are not part of it.
fn trim_dots(text: &[u8], token: Range<usize>) -> Range<usize> {
    let Some(start) = token.clone().find(|index| text[*index] != b'.') else {
        return token.start..token.start;
    };
    let last = token.rev().find(|index| text[*index] != b'.').unwrap_or(start);
    start..last + 1
}

/// A single colon at either end belongs to the sentence, a double one to the address.
fn trim_colons(text: &[u8], mut token: Range<usize>) -> Range<usize> {
    let colons_at_start = token.clone().take_while(|index| text[*index] == b':').count();
    if matches!(colons_at_start, 1 | 3) {
        token.start += 1;
    }
    let colons_at_end = token.clone().rev().take_while(|index| text[*index] == b':').count();
    if matches!(colons_at_end, 1 | 3) && !token.is_empty() {
        token.end -= 1;
    }
    token
}

fn parse<A: std::str::FromStr>(text: &[u8], token: &Range<usize>, length_max: usize) -> Option<A> {
    if token.len() > length_max {
        return None;
    }
    std::str::from_utf8(&text[token.clone()]).ok()?.parse().ok()
}

/// Global unicast, unique local, link local, multicast, loopback, mapped and translated version 4.
fn is_in_use(address: Ipv6Addr) -> bool {
    let segments = address.segments();
    matches!(segments[0], 0x2000..=0x3FFF | 0xFC00..=0xFDFF | 0xFE80..=0xFEBF | 0xFF00..=0xFFFF)
        || address.is_loopback()
        || address.to_ipv4_mapped().is_some()
        || segments[..6] == [0x64, 0xFF9B, 0, 0, 0, 0]
}

#[cfg(test)]
mod tests {
    use super::super::Kind;
    use super::super::tests::{check, check_none};

    #[test]
    fn found() {
        check(
            Kind::IpAddress,
            &[
                "«192.0.2.1»",
                "from «192.0.2.1».",
                "from «192.0.2.1»...",
                "...«192.0.2.1»",
                "«0.0.0.0» «255.255.255.255» «127.0.0.1»",
                "«10.0.0.1»:8080, «10.0.0.0»/8",
                "http://«10.0.0.1»/path",
                "ip=«10.0.0.1»&x",
                "ip:«10.0.0.1»",
                "«10.0.0.1»-«10.0.0.9»",
                "(«10.0.0.1»)",
                "«2001:db8::1»",
                "«2001:0db8:0000:0000:0000:ff00:0042:8329»",
                "«2001:DB8::FF00:42:8329»",
                "[«2001:db8::1»]:443",
                "at «2001:db8::1».",
                "at «2001:db8::1»: nothing",
                "«2001:db8::»/32 and «2001:db8::»",
                "ip:«2001:db8::1»",
                "ip6:«2001:db8::1»",
                "face:«2001:db8::1»",
                "«::1» «fe80::1»%eth0 «fd12:3456:789a::1» «ff02::1»",
                "client:«::1»",
                "«::ffff:192.0.2.1» «64:ff9b::192.0.2.33»",
                "«2001:db8:1:2:3:4:5:6»",
                "地址«192.0.2.1»和«2001:db8::1»。",
                "«１９２.０.２.１»",
            ],
        );
    }

    #[test]
    fn near_misses() {
        check_none(
            Kind::IpAddress,
            &[
                "256.1.1.1",
                "1.2.3.256",
                "1.2.3",
                "1.2.3.4.5",
                "1.2.3.4.5.6.7.8",
                "v1.2.3.4",
                "1.2.3.4a",
                "1.2.3.04",
                "01.2.3.4",
                "1..2.3.4",
                "1.2.3.1234",
                "120.0.6099.109",
                "10 . 0 . 0 . 1",
                "15.01.2025",
                "$1.234.567",
                "12:30:45",
                "12:30:45.123",
                "2025-01-01T00:00:00Z",
                "12::30",
                "a::b",
                "std::fmt::Debug",
                "abc::def",
                "dead::beef",
                "list[1::2]",
                "::",
                "::2",
                "::::1",
                "2001:db8",
                "2001:db8::1::2",
                "2001:db8:1:2:3:4:5",
                "2001:db8:1:2:3:4:5:6:7",
                "2001:db8::12345",
                "2001:db8::g",
                "x2001:db8:1:2:3:4:5:6",
                "00:1a:2b:3c:4d:5e",
                "00:1a:2b:3c:4d:5e:6f:70",
                "4:3:2:1",
            ],
        );
    }
}
