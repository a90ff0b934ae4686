//! What was answered is there after a restart, and after a crash.

use serde_json::{Value, json};

use crate::support::http::Request;
use crate::support::server::{Place, Server};
use crate::support::world::Key;
use crate::{KEYS, USAGE, USER, call, create, path};

/// Keys in every state, and the verdict on each.
struct Deployment {
    admin: Key,
    keys: Vec<(Key, Value)>,
}

fn plant(server: &Server) -> Deployment {
    let organization = server.organization();
    let admin = organization.key("example", json!({"name": "Admin"}));
    let act = |key: &Key, action: &str| {
        call(server, &admin.secret, Request::post(&format!("{}/{action}", path(key)))).expect(200)
    };
    let plain = create(server, &admin.secret, &json!({"name": "Plain", "metadata": {"team": "payments"}}));
    let (disabled, enabled) = (organization.key("example", json!({})), organization.key("example", json!({})));
    act(&disabled, "disable");
    act(&enabled, "disable");
    act(&enabled, "enable");
    let revoked = organization.key("example", json!({}));
    call(server, &admin.secret, Request::delete(&format!("{}?reason=leaked", path(&revoked)))).expect(200);
    let narrow = organization.key("example", json!({"scopes": ["users:write"]}));
    let elsewhere = organization.key("example", json!({"restrictions": {"ip": ["198.51.100.0/24"]}}));
    let nowhere = organization.key("example", json!({"restrictions": {"referrer": []}}));
    let test = organization.key("example", json!({"environment": "test"}));
    let old = organization.key("example", json!({}));
    let rotate = Request::post(&format!("{}/rotate", path(&old))).json(&json!({"overlap_seconds": 3600}));
    let overlapping = Key::issued(&call(server, &admin.secret, rotate).expect(200));
    let replaced = organization.key("example", json!({}));
    let replacing = Key::issued(&act(&replaced, "rotate"));
    let parent = organization.key("tork", json!({}));
    let child = organization.key("tork", json!({"kind": "ephemeral", "parent_id": parent.id, "ttl_seconds": 3600}));
    let suspended = server.organization();
    let stranger = suspended.key("example", json!({}));
    suspended.set_status("suspended");
    let keys = vec![
        (plain, Value::Null),
        (disabled, json!("disabled")),
        (enabled, Value::Null),
        (revoked, json!("revoked")),
        (narrow, json!("insufficient_scope")),
        (elsewhere, json!("ip_not_allowed")),
        (nowhere, json!("referrer_not_allowed")),
        (test, Value::Null),
        (old, Value::Null),
        (overlapping, Value::Null),
        (replaced, json!("not_found")),
        (replacing, Value::Null),
        (child, Value::Null),
        (stranger, json!("subscription_inactive")),
    ];
    Deployment { admin, keys }
}

impl Deployment {
    fn must_be_as_planted(&self, server: &Server) {
        for (key, code) in &self.keys {
            let target = if key.secret.starts_with("tork_") { "/api/v1/evaluate" } else { USER };
            let method = if key.secret.starts_with("tork_") { "POST" } else { "GET" };
            let answer = server.verify(&json!({
                "key": key.secret, "method": method, "path": target, "ip": "203.0.113.7", "referrer": "https://example.com/",
            }));
            assert_eq!(answer["code"], *code, "{}", key.body);
        }
    }

    /// Everything that can be read, with what it is tagged with.
    fn read(&self, server: &Server) -> Vec<(Value, Option<String>)> {
        let mut targets = vec![KEYS.to_owned()];
        targets.extend(self.keys.iter().map(|(key, _)| path(key)));
        let answers = targets.iter().map(|target| call(server, &self.admin.secret, Request::get(target)));
        answers.map(|answer| (without_last_used(answer.value()), answer.header("etag").map(str::to_owned))).collect()
    }
}

/// Reading is a use as well, which a minute later has another time.
fn without_last_used(mut answer: Value) -> Value {
    match &mut answer["data"] {
        Value::Array(keys) => keys.iter_mut().for_each(|key| key["last_used"] = Value::Null),
        Value::Object(key) => drop(key.insert("last_used".to_owned(), Value::Null)),
        _ => {}
    }
    answer
}

/// A second life on the same directory, however the first one ended.
fn check_second_life(end: fn(Server) -> Place) {
    let server = Server::demo();
    let deployment = plant(&server);
    deployment.must_be_as_planted(&server);
    let before = deployment.read(&server);
    let ready = Request::get("/readyz").send(server.internal).expect(200);
    let server = Server::serve(end(server), &[]);
    deployment.must_be_as_planted(&server);
    assert_eq!(deployment.read(&server), before);
    assert_eq!(Request::get("/readyz").send(server.internal).expect(200)["revision"], ready["revision"]);
    // It goes on from there: newer keys sort before older ones, and revisions rise.
    let created = call(&server, &deployment.admin.secret, Request::post(KEYS).json(&json!({"name": "After"})));
    let key = Key::issued(&created.expect(201));
    let list = call(&server, &deployment.admin.secret, Request::get(KEYS)).expect(200);
    assert_eq!(list["data"][0]["id"], key.id);
    let revision: u64 = created.header("claviger-revision").unwrap().parse().unwrap();
    assert!(revision > ready["revision"].as_u64().unwrap());
}

#[test]
fn a_restart_keeps_everything() {
    check_second_life(Server::stop);
}

#[test]
fn a_crash_loses_no_change_that_was_answered() {
    check_second_life(Server::kill);
}

/// A revocation that was answered outlives the crash that follows at once.
#[test]
fn a_crash_brings_no_key_back() {
    let server = Server::demo();
    let organization = server.organization();
    let (admin, key) = (organization.key("example", json!({})), organization.key("example", json!({})));
    call(&server, &admin.secret, Request::delete(&path(&key))).expect(200);
    let server = Server::serve(server.kill(), &[]);
    let question = json!({"key": key.secret, "method": "GET", "path": USER});
    assert_eq!(server.verify(&question)["code"], "revoked");
}

/// The totals after an orderly restart are those of all calls.
#[test]
fn a_restart_keeps_the_usage() {
    let mut server = Server::demo();
    let key = server.organization().key("example", json!({}));
    let narrow = create(&server, &key.secret, &json!({"name": "Narrow", "scopes": ["users:write"]}));
    let usage =
        |server: &Server| call(server, &key.secret, Request::get(USAGE)).expect(200)["data"]["organization"].clone();
    for life in 1..=3 {
        for _ in 0..2 {
            server.verify(&json!({"key": key.secret, "method": "GET", "path": USER}));
            server.verify(&json!({"key": narrow.secret, "method": "GET", "path": USER}));
        }
        let usage = usage(&server);
        assert_eq!(usage["by_outcome"]["insufficient_scope"], 2 * life);
        assert_eq!(usage["by_scope"]["users:read"], 4 * life);
        assert_eq!(usage["by_scope"]["usage:read"], life);
        // The key that was made with it was a call, too. It cost as little as asking for the usage.
        assert_eq!((&usage["total"], &usage["billable"]), (&json!(5 * life + 1), &json!(2 * life)));
        server = Server::serve(server.stop(), &[]);
    }
}
