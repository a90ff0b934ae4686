//! What is asked of the engine and what it answers.

use std::net::IpAddr;

use claviger_domain::change::Revision;
use claviger_domain::credential::Credential;
use claviger_domain::denial::Denial;
use claviger_domain::endpoint::Method;
use claviger_domain::id::{KeyId, OrganizationId};
use claviger_domain::key::{Environment, Kind};
use claviger_domain::path::CanonicalPath;
use claviger_domain::referrer::Referrer;
use claviger_domain::time::Timestamp;

/// May this credential do this, from there? Everything is borrowed from the caller's request and was
/// parsed once, at the edge.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The credential, as the `Authorization` header held it.
    pub credential: Credential<'a>,
    /// The api the request is for; `None` when none could be chosen.
    pub api: Option<ApiIndex>,
    /// Method and path; `None` when the method is unknown or the path not canonical, which no endpoint matches.
    pub endpoint: Option<(Method, CanonicalPath<'a>)>,
    /// The caller's address; `None` fails every `ip` restriction.
    pub ip: Option<IpAddr>,
    /// The page the call comes from; `None` fails every `referrer` restriction.
    pub referrer: Option<Referrer<'a>>,
    /// Scopes the caller of verify asks for beyond the endpoint's own.
    pub scopes: &'a [&'a str],
    /// What the call costs, in units of rate limits and quotas: at most [`claviger_domain::limits::COST_MAX`], and what
    /// is more counts as that. `None` leaves it to the endpoint, and is one where the definition does not name it.
    pub cost: Option<u32>,
    /// The least revision the answer must know of.
    pub at_least_revision: Revision,
}

/// Position of an api in the engine's directory. Stable for the life of the engine.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ApiIndex(pub(crate) u16);

/// The decision. A plain value without heap memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Verdict {
    /// `Ok` allows, `Err` denies and says why.
    pub decision: Result<(), Denial>,
    /// The api it was decided for.
    pub api: Option<ApiIndex>,
    /// The key that the secret belongs to, once one was found.
    pub key: Option<VerifiedKey>,
    /// The scope that was missing, when that is the reason: the bit of the endpoint's scope, looked up in
    /// [`crate::Directory`].
    pub missing_scope: Option<ScopeIndex>,
    /// The revision the decision was made at.
    pub revision: Revision,
}

/// Position of a scope in its api's scope table.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ScopeIndex(pub(crate) u16);

/// The facts of a found key that a caller may need at once. Name, scopes and metadata are fetched with
/// [`crate::Engine::describe`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct VerifiedKey {
    /// Its id.
    pub id: KeyId,
    /// Whose it is.
    pub organization: OrganizationId,
    /// What it is for.
    pub kind: Kind,
    /// Where it works.
    pub environment: Environment,
    /// When it dies by itself.
    pub expires_at: Option<Timestamp>,
    /// Whether it was found by the secret that its last rotation replaced.
    pub by_old_secret: bool,
    /// Where the engine keeps it.
    pub(crate) slot: u32,
}

impl Verdict {
    /// Whether the request may pass.
    pub fn is_allowed(&self) -> bool {
        self.decision.is_ok()
    }
}
