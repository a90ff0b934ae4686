//! Referrers: `domain::referrer` beside a plain comparison of labels, and beside the `url` crate, which reads URLs as
//! browsers do: a URL in which the two see different hosts is a way around a restriction.
//!
//! The input is two rules, an `Origin` and a `Referer`, a line each.

#![no_main]

use std::net::{Ipv4Addr, Ipv6Addr};

use claviger_domain::referrer::{Referrer, ReferrerRule};
use libfuzzer_sys::fuzz_target;
use url::Url;

/// Host and port of a URL, or of a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    host: Host,
    port: Option<u16>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Host {
    V6(Ipv6Addr),
    /// Labels in lower case, from the right.
    Name(Vec<String>),
}

fuzz_target!(|input: &str| {
    let mut lines = input.split('\n');
    let mut line = || lines.next().unwrap_or_default();
    let (first, second, origin, referer) = (line(), line(), line(), line());

    for url in [origin, referer] {
        let read = Referrer::parse(url);
        let place = plain_url(url);
        assert_eq!(read.is_some(), place.is_some(), "{url:?}: {read:?}");
        let (Some(read), Some(place)) = (read, place) else { continue };
        assert_reads_as_browsers_do(url, &read);
        let mut matched = Vec::new();
        for text in [first, second] {
            let Ok(rule) = text.parse::<ReferrerRule>() else { continue };
            assert_eq!(rule.to_string().parse(), Ok(rule.clone()), "{text:?}");
            let is_match = rule.matches(&read);
            assert_eq!(is_match, plain_match(&rule.to_string(), &place), "{text:?} on {url:?}");
            matched.push((rule, is_match));
        }
        if let [(one, is_one), (other, is_other)] = &matched[..] {
            assert!(!(one.is_within(other) && *is_one) || *is_other, "{one} within {other}, {url:?}");
            assert!(!(other.is_within(one) && *is_other) || *is_one, "{other} within {one}, {url:?}");
        }
    }

    let lines = |text: &'static str| [text.as_bytes()].into_iter();
    let both = Referrer::from_headers([origin.as_bytes()].into_iter(), [referer.as_bytes()].into_iter());
    let is_origin =
        Referrer::parse(origin).filter(|_| !origin.split("://").nth(1).unwrap_or("").contains(['/', '?', '#']));
    assert_eq!(both, is_origin, "Origin counts alone, and only as an origin");
    let alone = Referrer::from_headers(std::iter::empty(), [referer.as_bytes()].into_iter());
    assert_eq!(alone, Referrer::parse(referer));
    let twice = [referer.as_bytes(), referer.as_bytes()];
    assert_eq!(Referrer::from_headers(std::iter::empty(), twice.into_iter()), None);
    assert_eq!(Referrer::from_headers(lines("null"), [referer.as_bytes()].into_iter()), None);
});

/// What a browser would take for the host and port is what a rule for them matches.
fn assert_reads_as_browsers_do(url: &str, read: &Referrer<'_>) {
    // It knows more forms of names that are none, such as bad punycode: no browser sends one.
    let Ok(parsed) = Url::parse(url) else { return };
    assert!(parsed.username().is_empty() && parsed.password().is_none(), "{url:?} has a user");
    let host = parsed.host_str().expect("http has a host");
    let port = parsed.port_or_known_default().expect("http has a port");
    if let Ok(rule) = format!("{host}:{port}").parse::<ReferrerRule>() {
        assert!(rule.matches(read), "browsers read {url:?} as {host}:{port}");
    }
    let shown = format!("{read:?}").to_ascii_lowercase();
    if !host.starts_with('[') {
        assert!(shown.contains(&format!("host: {host:?}")), "browsers read {url:?} as {host}, not {shown}");
    }
}

/// Byte by byte what an `http` or `https` URL must be for its host to be beyond doubt.
fn plain_url(url: &str) -> Option<Place> {
    if url.chars().any(|c| !c.is_ascii_graphic() || c == '\\') {
        return None;
    }
    let lower = url.to_ascii_lowercase();
    let (rest, default_port) = match lower.strip_prefix("https://") {
        Some(rest) => (rest, 443),
        None => (lower.strip_prefix("http://")?, 80),
    };
    let authority = rest.split(['/', '?', '#']).next()?;
    let (host, port) = plain_authority(authority)?;
    let host = match host.strip_prefix('[') {
        Some(address) => Host::V6(address.strip_suffix(']')?.parse().ok()?),
        None => Host::Name(plain_labels(host)?),
    };
    Some(Place { host, port: Some(port.unwrap_or(default_port)) })
}

fn plain_labels(host: &str) -> Option<Vec<String>> {
    let is_label =
        |label: &str| !label.is_empty() && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
    let labels: Vec<String> = host.rsplit('.').map(str::to_owned).collect();
    let last = &labels[0];
    let is_hex = last.strip_prefix("0x").is_some_and(|digits| digits.chars().all(|c| c.is_ascii_hexdigit()));
    let is_number = is_hex || last.chars().all(|c| c.is_ascii_digit());
    let is_sound = host.len() <= 253
        && labels.iter().all(|label| is_label(label))
        && (!is_number || host.parse::<Ipv4Addr>().is_ok());
    is_sound.then_some(labels)
}

/// Host and port. Only an address in brackets may hold another colon.
fn plain_authority(authority: &str) -> Option<(&str, Option<u16>)> {
    let inside = if authority.starts_with('[') { authority.find(']')? + 1 } else { 0 };
    let Some(colon) = authority[inside..].find(':') else { return Some((authority, None)) };
    let (host, port) = (&authority[..inside + colon], &authority[inside + colon + 1..]);
    let is_plain = !port.is_empty() && !port.starts_with('0') && port.chars().all(|c| c.is_ascii_digit());
    Some((host, Some(port.parse().ok().filter(|_| is_plain)?)))
}

/// Label by label, on the one text of a rule.
fn plain_match(rule: &str, place: &Place) -> bool {
    let (host, port) = plain_authority(rule).expect("a rule's own text can be split");
    if port.is_some() && port != place.port {
        return false;
    }
    match (&place.host, host.strip_prefix('[')) {
        (Host::V6(address), Some(rule)) => rule.strip_suffix(']').unwrap().parse() == Ok(*address),
        (Host::Name(labels), None) => {
            let parent = host.strip_prefix("*.");
            let own: Vec<&str> = parent.unwrap_or(host).rsplit('.').collect();
            let is_long_enough = if parent.is_some() { labels.len() > own.len() } else { labels.len() == own.len() };
            is_long_enough && own.iter().zip(labels).all(|(own, label)| own == label)
        }
        _ => false,
    }
}
