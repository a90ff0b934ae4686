//! Audit events: who did what to what, from where, and how it was before and after.
//!
//! Events are numbered from one without gaps. Each is kept as the very text that was hashed, and its hash covers the
//! hash of the event before it, so that nothing can be altered, left out or put in between without every later
//! hash being wrong.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

use crate::change::{Revision, Verifier};
use crate::definition::Api;
use crate::id::{AdminTokenId, KeyId, OrganizationId};
use crate::key::{Key, WordError};
use crate::organization::Organization;
use crate::time::Timestamp;

/// The hash that the first event's covers.
pub const FIRST_PREVIOUS_HASH: [u8; 32] = [0; 32];

/// Who did it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Author {
    /// The operator, by the unix socket.
    Operator,
    /// The operator, by an admin token.
    AdminToken(AdminTokenId),
    /// The holder of a key.
    Key(KeyId),
    /// Claviger itself, because of the time.
    System,
}

impl std::fmt::Display for Author {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Operator => f.write_str("operator"),
            Self::AdminToken(id) => id.fmt(f),
            Self::Key(id) => id.fmt(f),
            Self::System => f.write_str("system"),
        }
    }
}

impl std::str::FromStr for Author {
    type Err = WordError;

    fn from_str(text: &str) -> Result<Self, WordError> {
        match text {
            "operator" => Ok(Self::Operator),
            "system" => Ok(Self::System),
            _ => {
                let token = || text.parse().map(Self::AdminToken);
                text.parse()
                    .map(Self::Key)
                    .or_else(|_| token())
                    .map_err(|_| WordError("operator, system, adm_…, key_…"))
            }
        }
    }
}

impl TryFrom<String> for Author {
    type Error = WordError;

    fn try_from(text: String) -> Result<Self, WordError> {
        text.parse()
    }
}

impl From<Author> for String {
    fn from(author: Author) -> Self {
        author.to_string()
    }
}

/// Where a request came from.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// The unix socket.
    Socket,
    /// This address, as far as trusted proxies tell.
    Address(IpAddr),
    /// An address that cannot be known for sure.
    Unknown,
    /// The process itself.
    Process,
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Socket => f.write_str("socket"),
            Self::Address(address) => address.fmt(f),
            Self::Unknown => f.write_str("unknown"),
            Self::Process => f.write_str("process"),
        }
    }
}

macro_rules! actions {
    ($($(#[$doc:meta])* $name:ident = $word:literal,)+) => {
        /// What was done.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
        pub enum Action {
            $($(#[$doc])* #[serde(rename = $word)] $name,)+
        }

        impl Action {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// The word.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $word,)+
                }
            }
        }

        impl std::str::FromStr for Action {
            type Err = WordError;

            fn from_str(text: &str) -> Result<Self, WordError> {
                match text {
                    $($word => Ok(Self::$name),)+
                    _ => Err(WordError(concat!($($word, " ",)+))),
                }
            }
        }
    };
}

actions! {
    /// A key was made.
    KeyCreated = "key.created",
    /// A key was changed.
    KeyUpdated = "key.updated",
    /// A key got a new secret.
    KeyRotated = "key.rotated",
    /// A key was switched off.
    KeyDisabled = "key.disabled",
    /// A key was switched on.
    KeyEnabled = "key.enabled",
    /// A key was ended for ever.
    KeyRevoked = "key.revoked",
    /// A dead key was forgotten.
    KeyRemoved = "key.removed",
    /// Keys that were issued elsewhere were taken in.
    KeysImported = "keys.imported",
    /// An organization was made.
    OrganizationCreated = "organization.created",
    /// An organization was changed.
    OrganizationUpdated = "organization.updated",
    /// An api's definition was applied.
    ApiApplied = "api.applied",
    /// A verifier was made.
    VerifierCreated = "verifier.created",
    /// A verifier was ended.
    VerifierRevoked = "verifier.revoked",
    /// An admin token was made.
    AdminTokenCreated = "admin_token.created",
    /// An admin token was ended.
    AdminTokenRevoked = "admin_token.revoked",
}

/// Something that was done.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct AuditEvent {
    /// Its place, counted from one.
    pub number: i64,
    /// When.
    pub at: Timestamp,
    /// Who.
    pub actor: Author,
    /// From where.
    pub source: Source,
    /// What.
    pub action: Action,
    /// To what: an id or the name of an api.
    pub target: String,
    /// Whose the target is, when it is an organization's.
    pub organization: Option<OrganizationId>,
    /// What was otherwise before. Never a secret or a digest.
    pub before: Option<Map<String, Value>>,
    /// What it is now.
    pub after: Option<Map<String, Value>>,
    /// The revision that brought it about.
    pub revision: Revision,
}

impl AuditEvent {
    /// The text that is kept and hashed.
    pub fn to_body(&self) -> String {
        serde_json::to_string(self).expect("an event can be written as JSON")
    }
}

/// The hash of an event: SHA-256 of the hash before it and of its text.
pub fn chain_hash(previous: &[u8; 32], body: &str) -> [u8; 32] {
    Sha256::new().chain_update(previous).chain_update(body.as_bytes()).finalize().into()
}

/// What an audit event tells of a thing: everything but secrets and their digests.
pub trait Audited {
    /// The thing as a JSON object.
    fn audit_view(&self) -> Map<String, Value>;
}

fn object(value: &impl Serialize, left_out: &[&str]) -> Map<String, Value> {
    match serde_json::to_value(value) {
        Ok(Value::Object(mut members)) => {
            members.retain(|name, _| !left_out.contains(&name.as_str()));
            members
        }
        _ => Map::new(),
    }
}

impl Audited for Key {
    fn audit_view(&self) -> Map<String, Value> {
        let mut view = object(self, &["digest", "old_secret"]);
        let ends_at = self.old_secret.map(|old| old.overlap_ends_at.to_string());
        view.insert("overlap_ends_at".to_owned(), ends_at.map_or(Value::Null, Value::String));
        view
    }
}

impl Audited for Organization {
    fn audit_view(&self) -> Map<String, Value> {
        object(self, &[])
    }
}

impl Audited for Verifier {
    fn audit_view(&self) -> Map<String, Value> {
        object(self, &["digest"])
    }
}

impl Audited for Api {
    fn audit_view(&self) -> Map<String, Value> {
        object(self, &[])
    }
}

/// Leaves only what differs, where there is a before and an after.
pub fn difference(
    before: Option<Map<String, Value>>,
    after: Option<Map<String, Value>>,
) -> (Option<Map<String, Value>>, Option<Map<String, Value>>) {
    let (Some(mut before), Some(mut after)) = (before.clone(), after.clone()) else { return (before, after) };
    let same: Vec<String> =
        before.iter().filter(|(name, value)| after.get(*name) == Some(value)).map(|(name, _)| name.clone()).collect();
    before.retain(|name, _| !same.contains(name));
    after.retain(|name, _| !same.contains(name));
    (Some(before), Some(after))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(number: i64) -> AuditEvent {
        AuditEvent {
            number,
            at: Timestamp::from_micros(1_767_225_600_000_000),
            actor: Author::Key(KeyId::from_u128(7)),
            source: Source::Address("203.0.113.7".parse().unwrap()),
            action: Action::KeyRevoked,
            target: KeyId::from_u128(8).to_string(),
            organization: Some(OrganizationId::from_u128(1)),
            before: None,
            after: None,
            revision: Revision(3),
        }
    }

    #[test]
    fn an_event_reads_back_as_it_was() {
        let body = event(1).to_body();
        assert_eq!(serde_json::from_str::<AuditEvent>(&body).unwrap(), event(1));
        for word in ["operator", "system", "key_0000000000000000000000001a", "adm_0000000000000000000000001a"] {
            assert_eq!(word.parse::<Author>().unwrap().to_string(), word);
        }
        for action in Action::ALL {
            assert_eq!(action.as_str().parse(), Ok(*action));
            assert_eq!(serde_json::to_value(action).unwrap(), action.as_str());
        }
        assert!("root".parse::<Author>().is_err() && "key.eaten".parse::<Action>().is_err());
    }

    #[test]
    fn a_hash_covers_the_text_and_everything_before() {
        let first = chain_hash(&FIRST_PREVIOUS_HASH, &event(1).to_body());
        let second = chain_hash(&first, &event(2).to_body());
        assert_ne!(first, chain_hash(&FIRST_PREVIOUS_HASH, &event(2).to_body()));
        assert_ne!(second, chain_hash(&FIRST_PREVIOUS_HASH, &event(2).to_body()));
    }

    #[test]
    fn only_what_differs_is_told() {
        let map = |json: &str| serde_json::from_str::<Map<_, _>>(json).unwrap();
        let (before, after) = difference(
            Some(map(r#"{"name":"a","kind":"secret","x":1}"#)),
            Some(map(r#"{"name":"b","kind":"secret"}"#)),
        );
        assert_eq!((before, after), (Some(map(r#"{"name":"a","x":1}"#)), Some(map(r#"{"name":"b"}"#))));
        assert_eq!(difference(None, Some(map("{}"))), (None, Some(map("{}"))));
    }
}
