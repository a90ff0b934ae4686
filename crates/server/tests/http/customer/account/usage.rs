//! `GET {base}/account/usage`

use serde_json::{Value, json};

use crate::deployment::Deployment;

#[tokio::test]
async fn the_call_that_asks_is_counted() {
    let deployment = Deployment::start().await;
    let (holder, other) = (deployment.full().await, deployment.restricted(&["things:read"]).await);
    deployment.public("GET /v1/api-keys").bearer(&other.secret).send().await;
    let usage = deployment.public("GET /v1/account/usage").bearer(&holder.secret).send().await.expect(200);
    assert_eq!(
        (&usage["period_start"], &usage["period_end"]),
        (&"2026-01-01T00:00:00Z".into(), &"2026-02-01T00:00:00Z".into())
    );
    assert_eq!(usage["organization"]["id"], deployment.mine.to_string());
    assert_eq!(usage["organization"]["total"], 2);
    assert_eq!(usage["organization"]["by_outcome"]["insufficient_scope"], 1);
    assert_eq!((&usage["key"]["id"], &usage["key"]["total"]), (&holder.id.to_string().into(), &1.into()));
    assert_eq!(usage["key"]["by_scope"]["usage:read"], 1);
    let reply = deployment.public("GET /v1/account/usage?organization=org_1").bearer(&holder.secret).send().await;
    assert_eq!(reply.error().0, 400);
}

#[tokio::test]
async fn usage_is_shown_by_key_and_by_day_and_beside_the_limit() {
    let deployment = Deployment::start().await;
    let (holder, other) = (deployment.full().await, deployment.restricted(&["things:read"]).await);
    deployment.public("GET /v1/api-keys").bearer(&other.secret).send().await;
    deployment.clock.advance_seconds(24 * 3600);
    let usage = deployment.public("GET /v1/account/usage").bearer(&holder.secret).send().await.expect(200);
    assert_eq!((&usage["time_zone"], &usage["resets_at"]), (&json!("UTC"), &json!("2026-02-01T00:00:00Z")));
    // The API has no plans, so nothing limits.
    for name in ["plan", "limit", "remaining"] {
        assert_eq!(usage[name], Value::Null, "{name}");
    }
    let daily = usage["daily"].as_array().unwrap();
    assert_eq!(daily.len(), 16);
    assert_eq!((&daily[14]["date"], &daily[14]["denied"]), (&json!("2026-01-15"), &json!(1)));
    assert_eq!((&daily[15]["date"], &daily[15]["allowed"]), (&json!("2026-01-16"), &json!(1)));
    let by_key = usage["by_key"].as_array().unwrap();
    let denied = by_key.iter().find(|key| key["id"] == other.id.to_string()).unwrap();
    assert_eq!(
        (&denied["name"], &denied["kind"], &denied["prefix"]),
        (&json!("a key"), &json!("restricted"), &json!("pl_rlive_"))
    );
    assert!(other.secret.ends_with(denied["hint"].as_str().unwrap()));
    assert_eq!((by_key.len(), &usage["other_keys"]["keys"]), (2, &json!(0)));

    let past =
        deployment.public("GET /v1/account/usage?period=2025-12").bearer(&holder.secret).send().await.expect(200);
    assert_eq!((&past["period_start"], &past["resets_at"]), (&json!("2025-12-01T00:00:00Z"), &Value::Null));
    assert_eq!((&past["used"], past["daily"].as_array().unwrap().len()), (&json!(0), 31));
    let path = "GET /v1/account/usage?from=2026-01-15&to=2026-01-15";
    let day = deployment.public(path).bearer(&holder.secret).send().await.expect(200);
    assert_eq!((&day["organization"]["total"], day["daily"].as_array().unwrap().len()), (&json!(1), 1));
}

#[tokio::test]
async fn only_ranges_that_mean_something_are_reported() {
    let deployment = Deployment::start().await;
    let holder = deployment.full().await;
    for (query, field) in [
        ("period=2026", "period"),
        ("period=2026-13", "period"),
        ("period=2026-01&from=2026-01-01", "period"),
        ("to=2026-01-01", "from"),
        ("from=2026-1-1", "from"),
        ("from=2026-02-30", "from"),
        ("from=2026-01-02&to=2026-01-01", "to"),
        ("from=2020-01-01&to=2026-01-01", "from"),
        ("from=2026-01-01&from=2026-01-02", "from"),
        ("day=1", "day"),
    ] {
        let reply = deployment.public(&format!("GET /v1/account/usage?{query}")).bearer(&holder.secret).send().await;
        let (status, _, named) = reply.error();
        assert_eq!((status, named.as_deref()), (400, Some(field)), "{query}");
    }
}
