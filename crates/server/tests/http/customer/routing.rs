//! Which api, which route, which words; and what the credential may look like.

use std::net::IpAddr;

use axum::Router;
use claviger_app::CreateKey;
use claviger_domain::peer::Peer;
use claviger_domain::restriction::Restrictions;

use crate::deployment::{Deployment, blank};
use crate::wire::{Call, Listener};

#[tokio::test]
async fn credentials_have_one_shape() {
    let deployment = Deployment::start().await;
    let holder = deployment.full().await;
    let secret = holder.secret.as_str();
    let check = async |lines: &[&[u8]], expected: u16| {
        let call = deployment.public("GET /v1/api-keys");
        let call = lines.iter().fold(call, |call, line| call.header("authorization", line));
        let reply = call.send().await;
        let shown: Vec<_> = lines.iter().map(|line| String::from_utf8_lossy(line)).collect();
        assert_eq!(reply.status, expected, "{shown:?}");
        reply
    };
    let bearer = format!("Bearer {secret}");
    check(&[bearer.as_bytes()], 200).await;
    check(&[format!("bearer {secret}").as_bytes()], 200).await;
    check(&[format!("BEARER {secret}").as_bytes()], 200).await;
    let missing = check(&[], 401).await;
    assert_eq!(missing.header("www-authenticate"), Some("Bearer realm=\"plain\""));
    let invalid = check(&[b"Bearer x"], 401).await;
    let refused: [Vec<u8>; 12] = [
        format!("Basic {secret}").into(),
        secret.into(),
        format!("Bearer  {secret}").into(),
        format!("Bearer\t{secret}").into(),
        format!("Bearer {secret} ").into(),
        format!("Bearer {secret}, Bearer {secret}").into(),
        format!("Bearer \"{secret}\"").into(),
        format!("Bearer {}", secret.to_uppercase()).into(),
        format!("Bearer {}", &secret[..secret.len() - 1]).into(),
        format!("Bearer {secret}x").into(),
        b"Bearer pl_slive_\xc3\xa9".to_vec(),
        b"".to_vec(),
    ];
    for line in &refused {
        let reply = check(&[line], 401).await;
        assert_eq!(reply.text, invalid.text);
        assert_eq!(reply.header("www-authenticate"), invalid.header("www-authenticate"));
    }
    assert_eq!(check(&[bearer.as_bytes(), bearer.as_bytes()], 401).await.text, invalid.text);
    assert_eq!(check(&[bearer.as_bytes(), b"Basic eDp5"], 401).await.text, invalid.text);
    for (name, value) in [("x-api-key", secret), ("cookie", &format!("key={secret}")), ("proxy-authorization", &bearer)]
    {
        let reply = deployment.public("GET /v1/api-keys").header(name, value).send().await;
        assert_eq!(reply.text, missing.text, "{name}");
    }
}

#[tokio::test]
async fn without_a_key_nothing_is_learnt() {
    let deployment = Deployment::start().await;
    let expected = deployment.public("GET /v1/api-keys").send().await;
    assert_eq!(expected.status, 401);
    let unknown = format!("key_{}", "0".repeat(26));
    for what in [
        "POST /v1/api-keys".to_owned(),
        "PUT /v1/api-keys".to_owned(),
        "OPTIONS /v1/api-keys".to_owned(),
        "BREW /v1/api-keys".to_owned(),
        format!("GET /v1/api-keys/{unknown}"),
        format!("GET /v1/api-keys/{unknown}/rotate"),
        format!("POST /v1/api-keys/{unknown}/nothing"),
        "GET /v1/api-keys/".to_owned(),
        "GET /v1/api-keys//x".to_owned(),
        "GET /v1/api-keys/../api-keys".to_owned(),
        "GET /v1/api-keys/%2e%2e/x".to_owned(),
        "GET /v1//api-keys".to_owned(),
        "POST /v1/account/usage".to_owned(),
        "GET /v1/account/usage/x".to_owned(),
    ] {
        let reply = deployment.public(&what).send().await;
        assert_eq!((reply.status.as_u16(), &reply.text), (401, &expected.text), "{what}");
        assert_eq!(reply.header("allow"), None, "{what}");
    }
}

#[tokio::test]
async fn with_a_key_wrong_methods_and_paths_are_told_apart() {
    let deployment = Deployment::start().await;
    let holder = deployment.full().await;
    let check = async |what: &str, expected: (u16, &str), allow: Option<&str>| {
        let reply = deployment.public(what).bearer(&holder.secret).send().await;
        let (status, code, _) = reply.error();
        assert_eq!((status, code.as_str()), expected, "{what}");
        assert_eq!(reply.header("allow"), allow, "{what}");
    };
    let (not_allowed, not_found) = ((405, "method_not_allowed"), (404, "not_found"));
    check("PUT /v1/api-keys", not_allowed, Some("GET,HEAD,POST")).await;
    check(&format!("POST /v1/api-keys/{}", holder.id), not_allowed, Some("GET,HEAD,PATCH,DELETE")).await;
    check(&format!("GET /v1/api-keys/{}/rotate", holder.id), not_allowed, Some("POST")).await;
    check("DELETE /v1/account/usage", not_allowed, Some("GET,HEAD")).await;
    check("GET /v1/api-keys/x/y", not_found, None).await;
    check("GET /v1/account/usage/x", not_found, None).await;
    check("GET /v1/things", not_found, None).await;
    check("GET /v1", not_found, None).await;
    check("GET /nothing", not_found, None).await;
    // A path that is not canonical is nobody's endpoint, whatever a router would make of it.
    for what in
        ["GET /v1/api-keys/", "GET /v1//api-keys", "GET /v1/./api-keys", "GET /v1/api%2Dkeys", "BREW /v1/api-keys"]
    {
        check(what, (403, "endpoint_not_allowed"), None).await;
    }
}

#[tokio::test]
async fn host_path_and_secret_choose_the_api() {
    let deployment = Deployment::start().await;
    let holder = deployment.full().await;
    let realm = async |call: Call| call.send().await.header("www-authenticate").unwrap_or("none").to_owned();
    assert_eq!(realm(deployment.public("GET /e1/api-keys")).await, "Bearer realm=\"envelope\"");
    let elsewhere = deployment.public("GET /e1/api-keys").bearer(&holder.secret).send().await;
    assert_eq!((elsewhere.status.as_u16(), elsewhere.error().1), (401, "invalid".to_owned()));
    let by_host = deployment.public("GET /v1/api-keys").header("host", "PLAIN.example.com:8080");
    assert_eq!(by_host.clone().bearer(&holder.secret).send().await.status, 200);
    // A host that belongs to another api: the path is not below its base path.
    let other_host =
        deployment.public("GET /v1/api-keys").header("host", "envelope.example.com").bearer(&holder.secret);
    assert_eq!(other_host.undocumented().send().await.status, 404);
}

#[tokio::test]
async fn what_is_not_the_customer_api_s_goes_to_the_fallback() {
    let deployment = Deployment::start().await;
    let upstream = Router::new()
        .fallback(|| async { (http::StatusCode::IM_A_TEAPOT, [("cache-control", "no-store")], "upstream") });
    let router = claviger_server::public_router(deployment.state.clone(), Some(upstream));
    for what in [
        "GET /v1/things",
        "GET /",
        "GET /nothing",
        "POST /v1/api-keysx",
        "GET /v1//api-keys",
        "GET /healthz",
        "GET /admin/v1/apis",
    ] {
        assert_eq!(Call::new(&router, Listener::Other, what).send().await.status, 418, "{what}");
    }
    for what in ["GET /v1/api-keys", "GET /v1/api-keys/", "GET /v1/account/usage", "POST /v1/account/alerts/x/close"] {
        assert_eq!(Call::new(&router, Listener::Other, what).send().await.status, 401, "{what}");
    }
    assert_eq!(Call::new(&router, Listener::Other, "GET /openapi.json").send().await.status, 200);
}

#[tokio::test]
async fn a_restricted_key_is_held_to_its_restrictions_here_too() {
    let deployment = Deployment::start().await;
    let rules = Restrictions { ip: Some(vec!["203.0.113.0/24".parse().unwrap()]), ..Restrictions::NONE };
    let key = deployment.create(deployment.mine, CreateKey { restrictions: rules, ..blank() }).await;
    let check = async |peer: Option<&str>, forwarded: Option<&str>, expected: u16| {
        let peer = peer.map(|text| Peer::Address(text.parse::<IpAddr>().unwrap()));
        let call = deployment.public("GET /v1/api-keys").bearer(&key.secret).peer(peer);
        let call = forwarded.into_iter().fold(call, |call, value| call.header("x-forwarded-for", value));
        assert_eq!(call.send().await.status, expected, "{peer:?} {forwarded:?}");
    };
    check(Some("203.0.113.9"), None, 200).await;
    check(Some("::ffff:203.0.113.9"), None, 200).await;
    check(Some("198.51.100.1"), None, 403).await;
    check(Some("198.51.100.1"), Some("203.0.113.9"), 403).await;
    check(Some("10.0.0.1"), Some("203.0.113.9"), 200).await;
    check(Some("10.0.0.1"), Some("203.0.113.9, 198.51.100.1"), 403).await;
    check(None, None, 403).await;
}

#[tokio::test]
async fn a_suspended_organization_is_shut_out() {
    let deployment = Deployment::start().await;
    let holder = deployment.full().await;
    let path = format!("PATCH /admin/v1/organizations/{}", deployment.mine);
    deployment.operator(&path).json(&serde_json::json!({"status": "suspended"})).send().await.expect(200);
    let reply = deployment.public("GET /v1/api-keys").bearer(&holder.secret).send().await;
    assert_eq!(reply.error(), (403, "subscription_inactive".to_owned(), None));
}
