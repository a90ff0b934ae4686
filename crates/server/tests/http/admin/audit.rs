//! `/admin/v1/audit`

use serde_json::{Value, json};

use crate::deployment::Deployment;

fn numbers(list: &Value) -> Vec<i64> {
    list["data"].as_array().unwrap().iter().map(|event| event["number"].as_i64().unwrap()).collect()
}

/// The operator's first request at the socket is an event by itself.
async fn sign_in(deployment: &Deployment) {
    deployment.operator("GET /admin/v1/apis").send().await.expect(200);
    deployment.app.write_visits(false).await;
}

#[tokio::test]
async fn the_log_is_listed_by_every_filter() {
    let deployment = Deployment::start().await;
    sign_in(&deployment).await;
    let holder = deployment.full().await;
    let token = deployment.admin_token().await;
    deployment.clock.advance_seconds(60);
    let rename = json!({"name": "renamed"});
    let path = format!("PATCH /v1/api-keys/{}", holder.id);
    deployment.public(&path).bearer(&holder.secret).json(&rename).send().await.expect(200);
    deployment.internal("POST /admin/v1/organizations").bearer(&token).json(&rename).send().await.expect(201);
    deployment.app.write_visits(false).await;
    let list =
        async |query: &str| deployment.operator(&format!("GET /admin/v1/audit?{query}")).send().await.expect(200);
    // Two definitions, two organizations, the operator's sign-in, a key, a token, then these and the token's sign-in.
    let all = list("").await;
    assert_eq!(numbers(&all), [10, 9, 8, 7, 6, 5, 4, 3, 2, 1]);
    let expected = json!({
        "number": 8, "at": "2026-01-15T10:31:00Z", "actor": holder.id, "source": "203.0.113.7", "action": "key.updated",
        "target": holder.id, "organization": deployment.mine, "before": {"name": "a key"}, "after": {"name": "renamed"},
        "revision": 8,
    });
    assert_eq!(all["data"][2], expected);
    assert_eq!(numbers(&list(&format!("target={}", holder.id)).await), [8, 6]);
    assert_eq!(numbers(&list(&format!("organization={}", deployment.mine)).await), [8, 6, 3]);
    assert_eq!(numbers(&list(&format!("actor={}", holder.id)).await), [8]);
    assert_eq!(numbers(&list("actor=operator&action=organization.created").await), [4, 3]);
    assert_eq!(numbers(&list("since=2026-01-15T10:31:00Z").await), [10, 9, 8]);
    assert_eq!(numbers(&list("until=2026-01-15T10:31:00Z&limit=2").await), [7, 6]);
    let first = deployment.operator("GET /admin/v1/audit?action=organization.created&limit=1").send().await;
    let link = first.header("link").unwrap().to_owned();
    let next = link.strip_prefix('<').unwrap().strip_suffix(">; rel=\"next\"").unwrap();
    assert_eq!(numbers(&deployment.operator(&format!("GET {next}")).send().await.expect(200)), [4]);
    assert_eq!(first.expect(200)["next_cursor"], "9");

    for (query, field) in [
        ("organization=key_x", "organization"),
        ("actor=root", "actor"),
        ("action=key.eaten", "action"),
        ("target=a%20b", "target"),
        ("since=yesterday", "since"),
        ("limit=201", "limit"),
        ("cursor=x", "cursor"),
        ("who=me", "who"),
    ] {
        let reply = deployment.operator(&format!("GET /admin/v1/audit?{query}")).send().await;
        assert_eq!(reply.error().2.as_deref(), Some(field), "{query}");
    }
}

#[tokio::test]
async fn the_log_is_verified_and_its_head_recognised() {
    let deployment = Deployment::start().await;
    sign_in(&deployment).await;
    let verify =
        async |query: &str| deployment.operator(&format!("GET /admin/v1/audit/verification{query}")).send().await;
    let found = verify("").await.expect(200);
    assert_eq!((&found["events"], &found["head"]["number"], &found["first_bad"]), (&json!(5), &json!(5), &Value::Null));
    let hash = found["head"]["hash"].as_str().unwrap();
    deployment.full().await;
    let later = verify(&format!("?expected=5:{hash}")).await.expect(200);
    assert_eq!((&later["events"], &later["first_bad"]), (&json!(6), &Value::Null));
    let other = verify(&format!("?expected=3:{hash}")).await.expect(200);
    assert_eq!((&other["events"], &other["first_bad"]["number"]), (&json!(3), &json!(3)));
    let cut_off = verify(&format!("?expected=7:{hash}")).await.expect(200);
    assert_eq!((&cut_off["events"], &cut_off["first_bad"]["number"]), (&json!(6), &json!(7)));
    assert!(cut_off["first_bad"]["reason"].as_str().unwrap().contains("cut off"));
    let part = verify("?limit=3").await.expect(200);
    assert_eq!((&part["events"], &part["head"]["number"], &part["more"]), (&json!(3), &json!(3), &json!(true)));
    let rest = verify(&format!("?limit=3&after=3:{}", part["head"]["hash"].as_str().unwrap())).await.expect(200);
    assert_eq!((&rest["events"], &rest["first_bad"], &rest["more"]), (&json!(3), &Value::Null, &json!(false)));
    for query in ["?expected=4", "?expected=4:00", "?expect=4", "?limit=0", "?after=3"] {
        assert_eq!(verify(query).await.error().0, 400, "{query}");
    }
}

#[tokio::test]
async fn the_log_is_exported_line_by_line() {
    let deployment = Deployment::start().await;
    sign_in(&deployment).await;
    let mut next = Some("/admin/v1/audit/export?after=1&limit=2".to_owned());
    let mut lines = Vec::new();
    while let Some(path) = next {
        let reply = deployment.operator(&format!("GET {path}")).send().await;
        assert_eq!(reply.header("content-type"), Some("application/x-ndjson"));
        assert!(reply.text.is_empty() || reply.text.ends_with('\n'));
        lines.extend(reply.text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()));
        let link = reply.header("link").map(|link| link.strip_prefix('<').unwrap().to_owned());
        next = link.map(|link| link.strip_suffix(">; rel=\"next\"").unwrap().to_owned());
    }
    assert_eq!(lines.iter().map(|line| line["event"]["number"].as_i64().unwrap()).collect::<Vec<_>>(), [2, 3, 4, 5]);
    let verified = deployment.operator("GET /admin/v1/audit/verification").send().await.expect(200);
    assert_eq!(lines[3]["hash"], verified["head"]["hash"]);
    for query in ["after=-1", "after=x", "limit=0", "limit=10001", "from=1"] {
        let reply = deployment.operator(&format!("GET /admin/v1/audit/export?{query}")).send().await;
        assert_eq!(reply.error().0, 400, "{query}");
    }
}
