//! Which api a request is for.

use claviger_domain::change::Change;
use claviger_domain::endpoint::Method;
use claviger_domain::path::CanonicalPath;

use crate::support::{api, endpoints, engine};

#[test]
fn host_then_path_then_endpoint_then_secret_then_name() {
    let beta = api("beta", "/v1", &endpoints(&[("users", "GET /v1/users/{id}", None)]));
    let deep = api("deep", "/v1/deep", "");
    let engine = engine([beta, deep].map(|api| Change::Api(Box::new(api))).into());
    let cases = [
        // host, path, secret text, chosen
        (Some("beta.test"), "/v1/things/1", None, Some("beta")),
        (Some("BETA.test:8080"), "/elsewhere", Some("acme_live_x"), Some("beta")),
        (Some("localhost"), "/v1/deep/x", None, Some("deep")),
        (None, "/v1/deeper", Some("beta_live_x"), Some("beta")),
        (None, "/v1/things/1", None, Some("acme")),
        (None, "/v1/users/1", None, Some("beta")),
        (None, "/v1/users/1", Some("acme_live_x"), Some("beta")),
        (None, "/v1/api-keys", Some("beta_rk_x"), Some("beta")),
        (None, "/v1/api-keys", None, Some("acme")),
        (None, "/v1/nothing", Some("beta_live_x"), Some("beta")),
        (None, "/v1", None, Some("acme")),
        (None, "/v1x", None, None),
        (None, "/v1x", Some("deep_ek_x"), Some("deep")),
        (None, "/v1x", Some("nobody_x"), None),
    ];
    for (host, path, secret, expected) in cases {
        let directory = engine.directory();
        let endpoint = Some((Method::Get, CanonicalPath::parse(path).unwrap()));
        let chosen = directory.select(host, endpoint, path, secret);
        let name = chosen.map(|index| directory.api(index).definition().name().as_str());
        assert_eq!(name, expected, "{host:?} {path} {secret:?}");
    }
}
