//! Alerts: opened once, told of daily, closed by themselves or by a person.

use claviger_app::{Actor, AlertFilter, AlertSettings, AppError, CreateKey, KeyPlace, Lifetime, PageRequest};
use claviger_domain::alert::{Alert, AlertKind};
use claviger_domain::audit::{Action, Author, Source};
use claviger_domain::definition::Definition;
use claviger_domain::key::Kind;
use claviger_domain::period::TimeZone;

use crate::suite::audit::{events, head};
use crate::suite::support::{Deployment, Held, commit, invalid_field, of_kind, plain};

const HOUR_SECONDS: i64 = 3600;
const DAY_SECONDS: i64 = 24 * HOUR_SECONDS;

/// Judges, and lists what there is, oldest first, and by kind.
async fn judged(deployment: &Deployment) -> Vec<Alert> {
    deployment.app.evaluate_alerts().await.unwrap();
    let page = PageRequest { after: None, limit: 200 };
    let page = deployment.app.list_alerts(&Actor::operator(), &AlertFilter::default(), page).await.unwrap();
    let mut alerts = page.rows;
    alerts.sort_by_key(|alert| (alert.opened_at, alert.kind));
    alerts
}

fn kinds(alerts: &[Alert]) -> Vec<(AlertKind, bool)> {
    alerts.iter().map(|alert| (alert.kind, alert.closed.is_none())).collect()
}

fn call(deployment: &Deployment, key: &Held, times: usize) {
    for _ in 0..times {
        let _ = deployment.evaluate(&key.secret);
    }
}

#[tokio::test]
async fn an_old_secret_is_told_of_weekly_until_it_is_rotated() {
    let deployment = Deployment::start().await;
    let key = deployment.create("tork", plain("Production")).await.unwrap();
    deployment.clock.advance_seconds(90 * DAY_SECONDS - 1);
    deployment.evaluate(&key.secret).unwrap();
    assert_eq!(judged(&deployment).await, []);
    let seen = head(&deployment.app).await.number;
    deployment.clock.advance_seconds(1);
    let opened = judged(&deployment).await;
    assert_eq!(kinds(&opened), [(AlertKind::KeyAge90, true)]);
    let alert = &opened[0];
    assert_eq!(
        (alert.key, alert.organization, alert.opened_at),
        (Some(key.id), deployment.organization, deployment.app.now())
    );
    assert_eq!((&alert.detail["name"], &alert.detail["prefix"]), (&"Production".into(), &"tork_live_".into()));
    assert!(key.secret.ends_with(alert.detail["hint"].as_str().unwrap()));
    deployment.clock.advance_seconds(7 * DAY_SECONDS - 1);
    assert_eq!(judged(&deployment).await, opened);
    deployment.clock.advance_seconds(1);
    let repeated = judged(&deployment).await;
    assert_eq!((repeated.len(), repeated[0].id, repeated[0].last_repeated_at), (1, alert.id, deployment.app.now()));
    commit(deployment.app.rotate_key(&Actor::operator(), key.id, 0, None)).await.unwrap();
    deployment.clock.advance_seconds(HOUR_SECONDS);
    let closed = judged(&deployment).await;
    assert_eq!(closed[0].closed, Some((deployment.app.now(), Author::System)));
    let told: Vec<_> =
        events(&deployment.app, seen).await.into_iter().map(|event| (event.action, event.target)).collect();
    let expected = [
        (Action::AlertOpened, alert.id.to_string()),
        (Action::KeyRotated, key.id.to_string()),
        (Action::AlertClosed, alert.id.to_string()),
    ];
    assert_eq!(told, expected);
}

#[tokio::test]
async fn what_a_person_closed_is_quiet_about_the_same_cause() {
    let deployment = Deployment::start().await;
    let key = deployment.create("tork", of_kind(Kind::Secret)).await.unwrap();
    deployment.clock.advance_seconds(91 * DAY_SECONDS);
    let opened = judged(&deployment).await;
    assert_eq!(kinds(&opened), [(AlertKind::KeyAge90, true), (AlertKind::KeyUnused90, true)]);
    for alert in &opened {
        let closed = commit(deployment.app.close_alert(&Actor::operator(), alert.id)).await.unwrap().value;
        assert_eq!(closed.closed, Some((deployment.app.now(), Author::Operator)));
        let again = commit(deployment.app.close_alert(&Actor::operator(), alert.id)).await.unwrap().value;
        assert_eq!(again, closed);
    }
    deployment.clock.advance_seconds(5 * DAY_SECONDS);
    assert_eq!(kinds(&judged(&deployment).await), [(AlertKind::KeyAge90, false), (AlertKind::KeyUnused90, false)]);
    // Used, and then forgotten once more: that is news.
    deployment.evaluate(&key.secret).unwrap();
    deployment.clock.advance_seconds(90 * DAY_SECONDS);
    let later = judged(&deployment).await;
    assert_eq!(kinds(&later)[2..], [(AlertKind::KeyUnused90, true)]);
    let actor = Actor::key(key.id, Source::Unknown);
    let closed = commit(deployment.app.close_alert(&actor, later[2].id)).await.unwrap().value;
    assert_eq!(closed.closed, Some((deployment.app.now(), Author::Key(key.id))));
    let missing =
        deployment.app.find_alert(&Actor::operator(), "alrt_0000000000000000000000001a".parse().unwrap()).await;
    assert!(matches!(missing, Err(AppError::NotFound { .. })));
}

#[tokio::test]
async fn a_key_sees_and_closes_the_alerts_of_its_own_account_only() {
    let deployment = Deployment::start().await;
    let mine = deployment.create("tork", plain("Mine")).await.unwrap();
    let operator = Actor::operator();
    let two = commit(deployment.app.create_organization(&operator, "Two".parse().unwrap(), TimeZone::UTC)).await;
    let place = KeyPlace { organization: Some(two.unwrap().value.id), ..deployment.place("tork") };
    let theirs = commit(deployment.app.create_key(&operator, place, plain("Theirs"))).await.unwrap();
    deployment.clock.advance_seconds(90 * DAY_SECONDS);
    let opened = judged(&deployment).await;
    let about = |key| opened.iter().find(|alert| alert.key == Some(key)).unwrap();
    let actor = Actor::key(mine.id, Source::Unknown);
    let theirs = about(theirs.value.row.key.id);
    // Asked for by name, another organization's are as little there.
    for organization in [None, Some(theirs.organization)] {
        let filter = AlertFilter { organization, kind: Some(theirs.kind), ..AlertFilter::default() };
        let page = PageRequest { after: None, limit: 200 };
        let seen = deployment.app.list_alerts(&actor, &filter, page).await.unwrap().rows;
        assert_eq!(seen.iter().map(|alert| alert.key).collect::<Vec<_>>(), [Some(mine.id)]);
    }
    let is_missing = |error: Option<AppError>| matches!(error, Some(AppError::NotFound { what: "alert" }));
    assert!(is_missing(deployment.app.find_alert(&actor, theirs.id).await.err()));
    assert!(is_missing(deployment.app.close_alert(&actor, theirs.id).await.err()));
    let closed = commit(deployment.app.close_alert(&actor, about(mine.id).id)).await.unwrap().value;
    assert_eq!(closed.closed, Some((deployment.app.now(), Author::Key(mine.id))));
}

#[tokio::test]
async fn a_key_that_expires_is_told_of_three_times() {
    let deployment = Deployment::start().await;
    let lifetime = Some(Lifetime::TtlSeconds(20 * DAY_SECONDS));
    deployment.create("tork", CreateKey { lifetime, ..plain("Short") }).await.unwrap();
    let mut told = Vec::new();
    for hour in 0..=20 * 24 {
        let alerts = judged(&deployment).await;
        assert!(alerts.len() <= 1);
        let open = alerts.iter().find(|alert| alert.closed.is_none());
        if let Some(alert) = open.filter(|alert| alert.last_repeated_at == deployment.app.now()) {
            told.push((hour / 24, alert.detail["days"].as_i64().unwrap()));
        }
        deployment.clock.advance_seconds(HOUR_SECONDS);
    }
    let stages: Vec<_> = told.iter().map(|(_, days)| *days).collect();
    assert!(stages.is_sorted_by(|one, other| one >= other) && stages.len() <= 16, "{told:?}");
    assert_eq!(told.iter().find(|(_, days)| *days == 14).map(|(day, _)| *day), Some(6));
    assert_eq!(told.iter().find(|(_, days)| *days == 3).map(|(day, _)| *day), Some(17));
    assert_eq!(told.iter().find(|(_, days)| *days == 1).map(|(day, _)| *day), Some(19));
    assert_eq!(kinds(&judged(&deployment).await), [(AlertKind::KeyExpiry, false)]);
}

#[tokio::test]
async fn a_spike_and_a_burst_of_denials_open_and_calm_down() {
    let deployment = Deployment::start().await;
    let key = deployment.create("tork", plain("CI")).await.unwrap();
    for _ in 0..80 {
        call(&deployment, &key, 3);
        deployment.clock.advance_seconds(HOUR_SECONDS);
        deployment.app.forget().await.unwrap();
    }
    assert_eq!(judged(&deployment).await, []);
    call(&deployment, &key, 600);
    commit(deployment.app.disable_key(&Actor::operator(), key.id, None)).await.unwrap();
    call(&deployment, &key, 700);
    commit(deployment.app.enable_key(&Actor::operator(), key.id, None)).await.unwrap();
    // The hour is not over.
    deployment.app.forget().await.unwrap();
    assert_eq!(judged(&deployment).await, []);
    deployment.clock.advance_seconds(HOUR_SECONDS);
    deployment.app.forget().await.unwrap();
    let opened = judged(&deployment).await;
    assert_eq!(kinds(&opened), [(AlertKind::UsageSpike, true), (AlertKind::DenialBurst, true)]);
    assert_eq!((&opened[0].detail["allowed"], &opened[0].detail["usual"]), (&600.into(), &3.0.into()));
    assert_eq!((&opened[1].detail["denied"], &opened[1].detail["name"]), (&700.into(), &"CI".into()));
    for hours in 1..=6 {
        deployment.clock.advance_seconds(HOUR_SECONDS);
        deployment.app.forget().await.unwrap();
        let is_open = hours < 6;
        assert!(judged(&deployment).await.iter().all(|alert| alert.closed.is_none() == is_open), "{hours}");
    }
}

#[tokio::test]
async fn a_quota_is_told_of_at_its_marks_and_forgiven_with_the_period() {
    let deployment = Deployment::start().await;
    let plans = "\n[[plans]]\nname = \"starter\"\ntitle = \"Starter\"\nquota = 100\n\
                 [subscriptions]\ndefault_plan = \"starter\"\n";
    let definition = Definition::parse(&super::support::tork_with(plans)).unwrap();
    commit(deployment.app.apply_definition(&Actor::operator(), definition, false)).await.unwrap();
    let key = deployment.create("tork", of_kind(Kind::Secret)).await.unwrap();
    let mut seen = Vec::new();
    for calls in [79, 1, 19, 1] {
        call(&deployment, &key, calls);
        deployment.app.forget().await.unwrap();
        seen.push(judged(&deployment).await.iter().filter(|alert| alert.closed.is_none()).count());
    }
    assert_eq!(seen, [0, 1, 1, 2]);
    let alerts = judged(&deployment).await;
    assert_eq!(kinds(&alerts), [(AlertKind::Quota80, true), (AlertKind::Quota100, true)]);
    assert_eq!(
        (alerts[1].key, &alerts[1].detail["used"], &alerts[1].detail["limit"]),
        (None, &100.into(), &100.into())
    );
    deployment.clock.advance_seconds(30 * DAY_SECONDS);
    assert_eq!(kinds(&judged(&deployment).await), [(AlertKind::Quota80, false), (AlertKind::Quota100, false)]);
}

#[tokio::test]
async fn a_muted_kind_closes_and_does_not_open() {
    let deployment = Deployment::start().await;
    deployment.create("tork", of_kind(Kind::Secret)).await.unwrap();
    deployment.clock.advance_seconds(91 * DAY_SECONDS);
    assert_eq!(judged(&deployment).await.len(), 2);
    let (operator, organization) = (Actor::operator(), deployment.organization);
    let mut settings = deployment.app.find_alert_settings(&operator, organization).await.unwrap();
    assert_eq!(settings, AlertSettings::default());
    settings.muted.insert(AlertKind::KeyUnused90);
    let seen = head(&deployment.app).await.number;
    for _ in 0..2 {
        commit(deployment.app.put_alert_settings(&operator, organization, settings.clone())).await.unwrap();
    }
    assert_eq!(events(&deployment.app, seen).await.len(), 1, "the second changed nothing");
    assert_eq!(deployment.app.find_alert_settings(&operator, organization).await.unwrap(), settings);
    assert_eq!(kinds(&judged(&deployment).await), [(AlertKind::KeyAge90, true), (AlertKind::KeyUnused90, false)]);
    deployment.clock.advance_seconds(2 * DAY_SECONDS);
    assert_eq!(judged(&deployment).await.len(), 2);
    settings.thresholds.burst_share = f64::NAN;
    let refused = deployment.app.put_alert_settings(&operator, organization, settings).await;
    assert_eq!(invalid_field(refused).as_deref(), Some("thresholds.burst_share"));
}

#[tokio::test]
async fn who_closes_an_alert_late_is_not_told_of_the_same_again() {
    let deployment = Deployment::start().await;
    let lifetime = Some(Lifetime::TtlSeconds(14 * DAY_SECONDS));
    deployment.create("tork", CreateKey { lifetime, ..plain("Short") }).await.unwrap();
    deployment.clock.advance_seconds(2 * HOUR_SECONDS);
    assert_eq!(kinds(&judged(&deployment).await), [(AlertKind::KeyExpiry, true)]);
    // Two and a half days before it expires, when it was told of for the second time.
    deployment.clock.advance_seconds(14 * DAY_SECONDS - 62 * HOUR_SECONDS);
    let told = judged(&deployment).await;
    assert_eq!(told[0].detail["days"], 3);
    commit(deployment.app.close_alert(&Actor::operator(), told[0].id)).await.unwrap();
    deployment.clock.advance_seconds(HOUR_SECONDS);
    assert_eq!(kinds(&judged(&deployment).await), [(AlertKind::KeyExpiry, false)]);
    // The last day is another matter.
    deployment.clock.advance_seconds(36 * HOUR_SECONDS);
    assert_eq!(kinds(&judged(&deployment).await), [(AlertKind::KeyExpiry, false), (AlertKind::KeyExpiry, true)]);
}

#[tokio::test]
async fn a_hundred_alerts_of_a_kind_are_open_at_most() {
    let deployment = Deployment::start().await;
    let lifetime = Some(Lifetime::TtlSeconds(14 * DAY_SECONDS));
    for number in 0..105 {
        deployment.create("tork", CreateKey { lifetime, ..plain(&format!("key {number}")) }).await.unwrap();
    }
    deployment.clock.advance_seconds(2 * HOUR_SECONDS);
    assert_eq!(judged(&deployment).await.len(), 100);
    deployment.clock.advance_seconds(DAY_SECONDS);
    assert_eq!(judged(&deployment).await.len(), 100);
}
