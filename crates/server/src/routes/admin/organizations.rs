//! `/admin/v1/organizations`

use axum::extract::State;
use axum::response::Response;
use claviger_domain::id::OrganizationId;
use claviger_domain::organization::Organization;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::ServerState;
use crate::answer::Answer;
use crate::error::Failure;
use crate::extract::{Id, Operator};
use crate::idempotency::finish;
use crate::json::Json;
use crate::query::{Nothing, Query};
use crate::requests::{CreateOrganizationBody, OrganizationList, PageParameters, UpdateOrganizationBody};
use crate::views::{List, OrganizationView};

const PATH: &str = "/admin/v1/organizations";

pub(crate) fn router() -> OpenApiRouter<ServerState> {
    OpenApiRouter::new().routes(routes!(list, create)).routes(routes!(show, update))
}

/// List the organizations.
#[utoipa::path(
    get,
    path = "/admin/v1/organizations",
    operation_id = "adminListOrganizations",
    tag = "Organizations",
    params(PageParameters),
    responses((
        status = 200,
        description = "A page of organizations, newest first.",
        body = List<OrganizationView>,
        headers(("Link" = String, description = "The next page, with `rel=\"next\"`, if there is one."))
    ))
)]
async fn list(
    _: Operator,
    State(state): State<ServerState>,
    Query(OrganizationList(page)): Query<OrganizationList>,
) -> Result<Response, Failure> {
    let found = state.app.list_organizations(page).await?;
    let next = found.rows.last().filter(|_| found.more).map(|organization| organization.id.to_string());
    let next_page = next.as_deref().map(|cursor| format!("{PATH}?limit={}&cursor={cursor}", page.limit));
    let rows = found.rows.into_iter().map(OrganizationView::from).collect();
    Ok(Answer::ok(&List::bare(rows, next))?.next_page(next_page.as_deref())?.done())
}

/// Create an organization.
#[utoipa::path(
    post,
    path = "/admin/v1/organizations",
    operation_id = "adminCreateOrganization",
    tag = "Organizations",
    request_body = CreateOrganizationBody,
    responses((status = 201, description = "The organization.", body = OrganizationView))
)]
async fn create(
    operator: Operator,
    State(state): State<ServerState>,
    Query(Nothing): Query<Nothing>,
    Json(body): Json<CreateOrganizationBody>,
) -> Result<Response, Failure> {
    let mutation = state.app.create_organization(operator.actor(), body.name, body.time_zone).await?;
    let answer = |organization: Organization, revision| {
        let location = format!("{PATH}/{}", organization.id);
        Ok(Answer::created(&location, &OrganizationView::from(organization))?.revision(revision))
    };
    finish(&state, operator.keyed(), mutation, answer).await
}

/// Show an organization.
#[utoipa::path(
    get,
    path = "/admin/v1/organizations/{id}",
    operation_id = "adminShowOrganization",
    tag = "Organizations",
    params(("id" = String, Path, description = "The organization's id.")),
    responses((status = 200, description = "The organization.", body = OrganizationView))
)]
async fn show(
    _: Operator,
    State(state): State<ServerState>,
    Id(id): Id<OrganizationId>,
    Query(Nothing): Query<Nothing>,
) -> Result<Response, Failure> {
    let organization = state.app.find_organization(id).await?;
    Ok(Answer::ok(&OrganizationView::from(organization))?.done())
}

/// Rename an organization, move it to another time zone, suspend it or make it active again.
///
/// All keys of a suspended organization are refused, and untouched, until it is active again.
#[utoipa::path(
    patch,
    path = "/admin/v1/organizations/{id}",
    operation_id = "adminUpdateOrganization",
    tag = "Organizations",
    params(("id" = String, Path, description = "The organization's id.")),
    request_body = UpdateOrganizationBody,
    responses((status = 200, description = "The organization as it is now.", body = OrganizationView))
)]
async fn update(
    operator: Operator,
    State(state): State<ServerState>,
    Id(id): Id<OrganizationId>,
    Query(Nothing): Query<Nothing>,
    Json(body): Json<UpdateOrganizationBody>,
) -> Result<Response, Failure> {
    let mutation = state.app.update_organization(operator.actor(), id, body.into()).await?;
    let updated = mutation.commit().await?;
    Ok(Answer::ok(&OrganizationView::from(updated.value))?.revision(updated.revision).done())
}
