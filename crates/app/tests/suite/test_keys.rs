//! Seed 003 to the letter: test keys cost nothing, and what is made with one is not kept.

use claviger_app::{Actor, AppError, CreateKey, Lifetime, UpdateKey, UsageQuery};
use claviger_domain::audit::Source;
use claviger_domain::definition::Definition;
use claviger_domain::denial::Denial;
use claviger_domain::endpoint::Method;
use claviger_domain::key::Environment;

use crate::suite::support::{Deployment, Held, commit, ephemeral, invalid_field, of_environment};

const EXAMPLE: &str = include_str!("../../../../apis/example.toml");

const DAY_SECONDS: i64 = 24 * 3600;

#[tokio::test]
async fn what_is_made_with_a_test_key_is_gone_after_a_day_with_its_children_first() {
    let deployment = Deployment::start().await;
    let ephemeral_format = "\n[[keys]]\nprefix = \"ek_test_\"\nkind = \"ephemeral\"\nenvironment = \"test\"\n\
                            alphabet = \"base62\"\nlength = 32\n";
    let definition = Definition::parse(&format!("{EXAMPLE}{ephemeral_format}")).unwrap();
    commit(deployment.app.apply_definition(&Actor::operator(), definition, false)).await.unwrap();
    let decide = |key: &Held| deployment.verdict(&key.secret, Method::Get, "/v1/users/usr_123", None).decision;
    let of_operator = deployment.create("example", of_environment(Environment::Test)).await.unwrap();
    let made = deployment.create_with(&of_operator, of_environment(Environment::Test)).await.unwrap();
    deployment.clock.advance_seconds(DAY_SECONDS - 30);
    let child = deployment.create_with(&made, ephemeral(30)).await.unwrap();
    deployment.clock.advance_seconds(29);
    deployment.app.forget().await.unwrap();
    assert_eq!((decide(&made), decide(&child)), (Ok(()), Ok(())));

    deployment.clock.advance_seconds(2);
    deployment.app.forget().await.unwrap();
    // It has a child, which died a moment ago and is still shown: it waits for it, for there is no child without its parent.
    assert_eq!((decide(&made), decide(&child)), (Err(Denial::Expired), Err(Denial::Expired)));
    deployment.clock.advance_seconds(2 * DAY_SECONDS);
    for _ in 0..2 {
        deployment.app.forget().await.unwrap();
    }
    let operator = Actor::operator();
    for gone in [&child, &made] {
        assert_eq!(decide(gone), Err(Denial::NotFound));
        assert!(matches!(deployment.app.find_key(&operator, gone.id).await, Err(AppError::NotFound { .. })));
    }
    assert_eq!(decide(&of_operator), Ok(()));
}

#[tokio::test]
async fn calls_with_test_keys_are_never_billable() {
    let deployment = Deployment::start().await;
    let test = deployment.create("example", of_environment(Environment::Test)).await.unwrap();
    let live = deployment.create("example", of_environment(Environment::Live)).await.unwrap();
    for secret in [&test.secret, &test.secret, &live.secret] {
        deployment.verdict(secret, Method::Get, "/v1/users/usr_123", None).decision.unwrap();
    }
    for (asker, own_total, own_billable) in [(&test, 2, 0), (&live, 1, 1)] {
        let actor = Actor::key(asker.id, Source::Unknown);
        let report = deployment.app.usage(&actor, UsageQuery::default()).await.unwrap();
        assert_eq!((report.organization_counts.total, report.organization_counts.billable), (3, 1));
        let own = report.key_counts.unwrap();
        assert_eq!((own.total, own.billable), (own_total, own_billable));
    }
    commit(deployment.app.revoke_key(&Actor::operator(), test.id, None, None)).await.unwrap();
    deployment.verdict(&test.secret, Method::Get, "/v1/users/usr_123", None).decision.unwrap_err();
    let query = UsageQuery {
        organization: Some(deployment.organization),
        api: Some("example".parse().unwrap()),
        ..UsageQuery::default()
    };
    let report = deployment.app.usage(&Actor::operator(), query).await.unwrap();
    assert_eq!(report.organization_counts.billable, 1);
}

#[tokio::test]
async fn a_test_key_that_is_made_with_a_live_key_stays() {
    let deployment = Deployment::start().await;
    let live = deployment.create("example", of_environment(Environment::Live)).await.unwrap();
    let made = deployment.create_with(&live, of_environment(Environment::Test)).await.unwrap();
    let of_test = deployment.create_with(&made, of_environment(Environment::Test)).await.unwrap();
    let expires_at =
        async |key: &Held| deployment.app.find_key(&Actor::operator(), key.id).await.map(|row| row.key.expires_at).ok();
    let tomorrow = deployment.app.now().plus_seconds(DAY_SECONDS);
    assert_eq!((expires_at(&made).await, expires_at(&of_test).await), (Some(None), Some(tomorrow)));
    deployment.clock.advance_seconds(100 * DAY_SECONDS);
    deployment.app.forget().await.unwrap();
    assert_eq!((expires_at(&made).await, expires_at(&of_test).await), (Some(None), None));
    let decide = |key: &Held| deployment.verdict(&key.secret, Method::Get, "/v1/users/usr_123", None).decision;
    assert_eq!((decide(&made), decide(&of_test)), (Ok(()), Err(Denial::NotFound)));
}

#[tokio::test]
async fn what_is_made_with_a_test_key_lives_for_a_day_at_most() {
    let deployment = Deployment::start().await;
    let test = deployment.create("example", of_environment(Environment::Test)).await.unwrap();
    let lasting =
        |seconds| CreateKey { lifetime: Some(Lifetime::TtlSeconds(seconds)), ..of_environment(Environment::Test) };
    let refused = deployment.create_with(&test, lasting(DAY_SECONDS + 1)).await;
    assert_eq!(invalid_field(refused).as_deref(), Some("ttl_seconds"));
    deployment.clock.advance_micros(700_000);
    let made = deployment.create_with(&test, lasting(DAY_SECONDS)).await.unwrap();

    // Neither can it be prolonged with a test key, though the operator may think otherwise.
    let (app, operator) = (&deployment.app, Actor::operator());
    let actor = Actor::key(test.id, Source::Unknown);
    let later = deployment.app.now().plus_seconds(DAY_SECONDS + 60);
    for expires_at in [None, later] {
        let prolonged = UpdateKey { expires_at: Some(expires_at), ..UpdateKey::default() };
        let refused = commit(app.update_key(&actor, made.id, prolonged, None)).await;
        assert_eq!(invalid_field(refused).as_deref(), Some("expires_at"));
    }
    let renamed = UpdateKey { name: Some("renamed".parse().unwrap()), ..UpdateKey::default() };
    commit(app.update_key(&actor, made.id, renamed, None)).await.unwrap();
    let kept = deployment.create_with(&test, of_environment(Environment::Test)).await.unwrap();
    let lifted = UpdateKey { expires_at: Some(None), ..UpdateKey::default() };
    commit(app.update_key(&operator, kept.id, lifted, None)).await.unwrap();
    deployment.clock.advance_seconds(DAY_SECONDS + 2);
    app.forget().await.unwrap();
    assert!(app.find_key(&operator, kept.id).await.is_ok());
    assert!(matches!(app.find_key(&operator, made.id).await, Err(AppError::NotFound { .. })));
}
