//! `/admin/v1/keys` and `/admin/v1/usage`

use serde_json::{Value, json};

use crate::deployment::Deployment;

#[tokio::test]
async fn the_operator_manages_keys_of_any_organization() {
    let deployment = Deployment::start().await;
    let body = json!({"name": "n", "organization": deployment.theirs, "api": "envelope", "metadata": {"a": 1}});
    let reply = deployment.operator("POST /admin/v1/keys").json(&body).send().await;
    let location = reply.header("location").unwrap().to_owned();
    let created = reply.expect(201);
    assert_eq!((&created["organization"], &created["api"]), (&json!(deployment.theirs), &json!("envelope")));
    assert_eq!(created["created_by"], "operator");
    let ephemeral = json!({"name": "n", "organization": deployment.theirs, "api": "envelope", "kind": "ephemeral", "parent_id": created["id"]});
    let child = deployment.operator("POST /admin/v1/keys").json(&ephemeral).send().await.expect(201);
    assert_eq!(child["parent_id"], created["id"]);
    let call = async |what: &str, suffix: &str| deployment.operator(&format!("{what} {location}{suffix}")).send().await;
    let shown = call("GET", "").await;
    assert_eq!(shown.header("etag").unwrap().trim_matches('"'), shown.json()["revision"].to_string());
    let rotated = call("POST", "/rotate").await.expect(200);
    assert_ne!(rotated["secret"], created["secret"]);
    assert_eq!(call("POST", "/disable").await.expect(200)["state"], "disabled");
    assert_eq!(call("POST", "/enable").await.expect(200)["state"], "active");
    let renamed =
        deployment.operator(&format!("PATCH {location}")).json(&json!({"name": "m"})).send().await.expect(200);
    assert_eq!(renamed["name"], "m");
    let revoked = call("DELETE", "?reason=gone").await.expect(200);
    assert_eq!((&revoked["state"], &revoked["revoked_reason"]), (&json!("revoked"), &json!("gone")));
    let list = |query: &str| deployment.operator(&format!("GET /admin/v1/keys?{query}")).send();
    let count = |list: Value| list["data"].as_array().unwrap().len();
    assert_eq!(count(list(&format!("organization={}", deployment.theirs)).await.expect(200)), 2);
    assert_eq!(count(list("api=plain").await.expect(200)), 0);
    assert_eq!(count(list(&format!("parent_id={}", created["id"].as_str().unwrap())).await.expect(200)), 1);
    let first = list("limit=1&api=envelope").await;
    let link = first.header("link").unwrap().to_owned();
    let next = link.strip_prefix('<').unwrap().strip_suffix(">; rel=\"next\"").unwrap();
    let second = deployment.operator(&format!("GET {next}")).send().await;
    assert_eq!(second.header("link"), None);
    assert_ne!(second.expect(200)["data"][0]["id"], first.json()["data"][0]["id"]);
}

#[tokio::test]
async fn bad_requests_are_refused_with_the_field() {
    let deployment = Deployment::start().await;
    let mine = json!(deployment.mine);
    let unknown = format!("org_{}", "0".repeat(26));
    let cases = [
        (json!({"name": "n", "api": "plain"}), 400, Some("organization")),
        (json!({"name": "n", "organization": "org_x", "api": "plain"}), 400, Some("organization")),
        (json!({"name": "n", "organization": unknown, "api": "plain"}), 404, None),
        (json!({"name": "n", "organization": mine}), 400, Some("api")),
        (json!({"name": "n", "organization": mine, "api": "nope"}), 404, None),
        (json!({"name": "n", "organization": mine, "api": "plain", "kind": "ephemeral"}), 400, Some("parent_id")),
        (
            json!({"name": "n", "organization": mine, "api": "plain", "parent_id": format!("key_{}", "0".repeat(26))}),
            400,
            Some("parent_id"),
        ),
        (json!({"name": "n", "organization": mine, "api": "plain", "secret": "x"}), 400, Some("secret")),
    ];
    for (body, status, field) in cases {
        let error = deployment.operator("POST /admin/v1/keys").json(&body).send().await.error();
        assert_eq!((error.0, error.2.as_deref()), (status, field), "{body}");
    }
    let usage = |query: &str| deployment.operator(&format!("GET /admin/v1/usage?{query}")).send();
    assert_eq!(usage("api=plain").await.error().2.as_deref(), Some("organization"));
    assert_eq!(usage(&format!("organization={}", deployment.mine)).await.error().2.as_deref(), Some("api"));
    assert_eq!(usage(&format!("organization={unknown}&api=plain")).await.error().0, 404);
    let report = usage(&format!("organization={}&api=plain", deployment.mine)).await.expect(200);
    assert_eq!((&report["organization"]["total"], report.get("key")), (&json!(0), None));
}
