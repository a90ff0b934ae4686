//! `/healthz`, `/readyz`, `/metrics`, `/openapi.json`, and what is where.

use crate::deployment::Deployment;

#[tokio::test]
async fn monitoring_is_answered() {
    let deployment = Deployment::start().await;
    assert_eq!(deployment.internal("GET /healthz").send().await.expect(200)["status"], "ok");
    let ready = deployment.internal("GET /readyz").send().await.expect(200);
    assert_eq!(ready["revision"], deployment.app.engine().revision().0);
    let metrics = deployment.internal("GET /metrics").send().await;
    let expected = format!("claviger_revision {}\n# EOF\n", deployment.app.engine().revision());
    assert!(metrics.text.ends_with(&expected), "{}", metrics.text);
    assert!(metrics.text.contains(&format!("claviger_build_info{{version=\"{}\"}} 1\n", env!("CARGO_PKG_VERSION"))));
}

#[tokio::test]
async fn each_listener_serves_its_own() {
    let deployment = Deployment::start().await;
    for what in ["GET /healthz", "GET /readyz", "GET /metrics", "GET /admin/v1/apis", "POST /v1/verify"] {
        assert_eq!(deployment.public(what).send().await.error().0, 404, "{what}");
    }
    assert_eq!(deployment.internal("GET /v1/api-keys").send().await.error().0, 404);
    assert_eq!(deployment.internal("GET /nothing").send().await.error(), (404, "not_found".to_owned(), None));
    let reply = deployment.internal("POST /healthz").send().await;
    assert_eq!((reply.error().0, reply.header("allow")), (405, Some("GET,HEAD")));
    for call in [deployment.public("GET /openapi.json"), deployment.internal("GET /openapi.json")] {
        assert_eq!(call.send().await.expect(200), *crate::document::DOCUMENT);
    }
}
