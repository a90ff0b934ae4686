//! One line a request, and nothing of the caller's in it.

use std::io;
use std::sync::{Arc, Mutex};

use serde_json::json;
use tracing_subscriber::fmt::MakeWriter;

use crate::deployment::Deployment;

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[tokio::test]
async fn the_log_tells_what_happened_and_holds_no_secret() {
    let deployment = Deployment::start().await;
    let (holder, token) = (deployment.full().await, deployment.admin_token().await);
    let lines = Lines::default();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(lines.clone())
        .with_ansi(false)
        .finish();
    let guard = tracing::subscriber::set_default(subscriber);
    let path = format!("/v1/api-keys/{}", holder.id);
    let rotated = deployment.public(&format!("POST {path}/rotate")).bearer(&holder.secret).send().await.expect(200);
    let secret = rotated["secret"].as_str().unwrap();
    deployment.public(&format!("GET /v1/api-keys?kind={secret}")).bearer(secret).send().await;
    deployment.public(&format!("GET /v1/{secret}")).send().await;
    deployment.public("POST /v1/api-keys").bearer(secret).json(&json!({"name": "x", "kind": secret})).send().await;
    deployment.public("SECRETMETHOD /v1/api-keys").bearer(&holder.secret).send().await;
    deployment.internal("GET /admin/v1/apis").bearer(&token).send().await;
    deployment.operator("POST /admin/v1/verifiers").json(&json!({"name": "edge"})).send().await.expect(201);
    drop(guard);
    let log = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
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
