//! Plans, subscriptions and key limits.

use claviger_app::{Actor, AppError, CreateKey, SetSubscription, UpdateKey, UpdateOrganization, UsageQuery};
use claviger_domain::audit::Source;
use claviger_domain::definition::Definition;
use claviger_domain::denial::Denial;
use claviger_domain::key::Kind;
use claviger_domain::subscription::{AnchorDay, BillingState, Gate};
use claviger_domain::time::{Clock as _, Timestamp};

use super::support::{
    Deployment, commit, ephemeral, invalid_field, of_kind, plain, plan, run_sql, start_time, tork_with,
};

const TORK: &str = include_str!("../../../../apis/tork.toml");

fn state(state: BillingState) -> SetSubscription {
    SetSubscription { plan: None, state: Some(state), api_access: None, anchor_day: None, event_at: None }
}

fn at(said: SetSubscription, seconds: i64) -> SetSubscription {
    SetSubscription { event_at: start_time().plus_seconds(seconds), ..said }
}

fn forbidden(result: Result<impl Sized, AppError>) -> String {
    match result {
        Err(AppError::LimitReached { message }) => message,
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("it was allowed"),
    }
}

#[tokio::test]
async fn fifty_creations_that_race_for_the_last_slot_make_one_key() {
    let deployment = Deployment::start().await;
    deployment.subscribe("tork", plan("free")).await.unwrap();
    for name in ["one", "two"] {
        deployment.create("tork", plain(name)).await.unwrap();
    }
    let racing = (0..50).map(|number| deployment.create("tork", plain(&format!("racer {number}"))));
    let results = futures_util::future::join_all(racing).await;
    let (made, refused): (Vec<_>, Vec<_>) = results.into_iter().partition(Result::is_ok);
    assert_eq!((made.len(), refused.len()), (1, 49));
    for result in refused {
        let message = forbidden(result.map(drop));
        assert!(message.contains("Free plan (free) allows 3 API keys"), "{message}");
    }
    // Ephemeral keys have a limit of their own.
    let parent = made.into_iter().next().unwrap().unwrap();
    deployment.create_with(&parent, ephemeral(60)).await.unwrap();
}

#[tokio::test]
async fn keys_that_ended_make_room_at_once() {
    let deployment = Deployment::start().await;
    deployment.subscribe("tork", plan("free")).await.unwrap();
    let expiring = CreateKey { lifetime: Some(claviger_app::Lifetime::TtlSeconds(60)), ..plain("short") };
    deployment.create("tork", expiring).await.unwrap();
    let revoked = deployment.create("tork", plain("a")).await.unwrap();
    let disabled = deployment.create("tork", plain("b")).await.unwrap();
    let app = &deployment.app;
    commit(app.disable_key(&Actor::operator(), disabled.id, None)).await.unwrap();
    forbidden(deployment.create("tork", plain("c")).await);
    commit(app.revoke_key(&Actor::operator(), revoked.id, None, None)).await.unwrap();
    deployment.create("tork", plain("c")).await.unwrap();
    forbidden(deployment.create("tork", plain("d")).await);
    deployment.clock.advance_micros(61_000_000);
    deployment.create("tork", plain("d")).await.unwrap();
    forbidden(deployment.create("tork", plain("e")).await);
    // A larger plan too.
    deployment.subscribe("tork", plan("pro")).await.unwrap();
    deployment.create("tork", plain("e")).await.unwrap();
}

/// Counting takes time in which everybody who writes waits, and who may edit a key can do so as often as they like.
#[tokio::test]
async fn an_expiry_that_is_moved_has_nobody_count_again() {
    let deployment = Deployment::start().await;
    deployment.subscribe("tork", plan("free")).await.unwrap();
    let mut held = Vec::new();
    for name in ["one", "two", "three"] {
        held.push(deployment.create("tork", plain(name)).await.unwrap());
    }
    forbidden(deployment.create("tork", plain("four")).await);
    let soon = UpdateKey {
        expires_at: Some(Some(Timestamp::from_micros(deployment.clock.now().as_micros() + 400_000))),
        ..UpdateKey::default()
    };
    commit(deployment.app.update_key(&Actor::operator(), held[0].id, soon, None)).await.unwrap();
    deployment.clock.advance_micros(500_000);
    // There is room by now; that there was none is believed for a second.
    forbidden(deployment.create("tork", plain("four")).await);
    deployment.clock.advance_micros(500_000);
    deployment.create("tork", plain("four")).await.unwrap();
    forbidden(deployment.create("tork", plain("five")).await);
}

#[tokio::test]
async fn room_that_a_lost_transaction_made_is_none() {
    let deployment = Deployment::start().await;
    deployment.subscribe("tork", plan("free")).await.unwrap();
    let mut held = Vec::new();
    for name in ["one", "two", "three"] {
        held.push(deployment.create("tork", plain(name)).await.unwrap());
    }
    let (app, operator) = (&deployment.app, Actor::operator());
    // Two end and one is made, all in a transaction that the database does not commit.
    run_sql(&deployment.database, &["ALTER TABLE audit RENAME TO audit_elsewhere"]).await;
    let (first, second, made) = tokio::join!(
        commit(app.revoke_key(&operator, held[0].id, None, None)),
        commit(app.revoke_key(&operator, held[1].id, None, None)),
        deployment.create("tork", plain("four")),
    );
    assert!(first.is_err() && second.is_err() && made.is_err());
    run_sql(&deployment.database, &["ALTER TABLE audit_elsewhere RENAME TO audit"]).await;
    forbidden(deployment.create("tork", plain("four")).await);
    assert!(held.iter().all(|key| deployment.evaluate(&key.secret) == Ok(())));
}

#[tokio::test]
async fn ephemeral_keys_have_a_limit_of_their_own() {
    let deployment = Deployment::start().await;
    deployment.subscribe("tork", plan("free")).await.unwrap();
    let parent = deployment.create("tork", plain("parent")).await.unwrap();
    for _ in 0..20 {
        deployment.create_with(&parent, ephemeral(60)).await.unwrap();
    }
    let message = forbidden(deployment.create_with(&parent, ephemeral(60)).await);
    assert!(message.contains("allows 20 ephemeral API keys"), "{message}");
    deployment.create("tork", plain("another")).await.unwrap();
    deployment.clock.advance_micros(61_000_000);
    deployment.create_with(&parent, ephemeral(60)).await.unwrap();
}

#[tokio::test]
async fn a_plan_may_leave_kinds_out() {
    let deployment = Deployment::start().await;
    let text = TORK.replacen("keys = 3\n", "keys = 3\nkinds = [\"restricted\"]\n", 1);
    let narrowed = Definition::parse(&text).unwrap();
    commit(deployment.app.apply_definition(&Actor::operator(), narrowed, false)).await.unwrap();
    deployment.subscribe("tork", plan("free")).await.unwrap();
    let message = forbidden(deployment.create("tork", of_kind(Kind::Secret)).await);
    assert!(message.contains("Free plan (free) has no secret keys"), "{message}");
    deployment.create("tork", super::support::restricted(r#"["evaluate"]"#)).await.unwrap();
}

#[tokio::test]
async fn late_news_of_the_bill_changes_nothing() {
    let deployment = Deployment::start().await;
    let key = deployment.create("tork", plain("a")).await.unwrap();
    let set = async |said| deployment.subscribe("tork", said).await.unwrap();
    deployment.clock.advance_micros(1_000_000_000);
    let taken = set(at(state(BillingState::Canceled), 500)).await;
    assert!(taken.applied && taken.gate == Gate::Closed);
    // What happened before, and comes later.
    let late = set(at(state(BillingState::Active), 400)).await;
    assert!(!late.applied && late.gate == Gate::Closed);
    assert_eq!(deployment.evaluate(&key.secret), Err(Denial::SubscriptionInactive));
    // The same again is no news, and writes no event.
    let revision = deployment.app.engine().revision();
    assert!(set(at(state(BillingState::Canceled), 500)).await.applied);
    assert_eq!(deployment.app.engine().revision(), revision);
    assert!(set(at(state(BillingState::Active), 600)).await.applied);
    assert_eq!(deployment.evaluate(&key.secret), Ok(()));
    // What claims to come from the future would keep out all that follows.
    let future = deployment.subscribe("tork", at(state(BillingState::Canceled), 1301)).await;
    assert_eq!(invalid_field(future).as_deref(), Some("event_at"));
}

#[tokio::test]
async fn a_grace_period_runs_from_the_first_time_a_payment_was_due() {
    let deployment = Deployment::start().await;
    let key = deployment.create("tork", plain("a")).await.unwrap();
    let due = deployment.subscribe("tork", state(BillingState::PastDue)).await.unwrap();
    let end: Timestamp = start_time().plus_seconds(7 * 24 * 3600).unwrap();
    assert_eq!(due.gate, Gate::OpenUntil(end));
    deployment.clock.advance_micros(6 * 24 * 3_600_000_000);
    assert_eq!(deployment.evaluate(&key.secret), Ok(()));
    let again = deployment.subscribe("tork", state(BillingState::PastDue)).await.unwrap();
    assert_eq!(again.gate, Gate::OpenUntil(end));
    deployment.clock.advance_micros(24 * 3_600_000_000 - 1);
    assert_eq!(deployment.evaluate(&key.secret), Ok(()));
    deployment.clock.advance_micros(1);
    assert_eq!(deployment.evaluate(&key.secret), Err(Denial::SubscriptionInactive));
    // Nor does it manage keys then, by whatever the engine said a moment ago.
    let actor = Actor::key(key.id, Source::Unknown);
    let refused = commit(deployment.app.revoke_key(&actor, key.id, None, None)).await;
    assert!(matches!(refused, Err(AppError::Denied(Denial::SubscriptionInactive))));
    deployment.subscribe("tork", state(BillingState::Active)).await.unwrap();
    assert_eq!(deployment.evaluate(&key.secret), Ok(()));
}

#[tokio::test]
async fn what_the_billing_system_cannot_mean_is_refused() {
    let deployment = Deployment::start().await;
    assert_eq!(invalid_field(deployment.subscribe("tork", plan("gold")).await).as_deref(), Some("plan"));
    let none = deployment.subscribe("example", plan("pro")).await;
    assert!(matches!(none, Err(AppError::Conflict { .. })));
    let unknown = deployment.subscribe("nothing", plan("pro")).await;
    assert!(matches!(unknown, Err(AppError::NotFound { what: "API" })));
    let key = deployment.create("tork", plain("a")).await.unwrap();
    let holder = Actor::key(key.id, Source::Unknown);
    let api = "tork".parse().unwrap();
    let refused = commit(deployment.app.set_subscription(&holder, deployment.organization, &api, plan("pro"))).await;
    assert!(matches!(refused, Err(AppError::Forbidden { .. })));
    let anchored = SetSubscription { anchor_day: Some(AnchorDay::try_from(31).ok()), ..plan("pro") };
    deployment.subscribe("tork", anchored).await.unwrap();
    let kept = deployment.subscribe("tork", state(BillingState::Trialing)).await.unwrap().subscription.unwrap();
    assert_eq!((kept.plan.as_str(), kept.anchor_day.map(AnchorDay::get)), ("pro", Some(31)));
}

#[tokio::test]
async fn a_smaller_plan_keeps_the_keys_and_says_so() {
    let deployment = Deployment::start().await;
    let mut held = Vec::new();
    for number in 0..5 {
        held.push(deployment.create("tork", plain(&format!("key {number}"))).await.unwrap());
    }
    let report = deployment.subscribe("tork", plan("free")).await.unwrap();
    assert_eq!((report.keys, report.key_limit, report.disabled_keys.len()), (5, 3, 0));
    assert!(held.iter().all(|key| deployment.evaluate(&key.secret) == Ok(())));
    forbidden(deployment.create("tork", plain("sixth")).await);
    let app = &deployment.app;
    for key in &held[..2] {
        commit(app.revoke_key(&Actor::operator(), key.id, None, None)).await.unwrap();
    }
    forbidden(deployment.create("tork", plain("fourth")).await);
    commit(app.revoke_key(&Actor::operator(), held[2].id, None, None)).await.unwrap();
    deployment.create("tork", plain("third")).await.unwrap();
}

#[tokio::test]
async fn a_smaller_plan_may_disable_the_newest() {
    let deployment = Deployment::start().await;
    deployment.subscribe("tork", plan("enterprise")).await.unwrap();
    let text = TORK.replacen("[subscriptions]", "[subscriptions]\nover_key_limit = \"disable_newest\"", 1);
    commit(deployment.app.apply_definition(&Actor::operator(), Definition::parse(&text).unwrap(), false))
        .await
        .unwrap();
    let mut held = Vec::new();
    for number in 0..5 {
        held.push(deployment.create("tork", plain(&format!("key {number}"))).await.unwrap());
        deployment.clock.advance_micros(1_000_000);
    }
    let report = deployment.subscribe("tork", plan("free")).await.unwrap();
    assert_eq!(report.disabled_keys, [held[3].id, held[4].id]);
    let verdicts: Vec<_> = held.iter().map(|key| deployment.evaluate(&key.secret)).collect();
    assert_eq!(verdicts, [Ok(()), Ok(()), Ok(()), Err(Denial::Disabled), Err(Denial::Disabled)]);
    // They cannot be enabled again beyond the limit, by nobody.
    let app = &deployment.app;
    let enable = async |number: usize| commit(app.enable_key(&Actor::operator(), held[number].id, None)).await;
    assert!(forbidden(enable(4).await).contains("allows 3 API keys"));
    commit(app.disable_key(&Actor::operator(), held[0].id, None)).await.unwrap();
    enable(4).await.unwrap();
    forbidden(enable(3).await);
}

#[tokio::test]
async fn a_plan_that_somebody_has_cannot_go() {
    let deployment = Deployment::start().await;
    deployment.subscribe("tork", plan("enterprise")).await.unwrap();
    let gone = Definition::parse(&TORK.replace("name = \"enterprise\"", "name = \"large\"")).unwrap();
    let refused = commit(deployment.app.apply_definition(&Actor::operator(), gone.clone(), false)).await;
    let Err(AppError::Conflict { message }) = refused else { panic!("{refused:?}") };
    assert!(message.contains("plan \"enterprise\" is the plan of 1 organizations"), "{message}");
    deployment.subscribe("tork", plan("pro")).await.unwrap();
    commit(deployment.app.apply_definition(&Actor::operator(), gone, false)).await.unwrap();
}

#[tokio::test]
async fn what_was_used_stays_used_over_a_restart_when_the_period_was_moved() {
    let mut deployment = Deployment::start().await;
    let text = tork_with(
        "[[plans]]\nname = 'small'\ntitle = 'Small'\nquota = 5\n[[plans]]\nname = 'by-key'\ntitle = 'By key'\nkey_quota = 5\n\
         [subscriptions]\ndefault_plan = 'small'\n",
    );
    let definition = Definition::parse(&text).unwrap();
    commit(deployment.app.apply_definition(&Actor::operator(), definition, false)).await.unwrap();
    let key = deployment.create("tork", plain("Production")).await.unwrap();
    let pass = |deployment: &Deployment| (0..9).filter(|_| deployment.evaluate(&key.secret).is_ok()).count();
    // 10 March.
    assert_eq!(pass(&deployment), 5);
    deployment.clock.advance_seconds(10 * 24 * 3600);
    for anchor in [15, 25, 2] {
        let moved = SetSubscription { anchor_day: Some(AnchorDay::try_from(anchor).ok()), ..plan("small") };
        deployment.subscribe("tork", moved).await.unwrap();
        assert_eq!(pass(&deployment), 0, "{anchor}");
        deployment.restart().await;
        assert_eq!(pass(&deployment), 0, "{anchor}");
        let query = UsageQuery {
            organization: Some(deployment.organization),
            api: "tork".parse().ok(),
            ..UsageQuery::default()
        };
        let report = deployment.app.usage(&Actor::operator(), query).await.unwrap();
        assert_eq!((report.quota.used, report.quota.remaining), (5, Some(0)), "{anchor}");
    }
    // A key's own units are known too, though no plan that was had until now had a quota for them.
    deployment.subscribe("tork", plan("by-key")).await.unwrap();
    assert_eq!(pass(&deployment), 0);
    let zone = UpdateOrganization { time_zone: "Asia/Kolkata".parse().ok(), ..UpdateOrganization::default() };
    commit(deployment.app.update_organization(&Actor::operator(), deployment.organization, zone)).await.unwrap();
    deployment.restart().await;
    assert_eq!(pass(&deployment), 0);
    deployment.clock.advance_seconds(14 * 24 * 3600);
    assert_eq!(pass(&deployment), 5, "3 April: the period of the 2nd");
}

#[tokio::test]
async fn what_forgotten_ephemeral_keys_used_is_their_parents_after_a_restart() {
    let mut deployment = Deployment::start().await;
    let text = tork_with(
        "[[plans]]\nname = 'by-key'\ntitle = 'By key'\nkey_quota = 5\n[subscriptions]\ndefault_plan = 'by-key'\n",
    );
    let definition = Definition::parse(&text).unwrap();
    commit(deployment.app.apply_definition(&Actor::operator(), definition, false)).await.unwrap();
    let parent = deployment.create("tork", plain("Production")).await.unwrap();
    let child = deployment.create_with(&parent, ephemeral(60)).await.unwrap();
    for _ in 0..3 {
        deployment.evaluate(&child.secret).unwrap();
    }
    deployment.clock.advance_seconds(2 * 3600);
    deployment.app.forget().await.unwrap();
    let found = deployment.app.find_key(&Actor::operator(), child.id).await;
    assert!(matches!(found, Err(AppError::NotFound { .. })), "{found:?}");
    deployment.restart().await;
    assert_eq!((0..9).filter(|_| deployment.evaluate(&parent.secret).is_ok()).count(), 2);
}
