//! Limits of plans: races for the last key, numbers at their ends, costs that are none.

use claviger_domain::peer::Peer;
use claviger_gate::Verify;
use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::deployment::{Deployment, blank};
use crate::hostile::statuses;
use crate::wire::{Call, Reply};

/// The api `planned` with one plan, which has these limits.
fn plan(limits: &str) -> String {
    format!("[subscriptions]\ndefault_plan = \"only\"\n[[plans]]\nname = \"only\"\ntitle = \"Only\"\n{limits}\n")
}

impl Deployment {
    async fn limit(&self, limits: &str) {
        self.define_planned(&plan(limits)).send().await.expect(200);
    }

    fn makes_planned(&self, wish: &Value) -> Call {
        let mut body = json!({"organization": self.mine, "api": "planned", "name": "new"});
        body.as_object_mut().unwrap().extend(wish.as_object().unwrap().clone());
        self.operator("POST /admin/v1/keys").json(&body)
    }

    async fn living(&self, kind: &str) -> usize {
        let what = format!("GET /admin/v1/keys?organization={}&api=planned&limit=200&kind={kind}", self.mine);
        self.operator(&what).send().await.expect(200)["data"].as_array().unwrap().len()
    }

    /// What verify answers to a body, word for word.
    async fn ask(&self, question: &str) -> Reply {
        let (_, request) = self.operator("POST /v1/verify").body("application/json", question).request();
        let gate = Verify::new(self.app.engine().clone(), self.app.clock().clone());
        Reply::read(gate.answer(Peer::Socket, request).await).await
    }

    async fn ask_for(&self, secret: &str, cost: &str) -> Reply {
        self.ask(&format!(r#"{{"key":"{secret}","method":"GET","path":"/planned/things","cost":{cost}}}"#)).await
    }
}

#[tokio::test]
async fn creations_and_imports_that_race_for_the_last_place_make_one_key() {
    for round in 0..5 {
        let deployment = Deployment::start().await;
        deployment.limit("keys = 4").await;
        let held = deployment.create_of("planned", deployment.mine, blank()).await;
        for _ in 0..2 {
            deployment.makes_planned(&json!({})).send().await.expect(201);
        }
        let by_operator = (0..25).map(|_| deployment.makes_planned(&json!({})));
        let with_key = (0..25)
            .map(|_| deployment.public("POST /planned/api-keys").bearer(&held.secret).json(&json!({"name": "mine"})));
        let lines = (0..10).map(|number| {
            let mut lines = [deployment.line(&format!("a {number}")), deployment.line(&format!("b {number}"))];
            for line in &mut lines {
                line["api"] = "planned".into();
                line["prefix"] = "pn_slive_".into();
            }
            lines
        });
        let lines: Vec<_> = lines.collect();
        let imports = join_all(lines.iter().map(|lines| deployment.import_lines("", lines)));
        let mut calls: Vec<Call> = by_operator.chain(with_key).collect();
        // Another first one each time.
        calls.rotate_left(round * 11);
        let (made, imported) = tokio::join!(statuses(calls), imports);
        let mut taken_in = 0;
        for reply in imported {
            let report = reply.expect(200);
            let count = report["imported"].as_u64().unwrap();
            assert_eq!(report["errors"].as_array().unwrap().len() as u64, 2 - count, "{report}");
            taken_in += count;
        }
        let by_creation = made.iter().find(|(status, _)| *status == 201).map_or(0, |(_, count)| *count as u64);
        assert_eq!(by_creation + taken_in, 1, "{made:?}, {taken_in} imported");
        assert!(made.iter().all(|(status, _)| [201, 403].contains(status)), "{made:?}");
        assert_eq!(deployment.living("secret").await, 4);
    }
}

#[tokio::test]
async fn a_limit_that_changes_while_many_race_for_it_holds() {
    let deployment = Deployment::start().await;
    deployment.limit("keys = 3").await;
    // More, then fewer than there are, then a few more again.
    for (limit, expected) in [(8, 8), (2, 8), (10, 10)] {
        let creations = || (0..20).map(|_| deployment.makes_planned(&json!({})));
        let redefine = deployment.define_planned(&plan(&format!("keys = {limit}")));
        let calls: Vec<Call> = creations().chain([redefine]).chain(creations()).collect();
        let told = statuses(calls).await;
        assert!(told.iter().all(|(status, _)| [200, 201, 403].contains(status)), "{told:?}");
        assert_eq!(deployment.living("secret").await, expected, "{limit}");
    }
    assert_eq!(deployment.makes_planned(&json!({})).send().await.error().0, 403);
}

#[tokio::test]
async fn ephemeral_keys_are_limited_apart_and_whoever_makes_them() {
    let deployment = Deployment::start().await;
    deployment.limit("keys = 2\nephemeral_keys = 5").await;
    let parents = [
        deployment.create_of("planned", deployment.mine, blank()).await,
        deployment.create_of("planned", deployment.mine, blank()).await,
    ];
    let wish = json!({"name": "short", "kind": "ephemeral", "ttl_seconds": 60});
    let calls = (0..30).map(|number| {
        let parent = &parents[number % 2];
        if number % 3 == 0 {
            deployment.makes_planned(&json!({"kind": "ephemeral", "parent_id": parent.id, "ttl_seconds": 60}))
        } else {
            deployment.public("POST /planned/api-keys").bearer(&parent.secret).json(&wish)
        }
    });
    assert_eq!(statuses(calls).await, [(201, 5), (403, 25)]);
    assert_eq!(deployment.living("ephemeral").await, 5);
    // Their room is not that of others, nor the other way round.
    assert_eq!(deployment.makes_planned(&json!({})).send().await.error().0, 403);
    deployment.clock.advance_seconds(60);
    deployment.limit("keys = 0\nephemeral_keys = 1").await;
    let again = || deployment.public("POST /planned/api-keys").bearer(&parents[0].secret).json(&wish);
    assert_eq!(statuses((0..4).map(|_| again())).await, [(201, 1), (403, 3)]);
    deployment.limit("keys = 9\nephemeral_keys = 0").await;
    deployment.clock.advance_seconds(60);
    assert_eq!(again().send().await.error().0, 403);
    deployment.makes_planned(&json!({})).send().await.expect(201);
}

#[tokio::test]
async fn numbers_in_plans_have_ends_and_nothing_is_a_number() {
    let deployment = Deployment::start().await;
    let rate = |field: &str, value: &str| {
        let mut fields = [("units", "10"), ("seconds", "60"), ("burst", "10")];
        for one in &mut fields {
            if one.0 == field {
                one.1 = value;
            }
        }
        let fields: Vec<String> = fields.iter().map(|(name, value)| format!("{name} = {value}")).collect();
        format!("[[plans.rate_limits]]\nname = \"r\"\n{}", fields.join("\n"))
    };
    let never = [
        "-1",
        "-0.0",
        "1.5",
        "\"1\"",
        "true",
        "nan",
        "inf",
        "[]",
        "9223372036854775807",
        "9223372036854775808",
        "18446744073709551616",
        "99999999999999999999999",
    ];
    // A field, the least that is too much, and whether 0 means something.
    let fields = [
        ("keys", "10001", true),
        ("ephemeral_keys", "10001", true),
        ("quota", "140737488355329", true),
        ("key_quota", "140737488355329", true),
        ("units", "1000000001", true),
        ("seconds", "86401", false),
        ("burst", "1000000001", false),
    ];
    let define = async |field: &str, value: &str| {
        let limits = if ["units", "seconds", "burst"].contains(&field) {
            rate(field, value)
        } else {
            format!("{field} = {value}")
        };
        deployment.define_planned(&plan(&limits)).send().await
    };
    for (field, too_much, takes_nothing) in fields {
        for value in never.into_iter().chain([too_much]) {
            let refused = define(field, value).await;
            assert_eq!(refused.error().0, 400, "{field} = {value}: {refused:?}");
        }
        let status = if takes_nothing { 200 } else { 400 };
        assert_eq!(define(field, "0").await.status, status, "{field} = 0");
        assert_eq!(define(field, "1").await.status, 200, "{field} = 1");
    }
    for (field, value) in [("quota", "140737488355328"), ("key_quota", "140737488355328"), ("keys", "10000")] {
        assert_eq!(define(field, value).await.status, 200, "{field} = {value}");
    }
    for grace in ["-1", "91", "65536", "1.0"] {
        let text = plan("").replace("[subscriptions]", &format!("[subscriptions]\npast_due_grace_days = {grace}"));
        assert_eq!(deployment.define_planned(&text).send().await.error().0, 400, "{grace}");
    }
}

#[tokio::test]
async fn a_limit_of_nothing_lets_nothing_through_and_the_largest_all() {
    let deployment = Deployment::start().await;
    deployment.limit("").await;
    let key = deployment.create_of("planned", deployment.mine, blank()).await;
    let nothing_per = "[[plans.rate_limits]]\nname = \"none\"\nunits = 0\nseconds = 1";
    for (limits, code) in [
        ("quota = 0", Some("quota_exceeded")),
        ("key_quota = 0", Some("quota_exceeded")),
        (nothing_per, Some("rate_limited")),
        ("quota = 140737488355328\nkey_quota = 140737488355328", None),
        ("api_access = false", Some("subscription_inactive")),
    ] {
        deployment.limit(limits).await;
        for cost in ["1", "100000"] {
            let verdict = deployment.ask_for(&key.secret, cost).await.expect(200);
            assert_eq!(verdict["code"].as_str(), code, "{limits}: {verdict}");
            assert_eq!(verdict["valid"], code.is_none(), "{limits}");
        }
    }
}

#[tokio::test]
async fn a_cost_is_a_whole_number_and_what_is_none_costs_nothing() {
    let deployment = Deployment::start().await;
    deployment.limit("quota = 5").await;
    let key = deployment.create_of("planned", deployment.mine, blank()).await;
    for cost in [
        "-0",
        "0.0",
        "1.0",
        "1e0",
        "1E3",
        "1e400",
        "-1e400",
        "18446744073709551616",
        "-9223372036854775808",
        "340282366920938463463374607431768211456",
        "true",
        "[1]",
        "{}",
        "\"\"",
    ] {
        let refused = deployment.ask_for(&key.secret, cost).await;
        assert_eq!(refused.error().0, 400, "{cost}: {refused:?}");
        assert!(!refused.text.contains(&key.secret[9..]), "{cost}");
    }
    for body in [r#""cost":1,"cost":5"#, r#""Cost":1"#, r#""cost ":1"#] {
        let question = format!(r#"{{"key":"{}","method":"GET","path":"/planned/things",{body}}}"#, key.secret);
        assert_eq!(deployment.ask(&question).await.error().0, 400, "{body}");
    }
    // More than there is takes nothing of it, and all of it passes at once.
    for (cost, is_valid) in [("6", false), ("100000", false), ("5", true), ("1", false)] {
        assert_eq!(deployment.ask_for(&key.secret, cost).await.expect(200)["valid"], is_valid, "{cost}");
    }
}
