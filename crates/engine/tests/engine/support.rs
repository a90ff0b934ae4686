//! Makes keys and asks for verdicts.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use claviger_domain::change::{Change, Revision};
use claviger_domain::credential::Credential;
use claviger_domain::definition::{Api, Definition};
use claviger_domain::denial::Denial;
use claviger_domain::endpoint::Method;
use claviger_domain::id::{KeyId, OrganizationId};
use claviger_domain::key::{Creator, Environment, Key, Kind, Metadata, OldSecret, Revocation};
use claviger_domain::organization::{Organization, OrganizationStatus};
use claviger_domain::path::CanonicalPath;
use claviger_domain::period::TimeZone;
use claviger_domain::random::PredictableEntropy;
use claviger_domain::referrer::Referrer;
use claviger_domain::restriction::Restrictions;
use claviger_domain::scope::{Scope, Scopes};
use claviger_domain::secret::{PresentedSecret, SecretDigest};
use claviger_domain::subscription::{BillingState, Subscription};
use claviger_domain::time::Timestamp;
use claviger_engine::usage::{RecoveredLimits, Words, recover, words_needed};
use claviger_engine::{Engine, EngineOptions, Outcome, Request, UsageTotal, Verdict};

/// The first instant of all tests: 2026-01-01T00:00:00Z.
pub(crate) const START: Timestamp = Timestamp::from_micros(1_767_225_600_000_000);

/// Two hours after [`START`] is `at(7200)`.
pub(crate) fn at(seconds: i64) -> Timestamp {
    START.plus_seconds(seconds).unwrap()
}

/// An api at a base path whose live secrets begin with `{name}_live_`, test secrets with `{name}_test_`, restricted
/// ones with `{name}_rk_` and ephemeral ones with `{name}_ek_`. `more` holds scopes and endpoints.
pub(crate) fn api(name: &str, base_path: &str, more: &str) -> Api {
    let format = |prefix: &str, kind: &str, environment: &str| {
        format!(
            "[[keys]]\nprefix = \"{name}_{prefix}_\"\nkind = \"{kind}\"\nenvironment = \"{environment}\"\n\
             alphabet = \"base62\"\nlength = 29\nchecksum = \"crc32\"\n"
        )
    };
    let text = format!(
        "name = \"{name}\"\ntitle = \"{name}\"\nhosts = [\"{name}.test\"]\nbase_path = \"{base_path}\"\n{}{}{}{}{more}",
        format("live", "secret", "live"),
        format("test", "secret", "test"),
        format("rk", "restricted", "live"),
        format("ek", "ephemeral", "live"),
    );
    Api { definition: Definition::parse(&text).unwrap(), retired_formats: Vec::new() }
}

/// Scopes and endpoints of [`api`], as `(scope, endpoint, environment)`.
pub(crate) fn endpoints(list: &[(&str, &str, Option<&str>)]) -> String {
    let mut text = String::new();
    let mut scopes: Vec<&str> = list.iter().map(|(scope, ..)| *scope).collect();
    scopes.sort_unstable();
    scopes.dedup();
    for scope in scopes {
        text += &format!("[[scopes]]\nname = \"{scope}\"\ndescription = \"{scope}\"\n");
    }
    for (scope, endpoint, environment) in list {
        text += &format!("[[endpoints]]\nendpoint = \"{endpoint}\"\nscope = \"{scope}\"\n");
        text += &environment.map_or(String::new(), |environment| format!("environment = \"{environment}\"\n"));
    }
    text
}

/// The api that most tests use.
pub(crate) fn acme() -> Api {
    let list = [
        ("things:read", "GET /v1/things/{id}", None),
        ("things:write", "POST /v1/things", Some("live")),
        ("other", "GET /v1/other", None),
    ];
    api("acme", "/v1", &endpoints(&list))
}

/// [`acme`] with plans and what belongs to them.
pub(crate) fn planned(plans: &str) -> Api {
    let list = [("things:read", "GET /v1/things/{id}", None), ("things:write", "POST /v1/things", None)];
    let costly = "[[endpoints]]\nendpoint = \"GET /v1/costly\"\nscope = \"things:read\"\ncost = 3\n";
    api("acme", "/v1", &format!("{}{costly}{plans}", endpoints(&list)))
}

/// Organization 1 has paid for this plan.
pub(crate) fn subscription(plan: &str) -> Subscription {
    Subscription {
        organization: OrganizationId::from_u128(1),
        api: "acme".parse().unwrap(),
        plan: plan.parse().unwrap(),
        state: BillingState::Active,
        state_since: START,
        api_access: true,
        anchor_day: None,
        event_at: START,
    }
}

pub(crate) fn organization(number: u128, status: OrganizationStatus) -> Organization {
    Organization {
        id: OrganizationId::from_u128(number),
        name: format!("Organization {number}").parse().unwrap(),
        status,
        time_zone: TimeZone::UTC,
        created_at: START,
    }
}

/// The secret of a format of [`api`], always the same for the same seed.
pub(crate) fn secret(api: &Api, prefix: &str, seed: u64) -> String {
    let name = api.definition.name();
    let prefix = format!("{name}_{prefix}_");
    let format = api.definition.choose_format(Some(&prefix), None, None).unwrap();
    format.issue(&PredictableEntropy::new(seed)).into_clear().to_string()
}

/// A live key with full access, of organization 1 of [`acme`].
pub(crate) fn key(number: u128, secret: &str) -> Key {
    Key {
        id: KeyId::from_u128(number),
        organization: OrganizationId::from_u128(1),
        api: "acme".parse().unwrap(),
        name: format!("Key {number}").parse().unwrap(),
        kind: Kind::Secret,
        environment: Environment::Live,
        prefix: String::new(),
        hint: String::new(),
        digest: SecretDigest::of(secret),
        old_secret: None,
        scopes: Scopes::Full,
        restrictions: Restrictions::NONE,
        parent_id: None,
        metadata: Metadata::default(),
        disabled: false,
        revocation: None,
        created_at: START,
        created_by: Creator::Operator,
        expires_at: None,
        rotated_at: None,
    }
}

pub(crate) fn scopes(list: &[&str]) -> Scopes {
    Scopes::try_from(list.iter().map(ToString::to_string).collect::<Vec<_>>()).unwrap()
}

pub(crate) fn revoked(key: &Key) -> Key {
    Key { revocation: Some(Revocation { at: START, reason: None }), ..key.clone() }
}

pub(crate) fn rotated(key: &Key, secret: &str, overlap_ends_at: Option<Timestamp>) -> Key {
    let old = |overlap_ends_at| OldSecret { digest: key.digest, overlap_ends_at };
    Key { digest: SecretDigest::of(secret), old_secret: overlap_ends_at.map(old), ..key.clone() }
}

/// Words that outlive the engine that counts in them.
pub(crate) struct Region(Vec<AtomicU64>);

impl AsRef<[AtomicU64]> for Region {
    fn as_ref(&self) -> &[AtomicU64] {
        &self.0
    }
}

/// This many words, all zero.
pub(crate) fn region(words: usize) -> Arc<Region> {
    Arc::new(Region((0..words).map(|_| AtomicU64::new(0)).collect()))
}

/// An engine, and the words it counts in.
pub(crate) fn engine_with_words(options: EngineOptions) -> (Engine, Arc<Region>) {
    let words = region(words_needed(options));
    let engine = Engine::with_counters(options, Arc::clone(&words) as Words, 7, RecoveredLimits::default()).unwrap();
    (engine, words)
}

/// A total without what only the living engine knows of it.
pub(crate) type Total = (KeyId, i64, Option<Scope>, Outcome, u64, Timestamp);

/// What a successor of the process finds in the words.
pub(crate) fn recovered(words: &Region) -> Vec<Total> {
    let recovered = recover(words.as_ref()).unwrap();
    assert_eq!((recovered.incarnation, recovered.skipped), (7, 0));
    let totals = recovered.totals.into_iter();
    sorted(totals.map(|t| (t.key, t.hour, t.scope, t.outcome, t.count, t.last_used)).collect())
}

/// The same of what a living engine has collected.
pub(crate) fn totals_of(totals: &[UsageTotal]) -> Vec<Total> {
    let totals = totals.iter();
    sorted(totals.map(|t| (t.key, t.hour, t.scope.clone(), t.outcome, t.count, t.last_used)).collect())
}

fn sorted(mut totals: Vec<Total>) -> Vec<Total> {
    totals.sort();
    totals
}

/// An engine at revision 1 that knows [`acme`], the active organization 1, and these.
pub(crate) fn engine(changes: Vec<Change>) -> Engine {
    let engine = Engine::new(EngineOptions { usage_cells: 64, keys: 0 });
    let known = [Change::Api(Box::new(acme())), Change::Organization(organization(1, OrganizationStatus::Active))];
    engine.load(Revision(1), known.into_iter().chain(changes)).unwrap();
    engine
}

/// Takes in one more change.
pub(crate) fn apply(engine: &Engine, change: Change) {
    engine.apply(Revision(engine.revision().0 + 1), &[change]).unwrap();
}

/// A question, with what most tests ask: `GET /v1/things/1` at [`START`] from nowhere.
#[derive(Clone, Copy)]
pub(crate) struct Ask<'a> {
    pub(crate) now: Timestamp,
    pub(crate) api: Option<&'a str>,
    pub(crate) secret: &'a str,
    pub(crate) endpoint: Option<(Method, &'a str)>,
    pub(crate) ip: Option<&'a str>,
    pub(crate) referrer: Option<&'a str>,
    pub(crate) scopes: &'a [&'a str],
    pub(crate) cost: Option<u32>,
}

impl<'a> Ask<'a> {
    pub(crate) fn with(secret: &'a str) -> Self {
        Self {
            now: START,
            api: Some("acme"),
            secret,
            endpoint: Some((Method::Get, "/v1/things/1")),
            ip: None,
            referrer: None,
            scopes: &[],
            cost: None,
        }
    }

    pub(crate) fn verdict(self, engine: &Engine) -> Verdict {
        let api = self.api.and_then(|name| engine.directory().find(name));
        let request = Request {
            credential: Credential::Bearer(PresentedSecret::new(self.secret)),
            api,
            endpoint: self.endpoint.map(|(method, path)| (method, CanonicalPath::parse(path).unwrap())),
            ip: self.ip.map(|ip| ip.parse().unwrap()),
            referrer: self.referrer.and_then(Referrer::parse),
            scopes: self.scopes,
            cost: self.cost,
            at_least_revision: Revision(0),
        };
        engine.verify(self.now, &request)
    }

    pub(crate) fn decision(self, engine: &Engine) -> Result<(), Denial> {
        self.verdict(engine).decision
    }
}
