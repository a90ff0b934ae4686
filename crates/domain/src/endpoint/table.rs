//! The lookup from a request to the most specific endpoint pattern of a definition.

use thiserror::Error;

use super::{EndpointPattern, Method, Segment};
use crate::path::{CanonicalPath, Segments, decoded_bytes};

/// So many children are gone through one after the other.
const FEW: usize = 8;

/// Patterns compiled into a tree, to find the most specific one for a request.
///
/// A lookup visits each node at most once, so its cost is bounded by the size of the definition, whatever
/// the path. It allocates nothing.
#[derive(Clone, Debug)]
pub struct EndpointTable<T> {
    root: Node<T>,
}

impl<T> EndpointTable<T> {
    /// Compiles the entries; their order does not matter.
    ///
    /// # Errors
    /// [`EndpointConflict`] if two of them have the same method and the same shape.
    pub fn new(entries: impl IntoIterator<Item = (EndpointPattern, T)>) -> Result<Self, EndpointConflict> {
        let mut root = Node::default();
        for (pattern, value) in entries {
            root.insert(pattern, value)?;
        }
        Ok(Self { root })
    }

    /// The value of the most specific pattern that matches.
    ///
    /// Paths are compared segment by segment from the left: a literal before `*` or `{name}` before `**`.
    /// With equal paths, the request's own method comes before `GET` for a `HEAD`, and that before `*`.
    pub fn find(&self, method: Method, path: CanonicalPath<'_>) -> Option<&T> {
        self.root.find(method, path.segments())
    }
}

/// Two entries of a table that no request could tell apart.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("\"{first}\" and \"{second}\" are the same endpoint")]
pub struct EndpointConflict {
    /// The entry that came first.
    pub first: EndpointPattern,
    /// The entry that repeats it.
    pub second: EndpointPattern,
}

#[derive(Clone, Debug)]
struct Node<T> {
    /// Children by decoded literal, sorted.
    literals: Vec<(Box<[u8]>, Self)>,
    one: Option<Box<Self>>,
    /// Patterns that end at this node; they differ in method.
    here: Vec<(EndpointPattern, T)>,
    /// Patterns that end in `**` below this node; they differ in method.
    rest: Vec<(EndpointPattern, T)>,
}

impl<T> Default for Node<T> {
    fn default() -> Self {
        Self { literals: Vec::new(), one: None, here: Vec::new(), rest: Vec::new() }
    }
}

impl<T> Node<T> {
    fn insert(&mut self, pattern: EndpointPattern, value: T) -> Result<(), EndpointConflict> {
        let mut node = self;
        let mut ends_in_rest = false;
        for segment in pattern.segments() {
            match segment {
                Segment::Literal(literal) => node = node.literal_or_insert(literal),
                Segment::One => node = node.one.get_or_insert_default(),
                Segment::Rest => ends_in_rest = true,
            }
        }
        let entries = if ends_in_rest { &mut node.rest } else { &mut node.here };
        if let Some((first, _)) = entries.iter().find(|(first, _)| first.method == pattern.method) {
            return Err(EndpointConflict { first: first.clone(), second: pattern });
        }
        entries.push((pattern, value));
        Ok(())
    }

    fn literal_or_insert(&mut self, literal: &str) -> &mut Self {
        let decoded: Box<[u8]> = decoded_bytes(literal).collect();
        let found = self.literals.binary_search_by(|(known, _)| known.cmp(&decoded));
        let index = found.unwrap_or_else(|index| {
            self.literals.insert(index, (decoded, Self::default()));
            index
        });
        &mut self.literals[index].1
    }

    fn find(&self, method: Method, mut segments: Segments<'_>) -> Option<&T> {
        let Some(segment) = segments.next() else {
            return most_exact(&self.here, method);
        };
        // Most specific first. A branch that ends without an entry for this method falls back to the next.
        let literal = || self.literal(segment)?.find(method, segments.clone());
        let one = || self.one.as_ref()?.find(method, segments.clone());
        literal().or_else(one).or_else(|| most_exact(&self.rest, method))
    }

    fn literal(&self, segment: &str) -> Option<&Self> {
        let bytes = segment.as_bytes();
        if self.literals.is_empty() {
            return None;
        }
        let found = if bytes.contains(&b'%') {
            self.literals.binary_search_by(|(known, _)| known.iter().copied().cmp(decoded_bytes(segment))).ok()
        } else if self.literals.len() <= FEW {
            self.literals.iter().position(|(known, _)| is_same(known, bytes))
        } else {
            self.literals.binary_search_by(|(known, _)| (**known).cmp(bytes)).ok()
        };
        found.map(|index| &self.literals[index].1)
    }
}

/// Whether two short texts are the same: for those a loop is faster than a call.
#[inline]
fn is_same(one: &[u8], other: &[u8]) -> bool {
    one.len() == other.len() && one.iter().zip(other).all(|(one, other)| one == other)
}

fn most_exact<T>(entries: &[(EndpointPattern, T)], method: Method) -> Option<&T> {
    let ranked = entries.iter().filter_map(|(pattern, value)| Some((pattern.method_rank(method)?, value)));
    ranked.max_by_key(|(rank, _)| *rank).map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::endpoint::tests::{any_method, any_path, any_pattern, path, pattern};

    #[test]
    fn the_most_specific_entry_wins() {
        let patterns = [
            "GET /v1/users",
            "POST /v1/users",
            "* /v1/users/{id}",
            "GET /v1/users/{id}",
            "GET /v1/users/me",
            "GET /v1/users/me/keys",
            "GET /v1/users/{id}/orders",
            "DELETE /v1/users/**",
            "HEAD /v1/files/*",
            "GET /v1/files/*",
            "GET /v1/files/{id}/**",
            "GET /v1/a:b",
            "GET /v1/*",
            "* /**",
            "GET /",
        ];
        let table = EndpointTable::new(patterns.map(|text| (pattern(text), text))).unwrap();
        let check = |method: Method, raw: &str, expected: Option<&str>| {
            assert_eq!(table.find(method, path(raw)).copied(), expected, "{method} {raw}");
        };
        check(Method::Get, "/", Some("GET /"));
        check(Method::Post, "/", None);
        check(Method::Get, "/v1/users", Some("GET /v1/users"));
        check(Method::Head, "/v1/users", Some("GET /v1/users"));
        check(Method::Put, "/v1/users", Some("* /**"));
        check(Method::Get, "/v1/users/me", Some("GET /v1/users/me"));
        check(Method::Get, "/v1/users/you", Some("GET /v1/users/{id}"));
        check(Method::Put, "/v1/users/me", Some("* /v1/users/{id}"));
        check(Method::Delete, "/v1/users/me", Some("* /v1/users/{id}"));
        check(Method::Delete, "/v1/users/me/keys", Some("DELETE /v1/users/**"));
        // The literal branch `me` has no `orders`: fall back to the wildcard beside it.
        check(Method::Get, "/v1/users/me/orders", Some("GET /v1/users/{id}/orders"));
        check(Method::Get, "/v1/users/me/other", Some("* /**"));
        check(Method::Head, "/v1/files/a", Some("HEAD /v1/files/*"));
        check(Method::Get, "/v1/files/a", Some("GET /v1/files/*"));
        check(Method::Head, "/v1/files/a/b/c", Some("GET /v1/files/{id}/**"));
        check(Method::Get, "/v1/a:b", Some("GET /v1/a:b"));
        check(Method::Get, "/v1/a%3Ab", Some("GET /v1/a:b"));
        check(Method::Get, "/v1/a%3Ac", Some("GET /v1/*"));
    }

    #[test]
    fn conflicts_name_both_entries() {
        let check = |first: &str, second: &str, is_conflict: bool| {
            let result = EndpointTable::new([(pattern(first), 1), (pattern("PUT /x"), 2), (pattern(second), 3)]);
            let expected = is_conflict.then(|| EndpointConflict { first: pattern(first), second: pattern(second) });
            assert_eq!(result.err(), expected, "{first}, {second}");
        };
        check("GET /a/*", "GET /a/{id}", true);
        check("GET /a/{x}/b", "GET /a/{y}/b", true);
        check("* /a/**", "* /a/**", true);
        check("GET /a:b", "GET /a%3Ab", true);
        check("GET /", "GET /", true);
        check("GET /a/*", "HEAD /a/{id}", false);
        check("GET /a/*", "* /a/{id}", false);
        check("GET /a/*", "GET /a/**", false);
        let conflict = EndpointConflict { first: pattern("GET /a/*"), second: pattern("GET /a/{id}") };
        assert_eq!(conflict.to_string(), "\"GET /a/*\" and \"GET /a/{id}\" are the same endpoint");
    }

    /// What "most specific" means, in the plainest words: larger is more specific.
    fn specificity(pattern: &EndpointPattern, method: Method) -> (Vec<u8>, Option<u8>) {
        let path = pattern.segments().map(|segment| match segment {
            Segment::Literal(_) => 2,
            Segment::One => 1,
            Segment::Rest => 0,
        });
        (path.collect(), pattern.method_rank(method))
    }

    proptest! {
        #[test]
        fn the_table_agrees_with_a_naive_scan(
            patterns in prop::collection::vec(any_pattern(), 0..12),
            requests in prop::collection::vec((any_method(), any_path()), 1..12),
        ) {
            let entries: Vec<_> = patterns.into_iter().map(|pattern| (pattern.clone(), pattern)).collect();
            let same = |one: &EndpointPattern, other: &EndpointPattern| {
                one.method == other.method && one.is_within(other) && other.is_within(one)
            };
            let is_conflict = (1..entries.len()).any(|i| entries[..i].iter().any(|e| same(&e.0, &entries[i].0)));
            let table = EndpointTable::new(entries.clone());
            prop_assert_eq!(table.is_err(), is_conflict);
            if let Ok(table) = table {
                for (method, raw) in requests {
                    let matching = entries.iter().map(|e| &e.0).filter(|p| p.matches(method, path(&raw)));
                    let naive = matching.max_by_key(|pattern| specificity(pattern, method));
                    prop_assert_eq!(table.find(method, path(&raw)), naive);
                }
            }
        }
    }
}
