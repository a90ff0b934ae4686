//! `PATCH {base}/api-keys/{id}`, and `If-Match` for all mutations

use serde_json::{Value, json};

use crate::deployment::{Deployment, Held};

async fn patch(deployment: &Deployment, holder: &Held, id: &Held, body: Value) -> crate::wire::Reply {
    let what = format!("PATCH /v1/api-keys/{}", id.id);
    deployment.public(&what).bearer(&holder.secret).json(&body).send().await
}

#[tokio::test]
async fn absent_stays_and_null_lifts() {
    let deployment = Deployment::start().await;
    let (holder, key) = (deployment.full().await, deployment.full().await);
    let ip = json!({"restrictions": {"ip": ["203.0.113.0/24"], "referrer": []}, "expires_at": "2026-02-01T00:00:00Z"});
    let key_now = patch(&deployment, &holder, &key, ip).await.expect(200);
    assert_eq!(key_now["restrictions"], json!({"ip": ["203.0.113.0/24"], "referrer": [], "endpoint": null}));
    let key_now = patch(&deployment, &holder, &key, json!({"restrictions": {"referrer": null}})).await.expect(200);
    assert_eq!(key_now["restrictions"], json!({"ip": ["203.0.113.0/24"], "referrer": null, "endpoint": null}));
    assert_eq!(key_now["expires_at"], "2026-02-01T00:00:00Z");
    let change = json!({"name": "new", "expires_at": null, "metadata": {"a": 1}, "restrictions": {"ip": null}});
    let key_now = patch(&deployment, &holder, &key, change).await.expect(200);
    assert_eq!(key_now["restrictions"], json!({"ip": null, "referrer": null, "endpoint": null}));
    assert_eq!((&key_now["name"], &key_now["expires_at"]), (&"new".into(), &Value::Null));
    assert_eq!(key_now["metadata"], json!({"a": 1}));
    let before = key_now;
    assert_eq!(patch(&deployment, &holder, &key, json!({})).await.expect(200), before);
}

#[tokio::test]
async fn bad_bodies_are_refused_with_the_field() {
    let deployment = Deployment::start().await;
    let holder = deployment.full().await;
    let cases = [
        (json!({"name": null}), "name"),
        (json!({"name": ""}), "name"),
        (json!({"scopes": null}), "scopes"),
        (json!({"scopes": ["nothing"]}), "scopes"),
        (json!({"restrictions": null}), "restrictions"),
        (json!({"restrictions": {"ip": {}}}), "restrictions.ip"),
        (json!({"restrictions": {"ip": ["::/0"]}}), "restrictions.ip"),
        (json!({"restrictions": {"endpoints": []}}), "restrictions.endpoints"),
        (json!({"metadata": null}), "metadata"),
        (json!({"expires_at": "2026-01-15T10:30:00Z"}), "expires_at"),
        (json!({"ttl_seconds": 60}), "ttl_seconds"),
        (json!({"kind": "secret"}), "kind"),
        (json!({"state": "active"}), "state"),
    ];
    for (body, field) in cases {
        let error = patch(&deployment, &holder, &holder, body.clone()).await.error();
        assert_eq!(error, (400, "invalid_request".to_owned(), Some(field.to_owned())), "{body}");
    }
}

#[tokio::test]
async fn a_dead_key_cannot_be_changed() {
    let deployment = Deployment::start().await;
    let (holder, key) = (deployment.full().await, deployment.full().await);
    deployment.public(&format!("DELETE /v1/api-keys/{}", key.id)).bearer(&holder.secret).send().await.expect(200);
    assert_eq!(patch(&deployment, &holder, &key, json!({"name": "x"})).await.error().0, 409);
    for action in ["rotate", "disable", "enable"] {
        let what = format!("POST /v1/api-keys/{}/{action}", key.id);
        assert_eq!(deployment.public(&what).bearer(&holder.secret).send().await.error().0, 409);
    }
}

#[tokio::test]
async fn every_mutation_of_a_key_heeds_if_match() {
    let deployment = Deployment::start().await;
    let holder = deployment.full().await;
    let mutations = [
        ("PATCH", "", "{\"name\":\"x\"}"),
        ("POST", "/disable", ""),
        ("POST", "/enable", ""),
        ("POST", "/rotate", ""),
        ("DELETE", "", ""),
    ];
    for (method, suffix, body) in mutations {
        let key = deployment.full().await;
        let path = format!("/v1/api-keys/{}", key.id);
        let etag = async || {
            let reply = deployment.public(&format!("GET {path}")).bearer(&holder.secret).send().await;
            reply.header("etag").unwrap().to_owned()
        };
        let status = async |if_match: &[&str]| {
            let call = deployment.public(&format!("{method} {path}{suffix}")).bearer(&holder.secret);
            let call = if body.is_empty() { call } else { call.body("application/json", body) };
            let call = if_match.iter().fold(call, |call, line| call.header("if-match", line));
            call.send().await.status.as_u16()
        };
        let current = etag().await;
        for stale in ["\"1\"", "\"0\"", "\"\"", "\"x\"", "\"1\", \"2\""] {
            assert_eq!(status(&[stale]).await, 412, "{method}{suffix} {stale}");
        }
        assert_eq!(status(&[&format!("W/{current}")]).await, 412, "weak tags never match");
        for malformed in ["x", "", "1", "\"1", "*, *"] {
            assert_eq!(status(&[malformed]).await, 400, "{method}{suffix} {malformed}");
        }
        assert_eq!(etag().await, current, "nothing has changed");
        assert_eq!(status(&["\"1\"", &current]).await, 200, "{method}{suffix}: one of several lines");
        assert_eq!(status(&["*"]).await, 200);
    }
}

#[tokio::test]
async fn whether_the_key_exists_is_said_before_the_precondition() {
    let deployment = Deployment::start().await;
    let holder = deployment.full().await;
    let what = format!("DELETE /v1/api-keys/key_{}", "0".repeat(26));
    for if_match in ["W/\"1\"", "\"1\"", "*"] {
        let reply = deployment.public(&what).bearer(&holder.secret).header("if-match", if_match).send().await;
        assert_eq!(reply.status, 404, "{if_match}");
    }
}
