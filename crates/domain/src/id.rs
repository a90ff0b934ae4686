//! Ids: a 128-bit number that sorts by time of creation (the layout of UUID version 7, RFC 9562 section
//! 5.7), written as a prefix and 26 characters of Crockford's base 32 in lower case: `key_01j…`.

use crate::random::Entropy;
use crate::time::Timestamp;

/// The text is not an id of the expected sort.
#[derive(Debug, thiserror::Error, PartialEq, Eq, Clone, Copy)]
#[error("not an id of the form {prefix}… with 26 characters after the prefix")]
pub struct IdError {
    prefix: &'static str,
}

const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
const TEXT_CHARS: usize = 26;

fn new_v7(now: Timestamp, entropy: &dyn Entropy) -> u128 {
    let mut random = [0_u8; 8];
    entropy.fill(&mut random);
    let micros = now.as_micros().max(0) as u128;
    let (millis, sub_millis) = (micros / 1000, micros % 1000);
    // The 12 bits after the version hold the fraction of the millisecond, so that ids made in one
    // millisecond still sort by time (RFC 9562 section 6.2, method 3).
    let fraction = sub_millis * 4096 / 1000;
    (millis << 80)
        | (0x7 << 76)
        | (fraction << 64)
        | (0b10 << 62)
        | (u128::from(u64::from_be_bytes(random)) & ((1 << 62) - 1))
}

fn encode(value: u128) -> [u8; TEXT_CHARS] {
    let mut text = [0; TEXT_CHARS];
    for (digit, byte) in text.iter_mut().rev().enumerate() {
        *byte = ALPHABET[(value >> (digit * 5)) as usize & 31];
    }
    text
}

fn decode(text: &str) -> Option<u128> {
    if text.len() != TEXT_CHARS || text.as_bytes()[0] > b'7' {
        return None;
    }
    text.bytes().try_fold(0_u128, |value, byte| {
        let digit = ALPHABET.iter().position(|&symbol| symbol == byte)?;
        Some((value << 5) | digit as u128)
    })
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(u128);

        impl $name {
            /// Makes a new id that sorts after those made earlier.
            pub fn new(now: Timestamp, entropy: &dyn Entropy) -> Self {
                Self(new_v7(now, entropy))
            }

            /// Takes the number itself (a stored row).
            pub const fn from_u128(value: u128) -> Self {
                Self(value)
            }

            /// The number itself.
            pub const fn as_u128(self) -> u128 {
                self.0
            }

            /// The sixteen bytes of a stored row, big-endian so that they sort by time.
            pub const fn to_bytes(self) -> [u8; 16] {
                self.0.to_be_bytes()
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str($prefix)?;
                f.write_str(std::str::from_utf8(&encode(self.0)).expect("the alphabet is ASCII"))
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                std::fmt::Display::fmt(self, f)
            }
        }

        impl std::str::FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                text.strip_prefix($prefix).and_then(decode).map(Self).ok_or(IdError { prefix: $prefix })
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'_, str>>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

id!(
    /// A key: the record, which keeps its id when its secret is rotated.
    KeyId, "key_"
);
id!(
    /// An organization, the tenant.
    OrganizationId, "org_"
);
id!(
    /// A verifier: an API server or proxy that may ask for verdicts over HTTP.
    VerifierId, "ver_"
);
id!(
    /// An admin token: a credential of the operator for the admin API over HTTP.
    AdminTokenId, "adm_"
);
id!(
    /// A webhook endpoint: where events are sent.
    WebhookId, "whe_"
);
id!(
    /// An event that webhooks tell of. It stays the same however often it is sent.
    EventId, "evt_"
);
id!(
    /// A mail that waits to be sent.
    MailId, "mail_"
);

id!(
    /// An alert.
    AlertId, "alrt_"
);
id!(
    /// A member: a person in an organization.
    MemberId, "mem_"
);
id!(
    /// An invitation to an organization.
    InvitationId, "inv_"
);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::random::PredictableEntropy;

    proptest! {
        #[test]
        fn text_form_round_trips(value: u128) {
            let id = KeyId::from_u128(value);
            prop_assert_eq!(id.to_string().parse(), Ok(id));
        }

        #[test]
        fn ids_sort_by_time(micros in 0_i64..4_000_000_000_000_000, later in 1_i64..1_000_000_000) {
            let entropy = PredictableEntropy::new(micros as u64);
            let first = KeyId::new(Timestamp::from_micros(micros), &entropy);
            let second = KeyId::new(Timestamp::from_micros(micros + later), &entropy);
            prop_assert!(first <= second || later == 1, "{first} {second}");
            prop_assert!(first.as_u128() >> 76 <= second.as_u128() >> 76);
        }
    }

    #[test]
    fn only_the_canonical_text_is_an_id() {
        let text = KeyId::from_u128(42).to_string();
        assert_eq!(text, "key_0000000000000000000000001a");
        let refused = [
            "",
            "key_",
            "key_123",
            "org_0000000000000000000000001a",
            "KEY_0000000000000000000000001a",
            "key_0000000000000000000000001A",
            "key_000000000000000000000000il",
            "key_8zzzzzzzzzzzzzzzzzzzzzzzzz",
            "key_0000000000000000000000001a ",
            "key_00000000000000000000000001a",
        ];
        for text in refused {
            assert!(text.parse::<KeyId>().is_err(), "{text}");
        }
    }

    #[test]
    fn version_and_variant_are_those_of_uuid_7() {
        let id = KeyId::new(Timestamp::from_micros(1_700_000_000_000_999), &PredictableEntropy::new(1));
        let bytes = id.to_bytes();
        assert_eq!((bytes[6] >> 4, bytes[8] >> 6), (7, 0b10));
    }
}
