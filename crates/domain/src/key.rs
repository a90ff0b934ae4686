//! The key: the record that everything is about.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::id::{KeyId, MemberId, OrganizationId};
use crate::limits;
use crate::restriction::Restrictions;
use crate::scope::Scopes;
use crate::secret::SecretDigest;
use crate::time::{Timestamp, has_expired};

/// What a key is for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Full access unless scopes were named at creation.
    Secret,
    /// Only the scopes that were named.
    Restricted,
    /// Short-lived, made with another key, never wider than it and dead with it.
    Ephemeral,
}

/// Where a key works. Test keys cost nothing and what they write is not kept.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Environment {
    /// For development.
    Test,
    /// For production.
    Live,
}

/// The text is none of the words allowed here.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("must be one of {0}")]
pub struct WordError(pub &'static str);

macro_rules! words {
    ($name:ident, $expected:literal, $($variant:ident = $text:literal),+) => {
        impl $name {
            /// The word.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }
        }

        impl FromStr for $name {
            type Err = WordError;

            fn from_str(text: &str) -> Result<Self, WordError> {
                match text { $($text => Ok(Self::$variant),)+ _ => Err(WordError($expected)) }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

words!(Kind, "secret, restricted, ephemeral", Secret = "secret", Restricted = "restricted", Ephemeral = "ephemeral");
words!(Environment, "test, live", Test = "test", Live = "live");
words!(
    State,
    "active, disabled, expired, revoked",
    Active = "active",
    Disabled = "disabled",
    Expired = "expired",
    Revoked = "revoked"
);

/// A name that people give: 1 to 100 characters, no control characters, no blank at either end.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name(String);

/// The text is not a name.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum NameError {
    /// Nothing, or only blanks.
    #[error("must not be empty")]
    Empty,
    /// Over the limit.
    #[error("is longer than {} characters", limits::NAME_CHARS_MAX)]
    Long,
    /// A blank at an end, where nobody sees it.
    #[error("must not begin or end with a blank")]
    Blank,
    /// A control character, which could forge terminal output or log lines.
    #[error("must not contain control characters")]
    Control,
}

impl Name {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Name {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let trimmed = text.trim();
        if trimmed.is_empty() {
            Err(NameError::Empty)
        } else if text.chars().any(is_deceptive) {
            Err(NameError::Control)
        } else if trimmed.len() != text.len() {
            Err(NameError::Blank)
        } else if text.chars().count() > limits::NAME_CHARS_MAX {
            Err(NameError::Long)
        } else {
            Ok(Self(text.to_owned()))
        }
    }
}

/// Control characters, and those that reorder the text around them.
pub fn is_deceptive(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

impl TryFrom<String> for Name {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        name.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The name of an api, such as `tork`: 1 to 32 characters of `a-z`, `0-9` and `-`, beginning with a letter.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ApiName(Box<str>);

/// The text is not an api's name.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("an api's name has 1 to 32 characters of a-z, 0-9 and '-' and begins with a letter")]
pub struct ApiNameError;

impl ApiName {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ApiName {
    type Err = ApiNameError;

    fn from_str(text: &str) -> Result<Self, ApiNameError> {
        let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        let starts_well = text.bytes().next().is_some_and(|byte| byte.is_ascii_lowercase());
        if starts_well && text.len() <= 32 && text.bytes().all(allowed) {
            Ok(Self(text.into()))
        } else {
            Err(ApiNameError)
        }
    }
}

impl TryFrom<String> for ApiName {
    type Error = ApiNameError;

    fn try_from(text: String) -> Result<Self, ApiNameError> {
        text.parse()
    }
}

impl From<ApiName> for String {
    fn from(name: ApiName) -> Self {
        name.0.into()
    }
}

impl fmt::Display for ApiName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What the holder keeps beside a key: a JSON object of at most 4096 bytes and 16 levels. Numbers are 64-bit,
/// blanks between values are not kept.
///
/// Reading one back from where it is stored checks nothing but its shape: a limit that was lowered must not keep what
/// was accepted before from being loaded.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, Default)]
#[serde(transparent)]
pub struct Metadata(serde_json::Map<String, serde_json::Value>);

/// The object is no metadata.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum MetadataError {
    /// Too much of it.
    #[error("is larger than {} bytes of JSON", limits::METADATA_BYTES_MAX)]
    Large,
    /// Objects or lists inside each other.
    #[error("is nested more than {} levels deep", limits::METADATA_LEVELS_MAX)]
    Deep,
}

impl Metadata {
    /// The object as JSON text.
    pub fn to_json(&self) -> String {
        serde_json::to_string(&self.0).expect("a JSON object can be written")
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Reads what a caller sends, for `#[serde(deserialize_with)]`.
    ///
    /// # Errors
    /// When it is no object, or over a limit.
    pub fn deserialize_new<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let map = serde_json::Map::deserialize(deserializer)?;
        Self::try_from(map).map_err(serde::de::Error::custom)
    }
}

impl Eq for Metadata {}

impl TryFrom<serde_json::Map<String, serde_json::Value>> for Metadata {
    type Error = MetadataError;

    fn try_from(map: serde_json::Map<String, serde_json::Value>) -> Result<Self, MetadataError> {
        if !map.values().all(|value| is_shallow(value, limits::METADATA_LEVELS_MAX - 1)) {
            return Err(MetadataError::Deep);
        }
        let metadata = Self(map);
        if metadata.to_json().len() > limits::METADATA_BYTES_MAX { Err(MetadataError::Large) } else { Ok(metadata) }
    }
}

fn is_shallow(value: &serde_json::Value, levels: usize) -> bool {
    match value {
        serde_json::Value::Array(items) => levels > 0 && items.iter().all(|item| is_shallow(item, levels - 1)),
        serde_json::Value::Object(map) => levels > 0 && map.values().all(|item| is_shallow(item, levels - 1)),
        _ => true,
    }
}

impl From<Metadata> for serde_json::Map<String, serde_json::Value> {
    fn from(metadata: Metadata) -> Self {
        metadata.0
    }
}

/// Who made a key.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Creator {
    /// The operator, through the admin API or the command line.
    Operator,
    /// The holder of another key.
    Key(KeyId),
    /// A member of the organization, or the member to whom it was handed over.
    Member(MemberId),
}

impl FromStr for Creator {
    type Err = crate::id::IdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "operator" {
            return Ok(Self::Operator);
        }
        text.parse().map(Self::Member).or_else(|_| text.parse().map(Self::Key))
    }
}

impl TryFrom<String> for Creator {
    type Error = crate::id::IdError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Creator> for String {
    fn from(creator: Creator) -> Self {
        creator.to_string()
    }
}

impl fmt::Display for Creator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Operator => f.write_str("operator"),
            Self::Key(id) => id.fmt(f),
            Self::Member(id) => id.fmt(f),
        }
    }
}

/// The secret that a rotation replaced, while both work.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct OldSecret {
    /// Its digest.
    #[serde(with = "hex_digest")]
    pub digest: SecretDigest,
    /// When it stops working.
    pub overlap_ends_at: Timestamp,
}

/// Why a key is final.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Revocation {
    /// When it was revoked.
    pub at: Timestamp,
    /// The reason given, in the caller's words.
    pub reason: Option<String>,
}

/// A key as it is stored and as the feed carries it: the whole record, never a difference.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Key {
    /// Its id, for ever the same.
    pub id: KeyId,
    /// Whose it is.
    pub organization: OrganizationId,
    /// The api it opens.
    pub api: ApiName,
    /// The name people gave it.
    pub name: Name,
    /// What it is for.
    pub kind: Kind,
    /// Where it works.
    pub environment: Environment,
    /// The public head of its secret.
    pub prefix: String,
    /// The last four characters of its secret.
    pub hint: String,
    /// Digest of its secret.
    #[serde(with = "hex_digest")]
    pub digest: SecretDigest,
    /// The secret it had before, while both work.
    pub old_secret: Option<OldSecret>,
    /// What it may do.
    pub scopes: Scopes,
    /// Where, from where and for what it may be used.
    pub restrictions: Restrictions,
    /// The key it was made with, for ephemeral keys.
    pub parent_id: Option<KeyId>,
    /// What the holder keeps beside it.
    pub metadata: Metadata,
    /// Whether it is switched off for now.
    pub disabled: bool,
    /// Set once, for ever.
    pub revocation: Option<Revocation>,
    /// When it was made.
    pub created_at: Timestamp,
    /// Who made it.
    pub created_by: Creator,
    /// When it dies by itself.
    pub expires_at: Option<Timestamp>,
    /// When its secret was last replaced.
    pub rotated_at: Option<Timestamp>,
}

/// What a key is at an instant, as people see it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It works.
    Active,
    /// It is switched off.
    Disabled,
    /// Its time is over.
    Expired,
    /// It was revoked.
    Revoked,
}

impl Key {
    /// The state at an instant. Revoked outranks expired outranks disabled: the most final one is shown.
    pub fn state(&self, now: Timestamp) -> State {
        if self.revocation.is_some() {
            State::Revoked
        } else if has_expired(self.expires_at, now) {
            State::Expired
        } else if self.disabled {
            State::Disabled
        } else {
            State::Active
        }
    }

    /// Whether whoever holds `other` could do everything that a holder of `self` can: the same organization
    /// and api, an environment no stronger, and scopes, restrictions and life within the other's.
    pub fn is_within(&self, other: &Self) -> bool {
        self.organization == other.organization
            && self.api == other.api
            && self.environment <= other.environment
            && self.scopes.is_within(&other.scopes)
            && self.restrictions.is_within(&other.restrictions)
            && match (self.expires_at, other.expires_at) {
                (_, None) => true,
                (None, Some(_)) => false,
                (Some(mine), Some(theirs)) => mine <= theirs,
            }
    }
}

/// A digest as 64 hexadecimal digits, for rows and changes.
pub mod hex_digest {
    use serde::{Deserialize as _, Deserializer, Serializer, de};

    use crate::secret::SecretDigest;

    /// Writes the digits.
    pub fn serialize<S: Serializer>(digest: &SecretDigest, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{}", Hex(digest.as_bytes())))
    }

    /// Reads the digits, upper or lower case.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SecretDigest, D::Error> {
        let text = <std::borrow::Cow<'_, str>>::deserialize(deserializer)?;
        parse(&text).ok_or_else(|| de::Error::custom("a SHA-256 digest has 64 hexadecimal digits"))
    }

    /// Reads 64 hexadecimal digits.
    pub fn parse(text: &str) -> Option<SecretDigest> {
        if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
        }
        Some(SecretDigest::from_bytes(bytes))
    }

    struct Hex<'a>(&'a [u8]);

    impl std::fmt::Display for Hex<'_> {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked() {
        let cases = [
            ("Production Server", None),
            ("Schlüssel № 1", None),
            ("", Some(NameError::Empty)),
            ("  \u{3000}", Some(NameError::Empty)),
            (" a", Some(NameError::Blank)),
            ("a\n", Some(NameError::Control)),
            ("a\u{202e}b", Some(NameError::Control)),
        ];
        for (text, expected) in cases {
            assert_eq!(text.parse::<Name>().err(), expected, "{text:?}");
        }
        assert!("é".repeat(100).parse::<Name>().is_ok());
        assert_eq!("é".repeat(101).parse::<Name>(), Err(NameError::Long));
    }

    fn metadata(json: &str) -> Result<Metadata, MetadataError> {
        Metadata::try_from(serde_json::from_str::<serde_json::Map<_, _>>(json).unwrap())
    }

    #[test]
    fn metadata_has_limits() {
        let text = |count| format!(r#"{{"a":"{}"}}"#, "x".repeat(count));
        assert!(metadata(&text(limits::METADATA_BYTES_MAX - 8)).is_ok());
        assert_eq!(metadata(&text(limits::METADATA_BYTES_MAX - 7)), Err(MetadataError::Large));
        let nested = |levels: usize| format!("{}1{}", r#"{"a":"#.repeat(levels), "}".repeat(levels));
        assert!(metadata(&nested(limits::METADATA_LEVELS_MAX)).is_ok());
        assert_eq!(metadata(&nested(limits::METADATA_LEVELS_MAX + 1)), Err(MetadataError::Deep));
        let lists = format!(r#"{{"a":{}{}}}"#, "[".repeat(100), "]".repeat(100));
        assert_eq!(metadata(&lists), Err(MetadataError::Deep));
    }

    #[test]
    fn metadata_reads_back_as_it_was_written() {
        // This number, written and read inexactly, once grew by four characters.
        for json in
            [r#"{"b":[1,null],"a":"x"}"#, r#"{"n":4.3444167359819998e-288}"#, r#"{"n":12345678901234567890123}"#]
        {
            let written = metadata(json).unwrap().to_json();
            let read: Metadata = serde_json::from_str(&written).unwrap();
            assert_eq!(read.to_json(), written, "{json}");
        }
        assert!(serde_json::from_str::<Metadata>("[]").is_err());
    }
}
