//! A deployment in a temporary folder, with a clock that moves only when told to.

#![allow(dead_code, unreachable_pub, reason = "each test binary uses its own part of this")]

use std::sync::Arc;

use claviger_app::{Actor, App, AppError, CreateKey, Database, Issued, KeyPlace, Lifetime};
use claviger_domain::change::Revision;
use claviger_domain::credential::Credential;
use claviger_domain::definition::Definition;
use claviger_domain::denial::Denial;
use claviger_domain::endpoint::Method;
use claviger_domain::id::{KeyId, OrganizationId};
use claviger_domain::key::{Environment, Kind, Metadata};
use claviger_domain::path::CanonicalPath;
use claviger_domain::random::PredictableEntropy;
use claviger_domain::restriction::Restrictions;
use claviger_domain::scope::Scopes;
use claviger_domain::secret::PresentedSecret;
use claviger_domain::time::{ManualClock, Timestamp};
use claviger_engine::verdict::{Request, Verdict};
use claviger_engine::{Engine, EngineOptions};

pub struct Deployment {
    pub app: Arc<App>,
    pub clock: Arc<ManualClock>,
    pub organization: OrganizationId,
    pub folder: tempfile::TempDir,
}

/// A made key and its secret, kept for the test.
pub struct Held {
    pub id: KeyId,
    pub secret: String,
    pub revision: Revision,
}

impl From<Issued> for Held {
    fn from(issued: Issued) -> Self {
        Self { id: issued.row.key.id, revision: issued.revision, secret: issued.secret.into_clear().to_string() }
    }
}

pub fn start_time() -> Timestamp {
    "2026-03-10T12:00:00Z".parse().unwrap()
}

impl Deployment {
    pub async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::new(start_time()));
        let app = open(&folder, &clock, 1).await;
        for definition in [
            include_str!("../../../../apis/tork.toml"),
            include_str!("../../../../apis/toksta.toml"),
            include_str!("../../../../apis/example.toml"),
        ] {
            app.apply_definition(Definition::parse(definition).unwrap(), false).await.unwrap();
        }
        let organization = app.create_organization("Acme".parse().unwrap()).await.unwrap().value.id;
        Self { app, clock, organization, folder }
    }

    /// Closes the deployment and opens it again from its files.
    pub async fn restart(&mut self) {
        self.app.close().await;
        self.app = open(&self.folder, &self.clock, 2).await;
    }

    pub fn place(&self, api: &str) -> KeyPlace {
        KeyPlace { organization: Some(self.organization), api: Some(api.parse().unwrap()) }
    }

    /// Made by the operator.
    pub async fn create(&self, api: &str, input: CreateKey) -> Result<Held, AppError> {
        self.app.create_key(&Actor::Operator, self.place(api), input).await.map(Held::from)
    }

    /// Made with another key.
    pub async fn create_with(&self, with: &Held, input: CreateKey) -> Result<Held, AppError> {
        self.app.create_key(&Actor::Key(with.id), KeyPlace::default(), input).await.map(Held::from)
    }

    pub fn verdict(&self, secret: &str, method: Method, path: &str, ip: Option<&str>) -> Verdict {
        let engine = self.app.engine();
        let path = CanonicalPath::parse(path).unwrap();
        let directory = engine.directory();
        let request = Request {
            credential: Credential::Bearer(PresentedSecret::new(secret)),
            api: directory.select(None, Some((method, path)), path.as_str(), Some(secret)),
            endpoint: Some((method, path)),
            ip: ip.map(|ip| ip.parse().unwrap()),
            referrer: None,
            scopes: &[],
            at_least_revision: Revision::default(),
        };
        engine.verify(self.app.now(), &request)
    }

    /// The decision on a call to tork's evaluate.
    pub fn evaluate(&self, secret: &str) -> Result<(), Denial> {
        self.verdict(secret, Method::Post, "/api/v1/evaluate", None).decision
    }
}

async fn open(folder: &tempfile::TempDir, clock: &Arc<ManualClock>, seed: u64) -> Arc<App> {
    let engine = Arc::new(Engine::new(EngineOptions::default()));
    let path = Database::Sqlite(folder.path().join("claviger.db"));
    App::open(&path, engine, Arc::clone(clock) as _, Arc::new(PredictableEntropy::new(seed))).await.unwrap()
}

/// A key of the api's default format, nothing else asked for.
pub fn plain(name: &str) -> CreateKey {
    CreateKey {
        name: name.parse().unwrap(),
        prefix: None,
        kind: None,
        environment: None,
        scopes: None,
        restrictions: Restrictions::NONE,
        allow_any_ip: false,
        lifetime: None,
        metadata: Metadata::default(),
        parent_id: None,
    }
}

pub fn of_kind(kind: Kind) -> CreateKey {
    CreateKey { kind: Some(kind), ..plain("a key") }
}

pub fn of_environment(environment: Environment) -> CreateKey {
    CreateKey { environment: Some(environment), ..plain("a key") }
}

pub fn ephemeral(ttl_seconds: i64) -> CreateKey {
    CreateKey { lifetime: Some(Lifetime::TtlSeconds(ttl_seconds)), ..of_kind(Kind::Ephemeral) }
}

pub fn restricted(scopes_json: &str) -> CreateKey {
    CreateKey { scopes: Some(scopes(scopes_json)), ..of_kind(Kind::Restricted) }
}

pub fn scopes(json: &str) -> Scopes {
    serde_json::from_str(json).unwrap()
}

pub fn restrictions(json: &str) -> Restrictions {
    serde_json::from_str(json).unwrap()
}

/// The field that an invalid request's error names.
pub fn invalid_field(result: Result<impl Sized, AppError>) -> Option<String> {
    match result {
        Err(AppError::Invalid { field, .. }) => field,
        _ => None,
    }
}
