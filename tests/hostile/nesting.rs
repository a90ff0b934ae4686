//! Documents that go 100,000 levels deep, sent to every place that reads one.

use std::fmt::Write as _;

use serde_json::Value;

use crate::doors::{Door, HOST, World};
use crate::support::http::Request;

/// Deeper than any stack that reads it level by level.
const LEVELS: usize = 100_000;
/// As deep as a body of 64 KiB can be.
const LEVELS_THAT_FIT: usize = 60_000;

/// Documents that are nothing but deep.
fn deep() -> Vec<(String, Vec<u8>)> {
    let mut documents = Vec::new();
    for levels in [LEVELS, LEVELS_THAT_FIT] {
        let closed = format!("{}{}", "[".repeat(levels / 2), "]".repeat(levels / 2));
        documents.push((format!("{levels} open brackets"), "[".repeat(levels)));
        documents.push((format!("{} brackets, closed", levels / 2), closed.clone()));
        documents.push((format!("{} open objects", levels / 5), "{\"a\":".repeat(levels / 5)));
        for field in ["name", "metadata", "restrictions", "key", "scopes", "content"] {
            documents.push((format!("{} brackets in {field}", levels / 2), format!("{{\"{field}\":{closed}}}")));
        }
    }
    documents.into_iter().map(|(name, text)| (name, text.into_bytes())).collect()
}

/// Every operation of the document that takes JSON, with ids filled in: method, path, and whether it is the customer API's.
fn operations(world: &World) -> Vec<(String, String, bool)> {
    let document = Request::get("/openapi.json").send(world.server.internal).expect(200);
    let mut operations = Vec::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            if !operation["requestBody"]["content"]["application/json"].is_object() {
                continue;
            }
            let is_customers = !path.starts_with("/admin/") && path != "/v1/verify";
            let id = if path.contains("organizations") { &world.organization } else { &world.key.id };
            // Nothing of these sorts is there: what is too deep is refused before anybody looks.
            let nobody = |prefix: &str| format!("{prefix}_{}", "0".repeat(26));
            let path = if path.contains("/webhooks/") { path.replace("{id}", &nobody("whe")) } else { path.clone() };
            let path = path.replace("{id}", id).replace("{api}", "example");
            let path = path.replace("{member}", &nobody("mem")).replace("{event}", &nobody("evt"));
            assert!(!path.contains('{'), "{path}: what is to be filled in?");
            let path = if is_customers { format!("/v1{path}") } else { path };
            operations.push((method.to_uppercase(), path, is_customers));
        }
    }
    operations
}

#[test]
fn no_document_is_too_deep_to_be_refused() {
    let world = World::shared();
    let operations = operations(&world);
    assert!(operations.len() >= 11, "{operations:?}");
    let mut wrong = String::new();
    for (name, body) in deep() {
        let mut check = |place: &str, status: u16| {
            if !matches!(status, 400 | 413) {
                writeln!(wrong, "- {name}, {place}: {status}").unwrap();
            }
        };
        let json = |request: Request| request.header("Content-Type", "application/json").body(body.clone());
        for (method, path, is_customers) in &operations {
            let request = json(Request::new(method, path));
            let answer = match path.as_str() {
                "/v1/verify" => {
                    let token = world.server.said["verifier_token"].as_str().unwrap();
                    request.bearer(token).send(world.server.internal)
                }
                _ if *is_customers => world.server.public(&request.host(HOST).bearer(&world.key.secret)),
                _ => world.server.admin(request),
            };
            check(path, answer.status);
        }
        for path in ["/v1/users", "/api/v1/evaluate"] {
            let key = if path == "/v1/users" { &world.key.secret } else { tork_secret(&world) };
            let host = if path == "/v1/users" { HOST } else { "tork.network" };
            check(path, world.server.public(&json(Request::post(path)).host(host).bearer(key)).status);
        }
        for door in Door::ALL {
            world.must_serve(door, &name);
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

fn tork_secret(world: &World) -> &str {
    world.server.said.pointer("/apis/tork/keys/secret").and_then(Value::as_str).unwrap()
}

/// Definitions are TOML, and of the operator; a file that is nothing but deep must not end the server either.
#[test]
fn no_definition_is_too_deep_to_be_refused() {
    let world = World::shared();
    let deep = |open: &str, close: &str| format!("x = {}{}\n", open.repeat(LEVELS), close.repeat(LEVELS));
    for definition in [
        deep("[", "]"),
        deep("[", ""),
        format!("x = {}1{}\n", "{a=".repeat(50_000), "}".repeat(50_000)),
        format!("{}x = 1\n", "a.".repeat(LEVELS)),
        format!("[{}a]\n", "a.".repeat(LEVELS)),
        format!("[[{}a]]\n", "a.".repeat(LEVELS)),
    ] {
        let request = Request::put("/admin/v1/apis/example").header("Content-Type", "application/toml");
        let shown: String = definition.chars().take(20).collect();
        let status = world.server.admin(request.body(definition)).status;
        assert!(matches!(status, 400 | 413), "{shown}…: {status}");
        world.must_serve(Door::Customer, &shown);
    }
}
