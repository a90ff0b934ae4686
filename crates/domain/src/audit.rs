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
use crate::id::{AdminTokenId, KeyId, MemberId, OrganizationId};
use crate::key::{Key, WordError};
use crate::member::{Invitation, Member};
use crate::organization::Organization;
use crate::subscription::Subscription;
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
    /// A member of an organization.
    Member(MemberId),
    /// Claviger itself, because of the time.
    System,
    /// Nobody knows who: whoever was turned away without a credential that there ever was.
    Unknown,
}

impl std::fmt::Display for Author {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Operator => f.write_str("operator"),
            Self::AdminToken(id) => id.fmt(f),
            Self::Key(id) => id.fmt(f),
            Self::Member(id) => id.fmt(f),
            Self::System => f.write_str("system"),
            Self::Unknown => f.write_str("unknown"),
        }
    }
}

impl std::str::FromStr for Author {
    type Err = WordError;

    fn from_str(text: &str) -> Result<Self, WordError> {
        match text {
            "operator" => Ok(Self::Operator),
            "system" => Ok(Self::System),
            "unknown" => Ok(Self::Unknown),
            _ => {
                let token = || text.parse().map(Self::AdminToken);
                let member = || text.parse().map(Self::Member);
                text.parse()
                    .map(Self::Key)
                    .or_else(|_| token())
                    .or_else(|_| member())
                    .map_err(|_| WordError("operator, system, unknown, adm_…, key_…, mem_…"))
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

/// Where a request came from. As text: an address, or one of the words `socket`, `unknown` and `process`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
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

impl std::str::FromStr for Source {
    type Err = WordError;

    fn from_str(text: &str) -> Result<Self, WordError> {
        match text {
            "socket" => Ok(Self::Socket),
            "unknown" => Ok(Self::Unknown),
            "process" => Ok(Self::Process),
            _ => text.parse().map(Self::Address).map_err(|_| WordError("an address, socket, unknown, process")),
        }
    }
}

impl TryFrom<String> for Source {
    type Error = WordError;

    fn try_from(text: String) -> Result<Self, WordError> {
        text.parse()
    }
}

impl From<Source> for String {
    fn from(source: Source) -> Self {
        source.to_string()
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
    /// An organization's plan or billing state on an api was set.
    SubscriptionUpdated = "subscription.updated",
    /// Somebody was invited.
    MemberInvited = "member.invited",
    /// An invitation was taken back.
    InvitationRevoked = "invitation.revoked",
    /// Somebody accepted an invitation.
    MemberJoined = "member.joined",
    /// A member was renamed or given another role.
    MemberUpdated = "member.updated",
    /// A member was taken out of the organization.
    MemberRemoved = "member.removed",
    /// An alert was opened.
    AlertOpened = "alert.opened",
    /// An alert was closed.
    AlertClosed = "alert.closed",
    /// An organization's settings of alerts were changed.
    AlertSettingsUpdated = "alert_settings.updated",
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
    /// A credential of the admin API was used from where it had not been used for a while.
    AdminSignedIn = "admin.signed_in",
    /// A request to the admin API was refused because of who sent it.
    AdminRefused = "admin.refused",
    /// A webhook endpoint was made.
    WebhookCreated = "webhook.created",
    /// A webhook endpoint was changed, or switched off because it said that it is gone.
    WebhookUpdated = "webhook.updated",
    /// A webhook endpoint got a new secret.
    WebhookRotated = "webhook.rotated",
    /// A webhook endpoint was removed.
    WebhookDeleted = "webhook.deleted",
    /// A webhook endpoint was sent a ping.
    WebhookTested = "webhook.tested",
    /// Events were sent to a webhook endpoint again.
    WebhookReplayed = "webhook.replayed",
    /// A mail was sent to see whether mails arrive.
    MailTested = "mail.tested",
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

/// A place in the chain: the number of an event and its hash. As text `NUMBER:HASH`, the hash in hexadecimal: what an
/// operator notes down elsewhere, for whoever can write to the database can write a whole new chain.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Head {
    /// Number of the event; zero before the first.
    pub number: i64,
    /// Its hash.
    pub hash: [u8; 32],
}

impl Head {
    /// Before the first event.
    pub const START: Self = Self { number: 0, hash: FIRST_PREVIOUS_HASH };

    /// The hash as 64 hexadecimal digits.
    pub fn hash_text(&self) -> String {
        hash_text(&self.hash)
    }
}

/// A hash in hexadecimal, whatever its length.
pub fn hash_text(hash: &[u8]) -> String {
    use std::fmt::Write as _;
    hash.iter().fold(String::with_capacity(2 * hash.len()), |mut text, byte| {
        // Writing to a String does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

impl std::fmt::Display for Head {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.number, self.hash_text())
    }
}

impl std::str::FromStr for Head {
    type Err = HeadError;

    fn from_str(text: &str) -> Result<Self, HeadError> {
        let (number, hash) = text.split_once(':').ok_or(HeadError)?;
        let number = number.parse().ok().filter(|number| *number >= 0 && !text.starts_with('+')).ok_or(HeadError)?;
        let hash = crate::key::hex_digest::parse(hash).ok_or(HeadError)?;
        Ok(Self { number, hash: *hash.as_bytes() })
    }
}

/// The text is no place in the chain.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("must be NUMBER:HASH, as `claviger audit verify` prints it")]
pub struct HeadError;

/// Why an event cannot be what was once written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Flaw {
    /// The next number is not there.
    #[error("it is missing")]
    Missing,
    /// The text is not an event, or one with another number.
    #[error("its text is not that of an event with this number")]
    Body,
    /// The hash is not that of the text and of everything before.
    #[error("its hash is not that of its text and of the events before it")]
    Hash,
    /// What it is found by is not what it says.
    #[error("what it is found by does not agree with its text")]
    Columns,
    /// It was noted down with another hash.
    #[error("it is not the event that was noted down: the log was written anew from there or from before")]
    NotAsNoted,
    /// It was noted down, and the log ends before it.
    #[error("it was noted down, but the log ends before it: events were cut off")]
    CutOff,
}

/// The first event that cannot be what was once written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FirstBad {
    /// Its number.
    pub number: i64,
    /// What is wrong with it.
    pub flaw: Flaw,
}

/// Walks along a chain of events, oldest first, and stops at the first that is wrong.
#[derive(Clone, Debug)]
pub struct Chain {
    head: Head,
    expected: Option<Head>,
    checked: i64,
}

impl Chain {
    /// Begins after a place that is known to be good. The chain must hold `expected`, if that is given.
    pub fn begin(after: Head, expected: Option<Head>) -> Result<Self, FirstBad> {
        let chain = Self { head: after, expected, checked: 0 };
        chain.compare()?;
        Ok(chain)
    }

    /// How many events were found good.
    pub fn checked(&self) -> i64 {
        self.checked
    }

    /// The last good event.
    pub fn head(&self) -> Head {
        self.head
    }

    /// Takes the next event: its number, its text and its hash as they were found.
    pub fn take(&mut self, number: i64, body: &str, hash: &[u8]) -> Result<(), FirstBad> {
        let next = self.head.number + 1;
        let bad = |flaw| FirstBad { number: next, flaw };
        if number != next {
            // One that stands before the first is as wrong as one that is not where it should be.
            return Err(bad(if number < next { Flaw::Body } else { Flaw::Missing }));
        }
        let says = serde_json::from_str::<AuditEvent>(body).map(|event| event.number);
        if says.ok() != Some(next) {
            return Err(bad(Flaw::Body));
        }
        let computed = chain_hash(&self.head.hash, body);
        if computed != hash {
            return Err(bad(Flaw::Hash));
        }
        self.head = Head { number, hash: computed };
        self.checked += 1;
        self.compare()
    }

    /// Ends the walk: nothing follows.
    pub fn end(&self) -> Result<(), FirstBad> {
        match self.expected {
            Some(expected) if expected.number > self.head.number => {
                Err(FirstBad { number: expected.number, flaw: Flaw::CutOff })
            }
            _ => Ok(()),
        }
    }

    fn compare(&self) -> Result<(), FirstBad> {
        match self.expected {
            Some(expected) if expected.number == self.head.number && expected.hash != self.head.hash => {
                Err(FirstBad { number: expected.number, flaw: Flaw::NotAsNoted })
            }
            _ => Ok(()),
        }
    }
}

/// What an audit event tells of a thing: everything but secrets and their digests.
pub trait Audited {
    /// The thing as a JSON object.
    fn audit_view(&self) -> Map<String, Value>;
}

pub(crate) fn object(value: &impl Serialize, left_out: &[&str]) -> Map<String, Value> {
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

impl Audited for Subscription {
    fn audit_view(&self) -> Map<String, Value> {
        object(self, &[])
    }
}

impl Audited for Member {
    fn audit_view(&self) -> Map<String, Value> {
        object(self, &[])
    }
}

impl Audited for Invitation {
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

/// A thing before and after.
pub type Sides = (Option<Map<String, Value>>, Option<Map<String, Value>>);

/// Leaves only what differs, where there is a before and an after.
pub fn difference(before: Option<Map<String, Value>>, after: Option<Map<String, Value>>) -> Sides {
    let (Some(mut before), Some(mut after)) = (before.clone(), after.clone()) else { return (before, after) };
    let same: Vec<String> =
        before.iter().filter(|(name, value)| after.get(*name) == Some(value)).map(|(name, _)| name.clone()).collect();
    before.retain(|name, _| !same.contains(name));
    after.retain(|name, _| !same.contains(name));
    (Some(before), Some(after))
}

#[cfg(test)]
mod tests;
