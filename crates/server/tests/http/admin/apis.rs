//! `/admin/v1/apis`

use serde_json::json;

use crate::deployment::Deployment;

fn definition(prefix: &str) -> String {
    format!(
        "name = \"new\"\ntitle = \"New\"\nbase_path = \"/new\"\n[[keys]]\nprefix = \"{prefix}\"\nkind = \"secret\"\n\
         environment = \"live\"\nalphabet = \"base62\"\nlength = 32\n"
    )
}

#[tokio::test]
async fn applying_twice_changes_nothing() {
    let deployment = Deployment::start().await;
    let put = |query: &str| {
        deployment.operator(&format!("PUT /admin/v1/apis/new{query}")).body("application/toml", definition("new_"))
    };
    let dry = put("?dry_run=true").send().await.expect(200);
    assert_eq!((&dry["created"], &dry["applied"], &dry["revision"]), (&json!(true), &json!(false), &json!(null)));
    assert_eq!(deployment.operator("GET /admin/v1/apis/new").send().await.error().0, 404);
    let reply = put("").send().await;
    let revision: i64 = reply.header("claviger-revision").unwrap().parse().unwrap();
    let applied = reply.expect(200);
    assert_eq!((&applied["applied"], &applied["revision"]), (&json!(true), &json!(revision)));
    let again = put("?dry_run=false").send().await;
    assert_eq!(again.header("claviger-revision"), None);
    assert_eq!(again.expect(200)["differences"], json!([]));
    let shown = deployment.operator("GET /admin/v1/apis/new").send().await.expect(200);
    assert_eq!((&shown["base_path"], &shown["formats"][0]["prefix"]), (&json!("/new"), &json!("new_")));
    assert!(
        shown["endpoints"]
            .as_array()
            .unwrap()
            .contains(&json!({"endpoint": "GET /new/api-keys", "scope": "api_keys:read", "cost": 0}))
    );
    let list = deployment.operator("GET /admin/v1/apis").send().await.expect(200);
    let names: Vec<_> = list["data"].as_array().unwrap().iter().map(|api| api["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["envelope", "new", "plain"]);
    // At once, without a restart.
    assert_eq!(deployment.public("GET /new/api-keys").send().await.status, 401);
}

#[tokio::test]
async fn bad_definitions_are_refused() {
    let deployment = Deployment::start().await;
    let check = async |what: &str, content_type: &str, body: &str, expected: (u16, Option<&str>)| {
        let reply = deployment.operator(what).body(content_type, body).send().await;
        let (status, _, field) = reply.error();
        assert_eq!((status, field.as_deref()), expected, "{what} {content_type}: {}", reply.text);
        reply.text
    };
    let (put, toml) = ("PUT /admin/v1/apis/new", "application/toml");
    check("PUT /admin/v1/apis/other", toml, &definition("new_"), (400, Some("name"))).await;
    check("PUT /admin/v1/apis/NEW", toml, &definition("new_"), (404, None)).await;
    check("PUT /admin/v1/apis/new?dry=true", toml, &definition("new_"), (400, Some("dry"))).await;
    check("PUT /admin/v1/apis/new?dry_run=yes", toml, &definition("new_"), (400, Some("dry_run"))).await;
    check(put, "application/json", "{}", (415, None)).await;
    check(put, toml, "name = ", (400, None)).await;
    check(put, toml, "", (400, None)).await;
    let clash = check(put, "text/plain; charset=utf-8", &definition("pl_slive_"), (409, None)).await;
    assert!(clash.contains("plain"), "{clash}");
    let two = check(put, toml, &definition("x!").replace("32", "3"), (400, None)).await;
    assert!(two.contains("prefix") && two.contains("random bits"), "{two}");
    check(put, toml, &"#".repeat(256 * 1024 + 1), (413, None)).await;
}
