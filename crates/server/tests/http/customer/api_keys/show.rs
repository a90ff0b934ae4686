//! `GET {base}/api-keys/{id}`

use claviger_app::CreateKey;
use claviger_domain::key::Environment;

use crate::deployment::{Deployment, blank};

#[tokio::test]
async fn what_is_not_ones_own_does_not_exist() {
    let deployment = Deployment::start().await;
    let holder = deployment.full().await;
    let test = CreateKey { environment: Some(Environment::Test), ..blank() };
    let test = deployment.create(deployment.mine, test).await;
    let theirs = deployment.create(deployment.theirs, blank()).await.id.to_string();
    let elsewhere = deployment.create_of("envelope", deployment.mine, blank()).await.id.to_string();
    let unknown = format!("key_{}", "0".repeat(26));
    let ids = [theirs.as_str(), &elsewhere, &unknown, "key_", "x", "KEY_01", "key_%2A", &"x".repeat(2000)];
    let mut answers = Vec::new();
    for (method, suffix, body) in [
        ("GET", "", ""),
        ("PATCH", "", "{}"),
        ("DELETE", "", ""),
        ("POST", "/rotate", ""),
        ("POST", "/disable", ""),
        ("POST", "/enable", ""),
    ] {
        for id in ids {
            let call = deployment.public(&format!("{method} /v1/api-keys/{id}{suffix}")).bearer(&holder.secret);
            let call = if body.is_empty() { call } else { call.body("application/json", body) };
            let reply = call.send().await;
            assert_eq!(reply.status, 404, "{method} {id}{suffix}: {}", reply.text);
            assert_eq!(reply.header("etag"), None);
            answers.push((reply.header("content-length").map(str::to_owned), reply.text));
        }
        let live = holder.id;
        let call = deployment.public(&format!("{method} /v1/api-keys/{live}{suffix}")).bearer(&test.secret);
        let call = if body.is_empty() { call } else { call.body("application/json", body) };
        let reply = call.send().await;
        answers.push((reply.header("content-length").map(str::to_owned), reply.text));
    }
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
}

#[tokio::test]
async fn head_is_get_without_the_body() {
    let deployment = Deployment::start().await;
    let holder = deployment.full().await;
    let reply = deployment.public(&format!("HEAD /v1/api-keys/{}", holder.id)).bearer(&holder.secret).send().await;
    assert_eq!((reply.status.as_u16(), reply.text.as_str()), (200, ""));
    assert!(reply.header("etag").is_some());
}

#[tokio::test]
async fn dates_follow_the_clock() {
    let deployment = Deployment::start().await;
    let holder = deployment.full().await;
    let path = format!("/v1/api-keys/{}", holder.id);
    let shown = deployment.public(&format!("GET {path}")).bearer(&holder.secret).send().await.expect(200);
    assert_eq!(shown["last_used"], "2026-01-15T10:30:00Z");
    assert_eq!((&shown["state"], &shown["created_by"]), (&"active".into(), &"operator".into()));
}
