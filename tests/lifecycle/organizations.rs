//! Another organization's keys are not there: the answer is the one of an id that nothing has.

use serde_json::{Value, json};

use crate::support::http::{Request, Response};
use crate::support::server::Server;
use crate::{KEYS, USAGE, call, show, verdict};

fn operations(id: &str) -> Vec<Request> {
    let path = format!("{KEYS}/{id}");
    vec![
        Request::get(&path),
        Request::patch(&path).json(&json!({"name": "Mine"})),
        Request::post(&format!("{path}/rotate")).json(&json!({"overlap_seconds": 60})),
        Request::post(&format!("{path}/disable")),
        Request::post(&format!("{path}/enable")),
        Request::delete(&path),
        Request::delete(&format!("{path}?reason=leaked")),
        // A precondition is no way to tell either.
        Request::delete(&path).header("If-Match", "\"1\""),
        Request::patch(&path).json(&json!({"name": "Mine"})).header("If-Match", "*"),
    ]
}

/// Everything of an answer but the date.
fn seen(response: &Response) -> String {
    let mut response = response.clone();
    response.forget_header("date");
    format!("{response:?}")
}

#[test]
fn another_organizations_key_is_one_that_does_not_exist() {
    let server = Server::demo();
    let (ours, theirs) = (server.organization(), server.organization());
    let key = ours.key("example", json!({}));
    let foreign = theirs.key("example", json!({}));
    let of_another_api = ours.key("toksta", json!({}));
    let nobodys = format!("key_{}", "0".repeat(26));
    let before = show(&server, &foreign.secret, &foreign);
    for (position, unknown) in operations(&nobodys).into_iter().enumerate() {
        let unknown = call(&server, &key.secret, unknown);
        assert_eq!(unknown.status, 404);
        let malformed = ["key_123", "key_", "x", "KEY_00000000000000000000000000", "org_00000000000000000000000000"];
        for id in [foreign.id.as_str(), &of_another_api.id].into_iter().chain(malformed) {
            let request = operations(id).remove(position);
            assert_eq!(seen(&call(&server, &key.secret, request)), seen(&unknown), "{id}");
        }
    }
    assert_eq!(show(&server, &foreign.secret, &foreign), before);
    assert_eq!(verdict(&server, &foreign.secret), Value::Null);
    // Nor does a list or a report speak of it.
    for target in [KEYS, USAGE, &format!("{KEYS}?cursor={}", foreign.id)] {
        let text = call(&server, &key.secret, Request::get(target)).text();
        assert!(
            !text.contains(&foreign.id) && !text.contains(&theirs.id) && !text.contains(&of_another_api.id),
            "{text}"
        );
    }
}

#[test]
fn a_suspended_organizations_keys_are_refused_and_come_back_as_they_were() {
    let server = Server::demo();
    let (organization, other) = (server.organization(), server.organization());
    let (key, disabled) = (organization.key("example", json!({})), organization.key("example", json!({})));
    let bystander = other.key("example", json!({}));
    call(&server, &key.secret, Request::post(&format!("{KEYS}/{}/disable", disabled.id))).expect(200);
    for (status, code) in [("suspended", json!("subscription_inactive")), ("active", Value::Null)] {
        organization.set_status(status);
        assert_eq!(verdict(&server, &key.secret), code);
        assert_eq!(verdict(&server, &disabled.secret), "disabled");
        assert_eq!(verdict(&server, &bystander.secret), Value::Null);
        let expected = if code.is_null() { 200 } else { 403 };
        assert_eq!(call(&server, &key.secret, Request::get(KEYS)).status, expected);
    }
}
