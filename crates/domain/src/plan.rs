//! Plans: what may be bought, and the limits that come with it. Part of an api's definition.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::key::Kind;
use crate::limits;
use crate::scope::Scope;

/// The name of a plan or of one of its rate limits, such as `free`: 1 to 32 characters of `a-z`, `0-9`, `-` and `_`,
/// beginning with a letter.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PlanName(Box<str>);

/// The text is not a name of a plan or a limit.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("a plan's or limit's name has 1 to 32 characters of a-z, 0-9, '-' and '_' and begins with a letter")]
pub struct PlanNameError;

impl PlanName {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for PlanName {
    type Err = PlanNameError;

    fn from_str(text: &str) -> Result<Self, PlanNameError> {
        let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'_';
        let starts_well = text.bytes().next().is_some_and(|byte| byte.is_ascii_lowercase());
        if starts_well && text.len() <= 32 && text.bytes().all(allowed) {
            Ok(Self(text.into()))
        } else {
            Err(PlanNameError)
        }
    }
}

impl TryFrom<String> for PlanName {
    type Error = PlanNameError;

    fn try_from(text: String) -> Result<Self, PlanNameError> {
        text.parse()
    }
}

impl From<PlanName> for String {
    fn from(name: PlanName) -> Self {
        name.0.into()
    }
}

impl fmt::Display for PlanName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What may be bought. A limit that is left out does not limit; a limit of zero lets nothing through.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// Its name in requests.
    pub name: PlanName,
    /// Its name for people.
    pub title: String,
    /// Whether keys work at all.
    #[serde(default = "yes")]
    pub api_access: bool,
    /// The kinds of keys that can be made; all when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kinds: Option<BTreeSet<Kind>>,
    /// Keys that are neither revoked nor expired, ephemeral ones aside; both environments together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keys: Option<u32>,
    /// The same for ephemeral keys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ephemeral_keys: Option<u32>,
    /// Units that live keys may use in a billing period. A call uses as many as it costs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quota: Option<u64>,
    /// The same for each single key, whose ephemeral keys count as itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_quota: Option<u64>,
    /// All of which a call must stay within.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rate_limits: Vec<RateLimit>,
}

/// So many units in so many seconds (GCRA): after a burst, one more every `seconds / units`.
///
/// Test and live calls are limited apart from each other.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RateLimit {
    /// Its name in answers; unique within the plan.
    pub name: PlanName,
    /// Whose calls count together.
    #[serde(default)]
    pub per: Per,
    /// Only calls to endpoints that ask for this scope count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<Scope>,
    /// How many.
    pub units: u64,
    /// In how long.
    pub seconds: u32,
    /// How many at once after a pause; `units` when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub burst: Option<u64>,
}

/// Whose calls a rate limit counts together.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Per {
    /// Those of all keys of the organization.
    #[default]
    Organization,
    /// Those of each key for itself. Ephemeral keys count as the key that they were made with.
    Key,
}

impl Per {
    /// The word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Organization => "organization",
            Self::Key => "key",
        }
    }
}

impl RateLimit {
    /// Units that pass at once after a pause.
    pub fn burst(&self) -> u64 {
        self.burst.unwrap_or(self.units)
    }

    /// Nanoseconds after which one more unit passes, rounded up so that never more than `units` do; `None` when none
    /// ever does.
    pub fn nanos_per_unit(&self) -> Option<u64> {
        (self.units > 0).then(|| (u64::from(self.seconds) * 1_000_000_000).div_ceil(self.units))
    }
}

/// What holds for organizations with regard to plans.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SubscriptionRules {
    /// The plan of organizations that have no subscription. Without one, their keys are refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_plan: Option<PlanName>,
    /// For how many days keys go on working when a payment is due.
    #[serde(default = "a_week")]
    pub past_due_grace_days: u16,
    /// What becomes of the keys that a smaller plan has no room for.
    #[serde(default)]
    pub over_key_limit: OverKeyLimit,
}

impl Default for SubscriptionRules {
    fn default() -> Self {
        Self { default_plan: None, past_due_grace_days: a_week(), over_key_limit: OverKeyLimit::default() }
    }
}

/// What becomes of the keys that a smaller plan has no room for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OverKeyLimit {
    /// They stay as they are, and no more can be made.
    #[default]
    Keep,
    /// The newest of them are disabled.
    DisableNewest,
}

const fn yes() -> bool {
    true
}

const fn a_week() -> u16 {
    7
}

/// What is wrong with plans and the rules about them, one sentence each.
pub(crate) fn mistakes(
    plans: &[Plan],
    rules: Option<&SubscriptionRules>,
    knows_scope: impl Fn(&Scope) -> bool,
) -> Vec<String> {
    let mut mistakes = Vec::new();
    if plans.len() > limits::PLANS_PER_API_MAX {
        return vec![format!("an api has at most {} [[plans]]", limits::PLANS_PER_API_MAX)];
    }
    let mut names = BTreeSet::new();
    for plan in plans {
        let name = &plan.name;
        if !names.insert(name) {
            mistakes.push(format!("plan {:?} is listed twice", name.as_str()));
        }
        if plan.title.trim().is_empty() || plan.title.chars().count() > limits::NAME_CHARS_MAX {
            mistakes.push(format!(
                "the title of plan {:?} must have 1 to {} characters",
                name.as_str(),
                limits::NAME_CHARS_MAX
            ));
        }
        mistakes.extend(
            plan_mistakes(plan, &knows_scope).into_iter().map(|mistake| format!("plan {:?}: {mistake}", name.as_str())),
        );
    }
    let Some(rules) = rules else {
        if !plans.is_empty() {
            mistakes.push(
                "[subscriptions] is missing: say which plan organizations without a subscription have \
                 (default_plan), or leave it empty to refuse their keys"
                    .to_owned(),
            );
        }
        return mistakes;
    };
    if plans.is_empty() {
        mistakes.push("[subscriptions] is for apis with [[plans]]".to_owned());
    }
    if let Some(plan) = &rules.default_plan
        && !names.contains(plan)
    {
        mistakes.push(format!("subscriptions.default_plan {:?} is not in [[plans]]", plan.as_str()));
    }
    if rules.past_due_grace_days > limits::GRACE_DAYS_MAX {
        mistakes.push(format!("subscriptions.past_due_grace_days is more than {}", limits::GRACE_DAYS_MAX));
    }
    mistakes
}

fn plan_mistakes(plan: &Plan, knows_scope: impl Fn(&Scope) -> bool) -> Vec<String> {
    let mut mistakes = Vec::new();
    for (field, value) in [("keys", plan.keys), ("ephemeral_keys", plan.ephemeral_keys)] {
        if value.is_some_and(|value| i64::from(value) > limits::KEYS_PER_ORGANIZATION_MAX) {
            mistakes.push(format!("{field} is more than {}", limits::KEYS_PER_ORGANIZATION_MAX));
        }
    }
    for (field, value) in [("quota", plan.quota), ("key_quota", plan.key_quota)] {
        if value.is_some_and(|value| value > limits::QUOTA_MAX) {
            mistakes.push(format!("{field} is more than {}", limits::QUOTA_MAX));
        }
    }
    if plan.kinds.as_ref().is_some_and(BTreeSet::is_empty) {
        mistakes.push("kinds is empty, so no key could be made; leave it out to allow all".to_owned());
    }
    if plan.rate_limits.len() > limits::RATE_LIMITS_PER_PLAN_MAX {
        mistakes.push(format!("has more than {} rate_limits", limits::RATE_LIMITS_PER_PLAN_MAX));
    }
    for (position, limit) in plan.rate_limits.iter().enumerate() {
        let name = limit.name.as_str();
        if plan.rate_limits[..position].iter().any(|earlier| earlier.name == limit.name) {
            mistakes.push(format!("rate limit {name:?} is listed twice"));
        }
        if matches!(name, "quota" | "key_quota") {
            mistakes.push(format!("a rate limit cannot be named {name:?}"));
        }
        if limit.seconds == 0 || limit.seconds > limits::RATE_LIMIT_SECONDS_MAX {
            mistakes.push(format!("seconds of rate limit {name:?} must be 1 to {}", limits::RATE_LIMIT_SECONDS_MAX));
        }
        if limit.units > limits::RATE_LIMIT_UNITS_MAX || limit.burst() > limits::RATE_LIMIT_UNITS_MAX {
            mistakes.push(format!(
                "units and burst of rate limit {name:?} must be at most {}",
                limits::RATE_LIMIT_UNITS_MAX
            ));
        }
        if limit.units > 0 && limit.burst() == 0 {
            mistakes
                .push(format!("burst of rate limit {name:?} is 0, so nothing would pass; use units = 0 to say that"));
        }
        if let Some(nanos) = limit.nanos_per_unit()
            && u128::from(nanos) * u128::from(limit.burst())
                > 1_000_000_000 * u128::from(limits::RATE_LIMIT_REFILL_SECONDS_MAX)
        {
            mistakes.push(format!(
                "burst of rate limit {name:?} takes more than {} seconds to come back",
                limits::RATE_LIMIT_REFILL_SECONDS_MAX
            ));
        }
        if let Some(scope) = limit.scope.as_ref().filter(|scope| !knows_scope(scope)) {
            mistakes.push(format!("rate limit {name:?} is for scope {:?}, which is not in [[scopes]]", scope.as_str()));
        }
    }
    mistakes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(text: &str) -> Plan {
        toml::from_str(&format!("name = 'pro'\ntitle = 'Pro'\n{text}")).unwrap()
    }

    fn rules() -> SubscriptionRules {
        SubscriptionRules::default()
    }

    #[test]
    fn mistakes_in_plans_are_named() {
        let limit = |more: &str| format!("[[rate_limits]]\nname = 'burst'\nunits = 10\nseconds = 1\n{more}");
        let cases = [
            ("keys = 10001".to_owned(), "keys is more than"),
            ("quota = 9223372036854775807".to_owned(), "quota is more than"),
            ("key_quota = 281474976710656".to_owned(), "key_quota is more than"),
            ("kinds = []".to_owned(), "kinds is empty"),
            (limit("burst = 0"), "nothing would pass"),
            (limit("scope = 'other'"), "not in [[scopes]]"),
            (limit("burst = 1000000000"), "takes more than"),
            (format!("{}\n{}", limit(""), limit("")), "listed twice"),
            (limit("").replace("'burst'", "'quota'"), "cannot be named"),
            (limit("").replace("seconds = 1", "seconds = 0"), "seconds of rate limit"),
            (limit("").replace("seconds = 1", "seconds = 86401"), "seconds of rate limit"),
            (limit("").replace("units = 10", "units = 1000000001"), "must be at most"),
        ];
        for (text, expected) in cases {
            let found = mistakes(&[plan(&text)], Some(&rules()), |scope| scope.as_str() == "evaluate");
            assert!(found.len() == 1 && found[0].contains(expected), "{text}: {found:?}");
        }
        let nothing = plan("keys = 0\nquota = 0\n[[rate_limits]]\nname = 'none'\nunits = 0\nseconds = 60");
        assert_eq!(mistakes(std::slice::from_ref(&nothing), Some(&rules()), |_| true), [""; 0]);
        assert_eq!(nothing.rate_limits[0].nanos_per_unit(), None);
    }

    #[test]
    fn plans_and_rules_belong_together() {
        let pro = plan("");
        assert!(mistakes(std::slice::from_ref(&pro), None, |_| true)[0].contains("[subscriptions] is missing"));
        assert!(mistakes(&[], Some(&rules()), |_| true)[0].contains("is for apis with"));
        assert!(mistakes(&[pro.clone(), pro.clone()], Some(&rules()), |_| true)[0].contains("listed twice"));
        let unknown = SubscriptionRules { default_plan: Some("max".parse().unwrap()), ..rules() };
        assert!(mistakes(&[pro], Some(&unknown), |_| true)[0].contains("default_plan"));
        for bad in ["", "Pro", "1st", "a b", &"a".repeat(33)] {
            assert!(bad.parse::<PlanName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn units_are_never_let_through_early() {
        let limit = plan("[[rate_limits]]\nname = 'a'\nunits = 3\nseconds = 1").rate_limits.remove(0);
        assert_eq!((limit.nanos_per_unit(), limit.burst(), limit.per), (Some(333_333_334), 3, Per::Organization));
    }
}
