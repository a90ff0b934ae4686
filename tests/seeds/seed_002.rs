//! Seed 002, "Authentication. Public API v1 uses HTTP Bearer authentication with self-serve API keys."
//!
//! The requests go to the api's host name. By address, `/v1` is shared with another api: one test is about that.

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::support::curl::curl;
use crate::support::http::{Request, Response};
use crate::support::server::Server;
use crate::support::world::{Key, contains};
use crate::{by_address, check_error, is_random_part, rise};

const HOST: &str = "api.toksta.com";
const KEYS: &str = "/v1/api-keys";
const USAGE: &str = "/v1/account/usage";

/// The example request, as printed.
const EXAMPLE: &str = r#"curl -sS https://api.toksta.com/v1/account/usage \
-H "Authorization: Bearer tk_live_YOUR_SECRET_HERE""#;

/// The key in it.
const PLACEHOLDER: &str = "tk_live_YOUR_SECRET_HERE";

fn example_with(secret: &str) -> Request {
    curl(&EXAMPLE.replace(PLACEHOLDER, secret))
}

fn send(server: &Server, request: Request) -> Response {
    server.public(&request.host(HOST))
}

fn create(server: &Server, secret: &str, body: &Value) -> Key {
    Key::issued(&send(server, Request::post(KEYS).bearer(secret).json(body)).expect(201))
}

fn rotate(server: &Server, secret: &str, id: &str, body: &Value) -> Key {
    let request = Request::post(&format!("{KEYS}/{id}/rotate")).bearer(secret).json(body);
    Key::issued(&send(server, request).expect(200))
}

/// "Public API v1 uses HTTP Bearer authentication"
#[test]
fn bearer_authentication() {
    let server = Server::demo();
    let key = server.organization().key("toksta", json!({}));
    send(&server, Request::get(USAGE).header("Authorization", format!("Bearer {}", key.secret))).expect(200);
    // The name of a scheme is the same in any case (RFC 9110 section 11.1); the secret is not.
    send(&server, Request::get(USAGE).header("authorization", format!("bearer {}", key.secret))).expect(200);
    let refused = send(&server, Request::get(USAGE));
    check_error(&refused, 401, "UNAUTHORIZED");
    assert_eq!(refused.header("www-authenticate"), Some(r#"Bearer realm="Toksta""#));
}

/// "There is no query-string, cookie, or X-Api-Key header auth."
#[test]
fn nothing_but_bearer_authentication() {
    let server = Server::demo();
    let Key { secret, .. } = server.organization().key("toksta", json!({}));
    let names =
        ["api_key", "apikey", "api-key", "key", "access_token", "token", "secret", "authorization", "auth", "bearer"];
    let mut requests = Vec::new();
    for name in names {
        requests.push(Request::get(&format!("{USAGE}?{name}={secret}")));
        requests.push(Request::get(&format!("{USAGE}?{name}=Bearer%20{secret}")));
        requests.push(Request::get(USAGE).header("Cookie", format!("{name}={secret}")));
        requests.push(Request::get(USAGE).header("Cookie", format!("{name}=Bearer {secret}")));
    }
    for name in
        ["X-Api-Key", "x-api-key", "Api-Key", "ApiKey", "X-Auth-Token", "X-Authorization", "Proxy-Authorization"]
    {
        requests.push(Request::get(USAGE).header(name, &secret));
        requests.push(Request::get(USAGE).header(name, format!("Bearer {secret}")));
    }
    requests.push(
        Request::get(USAGE)
            .header("Content-Type", "application/x-www-form-urlencoded")
            .body(format!("access_token={secret}")),
    );
    for request in requests {
        check_error(&send(&server, request.clone()), 401, "UNAUTHORIZED");
        assert_eq!(by_address(&server, request.clone()).status, 401, "{request:?}");
    }
    // Nor do they take anything from a key that is presented properly.
    let proper = Request::get(USAGE).bearer(&secret).header("X-Api-Key", "x").header("Cookie", "api_key=x; session=x");
    send(&server, proper).expect(200);
}

/// "self-serve API keys": whoever holds a key makes keys.
#[test]
fn keys_are_self_serve() {
    let server = Server::demo();
    let first = server.organization().key("toksta", json!({}));
    let second = create(&server, &first.secret, &json!({"name": "Reporting integration"}));
    assert_eq!(second.body["created_by"], first.id);
    let third = create(&server, &second.secret, &json!({"name": "Second integration"}));
    send(&server, Request::get(USAGE).bearer(&third.secret)).expect(200);
}

/// "give it a descriptive name, and optionally restrict endpoint scopes"
#[test]
fn a_name_and_optionally_scopes() {
    let server = Server::demo();
    let first = server.organization().key("toksta", json!({}));
    let open = create(&server, &first.secret, &json!({"name": "Backend"}));
    assert_eq!((&open.body["name"], &open.body["scopes"]), (&json!("Backend"), &json!(["*"])));
    let narrow = create(&server, &first.secret, &json!({"name": "Usage monitor", "scopes": ["usage:read"]}));
    assert_eq!((&narrow.body["name"], &narrow.body["scopes"]), (&json!("Usage monitor"), &json!(["usage:read"])));
    let unknown = Request::post(KEYS).bearer(&first.secret).json(&json!({"name": "Key", "scopes": ["everything"]}));
    assert_eq!(send(&server, unknown).expect(400)["error"]["field"], "scopes");
}

/// "Copy the full secret immediately — it is shown once at creation."
#[test]
fn the_secret_is_shown_once() {
    let server = Server::demo();
    let first = server.organization().key("toksta", json!({}));
    let response = send(&server, Request::post(KEYS).bearer(&first.secret).json(&json!({"name": "Backend"})));
    let key = Key::issued(&response.expect(201));
    assert_eq!(response.text().matches(&key.secret).count(), 1);
    assert_eq!(response.header("cache-control"), Some("no-store"));
    let location = response.header("location").unwrap();
    assert_eq!(location, format!("{KEYS}/{}", key.id));
    for target in [KEYS, location] {
        let text = send(&server, Request::get(target).bearer(&first.secret)).text();
        assert!(text.contains(&key.id) && !text.contains(&key.secret["tk_live_".len()..]), "{text}");
    }
}

/// "Toksta stores only a SHA-256 hash; the secret cannot be recovered later."
#[test]
fn only_a_sha_256_hash_is_stored() {
    let server = Server::demo();
    let organization = server.organization();
    let first = organization.key("toksta", json!({}));
    let second = create(&server, &first.secret, &json!({"name": "Backend"}));
    let rotated = rotate(&server, &first.secret, &second.id, &json!({"overlap_seconds": 60}));
    for key in [&first, &second, &rotated] {
        example_with(&key.secret).send(server.public).expect(200);
    }
    let files = server.files();
    for secret in [&first.secret, &second.secret, &rotated.secret] {
        let random = secret.strip_prefix("tk_live_").unwrap();
        // The random part is hexadecimal, so its bytes are another way of keeping it.
        let bytes: Vec<u8> = (0..random.len())
            .step_by(2)
            .map(|start| u8::from_str_radix(&random[start..start + 2], 16).unwrap())
            .collect();
        let digest = Sha256::digest(secret.as_bytes());
        let mut is_digest_stored = false;
        for (path, content) in &files {
            for recoverable in [random.as_bytes(), &bytes, random.to_uppercase().as_bytes()] {
                assert!(!contains(content, recoverable), "{} holds the secret", path.display());
            }
            is_digest_stored |= contains(content, &digest);
        }
        assert!(is_digest_stored, "the digest is nowhere");
    }
    assert!(!server.log().contains("tk_live_"), "{}", server.log());
}

/// "Keys are prefixed tk_live_ followed by 48 hex characters"
#[test]
fn a_key_has_48_hex_characters() {
    let server = Server::demo();
    let first = server.organization().key("toksta", json!({}));
    let is_hex = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    for key in [create(&server, &first.secret, &json!({"name": "Backend"})), first] {
        let random = key.secret.strip_prefix("tk_live_").unwrap();
        assert!(is_random_part(random, &"f".repeat(48), is_hex), "{random}");
        assert_eq!(key.body["prefix"], "tk_live_");
    }
}

/// "Send the key on every request: Authorization: Bearer tk_live_<your-secret>, Content-Type: application/json"
#[test]
fn both_headers_on_every_request() {
    let server = Server::demo();
    let key = server.organization().key("toksta", json!({}));
    let with_both = |request: Request| request.bearer(&key.secret).header("Content-Type", "application/json");
    let other = Key::issued(&send(&server, with_both(Request::post(KEYS)).body(r#"{"name": "Backend"}"#)).expect(201));
    // Also where there is no body, and with the media type's only parameter.
    for target in [USAGE, KEYS, &format!("{KEYS}/{}", other.id)] {
        send(&server, with_both(Request::get(target))).expect(200);
    }
    for action in ["disable", "enable", "rotate"] {
        send(&server, with_both(Request::post(&format!("{KEYS}/{}/{action}", other.id)))).expect(200);
    }
    let charset = Request::post(KEYS).bearer(&key.secret).header("Content-Type", "application/json; charset=utf-8");
    send(&server, charset.body(r#"{"name": "Backend"}"#)).expect(201);
    send(&server, with_both(Request::delete(&format!("{KEYS}/{}", other.id)))).expect(200);
    // "on every request": having sent it once is no reason to leave it out.
    check_error(&send(&server, Request::get(USAGE)), 401, "UNAUTHORIZED");
}

/// "Example with curl: curl -sS https://api.toksta.com/v1/account/usage"
#[test]
fn the_example_with_curl() {
    let server = Server::demo();
    let organization = server.organization();
    let key = organization.key("toksta", json!({}));
    for response in [server.public(&example_with(&key.secret)), by_address(&server, example_with(&key.secret))] {
        let body = response.expect(200);
        assert_eq!(body["success"], true);
        assert_eq!(body["data"]["organization"]["id"], organization.id);
        assert_eq!(body["data"]["key"]["id"], key.id);
    }
    // As it is printed, the key in it is nobody's.
    for response in [server.public(&curl(EXAMPLE)), by_address(&server, curl(EXAMPLE))] {
        check_error(&response, 401, "UNAUTHORIZED");
    }
}

/// "Rotation creates a new secret, marks the old key as revoked, and shows the new secret once — same rules as
/// creation."
#[test]
fn rotation() {
    let server = Server::demo();
    let key =
        server.organization().key("toksta", json!({"name": "Backend", "scopes": ["usage:read", "api_keys:write"]}));
    let request = Request::post(&format!("{KEYS}/{}/rotate", key.id)).bearer(&key.secret);
    let response = send(&server, request);
    let rotated = Key::issued(&response.expect(200));
    assert_ne!(rotated.secret, key.secret);
    assert_eq!(rotated.id, key.id);
    for name in
        ["name", "kind", "environment", "prefix", "scopes", "restrictions", "metadata", "created_at", "expires_at"]
    {
        assert_eq!(rotated.body[name], key.body[name], "{name}");
    }
    assert_eq!(response.text().matches(&rotated.secret).count(), 1);
    assert_eq!(response.header("cache-control"), Some("no-store"));
    check_error(&server.public(&example_with(&key.secret)), 401, "UNAUTHORIZED");
    let shown = server.public(&example_with(&rotated.secret));
    shown.expect(200);
    assert!(!shown.text().contains(&rotated.secret));
    assert!(is_random_part(&rotated.secret["tk_live_".len()..], &"f".repeat(48), u8::is_ascii_hexdigit));
}

/// "Update your integration before deleting the old secret": for as long as the overlap says, both work.
#[test]
fn rotation_with_time_to_update() {
    let server = Server::demo();
    let organization = server.organization();
    let (admin, key) = (organization.key("toksta", json!({})), organization.key("toksta", json!({})));
    let rotated = rotate(&server, &admin.secret, &key.id, &json!({"overlap_seconds": 3600}));
    for secret in [&key.secret, &rotated.secret] {
        let verdict = server.verify(&json!({"key": secret, "method": "GET", "path": USAGE}));
        assert_eq!((&verdict["valid"], &verdict["key"]["id"]), (&json!(true), &json!(key.id)));
        server.public(&example_with(secret)).expect(200);
    }
    // Revoking the key ends both.
    send(&server, Request::delete(&format!("{KEYS}/{}", key.id)).bearer(&admin.secret)).expect(200);
    for secret in [&key.secret, &rotated.secret] {
        check_error(&server.public(&example_with(secret)), 401, "UNAUTHORIZED");
    }
    // An overlap has a limit, and nobody gets an endless one by mistake.
    for overlap_seconds in [json!(-1), json!(7 * 24 * 3600 + 1), json!("1h"), json!(1.5), json!(null)] {
        let request = Request::post(&format!("{KEYS}/{}/rotate", admin.id)).bearer(&admin.secret);
        let refused = send(&server, request.json(&json!({"overlap_seconds": overlap_seconds}))).expect(400);
        assert_eq!(refused["error"]["field"], "overlap_seconds");
    }
    server.public(&example_with(&admin.secret)).expect(200);
}

/// "Revoked keys immediately return 401 UNAUTHORIZED."
#[test]
fn revoked_keys_immediately_return_401() {
    let server = Server::demo();
    let organization = server.organization();
    let admin = organization.key("toksta", json!({}));
    for _ in 0..10 {
        let key = organization.key("toksta", json!({}));
        server.public(&example_with(&key.secret)).expect(200);
        send(&server, Request::delete(&format!("{KEYS}/{}", key.id)).bearer(&admin.secret)).expect(200);
        check_error(&server.public(&example_with(&key.secret)), 401, "UNAUTHORIZED");
        let verdict = server.verify(&json!({"key": key.secret, "method": "GET", "path": USAGE}));
        assert_eq!((&verdict["valid"], &verdict["status"]), (&json!(false), &json!(401)));
    }
    // A key may end itself, and that is its last call.
    send(&server, Request::delete(&format!("{KEYS}/{}", admin.id)).bearer(&admin.secret)).expect(200);
    check_error(&server.public(&example_with(&admin.secret)), 401, "UNAUTHORIZED");
}

/// "you can limit which endpoint families it may call. A scoped key that hits a disallowed route returns 403
/// FORBIDDEN."
#[test]
fn scope_restrictions() {
    let server = Server::demo();
    let organization = server.organization();
    let target = organization.key("toksta", json!({}));
    let path = format!("{KEYS}/{}", target.id);
    // A call of each family, each without effect.
    let families = [
        ("usage:read", Request::get(USAGE), 200),
        ("api_keys:read", Request::get(KEYS), 200),
        ("api_keys:read", Request::get(&path), 200),
        ("api_keys:write", Request::post(KEYS).json(&json!({})), 400),
        ("api_keys:write", Request::patch(&path).json(&json!({"name": 1})), 400),
        ("api_keys:write", Request::delete(&format!("{KEYS}/key_123")), 404),
        ("api_keys:write", Request::post(&format!("{KEYS}/key_123/rotate")), 404),
    ];
    for scope in ["usage:read", "api_keys:read", "api_keys:write"] {
        let key = organization.key("toksta", json!({"scopes": [scope]}));
        for (family, request, status) in &families {
            let response = send(&server, request.clone().bearer(&key.secret));
            if *family == scope {
                assert_eq!(response.status, *status, "{scope} {request:?}");
            } else {
                check_error(&response, 403, "FORBIDDEN");
                let challenge = format!(r#"Bearer realm="Toksta", error="insufficient_scope", scope="{family}""#);
                assert_eq!(response.header("www-authenticate"), Some(challenge.as_str()));
            }
        }
    }
}

/// "Use separate keys per integration or service (do not reuse one key everywhere)."
#[test]
fn separate_keys_for_each_integration() {
    let server = Server::demo();
    let first = server.organization().key("toksta", json!({}));
    let [one, other] = ["Reports", "Alerts"].map(|name| create(&server, &first.secret, &json!({"name": name})));
    send(&server, Request::delete(&format!("{KEYS}/{}", one.id)).bearer(&first.secret)).expect(200);
    check_error(&server.public(&example_with(&one.secret)), 401, "UNAUTHORIZED");
    server.public(&example_with(&other.secret)).expect(200);
}

/// "Monitor usage via GET /v1/account/usage"
#[test]
fn usage_can_be_monitored() {
    let server = Server::demo();
    let organization = server.organization();
    let key = organization.key("toksta", json!({}));
    let narrow = organization.key("toksta", json!({"scopes": ["usage:read"]}));
    let before = server.public(&example_with(&key.secret)).expect(200)["data"].clone();
    server.public(&example_with(&narrow.secret)).expect(200);
    send(&server, Request::get(KEYS).bearer(&narrow.secret)).expect(403);
    send(&server, Request::get(KEYS).bearer(&key.secret)).expect(200);
    let after = server.public(&example_with(&key.secret)).expect(200)["data"].clone();
    // Looking after one's keys is counted, and costs nothing.
    let expected = json!({
        "total": 4, "allowed": 3, "denied": 1, "billable": 0,
        "by_scope": {"usage:read": 2, "api_keys:read": 2},
        "by_environment": {"live": 4},
        "by_outcome": {"allowed": 3, "insufficient_scope": 1},
    });
    assert_eq!(rise(&before["organization"], &after["organization"]), expected);
    let expected = json!({
        "total": 2, "allowed": 2, "denied": 0, "billable": 0,
        "by_scope": {"usage:read": 1, "api_keys:read": 1},
        "by_environment": {"live": 2},
        "by_outcome": {"allowed": 2},
    });
    assert_eq!(rise(&before["key"], &after["key"]), expected);
    // It says for which month.
    let is_month = |text: &Value| text.as_str().unwrap().ends_with("-01T00:00:00Z");
    assert!(is_month(&after["period_start"]) && is_month(&after["period_end"]), "{after}");
}

/// "401 UNAUTHORIZED | Missing Bearer prefix, wrong key, revoked key, or typo"
#[test]
fn troubleshooting_401() {
    let server = Server::demo();
    let organization = server.organization();
    let Key { secret, .. } = organization.key("toksta", json!({}));
    let wrong_api = organization.key("example", json!({}));
    let check = |value: &[u8]| {
        let response = send(&server, Request::get(USAGE).header("Authorization", value));
        assert_eq!(response.status, 401, "{}", String::from_utf8_lossy(value));
        check_error(&response, 401, "UNAUTHORIZED");
    };
    // Missing Bearer prefix, or one that is not quite it.
    for head in [
        "", "Basic ", "Token ", "ApiKey ", "Bearer", "Bearer:", "Bearer: ", "Bearer=", "Bearer  ", "Bearer\t",
        "Bearers ", "tk_live_",
    ] {
        check(format!("{head}{secret}").as_bytes());
    }
    // Wrong key: nobody's, another api's, the public part alone.
    for wrong in [&wrong_api.secret, "tk_live_", PLACEHOLDER, "tk_live_a1b2c3d4", "tk_live_<your-secret>"] {
        check(format!("Bearer {wrong}").as_bytes());
    }
    // Typo: each character in its turn, one too few, one too many, upper case, and what an editor leaves behind.
    for position in 0..secret.len() {
        let mut typo = secret.clone().into_bytes();
        typo[position] = if typo[position] == b'0' { b'1' } else { b'0' };
        check(&[b"Bearer ", typo.as_slice()].concat());
    }
    let (head, tail) = secret.split_at(20);
    for typo in [
        secret[..secret.len() - 1].to_owned(),
        secret[1..].to_owned(),
        format!("{secret}0"),
        format!("{secret}{secret}"),
        secret.to_uppercase(),
        secret.replace("tk_live_", "TK_LIVE_"),
        secret.replace("tk_live_", "tk_test_"),
        secret.replace("tk_live_", "tk-live-"),
        format!("{head} {tail}"),
        format!("\"{secret}\""),
        format!("<{secret}>"),
        format!("{secret},"),
        format!("{secret}="),
        format!("{secret}\u{200b}"),
        format!("{secret}, Bearer {secret}"),
        format!("{secret} {secret}"),
    ] {
        check(format!("Bearer {typo}").as_bytes());
    }
    // And still, without one.
    server.public(&example_with(&secret)).expect(200);
}

/// "401 UNAUTHORIZED": what is not a single readable header is not a key either, and harms nobody.
#[test]
fn headers_that_are_none() {
    let server = Server::demo();
    let Key { secret, .. } = server.organization().key("toksta", json!({}));
    let twice = Request::get(USAGE).host(HOST).bearer(&secret).bearer(&secret);
    check_error(&server.public(&twice), 401, "UNAUTHORIZED");
    let beside = Request::get(USAGE).host(HOST).bearer(&secret).header("Authorization", "Basic YTpi");
    check_error(&server.public(&beside), 401, "UNAUTHORIZED");
    let bytes = [b"Bearer ", secret.as_bytes(), b"\xff\xfe"].concat();
    check_error(&send(&server, Request::get(USAGE).header("Authorization", bytes)), 401, "UNAUTHORIZED");
    check_error(&send(&server, Request::get(USAGE).bearer(&"a".repeat(4096))), 401, "UNAUTHORIZED");
    // Not even HTTP, or more than anybody reads: refused before anybody looks for a key.
    let not_read: [(Vec<u8>, u16); 3] = [
        ([b"Bearer ", secret.as_bytes(), b"\0"].concat(), 400),
        ([b"Bearer ", secret.as_bytes(), b"\r\n folded"].concat(), 400),
        ([b"Bearer ", "a".repeat(64 * 1024).as_bytes()].concat(), 431),
    ];
    for (value, status) in not_read {
        let response = send(&server, Request::get(USAGE).header("Authorization", &value));
        assert_eq!(response.status, status, "{response:?}");
    }
    server.public(&example_with(&secret)).expect(200);
}

/// "403 FORBIDDEN | Free plan, past-due billing, API access disabled, or key scope too narrow": the third, as
/// the operator switches it off for all apis, and the fourth. `plans.rs` has the others.
#[test]
fn troubleshooting_403() {
    let server = Server::demo();
    let organization = server.organization();
    let (key, narrow) =
        (organization.key("toksta", json!({})), organization.key("toksta", json!({"scopes": ["usage:read"]})));
    check_error(&send(&server, Request::get(KEYS).bearer(&narrow.secret)), 403, "FORBIDDEN");
    organization.set_status("suspended");
    for secret in [&key.secret, &narrow.secret] {
        check_error(&server.public(&example_with(secret)), 403, "FORBIDDEN");
        let verdict = server.verify(&json!({"key": secret, "method": "GET", "path": USAGE}));
        assert_eq!((&verdict["code"], &verdict["status"]), (&json!("subscription_inactive"), &json!(403)));
    }
    // A key that is none is told so, and nothing of the account.
    check_error(&server.public(&curl(EXAMPLE)), 401, "UNAUTHORIZED");
    organization.set_status("active");
    server.public(&example_with(&key.secret)).expect(200);
}

/// "Key not visible after creation | Secrets are one-time reveal only — rotate to get a new secret"
#[test]
fn rotate_to_get_a_new_secret() {
    let server = Server::demo();
    let first = server.organization().key("toksta", json!({}));
    let lost = create(&server, &first.secret, &json!({"name": "Backend"})).id;
    let shown = send(&server, Request::get(&format!("{KEYS}/{lost}")).bearer(&first.secret)).expect(200);
    assert!(shown["data"].get("secret").is_none(), "{shown}");
    let rotated = rotate(&server, &first.secret, &lost, &json!({}));
    server.public(&example_with(&rotated.secret)).expect(200);
}

/// "Public API v1": by address `/v1` is another api's as well. The presented key tells which is meant, and without one
/// the path does, where it can.
#[test]
fn an_api_that_shares_its_base_path() {
    let server = Server::demo();
    let organization = server.organization();
    let (toksta, example) = (organization.key("toksta", json!({})), organization.key("example", json!({})));
    let list = |key: &Key| by_address(&server, Request::get(KEYS).bearer(&key.secret)).expect(200)["data"].clone();
    for (key, other) in [(&toksta, &example), (&example, &toksta)] {
        let ids: Vec<_> = list(key).as_array().unwrap().iter().map(|key| key["id"].clone()).collect();
        assert_eq!(ids, [json!(key.id)]);
        by_address(&server, Request::get(&format!("{KEYS}/{}", other.id)).bearer(&key.secret)).expect(404);
    }
    check_error(&by_address(&server, Request::get(USAGE)), 401, "UNAUTHORIZED");
    check_error(&by_address(&server, Request::get("/v1/users/usr_123")), 401, "unauthorized");
    check_error(&by_address(&server, Request::get(USAGE).bearer("tk_live_x")), 401, "UNAUTHORIZED");
    check_error(&by_address(&server, Request::get(USAGE).bearer("sk_live_x")), 401, "unauthorized");
    // A host name leaves no choice: a good key of the other api is no key here.
    check_error(&send(&server, Request::get(KEYS).bearer(&example.secret)), 401, "UNAUTHORIZED");
}
