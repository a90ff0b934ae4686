//! The ledger: every call once, however many there are at a time.

use std::thread;

use serde_json::{Value, json};

use crate::support::http::Request;
use crate::support::server::Server;
use crate::{KEYS, USAGE, USER, call, create, path};

#[test]
fn every_call_is_counted_once() {
    const CALLERS: u64 = 4;
    const ROUNDS: u64 = 25;
    let server = Server::demo();
    let organization = server.organization();
    let live = organization.key("example", json!({}));
    let test = organization.key("example", json!({"environment": "test"}));
    let narrow = organization.key("example", json!({"scopes": ["users:write"]}));
    let question = |secret: &str| json!({"key": secret, "method": "GET", "path": USER});
    thread::scope(|scope| {
        for _ in 0..CALLERS {
            scope.spawn(|| {
                for _ in 0..ROUNDS {
                    call(&server, &live.secret, Request::get(USER)).expect(200);
                    call(&server, &test.secret, Request::get(USER)).expect(200);
                    call(&server, &narrow.secret, Request::get(USER)).expect(403);
                    assert_eq!(server.verify(&question(&live.secret))["valid"], true);
                    // Reports on the way count nothing twice.
                    organization.usage("example");
                }
            });
        }
    });
    let calls = CALLERS * ROUNDS;
    let expected = json!({
        "id": organization.id,
        "total": 4 * calls, "allowed": 3 * calls, "denied": calls, "billable": 2 * calls,
        "by_scope": {"users:read": 4 * calls},
        "by_environment": {"live": 3 * calls, "test": calls},
        "by_outcome": {"allowed": 3 * calls, "insufficient_scope": calls},
    });
    assert_eq!(organization.usage("example"), expected);
}

/// Each endpoint of the customer API counts under its own scope, and once.
#[test]
fn the_customer_api_counts_its_own_calls() {
    let server = Server::demo();
    let organization = server.organization();
    let (admin, key) = (organization.key("example", json!({})), organization.key("example", json!({})));
    let count = |request: Request| {
        let before = organization.usage("example");
        let status = call(&server, &admin.secret, request).status;
        let after = organization.usage("example");
        assert_eq!(after["total"].as_u64().unwrap() - before["total"].as_u64().unwrap_or(0), 1);
        let risen =
            after["by_scope"].as_object().unwrap().iter().find(|(name, count)| before["by_scope"][*name] != **count);
        (status, risen.unwrap().0.clone())
    };
    let path = path(&key);
    let cases = [
        (Request::get(KEYS), 200, "api_keys:read"),
        (Request::new("HEAD", KEYS), 200, "api_keys:read"),
        (Request::post(KEYS).json(&json!({"name": "Key"})), 201, "api_keys:write"),
        (Request::post(KEYS).json(&json!({})), 400, "api_keys:write"),
        (Request::get(&path), 200, "api_keys:read"),
        (Request::patch(&path).json(&json!({"name": "Renamed"})), 200, "api_keys:write"),
        (Request::post(&format!("{path}/rotate")), 200, "api_keys:write"),
        (Request::post(&format!("{path}/disable")), 200, "api_keys:write"),
        (Request::post(&format!("{path}/enable")), 200, "api_keys:write"),
        (Request::delete(&path), 200, "api_keys:write"),
        (Request::get(USAGE), 200, "usage:read"),
        (Request::get(USER), 200, "users:read"),
        (Request::post("/v1/users").json(&json!({})), 400, "users:write"),
        // Not an endpoint of the api's: allowed to a key of full access, and found to be nothing.
        (Request::get("/v1/nothing"), 404, "none"),
        (Request::new("PUT", KEYS), 405, "none"),
    ];
    for (request, status, scope) in cases {
        assert_eq!(count(request.clone()), (status, scope.to_owned()), "{request:?}");
    }
}

/// A report is of one organization, one api and, for a key, of that key.
#[test]
fn reports_keep_to_their_subject() {
    let server = Server::demo();
    let (ours, theirs) = (server.organization(), server.organization());
    let (key, foreign, of_another_api) =
        (ours.key("example", json!({})), theirs.key("example", json!({})), ours.key("toksta", json!({})));
    let second = create(&server, &key.secret, &json!({"name": "Second"}));
    for secret in [&key.secret, &foreign.secret, &foreign.secret, &second.secret] {
        call(&server, secret, Request::get(USER)).expect(200);
    }
    server.public(&Request::get(KEYS).host("api.toksta.com").bearer(&of_another_api.secret)).expect(200);
    let report = call(&server, &key.secret, Request::get(USAGE)).expect(200)["data"].clone();
    assert_eq!((&report["organization"]["id"], &report["key"]["id"]), (&json!(ours.id), &json!(key.id)));
    assert_eq!(report["organization"]["by_scope"], json!({"api_keys:write": 1, "users:read": 2, "usage:read": 1}));
    assert_eq!(report["key"]["by_scope"], json!({"api_keys:write": 1, "users:read": 1, "usage:read": 1}));
    assert_eq!(theirs.usage("example")["by_scope"], json!({"users:read": 2}));
    assert_eq!(ours.usage("toksta")["by_scope"], json!({"api_keys:read": 1}));
    let nothing = server.organization().usage("example");
    assert_eq!((&nothing["total"], &nothing["by_outcome"]), (&json!(0), &json!({})));
    let names = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    let fields = [
        "period_start",
        "period_end",
        "time_zone",
        "plan",
        "limit",
        "used",
        "remaining",
        "resets_at",
        "organization",
        "key",
        "by_key",
        "other_keys",
        "daily",
    ];
    assert_eq!(names(&report), fields);
    let counts = ["id", "total", "allowed", "denied", "billable", "by_scope", "by_environment", "by_outcome"];
    assert_eq!(
        (names(&report["organization"]), names(&report["key"])),
        (counts.map(str::to_owned).into(), counts.map(str::to_owned).into())
    );
}
