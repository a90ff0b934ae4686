//! Seed 000, "Authentication: API Keys. Learn how to create, manage, and secure your Tork API keys."
//!
//! The requests go to the machine's own address, without the host name of the api.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, mpsc};
use std::thread;

use claviger_domain::time::Timestamp;
use serde_json::{Value, json};

use crate::support::http::{Request, Response};
use crate::support::server::Server;
use crate::support::world::{Key, contains};
use crate::{by_address, check_error, is_random_part, rise};

const KEYS: &str = "/api/v1/api-keys";
const USAGE: &str = "/api/v1/account/usage";

fn evaluate(secret: &str) -> Request {
    Request::post("/api/v1/evaluate").bearer(secret).json(&json!({"content": "Hello world", "checks": ["pii"]}))
}

fn create(server: &Server, secret: &str, body: &Value) -> Key {
    Key::issued(&by_address(server, Request::post(KEYS).bearer(secret).json(body)).expect(201))
}

fn revoke(server: &Server, secret: &str, id: &str) -> Response {
    by_address(server, Request::delete(&format!("{KEYS}/{id}")).bearer(secret))
}

fn usage_of_key(server: &Server, secret: &str) -> Value {
    by_address(server, Request::get(USAGE).bearer(secret)).expect(200)["data"]["key"].clone()
}

/// "Your API key looks like this: tork_live_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
#[test]
fn a_key_looks_as_printed() {
    let server = Server::demo();
    let first = server.organization().key("tork", json!({}));
    let made_with_it = create(&server, &first.secret, &json!({"name": "Production Server"}));
    for key in [&first, &made_with_it] {
        let random = key.secret.strip_prefix("tork_live_").unwrap();
        assert!(is_random_part(random, "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", u8::is_ascii_alphanumeric), "{random}");
        assert_eq!(key.body["prefix"], "tork_live_");
        assert_eq!(key.body["hint"].as_str(), Some(&random[random.len() - 4..]));
    }
}

/// "API keys are unique identifiers that authenticate your requests"
#[test]
fn keys_are_unique() {
    let server = Server::demo();
    let organization = server.organization();
    let keys: Vec<_> = (0..50).map(|_| organization.key("tork", json!({}))).collect();
    assert_eq!(keys.iter().map(|key| &key.secret).collect::<BTreeSet<_>>().len(), 50);
    assert_eq!(keys.iter().map(|key| &key.id).collect::<BTreeSet<_>>().len(), 50);
}

/// "Each key is tied to your organization"
#[test]
fn a_key_is_tied_to_its_organization() {
    let server = Server::demo();
    let (ours, theirs) = (server.organization(), server.organization());
    let (key, foreign) = (ours.key("tork", json!({})), theirs.key("tork", json!({})));
    let verdict = server.verify(&json!({"key": key.secret, "method": "POST", "path": "/api/v1/evaluate"}));
    assert_eq!((&verdict["valid"], &verdict["key"]["organization"]), (&json!(true), &json!(ours.id)));
    let list = by_address(&server, Request::get(KEYS).bearer(&key.secret)).expect(200);
    let ids: Vec<_> = list["data"].as_array().unwrap().iter().map(|key| key["id"].as_str().unwrap()).collect();
    assert_eq!(ids, [key.id.as_str()]);
    // Another organization's key is not there at all, whatever is tried with it.
    for request in [
        Request::get(&format!("{KEYS}/{}", foreign.id)),
        Request::patch(&format!("{KEYS}/{}", foreign.id)).json(&json!({"name": "Mine"})),
        Request::post(&format!("{KEYS}/{}/rotate", foreign.id)),
        Request::delete(&format!("{KEYS}/{}", foreign.id)),
    ] {
        by_address(&server, request.bearer(&key.secret)).expect(404);
    }
    by_address(&server, evaluate(&foreign.secret)).expect(200);
}

/// "grants access to all Tork services"
#[test]
fn a_key_grants_access_to_all_services() {
    let server = Server::demo();
    let key = server.organization().key("tork", json!({}));
    assert_eq!(key.body["scopes"], json!(["*"]));
    let calls =
        [evaluate(&key.secret), Request::get(KEYS).bearer(&key.secret), Request::get(USAGE).bearer(&key.secret)];
    for call in calls {
        by_address(&server, call).expect(200);
    }
}

/// "Give your key a descriptive name (e.g., "Production Server", "Development")"
#[test]
fn a_key_has_a_descriptive_name() {
    let server = Server::demo();
    let key = server.organization().key("tork", json!({}));
    for name in ["Production Server", "Development"] {
        let created = create(&server, &key.secret, &json!({"name": name}));
        assert_eq!(created.body["name"], name);
        let shown =
            by_address(&server, Request::get(&format!("{KEYS}/{}", created.id)).bearer(&key.secret)).expect(200);
        assert_eq!(shown["data"]["name"], name);
    }
    for body in [json!({}), json!({"name": ""}), json!({"name": " "}), json!({"name": null})] {
        let refused = by_address(&server, Request::post(KEYS).bearer(&key.secret).json(&body)).expect(400);
        assert_eq!(refused["error"]["field"], "name", "{body}");
    }
}

/// "Copy and save your key immediately - you won't be able to see it again"
#[test]
fn the_secret_is_never_shown_again() {
    let server = Server::demo();
    let organization = server.organization();
    let mine = organization.key("tork", json!({}));
    let key = create(&server, &mine.secret, &json!({"name": "Production Server", "metadata": {"team": "payments"}}));
    let path = format!("{KEYS}/{}", key.id);
    let mut answers = vec![
        by_address(&server, Request::get(&path).bearer(&mine.secret)),
        by_address(&server, Request::get(KEYS).bearer(&mine.secret)),
        by_address(&server, Request::patch(&path).bearer(&mine.secret).json(&json!({"name": "Renamed"}))),
        by_address(&server, Request::post(&format!("{path}/disable")).bearer(&mine.secret)),
        by_address(&server, Request::post(&format!("{path}/enable")).bearer(&mine.secret)),
        by_address(&server, Request::get(USAGE).bearer(&key.secret)),
        // A call that it passes with, and one that it does not.
        by_address(&server, evaluate(&key.secret)),
        by_address(&server, Request::get(&format!("{KEYS}/key_123")).bearer(&key.secret)),
    ];
    for path in ["keys".to_owned(), format!("keys/{}", key.id), format!("keys?organization={}", organization.id)] {
        answers.push(server.admin(Request::get(&format!("/admin/v1/{path}"))));
    }
    let question = json!({"key": key.secret, "method": "POST", "path": "/api/v1/evaluate"});
    let verified = server.verify(&question);
    assert_eq!(verified["valid"], true);
    answers.push(revoke(&server, &mine.secret, &key.id));
    answers.push(by_address(&server, evaluate(&key.secret)));
    let random = key.secret.strip_prefix("tork_live_").unwrap();
    for answer in &answers {
        let seen = format!("{answer:?} {}", String::from_utf8_lossy(&answer.body));
        assert!(!seen.contains(random), "{seen}");
    }
    assert!(!verified.to_string().contains(random), "{verified}");
    assert!(!server.log().contains(random));
    for (path, bytes) in server.files() {
        assert!(!contains(&bytes, random.as_bytes()), "{} holds the secret", path.display());
    }
}

/// "Include your API key in the Authorization header"
#[test]
fn a_key_is_sent_in_the_authorization_header() {
    let server = Server::demo();
    let key = server.organization().key("tork", json!({}));
    let call = Request::post("/api/v1/evaluate").json(&json!({"content": "Hello world", "checks": ["pii"]}));
    check_error(&by_address(&server, call.clone()), 401, "missing_api_key");
    by_address(&server, call.header("Authorization", format!("Bearer {}", key.secret))).expect(200);
}

/// "Revoked keys stop working instantly."
#[test]
fn revoked_keys_stop_working_instantly() {
    let server = Server::demo();
    let organization = server.organization();
    let admin = organization.key("tork", json!({}));
    let key = create(&server, &admin.secret, &json!({"name": "Compromised"}));
    let child = create(&server, &key.secret, &json!({"name": "Agent", "kind": "ephemeral"}));
    for secret in [&key.secret, &child.secret] {
        by_address(&server, evaluate(secret)).expect(200);
    }
    revoke(&server, &admin.secret, &key.id).expect(200);
    for secret in [&key.secret, &child.secret] {
        check_error(&by_address(&server, evaluate(secret)), 401, "invalid_api_key");
        check_error(&by_address(&server, Request::get(KEYS).bearer(secret)), 401, "invalid_api_key");
        let verdict = server.verify(&json!({"key": secret, "method": "POST", "path": "/api/v1/evaluate"}));
        assert_eq!((&verdict["valid"], &verdict["code"]), (&json!(false), &json!("revoked")), "{verdict}");
        assert_eq!(verdict["status"], 401);
    }
    let shown = by_address(&server, Request::get(&format!("{KEYS}/{}", key.id)).bearer(&admin.secret)).expect(200);
    assert_eq!(shown["data"]["state"], "revoked");
    by_address(&server, evaluate(&admin.secret)).expect(200);
}

/// "Revoked keys stop working instantly.": not even a key that is busy on many connections is accepted once more.
#[test]
fn a_busy_key_stops_working_instantly() {
    const CALLERS: usize = 4;
    const CALLS_AFTER: usize = 25;
    let server = Server::demo();
    let organization = server.organization();
    let (admin, key) = (organization.key("tork", json!({})), organization.key("tork", json!({})));
    let is_revoked = AtomicBool::new(false);
    let (accepted, heard) = mpsc::channel();
    thread::scope(|scope| {
        for _ in 0..CALLERS {
            let (accepted, server, key, is_revoked) = (accepted.clone(), &server, &key, &is_revoked);
            scope.spawn(move || {
                let mut calls_after = 0;
                while calls_after < CALLS_AFTER {
                    let must_fail = is_revoked.load(Ordering::SeqCst);
                    let response = by_address(server, evaluate(&key.secret));
                    if must_fail {
                        calls_after += 1;
                        check_error(&response, 401, "invalid_api_key");
                    } else if response.status == 200 {
                        accepted.send(()).unwrap();
                    }
                }
            });
        }
        let revoked = SetAtEnd(&is_revoked);
        for _ in 0..CALLERS * 3 {
            heard.recv().unwrap();
        }
        revoke(&server, &admin.secret, &key.id).expect(200);
        drop(revoked);
    });
}

/// Ends the threads that look at the flag, even when the one that should tell them panics.
struct SetAtEnd<'a>(&'a AtomicBool);

impl Drop for SetAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// "Anyone with your key can make requests on your behalf and you'll be billed for their usage." (and "You are
/// responsible for all API usage made with your keys"): what counts is the key, not who sends it from where.
#[test]
fn all_usage_is_the_accounts() {
    let server = Server::demo();
    let organization = server.organization();
    let key = organization.key("tork", json!({}));
    let before = organization.usage("tork");
    for agent in ["our-server/1.0", "somebody-else/6.6"] {
        by_address(&server, evaluate(&key.secret).header("User-Agent", agent)).expect(200);
    }
    assert_eq!(rise(&before, &organization.usage("tork"))["billable"], 2);
}

/// "Rotate Keys Every 90 Days": a key can be made to end by itself after that time.
#[test]
fn a_key_can_end_after_ninety_days() {
    let server = Server::demo();
    let key = server.organization().key("tork", json!({}));
    let created = create(&server, &key.secret, &json!({"name": "Production Server", "ttl_seconds": 90 * 24 * 3600}));
    let micros = |name: &str| created.body[name].as_str().unwrap().parse::<Timestamp>().unwrap().as_micros();
    // Creation is shown in whole seconds.
    let seconds = (micros("expires_at") - micros("created_at")) / 1_000_000;
    assert_eq!(seconds, 90 * 24 * 3600);
    by_address(&server, evaluate(&created.secret)).expect(200);
}

/// "Key Rotation Process: 1) Create a new key, 2) Update your applications to use the new key, 3) Verify the new key
/// works, 4) Revoke the old key. This ensures zero downtime."
#[test]
fn the_rotation_process_ensures_zero_downtime() {
    let server = Server::demo();
    let old = server.organization().key("tork", json!({"name": "Production Server"}));
    let configured = Mutex::new(old.secret.clone());
    let is_over = AtomicBool::new(false);
    let (called, heard) = mpsc::channel();
    thread::scope(|scope| {
        let (server, configured, is_over) = (&server, &configured, &is_over);
        // The application goes on calling, always with the key that it is configured with.
        scope.spawn(move || {
            while !is_over.load(Ordering::SeqCst) {
                let secret = configured.lock().unwrap().clone();
                by_address(server, evaluate(&secret)).expect(200);
                called.send(()).unwrap();
            }
        });
        let over = SetAtEnd(is_over);
        let wait_for_calls = || {
            while heard.try_recv().is_ok() {}
            // One call may have begun before; the others begin from now on.
            for _ in 0..5 {
                heard.recv().unwrap();
            }
        };
        wait_for_calls();
        let new = create(server, &old.secret, &json!({"name": "Production Server"}));
        wait_for_calls();
        configured.lock().unwrap().clone_from(&new.secret);
        wait_for_calls();
        by_address(server, evaluate(&new.secret)).expect(200);
        revoke(server, &new.secret, &old.id).expect(200);
        wait_for_calls();
        drop(over);
    });
    check_error(&by_address(&server, evaluate(&old.secret)), 401, "invalid_api_key");
}

/// "Create a new key, update your applications, then revoke the old key.": the same in one step, where the key keeps
/// its id and its old secret works until the overlap is over.
#[test]
fn rotation_in_place_ensures_zero_downtime() {
    let server = Server::demo();
    let organization = server.organization();
    let admin = organization.key("tork", json!({}));
    let key = organization.key("tork", json!({"name": "Production Server"}));
    let rotate = |body: &Value| {
        let request = Request::post(&format!("{KEYS}/{}/rotate", key.id)).bearer(&admin.secret).json(body);
        Key::issued(&by_address(&server, request).expect(200))
    };
    let second = rotate(&json!({"overlap_seconds": 3600}));
    assert_eq!((&second.id, &second.body["name"]), (&key.id, &json!("Production Server")));
    assert!(second.body["rotated_at"].is_string() && second.body["overlap_ends_at"].is_string(), "{}", second.body);
    for secret in [&key.secret, &second.secret] {
        by_address(&server, evaluate(secret)).expect(200);
    }
    // Without an overlap the old secrets are dead when the answer is there.
    let third = rotate(&json!({}));
    assert_eq!(third.body["overlap_ends_at"], Value::Null);
    for secret in [&key.secret, &second.secret] {
        check_error(&by_address(&server, evaluate(secret)), 401, "invalid_api_key");
    }
    by_address(&server, evaluate(&third.secret)).expect(200);
}

/// "If you suspect a key has been exposed, revoke it immediately ... create a new key and update your systems.", with
/// each of the reasons under "When to Rotate or Revoke Keys".
#[test]
fn a_key_can_be_revoked_for_each_reason() {
    let server = Server::demo();
    let admin = server.organization().key("tork", json!({}));
    for reason in ["Key exposed", "Team member leaves", "Unusual activity", "Regular rotation", "Security incident"] {
        let key = create(&server, &admin.secret, &json!({"name": "Production Server"}));
        let target = format!("{KEYS}/{}?reason={}", key.id, reason.replace(' ', "%20"));
        by_address(&server, Request::delete(&target).bearer(&admin.secret)).expect(200);
        check_error(&by_address(&server, evaluate(&key.secret)), 401, "invalid_api_key");
        let shown = by_address(&server, Request::get(&format!("{KEYS}/{}", key.id)).bearer(&admin.secret)).expect(200);
        assert_eq!(shown["data"]["revoked_reason"], reason);
        assert!(shown["data"]["revoked_at"].is_string());
    }
}

/// "Create different keys for development, staging, and production. This limits damage if a dev key is leaked and
/// helps you track usage per environment."
#[test]
fn separate_keys_for_environments() {
    let server = Server::demo();
    let admin = server.organization().key("tork", json!({}));
    let [development, staging, production] =
        ["development", "staging", "production"].map(|name| create(&server, &admin.secret, &json!({"name": name})));
    for (key, calls) in [(&development, 1), (&staging, 2), (&production, 3)] {
        for _ in 0..calls {
            by_address(&server, evaluate(&key.secret)).expect(200);
        }
        // Of this key alone: its calls, and the one that asks.
        let usage = usage_of_key(&server, &key.secret);
        assert_eq!((&usage["id"], &usage["by_scope"]["evaluate"]), (&json!(key.id), &json!(calls)));
        assert_eq!(usage["total"], calls + 1);
    }
    revoke(&server, &admin.secret, &development.id).expect(200);
    check_error(&by_address(&server, evaluate(&development.secret)), 401, "invalid_api_key");
    for key in [&staging, &production] {
        by_address(&server, evaluate(&key.secret)).expect(200);
    }
}

/// "Monitor Your Usage: Regularly check your usage": every number is exactly the calls that were made.
#[test]
fn usage_is_exactly_the_calls_made() {
    let server = Server::demo();
    let organization = server.organization();
    let full = organization.key("tork", json!({}));
    let narrow = organization.key("tork", json!({"kind": "restricted", "scopes": ["evaluate"]}));
    let before = by_address(&server, Request::get(USAGE).bearer(&full.secret)).expect(200)["data"].clone();
    for _ in 0..3 {
        by_address(&server, evaluate(&full.secret)).expect(200);
    }
    // What fails behind the check was let through all the same.
    by_address(&server, Request::post("/api/v1/evaluate").bearer(&full.secret).json(&json!({}))).expect(400);
    by_address(&server, Request::get(&format!("{KEYS}/key_123")).bearer(&full.secret)).expect(404);
    by_address(&server, Request::get("/api/v1/nothing").bearer(&full.secret)).expect(404);
    for _ in 0..2 {
        by_address(&server, evaluate(&narrow.secret)).expect(200);
        by_address(&server, Request::get(KEYS).bearer(&narrow.secret)).expect(403);
    }
    // Nobody's calls are nobody's usage.
    by_address(&server, evaluate("tork_sk_your_api_key_here")).expect(401);
    by_address(&server, Request::get(USAGE)).expect(401);
    let after = by_address(&server, Request::get(USAGE).bearer(&full.secret)).expect(200)["data"].clone();
    // The call that asks is the one of `usage:read`. Like the one for a key it costs nothing.
    let expected = json!({
        "total": 11, "allowed": 9, "denied": 2, "billable": 7,
        "by_scope": {"api_keys:read": 3, "evaluate": 6, "none": 1, "usage:read": 1},
        "by_environment": {"live": 11},
        "by_outcome": {"allowed": 9, "insufficient_scope": 2},
    });
    assert_eq!(rise(&before["organization"], &after["organization"]), expected);
    let expected = json!({
        "total": 7, "allowed": 7, "denied": 0, "billable": 5,
        "by_scope": {"api_keys:read": 1, "evaluate": 4, "none": 1, "usage:read": 1},
        "by_environment": {"live": 7},
        "by_outcome": {"allowed": 7},
    });
    assert_eq!(rise(&before["key"], &after["key"]), expected);
    // The operator sees the same.
    assert_eq!(organization.usage("tork"), after["organization"]);
}

/// "Monitor Your Usage: ... unexpected spikes or patterns": calls of a key that was revoked or disabled stand out.
#[test]
fn usage_shows_calls_with_dead_keys() {
    let server = Server::demo();
    let organization = server.organization();
    let admin = organization.key("tork", json!({}));
    let [revoked, disabled] = [organization.key("tork", json!({})), organization.key("tork", json!({}))];
    revoke(&server, &admin.secret, &revoked.id).expect(200);
    by_address(&server, Request::post(&format!("{KEYS}/{}/disable", disabled.id)).bearer(&admin.secret)).expect(200);
    let before = organization.usage("tork");
    for secret in [&revoked.secret, &revoked.secret, &disabled.secret] {
        check_error(&by_address(&server, evaluate(secret)), 401, "invalid_api_key");
    }
    let risen = rise(&before, &organization.usage("tork"));
    assert_eq!(risen["by_outcome"], json!({"revoked": 2, "disabled": 1}));
    assert_eq!((&risen["denied"], &risen["billable"]), (&json!(3), &json!(0)));
}
