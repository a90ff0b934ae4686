//! Times at the edges, in every place that takes one.

use claviger_domain::time::{Clock as _, SystemClock};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::doors::{HOST, World};
use crate::support::http::{Request, Response};
use crate::support::world::with;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    /// With `{year}` for the year after this one.
    time: String,
    /// As it is kept; without it, it is refused.
    kept: Option<String>,
    why: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    case: Vec<Case>,
}

#[test]
fn times_are_read_strictly_wherever_they_are_sent() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/hostile/corpora/times.toml");
    let File { case: cases } = toml::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    assert!(cases.len() >= 40, "{} cases", cases.len());
    let world = World::shared();
    let year: i32 = SystemClock.now().to_string()[..4].parse().unwrap();
    let fill = |text: &str| text.replace("{year}", &(year + 1).to_string());
    let customer = |request: Request| world.server.public(&request.host(HOST).bearer(&world.key.secret));
    let mut wrong = Vec::new();
    for case in &cases {
        let body = json!({"name": "Key", "expires_at": fill(&case.time)});
        let owned = with(body.clone(), json!({"organization": world.organization, "api": "example"}));
        let target = world.restricted(&json!({"ip": ["192.0.2.0/24"]}));
        let change = json!({"expires_at": fill(&case.time)});
        let answers: [(&str, Response); 4] = [
            ("create", customer(Request::post("/v1/api-keys").json(&body))),
            ("update", customer(Request::patch(&format!("/v1/api-keys/{}", target.id)).json(&change))),
            ("the operator's create", world.server.admin(Request::post("/admin/v1/keys").json(&owned))),
            ("the operator's update", {
                world.server.admin(Request::patch(&format!("/admin/v1/keys/{}", target.id)).json(&change))
            }),
        ];
        for (place, answer) in answers {
            let value = answer.value();
            let seen = match answer.status {
                200 | 201 => {
                    let body = if value["data"].is_object() { &value["data"] } else { &value };
                    Ok(body["expires_at"].clone())
                }
                status => Err((status, named_field(&value))),
            };
            let expected = match &case.kept {
                Some(kept) => Ok(fill(kept).into()),
                None => Err((400, Some("expires_at".to_owned()))),
            };
            if seen != expected {
                wrong.push(format!("- {} at {place}: {seen:?}, not {expected:?}\n    {}", case.name, case.why));
            }
        }
    }
    assert!(wrong.is_empty(), "times: {} cases, {} came out wrong:\n{}", cases.len(), wrong.len(), wrong.join("\n"));
}

fn named_field(error: &Value) -> Option<String> {
    let error = if error["error"].is_object() { &error["error"] } else { error };
    error["field"].as_str().map(str::to_owned)
}

/// Lifetimes in seconds, to the ends of the integers.
#[test]
fn lifetimes_have_ends() {
    let world = World::shared();
    let create = |seconds: &str| {
        let body = format!(r#"{{"name":"Key","ttl_seconds":{seconds}}}"#);
        let request = Request::post("/v1/api-keys").header("Content-Type", "application/json").body(body);
        world.server.public(&request.host(HOST).bearer(&world.key.secret))
    };
    for seconds in [
        "0",
        "-0",
        "-1",
        "0.5",
        "1.0",
        "1e3",
        "1e400",
        "-1e400",
        "9223372036854775807",
        "-9223372036854775808",
        "9223372036854775808",
        "18446744073709551616",
        "9223372036854",
        "316224001",
        "\"60\"",
        "true",
        "[60]",
        "{}",
    ] {
        create(seconds).expect(400);
    }
    for seconds in ["1", "316224000"] {
        create(seconds).expect(201);
    }
}
