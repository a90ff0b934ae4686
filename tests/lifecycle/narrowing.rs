//! What is narrowed acts on the very next call, and what is lifted too.

use serde_json::{Value, json};

use crate::support::http::Request;
use crate::support::server::Server;
use crate::support::world::in_days;
use crate::{call, path, show, verdict};

/// A change, the verdict on the next call, the change back.
#[test]
fn a_change_acts_on_the_next_call() {
    let server = Server::demo();
    let organization = server.organization();
    let (admin, key) = (organization.key("example", json!({})), organization.key("example", json!({})));
    let cases = [
        (json!({"scopes": ["users:write"]}), "insufficient_scope", json!({"scopes": ["*"]})),
        (json!({"scopes": []}), "insufficient_scope", json!({"scopes": ["users:read"]})),
        (
            json!({"restrictions": {"ip": ["203.0.114.0/24"]}}),
            "ip_not_allowed",
            json!({"restrictions": {"ip": ["203.0.113.0/24"]}}),
        ),
        (json!({"restrictions": {"ip": []}}), "ip_not_allowed", json!({"restrictions": {"ip": null}})),
        (
            json!({"restrictions": {"referrer": ["example.org"]}}),
            "referrer_not_allowed",
            json!({"restrictions": {"referrer": ["example.com"]}}),
        ),
        (
            json!({"restrictions": {"referrer": []}}),
            "referrer_not_allowed",
            json!({"restrictions": {"referrer": null}}),
        ),
        (
            json!({"restrictions": {"endpoint": ["GET /v1/users/usr_124"]}}),
            "endpoint_not_allowed",
            json!({"restrictions": {"endpoint": ["* /v1/**"]}}),
        ),
        (
            json!({"restrictions": {"endpoint": []}}),
            "endpoint_not_allowed",
            json!({"restrictions": {"endpoint": null}}),
        ),
    ];
    for (narrower, code, wider) in cases {
        let patch = |body: &Value| call(&server, &admin.secret, Request::patch(&path(&key)).json(body)).expect(200);
        patch(&narrower);
        assert_eq!(verdict(&server, &key.secret), code, "{narrower}");
        patch(&wider);
        assert_eq!(verdict(&server, &key.secret), Value::Null, "{wider}");
    }
}

/// What a change does not name stays as it is; lists are replaced as a whole; `null` is not the empty list.
#[test]
fn what_is_not_named_stays() {
    let server = Server::demo();
    let organization = server.organization();
    let admin = organization.key("example", json!({}));
    let key = organization.key(
        "example",
        json!({
            "scopes": ["users:read"],
            "restrictions": {"ip": ["203.0.113.0/24"], "referrer": ["example.com"]},
            "metadata": {"team": "payments"},
            "expires_at": in_days(365),
        }),
    );
    let mut expected = show(&server, &admin.secret, &key);
    let steps = [
        (json!({"name": "Renamed"}), "/name", json!("Renamed")),
        (json!({"restrictions": {"ip": ["198.51.100.0/24"]}}), "/restrictions/ip", json!(["198.51.100.0/24"])),
        (json!({"restrictions": {"referrer": []}}), "/restrictions/referrer", json!([])),
        (json!({"restrictions": {"referrer": null}}), "/restrictions/referrer", json!(null)),
        (
            json!({"restrictions": {"endpoint": ["GET /v1/users/*"]}}),
            "/restrictions/endpoint",
            json!(["GET /v1/users/*"]),
        ),
        (json!({"metadata": {"b": [1, {"c": null}]}}), "/metadata", json!({"b": [1, {"c": null}]})),
        (json!({"expires_at": in_days(30)}), "/expires_at", json!(in_days(30))),
        (json!({"expires_at": null}), "/expires_at", json!(null)),
        (json!({"scopes": ["users:write", "users:read"]}), "/scopes", json!(["users:read", "users:write"])),
    ];
    for (body, pointer, value) in steps {
        let answer = call(&server, &admin.secret, Request::patch(&path(&key)).json(&body)).expect(200);
        *expected.pointer_mut(pointer).unwrap() = value;
        assert_eq!(answer["data"], expected, "{body}");
        assert_eq!(show(&server, &admin.secret, &key), expected, "{body}");
    }
}

#[test]
fn switching_off_and_on() {
    let server = Server::demo();
    let organization = server.organization();
    let (admin, key) = (organization.key("example", json!({})), organization.key("example", json!({})));
    for (action, state, code) in [
        ("disable", "disabled", json!("disabled")),
        ("disable", "disabled", json!("disabled")),
        ("enable", "active", json!(null)),
    ] {
        let answer = call(&server, &admin.secret, Request::post(&format!("{}/{action}", path(&key)))).expect(200);
        assert_eq!(answer["data"]["state"], state);
        assert_eq!(verdict(&server, &key.secret), code);
    }
}

/// A verdict can be asked for that is at least as new as a change.
#[test]
fn verdicts_know_of_the_change() {
    let server = Server::demo();
    let organization = server.organization();
    let (admin, key) = (organization.key("example", json!({})), organization.key("example", json!({})));
    let revoked = call(&server, &admin.secret, Request::delete(&path(&key)));
    let revision: u64 = revoked.header("claviger-revision").unwrap().parse().unwrap();
    let ask = |at_least: u64| {
        server.verify(&json!({"key": key.secret, "method": "GET", "path": crate::USER, "at_least_revision": at_least}))
    };
    assert_eq!(ask(revision)["code"], "revoked");
    assert!(ask(revision)["revision"].as_u64().unwrap() >= revision);
    // Of what has not happened yet nobody can know.
    let ahead = ask(revision + 1_000_000);
    assert_eq!((&ahead["code"], &ahead["status"]), (&json!("unavailable"), &json!(503)));
}
