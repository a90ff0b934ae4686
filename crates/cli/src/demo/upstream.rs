//! The sample upstream behind its guards, as an operator would put their own APIs there.

use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use claviger_app::App;
use claviger_client::{GuardLayer, Verified};
use claviger_domain::address::TrustedProxies;
use claviger_domain::key::Environment;
use sample_upstream::Caller;
use tower::ServiceExt as _;

/// What the sample serves, and the api that it belongs to. A path is not enough to tell an api by: a caller may
/// name another api's host.
const PLACES: [(&str, &str); 2] = [("/api/v1/evaluate", "tork"), ("/v1/users", "example")];

/// The sample's routes, each behind the guard of its own api; everything else is the sample's 404, for who has a key.
pub(super) fn guarded(app: &Arc<App>, trusted_proxies: &Arc<TrustedProxies>) -> Router {
    let guard =
        GuardLayer::new(Arc::clone(app.engine()), Arc::clone(app.clock()), TrustedProxies::clone(trusted_proxies));
    let sample = sample_upstream::router().fallback(sample_upstream::not_found).layer(middleware::from_fn(tell_caller));
    let places = PLACES.map(|(base, api)| {
        let api = api.parse().expect("the demo's names are names");
        (base, sample.clone().layer(guard.clone().for_api(api)))
    });
    let elsewhere = Router::new().fallback(sample_upstream::not_found).layer(guard);
    // Not routes of a router: that would look at the path once more and leave captures of its own.
    Router::new().fallback(async move |request: Request| {
        let path = request.uri().path();
        let place = places.iter().find(|(base, _)| is_at_or_below(path, base));
        let guarded = place.map_or(&elsewhere, |(_, guarded)| guarded);
        guarded.clone().oneshot(request).await.into_response()
    })
}

fn is_at_or_below(path: &str, base: &str) -> bool {
    path.strip_prefix(base).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The guard says who was verified in its own words, the sample asks who calls in its own.
async fn tell_caller(mut request: Request, next: Next) -> Response {
    if let Some(verified) = request.extensions().get::<Verified>() {
        let caller = Caller {
            organization: verified.key.organization.to_string(),
            live: verified.key.environment == Environment::Live,
        };
        request.extensions_mut().insert(caller);
    }
    next.run(request).await
}
