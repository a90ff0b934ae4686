//! `/admin/v1/organizations/{id}/subscriptions`

use serde_json::{Value, json};

use crate::deployment::Deployment;

#[tokio::test]
async fn a_subscription_is_set_and_shown() {
    let deployment = Deployment::start().await;
    deployment.define_with_plans().await;
    let path = format!("/admin/v1/organizations/{}/subscriptions", deployment.mine);
    let default = deployment.operator(&format!("GET {path}/planned")).send().await.expect(200);
    assert_eq!(
        (&default["plan"], &default["said"], &default["keys_work"]),
        (&json!("small"), &Value::Null, &json!(true))
    );
    let set = deployment
        .operator(&format!("PUT {path}/planned"))
        .json(&json!({"plan": "large", "state": "past_due", "anchor_day": 31, "event_at": "2026-01-15T10:00:00Z"}))
        .send()
        .await;
    assert!(set.header("claviger-revision").is_some());
    let set = set.expect(200);
    assert_eq!((&set["plan_title"], &set["keys_work_until"]), (&json!("Large"), &json!("2026-01-22T10:00:00Z")));
    assert_eq!((&set["said"]["anchor_day"], &set["applied"], &set["notice"]), (&json!(31), &json!(true), &Value::Null));
    assert_eq!(deployment.operator(&format!("GET {path}/planned")).send().await.expect(200), set);
    let list = deployment.operator(&format!("GET {path}")).send().await.expect(200);
    assert_eq!(list["data"], json!([set["said"]]));
    let late = deployment
        .operator(&format!("PUT {path}/planned"))
        .json(&json!({"state": "active", "event_at": "2026-01-15T09:59:59Z"}))
        .send()
        .await
        .expect(200);
    assert_eq!((&late["applied"], &late["said"]["state"]), (&json!(false), &json!("past_due")));
    assert_eq!(late["notice"], "Something newer is known, so nothing was changed.");
}

#[tokio::test]
async fn the_limit_of_the_plan_is_named() {
    let deployment = Deployment::start().await;
    deployment.define_with_plans().await;
    let body = json!({"organization": deployment.mine, "api": "planned", "name": "new"});
    for _ in 0..2 {
        deployment.operator("POST /admin/v1/keys").json(&body).send().await.expect(201);
    }
    let refused = deployment.operator("POST /admin/v1/keys").json(&body).send().await.expect(403);
    let message = refused["detail"].as_str().unwrap();
    assert!(message.contains("Small plan (small) allows 2 API keys"), "{message}");
}

#[tokio::test]
async fn bad_requests_are_refused_with_the_field() {
    let deployment = Deployment::start().await;
    deployment.define_with_plans().await;
    let path = format!("/admin/v1/organizations/{}/subscriptions", deployment.mine);
    let cases = [
        (json!({"plan": "gold"}), 400, Some("plan")),
        (json!({"plan": "Not A Name"}), 400, Some("plan")),
        (json!({"state": "paid"}), 400, Some("state")),
        (json!({"anchor_day": 0}), 400, Some("anchor_day")),
        (json!({"anchor_day": 32}), 400, Some("anchor_day")),
        (json!({"api_access": "yes"}), 400, Some("api_access")),
        (json!({"event_at": "2026-01-15T10:35:01Z"}), 400, Some("event_at")),
        (json!({"colour": 1}), 400, Some("colour")),
    ];
    for (body, status, field) in cases {
        let reply = deployment.operator(&format!("PUT {path}/planned")).json(&body).send().await.error();
        assert_eq!((reply.0, reply.2.as_deref()), (status, field), "{body}");
    }
    let set =
        async |what: String| deployment.operator(&format!("PUT {what}")).json(&json!({"plan": "small"})).send().await;
    assert_eq!(set(format!("{path}/plain")).await.error().0, 409);
    assert_eq!(set(format!("{path}/nothing")).await.error().0, 404);
    let nobody = format!("/admin/v1/organizations/org_{}/subscriptions", "0".repeat(26));
    assert_eq!(set(format!("{nobody}/planned")).await.error().0, 404);
    assert_eq!(deployment.operator(&format!("GET {nobody}")).send().await.error().0, 404);
}
