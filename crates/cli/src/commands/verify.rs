//! `claviger verify`: the verdict on one call, as a proxy would get it.

use std::process::ExitCode;

use claviger_domain::mask::masked;
use serde_json::{Value, json};

use super::{Session, presented, said};
use crate::args::verify::VerifyArgs;
use crate::connection::VERIFY_PATH;
use crate::failure::Failure;
use crate::output::time::long_value;
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
