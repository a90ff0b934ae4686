//! The one path normaliser: it accepts a canonical path or refuses, and never rewrites.
//!
//! The matcher decides on a path and the forwarder or the API server behind it acts on it. Each way in
//! which two programs may read one path differently (dot segments, `//`, `%2F`, `;`, double
//! encoding, overlong UTF-8) is a way around an endpoint rule, so a path that leaves room for a second
//! reading is refused here, once, for everybody.

use thiserror::Error;

/// The longest path that is looked at, in bytes.
pub const PATH_BYTES_MAX: usize = 4096;

/// The path of a request, without its query, in the only form in which it can be written.
///
/// It starts with `/`, has no empty, `.` or `..` segment, holds only `pchar` (RFC 3986 section 3.3) other
/// than `;`, and escapes a byte only where it must or may be escaped, in upper-case hex (RFC 3986 section
/// 6.2.2). The decoded form is UTF-8 without control characters.
///
/// One freedom is left: `:`, `@` and the sub-delimiters may be raw or escaped, since clients do both
/// (`encodeURIComponent` escapes what a browser's address bar does not). Whoever compares segments
/// compares what they stand for; see [`EndpointPattern`](crate::endpoint::EndpointPattern).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CanonicalPath<'a>(&'a str);

impl<'a> CanonicalPath<'a> {
    /// Takes the raw path of a request target in origin form (RFC 9112 section 3.2.1), without the query.
    ///
    /// # Errors
    /// The first [`PathError`] met from the left.
    pub fn parse(raw: &'a str) -> Result<Self, PathError> {
        if raw.len() > PATH_BYTES_MAX {
            return Err(PathError::TooLong);
        }
        let relative = raw.strip_prefix('/').ok_or(PathError::NotAbsolute)?;
        if !relative.is_empty() {
            relative.split('/').try_for_each(check_segment)?;
        }
        Ok(Self(raw))
    }

    /// The path, byte for byte as it was received.
    pub fn as_str(self) -> &'a str {
        self.0
    }

    /// The segments between the slashes, still escaped. `/` has none.
    pub fn segments(self) -> Segments<'a> {
        // Only the root ends with a slash.
        Segments(Some(&self.0[1..]).filter(|rest| !rest.is_empty()))
    }
}

/// The segments of a path that are left.
#[derive(Clone, Debug)]
pub struct Segments<'a>(Option<&'a str>);

impl<'a> Iterator for Segments<'a> {
    type Item = &'a str;

    #[inline]
    fn next(&mut self) -> Option<&'a str> {
        let rest = self.0?;
        // Segments are short: a plain loop is faster than what a long text would be searched with.
        let Some(end) = rest.bytes().position(|byte| byte == b'/') else {
            self.0 = None;
            return Some(rest);
        };
        let (segment, tail) = rest.split_at(end);
        self.0 = Some(&tail[1..]);
        Some(segment)
    }
}

/// Why a path is not canonical.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum PathError {
    /// Empty, or not in origin form: an absolute URL, `*`, a relative path.
    #[error("the path does not start with '/'")]
    NotAbsolute,
    /// Longer than [`PATH_BYTES_MAX`].
    #[error("the path is longer than {PATH_BYTES_MAX} bytes")]
    TooLong,
    /// A raw `?` or `#`.
    #[error("the path holds a query or a fragment ('?' or '#')")]
    QueryOrFragment,
    /// `//`, or a slash at the end.
    #[error("the path has an empty segment ('//' or a slash at the end)")]
    EmptySegment,
    /// A segment `.` or `..`.
    #[error("the path has a '.' or '..' segment")]
    DotSegment,
    /// A segment such as `admin.`, which some file systems read as `admin`.
    #[error("a segment of the path ends with '.'")]
    TrailingDot,
    /// A segment that starts or ends with `%20`, which some servers trim.
    #[error("a segment of the path starts or ends with an encoded space")]
    EdgeSpace,
    /// A raw `\`, which some servers read as `/`.
    #[error("the path holds a '\\'")]
    Backslash,
    /// A raw `;`: some servers cut path parameters off before they resolve `..`.
    #[error("the path holds a path parameter (';')")]
    PathParameter,
    /// A raw control byte.
    #[error("the path holds a control byte")]
    Control,
    /// A raw byte above 127.
    #[error("the path holds a byte that is not ASCII and not percent-encoded")]
    NonAscii,
    /// Another byte, such as a space, that a path must escape (RFC 3986 section 3.3).
    #[error("the path holds a byte that must be percent-encoded")]
    NotAllowed,
    /// A `%` without two hex digits.
    #[error("the path holds a '%' that is not followed by two hex digits")]
    BadEscape,
    /// An escape such as `%c3`.
    #[error("the path holds a percent-encoding with lower-case hex digits")]
    LowerCaseEscape,
    /// An escaped `.`.
    #[error("the path holds a percent-encoded '.'")]
    EncodedDot,
    /// An escaped letter, digit, `-`, `_` or `~` (RFC 3986 section 2.3).
    #[error("the path holds a percent-encoded character that needs no encoding")]
    EncodedUnreserved,
    /// An escaped `/`, `\`, `%` or `;`.
    #[error("the path holds a percent-encoded '/', '\\', '%' or ';'")]
    EncodedDelimiter,
    /// An escaped control character: C0, DEL or C1.
    #[error("the path holds a percent-encoded control character")]
    EncodedControl,
    /// Escapes whose bytes are no UTF-8: overlong forms, surrogates, cut sequences.
    #[error("the path holds percent-encoded bytes that are not valid UTF-8")]
    InvalidUtf8,
}

/// Checks one segment: of a request's path, or a literal one of a pattern.
pub(crate) fn check_segment(segment: &str) -> Result<(), PathError> {
    match segment {
        "" => return Err(PathError::EmptySegment),
        "." | ".." => return Err(PathError::DotSegment),
        _ => {}
    }
    let mut rest = segment.as_bytes();
    while let [byte, tail @ ..] = rest {
        rest = if *byte == b'%' {
            check_escaped_character(rest)?
        } else {
            check_raw_byte(*byte)?;
            tail
        };
    }
    if segment.ends_with('.') {
        return Err(PathError::TrailingDot);
    }
    if segment.starts_with("%20") || segment.ends_with("%20") {
        return Err(PathError::EdgeSpace);
    }
    Ok(())
}

/// The bytes that a canonical segment stands for. Two segments with the same bytes name the same thing to
/// a server that decodes before it routes, as nearly all do.
pub(crate) fn decoded_bytes(segment: &str) -> impl Iterator<Item = u8> {
    let mut rest = segment.as_bytes();
    std::iter::from_fn(move || {
        let byte;
        (byte, rest) = match split_escape(rest) {
            Some(escaped) => escaped,
            None => rest.split_first().map(|(byte, tail)| (*byte, tail))?,
        };
        Some(byte)
    })
}

fn check_raw_byte(byte: u8) -> Result<(), PathError> {
    match byte {
        _ if byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,=:@".contains(&byte) => Ok(()),
        b'?' | b'#' => Err(PathError::QueryOrFragment),
        b'\\' => Err(PathError::Backslash),
        b';' => Err(PathError::PathParameter),
        0x00..=0x1F | 0x7F => Err(PathError::Control),
        0x80.. => Err(PathError::NonAscii),
        _ => Err(PathError::NotAllowed),
    }
}

/// Checks the one to four escapes of the character at the head of `bytes`, and returns what follows.
fn check_escaped_character(bytes: &[u8]) -> Result<&[u8], PathError> {
    let (lead, mut rest) = check_escape(bytes)?;
    let length = match lead {
        0x00..=0x7F => return Ok(rest),
        0xC2..=0xDF => 2,
        0xE0..=0xEF => 3,
        0xF0..=0xF4 => 4,
        _ => return Err(PathError::InvalidUtf8),
    };
    let mut character = [lead, 0, 0, 0];
    for byte in &mut character[1..length] {
        if rest.first() != Some(&b'%') {
            return Err(PathError::InvalidUtf8);
        }
        (*byte, rest) = check_escape(rest)?;
    }
    let text = str::from_utf8(&character[..length]).map_err(|_| PathError::InvalidUtf8)?;
    if text.contains(char::is_control) {
        return Err(PathError::EncodedControl);
    }
    Ok(rest)
}

/// Decodes the escape at the head of `bytes`. What an attack would hide is named before how it is spelled.
fn check_escape(bytes: &[u8]) -> Result<(u8, &[u8]), PathError> {
    let (byte, rest) = split_escape(bytes).ok_or(PathError::BadEscape)?;
    match byte {
        b'.' => return Err(PathError::EncodedDot),
        b'/' | b'\\' | b'%' | b';' => return Err(PathError::EncodedDelimiter),
        0x00..=0x1F | 0x7F => return Err(PathError::EncodedControl),
        _ => {}
    }
    if bytes[1..3].iter().any(u8::is_ascii_lowercase) {
        return Err(PathError::LowerCaseEscape);
    }
    if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'~') {
        return Err(PathError::EncodedUnreserved);
    }
    Ok((byte, rest))
}

/// The byte of the escape at the head of `bytes`, and what follows.
fn split_escape(bytes: &[u8]) -> Option<(u8, &[u8])> {
    let [b'%', high, low, rest @ ..] = bytes else {
        return None;
    };
    let high = char::from(*high).to_digit(16)?;
    let low = char::from(*low).to_digit(16)?;
    Some(((high * 16 + low) as u8, rest))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(raw: &str, expected: Result<&[&str], PathError>) {
        let segments = CanonicalPath::parse(raw).map(|path| {
            assert_eq!(path.as_str(), raw);
            path.segments().collect::<Vec<_>>()
        });
        assert_eq!(segments, expected.map(<[&str]>::to_vec), "{raw:?}");
    }

    #[test]
    fn canonical_paths_are_accepted() {
        check("/", Ok(&[]));
        check("/v1", Ok(&["v1"]));
        check("/v1/users/usr_123", Ok(&["v1", "users", "usr_123"]));
        check("/a-b._~/c!$&'()*+,=:@d", Ok(&["a-b._~", "c!$&'()*+,=:@d"]));
        check("/a%20b", Ok(&["a%20b"]));
        check("/what%3F/%23", Ok(&["what%3F", "%23"]));
        check("/caf%C3%A9/%E2%82%AC/%F0%9F%94%91", Ok(&["caf%C3%A9", "%E2%82%AC", "%F0%9F%94%91"]));
        check("/%C2%A0", Ok(&["%C2%A0"]));
        check("/me%40example.com", Ok(&["me%40example.com"]));
        check("/.well-known/..a/.b", Ok(&[".well-known", "..a", ".b"]));
    }

    #[test]
    fn other_forms_of_request_target_are_refused() {
        for raw in ["", "v1", "*", "http://example.com/", "HTTP://example.com/v1", " /v1", "\\v1"] {
            check(raw, Err(PathError::NotAbsolute));
        }
        check("/v1?x=1", Err(PathError::QueryOrFragment));
        check("/v1#x", Err(PathError::QueryOrFragment));
        check("/?", Err(PathError::QueryOrFragment));
    }

    #[test]
    fn the_length_is_bounded() {
        let longest = format!("/{}", "a".repeat(PATH_BYTES_MAX - 1));
        assert!(CanonicalPath::parse(&longest).is_ok());
        check(&format!("{longest}a"), Err(PathError::TooLong));
    }

    #[test]
    fn ambiguous_segments_are_refused() {
        for raw in ["//", "//evil.example/x", "/a//b", "/a/", "/a/b//", "/http://x"] {
            check(raw, Err(PathError::EmptySegment));
        }
        for raw in ["/.", "/..", "/../a", "/a/./b", "/a/../b", "/a/..", "/a/."] {
            check(raw, Err(PathError::DotSegment));
        }
        for raw in ["/...", "/a.", "/admin./b", "/a%20."] {
            check(raw, Err(PathError::TrailingDot));
        }
        for raw in ["/%20", "/%20a", "/a%20", "/admin%20/b", "/a.%20"] {
            check(raw, Err(PathError::EdgeSpace));
        }
    }

    #[test]
    fn raw_bytes_that_servers_disagree_about_are_refused() {
        check("/a\\b", Err(PathError::Backslash));
        check("/..\\a", Err(PathError::Backslash));
        check("/a;b", Err(PathError::PathParameter));
        check("/a/..;/b", Err(PathError::PathParameter));
        check("/a;", Err(PathError::PathParameter));
        for raw in ["/\0", "/a\tb", "/a\r\nb", "/\u{1b}", "/a\u{7f}"] {
            check(raw, Err(PathError::Control));
        }
        for raw in ["/é", "/a\u{ff0f}b", "/\u{80}", "/\u{202e}"] {
            check(raw, Err(PathError::NonAscii));
        }
        for raw in ["/a b", "/ ", "/\"", "/<a>", "/a|b", "/^", "/`", "/{id}", "/[a]"] {
            check(raw, Err(PathError::NotAllowed));
        }
    }

    #[test]
    fn every_raw_byte_is_a_pchar_or_refused() {
        const PCHAR: &str = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~!$&'()*+,=:@";
        for byte in 0..=0x7F_u8 {
            let character = char::from(byte);
            let accepted = CanonicalPath::parse(&format!("/a{character}b")).is_ok();
            // The slash splits the segment in two good ones.
            assert_eq!(accepted, PCHAR.contains(character) || character == '/', "{character:?}");
        }
    }

    #[test]
    fn escapes_have_one_spelling() {
        for raw in ["/%", "/%2", "/a%", "/%zz", "/%2G", "/%%20", "/% 41", "/%+1", "/%-1", "/%2/F", "/%u002F"] {
            check(raw, Err(PathError::BadEscape));
        }
        for raw in ["/%3f", "/%c3%a9", "/%C3%a9", "/%7a"] {
            check(raw, Err(PathError::LowerCaseEscape));
        }
        for raw in ["/%61", "/%41", "/%39", "/%2D", "/%5F", "/a%7Eb"] {
            check(raw, Err(PathError::EncodedUnreserved));
        }
        for raw in ["/%2E", "/%2e%2e", "/.%2E", "/a%2Eb", "/%2E%2E%2F", "/%2e%2e;/a"] {
            check(raw, Err(PathError::EncodedDot));
        }
        for raw in ["/%2F", "/a%2fb", "/%5C", "/%5c", "/%3B", "/%3b", "/%25", "/%252F", "/%252e%252e", "/..%2Fa"] {
            check(raw, Err(PathError::EncodedDelimiter));
        }
        for raw in ["/%00", "/a%00.png", "/%0A", "/%0d%0a", "/%1F", "/%1f", "/%7F", "/%7f", "/%C2%80", "/%C2%9F"] {
            check(raw, Err(PathError::EncodedControl));
        }
    }

    #[test]
    fn escapes_are_utf8() {
        let check = |raw| check(raw, Err(PathError::InvalidUtf8));
        check("/%80"); // a continuation on its own
        check("/%FF"); // never a byte of UTF-8
        check("/%C0%AF"); // '/' overlong in two bytes
        check("/%C0%AE"); // '.' overlong
        check("/%C1%81"); // 'A' overlong
        check("/%E0%80%AF"); // '/' overlong in three bytes
        check("/%F0%80%80%AF"); // '/' overlong in four bytes
        check("/%ED%A0%80"); // a surrogate
        check("/%F4%90%80%80"); // past U+10FFFF
        check("/%F5%80%80%80"); // no such lead byte
        check("/%C3"); // cut off
        check("/%E2%82"); // cut off
        check("/%C3/%A9"); // cut by a slash
        check("/%C3A9"); // cut by a raw byte
        check("/%E2%82%AC%AC"); // a continuation too many
        check("/%C3%C3%A9"); // a lead in the place of a continuation
    }

    #[test]
    fn a_cut_sequence_is_named_for_the_worse_thing_in_it() {
        check("/%C3%2F", Err(PathError::EncodedDelimiter));
    }

    /// Pieces of which hostile paths are made, so that random strings reach past the first check.
    fn hostile_path() -> impl Strategy<Value = String> {
        let piece = prop_oneof![
            4 => "[a-z0-9._~:@*-]{1,3}",
            4 => Just("/".to_owned()),
            2 => "%[0-9A-F]{2}",
            1 => "%[0-9a-f]{2}",
            1 => "%C3%[89AB][0-9A-F]",
            1 => "%E2%[89AB][0-9A-F]%[89AB][0-9A-F]",
            1 => "\\PC{1}",
        ];
        proptest::collection::vec(piece, 0..8).prop_map(|pieces| format!("/{}", pieces.concat()))
    }

    proptest! {
        #[test]
        fn no_input_panics(raw in any::<String>()) {
            let _ = CanonicalPath::parse(&raw);
        }

        #[test]
        fn what_is_accepted_has_one_reading(raw in hostile_path()) {
            if let Ok(path) = CanonicalPath::parse(&raw) {
                let segments: Vec<_> = path.segments().collect();
                prop_assert_eq!(format!("/{}", segments.join("/")), path.as_str());
                for segment in segments {
                    let decoded = String::from_utf8(decoded_bytes(segment).collect()).unwrap();
                    prop_assert!(!decoded.is_empty());
                    prop_assert!(!matches!(decoded.as_str(), "." | ".."));
                    prop_assert!(!decoded.contains(['/', '\\', '%', ';']), "{decoded:?}");
                    prop_assert!(!decoded.contains(char::is_control), "{decoded:?}");
                }
            }
        }

        #[test]
        fn any_text_has_at_most_one_fully_escaped_form(text in "[^/\\\\%;\\pC. ]{1,12}") {
            let escaped: String = text
                .bytes()
                .map(|byte| match byte {
                    b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'~' => char::from(byte).to_string(),
                    _ => format!("%{byte:02X}"),
                })
                .collect();
            let raw = format!("/{escaped}");
            let path = CanonicalPath::parse(&raw).unwrap();
            let segment = path.segments().next().unwrap();
            prop_assert_eq!(decoded_bytes(segment).collect::<Vec<_>>(), text.into_bytes());
        }
    }
}
