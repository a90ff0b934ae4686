//! `/admin/v1`: what the operator does, on the internal listener and the unix socket.

mod admin_tokens;
mod alerts;
mod apis;
mod audit;
mod bulk_revoke;
mod credentials;
mod import;
mod invitations;
mod keys;
mod mail;
mod members;
mod organizations;
mod subscriptions;
mod usage;
mod verifiers;
mod webhooks;

pub(crate) use bulk_revoke::PATH as BULK_REVOKE_PATH;
pub(crate) use import::{ImportReport, PATH as IMPORT_PATH};

use axum::response::Response;
use serde::Serialize;
use utoipa_axum::router::OpenApiRouter;

use crate::ServerState;
use crate::answer::Answer;
use crate::error::Failure;
use crate::views::List;

/// The routes.
pub(crate) fn router() -> OpenApiRouter<ServerState> {
    OpenApiRouter::new()
        .merge(apis::router())
        .merge(organizations::router())
        .merge(subscriptions::router())
        .merge(members::router())
        .merge(invitations::router())
        .merge(keys::router())
        .merge(bulk_revoke::router())
        .merge(import::router())
        .merge(usage::router())
        .merge(alerts::router())
        .merge(audit::router())
        .merge(verifiers::router())
        .merge(admin_tokens::router())
        .merge(webhooks::router())
        .merge(mail::router())
}

/// All of them, as `V` shows them: a list of so few that it has no pages.
fn listed<T, V: From<T> + Serialize>(found: Vec<T>) -> Result<Response, Failure> {
    Ok(Answer::ok(&List::bare(found.into_iter().map(V::from).collect(), None))?.done())
}
