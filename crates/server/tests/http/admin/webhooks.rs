//! `/admin/v1/webhooks` and `/admin/v1/mail`

use serde_json::{Value, json};

use crate::deployment::Deployment;

const HOOK: &str = "https://example.com/hook";

#[tokio::test]
async fn an_endpoint_is_made_shown_changed_and_deleted() {
    let deployment = Deployment::start().await;
    let body = json!({"organization": deployment.mine, "url": HOOK, "events": ["key.revoked", "key.created"],
                      "description": "our billing"});
    let reply = deployment.operator("POST /admin/v1/webhooks").json(&body).send().await;
    let location = reply.header("location").unwrap().to_owned();
    assert!(reply.header("claviger-revision").is_some());
    let mut created = reply.expect(201);
    let secret = created.as_object_mut().unwrap().remove("secret").unwrap();
    let secret = secret.as_str().unwrap();
    assert!(secret.starts_with("whsec_") && secret.len() == 50, "{secret}");
    assert_eq!(location, format!("/admin/v1/webhooks/{}", created["id"].as_str().unwrap()));
    assert_eq!((&created["enabled"], &created["disabled_reason"]), (&json!(true), &Value::Null));
    assert_eq!(created["events"], json!(["key.created", "key.revoked"]));
    let show = || deployment.operator(&format!("GET {location}")).send();
    assert_eq!(show().await.expect(200), created);
    let list = deployment.operator("GET /admin/v1/webhooks").send().await;
    assert!(!list.text.contains(&secret[10..]));
    assert_eq!(list.expect(200)["data"], json!([created]));
    let none = format!("GET /admin/v1/webhooks?organization={}", deployment.theirs);
    assert_eq!(deployment.operator(&none).send().await.expect(200)["data"], json!([]));
    let patch = |body: Value| deployment.operator(&format!("PATCH {location}")).json(&body).send();
    let changed = patch(json!({"enabled": false, "description": null, "events": ["*"]})).await.expect(200);
    assert_eq!((&changed["disabled_reason"], &changed["description"]), (&json!("operator"), &Value::Null));
    assert_eq!(patch(json!({"enabled": true})).await.expect(200)["enabled"], true);
    assert_eq!(deployment.operator(&format!("DELETE {location}")).send().await.expect(200)["url"], HOOK);
    assert_eq!(show().await.error().0, 404);
    // In clear it was never written anywhere.
    let clear = secret.strip_prefix("whsec_").unwrap().as_bytes();
    assert!(!deployment.files().windows(clear.len()).any(|window| window == clear));
}

#[tokio::test]
async fn a_secret_is_replaced_and_a_repeated_request_gets_the_same_one() {
    let deployment = Deployment::start().await;
    let path = format!("/admin/v1/webhooks/{}", deployment.webhook().await);
    let rotate = |key: &str| {
        let call = deployment.operator(&format!("POST {path}/rotate-secret")).header("idempotency-key", key);
        call.send()
    };
    let first = rotate("one").await.expect(200);
    assert_eq!(first["overlap_ends_at"], "2026-01-16T10:30:00Z");
    assert_eq!(rotate("one").await.expect(200)["secret"], first["secret"]);
    assert_ne!(rotate("two").await.expect(200)["secret"], first["secret"]);
    let at_once = deployment.operator(&format!("POST {path}/rotate-secret")).json(&json!({"overlap_seconds": 0}));
    assert_eq!(at_once.send().await.expect(200)["overlap_ends_at"], Value::Null);
}

#[tokio::test]
async fn deliveries_are_listed_shown_and_replayed() {
    let deployment = Deployment::start().await;
    let id = deployment.webhook().await;
    let path = format!("/admin/v1/webhooks/{id}");
    let mut events = Vec::new();
    for _ in 0..3 {
        deployment.clock.advance_seconds(1);
        let ping = deployment.operator(&format!("POST {path}/test")).send().await.expect(200);
        assert_eq!((&ping["type"], &ping["state"]), (&json!("ping"), &json!("pending")));
        events.push(ping["event"].as_str().unwrap().to_owned());
    }
    let list = deployment.operator(&format!("GET {path}/deliveries?limit=2&state=pending")).send().await;
    let link = list.header("link").unwrap().to_owned();
    let list = list.expect(200);
    assert_eq!((&list["data"][0]["event"], &list["data"][1]["event"]), (&json!(events[2]), &json!(events[1])));
    let next = link.trim_start_matches('<').split('>').next().unwrap();
    let rest = deployment.operator(&format!("GET {next}")).send().await.expect(200);
    assert_eq!(rest["data"][0]["event"], json!(events[0]));
    let none = format!("GET {path}/deliveries?state=failed");
    assert_eq!(deployment.operator(&none).send().await.expect(200)["data"], json!([]));
    let shown = deployment.operator(&format!("GET {path}/deliveries/{}", events[0])).send().await.expect(200);
    assert_eq!(shown["payload"]["id"], json!(events[0]));
    assert_eq!((&shown["payload"]["data"]["endpoint"], &shown["log"]), (&json!(id), &json!([])));
    let replay = |body: Value| deployment.operator(&format!("POST {path}/replay")).json(&body).send();
    assert_eq!(replay(json!({"event": events[1]})).await.expect(200), json!({"replayed": 1, "more": false}));
    assert_eq!(replay(json!({"since": "2026-01-01T00:00:00Z"})).await.expect(200)["replayed"], 0);
}

#[tokio::test]
async fn bad_requests_are_refused_with_the_field() {
    let deployment = Deployment::start().await;
    let path = format!("/admin/v1/webhooks/{}", deployment.webhook().await);
    let other = format!("/admin/v1/webhooks/{}", deployment.webhook().await);
    let ping = deployment.ping(other.rsplit('/').next().unwrap().parse().unwrap()).await;
    let check = async |what: &str, body: Value, expected: (u16, Option<&str>)| {
        let call = deployment.operator(what);
        let call = if body.is_null() { call } else { call.json(&body) };
        let (status, _, field) = call.send().await.error();
        assert_eq!((status, field.as_deref()), expected, "{what} {body}");
    };
    let create = "POST /admin/v1/webhooks";
    let with = |name: &str, value: Value| {
        let mut body = json!({"url": HOOK, "events": ["*"]});
        body[name] = value;
        body
    };
    check(create, json!({"events": ["*"]}), (400, Some("url"))).await;
    check(create, json!({"url": HOOK}), (400, Some("events"))).await;
    for url in ["", "http://example.com", "https://127.0.0.1/", "https://[::1]/", "https://a:b@example.com/", "ftp://x"]
    {
        check(create, with("url", json!(url)), (400, Some("url"))).await;
    }
    check(create, with("url", json!(format!("https://example.com/{}", "a".repeat(2048)))), (400, Some("url"))).await;
    check(create, with("url", json!(7)), (400, Some("url"))).await;
    for events in [json!([]), json!(["ping"]), json!(["key.eaten"]), json!(["*", "key.created"]), json!("*")] {
        check(create, with("events", events), (400, Some("events"))).await;
    }
    check(create, with("description", json!("x\u{202e}")), (400, Some("description"))).await;
    check(create, with("secret", json!("whsec_x")), (400, Some("secret"))).await;
    check(create, with("organization", json!("org_x")), (400, Some("organization"))).await;
    check(create, with("organization", json!(format!("org_{}", "0".repeat(26)))), (404, None)).await;
    check(&format!("PATCH {path}"), json!({"enabled": null}), (400, Some("enabled"))).await;
    check(&format!("PATCH {path}"), json!({"url": "https://10.0.0.1"}), (400, Some("url"))).await;
    check(&format!("PATCH {path}"), json!({"organization": deployment.mine}), (400, Some("organization"))).await;
    let rotate = format!("POST {path}/rotate-secret");
    for seconds in [json!(-1), json!(604_801), json!(1.5), json!(null), json!("1d")] {
        check(&rotate, json!({"overlap_seconds": seconds}), (400, Some("overlap_seconds"))).await;
    }
    let replay = format!("POST {path}/replay");
    check(&replay, json!({}), (400, Some("since"))).await;
    check(&replay, json!({"event": "evt_x"}), (400, Some("event"))).await;
    check(&replay, json!({"event": ping, "since": "2026-01-01T00:00:00Z"}), (400, Some("event"))).await;
    check(&replay, json!({"since": "yesterday"}), (400, Some("since"))).await;
    check(&replay, json!({"event": ping}), (404, None)).await;
    check(&format!("GET {path}/deliveries?state=lost"), Value::Null, (400, Some("state"))).await;
    check(&format!("GET {path}/deliveries?limit=201"), Value::Null, (400, Some("limit"))).await;
    check(&format!("GET {path}/deliveries?cursor=key_x"), Value::Null, (400, Some("cursor"))).await;
    // Another endpoint's delivery is no delivery of this one.
    check(&format!("GET {path}/deliveries/{ping}"), Value::Null, (404, None)).await;
    check(&format!("GET {path}/deliveries/evt_x"), Value::Null, (404, None)).await;
    let nobody = format!("/admin/v1/webhooks/whe_{}", "0".repeat(26));
    for what in [
        format!("GET {nobody}"),
        format!("DELETE {nobody}"),
        format!("GET {nobody}/deliveries"),
        format!("POST {nobody}/test"),
        format!("POST {nobody}/rotate-secret"),
        "GET /admin/v1/webhooks/x".to_owned(),
    ] {
        check(&what, Value::Null, (404, None)).await;
    }
    deployment.operator(&format!("PATCH {path}")).json(&json!({"enabled": false})).send().await.expect(200);
    check(&format!("POST {path}/test"), Value::Null, (409, None)).await;
    check(&replay, json!({"since": "2026-01-01T00:00:00Z"}), (409, None)).await;
    for to in ["", "ada", "ada@example.com\r\nBcc: eve@example.com", "Ada <ada@example.com>", "a@b,c@d"] {
        check("POST /admin/v1/mail/test", json!({"to": to}), (400, Some("to"))).await;
    }
}
