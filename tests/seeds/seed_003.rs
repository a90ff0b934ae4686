//! Seed 003, "Authentication. Learn how to authenticate your API requests."
//!
//! The requests go to the api's host name; the printed one goes by address as well.

use serde_json::{Value, json};

use crate::support::curl::curl;
use crate::support::http::{Request, Response};
use crate::support::server::Server;
use crate::support::world::{Key, Organization};
use crate::{by_address, check_error, rise};

const HOST: &str = "api.example.com";
const KEYS: &str = "/v1/api-keys";

/// The example request, as printed.
const EXAMPLE: &str = r#"curl -X GET https://api.example.com/v1/users/usr_123 \
-H "Authorization: Bearer sk_live_abc123xyz789""#;

/// The key in it.
const PLACEHOLDER: &str = "sk_live_abc123xyz789";

/// The list, as printed.
const LIST: &str = r#"{
"success": true,
"data": [
{
"id": "key_123",
"name": "Production Key",
"prefix": "sk_live_",
"created_at": "2025-01-01T00:00:00Z",
"last_used": "2025-01-15T10:30:00Z"
}
]
}"#;

/// The answer to a revocation, as printed.
const REVOKED: &str = r#"{
"success": true,
"message": "API key revoked successfully"
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

fn live(organization: &Organization<'_>) -> Key {
    organization.key("example", json!({"environment": "live"}))
}

fn test(organization: &Organization<'_>) -> Key {
    organization.key("example", json!({"environment": "test"}))
}

/// "Each API key is associated with your account"
#[test]
fn a_key_is_associated_with_an_account() {
    let server = Server::demo();
    let (ours, theirs) = (server.organization(), server.organization());
    let (our_key, their_key) = (live(&ours), live(&theirs));
    for (organization, key) in [(&ours, &our_key), (&theirs, &their_key)] {
        let verdict = server.verify(&json!({"key": key.secret, "method": "GET", "path": "/v1/users/usr_123"}));
        assert_eq!(verdict["key"]["organization"], organization.id);
    }
    // What one account makes is not there for the other.
    let body = json!({"name": "Grace Hopper", "email": "grace@example.com"});
    let made = send(&server, Request::post("/v1/users").bearer(&our_key.secret).json(&body)).expect(201);
    let path = format!("/v1/users/{}", made["data"]["id"].as_str().unwrap());
    send(&server, Request::get(&path).bearer(&our_key.secret)).expect(200);
    send(&server, Request::get(&path).bearer(&their_key.secret)).expect(404);
}

/// "API keys provide full access to your account."
#[test]
fn a_key_provides_full_access() {
    let server = Server::demo();
    let key = live(&server.organization());
    assert_eq!(key.body["scopes"], json!(["*"]));
    send(&server, Request::get(KEYS).bearer(&key.secret)).expect(200);
    send(&server, Request::get("/v1/account/usage").bearer(&key.secret)).expect(200);
    send(&server, Request::get("/v1/users/usr_123").bearer(&key.secret)).expect(200);
    let body = json!({"name": "Grace Hopper", "email": "grace@example.com"});
    send(&server, Request::post("/v1/users").bearer(&key.secret).json(&body)).expect(201);
}

/// "Include your API key in the Authorization header of every request", and "Example Request: curl -X GET
/// https://api.example.com/v1/users/usr_123"
#[test]
fn the_example_request() {
    let server = Server::demo();
    let key = live(&server.organization());
    for response in [server.public(&example_with(&key.secret)), by_address(&server, example_with(&key.secret))] {
        let body = response.expect(200);
        assert_eq!((&body["success"], &body["data"]["id"]), (&json!(true), &json!("usr_123")));
    }
    // The key that is printed in it is nobody's.
    for response in [server.public(&curl(EXAMPLE)), by_address(&server, curl(EXAMPLE))] {
        check_error(&response, 401, "unauthorized");
    }
}

/// "Test Keys: Prefix: sk_test_" and "Live Keys: Prefix: sk_live_"
#[test]
fn the_prefix_tells_test_from_live() {
    let server = Server::demo();
    let organization = server.organization();
    let first = live(&organization);
    for (environment, prefix) in [("test", "sk_test_"), ("live", "sk_live_")] {
        let made_by_operator = organization.key("example", json!({"environment": environment}));
        let made_with_key = create(&server, &first.secret, &json!({"name": "Key", "environment": environment}));
        let by_prefix = create(&server, &first.secret, &json!({"name": "Key", "prefix": prefix}));
        for key in [made_by_operator, made_with_key, by_prefix] {
            assert!(key.secret.starts_with(prefix), "{environment}");
            assert_eq!((&key.body["environment"], &key.body["prefix"]), (&json!(environment), &json!(prefix)));
            let verdict = server.verify(&json!({"key": key.secret, "method": "GET", "path": "/v1/users/usr_123"}));
            assert_eq!(verdict["key"]["environment"], environment);
        }
    }
}

/// "Test Keys: No charges are made" and "Live Keys: Real transactions"
#[test]
fn test_keys_make_no_charges() {
    let server = Server::demo();
    let organization = server.organization();
    let (test, live) = (test(&organization), live(&organization));
    let before = organization.usage("example");
    for _ in 0..3 {
        server.public(&example_with(&test.secret)).expect(200);
    }
    let body = json!({"name": "Grace Hopper", "email": "grace@example.com"});
    send(&server, Request::post("/v1/users").bearer(&test.secret).json(&body)).expect(201);
    let expected = json!({
        "total": 4, "allowed": 4, "denied": 0, "billable": 0,
        "by_scope": {"users:read": 3, "users:write": 1},
        "by_environment": {"test": 4},
        "by_outcome": {"allowed": 4},
    });
    let between = organization.usage("example");
    assert_eq!(rise(&before, &between), expected);
    for _ in 0..2 {
        server.public(&example_with(&live.secret)).expect(200);
    }
    let risen = rise(&between, &organization.usage("example"));
    assert_eq!((&risen["billable"], &risen["by_environment"]), (&json!(2), &json!({"live": 2})));
}

/// "Test Keys: Data is not persisted" and "Live Keys: Real transactions and data"
#[test]
fn data_of_test_keys_is_not_persisted() {
    let server = Server::demo();
    let organization = server.organization();
    let (test, live) = (test(&organization), live(&organization));
    let body = json!({"name": "Grace Hopper", "email": "grace@example.com"});
    let make = |key: &Key| {
        let made = send(&server, Request::post("/v1/users").bearer(&key.secret).json(&body)).expect(201);
        assert_eq!(made["data"]["email"], "grace@example.com");
        format!("/v1/users/{}", made["data"]["id"].as_str().unwrap())
    };
    let read = |key: &Key, path: &str| send(&server, Request::get(path).bearer(&key.secret));
    let (of_test, of_live) = (make(&test), make(&live));
    for key in [&test, &live] {
        read(key, &of_test).expect(404);
    }
    assert_eq!(read(&live, &of_live).expect(200)["data"]["name"], "Grace Hopper");
    // "Use for development and testing": not for reading what is real.
    read(&test, &of_live).expect(404);
}

/// "Test Keys: Data is not persisted": nor is what they are counted with, once the server is gone.
#[test]
fn usage_of_test_keys_is_not_persisted() {
    let server = Server::demo();
    let (organization, test, live) = {
        let organization = server.organization();
        let keys = (test(&organization), live(&organization));
        (organization.id.clone(), keys.0, keys.1)
    };
    for key in [&test, &test, &live] {
        server.public(&example_with(&key.secret)).expect(200);
    }
    let server = Server::serve(server.stop(), &[]);
    let target = format!("/admin/v1/usage?organization={organization}&api=example");
    let usage = server.admin(Request::get(&target)).expect(200)["organization"].clone();
    assert_eq!(usage["by_environment"], json!({"live": 1}));
    assert_eq!(usage["billable"], 1);
}

/// "Use multiple keys for different services" and "Rotate API keys every 90 days"
#[test]
fn multiple_keys_each_with_its_own_life() {
    let server = Server::demo();
    let first = live(&server.organization());
    let ninety_days = 90 * 24 * 3600;
    let [web, jobs] =
        ["Web", "Jobs"].map(|name| create(&server, &first.secret, &json!({"name": name, "ttl_seconds": ninety_days})));
    assert!(web.body["expires_at"].is_string());
    let rotated = send(&server, Request::post(&format!("{KEYS}/{}/rotate", web.id)).bearer(&first.secret));
    let rotated = Key::issued(&rotated.expect(200));
    check_error(&server.public(&example_with(&web.secret)), 401, "unauthorized");
    for secret in [&rotated.secret, &jobs.secret] {
        server.public(&example_with(secret)).expect(200);
    }
}

/// "Immediately rotate if a key is compromised"
#[test]
fn a_compromised_key_is_rotated_immediately() {
    let server = Server::demo();
    let organization = server.organization();
    let (admin, key) = (live(&organization), live(&organization));
    server.public(&example_with(&key.secret)).expect(200);
    let rotated = send(&server, Request::post(&format!("{KEYS}/{}/rotate", key.id)).bearer(&admin.secret)).expect(200);
    check_error(&server.public(&example_with(&key.secret)), 401, "unauthorized");
    server.public(&example_with(rotated["data"]["secret"].as_str().unwrap())).expect(200);
}

/// "Restrict API keys by: IP address, Referrer URL, Specific API endpoints": over the public listener, where the
/// caller's address is that of the connection.
#[test]
fn restrictions_combine() {
    let server = Server::demo();
    let organization = server.organization();
    // What is asked for, and whether the call meets it.
    let addresses =
        [(json!(null), true), (json!(["127.0.0.0/8", "2001:db8::/32"]), true), (json!(["203.0.113.0/24"]), false)];
    let referrers = [
        (json!(null), None, true),
        (json!(null), Some("https://anywhere.test/"), true),
        (json!(["*.example.com", "example.com"]), Some("https://www.example.com/page?x=1"), true),
        (json!(["*.example.com", "example.com"]), Some("https://example.com.evil.test/"), false),
        (json!(["*.example.com", "example.com"]), None, false),
    ];
    let endpoints = [
        (json!(null), true),
        (json!(["GET /v1/users/*"]), true),
        (json!(["POST /v1/users", "GET /v1/api-keys"]), false),
    ];
    for (ip, is_address_met) in &addresses {
        for (referrer, header, is_referrer_met) in &referrers {
            for (endpoint, is_endpoint_met) in &endpoints {
                let restrictions = json!({"ip": ip, "referrer": referrer, "endpoint": endpoint});
                let key = organization.key("example", json!({"restrictions": restrictions}));
                assert_eq!(key.body["restrictions"], restrictions);
                let mut request = example_with(&key.secret);
                if let Some(header) = header {
                    request = request.header("Referer", header);
                }
                let response = server.public(&request);
                if *is_address_met && *is_referrer_met && *is_endpoint_met {
                    assert_eq!(response.status, 200, "{restrictions} {header:?}");
                } else {
                    assert_eq!(response.status, 403, "{restrictions} {header:?}");
                    check_error(&response, 403, "forbidden");
                }
            }
        }
    }
}

/// "Restrict API keys by: IP address, Referrer URL, Specific API endpoints": as an API server asks, every combination
/// of met, not met and not asked for. The code is that of the first restriction that is not met.
#[test]
fn restrictions_combine_in_verdicts() {
    let server = Server::demo();
    let organization = server.organization();
    let lists = [
        ("ip", json!(["203.0.113.0/24", "2001:db8::/32"]), "ip_not_allowed"),
        ("referrer", json!(["*.example.com"]), "referrer_not_allowed"),
        ("endpoint", json!(["GET /v1/users/*"]), "endpoint_not_allowed"),
    ];
    for asked in 0..8_usize {
        let is_asked = |place: usize| asked & (1 << place) != 0;
        let mut restrictions = json!({});
        for (_, (name, rules, _)) in lists.iter().enumerate().filter(|(place, _)| is_asked(*place)) {
            restrictions[*name] = rules.clone();
        }
        let key = organization.key("example", json!({"restrictions": restrictions}));
        for met in 0..8_usize {
            let is_met = |place: usize| met & (1 << place) != 0;
            for (good, bad) in [
                ("203.0.113.7", "203.0.114.7"),
                ("2001:db8::7", "2001:db9::7"),
                ("::ffff:203.0.113.7", "not an address"),
            ] {
                let question = json!({
                    "key": key.secret,
                    "method": "GET",
                    "path": if is_met(2) { "/v1/users/usr_123?verbose=1" } else { "/v1/api-keys" },
                    "ip": if is_met(0) { good } else { bad },
                    "referrer": if is_met(1) { "https://app.example.com/x" } else { "https://example.org/app.example.com" },
                });
                let verdict = server.verify(&question);
                let failed = lists.iter().enumerate().find(|(place, _)| is_asked(*place) && !is_met(*place));
                let expected = failed.map_or(Value::Null, |(_, (_, _, code))| json!(code));
                assert_eq!(verdict["code"], expected, "{restrictions} {question}");
                assert_eq!(verdict["valid"], failed.is_none());
                assert_eq!(verdict["status"], if failed.is_none() { 200 } else { 403 });
            }
        }
    }
}

/// "Restrict API keys by: IP address": what a caller says of itself does not count, and what cannot be known fails.
#[test]
fn an_ip_restriction_cannot_be_talked_around() {
    let server = Server::demo();
    let key = server.organization().key("example", json!({"restrictions": {"ip": ["203.0.113.7"]}}));
    for (name, value) in [
        ("X-Forwarded-For", "203.0.113.7"),
        ("X-Forwarded-For", "203.0.113.7, 127.0.0.1"),
        ("Forwarded", "for=203.0.113.7"),
        ("X-Real-IP", "203.0.113.7"),
        ("CF-Connecting-IP", "203.0.113.7"),
        ("True-Client-IP", "203.0.113.7"),
        ("Client-IP", "203.0.113.7"),
        ("X-Client-IP", "203.0.113.7"),
    ] {
        check_error(&server.public(&example_with(&key.secret).header(name, value)), 403, "forbidden");
    }
    let question = json!({"key": key.secret, "method": "GET", "path": "/v1/users/usr_123"});
    assert_eq!(server.verify(&question)["code"], "ip_not_allowed");
    // An empty list is not the same as none: nothing is allowed.
    let nowhere = server.organization().key("example", json!({"restrictions": {"ip": []}}));
    check_error(&server.public(&example_with(&nowhere.secret)), 403, "forbidden");
}

/// "Restrict API keys by: Referrer URL": the host is compared as a browser would read it.
#[test]
fn a_referrer_restriction_cannot_be_talked_around() {
    let server = Server::demo();
    let key = server
        .organization()
        .key("example", json!({"restrictions": {"referrer": ["example.com", "*.shop.example:8443"]}}));
    let call = |headers: &[(&str, &str)]| {
        let request = example_with(&key.secret);
        let request = headers.iter().fold(request, |request, (name, value)| request.header(name, value));
        server.public(&request).status
    };
    let allowed = [
        "https://example.com",
        "http://example.com/",
        "https://EXAMPLE.com:9999/any/path?and=query#and",
        "https://a.shop.example:8443/",
        "https://a.b.shop.example:8443",
    ];
    for referrer in allowed {
        assert_eq!(call(&[("Referer", referrer)]), 200, "{referrer}");
    }
    let refused = [
        "https://www.example.com",
        "https://example.com.evil.test",
        "https://evilexample.com",
        "https://evil.test/example.com",
        "https://evil.test/?https://example.com",
        "https://evil.test#@example.com",
        "https://example.com@evil.test/",
        "https://evil.test\\@example.com",
        "https://example.com.",
        "https://shop.example:8443",
        "https://a.shop.example",
        "https://a.shop.example:443",
        "ftp://example.com",
        "//example.com",
        "example.com",
        "null",
        "",
    ];
    for referrer in refused {
        assert_eq!(call(&[("Referer", referrer)]), 403, "{referrer}");
    }
    // Origin is what the browser itself says: where it is there, it counts.
    assert_eq!(call(&[("Origin", "https://example.com")]), 200);
    assert_eq!(call(&[("Origin", "https://evil.test"), ("Referer", "https://example.com/")]), 403);
    assert_eq!(call(&[("Origin", "null"), ("Referer", "https://example.com/")]), 403);
    assert_eq!(call(&[("Referer", "https://example.com/"), ("Referer", "https://example.com/")]), 403);
}

/// "Restrict API keys by: Specific API endpoints": method and path, and no spelling of a path is a way around.
#[test]
fn an_endpoint_restriction_cannot_be_talked_around() {
    let server = Server::demo();
    let key = server.organization().key("example", json!({"restrictions": {"endpoint": ["GET /v1/users/usr_123"]}}));
    let call = |method: &str, target: &str| send(&server, Request::new(method, target).bearer(&key.secret)).status;
    assert_eq!(call("GET", "/v1/users/usr_123"), 200);
    assert_eq!(call("GET", "/v1/users/usr_123?x=1"), 200);
    let refused = [
        ("POST", "/v1/users/usr_123"),
        ("GET", "/v1/users/usr_124"),
        ("GET", "/v1/users/USR_123"),
        ("GET", "/v1/users/usr_123/"),
        ("GET", "/v1/users//usr_123"),
        ("GET", "/v1/users/./usr_123"),
        ("GET", "/v1/users/x/../usr_123"),
        ("GET", "/v1/users/x/%2e%2e/usr_123"),
        ("GET", "/v1/users%2Fusr_123"),
        ("GET", "/v1/users/usr%5F123"),
        ("GET", "/v1/users/usr%255F123"),
        ("GET", "/v1/users/usr_123/../../api-keys"),
        ("GET", "/v1/api-keys"),
        ("GET", "/v1/users"),
    ];
    for (method, target) in refused {
        assert_eq!(call(method, target), 403, "{method} {target}");
    }
}

/// "Listing API Keys: GET /v1/api-keys Response": every printed field is there and reads as it is printed.
#[test]
fn the_list_reads_as_printed() {
    let server = Server::demo();
    let key = server.organization().key("example", json!({"name": "Production Key", "environment": "live"}));
    let list = || send(&server, Request::get(KEYS).bearer(&key.secret)).expect(200);
    server.public(&example_with(&key.secret)).expect(200);
    let (printed, list) = (serde_json::from_str::<Value>(LIST).unwrap(), list());
    // The members of the document, in its order.
    let names = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&list), names(&printed));
    assert_eq!(list["success"], printed["success"]);
    let (row, printed) = (&list["data"][0], &printed["data"][0]);
    assert_eq!(list["data"].as_array().unwrap().len(), 1);
    assert_eq!(row["id"], key.id);
    assert!(key.id.starts_with("key_") && key.id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_'));
    assert_eq!((&row["name"], &row["prefix"]), (&printed["name"], &printed["prefix"]));
    for name in ["created_at", "last_used"] {
        let (text, printed) = (row[name].as_str().unwrap(), printed[name].as_str().unwrap());
        assert!(is_printed_alike(text, printed), "{name} {text}");
    }
    let order: Vec<_> = names(row).into_iter().filter(|name| printed.get(name).is_some()).collect();
    assert_eq!(order, names(printed));
}

/// Digits for digits; a fraction of the second may stand before the `Z`.
fn is_printed_alike(text: &str, printed: &str) -> bool {
    let shape = |text: &str| {
        text.bytes().map(|byte| if byte.is_ascii_digit() { '0' } else { char::from(byte) }).collect::<String>()
    };
    let (text, printed) = (shape(text), shape(printed));
    let whole = printed.strip_suffix('Z').unwrap();
    let rest = text.strip_prefix(whole).and_then(|rest| rest.strip_suffix('Z'));
    rest.is_some_and(|rest| {
        rest.is_empty() || rest.strip_prefix('.').is_some_and(|digits| digits.bytes().all(|byte| byte == b'0'))
    })
}

/// "last_used": nothing before the first call, and the minute of the last one after it, of test keys as well.
#[test]
fn last_used_follows_the_calls() {
    let server = Server::demo();
    let organization = server.organization();
    let admin = live(&organization);
    for key in [live(&organization), test(&organization)] {
        let last_used = || {
            let shown = send(&server, Request::get(&format!("{KEYS}/{}", key.id)).bearer(&admin.secret)).expect(200);
            shown["data"]["last_used"].clone()
        };
        assert_eq!(last_used(), Value::Null);
        // A call that is refused is no use.
        let refused = server.verify(&json!({"key": key.secret, "method": "get", "path": "/v1/users/usr_123"}));
        assert_eq!((&refused["valid"], last_used()), (&json!(false), Value::Null));
        server.public(&example_with(&key.secret)).expect(200);
        let text = last_used().as_str().unwrap().to_owned();
        // To the minute, and not before the minute in which the key was made.
        assert!(text.ends_with(":00Z"), "{text}");
        assert!(text[..16] >= key.body["created_at"].as_str().unwrap()[..16], "{text} {}", key.body);
    }
}

/// "Revoking an API Key: DELETE /v1/api-keys/key_123 Response"
#[test]
fn the_answer_to_a_revocation_is_as_printed() {
    let server = Server::demo();
    let organization = server.organization();
    let (admin, key) = (live(&organization), live(&organization));
    let printed = serde_json::from_str::<Value>(REVOKED).unwrap().to_string();
    // The second time there is nothing left to do, and that is no error.
    for _ in 0..2 {
        let response = send(&server, Request::delete(&format!("{KEYS}/{}", key.id)).bearer(&admin.secret));
        assert_eq!(response.expect(200).to_string(), printed);
        check_error(&server.public(&example_with(&key.secret)), 401, "unauthorized");
    }
    // As it is printed, the id is nobody's.
    let response = send(&server, Request::delete(&format!("{KEYS}/key_123")).bearer(&admin.secret));
    assert_eq!(response.expect(404)["success"], false);
}

/// "401 Unauthorized: Missing or invalid API key. Verify your API key is correct and included in the Authorization
/// header"
#[test]
fn troubleshooting_401() {
    let server = Server::demo();
    let key = live(&server.organization());
    let missing = send(&server, Request::get("/v1/users/usr_123"));
    check_error(&missing, 401, "unauthorized");
    assert_eq!(missing.header("www-authenticate"), Some(r#"Bearer realm="Example""#));
    let invalid = server.public(&curl(EXAMPLE));
    check_error(&invalid, 401, "unauthorized");
    assert!(invalid.header("www-authenticate").unwrap().contains(r#"error="invalid_token""#));
    for (response, word) in [(missing, "Missing"), (invalid, "Invalid")] {
        let message = response.value()["error"]["message"].as_str().unwrap().to_owned();
        assert!(message.starts_with(word) && message.contains("Authorization header"), "{message}");
    }
    server.public(&example_with(&key.secret)).expect(200);
}

/// "403 Forbidden: API key doesn't have permission for this resource"
#[test]
fn troubleshooting_403() {
    let server = Server::demo();
    let key = server.organization().key("example", json!({"scopes": ["users:read"]}));
    server.public(&example_with(&key.secret)).expect(200);
    let body = json!({"name": "Grace Hopper", "email": "grace@example.com"});
    let response = send(&server, Request::post("/v1/users").bearer(&key.secret).json(&body));
    check_error(&response, 403, "forbidden");
    assert_eq!(response.value()["error"]["message"], "The API key doesn't have permission for this resource.");
    check_error(&send(&server, Request::get(KEYS).bearer(&key.secret)), 403, "forbidden");
}

/// "Check your API key permissions": the list says what each key may do, and for what.
#[test]
fn permissions_can_be_checked() {
    let server = Server::demo();
    let organization = server.organization();
    let admin = live(&organization);
    let restrictions = json!({"ip": ["203.0.113.0/24"], "referrer": null, "endpoint": ["GET /v1/users/*"]});
    let key = organization.key("example", json!({"scopes": ["users:read"], "restrictions": restrictions}));
    let shown = send(&server, Request::get(&format!("{KEYS}/{}", key.id)).bearer(&admin.secret)).expect(200);
    assert_eq!((&shown["data"]["scopes"], &shown["data"]["restrictions"]), (&json!(["users:read"]), &restrictions));
}

/// "Key Not Working: Verify the key hasn't been revoked; Check for typos in the key; Ensure you're using the correct
/// environment (test vs. live)"
#[test]
fn key_not_working() {
    let server = Server::demo();
    let organization = server.organization();
    let (admin, key) = (live(&organization), live(&organization));
    // A typo, and the other environment's prefix before the same characters.
    for wrong in [format!("{}x", key.secret), key.secret.to_uppercase(), key.secret.replace("sk_live_", "sk_test_")] {
        check_error(&server.public(&example_with(&wrong)), 401, "unauthorized");
    }
    server.public(&example_with(&key.secret)).expect(200);
    send(&server, Request::delete(&format!("{KEYS}/{}", key.id)).bearer(&admin.secret)).expect(200);
    check_error(&server.public(&example_with(&key.secret)), 401, "unauthorized");
    // Live keys do not exist for a test key: it neither lists nor ends them.
    let test = test(&organization);
    let list = send(&server, Request::get(KEYS).bearer(&test.secret)).expect(200);
    let ids: Vec<_> = list["data"].as_array().unwrap().iter().map(|key| key["id"].clone()).collect();
    assert_eq!(ids, [json!(test.id)]);
    send(&server, Request::delete(&format!("{KEYS}/{}", admin.id)).bearer(&test.secret)).expect(404);
    let body = json!({"name": "Key", "environment": "live"});
    check_error(&send(&server, Request::post(KEYS).bearer(&test.secret).json(&body)), 403, "forbidden");
    server.public(&example_with(&admin.secret)).expect(200);
}
