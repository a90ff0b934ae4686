//! `/admin/v1/alerts`

use serde_json::{Value, json};

use crate::deployment::Deployment;

#[tokio::test]
async fn alerts_are_listed_shown_and_closed() {
    let deployment = Deployment::start().await;
    let key = deployment.full().await;
    deployment.clock.advance_seconds(91 * 24 * 3600);
    deployment.app.evaluate_alerts().await.unwrap();
    let list = async |query: &str| deployment.operator(&format!("GET /admin/v1/alerts{query}")).send().await;
    let open = list("?state=open&kind=key_age_90").await.expect(200);
    let alert = &open["data"][0];
    assert_eq!(
        (&alert["key"], &alert["state"], &alert["closed_by"]),
        (&json!(key.id.to_string()), &json!("open"), &Value::Null)
    );
    assert_eq!(alert["detail"]["name"], "a key");
    assert!(!open.to_string().contains(&key.secret));
    let path = format!("/admin/v1/alerts/{}", alert["id"].as_str().unwrap());
    assert_eq!(&deployment.operator(&format!("GET {path}")).send().await.expect(200), alert);
    for _ in 0..2 {
        let closed = deployment.operator(&format!("POST {path}/close")).send().await.expect(200);
        assert_eq!((&closed["state"], &closed["closed_by"]), (&json!("closed"), &json!("operator")));
    }
    assert_eq!(list("?state=open&kind=key_age_90").await.expect(200)["data"], json!([]));
    let first = list(&format!("?organization={}&limit=1", deployment.mine)).await;
    let next = first.header("link").unwrap().strip_prefix("</admin/v1/alerts").unwrap();
    let second = list(next.strip_suffix(">; rel=\"next\"").unwrap()).await.expect(200);
    assert_eq!(second["data"].as_array().unwrap().len(), 1);
    assert_eq!(list(&format!("?organization={}", deployment.theirs)).await.expect(200)["data"], json!([]));
    for (query, field) in
        [("?state=shut", "state"), ("?kind=rain", "kind"), ("?key=org_x", "key"), ("?limit=0", "limit"), ("?x=1", "x")]
    {
        assert_eq!(list(query).await.error().2.as_deref(), Some(field), "{query}");
    }
    for path in ["alrt_0000000000000000000000001a", "key_x"] {
        let missing = deployment.operator(&format!("GET /admin/v1/alerts/{path}")).send().await.error();
        assert_eq!((missing.0, missing.1.as_str()), (404, "not_found"), "{path}");
    }
}

#[tokio::test]
async fn settings_are_set_whole_and_must_mean_something() {
    let deployment = Deployment::start().await;
    let path = format!("/admin/v1/organizations/{}/alert-settings", deployment.mine);
    let put = async |body: Value| deployment.operator(&format!("PUT {path}")).json(&body).send().await;
    let set = put(json!({"muted": ["key_unused_90"], "thresholds": {"spike_calls": 500}})).await.expect(200);
    assert_eq!((&set["muted"], &set["thresholds"]["spike_calls"]), (&json!(["key_unused_90"]), &json!(500)));
    assert_eq!(set["thresholds"]["spike_factor"], 3.0);
    assert_eq!(deployment.operator(&format!("GET {path}")).send().await.expect(200), set);
    for body in [
        json!({"muted": ["rain"]}),
        json!({"thresholds": {"spike_calls": 0}}),
        json!({"thresholds": {"burst_share": 2}}),
        json!({"thresholds": {"spike_factor": 0.5}}),
        json!({"thresholds": {"spike_deviations": -1}}),
        json!({"loud": true}),
        json!([]),
    ] {
        assert_eq!(put(body.clone()).await.error().0, 400, "{body}");
    }
}
