//! Which door leads where: customers' and operators' listeners, and whose credential opens what.

use std::os::unix::fs::PermissionsExt as _;

use serde_json::json;

use crate::support::http::Request;
use crate::support::server::Server;
use crate::{KEYS, USAGE, USER};

const OPERATORS: [(&str, &str); 6] = [
    ("GET", "/admin/v1/organizations"),
    ("GET", "/admin/v1/keys"),
    ("GET", "/admin/v1/apis"),
    ("GET", "/admin/v1/verifiers"),
    ("GET", "/admin/v1/admin-tokens"),
    ("POST", "/admin/v1/organizations"),
];

#[test]
fn the_public_listener_knows_nothing_of_operators() {
    let server = Server::demo();
    let admin_token = server.said["admin_token"].as_str().unwrap();
    let targets = OPERATORS.into_iter().chain([
        ("POST", "/v1/verify"),
        ("GET", "/metrics"),
        ("GET", "/healthz"),
        ("GET", "/readyz"),
    ]);
    for (method, target) in targets {
        for host in [None, Some("tork.network"), Some("api.example.com")] {
            let request = host.into_iter().fold(Request::new(method, target), Request::host).bearer(admin_token);
            let response = server.public(&request.json(&json!({"name": "Customer"})));
            assert!(matches!(response.status, 401 | 403 | 404), "{method} {target} {host:?}: {response:?}");
        }
    }
}

#[test]
fn each_credential_opens_its_own_door() {
    let server = Server::demo();
    let key = server.organization().key("example", json!({})).secret;
    let text = |name: &str| server.said[name].as_str().unwrap().to_owned();
    let (admin, verifier) = (text("admin_token"), text("verifier_token"));
    let question = json!({"key": key, "method": "GET", "path": USER});
    let statuses = |secret: Option<&str>| {
        let send = |request: Request, address| secret.into_iter().fold(request, Request::bearer).send(address).status;
        [
            send(Request::get("/admin/v1/keys"), server.internal),
            send(Request::post("/v1/verify").json(&question), server.internal),
            send(Request::get(KEYS).host("api.example.com"), server.public),
        ]
    };
    assert_eq!(statuses(Some(&admin)), [200, 401, 401]);
    assert_eq!(statuses(Some(&verifier)), [401, 200, 401]);
    assert_eq!(statuses(Some(&key)), [401, 401, 200]);
    assert_eq!(statuses(None), [401, 401, 401]);
    for wrong in [&admin[..admin.len() - 1], &format!("{admin}x"), &admin.to_uppercase()] {
        assert_eq!(statuses(Some(wrong)), [401, 401, 401]);
    }
    // The customer API is not served inside.
    let inside = Request::get(KEYS).host("api.example.com").bearer(&key).send(server.internal);
    assert_eq!(inside.status, 404);
}

/// On the socket, the file's permissions are the authority.
#[test]
fn the_socket_is_the_operators() {
    let server = Server::demo();
    let mode = std::fs::metadata(server.socket()).unwrap().permissions().mode();
    assert_eq!(mode & 0o077, 0, "{mode:o}");
    let directory = std::fs::metadata(server.data()).unwrap().permissions().mode();
    assert_eq!(directory & 0o077, 0, "{directory:o}");
    for (method, target) in &OPERATORS[..5] {
        Request::new(method, target).send_to_socket(&server.socket()).expect(200);
    }
    let key = server.organization().key("example", json!({})).secret;
    let question = Request::post("/v1/verify").json(&json!({"key": key, "method": "GET", "path": USER}));
    assert_eq!(question.send_to_socket(&server.socket()).expect(200)["valid"], true);
}

/// Tokens of the operator's side are shown once, too, and end when they are revoked.
#[test]
fn verifiers_and_admin_tokens_come_and_go() {
    let server = Server::demo();
    for (collection, target) in [("verifiers", "/v1/verify"), ("admin-tokens", "/admin/v1/keys")] {
        let path = format!("/admin/v1/{collection}");
        let created = server.admin(Request::post(&path).json(&json!({"name": "Proxy"}))).expect(201);
        let (id, token) = (created["id"].as_str().unwrap(), created["token"].as_str().unwrap());
        let status = || {
            let request = match collection {
                "verifiers" => Request::post(target).json(&json!({"key": null, "method": "GET", "path": USER})),
                _ => Request::get(target),
            };
            request.bearer(token).send(server.internal).status
        };
        assert_eq!(status(), 200);
        let list = server.admin(Request::get(&path));
        assert!(list.text().contains(id) && !list.text().contains(token));
        for _ in 0..2 {
            let revoked = server.admin(Request::delete(&format!("{path}/{id}"))).expect(200);
            assert!(revoked["revoked_at"].is_string());
            assert_eq!(status(), 401);
        }
        for (file, bytes) in server.files() {
            assert!(!crate::support::world::contains(&bytes, token.as_bytes()), "{}", file.display());
        }
        assert!(!server.log().contains(token));
    }
}

/// What monitoring reads needs no token and holds no secret.
#[test]
fn monitoring() {
    let server = Server::demo();
    let organization = server.organization();
    let key = organization.key("example", json!({}));
    server.public(&Request::get(USER).host("api.example.com").bearer(&key.secret)).expect(200);
    assert_eq!(Request::get("/healthz").send(server.internal).expect(200)["status"], "ok");
    assert_eq!(Request::get("/readyz").send(server.internal).expect(200)["status"], "ready");
    let metrics = Request::get("/metrics").send(server.internal);
    assert_eq!(metrics.status, 200);
    assert!(metrics.text().ends_with("# EOF\n"));
    assert!(!metrics.text().contains(&key.secret["sk_live_".len()..]));
    for address in [server.internal, server.public] {
        assert_eq!(Request::get("/openapi.json").send(address).expect(200)["openapi"].as_str().unwrap()[..4], *"3.1.");
    }
}

/// Which api a request is for: its host in any spelling. A request that names two (two headers, or another host in its
/// target) is not answered.
#[test]
fn the_host_chooses_the_api() {
    let server = Server::demo();
    let organization = server.organization();
    let (toksta, example) = (organization.key("toksta", json!({})), organization.key("example", json!({})));
    let statuses =
        |request: &Request| [&toksta, &example].map(|key| server.public(&request.clone().bearer(&key.secret)).status);
    for host in ["api.toksta.com", "api.toksta.com.", "API.Toksta.Com", "api.toksta.com:443", "api.toksta.com:8080"] {
        assert_eq!(statuses(&Request::get(USAGE).host(host)), [200, 401], "{host}");
    }
    for host in
        ["localhost", "127.0.0.1:8080", "[::1]:8080", "toksta.com", "xapi.toksta.com", "api.toksta.com.evil.test"]
    {
        assert_eq!(statuses(&Request::get(USAGE).host(host)), [200, 200], "{host}");
    }
    let absolute = Request::get(&format!("http://api.toksta.com{USAGE}"));
    assert_eq!(statuses(&absolute.clone().host("api.toksta.com")), [200, 401]);
    assert_eq!(statuses(&absolute), [400, 400]);
    assert_eq!(statuses(&absolute.host("api.example.com")), [400, 400]);
    let of_upstream = Request::get(&format!("http://api.toksta.com{USER}")).host("api.example.com");
    assert_eq!(statuses(&of_upstream), [400, 400]);
    let twice = Request::get(USAGE).host("api.toksta.com").host("api.example.com");
    assert_eq!(statuses(&twice), [400, 400]);
}
