//! `If-Match` (RFC 9110 section 13.1.1): change a thing only if it is as it was last seen.

use axum::extract::FromRequestParts;
use claviger_app::AppError;
use claviger_domain::change::Revision;
use http::header::IF_MATCH;
use http::request::Parts;

use crate::error::Failure;

/// Most tags of one request: each may cost a transaction.
const TAGS_MAX: usize = 4;
/// Before the first change: no key has it.
const NO_REVISION: Revision = Revision(0);

/// What a request's `If-Match` asks for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum IfMatch {
    /// No such header, or `*`: any revision will do.
    Any,
    /// One of these revisions. A weak tag, or one that no revision has, matches nothing and is not listed.
    OneOf(Vec<Revision>),
}

impl IfMatch {
    /// Runs a mutation under the precondition. A key is at one revision, so of several tags at most one can match,
    /// and those that do not change nothing. Without a tag that could match the mutation is tried all the
    /// same, so that whether the key exists and may be changed is said first.
    pub(crate) async fn attempt<T, F>(self, mut mutation: impl FnMut(Option<Revision>) -> F) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, AppError>>,
    {
        let Self::OneOf(revisions) = self else {
            return Ok(mutation(None).await?);
        };
        for revision in revisions {
            match mutation(Some(revision)).await {
                Err(AppError::PreconditionFailed) => {}
                done => return Ok(done?),
            }
        }
        Ok(mutation(Some(NO_REVISION)).await?)
    }
}

impl<S: Sync> FromRequestParts<S> for IfMatch {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Failure> {
        let lines = parts.headers.get_all(IF_MATCH).iter().map(http::HeaderValue::as_bytes);
        let joined = lines.collect::<Vec<_>>().join(&b","[..]);
        if !parts.headers.contains_key(IF_MATCH) {
            return Ok(Self::Any);
        }
        parse(&joined).ok_or_else(|| {
            let message = format!("must be * or a list of at most {TAGS_MAX} entity tags, such as \"42\"");
            Failure::invalid_field("If-Match", &message)
        })
    }
}

fn parse(text: &[u8]) -> Option<IfMatch> {
    if text.trim_ascii() == b"*" {
        return Some(IfMatch::Any);
    }
    let mut revisions = Vec::new();
    let mut tags = 0;
    let mut rest = text;
    loop {
        rest = rest.trim_ascii_start();
        // Empty elements of a list are ignored (RFC 9110 section 5.6.1.2).
        if let Some(after) = rest.strip_prefix(b",") {
            rest = after;
            continue;
        }
        if rest.is_empty() {
            return (tags > 0).then_some(IfMatch::OneOf(revisions));
        }
        let (is_weak, quoted) = match rest.strip_prefix(b"W/") {
            Some(quoted) => (true, quoted),
            None => (false, rest),
        };
        let quoted = quoted.strip_prefix(b"\"")?;
        let end = quoted.iter().position(|byte| *byte == b'"')?;
        let (opaque, after) = (&quoted[..end], &quoted[end + 1..]);
        if opaque.iter().any(|byte| *byte <= b' ' || *byte == 0x7f) {
            return None;
        }
        tags += 1;
        if tags > TAGS_MAX {
            return None;
        }
        revisions.extend(revision(opaque).filter(|_| !is_weak));
        rest = after.trim_ascii_start();
        if !rest.is_empty() && !rest.starts_with(b",") {
            return None;
        }
    }
}

/// The revision whose tag this is, byte for byte.
fn revision(opaque: &[u8]) -> Option<Revision> {
    let text = str::from_utf8(opaque).ok()?;
    let revision = Revision(text.parse().ok()?);
    (revision.to_string() == text).then_some(revision)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_compared_strongly() {
        let check = |text: &str, expected: Option<&[i64]>| {
            let expected = expected.map(|list| IfMatch::OneOf(list.iter().copied().map(Revision).collect()));
            assert_eq!(parse(text.as_bytes()), expected, "{text}");
        };
        check(r#""7""#, Some(&[7]));
        check(r#" "7" , "8" "#, Some(&[7, 8]));
        check(r#","7",,"8","#, Some(&[7, 8]));
        check(r#"W/"7""#, Some(&[]));
        check(r#"W/"7", "8""#, Some(&[8]));
        check(r#""other""#, Some(&[]));
        check(r#""07""#, Some(&[]));
        check(r#""+7""#, Some(&[]));
        check(r#""a,b""#, Some(&[]));
        check(r#""""#, Some(&[]));
        for malformed in ["", ",", "7", r#""7"#, r#"7""#, r#""7" "8""#, r#""7"x"#, r#"w/"7""#, r#"*, "7""#, r#""7 8""#]
        {
            check(malformed, None);
        }
        assert_eq!(parse(b"*"), Some(IfMatch::Any));
    }
}
