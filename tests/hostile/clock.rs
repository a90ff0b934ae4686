//! Clocks that no machine should have, against the engine itself: the binary reads the machine's.

use claviger_domain::change::{Change, Revision};
use claviger_domain::credential::Credential;
use claviger_domain::definition::{Api, Definition};
use claviger_domain::denial::Denial;
use claviger_domain::id::KeyId;
use claviger_domain::path::CanonicalPath;
use claviger_domain::random::PredictableEntropy;
use claviger_domain::secret::PresentedSecret;
use claviger_domain::time::{Clock, ManualClock, Timestamp};
use claviger_engine::{Engine, EngineOptions, Request};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

const ORGANIZATION: &str = "org_01jhkvxz00fakefakefakefake";
const NOON: &str = "2026-06-30T12:00:00Z";

struct Bench {
    engine: Engine,
    clock: ManualClock,
    entropy: PredictableEntropy,
    definition: Definition,
}

impl Bench {
    fn new() -> Self {
        let clock = ManualClock::new(NOON.parse().unwrap());
        let definition = Definition::parse(include_str!("../../apis/example.toml")).unwrap();
        let organization = json!({"change": "organization", "value": {
            "id": ORGANIZATION, "name": "Customer", "status": "active", "created_at": clock.now(),
        }});
        let api = Api { definition: definition.clone(), retired_formats: Vec::new() };
        let changes = [Change::Api(Box::new(api)), serde_json::from_value(organization).unwrap()];
        let engine = Engine::new(EngineOptions::default());
        engine.load(Revision(1), changes.into_iter()).unwrap();
        Self { engine, clock, entropy: PredictableEntropy::new(1), definition }
    }

    /// Puts a key with these fields into the engine, and returns its fields and its secret.
    fn key(&self, more: Value) -> (Value, String) {
        let format = &self.definition.formats()[1];
        let secret = format.issue(&self.entropy);
        let (hint, clear) = (secret.hint(), secret.into_clear().to_string());
        let fields = json!({
            "id": KeyId::new(self.clock.now(), &self.entropy), "organization": ORGANIZATION, "api": "example",
            "name": "Key", "kind": "secret", "environment": "live", "prefix": "sk_live_", "hint": hint,
            "digest": digest(&clear), "old_secret": null, "scopes": ["*"], "restrictions": {}, "parent_id": null,
            "metadata": {}, "disabled": false, "revocation": null, "created_at": self.clock.now(),
            "created_by": "operator", "expires_at": null, "rotated_at": null,
        });
        let fields = crate::support::world::with(fields, more);
        self.put(&fields);
        (fields, clear)
    }

    fn put(&self, fields: &Value) {
        let change = serde_json::from_value(json!({"change": "key", "value": fields})).unwrap();
        self.engine.apply(Revision(self.engine.revision().0 + 1), &[change]).unwrap();
    }

    /// The decision at an instant.
    fn decide(&self, secret: &str, now: Timestamp) -> Result<(), Denial> {
        let path = CanonicalPath::parse("/v1/users/usr_123").unwrap();
        let request = Request {
            credential: Credential::Bearer(PresentedSecret::new(secret)),
            api: self.engine.directory().find("example"),
            endpoint: Some(("GET".parse().unwrap(), path)),
            ip: None,
            referrer: None,
            scopes: &[],
            cost: None,
            at_least_revision: Revision(0),
        };
        self.engine.verify(now, &request).decision
    }
}

fn digest(secret: &str) -> String {
    Sha256::digest(secret).iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

#[test]
fn a_key_is_dead_at_the_very_instant_and_at_every_later_one() {
    let bench = Bench::new();
    for end in ["2026-06-30T12:00:01Z", "2026-12-31T23:59:59.999999Z", "2028-02-29T00:00:00Z", "9999-12-30T21:59:59Z"] {
        let (_, secret) = bench.key(json!({"expires_at": end}));
        let micros = at(end).as_micros();
        for (offset, expected) in [(-1, Ok(())), (0, Err(Denial::Expired)), (1, Err(Denial::Expired))] {
            assert_eq!(bench.decide(&secret, Timestamp::from_micros(micros + offset)), expected, "{end} {offset}");
        }
    }
    let (_, secret) = bench.key(json!({"expires_at": NOON}));
    assert_eq!(bench.decide(&secret, bench.clock.now()), Err(Denial::Expired), "equal instants");
}

#[test]
fn a_replaced_secret_is_dead_at_the_very_instant() {
    let bench = Bench::new();
    let old = bench.definition.formats()[1].issue(&bench.entropy).into_clear().to_string();
    let overlap = json!({"digest": digest(&old), "overlap_ends_at": "2026-06-30T13:00:00Z"});
    let (_, new) = bench.key(json!({"old_secret": overlap, "rotated_at": NOON}));
    for (now, expected) in [
        ("2026-06-30T12:59:59.999999Z", Ok(())),
        ("2026-06-30T13:00:00Z", Err(Denial::Revoked)),
        ("2026-06-30T13:00:00.000001Z", Err(Denial::Revoked)),
    ] {
        assert_eq!(bench.decide(&new, at(now)), Ok(()));
        assert_eq!(bench.decide(&old, at(now)), expected, "{now}");
    }
}

/// What a clock can undo is what is decided by the clock, and nothing else.
#[test]
fn a_clock_that_steps_back_revives_no_revoked_or_disabled_key() {
    let bench = Bench::new();
    let (key, secret) = bench.key(json!({"expires_at": "2026-06-30T12:30:00Z"}));
    bench.clock.advance_seconds(3600);
    assert_eq!(bench.decide(&secret, bench.clock.now()), Err(Denial::Expired));
    bench.clock.advance_seconds(-3600);
    assert_eq!(bench.decide(&secret, bench.clock.now()), Ok(()), "the rule is a function of the time it is told");
    let revocation = json!({"at": bench.clock.now(), "reason": null});
    for (change, denial) in
        [(json!({"disabled": true}), Denial::Disabled), (json!({"revocation": revocation}), Denial::Revoked)]
    {
        bench.put(&crate::support::world::with(key.clone(), change));
        for seconds in [0, -1, -3600, -86_400 * 365, 86_400 * 365 * 2] {
            bench.clock.advance_seconds(seconds);
            assert_eq!(bench.decide(&secret, bench.clock.now()), Err(denial), "{seconds} s");
        }
    }
}

#[test]
fn no_instant_breaks_a_verdict() {
    let bench = Bench::new();
    let mortal = bench.key(json!({"expires_at": "2026-06-30T12:30:00Z"})).1;
    let immortal = bench.key(json!({})).1;
    let hour = 3_600_000_000;
    for now in [i64::MIN, i64::MIN + 1, -hour, -1, 0, 1, hour - 1, hour, i64::MAX - hour, i64::MAX - 1, i64::MAX] {
        let now = Timestamp::from_micros(now);
        let is_early = now < at("2026-06-30T12:30:00Z");
        let expected = |denial| if now.as_micros() == i64::MAX { Err(Denial::Unavailable) } else { denial };
        assert_eq!(bench.decide(&immortal, now), expected(Ok(())), "{now}");
        assert_eq!(bench.decide(&mortal, now), expected(if is_early { Ok(()) } else { Err(Denial::Expired) }), "{now}");
    }
}
