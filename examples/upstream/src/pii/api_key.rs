//! Keys of the APIs that Claviger protects, and of the four it ships with as examples.
//!
//! A key is known by its prefix and by a random part that is long enough. The exact length and alphabet are not
//! asked for: a key with a character lost, added or mistyped still gives the rest away.

use std::ops::Range;
use std::sync::LazyLock;

use regex::bytes::Regex;

/// The shortest random part that is taken for one. Every shipped format has 32 characters or more, and a
/// placeholder such as `sk_live_abc123xyz789` has fewer.
const RANDOM_MIN: usize = 16;

static KEY: LazyLock<Regex> = LazyLock::new(|| {
    let pattern = format!(
        r"(?-u)(?i:tork_live_|tork_sk_|tork_rk_|tork_ek_|tk_live_|sk_live_|sk_test_)[0-9A-Za-z]{{{RANDOM_MIN},}}"
    );
    Regex::new(&pattern).expect("the pattern is a constant")
});

/// What comes before the prefix does not matter: nothing but a key looks like this, and a key pasted to the
/// end of a word is as lost as any other.
pub(super) fn detect(text: &[u8], found: &mut Vec<Range<usize>>) {
    found.extend(KEY.find_iter(text).map(|matched| matched.range()));
}

#[cfg(test)]
mod tests {
    use super::super::Kind;
    use super::super::tests::{check, check_none};

    /// Prefixes and random parts are joined here so that no complete key stands in this file.
    const RANDOM: &str = "0aB1cD2eF3gH4iJ5kL6mN7oP8qR9sT0u";
    const HEX: &str = "a1b2c3d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718";

    #[test]
    fn found() {
        for prefix in ["tork_live_", "tork_sk_", "tork_rk_", "tork_ek_", "sk_live_", "sk_test_"] {
            check(
                Kind::ApiKey,
                &[
                    &format!("«{prefix}{RANDOM}»"),
                    &format!("Authorization: Bearer «{prefix}{RANDOM}»\n"),
                    &format!("API_KEY=«{prefix}{RANDOM}»;"),
                    &format!("\"«{prefix}{RANDOM}»\"."),
                    &format!("https://«{prefix}{RANDOM}»:@host/"),
                    &format!("鍵は«{prefix}{RANDOM}»です"),
                    // pasted to the end of something
                    &format!("key«{prefix}{RANDOM}»"),
                    // one lost, one added, all but sixteen lost
                    &format!("«{prefix}{}»", &RANDOM[1..]),
                    &format!("«{prefix}{RANDOM}0»"),
                    &format!("«{prefix}{}»", &RANDOM[..16]),
                    // a wrong character late in the key
                    &format!("«{prefix}{}»?{}", &RANDOM[..20], &RANDOM[21..]),
                ],
            );
        }
        check(
            Kind::ApiKey,
            &[
                &format!("«tk_live_{HEX}»"),
                &format!("«tk_live_{}»", &HEX[..47]),
                // a character that is not hexadecimal
                &format!("«tk_live_{}Z{}»", &HEX[..10], &HEX[11..]),
                &format!("«TK_LIVE_{HEX}» «tk_live_{HEX}»"),
            ],
        );
    }

    #[test]
    fn near_misses() {
        check_none(
            Kind::ApiKey,
            &[
                "tork_sk_your_api_key_here",
                "sk_live_abc123xyz789",
                "tk_live_YOUR_SECRET_HERE",
                "tk_live_<your-secret>",
                &format!("sk_live_{}", &RANDOM[..15]),
                &format!("sk_live_{} {}", &RANDOM[..15], &RANDOM[15..]),
                &format!("pk_live_{RANDOM}"),
                &format!("sk_{RANDOM}"),
                &format!("sklive{RANDOM}"),
                &format!("tork_xk_{RANDOM}"),
                RANDOM,
                HEX,
            ],
        );
    }

    #[test]
    fn an_address_around_a_key_covers_it() {
        check(Kind::Email, &[&format!("«sk_live_{RANDOM}@example.com»")]);
    }
}
