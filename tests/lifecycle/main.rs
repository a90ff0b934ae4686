//! The life of keys over HTTP, against the real binary: what the documents do not print, but every customer relies on.
//!
//! One module a subject, tables where there are many cases. Each test runs a server of its own.

#![allow(clippy::unwrap_used, reason = "helpers of tests: a failure here is the test's failure")]

#[path = "../support/mod.rs"]
mod support;

mod bodies;
mod definitions;
mod doors;
mod hygiene;
mod limits;
mod narrowing;
mod organizations;
mod pages;
mod preconditions;
mod proxies;
mod restart;
mod rotation;
mod strength;
mod usage;

use serde_json::{Value, json};
use support::http::{Request, Response};
use support::server::{Place, Server};
use support::world::Key;

const KEYS: &str = "/v1/api-keys";
const USAGE: &str = "/v1/account/usage";
const USER: &str = "/v1/users/usr_123";

/// Sends to the example api with a key.
fn call(server: &Server, secret: &str, request: Request) -> Response {
    server.public(&request.host("api.example.com").bearer(secret))
}

/// The path of a key.
fn path(key: &Key) -> String {
    format!("{KEYS}/{}", key.id)
}

/// Makes a key with another.
fn create(server: &Server, secret: &str, body: &Value) -> Key {
    Key::issued(&call(server, secret, Request::post(KEYS).json(body)).expect(201))
}

/// What a key is now.
fn show(server: &Server, secret: &str, key: &Key) -> Value {
    call(server, secret, Request::get(&path(key))).expect(200)["data"].clone()
}

/// `claviger serve` on a new directory, with the example api.
fn serve(arguments: &[&str]) -> Server {
    let server = Server::serve(Place::new(), arguments);
    let definition = Request::put("/admin/v1/apis/example").header("Content-Type", "application/toml");
    server.admin(definition.body(include_str!("../../apis/example.toml"))).expect(200);
    server
}

/// The code of the verdict on reading the printed user, `null` when it is allowed.
fn verdict(server: &Server, secret: &str) -> Value {
    let answer = server.verify(&json!({
        "key": secret, "method": "GET", "path": USER, "ip": "203.0.113.7", "referrer": "https://example.com/",
    }));
    assert_eq!(answer["valid"], answer["code"].is_null(), "{answer}");
    answer["code"].clone()
}
