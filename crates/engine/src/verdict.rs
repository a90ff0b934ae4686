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
    /// The limits that were looked at, which is after all else was found to be fine.
    pub limits: Limits,
    /// The revision the decision was made at.
    pub revision: Revision,
}

/// Rate limits and quotas as they were right after the decision. What they are called and what they allow,
/// [`CompiledApi::limits`](crate::CompiledApi::limits) knows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    pub(crate) plan: u16,
    count: u8,
    /// One bit for each that refused.
    refused: u8,
    names: [LimitIndex; Self::MAX],
    remaining: [u64; Self::MAX],
    reset_seconds: [u32; Self::MAX],
    /// Whole seconds after which the call would pass if nobody else called; `None` if it was not refused by a limit, or
    /// costs more than one of them ever lets through.
    pub retry_after_seconds: Option<u32>,
}

/// The name of a rate limit in its api, or one of the quotas.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct LimitIndex(pub(crate) u16);

impl LimitIndex {
    /// The units of the organization in a billing period.
    pub(crate) const QUOTA: Self = Self(u16::MAX - 1);
    /// The units of the key in a billing period.
    pub(crate) const KEY_QUOTA: Self = Self(u16::MAX);
}

/// A limit of a verdict.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct LimitState {
    pub(crate) name: LimitIndex,
    pub(crate) remaining: u64,
    pub(crate) reset_seconds: u32,
    pub(crate) is_refused: bool,
}

impl Limits {
    /// Rate limits of a plan and two quotas.
    const MAX: usize = claviger_domain::limits::RATE_LIMITS_PER_PLAN_MAX + 2;

    /// No limit was looked at.
    pub(crate) const NONE: Self = Self {
        plan: u16::MAX,
        count: 0,
        refused: 0,
        names: [LimitIndex::QUOTA; Self::MAX],
        remaining: [0; Self::MAX],
        reset_seconds: [0; Self::MAX],
        retry_after_seconds: None,
    };

    /// Those of a plan, before any is added.
    pub(crate) fn of_plan(plan: u16) -> Self {
        Self { plan, ..Self::NONE }
    }

    /// Whether no limit was looked at.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    pub(crate) fn push(&mut self, name: LimitIndex, remaining: u64, reset_seconds: u64, is_refused: bool) {
        let place = usize::from(self.count);
        self.names[place] = name;
        self.remaining[place] = remaining;
        self.reset_seconds[place] = u32::try_from(reset_seconds).unwrap_or(u32::MAX);
        self.refused |= u8::from(is_refused) << place;
        self.count += 1;
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = LimitState> + '_ {
        (0..usize::from(self.count)).map(|place| LimitState {
            name: self.names[place],
            remaining: self.remaining[place],
            reset_seconds: self.reset_seconds[place],
            is_refused: self.refused >> place & 1 == 1,
        })
    }
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
