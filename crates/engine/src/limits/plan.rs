//! Plans, compiled: their limits as numbers.

use claviger_domain::definition::Definition;
use claviger_domain::plan::{Per, Plan, RateLimit};

use super::pace::Pace;
use crate::directory::{Names, intern};
use crate::error::ApplyError;
use crate::scopes::ScopeBits;
use crate::usage::mix;
use crate::verdict::ScopeIndex;

/// A plan of an api.
#[derive(Debug)]
pub(crate) struct CompiledPlan {
    pub(crate) rules: Box<[Rule]>,
    /// Units of a billing period, of the organization and of each key.
    pub(crate) quota: Option<u64>,
    pub(crate) key_quota: Option<u64>,
}

/// A rate limit of a plan.
#[derive(Debug)]
pub(crate) struct Rule {
    /// Number of its name in the api.
    pub(crate) limit: u16,
    /// What its name and its api's are known by to the next process.
    pub(crate) name_hash: u64,
    pub(crate) per: Per,
    /// Only endpoints that ask for this scope count.
    pub(crate) scope: Option<ScopeIndex>,
    pub(crate) pace: Pace,
    /// Units in so many seconds, as written.
    pub(crate) units: u64,
    pub(crate) seconds: u32,
}

impl CompiledPlan {
    /// Compiles a plan. `names` has its name already, and grows by those of its limits.
    pub(crate) fn new(
        definition: &Definition,
        plan: &Plan,
        bits: &ScopeBits,
        names: &mut Names,
    ) -> Result<Self, ApplyError> {
        let mut rules = Vec::new();
        for limit in &plan.rate_limits {
            let RateLimit { name, per, scope, units, seconds, .. } = limit;
            let number = intern(&mut names.limits, name, "names of rate limits")?;
            let name_hash = hash_of_name(definition.name().as_str(), name.as_str());
            if *per == Per::Organization && names.own_meter.is_none() {
                names.own_meter = Some((number, name_hash));
            }
            // The definition was checked to have it.
            let scope = scope.as_ref().and_then(|scope| bits.find(scope.as_str())).map(|(scope, _)| scope);
            let pace = Pace::new(limit.nanos_per_unit(), limit.burst());
            let (per, units, seconds) = (*per, *units, *seconds);
            rules.push(Rule { limit: number, name_hash, per, scope, pace, units, seconds });
        }
        Ok(Self { rules: rules.into(), quota: plan.quota, key_quota: plan.key_quota })
    }
}

/// What the quotas of keys are known by.
pub(crate) const KEY_QUOTA_HASH: u64 = 1;

fn hash_of_name(api: &str, limit: &str) -> u64 {
    let hash = |text: &str| {
        let words = text
            .as_bytes()
            .chunks(8)
            .map(|bytes| bytes.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte)));
        mix(&std::iter::once(text.len() as u64).chain(words).collect::<Vec<u64>>())
    };
    mix(&[hash(api), hash(limit)])
}
