//! `claviger verify`: the verdict on one call, as a proxy would get it.

use std::process::ExitCode;

use claviger_domain::mask::masked;
use claviger_domain::time::Timestamp;
use serde_json::{Value, json};

use super::{Session, presented, said};
use crate::args::verify::VerifyArgs;
use crate::connection::VERIFY_PATH;
use crate::failure::Failure;
use crate::output::time::{long_value, short_value};
use crate::output::{self, list, text};

/// Exits with 0 when the call may pass and 1 when it may not.
pub(super) async fn run(session: &Session, args: VerifyArgs) -> Result<ExitCode, Failure> {
    let question = question(&args)?;
    let answer = session.server.post(VERIFY_PATH, Some(question)).await?;
    session.show(&answer, || verdict(session, &args, &answer))?;
    Ok(if answer["valid"] == true { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn question(args: &VerifyArgs) -> Result<Value, Failure> {
    Ok(said([
        ("key", Some(json!(presented(&args.key)?))),
        ("method", Some(json!(args.method))),
        ("path", Some(json!(args.path))),
        ("api", args.api.as_ref().map(|api| json!(api))),
        ("ip", args.ip.map(|ip| json!(ip))),
        ("referrer", args.referrer.as_ref().map(|referrer| json!(referrer))),
        ("scopes", (!args.scopes.is_empty()).then(|| json!(args.scopes))),
        ("cost", args.cost.map(|cost| json!(cost))),
        ("at_least_revision", args.at_least_revision.map(|revision| json!(revision))),
    ]))
}

fn verdict(session: &Session, args: &VerifyArgs, answer: &Value) -> String {
    // What was typed may be the secret, in the wrong place.
    let call = masked(&format!("{} {}", args.method, args.path));
    let key = &answer["key"];
    let facts = if key.is_object() { key_rows(session, key) } else { Vec::new() };
    let mut rows = if answer["valid"] == true {
        vec![("valid", format!("yes, {call} may pass"))]
    } else {
        vec![
            ("valid", format!("no, {call} is refused")),
            ("code", text(answer, "code")),
            ("status", answer["status"].to_string()),
            ("message", text(answer, "message")),
        ]
    };
    rows.extend(facts);
    if let Some(seconds) = answer["retry_after"].as_u64() {
        rows.push(("retry after", format!("{seconds} s")));
    }
    let limits = answer["limits"].as_array().map_or(&[][..], Vec::as_slice);
    let labels: Vec<String> = limits.iter().map(limit_label).collect();
    rows.extend(labels.iter().map(String::as_str).zip(limits.iter().map(|limit| limit_left(session.now, limit))));
    rows.push(("revision", answer["revision"].to_string()));
    output::fields(&rows)
}

fn key_rows(session: &Session, key: &Value) -> Vec<(&'static str, String)> {
    vec![
        ("key", format!("{} ({})", text(key, "id"), text(key, "name"))),
        ("kind", format!("{}, {}", text(key, "kind"), text(key, "environment"))),
        ("organization", text(key, "organization")),
        ("scopes", list(&key["scopes"])),
        ("expires", long_value(&key["expires_at"], session.now, "never")),
    ]
}

fn limit_label(limit: &Value) -> String {
    output::clean(&format!("limit {}", text(limit, "name")))
}

/// `37 of 100 left, resets in 12 days`, with what sets it apart from an ordinary one.
fn limit_left(now: Timestamp, limit: &Value) -> String {
    let whose = if limit["per"] == "key" { " to the key" } else { "" };
    let scope = limit["scope"].as_str().map_or(String::new(), |scope| format!(" for {scope}"));
    let resets = short_value(&limit["reset_at"], now, "never");
    let refused = if limit["refused"] == true { "; it refused the call" } else { "" };
    format!("{} of {} left{whose}{scope}, resets {resets}{refused}", limit["remaining"], limit["limit"])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_of_a_limit_is_one_line() {
        let now = "2027-01-31T12:00:00Z".parse().unwrap();
        let quota = json!({
            "name": "quota", "per": "organization", "limit": 5000, "window_seconds": null, "remaining": 4711,
            "reset_at": "2027-02-12T12:00:00Z", "refused": false,
        });
        assert_eq!(limit_label(&quota), "limit quota");
        assert_eq!(limit_left(now, &quota), "4711 of 5000 left, resets in 12 days");
        let burst = json!({
            "name": "burst\u{1b}", "per": "key", "scope": "evaluate", "limit": 10, "window_seconds": 1, "remaining": 0,
            "reset_at": "2027-01-31T12:00:01Z", "refused": true,
        });
        assert_eq!(limit_label(&burst), "limit burst\\u{1b}");
        let told = "0 of 10 left to the key for evaluate, resets in seconds; it refused the call";
        assert_eq!(limit_left(now, &burst), told);
    }
}
