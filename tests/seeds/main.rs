//! The four documents that the product must make true, replayed against the real binary.
//!
//! One module a document. Every request, body, status and error code that a document prints is here as it is
//! printed, and every test's comment quotes the statement that it proves. `README.md` beside this file goes through
//! the documents line by line and says which test covers what, and what is not in this version.
//!
//! Each test runs a server of its own (`claviger demo`) with organizations and keys of its own.

#![allow(clippy::unwrap_used, reason = "helpers of tests: a failure here is the test's failure")]

#[path = "../support/mod.rs"]
mod support;

mod plans;
mod seed_000;
mod seed_001;
mod seed_002;
mod seed_003;

use std::collections::BTreeSet;

use serde_json::{Value, json};
use support::http::{Request, Response};
use support::server::Server;

/// The request to the machine's own address: which api is meant, path and key must tell.
fn by_address(server: &Server, request: Request) -> Response {
    server.public(&request.without_host())
}

/// An error as the documents print it, members in the order printed: seed 001 shows the shape.
#[track_caller]
fn check_error(response: &Response, status: u16, code: &str) {
    let body = response.expect(status);
    assert_eq!(response.header("content-type"), Some("application/json"));
    let message = body["error"]["message"].as_str().unwrap_or_default();
    assert!(!message.is_empty(), "{body}");
    let printed = json!({"success": false, "error": {"code": code, "message": message, "status": status}});
    assert_eq!(body.to_string(), printed.to_string());
}

/// By how much each number rose. What did not rise is left out.
fn rise(before: &Value, after: &Value) -> Value {
    let mut risen = json!({});
    for (name, after) in after.as_object().unwrap() {
        let before = &before[name];
        if let Some(after) = after.as_u64() {
            risen[name] = (after - before.as_u64().unwrap_or(0)).into();
        } else if let Some(counts) = after.as_object() {
            let each = counts.iter().map(|(name, count)| {
                let count = count.as_u64().unwrap() - before[name].as_u64().unwrap_or(0);
                (name.clone(), Value::from(count))
            });
            risen[name] = each.filter(|(_, count)| *count != 0).collect::<serde_json::Map<_, _>>().into();
        }
    }
    risen
}

/// A word that is as long as the one that is printed.
fn is_random_part(text: &str, printed: &str, is_allowed: fn(&u8) -> bool) -> bool {
    text.len() == printed.len() && text.bytes().all(|byte| is_allowed(&byte))
}

/// The tables in `README.md` name every test, and no test that there is not.
#[test]
fn the_tables_name_every_test() {
    let documents = [
        ("seed_000.rs", include_str!("seed_000.rs")),
        ("seed_001.rs", include_str!("seed_001.rs")),
        ("seed_002.rs", include_str!("seed_002.rs")),
        ("seed_003.rs", include_str!("seed_003.rs")),
    ];
    let plans = include_str!("plans.rs");
    let mut sections = include_str!("README.md").split("\n## ").skip(1);
    for (file, source) in documents {
        let section = sections.next().unwrap();
        assert!(section.contains(file), "{section}");
        // Those of `plans.rs` say which document they are of.
        let of_plans = plans.split("#[test]").skip(1).filter(|test| test.contains(&format!("\nfn {}", &file[..8])));
        let tests = source.split("#[test]").skip(1).chain(of_plans).map(|test| {
            let name = test.split("\nfn ").nth(1).and_then(|rest| rest.split('(').next());
            name.unwrap_or_else(|| panic!("no function after #[test] in {file}: {test}"))
        });
        let tests: BTreeSet<_> = tests.collect();
        // What stands in backticks is a name of a test if it could be one; `check_error` is a helper.
        let is_name =
            |text: &&str| text.len() > 5 && text.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_'));
        let named = section.split('`').skip(1).step_by(2).filter(is_name).filter(|name| *name != "check_error");
        assert_eq!(named.collect::<BTreeSet<_>>(), tests, "{file}");
        // Every row has something in both columns.
        for row in section.lines().filter(|line| line.starts_with('|')) {
            let cells: Vec<_> = row.trim_matches('|').split(" | ").collect();
            assert!(cells.len() == 2 || row.starts_with("|---"), "{row}");
            assert!(cells.iter().all(|cell| !cell.trim().is_empty()), "{row}");
        }
    }
}
