//! What the documents say of plans, bills and people who leave.

use serde_json::{Value, json};

use crate::check_error;
use crate::support::http::{Request, Response};
use crate::support::server::Server;
use crate::support::world::Key;

const USAGE: &str = "/v1/account/usage";

/// The example request of seed 002.
fn toksta_usage(server: &Server, key: &Key) -> Response {
    server.public(&Request::get(USAGE).host("api.toksta.com").bearer(&key.secret))
}

/// Seed 002: "Confirm you have an active dedicated API or SaaS plan with API access enabled."; "403 FORBIDDEN | Free plan, past-due
/// billing, API access disabled, or key scope too narrow": the first three. Each acts on the next call, and so does its end.
#[test]
fn seed_002_troubleshooting_403_of_plans_and_bills() {
    let server = Server::demo();
    let organization = server.organization();
    let key = organization.key("toksta", json!({}));
    let fine = json!({"plan": "api", "state": "active", "api_access": true});
    for cause in [
        json!({"plan": "free"}),
        json!({"state": "past_due"}),
        json!({"state": "canceled"}),
        json!({"state": "suspended"}),
        json!({"api_access": false}),
    ] {
        organization.subscribe("toksta", fine.clone());
        toksta_usage(&server, &key).expect(200);
        organization.subscribe("toksta", cause.clone());
        check_error(&toksta_usage(&server, &key), 403, "FORBIDDEN");
        let verdict = server.verify(&json!({"key": key.secret, "method": "GET", "path": USAGE}));
        assert_eq!(verdict["code"], "subscription_inactive", "{cause}");
    }
    organization.subscribe("toksta", json!({"plan": "saas", "state": "trialing", "api_access": true}));
    toksta_usage(&server, &key).expect(200);
}

/// Seed 000: "Each plan has different limits for the number of API keys you can create"; "Need more keys? Upgrade your plan".
#[test]
fn seed_000_key_limits_by_plan() {
    let server = Server::demo();
    let organization = server.organization();
    organization.subscribe("tork", json!({"plan": "free"}));
    for _ in 0..3 {
        organization.key("tork", json!({}));
    }
    let refused = organization.try_key("tork", json!({})).expect(403);
    let message = refused["detail"].as_str().unwrap();
    assert!(message.contains("Free plan (free) allows 3 API keys") && message.contains("larger plan"), "{message}");
    organization.subscribe("tork", json!({"plan": "pro"}));
    organization.key("tork", json!({}));
}

/// Seed 000: "Each key … grants access to all Tork services within your plan's limits."
#[test]
fn seed_000_within_your_plans_limits() {
    let server = Server::demo();
    let organization = server.organization();
    organization.subscribe("tork", json!({"plan": "free"}));
    let key = organization.key("tork", json!({}));
    let evaluate = || {
        let request = Request::post("/api/v1/evaluate").host("tork.network").bearer(&key.secret);
        server.public(&request.json(&json!({"content": "Hello world", "checks": ["pii"]})))
    };
    let first = evaluate();
    first.expect(200);
    assert!(first.header("ratelimit").is_some_and(|limits| limits.contains("\"minute\"")), "{:?}", first.headers());
    let verdict =
        server.verify(&json!({"key": key.secret, "method": "POST", "path": "/api/v1/evaluate", "cost": 1001}));
    assert_eq!((&verdict["valid"], &verdict["status"]), (&json!(false), &json!(429)));
    // Sixty a minute: whatever comes back meanwhile, two hundred do not pass.
    let refused = (0..200).map(|_| evaluate()).find(|answer| answer.status != 200).expect("a limit");
    assert_eq!(refused.status, 429);
    assert!(
        refused.header("retry-after").is_some_and(|seconds| seconds.parse::<u32>().is_ok_and(|seconds| seconds > 0))
    );
    assert!(refused.header("ratelimit-policy").is_some_and(|policy| policy.contains("\"minute\";q=60;w=60")));
}

/// Seed 000, "When to Rotate or Revoke Keys": "Team member leaves: When someone with key access leaves your organization".
#[test]
fn seed_000_team_member_leaves() {
    let server = Server::demo();
    let organization = server.organization();
    let base = format!("/admin/v1/organizations/{}", organization.id);
    let join = |email: &str| {
        let body = json!({"email": email, "role": "developer", "send_mail": false});
        let invited = server.admin(Request::post(&format!("{base}/invitations")).json(&body)).expect(201);
        let body = json!({"token": invited["token"], "name": "Somebody"});
        server.admin(Request::post("/admin/v1/invitations/accept").json(&body)).expect(201)["id"].clone()
    };
    let (leaver, heir) = (join("leaver@example.com"), join("heir@example.com"));
    let make = |name: &str| {
        let body = json!({"organization": organization.id, "api": "tork", "name": name});
        let request = Request::post("/admin/v1/keys").header("claviger-member", leaver.as_str().unwrap());
        Key::issued(&server.admin(request.json(&body)).expect(201))
    };
    let (ends, stays) = (make("Laptop"), make("Production Server"));
    let valid = |key: &Key| -> Value {
        server.verify(&json!({"key": key.secret, "method": "POST", "path": "/api/v1/evaluate"}))["valid"].clone()
    };
    assert_eq!((valid(&ends), valid(&stays)), (json!(true), json!(true)));
    let body = json!({"hand_over": [stays.id], "to": heir, "rest": "revoke"});
    let remove = format!("{base}/members/{}/remove", leaver.as_str().unwrap());
    server.admin(Request::post(&remove).json(&body)).expect(200);
    assert_eq!((valid(&ends), valid(&stays)), (json!(false), json!(true)));
}

/// Seed 000, "When to Rotate or Revoke Keys": "Security incident: After any security breach, even if keys weren't directly
/// involved". All of an organization's keys end with one call.
#[test]
fn seed_000_security_incident() {
    let server = Server::demo();
    let organization = server.organization();
    let keys: Vec<Key> = (0..3).map(|_| organization.key("tork", json!({}))).collect();
    let body = json!({"organization": organization.id, "reason": "Security incident"});
    assert_eq!(server.admin(Request::post("/admin/v1/keys/bulk-revoke").json(&body)).expect(200)["revoked"], 3);
    for key in &keys {
        let verdict = server.verify(&json!({"key": key.secret, "method": "POST", "path": "/api/v1/evaluate"}));
        assert_eq!(verdict["valid"], false);
    }
}
