//! The engine alone, where the difference is made: how large is it beside the threshold of a round trip?

use std::sync::PoisonError;

use claviger_domain::change::{Change, Revision};
use claviger_domain::credential::Credential;
use claviger_domain::definition::{Api, Definition};
use claviger_domain::denial::Denial;
use claviger_domain::endpoint::Method;
use claviger_domain::format::KeyFormat;
use claviger_domain::id::{KeyId, OrganizationId};
use claviger_domain::key::{Creator, Environment, Key, Kind, Metadata, Revocation};
use claviger_domain::organization::{Organization, OrganizationStatus};
use claviger_domain::path::CanonicalPath;
use claviger_domain::period::TimeZone;
use claviger_domain::random::PredictableEntropy;
use claviger_domain::restriction::Restrictions;
use claviger_domain::scope::Scopes;
use claviger_domain::secret::{PresentedSecret, SecretDigest};
use claviger_domain::time::Timestamp;
use claviger_engine::{Engine, EngineOptions, Request};

use crate::{ALONE, Class, THRESHOLD_NS_MIN, judge, measure, nanoseconds, now};

const NOW: Timestamp = Timestamp::from_micros(1_767_225_600_000_000);
/// Keys of each class, verified one after the other in each sample: one alone is too short to be timed.
const KEYS: usize = 16;
/// The engine is as full as this, so that keys are not all in the nearest cache.
const OTHER_KEYS: u64 = 20_000;

#[test]
fn the_engine_takes_about_as_long_for_each_refusal() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let secrets = Class::ALL.map(secrets);
    let engine = engine(&secrets);
    let api = engine.directory().find("example");
    for class in Class::ALL {
        let expected = match class {
            Class::Unknown | Class::UnknownAgain | Class::Planted => Denial::NotFound,
            Class::Revoked => Denial::Revoked,
            Class::Disabled => Denial::Disabled,
            Class::Mistyped | Class::OtherPrefix => Denial::Malformed,
        };
        for secret in &secrets[class as usize] {
            assert_eq!(verify(&engine, api, secret), Err(expected), "{class:?}");
        }
    }
    let time_one = |class: Class| {
        let started = now();
        for secret in &secrets[class as usize] {
            std::hint::black_box(verify(&engine, api, secret)).unwrap_err();
        }
        nanoseconds(started.elapsed()) / KEYS as f64
    };
    // A round trip is much longer than this, so its threshold is never lower.
    let (rounds, threshold) = measure(time_one, |_| THRESHOLD_NS_MIN);
    judge("the engine", &rounds, threshold);
}

fn verify(engine: &Engine, api: Option<claviger_engine::ApiIndex>, secret: &str) -> Result<(), Denial> {
    let request = Request {
        credential: Credential::Bearer(PresentedSecret::new(secret)),
        api,
        endpoint: CanonicalPath::parse("/v1/users/usr_123").ok().map(|path| (Method::Get, path)),
        ip: None,
        referrer: None,
        scopes: &[],
        cost: None,
        at_least_revision: Revision(0),
    };
    engine.verify(NOW, &request).decision
}

/// A well-formed secret of the example api that no server has issued.
pub(crate) fn unknown_secret(class: Class, number: usize) -> String {
    issue(&format(), number_of(class, number))
}

/// The same with a wrong last character, which is part of the checksum.
pub(crate) fn mistyped(secret: &str) -> String {
    let last = if secret.ends_with('A') { 'B' } else { 'A' };
    format!("{}{last}", &secret[..secret.len() - 1])
}

/// The same under a prefix that no api has.
pub(crate) fn with_other_prefix(secret: &str) -> String {
    secret.replace("sk_live_", "xx_live_")
}

/// The number of a key of a class: no other key has it.
fn number_of(class: Class, number: usize) -> u64 {
    OTHER_KEYS + 1000 * class as u64 + number as u64
}

fn issue(format: &KeyFormat, seed: u64) -> String {
    format.issue(&PredictableEntropy::new(seed)).into_clear().to_string()
}

fn definition() -> Definition {
    Definition::parse(include_str!("../../apis/example.toml")).unwrap()
}

fn format() -> KeyFormat {
    definition().choose_format(None, None, None).unwrap().clone()
}

fn secrets(class: Class) -> [String; KEYS] {
    std::array::from_fn(|number| {
        let secret = unknown_secret(class, number);
        match class {
            Class::Mistyped => mistyped(&secret),
            Class::OtherPrefix => with_other_prefix(&secret),
            _ => secret,
        }
    })
}

/// Knows the revoked and the disabled keys, and many others.
fn engine(secrets: &[[String; KEYS]]) -> Engine {
    let format = format();
    let organization = Organization {
        id: OrganizationId::from_u128(1),
        name: "Customer".parse().unwrap(),
        status: OrganizationStatus::Active,
        time_zone: TimeZone::UTC,
        created_at: NOW,
    };
    let api = Change::Api(Box::new(Api { definition: definition(), retired_formats: Vec::new() }));
    let others = (0..OTHER_KEYS).map(|seed| key(seed.into(), &issue(&format, seed)));
    let known = [Class::Revoked, Class::Disabled].into_iter().flat_map(|class| {
        secrets[class as usize].iter().enumerate().map(move |(number, secret)| {
            let key = key(number_of(class, number).into(), secret);
            let revocation = (class == Class::Revoked).then_some(Revocation { at: NOW, reason: None });
            Key { revocation, disabled: class == Class::Disabled, ..key }
        })
    });
    let keys = others.chain(known).map(|key| Change::Key(Box::new(key)));
    let engine = Engine::new(EngineOptions::default());
    engine.load(Revision(1), [api, Change::Organization(organization)].into_iter().chain(keys)).unwrap();
    engine.usage().collect(NOW);
    engine
}

fn key(number: u128, secret: &str) -> Key {
    Key {
        id: KeyId::from_u128(number),
        organization: OrganizationId::from_u128(1),
        api: "example".parse().unwrap(),
        name: "Key".parse().unwrap(),
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
        created_at: NOW,
        created_by: Creator::Operator,
        expires_at: None,
        rotated_at: None,
    }
}
