//! A database as an operator with many customers has it, written straight through SQL.

use claviger_domain::definition::{Api, Definition};
use claviger_domain::format::KeyFormat;
use claviger_domain::id::{KeyId, OrganizationId};
use claviger_domain::key::Kind;
use claviger_domain::organization::{Organization, OrganizationStatus};
use claviger_domain::period::TimeZone;
use claviger_domain::random::PredictableEntropy;
use claviger_domain::secret::SecretDigest;
use claviger_domain::time::Timestamp;
use claviger_store::{Database, Store, apis, organizations};
use sqlx::{Connection as _, QueryBuilder};

/// 2026-01-01T00:00:00Z.
const NOW: Timestamp = Timestamp::from_micros(1_767_225_600_000_000);
/// Far enough ahead that no key of the population has expired when it is asked about.
const SECONDS_TO_EXPIRY: i64 = 20 * 365 * 86_400;
const KEYS_PER_ORGANIZATION: usize = 100;
/// Times 24 columns, it stays below the number of parameters that either database takes.
const ROWS_PER_STATEMENT: usize = 1000;
const STATEMENTS_PER_TRANSACTION: usize = 100;

const RESTRICTIONS: [&str; 4] = [
    r#"{"ip":["203.0.113.0/24"],"referrer":null,"endpoint":null}"#,
    r#"{"ip":["198.51.100.7","2001:db8::/32"],"referrer":null,"endpoint":["POST /api/v1/evaluate"]}"#,
    r#"{"ip":null,"referrer":["*.example.com","example.org"],"endpoint":null}"#,
    r#"{"ip":["10.0.0.0/8","192.168.0.0/16"],"referrer":["app.example.com"],"endpoint":["GET /api/v1/*"]}"#,
];
const SCOPES: [&str; 4] =
    [r#"["evaluate"]"#, r#"["api_keys:read","evaluate"]"#, r#"["usage:read"]"#, r#"["evaluate","usage:read"]"#];
const TEAMS: [&str; 8] = ["billing", "search", "mobile", "staging", "data pipeline", "partner portal", "CI", "Münster"];

struct Row {
    id: [u8; 16],
    organization: [u8; 16],
    name: String,
    kind: Kind,
    prefix: String,
    hint: String,
    digest: [u8; 32],
    old: Option<([u8; 32], i64)>,
    scopes: &'static str,
    restrictions: Option<&'static str>,
    parent_id: Option<[u8; 16]>,
    metadata: String,
    is_disabled: bool,
    revoked_at: Option<i64>,
    created_at: i64,
    expires_at: Option<i64>,
}

/// Makes the database, unless it is there with this many keys, and returns the secret of the last of its keys, which
/// has no restriction.
pub(crate) fn fill(database: &Database, keys: usize) -> String {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let api = api();
        let is_new = prepare(database, &api, keys).await;
        let entropy = PredictableEntropy::new(1);
        let mut last = String::new();
        let rows = (0..keys).map(|number| {
            let (row, secret) = row(&api, &entropy, number, number + 1 == keys);
            last = secret;
            row
        });
        if is_new {
            eprintln!("filling {database} with {keys} keys");
            match database {
                Database::Sqlite(path) => fill_sqlite(path, rows).await,
                Database::Postgres(url) => fill_postgres(url, rows).await,
            }
        } else {
            rows.for_each(drop);
        }
        last
    })
}

fn api() -> Api {
    let definition = Definition::parse(
        &include_str!("../../apis/tork.toml").replace("default_plan = \"free\"", "default_plan = \"enterprise\""),
    )
    .unwrap();
    Api { definition, retired_formats: Vec::new() }
}

/// Makes the tables, the api and the organizations. False if they were there.
async fn prepare(database: &Database, api: &Api, keys: usize) -> bool {
    let store = Store::open(database).await.unwrap();
    let is_new = apis::list(&mut store.read().await.unwrap()).await.unwrap().is_empty();
    if is_new {
        let mut tx = store.begin().await.unwrap();
        apis::put(&mut tx, api).await.unwrap();
        for number in 0..keys.div_ceil(KEYS_PER_ORGANIZATION) {
            let organization = Organization {
                id: organization_id(number),
                name: format!("Customer {number}").parse().unwrap(),
                status: OrganizationStatus::Active,
                time_zone: TimeZone::UTC,
                created_at: NOW,
            };
            organizations::put(&mut tx, &organization).await.unwrap();
        }
        tx.commit(NOW).await.unwrap();
    }
    store.close().await;
    is_new
}

fn organization_id(number: usize) -> OrganizationId {
    OrganizationId::from_u128(1_767_225_500_000 << 80 | number as u128)
}

fn key_id(number: usize) -> KeyId {
    KeyId::from_u128((1_767_225_600_000 + number as u128 / 10) << 80 | 7 << 76 | number as u128)
}

/// One in ten is restricted by address, referrer or endpoint, one in five has metadata, some are ephemeral, in an
/// overlap, disabled or revoked.
fn row(api: &Api, entropy: &PredictableEntropy, number: usize, is_plain: bool) -> (Row, String) {
    let kind = match number % 20 {
        _ if is_plain => Kind::Secret,
        3 | 8 | 13 | 18 => Kind::Restricted,
        19 => Kind::Ephemeral,
        _ => Kind::Secret,
    };
    let format: &KeyFormat = api.definition.choose_format(None, Some(kind), None).unwrap();
    let secret = format.issue(entropy);
    let (digest, hint) = (secret.digest(), secret.hint());
    let created_at = NOW.as_micros() + number as i64 * 1000;
    let is_in_overlap = number % 200 == 5;
    let old =
        is_in_overlap.then(|| (*SecretDigest::of(&format!("old {number}")).as_bytes(), created_at + 86_400_000_000));
    let metadata = match number % 10 {
        2 => format!(r#"{{"team":"{}","ticket":"OPS-{number}"}}"#, TEAMS[number / 10 % 8]),
        6 => format!(r#"{{"owner":{{"id":{number},"active":true}},"tags":["a","b"]}}"#),
        _ => "{}".to_owned(),
    };
    let expires = NOW.plus_seconds(SECONDS_TO_EXPIRY + number as i64).unwrap().as_micros();
    let row = Row {
        id: key_id(number).to_bytes(),
        organization: organization_id(number / KEYS_PER_ORGANIZATION).to_bytes(),
        name: format!("{} {number}", TEAMS[number % 8]),
        kind,
        prefix: format.prefix.clone(),
        hint,
        digest: *digest.as_bytes(),
        old,
        scopes: if kind == Kind::Restricted { SCOPES[number / 5 % 4] } else { r#"["*"]"# },
        restrictions: (number % 10 == 4 && !is_plain).then(|| RESTRICTIONS[number / 10 % 4]),
        parent_id: (kind == Kind::Ephemeral).then(|| key_id(number - 1).to_bytes()),
        metadata,
        is_disabled: number % 100 == 50 && !is_plain,
        revoked_at: (number % 50 == 27 && !is_plain).then_some(created_at + 1),
        created_at,
        expires_at: (kind == Kind::Ephemeral || number.is_multiple_of(7)).then_some(expires),
    };
    (row, secret.into_clear().to_string())
}

macro_rules! insert {
    ($connection:expr, $rows:expr) => {{
        let mut insert = QueryBuilder::new(
            "INSERT INTO keys (id, organization, api, name, kind, environment, prefix, hint, digest, old_digest,
                 overlap_ends_at, scopes, restrictions, parent_id, metadata, disabled, revoked_at, revoked_reason,
                 created_at, created_by, expires_at, rotated_at, last_used, revision) ",
        );
        insert.push_values($rows, |mut values, row: Row| {
            values.push_bind(row.id.to_vec()).push_bind(row.organization.to_vec()).push_bind("tork");
            values.push_bind(row.name).push_bind(row.kind.as_str()).push_bind("live");
            values.push_bind(row.prefix).push_bind(row.hint).push_bind(row.digest.to_vec());
            values.push_bind(row.old.map(|(digest, _)| digest.to_vec())).push_bind(row.old.map(|(_, ends)| ends));
            values.push_bind(row.scopes).push_bind(row.restrictions);
            values.push_bind(row.parent_id.map(|id| id.to_vec())).push_bind(row.metadata);
            values.push_bind(row.is_disabled).push_bind(row.revoked_at);
            values.push_bind(row.revoked_at.map(|_| "leaked in a public repository"));
            values.push_bind(row.created_at).push_bind("operator").push_bind(row.expires_at);
            values.push_bind(row.old.map(|_| row.created_at)).push_bind(None::<i64>).push_bind(1_i64);
        });
        insert.build().execute($connection).await.unwrap();
    }};
}

macro_rules! insert_all {
    ($connection:expr, $rows:expr) => {{
        let mut rows = $rows.peekable();
        while rows.peek().is_some() {
            let mut tx = $connection.begin().await.unwrap();
            for _ in 0..STATEMENTS_PER_TRANSACTION {
                let some: Vec<Row> = rows.by_ref().take(ROWS_PER_STATEMENT).collect();
                if !some.is_empty() {
                    insert!(&mut *tx, some);
                }
            }
            tx.commit().await.unwrap();
        }
        $connection.close().await.unwrap();
    }};
}

async fn fill_sqlite(path: &std::path::Path, rows: impl Iterator<Item = Row>) {
    let options = sqlx::sqlite::SqliteConnectOptions::new()
        .filename(path)
        .synchronous(sqlx::sqlite::SqliteSynchronous::Off)
        // A third of a gigabyte, in KiB: the indexes are written in no order.
        .pragma("cache_size", "-350000");
    let mut connection = sqlx::SqliteConnection::connect_with(&options).await.unwrap();
    insert_all!(connection, rows);
}

async fn fill_postgres(url: &str, rows: impl Iterator<Item = Row>) {
    let mut connection = sqlx::PgConnection::connect(url).await.unwrap();
    insert_all!(connection, rows);
    let mut connection = sqlx::PgConnection::connect(url).await.unwrap();
    sqlx::query("VACUUM ANALYZE").execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}
