//! What is asked of the engine and what it answers.

use std::net::IpAddr;

use claviger_domain::change::Revision;
use claviger_domain::credential::Credential;
use claviger_domain::denial::Denial;
use claviger_domain::endpoint::Method;
use claviger_domain::id::{KeyId, OrganizationId};
use claviger_domain::key::{Environment, Kind};
use claviger_domain::limits::RATE_LIMITS_PER_PLAN_MAX;
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
/// [`CompiledApi::limits`](crate::CompiledApi::limits) knows, and it works out what is left, so that no verdict waits for
/// what hardly anybody asks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    pub(crate) plan: u16,
    /// One bit for each rate limit of the plan that applies, then [`QUOTA_BITS`](Self::QUOTA_BITS).
    pub(crate) applied: u8,
    /// The same bits, of those that refused.
    pub(crate) refused: u8,
    names: [LimitIndex; RATE_LIMITS_PER_PLAN_MAX],
    /// Of rate limits: nanoseconds until all units have come back.
    backlogs: [u64; RATE_LIMITS_PER_PLAN_MAX],
    /// Of quotas: units.
    remaining: [u64; 2],
    /// Of quotas.
    reset_seconds: [u32; 2],
    /// Whole seconds after which the call would pass if nobody else called; `None` if it was not refused by a limit, or
    /// costs more than one of them ever lets through.
    pub retry_after_seconds: Option<u32>,
}

/// The name of a rate limit in its api.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct LimitIndex(pub(crate) u16);

impl Limits {
    /// The quota of the organization and that of the key.
    pub(crate) const QUOTA_BITS: [usize; 2] = [RATE_LIMITS_PER_PLAN_MAX, RATE_LIMITS_PER_PLAN_MAX + 1];

    /// No limit was looked at.
    pub(crate) const NONE: Self = Self {
        plan: u16::MAX,
        applied: 0,
        refused: 0,
        names: [LimitIndex(u16::MAX); RATE_LIMITS_PER_PLAN_MAX],
        backlogs: [0; RATE_LIMITS_PER_PLAN_MAX],
        remaining: [0; 2],
        reset_seconds: [0; 2],
        retry_after_seconds: None,
    };

    /// Whether no limit was looked at.
    pub fn is_empty(&self) -> bool {
        self.applied == 0
    }

    /// The rate limit that is this one of its plan.
    #[inline]
    pub(crate) fn set_rate_limit(&mut self, number: usize, name: LimitIndex, backlog: u64) {
        self.applied |= 1 << number;
        self.names[number] = name;
        self.backlogs[number] = backlog;
    }

    /// The organization's quota (0) or the key's (1).
    #[inline]
    pub(crate) fn set_quota(&mut self, number: usize, remaining: u64, reset_seconds: u64) {
        self.applied |= 1 << Self::QUOTA_BITS[number];
        self.remaining[number] = remaining;
        self.reset_seconds[number] = u32::try_from(reset_seconds).unwrap_or(u32::MAX);
    }

    /// Name, backlog, and whether it refused.
    pub(crate) fn rate_limits(&self) -> impl Iterator<Item = (LimitIndex, u64, bool)> {
        let applied = (0..RATE_LIMITS_PER_PLAN_MAX).filter(|number| self.applied >> number & 1 == 1);
        applied.map(|number| (self.names[number], self.backlogs[number], self.refused >> number & 1 == 1))
    }

    /// Remaining units, seconds until the period ends, and whether it refused: of the organization's quota (0) or the
    /// key's (1), if that is a limit.
    pub(crate) fn quota(&self, number: usize) -> Option<(u64, u32, bool)> {
        let has = |bits: u8| bits >> Self::QUOTA_BITS[number] & 1 == 1;
        has(self.applied).then(|| (self.remaining[number], self.reset_seconds[number], has(self.refused)))
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
