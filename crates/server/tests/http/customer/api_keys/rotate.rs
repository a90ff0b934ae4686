//! `POST {base}/api-keys/{id}/rotate`

use serde_json::{Value, json};

use crate::deployment::Deployment;

#[tokio::test]
async fn both_secrets_work_during_the_overlap() {
    let deployment = Deployment::start().await;
    let (holder, key) = (deployment.full().await, deployment.full().await);
    let rotate = deployment.public(&format!("POST /v1/api-keys/{}/rotate", key.id)).bearer(&holder.secret);
    let reply = rotate.json(&json!({"overlap_seconds": 60})).send().await;
    assert_eq!(reply.header("etag").unwrap().trim_matches('"'), reply.header("claviger-revision").unwrap());
    let rotated = reply.expect(200);
    let works = async |secret: &str| deployment.public("GET /v1/api-keys").bearer(secret).send().await.status.as_u16();
    let new = rotated["secret"].as_str().unwrap();
    assert_eq!(rotated["id"], key.id.to_string());
    assert_eq!(rotated["overlap_ends_at"], "2026-01-15T10:31:00Z");
    assert_eq!((works(&key.secret).await, works(new).await), (200, 200));
    deployment.clock.advance_seconds(60);
    assert_eq!((works(&key.secret).await, works(new).await), (401, 200));
    let shown =
        deployment.public(&format!("GET /v1/api-keys/{}", key.id)).bearer(&holder.secret).send().await.expect(200);
    assert_eq!((&shown["overlap_ends_at"], &shown["rotated_at"]), (&Value::Null, &"2026-01-15T10:30:00Z".into()));
}

#[tokio::test]
async fn without_a_body_the_old_secret_dies_at_once() {
    let deployment = Deployment::start().await;
    let key = deployment.full().await;
    let rotate = deployment.public(&format!("POST /v1/api-keys/{}/rotate", key.id)).bearer(&key.secret);
    rotate.clone().send().await.expect(200);
    assert_eq!(rotate.send().await.status, 401);
}

#[tokio::test]
async fn bad_overlaps_are_refused() {
    let deployment = Deployment::start().await;
    let key = deployment.full().await;
    let rotate = deployment.public(&format!("POST /v1/api-keys/{}/rotate", key.id)).bearer(&key.secret);
    for overlap in
        [json!(-1), json!(7 * 24 * 3600 + 1), json!(i64::MAX), json!(u64::MAX), json!("60"), json!(null), json!(0.5)]
    {
        let error = rotate.clone().json(&json!({ "overlap_seconds": overlap })).send().await.error();
        assert_eq!(error, (400, "invalid_request".to_owned(), Some("overlap_seconds".to_owned())), "{overlap}");
    }
    let error = rotate.clone().json(&json!({"overlap": 60})).send().await.error();
    assert_eq!(error, (400, "invalid_request".to_owned(), Some("overlap".to_owned())));
    assert_eq!(rotate.clone().raw("{}").send().await.error().0, 415);
    assert_eq!(rotate.clone().body("application/json", " ").send().await.error().0, 400);
    // Clients that send the header with every request (seed 002) send it without a body too.
    assert_eq!(rotate.body("application/json", "").send().await.status, 200);
}
