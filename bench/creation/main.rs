//! How fast keys are made, durably, by 64 callers at once, beside the database's own batched insert of the same rows.
//!
//! The floor writes what the callers write (a key, its change and its audit event, byte for byte of the same size, of the
//! same organizations in the same turn, so that the same pages are written) in transactions of 64 keys, each table with
//! one statement of 64 rows, through the same driver and settings. Both are measured in turn, round by round, on the same
//! database; the medians are compared.

#![allow(clippy::print_stdout, clippy::disallowed_methods, reason = "a bench prints what it timed")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use claviger_app::{Actor, App, CreateKey, Database, KeyPlace};
use claviger_domain::definition::Definition;
use claviger_domain::id::{KeyId, OrganizationId};
use claviger_domain::key::{Environment, Kind, Metadata};
use claviger_domain::period::TimeZone;
use claviger_domain::random::SystemEntropy;
use claviger_domain::restriction::Restrictions;
use claviger_domain::scope::Scopes;
use claviger_domain::secret::SecretDigest;
use claviger_domain::time::SystemClock;
use claviger_testkit::Postgres;

const CALLERS: usize = 64;
const ROUNDS: usize = 7;
const ROUND: Duration = Duration::from_millis(1500);
const KEYS_PER_BATCH: i64 = 64;
const ORGANIZATIONS: usize = 64;
const API: &str = include_str!("../../apis/tork.toml");

/// The api, whose default plan limits no keys here.
fn unlimited() -> String {
    API.replace("default_plan = \"free\"", "default_plan = \"enterprise\"")
}

fn main() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    println!("{CALLERS} callers, medians of {ROUNDS} rounds of {} ms each, keys a second\n", ROUND.as_millis());
    println!(
        "{:<12} {:>10} {:>16} {:>8} {:>19}",
        "database", "created", "batched insert", "ratio", "keys a transaction"
    );
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    runtime.block_on(compare("SQLite", Database::Sqlite(folder.path().join("claviger.db"))))?;
    runtime.block_on(compare("PostgreSQL", Database::Postgres(Postgres::shared().create_database())))
}

async fn compare(name: &str, database: Database) -> Result<()> {
    let deployment = Deployment::open(&database).await?;
    // The statements are prepared and the tables have some size.
    deployment.create_for(ROUND).await?;
    let (floor, mut next) = (Floor::open(&database, deployment.organizations.clone()).await?, 1);
    floor.insert_for(&mut next, ROUND).await?;
    let (mut created, mut inserted) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        created.push(deployment.create_for(ROUND).await?);
        inserted.push(floor.insert_for(&mut next, ROUND).await?);
    }
    let (created, inserted) = (median(created), median(inserted));
    let shared = floor.keys_per_transaction().await?;
    println!("{name:<12} {created:>10.0} {inserted:>16.0} {:>7.2}x {shared:>19.1}", created / inserted);
    deployment.app.close().await;
    Ok(())
}

fn median(mut rates: Vec<f64>) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates[rates.len() / 2]
}

struct Deployment {
    app: Arc<App>,
    organizations: Vec<OrganizationId>,
}

impl Deployment {
    async fn open(database: &Database) -> Result<Self> {
        let (clock, entropy) = (Arc::new(SystemClock), Arc::new(SystemEntropy));
        let app = App::open(database, None, None, clock, entropy).await?;
        let operator = Actor::operator();
        app.apply_definition(&operator, Definition::parse(&unlimited())?, false).await?.commit().await?;
        let mut organizations = Vec::new();
        for number in 0..ORGANIZATIONS {
            let name = format!("Organization {number}").parse()?;
            organizations.push(app.create_organization(&operator, name, TimeZone::UTC).await?.commit().await?.value.id);
        }
        Ok(Self { app, organizations })
    }

    /// Keys a second.
    async fn create_for(&self, duration: Duration) -> Result<f64> {
        let started = Instant::now();
        let callers = (0..CALLERS).map(|caller| {
            let (app, organization) = (Arc::clone(&self.app), self.organizations[caller % ORGANIZATIONS]);
            tokio::spawn(async move {
                let mut created = 0_u32;
                while started.elapsed() < duration {
                    let place = KeyPlace { organization: Some(organization), api: Some("tork".parse()?) };
                    app.create_key(&Actor::operator(), place, wish(created)?).await?.commit().await?;
                    created += 1;
                }
                Ok::<_, anyhow::Error>(created)
            })
        });
        let mut created = 0;
        for caller in callers.collect::<Vec<_>>() {
            created += caller.await??;
        }
        Ok(f64::from(created) / started.elapsed().as_secs_f64())
    }
}

fn wish(number: u32) -> Result<CreateKey> {
    Ok(CreateKey {
        name: format!("Production Server {number}").parse()?,
        prefix: None,
        kind: Some(Kind::Restricted),
        environment: Some(Environment::Live),
        scopes: Some(Scopes::try_from(vec!["evaluate".to_owned()])?),
        restrictions: Restrictions::NONE,
        allow_any_ip: false,
        lifetime: None,
        metadata: Metadata::default(),
        parent_id: None,
    })
}

/// Rows of the same size into tables of the same shape, in the same database.
struct Floor {
    pool: Pool,
    sample: Sample,
    /// Those that the callers make keys for: indexes that begin with the organization grow in as many places.
    organizations: Vec<OrganizationId>,
}

enum Pool {
    Sqlite(sqlx::SqlitePool),
    Postgres(sqlx::PgPool),
}

/// What the callers left: a row of each table.
#[derive(sqlx::FromRow)]
struct Sample {
    name: String,
    prefix: String,
    hint: String,
    scopes: String,
    created_at: i64,
    change: String,
    event: String,
}

const SAMPLE: &str = "SELECT keys.name, prefix, hint, scopes, created_at, changes.body AS change, audit.body AS event
    FROM keys JOIN changes ON changes.revision = keys.revision
    JOIN audit ON audit.organization = keys.organization AND audit.action = 'key.created'
    LIMIT 1";
const KEYS: &str =
    "INSERT INTO keys_floor (id, organization, api, name, kind, environment, prefix, hint, digest, scopes,
        metadata, disabled, created_at, created_by, revision) ";
const CHANGES: &str = "INSERT INTO changes_floor (revision, at, body) ";
const AUDIT: &str = "INSERT INTO audit_floor (number, at, actor, action, target, organization, body, hash) ";

/// Inserts one batch in one transaction, with one statement for each table.
macro_rules! insert_batch {
    ($pool:expr, $floor:expr, $numbers:expr) => {{
        let (sample, numbers) = (&$floor.sample, $numbers);
        let mut tx = $pool.begin().await?;
        let mut keys = sqlx::QueryBuilder::new(KEYS);
        keys.push_values(numbers.clone(), |mut row, number| {
            row.push_bind(id(number).to_bytes().to_vec()).push_bind($floor.organization(number));
            row.push_bind("tork").push_bind(&sample.name);
            row.push_bind("restricted").push_bind("live").push_bind(&sample.prefix).push_bind(&sample.hint);
            row.push_bind(digest(number)).push_bind(&sample.scopes).push_bind("{}").push_bind(false);
            row.push_bind(sample.created_at).push_bind("operator").push_bind(number);
        });
        keys.build().execute(&mut *tx).await?;
        let mut audit = sqlx::QueryBuilder::new(AUDIT);
        audit.push_values(numbers.clone(), |mut row, number| {
            row.push_bind(number).push_bind(sample.created_at).push_bind("operator").push_bind("key.created");
            row.push_bind(id(number).to_string()).push_bind($floor.organization(number)).push_bind(&sample.event);
            row.push_bind(digest(number));
        });
        audit.build().execute(&mut *tx).await?;
        let mut changes = sqlx::QueryBuilder::new(CHANGES);
        changes.push_values(numbers, |mut row, number| {
            row.push_bind(number).push_bind(sample.created_at).push_bind(&sample.change);
        });
        changes.build().execute(&mut *tx).await?;
        tx.commit().await?;
    }};
}

impl Floor {
    async fn open(database: &Database, organizations: Vec<OrganizationId>) -> Result<Self> {
        let (pool, sample) = match database {
            Database::Sqlite(path) => {
                let options = sqlx::sqlite::SqliteConnectOptions::new()
                    .filename(path)
                    .synchronous(sqlx::sqlite::SqliteSynchronous::Full)
                    .pragma("cache_size", "-65536")
                    .pragma("wal_autocheckpoint", "4096");
                let pool = sqlx::sqlite::SqlitePoolOptions::new().max_connections(1).connect_with(options).await?;
                // The same tables and indexes under other names.
                let texts: Vec<String> = sqlx::query_scalar(
                    "SELECT sql FROM sqlite_master WHERE tbl_name IN ('keys', 'changes', 'audit')
                     AND type IN ('table', 'index') AND sql IS NOT NULL ORDER BY type DESC",
                )
                .fetch_all(&pool)
                .await?;
                for text in texts {
                    sqlx::raw_sql(sqlx::AssertSqlSafe(renamed(&text))).execute(&pool).await?;
                }
                let sample = sqlx::query_as(SAMPLE).fetch_one(&pool).await?;
                (Pool::Sqlite(pool), sample)
            }
            Database::Postgres(url) => {
                let pool = sqlx::postgres::PgPoolOptions::new().max_connections(1).connect(url).await?;
                for table in ["keys", "changes", "audit"] {
                    let copy = format!("CREATE TABLE {table}_floor (LIKE {table} INCLUDING ALL)");
                    sqlx::raw_sql(sqlx::AssertSqlSafe(copy)).execute(&pool).await?;
                }
                // Which a copy leaves out, and SQLite's has.
                let references = "ALTER TABLE keys_floor ADD FOREIGN KEY (organization) REFERENCES organizations (id),
                    ADD FOREIGN KEY (api) REFERENCES apis (name)";
                sqlx::raw_sql(references).execute(&pool).await?;
                let sample = sqlx::query_as(SAMPLE).fetch_one(&pool).await?;
                (Pool::Postgres(pool), sample)
            }
        };
        Ok(Self { pool, sample, organizations })
    }

    /// Whose key it is.
    fn organization(&self, number: i64) -> Vec<u8> {
        self.organizations[number as usize % self.organizations.len()].to_bytes().to_vec()
    }

    /// How many of the callers' keys became durable at once.
    async fn keys_per_transaction(&self) -> Result<f64> {
        let text = "SELECT CAST(COUNT(*) AS DOUBLE PRECISION) / COUNT(DISTINCT at) FROM changes";
        Ok(match &self.pool {
            Pool::Sqlite(pool) => sqlx::query_scalar(text).fetch_one(pool).await?,
            Pool::Postgres(pool) => sqlx::query_scalar(text).fetch_one(pool).await?,
        })
    }

    /// Keys a second.
    async fn insert_for(&self, next: &mut i64, duration: Duration) -> Result<f64> {
        let started = Instant::now();
        let first = *next;
        while started.elapsed() < duration {
            let numbers = *next..*next + KEYS_PER_BATCH;
            *next = numbers.end;
            match &self.pool {
                Pool::Sqlite(pool) => insert_batch!(pool, self, numbers),
                Pool::Postgres(pool) => insert_batch!(pool, self, numbers),
            }
        }
        Ok((*next - first) as f64 / started.elapsed().as_secs_f64())
    }
}

/// `CREATE TABLE keys (` and `CREATE INDEX x ON keys (` for the copy.
fn renamed(text: &str) -> String {
    let text = text.replace("CREATE INDEX ", "CREATE INDEX floor_");
    ["keys", "changes", "audit"].iter().fold(text, |text, table| {
        text.replace(&format!("CREATE TABLE {table} "), &format!("CREATE TABLE {table}_floor "))
            .replace(&format!(" ON {table} "), &format!(" ON {table}_floor "))
    })
}

/// As ids are: they grow.
fn id(number: i64) -> KeyId {
    KeyId::from_u128(0x0190_0000_0000_7000_u128 << 64 | number as u128)
}

/// As digests are: without any order.
fn digest(number: i64) -> Vec<u8> {
    SecretDigest::of(&number.to_string()).as_bytes().to_vec()
}
