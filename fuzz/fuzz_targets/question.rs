//! `POST /v1/verify`: any body gets a verdict or a refusal, as a plain reading of the JSON says, and a refusal quotes
//! nothing that could be a secret.

#![no_main]

use std::pin::pin;
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use claviger_domain::change::{Change, Revision};
use claviger_domain::definition::{Api, Definition};
use claviger_domain::limits::{BODY_BYTES_MAX, COST_MAX, SCOPES_PER_API_MAX};
use claviger_domain::peer::Peer;
use claviger_domain::time::{ManualClock, Timestamp};
use claviger_engine::{Engine, EngineOptions};
use claviger_gate::Verify;
use http::Request;
use http_body_util::{BodyExt as _, Full};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

static VERIFY: LazyLock<Verify> = LazyLock::new(|| {
    let files = [include_str!("../../apis/tork.toml"), include_str!("../../apis/example.toml")];
    let apis = files.map(|file| {
        let definition = Definition::parse(file).expect("the shipped files are definitions");
        Change::Api(Box::new(Api { definition, retired_formats: Vec::new() }))
    });
    let engine = Engine::new(EngineOptions { usage_cells: 64, keys: 0 });
    engine.load(Revision(1), apis.into_iter()).expect("the first load");
    Verify::new(Arc::new(engine), Arc::new(ManualClock::new(Timestamp::from_micros(1_767_225_600_000_000))))
});

fuzz_target!(|body: &[u8]| {
    let (status, answer) = ask(body);
    let value = serde_json::from_slice::<Value>(body);
    match status {
        200 => {
            assert!(value.is_ok_and(|value| is_question(&value)), "was read: {}", body.escape_ascii());
            assert_eq!(answer["valid"].as_bool(), Some(false), "nobody has a key here");
            assert_eq!(answer["key"], Value::Null);
            assert!(answer["code"].is_string() && answer["status"].as_u64().is_some_and(|status| status >= 400));
        }
        400 => {
            let said = answer["detail"].as_str().expect("a refusal says why");
            let is_known_reason = said == "there is no api of this name" || said == "the body names a field twice";
            let is_question = value.as_ref().is_ok_and(is_question);
            assert!(!is_question || is_known_reason, "{said}: {}", body.escape_ascii());
            if let Ok(value) = &value {
                assert_is_not_quoted(value, &answer.to_string());
            }
        }
        413 => assert!(body.len() > BODY_BYTES_MAX),
        _ => panic!("status {status}"),
    }
});

/// Asks as the unix socket does. A body that is there at once is waited for by nobody.
fn ask(body: &[u8]) -> (u16, Value) {
    let request = Request::post("/v1/verify").body(Full::new(Bytes::copy_from_slice(body))).expect("a request");
    let mut context = Context::from_waker(Waker::noop());
    let Poll::Ready(response) = pin!(VERIFY.answer(Peer::Socket, request)).poll(&mut context) else {
        panic!("the answer waits")
    };
    let status = response.status().as_u16();
    let Poll::Ready(Ok(answer)) = pin!(response.into_body().collect()).poll(&mut context) else {
        panic!("the body waits")
    };
    (status, serde_json::from_slice(&answer.to_bytes()).expect("every answer is JSON"))
}

fn is_question(value: &Value) -> bool {
    let Some(fields) = value.as_object() else { return false };
    fields.contains_key("method")
        && fields.contains_key("path")
        && fields.iter().all(|(name, value)| is_field(name, value))
}

fn is_field(name: &str, value: &Value) -> bool {
    match name {
        "method" | "path" => value.is_string(),
        "key" | "api" | "ip" | "referrer" => value.is_string() || value.is_null(),
        "scopes" => {
            let is_list = |list: &Vec<Value>| list.len() <= SCOPES_PER_API_MAX && list.iter().all(Value::is_string);
            value.is_null() || value.as_array().is_some_and(is_list)
        }
        "cost" => value.is_null() || value.as_u64().is_some_and(|cost| (1..=u64::from(COST_MAX)).contains(&cost)),
        "at_least_revision" => {
            value.is_null() || value.as_u64().is_some_and(|revision| i64::try_from(revision).is_ok())
        }
        _ => false,
    }
}

/// No text that looks like a secret, wherever it stood, is in the answer.
fn assert_is_not_quoted(value: &Value, answer: &str) {
    let check = |text: &str| {
        let is_word = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        let is_secret =
            text.len() >= 12 && is_word && text.contains('_') && text.contains(|c: char| c.is_ascii_digit());
        assert!(!is_secret || !answer.contains(text), "{text} is quoted in {answer}");
    };
    match value {
        Value::String(text) => check(text),
        Value::Array(values) => values.iter().for_each(|value| assert_is_not_quoted(value, answer)),
        Value::Object(fields) => fields.iter().for_each(|(name, value)| {
            check(name);
            assert_is_not_quoted(value, answer);
        }),
        _ => {}
    }
}
