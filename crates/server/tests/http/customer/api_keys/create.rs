//! `POST {base}/api-keys`

use claviger_app::{CreateKey, Lifetime};
use claviger_domain::definition::{API_KEYS_READ, API_KEYS_WRITE};
use claviger_domain::restriction::Restrictions;
use serde_json::{Value, json};

use crate::deployment::{Deployment, blank, restricted};

const CREATE: &str = "POST /v1/api-keys";

#[tokio::test]
async fn a_new_key_is_shown_with_its_secret_once() {
    let deployment = Deployment::start().await;
    let holder = deployment.full().await;
    let body = json!({
        "name": "Production server", "kind": "restricted", "environment": "live", "scopes": ["things:read"],
        "restrictions": {"ip": ["203.0.113.0/24"], "referrer": null}, "ttl_seconds": 60, "metadata": {"team": "a"},
    });
    let reply = deployment.public(CREATE).bearer(&holder.secret).json(&body).send().await;
    let (location, etag) = (reply.header("location").unwrap().to_owned(), reply.header("etag").unwrap().to_owned());
    let revision = reply.header("claviger-revision").unwrap().to_owned();
    let created = reply.expect(201);
    assert_eq!(location, format!("/v1/api-keys/{}", created["id"].as_str().unwrap()));
    assert_eq!(etag, format!("\"{revision}\""));
    let secret = created["secret"].as_str().unwrap();
    assert!(secret.starts_with("pl_rlive_") && secret.ends_with(created["hint"].as_str().unwrap()));
    assert_eq!(created["expires_at"], "2026-01-15T10:31:00Z");
    assert_eq!(created["created_by"], holder.id.to_string());
    assert_eq!(created["restrictions"], json!({"ip": ["203.0.113.0/24"], "referrer": null, "endpoint": null}));

    let shown = deployment.public(&format!("GET {location}")).bearer(&holder.secret).send().await.expect(200);
    let mut expected = created.clone();
    expected.as_object_mut().unwrap().remove("secret");
    assert_eq!(shown, expected);
    let keys: Vec<&String> = shown.as_object().unwrap().keys().collect();
    let in_order = "id name kind environment prefix hint scopes restrictions parent_id metadata state created_at \
                    created_by expires_at last_used rotated_at overlap_ends_at revoked_at revoked_reason";
    assert_eq!(keys, in_order.split_whitespace().collect::<Vec<_>>());
}

#[tokio::test]
async fn an_api_answers_in_its_own_form() {
    let deployment = Deployment::start().await;
    let holder = deployment.create_of("envelope", deployment.mine, blank()).await;
    let create = |body: Value| deployment.public("POST /e1/api-keys").bearer(&holder.secret).json(&body).send();
    let created = create(json!({"name": "x"})).await.expect(201);
    assert_eq!(created["success"], true);
    assert!(created["data"]["secret"].as_str().unwrap().starts_with("en_slive_"));
    let refused = create(json!({"name": ""})).await;
    assert_eq!(refused.header("content-type"), Some("application/json"));
    let expected = json!({"success": false, "error": {
        "code": "invalid_request", "message": "name: must not be empty", "status": 400, "field": "name",
    }});
    assert_eq!(refused.json(), expected);
}

#[tokio::test]
async fn bad_bodies_are_refused_with_the_field() {
    let deployment = Deployment::start().await;
    let holder = deployment.full().await;
    let check = async |body: Value, field: &str| {
        let reply = deployment.public(CREATE).bearer(&holder.secret).json(&body).send().await;
        assert_eq!(
            reply.error(),
            (400, "invalid_request".to_owned(), Some(field.to_owned())),
            "{body}: {}",
            reply.text
        );
    };
    let with = |name: &str, value: Value| {
        let mut body = json!({"name": "x"});
        body[name] = value;
        body
    };
    check(json!({}), "name").await;
    for name in [json!(1), json!(null), json!(""), json!("  "), json!(" x"), json!("a\nb"), json!("x".repeat(101))] {
        check(json!({"name": name}), "name").await;
    }
    check(with("colour", json!("red")), "colour").await;
    check(with("organization", json!(deployment.theirs)), "organization").await;
    check(with("parent_id", json!(holder.id)), "parent_id").await;
    check(with("kind", json!("Secret")), "kind").await;
    check(with("kind", json!(["secret"])), "kind").await;
    check(with("environment", json!("prod")), "environment").await;
    check(with("prefix", json!("xx_")), "prefix").await;
    check(json!({"name": "x", "prefix": "pl_slive_", "kind": "restricted"}), "prefix").await;
    check(json!({"name": "x", "kind": "restricted"}), "scopes").await;
    check(json!({"name": "x", "kind": "restricted", "scopes": ["*"]}), "scopes").await;
    for scopes in
        [json!(["nothing:read"]), json!(["*", "things:read"]), json!(["things:read", "things:read"]), json!("*")]
    {
        check(with("scopes", scopes), "scopes").await;
    }
    check(with("scopes", json!([1])), "scopes[0]").await;
    check(with("restrictions", json!([])), "restrictions").await;
    check(with("restrictions", json!({"ips": []})), "restrictions.ips").await;
    check(with("restrictions", json!({"ip": "10.0.0.0/8"})), "restrictions.ip").await;
    check(with("restrictions", json!({"ip": ["10.0.0.0/8", "10.0.0.1/8"]})), "restrictions.ip[1]").await;
    check(with("restrictions", json!({"ip": ["10.0.0.0/8", "10.0.0.0/8"]})), "restrictions.ip").await;
    check(with("restrictions", json!({"ip": ["0.0.0.0/0"]})), "restrictions.ip").await;
    let many: Vec<String> = (0..51).map(|host| format!("10.0.0.{host}")).collect();
    check(with("restrictions", json!({"ip": many})), "restrictions.ip").await;
    check(with("restrictions", json!({"referrer": ["https://example.com"]})), "restrictions.referrer[0]").await;
    check(with("restrictions", json!({"endpoint": ["get /v1/things"]})), "restrictions.endpoint[0]").await;
    check(with("restrictions", json!({"endpoint": ["GET /v2/things"]})), "restrictions.endpoint").await;
    let contradictory = json!({
        "name": "x", "kind": "restricted", "scopes": ["things:read"], "restrictions": {"endpoint": ["GET /v1/api-keys"]},
    });
    check(contradictory, "restrictions.endpoint").await;
    for ttl in [
        json!(0),
        json!(-1),
        json!(i64::MAX),
        json!(i64::MIN),
        json!(u64::MAX),
        json!(1.5),
        json!("60"),
        json!(366 * 24 * 3600 * 10 + 1),
    ] {
        check(with("ttl_seconds", ttl), "ttl_seconds").await;
    }
    let ephemeral = |ttl: i64| json!({"name": "x", "kind": "ephemeral", "ttl_seconds": ttl});
    check(ephemeral(24 * 3600 + 1), "ttl_seconds").await;
    let dates = ["2026-01-15T10:30:00Z", "2020-01-01T00:00:00Z", "2036-06-01T00:00:00Z", "2027-01-01", "tomorrow", ""];
    for expires_at in dates {
        check(with("expires_at", json!(expires_at)), "expires_at").await;
    }
    check(json!({"name": "x", "ttl_seconds": 60, "expires_at": "2027-01-01T00:00:00Z"}), "ttl_seconds").await;
    check(with("metadata", json!("x")), "metadata").await;
    check(with("metadata", json!({"x": "x".repeat(4096)})), "metadata").await;
    check(with("allow_any_ip", json!("yes")), "allow_any_ip").await;
}

#[tokio::test]
async fn what_is_not_one_json_document_is_refused() {
    let deployment = Deployment::start().await;
    let holder = deployment.full().await;
    let check = async |content_type: Option<&str>, body: &[u8], expected: (u16, &str, Option<&str>)| {
        let call = deployment.public(CREATE).bearer(&holder.secret).raw(body);
        let call = content_type.into_iter().fold(call, |call, content_type| call.header("content-type", content_type));
        let (status, code, field) = call.send().await.error();
        let shown = String::from_utf8_lossy(&body[..body.len().min(60)]);
        assert_eq!((status, code.as_str(), field.as_deref()), expected, "{content_type:?} {shown}");
    };
    const JSON: Option<&str> = Some("application/json");
    let (syntax, media) = ((400, "invalid_request", None), (415, "unsupported_media_type", None));
    for body in ["", "{", "{\"name\":}", "{\"name\":\"x\"} x", "name=x", "[]", "\"x\"", "null", "{'name':'x'}"] {
        check(JSON, body.as_bytes(), syntax).await;
    }
    check(JSON, b"{\"name\":\"\xff\"}", syntax).await;
    check(JSON, b"\xef\xbb\xbf{\"name\":\"x\"}", syntax).await;
    check(
        JSON,
        format!("{{\"name\":\"x\",\"metadata\":{}1{}}}", "{\"a\":".repeat(200), "}".repeat(200)).as_bytes(),
        syntax,
    )
    .await;
    check(JSON, br#"{"name":"x","name":"y"}"#, (400, "invalid_request", Some("name"))).await;
    check(JSON, br#"{"name":"x","metadata":{"a":1,"a":2}}"#, (400, "invalid_request", Some("metadata.a"))).await;
    for content_type in
        [None, Some("text/plain"), Some("application/x-www-form-urlencoded"), Some("application/json-patch+json")]
    {
        check(content_type, br#"{"name":"x"}"#, media).await;
    }
    let large = format!("{{\"name\":\"x\",\"metadata\":{{\"a\":\"{}\"}}}}", "x".repeat(64 * 1024));
    check(JSON, large.as_bytes(), (413, "payload_too_large", None)).await;
    let announced = deployment
        .public(CREATE)
        .bearer(&holder.secret)
        .body("application/json", "{}")
        .header("content-length", "9999999");
    assert_eq!(announced.send().await.status, 413);
    let accepted =
        deployment.public(CREATE).bearer(&holder.secret).body("Application/JSON; charset=utf-8", r#"{"name":"x"}"#);
    assert_eq!(accepted.send().await.status, 201);
    let queried = deployment.public("POST /v1/api-keys?name=x").bearer(&holder.secret).json(&json!({"name": "x"}));
    assert_eq!(queried.send().await.error(), (400, "invalid_request".to_owned(), Some("name".to_owned())));
}

#[tokio::test]
async fn a_misplaced_secret_is_not_repeated() {
    let deployment = Deployment::start().await;
    let holder = deployment.full().await;
    let secret = holder.secret.as_str();
    for body in [
        json!({ secret: 1 }),
        json!({"name": "x", "kind": secret}),
        json!({"name": "x", "scopes": [secret]}),
        json!({"name": "x", "ttl_seconds": secret}),
    ] {
        let reply = deployment.public(CREATE).bearer(secret).json(&body).send().await;
        assert_eq!(reply.status, 400);
        assert!(!reply.text.contains(&secret[9..]), "{}", reply.text);
    }
}

#[tokio::test]
async fn a_key_grants_no_more_than_it_holds() {
    let deployment = Deployment::start().await;
    let writer = deployment.restricted(&[API_KEYS_WRITE, API_KEYS_READ]).await;
    let only = restricted(&[API_KEYS_WRITE]);
    let ip = Restrictions { ip: Some(vec!["203.0.113.0/24".parse().unwrap()]), ..Restrictions::NONE };
    let at_home = deployment.create(deployment.mine, CreateKey { restrictions: ip, ..only.clone() }).await;
    let dying = CreateKey { lifetime: Some(Lifetime::TtlSeconds(3600)), ..blank() };
    let dying = deployment.create(deployment.mine, dying).await;
    let check = async |secret: &str, body: Value, expected: u16| {
        let reply = deployment.public(CREATE).bearer(secret).json(&body).send().await;
        assert_eq!(reply.status, expected, "{body}: {}", reply.text);
        reply
    };
    let restricted = |scopes: &[&str]| json!({"name": "x", "kind": "restricted", "scopes": scopes});
    check(&writer.secret, json!({"name": "x"}), 403).await;
    check(&writer.secret, restricted(&["things:read"]), 403).await;
    check(&writer.secret, restricted(&[API_KEYS_READ]), 201).await;
    let wider = json!({"name": "x", "kind": "restricted", "scopes": [API_KEYS_WRITE], "restrictions": {"ip": ["203.0.0.0/16"]}});
    check(&at_home.secret, wider, 403).await;
    let inherited = check(&at_home.secret, restricted(&[API_KEYS_WRITE]), 201).await.json();
    assert_eq!(inherited["restrictions"]["ip"], json!(["203.0.113.0/24"]));
    check(&dying.secret, json!({"name": "x", "ttl_seconds": 3601}), 403).await;
    check(&dying.secret, json!({"name": "x", "ttl_seconds": 3600}), 201).await;
}
