//! The cases whose instructions are counted under callgrind: `cargo xtask instructions` has the count written down wherever a
//! function is entered whose name begins with `case_`. So a case is what comes before the `case_end` that follows it.
//!
//! A case goes through its inputs once. The first pass of each claims what is claimed once, and is not the one that counts.

use std::hint::black_box;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use claviger_domain::change::{Change, Revision};
use claviger_domain::credential::Credential;
use claviger_domain::endpoint::Method;
use claviger_domain::id::OrganizationId;
use claviger_domain::key::Kind;
use claviger_domain::path::CanonicalPath;
use claviger_domain::peer::Peer;
use claviger_domain::referrer::Referrer;
use claviger_domain::secret::PresentedSecret;
use claviger_domain::time::ManualClock;
use claviger_engine::{Engine, EngineOptions, Request};
use claviger_gate::Verify;
use http_body_util::Full;

use crate::population;
use crate::population::{Limits, NOW, Secrets, Traits, key, secrets, snapshot};

const KEYS: usize = 10_000;
/// Inputs of a pass; xtask divides by it.
const INPUTS: usize = 64;
const PATH: &str = "/v1/users/usr_123";

/// Goes through every case twice.
pub(crate) fn run() {
    let api = population::api(Limits::None);
    // The last three are not among the 10,000: a parent, its child and one that nobody was given.
    let all = secrets(&api, KEYS + 3);
    let mut parent = key(KEYS, all.nth(KEYS));
    let restrictions = r#"{"ip": ["198.51.100.0/24"], "referrer": ["*.example.com"], "endpoint": ["GET /v1/users/*"]}"#;
    parent.restrictions = serde_json::from_str(restrictions).expect("restrictions");
    let mut child = key(KEYS + 1, all.nth(KEYS + 1));
    (child.kind, child.parent_id, child.restrictions) = (Kind::Ephemeral, Some(parent.id), parent.restrictions.clone());
    // An organization that the snapshot has.
    (parent.organization, child.organization) = (OrganizationId::from_u128(0), OrganizationId::from_u128(0));
    let family = [parent, child].map(|key| Change::Key(Box::new(key)));

    let many = secrets(&api, KEYS);
    let engine = Arc::new(Engine::new(EngineOptions { usage_cells: 4 * KEYS, keys: KEYS }));
    let changes = snapshot(&api, &many, Traits::default()).chain(family);
    engine.load(Revision(1), changes).expect("a sound snapshot");
    engine.usage().collect(NOW);
    let limited = Engine::new(EngineOptions { usage_cells: 4 * KEYS, keys: KEYS });
    let limits = Traits { limits: Limits::Key, ..Traits::default() };
    limited.load(Revision(1), snapshot(&population::api(limits.limits), &many, limits)).expect("a sound snapshot");
    limited.usage().collect(NOW);
    let verify = Verify::new(Arc::clone(&engine), Arc::new(ManualClock::new(NOW)));

    let known: Vec<&str> = spread(&many).collect();
    let headers: Vec<String> = known.iter().map(|secret| format!("Bearer {secret}")).collect();
    for _ in 0..2 {
        assert_eq!(case_end(case_engine_allow(&engine, &known)), INPUTS);
        assert_eq!(case_end(case_engine_limited(&limited, &known)), INPUTS);
        assert_eq!(case_end(case_engine_unknown_key(&engine, &[all.nth(KEYS + 2); INPUTS])), 0);
        assert_eq!(case_end(case_engine_bound_key(&engine, &[all.nth(KEYS + 1); INPUTS])), INPUTS);
        assert_eq!(case_end(case_gate_question_to_answer(&verify, questions(&known))), INPUTS);
        assert_eq!(case_end(case_path(&[PATH; INPUTS])), INPUTS);
        assert_eq!(case_end(case_authorization(&headers)), INPUTS);
    }
}

/// Secrets from all over the population.
fn spread(secrets: &Secrets) -> impl Iterator<Item = &str> {
    (0..INPUTS).map(|number| secrets.nth(number * (secrets.len() / INPUTS)))
}

/// Takes what a case returned, so that it comes after it.
#[inline(never)]
fn case_end(result: usize) -> usize {
    black_box(result)
}

#[inline(never)]
fn case_engine_allow(engine: &Engine, secrets: &[&str]) -> usize {
    allowed(engine, secrets)
}

#[inline(never)]
fn case_engine_unknown_key(engine: &Engine, secrets: &[&str]) -> usize {
    allowed(engine, secrets) + black_box(0)
}

/// Keys whose organizations have a plan with a quota and two rate limits, one of them for each key.
#[inline(never)]
fn case_engine_limited(engine: &Engine, secrets: &[&str]) -> usize {
    allowed(engine, secrets) ^ black_box(0)
}

/// A key with `ip`, `referrer` and `endpoint` restrictions, and a parent that has them too.
#[inline(never)]
fn case_engine_bound_key(engine: &Engine, secrets: &[&str]) -> usize {
    allowed(engine, secrets) - black_box(0)
}

fn allowed(engine: &Engine, secrets: &[&str]) -> usize {
    let api = engine.directory().find("example");
    let endpoint = CanonicalPath::parse(PATH).ok().map(|path| (Method::Get, path));
    let referrer = Referrer::parse("https://www.example.com/page");
    let is_allowed = |secret: &&&str| {
        let request = Request {
            credential: Credential::Bearer(PresentedSecret::new(secret)),
            api,
            endpoint,
            ip: Some([198, 51, 100, 7].into()),
            referrer,
            scopes: &[],
            cost: None,
            at_least_revision: Revision(1),
        };
        engine.verify(NOW, black_box(&request)).is_allowed()
    };
    secrets.iter().filter(is_allowed).count()
}

fn questions(secrets: &[&str]) -> Vec<http::Request<Full<Bytes>>> {
    let question = |secret| {
        let body = format!(r#"{{"key":"{secret}","method":"GET","path":"{PATH}","ip":"198.51.100.7"}}"#);
        http::Request::post("/v1/verify").body(Full::new(body.into())).expect("a request")
    };
    secrets.iter().map(question).collect()
}

/// Reads a question, decides and writes the answer: what `POST /v1/verify` does between hyper and hyper.
#[inline(never)]
fn case_gate_question_to_answer(verify: &Verify, questions: Vec<http::Request<Full<Bytes>>>) -> usize {
    let mut context = Context::from_waker(Waker::noop());
    let is_answered = |question| {
        // The body is there, so there is nothing to wait for.
        let polled = pin!(verify.answer(Peer::Socket, question)).poll(&mut context);
        matches!(polled, Poll::Ready(answer) if answer.status() == 200)
    };
    questions.into_iter().map(is_answered).filter(|is_answered| *is_answered).count()
}

#[inline(never)]
fn case_path(paths: &[&str]) -> usize {
    paths.iter().filter(|path| black_box(CanonicalPath::parse(black_box(path))).is_ok()).count()
}

#[inline(never)]
fn case_authorization(headers: &[String]) -> usize {
    let is_bearer = |header: &&String| {
        let lines = std::iter::once(black_box(header.as_bytes()));
        matches!(black_box(Credential::from_authorization(lines)), Credential::Bearer(_))
    };
    headers.iter().filter(is_bearer).count()
}
