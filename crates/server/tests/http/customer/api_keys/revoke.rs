//! `DELETE {base}/api-keys/{id}`, disable and enable

use serde_json::json;

use crate::deployment::{Deployment, blank};

#[tokio::test]
async fn a_revoked_key_is_refused_at_once_and_for_ever() {
    let deployment = Deployment::start().await;
    let holder = deployment.create_of("envelope", deployment.mine, blank()).await;
    let key = deployment.create_of("envelope", deployment.mine, blank()).await;
    let path = format!("/e1/api-keys/{}", key.id);
    let revoke = deployment.public(&format!("DELETE {path}?reason=leaked%20in%20a%20log")).bearer(&holder.secret);
    let reply = revoke.clone().send().await;
    let revision = reply.header("claviger-revision").unwrap().to_owned();
    assert_eq!(reply.expect(200), json!({"success": true, "message": "API key revoked successfully"}));
    let refused = deployment.public("GET /e1/api-keys").bearer(&key.secret).send().await;
    let never_issued = deployment.public("GET /e1/api-keys").bearer("en_slive_0").send().await;
    assert_eq!((refused.status, &refused.text), (http::StatusCode::UNAUTHORIZED, &never_issued.text));
    assert_eq!(refused.header("www-authenticate"), never_issued.header("www-authenticate"));
    let shown = deployment.public(&format!("GET {path}")).bearer(&holder.secret).send().await.expect(200);
    assert_eq!(shown["data"]["state"], "revoked");
    assert_eq!(shown["data"]["revoked_reason"], "leaked in a log");
    assert_eq!(shown["data"]["revoked_at"], "2026-01-15T10:30:00Z");
    let again = revoke.send().await;
    assert_eq!((again.status.as_u16(), again.header("claviger-revision")), (200, Some(revision.as_str())));
}

#[tokio::test]
async fn a_key_may_revoke_itself() {
    let deployment = Deployment::start().await;
    let key = deployment.full().await;
    let revoke = deployment.public(&format!("DELETE /v1/api-keys/{}", key.id)).bearer(&key.secret);
    assert_eq!(revoke.clone().send().await.expect(200), json!({"message": "API key revoked successfully"}));
    assert_eq!(revoke.send().await.status, 401);
}

#[tokio::test]
async fn bad_reasons_are_refused() {
    let deployment = Deployment::start().await;
    let holder = deployment.full().await;
    let long = format!("reason={}", "x".repeat(201));
    for (query, field) in [
        ("reason=", "reason"),
        ("reason=%0A", "reason"),
        (long.as_str(), "reason"),
        ("why=x", "why"),
        ("reason=a&reason=b", "reason"),
    ] {
        let what = format!("DELETE /v1/api-keys/{}?{query}", holder.id);
        let error = deployment.public(&what).bearer(&holder.secret).send().await.error();
        assert_eq!(error, (400, "invalid_request".to_owned(), Some(field.to_owned())), "{query}");
    }
}

#[tokio::test]
async fn disabling_is_reversible() {
    let deployment = Deployment::start().await;
    let (holder, key) = (deployment.full().await, deployment.full().await);
    let switch = async |action: &str| {
        let what = format!("POST /v1/api-keys/{}/{action}", key.id);
        deployment.public(&what).bearer(&holder.secret).send().await.expect(200)["state"].clone()
    };
    let works = async || deployment.public("GET /v1/api-keys").bearer(&key.secret).send().await.status.as_u16();
    assert_eq!(switch("disable").await, "disabled");
    assert_eq!(works().await, 401);
    assert_eq!(switch("disable").await, "disabled");
    assert_eq!(switch("enable").await, "active");
    assert_eq!(works().await, 200);
}
