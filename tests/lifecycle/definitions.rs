//! Definitions: applied over HTTP, seen on the next call, and never at the cost of a key that was issued.

use serde_json::{Value, json};

use crate::support::http::{Request, Response};
use crate::support::server::{Place, Server};
use crate::support::world::Key;

const ACME: &str = r#"
name = "acme"
title = "Acme"
hosts = ["api.acme.test"]
base_path = "/acme/v1"

[[keys]]
prefix = "ac_"
kind = "secret"
environment = "live"
alphabet = "base62"
length = 32

[[keys]]
prefix = "act_"
kind = "secret"
environment = "test"
alphabet = "base32"
length = 40
checksum = "crc32"

[[scopes]]
name = "things:read"
description = "Read things"

[[scopes]]
name = "things:write"
description = "Make things"

[[endpoints]]
endpoint = "GET /acme/v1/things/{id}"
scope = "things:read"

[[endpoints]]
endpoint = "POST /acme/v1/things"
scope = "things:write"
environment = "live"
"#;

fn put(server: &Server, query: &str, text: &str) -> Response {
    let request = Request::put(&format!("/admin/v1/apis/acme{query}")).header("Content-Type", "application/toml");
    server.admin(request.body(text))
}

fn acme() -> Server {
    let server = Server::serve(Place::new(), &[]);
    put(&server, "", ACME).expect(200);
    server
}

fn call(server: &Server, secret: &str, request: Request) -> Response {
    server.public(&request.host("api.acme.test").bearer(secret))
}

#[test]
fn applying_twice_changes_nothing_and_a_dry_run_nothing_at_all() {
    let server = Server::serve(Place::new(), &[]);
    server.sign_in();
    let revision = || Request::get("/readyz").send(server.internal).expect(200)["revision"].as_u64().unwrap();
    let before = revision();
    let tried = put(&server, "?dry_run=true", ACME).expect(200);
    assert_eq!((&tried["created"], &tried["applied"], &tried["revision"]), (&json!(true), &json!(false), &Value::Null));
    assert!(!tried["differences"].as_array().unwrap().is_empty());
    server.admin(Request::get("/admin/v1/apis/acme")).expect(404);
    assert_eq!(revision(), before);
    let applied = put(&server, "", ACME).expect(200);
    assert_eq!(
        (&applied["created"], &applied["applied"], &applied["revision"]),
        (&json!(true), &json!(true), &json!(revision()))
    );
    assert_eq!(applied["differences"], tried["differences"]);
    let again = put(&server, "?dry_run=false", ACME).expect(200);
    assert_eq!(
        (&again["created"], &again["applied"], &again["differences"]),
        (&json!(false), &json!(false), &json!([]))
    );
    assert_eq!(applied["revision"], json!(revision()));
    let shown = server.admin(Request::get("/admin/v1/apis/acme")).expect(200);
    assert_eq!((&shown["title"], &shown["base_path"]), (&json!("Acme"), &json!("/acme/v1")));
    assert_eq!(server.admin(Request::get("/admin/v1/apis")).expect(200)["data"], json!([shown]));
}

#[test]
fn a_new_prefix_strands_no_key() {
    let server = acme();
    let organization = server.organization();
    let old = organization.key("acme", json!({}));
    let changed = ACME.replace("\"ac_\"", "\"acme_\"");
    let differences = put(&server, "", &changed).expect(200)["differences"].to_string();
    assert!(differences.contains("ac_") && differences.contains("acme_"), "{differences}");
    call(&server, &old.secret, Request::get("/acme/v1/api-keys")).expect(200);
    let new = organization.key("acme", json!({}));
    assert!(new.secret.starts_with("acme_"), "{}", new.body);
    let rotated =
        call(&server, &new.secret, Request::post(&format!("/acme/v1/api-keys/{}/rotate", old.id))).expect(200);
    assert!(rotated["secret"].as_str().unwrap().starts_with("acme_"));
    // After a restart as well, and when the old prefix comes back.
    let (old, new) = (Key::issued(&rotated), new);
    let server = Server::serve(server.stop(), &[]);
    for definition in [&changed, ACME, &changed] {
        put(&server, "", definition).expect(200);
        for key in [&old, &new] {
            call(&server, &key.secret, Request::get("/acme/v1/api-keys")).expect(200);
        }
    }
}

#[test]
fn what_would_strand_keys_is_refused() {
    let server = acme();
    let organization = server.organization();
    let key = organization.key("acme", json!({"scopes": ["things:write", "api_keys:read"]}));
    let without_scope =
        ACME.replace("[[scopes]]\nname = \"things:write\"\ndescription = \"Make things\"\n", "").replace(
            "[[endpoints]]\nendpoint = \"POST /acme/v1/things\"\nscope = \"things:write\"\nenvironment = \"live\"\n",
            "",
        );
    assert!(!without_scope.contains("things:write"));
    for text in [&without_scope, &ACME.replace("length = 32", "length = 33"), &ACME.replace("base62", "hex")] {
        put(&server, "", text).expect(409);
        put(&server, "?dry_run=true", text).expect(409);
    }
    call(&server, &key.secret, Request::get("/acme/v1/api-keys")).expect(200);
    let narrowed = Request::patch(&format!("/admin/v1/keys/{}", key.id)).json(&json!({"scopes": ["api_keys:read"]}));
    server.admin(narrowed).expect(200);
    put(&server, "", &without_scope).expect(200);
}

#[test]
fn what_cannot_stand_beside_the_others_is_refused() {
    let server = acme();
    let other = |text: String| {
        let request = Request::put("/admin/v1/apis/other").header("Content-Type", "text/plain");
        server.admin(request.body(text.replace("\"acme\"", "\"other\""))).status
    };
    let apart =
        ACME.replace("api.acme.test", "api.other.test").replace("\"ac_\"", "\"ot_\"").replace("\"act_\"", "\"ott_\"");
    assert_eq!(other(apart.replace("api.other.test", "api.acme.test")), 409);
    assert_eq!(other(apart.replace("\"ot_\"", "\"ac_\"")), 409);
    assert_eq!(other(apart.replace("\"ot_\"", "\"ac_live_\"")), 409);
    // A prefix that is no longer issued is still somebody's.
    server.organization().key("acme", json!({}));
    put(&server, "", &ACME.replace("\"ac_\"", "\"acme_\"")).expect(200);
    assert_eq!(other(apart.replace("\"ot_\"", "\"ac_\"")), 409);
    assert_eq!(other(apart), 200);
}

#[test]
fn mistakes_are_named() {
    let server = Server::serve(Place::new(), &[]);
    let cases = [
        ("", "missing field"),
        ("name = ", ""),
        (&ACME.replace("length = 32", "length = 20"), "random bits"),
        (&ACME.replace("\"act_\"", "\"ac_t_\""), "told apart"),
        (&ACME.replace("base_path = \"/acme/v1\"", "base_path = \"/acme/v1/\""), "base_path"),
        (&ACME.replace("GET /acme/v1/things/{id}", "GET /other/things/{id}"), "/other/things"),
        (&ACME.replace("scope = \"things:read\"", "scope = \"things:list\""), "things:list"),
        (&ACME.replace("title", "titel"), "titel"),
    ];
    for (text, word) in cases {
        let refused = put(&server, "", text).expect(400);
        assert!(refused["detail"].as_str().unwrap().contains(word), "{refused}");
    }
    assert_eq!(put(&server, "", &ACME.replace("\"acme\"", "\"other\"")).expect(400)["field"], "name");
    assert_eq!(put(&server, "?dry_run=yes", ACME).expect(400)["field"], "dry_run");
    let request = Request::put("/admin/v1/apis/acme").header("Content-Type", "application/json").body(ACME);
    server.admin(request).expect(415);
    assert_eq!(server.admin(Request::get("/admin/v1/apis")).expect(200)["data"], json!([]));
}

/// An api without an envelope answers with the thing itself, and says no as problem+json (RFC 9457).
#[test]
fn the_form_is_the_apis_own() {
    let server = acme();
    let key = server.organization().key("acme", json!({}));
    let keys = "/acme/v1/api-keys";
    let created = call(&server, &key.secret, Request::post(keys).json(&json!({"name": "Key"}))).expect(201);
    assert!(created["id"].is_string() && created["secret"].is_string());
    let list = call(&server, &key.secret, Request::get(keys)).expect(200);
    assert_eq!(list.as_object().unwrap().keys().collect::<Vec<_>>(), ["data"]);
    let target = format!("{keys}/{}", created["id"].as_str().unwrap());
    assert_eq!(call(&server, &key.secret, Request::get(&target)).expect(200)["id"], created["id"]);
    let revoked = call(&server, &key.secret, Request::delete(&target)).expect(200);
    assert_eq!(revoked.to_string(), r#"{"message":"API key revoked successfully"}"#);
    assert!(call(&server, &key.secret, Request::get("/acme/v1/account/usage")).expect(200)["period_start"].is_string());
    let refused = [
        (call(&server, "ac_x", Request::get(keys)), 401, "invalid"),
        (server.public(&Request::get(keys)), 401, "missing"),
        (call(&server, &key.secret, Request::get(&format!("{keys}/key_123"))), 404, "not_found"),
        (call(&server, &key.secret, Request::post(keys).json(&json!({}))), 400, "invalid_request"),
        (call(&server, &key.secret, Request::new("PUT", keys)), 405, "method_not_allowed"),
    ];
    for (response, status, code) in refused {
        let problem = response.expect(status);
        assert_eq!(response.header("content-type"), Some("application/problem+json"));
        let mut names: Vec<_> = problem.as_object().unwrap().keys().map(String::as_str).collect();
        names.retain(|name| *name != "field");
        assert_eq!(names, ["type", "title", "status", "detail", "code"]);
        assert_eq!(problem["code"], code);
    }
}

/// Words, scopes and endpoints of a new definition hold on the next call.
#[test]
fn a_definition_acts_on_the_next_call() {
    let server = acme();
    let organization = server.organization();
    let key = organization.key("acme", json!({"scopes": ["things:read"]}));
    let test = organization.key("acme", json!({"environment": "test"}));
    let code = |key: &Key, method: &str, path: &str| {
        server.verify(&json!({"key": key.secret, "method": method, "path": path}))["code"].clone()
    };
    assert_eq!(code(&key, "GET", "/acme/v1/things/1"), Value::Null);
    assert_eq!(code(&key, "GET", "/acme/v1/parts/1"), "insufficient_scope");
    assert_eq!(code(&test, "POST", "/acme/v1/things"), "wrong_environment");
    let wider =
        ACME.replace("GET /acme/v1/things/{id}", "GET /acme/v1/parts/{id}").replace("environment = \"live\"\n\"", "\"");
    let wider = wider.strip_suffix("environment = \"live\"\n").unwrap().to_owned();
    let wider =
        format!("{wider}[errors]\nform = \"envelope\"\n[errors.denials.invalid]\ncode = \"nope\"\nmessage = \"No.\"\n");
    put(&server, "", &wider).expect(200);
    assert_eq!(code(&key, "GET", "/acme/v1/things/1"), "insufficient_scope");
    assert_eq!(code(&key, "GET", "/acme/v1/parts/1"), Value::Null);
    assert_eq!(code(&test, "POST", "/acme/v1/things"), Value::Null);
    let refused = call(&server, "ac_x", Request::get("/acme/v1/api-keys")).expect(401);
    assert_eq!(refused.to_string(), r#"{"success":false,"error":{"code":"nope","message":"No.","status":401}}"#);
}
