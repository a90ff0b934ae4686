//! Nobody makes, edits, rotates or ends a key that is stronger than the one in hand.

use serde_json::{Value, json};

use crate::support::http::Request;
use crate::support::server::Server;
use crate::support::world::{Key, in_days, with};
use crate::{KEYS, call, create, path, show, verdict};

/// Keys that may manage keys, from the strongest to the weakest, and by what each is weaker than the first.
fn weaker_keys() -> [(&'static str, Value); 6] {
    let scopes = json!(["api_keys:read", "api_keys:write", "users:read"]);
    [
        ("scopes", json!({"scopes": scopes})),
        ("ip", json!({"restrictions": {"ip": ["127.0.0.0/8"]}})),
        ("referrer", json!({"restrictions": {"referrer": ["example.com"]}})),
        ("endpoint", json!({"restrictions": {"endpoint": ["* /v1/api-keys", "* /v1/api-keys/**", "GET /v1/users/*"]}})),
        ("expiry", json!({"expires_at": in_days(30)})),
        ("environment", json!({"environment": "test"})),
    ]
}

/// A call with a key that may be restricted to one page.
fn call_from_page(server: &Server, key: &Key, request: Request) -> crate::support::http::Response {
    call(server, &key.secret, request.header("Referer", "https://example.com/account"))
}

#[test]
fn a_stronger_key_is_out_of_reach() {
    let server = Server::demo();
    let organization = server.organization();
    let strong = organization.key("example", json!({"name": "Strong"}));
    for (weakness, wish) in weaker_keys() {
        let weak = organization.key("example", wish);
        let before = show(&server, &strong.secret, &strong);
        let attempts = [
            Request::patch(&path(&strong)).json(&json!({"name": "Mine now"})),
            Request::patch(&path(&strong)).json(&json!({"scopes": ["users:read"]})),
            Request::post(&format!("{}/rotate", path(&strong))),
            Request::post(&format!("{}/disable", path(&strong))),
            Request::post(&format!("{}/enable", path(&strong))),
            Request::delete(&path(&strong)),
        ];
        // A live key does not even exist for a test key.
        let expected = if weakness == "environment" { 404 } else { 403 };
        for attempt in attempts {
            assert_eq!(call_from_page(&server, &weak, attempt).status, expected, "{weakness}");
        }
        assert_eq!(show(&server, &strong.secret, &strong), before, "{weakness}");
    }
}

/// What a key leaves open when it makes another is as restricted as itself; what it asks beyond that is refused.
#[test]
fn a_new_key_is_never_stronger() {
    let server = Server::demo();
    let organization = server.organization();
    for (weakness, wish) in weaker_keys() {
        let weak = organization.key("example", wish);
        let narrow = json!({"name": "Key", "scopes": ["users:read"]});
        let made = Key::issued(&call_from_page(&server, &weak, Request::post(KEYS).json(&narrow)).expect(201));
        assert_eq!(made.body["restrictions"], weak.body["restrictions"], "{weakness}");
        assert_eq!(made.body["environment"], weak.body["environment"], "{weakness}");
        if weakness == "environment" {
            // What a test key makes is gone after a day.
            assert!(made.body["expires_at"].is_string(), "{}", made.body);
        } else {
            assert_eq!(made.body["expires_at"], weak.body["expires_at"], "{weakness}");
        }
        assert_eq!(made.body["created_by"], weak.id);
        let stronger = [
            ("scopes", json!({"scopes": ["*"]}), 403),
            ("scopes", json!({"scopes": ["users:write"]}), 403),
            // A secret key that names no scopes would have them all.
            ("scopes", json!({}), 403),
            ("ip", json!({"scopes": ["users:read"], "restrictions": {"ip": ["10.0.0.0/8"]}}), 403),
            ("ip", json!({"scopes": ["users:read"], "restrictions": {"ip": ["127.0.0.0/8", "::1"]}}), 403),
            ("ip", json!({"scopes": ["users:read"], "restrictions": {"ip": ["0.0.0.0/0"]}, "allow_any_ip": true}), 403),
            ("referrer", json!({"scopes": ["users:read"], "restrictions": {"referrer": ["*.example.com"]}}), 403),
            ("endpoint", json!({"scopes": ["users:read"], "restrictions": {"endpoint": ["GET /v1/**"]}}), 403),
            ("expiry", json!({"scopes": ["users:read"], "expires_at": in_days(31)}), 403),
            ("environment", json!({"scopes": ["users:read"], "environment": "live"}), 403),
            ("environment", json!({"scopes": ["users:read"], "prefix": "sk_live_"}), 403),
        ];
        for (_, body, status) in stronger.iter().filter(|(beyond, ..)| *beyond == weakness) {
            let body = with(json!({"name": "Key"}), body.clone());
            let refused = call_from_page(&server, &weak, Request::post(KEYS).json(&body));
            assert_eq!(refused.status, *status, "{weakness} {body} {}", refused.text());
        }
    }
}

/// A key that one may edit cannot be edited beyond oneself.
#[test]
fn an_edit_never_makes_a_key_stronger() {
    let server = Server::demo();
    let organization = server.organization();
    let wish = json!({
        "scopes": ["api_keys:write", "users:read"],
        "restrictions": {"ip": ["127.0.0.0/8"], "endpoint": ["* /v1/api-keys/**", "GET /v1/users/*"]},
        "expires_at": in_days(30),
    });
    let weak = organization.key("example", wish.clone());
    let target = organization.key("example", wish);
    let before = show(&server, &organization.key("example", json!({})).secret, &target);
    let edits = [
        json!({"scopes": ["*"]}),
        json!({"scopes": ["api_keys:read"]}),
        json!({"restrictions": {"ip": null}}),
        json!({"restrictions": {"ip": ["126.0.0.0/7"]}}),
        json!({"restrictions": {"endpoint": null}}),
        json!({"restrictions": {"endpoint": ["* /v1/users/*"]}}),
        json!({"expires_at": null}),
        json!({"expires_at": in_days(31)}),
    ];
    for edit in edits {
        assert_eq!(call(&server, &weak.secret, Request::patch(&path(&target)).json(&edit)).status, 403, "{edit}");
        // Nor oneself.
        assert_eq!(call(&server, &weak.secret, Request::patch(&path(&weak)).json(&edit)).status, 403, "{edit}");
    }
    assert_eq!(show(&server, &organization.key("example", json!({})).secret, &target), before);
    let narrower = json!({"scopes": ["users:read"], "restrictions": {"ip": ["127.0.0.1"]}, "expires_at": in_days(29)});
    call(&server, &weak.secret, Request::patch(&path(&target)).json(&narrower)).expect(200);
}

/// A chain of keys: ending the first does not end those that were made with it, for only an ephemeral key has a parent.
#[test]
fn keys_outlive_the_key_that_made_them() {
    let server = Server::demo();
    let first = server.organization().key("example", json!({}));
    let second = create(&server, &first.secret, &json!({"name": "Second"}));
    assert_eq!((&second.body["parent_id"], &second.body["created_by"]), (&Value::Null, &json!(first.id)));
    call(&server, &second.secret, Request::delete(&path(&first))).expect(200);
    assert_eq!(verdict(&server, &second.secret), Value::Null);
    assert_eq!(verdict(&server, &first.secret), "revoked");
}

/// An ephemeral key is as weak as its parent is now, not as it was.
#[test]
fn a_child_never_outranks_its_parent() {
    let server = Server::demo();
    let organization = server.organization();
    let send = |secret: &str, request: Request| server.public(&request.bearer(secret).host("tork.network"));
    let wish = json!({"kind": "restricted", "scopes": ["evaluate", "api_keys:write"], "expires_at": in_days(30)});
    let parent = organization.key("tork", wish);
    let keys = "/api/v1/api-keys";
    let stronger = [
        json!({"scopes": ["*"]}),
        json!({"scopes": ["usage:read"]}),
        json!({"expires_at": in_days(31)}),
        json!({"parent_id": parent.id}),
    ];
    for body in stronger {
        let body = with(json!({"name": "Agent", "kind": "ephemeral"}), body);
        let refused = send(&parent.secret, Request::post(keys).json(&body));
        assert!(matches!(refused.status, 400 | 403), "{body} {refused:?}");
    }
    let made = send(&parent.secret, Request::post(keys).json(&json!({"name": "Agent", "kind": "ephemeral"})));
    let child = Key::issued(&made.expect(201));
    assert_eq!(child.body["scopes"], json!(["api_keys:write", "evaluate"]));
    let code = || {
        server.verify(&json!({"key": child.secret, "method": "POST", "path": "/api/v1/evaluate", "ip": "203.0.113.7"}))
            ["code"]
            .clone()
    };
    assert_eq!(code(), Value::Null);
    let admin = organization.key("tork", json!({}));
    for (narrower, expected, wider) in [
        (json!({"scopes": ["api_keys:write"]}), "insufficient_scope", json!({"scopes": ["evaluate"]})),
        (json!({"restrictions": {"ip": ["10.0.0.0/8"]}}), "ip_not_allowed", json!({"restrictions": {"ip": null}})),
    ] {
        for (body, expected) in [(narrower, json!(expected)), (wider, Value::Null)] {
            send(&admin.secret, Request::patch(&format!("{keys}/{}", parent.id)).json(&body)).expect(200);
            assert_eq!(code(), expected, "{body}");
        }
    }
}
