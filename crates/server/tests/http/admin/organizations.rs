//! `/admin/v1/organizations`

use serde_json::json;

use crate::deployment::Deployment;

#[tokio::test]
async fn organizations_are_made_renamed_and_suspended() {
    let deployment = Deployment::start().await;
    deployment.clock.advance_seconds(1);
    let reply = deployment.operator("POST /admin/v1/organizations").json(&json!({"name": "Acme"})).send().await;
    let location = reply.header("location").unwrap().to_owned();
    let created = reply.expect(201);
    assert_eq!((&created["name"], &created["status"]), (&json!("Acme"), &json!("active")));
    let patch = |body| deployment.operator(&format!("PATCH {location}")).json(&body).send();
    let reply = patch(json!({"status": "suspended"})).await;
    assert!(reply.header("claviger-revision").is_some());
    assert_eq!(reply.expect(200)["status"], "suspended");
    let renamed =
        patch(json!({"name": "Acme Ltd", "status": "active", "time_zone": "europe/berlin"})).await.expect(200);
    assert_eq!((&created["time_zone"], &renamed["time_zone"]), (&json!("UTC"), &json!("Europe/Berlin")));
    assert_eq!(deployment.operator(&format!("GET {location}")).send().await.expect(200), renamed);
    let list = deployment.operator("GET /admin/v1/organizations?limit=2").send().await;
    assert!(list.header("link").is_some());
    let list = list.expect(200);
    assert_eq!(list["data"][0], renamed);
    let next = format!("GET /admin/v1/organizations?cursor={}", list["next_cursor"].as_str().unwrap());
    assert_eq!(deployment.operator(&next).send().await.expect(200)["data"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn bad_requests_are_refused_with_the_field() {
    let deployment = Deployment::start().await;
    let path = format!("/admin/v1/organizations/{}", deployment.mine);
    let check = async |what: &str, body: serde_json::Value, expected: (u16, Option<&str>)| {
        let (status, _, field) = deployment.operator(what).json(&body).send().await.error();
        assert_eq!((status, field.as_deref()), expected, "{what} {body}");
    };
    check("POST /admin/v1/organizations", json!({}), (400, Some("name"))).await;
    check("POST /admin/v1/organizations", json!({"name": "x", "status": "active"}), (400, Some("status"))).await;
    check("POST /admin/v1/organizations", json!({"name": "x\u{202e}y"}), (400, Some("name"))).await;
    check(&format!("PATCH {path}"), json!({"status": "deleted"}), (400, Some("status"))).await;
    check(&format!("PATCH {path}"), json!({"time_zone": "Mars/Olympus"}), (400, Some("time_zone"))).await;
    check("POST /admin/v1/organizations", json!({"name": "x", "time_zone": "UTC+1"}), (400, Some("time_zone"))).await;
    check(&format!("PATCH {path}"), json!({"status": null}), (400, Some("status"))).await;
    check(&format!("PATCH {path}"), json!({"id": "org_x"}), (400, Some("id"))).await;
    check("PATCH /admin/v1/organizations/org_x", json!({}), (404, None)).await;
    check(&format!("PATCH /admin/v1/organizations/org_{}", "0".repeat(26)), json!({}), (404, None)).await;
    check("GET /admin/v1/organizations?cursor=key_x", json!(null), (400, Some("cursor"))).await;
}
