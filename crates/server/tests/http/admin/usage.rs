//! `/admin/v1/usage`

use serde_json::{Value, json};

use crate::deployment::Deployment;
use crate::wire::Reply;

async fn ask(deployment: &Deployment, query: &str) -> Reply {
    deployment.operator(&format!("GET /admin/v1/usage{query}")).send().await
}

/// The path of the next part, if there is one.
fn next(reply: &Reply) -> Option<String> {
    let link = reply.header("link")?.strip_prefix("</admin/v1/usage").unwrap();
    Some(link.strip_suffix(">; rel=\"next\"").unwrap().to_owned())
}

#[tokio::test]
async fn organizations_are_listed_with_what_they_used() {
    let deployment = Deployment::start().await;
    let holder = deployment.full().await;
    for _ in 0..3 {
        deployment.public("GET /v1/account/usage").bearer(&holder.secret).send().await.expect(200);
    }
    let first = ask(&deployment, "/organizations?api=plain&limit=1").await;
    let second = ask(&deployment, &next(&first).unwrap()).await;
    assert_eq!(next(&second), None);
    let (first, second) = (first.expect(200), second.expect(200));
    assert_eq!((&first["data"][0]["name"], &first["data"][0]["used"]), (&json!("Theirs"), &json!(0)));
    let expected = json!({
        "organization": deployment.mine, "name": "Mine", "period_start": "2026-01-01T00:00:00Z",
        "period_end": "2026-02-01T00:00:00Z", "plan": null, "limit": null,
        "used": second["data"][0]["used"], "remaining": null, "resets_at": "2026-02-01T00:00:00Z",
    });
    assert_eq!(second["data"][0], expected);
    let shown = ask(&deployment, &format!("?organization={}&api=plain", deployment.mine)).await.expect(200);
    assert_eq!(shown["used"], second["data"][0]["used"]);
    for (query, status, field) in [
        ("", 400, Some("api")),
        ("?api=other", 404, None),
        ("?api=plain&period=x", 400, Some("period")),
        ("?api=plain&limit=0", 400, Some("limit")),
        ("?api=plain&cursor=key_x", 400, Some("cursor")),
    ] {
        let (found, _, named) = ask(&deployment, &format!("/organizations{query}")).await.error();
        assert_eq!((found, named.as_deref()), (status, field), "{query}");
    }
}

#[tokio::test]
async fn usage_is_exported_part_by_part() {
    let deployment = Deployment::start().await;
    let (one, other) = (deployment.full().await, deployment.full().await);
    for key in [&one, &other] {
        deployment.public("GET /v1/api-keys").bearer(&key.secret).send().await.expect(200);
    }
    deployment.clock.advance_seconds(4 * 3600);
    let mut path = Some("/export?format=ndjson&from=2026-01-15T00:00:00Z&limit=1".to_owned());
    let mut rows = Vec::new();
    while let Some(part) = path {
        let reply = ask(&deployment, &part).await;
        assert_eq!((reply.status.as_u16(), reply.header("content-type")), (200, Some("application/x-ndjson")));
        assert!(reply.text.lines().count() <= 1);
        rows.extend(reply.text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()));
        path = next(&reply);
    }
    let keys: Vec<_> = rows.iter().map(|row| row["key"].as_str().unwrap().to_owned()).collect();
    let mut ids = [one.id, other.id];
    ids.sort_unstable();
    assert_eq!(keys, ids.map(|id| id.to_string()));
    assert_eq!((&rows[0]["start"], &rows[0]["count"]), (&json!("2026-01-15T10:00:00Z"), &json!(1)));

    let table = ask(&deployment, "/export?format=csv&period=2026-01&api=plain").await;
    assert_eq!(table.header("content-type"), Some("text/csv"));
    assert_eq!(table.text.lines().count(), 3);
    let of_theirs = format!("/export?format=csv&period=2026-01&organization={}", deployment.theirs);
    assert_eq!(ask(&deployment, &of_theirs).await.text.lines().count(), 1);
    assert_eq!(ask(&deployment, "/export?format=cloudevents&period=2026-01").await.status, 200);
}

#[tokio::test]
async fn a_bad_export_is_refused() {
    let deployment = Deployment::start().await;
    let cursor_of_mine =
        format!("format=csv&period=2026-01&organization={}&cursor={}~plain", deployment.theirs, deployment.mine);
    for (query, status, field) in [
        ("period=2026-01", 400, Some("format")),
        ("format=xml&period=2026-01", 400, Some("format")),
        ("format=csv", 400, Some("from")),
        ("format=csv&to=2026-01-15T00:00:00Z", 400, Some("from")),
        ("format=csv&from=2026-01-15", 400, Some("from")),
        ("format=csv&from=2026-01-15T00:30:00Z", 400, Some("from")),
        ("format=csv&from=2026-01-15T00:00:00Z&to=2026-01-15T00:00:01Z", 400, Some("to")),
        ("format=csv&period=2026-01&from=2026-01-15T00:00:00Z", 400, Some("period")),
        ("format=csv&period=2026-01&limit=10001", 400, Some("limit")),
        ("format=csv&period=2026-01&limit=0", 400, Some("limit")),
        ("format=csv&period=2026-01&cursor=x", 400, Some("cursor")),
        (cursor_of_mine.as_str(), 400, Some("cursor")),
        ("format=csv&period=2026-01&api=other", 404, None),
        ("format=csv&period=2026-01&organization=org_0000000000000000000000001a", 404, None),
    ] {
        let (found, _, named) = ask(&deployment, &format!("/export?{query}")).await.error();
        assert_eq!((found, named.as_deref()), (status, field), "{query}");
    }
}
