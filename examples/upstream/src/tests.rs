//! The API over HTTP, as the guard would call it.

use axum::body::{Body, to_bytes};
use http::header::{ALLOW, CONTENT_TYPE};
use http::{Request, StatusCode};
use serde_json::{Value, json};
use tower::ServiceExt;

use super::*;

struct Api(Router);

struct Answer {
    status: StatusCode,
    allow: Option<String>,
    body: Value,
}

impl Api {
    fn new() -> Self {
        Self(router())
    }

    async fn send(&self, caller: Option<Caller>, mut request: Request<Body>) -> Answer {
        if let Some(caller) = caller {
            request.extensions_mut().insert(caller);
        }
        let response = self.0.clone().oneshot(request).await.unwrap();
        let status = response.status();
        let allow = response.headers().get(ALLOW).map(|allow| allow.to_str().unwrap().to_owned());
        let bytes = to_bytes(response.into_body(), usize::MAX).await.unwrap();
        let body = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        Answer { status, allow, body }
    }

    async fn get(&self, caller: Caller, path: &str) -> Answer {
        self.send(Some(caller), request("GET", path, "")).await
    }

    async fn post(&self, caller: Caller, path: &str, body: &Value) -> Answer {
        self.send(Some(caller), request("POST", path, &body.to_string())).await
    }
}

impl Answer {
    /// Status and error code; the envelope around them is checked on the way.
    fn refusal(&self) -> (u16, &str) {
        let error = &self.body["error"];
        assert_eq!(self.body["success"], json!(false), "{}", self.body);
        assert_eq!(error["status"], json!(self.status.as_u16()));
        assert!(error["message"].as_str().is_some_and(|message| message.ends_with('.')));
        assert_eq!(self.body.as_object().unwrap().len(), 2);
        assert_eq!(error.as_object().unwrap().len(), 3);
        (self.status.as_u16(), error["code"].as_str().unwrap())
    }
}

fn live(organization: &str) -> Caller {
    Caller { organization: organization.to_owned(), live: true }
}

fn test(organization: &str) -> Caller {
    Caller { organization: organization.to_owned(), live: false }
}

fn request(method: &str, path: &str, body: &str) -> Request<Body> {
    Request::builder()
        .method(method)
        .uri(path)
        .header(CONTENT_TYPE, "application/json")
        .body(Body::from(body.to_owned()))
        .unwrap()
}

#[tokio::test]
async fn evaluate_the_documented_example() {
    let answer =
        Api::new().post(live("org_a"), "/api/v1/evaluate", &json!({"content": "Hello world", "checks": ["pii"]})).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.body, json!({"success": true, "data": {"findings": [], "checked": ["pii"], "characters": 11}}));
}

#[tokio::test]
async fn evaluate_says_where_and_never_what() {
    let content = "😀 ada@example.com or 4111 1111 1111 1111";
    let answer =
        Api::new().post(test("org_a"), "/api/v1/evaluate", &json!({"checks": ["pii"], "content": content})).await;
    assert_eq!(
        answer.body["data"],
        json!({
            "findings": [
                {"check": "pii", "type": "email", "start": 2, "end": 17},
                {"check": "pii", "type": "card", "start": 21, "end": 40},
            ],
            "checked": ["pii"],
            "characters": 40,
        })
    );
    let text = answer.body.to_string();
    assert!(!text.contains("ada") && !text.contains("4111"));
}

#[tokio::test]
async fn evaluate_refuses_what_it_does_not_understand() {
    let api = Api::new();
    for (body, code, hint) in [
        (r#"{"content": "x", "checks": ["pii", "toxicity"]}"#, "unknown_check", "`toxicity`"),
        (r#"{"content": "x", "checks": ["PII"]}"#, "unknown_check", "Known checks: `pii`"),
        (r#"{"content": "x", "checks": [""]}"#, "unknown_check", "Known checks: `pii`"),
        (r#"{"content": "x", "checks": []}"#, "empty_checks", "Known checks: `pii`"),
        (r#"{"content": "x", "checks": ["pii", "pii"]}"#, "duplicate_check", "`pii`"),
        (r#"{"content": "x"}"#, "missing_field", "`checks`"),
        (r#"{"checks": ["pii"]}"#, "missing_field", "`content`"),
        ("{}", "missing_field", "`content`"),
        (r#"{"content": 7, "checks": ["pii"]}"#, "invalid_type", "`content` must be a string"),
        (r#"{"content": null, "checks": ["pii"]}"#, "invalid_type", "`content` must be a string"),
        (r#"{"content": "x", "checks": "pii"}"#, "invalid_type", "`checks` must be a list of strings"),
        (r#"{"content": "x", "checks": ["pii", 1]}"#, "invalid_type", "`checks[1]` must be a string"),
        (r#"{"content": "x", "checks": ["pii"], "lang": "en"}"#, "unknown_field", "`lang`"),
        (r#"{"content": "x", "content": "y", "checks": ["pii"]}"#, "duplicate_field", "`content`"),
        (r#"["pii"]"#, "invalid_body", "object"),
        (r#""pii""#, "invalid_body", "object"),
        ("", "malformed_json", "line 1"),
        ("{", "malformed_json", "line 1, column 1"),
        (r#"{"content": "x", "checks": ["pii"]} x"#, "malformed_json", "column"),
        (r#"{"content": "\ud800", "checks": ["pii"]}"#, "malformed_json", "column"),
        ("{'content': 'x'}", "malformed_json", "column"),
    ] {
        let answer = api.send(Some(live("org_a")), request("POST", "/api/v1/evaluate", body)).await;
        assert_eq!(answer.refusal(), (400, code), "{body}");
        let message = answer.body["error"]["message"].as_str().unwrap();
        assert!(message.contains(hint), "{body}: {message}");
    }
    let deep = "[".repeat(10_000);
    let answer = api.send(Some(live("org_a")), request("POST", "/api/v1/evaluate", &deep)).await;
    assert_eq!(answer.refusal().0, 400);
}

#[tokio::test]
async fn refusals_do_not_repeat_values() {
    let api = Api::new();
    for body in [
        r#"{"content": ["123-45-6789"], "checks": ["pii"]}"#,
        r#"{"content": "x", "checks": "123-45-6789"}"#,
        r#""123-45-6789""#,
        r#"{"content": "123-45-6789", "checks": []}"#,
        r#"{"content": "123-45-6789"#,
    ] {
        let answer = api.send(Some(live("org_a")), request("POST", "/api/v1/evaluate", body)).await;
        answer.refusal();
        assert!(!answer.body.to_string().contains("6789"), "{}", answer.body);
    }
}

#[tokio::test]
async fn the_body_must_be_declared_as_json() {
    let api = Api::new();
    for content_type in [None, Some("text/plain"), Some("application/x-www-form-urlencoded")] {
        let mut request = request("POST", "/api/v1/evaluate", r#"{"content": "x", "checks": ["pii"]}"#);
        request.headers_mut().remove(CONTENT_TYPE);
        if let Some(content_type) = content_type {
            request.headers_mut().insert(CONTENT_TYPE, content_type.parse().unwrap());
        }
        assert_eq!(api.send(Some(live("org_a")), request).await.refusal(), (415, "unsupported_media_type"));
    }
}

#[tokio::test]
async fn sizes_are_bounded() {
    let api = Api::new();
    let body = |characters: usize, padding: usize| {
        let spaces = " ".repeat(padding);
        format!(r#"{{"content": "{}", "checks": ["pii"]{spaces}}}"#, "a".repeat(characters))
    };
    let send = async |body: String| api.send(Some(live("org_a")), request("POST", "/api/v1/evaluate", &body)).await;

    let empty = body(0, 0).len();
    let answer = send(body(100_000, BODY_BYTES_MAX - 100_000 - empty)).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.body["data"]["characters"], json!(100_000));

    assert_eq!(send(body(100_001, 0)).await.refusal(), (413, "content_too_long"));
    assert_eq!(send(body(0, BODY_BYTES_MAX - empty + 1)).await.refusal(), (413, "body_too_large"));
    assert_eq!(send(body(0, 10 * BODY_BYTES_MAX)).await.refusal(), (413, "body_too_large"));
}

#[tokio::test]
async fn the_documented_user_exists_for_everyone() {
    let api = Api::new();
    let ada = json!({"success": true, "data": {"id": "usr_123", "name": "Ada Lovelace", "email": "ada@example.com"}});
    for caller in [live("org_a"), test("org_a"), live("org_b")] {
        let answer = api.get(caller, "/v1/users/usr_123").await;
        assert_eq!((answer.status, answer.body), (StatusCode::OK, ada.clone()));
    }
}

#[tokio::test]
async fn a_live_user_is_kept_for_its_organization_alone() {
    let api = Api::new();
    let made = api.post(live("org_a"), "/v1/users", &json!({"name": "Grace", "email": "grace@example.com"})).await;
    assert_eq!(made.status, StatusCode::CREATED);
    assert_eq!(made.body["data"]["name"], json!("Grace"));
    assert_eq!(made.body["data"]["email"], json!("grace@example.com"));
    let path = format!("/v1/users/{}", made.body["data"]["id"].as_str().unwrap());

    let read = api.get(live("org_a"), &path).await;
    assert_eq!((read.status, &read.body), (StatusCode::OK, &made.body));

    let unknown = api.get(live("org_b"), "/v1/users/usr_unknown").await;
    for caller in [live("org_b"), test("org_b"), test("org_a")] {
        let refused = api.get(caller, &path).await;
        assert_eq!(refused.refusal(), (404, "user_not_found"));
        assert_eq!(refused.body, unknown.body, "the same answer as for an id that does not exist");
    }
}

#[tokio::test]
async fn a_test_user_is_answered_and_not_kept() {
    let api = Api::new();
    let made = api.post(test("org_a"), "/v1/users", &json!({"name": "Grace", "email": "grace@example.com"})).await;
    assert_eq!(made.status, StatusCode::CREATED);
    let id = made.body["data"]["id"].as_str().unwrap();
    assert_eq!(made.body["data"], json!({"id": id, "name": "Grace", "email": "grace@example.com"}));
    for caller in [test("org_a"), live("org_a"), live("org_b")] {
        assert_eq!(api.get(caller, &format!("/v1/users/{id}")).await.refusal(), (404, "user_not_found"));
    }
}

#[tokio::test]
async fn users_are_refused_with_a_reason() {
    let api = Api::new();
    let long = "é".repeat(201);
    for (body, code) in [
        (json!({"name": "A"}), "missing_field"),
        (json!({"email": "a@example.com"}), "missing_field"),
        (json!({"name": "A", "email": "a@example.com", "admin": true}), "unknown_field"),
        (json!({"name": 1, "email": "a@example.com"}), "invalid_type"),
        (json!({"name": "A", "email": ["a@example.com"]}), "invalid_type"),
        (json!({"name": "", "email": "a@example.com"}), "invalid_name"),
        (json!({"name": " \u{a0}", "email": "a@example.com"}), "invalid_name"),
        (json!({"name": "A\nB", "email": "a@example.com"}), "invalid_name"),
        (json!({"name": long, "email": "a@example.com"}), "invalid_name"),
        (json!({"name": "A", "email": "a"}), "invalid_email"),
        (json!({"name": "A", "email": "a@example.com, b@example.com"}), "invalid_email"),
    ] {
        assert_eq!(api.post(live("org_a"), "/v1/users", &body).await.refusal(), (400, code), "{body}");
    }
    let longest = json!({"name": "é".repeat(200), "email": "a@example.com"});
    assert_eq!(api.post(live("org_a"), "/v1/users", &longest).await.status, StatusCode::CREATED);
}

#[tokio::test]
async fn unknown_paths_below_ours_are_404() {
    let api = Api::new();
    for path in ["/api/v1/evaluate/", "/api/v1/evaluate/x", "/v1/users/", "/v1/users/usr_123/", "/v1/users/usr_123/x/y"]
    {
        assert_eq!(api.get(live("org_a"), path).await.refusal(), (404, "not_found"), "{path}");
    }
    for path in ["/v1/users/%FF", "/v1/users/%20", "/v1/users/USR_123", "/v1/users/usr_123%00"] {
        assert_eq!(api.get(live("org_a"), path).await.refusal(), (404, "user_not_found"), "{path}");
    }
}

#[tokio::test]
async fn wrong_methods_are_405() {
    let api = Api::new();
    for (method, path, allowed) in [
        ("GET", "/api/v1/evaluate", "POST"),
        ("PUT", "/api/v1/evaluate", "POST"),
        ("OPTIONS", "/api/v1/evaluate", "POST"),
        ("GET", "/v1/users", "POST"),
        ("DELETE", "/v1/users/usr_123", "GET,HEAD"),
    ] {
        let answer = api.send(Some(live("org_a")), request(method, path, "")).await;
        assert_eq!(answer.refusal(), (405, "method_not_allowed"), "{method} {path}");
        assert_eq!(answer.allow.as_deref(), Some(allowed), "{method} {path}");
    }
}

#[tokio::test]
async fn nothing_is_served_without_the_guard() {
    let api = Api::new();
    let user = r#"{"name": "Grace", "email": "grace@example.com"}"#;
    for (method, path, body) in [
        ("POST", "/api/v1/evaluate", r#"{"content": "x", "checks": ["pii"]}"#),
        ("GET", "/api/v1/evaluate", ""),
        ("GET", "/api/v1/evaluate/x", ""),
        ("GET", "/v1/users/usr_123", ""),
        ("DELETE", "/v1/users/usr_123", ""),
        ("GET", "/v1/users/usr_123/x", ""),
        ("POST", "/v1/users", user),
        ("POST", "/v1/users", "{"),
    ] {
        assert_eq!(api.send(None, request(method, path, body)).await.refusal(), (500, "unguarded"), "{method} {path}");
    }
    let unread = api.get(live("org_a"), "/v1/users/usr_0000000001").await;
    assert_eq!(unread.refusal(), (404, "user_not_found"), "the refused write made no user");
}

#[tokio::test]
async fn the_host_keeps_its_own_paths() {
    let host = Router::new().route("/v1/api-keys", get(async || "host")).fallback(not_found);
    let api = Api(host.merge(router()));
    assert_eq!(api.send(None, request("GET", "/v1/api-keys", "")).await.status, StatusCode::OK);
    assert_eq!(api.send(None, request("GET", "/elsewhere", "")).await.refusal(), (404, "not_found"));
    assert_eq!(api.get(live("org_a"), "/v1/users/usr_123").await.status, StatusCode::OK);
}
