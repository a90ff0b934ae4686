//! `POST /api/v1/evaluate`: which personal data is in a text, and where.

use axum::response::Response;
use http::StatusCode;
use serde::Serialize;

use crate::answer::{Failure, success};
use crate::body::{self, Members};
use crate::pii;

/// The longest text, in characters (Unicode code points). It also bounds the answer: no finding is shorter
/// than three characters, and no two touch.
const CONTENT_CHARACTERS_MAX: usize = 100_000;

/// The checks that can be asked for.
const CHECKS: [&str; 1] = ["pii"];

/// Answers positions and types, never the text found: the answer may be logged where the text may not.
#[derive(Serialize)]
struct Evaluation {
    findings: Vec<Finding>,
    checked: Vec<String>,
    characters: usize,
}

#[derive(Serialize)]
struct Finding {
    check: &'static str,
    r#type: &'static str,
    start: usize,
    end: usize,
}

pub(crate) async fn evaluate(members: Members) -> Result<Response, Failure> {
    let [content, checks] = members.require(["content", "checks"])?;
    let content = body::string("content", content)?;
    let checks = known_checks(body::strings("checks", checks)?)?;
    let characters = content.chars().count();
    if characters > CONTENT_CHARACTERS_MAX {
        return Err(Failure::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "content_too_long",
            format!("The content has {characters} characters; the most is {CONTENT_CHARACTERS_MAX}. Send it in parts."),
        ));
    }
    // `pii` is the only check, so a valid list is that check.
    let findings = pii::find(&content)
        .into_iter()
        .map(|found| Finding { check: "pii", r#type: found.kind.name(), start: found.start, end: found.end })
        .collect();
    Ok(success(StatusCode::OK, Evaluation { findings, checked: checks, characters }))
}

/// Refuses an empty list and a repeated check: both are mistakes, and an answer would hide them.
fn known_checks(checks: Vec<String>) -> Result<Vec<String>, Failure> {
    let known = body::list(&CHECKS);
    if checks.is_empty() {
        return Err(Failure::bad_request(
            "empty_checks",
            format!("The field `checks` must name at least one check. Known checks: {known}."),
        ));
    }
    if let Some(unknown) = checks.iter().find(|check| !CHECKS.contains(&check.as_str())) {
        return Err(Failure::bad_request(
            "unknown_check",
            format!("The check `{}` is not known. Known checks: {known}.", body::shorten(unknown)),
        ));
    }
    // Known checks are few, so past the first repetition there is nothing more to look at.
    for (index, check) in checks.iter().enumerate() {
        if checks[..index].contains(check) {
            return Err(Failure::bad_request("duplicate_check", format!("The check `{check}` is named twice.")));
        }
    }
    Ok(checks)
}
