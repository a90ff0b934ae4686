//! The directory: every defined api, compiled for look-ups, and which of them a request is for.

use std::sync::{Arc, LazyLock};

use arc_swap::{ArcSwapOption, Guard};
use claviger_domain::definition::{Api, Definition};
use claviger_domain::endpoint::{EndpointTable, Method};
use claviger_domain::format::KeyFormat;
use claviger_domain::key::Environment;
use claviger_domain::path::CanonicalPath;
use claviger_domain::plan::{Per, PlanName};
use claviger_domain::scope::{Scope, Scopes};
use claviger_domain::time::Timestamp;

use crate::error::ApplyError;
use crate::limits::plan::CompiledPlan;
use crate::scopes::{ScopeBits, ScopeMasks, ScopeSets};
use crate::slab::Slab;
use crate::usage::NO_SCOPE;
use crate::verdict::{ApiIndex, Limits, ScopeIndex};

const MICROS_PER_DAY: i64 = 24 * 3600 * 1_000_000;

/// Every defined api, at one moment. An api keeps its [`ApiIndex`] for the life of the engine.
#[derive(Debug, Default)]
pub struct Directory {
    /// Counts directories, so that a reader can tell that it holds an old one.
    pub(crate) epoch: u64,
    /// By [`ApiIndex`]. `None` where keys named an api that nobody has defined yet.
    apis: Vec<Option<Arc<CompiledApi>>>,
    /// Hosts in lower case, sorted.
    hosts: Vec<(Box<str>, ApiIndex)>,
    /// Base paths, sorted, each with its apis ordered by name.
    base_paths: Vec<(Box<str>, Vec<ApiIndex>)>,
    /// The different lengths of the base paths, longest first.
    base_path_lengths: Vec<usize>,
}

impl Directory {
    /// The directory of these apis, by [`ApiIndex`].
    pub(crate) fn new(epoch: u64, apis: Vec<Option<Arc<CompiledApi>>>) -> Self {
        let defined = apis.iter().zip(0..).filter_map(|(api, index)| Some((api.clone()?, ApiIndex(index))));
        let mut by_name: Vec<(Arc<CompiledApi>, ApiIndex)> = defined.collect();
        by_name.sort_by(|one, other| one.0.definition().name().cmp(other.0.definition().name()));
        let mut directory = Self { epoch, apis, ..Self::default() };
        for (api, index) in &by_name {
            let definition = api.definition();
            directory.hosts.extend(definition.hosts().iter().map(|host| (host.as_str().into(), *index)));
            let base_path = definition.base_path();
            match directory.base_paths.binary_search_by(|(known, _)| (**known).cmp(base_path)) {
                Ok(found) => directory.base_paths[found].1.push(*index),
                Err(place) => directory.base_paths.insert(place, (base_path.into(), vec![*index])),
            }
            directory.base_path_lengths.push(base_path.len());
        }
        directory.hosts.sort();
        directory.base_path_lengths.sort_unstable_by(|one, other| other.cmp(one));
        directory.base_path_lengths.dedup();
        directory
    }

    /// The api that a request is for.
    ///
    /// A known `host` (the `Host` header, in any case, with or without a port) decides. Else the longest base
    /// path that `raw_path` is at or below does; where several apis share that base path, those count that know the
    /// endpoint, if any does: a key of one never speaks for an endpoint of another. Among them the prefix of
    /// `secret_text` (whatever follows the scheme, however malformed) chooses, then the one api whose definition lists
    /// the endpoint, then the order of their names. A path below no base path leaves
    /// the choice to the secret's prefix alone.
    pub fn select(
        &self,
        host: Option<&str>,
        endpoint: Option<(Method, CanonicalPath<'_>)>,
        raw_path: &str,
        secret_text: Option<&str>,
    ) -> Option<ApiIndex> {
        if let Some(api) = host.and_then(|host| self.find_by_host(host)) {
            return Some(api);
        }
        let Some(apis) = self.find_by_base_path(raw_path) else {
            return self.find_by_prefix(secret_text?);
        };
        if let [only] = apis {
            return Some(*only);
        }
        let knows = |index: &&ApiIndex| endpoint.is_some_and(|(method, path)| self.knows(**index, method, path));
        let is_known = apis.iter().any(|index| knows(&index));
        let candidates = || apis.iter().filter(|index| !is_known || knows(index));
        let has_prefix = |index: &&ApiIndex| secret_text.is_some_and(|text| self.api(**index).has_prefix_of(text));
        let is_listed = |index: &&ApiIndex| {
            endpoint.is_some_and(|(method, path)| self.api(**index).listed.find(method, path).is_some())
        };
        let mut listing = candidates().filter(is_listed);
        let only_listing = listing.next().filter(|_| listing.next().is_none());
        candidates().find(has_prefix).or(only_listing).or(candidates().next()).copied()
    }

    /// Whether a key of the api with full access may call an endpoint that the api's definition does not name: below its
    /// own base path, and not where another api with that base path has an endpoint.
    pub(crate) fn may_be_unlisted(&self, index: ApiIndex, method: Method, path: CanonicalPath<'_>) -> bool {
        let base_path = self.api(index).definition().base_path();
        let below = path.as_str().strip_prefix(base_path).is_some_and(|rest| rest.starts_with('/'));
        let mut others = self.iter().filter(|(other, _)| *other != index);
        below
            && !others.any(|(other, api)| api.definition().base_path() == base_path && self.knows(other, method, path))
    }

    fn knows(&self, index: ApiIndex, method: Method, path: CanonicalPath<'_>) -> bool {
        self.api(index).endpoints.find(method, path).is_some()
    }

    /// The api of this name.
    pub fn find(&self, name: &str) -> Option<ApiIndex> {
        self.iter().find(|(_, api)| api.definition().name().as_str() == name).map(|(index, _)| index)
    }

    /// The api at this position.
    ///
    /// A position may come from a verdict that is younger than this directory, and name an api that was
    /// defined in between; the answer is then an api named `unknown` that has nothing. Take the directory
    /// after the verdict to be sure.
    pub fn api(&self, index: ApiIndex) -> &CompiledApi {
        self.compiled(index).unwrap_or(&UNKNOWN)
    }

    /// All defined apis, in the order in which the engine heard of them.
    pub fn iter(&self) -> impl Iterator<Item = (ApiIndex, &CompiledApi)> {
        self.apis.iter().zip(0..).filter_map(|(api, index)| Some((ApiIndex(index), api.as_deref()?)))
    }

    /// The api at this position, if it is defined.
    #[inline]
    pub(crate) fn compiled(&self, index: ApiIndex) -> Option<&CompiledApi> {
        self.apis.get(usize::from(index.0))?.as_deref()
    }

    /// The api that issues, or once issued, secrets with the prefix of this text. No two apis share one.
    pub(crate) fn find_by_prefix(&self, text: &str) -> Option<ApiIndex> {
        self.iter().find(|(_, api)| api.has_prefix_of(text)).map(|(index, _)| index)
    }

    fn find_by_host(&self, host: &str) -> Option<ApiIndex> {
        let name = match host.rsplit_once(':') {
            Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
            _ => host,
        };
        let lower = || name.bytes().map(|byte| byte.to_ascii_lowercase());
        let found = self.hosts.binary_search_by(|(known, _)| known.bytes().cmp(lower())).ok()?;
        Some(self.hosts[found].1)
    }

    fn find_by_base_path(&self, raw_path: &str) -> Option<&[ApiIndex]> {
        self.base_path_lengths.iter().find_map(|length| {
            let base = raw_path.get(..*length)?;
            if !matches!(raw_path.as_bytes().get(*length), None | Some(b'/')) {
                return None;
            }
            let found = self.base_paths.binary_search_by(|(known, _)| (**known).cmp(base)).ok()?;
            Some(self.base_paths[found].1.as_slice())
        })
    }
}

/// An api, compiled for look-ups.
#[derive(Debug)]
pub struct CompiledApi {
    definition: Definition,
    /// All formats, those no longer issued included, each with a mask and the value of a head under it.
    formats: Vec<(u64, u64, KeyFormat)>,
    /// All endpoints, the customer API's included.
    pub(crate) endpoints: EndpointTable<EndpointRule>,
    /// Only those that the definition lists.
    listed: EndpointTable<()>,
    pub(crate) bits: ScopeBits,
    pub(crate) masks: ScopeMasks,
    /// Scope sets by number.
    sets: Arc<Slab<ArcSwapOption<Scopes>>>,
    /// Every scope that any definition of the api has named since the engine was made, by [`ScopeIndex`].
    names: Box<[Scope]>,
    /// For how long keys go on working when a payment is due.
    grace_micros: i64,
    /// Plans by number. `None` for those that the definition no longer has.
    plans: Box<[Option<CompiledPlan>]>,
    /// Every name of a rate limit since the engine was made, by number.
    limit_names: Box<[PlanName]>,
    own_meter: Option<(u16, u64)>,
    /// Whether the units of single keys are counted: some plan has a quota for them.
    pub(crate) counts_keys: bool,
    /// Whether single keys have meters: the same, or some plan has a rate limit for each.
    pub(crate) has_meters_of_keys: bool,
}

/// A rate limit or quota that a verdict looked at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limit<'a> {
    /// Its name: that of the rate limit, or `quota` or `key_quota`.
    pub name: &'a str,
    /// Whose units count together.
    pub per: Per,
    /// The scope without which a call does not count.
    pub scope: Option<&'a Scope>,
    /// Units that pass in a window.
    pub limit: u64,
    /// The window, in seconds; `None` for quotas, whose window is the billing period.
    pub window_seconds: Option<u32>,
    /// Units that are left.
    pub remaining: u64,
    /// Whole seconds until nothing of it is used, if nobody calls any more.
    pub reset_seconds: u32,
    /// Whether the call was refused because of it.
    pub is_refused: bool,
}

/// What definitions of an api have named since the engine was made: each name keeps its place.
#[derive(Debug, Default)]
pub(crate) struct Names {
    pub(crate) scopes: Vec<Scope>,
    pub(crate) plans: Vec<PlanName>,
    pub(crate) limits: Vec<PlanName>,
    /// The rate limit whose meter stands in the accounts' lines: number and hash of its name.
    pub(crate) own_meter: Option<(u16, u64)>,
}

/// The place of a name among those known, which grow by it if it is new.
pub(crate) fn intern<T: Clone + PartialEq>(
    names: &mut Vec<T>,
    name: &T,
    what: &'static str,
) -> Result<u16, ApplyError> {
    let known = names.iter().position(|known| known == name);
    let place = known.unwrap_or(names.len());
    let number = u16::try_from(place).ok().filter(|number| *number != u16::MAX).ok_or(ApplyError::Full(what))?;
    if known.is_none() {
        names.push(name.clone());
    }
    Ok(number)
}

/// What an endpoint asks of a key.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EndpointRule {
    pub(crate) scope: ScopeIndex,
    pub(crate) bit: u64,
    /// The number under which its calls are counted.
    pub(crate) counted_as: u16,
    pub(crate) environment: Option<Environment>,
    /// What a call costs, unless the caller of verify says otherwise.
    pub(crate) cost: u32,
}

impl CompiledApi {
    /// Compiles a definition. `names` grows by the scopes that are new; `counted_as` gives the number under which the
    /// calls that ask for a scope are counted.
    pub(crate) fn new(
        api: &Api,
        sets: &ScopeSets,
        names: &mut Names,
        mut counted_as: impl FnMut(&Scope) -> u16,
    ) -> Result<Self, ApplyError> {
        let bits = ScopeBits::new(&api.definition, &mut names.scopes)?;
        let mut plans: Vec<Option<CompiledPlan>> = Vec::new();
        for plan in api.definition.plans() {
            let number = usize::from(intern(&mut names.plans, &plan.name, "plan names")?);
            plans.resize_with(plans.len().max(number + 1), || None);
            plans[number] = Some(CompiledPlan::new(&api.definition, plan, &bits, names)?);
        }
        let counts_keys = plans.iter().flatten().any(|plan| plan.key_quota.is_some());
        let limits_keys = |plan: &CompiledPlan| plan.rules.iter().any(|rule| rule.per == Per::Key);
        let has_meters_of_keys = counts_keys || plans.iter().flatten().any(limits_keys);
        let rules = api.definition.endpoints().into_iter().filter_map(|endpoint| {
            let (scope, bit) = bits.find(endpoint.scope.as_str())?;
            let counted_as = counted_as(&endpoint.scope);
            let (environment, cost) = (endpoint.environment, endpoint.cost);
            Some((endpoint.endpoint, EndpointRule { scope, bit, counted_as, environment, cost }))
        });
        let endpoints = EndpointTable::new(rules).expect("a definition was checked for conflicts");
        let listed = api.definition.listed_endpoints().iter().map(|listed| (listed.endpoint.clone(), ()));
        let listed = EndpointTable::new(listed).expect("a definition was checked for conflicts");
        let masks = sets.masks(&bits)?;
        let (limit_names, own_meter) = (names.limits.as_slice().into(), names.own_meter);
        let names = names.scopes.as_slice().into();
        let grace_days = i64::from(api.definition.subscription_rules().past_due_grace_days);
        let formats = api.definition.formats().iter().chain(&api.retired_formats).map(with_head).collect();
        Ok(Self {
            definition: api.definition.clone(),
            formats,
            endpoints,
            listed,
            bits,
            masks,
            sets: Arc::clone(&sets.by_number),
            names,
            grace_micros: grace_days * MICROS_PER_DAY,
            plans: plans.into(),
            limit_names,
            own_meter,
            counts_keys,
            has_meters_of_keys,
        })
    }

    /// What the operator applied last.
    pub fn definition(&self) -> &Definition {
        &self.definition
    }

    /// The scope at a position, which it keeps whatever becomes of the definition.
    pub fn scope_name(&self, index: ScopeIndex) -> Option<&Scope> {
        self.names.get(usize::from(index.0))
    }

    /// The scopes of a set.
    pub(crate) fn scopes(&self, set: u32) -> Option<Guard<Option<Arc<Scopes>>>> {
        Some(self.sets.get(set)?.load())
    }

    /// The number of the format that the text is a well-formed secret of, those no longer issued included.
    #[inline]
    pub(crate) fn recognise(&self, text: &str) -> Option<usize> {
        let head = head(text.as_bytes());
        self.formats.iter().position(|(mask, prefix, format)| head & mask == *prefix && format.recognises(text))
    }

    /// The prefix of the format of a number.
    pub(crate) fn prefix(&self, format: u16) -> Option<&str> {
        self.formats.get(usize::from(format)).map(|(.., format)| format.prefix.as_str())
    }

    /// The plan of this number, unless the definition has it no more or not yet.
    #[inline]
    pub(crate) fn plan(&self, number: u16) -> Option<&CompiledPlan> {
        self.plans.get(usize::from(number))?.as_ref()
    }

    /// Whether the meter of this rate limit stands in the accounts' lines.
    #[inline]
    pub(crate) fn has_own_meter(&self, limit: u16) -> bool {
        self.own_meter.is_some_and(|(own, _)| own == limit)
    }

    /// By what the rate limit of the accounts' own meters is known to the next process.
    pub(crate) fn own_meter_hash(&self) -> Option<u64> {
        self.own_meter.map(|(_, hash)| hash)
    }

    /// The limits of a verdict, with their names and what they allow. Those that the definition has changed since may be
    /// missing.
    pub fn limits<'a>(&'a self, limits: &'a Limits) -> impl Iterator<Item = Limit<'a>> {
        let plan = self.plan(limits.plan).into_iter();
        plan.flat_map(move |plan| {
            let rates = limits.rate_limits().filter_map(|(name, backlog, is_refused)| {
                let rule = plan.rules.iter().find(|rule| rule.limit == name.0)?;
                Some(Limit {
                    name: self.limit_names.get(usize::from(name.0))?.as_str(),
                    per: rule.per,
                    scope: rule.scope.and_then(|scope| self.scope_name(scope)),
                    limit: rule.units,
                    window_seconds: Some(rule.seconds),
                    remaining: rule.pace.remaining(backlog),
                    reset_seconds: rule.pace.reset_seconds(backlog),
                    is_refused,
                })
            });
            let quotas = [("quota", Per::Organization, plan.quota), ("key_quota", Per::Key, plan.key_quota)];
            let quotas = quotas.into_iter().enumerate().filter_map(|(number, (name, per, limit))| {
                let (remaining, reset_seconds, is_refused) = limits.quota(number)?;
                let (limit, scope, window_seconds) = (limit?, None, None);
                Some(Limit { name, per, scope, limit, window_seconds, remaining, reset_seconds, is_refused })
            });
            rates.chain(quotas)
        })
    }

    /// Whether keys that work until the grace period is over still do, when that began at this instant.
    #[inline]
    pub(crate) fn is_in_grace(&self, since_micros: i64, now: Timestamp) -> bool {
        now.as_micros() < since_micros.saturating_add(self.grace_micros)
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        self.masks.memory_bytes() + self.sets.memory_bytes() + size_of::<Self>()
    }

    fn has_prefix_of(&self, text: &str) -> bool {
        self.formats.iter().any(|(.., format)| text.starts_with(&format.prefix))
    }
}

/// The first eight bytes of a text, or as many as there are, as a number.
#[inline]
fn head(text: &[u8]) -> u64 {
    match text.first_chunk() {
        Some(head) => u64::from_le_bytes(*head),
        None => text.iter().rev().fold(0, |head, byte| head << 8 | u64::from(*byte)),
    }
}

/// A format with a mask and a value that the heads of its secrets have under it: two numbers tell most formats apart.
fn with_head(format: &KeyFormat) -> (u64, u64, KeyFormat) {
    let bytes = format.prefix.len().min(8) as u32;
    let mask = u64::MAX.checked_shr(64 - 8 * bytes).unwrap_or(0);
    (mask, head(format.prefix.as_bytes()) & mask, format.clone())
}

/// Stands in for an api that a directory is too old to know.
static UNKNOWN: LazyLock<CompiledApi> = LazyLock::new(|| {
    let definition = Definition::parse(
        "name = \"unknown\"\ntitle = \"unknown\"\nbase_path = \"/unknown\"\n[[keys]]\nprefix = \"unknown_\"\n\
         kind = \"secret\"\nenvironment = \"live\"\nalphabet = \"base62\"\nlength = 32",
    )
    .expect("a fixed text that a test parses");
    let api = Api { definition, retired_formats: Vec::new() };
    CompiledApi::new(&api, &ScopeSets::new(), &mut Names::default(), |_| NO_SCOPE)
        .expect("three scopes are not too many")
});
