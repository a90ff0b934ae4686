//! Rotation: one id, a new secret, an overlap that ends when it says.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::http::Request;
use crate::support::server::Server;
use crate::support::world::Key;
use crate::{call, create, path, show, verdict};

fn rotate(server: &Server, secret: &str, key: &Key, overlap_seconds: i64) -> Key {
    let request = Request::post(&format!("{}/rotate", path(key))).json(&json!({"overlap_seconds": overlap_seconds}));
    Key::issued(&call(server, secret, request).expect(200))
}

/// Of three secrets the oldest is dead, whatever its overlap said.
#[test]
fn rotating_during_an_overlap_ends_the_older_one() {
    let server = Server::demo();
    let organization = server.organization();
    let (admin, first) = (organization.key("example", json!({})), organization.key("example", json!({})));
    let mut secrets = vec![first.secret.clone()];
    for _ in 0..4 {
        secrets.push(rotate(&server, &admin.secret, &first, 3600).secret);
        let (dead, alive) = secrets.split_at(secrets.len() - 2);
        for secret in alive {
            assert_eq!(verdict(&server, secret), Value::Null);
        }
        for secret in dead {
            assert_ne!(verdict(&server, secret), Value::Null);
            assert_eq!(call(&server, secret, Request::get(crate::USER)).status, 401);
        }
    }
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a bound on how long the old secret may still be accepted")]
fn an_overlap_ends_when_it_says() {
    let server = Server::demo();
    let organization = server.organization();
    let (admin, key) = (organization.key("example", json!({})), organization.key("example", json!({})));
    let rotated = rotate(&server, &admin.secret, &key, 1);
    let deadline = Instant::now() + Duration::from_secs(10);
    while verdict(&server, &key.secret).is_null() {
        assert!(Instant::now() < deadline, "the old secret is still accepted");
    }
    assert_eq!(call(&server, &key.secret, Request::get(crate::USER)).status, 401);
    assert_eq!(verdict(&server, &rotated.secret), Value::Null);
    assert_eq!(show(&server, &admin.secret, &key)["overlap_ends_at"], Value::Null);
}

/// An overlap never lets a secret outlive its key.
#[test]
fn an_overlap_ends_with_the_key() {
    let server = Server::demo();
    let admin = server.organization().key("example", json!({}));
    let key = create(&server, &admin.secret, &json!({"name": "Key", "ttl_seconds": 600}));
    let rotated = rotate(&server, &admin.secret, &key, 3600);
    assert_eq!(rotated.body["overlap_ends_at"], rotated.body["expires_at"]);
    assert_eq!(rotated.body["expires_at"], key.body["expires_at"]);
    call(&server, &admin.secret, Request::post(&format!("{}/disable", path(&key)))).expect(200);
    for secret in [&key.secret, &rotated.secret] {
        assert_eq!(verdict(&server, secret), "disabled");
    }
    call(&server, &admin.secret, Request::post(&format!("{}/enable", path(&key)))).expect(200);
    call(&server, &admin.secret, Request::delete(&path(&key))).expect(200);
    for secret in [&key.secret, &rotated.secret] {
        assert_ne!(verdict(&server, secret), Value::Null);
    }
}

/// What is over cannot be rotated back to life, and says so.
#[test]
fn a_dead_key_is_not_rotated() {
    let server = Server::demo();
    let organization = server.organization();
    let (admin, key) = (organization.key("example", json!({})), organization.key("example", json!({})));
    call(&server, &admin.secret, Request::delete(&path(&key))).expect(200);
    let again = [
        Request::post(&format!("{}/rotate", path(&key))),
        Request::post(&format!("{}/enable", path(&key))),
        Request::post(&format!("{}/disable", path(&key))),
        Request::patch(&path(&key)).json(&json!({"name": "Renamed"})),
        Request::patch(&path(&key)).json(&json!({"expires_at": null})),
    ];
    for request in again {
        call(&server, &admin.secret, request).expect(409);
    }
    assert_eq!(show(&server, &admin.secret, &key)["state"], "revoked");
    assert_ne!(verdict(&server, &key.secret), Value::Null);
}

/// A key that rotates itself goes on with what the answer says.
#[test]
fn a_key_rotates_itself() {
    let server = Server::demo();
    let mut key = server.organization().key("example", json!({}));
    for overlap_seconds in [0, 60, 0] {
        let next = rotate(&server, &key.secret, &key, overlap_seconds);
        assert_eq!(next.id, key.id);
        assert_eq!(next.body["hint"].as_str(), next.secret.get(next.secret.len() - 4..));
        assert_eq!(verdict(&server, &key.secret).is_null(), overlap_seconds > 0);
        assert_eq!(verdict(&server, &next.secret), Value::Null);
        key = next;
    }
}
