//! The customer API of every api, each below its own base path.
//!
//! Base paths are the operator's and come and go while the server runs, so no router can hold them. One service
//! chooses the api, asks the engine, cuts the base path off and hands the request to one router for all.

mod account;
mod api_keys;

use axum::Router;
use axum::extract::Request;
use axum::middleware::from_fn;
use axum::response::{IntoResponse as _, Response};
use claviger_domain::path::CanonicalPath;
use http::header::AUTHORIZATION;
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderValue, Uri};
use utoipa_axum::router::OpenApiRouter;

use super::{call, method_not_allowed, no_route};
use crate::ServerState;
use crate::answer::no_store;
use crate::error::{Failure, in_form};
use crate::extract::{ApiContext, Caller, source_of};
use crate::{detach, idempotency, trace};

/// The routes below a base path.
pub(crate) fn router() -> OpenApiRouter<ServerState> {
    OpenApiRouter::new().merge(api_keys::router()).merge(account::router())
}

/// The customer API of every api, and what is behind it.
#[derive(Clone)]
pub(crate) struct Customer {
    state: ServerState,
    router: Router,
    fallback: Option<Router>,
}

impl Customer {
    /// `fallback` gets whatever is not the customer API's.
    pub(crate) fn new(state: ServerState, fallback: Option<Router>) -> Self {
        let (router, _) = router().split_for_parts();
        let router = router
            .fallback(no_route)
            .method_not_allowed_fallback(method_not_allowed)
            .layer(from_fn(idempotency::layer))
            .layer(from_fn(detach::layer))
            .layer(from_fn(trace::note_route))
            .with_state(state.clone());
        Self { state, router, fallback }
    }

    /// Answers any request.
    pub(crate) async fn answer(self, request: Request) -> Response {
        let (parts, body) = request.into_parts();
        let api = ApiContext::of(&self.state, &parts);
        let is_ours = api.as_ref().and_then(|api| api.relative_path(&parts)).is_some_and(is_customer_path);
        let request = Request::from_parts(parts, body);
        match (api, self.fallback) {
            (_, Some(fallback)) if !is_ours => call(fallback, request).await,
            (None, _) => no_store(Failure::no_route().into_response()).await,
            (Some(api), _) => {
                let response = guarded(&self.state, self.router, &api, is_ours, request).await;
                no_store(in_form(response, api.definition())).await
            }
        }
    }
}

/// The verdict first, and only for an allowed key whether there is such a route.
async fn guarded(state: &ServerState, router: Router, api: &ApiContext, is_ours: bool, request: Request) -> Response {
    let (mut parts, body) = request.into_parts();
    if !is_ours && CanonicalPath::parse(parts.uri.path()).is_ok() {
        // Not the customer API's, and nobody stands behind it: there is nothing to guard.
        return Failure::no_route().into_response();
    }
    let caller = Caller::verify(state, api, &parts);
    let Some(uri) = api.relative_path(&parts).and_then(|path| relative_uri(path, parts.uri.query())) else {
        return caller.err().unwrap_or_else(Failure::no_route).into_response();
    };
    let whole_uri = std::mem::replace(&mut parts.uri, uri);
    match caller {
        Ok(caller) => {
            parts.extensions.insert(caller);
            call(router, Request::from_parts(parts, body)).await
        }
        Err(failure) if failure.is_dead_secret() => {
            let (source, mut asked) = (source_of(state, &parts), parts.clone());
            asked.uri = whole_uri;
            match idempotency::replaced(state, source, Request::from_parts(parts, body)).await {
                Ok(Some((answer, secret))) if is_allowed(state, api, asked, &secret) => {
                    idempotency::given_again(answer)
                }
                Ok(_) => failure.into_response(),
                Err(failure) => failure.into_response(),
            }
        }
        Err(failure) => failure.into_response(),
    }
}

/// Whether the same request would pass with another secret: the restrictions of a key bind whoever had its last one too.
fn is_allowed(state: &ServerState, api: &ApiContext, mut parts: Parts, secret: &str) -> bool {
    let Ok(mut bearer) = HeaderValue::from_str(&format!("Bearer {secret}")) else { return false };
    bearer.set_sensitive(true);
    parts.headers.insert(AUTHORIZATION, bearer);
    Caller::verify(state, api, &parts).is_ok()
}

/// Whether a path below a base path is the customer API's, whatever routes there are.
fn is_customer_path(relative: &str) -> bool {
    ["/api-keys", "/account/usage", "/account/alerts"]
        .iter()
        .filter_map(|own| relative.strip_prefix(own))
        .any(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn relative_uri(path: &str, query: Option<&str>) -> Option<Uri> {
    let path_and_query = match query {
        Some(query) => PathAndQuery::try_from(format!("{path}?{query}")),
        None => PathAndQuery::try_from(path),
    };
    path_and_query.ok().map(Uri::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_customer_api_keeps_to_its_place() {
        for path in [
            "/api-keys",
            "/api-keys/",
            "/api-keys/key_1/rotate",
            "/account/usage",
            "/account/usage/x",
            "/account/alerts",
        ] {
            assert!(is_customer_path(path), "{path}");
        }
        for path in
            ["", "/", "/api-keysx", "/account", "/account/usages", "/account/alertsx", "/users/api-keys", "//api-keys"]
        {
            assert!(!is_customer_path(path), "{path}");
        }
    }
}
