//! `/admin/v1/usage`

use axum::extract::State;
use axum::response::Response;
use claviger_app::UsageQuery;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::ServerState;
use crate::answer::Answer;
use crate::error::Failure;
use crate::extract::OperatorOrMember;
use crate::query::Query;
use crate::requests::UsageParameters;
use crate::views::UsageView;

pub(crate) fn router() -> OpenApiRouter<ServerState> {
    OpenApiRouter::new().routes(routes!(usage))
}

/// Show an organization's usage of an api in this billing period.
#[utoipa::path(
    get,
    path = "/admin/v1/usage",
    operation_id = "adminShowUsage",
    tag = "Usage",
    params(UsageParameters),
    responses((status = 200, description = "The usage.", body = UsageView))
)]
async fn usage(
    operator: OperatorOrMember,
    State(state): State<ServerState>,
    Query(query): Query<UsageQuery>,
) -> Result<Response, Failure> {
    let report = state.app.usage(operator.actor(), query).await?;
    Ok(Answer::ok(&UsageView::of(report, None))?.done())
}
