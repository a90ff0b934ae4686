//! Endpoints for one environment only: keys of the other are refused, and told what to do, at all three doors.

use serde_json::{Value, json};

use crate::doors::{HOST, apply};
use crate::support::http::Request;
use crate::support::server::Server;
use crate::support::world::Key;

const EXAMPLE: &str = include_str!("../../apis/example.toml");
const LIST: &str = "endpoint = \"GET /v1/api-keys\"\n";
const SHOW: &str = "endpoint = \"GET /v1/users/{id}\"\n";
const DOORS: [&str; 2] = ["/v1/api-keys", "/v1/users/usr_123"];

/// The example api with the two endpoints for this environment only.
fn only_for(environment: &str) -> String {
    let limited = |text: &str, endpoint: &str| {
        assert!(text.contains(endpoint));
        text.replace(endpoint, &format!("{endpoint}environment = \"{environment}\"\n"))
    };
    limited(&limited(EXAMPLE, LIST), SHOW)
}

/// Calls with the key at the door for customers that the path leads to, and asks verify for the same. The error of the
/// public door, and the verdict.
fn ask(server: &Server, key: &Key, path: &str) -> (u16, Value, Value) {
    let answer = server.public(&Request::get(path).host(HOST).bearer(&key.secret));
    let verdict = server.verify(&json!({"key": key.secret, "api": "example", "method": "GET", "path": path}));
    assert_eq!(verdict["status"], answer.status);
    assert_eq!(verdict["key"]["id"], key.id, "the key is known even where it is refused");
    (answer.status, answer.value()["error"].clone(), verdict)
}

fn check(server: &Server, refused: &Key, let_in: &Key, code: &str, message: &str) {
    for path in DOORS {
        let (status, error, verdict) = ask(server, refused, path);
        assert_eq!(status, 403, "{path}");
        assert_eq!(error, json!({"code": code, "message": message, "status": 403}), "{path}");
        assert_eq!(verdict["code"], "wrong_environment", "{path}");
        assert_eq!(verdict["message"], message, "{path}");
        let (status, _, verdict) = ask(server, let_in, path);
        assert_eq!((status, &verdict["code"]), (200, &Value::Null), "{path}");
    }
}

#[test]
fn the_other_environments_keys_are_refused_and_told_what_to_do() {
    let server = Server::demo();
    let organization = server.organization();
    let [live, test] =
        ["live", "test"].map(|environment| organization.key("example", json!({"environment": environment})));
    // The code is that of the api's own table, which has one for every 403.
    apply(&server, &only_for("live"));
    check(&server, &test, &live, "forbidden", "This endpoint does not accept test keys. Use a live API key.");
    apply(&server, &only_for("test"));
    check(&server, &live, &test, "forbidden", "This endpoint accepts test keys only. Use a test API key.");
    // An api may have words of its own for it.
    let own = "[errors.denials.wrong_environment]\ncode = \"live_key_required\"\nmessage = \"Send your live key.\"\n";
    apply(&server, &format!("{}\n{own}", only_for("live")));
    check(&server, &test, &live, "live_key_required", "Send your live key.");
    // Without a table the code is the denial's own.
    let exact = only_for("live").replace("status_codes = { 401 = \"unauthorized\", 403 = \"forbidden\" }\n", "");
    apply(&server, &exact);
    check(&server, &test, &live, "wrong_environment", "This endpoint does not accept test keys. Use a live API key.");
    // The endpoints beside them are everybody's.
    let beside = Request::get("/v1/account/usage").host(HOST);
    for key in [&live, &test] {
        assert_eq!(server.public(&beside.clone().bearer(&key.secret)).status, 200);
    }
    // Who is nobody is not told about environments.
    for path in DOORS {
        let nobody = server.public(&Request::get(path).host(HOST).bearer("sk_test_nobody"));
        assert_eq!(nobody.status, 401, "{path}");
    }
}
