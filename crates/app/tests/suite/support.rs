//! A deployment in a temporary folder, with a clock that moves only when told to.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use claviger_app::{
    Actor, App, AppError, CreateKey, Database, DeliverySettings, Issued, KeyPlace, Lifetime, Mutated, Mutation,
    SetSubscription, SubscriptionReport,
};
use claviger_courier::{Authorities, Courier, Mailer, Patience, Reach};
use claviger_domain::audit::Source;
use claviger_domain::change::Revision;
use claviger_domain::credential::Credential;
use claviger_domain::definition::Definition;
use claviger_domain::denial::Denial;
use claviger_domain::endpoint::Method;
use claviger_domain::id::{KeyId, OrganizationId};
use claviger_domain::key::{self, Environment, Metadata};
use claviger_domain::path::CanonicalPath;
use claviger_domain::period::TimeZone;
use claviger_domain::random::PredictableEntropy;
use claviger_domain::restriction::Restrictions;
use claviger_domain::scope::Scopes;
use claviger_domain::secret::PresentedSecret;
use claviger_domain::time::{ManualClock, Timestamp};
use claviger_engine::verdict::{Request, Verdict};
use claviger_store::Store;

pub(crate) struct Deployment {
    pub(crate) app: Arc<App>,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) organization: OrganizationId,
    pub(crate) database: Database,
    folder: tempfile::TempDir,
}

/// Which database a test binary is about.
#[allow(dead_code, reason = "each test binary is about one")]
pub(crate) enum Kind {
    Sqlite,
    Postgres,
}

/// A made key and its secret, kept for the test.
pub(crate) struct Held {
    pub(crate) id: KeyId,
    pub(crate) secret: String,
    pub(crate) revision: Revision,
}

impl From<Mutated<Issued>> for Held {
    fn from(done: Mutated<Issued>) -> Self {
        let Issued { row, secret } = done.value;
        Self { id: row.key.id, revision: done.revision, secret: secret.into_clear().to_string() }
    }
}

/// Does it and makes it durable. On the heap: what an operation remembers is much for the stack of a test.
pub(crate) fn commit<T>(
    mutation: impl Future<Output = Result<Mutation<T>, AppError>>,
) -> Pin<Box<impl Future<Output = Result<Mutated<T>, AppError>>>> {
    Box::pin(async move { mutation.await?.commit().await })
}

pub(crate) fn start_time() -> Timestamp {
    "2026-03-10T12:00:00Z".parse().unwrap()
}

impl Deployment {
    pub(crate) async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::new(start_time()));
        let database = match crate::DATABASE {
            Kind::Sqlite => Database::Sqlite(folder.path().join("claviger.db")),
            Kind::Postgres => Database::Postgres(claviger_testkit::Postgres::shared().create_database()),
        };
        let app = open(&database, &clock, 1).await;
        for definition in [
            include_str!("../../../../apis/tork.toml"),
            include_str!("../../../../apis/toksta.toml"),
            include_str!("../../../../apis/example.toml"),
        ] {
            let definition = Definition::parse(&unlimited(definition)).unwrap();
            commit(app.apply_definition(&Actor::operator(), definition, false)).await.unwrap();
        }
        let organization = commit(app.create_organization(&Actor::operator(), "Acme".parse().unwrap(), TimeZone::UTC))
            .await
            .unwrap()
            .value
            .id;
        Self { app, clock, organization, database, folder }
    }

    /// Says what the billing system would say.
    pub(crate) async fn subscribe(&self, api: &str, said: SetSubscription) -> Result<SubscriptionReport, AppError> {
        let (operator, api) = (Actor::operator(), api.parse().unwrap());
        commit(self.app.set_subscription(&operator, self.organization, &api, said)).await.map(|done| done.value)
    }

    /// Closes the deployment and opens it again.
    pub(crate) async fn restart(&mut self) {
        self.app.close().await;
        self.app = open(&self.database, &self.clock, 2).await;
    }

    /// Lets events and mails be sent: to this machine too, and with little patience.
    pub(crate) fn set_up_delivery(&self, mailer: Option<Mailer>) {
        self.set_up(mailer, [7; 32]);
    }

    /// The same with another key for what is kept encrypted.
    pub(crate) fn set_up_delivery_under(&self, key: [u8; 32]) {
        self.set_up(None, key);
    }

    fn set_up(&self, mailer: Option<Mailer>, key: [u8; 32]) {
        let reach = Reach { allows_http: true, allows_private_networks: true };
        let (whole, body) = (Duration::from_millis(700), Duration::from_millis(300));
        let courier = Courier::new(reach, Patience { whole, body, ..Patience::default() }, &Authorities::default());
        let mailer = mailer.unwrap_or_else(|| Mailer::folder(self.mail_folder(), "keys@example.com".parse().unwrap()));
        self.app.set_up_delivery(DeliverySettings {
            key: key.into(),
            courier,
            mailer,
            invitation_url: "https://keys.example.com/join#{token}".parse().ok(),
        });
    }

    pub(crate) fn mail_folder(&self) -> std::path::PathBuf {
        self.folder.path().join("mail")
    }

    /// Closes the deployment and opens its database, to look at what no operation shows.
    pub(crate) async fn close(&self) -> Store {
        self.app.close().await;
        Store::open(&self.database).await.unwrap()
    }

    pub(crate) fn place(&self, api: &str) -> KeyPlace {
        KeyPlace { organization: Some(self.organization), api: Some(api.parse().unwrap()) }
    }

    /// Made by the operator.
    pub(crate) async fn create(&self, api: &str, input: CreateKey) -> Result<Held, AppError> {
        commit(self.app.create_key(&Actor::operator(), self.place(api), input)).await.map(Held::from)
    }

    /// Made with another key.
    pub(crate) async fn create_with(&self, with: &Held, input: CreateKey) -> Result<Held, AppError> {
        commit(self.app.create_key(&Actor::key(with.id, Source::Unknown), KeyPlace::default(), input))
            .await
            .map(Held::from)
    }

    pub(crate) fn verdict(&self, secret: &str, method: Method, path: &str, ip: Option<&str>) -> Verdict {
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
            cost: None,
            at_least_revision: Revision::default(),
        };
        engine.verify(self.app.now(), &request)
    }

    /// The decision on a call to tork's evaluate.
    pub(crate) fn evaluate(&self, secret: &str) -> Result<(), Denial> {
        self.verdict(secret, Method::Post, "/api/v1/evaluate", None).decision
    }
}

async fn open(database: &Database, clock: &Arc<ManualClock>, seed: u64) -> Arc<App> {
    let (clock, entropy) = (Arc::clone(clock) as _, Arc::new(PredictableEntropy::new(seed)));
    App::open(database, None, None, clock, entropy).await.unwrap()
}

/// A shipped definition whose default plan limits nothing: most tests are about something else.
pub(crate) fn unlimited(definition: &str) -> String {
    let plan = if definition.contains("name = \"saas\"") { "saas" } else { "enterprise" };
    definition.replace("default_plan = \"free\"", &format!("default_plan = \"{plan}\""))
}

/// Tork's definition with other plans, which end with those before the section of errors.
pub(crate) fn tork_with(plans: &str) -> String {
    let text = include_str!("../../../../apis/tork.toml");
    let (head, rest) = text.split_once("[subscriptions]").unwrap();
    let (_, errors) = rest.split_once("[errors]").unwrap();
    format!("{head}{plans}\n[errors]{errors}")
}

/// A plan, and nothing else said.
pub(crate) fn plan(name: &str) -> SetSubscription {
    let plan = Some(name.parse().unwrap());
    SetSubscription { plan, state: None, api_access: None, anchor_day: None, event_at: None }
}

/// A key of the api's default format, nothing else asked for.
pub(crate) fn plain(name: &str) -> CreateKey {
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

pub(crate) fn of_kind(kind: key::Kind) -> CreateKey {
    CreateKey { kind: Some(kind), ..plain("a key") }
}

pub(crate) fn of_environment(environment: Environment) -> CreateKey {
    CreateKey { environment: Some(environment), ..plain("a key") }
}

pub(crate) fn ephemeral(ttl_seconds: i64) -> CreateKey {
    CreateKey { lifetime: Some(Lifetime::TtlSeconds(ttl_seconds)), ..of_kind(key::Kind::Ephemeral) }
}

pub(crate) fn restricted(scopes_json: &str) -> CreateKey {
    CreateKey { scopes: Some(scopes(scopes_json)), ..of_kind(key::Kind::Restricted) }
}

pub(crate) fn scopes(json: &str) -> Scopes {
    serde_json::from_str(json).unwrap()
}

pub(crate) fn restrictions(json: &str) -> Restrictions {
    serde_json::from_str(json).unwrap()
}

/// The field that an invalid request's error names.
pub(crate) fn invalid_field(result: Result<impl Sized, AppError>) -> Option<String> {
    match result {
        Err(AppError::Invalid { field, .. }) => field,
        _ => None,
    }
}

/// Alters the database behind the server's back.
pub(crate) async fn run_sql(database: &Database, statements: &[&str]) {
    use sqlx::Connection as _;
    let sql = sqlx::AssertSqlSafe(statements.join(";"));
    match database {
        Database::Sqlite(path) => {
            let url = format!("sqlite://{}", path.display());
            let mut connection = sqlx::SqliteConnection::connect(&url).await.unwrap();
            sqlx::raw_sql(sql).execute(&mut connection).await.unwrap();
            connection.close().await.unwrap();
        }
        Database::Postgres(url) => {
            let mut connection = sqlx::PgConnection::connect(url).await.unwrap();
            sqlx::raw_sql(sql).execute(&mut connection).await.unwrap();
            connection.close().await.unwrap();
        }
    }
}
