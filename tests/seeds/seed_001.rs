//! Seed 001, "API Keys. All API requests require authentication using an API key."
//!
//! The requests go to the api's host name, as the document's do; one test sends each sort by address as well.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::curl::curl;
use crate::support::http::{Request, Response};
use crate::support::server::Server;
use crate::support::world::Key;
use crate::{by_address, check_error, is_random_part, rise};

const HOST: &str = "tork.network";
const KEYS: &str = "/api/v1/api-keys";
const USAGE: &str = "/api/v1/account/usage";

/// The example request, as printed.
const EXAMPLE: &str = r#"curl -X POST https://tork.network/api/v1/evaluate \
-H "Authorization: Bearer tork_sk_your_api_key_here" \
-H "Content-Type: application/json" \
-d '{"content": "Hello world", "checks": ["pii"]}'"#;

/// The key in it.
const PLACEHOLDER: &str = "tork_sk_your_api_key_here";

/// The example error, as printed.
const EXAMPLE_ERROR: &str = r#"{
"success": false,
"error": {
"code": "invalid_api_key",
"message": "The API key provided is invalid or has been revoked.",
"status": 401
}
}"#;

fn example_with(secret: &str) -> Request {
    curl(&EXAMPLE.replace(PLACEHOLDER, secret))
}

fn send(server: &Server, request: Request) -> Response {
    server.public(&request.host(HOST))
}

fn create(server: &Server, secret: &str, body: &Value) -> Key {
    Key::issued(&send(server, Request::post(KEYS).bearer(secret).json(body)).expect(201))
}

/// Every endpoint of the api, with a key id where one belongs.
fn every_endpoint(id: &str) -> Vec<Request> {
    vec![
        Request::post("/api/v1/evaluate").json(&json!({"content": "Hello world", "checks": ["pii"]})),
        Request::get(KEYS),
        Request::post(KEYS).json(&json!({"name": "Key"})),
        Request::get(&format!("{KEYS}/{id}")),
        Request::patch(&format!("{KEYS}/{id}")).json(&json!({"name": "Renamed"})),
        Request::delete(&format!("{KEYS}/{id}")),
        Request::post(&format!("{KEYS}/{id}/rotate")),
        Request::post(&format!("{KEYS}/{id}/disable")),
        Request::post(&format!("{KEYS}/{id}/enable")),
        Request::get(USAGE),
    ]
}

/// "All API requests require authentication using an API key."
#[test]
fn all_requests_require_authentication() {
    let server = Server::demo();
    let key = server.organization().key("tork", json!({}));
    for request in every_endpoint(&key.id) {
        check_error(&send(&server, request.clone()), 401, "missing_api_key");
        check_error(&by_address(&server, request), 401, "missing_api_key");
    }
    // What is not there needs a key too, so that nobody learns what is.
    check_error(&send(&server, Request::get("/api/v1/nothing")), 401, "missing_api_key");
    check_error(&send(&server, Request::delete("/api/v1/evaluate")), 401, "missing_api_key");
    // None of them did anything.
    let shown = send(&server, Request::get(&format!("{KEYS}/{}", key.id)).bearer(&key.secret)).expect(200);
    assert_eq!((&shown["data"]["name"], &shown["data"]["state"]), (&json!("Key"), &json!("active")));
    let list = send(&server, Request::get(KEYS).bearer(&key.secret)).expect(200);
    assert_eq!(list["data"].as_array().unwrap().len(), 1);
}

/// "tork_sk_xxxxxxxxxxxxxxxxxxxxxxxxxxxxx: API keys start with tork_sk_ followed by a random string."
#[test]
fn a_key_is_a_prefix_and_a_random_string() {
    let server = Server::demo();
    let organization = server.organization();
    let mut seen = BTreeSet::new();
    for _ in 0..20 {
        let key = organization.key("tork", json!({"prefix": "tork_sk_"}));
        let random = key.secret.strip_prefix("tork_sk_").unwrap();
        assert!(is_random_part(random, "xxxxxxxxxxxxxxxxxxxxxxxxxxxxx", u8::is_ascii_alphanumeric), "{random}");
        // No two begin alike: it is random from the first characters on.
        assert!(seen.insert(random[..8].to_owned()));
    }
}

/// "Your API key provides full access to your Tork account."
#[test]
fn a_key_provides_full_access() {
    let server = Server::demo();
    let organization = server.organization();
    let key = organization.key("tork", json!({"prefix": "tork_sk_"}));
    assert_eq!(key.body["scopes"], json!(["*"]));
    let other = organization.key("tork", json!({}));
    for request in every_endpoint(&other.id) {
        let response = send(&server, request.bearer(&key.secret));
        // A key that was revoked on the way cannot be changed any more; nothing is refused for want of access.
        assert!(matches!(response.status, 200 | 201 | 409), "{response:?}");
    }
}

/// "Authorization: Bearer tork_sk_your_api_key_here": the example with the key that is printed in it.
#[test]
fn the_example_as_printed_is_refused_as_printed() {
    let server = Server::demo();
    let printed = serde_json::from_str::<Value>(EXAMPLE_ERROR).unwrap();
    for response in [server.public(&curl(EXAMPLE)), by_address(&server, curl(EXAMPLE))] {
        assert_eq!(response.expect(401).to_string(), printed.to_string());
        assert_eq!(response.header("content-type"), Some("application/json"));
    }
}

/// "Example Request: curl -X POST https://tork.network/api/v1/evaluate": with a real key in its place.
#[test]
fn the_example_works_with_a_key() {
    let server = Server::demo();
    let key = server.organization().key("tork", json!({"prefix": "tork_sk_"}));
    let expected = json!({"success": true, "data": {"findings": [], "checked": ["pii"], "characters": 11}});
    for response in [server.public(&example_with(&key.secret)), by_address(&server, example_with(&key.secret))] {
        assert_eq!(response.expect(200), expected);
    }
    // The check that it asks for is a real one.
    let request = Request::post("/api/v1/evaluate").bearer(&key.secret);
    let request = request.json(&json!({"content": "Write to ada@example.com", "checks": ["pii"]}));
    let found = send(&server, request).expect(200);
    assert_eq!(found["data"]["findings"], json!([{"check": "pii", "type": "email", "start": 9, "end": 24}]));
}

/// "Secret Key | tork_sk_ | Full access | Server-side applications"
#[test]
fn secret_keys() {
    let server = Server::demo();
    let organization = server.organization();
    let first = organization.key("tork", json!({"kind": "secret", "prefix": "tork_sk_"}));
    let made_with_it = create(&server, &first.secret, &json!({"name": "Server", "prefix": "tork_sk_"}));
    for key in [&first, &made_with_it] {
        assert!(key.secret.starts_with("tork_sk_"));
        assert_eq!((&key.body["kind"], &key.body["scopes"]), (&json!("secret"), &json!(["*"])));
        assert_eq!((&key.body["expires_at"], &key.body["parent_id"]), (&Value::Null, &Value::Null));
        for request in
            [example_with(&key.secret), Request::get(KEYS).bearer(&key.secret), Request::get(USAGE).bearer(&key.secret)]
        {
            by_address(&server, request).expect(200);
        }
    }
}

/// "Restricted Key | tork_rk_ | Limited endpoints | Specific integrations"
#[test]
fn restricted_keys() {
    let server = Server::demo();
    let organization = server.organization();
    let secret = organization.key("tork", json!({}));
    let cases = [
        (json!(["evaluate"]), 200, 403, 403),
        (json!(["usage:read"]), 403, 200, 403),
        (json!(["api_keys:read"]), 403, 403, 200),
        (json!(["evaluate", "usage:read"]), 200, 200, 403),
        (json!([]), 403, 403, 403),
    ];
    for (scopes, evaluated, usage, listed) in cases {
        let key =
            create(&server, &secret.secret, &json!({"name": "Integration", "kind": "restricted", "scopes": scopes}));
        assert!(key.secret.starts_with("tork_rk_"));
        assert_eq!((&key.body["kind"], &key.body["scopes"]), (&json!("restricted"), &scopes));
        let calls = [
            (example_with(&key.secret), evaluated),
            (Request::get(USAGE).bearer(&key.secret).host(HOST), usage),
            (Request::get(KEYS).bearer(&key.secret).host(HOST), listed),
        ];
        for (request, status) in calls {
            let response = server.public(&request);
            assert_eq!(response.status, status, "{scopes} {request:?}");
            if status == 403 {
                check_error(&response, 403, "insufficient_permissions");
            }
        }
    }
    // Which endpoints, it must say; and all of them it cannot have.
    for body in [json!({"kind": "restricted"}), json!({"kind": "restricted", "scopes": ["*"]})] {
        let refused = organization.try_key("tork", body.clone()).expect(400);
        assert_eq!(refused["field"], "scopes", "{body}");
    }
}

/// "Restricted Key | Limited endpoints": endpoints can be named one by one as well.
#[test]
fn restricted_keys_with_named_endpoints() {
    let server = Server::demo();
    let wish = json!({
        "kind": "restricted",
        "scopes": ["evaluate", "usage:read"],
        "restrictions": {"endpoint": ["GET /api/v1/account/*"]},
    });
    let key = server.organization().key("tork", wish);
    send(&server, Request::get(USAGE).bearer(&key.secret)).expect(200);
    check_error(&server.public(&example_with(&key.secret)), 403, "insufficient_permissions");
}

/// "Ephemeral Key | tork_ek_ | Session-scoped | Temporary agent sessions"
#[test]
fn ephemeral_keys() {
    let server = Server::demo();
    let organization = server.organization();
    let parent = organization.key("tork", json!({}));
    let body = json!({"name": "Agent session", "kind": "ephemeral", "scopes": ["evaluate"], "ttl_seconds": 600});
    let key = create(&server, &parent.secret, &body);
    assert!(key.secret.starts_with("tork_ek_"));
    assert_eq!((&key.body["kind"], &key.body["parent_id"]), (&json!("ephemeral"), &json!(parent.id)));
    assert!(key.body["expires_at"].is_string());
    server.public(&example_with(&key.secret)).expect(200);
    check_error(&send(&server, Request::get(USAGE).bearer(&key.secret)), 403, "insufficient_permissions");
    // Every one of them ends, a day later at most.
    let unsaid = create(&server, &parent.secret, &json!({"name": "Agent session", "kind": "ephemeral"}));
    assert!(unsaid.body["expires_at"].is_string());
    for ttl_seconds in [0, -1, 86_401] {
        let body = json!({"name": "Agent session", "kind": "ephemeral", "ttl_seconds": ttl_seconds});
        let refused = send(&server, Request::post(KEYS).bearer(&parent.secret).json(&body)).expect(400);
        assert_eq!(refused["error"]["field"], "ttl_seconds");
    }
    // A session makes no sessions, and no keys that outlive it.
    for kind in ["ephemeral", "secret", "restricted"] {
        let body = json!({"name": "Key", "kind": kind, "scopes": ["evaluate"]});
        let refused = send(&server, Request::post(KEYS).bearer(&unsaid.secret).json(&body));
        check_error(&refused, 403, "insufficient_permissions");
    }
}

/// "Ephemeral Key | Session-scoped": whatever ends the key that it was made with ends it too, at once.
#[test]
fn ephemeral_keys_end_with_their_parent() {
    let server = Server::demo();
    let organization = server.organization();
    let admin = organization.key("tork", json!({}));
    let parent_and_child = || {
        let parent = organization.key("tork", json!({}));
        let child = create(&server, &parent.secret, &json!({"name": "Agent session", "kind": "ephemeral"}));
        server.public(&example_with(&child.secret)).expect(200);
        (parent, child)
    };
    let act = |request: Request| send(&server, request.bearer(&admin.secret)).expect(200);

    let (parent, child) = parent_and_child();
    act(Request::delete(&format!("{KEYS}/{}", parent.id)));
    check_error(&server.public(&example_with(&child.secret)), 401, "invalid_api_key");

    let (parent, child) = parent_and_child();
    act(Request::post(&format!("{KEYS}/{}/disable", parent.id)));
    check_error(&server.public(&example_with(&child.secret)), 401, "invalid_api_key");
    act(Request::post(&format!("{KEYS}/{}/enable", parent.id)));
    server.public(&example_with(&child.secret)).expect(200);

    let (parent, child) = parent_and_child();
    act(Request::patch(&format!("{KEYS}/{}", parent.id)).json(&json!({"scopes": ["usage:read"]})));
    check_error(&server.public(&example_with(&child.secret)), 403, "insufficient_permissions");

    // A new secret for the parent is not the end of the parent.
    let (parent, child) = parent_and_child();
    act(Request::post(&format!("{KEYS}/{}/rotate", parent.id)));
    server.public(&example_with(&child.secret)).expect(200);
}

/// "Rotate keys regularly - Generate new keys periodically and revoke old ones."
#[test]
fn rotate_keys_regularly() {
    let server = Server::demo();
    let mut current = server.organization().key("tork", json!({"prefix": "tork_sk_"}));
    for _ in 0..3 {
        let next = create(&server, &current.secret, &json!({"name": "Server", "prefix": "tork_sk_"}));
        send(&server, Request::delete(&format!("{KEYS}/{}", current.id)).bearer(&next.secret)).expect(200);
        check_error(&server.public(&example_with(&current.secret)), 401, "invalid_api_key");
        server.public(&example_with(&next.secret)).expect(200);
        current = next;
    }
}

/// "Use restricted keys when possible - Limit permissions to only what's needed.": also later, with effect on the
/// next call.
#[test]
fn permissions_can_be_limited_later() {
    let server = Server::demo();
    let organization = server.organization();
    let admin = organization.key("tork", json!({}));
    let key = organization.key("tork", json!({"kind": "restricted", "scopes": ["evaluate", "usage:read"]}));
    server.public(&example_with(&key.secret)).expect(200);
    let narrowed = Request::patch(&format!("{KEYS}/{}", key.id)).json(&json!({"scopes": ["usage:read"]}));
    send(&server, narrowed.bearer(&admin.secret)).expect(200);
    check_error(&server.public(&example_with(&key.secret)), 403, "insufficient_permissions");
    send(&server, Request::get(USAGE).bearer(&key.secret)).expect(200);
}

/// "Use different keys for different environments" and "Monitor key usage": each key has numbers of its own.
#[test]
fn usage_is_kept_for_each_key() {
    let server = Server::demo();
    let organization = server.organization();
    let [development, production] =
        ["development", "production"].map(|name| organization.key("tork", json!({"name": name})));
    let usage = |key: &Key| send(&server, Request::get(USAGE).bearer(&key.secret)).expect(200)["data"]["key"].clone();
    let before = [usage(&development), usage(&production)];
    server.public(&example_with(&production.secret)).expect(200);
    assert_eq!(rise(&before[0], &usage(&development))["by_scope"], json!({"usage:read": 1}));
    assert_eq!(rise(&before[1], &usage(&production))["by_scope"], json!({"evaluate": 1, "usage:read": 1}));
}

/// "401 | missing_api_key | No API key provided in request"
#[test]
fn missing_api_key() {
    let server = Server::demo();
    let response = send(&server, Request::post("/api/v1/evaluate").json(&json!({"content": "x", "checks": ["pii"]})));
    check_error(&response, 401, "missing_api_key");
    // Nothing is wrong with a credential that is not there, so the challenge names no error (RFC 6750 section 3.1).
    assert_eq!(response.header("www-authenticate"), Some(r#"Bearer realm="Tork""#));
    let verdict = server.verify(&json!({"key": null, "api": "tork", "method": "POST", "path": "/api/v1/evaluate"}));
    assert_eq!((&verdict["code"], &verdict["status"]), (&json!("missing"), &json!(401)));
}

/// "401 | invalid_api_key | API key is malformed or doesn't exist": the body is the one that is printed, whichever it
/// is, and nobody can tell the cases apart.
#[test]
fn invalid_api_key() {
    let server = Server::demo();
    let organization = server.organization();
    let admin = organization.key("tork", json!({}));
    let [revoked, disabled, rotated] = [0; 3].map(|_| organization.key("tork", json!({"prefix": "tork_sk_"})));
    let act = |request: Request| send(&server, request.bearer(&admin.secret)).expect(200);
    act(Request::delete(&format!("{KEYS}/{}", revoked.id)));
    act(Request::post(&format!("{KEYS}/{}/disable", disabled.id)));
    act(Request::post(&format!("{KEYS}/{}/rotate", rotated.id)));
    // Well-formed, of a key that another deployment issued: it does not exist here.
    let elsewhere = Server::demo().organization().key("tork", json!({"prefix": "tork_sk_"}));
    let printed = serde_json::from_str::<Value>(EXAMPLE_ERROR).unwrap().to_string();
    let mut challenges = BTreeSet::new();
    let values = [&revoked, &disabled, &rotated, &elsewhere].map(|key| format!("Bearer {}", key.secret));
    let malformed =
        ["Bearer x", "Bearer tork_sk_", "Bearer ", "Bearer", "Basic YTpi", "x", &format!("Bearer {PLACEHOLDER}")]
            .map(str::to_owned);
    for value in values.into_iter().chain(malformed) {
        let request = Request::post("/api/v1/evaluate").json(&json!({"content": "x", "checks": ["pii"]}));
        let response = send(&server, request.header("Authorization", &value));
        assert_eq!(response.expect(401).to_string(), printed, "{value}");
        challenges.insert(response.header("www-authenticate").unwrap().to_owned());
    }
    assert_eq!(challenges.len(), 1, "{challenges:?}");
    assert!(challenges.first().unwrap().starts_with(r#"Bearer realm="Tork", error="invalid_token""#));
}

/// "401 | expired_api_key | API key has expired"
#[test]
#[expect(clippy::disallowed_methods, reason = "a bound on how long the key may still be accepted")]
fn expired_api_key() {
    let server = Server::demo();
    let parent = server.organization().key("tork", json!({}));
    let key = create(&server, &parent.secret, &json!({"name": "Agent session", "kind": "ephemeral", "ttl_seconds": 1}));
    let deadline = Instant::now() + Duration::from_secs(10);
    let response = loop {
        let response = server.public(&example_with(&key.secret));
        if response.status != 200 {
            break response;
        }
        assert!(Instant::now() < deadline, "the key is still accepted");
    };
    check_error(&response, 401, "expired_api_key");
    assert!(response.header("www-authenticate").unwrap().contains(r#"error="invalid_token""#));
    let verdict = server.verify(&json!({"key": key.secret, "method": "POST", "path": "/api/v1/evaluate"}));
    assert_eq!((&verdict["code"], &verdict["status"]), (&json!("expired"), &json!(401)));
    assert_eq!(verdict["message"], response.value()["error"]["message"]);
    let shown = send(&server, Request::get(&format!("{KEYS}/{}", key.id)).bearer(&parent.secret)).expect(200);
    assert_eq!(shown["data"]["state"], "expired");
}

/// "403 | insufficient_permissions | API key doesn't have permission for this endpoint"
#[test]
fn insufficient_permissions() {
    let server = Server::demo();
    let organization = server.organization();
    let key = organization.key("tork", json!({"kind": "restricted", "scopes": ["usage:read"]}));
    let response = server.public(&example_with(&key.secret));
    check_error(&response, 403, "insufficient_permissions");
    let message = "The API key doesn't have permission for this endpoint.";
    assert_eq!(response.value()["error"]["message"], message);
    let challenge = r#"Bearer realm="Tork", error="insufficient_scope", scope="evaluate""#;
    assert_eq!(response.header("www-authenticate"), Some(challenge));
    let verdict = server.verify(&json!({"key": key.secret, "method": "POST", "path": "/api/v1/evaluate"}));
    assert_eq!((&verdict["valid"], &verdict["code"]), (&json!(false), &json!("insufficient_scope")));
    assert_eq!((&verdict["status"], &verdict["message"]), (&json!(403), &json!(message)));
    // An endpoint that is not there needs more than a restricted key has, too.
    let request = Request::get("/api/v1/nothing").bearer(&key.secret);
    check_error(&send(&server, request), 403, "insufficient_permissions");
}
