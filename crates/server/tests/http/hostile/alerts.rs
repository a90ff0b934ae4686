//! Who closes an alert, when several do at once, and with which keys.

use claviger_app::CreateKey;
use claviger_domain::definition::{API_KEYS_READ, API_KEYS_WRITE};
use claviger_domain::key::{Environment, Kind};
use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::deployment::{Deployment, Held, blank, restricted};
use crate::wire::Call;

impl Deployment {
    fn closes(&self, holder: &Held, id: &str) -> Call {
        self.public(&format!("POST /v1/account/alerts/{id}/close")).bearer(&holder.secret)
    }

    async fn rotate(&self, key: &Held) {
        let what = format!("POST /admin/v1/keys/{}/rotate", key.id);
        self.operator(&what).json(&json!({"overlap_seconds": 3600})).send().await.expect(200);
    }
}

#[tokio::test]
async fn of_many_who_close_an_alert_at_once_one_did() {
    let deployment = Deployment::start().await;
    let (one, other) = (deployment.full().await, deployment.full().await);
    deployment.grow_old().await;
    let id = deployment.old_age_of(&one).await;
    let operators = format!("POST /admin/v1/alerts/{id}/close");
    let calls = (0..12).map(|number| match number % 3 {
        0 => deployment.closes(&one, &id),
        1 => deployment.closes(&other, &id),
        _ => deployment.operator(&operators),
    });
    let closed: Vec<Value> = join_all(calls.map(|call| async { call.send().await.expect(200) })).await;
    assert!(closed.iter().all(|alert| alert["closed_by"] == closed[0]["closed_by"]), "{closed:?}");
    let recorded = deployment.recorded("alert.closed").await;
    assert_eq!(recorded.len(), 1);
    assert_eq!(recorded[0]["actor"], closed[0]["closed_by"]);
    // Later it is still closed by whom it was closed, and no event more.
    deployment.clock.advance_seconds(60);
    let later = deployment.closes(&other, &id).send().await.expect(200);
    assert_eq!((&later["closed_by"], &later["closed_at"]), (&closed[0]["closed_by"], &closed[0]["closed_at"]));
    assert_eq!(deployment.recorded("alert.closed").await.len(), 1);
}

/// What an alert is about is over, and in that moment somebody closes it.
#[tokio::test]
async fn an_alert_that_closes_by_itself_as_somebody_closes_it_is_closed_once() {
    let deployment = Deployment::start().await;
    let mut keys = Vec::new();
    for _ in 0..8 {
        keys.push(deployment.full().await);
    }
    let holder = deployment.full().await;
    deployment.grow_old().await;
    let mut ids = Vec::new();
    for key in &keys {
        ids.push(deployment.old_age_of(key).await);
        deployment.rotate(key).await;
    }
    deployment.clock.advance_seconds(3600);
    let closing = join_all(ids.iter().map(|id| deployment.closes(&holder, id).send()));
    let (judged, closed) = tokio::join!(deployment.app.evaluate_alerts(), closing);
    judged.unwrap();
    let recorded = deployment.recorded("alert.closed").await;
    for (id, reply) in ids.iter().zip(closed) {
        let closed = reply.expect(200);
        let events: Vec<&Value> = recorded.iter().filter(|event| event["target"] == *id).collect();
        assert_eq!(events.len(), 1, "{id}");
        assert_eq!(events[0]["actor"], closed["closed_by"]);
        let shown = deployment.operator(&format!("GET /admin/v1/alerts/{id}")).send().await.expect(200);
        assert_eq!(shown["closed_by"], closed["closed_by"]);
    }
}

#[tokio::test]
async fn each_kind_of_key_may_what_it_may() {
    let deployment = Deployment::start().await;
    let strong = deployment.full().await;
    let target = deployment.restricted(&[API_KEYS_WRITE]).await;
    let create = async |input: CreateKey| deployment.create(deployment.mine, input).await;
    let here = |networks: &str| serde_json::from_str(&format!(r#"{{"ip": ["{networks}"]}}"#)).unwrap();
    let replaced = deployment.full().await;
    let only_there = create(CreateKey { restrictions: here("192.0.2.0/24"), ..blank() }).await;
    let only_here = create(CreateKey { restrictions: here("203.0.113.0/24"), ..blank() }).await;
    let dead = [deployment.full().await, deployment.full().await];
    deployment.grow_old().await;
    deployment.rotate(&replaced).await;
    deployment.operator(&format!("POST /admin/v1/keys/{}/disable", dead[0].id)).send().await.expect(200);
    deployment.operator(&format!("DELETE /admin/v1/keys/{}", dead[1].id)).send().await.expect(200);
    let lifetime = Some(claviger_app::Lifetime::TtlSeconds(1));
    let expired = create(CreateKey { lifetime, ..blank() }).await;
    deployment.clock.advance_seconds(1);
    let parent_id = Some(strong.id);
    let weak_parent = deployment.restricted(&[API_KEYS_READ]).await;
    let ephemeral = |parent_id| CreateKey { kind: Some(Kind::Ephemeral), parent_id, ..blank() };
    let test = CreateKey { environment: Some(Environment::Test), ..blank() };
    let test_restricted = CreateKey { environment: Some(Environment::Test), ..restricted(&[API_KEYS_READ]) };
    // The status of the list, whether anything is in it, and the status of closing.
    let callers = [
        ("a secret key", strong.clone(), 200, true, 200),
        ("a key restricted to here", only_here, 200, true, 403),
        ("a key restricted to elsewhere", only_there, 403, false, 403),
        ("a restricted key that reads", deployment.restricted(&[API_KEYS_READ]).await, 200, true, 403),
        ("a restricted key that writes", deployment.restricted(&[API_KEYS_WRITE]).await, 403, false, 200),
        ("a restricted key that does neither", deployment.restricted(&["things:read"]).await, 403, false, 403),
        ("an ephemeral key", create(ephemeral(parent_id)).await, 200, true, 403),
        ("an ephemeral key of one that reads", create(ephemeral(Some(weak_parent.id))).await, 200, true, 403),
        ("a test key", create(test).await, 200, false, 404),
        ("a restricted test key", create(test_restricted).await, 200, false, 403),
        ("a secret that was replaced", replaced, 200, true, 403),
        ("a disabled key", dead[0].clone(), 401, false, 401),
        ("a revoked key", dead[1].clone(), 401, false, 401),
        ("an expired key", expired, 401, false, 401),
        ("another organization's", deployment.create(deployment.theirs, blank()).await, 200, false, 404),
        ("another api's", deployment.create_of("envelope", deployment.mine, blank()).await, 401, false, 401),
    ];
    let id = deployment.old_age_of(&target).await;
    for (name, caller, list, sees, close) in callers {
        let listed = deployment.public("GET /v1/account/alerts").bearer(&caller.secret).send().await;
        assert_eq!(listed.status, list, "{name}: {listed:?}");
        assert_eq!(listed.text.contains(&id), sees, "{name}");
        let closed = deployment.closes(&caller, &id).send().await;
        assert_eq!(closed.status, close, "{name}: {closed:?}");
        // Neither what there is no route for.
        let shown = deployment.public(&format!("GET /v1/account/alerts/{id}")).bearer(&caller.secret).send().await;
        assert!([401, 403, 404].contains(&shown.status.as_u16()), "{name}: {shown:?}");
    }
}
