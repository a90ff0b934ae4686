//! Usage from real verdicts, and definitions that change under living keys.

use crate::suite::support::{Deployment, commit, of_environment, of_kind, restricted};
use claviger_app::{Actor, AppError, CreateKey, Database, UsageQuery};
use claviger_domain::audit::Source;
use claviger_domain::definition::Definition;
use claviger_domain::denial::Denial;
use claviger_domain::endpoint::Method;
use claviger_domain::key::{Environment, Kind};

const TORK: &str = include_str!("../../../../apis/tork.toml");

#[tokio::test]
async fn usage_is_what_was_verified() {
    let mut deployment = Deployment::start().await;
    let live = deployment.create("example", of_environment(Environment::Live)).await.unwrap();
    let test = deployment.create("example", of_environment(Environment::Test)).await.unwrap();
    for _ in 0..3 {
        deployment.verdict(&live.secret, Method::Get, "/v1/users/usr_123", None);
    }
    for _ in 0..2 {
        deployment.verdict(&test.secret, Method::Post, "/v1/users", None);
    }
    commit(deployment.app.disable_key(&Actor::operator(), live.id, None)).await.unwrap();
    deployment.verdict(&live.secret, Method::Get, "/v1/users/usr_123", None);
    commit(deployment.app.enable_key(&Actor::operator(), live.id, None)).await.unwrap();

    let report = deployment.app.usage(&Actor::key(live.id, Source::Unknown), UsageQuery::default()).await.unwrap();
    let counts = &report.organization_counts;
    assert_eq!((counts.total, counts.allowed, counts.denied, counts.billable), (6, 5, 1, 3));
    assert_eq!((counts.by_scope["users:read"], counts.by_scope["users:write"]), (4, 2));
    assert_eq!((counts.by_environment["live"], counts.by_environment["test"]), (4, 2));
    assert_eq!((counts.by_outcome["allowed"], counts.by_outcome["disabled"]), (5, 1));
    let own = report.key_counts.unwrap();
    assert_eq!((own.total, own.billable), (4, 3));
    assert_eq!(report.period_start.to_string(), "2026-03-01T00:00:00Z");
    assert_eq!(report.period_end.to_string(), "2026-04-01T00:00:00Z");

    let row = deployment.app.find_key(&Actor::operator(), live.id).await.unwrap();
    assert_eq!(row.last_used, Some(crate::suite::support::start_time()));
    let row = deployment.app.find_key(&Actor::operator(), test.id).await.unwrap();
    assert_eq!(row.last_used, Some(crate::suite::support::start_time()));

    // Live usage survives, test usage was only ever in memory, and counting goes on from there.
    deployment.restart().await;
    deployment.verdict(&live.secret, Method::Get, "/v1/users/usr_123", None);
    let report = deployment.app.usage(&Actor::key(live.id, Source::Unknown), UsageQuery::default()).await.unwrap();
    let counts = report.organization_counts;
    assert_eq!((counts.total, counts.billable, counts.by_environment.get("test")), (5, 4, None));
}

/// Holds the tables of usage against whoever would write them.
async fn hold_usage(deployment: &Deployment) -> Box<dyn std::any::Any> {
    use sqlx::Connection as _;
    match &deployment.database {
        Database::Sqlite(path) => {
            let url = format!("sqlite://{}", path.display());
            let mut connection = sqlx::SqliteConnection::connect(&url).await.unwrap();
            sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut connection).await.unwrap();
            Box::new(connection)
        }
        Database::Postgres(url) => {
            let mut connection = sqlx::PgConnection::connect(url).await.unwrap();
            sqlx::raw_sql("BEGIN; LOCK TABLE usage IN SHARE MODE").execute(&mut connection).await.unwrap();
            Box::new(connection)
        }
    }
}

#[tokio::test]
async fn whoever_reads_waits_for_nobody_who_writes_usage() {
    let deployment = Deployment::start().await;
    let key = deployment.create("tork", of_kind(Kind::Secret)).await.unwrap();
    let actor = Actor::key(key.id, Source::Unknown);
    let held = hold_usage(&deployment).await;
    deployment.evaluate(&key.secret).unwrap();
    let writing = deployment.app.forget();
    let reading = async {
        for calls in 2..100 {
            deployment.evaluate(&key.secret).unwrap();
            let row = deployment.app.find_key(&actor, key.id).await.unwrap();
            assert_eq!(row.last_used, Some(crate::suite::support::start_time()));
            let report = deployment.app.usage(&actor, UsageQuery::default()).await.unwrap();
            assert_eq!(report.organization_counts.total, calls);
        }
    };
    tokio::select! {
        biased;
        written = writing => panic!("the table is held: {written:?}"),
        () = reading => {}
    }
    drop(held);
    deployment.app.forget().await.unwrap();
    let report = deployment.app.usage(&actor, UsageQuery::default()).await.unwrap();
    assert_eq!((report.organization_counts.total, report.organization_counts.billable), (99, 99));
}

#[tokio::test]
async fn a_report_is_exact_while_usage_is_written() {
    let deployment = Deployment::start().await;
    let key = deployment.create("tork", of_kind(Kind::Secret)).await.unwrap();
    let (actor, app) = (Actor::key(key.id, Source::Unknown), &deployment.app);
    let writing = async {
        loop {
            app.forget().await.unwrap();
        }
    };
    let reading = async {
        for calls in 1..300 {
            deployment.evaluate(&key.secret).unwrap();
            let counts = app.usage(&actor, UsageQuery::default()).await.unwrap().organization_counts;
            assert_eq!((counts.total, counts.billable), (calls, calls));
        }
    };
    tokio::select! {
        () = writing => {}
        () = reading => {}
    }
}

#[tokio::test]
async fn usage_of_many_hours_adds_up_and_last_months_is_gone() {
    let deployment = Deployment::start().await;
    let key = deployment.create("tork", of_kind(Kind::Secret)).await.unwrap();
    for _ in 0..50 {
        deployment.evaluate(&key.secret).unwrap();
        deployment.clock.advance_seconds(1800);
    }
    let total = async || {
        let report = deployment.app.usage(&Actor::key(key.id, Source::Unknown), UsageQuery::default()).await.unwrap();
        report.organization_counts.total
    };
    assert_eq!(total().await, 50);
    deployment.clock.advance_seconds(31 * 24 * 3600);
    assert_eq!(total().await, 0);
}

#[tokio::test]
async fn applying_a_definition_again_changes_nothing() {
    let deployment = Deployment::start().await;
    let definition = Definition::parse(&super::support::unlimited(TORK)).unwrap();
    let applied = commit(deployment.app.apply_definition(&Actor::operator(), definition, false)).await.unwrap();
    assert_eq!((applied.value.differences.len(), applied.value.created, applied.value.applied), (0, false, false));
}

#[tokio::test]
async fn a_new_prefix_strands_nobody() {
    let deployment = Deployment::start().await;
    let old = deployment.create("tork", of_kind(Kind::Secret)).await.unwrap();
    let renamed = Definition::parse(&TORK.replace("tork_sk_", "torq_sk_")).unwrap();
    let dry = commit(deployment.app.apply_definition(&Actor::operator(), renamed.clone(), true)).await.unwrap();
    assert!(
        dry.value.differences.iter().any(|line| line.starts_with("+ keys[torq_sk_]")),
        "{:?}",
        dry.value.differences
    );
    assert!(!dry.value.applied);
    commit(deployment.app.apply_definition(&Actor::operator(), renamed, false)).await.unwrap();
    assert_eq!(deployment.evaluate(&old.secret), Ok(()));
    let new = deployment.create("tork", of_kind(Kind::Secret)).await.unwrap();
    assert!(new.secret.starts_with("torq_sk_"));
    let rotated = commit(deployment.app.rotate_key(&Actor::operator(), old.id, 0, None)).await.unwrap();
    assert_eq!(rotated.value.row.key.prefix, "torq_sk_");
}

#[tokio::test]
async fn an_old_secret_outlives_further_definitions_until_its_overlap_ends() {
    let deployment = Deployment::start().await;
    let first = deployment.create("tork", of_kind(Kind::Secret)).await.unwrap();
    let renamed = TORK.replace("tork_sk_", "torq_sk_");
    commit(deployment.app.apply_definition(&Actor::operator(), Definition::parse(&renamed).unwrap(), false))
        .await
        .unwrap();
    commit(deployment.app.rotate_key(&Actor::operator(), first.id, 600, None)).await.unwrap();
    let titled = renamed.replace("title = \"Tork\"", "title = \"Torq\"");
    commit(deployment.app.apply_definition(&Actor::operator(), Definition::parse(&titled).unwrap(), false))
        .await
        .unwrap();
    assert_eq!(deployment.evaluate(&first.secret), Ok(()));
    deployment.clock.advance_seconds(600);
    assert_eq!(deployment.evaluate(&first.secret), Err(Denial::Revoked));
}

#[tokio::test]
async fn a_base_path_that_keys_are_restricted_to_stays() {
    let deployment = Deployment::start().await;
    let restrictions = crate::suite::support::restrictions(r#"{"endpoint": ["POST /api/v1/evaluate"]}"#);
    let key = CreateKey { restrictions, ..of_kind(Kind::Secret) };
    let key = deployment.create("tork", key).await.unwrap();
    let moved = Definition::parse(&TORK.replace("/api/v1", "/api/v2")).unwrap();
    let refused = commit(deployment.app.apply_definition(&Actor::operator(), moved.clone(), false)).await;
    assert!(matches!(refused, Err(AppError::Conflict { .. })), "{refused:?}");
    commit(deployment.app.revoke_key(&Actor::operator(), key.id, None, None)).await.unwrap();
    assert!(commit(deployment.app.apply_definition(&Actor::operator(), moved, false)).await.is_ok());
}

#[tokio::test]
async fn definitions_that_would_strand_keys_are_refused() {
    let deployment = Deployment::start().await;
    deployment.create("tork", of_kind(Kind::Secret)).await.unwrap();
    deployment.create("tork", restricted(r#"["evaluate"]"#)).await.unwrap();
    let cases = [
        TORK.replace("length = 29", "length = 30"),
        TORK.replace("name = \"evaluate\"", "name = \"assess\"").replace("scope = \"evaluate\"", "scope = \"assess\""),
        TORK.replace("tork_sk_", "tork_s"),
    ];
    for text in cases {
        let refused =
            commit(deployment.app.apply_definition(&Actor::operator(), Definition::parse(&text).unwrap(), false)).await;
        assert!(matches!(refused, Err(AppError::Conflict { .. })), "{refused:?}");
    }
    let stolen = TORK.replace("name = \"tork\"", "name = \"thief\"");
    let refused =
        commit(deployment.app.apply_definition(&Actor::operator(), Definition::parse(&stolen).unwrap(), false)).await;
    let Err(AppError::Conflict { message }) = refused else { panic!("{refused:?}") };
    assert!(message.contains("tork.network") && message.contains("tork_live_"), "{message}");
}

#[tokio::test]
async fn an_endpoint_can_be_for_one_environment() {
    let deployment = Deployment::start().await;
    let test = deployment.create("example", of_environment(Environment::Test)).await.unwrap();
    let example = include_str!("../../../../apis/example.toml")
        .replace("scope = \"users:write\"", "scope = \"users:write\"\nenvironment = \"live\"");
    commit(deployment.app.apply_definition(&Actor::operator(), Definition::parse(&example).unwrap(), false))
        .await
        .unwrap();
    let decide = |method, path| deployment.verdict(&test.secret, method, path, None).decision;
    assert_eq!(decide(Method::Post, "/v1/users"), Err(Denial::WrongEnvironment));
    assert_eq!(decide(Method::Get, "/v1/users/usr_123"), Ok(()));
}
