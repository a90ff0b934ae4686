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
use claviger_app::{KeyRow, Mutation};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::ServerState;
use crate::answer::Answer;
use crate::error::Failure;
use crate::extract::Caller;
use crate::idempotency::finish;
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
async fn mutated(state: &ServerState, caller: &Caller, mutation: Mutation<KeyRow>) -> Result<Response, Failure> {
    let answer = |row: KeyRow, revision| {
        let view = KeyView::of(&row, state.app.now());
        Ok(Answer::ok(&caller.in_form(view))?.etag(row.revision)?.revision(revision))
    };
    finish(state, caller.keyed(), mutation, answer).await
}
