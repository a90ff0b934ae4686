//! The four corpora of tricks, each case at all three doors.

use std::collections::HashMap;
use std::net::Ipv4Addr;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::corpus::{Case, Outcome, Report, fill, read};
use crate::doors::{Attack, World};
use crate::support::http::Request;
use crate::wire::{ATTACKER, exchange};

/// The proxy that is trusted in the worlds with one: another address of the loopback network.
const PROXY: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 9);

#[test]
fn path_tricks() {
    let world = World::shared();
    let cases = read("paths.toml", 80);
    let mut report = Report::new("path tricks");
    let own = format!("GET /v1/api-keys/{}", world.key.id);
    let narrow = world.new_key(json!({
        "scopes": ["users:read", "api_keys:read"], "restrictions": {"endpoint": ["GET /v1/users/usr_123", own]},
    }));
    for case in &cases {
        // With full access and with next to none: a path is canonical for everybody or for nobody.
        for key in [&world.key, &narrow] {
            Attack { case, secret: Some(&key.secret), values: HashMap::new(), question: |_| json!({}), from: ATTACKER }
                .run(&world, &mut report);
        }
    }
    report.finish(&cases);
}

#[test]
fn address_tricks() {
    let cases = read("addresses.toml", 40);
    let mut report = Report::new("address tricks");
    let proxies = "127.0.0.9,10.0.0.0/8";
    let headers = [None, Some("x-forwarded-for"), Some("forwarded")];
    assert!(cases.iter().all(|case| headers.contains(&case.believes.as_deref())));
    for header in headers {
        let world = match header {
            None => World::shared(),
            Some(header) => World::start(&["--trusted-proxies", proxies, "--forwarding-header", header]).into(),
        };
        for case in cases.iter().filter(|case| case.believes.as_deref() == header) {
            Attack {
                case,
                secret: Some(&world.restricted(&json!({"ip": case.rules})).secret),
                values: HashMap::new(),
                question: |tells| json!({"ip": tells}),
                from: if case.by_proxy { PROXY } else { ATTACKER },
            }
            .run(&world, &mut report);
        }
    }
    report.finish(&cases);
}

#[test]
fn referrer_tricks() {
    let world = World::shared();
    let cases = read("referrers.toml", 30);
    let mut report = Report::new("referrer tricks");
    for case in &cases {
        Attack {
            case,
            secret: Some(&world.restricted(&json!({"referrer": case.rules})).secret),
            values: HashMap::new(),
            question: |tells| json!({"referrer": tells}),
            from: ATTACKER,
        }
        .run(&world, &mut report);
    }
    report.finish(&cases);
}

#[test]
fn credential_tricks() {
    let world = World::shared();
    let cases = read("credentials.toml", 40);
    let mut report = Report::new("credential tricks");
    let values = credentials(&world);
    for case in &cases {
        let attack = Attack {
            case,
            secret: None,
            values: values.clone(),
            question: |tells| json!({"key": tells}),
            from: ATTACKER,
        };
        attack.run(&world, &mut report);
        if is_about_the_form(case) {
            operators_too(&world, case, &mut report);
        }
    }
    report.finish(&cases);
}

/// A secret, and everything that is nearly one.
fn credentials(world: &World) -> HashMap<&'static str, String> {
    let said = |pointer: &str| world.server.said.pointer(pointer).and_then(Value::as_str).unwrap().to_owned();
    let secret = &world.key.secret;
    let body = secret.strip_prefix("sk_live_").unwrap();
    let replaced = |at: usize| {
        let other = if secret.as_bytes()[at] == b'0' { "1" } else { "0" };
        format!("{}{other}{}", &secret[..at], &secret[at + 1..])
    };
    let revoked = world.new_key(json!({}));
    world.server.admin(Request::delete(&format!("/admin/v1/keys/{}", revoked.id))).expect(200);
    let disabled = world.new_key(json!({}));
    world.server.admin(Request::post(&format!("/admin/v1/keys/{}/disable", disabled.id))).expect(200);
    let rotated = world.new_key(json!({}));
    world.server.admin(Request::post(&format!("/admin/v1/keys/{}/rotate", rotated.id))).expect(200);
    let digest: String = Sha256::digest(secret).iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"));
    HashMap::from([
        ("secret", secret.clone()),
        ("body", body.to_owned()),
        ("upper", secret.to_ascii_uppercase()),
        ("lower", secret.to_ascii_lowercase()),
        ("swapped", body.chars().rev().collect()),
        ("one_off", replaced(12)),
        ("checksum_off", replaced(secret.len() - 1)),
        ("prefix_off", replaced(1)),
        ("truncated", secret[..secret.len() - 1].to_owned()),
        ("first_half", secret[..20].to_owned()),
        ("second_half", secret[20..].to_owned()),
        ("digest", digest),
        ("id", world.key.id.clone()),
        ("hint", world.key.body["hint"].as_str().unwrap().to_owned()),
        ("test", world.new_key(json!({"environment": "test"})).secret),
        ("tork", said("/apis/tork/keys/secret")),
        ("toksta", said("/apis/toksta/keys/live")),
        ("verifier", said("/verifier_token")),
        ("admin", said("/admin_token")),
        ("revoked", revoked.secret),
        ("disabled", disabled.secret),
        ("rotated", rotated.secret),
    ])
}

/// Whether the case says nothing of the secret but that it is the right one.
fn is_about_the_form(case: &Case) -> bool {
    let blanks = |line: &String| line.split('{').skip(1).all(|rest| rest.starts_with("secret}"));
    case.target == "{place}" && case.method == "GET" && case.lines.iter().all(blanks)
}

/// Verifiers' and admins' tokens come in the same header, so the same tricks must fail there.
fn operators_too(world: &World, case: &Case, report: &mut Report) {
    let question = json!({"key": null, "method": "GET", "path": "/"}).to_string();
    let outcome = case.doors.get("public").and_then(|public| public.expect).unwrap_or(case.expect);
    let expected = match outcome {
        Outcome::Allowed => 200,
        Outcome::Denied(denial) => denial.status(),
        Outcome::Refused(status) => status,
    };
    for (request, token) in [
        (format!("POST /v1/verify HTTP/1.1\r\nContent-Length: {}\r\n", question.len()), "verifier_token"),
        (format!("GET /admin/v1/keys HTTP/1.1\r\nContent-Length: {}\r\n", question.len()), "admin_token"),
    ] {
        report.tried("the operator's doors");
        let values = HashMap::from([("secret", world.server.said[token].as_str().unwrap().to_owned())]);
        let mut bytes = format!("{request}Host: localhost\r\nConnection: close\r\n").into_bytes();
        for line in &case.lines {
            bytes.extend_from_slice(&fill(line, &values));
            bytes.extend_from_slice(b"\r\n");
        }
        bytes.extend_from_slice(b"\r\n");
        bytes.extend_from_slice(question.as_bytes());
        let answers = exchange(world.server.internal, ATTACKER, &bytes);
        let statuses: Vec<u16> = answers.iter().map(|answer| answer.status).collect();
        if statuses != [expected] {
            report.wrong(case, &format!("with the {token}: expected {expected}, seen {statuses:?}"));
        }
    }
}
