//! The credential of a request: what its `Authorization` header says, before anything is looked up.

use crate::secret::PresentedSecret;

/// The longest secret that is looked at, in bytes.
pub const SECRET_BYTES_MAX: usize = 512;

/// What a request presents. `Debug` redacts the secret.
#[derive(Clone, Copy, Debug)]
pub enum Credential<'a> {
    /// No `Authorization` header.
    Missing,
    /// An `Authorization` header that is not exactly one bearer secret.
    Malformed,
    /// A well-formed bearer secret (RFC 6750 section 2.1), unknown so far.
    Bearer(PresentedSecret<'a>),
}

impl<'a> Credential<'a> {
    /// Reads the values of all `Authorization` header lines of a request.
    ///
    /// The one accepted shape is a single value of `Bearer` in any case (RFC 9110 section 11.1), one
    /// space, and 1 to [`SECRET_BYTES_MAX`] bytes of `b64token` (RFC 6750 section 2.1). Two credentials are
    /// never "first one wins": the proxy in front may have looked at the other one.
    pub fn from_authorization(mut values: impl Iterator<Item = &'a [u8]>) -> Self {
        match (values.next(), values.next()) {
            (None, _) => Self::Missing,
            (Some(value), None) => bearer_secret(value).map_or(Self::Malformed, Self::Bearer),
            (Some(_), Some(_)) => Self::Malformed,
        }
    }
}

fn bearer_secret(value: &[u8]) -> Option<PresentedSecret<'_>> {
    let (scheme, secret) = value.split_at_checked("Bearer ".len())?;
    let is_secret = scheme.eq_ignore_ascii_case(b"Bearer ") && secret.len() <= SECRET_BYTES_MAX && is_b64token(secret);
    if !is_secret {
        return None;
    }
    str::from_utf8(secret).ok().map(PresentedSecret::new)
}

/// `b64token` of RFC 6750 section 2.1: at least one character, and `=` only at the end.
fn is_b64token(bytes: &[u8]) -> bool {
    let padding = bytes.iter().rev().take_while(|byte| **byte == b'=').count();
    let body = &bytes[..bytes.len() - padding];
    !body.is_empty() && body.iter().all(|byte| IS_B64TOKEN[usize::from(*byte)])
}

/// The bytes that may stand before the padding.
const IS_B64TOKEN: [bool; 256] = {
    let mut is_allowed = [false; 256];
    let mut byte = 0_u8;
    while byte < 128 {
        is_allowed[byte as usize] =
            byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'+' | b'/');
        byte += 1;
    }
    is_allowed
};

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The credential as a text: "missing", "malformed" or the secret.
    fn read<'a>(values: &[&'a [u8]]) -> &'a str {
        match Credential::from_authorization(values.iter().copied()) {
            Credential::Missing => "missing",
            Credential::Malformed => "malformed",
            Credential::Bearer(secret) => secret.expose(),
        }
    }

    fn check(values: &[&[u8]], expected: &str) {
        assert_eq!(read(values), expected, "{values:?}");
    }

    #[test]
    fn one_bearer_secret_is_read_byte_for_byte() {
        check(&[b"Bearer tork_live_abc"], "tork_live_abc");
        check(&[b"bearer tork_live_ABC"], "tork_live_ABC");
        check(&[b"BEARER x"], "x");
        check(&[b"bEaReR a-b.c_d~e+f/g=="], "a-b.c_d~e+f/g==");
        let longest = format!("Bearer {}", "a".repeat(SECRET_BYTES_MAX));
        check(&[longest.as_bytes()], &"a".repeat(SECRET_BYTES_MAX));
        check(&[format!("{longest}a").as_bytes()], "malformed");
    }

    #[test]
    fn no_header_is_missing() {
        check(&[], "missing");
    }

    #[test]
    fn more_than_one_header_is_malformed() {
        check(&[b"Bearer a", b"Bearer a"], "malformed");
        check(&[b"Bearer a", b"Basic YTpi"], "malformed");
        check(&[b"Bearer a", b""], "malformed");
        check(&[b"", b"Bearer a"], "malformed");
        check(&[b"Bearer a", b"Bearer b", b"Bearer c"], "malformed");
    }

    #[test]
    fn anything_else_is_malformed() {
        let values = "Bearer|Bearer |Bearer  |Bearer  abc| Bearer abc|Bearer abc |Bearer\tabc|Bearer\t abc|Bearer \tabc|\
            Bearer abc\t|Bearer abc\n|Bearer abc\r\n|Bearer abc\0|Bearer\0abc|Bearer a b|Bearer a,b|\
            Bearer a, Bearer b|Bearer a,|Bearer token=\"abc\"|Bearer \"abc\"|Bearer a=b|Bearer =|Bearer ==|Bearer =a|\
            Bearer a:b|Bearer:abc|Bearer=abc|Bearerabc|Bearers abc|Basic YTpi|Token abc|abc| ||Bearer café";
        for value in values.split('|') {
            check(&[value.as_bytes()], "malformed");
        }
        check(&[b"Bearer \xff\xfe"], "malformed");
        // Unicode look-alikes are neither letters of the scheme nor spaces.
        check(&["Beare\u{ff52} abc".as_bytes()], "malformed");
        check(&["Bearer\u{a0}abc".as_bytes()], "malformed");
        check(&["Bearer abc\u{200b}".as_bytes()], "malformed");
    }

    #[test]
    fn debug_does_not_leak() {
        let credential = Credential::from_authorization([&b"Bearer hunter2"[..]].into_iter());
        assert_eq!(format!("{credential:?}"), "Bearer(PresentedSecret(redacted))");
    }

    fn byte_outside_b64token() -> impl Strategy<Value = u8> {
        let is_outside = |byte: &u8| !byte.is_ascii_alphanumeric() && !b"-._~+/".contains(byte);
        prop::sample::select((0..=u8::MAX).filter(is_outside).collect::<Vec<_>>())
    }

    proptest! {
        #[test]
        fn every_b64token_is_read(secret in "[A-Za-z0-9._~+/-]{1,80}={0,3}") {
            let value = format!("Bearer {secret}");
            prop_assert_eq!(read(&[value.as_bytes()]), secret);
        }

        #[test]
        fn a_byte_outside_b64token_is_malformed(head in "[a-z]{0,4}", byte in byte_outside_b64token(), tail in "[a-z]{1,4}") {
            let value = [b"Bearer ", head.as_bytes(), &[byte], tail.as_bytes()].concat();
            prop_assert_eq!(read(&[&value]), "malformed");
        }

        #[test]
        fn no_value_panics(values in prop::collection::vec(any::<Vec<u8>>(), 0..3)) {
            let _ = Credential::from_authorization(values.iter().map(Vec::as_slice));
        }
    }
}
