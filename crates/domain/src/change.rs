//! Changes: the only news that an engine hears.

use serde::{Deserialize, Serialize};

use crate::definition::Api;
use crate::id::{KeyId, VerifierId};
use crate::key::{Key, Name, hex_digest};
use crate::organization::Organization;
use crate::secret::SecretDigest;
use crate::subscription::Subscription;
use crate::time::Timestamp;

/// A place in the feed: one strictly increasing number for the whole deployment. Zero is before the first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Revision(pub i64);

impl std::fmt::Display for Revision {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// Something that may alter a verdict. Each carries the whole new state of one thing, so that applying it
/// twice is applying it once.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(tag = "change", content = "value", rename_all = "snake_case")]
pub enum Change {
    /// An api was defined, or defined anew.
    Api(Box<Api>),
    /// An organization was made or altered.
    Organization(Organization),
    /// An organization's plan or billing state on an api was set.
    Subscription(Box<Subscription>),
    /// A key was made or altered in any way.
    Key(Box<Key>),
    /// A key that had been dead for long was forgotten.
    KeyRemoved {
        /// Which.
        id: KeyId,
    },
    /// A verifier was made or revoked.
    Verifier(Verifier),
}

/// An API server or proxy that may ask for verdicts over HTTP.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Verifier {
    /// Its id.
    pub id: VerifierId,
    /// The name the operator gave it.
    pub name: Name,
    /// Digest of its token.
    #[serde(with = "hex_digest")]
    pub digest: SecretDigest,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
}
