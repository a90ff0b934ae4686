//! The guard before a service, with a real engine behind it.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::Extension;
use axum::routing::{get, post};
use bytes::Bytes;
use claviger_client::{GuardLayer, Verified};
use claviger_domain::address::{ForwardingHeader, TrustedProxies};
use claviger_domain::change::{Change, Revision};
use claviger_domain::definition::{Api, Definition};
use claviger_domain::id::KeyId;
use claviger_domain::peer::Peer;
use claviger_domain::random::PredictableEntropy;
use claviger_domain::secret::SecretDigest;
use claviger_domain::time::{Clock as _, ManualClock};
use claviger_engine::{Engine, EngineOptions};
use http::header::AUTHORIZATION;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt as _, Full};
use serde_json::{Value, json};
use tower::{Layer as _, ServiceExt as _, service_fn};

const ORGANIZATION: &str = "org_01jhkvxz00fakefakefakefake";

const TORK: &str = r#"
name = "tork"
title = "Tork"
hosts = ["tork.example"]
base_path = "/api/v1"

[[keys]]
prefix = "tork_sk_"
kind = "secret"
environment = "live"
alphabet = "base62"
length = 32

[[scopes]]
name = "evaluate"
description = "Evaluate content"

[[scopes]]
name = "train"
description = "Train"

[[endpoints]]
endpoint = "POST /api/v1/evaluate"
scope = "evaluate"

[[endpoints]]
endpoint = "POST /api/v1/train"
scope = "train"

[errors]
form = "envelope"

[errors.denials.missing]
code = "missing_api_key"
message = "No API key provided in request."
"#;

const ACME: &str = r#"
name = "acme"
title = "Acme"
hosts = ["acme.example"]
base_path = "/v1"

[[keys]]
prefix = "ac_"
kind = "secret"
environment = "test"
alphabet = "hex"
length = 40
"#;

struct World {
    engine: Arc<Engine>,
    clock: Arc<ManualClock>,
    entropy: PredictableEntropy,
}

impl World {
    fn new() -> Self {
        let clock = ManualClock::new("2026-01-15T10:30:00Z".parse().unwrap());
        let organization = json!({"change": "organization", "value": {
            "id": ORGANIZATION, "name": "Acme", "status": "active", "created_at": clock.now(),
        }});
        let api = |text| Change::Api(Box::new(Api { definition: definition(text), retired_formats: Vec::new() }));
        let changes = [api(TORK), api(ACME), serde_json::from_value(organization).unwrap()];
        let engine = Engine::new(EngineOptions::default());
        engine.load(Revision(1), changes.into_iter()).unwrap();
        Self { engine: Arc::new(engine), clock: Arc::new(clock), entropy: PredictableEntropy::new(1) }
    }

    /// Issues a key of full access to an api, altered by these fields, and returns its id and secret.
    fn issue(&self, api: &str, fields: Value) -> (KeyId, String) {
        let definition = definition(api);
        let format = &definition.formats()[0];
        let (id, secret) = (KeyId::new(self.clock.now(), &self.entropy), format.issue(&self.entropy));
        let digest = hex(&secret.digest());
        let mut key = json!({
            "id": id, "organization": ORGANIZATION, "api": definition.name(), "name": "CI", "kind": format.kind,
            "environment": format.environment, "prefix": format.prefix, "hint": secret.hint(), "digest": digest,
            "old_secret": null, "scopes": ["*"], "restrictions": {}, "parent_id": null, "metadata": {},
            "disabled": false, "revocation": null, "created_at": self.clock.now(), "created_by": "operator",
            "expires_at": null, "rotated_at": null,
        });
        let Value::Object(fields) = fields else { panic!("fields of a key") };
        key.as_object_mut().unwrap().extend(fields);
        let change = serde_json::from_value(json!({"change": "key", "value": key})).unwrap();
        self.engine.apply(Revision(self.engine.revision().0 + 1), &[change]).unwrap();
        (id, secret.into_clear().to_string())
    }

    fn layer(&self) -> GuardLayer {
        let proxies = TrustedProxies::new(vec!["10.0.0.0/8".parse().unwrap()], ForwardingHeader::XForwardedFor);
        GuardLayer::new(Arc::clone(&self.engine), self.clock.clone(), proxies)
    }

    /// Sends a request to a guarded service that says who asked.
    async fn send(&self, request: Request<()>) -> (u16, HeaderMap, String) {
        self.send_through(self.layer(), request).await
    }

    async fn send_through(&self, layer: GuardLayer, request: Request<()>) -> (u16, HeaderMap, String) {
        let inner = service_fn(async |request: Request<()>| {
            assert!(!request.headers().contains_key(AUTHORIZATION), "the secret went on");
            assert_eq!(request.headers()["x-untouched"], "yes");
            let Verified { api: _, key } = *request.extensions().get().unwrap();
            let answer = format!("{} {} {} {}", key.id, key.organization, key.kind, key.environment);
            Ok::<_, Infallible>(Response::new(Full::<Bytes>::from(answer)))
        });
        let (head, body) = layer.layer(inner).oneshot(request).await.unwrap().into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        (head.status.as_u16(), head.headers, String::from_utf8(body.into()).unwrap())
    }
}

fn hex(digest: &SecretDigest) -> String {
    digest.words().map(|word| format!("{word:016x}")).concat()
}

fn definition(text: &str) -> Definition {
    Definition::parse(text).unwrap()
}

/// A request written as `POST /api/v1/evaluate`, then lines of headers; from a peer unless that is empty.
fn request(text: &str, peer: &str) -> Request<()> {
    let mut lines = text.lines();
    let (method, target) = lines.next().unwrap().split_once(' ').unwrap();
    let mut request = Request::builder().method(method).uri(target).header("x-untouched", "yes");
    for (name, value) in lines.map(|line| line.split_once(": ").unwrap()) {
        request = request.header(name, value);
    }
    match peer {
        "" => {}
        "socket" => request = request.extension(Peer::Socket),
        address => request = request.extension(Peer::Address(address.parse::<IpAddr>().unwrap())),
    }
    request.body(()).unwrap()
}

#[tokio::test]
async fn an_allowed_request_passes_without_its_secret() {
    let world = World::new();
    let (id, secret) = world.issue(TORK, json!({}));
    let asked = request(&format!("POST /api/v1/evaluate?x=y\nauthorization: Bearer {secret}"), "");
    let (status, _, body) = world.send(asked).await;
    assert_eq!((status, body), (200, format!("{id} {ORGANIZATION} secret live")));
}

#[tokio::test]
async fn limits_are_said_in_headers_of_every_answer() {
    let world = World::new();
    let plan = "[[plans]]\nname = 'pro'\ntitle = 'Pro'\nquota = 3\n[[plans.rate_limits]]\nname = 'burst'\n\
                units = 60\nseconds = 60\nburst = 2\n[subscriptions]\ndefault_plan = 'pro'\n";
    let api = Api { definition: definition(&format!("{TORK}{plan}")), retired_formats: Vec::new() };
    world.engine.apply(Revision(world.engine.revision().0 + 1), &[Change::Api(Box::new(api))]).unwrap();
    let (_, secret) = world.issue(TORK, json!({}));
    let call = async || {
        let asked = request(&format!("POST /api/v1/evaluate\nauthorization: Bearer {secret}"), "");
        let (status, headers, body) = world.send(asked).await;
        let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap().to_owned());
        let texts = ["ratelimit-policy", "ratelimit", "retry-after"].map(text);
        let code = serde_json::from_str::<Value>(&body).ok().map(|body| body["error"]["code"].clone());
        (status, code, texts.map(Option::unwrap_or_default))
    };
    // Sixteen and a half days are left of January.
    let policy = r#""burst";q=60;w=60, "quota";q=3"#;
    let said = |state: &str, retry_after: &str| [policy, state, retry_after].map(str::to_owned);
    let first = (200, None, said(r#""burst";r=1;t=1, "quota";r=2;t=1431000"#, ""));
    assert_eq!(call().await, first);
    assert_eq!(call().await.0, 200);
    let limited = said(r#""burst";r=0;t=2, "quota";r=1;t=1431000"#, "1");
    assert_eq!(call().await, (429, Some(json!("rate_limited")), limited));
    world.clock.advance_seconds(2);
    assert_eq!(call().await.0, 200);
    let used_up = said(r#""burst";r=1;t=1, "quota";r=0;t=1430998"#, "1430998");
    assert_eq!(call().await, (429, Some(json!("quota_exceeded")), used_up));
    // Whoever is refused for another reason learns nothing of limits, and neither does who calls without any.
    let asked = request("POST /api/v1/evaluate", "");
    assert!(!world.send(asked).await.1.contains_key("ratelimit"));
}

#[tokio::test]
async fn every_part_of_the_head_counts() {
    let world = World::new();
    let (_, full) = world.issue(TORK, json!({}));
    let (_, scoped) = world.issue(TORK, json!({"scopes": ["evaluate"]}));
    let (_, at_home) = world.issue(TORK, json!({"restrictions": {"ip": ["203.0.113.0/24"]}}));
    let (_, on_page) = world.issue(TORK, json!({"restrictions": {"referrer": ["*.example.com"]}}));
    let (_, acme) = world.issue(ACME, json!({}));
    let secrets = [("FULL", &full), ("SCOPED", &scoped), ("HOME", &at_home), ("PAGE", &on_page), ("ACME", &acme)];
    let cases = [
        // The credential.
        ("POST /api/v1/evaluate\nauthorization: bearer FULL", "", 200, ""),
        ("POST /api/v1/evaluate", "", 401, "missing_api_key"),
        ("POST /api/v1/evaluate?api_key=FULL\nx-api-key: FULL\ncookie: key=FULL", "", 401, "missing_api_key"),
        ("POST /api/v1/evaluate\nauthorization: Bearer FULL\nauthorization: Bearer FULL", "", 401, "invalid"),
        ("POST /api/v1/evaluate\nauthorization: Basic FULL", "", 401, "invalid"),
        ("POST /api/v1/evaluate\nauthorization: Bearer FULLx", "", 401, "invalid"),
        // Method and path.
        ("GET /api/v1/evaluate\nauthorization: Bearer SCOPED", "", 403, "insufficient_scope"),
        ("POST /api/v1/evaluate\nauthorization: Bearer SCOPED", "", 200, ""),
        ("POST /api/v1/train\nauthorization: Bearer SCOPED", "", 403, "insufficient_scope"),
        ("POST /api/v1//evaluate\nauthorization: Bearer FULL", "", 403, "endpoint_not_allowed"),
        ("POST /api/v1/train/../evaluate\nauthorization: Bearer SCOPED", "", 403, "endpoint_not_allowed"),
        ("POST /api/v1/%65valuate\nauthorization: Bearer SCOPED", "", 403, "endpoint_not_allowed"),
        ("BREW /api/v1/evaluate\nauthorization: Bearer FULL", "", 403, "endpoint_not_allowed"),
        ("OPTIONS *\nauthorization: Bearer FULL", "", 403, "endpoint_not_allowed"),
        // The host, which may be in the target, decides on the api; else the path, else the secret.
        ("GET /v1/api-keys\nhost: acme.example:8080\nauthorization: Bearer ACME", "", 200, ""),
        ("GET /v1/api-keys\nhost: acme.example.\nauthorization: Bearer ACME", "", 200, ""),
        ("GET /v1/api-keys\nhost: tork.example\nauthorization: Bearer ACME", "", 401, "invalid"),
        ("GET /v1/api-keys\nhost: tork.example.\nauthorization: Bearer ACME", "", 401, "invalid"),
        ("GET /v1/api-keys\nhost: Tork.Example.:8080\nauthorization: Bearer ACME", "", 401, "invalid"),
        ("GET /v1/api-keys\nhost: tork.example..\nauthorization: Bearer ACME", "", 200, ""),
        ("GET http://acme.example/v1/api-keys\nhost: tork.example\nauthorization: Bearer ACME", "", 200, ""),
        ("GET /v1/api-keys\nauthorization: Bearer ACME", "", 200, ""),
        ("GET /v1/api-keys\nhost: tork.example\nhost: acme.example\nauthorization: Bearer ACME", "", 200, ""),
        ("GET /v1/api-keys\nauthorization: Bearer FULL", "", 401, "invalid"),
        // The client's address.
        ("POST /api/v1/evaluate\nauthorization: Bearer HOME", "203.0.113.7", 200, ""),
        ("POST /api/v1/evaluate\nauthorization: Bearer HOME", "::ffff:203.0.113.7", 200, ""),
        ("POST /api/v1/evaluate\nauthorization: Bearer HOME", "198.51.100.1", 403, "ip_not_allowed"),
        ("POST /api/v1/evaluate\nauthorization: Bearer HOME", "socket", 403, "ip_not_allowed"),
        ("POST /api/v1/evaluate\nauthorization: Bearer HOME", "", 403, "ip_not_allowed"),
        (
            "POST /api/v1/evaluate\nx-forwarded-for: 203.0.113.7\nauthorization: Bearer HOME",
            "198.51.100.1",
            403,
            "ip_not_allowed",
        ),
        ("POST /api/v1/evaluate\nx-forwarded-for: 203.0.113.7\nauthorization: Bearer HOME", "10.0.0.1", 200, ""),
        (
            "POST /api/v1/evaluate\nx-forwarded-for: 203.0.113.7, 198.51.100.1\nauthorization: Bearer HOME",
            "10.0.0.1",
            403,
            "ip_not_allowed",
        ),
        (
            "POST /api/v1/evaluate\nx-forwarded-for: 203.0.113.7\nx-forwarded-for: 10.0.0.2\nauthorization: Bearer HOME",
            "10.0.0.1",
            200,
            "",
        ),
        // The referrer.
        ("POST /api/v1/evaluate\norigin: https://www.example.com\nauthorization: Bearer PAGE", "", 200, ""),
        ("POST /api/v1/evaluate\nreferer: https://www.example.com/page\nauthorization: Bearer PAGE", "", 200, ""),
        (
            "POST /api/v1/evaluate\norigin: null\nreferer: https://www.example.com/\nauthorization: Bearer PAGE",
            "",
            403,
            "referrer_not_allowed",
        ),
        ("POST /api/v1/evaluate\nauthorization: Bearer PAGE", "", 403, "referrer_not_allowed"),
    ];
    for (text, peer, expected, code) in cases {
        let filled = secrets.iter().fold(text.to_owned(), |text, (name, secret)| text.replace(name, secret));
        let (status, _, body) = world.send(request(&filled, peer)).await;
        assert_eq!(status, expected, "{text} from {peer:?}: {body}");
        assert!(code.is_empty() || body.contains(&format!("\"code\":\"{code}\"")), "{text} from {peer:?}: {body}");
        assert!(secrets.iter().all(|(_, secret)| !body.contains(secret.as_str())), "{text}: {body}");
    }
}

#[tokio::test]
async fn a_denial_has_the_form_of_its_api() {
    let world = World::new();
    let (status, headers, body) = world.send(request("POST /api/v1/evaluate", "")).await;
    assert_eq!(status, 401);
    assert_eq!(
        body,
        r#"{"success":false,"error":{"code":"missing_api_key","message":"No API key provided in request.","status":401}}"#
    );
    assert_eq!(headers["content-type"], "application/json");
    assert_eq!(headers["cache-control"], "no-store");
    assert_eq!(headers["www-authenticate"], r#"Bearer realm="Tork""#);

    let (_, scoped) = world.issue(TORK, json!({"scopes": ["train"]}));
    let asked = format!("POST /api/v1/evaluate\nauthorization: Bearer {scoped}");
    let (_, headers, _) = world.send(request(&asked, "")).await;
    assert_eq!(headers["www-authenticate"], r#"Bearer realm="Tork", error="insufficient_scope", scope="evaluate""#);

    // No api can be chosen: the native form. A malformed secret still tells which api was meant.
    let (status, headers, _) = world.send(request("GET /elsewhere", "")).await;
    assert_eq!((status, headers["content-type"].as_bytes()), (401, &b"application/problem+json"[..]));
    let (_, headers, _) = world.send(request("GET /elsewhere\nauthorization: Bearer tork_sk_ oops", "")).await;
    assert!(headers["www-authenticate"].to_str().unwrap().starts_with(r#"Bearer realm="Tork", error="invalid_token""#));

    world.engine.grant_lease(world.clock.now());
    let (status, headers, _) = world.send(request(&asked, "")).await;
    assert_eq!((status, headers["retry-after"].as_bytes()), (503, &b"1"[..]));
}

#[tokio::test]
async fn a_pinned_guard_knows_one_api() {
    let world = World::new();
    let (_, tork) = world.issue(TORK, json!({}));
    let (_, acme) = world.issue(ACME, json!({}));
    let pinned = |api: &str| world.layer().for_api(api.parse().unwrap());
    let hosts = ["", "\nhost: tork.example", "\nhost: acme.example", "\nhost: acme.example\nhost: tork.example"];
    for (api, realm, secret, expected) in [
        ("tork", "Tork", &tork, 200),
        ("acme", "Acme", &acme, 200),
        ("tork", "Tork", &acme, 401),
        ("acme", "Acme", &tork, 401),
    ] {
        let endpoint = if api == "tork" { "POST /api/v1/evaluate" } else { "GET /v1/api-keys" };
        for host in hosts {
            let asked = request(&format!("{endpoint}{host}\nauthorization: Bearer {secret}"), "");
            let (status, headers, body) = world.send_through(pinned(api), asked).await;
            assert_eq!(status, expected, "{api} {host:?}: {body}");
            if expected == 401 {
                let challenge = headers["www-authenticate"].to_str().unwrap();
                assert!(challenge.starts_with(&format!("Bearer realm=\"{realm}\"")), "{api} {host:?}: {challenge}");
            }
        }
    }

    let asked = request(&format!("POST /api/v1/evaluate\nauthorization: Bearer {tork}"), "");
    let (status, headers, body) = world.send_through(pinned("nobody"), asked).await;
    assert_eq!((status, headers["retry-after"].as_bytes()), (503, &b"1"[..]), "{body}");
}

#[tokio::test]
async fn it_composes_with_axum() {
    let world = World::new();
    let (id, secret) = world.issue(TORK, json!({}));
    let evaluate = async |Extension(verified): Extension<Verified>| verified.key.id.to_string();
    let inner = Router::new().route("/evaluate", post(evaluate));
    let router = Router::new().nest("/api/v1", inner).route("/health", get(async || "fine"));
    let send = async |router: Router| {
        let asked = request(&format!("POST /api/v1/evaluate\nauthorization: Bearer {secret}"), "");
        let (head, body) = router.oneshot(asked.map(|()| axum::body::Body::empty())).await.unwrap().into_parts();
        (head.status.as_u16(), String::from_utf8(body.collect().await.unwrap().to_bytes().into()).unwrap())
    };
    assert_eq!(send(router.layer(world.layer())).await, (200, id.to_string()));

    // Behind a router that strips the prefix the path is another, and other paths are not guessed at.
    let (_, scoped) = world.issue(TORK, json!({"scopes": ["evaluate"]}));
    let nested = Router::new().nest("/api/v1", Router::new().route("/evaluate", post(evaluate)).layer(world.layer()));
    let asked = request(&format!("POST /api/v1/evaluate\nauthorization: Bearer {scoped}"), "");
    let answer = nested.oneshot(asked.map(|()| axum::body::Body::empty())).await.unwrap();
    assert_eq!(answer.status(), 403);
}
