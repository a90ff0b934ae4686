//! How long a report of one organization's month takes, with a year of usage of many keys in an SQLite database.
//!
//!     cargo xtask bench-usage [--keys 100000] [--organizations 1000] [--runs 5] [--data DIR]
//!
//! The database is filled straight through SQL with what a year leaves there: hours of the last 90 days, days of all but
//! the last three. A tenth of the keys is used in every hour, three tenths from 8 to 16 o'clock on five days a week,
//! the rest in one hour of 72; in one of eleven of those hours calls are refused as well. That is 19 % of the hours of the year.
//! Then reports are made as the admin API makes them, for organizations all over the table: of the present month, and
//! of the one before. The first of each organization finds nothing of it in SQLite's own cache.

#![allow(clippy::print_stdout, clippy::print_stderr, clippy::unwrap_used, reason = "a program that reports")]
#![allow(clippy::disallowed_methods, reason = "it measures time")]

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use claviger_app::{Actor, App, Database, UsageQuery, UsageRange};
use claviger_domain::definition::Definition;
use claviger_domain::id::OrganizationId;
use claviger_domain::random::PredictableEntropy;
use claviger_domain::time::{ManualClock, Timestamp};
use claviger_engine::EngineOptions;
use sqlx::{AssertSqlSafe, Connection as _, SqliteConnection};

const NOW: &str = "2026-10-30T20:00:00Z";
const HOURS_KEPT_DAYS: i64 = 90;
const DAYS: i64 = 365;
const ROLLED_UP_AFTER_DAYS: i64 = 3;
/// Organizations whose reports are timed.
const SAMPLES: i64 = 25;
const BUDGET: Duration = Duration::from_millis(50);

struct Options {
    keys: i64,
    organizations: i64,
    runs: usize,
    data: Option<PathBuf>,
}

fn main() {
    let Some(options) = Options::read(std::env::args().skip(1)) else {
        eprintln!("usage: [--keys N] [--organizations N] [--runs N] [--data DIR]");
        std::process::exit(2);
    };
    tokio::runtime::Runtime::new().unwrap().block_on(run(&options));
}

impl Options {
    fn read(mut arguments: impl Iterator<Item = String>) -> Option<Self> {
        let mut options = Self { keys: 100_000, organizations: 1000, runs: 5, data: None };
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--keys" => options.keys = arguments.next()?.parse().ok()?,
                "--organizations" => options.organizations = arguments.next()?.parse().ok()?,
                "--runs" => options.runs = arguments.next()?.parse().ok()?,
                "--data" => options.data = Some(arguments.next()?.into()),
                // What `cargo bench` says to every bench.
                "--bench" => {}
                _ => return None,
            }
        }
        (options.organizations >= SAMPLES && options.keys >= options.organizations && options.runs > 0)
            .then_some(options)
    }
}

async fn run(options: &Options) {
    let folder = tempfile::tempdir().unwrap();
    let data = options.data.clone().unwrap_or_else(|| folder.path().to_owned());
    std::fs::create_dir_all(&data).unwrap();
    let path = data.join("claviger.db");
    let database = Database::Sqlite(path.clone());
    if !path.exists() {
        let app = open(&database).await;
        let definition = Definition::parse(include_str!("../../apis/tork.toml")).unwrap();
        app.apply_definition(&Actor::operator(), definition, false).await.unwrap().commit().await.unwrap();
        app.close().await;
        let begun = Instant::now();
        fill(&path, options).await;
        println!("filled in {:.0} s: {} MiB", begun.elapsed().as_secs_f64(), path.metadata().unwrap().len() >> 20);
    }
    let app = open(&database).await;
    let now: Timestamp = NOW.parse().unwrap();
    println!(
        "{:<24} {:>14} {:>14} {:>14} {:>14}",
        "report of", "first, median", "first, worst", "again, median", "budget"
    );
    for (name, range) in
        [("this month", UsageRange::Current), ("the month before", UsageRange::Period("2026-09".parse().unwrap()))]
    {
        let (mut first, mut again) = (Vec::new(), Vec::new());
        for sample in 0..SAMPLES {
            let organization =
                OrganizationId::from_u128((sample * (options.organizations - 1) / SAMPLES + 1).unsigned_abs().into());
            for run in 0..=options.runs {
                let query = UsageQuery { organization: Some(organization), api: Some("tork".parse().unwrap()), range };
                let begun = Instant::now();
                let report = app.usage(&Actor::operator(), query).await.unwrap();
                if run == 0 { &mut first } else { &mut again }.push(begun.elapsed());
                assert!(report.quota.used > 0 && report.period_start < now && !report.by_key.is_empty());
            }
        }
        first.sort_unstable();
        again.sort_unstable();
        let shown = |time: Duration| format!("{:.1} ms", time.as_secs_f64() * 1000.0);
        let worst = first[first.len() - 1];
        println!(
            "{name:<24} {:>14} {:>14} {:>14} {:>14}",
            shown(first[first.len() / 2]),
            shown(worst),
            shown(again[again.len() / 2]),
            format!("{} {}", shown(BUDGET), if worst <= BUDGET { "kept" } else { "MISSED" })
        );
    }
    app.close().await;
}

async fn open(database: &Database) -> Arc<App> {
    let clock = Arc::new(ManualClock::new(NOW.parse().unwrap()));
    let options = Some(EngineOptions { usage_cells: 1024, keys: 0 });
    App::open(database, None, options, clock, Arc::new(PredictableEntropy::new(1))).await.unwrap()
}

/// How often a key is used in an hour; `NULL` when it is not. Both are the names of columns.
const CALLS: &str = "CASE WHEN number % 10 = 0 THEN 1 + (hour * 31 + number * 17) % 200
    WHEN number % 10 <= 3 THEN CASE WHEN hour % 24 BETWEEN 8 AND 15 AND (hour / 24) % 7 < 5
        THEN 1 + (hour * 31 + number * 17) % 50 END
    WHEN (hour * 7 + number * 13) % 72 = 0 THEN 1 + number % 9 END";

async fn fill(path: &std::path::Path, options: &Options) {
    let now: Timestamp = NOW.parse().unwrap();
    let today = now.hour() / 24 * 24;
    let (first_day, rolled, pruned) =
        (today - DAYS * 24, today - ROLLED_UP_AFTER_DAYS * 24, today - HOURS_KEPT_DAYS * 24);
    let per_organization = options.keys / options.organizations;
    let mut connection = SqliteConnection::connect(&format!("sqlite://{}", path.display())).await.unwrap();
    let mut execute = async |sql: String| {
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await.unwrap();
    };
    execute("PRAGMA synchronous = OFF; PRAGMA cache_size = -262144; PRAGMA temp_store = memory".to_owned()).await;
    execute(format!(
        "CREATE TEMP TABLE hours AS WITH RECURSIVE h (hour) AS (SELECT {first_day} UNION ALL SELECT hour + 1 FROM h WHERE hour < {})
         SELECT hour FROM h;
         CREATE TEMP TABLE numbers AS WITH RECURSIVE n (number) AS (SELECT 0 UNION ALL SELECT number + 1 FROM n WHERE number < {})
         SELECT number, unhex(printf('%032x', 1000000 + number)) AS id FROM n",
        now.hour(),
        per_organization - 1,
    ))
    .await;
    for organization in 1..=options.organizations {
        let base = organization * per_organization;
        let id = format!("unhex('{organization:032x}')");
        execute(format!(
            "BEGIN;
             INSERT INTO organizations (id, name, status, created_at, revision) VALUES ({id}, 'Organization {organization}', 'active', 0, 1);
             INSERT INTO keys (id, organization, api, name, kind, environment, prefix, hint, digest, scopes, metadata, disabled, created_at, created_by, revision)
             SELECT unhex(printf('%032x', {base} + number)), {id}, 'tork', 'key ' || number, 'secret', 'live', 'tork_sk_', 'abcd',
                 unhex(printf('%064x', {base} + number)), '[\"*\"]', '{{}}', 0, 0, 'operator', 1 FROM numbers;
             INSERT INTO usage_accounts VALUES ({id}, 'tork', {rolled}, {first_day}, 'UTC', {pruned}, 0);
             CREATE TEMP TABLE used AS
                 SELECT hour, unhex(printf('%032x', {base} + number)) AS id, {CALLS} AS calls, (hour + number) % 11 = 0 AS refused
                 FROM hours CROSS JOIN numbers WHERE calls IS NOT NULL;
             INSERT INTO usage (organization, api, hour, key_id, scope, outcome, incarnation, total)
                 SELECT {id}, 'tork', hour, id, 'evaluate', 'allowed', 1, calls FROM used WHERE hour >= {pruned};
             INSERT INTO usage (organization, api, hour, key_id, scope, outcome, incarnation, total)
                 SELECT {id}, 'tork', hour, id, 'evaluate', 'rate_limited', 1, 3 FROM used WHERE hour >= {pruned} AND refused;
             INSERT INTO usage_days (organization, api, day, key_id, scope, outcome, total)
                 SELECT {id}, 'tork', hour / 24 * 24 AS day, id, 'evaluate', 'allowed', SUM(calls) FROM used WHERE hour < {rolled} GROUP BY day, id;
             INSERT INTO usage_days (organization, api, day, key_id, scope, outcome, total)
                 SELECT {id}, 'tork', hour / 24 * 24 AS day, id, 'evaluate', 'rate_limited', COUNT(*) * 3 FROM used
                 WHERE hour < {rolled} AND refused GROUP BY day, id;
             DROP TABLE used;
             COMMIT"
        ))
        .await;
        if organization % 100 == 0 {
            println!("{organization} organizations");
        }
    }
    connection.close().await.unwrap();
}
