//! `{base}/api-keys`

mod create;
mod disable;
mod enable;
mod list;
mod revoke;
mod rotate;
mod show;
mod update;

use axum::response::Response;
use claviger_app::{KeyRow, Mutated};
use claviger_domain::time::Timestamp;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::ServerState;
use crate::answer::Answer;
use crate::error::Failure;
use crate::extract::Caller;
use crate::views::KeyView;

pub(crate) fn router() -> OpenApiRouter<ServerState> {
    OpenApiRouter::new()
        .routes(routes!(list::list, create::create))
        .routes(routes!(show::show, update::update, revoke::revoke))
        .routes(routes!(rotate::rotate))
        .routes(routes!(disable::disable))
        .routes(routes!(enable::enable))
}

/// The answer to a mutation of a key: the key as it is now.
fn mutated(caller: &Caller, mutated: &Mutated<KeyRow>, now: Timestamp) -> Result<Response, Failure> {
    let view = KeyView::of(&mutated.value, now);
    Ok(Answer::ok(&caller.in_form(view))?.etag(mutated.value.revision)?.revision(mutated.revision).done())
}
