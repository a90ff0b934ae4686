//! Paths: `domain::path` beside a plain list of what a canonical path must not hold, and what must hold of every path
//! that is accepted: nothing is left to decode, and every other spelling of it is the same endpoint.

#![no_main]

use claviger_domain::endpoint::{EndpointPattern, Method, PATTERN_BYTES_MAX};
use claviger_domain::path::{CanonicalPath, PATH_BYTES_MAX};
use libfuzzer_sys::fuzz_target;

const UNRESERVED: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~";
/// The other characters that RFC 3986 allows in a segment as they are, without `;`.
const RAW: &[u8] = b"!$&'()*+,=:@";

fuzz_target!(|raw: &str| {
    let parsed = CanonicalPath::parse(raw);
    let decoded = plain_reading(raw).filter(|_| raw.len() <= PATH_BYTES_MAX);
    assert_eq!(parsed.is_ok(), decoded.is_some(), "{raw:?}: {parsed:?}");
    let (Ok(path), Some(decoded)) = (parsed, decoded) else { return };

    assert_eq!(path.as_str(), raw);
    let segments: Vec<&str> = path.segments().collect();
    assert_eq!(format!("/{}", segments.join("/")), raw);
    assert_eq!(segments.len(), decoded.len());
    for segment in &decoded {
        let is_dots = segment.trim_matches(['.', ' ']).is_empty();
        assert!(!is_dots && !segment.contains(['/', '\\', '%', ';', '\0']), "{raw:?} hides {segment:?}");
        assert!(!segment.contains(char::is_control));
    }

    // Whatever a server that decodes sends on, escaped as it likes, is the same path again.
    for kept in [UNRESERVED.to_vec(), [UNRESERVED, RAW].concat()] {
        let again: String = decoded.iter().map(|segment| format!("/{}", escaped(segment, &kept))).collect();
        let again = if again.is_empty() { "/".to_owned() } else { again };
        assert_eq!(plain_reading(&again).as_ref(), Some(&decoded), "{raw:?} is {again:?}");
        if again.len() > PATH_BYTES_MAX {
            continue;
        }
        let reparsed = CanonicalPath::parse(&again).expect("an escaped form of an accepted path is accepted");
        // A pattern for the one is a pattern for the other.
        let text = format!("GET {raw}");
        if text.len() <= PATTERN_BYTES_MAX && !raw.contains('*') {
            let pattern: EndpointPattern = text.parse().expect("a path without wildcards is a pattern");
            assert!(pattern.matches(Method::Get, path) && pattern.matches(Method::Get, reparsed), "{raw:?} {again:?}");
        }
    }
});

/// The decoded segments, if there is nothing in the path that must not be.
fn plain_reading(raw: &str) -> Option<Vec<String>> {
    if !raw.starts_with('/') {
        return None;
    }
    if raw == "/" {
        return Some(Vec::new());
    }
    raw[1..].split('/').map(plain_segment).collect()
}

fn plain_segment(segment: &str) -> Option<String> {
    let bytes = segment.as_bytes();
    if segment.is_empty() || segment.ends_with('.') || segment.starts_with("%20") || segment.ends_with("%20") {
        return None;
    }
    let (mut decoded, mut at) = (Vec::new(), 0);
    while at < bytes.len() {
        if bytes[at] != b'%' {
            if !UNRESERVED.contains(&bytes[at]) && !RAW.contains(&bytes[at]) {
                return None;
            }
            decoded.push(bytes[at]);
            at += 1;
            continue;
        }
        let digits = segment.get(at + 1..at + 3)?;
        if !digits.bytes().all(|digit| b"0123456789ABCDEF".contains(&digit)) {
            return None;
        }
        let byte = u8::from_str_radix(digits, 16).expect("two hex digits");
        if UNRESERVED.contains(&byte) || b"/\\%;".contains(&byte) {
            return None;
        }
        decoded.push(byte);
        at += 3;
    }
    let decoded = String::from_utf8(decoded).ok()?;
    (!decoded.contains(char::is_control)).then_some(decoded)
}

fn escaped(segment: &str, kept: &[u8]) -> String {
    let escape = |byte| if kept.contains(&byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    segment.bytes().map(escape).collect()
}
