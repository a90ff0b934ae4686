//! `POST /v1/verify`, without a socket.

use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use bytes::Bytes;
use claviger_domain::peer::Peer;
use claviger_domain::time::Clock as _;
use claviger_engine::Outcome;
use claviger_gate::{Front, RequestBody, Verify};
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Frame, SizeHint};
use hyper::service::service_fn;
use serde_json::{Value, json};
use tokio::runtime::Handle;

use crate::support::{ORGANIZATION, VERIFIER, World};

const PROXY: Peer = Peer::Address(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)));

fn front(world: &World) -> Front {
    let fallback = service_fn(async |request: Request<RequestBody>| {
        Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(format!("fallback {}", request.uri())))))
    });
    let verify = Verify::new(Arc::clone(&world.engine), world.clock.clone());
    Front::new(Handle::current(), fallback).with_verify(verify)
}

async fn answer(world: &World, peer: Peer, request: Request<Full<Bytes>>) -> (u16, HeaderMap, String) {
    let (head, body) = front(world).answer(peer, request).await.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    (head.status.as_u16(), head.headers, String::from_utf8(body.into()).unwrap())
}

fn question(body: impl Into<Bytes>) -> Request<Full<Bytes>> {
    let request = Request::post("/v1/verify").header("authorization", format!("Bearer {VERIFIER}"));
    request.body(Full::new(body.into())).unwrap()
}

/// Asks as the verifier and expects a verdict.
async fn verdict(world: &World, body: Value) -> Value {
    let (status, headers, text) = answer(world, PROXY, question(body.to_string())).await;
    assert_eq!((status, headers["content-type"].as_bytes()), (200, &b"application/json"[..]), "{text}");
    assert_eq!(headers.len(), 1, "nothing of the request comes back: {headers:?}");
    serde_json::from_str(&text).unwrap()
}

/// Asks and expects no verdict: the status, the code and the field of the problem.
async fn problem(world: &World, peer: Peer, request: Request<Full<Bytes>>) -> (u16, String, Option<String>, HeaderMap) {
    let (status, headers, text) = answer(world, peer, request).await;
    assert_eq!(headers["content-type"], "application/problem+json", "{text}");
    let problem: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(problem["status"], json!(status), "{text}");
    let text_of = |name: &str| problem[name].as_str().map(str::to_owned);
    (status, text_of("code").unwrap(), text_of("field"), headers)
}

#[tokio::test]
async fn an_allowed_key_is_described() {
    let world = World::new();
    let metadata = json!({"team": "\"a\"\n", "n": 1.50});
    let (id, secret) = world.issue(json!({
        "name": "CI \"quoted\"", "scopes": ["evaluate", "train"], "metadata": metadata, "expires_at": "2026-01-15T10:30:01Z",
    }));
    let asked = json!({"key": secret, "method": "POST", "path": "/api/v1/evaluate?a=b", "ip": "::1", "cost": 1, "at_least_revision": 2});
    let expected = json!({
        "valid": true, "code": null, "status": 200, "message": null, "limits": [], "retry_after": null, "revision": 2,
        "key": {
            "id": id, "name": "CI \"quoted\"", "kind": "secret", "environment": "live", "organization": ORGANIZATION,
            "scopes": ["evaluate", "train"], "expires_at": "2026-01-15T10:30:01Z", "metadata": metadata,
        },
    });
    assert_eq!(verdict(&world, asked.clone()).await, expected);

    world.clock.advance_seconds(1);
    let denied = verdict(&world, asked).await;
    assert_eq!(denied["message"], "Der \"Schlüssel\" ist abgelaufen.", "in the words of the api");
    assert_eq!(
        (&denied["code"], &denied["status"], &denied["key"]["id"]),
        (&json!("expired"), &json!(401), &json!(id))
    );
}

#[tokio::test]
async fn limits_are_in_the_verdict() {
    let world = World::new();
    let (_, secret) = world.issue(json!({}));
    world.plan(
        "quota = 100\n[[plans.rate_limits]]\nname = 'burst'\nunits = 60\nseconds = 60\nburst = 4\n\
         [[plans.rate_limits]]\nname = 'each'\nper = 'key'\nscope = 'evaluate'\nunits = 10\nseconds = 1",
    );
    let ask = async |cost: Value| {
        let asked = json!({"key": secret, "method": "POST", "path": "/api/v1/evaluate", "cost": cost});
        let mut verdict = verdict(&world, asked).await;
        let told = ["code", "status", "limits", "retry_after"].map(|field| verdict[field].take());
        Value::from(told.to_vec())
    };
    let limits = |burst: Value, each: Value, quota: u64, refused: bool| {
        json!([
            {"name": "burst", "per": "organization", "limit": 60, "window_seconds": 60, "remaining": burst[0],
             "reset_at": burst[1], "refused": refused},
            {"name": "each", "per": "key", "scope": "evaluate", "limit": 10, "window_seconds": 1, "remaining": each[0],
             "reset_at": each[1], "refused": false},
            {"name": "quota", "per": "organization", "limit": 100, "window_seconds": null, "remaining": quota,
             "reset_at": "2026-02-01T00:00:00Z", "refused": false},
        ])
    };
    let (burst, each) = (json!([1, "2026-01-15T10:30:03Z"]), json!([7, "2026-01-15T10:30:01Z"]));
    let left = |refused| limits(burst.clone(), each.clone(), 97, refused);
    assert_eq!(ask(json!(3)).await, json!([null, 200, left(false), null]));
    assert_eq!(ask(json!(3)).await, json!(["rate_limited", 429, left(true), 2]));
    assert_eq!(ask(json!(5)).await, json!(["rate_limited", 429, left(true), null]), "more than ever pass");
    world.clock.advance_seconds(2);
    assert_eq!(ask(json!(null)).await[1], 200, "what the endpoint costs: one");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_two_hundred_questions_at_once_as_many_are_allowed_and_counted_as_are_left() {
    for plan in [
        "quota = 37",
        "key_quota = 37",
        "quota = 1000\n[[plans.rate_limits]]\nname = 'burst'\nunits = 37\nseconds = 86400",
        "key_quota = 1000\n[[plans.rate_limits]]\nname = 'each'\nper = 'key'\nunits = 37\nseconds = 86400",
    ] {
        let world = World::new();
        let (_, secret) = world.issue(json!({}));
        world.plan(plan);
        let verify = Verify::new(Arc::clone(&world.engine), world.clock.clone());
        let ask = || {
            let body = json!({"key": secret, "method": "POST", "path": "/api/v1/evaluate"}).to_string();
            let (verify, request) = (verify.clone(), Request::post("/v1/verify").body(Full::new(Bytes::from(body))));
            async move {
                verify.answer(Peer::Socket, request.unwrap()).await.into_body().collect().await.unwrap().to_bytes()
            }
        };
        let questions: Vec<_> = (0..200).map(|_| tokio::spawn(ask())).collect();
        let mut allowed = 0;
        for question in questions {
            let verdict: Value = serde_json::from_slice(&question.await.unwrap()).unwrap();
            allowed += u64::from(verdict["valid"] == json!(true));
        }
        let totals = world.engine.usage().collect(world.clock.now());
        let counted = totals.iter().filter(|total| total.outcome == Outcome::Allowed).map(|total| total.count);
        assert_eq!((allowed, counted.sum::<u64>()), (37, 37), "{plan}");
    }
}

#[tokio::test]
async fn every_denial_is_a_verdict() {
    let world = World::new();
    let (_, full) = world.issue(json!({}));
    let (_, scoped) = world.issue(json!({"scopes": ["evaluate"]}));
    let (_, disabled) = world.issue(json!({"disabled": true}));
    let (_, at_home) = world.issue(json!({"restrictions": {"ip": ["203.0.113.0/24"]}}));
    let (_, on_page) = world.issue(json!({"restrictions": {"referrer": ["*.example.com"]}}));
    let ask = |fields: Value| {
        let mut body = json!({"key": full, "method": "POST", "path": "/api/v1/evaluate"});
        body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        body
    };
    let cases = [
        (json!({}), "allowed"),
        (json!({"api": "tork"}), "allowed"),
        (json!({"key": null}), "missing"),
        (json!({"key": ""}), "malformed"),
        (json!({"key": format!("{full} ")}), "malformed"),
        (json!({"key": format!("{full}é")}), "malformed"),
        (json!({"key": "a".repeat(512)}), "malformed"),
        (json!({"key": "a".repeat(513)}), "malformed"),
        (json!({"key": "a".repeat(60_000)}), "malformed"),
        (json!({"key": disabled}), "disabled"),
        (json!({"method": "post"}), "endpoint_not_allowed"),
        (json!({"path": "/api/v1//evaluate"}), "endpoint_not_allowed"),
        (json!({"path": "/api/v1/evaluate#"}), "endpoint_not_allowed"),
        (json!({"path": "?/api/v1/evaluate", "api": "tork"}), "endpoint_not_allowed"),
        (json!({"key": scoped}), "allowed"),
        (json!({"key": scoped, "scopes": []}), "allowed"),
        (json!({"key": scoped, "scopes": ["evaluate"]}), "allowed"),
        (json!({"key": scoped, "scopes": ["evaluate", "train"]}), "insufficient_scope"),
        (json!({"key": scoped, "scopes": ["no such scope"]}), "insufficient_scope"),
        (json!({"key": at_home, "ip": "203.0.113.7"}), "allowed"),
        (json!({"key": at_home, "ip": "::ffff:203.0.113.7"}), "allowed"),
        (json!({"key": at_home, "ip": "203.0.113.7:80"}), "ip_not_allowed"),
        (json!({"key": at_home}), "ip_not_allowed"),
        (json!({"key": on_page, "referrer": "https://www.example.com/page"}), "allowed"),
        (json!({"key": on_page, "referrer": "www.example.com"}), "referrer_not_allowed"),
        (json!({"key": on_page, "referrer": null}), "referrer_not_allowed"),
        (json!({"at_least_revision": 6}), "allowed"),
        (json!({"at_least_revision": 7}), "unavailable"),
    ];
    for (fields, expected) in cases {
        let verdict = verdict(&world, ask(fields.clone())).await;
        assert_eq!(verdict["code"].as_str().unwrap_or("allowed"), expected, "{fields}");
        assert_eq!(verdict["valid"], json!(expected == "allowed"), "{fields}");
        assert_eq!(verdict["message"].is_string(), expected != "allowed", "{fields}");
    }
}

#[tokio::test]
async fn only_verifiers_and_the_operator_may_ask() {
    let world = World::new();
    let (_, secret) = world.issue(json!({}));
    let ask = |authorization: &[&str]| {
        let mut request = Request::post("/v1/verify");
        for value in authorization {
            request = request.header("authorization", *value);
        }
        request.body(Full::new(Bytes::from(r#"{"key":null,"method":"GET","path":"/"}"#))).unwrap()
    };
    let good = format!("Bearer {VERIFIER}");
    let cases: [(&[&str], &str); 6] = [
        (&[], r#"Bearer realm="claviger""#),
        (&["Bearer cver_other"], r#"Bearer realm="claviger", error="invalid_token""#),
        (&[&format!("Bearer {secret}")], r#"Bearer realm="claviger", error="invalid_token""#),
        (&[&format!("{good} ")], r#"Bearer realm="claviger", error="invalid_token""#),
        (&["Basic YTpi"], r#"Bearer realm="claviger", error="invalid_token""#),
        (&[&good, &good], r#"Bearer realm="claviger", error="invalid_token""#),
    ];
    for (authorization, challenge) in cases {
        let (status, code, _, headers) = problem(&world, PROXY, ask(authorization)).await;
        assert_eq!((status, &*code), (401, "unauthenticated"), "{authorization:?}");
        assert_eq!(headers["www-authenticate"], challenge, "{authorization:?}");
    }
    assert_eq!(answer(&world, PROXY, ask(&[&good])).await.0, 200);
    assert_eq!(answer(&world, Peer::Socket, ask(&[])).await.0, 200);
}

#[tokio::test]
async fn what_is_no_question_is_refused() {
    let world = World::new();
    let (status, code, field, _) =
        problem(&world, PROXY, question(r#"{"method":"GET","path":"/","api":"nope"}"#)).await;
    assert_eq!((status, &*code, field.as_deref()), (400, "invalid_request", Some("api")));
    let (status, code, field, _) = problem(&world, PROXY, question(r#"{"path":"/"}"#)).await;
    assert_eq!((status, &*code, field.as_deref()), (400, "invalid_request", Some("method")));
    let (status, code, field, _) = problem(&world, PROXY, question("")).await;
    assert_eq!((status, &*code, field), (400, "invalid_request", None));
    let (status, code, ..) = problem(&world, PROXY, question(" ".repeat(64 * 1024 + 1))).await;
    assert_eq!((status, &*code), (413, "payload_too_large"));

    for method in ["GET", "HEAD", "PUT", "DELETE", "OPTIONS", "BREW"] {
        let request = Request::builder().method(method).uri("/v1/verify").body(Full::default()).unwrap();
        let (status, code, _, headers) = problem(&world, PROXY, request).await;
        assert_eq!(
            (status, &*code, headers["allow"].as_bytes()),
            (405, "method_not_allowed", &b"POST"[..]),
            "{method}"
        );
    }
}

#[tokio::test]
async fn other_paths_are_the_control_planes() {
    let world = World::new();
    for path in ["/", "/v1/verify/", "/v1/verify/x", "/V1/verify", "/v1//verify", "/v1/%76erify"] {
        let request = Request::post(path).body(Full::default()).unwrap();
        let (status, _, body) = answer(&world, PROXY, request).await;
        assert_eq!((status, body), (200, format!("fallback {path}")));
    }
}

/// A body in pieces, whose length nobody knows before.
struct Pieces(Vec<Bytes>);

impl hyper::body::Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        _context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        std::task::Poll::Ready(self.0.pop().map(|piece| Ok(Frame::data(piece))))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

#[tokio::test]
async fn a_body_may_come_in_pieces() {
    let world = World::new();
    let status = async |body: &str, piece_bytes: usize| {
        let pieces = body.as_bytes().chunks(piece_bytes).rev().map(Bytes::copy_from_slice).collect();
        let request = Request::post("/v1/verify").body(Pieces(pieces)).unwrap();
        front(&world).answer(Peer::Socket, request).await.status().as_u16()
    };
    let asked = r#"{"key":null,"method":"GET","path":"/"}"#;
    assert_eq!(status(asked, 1).await, 200);
    assert_eq!(status(asked, 20).await, 200);
    let padded = |length: usize| format!("{asked}{}", " ".repeat(length - asked.len()));
    assert_eq!(status(&padded(64 * 1024), 1000).await, 200);
    assert_eq!(status(&padded(64 * 1024 + 1), 1000).await, 413);
}
