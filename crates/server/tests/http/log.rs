//! One line a request, and nothing of the caller's in it.

use std::cell::RefCell;
use std::io;

use serde_json::json;

use crate::deployment::Deployment;

thread_local! {
    /// What was logged on this thread, which is all that a test does: its runtime has no other.
    static LOG: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

struct Log;

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        LOG.with_borrow_mut(|log| log.extend_from_slice(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// For all tests, before any of them logs: a subscriber for one thread would race with the others for what is enabled.
pub(crate) fn capture() {
    let subscriber =
        tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_writer(|| Log).with_ansi(false);
    // Fails when another test has done it.
    let _ = subscriber.try_init();
}

/// What was logged on this thread since this was last asked.
pub(crate) fn taken() -> String {
    String::from_utf8(LOG.take()).unwrap()
}

#[tokio::test]
async fn the_log_tells_what_happened_and_holds_no_secret() {
    let deployment = Deployment::start().await;
    let (holder, token) = (deployment.full().await, deployment.admin_token().await);
    taken();
    let path = format!("/v1/api-keys/{}", holder.id);
    let rotated = deployment.public(&format!("POST {path}/rotate")).bearer(&holder.secret).send().await.expect(200);
    let secret = rotated["secret"].as_str().unwrap();
    deployment.public(&format!("GET /v1/api-keys?kind={secret}")).bearer(secret).send().await;
    deployment.public(&format!("GET /v1/{secret}")).send().await;
    deployment.public("POST /v1/api-keys").bearer(secret).json(&json!({"name": "x", "kind": secret})).send().await;
    deployment.public("SECRETMETHOD /v1/api-keys").bearer(&holder.secret).send().await;
    deployment.internal("GET /admin/v1/apis").bearer(&token).send().await;
    deployment.operator("POST /admin/v1/verifiers").json(&json!({"name": "edge"})).send().await.expect(201);
    let log = taken();
    for line in [
        r#"method="POST" route="/api-keys/{id}/rotate" status=200"#,
        r#"method="GET" route="/api-keys" status=400"#,
        r#"method="GET" route="-" status=404"#,
        r#"method="other" route="-" status=401 latency_us=0 reason="not_found""#,
        r#"method="GET" route="/admin/v1/apis" status=200"#,
    ] {
        assert!(log.contains(line), "{line} is not in\n{log}");
    }
    assert_eq!(log.lines().filter(|line| line.contains("latency_us")).count(), 7, "{log}");
    for hidden in [&holder.secret[9..], &secret[9..], &token[15..], &holder.id.to_string(), "SECRETMETHOD", "Bearer"] {
        assert!(!log.contains(hidden), "{hidden} is in\n{log}");
    }
}

#[tokio::test]
async fn an_answer_that_is_given_again_is_no_error() {
    let deployment = Deployment::start().await;
    let holder = deployment.full().await;
    let call = || {
        let call = deployment.public(&format!("POST /v1/api-keys/{}/rotate", holder.id)).bearer(&holder.secret);
        call.json(&json!({"overlap_seconds": 600})).header("idempotency-key", "once")
    };
    call().send().await.expect(200);
    taken();
    assert_eq!(call().send().await.header("idempotency-replayed"), Some("true"));
    let log = taken();
    assert!(log.contains("status=200") && !log.contains("ERROR") && !log.contains("reason"), "{log}");
}
