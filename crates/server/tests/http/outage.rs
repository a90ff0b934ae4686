//! What callers get when something is broken: 503 in their form, never a yes, and nothing of the cause.

use claviger_domain::time::Timestamp;
use serde_json::json;

use crate::deployment::{Deployment, blank};

#[tokio::test]
async fn without_a_lease_nothing_is_allowed() {
    let deployment = Deployment::start().await;
    let holder = deployment.create_of("envelope", deployment.mine, blank()).await;
    deployment.app.engine().grant_lease(Timestamp::from_micros(0));
    let reply = deployment.public("GET /e1/api-keys").bearer(&holder.secret).send().await;
    assert_eq!((reply.error().1.as_str(), reply.header("retry-after")), ("unavailable", Some("1")));
    assert_eq!(reply.expect(503)["success"], false);
    let reply = deployment.internal("GET /readyz").send().await;
    assert_eq!((reply.error().0, reply.header("retry-after")), (503, Some("1")));
    assert_eq!(deployment.internal("GET /healthz").send().await.status, 200);
}

#[tokio::test]
async fn without_a_database_the_answer_is_503() {
    let deployment = Deployment::start().await;
    let (holder, token) = (deployment.full().await, deployment.admin_token().await);
    deployment.app.close().await;
    let body = json!({"name": "x"});
    for call in [
        deployment.public("GET /v1/api-keys").bearer(&holder.secret),
        deployment.public("POST /v1/api-keys").bearer(&holder.secret).json(&body),
        deployment.public(&format!("DELETE /v1/api-keys/{}", holder.id)).bearer(&holder.secret),
        deployment.public("GET /v1/account/usage").bearer(&holder.secret),
        deployment.internal("GET /admin/v1/apis").bearer(&token),
        deployment.operator("POST /admin/v1/organizations").json(&body),
    ] {
        let reply = call.send().await;
        assert_eq!(reply.error(), (503, "unavailable".to_owned(), None), "{}", reply.text);
        assert_eq!(reply.header("retry-after"), Some("1"));
    }
}
