//! `/admin/v1/verifiers` and `/admin/v1/admin-tokens`

use claviger_domain::secret::SecretDigest;
use serde_json::{Value, json};

use crate::deployment::Deployment;

#[tokio::test]
async fn tokens_are_shown_once_and_die_when_revoked() {
    let deployment = Deployment::start().await;
    for (path, prefix) in [("/admin/v1/verifiers", "claviger_verifier_"), ("/admin/v1/admin-tokens", "claviger_admin_")]
    {
        let reply = deployment.operator(&format!("POST {path}")).json(&json!({"name": "edge"})).send().await;
        let location = reply.header("location").unwrap().to_owned();
        assert!(reply.header("claviger-revision").is_some());
        let created = reply.expect(201);
        assert_eq!(location, format!("{path}/{}", created["id"].as_str().unwrap()));
        let token = created["token"].as_str().unwrap();
        assert!(token.starts_with(prefix), "{token}");
        let works = async || match prefix {
            "claviger_admin_" => deployment.internal("GET /admin/v1/apis").bearer(token).send().await.status == 200,
            _ => deployment.app.engine().is_verifier(&SecretDigest::of(token)),
        };
        assert!(works().await);
        let list = deployment.operator(&format!("GET {path}")).send().await;
        assert!(!list.text.contains(token));
        assert_eq!(list.expect(200)["data"][0]["revoked_at"], Value::Null);
        for _ in 0..2 {
            let revoked = deployment.operator(&format!("DELETE {location}")).send().await.expect(200);
            assert_eq!(revoked["revoked_at"], "2026-01-15T10:30:00Z");
        }
        assert!(!works().await);
        assert_eq!(
            deployment.operator(&format!("POST {path}")).json(&json!({"name": ""})).send().await.error().2.as_deref(),
            Some("name")
        );
        assert_eq!(deployment.operator(&format!("DELETE {path}/x")).send().await.error().0, 404);
    }
}

#[tokio::test]
async fn the_operator_is_asked_for_a_token() {
    let deployment = Deployment::start().await;
    let token = deployment.admin_token().await;
    let missing = deployment.internal("GET /admin/v1/apis").send().await;
    assert_eq!(missing.error(), (401, "missing".to_owned(), None));
    assert_eq!(missing.header("www-authenticate"), Some("Bearer realm=\"claviger admin\""));
    let invalid = deployment.internal("GET /admin/v1/apis").bearer("claviger_admin_x").send().await;
    assert_eq!(invalid.error(), (401, "invalid".to_owned(), None));
    assert!(invalid.header("www-authenticate").unwrap().contains("error=\"invalid_token\""));
    let call = || deployment.internal("GET /admin/v1/apis");
    assert_eq!(call().bearer(&token).send().await.status, 200);
    assert_eq!(call().header("authorization", format!("bearer {token}")).send().await.status, 200);
    assert_eq!(call().bearer(&token).bearer(&token).send().await.status, 401);
    assert_eq!(call().bearer(&token).peer(None).send().await.status, 200);
    assert_eq!(call().peer(None).send().await.status, 401);
}
