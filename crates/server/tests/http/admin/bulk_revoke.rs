//! `/admin/v1/keys/bulk-revoke`

use serde_json::{Value, json};

use crate::deployment::Deployment;

#[tokio::test]
async fn many_keys_are_looked_at_and_then_revoked() {
    let deployment = Deployment::start().await;
    let (mine, spared) =
        (deployment.full().await, deployment.create(deployment.theirs, crate::deployment::blank()).await);
    let made = json!({"name": "made with it"});
    let child = deployment.public("POST /v1/api-keys").bearer(&mine.secret).json(&made).send().await.expect(201);
    let post = async |body: Value| deployment.operator("POST /admin/v1/keys/bulk-revoke").json(&body).send().await;
    let body = json!({"organization": deployment.mine, "reason": "leaked", "dry_run": true});
    let reply = post(body).await;
    assert!(reply.header("claviger-revision").is_some());
    let looked = reply.expect(200);
    assert_eq!((&looked["matched"], &looked["revoked"], &looked["dry_run"]), (&json!(2), &json!(0), &json!(true)));
    let expected = json!({
        "id": child["id"], "name": "made with it", "prefix": child["prefix"], "hint": child["hint"],
        "organization": deployment.mine,
    });
    assert!(looked["keys"].as_array().unwrap().contains(&expected), "{looked}");
    let works = async |secret: &str| deployment.public("GET /v1/api-keys").bearer(secret).send().await.status == 200;
    assert!(works(&mine.secret).await);

    let done = post(json!({"organization": deployment.mine, "reason": "leaked"})).await.expect(200);
    assert_eq!((&done["matched"], &done["revoked"], &done["already_revoked"]), (&json!(2), &json!(2), &json!(0)));
    assert!(!works(&mine.secret).await && !works(child["secret"].as_str().unwrap()).await);
    assert!(works(&spared.secret).await);
    let again = post(json!({"organization": deployment.mine})).await.expect(200);
    assert_eq!((&again["matched"], &again["revoked"], &again["already_revoked"]), (&json!(0), &json!(0), &json!(2)));
    let shown = deployment.operator(&format!("GET /admin/v1/keys/{}", mine.id)).send().await.expect(200);
    assert_eq!(shown["revoked_reason"], "leaked");
}

#[tokio::test]
async fn bad_requests_are_refused_with_the_field() {
    let deployment = Deployment::start().await;
    let key = deployment.full().await;
    for (body, field) in [
        (json!({}), None),
        (json!({"dry_run": true}), None),
        (json!({"api": "plain", "environment": "live"}), None),
        (json!({"organization": null}), None),
        (json!({"organization": "org_x"}), Some("organization")),
        (json!({"created_by": "system"}), Some("created_by")),
        (json!({"kind": "any"}), Some("kind")),
        (json!({"kind": "secret", "reason": ""}), Some("reason")),
        (json!({"kind": "secret", "organisation": deployment.mine}), Some("organisation")),
        (json!({"issued_before": "2026-01-15T10:30:01Z"}), Some("issued_before")),
    ] {
        let reply = deployment.operator("POST /admin/v1/keys/bulk-revoke").json(&body).send().await;
        let (status, _, found) = reply.error();
        assert_eq!((status, found.as_deref()), (400, field), "{body}");
    }
    assert_eq!(deployment.public("GET /v1/api-keys").bearer(&key.secret).send().await.status, 200);
}
