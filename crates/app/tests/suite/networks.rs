//! From where: new networks of a key open an alert, unknown keys are shown by network.

use claviger_app::{Actor, AlertFilter, AppError, CreateKey, PageRequest, UnknownKeyQuery, UpdateKey};
use claviger_domain::alert::{Alert, AlertKind};
use claviger_domain::audit::Source;
use claviger_domain::denial::Denial;
use claviger_domain::endpoint::Method;
use serde_json::json;

use crate::suite::support::{Deployment, Held, commit, plain};

const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;
const HOME: &str = "198.51.100.7";
const AWAY: &str = "203.0.113.7";

fn call(deployment: &Deployment, secret: &str, ip: &str) -> Result<(), Denial> {
    deployment.verdict(secret, Method::Post, "/api/v1/evaluate", Some(ip)).decision
}

async fn judged(deployment: &Deployment) -> Vec<Alert> {
    deployment.app.evaluate_alerts().await.unwrap();
    let filter = AlertFilter { kind: Some(AlertKind::NewNetwork), ..AlertFilter::default() };
    let page = PageRequest { after: None, limit: 200 };
    deployment.app.list_alerts(&Actor::operator(), &filter, page).await.unwrap().rows
}

/// A key that was used from home for a week.
async fn settled(deployment: &Deployment, input: CreateKey) -> Held {
    let key = deployment.create("tork", input).await.unwrap();
    call(deployment, &key.secret, HOME).unwrap();
    assert_eq!(judged(deployment).await, []);
    deployment.clock.advance_seconds(8 * DAY);
    call(deployment, &key.secret, HOME).unwrap();
    key
}

#[tokio::test]
async fn a_new_network_opens_an_alert_within_minutes_and_closes_it_after_a_week() {
    let deployment = Deployment::start().await;
    let key = settled(&deployment, plain("Production")).await;
    assert_eq!(judged(&deployment).await, []);
    deployment.clock.advance_seconds(5 * 60);
    call(&deployment, &key.secret, AWAY).unwrap();
    call(&deployment, &key.secret, "203.0.113.200").unwrap();
    deployment.clock.advance_seconds(5 * 60);
    let opened = judged(&deployment).await;
    assert_eq!((opened.len(), opened[0].key, opened[0].closed), (1, Some(key.id), None));
    let detail = &opened[0].detail;
    assert_eq!((&detail["name"], &detail["prefix"]), (&json!("Production"), &json!("tork_live_")));
    assert_eq!(detail["networks"], json!(["203.0.113.0/24"]));
    assert_eq!(detail["known_networks"], json!(["198.51.100.0/24"]));

    // A second one is told of at once.
    deployment.clock.advance_seconds(HOUR);
    call(&deployment, &key.secret, "2001:db8:1::1").unwrap();
    let second = judged(&deployment).await;
    assert_eq!((second[0].id, second[0].last_repeated_at), (opened[0].id, deployment.app.now()));
    assert_eq!(second[0].detail["networks"], json!(["2001:db8:1::/48", "203.0.113.0/24"]));

    deployment.clock.advance_seconds(7 * DAY + HOUR);
    let over = judged(&deployment).await;
    assert_eq!(over.iter().filter(|alert| alert.closed.is_none()).count(), 0, "{over:?}");
    // By then it is known.
    call(&deployment, &key.secret, AWAY).unwrap();
    deployment.clock.advance_seconds(HOUR);
    assert_eq!(judged(&deployment).await.len(), 1);
}

#[tokio::test]
async fn what_a_person_closed_stays_closed_until_there_is_another_network() {
    let deployment = Deployment::start().await;
    let key = settled(&deployment, plain("Production")).await;
    call(&deployment, &key.secret, AWAY).unwrap();
    let opened = judged(&deployment).await;
    commit(deployment.app.close_alert(&Actor::operator(), opened[0].id)).await.unwrap();
    deployment.clock.advance_seconds(2 * HOUR);
    assert_eq!(judged(&deployment).await.len(), 1);
    call(&deployment, &key.secret, "192.0.2.9").unwrap();
    let again = judged(&deployment).await;
    assert_eq!((again.len(), again.iter().filter(|alert| alert.closed.is_none()).count()), (2, 1));
}

#[tokio::test]
async fn keys_that_are_dead_or_in_pages_have_no_such_alert() {
    let deployment = Deployment::start().await;
    let revoked = settled(&deployment, plain("Revoked")).await;
    let in_pages = settled(&deployment, plain("In pages")).await;
    for ip in [AWAY, "192.0.2.9"] {
        call(&deployment, &revoked.secret, ip).unwrap();
        call(&deployment, &in_pages.secret, ip).unwrap();
    }
    commit(deployment.app.revoke_key(&Actor::operator(), revoked.id, None, None)).await.unwrap();
    let referrer = Some(Some(vec!["www.example.com".parse().unwrap()]));
    let to_pages = UpdateKey { referrer, ..UpdateKey::default() };
    commit(deployment.app.update_key(&Actor::operator(), in_pages.id, to_pages, None)).await.unwrap();
    assert_eq!(judged(&deployment).await, []);
}

#[tokio::test]
async fn unknown_keys_are_shown_by_prefix_and_network() {
    let mut deployment = Deployment::start().await;
    let key = deployment.create("tork", plain("Production")).await.unwrap();
    commit(deployment.app.revoke_key(&Actor::operator(), key.id, None, None)).await.unwrap();
    // The second key of another deployment: its checksum is right, and nobody has it here.
    let other = Deployment::start().await;
    other.create("tork", plain("Elsewhere")).await.unwrap();
    let foreign = other.create("tork", plain("Elsewhere")).await.unwrap().secret;
    for (ip, calls) in [(HOME, 2), (AWAY, 5)] {
        for _ in 0..calls {
            assert_eq!(call(&deployment, &foreign, ip), Err(Denial::NotFound));
            // A key that is known is counted as its own.
            assert_eq!(call(&deployment, &key.secret, ip), Err(Denial::Revoked));
        }
    }
    deployment.restart().await;
    call(&deployment, &foreign, HOME).unwrap_err();
    let query = UnknownKeyQuery { limit: 10, ..UnknownKeyQuery::default() };
    let found = deployment.app.list_unknown_keys(&Actor::operator(), &query).await.unwrap();
    let seen: Vec<_> = found.iter().map(|row| (row.network.unwrap().to_string(), row.calls)).collect();
    assert_eq!(seen, [("203.0.113.0/24".to_owned(), 5), ("198.51.100.0/24".to_owned(), 3)]);
    assert_eq!((found[0].api.as_str(), found[0].prefix.as_str()), ("tork", "tork_live_"));
    let of_api = |api: &str| UnknownKeyQuery { api: Some(api.parse().unwrap()), ..query.clone() };
    let list = async |query: &UnknownKeyQuery| {
        deployment.app.list_unknown_keys(&Actor::operator(), query).await.unwrap().len()
    };
    assert_eq!((list(&of_api("tork")).await, list(&of_api("toksta")).await), (2, 0));
    let now = deployment.app.now();
    let before = UnknownKeyQuery { since: now.plus_seconds(-DAY), until: now.plus_seconds(-HOUR), ..query.clone() };
    assert_eq!(list(&before).await, 0);
    let refused = deployment.app.list_unknown_keys(&Actor::key(key.id, Source::Unknown), &query).await;
    assert!(matches!(refused, Err(AppError::Forbidden { .. } | AppError::Denied(_))), "{refused:?}");

    deployment.clock.advance_seconds(91 * DAY);
    deployment.app.forget().await.unwrap();
    let ever = UnknownKeyQuery { since: Some(now), until: Some(deployment.app.now()), limit: 10, api: None };
    assert_eq!(list(&ever).await, 0);
}
