//! Who comes to the admin API, as the audit log has it.

use std::net::IpAddr;

use claviger_domain::id::MemberId;
use claviger_domain::member::Role;
use claviger_domain::peer::Peer;
use serde_json::{Value, json};

use crate::deployment::Deployment;

/// What was written of one sort, oldest first.
async fn told(deployment: &Deployment, action: &str) -> Vec<Value> {
    deployment.app.write_visits(false).await;
    let list = deployment.operator(&format!("GET /admin/v1/audit?limit=200&action={action}")).send().await.expect(200);
    let mut rows = list["data"].as_array().unwrap().clone();
    rows.reverse();
    rows
}

fn of(events: &[Value], name: &str) -> Vec<Value> {
    events.iter().map(|event| event[name].clone()).collect()
}

#[tokio::test]
async fn a_credential_signs_in_once_from_each_place() {
    let deployment = Deployment::start().await;
    let token = deployment.admin_token().await;
    let id = deployment.app.list_admin_tokens().await.unwrap()[0].id;
    let member = deployment.member(Role::Viewer).await;
    let elsewhere = Some(Peer::Address(IpAddr::from([198, 51, 100, 7])));
    for _ in 0..3 {
        let keys = || deployment.internal("GET /admin/v1/keys");
        deployment.operator("GET /admin/v1/keys").send().await.expect(200);
        keys().bearer(&token).send().await.expect(200);
        keys().bearer(&token).peer(elsewhere).send().await.expect(200);
        keys().bearer(&token).header("claviger-member", member.to_string()).send().await.expect(200);
    }
    // A request that asks for what is not there comes from somebody all the same.
    let second = deployment.admin_token().await;
    assert_eq!(deployment.internal("GET /admin/v1/keys/x").bearer(&second).send().await.error().0, 404);
    let events = told(&deployment, "admin.signed_in").await;
    assert_eq!(of(&events[..4], "actor"), [json!("operator"), json!(id), json!(id), json!(member)],);
    assert_eq!(
        of(&events[..4], "source"),
        [json!("socket"), json!("203.0.113.7"), json!("198.51.100.7"), json!("203.0.113.7")]
    );
    assert_eq!(of(&events[..4], "target"), [json!("admin_api"), json!(id), json!(id), json!(id)]);
    assert_eq!(of(&events[..4], "organization"), [Value::Null, Value::Null, Value::Null, json!(deployment.mine)]);
    assert_eq!(events.len(), 5);
    deployment.clock.advance_seconds(12 * 3600);
    deployment.internal("GET /admin/v1/keys").bearer(&token).send().await.expect(200);
    assert_eq!(told(&deployment, "admin.signed_in").await.len(), 6);
    assert_eq!(told(&deployment, "admin.refused").await, Vec::<Value>::new());
}

#[tokio::test]
async fn a_refused_request_says_who_came_and_why_and_never_what_they_presented() {
    let deployment = Deployment::start().await;
    let ids = async || {
        let tokens = deployment.app.list_admin_tokens().await.unwrap();
        tokens.into_iter().map(|token| token.id).collect::<Vec<_>>()
    };
    let dead = deployment.admin_token().await;
    let dead_id = ids().await[0];
    let token = deployment.admin_token().await;
    let live_id = ids().await.into_iter().find(|id| *id != dead_id).unwrap();
    deployment.operator(&format!("DELETE /admin/v1/admin-tokens/{dead_id}")).send().await.expect(200);
    let viewer = deployment.member(Role::Viewer).await;
    let nobody = MemberId::from_u128(7);
    let unknown = format!("{}x", &token[..token.len() - 1]);
    let key = deployment.full().await;
    let revoke = format!("DELETE /admin/v1/keys/{}", key.id);
    let call = |what: &str| deployment.internal(what);
    let member = "claviger-member";
    let mut statuses = Vec::new();
    for refused in [
        call("GET /admin/v1/audit"),
        call("GET /admin/v1/audit").header("authorization", format!("Basic {unknown}")),
        call("GET /admin/v1/keys").bearer(&unknown).header(member, viewer.to_string()),
        call("GET /admin/v1/keys?limit=1").bearer(&dead),
        call(&revoke).bearer(&token).header(member, viewer.to_string()),
        call("GET /admin/v1/apis").bearer(&token).header(member, nobody.to_string()).peer(None),
        call("GET /admin/v1/keys").bearer(&token).header(member, nobody.to_string()),
        deployment.operator("GET /admin/v1/audit").header(member, viewer.to_string()),
        // A path is the caller's, and may hold anything.
        call(&format!("GET /admin/v1/keys/{unknown}")).peer(Some(Peer::Socket)).header(member, nobody.to_string()),
    ] {
        statuses.push(refused.undocumented().send().await.status.as_u16());
    }
    assert_eq!(statuses, [401, 401, 401, 401, 403, 403, 404, 403, 404]);
    let events = told(&deployment, "admin.refused").await;
    let after: Vec<Value> = events.iter().map(|event| event["after"].clone()).collect();
    let expected = [
        (json!("unknown"), "admin_api".to_owned(), "no_token", "GET /admin/v1/audit"),
        (json!("unknown"), "admin_api".to_owned(), "malformed_token", "GET /admin/v1/audit"),
        (json!("unknown"), "admin_api".to_owned(), "unknown_token", "GET /admin/v1/keys"),
        (json!(dead_id), dead_id.to_string(), "revoked_token", "GET /admin/v1/keys"),
        (json!(viewer), live_id.to_string(), "forbidden", "DELETE /admin/v1/keys/{id}"),
        (json!(live_id), live_id.to_string(), "forbidden", "GET /admin/v1/apis"),
        (json!(live_id), live_id.to_string(), "unknown_member", "GET /admin/v1/keys"),
        (json!(viewer), "admin_api".to_owned(), "forbidden", "GET /admin/v1/audit"),
    ];
    assert_eq!(events.len(), expected.len(), "{events:#?}");
    for ((event, after), (actor, target, reason, route)) in events.iter().zip(&after).zip(expected) {
        assert_eq!((&event["actor"], &event["target"], &after["reason"]), (&actor, &json!(target), &json!(reason)));
        let told = format!("{} {}", after["method"].as_str().unwrap(), after["route"].as_str().unwrap());
        assert_eq!((told.as_str(), &after["suppressed"], &event["before"]), (route, &json!(0), &Value::Null));
    }
    assert_eq!((&events[0]["source"], &events[5]["source"]), (&json!("203.0.113.7"), &json!("unknown")));
    assert_eq!((&events[4]["organization"], &events[3]["organization"]), (&json!(deployment.mine), &Value::Null));
    assert_eq!((&after[2]["member"], &after[5]["member"]), (&json!(viewer), &json!(nobody)));
    let filtered = format!("GET /admin/v1/audit?actor=unknown&organization={}", deployment.mine);
    assert_eq!(deployment.operator(&filtered).send().await.expect(200)["data"], json!([]));
    let by_target = format!("GET /admin/v1/audit?action=admin.refused&target={live_id}");
    assert_eq!(deployment.operator(&by_target).send().await.expect(200)["data"].as_array().unwrap().len(), 3);

    let files = deployment.files();
    for secret in [&token, &dead, &unknown] {
        let middle = &secret.as_bytes()[secret.len() - 24..];
        assert!(!files.windows(middle.len()).any(|bytes| bytes == middle), "a secret is on the disk");
    }
}

#[tokio::test]
async fn a_limit_turns_nobody_away() {
    let deployment = Deployment::start().await;
    deployment.define_with_plans().await;
    let body = json!({"organization": deployment.mine, "api": "planned", "name": "x"});
    let create = async || deployment.operator("POST /admin/v1/keys").json(&body).send().await.status.as_u16();
    assert_eq!([create().await, create().await, create().await], [201, 201, 403]);
    assert_eq!(told(&deployment, "admin.refused").await, Vec::<Value>::new());
}

#[tokio::test]
async fn strangers_fill_no_log() {
    let deployment = Deployment::start().await;
    for number in 0..400_u16 {
        let [high, low] = number.to_be_bytes();
        let peer = Some(Peer::Address(IpAddr::from([10, high, low, 1])));
        deployment.internal("GET /admin/v1/keys").bearer("nonsense").peer(peer).send().await;
    }
    assert_eq!(told(&deployment, "admin.refused").await.len(), 20);
    deployment.clock.advance_seconds(60);
    let events = told(&deployment, "admin.refused").await;
    assert_eq!((events.len(), &events[20]["after"]["suppressed"]), (21, &json!(400 - 20 - 1)));
}
