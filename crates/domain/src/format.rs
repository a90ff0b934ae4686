//! Key formats: a public prefix, then random characters of one alphabet, the last of which may be a checksum.

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::key::{Environment, Kind};
use crate::limits;
use crate::random::Entropy;
use crate::secret::IssuedSecret;

/// The characters of a random part.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Alphabet {
    /// `0-9A-Za-z`.
    Base62,
    /// `0-9a-z` without `i`, `l`, `o` and `u`.
    Base32,
    /// `0-9a-f`.
    Hex,
}

const NOT_IN_ALPHABET: u8 = 0xff;

const fn digit_values(symbols: &[u8]) -> [u8; 256] {
    let mut values = [NOT_IN_ALPHABET; 256];
    let mut digit = 0;
    while digit < symbols.len() {
        values[symbols[digit] as usize] = digit as u8;
        digit += 1;
    }
    values
}

const BASE62: &[u8] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const BASE32: &[u8] = b"0123456789abcdefghjkmnpqrstvwxyz";
const HEX: &[u8] = b"0123456789abcdef";
static BASE62_VALUES: [u8; 256] = digit_values(BASE62);
static BASE32_VALUES: [u8; 256] = digit_values(BASE32);
static HEX_VALUES: [u8; 256] = digit_values(HEX);

impl Alphabet {
    const fn symbols(self) -> &'static [u8] {
        match self {
            Self::Base62 => BASE62,
            Self::Base32 => BASE32,
            Self::Hex => HEX,
        }
    }

    fn values(self) -> &'static [u8; 256] {
        match self {
            Self::Base62 => &BASE62_VALUES,
            Self::Base32 => &BASE32_VALUES,
            Self::Hex => &HEX_VALUES,
        }
    }

    /// Characters that hold the 32 bits of a CRC-32.
    const fn checksum_chars(self) -> usize {
        match self {
            Self::Base62 => 6,
            Self::Base32 => 7,
            Self::Hex => 8,
        }
    }
}

/// How a mistyped secret is recognised without a look-up.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Checksum {
    /// CRC-32 (ISO-HDLC) of everything before it, the prefix included, most significant digit first.
    Crc32,
}

/// One sort of key of an api: what it is and how its secret looks.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyFormat {
    /// The public head of the secret, such as `tork_sk_`.
    pub prefix: String,
    /// What such a key is.
    pub kind: Kind,
    /// Where such a key works.
    pub environment: Environment,
    /// Characters of the random part.
    pub alphabet: Alphabet,
    /// Length of the random part in characters, checksum included.
    pub length: usize,
    /// Checksum at the end of the random part.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checksum: Option<Checksum>,
    /// Whether this format is taken when a caller names neither kind nor prefix.
    #[serde(default)]
    pub default: bool,
    /// Life of a key when the caller names none, in seconds. Without it such keys do not expire.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_ttl_seconds: Option<i64>,
    /// Longest life a caller may ask for, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_ttl_seconds: Option<i64>,
}

impl KeyFormat {
    /// Randomness of a secret in bits: the checksum holds none.
    pub fn random_bits(&self) -> f64 {
        let random_chars = self.length.saturating_sub(self.checksum_chars());
        random_chars as f64 * (self.alphabet.symbols().len() as f64).log2()
    }

    /// Whether the text is a well-formed secret of this format: prefix, length, alphabet and checksum.
    pub fn recognises(&self, text: &str) -> bool {
        let Some(body) = text.as_bytes().strip_prefix(self.prefix.as_bytes()) else {
            return false;
        };
        let values = self.alphabet.values();
        if body.len() != self.length || body.iter().any(|&byte| values[usize::from(byte)] == NOT_IN_ALPHABET) {
            return false;
        }
        if self.checksum.is_none() {
            return true;
        }
        let (head, tail) = text.as_bytes().split_at(text.len() - self.checksum_chars());
        let base = self.alphabet.symbols().len() as u64;
        let found = tail.iter().fold(0_u64, |value, &byte| value * base + u64::from(values[usize::from(byte)]));
        found == u64::from(crc32fast::hash(head))
    }

    /// Makes a new secret.
    pub fn issue(&self, entropy: &dyn Entropy) -> IssuedSecret {
        let mut clear = Zeroizing::new(String::with_capacity(self.prefix.len() + self.length));
        clear.push_str(&self.prefix);
        push_random(&mut clear, self.alphabet.symbols(), self.length - self.checksum_chars(), entropy);
        if self.checksum.is_some() {
            self.push_checksum(&mut clear);
        }
        IssuedSecret::new(clear)
    }

    fn checksum_chars(&self) -> usize {
        self.checksum.map_or(0, |Checksum::Crc32| self.alphabet.checksum_chars())
    }

    fn push_checksum(&self, clear: &mut String) {
        let symbols = self.alphabet.symbols();
        let base = symbols.len() as u64;
        let mut rest = u64::from(crc32fast::hash(clear.as_bytes()));
        let mut digits = [0_u8; 8];
        let count = self.alphabet.checksum_chars();
        for digit in digits[..count].iter_mut().rev() {
            *digit = symbols[(rest % base) as usize];
            rest /= base;
        }
        clear.extend(digits[..count].iter().map(|&byte| char::from(byte)));
    }

    /// What is wrong with the format on its own, one sentence each.
    pub(crate) fn mistakes(&self) -> Vec<String> {
        let mut mistakes = Vec::new();
        let prefix = &self.prefix;
        let prefix_byte = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
        if prefix.len() < 2 || prefix.len() > 32 || !prefix.bytes().all(prefix_byte) {
            mistakes.push(format!("key prefix {prefix:?} must have 2 to 32 characters of a-z, A-Z, 0-9, '_' and '-'"));
        }
        if self.length > limits::RANDOM_CHARS_MAX {
            mistakes.push(format!("length {} of {prefix:?} is over {}", self.length, limits::RANDOM_CHARS_MAX));
        }
        if self.random_bits() < limits::RANDOM_BITS_MIN {
            mistakes.push(format!(
                "{prefix:?} has only {:.0} random bits ({} characters, of which {} are the checksum); at least {} are needed",
                self.random_bits(), self.length, self.checksum_chars(), limits::RANDOM_BITS_MIN
            ));
        }
        let greatest =
            if self.kind == Kind::Ephemeral { limits::EPHEMERAL_TTL_SECONDS_MAX } else { limits::TTL_SECONDS_MAX };
        for (name, ttl) in
            [("default_ttl_seconds", self.default_ttl_seconds), ("max_ttl_seconds", self.max_ttl_seconds)]
        {
            if ttl.is_some_and(|ttl| !(1..=greatest).contains(&ttl)) {
                mistakes.push(format!("{name} of {prefix:?} must be from 1 to {greatest}"));
            }
        }
        if let (Some(default), Some(max)) = (self.default_ttl_seconds, self.max_ttl_seconds)
            && default > max
        {
            mistakes.push(format!("default_ttl_seconds of {prefix:?} is over its max_ttl_seconds"));
        }
        mistakes
    }

    /// The longest life of a key of this format, in seconds; `None` when it may live for ever.
    pub fn ttl_seconds_max(&self) -> Option<i64> {
        match self.kind {
            Kind::Ephemeral => Some(self.max_ttl_seconds.unwrap_or(limits::EPHEMERAL_TTL_SECONDS_MAX)),
            _ => self.max_ttl_seconds,
        }
    }
}

/// Appends `count` symbols, each equally likely: bytes that would favour some symbols are thrown away.
fn push_random(clear: &mut String, symbols: &[u8], count: usize, entropy: &dyn Entropy) {
    let fair = 256 - 256 % symbols.len();
    let mut buffer = Zeroizing::new([0_u8; 64]);
    let mut missing = count;
    while missing > 0 {
        entropy.fill(buffer.as_mut_slice());
        for &byte in buffer.iter().filter(|&&byte| usize::from(byte) < fair).take(missing) {
            clear.push(char::from(symbols[usize::from(byte) % symbols.len()]));
            missing -= 1;
        }
    }
}

/// Makes a credential for the operator's own side (admin and verifier tokens): the prefix and 40 characters,
/// 34 of them random, with a checksum. These are not keys of any api.
pub fn issue_operator_token(prefix: &str, entropy: &dyn Entropy) -> IssuedSecret {
    KeyFormat {
        prefix: prefix.to_owned(),
        kind: Kind::Secret,
        environment: Environment::Live,
        alphabet: Alphabet::Base62,
        length: 40,
        checksum: Some(Checksum::Crc32),
        default: false,
        default_ttl_seconds: None,
        max_ttl_seconds: None,
    }
    .issue(entropy)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::random::PredictableEntropy;

    fn format(alphabet: Alphabet, length: usize) -> KeyFormat {
        KeyFormat {
            prefix: "tork_sk_".to_owned(),
            kind: Kind::Secret,
            environment: Environment::Live,
            alphabet,
            length,
            checksum: Some(Checksum::Crc32),
            default: false,
            default_ttl_seconds: None,
            max_ttl_seconds: None,
        }
    }

    proptest! {
        #[test]
        fn issued_secrets_are_recognised_and_mistyped_ones_are_not(
            seed: u64, position in 0_usize..37, replacement in "[0-9A-Za-z]"
        ) {
            let format = format(Alphabet::Base62, 29);
            let clear = format.issue(&PredictableEntropy::new(seed)).into_clear();
            prop_assert!(format.recognises(&clear));
            let mut mistyped = clear.to_string();
            mistyped.replace_range(position..=position, &replacement);
            prop_assert_eq!(format.recognises(&mistyped), mistyped == *clear);
        }

        #[test]
        fn neighbours_swapped_are_not_recognised(seed: u64, position in 8_usize..36) {
            let format = format(Alphabet::Base62, 29);
            let clear = format.issue(&PredictableEntropy::new(seed)).into_clear();
            let mut swapped = clear.as_bytes().to_vec();
            swapped.swap(position, position + 1);
            let swapped = String::from_utf8(swapped).unwrap();
            prop_assert_eq!(format.recognises(&swapped), swapped == *clear);
        }
    }

    #[test]
    fn every_alphabet_issues_what_it_recognises() {
        for (alphabet, length) in [(Alphabet::Base62, 32), (Alphabet::Base32, 40), (Alphabet::Hex, 48)] {
            let format = format(alphabet, length);
            for seed in 0..200 {
                let clear = format.issue(&PredictableEntropy::new(seed)).into_clear();
                assert_eq!(clear.len(), format.prefix.len() + length);
                assert!(format.recognises(&clear), "{alphabet:?}");
                assert!(!format.recognises(&clear[1..]) && !format.recognises(&format!("{}0", *clear)));
            }
        }
    }

    #[test]
    fn the_prefix_is_part_of_the_checksum() {
        let (secret, other) =
            (format(Alphabet::Base62, 32), KeyFormat { prefix: "tork_rk_".to_owned(), ..format(Alphabet::Base62, 32) });
        let clear = secret.issue(&PredictableEntropy::new(7)).into_clear();
        assert!(!other.recognises(&clear.replace("tork_sk_", "tork_rk_")));
    }

    #[test]
    fn randomness_counts_without_the_checksum() {
        assert!((format(Alphabet::Hex, 48).random_bits() - 160.0).abs() < 1e-9);
        assert!(format(Alphabet::Base62, 29).random_bits() >= 128.0);
        assert!(format(Alphabet::Base62, 27).mistakes()[0].contains("only 125 random bits"));
    }

    #[test]
    fn symbols_are_equally_likely() {
        let mut text = String::new();
        push_random(&mut text, BASE62, 62_000, &PredictableEntropy::new(3));
        for &symbol in BASE62 {
            let count = text.bytes().filter(|&byte| byte == symbol).count();
            assert!((800..1200).contains(&count), "{} came {count} times of about 1000", char::from(symbol));
        }
    }
}
