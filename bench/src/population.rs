//! The keys that are measured, and the order in which they are presented.

use claviger_domain::change::Change;
use claviger_domain::definition::{Api, Definition};
use claviger_domain::format::KeyFormat;
use claviger_domain::id::{KeyId, OrganizationId};
use claviger_domain::key::{Creator, Environment, Key, Kind, Metadata};
use claviger_domain::organization::{Organization, OrganizationStatus};
use claviger_domain::period::TimeZone;
use claviger_domain::random::{Entropy as _, PredictableEntropy};
use claviger_domain::restriction::Restrictions;
use claviger_domain::scope::Scopes;
use claviger_domain::secret::SecretDigest;
use claviger_domain::time::Timestamp;

/// 2026-01-01T00:00:00Z, the instant at which everything happens.
pub(crate) const NOW: Timestamp = Timestamp::from_micros(1_767_225_600_000_000);
const KEYS_PER_ORGANIZATION: usize = 10;
const DEFINITION: &str = include_str!("../../apis/example.toml");

/// Secrets of one length, one after the other.
pub(crate) struct Secrets {
    text: String,
    length: usize,
}

impl Secrets {
    fn with_capacity(count: usize, length: usize) -> Self {
        Self { text: String::with_capacity(count * length), length }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &str> + Clone {
        (0..self.len()).map(|position| self.nth(position))
    }

    pub(crate) fn len(&self) -> usize {
        self.text.len() / self.length
    }

    pub(crate) fn nth(&self, position: usize) -> &str {
        &self.text[position * self.length..(position + 1) * self.length]
    }
}

/// What the population is made of besides its number.
#[derive(Clone, Copy, Default)]
pub(crate) struct Traits {
    /// Every key has an `ip` and an `endpoint` restriction.
    pub(crate) restricted: bool,
    /// Every key expires.
    pub(crate) expiring: bool,
    /// Every organization has a plan with these.
    pub(crate) limits: Limits,
}

/// Limits that no call of a run reaches.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Limits {
    /// The api has no plans.
    #[default]
    None,
    /// A quota and a rate limit, for each organization.
    Organization,
    /// The same, and a rate limit for each key.
    Key,
}

impl Limits {
    /// What a definition says of it.
    fn text(self) -> String {
        let limit = |name: &str, per: &str| {
            format!("[[plans.rate_limits]]\nname = \"{name}\"\nper = \"{per}\"\nunits = 1000000000\nseconds = 1\n")
        };
        let limits = match self {
            Self::None => return String::new(),
            Self::Organization => limit("all", "organization"),
            Self::Key => limit("all", "organization") + &limit("each", "key"),
        };
        format!(
            "\n[[plans]]\nname = \"bench\"\ntitle = \"Bench\"\nquota = 100000000000000\n{limits}\
             [subscriptions]\ndefault_plan = \"bench\"\n"
        )
    }
}

/// The api, and the live format whose secrets are made.
pub(crate) fn api(limits: Limits) -> Api {
    let definition =
        Definition::parse(&format!("{DEFINITION}{}", limits.text())).expect("a definition that is shipped");
    Api { definition, retired_formats: Vec::new() }
}

/// This many secrets of the api's default format.
pub(crate) fn secrets(api: &Api, count: usize) -> Secrets {
    let format: &KeyFormat = api.definition.choose_format(None, None, None).expect("a definition has formats");
    let entropy = PredictableEntropy::new(1);
    let mut secrets = Secrets::with_capacity(count, format.prefix.len() + format.length);
    for _ in 0..count {
        secrets.text.push_str(&format.issue(&entropy).into_clear());
    }
    secrets
}

/// The snapshot in which these secrets are known.
pub(crate) fn snapshot(api: &Api, secrets: &Secrets, traits: Traits) -> impl Iterator<Item = Change> {
    let organizations = (0..secrets.len().div_ceil(KEYS_PER_ORGANIZATION)).map(|number| {
        Change::Organization(Organization {
            id: OrganizationId::from_u128(number as u128),
            name: "Bench".parse().expect("a name"),
            status: OrganizationStatus::Active,
            time_zone: TimeZone::UTC,
            created_at: NOW,
        })
    });
    let restrictions = if traits.restricted {
        let json = r#"{"ip": ["198.51.100.0/24", "2001:db8::/32"], "endpoint": ["GET /v1/users/*"]}"#;
        serde_json::from_str(json).expect("restrictions")
    } else {
        Restrictions::NONE
    };
    let named = Scopes::try_from(vec!["users:read".to_owned()]).expect("a scope");
    let keys = secrets.iter().enumerate().map(move |(number, secret)| {
        let mut key = key(number, secret);
        if number % 2 != 0 {
            key.scopes = named.clone();
        }
        key.restrictions = restrictions.clone();
        key.expires_at = traits.expiring.then(|| NOW.plus_seconds(number as i64 + 3600)).flatten();
        Change::Key(Box::new(key))
    });
    std::iter::once(Change::Api(Box::new(api.clone()))).chain(organizations).chain(keys)
}

/// A live key of full access.
pub(crate) fn key(number: usize, secret: &str) -> Key {
    Key {
        id: KeyId::from_u128(1_767_225_600_000 << 80 | number as u128),
        organization: OrganizationId::from_u128((number / KEYS_PER_ORGANIZATION) as u128),
        api: "example".parse().expect("an api's name"),
        name: format!("bench key {number}").parse().expect("a name"),
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

/// Secrets in random order, laid out in the order in which they are presented: a server has the secret it verifies
/// in the request it has just read, so reading it is not part of what is measured.
///
/// With few keys there are no more secrets than keys, presented again and again.
pub(crate) fn presented(secrets: &Secrets, count: usize) -> Secrets {
    let entropy = PredictableEntropy::new(2);
    let mut presented = Secrets::with_capacity(count, secrets.length);
    for _ in 0..count {
        let mut random = [0; 8];
        entropy.fill(&mut random);
        let position = (u128::from(u64::from_le_bytes(random)) * secrets.len() as u128) >> 64;
        presented.text.push_str(secrets.nth(position as usize));
    }
    presented
}
