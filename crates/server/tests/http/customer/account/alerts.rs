//! `{base}/account/alerts`

use claviger_app::CreateKey;
use claviger_domain::definition::{API_KEYS_READ, API_KEYS_WRITE};
use claviger_domain::key::{Environment, Kind};
use serde_json::{Value, json};

use crate::deployment::{Deployment, Held, blank};

impl Deployment {
    /// Lets time pass until every live key that is there has alerts.
    pub(crate) async fn grow_old(&self) {
        self.clock.advance_seconds(91 * 24 * 3600);
        self.app.evaluate_alerts().await.unwrap();
    }

    async fn alerts_seen_by(&self, holder: &Held, query: &str) -> Value {
        let what = format!("GET /v1/account/alerts{query}");
        self.public(&what).bearer(&holder.secret).send().await.expect(200)
    }

    /// The id of the alert that a key's secret is old.
    pub(crate) async fn old_age_of(&self, key: &Held) -> String {
        let what = format!("GET /admin/v1/alerts?key={}&kind=key_age_90", key.id);
        let found = self.operator(&what).send().await.expect(200);
        found["data"][0]["id"].as_str().unwrap().to_owned()
    }

    /// The status of a request to close an alert.
    async fn close(&self, holder: &Held, id: &str) -> u16 {
        let what = format!("POST /v1/account/alerts/{id}/close");
        self.public(&what).bearer(&holder.secret).send().await.status.as_u16()
    }
}

#[tokio::test]
async fn a_key_sees_and_closes_the_alerts_of_its_own_account() {
    let deployment = Deployment::start().await;
    let holder = deployment.full().await;
    let weaker = deployment.restricted(&["things:read"]).await;
    deployment.create(deployment.theirs, blank()).await;
    deployment.create_of("envelope", deployment.mine, blank()).await;
    deployment.grow_old().await;
    let all = deployment.alerts_seen_by(&holder, "").await;
    let rows = all["data"].as_array().unwrap();
    assert_eq!(rows.len(), 4);
    let mine = [holder.id.to_string(), weaker.id.to_string()];
    for row in rows {
        assert!(mine.contains(&row["key"].as_str().unwrap().to_owned()), "{row}");
        assert_eq!((row.get("organization"), row.get("api")), (None, None));
    }
    let query = format!("?key={}&kind=key_unused_90&state=open", weaker.id);
    let one = deployment.alerts_seen_by(&holder, &query).await;
    let id = one["data"][0]["id"].as_str().unwrap();
    let close = || {
        let call = deployment.public(&format!("POST /v1/account/alerts/{id}/close"));
        call.bearer(&holder.secret).header("idempotency-key", "5f7d6f0e").send()
    };
    let closed = close().await;
    assert!(closed.header("claviger-revision").is_some());
    let text = closed.text.clone();
    let closed = closed.expect(200);
    assert_eq!((&closed["state"], &closed["closed_by"]), (&json!("closed"), &json!(holder.id.to_string())));
    assert_eq!(close().await.text, text);
    assert_eq!(deployment.close(&holder, id).await, 200);
    assert_eq!(deployment.alerts_seen_by(&holder, &query).await["data"], json!([]));
}

#[tokio::test]
async fn the_alerts_of_others_do_not_exist() {
    let deployment = Deployment::start().await;
    let holder = deployment.full().await;
    let theirs = deployment.create(deployment.theirs, blank()).await;
    let elsewhere = deployment.create_of("envelope", deployment.mine, blank()).await;
    let test = CreateKey { environment: Some(Environment::Test), ..blank() };
    let test = deployment.create(deployment.mine, test).await;
    deployment.grow_old().await;
    // Another organization's, another api's, and to a test key all of them.
    for stranger in [&theirs, &elsewhere] {
        let id = deployment.old_age_of(stranger).await;
        assert_eq!(deployment.close(&holder, &id).await, 404);
        let query = format!("?key={}", stranger.id);
        assert_eq!(deployment.alerts_seen_by(&holder, &query).await["data"], json!([]));
    }
    let mine = deployment.old_age_of(&holder).await;
    assert_eq!(deployment.alerts_seen_by(&test, "").await["data"], json!([]));
    for stranger in [&theirs, &test] {
        assert_eq!(deployment.close(stranger, &mine).await, 404);
    }
    assert_eq!(deployment.close(&holder, "alrt_0000000000000000000000001a").await, 404);
    let still = deployment.alerts_seen_by(&holder, "?state=open").await;
    assert_eq!(still["data"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn nobody_quiets_what_is_told_of_a_stronger_key() {
    let deployment = Deployment::start().await;
    let strong = deployment.full().await;
    let weak = deployment.restricted(&[API_KEYS_READ, API_KEYS_WRITE]).await;
    deployment.grow_old().await;
    let (of_strong, of_weak) = (deployment.old_age_of(&strong).await, deployment.old_age_of(&weak).await);
    assert_eq!(deployment.close(&weak, &of_strong).await, 403);
    assert_eq!(deployment.close(&weak, &of_weak).await, 200);
    let parent_id = Some(strong.id);
    let ephemeral = CreateKey { kind: Some(Kind::Ephemeral), parent_id, ..blank() };
    let ephemeral = deployment.create(deployment.mine, ephemeral).await;
    assert_eq!(deployment.close(&ephemeral, &of_strong).await, 403);
    // The secret that a rotation replaced reads on and manages nothing.
    let rotate = format!("POST /admin/v1/keys/{}/rotate", strong.id);
    deployment.operator(&rotate).json(&json!({"overlap_seconds": 3600})).send().await.expect(200);
    assert_eq!(deployment.close(&strong, &of_strong).await, 403);
    assert_eq!(deployment.alerts_seen_by(&strong, "?state=open").await["data"].as_array().unwrap().len(), 3);
    // Who may not see keys sees no alerts.
    let blind = deployment.restricted(&[API_KEYS_WRITE]).await;
    let refused = deployment.public("GET /v1/account/alerts").bearer(&blind.secret).send().await.error();
    assert_eq!((refused.0, refused.1.as_str()), (403, "insufficient_scope"));
}

#[tokio::test]
async fn pages_of_alerts_are_in_the_api_s_form_and_lead_on() {
    let deployment = Deployment::start().await;
    let holder = deployment.create_of("envelope", deployment.mine, blank()).await;
    deployment.grow_old().await;
    let path = "/e1/account/alerts?state=open&limit=1";
    let first = deployment.public(&format!("GET {path}")).bearer(&holder.secret).send().await;
    let next = first.header("link").unwrap().to_owned();
    assert_eq!(first.expect(200)["success"], true);
    let next = next.strip_prefix('<').unwrap().strip_suffix(">; rel=\"next\"").unwrap();
    assert!(next.starts_with("/e1/account/alerts?limit=1&cursor=alrt_") && next.ends_with("&state=open"), "{next}");
    let second = deployment.public(&format!("GET {next}")).bearer(&holder.secret).send().await;
    assert_eq!(second.header("link"), None);
    let id = second.expect(200)["data"][0]["id"].as_str().unwrap().to_owned();
    let close = format!("POST /e1/account/alerts/{id}/close");
    let closed = deployment.public(&close).bearer(&holder.secret).send().await.expect(200);
    assert_eq!((&closed["success"], &closed["data"]["state"]), (&json!(true), &json!("closed")));
    for (query, field) in [
        ("state=shut", "state"),
        ("kind=rain", "kind"),
        ("key=org_x", "key"),
        ("limit=201", "limit"),
        ("organization=org_1", "organization"),
        ("api=plain", "api"),
    ] {
        let what = format!("GET /e1/account/alerts?{query}");
        let reply = deployment.public(&what).bearer(&holder.secret).send().await.error();
        assert_eq!((reply.0, reply.2.as_deref()), (400, Some(field)), "{query}");
    }
}

#[tokio::test]
async fn which_admin_token_closed_it_is_the_operator_s_own_affair() {
    let deployment = Deployment::start().await;
    let holder = deployment.full().await;
    deployment.grow_old().await;
    let id = deployment.old_age_of(&holder).await;
    let token = deployment.admin_token().await;
    let closed = deployment.internal(&format!("POST /admin/v1/alerts/{id}/close")).bearer(&token).send().await;
    assert!(closed.expect(200)["closed_by"].as_str().unwrap().starts_with("adm_"));
    let seen = deployment.alerts_seen_by(&holder, "?state=closed").await;
    assert_eq!(seen["data"][0]["closed_by"], "operator");
}
