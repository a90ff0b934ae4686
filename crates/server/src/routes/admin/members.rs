//! `/admin/v1/organizations/{id}/members`

use axum::extract::{FromRequestParts, State};
use axum::response::Response;
use claviger_app::RemovedMember;
use claviger_domain::id::{MemberId, OrganizationId};
use http::request::Parts;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::listed;
use crate::ServerState;
use crate::answer::Answer;
use crate::error::Failure;
use crate::extract::{Id, Ids, OperatorOrMember};
use crate::idempotency::finish;
use crate::json::{Json, OptionalJson};
use crate::query::{Nothing, Query};
use crate::requests::{RemoveMemberBody, UpdateMemberBody};
use crate::views::member::{MemberView, RemovedMemberView};
use crate::views::{AdminKeyView, List};

pub(crate) fn router() -> OpenApiRouter<ServerState> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(show, update))
        .routes(routes!(list_keys))
        .routes(routes!(remove))
}

/// A request about the people of an organization as a whole: who asks, and which it is. It takes no parameters.
pub(super) struct OfOrganization {
    pub(super) operator: OperatorOrMember,
    pub(super) state: ServerState,
    pub(super) id: OrganizationId,
}

impl FromRequestParts<ServerState> for OfOrganization {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &ServerState) -> Result<Self, Failure> {
        // Whoever may not ask is told so before anything else is looked at.
        let operator = OperatorOrMember::from_request_parts(parts, state).await?;
        let Id(id) = Id::from_request_parts(parts, state).await?;
        let Query(Nothing) = Query::from_request_parts(parts, state).await?;
        Ok(Self { operator, state: state.clone(), id })
    }
}

/// List an organization's members.
#[utoipa::path(
    get,
    path = "/admin/v1/organizations/{id}/members",
    operation_id = "adminListMembers",
    tag = "Members",
    params(("id" = String, Path, description = "The organization's id.")),
    responses((status = 200, description = "The members, oldest first.", body = List<MemberView>))
)]
async fn list(asked: OfOrganization) -> Result<Response, Failure> {
    listed::<_, MemberView>(asked.state.app.list_members(asked.operator.actor(), asked.id).await?)
}

/// Show a member.
#[utoipa::path(
    get,
    path = "/admin/v1/organizations/{id}/members/{member}",
    operation_id = "adminShowMember",
    tag = "Members",
    params(
        ("id" = String, Path, description = "The organization's id."),
        ("member" = String, Path, description = "The member's id.")
    ),
    responses((status = 200, description = "The member.", body = MemberView))
)]
async fn show(
    operator: OperatorOrMember,
    State(state): State<ServerState>,
    Ids(id, member): Ids<OrganizationId, MemberId>,
    Query(Nothing): Query<Nothing>,
) -> Result<Response, Failure> {
    let found = state.app.find_member(operator.actor(), id, member).await?;
    Ok(Answer::ok(&MemberView::from(found))?.done())
}

/// Change a member.
///
/// Another name, another role, or other alerts that they are mailed. The last owner of an organization stays one.
#[utoipa::path(
    patch,
    path = "/admin/v1/organizations/{id}/members/{member}",
    operation_id = "adminUpdateMember",
    tag = "Members",
    params(
        ("id" = String, Path, description = "The organization's id."),
        ("member" = String, Path, description = "The member's id.")
    ),
    request_body = UpdateMemberBody,
    responses((status = 200, description = "The member as it is now.", body = MemberView))
)]
async fn update(
    operator: OperatorOrMember,
    State(state): State<ServerState>,
    Ids(id, member): Ids<OrganizationId, MemberId>,
    Query(Nothing): Query<Nothing>,
    Json(body): Json<UpdateMemberBody>,
) -> Result<Response, Failure> {
    let mutation = state.app.update_member(operator.actor(), id, member, body.into()).await?;
    let done = mutation.commit().await?;
    Ok(Answer::ok(&MemberView::from(done.value))?.revision(done.revision).done())
}

/// List the live keys of a member.
///
/// Those that they made or were handed over, and those that were made with these.
#[utoipa::path(
    get,
    path = "/admin/v1/organizations/{id}/members/{member}/keys",
    operation_id = "adminListMemberKeys",
    tag = "Members",
    params(
        ("id" = String, Path, description = "The organization's id."),
        ("member" = String, Path, description = "The member's id.")
    ),
    responses((status = 200, description = "The keys, oldest first.", body = List<AdminKeyView>))
)]
async fn list_keys(
    operator: OperatorOrMember,
    State(state): State<ServerState>,
    Ids(id, member): Ids<OrganizationId, MemberId>,
    Query(Nothing): Query<Nothing>,
) -> Result<Response, Failure> {
    let now = state.app.now();
    let found = state.app.list_member_keys(operator.actor(), id, member).await?;
    let views = found.iter().map(|row| AdminKeyView::of(row, now)).collect();
    Ok(Answer::ok(&List::bare(views, None))?.done())
}

/// Take a member out of an organization, and decide on their keys.
///
/// All of it happens at once: when this has answered, the keys that it revokes are accepted nowhere. The last owner cannot leave. Everybody else may,
/// and a viewer who leaves by themselves keeps all keys where they are.
#[utoipa::path(
    post,
    path = "/admin/v1/organizations/{id}/members/{member}/remove",
    operation_id = "adminRemoveMember",
    tag = "Members",
    params(
        ("id" = String, Path, description = "The organization's id."),
        ("member" = String, Path, description = "The member's id.")
    ),
    request_body = Option<RemoveMemberBody>,
    responses((status = 200, description = "What became of the keys.", body = RemovedMemberView))
)]
async fn remove(
    operator: OperatorOrMember,
    State(state): State<ServerState>,
    Ids(id, member): Ids<OrganizationId, MemberId>,
    Query(Nothing): Query<Nothing>,
    OptionalJson(body): OptionalJson<RemoveMemberBody>,
) -> Result<Response, Failure> {
    let input: claviger_app::RemoveMember = body.into();
    let dry_run = input.dry_run;
    let mutation = state.app.remove_member(operator.actor(), id, member, input).await?;
    let answer =
        |removed: RemovedMember, revision| Ok(Answer::ok(&RemovedMemberView::of(removed, dry_run))?.revision(revision));
    finish(&state, operator.keyed(), mutation, answer).await
}
