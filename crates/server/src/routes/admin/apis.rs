//! `/admin/v1/apis`

use axum::extract::{Request, State};
use axum::response::Response;
use claviger_app::Applied;
use claviger_domain::definition::Definition;
use claviger_domain::key::ApiName;
use claviger_domain::limits;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::ServerState;
use crate::answer::Answer;
use crate::error::Failure;
use crate::extract::{Id, Operator};
use crate::json::{read_body, require_content_type};
use crate::query::{Nothing, Query};
use crate::requests::ApplyQuery;
use crate::views::{ApiView, AppliedView, List};

pub(crate) fn router() -> OpenApiRouter<ServerState> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(show, apply))
}

/// List the apis.
#[utoipa::path(
    get,
    path = "/admin/v1/apis",
    operation_id = "adminListApis",
    tag = "Apis",
    responses((status = 200, description = "Every api, by name.", body = List<ApiView>))
)]
async fn list(
    _: Operator,
    State(state): State<ServerState>,
    Query(Nothing): Query<Nothing>,
) -> Result<Response, Failure> {
    let apis = state.app.list_apis().await?;
    Ok(Answer::ok(&List::bare(apis.iter().map(ApiView::from).collect(), None))?.done())
}

/// Show an api.
#[utoipa::path(
    get,
    path = "/admin/v1/apis/{name}",
    operation_id = "adminShowApi",
    tag = "Apis",
    params(("name" = String, Path, description = "The api's name.")),
    responses((status = 200, description = "The api.", body = ApiView))
)]
async fn show(
    _: Operator,
    State(state): State<ServerState>,
    Id(name): Id<ApiName>,
    Query(Nothing): Query<Nothing>,
) -> Result<Response, Failure> {
    let api = state.app.find_api(&name).await?;
    Ok(Answer::ok(&ApiView::from(&api))?.done())
}

/// Apply an api's definition.
///
/// The body is the definition file. Doing it again changes nothing. What would strand existing keys is refused.
#[utoipa::path(
    put,
    path = "/admin/v1/apis/{name}",
    operation_id = "adminApplyApi",
    tag = "Apis",
    params(("name" = String, Path, description = "The api's name."), ApplyQuery),
    request_body(content((String = "application/toml"), (String = "text/plain")), description = "The definition, in TOML."),
    responses((status = 200, description = "What was changed, or would be.", body = AppliedView))
)]
async fn apply(
    operator: Operator,
    State(state): State<ServerState>,
    Id(name): Id<ApiName>,
    Query(query): Query<ApplyQuery>,
    request: Request,
) -> Result<Response, Failure> {
    require_content_type(request.headers(), &["application/toml", "text/plain"])?;
    let body = read_body(request, limits::DEFINITION_BYTES_MAX).await?;
    let text = str::from_utf8(&body).map_err(|_| Failure::invalid(None, "The body is not UTF-8."))?;
    let definition = Definition::parse(text).map_err(|mistakes| Failure::invalid(None, &mistakes.to_string()))?;
    if *definition.name() != name {
        let message = format!("the definition is of {}, the path of {name}", definition.name());
        return Err(Failure::invalid_field("name", &message));
    }
    let mutation = state.app.apply_definition(operator.actor(), definition, query.dry_run.unwrap_or(false)).await?;
    let done = mutation.commit().await?;
    if done.value.applied {
        // Of an api that had no plans so far the engine has not counted what is used of quotas.
        state.app.seed_quotas().await?;
    }
    let revision = done.value.applied.then_some(done.revision);
    let Applied { differences, created, applied } = done.value;
    let answer = Answer::ok(&AppliedView { name, created, differences, applied, revision })?;
    Ok(match revision {
        Some(revision) => answer.revision(revision),
        None => answer,
    }
    .done())
}
