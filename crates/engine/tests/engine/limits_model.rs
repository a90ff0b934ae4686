//! Rate limits and quotas against a naive model: buckets that drain, in maps, one call after the other.

use std::collections::HashMap;

use claviger_domain::change::{Change, Revision};
use claviger_domain::denial::Denial;
use claviger_domain::endpoint::Method;
use claviger_domain::id::{KeyId, OrganizationId};
use claviger_domain::key::{Environment, Key, Kind};
use claviger_domain::organization::OrganizationStatus;
use claviger_domain::period::BillingCalendar;
use claviger_domain::subscription::Subscription;
use claviger_domain::time::Timestamp;
use claviger_engine::{Engine, EngineOptions};
use proptest::prelude::*;

use crate::support::{Ask, START, acme, key, organization, planned, secret, subscription};

const SECOND: i128 = 1_000_000_000;

/// Name, whether per key, whether only for `things:write`, units, seconds, burst.
type Rule = (&'static str, bool, bool, u64, u32, u64);

/// Rules, quota and quota of a key.
type PlanText = (&'static [Rule], Option<u64>, Option<u64>);

const PLANS: [PlanText; 8] = [
    (&[("a", false, false, 10, 60, 10)], None, None),
    (&[("a", false, false, 40, 60, 5), ("b", true, false, 3, 7, 4)], Some(60), None),
    (&[("b", false, true, 2, 1, 3), ("a", true, false, 100, 60, 20)], Some(40), Some(15)),
    (&[("c", true, true, 1, 86400, 6), ("a", false, false, 1_000_000_000, 1, 1_000_000_000)], None, Some(30)),
    (&[("a", false, false, 0, 60, 0)], None, None),
    (&[], Some(25), None),
    (&[("d", false, false, 7, 13, 9), ("a", false, true, 5, 3600, 5), ("b", true, false, 50, 60, 50)], None, None),
    (&[("a", false, false, 600, 60, 8), ("c", true, true, 3, 60, 3)], Some(1 << 47), Some(1 << 47)),
];

/// A definition with a plan for each of two numbers.
fn definition(numbers: [usize; 2]) -> Change {
    let mut text = String::new();
    for (name, number) in ["one", "two"].iter().zip(numbers) {
        let (rules, quota, key_quota) = PLANS[number];
        text += &format!("[[plans]]\nname = '{name}'\ntitle = 'Plan'\n");
        for (field, value) in [("quota", quota), ("key_quota", key_quota)] {
            text += &value.map_or(String::new(), |value| format!("{field} = {value}\n"));
        }
        for (name, per_key, write_only, units, seconds, burst) in rules {
            let per = if *per_key { "key" } else { "organization" };
            let scope = if *write_only { "scope = 'things:write'\n" } else { "" };
            text += &format!("[[plans.rate_limits]]\nname = '{name}'\nper = '{per}'\n{scope}");
            text += &format!("units = {units}\nseconds = {seconds}\nburst = {burst}\n");
        }
    }
    Change::Api(Box::new(planned(&format!("{text}[subscriptions]\ndefault_plan = 'one'\n"))))
}

/// Number, organization, environment, and the key that it was made with.
const KEYS: [(u128, u128, Environment, Option<u128>); 6] = [
    (1, 1, Environment::Live, None),
    (2, 1, Environment::Live, None),
    (3, 1, Environment::Live, Some(1)),
    (4, 1, Environment::Test, None),
    (5, 2, Environment::Live, None),
    (6, 1, Environment::Live, Some(1)),
];

/// What was used of a limit, in nanoseconds of an interval each, at an instant.
#[derive(Clone, Copy)]
struct Bucket {
    level: i128,
    interval: i128,
    at: i128,
}

#[derive(Default)]
struct Model {
    plans: [usize; 2],
    subscribed: HashMap<u128, usize>,
    /// By limit, subject, whether the subject is a key, and whether it is for test calls.
    buckets: HashMap<(&'static str, u128, bool, bool), Bucket>,
    /// Period and units of organizations and of keys.
    used: HashMap<(bool, u128), (u16, u64)>,
    /// The newest instant to about a second, and what the clock was set back by, in microseconds.
    newest: i64,
    set_back: i64,
    /// The latest instant that an organization has seen.
    latest: HashMap<u128, i64>,
}

impl Model {
    fn time(&mut self, organization: u128, now: Timestamp) -> i128 {
        let mut own = now.as_micros() + self.set_back;
        if own > self.newest + 1_000_000 {
            self.newest = own;
        } else if own + 60_000_000 < self.newest {
            self.set_back = self.newest - now.as_micros();
            own = self.newest;
        }
        let latest = self.latest.entry(organization).or_insert(own);
        *latest = own.max(*latest);
        i128::from(*latest) * 1000
    }

    fn call(&mut self, place: usize, writes: bool, cost: u64, now: Timestamp) -> Result<(), Denial> {
        let (number, organization, environment, parent) = KEYS[place];
        let (key, is_test) = (parent.unwrap_or(number), environment == Environment::Test);
        let (rules, quota, key_quota) = PLANS[self.plans[self.subscribed.get(&organization).copied().unwrap_or(0)]];
        let time = self.time(organization, now);
        let mut filled = Vec::new();
        let mut outcome = Ok(());
        for (name, per_key, _, units, seconds, burst) in rules.iter().filter(|rule| !rule.2 || writes) {
            let id = (*name, if *per_key { key } else { organization }, *per_key, is_test);
            if *units == 0 {
                outcome = Err(Denial::RateLimited);
                continue;
            }
            let interval = (i128::from(*seconds) * SECOND + i128::from(*units) - 1) / i128::from(*units);
            let most = interval * i128::from(*burst);
            let mut bucket = self.buckets.get(&id).copied().unwrap_or(Bucket { level: 0, interval, at: time });
            bucket.level = (bucket.level - (time - bucket.at)).max(0);
            if bucket.interval != interval {
                bucket.level = (bucket.level * interval + bucket.interval - 1) / bucket.interval;
            }
            bucket = Bucket { level: bucket.level.min(most), interval, at: time };
            self.buckets.insert(id, bucket);
            let level = bucket.level + interval * i128::from(cost);
            if level > most {
                outcome = Err(Denial::RateLimited);
            }
            filled.push((id, Bucket { level, ..bucket }));
        }
        let period = BillingCalendar::default().period(now).number;
        let counts_keys = self.plans.iter().any(|plan| PLANS[*plan].2.is_some());
        let mut used = Vec::new();
        if !is_test {
            for (is_key, id, quota) in [(false, organization, quota), (true, key, key_quota)] {
                let (known, units) = self.used.get(&(is_key, id)).copied().unwrap_or((0, 0));
                let (period, units) = if period > known { (period, 0) } else { (known, units) };
                if outcome.is_ok() && quota.is_some_and(|quota| units + cost > quota) {
                    outcome = Err(Denial::QuotaExceeded);
                }
                if !is_key || counts_keys {
                    used.push(((is_key, id), (period, units + cost)));
                }
            }
        }
        if outcome.is_ok() {
            self.buckets.extend(filled);
            self.used.extend(used);
        }
        outcome
    }
}

#[derive(Clone, Debug)]
enum Step {
    Call { key: usize, writes: bool, cost: u32, times: usize },
    Wait { micros: i64 },
    Define { plans: [usize; 2] },
    Subscribe { organization: u128, plan: usize },
}

fn any_step() -> impl Strategy<Value = Step> {
    let cost = prop_oneof![5 => Just(1_u32), 2 => 2..12_u32, 1 => Just(100_000_u32)];
    let micros = prop_oneof![
        4 => 0..3_000_000_i64,
        3 => 0..100_000_000_i64,
        2 => -50_000_000..0_i64,
        1 => -10_000_000_000..0_i64,
        1 => 0..2_000_000_000_000_i64,
    ];
    let calls = (0..KEYS.len(), any::<bool>(), cost, 1..15_usize);
    prop_oneof![
        10 => calls.prop_map(|(key, writes, cost, times)| Step::Call { key, writes, cost, times }),
        5 => micros.prop_map(|micros| Step::Wait { micros }),
        2 => (0..PLANS.len(), 0..PLANS.len()).prop_map(|(one, two)| Step::Define { plans: [one, two] }),
        1 => (1..3_u128, 0..2_usize).prop_map(|(organization, plan)| Step::Subscribe { organization, plan }),
    ]
}

fn start() -> (Engine, Vec<String>) {
    let secrets: Vec<String> = KEYS
        .iter()
        .zip(1..)
        .map(|((.., environment, parent), seed)| {
            let prefix = match (environment, parent) {
                (_, Some(_)) => "ek",
                (Environment::Live, None) => "live",
                (Environment::Test, None) => "test",
            };
            secret(&acme(), prefix, seed)
        })
        .collect();
    let keys = KEYS.iter().zip(&secrets).map(|((number, owner, environment, parent), clear)| {
        Change::Key(Box::new(Key {
            organization: OrganizationId::from_u128(*owner),
            environment: *environment,
            parent_id: parent.map(KeyId::from_u128),
            kind: if parent.is_some() { Kind::Ephemeral } else { Kind::Secret },
            ..key(*number, clear)
        }))
    });
    let organizations = [1, 2].map(|number| Change::Organization(organization(number, OrganizationStatus::Active)));
    let engine = Engine::new(EngineOptions { usage_cells: 64, keys: 0 });
    engine.load(Revision(1), organizations.into_iter().chain(keys).chain([definition([0, 0])])).unwrap();
    (engine, secrets)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn limits_agree_with_the_model(steps in prop::collection::vec(any_step(), 1..120)) {
        let (engine, secrets) = start();
        let mut model = Model::default();
        let mut now = START;
        let apply = |change| engine.apply(Revision(engine.revision().0 + 1), &[change]).unwrap();
        for step in steps {
            match step {
                Step::Call { key, writes, cost, times } => {
                    let endpoint = if writes { (Method::Post, "/v1/things") } else { (Method::Get, "/v1/things/1") };
                    let ask = Ask { now, endpoint: Some(endpoint), cost: Some(cost), ..Ask::with(&secrets[key]) };
                    for _ in 0..times {
                        let expected = model.call(key, writes, u64::from(cost), now);
                        prop_assert_eq!(ask.decision(&engine), expected);
                    }
                }
                Step::Wait { micros } => now = Timestamp::from_micros((now.as_micros() + micros).max(0)),
                Step::Define { plans } => {
                    model.plans = plans;
                    apply(definition(plans));
                }
                Step::Subscribe { organization, plan } => {
                    model.subscribed.insert(organization, plan);
                    let plan = ["one", "two"][plan];
                    let organization = OrganizationId::from_u128(organization);
                    apply(Change::Subscription(Box::new(Subscription { organization, ..subscription(plan) })));
                }
            }
        }
    }
}
