//! `GET {base}/account/usage`

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
