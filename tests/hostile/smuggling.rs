//! Requests that two readers cut in two different places: each is refused, or read in the one way that the RFC has, and
//! what is hidden in a body is never answered.

use std::collections::{BTreeMap, HashMap};

use serde::Deserialize;
use serde_json::json;

use crate::corpus::fill;
use crate::doors::{Door, HOST, World};
use crate::support::http::Response;
use crate::wire::{ATTACKER, try_exchange};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    why: String,
    /// Lines, joined by CRLF.
    send: Vec<String>,
    /// The answers on the connection, in order: `done` (the request's own), `good` (the honest one's), or a status.
    answers: Vec<String>,
    /// The doors at which the answers are others, and which.
    #[serde(default)]
    doors: BTreeMap<String, Exception>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Exception {
    answers: Vec<String>,
    why: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    case: Vec<Case>,
}

/// What a door does when it is asked honestly.
struct Honest {
    /// Request line and header fields, without any that frame the body.
    start: String,
    body: String,
    /// The status that says it was done.
    done: u16,
    /// A whole other request, the last on its connection.
    good: String,
}

fn honest(door: Door, world: &World) -> Honest {
    let secret = &world.key.secret;
    let token = world.server.said["verifier_token"].as_str().unwrap();
    let head = |line: String, secret: &str| {
        format!("{line} HTTP/1.1\r\nHost: {HOST}\r\nAuthorization: Bearer {secret}\r\nContent-Type: application/json")
    };
    let question = json!({"key": secret, "method": "GET", "path": "/v1/users/usr_123"}).to_string();
    let get = |target: &str| format!("{}\r\nConnection: close\r\n\r\n", head(format!("GET {target}"), secret));
    match door {
        Door::Verify => Honest {
            start: head("POST /v1/verify".to_owned(), token),
            good: format!(
                "{}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{question}",
                head("POST /v1/verify".to_owned(), token),
                question.len()
            ),
            body: question,
            done: 200,
        },
        Door::Customer => Honest {
            start: head(format!("PATCH /v1/api-keys/{}", world.key.id), secret),
            body: json!({"name": "Renamed"}).to_string(),
            done: 200,
            good: get("/v1/api-keys"),
        },
        Door::Upstream => Honest {
            start: head("POST /v1/users".to_owned(), secret),
            body: json!({"name": "Ada", "email": "ada@example.com"}).to_string(),
            done: 201,
            good: get("/v1/users/usr_123"),
        },
    }
}

/// Says whose answers they are, where that can be seen.
fn labels(answers: &[Response], honest: &Honest) -> Vec<String> {
    let first = answers.iter().position(|answer| answer.status >= 200);
    let label = |(place, answer): (usize, &Response)| match answer.status {
        status if status == honest.done && Some(place) == first => "done".to_owned(),
        200 => "good".to_owned(),
        status => status.to_string(),
    };
    answers.iter().enumerate().map(label).collect()
}

#[test]
fn a_connection_carries_the_requests_that_were_sent_and_no_others() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/hostile/corpora/smuggling.toml");
    let File { case: cases } = toml::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    assert!(cases.len() >= 50, "{} cases", cases.len());
    let world = World::shared();
    let mut wrong = Vec::new();
    for case in &cases {
        assert!(!case.why.is_empty() && case.doors.values().all(|door| !door.why.is_empty()), "{}", case.name);
        for door in Door::ALL {
            let honest = honest(door, &world);
            let values = HashMap::from([
                ("start", honest.start.clone()),
                ("line", honest.start.lines().next().unwrap().to_owned()),
                ("fields", honest.start.split_once("\r\n").unwrap().1.to_owned()),
                ("body", honest.body.clone()),
                ("length", honest.body.len().to_string()),
                ("hex", format!("{:x}", honest.body.len())),
                ("good", honest.good.clone()),
                // Nobody's request: were it read as one, its answer would be a 401 or 404.
                ("hidden", format!("GET /v1/api-keys?hidden HTTP/1.1\r\nHost: {HOST}\r\n\r\n")),
            ]);
            let bytes = fill(&case.send.join("\r\n"), &values);
            let answers = try_exchange(door.address(&world.server), ATTACKER, &bytes);
            let seen = answers.map(|answers| labels(&answers, &honest));
            let exception = match door {
                Door::Verify => case.doors.get("verify"),
                Door::Customer => case.doors.get("customer"),
                Door::Upstream => case.doors.get("upstream"),
            };
            let expected = exception.map_or(&case.answers, |exception| &exception.answers);
            if seen.as_ref() != Ok(expected) {
                wrong.push(format!(
                    "- {} at {}: {seen:?}, not {expected:?}\n    why it matters: {}",
                    case.name,
                    door.name(),
                    case.why
                ));
            }
            world.must_serve(door, &case.name);
        }
    }
    assert!(wrong.is_empty(), "smuggling: {} cases, {} wrong:\n{}", cases.len(), wrong.len(), wrong.join("\n"));
}
