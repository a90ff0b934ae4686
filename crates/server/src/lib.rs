//! The control plane over HTTP: the customer API, the admin API, operations and the document of it all.
//!
//! This crate turns HTTP into calls of the app and its answers back into HTTP. It decides nothing by itself: who
//! may call is the engine's verdict or the app's list of admin tokens, what may happen is the app's rule. It
//! opens no listener (the binary does) and does not serve the data plane (the gate does).
//!
//! Reading order: [`public_router`] and [`internal_router`], then `routes`, whose files mirror the URLs
//! (`customer/api_keys/rotate.rs`). A handler's arguments tell the whole story: `extract` (who calls; the
//! extractor *is* the permission), `json`, `query` and `precondition` (what was sent, parsed once), `views` and
//! `answer` (what goes back), `error` (everything but success). `openapi` gathers what the routes say
//! about themselves.
//!
//! # Adding an operation
//!
//! 1. A handler with `#[utoipa::path]` in the file that its URL names; its first argument is `Caller` or `Operator`.
//! 2. Its `routes!` line in the `router()` above it. For the customer API also a line in the domain's
//!    `BUILT_IN_ENDPOINTS`.
//! 3. A row in the access table (`tests/http/access.rs`), or the test fails.

mod answer;
mod detach;
mod error;
mod extract;
mod idempotency;
mod json;
mod openapi;
mod precondition;
mod query;
mod requests;
mod routes;
mod trace;
mod views;
mod visit;

use std::sync::Arc;

use axum::Router;
use claviger_app::App;
use claviger_domain::address::TrustedProxies;
use zeroize::Zeroizing;

pub use idempotency::InFlight;
pub use openapi::openapi;

/// What every route may use.
#[derive(Clone)]
pub struct ServerState {
    /// The application.
    pub app: Arc<App>,
    /// The proxies in front of the public listener whose forwarding header is believed.
    pub trusted_proxies: Arc<TrustedProxies>,
    /// What stands for the operator's credential at the unix socket, where there is none: what is kept for
    /// repeated requests is encrypted under a key derived from it. Whoever may open the socket may read it, nobody else.
    pub socket_secret: Arc<Zeroizing<[u8; 32]>>,
    /// The repeatable requests that are at work.
    pub in_flight: InFlight,
}

/// What the public listener serves: the customer API of every api, and `/openapi.json`.
///
/// The listener puts a [`Peer`](claviger_domain::peer::Peer) into every request's extensions. Whatever is not
/// the customer API's goes to the `fallback`, which has a guard of its own (the sample upstream); without one it
/// is 404.
pub fn public_router(state: ServerState, fallback: Option<Router>) -> Router {
    routes::public(state, fallback)
}

/// What the internal listener and the unix socket serve, beside the gate's verify: the admin API, `/healthz`,
/// `/readyz`, `/metrics` and `/openapi.json`. Never exposed to the public.
///
/// The listener puts a [`Peer`](claviger_domain::peer::Peer) into every request's extensions; one that comes in
/// by the socket is the operator.
pub fn internal_router(state: ServerState) -> Router {
    routes::internal(state)
}
