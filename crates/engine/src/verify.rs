//! The decision. One straight walk through the checks, in the order of the design; nothing here waits (but for another call
//! of an account that has [limits](crate::limits)), allocates, or reads a clock.

use std::sync::Arc;

use arc_swap::Guard;
use claviger_domain::change::Revision;
use claviger_domain::credential::Credential;
use claviger_domain::denial::Denial;
use claviger_domain::endpoint::Method;
use claviger_domain::id::KeyId;
use claviger_domain::key::{Environment, Kind};
use claviger_domain::limits::COST_MAX;
use claviger_domain::network::Network;
use claviger_domain::path::CanonicalPath;
use claviger_domain::restriction::Restrictions;
use claviger_domain::secret::PresentedSecret;
use claviger_domain::time::{Timestamp, has_expired};

use crate::accounts::{Account, State};
use crate::callers::{self, Caller};
use crate::directory::{CompiledApi, Directory, EndpointRule};
use crate::limits::Call;
use crate::record::{Match, Meta, Record};
use crate::scopes::{FULL, holds};
use crate::shared::{NOT_LOADED, Shared, View};
use crate::sync::Ordering;
use crate::unknown_keys::Prefix;
use crate::usage::{NO_SCOPE, Outcome, Sighting, Usage};
use crate::verdict::{ApiIndex, Limits, Request, ScopeIndex, Verdict, VerifiedKey};

/// What a record says of a key, read in one undisturbed look.
#[derive(Clone, Copy)]
struct Facts {
    slot: u32,
    account: u32,
    id: KeyId,
    meta: Meta,
    expires_at: Option<Timestamp>,
    /// When the secret that was presented stops working, if a rotation has replaced it.
    overlap_ends_at: Option<Timestamp>,
    /// The scopes it holds, as bits of the api's definition.
    mask: u64,
    /// Slot of the key that it was made with, once that was looked at.
    parent: Option<u32>,
    /// Whether it has a parent or restrictions. Most keys have neither.
    is_bound: bool,
}

/// The facts of a key that has a parent or restrictions, and these, of the same look.
struct Bound {
    facts: Facts,
    parent: Option<u32>,
    restrictions: Option<Guard<Option<Arc<Restrictions>>>>,
}

/// The key that a key was made with.
#[derive(Clone, Copy)]
enum Parent<'a> {
    /// It was made with none.
    None,
    /// It is known.
    Known(&'a Facts),
    /// It is not, so its child is as good as revoked.
    Unknown,
}

impl<'a> Parent<'a> {
    #[inline(always)]
    fn known(self) -> Option<&'a Facts> {
        match self {
            Self::Known(facts) => Some(facts),
            Self::None | Self::Unknown => None,
        }
    }
}

/// Why not, and which scope was missing.
type Refusal = (Denial, Option<ScopeIndex>);

/// Something was replaced while it was looked at.
struct Outdated;

/// One verification, and what it has found out about its request.
struct Inquiry<'a> {
    shared: &'a Shared,
    now: Timestamp,
    request: &'a Request<'a>,
    directory: &'a Directory,
    index: ApiIndex,
    api: &'a CompiledApi,
    rule: Option<EndpointRule>,
}

pub(crate) fn verify(shared: &Shared, usage: &Usage, now: Timestamp, request: &Request<'_>) -> Verdict {
    // First of all: what is read later is at least as new as the revision that the verdict names.
    let revision = shared.revision.load(Ordering::Acquire);
    let mut verdict = Verdict {
        decision: Err(Denial::Unavailable),
        api: request.api,
        key: None,
        missing_scope: None,
        limits: Limits::NONE,
        revision: Revision(revision.max(0)),
    };
    let has_lease = now.as_micros() < shared.lease.load(Ordering::Acquire);
    if revision == NOT_LOADED || !has_lease || verdict.revision < request.at_least_revision {
        return verdict;
    }
    let secret = match request.credential {
        Credential::Missing => {
            verdict.decision = Err(Denial::Missing);
            return verdict;
        }
        Credential::Malformed => {
            verdict.decision = Err(Denial::Malformed);
            return verdict;
        }
        Credential::Bearer(secret) => secret,
    };
    loop {
        let decided = shared.with_view(|view| decide(shared, usage, view, now, request, secret, &mut verdict));
        if let Ok(()) = decided {
            return verdict;
        }
    }
}

/// Fills in the verdict. Fails, having counted nothing, when what it looked at became outdated meanwhile.
#[inline]
fn decide(
    shared: &Shared,
    usage: &Usage,
    view: &View,
    now: Timestamp,
    request: &Request<'_>,
    secret: PresentedSecret<'_>,
    verdict: &mut Verdict,
) -> Result<(), Outdated> {
    verdict.decision = Err(Denial::Malformed);
    let directory = &*view.directory;
    verdict.api = request.api.or_else(|| directory.find_by_prefix(secret.expose()));
    let Some((index, api)) = verdict.api.and_then(|index| Some((index, directory.compiled(index)?))) else {
        return Ok(());
    };
    let Some(format) = api.recognise(secret.expose()) else { return Ok(()) };
    let network = request.ip.map(Network::of);
    let digest = secret.digest().words();
    // What takes longest is to wait for memory: ask for it, do something else, then use it.
    view.index.prefetch(&digest);
    let rule = request.endpoint.and_then(|(method, path)| api.endpoints.find(method, path)).copied();
    let inquiry = Inquiry { shared, now, request, directory, index, api, rule };
    let tally = usage.tally(now, rule.map_or(NO_SCOPE, |rule| rule.counted_as));
    let (today, mut pair) = (callers::day(now), None);
    let found = view.index.find(&digest, |slot, account| {
        shared.records.prefetch(slot);
        tally.prefetch(slot);
        shared.accounts.prefetch(account);
        if let Some(network) = network {
            pair = Some(shared.callers.find(slot, network, today));
        }
        if api.has_meters_of_keys {
            shared.limit_cells.prefetch_key(slot);
        }
        shared.records.read(slot, |record| inquiry.facts(record, slot, Some(&digest)))?
    });
    // The epoch after the record: see `facts`.
    if inquiry.is_outdated() {
        return Err(Outdated);
    }
    verdict.decision = Err(Denial::NotFound);
    let Some(mut key) = found.filter(|key| key.meta.api() == index) else {
        shared.unknown_keys.count(Prefix { api: index, format: format as u16 }, network);
        return Ok(());
    };
    let judged =
        if key.is_bound { inquiry.judge_bound(&mut key, &digest)? } else { inquiry.judge(&key, Parent::None, &[]) };
    verdict.decision = judged.map_err(|(denial, _)| denial);
    let cost = inquiry.cost();
    if judged.is_ok() && cost > 0 {
        verdict.decision = inquiry.take(&key, cost, &mut verdict.limits)?;
    }
    verdict.missing_scope = judged.err().and_then(|(_, scope)| scope);
    let Facts { slot, id, account, meta, expires_at, .. } = key;
    tally.count(&Sighting { slot, id, account, meta, outcome: Outcome::of(verdict.decision, cost), cost });
    if let (Some(network), Some(pair)) = (network, pair)
        && verdict.is_allowed()
        && is_watched(meta)
    {
        shared.callers.saw(pair, Caller { key: id, network, at: now });
    }
    verdict.key = shared.accounts.id(account).map(|organization| VerifiedKey {
        id,
        organization,
        kind: meta.kind(),
        environment: meta.environment(),
        expires_at,
        by_old_secret: key.overlap_ends_at.is_some(),
        slot,
    });
    Ok(())
}

/// Whether it may be unusual from where a key is used. Ephemeral keys are made for whoever comes, and test keys guard nothing.
#[inline]
fn is_watched(meta: Meta) -> bool {
    meta.environment() == Environment::Live && meta.kind() != Kind::Ephemeral
}

impl Inquiry<'_> {
    /// Reads the facts; with a digest, only of a key that has it.
    ///
    /// Scope words are only good together with the directory they were made for. So after the facts, ask
    /// [`is_outdated`](Self::is_outdated): whoever has read a record with a scope set that is too new for the
    /// directory also sees that there is a newer one.
    #[inline(always)]
    fn facts(&self, record: &Record<'_>, slot: u32, digest: Option<&[u64; 4]>) -> Option<Facts> {
        let matched = digest.map_or(Some(Match::Current), |digest| record.matches(digest))?;
        let meta = record.meta();
        Some(Facts {
            slot,
            account: record.account(),
            id: record.id(),
            meta,
            expires_at: record.expires_at(),
            overlap_ends_at: match matched {
                Match::Current => None,
                Match::Old { overlap_ends_at } => Some(overlap_ends_at),
            },
            mask: if meta.api() == self.index { self.api.masks.get(meta.set()) } else { 0 },
            parent: None,
            is_bound: record.parent_and_restrictions() != (None, None),
        })
    }

    #[inline]
    fn is_outdated(&self) -> bool {
        self.directory.epoch < self.shared.epoch.load(Ordering::Acquire)
    }

    /// What the call costs.
    #[inline]
    fn cost(&self) -> u32 {
        let asked = self.request.cost.map(|cost| cost.min(COST_MAX));
        asked.or(self.rule.map(|rule| rule.cost)).unwrap_or(1)
    }

    /// Uses the units that a call costs of the limits of its account, if the api has plans.
    #[inline(always)]
    fn take(&self, key: &Facts, cost: u32, limits: &mut Limits) -> Result<Result<(), Denial>, Outdated> {
        let Some(account) = self.shared.accounts.get(key.account) else { return Ok(Ok(())) };
        let state = account.state();
        if !state.has(State::PLANNED) {
            return Ok(Ok(()));
        }
        self.take_planned(key, account, state, cost, limits)
    }

    #[inline(never)]
    fn take_planned(
        &self,
        key: &Facts,
        account: Account<'_>,
        state: State,
        cost: u32,
        limits: &mut Limits,
    ) -> Result<Result<(), Denial>, Outdated> {
        let Some(plan) = self.api.plan(state.plan()) else {
            // Either the account is ahead of the directory that is looked at, or its plan is gone.
            return if self.is_outdated() { Err(Outdated) } else { Ok(Err(Denial::SubscriptionInactive)) };
        };
        // Whoever holds a key does not get its limits once more with each key that is made with it.
        let maker = key.parent.filter(|_| key.meta.kind() == Kind::Ephemeral);
        let (slot, id) = match maker {
            None => (key.slot, key.id),
            #[expect(clippy::redundant_closure_for_method_calls, reason = "the method alone is not general enough")]
            Some(slot) => (slot, self.shared.records.read(slot, |record| record.id()).ok_or(Outdated)?),
        };
        let call = Call {
            shared: self.shared,
            api: self.api,
            plan,
            row: key.account,
            account,
            state,
            slot,
            key: id,
            is_test: key.meta.environment() == Environment::Test,
            scope: self.rule.map(|rule| rule.scope),
            units: u64::from(cost),
            now: self.now,
        };
        Ok(call.take(limits))
    }

    fn find_bound(&self, slot: u32, digest: Option<&[u64; 4]>) -> Option<Bound> {
        let inspect = |record: &Record<'_>| {
            let (parent, restrictions) = record.parent_and_restrictions();
            let restrictions = restrictions.map(|row| match self.shared.restrictions.get(row) {
                Some(restrictions) => restrictions.load(),
                None => Guard::from_inner(None),
            });
            Some(Bound { facts: self.facts(record, slot, digest)?, parent, restrictions })
        };
        self.shared.records.read(slot, inspect)?
    }

    /// Judges a key that has a parent or restrictions: what holds for one of the two must hold for both.
    #[inline(never)]
    fn judge_bound(&self, key: &mut Facts, digest: &[u64; 4]) -> Result<Result<(), Refusal>, Outdated> {
        // A second look, at everything together. If the key is another meanwhile, begin again.
        let own = self.find_bound(key.slot, Some(digest)).ok_or(Outdated)?;
        let parent = own.parent.and_then(|slot| self.find_bound(slot, None));
        if self.is_outdated() || own.facts.meta.api() != self.index {
            return Err(Outdated);
        }
        *key = Facts { parent: own.parent, ..own.facts };
        let is_known = |parent: &&Bound| !parent.facts.meta.has(Meta::UNKNOWN) && parent.facts.meta.api() == self.index;
        let parent = parent.as_ref().filter(is_known);
        let line = match (own.parent, parent) {
            (None, _) => Parent::None,
            (Some(_), Some(parent)) => Parent::Known(&parent.facts),
            (Some(_), None) => Parent::Unknown,
        };
        let restrictions =
            [Some(&own), parent].map(|bound| match bound.and_then(|bound| bound.restrictions.as_ref()) {
                Some(restrictions) => restrictions.as_deref().unwrap_or(&NOTHING_ALLOWED),
                None => &Restrictions::NONE,
            });
        Ok(self.judge(key, line, &restrictions))
    }

    /// Goes through the checks.
    #[inline(always)]
    fn judge(&self, key: &Facts, parent: Parent<'_>, restrictions: &[&Restrictions]) -> Result<(), Refusal> {
        self.check_life(key, parent).map_err(|denial| (denial, None))?;
        if !self.is_open(key.account) {
            return Err((Denial::SubscriptionInactive, None));
        }
        let required = self.rule.and_then(|rule| rule.environment);
        if required.is_some_and(|environment| environment != key.meta.environment()) {
            return Err((Denial::WrongEnvironment, None));
        }
        if !restrictions.iter().all(|restrictions| self.ip_is_allowed(restrictions)) {
            return Err((Denial::IpNotAllowed, None));
        }
        if !restrictions.iter().all(|restrictions| self.referrer_is_allowed(restrictions)) {
            return Err((Denial::ReferrerNotAllowed, None));
        }
        // What is no endpoint at all is nobody's.
        let Some((method, path)) = self.request.endpoint else {
            return Err((Denial::EndpointNotAllowed, None));
        };
        if !restrictions.iter().all(|restrictions| endpoint_is_allowed(restrictions, method, path)) {
            return Err((Denial::EndpointNotAllowed, None));
        }
        if self.rule.is_none() && !self.directory.may_be_unlisted(self.index, method, path) {
            return Err((Denial::EndpointNotAllowed, None));
        }
        let parent_mask = parent.known().map_or(FULL, |parent| parent.mask);
        self.check_scopes(key.mask, parent_mask).map_err(|missing| (Denial::InsufficientScope, missing))
    }

    /// Whether the keys of the account work: its organization is active, and its subscription gives access.
    #[inline(always)]
    fn is_open(&self, account: u32) -> bool {
        let Some(account) = self.shared.accounts.get(account) else { return false };
        let state = account.state();
        state.has(State::OPEN) || (state.has(State::IN_GRACE) && self.api.is_in_grace(account.since(), self.now))
    }

    /// Revoked, disabled, expired: its own or its parent's.
    #[inline(always)]
    fn check_life(&self, key: &Facts, parent: Parent<'_>) -> Result<(), Denial> {
        let any = |test: &dyn Fn(&Facts) -> bool| test(key) || parent.known().is_some_and(test);
        if has_expired(key.overlap_ends_at, self.now) || any(&|facts| facts.meta.has(Meta::REVOKED)) {
            return Err(Denial::Revoked);
        }
        if any(&|facts| facts.meta.has(Meta::DISABLED)) {
            return Err(Denial::Disabled);
        }
        if any(&|facts| has_expired(facts.expires_at, self.now)) {
            return Err(Denial::Expired);
        }
        if matches!(parent, Parent::Unknown) { Err(Denial::Revoked) } else { Ok(()) }
    }

    /// The endpoint's scope, then those that the caller of verify asks for. The error is the one that is missing.
    #[inline(always)]
    fn check_scopes(&self, mask: u64, parent_mask: u64) -> Result<(), Option<ScopeIndex>> {
        let holds = |bit| holds(mask, bit) && holds(parent_mask, bit);
        // An endpoint that the definition does not name asks for no bit, which only full access holds.
        if !holds(self.rule.map_or(0, |rule| rule.bit)) {
            return Err(self.rule.map(|rule| rule.scope));
        }
        for name in self.request.scopes {
            let known = self.api.bits.find(name);
            if !holds(known.map_or(0, |(_, bit)| bit)) {
                return Err(known.map(|(index, _)| index));
            }
        }
        Ok(())
    }

    fn ip_is_allowed(&self, restrictions: &Restrictions) -> bool {
        let Some(rules) = &restrictions.ip else { return true };
        self.request.ip.is_some_and(|address| rules.iter().any(|rule| rule.contains(address)))
    }

    fn referrer_is_allowed(&self, restrictions: &Restrictions) -> bool {
        let Some(rules) = &restrictions.referrer else {
            return true;
        };
        self.request.referrer.is_some_and(|referrer| rules.iter().any(|rule| rule.matches(&referrer)))
    }
}

fn endpoint_is_allowed(restrictions: &Restrictions, method: Method, path: CanonicalPath<'_>) -> bool {
    let Some(rules) = &restrictions.endpoint else {
        return true;
    };
    rules.iter().any(|rule| rule.matches(method, path))
}

/// Stands in for restrictions that cannot be found.
static NOTHING_ALLOWED: Restrictions = Restrictions { ip: Some(Vec::new()), referrer: None, endpoint: None };
