//! Referrers: the web origins from which a key may be used, and reading them from a request.
//!
//! A referrer restricts browsers, which set `Origin` and `Referer` themselves; any other program can
//! write what it likes there. So the request side refuses each form in which a URL reader could be
//! talked into another host: user information, `\`, escapes, control bytes.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The longest host, in bytes (RFC 1035 section 2.3.4, without the trailing dot).
pub const HOST_BYTES_MAX: usize = 253;

/// The longest label of a host, in bytes (RFC 1035 section 2.3.4).
const LABEL_BYTES_MAX: usize = 63;

/// A set of web origins: `example.com`, `*.example.com`, `localhost:3000`, `192.0.2.1`, `[2001:db8::1]:8443`.
///
/// `*.` stands for one or more labels before the host: `*.example.com` matches `a.b.example.com`, but
/// neither `example.com` nor `evilexample.com`. Without a port any port matches. The scheme never
/// counts. The text is stored in lower case; names beyond ASCII are written in punycode.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ReferrerRule {
    host: Host,
    port: Option<u16>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Host {
    /// A name or an IPv4 address, whose strict text is unique.
    Exact(Box<str>),
    /// All names below this one.
    Below(Box<str>),
    /// An IPv6 address, which has many texts.
    V6(Ipv6Addr),
}

impl ReferrerRule {
    /// Whether the referrer is in the set.
    pub fn matches(&self, referrer: &Referrer<'_>) -> bool {
        let is_port_allowed = self.port.is_none_or(|port| port == referrer.port);
        is_port_allowed
            && match &self.host {
                Host::Exact(host) => referrer.host.eq_ignore_ascii_case(host),
                Host::Below(parent) => is_below(referrer.host, parent),
                Host::V6(address) => parse_v6(referrer.host) == Some(*address),
            }
    }

    /// Whether `other` matches everything that this rule matches.
    pub fn is_within(&self, other: &Self) -> bool {
        let is_port_within = other.port.is_none() || other.port == self.port;
        is_port_within
            && match (&self.host, &other.host) {
                (Host::Exact(host), Host::Below(parent)) => is_below(host, parent),
                (Host::Below(host), Host::Below(parent)) => host == parent || is_below(host, parent),
                (host, other) => host == other,
            }
    }
}

/// Whether the host is a subdomain of the parent, at any depth. Case does not count.
fn is_below(host: &str, parent: &str) -> bool {
    let Some(split) = host.len().checked_sub(parent.len()) else {
        return false;
    };
    // Bytes: both are ASCII, and a slice of bytes cannot panic inside a character.
    let (head, tail) = host.as_bytes().split_at(split);
    head.len() > 1 && head.ends_with(b".") && tail.eq_ignore_ascii_case(parent.as_bytes())
}

/// The address in `[2001:db8::1]`.
fn parse_v6(host: &str) -> Option<Ipv6Addr> {
    host.strip_prefix('[')?.strip_suffix(']')?.parse().ok()
}

/// A port in plain decimal, 1 to 65535: the integer parser alone would take `+80` and `080`.
fn parse_port(text: &str) -> Option<u16> {
    if text.starts_with('0') || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

/// Splits `host:port`, where an IPv6 host is in brackets. The port is without its colon.
fn split_port(authority: &str) -> (&str, Option<&str>) {
    let host_end = authority.rfind(']').map_or(0, |bracket| bracket + 1);
    match authority[host_end..].find(':') {
        Some(colon) => (&authority[..host_end + colon], Some(&authority[host_end + colon + 1..])),
        None => (authority, None),
    }
}

/// Whether URL readers take the host for an IPv4 address, in whatever notation (WHATWG URL, "ends in a
/// number"): `127.1`, `0x7f000001` and `2130706433` are all 127.0.0.1 to a browser.
fn ends_in_number(host: &str) -> bool {
    let last = host.rsplit('.').next().unwrap_or(host);
    let hex = last.strip_prefix("0x").or_else(|| last.strip_prefix("0X"));
    match hex {
        Some(digits) => digits.bytes().all(|byte| byte.is_ascii_hexdigit()),
        None => !last.is_empty() && last.bytes().all(|byte| byte.is_ascii_digit()),
    }
}

impl fmt::Display for ReferrerRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Exact(host) => f.write_str(host)?,
            Host::Below(parent) => write!(f, "*.{parent}")?,
            Host::V6(address) => write!(f, "[{address}]")?,
        }
        match self.port {
            Some(port) => write!(f, ":{port}"),
            None => Ok(()),
        }
    }
}

impl FromStr for ReferrerRule {
    type Err = ReferrerRuleError;

    fn from_str(text: &str) -> Result<Self, ReferrerRuleError> {
        refuse_other_url_parts(text)?;
        let (host, port) = split_port(text);
        let host = parse_host(host)?;
        let port = match port {
            Some(port) => Some(parse_port(port).ok_or(ReferrerRuleError::Port)?),
            None => None,
        };
        Ok(Self { host, port })
    }
}

/// Answers the common mistake, a whole URL, with what to leave out.
fn refuse_other_url_parts(text: &str) -> Result<(), ReferrerRuleError> {
    if !text.is_ascii() {
        return Err(ReferrerRuleError::NonAscii);
    }
    if text.contains("://") {
        return Err(ReferrerRuleError::Scheme);
    }
    if text.contains('@') {
        return Err(ReferrerRuleError::UserInformation);
    }
    if text.contains(['/', '\\', '?', '#']) {
        return Err(ReferrerRuleError::Path);
    }
    if text.parse::<Ipv6Addr>().is_ok() {
        return Err(ReferrerRuleError::Brackets);
    }
    Ok(())
}

fn parse_host(text: &str) -> Result<Host, ReferrerRuleError> {
    if text.starts_with('[') {
        return parse_v6(text).map(Host::V6).ok_or(ReferrerRuleError::Address);
    }
    if text.len() > HOST_BYTES_MAX {
        return Err(ReferrerRuleError::TooLong);
    }
    let parent = text.strip_prefix("*.");
    let name = parent.unwrap_or(text);
    if name.contains('*') {
        return Err(ReferrerRuleError::Wildcard);
    }
    if name.ends_with('.') {
        return Err(ReferrerRuleError::TrailingDot);
    }
    if !name.split('.').all(is_label) {
        return Err(ReferrerRuleError::Label);
    }
    if ends_in_number(name) && (parent.is_some() || name.parse::<Ipv4Addr>().is_err()) {
        return Err(ReferrerRuleError::Address);
    }
    let host = name.to_ascii_lowercase().into_boxed_str();
    match parent {
        None => Ok(Host::Exact(host)),
        Some(_) if !host.contains('.') => Err(ReferrerRuleError::Wildcard),
        Some(_) => Ok(Host::Below(host)),
    }
}

/// Letters, digits and inner hyphens (RFC 1123 section 2.1).
fn is_label(text: &str) -> bool {
    let is_edge = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = text.as_bytes();
    bytes.len() <= LABEL_BYTES_MAX
        && is_edge(bytes.first())
        && is_edge(bytes.last())
        && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'-')
}

impl TryFrom<String> for ReferrerRule {
    type Error = ReferrerRuleError;

    fn try_from(text: String) -> Result<Self, ReferrerRuleError> {
        text.parse()
    }
}

impl From<ReferrerRule> for String {
    fn from(rule: ReferrerRule) -> Self {
        rule.to_string()
    }
}

/// Why a text is not a [`ReferrerRule`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ReferrerRuleError {
    /// A character beyond ASCII.
    #[error("write a host name beyond ASCII in its punycode form (xn--…)")]
    NonAscii,
    /// `https://…`
    #[error("write the host alone, without 'http://' or 'https://'")]
    Scheme,
    /// `user@…`
    #[error("write the host alone, without a user name ('@')")]
    UserInformation,
    /// `…/path`, `…?query`, `…#fragment`
    #[error("write the host alone, without a path, query or fragment")]
    Path,
    /// The port is no number from 1 to 65535.
    #[error("expected a port from 1 to 65535 after the ':'")]
    Port,
    /// An IPv6 address without brackets.
    #[error("write an IPv6 address in brackets, as in [2001:db8::1]")]
    Brackets,
    /// Brackets without an IPv6 address, or a host of numbers that is no dotted IPv4 address.
    #[error("the host looks like an IP address but is none: write 192.0.2.1 or [2001:db8::1]")]
    Address,
    /// Longer than [`HOST_BYTES_MAX`].
    #[error("the host is longer than {HOST_BYTES_MAX} bytes")]
    TooLong,
    /// A `*` anywhere else, or with fewer than two labels after it.
    #[error("'*' is allowed only as the first label, before at least two more, as in *.example.com")]
    Wildcard,
    /// `example.com.`
    #[error("write the host without the dot at the end")]
    TrailingDot,
    /// An empty or overlong label, a byte that host names do not have, or a hyphen at an edge.
    #[error("each label of a host is 1 to 63 letters, digits or '-', without a '-' at its start or end")]
    Label,
}

/// Where a request says that it comes from: the host and port of an `http` or `https` URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Referrer<'a> {
    host: &'a str,
    /// The URL's, else the default one of its scheme.
    port: u16,
}

impl<'a> Referrer<'a> {
    /// Reads an origin (RFC 6454 section 6.2) or a URL (RFC 3986). `None` for other schemes, and for
    /// anything that another reader might take for another host.
    pub fn parse(url: &'a str) -> Option<Self> {
        Self::parse_with_rest(url).map(|(referrer, _)| referrer)
    }

    /// Reads the referrer from all lines of the two headers. `Origin` wins if it is present at all: the
    /// browser sets it where the page could have suppressed `Referer`.
    ///
    /// `None` if there is neither; if the one that counts has several lines, is `null` or cannot be
    /// read; if `Origin` is more than an origin.
    pub fn from_headers(
        mut origin: impl Iterator<Item = &'a [u8]>,
        mut referer: impl Iterator<Item = &'a [u8]>,
    ) -> Option<Self> {
        if let Some(line) = origin.next() {
            if origin.next().is_some() {
                return None;
            }
            let (referrer, rest) = Self::parse_with_rest(str::from_utf8(line).ok()?)?;
            return rest.is_empty().then_some(referrer);
        }
        let line = referer.next()?;
        if referer.next().is_some() {
            return None;
        }
        Self::parse(str::from_utf8(line).ok()?)
    }

    /// The referrer, and what follows the authority of the URL.
    fn parse_with_rest(url: &'a str) -> Option<(Self, &'a str)> {
        if url.bytes().any(|byte| !byte.is_ascii_graphic() || byte == b'\\') {
            return None;
        }
        let (scheme, after) = url.split_once("://")?;
        let default_port = if scheme.eq_ignore_ascii_case("https") {
            443
        } else if scheme.eq_ignore_ascii_case("http") {
            80
        } else {
            return None;
        };
        let (authority, rest) = after.split_at(after.find(['/', '?', '#']).unwrap_or(after.len()));
        let (host, port) = split_port(authority);
        let port = match port {
            Some(port) => parse_port(port)?,
            None => default_port,
        };
        is_request_host(host).then_some((Self { host, port }, rest))
    }
}

/// Whether the host can be compared. Names may hold `_`, which browsers accept, but no `@` or `%`, and no
/// empty label (`example.com.` is another origin than `example.com`).
fn is_request_host(host: &str) -> bool {
    if host.starts_with('[') {
        return parse_v6(host).is_some();
    }
    let is_name_byte = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    let is_name = host.len() <= HOST_BYTES_MAX
        && host.split('.').all(|label| !label.is_empty() && label.bytes().all(is_name_byte));
    is_name && (!ends_in_number(host) || host.parse::<Ipv4Addr>().is_ok())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rule(text: &str) -> ReferrerRule {
        text.parse().unwrap_or_else(|error| panic!("{text:?}: {error}"))
    }

    #[test]
    fn rules_have_one_text() {
        let check = |text: &str, expected: &str| {
            assert_eq!(rule(text).to_string(), expected);
            assert_eq!(serde_json::to_string(&rule(text)).unwrap(), format!("\"{expected}\""));
            assert_eq!(serde_json::from_str::<ReferrerRule>(&format!("\"{text}\"")).unwrap(), rule(expected));
        };
        check("example.com", "example.com");
        check("Example.COM", "example.com");
        check("*.Example.com:8443", "*.example.com:8443");
        check("*.a.b.c.example", "*.a.b.c.example");
        check("localhost:3000", "localhost:3000");
        check("192.0.2.1", "192.0.2.1");
        check("192.0.2.1:80", "192.0.2.1:80");
        check("[2001:DB8:0:0::1]", "[2001:db8::1]");
        check("[::1]:65535", "[::1]:65535");
        check("xn--bcher-kva.example", "xn--bcher-kva.example");
        check("1.2.3.4.example", "1.2.3.4.example");
        check("0xg.0x-1", "0xg.0x-1");
        let longest = format!("{0}.{0}.{0}.{1}", "a".repeat(63), "b".repeat(61));
        assert_eq!(longest.len(), HOST_BYTES_MAX);
        check(&longest, &longest);
    }

    #[test]
    fn bad_rules_are_refused() {
        use ReferrerRuleError as E;
        let check_each = |texts: &[&str], expected: E| {
            for text in texts {
                assert_eq!(text.parse::<ReferrerRule>(), Err(expected), "{text:?}");
            }
        };
        let check = |texts: &str, expected| check_each(&texts.split_whitespace().collect::<Vec<_>>(), expected);
        check("bücher.example example。com ｅxample.com example.com\u{200b} *.ü.de", E::NonAscii);
        check("http://example.com https://*.example.com ftp://example.com/ ://", E::Scheme);
        check("user@example.com user:pw@example.com @example.com", E::UserInformation);
        check("example.com/ example.com/a //example.com example.com? example.com#a a\\b", E::Path);
        check("example.com: example.com:0 example.com:080 example.com:65536 example.com:+80", E::Port);
        check("example.com:-1 example.com:* example.com:80:80 [::1]: [::1]:0", E::Port);
        check_each(&["example.com: 80", "example.com:80 "], E::Port);
        check("::1 2001:db8::1", E::Brackets);
        check("[::1 [] [192.0.2.1] [::1%eth0] [fe80::1%25eth0] [*.example.com]", E::Address);
        check("[::1]x [::1][::1] [::1]80", E::Address);
        check("1 127.1 0x7f000001 192.0.2.01 192.0.2.256 1.2.3.4.5 a.0x *.2.1", E::Address);
        check("* *.com *.localhost **.example.com *.*.example.com a.*.example.com", E::Wildcard);
        check("*a.example.com a*.example.com *example.com example.* *:80", E::Wildcard);
        check("example.com. *.example.com. . localhost. 192.0.2.1.", E::TrailingDot);
        check(":80 .example.com a..b *..example.com -a.example a-.example *.-.example 1]", E::Label);
        check("a_b.example a%20b a,b a;b null,null", E::Label);
        check_each(&["", "a b.example", " example.com", "example.com ", "a\0b"], E::Label);
        check(&format!("{}.example", "a".repeat(64)), E::Label);
        check(&"a.".repeat(127), E::TooLong);
        assert!(E::NonAscii.to_string().contains("xn--"));
    }

    #[test]
    fn urls_are_read_to_host_and_port() {
        let check = |url: &str, expected: Option<(&str, u16)>| {
            let read = Referrer::parse(url).map(|referrer| (referrer.host, referrer.port));
            assert_eq!(read, expected, "{url:?}");
        };
        check("https://example.com", Some(("example.com", 443)));
        check("http://example.com", Some(("example.com", 80)));
        check("HTTPS://Example.com/", Some(("Example.com", 443)));
        check("https://example.com:8443/a/b?c=d#e", Some(("example.com", 8443)));
        check("https://example.com?u=http://b@c:1/", Some(("example.com", 443)));
        check("https://example.com#@evil.example", Some(("example.com", 443)));
        check("https://example.com/@evil.example:80/%5C", Some(("example.com", 443)));
        check("http://localhost:3000/", Some(("localhost", 3000)));
        check("http://192.0.2.1/", Some(("192.0.2.1", 80)));
        check("http://[2001:db8::1]:8080/", Some(("[2001:db8::1]", 8080)));
        check("http://[::1]", Some(("[::1]", 80)));
        check("https://my_app.example.com", Some(("my_app.example.com", 443)));
        let urls = "null example.com //example.com https:example.com https:/example.com https:///example.com https://
            https:/// ://example.com ftp://example.com file:///etc/passwd javascript://example.com httpss://example.com
            data:text/html,https://example.com https://example.com@evil.example https://user:pw@example.com
            https://@example.com https://evil.example\\@example.com https://example.com\\.evil.example
            https:\\\\example.com https://example.com/\\ https://example.com\0.evil.example https://example.com/ü
            https://ex%61mple.com https://example.com%2eevil.example https://bücher.example https://example。com
            https://example.com. https://.example.com https://a..example.com https://example.com: https://example.com:0
            https://example.com:0443 https://example.com:65536 https://example.com:+443 https://example.com:443:443
            https://*.example.com https://example.com,https://b.example https://[::1 https://[::1]x
            https://[::1%25eth0] https://::1 https://[192.0.2.1] https://127.1 https://0x7f.0.0.1
            https://2130706433 https://192.0.2.01";
        let spaced = [
            "",
            " https://example.com",
            "https ://example.com",
            "https://exa\tmple.com",
            "https://example.com\n",
            "https://example.com /",
        ];
        for url in urls.split_whitespace().chain(spaced) {
            check(url, None);
        }
        check(&format!("https://{}example", "a.".repeat(124)), None);
    }

    #[test]
    fn origin_wins_over_referer() {
        let check = |origin: &[&[u8]], referer: &[&[u8]], expected: Option<&str>| {
            let read = Referrer::from_headers(origin.iter().copied(), referer.iter().copied());
            assert_eq!(read.map(|referrer| referrer.host), expected, "{origin:?} {referer:?}");
        };
        check(&[], &[], None);
        check(&[b"https://a.example"], &[], Some("a.example"));
        check(&[], &[b"https://b.example/page"], Some("b.example"));
        check(&[b"https://a.example"], &[b"https://b.example/page"], Some("a.example"));
        check(&[b"https://a.example"], &[b"x", b"y"], Some("a.example"));
        // A present Origin that cannot be used does not hand over to Referer.
        let unusable: [&[u8]; 8] = [
            b"null",
            b"",
            b"https://a.example/",
            b"https://a.example/x",
            b"https://a.example?x",
            b"https://a.example https://b.example",
            b"https://\xff",
            b"https://user@a.example",
        ];
        for origin in unusable {
            check(&[origin], &[b"https://b.example/"], None);
        }
        check(&[b"https://a.example", b"https://a.example"], &[b"https://b.example/"], None);
        check(&[], &[b"https://b.example/", b"https://b.example/"], None);
        check(&[], &[b"null"], None);
        check(&[], &[b"about:blank"], None);
    }

    #[test]
    fn matching() {
        let check = |text: &str, url: &str, expected: bool| {
            let referrer = Referrer::parse(url).unwrap();
            assert_eq!(rule(text).matches(&referrer), expected, "{text} on {url}");
        };
        check("example.com", "https://example.com/a", true);
        check("example.com", "https://EXAMPLE.com:8443", true);
        check("example.com", "https://www.example.com", false);
        check("example.com", "https://evilexample.com", false);
        check("example.com", "https://example.com.evil.example", false);
        check("example.com", "https://evil.example/https://example.com", false);
        check("*.example.com", "https://www.example.com", true);
        check("*.example.com", "https://a.b.EXAMPLE.com", true);
        check("*.example.com", "https://my_app.example.com", true);
        check("*.example.com", "https://example.com", false);
        check("*.example.com", "https://evilexample.com", false);
        check("*.example.com", "https://www.example.com.evil.example", false);
        check("*.example.com", "https://e.com", false);
        check("example.com:443", "https://example.com", true);
        check("example.com:443", "http://example.com", false);
        check("example.com:443", "http://example.com:443", true);
        check("example.com:80", "http://example.com", true);
        check("*.example.com:8443", "https://a.example.com:8443", true);
        check("*.example.com:8443", "https://a.example.com", false);
        check("localhost", "http://localhost:3000", true);
        check("localhost:3000", "http://localhost:3001", false);
        check("192.0.2.1", "http://192.0.2.1", true);
        check("192.0.2.1", "http://1.192.0.2.1.example", false);
        check("[2001:db8::1]", "http://[2001:DB8:0:0:0:0:0:1]:80", true);
        check("[2001:db8::1]", "http://[2001:db8::2]", false);
        check("[::1]", "http://localhost", false);
    }

    #[test]
    fn containment() {
        let check = |inner: &str, outer: &str, expected: bool| {
            assert_eq!(rule(inner).is_within(&rule(outer)), expected, "{inner} within {outer}");
        };
        check("example.com", "example.com", true);
        check("example.com:443", "example.com", true);
        check("example.com", "example.com:443", false);
        check("example.com:80", "example.com:443", false);
        check("a.example.com", "*.example.com", true);
        check("*.a.example.com", "*.example.com", true);
        check("*.example.com", "*.example.com", true);
        check("*.example.com", "*.a.example.com", false);
        check("*.example.com", "example.com", false);
        check("example.com", "*.example.com", false);
        check("*.evilexample.com", "*.example.com", false);
        check("*.a.example.com:1", "*.example.com:1", true);
        check("[::1]:1", "[::1]", true);
        check("[::1]", "[::2]", false);
    }

    fn any_rule() -> impl Strategy<Value = String> {
        let host = "(\\*\\.)?([ab]\\.){1,2}example|localhost|192\\.0\\.2\\.[12]|\\[2001:db8::[12]\\]";
        (host, prop::option::of(prop::sample::select(vec![80_u16, 443])))
            .prop_map(|(host, port)| port.map_or(host.clone(), |port| format!("{host}:{port}")))
    }

    proptest! {
        #[test]
        fn no_text_panics(text in any::<String>(), near in "(https?://)?[a-b.:*@%/\\[\\]0-9]{0,12}") {
            for text in [text, near] {
                let _ = text.parse::<ReferrerRule>();
                let _ = Referrer::parse(&text);
            }
        }

        #[test]
        fn rules_round_trip(text in any_rule()) {
            prop_assert_eq!(rule(&text).to_string(), text);
        }

        #[test]
        fn within_implies_matches(
            inner in any_rule(), outer in any_rule(), url in "https?://(([ab]\\.){0,3}example|localhost|192\\.0\\.2\\.1|\\[2001:db8::1\\])(:443)?",
        ) {
            let (inner, outer) = (rule(&inner), rule(&outer));
            let referrer = Referrer::parse(&url).unwrap();
            if inner.is_within(&outer) && inner.matches(&referrer) {
                prop_assert!(outer.matches(&referrer));
            }
        }
    }
}
