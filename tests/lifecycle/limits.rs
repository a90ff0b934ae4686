//! Limits are exact, asked over HTTP by many at once, and survive `kill -9`.

use std::thread;

use serde_json::{Value, json};

use crate::support::http::Request;
use crate::support::server::{Place, Server};
use crate::support::world::{Key, Organization};

/// What passes within a day, and hardly anything comes back while a test runs.
const PLANS: &str = r#"
[subscriptions]
default_plan = "small"
[[plans]]
name = "small"
title = "Small"
keys = 3
quota = 37
[[plans]]
name = "rated"
title = "Rated"
[[plans.rate_limits]]
name = "day"
units = 29
seconds = 86400
[[plans.rate_limits]]
name = "own"
per = "key"
units = 11
seconds = 86400
[[plans]]
name = "large"
title = "Large"
quota = 60
"#;
const CALLS: usize = 200;
const THREADS: usize = 20;

fn server(arguments: &[&str]) -> Server {
    let server = Server::serve(Place::new(), arguments);
    apply(&server, PLANS);
    server
}

fn apply(server: &Server, plans: &str) {
    let text = format!("{}\n{plans}", include_str!("../../apis/example.toml"));
    let definition = Request::put("/admin/v1/apis/example").header("Content-Type", "application/toml");
    server.admin(definition.body(text)).expect(200);
}

fn verdict(server: &Server, key: &Key, cost: u32) -> Value {
    server.verify(&json!({"key": key.secret, "method": "GET", "path": "/v1/users/usr_123", "cost": cost}))
}

/// Asks so often, from many threads at once, and counts the answers by code.
fn storm(server: &Server, keys: &[&Key]) -> (usize, Vec<Value>) {
    let answers: Vec<Value> = thread::scope(|scope| {
        let ask = |thread: usize| {
            move || (0..CALLS / THREADS).map(|call| verdict(server, keys[(thread + call) % keys.len()], 1)).collect()
        };
        let threads: Vec<_> = (0..THREADS).map(|thread| scope.spawn(ask(thread))).collect();
        threads.into_iter().flat_map(|thread| -> Vec<Value> { thread.join().unwrap() }).collect()
    });
    assert_eq!(answers.len(), CALLS);
    let (allowed, refused): (Vec<_>, Vec<_>) = answers.into_iter().partition(|answer| answer["valid"] == true);
    (allowed.len(), refused)
}

fn billable(organization: &Organization<'_>) -> Value {
    organization.usage("example")["billable"].clone()
}

#[test]
fn fifty_requests_that_race_for_the_last_key_make_one() {
    let server = server(&[]);
    let organization = server.organization();
    organization.key("example", json!({}));
    organization.key("example", json!({}));
    let statuses: Vec<u16> = thread::scope(|scope| {
        let ask = || organization.try_key("example", json!({})).status;
        let threads: Vec<_> = (0..50).map(|_| scope.spawn(ask)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let made = statuses.iter().filter(|status| **status == 201).count();
    assert_eq!((made, statuses.iter().filter(|status| **status == 403).count()), (1, 49));
}

#[test]
fn with_so_many_calls_left_so_many_of_two_hundred_pass() {
    let server = server(&[]);
    let organization = server.organization();
    let keys = [organization.key("example", json!({})), organization.key("example", json!({}))];
    for _ in 0..7 {
        assert_eq!(verdict(&server, &keys[0], 1)["valid"], true);
    }
    let (allowed, refused) = storm(&server, &[&keys[0], &keys[1]]);
    assert_eq!(allowed, 30);
    for answer in &refused {
        assert_eq!((&answer["code"], &answer["status"]), (&json!("quota_exceeded"), &json!(429)), "{answer}");
    }
    // The number that refuses is the number on the bill.
    assert_eq!(billable(&organization), 37);
    // More was bought: it acts at once, and only what is new is left.
    organization.subscribe("example", json!({"plan": "large"}));
    assert_eq!(storm(&server, &[&keys[0]]).0, 23);
    assert_eq!(billable(&organization), 60);
    // Less again: nothing passes, and nothing is forgotten.
    organization.subscribe("example", json!({"plan": "small"}));
    assert_eq!(storm(&server, &[&keys[0]]).0, 0);
}

/// The definition changes while two keys race for the last units: what was used is kept, so not one call more passes than
/// the limit that is left standing allows.
#[test]
fn a_limit_that_changes_in_the_middle_of_a_race_is_exact() {
    let server = server(&[]);
    let organization = server.organization();
    let keys = [organization.key("example", json!({})), organization.key("example", json!({}))];
    let mut passed = 0;
    // More, then less than was used, then a little more than that.
    for (quota, expected) in [("quota = 80", 80), ("quota = 20", 80), ("quota = 95", 95)] {
        let allowed = thread::scope(|scope| {
            let calls = scope.spawn(|| storm(&server, &[&keys[0], &keys[1]]).0);
            apply(&server, &PLANS.replace("quota = 37", quota));
            calls.join().unwrap()
        });
        passed += allowed + storm(&server, &[&keys[1], &keys[0]]).0;
        assert_eq!(passed, expected, "{quota}");
        assert_eq!(billable(&organization), json!(expected), "{quota}");
    }
}

#[test]
fn several_rate_limits_hold_all_or_nothing() {
    let server = server(&[]);
    let organization = server.organization();
    organization.subscribe("example", json!({"plan": "rated"}));
    let keys: Vec<Key> = (0..4).map(|_| organization.key("example", json!({}))).collect();
    // A cost that can never pass takes nothing.
    let never = verdict(&server, &keys[0], 12);
    assert_eq!((&never["code"], &never["retry_after"]), (&json!("rate_limited"), &Value::Null), "{never}");
    let (allowed, refused) = storm(&server, &[&keys[0]]);
    assert_eq!(allowed, 11);
    assert!(refused.iter().all(|answer| answer["code"] == "rate_limited"), "{:?}", refused[0]);
    // What the first key was refused, it did not take from the others.
    let (allowed, _) = storm(&server, &[&keys[1], &keys[2], &keys[3]]);
    assert_eq!(allowed, 18);
    assert_eq!(billable(&organization), 29);
    let told = verdict(&server, &keys[3], 1);
    let names: Vec<&str> =
        told["limits"].as_array().unwrap().iter().filter_map(|limit| limit["name"].as_str()).collect();
    assert!(names.contains(&"day") && names.contains(&"own"), "{told}");
    assert!(told["retry_after"].as_i64().is_some_and(|seconds| seconds > 0), "{told}");
}

#[test]
fn what_was_used_is_not_forgotten_by_a_crash() {
    let server = server(&[]);
    let (counted, rated) = (server.organization(), server.organization());
    rated.subscribe("example", json!({"plan": "rated"}));
    let (of_quota, of_rate) = (counted.key("example", json!({})), rated.key("example", json!({})));
    for _ in 0..20 {
        assert_eq!(verdict(&server, &of_quota, 1)["valid"], true);
    }
    for _ in 0..8 {
        assert_eq!(verdict(&server, &of_rate, 1)["valid"], true);
    }
    let server = Server::serve(server.kill(), &[]);
    assert_eq!(storm(&server, &[&of_quota]).0, 17);
    assert_eq!(storm(&server, &[&of_rate]).0, 3);
    let server = Server::serve(server.stop(), &[]);
    assert_eq!(storm(&server, &[&of_quota]).0, 0);
    assert_eq!(storm(&server, &[&of_rate]).0, 0);
}

#[test]
fn costs_that_are_none_are_refused() {
    let server = server(&[]);
    let key = server.organization().key("example", json!({}));
    let question = |cost: Value| {
        let body = json!({"key": key.secret, "method": "GET", "path": "/v1/users/usr_123", "cost": cost});
        Request::post("/v1/verify").json(&body).send_to_socket(&server.socket())
    };
    for cost in [json!(0), json!(-1), json!(100_001), json!(1.5), json!("1"), json!(9_223_372_036_854_775_807_i64)] {
        assert_eq!(question(cost.clone()).expect(400)["field"], "cost", "{cost}");
    }
    assert_eq!(question(json!(38)).expect(200)["code"], "quota_exceeded");
    assert_eq!(question(json!(37)).expect(200)["valid"], true);
    assert_eq!(question(json!(1)).expect(200)["code"], "quota_exceeded");
}
