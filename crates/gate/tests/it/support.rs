//! An engine with one api, one organization, one verifier and whatever keys a test asks for.

use std::sync::Arc;

use claviger_domain::change::{Change, Revision};
use claviger_domain::definition::{Api, Definition};
use claviger_domain::format::KeyFormat;
use claviger_domain::id::KeyId;
use claviger_domain::key::Key;
use claviger_domain::organization::Organization;
use claviger_domain::random::PredictableEntropy;
use claviger_domain::secret::SecretDigest;
use claviger_domain::time::{Clock as _, ManualClock, Timestamp};
use claviger_engine::{Engine, EngineOptions};
use serde_json::{Value, json};

/// The token of the verifier.
pub(crate) const VERIFIER: &str = "cver_0123456789";
pub(crate) const ORGANIZATION: &str = "org_01jhkvxz00fakefakefakefake";

const DEFINITION: &str = r#"
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
checksum = "crc32"

[[scopes]]
name = "evaluate"
description = "Evaluate content"

[[scopes]]
name = "train"
description = "Train"

[[endpoints]]
endpoint = "POST /api/v1/evaluate"
scope = "evaluate"

[errors]
form = "envelope"

[errors.denials.expired]
message = "Der \"Schlüssel\" ist abgelaufen."
"#;

pub(crate) struct World {
    pub(crate) engine: Arc<Engine>,
    pub(crate) clock: Arc<ManualClock>,
    format: KeyFormat,
    entropy: PredictableEntropy,
}

impl World {
    pub(crate) fn new() -> Self {
        let now: Timestamp = "2026-01-15T10:30:00Z".parse().unwrap();
        let organization: Organization =
            serde_json::from_value(json!({"id": ORGANIZATION, "name": "Acme", "status": "active", "created_at": now}))
                .unwrap();
        let verifier = serde_json::from_value(json!({"change": "verifier", "value": {
            "id": "ver_01jhkvxz00fakefakefakefake", "name": "proxy", "created_at": now, "revoked_at": null,
            "digest": hex(&SecretDigest::of(VERIFIER)),
        }}))
        .unwrap();
        let definition = Definition::parse(DEFINITION).unwrap();
        let format = definition.formats()[0].clone();
        let api = Api { definition, retired_formats: Vec::new() };
        let engine = Engine::new(EngineOptions::default());
        let changes = [Change::Api(Box::new(api)), Change::Organization(organization), verifier];
        engine.load(Revision(1), changes.into_iter()).unwrap();
        let (engine, clock) = (Arc::new(engine), Arc::new(ManualClock::new(now)));
        Self { engine, clock, format, entropy: PredictableEntropy::new(1) }
    }

    /// Gives every organization a plan with this in it.
    pub(crate) fn plan(&self, text: &str) {
        let plan = format!("[[plans]]\nname = 'pro'\ntitle = 'Pro'\n{text}\n[subscriptions]\ndefault_plan = 'pro'\n");
        let definition = Definition::parse(&format!("{DEFINITION}{plan}")).unwrap();
        let change = Change::Api(Box::new(Api { definition, retired_formats: Vec::new() }));
        self.engine.apply(Revision(self.engine.revision().0 + 1), &[change]).unwrap();
    }

    /// Issues a key of full access, altered by these fields, and returns its id and secret.
    pub(crate) fn issue(&self, fields: Value) -> (KeyId, String) {
        let format = &self.format;
        let (id, secret) = (KeyId::new(self.clock.now(), &self.entropy), format.issue(&self.entropy));
        let mut key = json!({
            "id": id, "organization": ORGANIZATION, "api": "tork", "name": "CI", "kind": "secret",
            "environment": "live", "prefix": format.prefix, "hint": secret.hint(), "digest": hex(&secret.digest()),
            "old_secret": null, "scopes": ["*"], "restrictions": {}, "parent_id": null, "metadata": {},
            "disabled": false, "revocation": null, "created_at": self.clock.now(), "created_by": "operator",
            "expires_at": null, "rotated_at": null,
        });
        let Value::Object(fields) = fields else { panic!("fields of a key") };
        key.as_object_mut().unwrap().extend(fields);
        let key: Key = serde_json::from_value(key).unwrap();
        let revision = Revision(self.engine.revision().0 + 1);
        self.engine.apply(revision, &[Change::Key(Box::new(key))]).unwrap();
        (id, secret.into_clear().to_string())
    }
}

fn hex(digest: &SecretDigest) -> String {
    digest.words().map(|word| format!("{word:016x}")).concat()
}
