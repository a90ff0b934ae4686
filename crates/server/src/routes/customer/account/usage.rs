//! `GET {base}/account/usage`

use axum::extract::State;
use axum::response::Response;

use crate::ServerState;
use crate::answer::Answer;
use crate::error::Failure;
use crate::extract::Caller;
use crate::query::Query;
use crate::requests::usage::{OwnUsage, OwnUsageParameters};
use crate::views::InForm;
use crate::views::usage::UsageView;

/// Show usage.
///
/// The calls of the organization, and of the key that asks, in this billing period, in another one, or between two
/// days; with what may be used in this period, and what is left.
#[utoipa::path(
    get,
    path = "/account/usage",
    operation_id = "showUsage",
    tag = "Usage",
    params(OwnUsageParameters),
    responses((status = 200, description = "The usage.", body = InForm<UsageView>))
)]
pub(crate) async fn usage(
    caller: Caller,
    State(state): State<ServerState>,
    Query(OwnUsage(query)): Query<OwnUsage>,
) -> Result<Response, Failure> {
    let report = state.app.usage(&caller.actor(), query).await?;
    let usage = UsageView::of(report, Some(caller.key_id()));
    Ok(Answer::ok(&caller.in_form(usage))?.done())
}
