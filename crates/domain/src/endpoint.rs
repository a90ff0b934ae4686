//! Endpoints: request methods, the patterns that name a set of endpoints, and the [`EndpointTable`] that
//! finds the most specific pattern for a request.
//!
//! Segments are compared by what they stand for: `/a:b` and `/a%3Ab` are one endpoint, because the server
//! behind decodes before it routes. Otherwise an escape would lead around a literal rule and into the
//! wildcard beside it.

mod table;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::path::{CanonicalPath, PathError, check_segment, decoded_bytes};

pub use self::table::{EndpointConflict, EndpointTable};

/// The longest text of a pattern, in bytes.
pub const PATTERN_BYTES_MAX: usize = 512;

/// A request method (RFC 9110 section 9, RFC 5789). Case matters: `get` is no method.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
#[expect(missing_docs, reason = "the names are the RFC's")]
pub enum Method {
    Get,
    Head,
    Post,
    Put,
    Patch,
    Delete,
    Options,
}

impl Method {
    /// Every method.
    pub const ALL: [Self; 7] = [Self::Get, Self::Head, Self::Post, Self::Put, Self::Patch, Self::Delete, Self::Options];

    /// The method as it is written in a request line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
            Self::Options => "OPTIONS",
        }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Method {
    type Err = UnknownMethod;

    fn from_str(text: &str) -> Result<Self, UnknownMethod> {
        Self::ALL.into_iter().find(|method| method.as_str() == text).ok_or(UnknownMethod)
    }
}

/// The text is none of the methods of [`Method`], in upper case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the method is none of GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS (in upper case)")]
pub struct UnknownMethod;

/// A set of endpoints, written as in `GET /v1/users/*` or `* /v1/files/**`.
///
/// The text is a [`Method`] or `*` for all of them, one space, and a path. A segment of the path is a
/// literal in canonical form, `*` or `{name}` for exactly one segment (the name is for the reader:
/// `[a-z_][a-z0-9_]*`), or, only at the end, `**` for one or more segments. `/**` does not match `/`.
/// A literal `*` is written `%2A`. At most [`PATTERN_BYTES_MAX`] bytes.
///
/// Equality and order are those of the text as written; [`EndpointTable`] and
/// [`is_within`](Self::is_within) compare meanings.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct EndpointPattern {
    // First, so that sorted patterns are grouped by path.
    path: Box<str>,
    method: Option<Method>,
}

impl EndpointPattern {
    /// The method, or `None` for all methods.
    pub fn method(&self) -> Option<Method> {
        self.method
    }

    /// The path as written, starting with `/`.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Whether the endpoint is in the set. `HEAD` follows `GET` (RFC 9110 section 9.3.2): it is matched by
    /// `HEAD` and wherever `GET` would be.
    pub fn matches(&self, method: Method, path: CanonicalPath<'_>) -> bool {
        if self.method_rank(method).is_none() {
            return false;
        }
        let mut presented = path.segments();
        for segment in self.segments() {
            let Some(text) = presented.next() else {
                return false;
            };
            match segment {
                Segment::Literal(literal) if !is_same_literal(literal, text) => return false,
                Segment::Literal(_) | Segment::One => {}
                Segment::Rest => return true,
            }
        }
        presented.next().is_none()
    }

    /// Whether `other` matches everything that this pattern matches. Exact, with one pattern on each
    /// side: `* /a` is not within `GET /a`.
    pub fn is_within(&self, other: &Self) -> bool {
        let is_method_within = match (self.method, other.method) {
            (_, None) => true,
            (None, Some(_)) => false,
            (Some(method), Some(_)) => other.method_rank(method).is_some(),
        };
        if !is_method_within {
            return false;
        }
        let mut segments = self.segments();
        for outer in other.segments() {
            let Some(inner) = segments.next() else {
                return false;
            };
            match (inner, outer) {
                (_, Segment::Rest) => return true,
                (Segment::Literal(inner), Segment::Literal(outer)) if is_same_literal(inner, outer) => {}
                (Segment::Literal(_) | Segment::One, Segment::One) => {}
                _ => return false,
            }
        }
        segments.next().is_none()
    }

    fn segments(&self) -> impl Iterator<Item = Segment<'_>> {
        self.path[1..].split_terminator('/').map(|text| match text {
            "**" => Segment::Rest,
            "*" => Segment::One,
            _ if text.starts_with('{') => Segment::One,
            _ => Segment::Literal(text),
        })
    }

    /// How exactly the pattern's method meets the request's: its own before `GET` for `HEAD` before `*`.
    fn method_rank(&self, request: Method) -> Option<u8> {
        match (self.method, request) {
            (Some(method), _) if method == request => Some(2),
            (Some(Method::Get), Method::Head) => Some(1),
            (None, _) => Some(0),
            _ => None,
        }
    }
}

enum Segment<'a> {
    Literal(&'a str),
    /// `*` or `{name}`.
    One,
    /// `**`.
    Rest,
}

fn is_same_literal(one: &str, other: &str) -> bool {
    one == other || decoded_bytes(one).eq(decoded_bytes(other))
}

impl fmt::Display for EndpointPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method.map_or("*", Method::as_str), self.path)
    }
}

impl FromStr for EndpointPattern {
    type Err = EndpointPatternError;

    fn from_str(text: &str) -> Result<Self, EndpointPatternError> {
        if text.len() > PATTERN_BYTES_MAX {
            return Err(EndpointPatternError::TooLong);
        }
        let (method, path) = text.split_once(' ').ok_or(EndpointPatternError::Shape)?;
        let method = match method {
            "*" => None,
            _ => Some(method.parse()?),
        };
        let relative = path.strip_prefix('/').ok_or(PathError::NotAbsolute)?;
        if !relative.is_empty() {
            let mut segments = relative.split('/').peekable();
            while let Some(segment) = segments.next() {
                check_pattern_segment(segment, segments.peek().is_none())?;
            }
        }
        Ok(Self { path: path.into(), method })
    }
}

fn check_pattern_segment(segment: &str, is_last: bool) -> Result<(), EndpointPatternError> {
    match segment {
        "*" => Ok(()),
        "**" if is_last => Ok(()),
        "**" => Err(EndpointPatternError::RestNotLast),
        // `*.json` would be a canonical literal, but nobody who writes it means one.
        _ if segment.contains('*') => Err(EndpointPatternError::PartialWildcard),
        _ if segment.contains(['{', '}']) => {
            let name = segment.strip_prefix('{').and_then(|name| name.strip_suffix('}'));
            let is_valid = name.is_some_and(|name| {
                name.starts_with(|first: char| first.is_ascii_lowercase() || first == '_')
                    && name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_'))
            });
            if is_valid { Ok(()) } else { Err(EndpointPatternError::Parameter) }
        }
        _ => Ok(check_segment(segment)?),
    }
}

impl TryFrom<String> for EndpointPattern {
    type Error = EndpointPatternError;

    fn try_from(text: String) -> Result<Self, EndpointPatternError> {
        text.parse()
    }
}

impl From<EndpointPattern> for String {
    fn from(pattern: EndpointPattern) -> Self {
        pattern.to_string()
    }
}

/// Why a text is not an [`EndpointPattern`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum EndpointPatternError {
    /// Longer than [`PATTERN_BYTES_MAX`].
    #[error("the endpoint is longer than {PATTERN_BYTES_MAX} bytes")]
    TooLong,
    /// No space between method and path.
    #[error("an endpoint is a method or '*', one space and a path, as in \"GET /v1/users/*\"")]
    Shape,
    /// The method is unknown or not in upper case.
    #[error(transparent)]
    Method(#[from] UnknownMethod),
    /// The path or one of its literal segments is not canonical.
    #[error(transparent)]
    Path(#[from] PathError),
    /// A `*` beside other characters.
    #[error("'*' stands for a whole segment (write a literal '*' as %2A)")]
    PartialWildcard,
    /// A `**` before the end.
    #[error("'**' is allowed only as the last segment")]
    RestNotLast,
    /// Braces that do not hold a name and fill the segment.
    #[error("a parameter is a whole segment '{{name}}', and the name is [a-z_][a-z0-9_]*")]
    Parameter,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    pub(super) fn pattern(text: &str) -> EndpointPattern {
        text.parse().unwrap_or_else(|error| panic!("{text:?}: {error}"))
    }

    pub(super) fn path(raw: &str) -> CanonicalPath<'_> {
        CanonicalPath::parse(raw).unwrap()
    }

    #[test]
    fn methods_are_exact() {
        for method in Method::ALL {
            assert_eq!(method.as_str().parse(), Ok(method));
            let json = serde_json::to_string(&method).unwrap();
            assert_eq!(json, format!("\"{method}\""));
            assert_eq!(serde_json::from_str::<Method>(&json).unwrap(), method);
        }
        for text in ["", "get", "Get", "GET ", " GET", "*", "TRACE", "CONNECT", "GET\0"] {
            assert_eq!(text.parse::<Method>(), Err(UnknownMethod), "{text:?}");
        }
    }

    #[test]
    fn patterns_read_as_written() {
        for text in [
            "GET /",
            "GET /v1/users/*",
            "* /v1/files/**",
            "DELETE /v1/users/{user_id}/keys/{_0}",
            "POST /**",
            "GET /caf%C3%A9/a:b/%2A",
        ] {
            assert_eq!(pattern(text).to_string(), text);
            assert_eq!(serde_json::to_string(&pattern(text)).unwrap(), format!("\"{text}\""));
        }
        assert_eq!(pattern("* /a/{x}").method(), None);
        assert_eq!(pattern("PUT /a/{x}").method(), Some(Method::Put));
        assert_eq!(pattern("PUT /a/{x}").path(), "/a/{x}");
        assert!(serde_json::from_str::<EndpointPattern>("\"GET users\"").is_err());
    }

    #[test]
    fn bad_patterns_are_refused() {
        use EndpointPatternError as E;
        let check = |texts: &str, expected: E| {
            for text in texts.split(", ") {
                assert_eq!(text.parse::<EndpointPattern>(), Err(expected), "{text:?}");
            }
        };
        check("", E::Shape);
        check("GET, /v1/users, GET\t/v1, *", E::Shape);
        check("get /v1, TRACE /v1, ** /v1,  GET /v1, GET,POST /v1", E::Method(UnknownMethod));
        check("GET , GET v1, GET  /v1, GET http://example.com/", E::Path(PathError::NotAbsolute));
        check("GET /v1/, GET //, GET /*/", E::Path(PathError::EmptySegment));
        check("GET /v1/../x", E::Path(PathError::DotSegment));
        check("GET /v1/%2E%2E/*", E::Path(PathError::EncodedDot));
        check("GET /v1?x", E::Path(PathError::QueryOrFragment));
        check("GET /v1 , GET /v1 /x", E::Path(PathError::NotAllowed));
        check("GET /é", E::Path(PathError::NonAscii));
        check("GET /a%2fb", E::Path(PathError::EncodedDelimiter));
        check("GET /*.json, GET /a*, GET /***, GET /{*}, GET /a/**b", E::PartialWildcard);
        check("GET /**/a, GET /a/**/*, GET /**/**, GET /**/", E::RestNotLast);
        check("GET /{}, GET /{Id}, GET /{0a}, GET /{a-b}, GET /{a, GET /a}, GET /x{a}, GET /{a}{b}", E::Parameter);
        let longest = format!("GET /{}", "a".repeat(PATTERN_BYTES_MAX - 5));
        assert_eq!(pattern(&longest).to_string(), longest);
        check(&format!("{longest}a"), E::TooLong);
    }

    #[test]
    fn matching() {
        let check_each = |text: &str, endpoints: &str, expected: bool| {
            for endpoint in endpoints.split(", ") {
                let (method, raw) = endpoint.split_once(' ').unwrap();
                let matches = pattern(text).matches(method.parse().unwrap(), path(raw));
                assert_eq!(matches, expected, "{text} on {endpoint}");
            }
        };
        let check = |text, matching, others| {
            check_each(text, matching, true);
            check_each(text, others, false);
        };
        check("GET /", "GET /", "GET /a, POST /");
        check("GET /a", "GET /a", "GET /, GET /A, GET /ab, GET /a/b, GET /b");
        check("GET /users/*", "GET /users/usr_123, GET /users/*", "GET /users, GET /users/a/b, GET /x/a");
        check("GET /users/{id}", "GET /users/usr_123", "GET /users, GET /users/a/b, POST /users/a");
        check("GET /*/b", "GET /a/b", "GET /a/c, GET /b, GET /a/b/b");
        check("* /files/**", "DELETE /files/a, PUT /files/a/b/c", "GET /files, GET /file/a");
        check("* /**", "OPTIONS /a, HEAD /a/b", "GET /");
        // HEAD follows GET, never the other way round.
        check("GET /a", "GET /a, HEAD /a", "POST /a, OPTIONS /a");
        check("HEAD /a", "HEAD /a", "GET /a");
        check("POST /a", "POST /a", "HEAD /a, GET /a");
        // An escape is no way around a literal.
        check("GET /a:b", "GET /a%3Ab, GET /a:b", "GET /a%40b");
        check("GET /a%3Ab", "GET /a%3Ab, GET /a:b", "GET /a");
        check("GET /%2A", "GET /*, GET /%2A", "GET /a");
    }

    #[test]
    fn containment() {
        let check_each = |outer: &str, patterns: &str, expected: bool| {
            for inner in patterns.split(", ") {
                assert_eq!(pattern(inner).is_within(&pattern(outer)), expected, "{inner} within {outer}");
            }
        };
        let check = |outer, within, others| {
            check_each(outer, within, true);
            check_each(outer, others, false);
        };
        check("GET /a", "GET /a, HEAD /a", "* /a, POST /a, GET /b, GET /, GET /a/b, GET /*, GET /**");
        check("HEAD /a", "HEAD /a", "GET /a, * /a");
        check("* /a", "* /a, GET /a, OPTIONS /a", "* /b");
        check("GET /a/*", "GET /a/b, GET /a/{x}, GET /a/*", "GET /a/**, GET /a, GET /a/b/c, GET /*/b");
        check("GET /a/{x}", "GET /a/b, GET /a/{y}, GET /a/*", "GET /a/**");
        check("GET /a/b", "GET /a/b", "GET /a/*, GET /a/{b}");
        check("GET /a/**", "GET /a/b, GET /a/*, GET /a/**, GET /a/b/**, GET /a/*/**", "GET /a, GET /**, GET /b/**");
        check("GET /a/*/**", "GET /a/b/**, GET /a/b/c", "GET /a/**, GET /a/b");
        check("GET /**", "GET /a, GET /**", "GET /");
        check("GET /a:b", "GET /a%3Ab", "GET /a%40b");
    }

    pub(super) fn any_method() -> impl Strategy<Value = Method> {
        prop_oneof![Just(Method::Get), Just(Method::Head), Just(Method::Post)]
    }

    pub(super) fn any_pattern() -> impl Strategy<Value = EndpointPattern> {
        let segment = prop::sample::select(vec!["a", "b", "c:d", "c%3Ad", "*", "{x}"]);
        let segments = prop::collection::vec(segment, 0..4);
        (prop::option::of(any_method()), segments, any::<bool>()).prop_map(|(method, mut segments, rest)| {
            segments.extend(rest.then_some("**"));
            pattern(&format!("{} /{}", method.map_or("*", Method::as_str), segments.join("/")))
        })
    }

    pub(super) fn any_path() -> impl Strategy<Value = String> {
        let segment = prop::sample::select(vec!["a", "b", "c:d", "c%3Ad", "e"]);
        prop::collection::vec(segment, 0..5).prop_map(|segments| format!("/{}", segments.join("/")))
    }

    proptest! {
        #[test]
        fn no_text_panics(text in any::<String>()) {
            let _ = text.parse::<EndpointPattern>();
        }

        #[test]
        fn text_round_trips(pattern in any_pattern()) {
            prop_assert_eq!(pattern.to_string().parse(), Ok(pattern));
        }

        #[test]
        fn within_implies_matches(
            inner in any_pattern(), outer in any_pattern(), method in any_method(), raw in any_path(),
        ) {
            if inner.is_within(&outer) && inner.matches(method, path(&raw)) {
                prop_assert!(outer.matches(method, path(&raw)));
            }
        }
    }
}
