//! `GET {base}/api-keys`

use claviger_app::CreateKey;
use claviger_domain::key::Kind;
use serde_json::json;

use crate::deployment::{Deployment, blank, restricted};

#[tokio::test]
async fn pages_are_walked_to_the_end() {
    let deployment = Deployment::start().await;
    let holder = deployment.full().await;
    for _ in 0..4 {
        deployment.restricted(&["things:read"]).await;
        deployment.clock.advance_seconds(1);
    }
    let mut target = "/v1/api-keys?limit=2&kind=restricted".to_owned();
    let mut seen = Vec::new();
    loop {
        let reply = deployment.public(&format!("GET {target}")).bearer(&holder.secret).send().await;
        let link = reply.header("link").map(str::to_owned);
        let page = reply.expect(200);
        seen.extend(page["data"].as_array().unwrap().iter().map(|key| key["id"].as_str().unwrap().to_owned()));
        let Some(link) = link else {
            assert_eq!(page.get("next_cursor"), None);
            break;
        };
        assert!(link.contains(&format!("cursor={}", page["next_cursor"].as_str().unwrap())));
        target = link.strip_prefix('<').unwrap().strip_suffix(">; rel=\"next\"").unwrap().to_owned();
    }
    assert_eq!(seen.len(), 4);
    assert!(seen.is_sorted_by(|newer, older| newer > older), "{seen:?}");
}

#[tokio::test]
async fn a_list_is_in_the_api_s_form() {
    let deployment = Deployment::start().await;
    let holder = deployment.create_of("envelope", deployment.mine, blank()).await;
    let list = deployment.public("GET /e1/api-keys").bearer(&holder.secret).send().await.expect(200);
    assert_eq!(list["success"], true);
    assert_eq!(list["data"][0]["id"], holder.id.to_string());
    assert_eq!(list["data"][0]["last_used"], "2026-01-15T10:30:00Z");
    assert_eq!(list.as_object().unwrap().len(), 2);
}

#[tokio::test]
async fn filters_narrow() {
    let deployment = Deployment::start().await;
    let holder = deployment.full().await;
    let ephemeral = CreateKey { kind: Some(Kind::Ephemeral), parent_id: Some(holder.id), ..blank() };
    deployment.create(deployment.mine, ephemeral).await;
    deployment.create(deployment.mine, restricted(&["things:read"])).await;
    deployment.create(deployment.theirs, blank()).await;
    let count = async |query: &str| {
        let reply = deployment.public(&format!("GET /v1/api-keys{query}")).bearer(&holder.secret).send().await;
        reply.expect(200)["data"].as_array().unwrap().len()
    };
    assert_eq!(count("").await, 3);
    assert_eq!(count("?kind=ephemeral").await, 1);
    assert_eq!(count("?environment=test").await, 0);
    assert_eq!(count("?state=active&environment=live").await, 3);
    deployment.clock.advance_seconds(24 * 3600);
    assert_eq!(count("?state=expired").await, 1);
    assert_eq!(count("?state=active").await, 2);
}

#[tokio::test]
async fn bad_queries_are_refused_with_the_parameter() {
    let deployment = Deployment::start().await;
    let holder = deployment.full().await;
    let cases = [
        ("limit=0", "limit"),
        ("limit=201", "limit"),
        ("limit=-1", "limit"),
        ("limit=x", "limit"),
        ("limit=", "limit"),
        ("limit=1&limit=2", "limit"),
        ("cursor=", "cursor"),
        ("cursor=key_x", "cursor"),
        ("state=ACTIVE", "state"),
        ("kind=all", "kind"),
        ("environment=", "environment"),
        ("page=2", "page"),
        ("Limit=1", "Limit"),
        ("organization=org_1", "organization"),
        ("parent_id=key_1", "parent_id"),
    ];
    for (query, field) in cases {
        let reply = deployment.public(&format!("GET /v1/api-keys?{query}")).bearer(&holder.secret).send().await;
        assert_eq!(reply.error(), (400, "invalid_request".to_owned(), Some(field.to_owned())), "{query}");
    }
    // Nothing that authorises is ever read from a query.
    let reply = deployment.public(&format!("GET /v1/api-keys?api_key={}", holder.secret)).send().await;
    assert_eq!(reply.status, 401);
    let reply =
        deployment.public(&format!("GET /v1/api-keys?api_key={}", holder.secret)).bearer(&holder.secret).send().await;
    assert!(!reply.text.contains(&holder.secret[9..]), "{}", reply.text);
    let doubled = json!({"limit": 1});
    assert_eq!(deployment.public("GET /v1/api-keys").bearer(&holder.secret).json(&doubled).send().await.status, 200);
}
