//! The sample upstream behind the guard, as an operator would put their own API there.

use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::middleware::{self, Next};
use axum::response::Response;
use claviger_app::App;
use claviger_client::{GuardLayer, Verified};
use claviger_domain::address::TrustedProxies;
use claviger_domain::key::Environment;
use sample_upstream::Caller;

/// The sample's routes, each behind a verdict of the engine; everything else is the sample's 404.
pub(super) fn guarded(app: &Arc<App>, trusted_proxies: &Arc<TrustedProxies>) -> Router {
    let guard =
        GuardLayer::new(Arc::clone(app.engine()), Arc::clone(app.clock()), TrustedProxies::clone(trusted_proxies));
    sample_upstream::router()
        .fallback(sample_upstream::not_found)
        // The last layer runs first: the guard, then who was verified becomes who calls.
        .layer(middleware::from_fn(tell_caller))
        .layer(guard)
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
