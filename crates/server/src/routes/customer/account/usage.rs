//! `GET {base}/account/usage`

use axum::extract::State;
use axum::response::Response;
use claviger_app::UsageQuery;

use crate::ServerState;
use crate::answer::Answer;
use crate::error::Failure;
use crate::extract::Caller;
use crate::query::{Nothing, Query};
use crate::views::{InForm, UsageView};

/// Show the usage of this billing period.
///
/// The calls of the organization, and of the key that asks, in this calendar month (UTC).
#[utoipa::path(
    get,
    path = "/account/usage",
    operation_id = "showUsage",
    tag = "Usage",
    responses((status = 200, description = "The usage.", body = InForm<UsageView>))
)]
pub(crate) async fn usage(
    caller: Caller,
    State(state): State<ServerState>,
    Query(Nothing): Query<Nothing>,
) -> Result<Response, Failure> {
    let report = state.app.usage(&caller.actor(), UsageQuery::default()).await?;
    let usage = UsageView::of(report, Some(caller.key_id()));
    Ok(Answer::ok(&caller.in_form(usage))?.done())
}
