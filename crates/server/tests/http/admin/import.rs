//! `/admin/v1/keys/import`

use claviger_domain::definition::API_KEYS_READ;
use claviger_domain::limits;
use claviger_domain::random::PredictableEntropy;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::deployment::Deployment;
use crate::wire::{Call, Reply};

const NDJSON: &str = "application/x-ndjson";

impl Deployment {
    fn import(&self, query: &str) -> Call {
        self.operator(&format!("POST /admin/v1/keys/import{query}"))
    }

    /// Sends these lines.
    pub(crate) async fn import_lines(&self, query: &str, lines: &[Value]) -> Reply {
        let lines: Vec<String> = lines.iter().map(ToString::to_string).collect();
        self.import(query).body(NDJSON, lines.join("\n")).send().await
    }

    pub(crate) fn line(&self, secret: &str) -> Value {
        let digest: String =
            Sha256::digest(secret).iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"));
        json!({"digest": digest, "organization": self.mine, "api": "plain", "name": "old", "prefix": "pl_slive_"})
    }

    /// A secret that was issued elsewhere.
    fn foreign_secret(&self) -> String {
        let directory = self.app.engine().directory();
        let api = directory.api(directory.find("plain").unwrap()).definition();
        let format = api.choose_format(Some("pl_slive_"), None, None).unwrap();
        format.issue(&PredictableEntropy::new(99)).into_clear().to_string()
    }
}

fn with(mut line: Value, name: &str, value: impl Into<Value>) -> Value {
    line[name] = value.into();
    line
}

#[tokio::test]
async fn imported_keys_work_and_are_imported_once() {
    let deployment = Deployment::start().await;
    let secret = deployment.foreign_secret();
    let line = with(with(deployment.line(&secret), "hint", "wxyz"), "scopes", json!([API_KEYS_READ]));
    let before = deployment.public("GET /v1/api-keys").bearer(&secret).send().await;
    assert_eq!(before.status, 401);
    let reply = deployment.import_lines("", std::slice::from_ref(&line)).await;
    assert!(reply.header("claviger-revision").is_some());
    assert_eq!(reply.expect(200), json!({"imported": 1, "existing": 0, "errors": [], "dry_run": false}));
    let listed = deployment.public("GET /v1/api-keys").bearer(&secret).send().await.expect(200);
    assert_eq!((&listed["data"][0]["hint"], &listed["data"][0]["scopes"]), (&json!("wxyz"), &json!([API_KEYS_READ])));
    let again = deployment.import_lines("", std::slice::from_ref(&line)).await.expect(200);
    assert_eq!(again, json!({"imported": 0, "existing": 1, "errors": [], "dry_run": false}));

    let elsewhere = with(line, "organization", json!(deployment.theirs));
    let refused = deployment.import_lines("", &[elsewhere]).await;
    assert!(!refused.text.contains(&deployment.mine.to_string()), "{refused:?}");
    assert_eq!(refused.expect(200)["errors"][0]["field"], "digest");
}

#[tokio::test]
async fn dry_and_strict_imports_change_nothing_when_they_should_not() {
    let deployment = Deployment::start().await;
    let lines = [deployment.line("a"), json!({"nonsense": 1})];
    let report = deployment.import_lines("?dry_run=true", &lines).await.expect(200);
    let place = json!({"organization": deployment.mine, "api": "plain", "new": 1, "left": 10_000});
    assert_eq!((&report["imported"], &report["dry_run"]), (&json!(1), &json!(true)));
    assert_eq!((&report["places"], &report["errors"][0]["line"]), (&json!([place]), &json!(2)));
    let problem = deployment.import_lines("?strict=true", &lines).await.expect(422);
    let report = &problem["report"];
    assert_eq!((&problem["code"], &report["imported"]), (&json!("import_refused"), &json!(0)));
    assert_eq!((&report["errors"][0]["line"], &report["dry_run"]), (&json!(2), &json!(false)));
    // It is not kept: the same lines are judged anew when what was wrong with them is no more.
    let elsewhere = [with(with(deployment.line("b"), "api", "later"), "prefix", "la_slive_")];
    let text = elsewhere[0].to_string();
    let import = || deployment.import("?strict=true").body(NDJSON, text.clone()).header("idempotency-key", "import");
    for _ in 0..2 {
        let refused = import().send().await;
        assert_eq!((refused.status.as_u16(), refused.header("idempotency-replayed")), (422, None), "{refused:?}");
    }
    deployment.define("later", "/later", "la").await;
    assert_eq!(import().send().await.expect(200)["imported"], 1);
    assert_eq!(deployment.import_lines("?strict=true", &lines[..1]).await.expect(200)["imported"], 1);
    assert_eq!(deployment.import_lines("?strict=yes", &lines).await.error().2.as_deref(), Some("strict"));
}

/// Secrets in every place of a line that a hurried person could put one.
#[tokio::test]
async fn bad_lines_are_told_by_number_and_field_and_no_secret_is_repeated() {
    let deployment = Deployment::start().await;
    let secret = deployment.foreign_secret();
    let count = std::cell::Cell::new(0);
    let good = || deployment.line(&format!("good {}", count.replace(count.get() + 1)));
    let without = |name: &str| {
        let mut line = good();
        line.as_object_mut().unwrap().remove(name);
        line
    };
    let cases: Vec<(String, Option<&str>)> = vec![
        (format!("{{{secret}"), None),
        (secret.clone(), None),
        (json!([good()]).to_string(), None),
        ("null".to_owned(), None),
        (format!("{} {}", good(), good()), None),
        (format!("{{\"digest\":\"{secret}\",\"digest\":\"{secret}\"}}"), Some("digest")),
        (with(good(), "secret", secret.as_str()).to_string(), Some("secret")),
        (with(good(), "Key", secret.as_str()).to_string(), Some("key")),
        (json!({"token": secret}).to_string(), Some("token")),
        (with(good(), "digest", secret.as_str()).to_string(), Some("digest")),
        (with(good(), "digest", json!({"a": secret})).to_string(), Some("digest")),
        (with(good(), "digest", "0".repeat(63)).to_string(), Some("digest")),
        (with(good(), "digest", "g".repeat(64)).to_string(), Some("digest")),
        (with(good(), "hint", secret.as_str()).to_string(), Some("hint")),
        (with(good(), "hint", "abc").to_string(), Some("hint")),
        (with(good(), "hint", 1234).to_string(), Some("hint")),
        (with(good(), "hint", "ab\u{e9}").to_string(), Some("hint")),
        (with(good(), &secret, 1).to_string(), None),
        (with(good(), "prefix", secret.as_str()).to_string(), Some("prefix")),
        (with(good(), "prefix", "pl_elive_").to_string(), Some("prefix")),
        (with(good(), "prefix", "en_slive_").to_string(), Some("prefix")),
        (with(good(), "organization", secret.as_str()).to_string(), Some("organization")),
        (with(good(), "organization", format!("org_{}", "0".repeat(26))).to_string(), Some("organization")),
        (with(good(), "api", "Plain").to_string(), Some("api")),
        (with(good(), "api", "nope").to_string(), Some("api")),
        (with(good(), "name", " ").to_string(), Some("name")),
        (with(good(), "name", "x".repeat(101)).to_string(), Some("name")),
        (with(good(), "scopes", json!([secret])).to_string(), Some("scopes")),
        (with(good(), "scopes", json!(["fly"])).to_string(), Some("scopes")),
        (with(good(), "restrictions", json!({"ip": [secret]})).to_string(), Some("restrictions.ip[0]")),
        (with(good(), "restrictions", json!([])).to_string(), Some("restrictions")),
        (with(good(), "metadata", json!({"a": "x".repeat(5000)})).to_string(), Some("metadata")),
        (with(good(), "metadata", secret.as_str()).to_string(), Some("metadata")),
        (with(good(), "created_at", "2026-01-15T10:30:01Z").to_string(), Some("created_at")),
        (with(good(), "expires_at", "2026-01-15T10:30:00Z").to_string(), Some("expires_at")),
        (with(good(), "expires_at", secret.as_str()).to_string(), Some("expires_at")),
        (with(good(), "disabled", "yes").to_string(), Some("disabled")),
        (with(good(), "created_by", "operator").to_string(), Some("created_by")),
        (with(good(), "metadata", json!({"a": "x".repeat(limits::BODY_BYTES_MAX)})).to_string(), None),
        (without("digest").to_string(), Some("digest")),
        (without("organization").to_string(), Some("organization")),
        (without("api").to_string(), Some("api")),
        (without("name").to_string(), Some("name")),
        (without("prefix").to_string(), Some("prefix")),
    ];
    let mut body: Vec<u8> = Vec::new();
    for (line, _) in &cases {
        body.extend_from_slice(line.as_bytes());
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(b"\xff\xfe\n \n");
    body.extend_from_slice(deployment.line("the good one").to_string().as_bytes());
    body.push(b'\n');
    let reply = deployment.import("").body(NDJSON, body).send().await;
    assert!(!reply.text.contains(&secret[9..20]), "{reply:?}");
    let report = reply.expect(200);
    let errors = report["errors"].as_array().unwrap();
    for ((number, (line, field)), error) in (1..).zip(&cases).zip(errors) {
        assert_eq!((error["line"].as_u64(), error["field"].as_str()), (Some(number), *field), "{line}: {error}");
        assert!(!error["message"].as_str().unwrap().is_empty());
    }
    assert_eq!(errors.len(), cases.len() + 1);
    assert_eq!((&report["imported"], &report["existing"]), (&json!(1), &json!(0)));
}

#[tokio::test]
async fn one_digest_stands_in_a_body_once() {
    let deployment = Deployment::start().await;
    let upper = deployment.line("a")["digest"].as_str().unwrap().to_uppercase();
    let lines = [deployment.line("a"), deployment.line("b"), with(deployment.line("a"), "digest", upper)];
    let report = deployment.import_lines("", &lines).await.expect(200);
    assert_eq!((&report["imported"], &report["errors"].as_array().unwrap().len()), (&json!(2), &1));
    let error = json!({"line": 3, "field": "digest", "message": "digest: stands in line 1 already"});
    assert_eq!(report["errors"][0], error);
}

#[tokio::test]
async fn bodies_have_a_type_and_an_end() {
    let deployment = Deployment::start().await;
    let import = |content_type: &str, body: String| deployment.import("").body(content_type, body).send();
    assert_eq!(import("application/json", "{}".to_owned()).await.error().0, 415);
    assert_eq!(import(NDJSON, "\n".repeat(limits::IMPORT_KEYS_MAX)).await.expect(200)["imported"], 0);
    assert_eq!(import(NDJSON, "\n".repeat(limits::IMPORT_KEYS_MAX) + "{}").await.error().0, 400);
    assert_eq!(import(NDJSON, "x".repeat(limits::IMPORT_BYTES_MAX + 1)).await.error().0, 413);
    assert_eq!(import(NDJSON, String::new()).await.expect(200)["errors"], json!([]));
}

#[tokio::test]
async fn a_repeated_import_is_answered_as_before() {
    let deployment = Deployment::start().await;
    let line = deployment.line("a").to_string();
    let send =
        |body: String| deployment.import("").header("idempotency-key", "once").undocumented().body(NDJSON, body).send();
    let first = send(line.clone()).await;
    let again = send(line.clone()).await;
    assert_eq!((again.header("idempotency-replayed"), &again.text), (Some("true"), &first.text));
    assert_eq!(first.expect(200)["imported"], 1);
    assert_eq!(send(line + "\n{}").await.error(), (422, "idempotency_key_reused".to_owned(), None));
}
