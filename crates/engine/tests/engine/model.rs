//! The engine against a naive model: maps of domain values and code that reads like the design.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use claviger_domain::change::{Change, Revision};
use claviger_domain::definition::Api;
use claviger_domain::denial::Denial;
use claviger_domain::endpoint::Method;
use claviger_domain::id::{KeyId, OrganizationId};
use claviger_domain::key::{Environment, Key, Kind};
use claviger_domain::organization::OrganizationStatus;
use claviger_domain::path::CanonicalPath;
use claviger_domain::referrer::Referrer;
use claviger_domain::restriction::Restrictions;
use claviger_domain::scope::Scopes;
use claviger_domain::secret::SecretDigest;
use claviger_domain::time::{Timestamp, has_expired};
use claviger_engine::{Description, Engine, EngineOptions, Outcome};
use proptest::prelude::*;

use crate::support::{
    Ask, Region, START, api, endpoints, engine_with_words, key, organization, recovered, revoked, rotated, scopes,
    secret, totals_of,
};

/// Key, hour, scope, outcome → count and last minute.
type Totals = BTreeMap<(KeyId, i64, Option<String>, Outcome), (u64, Timestamp)>;

#[derive(Default)]
struct Model {
    apis: HashMap<String, Api>,
    organizations: HashMap<OrganizationId, OrganizationStatus>,
    keys: HashMap<KeyId, Key>,
    totals: Totals,
}

impl Model {
    fn apply(&mut self, change: &Change) {
        match change {
            Change::Api(api) => drop(self.apis.insert(api.definition.name().to_string(), (**api).clone())),
            Change::Organization(changed) => drop(self.organizations.insert(changed.id, changed.status)),
            Change::Key(key) => drop(self.keys.insert(key.id, (**key).clone())),
            Change::KeyRemoved { id } => drop(self.keys.remove(id)),
            Change::Subscription(_) | Change::Verifier(_) => {}
        }
    }

    fn verify(&mut self, ask: &Ask<'_>) -> (Result<(), Denial>, Option<KeyId>) {
        let presented = |api: &&Api| formats(api).any(|prefix| ask.secret.starts_with(prefix));
        let chosen = match ask.api {
            Some(name) => self.apis.get(name),
            None => self.apis.values().find(presented),
        };
        let Some(api) = chosen else {
            return (Err(Denial::Malformed), None);
        };
        let all = api.definition.formats().iter().chain(&api.retired_formats);
        if !all.into_iter().any(|format| format.recognises(ask.secret)) {
            return (Err(Denial::Malformed), None);
        }
        let digest = SecretDigest::of(ask.secret);
        let has_digest = |key: &&Key| key.digest == digest || key.old_secret.is_some_and(|old| old.digest == digest);
        let found = self.keys.values().find(has_digest).filter(|key| key.api == *api.definition.name());
        let Some(key) = found else {
            return (Err(Denial::NotFound), None);
        };
        let listed = ask.endpoint.and_then(|(method, path)| {
            let path = CanonicalPath::parse(path).unwrap();
            // The definitions of these tests have no overlapping endpoints.
            api.definition.endpoints().into_iter().find(|listed| listed.endpoint.matches(method, path))
        });
        let decision = self.judge(ask, api, key, digest, listed.as_ref().map(|e| (e.scope.as_str(), e.environment)));
        let cost = listed.as_ref().map_or(1, |listed| listed.cost);
        let scope = listed.map(|listed| listed.scope.as_str().to_owned());
        let minute = ask.now.as_micros() / 60_000_000;
        let outcome = match decision {
            Err(denial) => Outcome::Denied(denial),
            Ok(()) if cost == 0 => Outcome::AllowedFree,
            Ok(()) => Outcome::Allowed,
        };
        let total = (key.id, ask.now.hour(), scope, outcome);
        let total = self.totals.entry(total).or_insert((0, Timestamp::from_micros(0)));
        total.0 += 1;
        total.1 = total.1.max(Timestamp::from_micros(minute * 60_000_000));
        (decision, Some(key.id))
    }

    fn judge(
        &self,
        ask: &Ask<'_>,
        api: &Api,
        key: &Key,
        digest: SecretDigest,
        listed: Option<(&str, Option<Environment>)>,
    ) -> Result<(), Denial> {
        let parent = key.parent_id.and_then(|id| self.keys.get(&id)).filter(|parent| parent.api == key.api);
        let both: Vec<&Key> = [Some(key), parent].into_iter().flatten().collect();
        if key.digest != digest && key.old_secret.is_some_and(|old| old.overlap_ends_at <= ask.now) {
            return Err(Denial::Revoked);
        }
        if both.iter().any(|key| key.revocation.is_some()) {
            return Err(Denial::Revoked);
        }
        if both.iter().any(|key| key.disabled) {
            return Err(Denial::Disabled);
        }
        if both.iter().any(|key| has_expired(key.expires_at, ask.now)) {
            return Err(Denial::Expired);
        }
        if key.parent_id.is_some() && parent.is_none() {
            return Err(Denial::Revoked);
        }
        if self.organizations.get(&key.organization) != Some(&OrganizationStatus::Active) {
            return Err(Denial::SubscriptionInactive);
        }
        if listed.and_then(|(_, environment)| environment).is_some_and(|needed| needed != key.environment) {
            return Err(Denial::WrongEnvironment);
        }
        let ip = ask.ip.map(|ip| ip.parse().unwrap());
        let ip_allows = |key: &&Key| match &key.restrictions.ip {
            None => true,
            Some(rules) => ip.is_some_and(|ip| rules.iter().any(|rule| rule.contains(ip))),
        };
        if !both.iter().all(ip_allows) {
            return Err(Denial::IpNotAllowed);
        }
        let referrer = ask.referrer.and_then(Referrer::parse);
        let referrer_allows = |key: &&Key| match &key.restrictions.referrer {
            None => true,
            Some(rules) => referrer.is_some_and(|referrer| rules.iter().any(|rule| rule.matches(&referrer))),
        };
        if !both.iter().all(referrer_allows) {
            return Err(Denial::ReferrerNotAllowed);
        }
        let Some((method, path)) = ask.endpoint else {
            return Err(Denial::EndpointNotAllowed);
        };
        let path = CanonicalPath::parse(path).unwrap();
        let endpoint_allows = |key: &&Key| match &key.restrictions.endpoint {
            None => true,
            Some(rules) => rules.iter().any(|rule| rule.matches(method, path)),
        };
        if !both.iter().all(endpoint_allows) {
            return Err(Denial::EndpointNotAllowed);
        }
        let base_path = api.definition.base_path();
        let is_below = path.as_str().starts_with(&format!("{base_path}/"));
        let is_anothers = self.apis.values().any(|other| {
            let is_beside =
                other.definition.name() != api.definition.name() && other.definition.base_path() == base_path;
            is_beside && other.definition.endpoints().iter().any(|known| known.endpoint.matches(method, path))
        });
        if listed.is_none() && (!is_below || is_anothers) {
            return Err(Denial::EndpointNotAllowed);
        }
        let known = api.definition.scopes();
        let holds = |key: &&Key, name: &str| match &key.scopes {
            Scopes::Full => true,
            Scopes::Named(names) => {
                known.iter().any(|scope| scope.name.as_str() == name) && names.iter().any(|held| held.as_str() == name)
            }
        };
        let passes = |key: &&Key| match listed {
            Some((scope, _)) => holds(key, scope),
            None => key.scopes == Scopes::Full,
        };
        if !both.iter().all(passes) || !ask.scopes.iter().all(|name| both.iter().all(|key| holds(key, name))) {
            return Err(Denial::InsufficientScope);
        }
        Ok(())
    }
}

fn formats(api: &Api) -> impl Iterator<Item = &str> {
    api.definition.formats().iter().chain(&api.retired_formats).map(|format| format.prefix.as_str())
}

/// Definitions that an api goes through.
fn definition(name: &str, variant: usize) -> Api {
    let lists: [&[(&str, &str, Option<&str>)]; 4] = [
        &[("read", "GET /v1/a", None), ("write", "POST /v1/a", None)],
        &[("write", "GET /v1/a", None), ("more", "POST /v1/a", Some("live")), ("read", "GET /v1/b", Some("test"))],
        &[("more", "GET /v1/a", None)],
        &[],
    ];
    api(name, "/v1", &endpoints(lists[variant]))
}

const APIS: [&str; 2] = ["acme", "beta"];
const SCOPES: [&[&str]; 6] =
    [&["*"], &["read"], &["read", "write"], &["more", "gone"], &[], &["api_keys:read", "more"]];
const RESTRICTIONS: [&str; 7] = [
    "{}",
    "{}",
    r#"{"ip": ["10.0.0.0/8"]}"#,
    r#"{"ip": []}"#,
    r#"{"referrer": ["*.example.com"]}"#,
    r#"{"endpoint": ["GET /v1/**"]}"#,
    r#"{"ip": ["10.1.0.0/16", "2001:db8::/32"], "referrer": ["a.example.com"], "endpoint": ["* /v1/a"]}"#,
];
const ENDPOINTS: [Option<(Method, &str)>; 8] = [
    Some((Method::Get, "/v1/a")),
    Some((Method::Get, "/v1/a")),
    Some((Method::Post, "/v1/a")),
    Some((Method::Head, "/v1/b")),
    Some((Method::Get, "/v1/api-keys/key_1")),
    Some((Method::Get, "/v1/nothing")),
    Some((Method::Get, "/v10/a")),
    None,
];
const IPS: [Option<&str>; 4] = [None, Some("10.1.2.3"), Some("10.2.3.4"), Some("2001:db8::7")];
const REFERRERS: [Option<&str>; 3] = [None, Some("https://a.example.com/x"), Some("https://example.com")];
const ASKED: [&[&str]; 4] = [&[], &[], &["read"], &["gone"]];

#[derive(Clone, Debug)]
enum Step {
    Create {
        organization: u128,
        api: usize,
        format: usize,
        scopes: usize,
        rules: usize,
        life: Option<i64>,
        parent: Option<usize>,
        later: bool,
    },
    Rotate {
        key: usize,
        overlap: Option<i64>,
    },
    Disable {
        key: usize,
        disabled: bool,
    },
    Rename {
        key: usize,
        scopes: usize,
        rules: usize,
    },
    Revoke {
        key: usize,
    },
    Remove {
        key: usize,
    },
    Bring {
        key: usize,
    },
    Suspend {
        organization: u128,
        suspended: bool,
    },
    Define {
        api: usize,
        variant: usize,
    },
    Reload {
        without: usize,
    },
    Wait {
        seconds: i64,
    },
    Shed,
    Collect {
        closes: bool,
    },
    Verify {
        api: Option<usize>,
        secret: usize,
        endpoint: usize,
        ip: usize,
        referrer: usize,
        asked: usize,
        times: usize,
    },
}

fn any_step() -> impl Strategy<Value = Step> {
    let create = (0..3_u128, 0..2_usize, 0..4_usize, 0..6_usize, 0..7_usize, prop::option::of(1..9000_i64))
        .prop_flat_map(|fields| (Just(fields), prop::option::weighted(0.3, 0..12_usize), prop::bool::weighted(0.1)))
        .prop_map(|((organization, api, format, scopes, rules, life), parent, later)| Step::Create {
            organization,
            api,
            format,
            scopes,
            rules,
            life,
            parent,
            later,
        });
    let verify = (
        prop::option::weighted(0.8, 0..2_usize),
        0..40_usize,
        0..8_usize,
        0..4_usize,
        0..3_usize,
        0..4_usize,
        1..4_usize,
    )
        .prop_map(|(api, secret, endpoint, ip, referrer, asked, times)| Step::Verify {
            api,
            secret,
            endpoint,
            ip,
            referrer,
            asked,
            times,
        });
    let key = 0..12_usize;
    prop_oneof![
        6 => create,
        2 => (key.clone(), prop::option::of(-10..9000_i64)).prop_map(|(key, overlap)| Step::Rotate { key, overlap }),
        2 => (key.clone(), any::<bool>()).prop_map(|(key, disabled)| Step::Disable { key, disabled }),
        1 => (key.clone(), 0..6_usize, 0..7_usize).prop_map(|(key, scopes, rules)| Step::Rename { key, scopes, rules }),
        1 => key.clone().prop_map(|key| Step::Revoke { key }),
        1 => key.clone().prop_map(|key| Step::Remove { key }),
        1 => key.clone().prop_map(|key| Step::Bring { key }),
        1 => (0..3_u128, any::<bool>()).prop_map(|(organization, suspended)| Step::Suspend { organization, suspended }),
        1 => (0..2_usize, 0..4_usize).prop_map(|(api, variant)| Step::Define { api, variant }),
        1 => key.prop_map(|without| Step::Reload { without }),
        2 => prop_oneof![0..100_i64, 3000..4000_i64, 7000..30_000_i64].prop_map(|seconds| Step::Wait { seconds }),
        1 => Just(Step::Shed),
        2 => any::<bool>().prop_map(|closes| Step::Collect { closes }),
        20 => verify,
    ]
}

/// Both machines, fed the same.
struct Pair {
    engine: Engine,
    words: Arc<Region>,
    model: Model,
    now: Timestamp,
    /// When expired keys were shed last.
    shed_at: Timestamp,
    /// Every key that ever was, as it was last.
    keys: Vec<Key>,
    /// Every secret that ever was issued.
    secrets: Vec<String>,
    /// What collecting has written down.
    written: Totals,
}

impl Pair {
    fn new() -> Self {
        let mut model = Model::default();
        let mut known: Vec<Change> = APIS.iter().map(|name| Change::Api(Box::new(definition(name, 0)))).collect();
        known.extend([1, 2].map(|number| Change::Organization(organization(number, OrganizationStatus::Active))));
        for change in &known {
            model.apply(change);
        }
        let (engine, words) = engine_with_words(EngineOptions { usage_cells: 64, keys: 0 });
        engine.load(Revision(1), known.into_iter()).unwrap();
        Self {
            engine,
            words,
            model,
            now: START,
            shed_at: Timestamp::from_micros(i64::MIN),
            keys: Vec::new(),
            secrets: vec!["acme_live_x".to_owned()],
            written: Totals::new(),
        }
    }

    fn apply(&mut self, change: Change) {
        self.model.apply(&change);
        let revision = Revision(self.engine.revision().0 + 1);
        self.engine.apply(revision, std::slice::from_ref(&change)).unwrap();
    }

    fn change_key(&mut self, position: usize, change: impl FnOnce(&Key) -> Key) {
        if self.keys.is_empty() {
            return;
        }
        let position = position % self.keys.len();
        // What was removed stays removed, until it is brought back.
        if self.model.keys.contains_key(&self.keys[position].id) {
            self.keys[position] = change(&self.keys[position]);
            self.apply(Change::Key(Box::new(self.keys[position].clone())));
        }
    }

    fn new_secret(&mut self, api: &str, prefix: &str) -> String {
        let clear = secret(&definition(api, 0), prefix, self.secrets.len() as u64);
        self.secrets.push(clear.clone());
        clear
    }

    /// Collects, having seen that a successor of the process would find the same.
    fn collect(&mut self) {
        let collected = self.engine.usage().collect(self.now);
        if self.engine.usage().unsafe_entries() == 0 {
            assert_eq!(recovered(&self.words), totals_of(&collected));
        }
        for total in collected {
            assert_eq!(total.organization, self.keys.iter().find(|key| key.id == total.key).unwrap().organization);
            let scope = total.scope.map(|scope| scope.as_str().to_owned());
            self.written.insert((total.key, total.hour, scope, total.outcome), (total.count, total.last_used));
        }
    }

    /// Closes hours, which changes no total. Those that are handed over stay written.
    fn close_hours(&mut self) {
        for total in self.engine.usage().close_hours(self.now) {
            let scope = total.scope.map(|scope| scope.as_str().to_owned());
            let written = self.written[&(total.key, total.hour, scope, total.outcome)];
            assert_eq!(written, (total.count, total.last_used));
        }
    }

    fn run(&mut self, step: Step) {
        match step {
            Step::Create { organization, api, format, scopes: held, rules, life, parent, later } => {
                let prefix = ["live", "test", "rk", "ek"][format];
                let clear = self.new_secret(APIS[api], prefix);
                let parent_id = parent.map(|parent| KeyId::from_u128(parent as u128));
                let created = Key {
                    organization: OrganizationId::from_u128(organization),
                    api: APIS[api].parse().unwrap(),
                    kind: [Kind::Secret, Kind::Secret, Kind::Restricted, Kind::Ephemeral][format],
                    environment: if prefix == "test" { Environment::Test } else { Environment::Live },
                    scopes: scopes(SCOPES[held]),
                    restrictions: serde_json::from_str::<Restrictions>(RESTRICTIONS[rules]).unwrap(),
                    expires_at: life.map(|seconds| self.now.plus_seconds(seconds).unwrap()),
                    parent_id,
                    ..key(self.keys.len() as u128, &clear)
                };
                self.keys.push(created.clone());
                if !later {
                    self.apply(Change::Key(Box::new(created)));
                }
            }
            Step::Rotate { key, overlap } => {
                let Some(api) = self.keys.get(key % self.keys.len().max(1)).map(|key| key.api.to_string()) else {
                    return;
                };
                let clear = self.new_secret(&api, "live");
                let ends_at = overlap.map(|seconds| self.now.plus_seconds(seconds).unwrap());
                self.change_key(key, |key| rotated(key, &clear, ends_at));
            }
            Step::Disable { key, disabled } => self.change_key(key, |key| Key { disabled, ..key.clone() }),
            Step::Rename { key, scopes: held, rules } => self.change_key(key, |key| Key {
                scopes: scopes(SCOPES[held]),
                restrictions: serde_json::from_str(RESTRICTIONS[rules]).unwrap(),
                name: "another, longer \"name\" that takes more room than the one before".parse().unwrap(),
                ..key.clone()
            }),
            Step::Revoke { key } => self.change_key(key, revoked),
            Step::Remove { key } => {
                if !self.keys.is_empty() {
                    let id = self.keys[key % self.keys.len()].id;
                    self.apply(Change::KeyRemoved { id });
                }
            }
            Step::Bring { key } => {
                if !self.keys.is_empty() {
                    let back = self.keys[key % self.keys.len()].clone();
                    self.apply(Change::Key(Box::new(back)));
                }
            }
            Step::Suspend { organization: number, suspended } => {
                let status = if suspended { OrganizationStatus::Suspended } else { OrganizationStatus::Active };
                self.apply(Change::Organization(organization(number, status)));
            }
            Step::Define { api, variant } => self.apply(Change::Api(Box::new(definition(APIS[api], variant)))),
            Step::Reload { without } => {
                if !self.keys.is_empty() {
                    let id = self.keys[without % self.keys.len()].id;
                    self.model.apply(&Change::KeyRemoved { id });
                }
                let apis = self.model.apis.values().map(|api| Change::Api(Box::new(api.clone())));
                let organizations = self.model.organizations.iter();
                let organizations =
                    organizations.map(|(id, status)| Change::Organization(organization(id.as_u128(), *status)));
                let keys = self.model.keys.values().map(|key| Change::Key(Box::new(key.clone())));
                let revision = Revision(self.engine.revision().0 + 1);
                self.engine.load(revision, apis.chain(organizations).chain(keys)).unwrap();
            }
            Step::Wait { seconds } => self.now = self.now.plus_seconds(seconds).unwrap(),
            Step::Shed => {
                self.shed_at = self.now;
                self.engine.shed_expired(self.now).unwrap();
            }
            Step::Collect { closes } => {
                self.collect();
                if closes {
                    self.close_hours();
                }
            }
            Step::Verify { api, secret, endpoint, ip, referrer, asked, times } => {
                let clear = self.secrets[secret % self.secrets.len()].clone();
                let ask = Ask {
                    now: self.now,
                    api: api.map(|api| APIS[api]),
                    secret: &clear,
                    endpoint: ENDPOINTS[endpoint],
                    ip: IPS[ip],
                    referrer: REFERRERS[referrer],
                    scopes: ASKED[asked],
                    cost: None,
                };
                for _ in 0..times {
                    let expected = self.model.verify(&ask);
                    let verdict = ask.verdict(&self.engine);
                    assert_eq!((verdict.decision, verdict.key.map(|key| key.id)), expected);
                    assert_eq!(verdict.revision, self.engine.revision());
                    self.check_description(verdict.key);
                }
            }
        }
    }

    fn check_description(&self, key: Option<claviger_engine::VerifiedKey>) {
        let Some(found) = key else { return };
        let key = &self.model.keys[&found.id];
        let description = self.engine.describe(&found).unwrap();
        if key.revocation.is_some() || has_expired(key.expires_at, self.shed_at) {
            let Description { name, metadata_json, scopes } = description;
            assert_eq!((&*name, &*metadata_json, scopes), ("", "{}", Vec::new()));
        } else {
            assert_eq!(description.name, key.name.as_str());
            assert_eq!(description.metadata_json, key.metadata.to_json());
            assert_eq!(description.scopes, Vec::<String>::from(key.scopes.clone()));
        }
        assert_eq!((found.organization, found.kind, found.environment), (key.organization, key.kind, key.environment));
        assert_eq!(found.expires_at, key.expires_at);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn the_engine_agrees_with_the_model(steps in prop::collection::vec(any_step(), 1..150)) {
        let mut pair = Pair::new();
        for step in steps {
            pair.run(step);
        }
        pair.collect();
        prop_assert_eq!(&pair.written, &pair.model.totals);
        pair.now = pair.now.plus_seconds(9 * 3600).unwrap();
        for _ in 0..2 {
            pair.close_hours();
            pair.collect();
            prop_assert_eq!(&pair.written, &pair.model.totals);
        }
        prop_assert_eq!(pair.engine.usage().collect(pair.now), Vec::new());
    }
}
