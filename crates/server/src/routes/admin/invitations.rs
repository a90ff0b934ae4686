//! `/admin/v1/organizations/{id}/invitations`

use axum::extract::State;
use axum::response::Response;
use claviger_app::Invited;
use claviger_domain::id::{InvitationId, OrganizationId};
use claviger_domain::member::Member;
use claviger_domain::secret::PresentedSecret;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::listed;
use super::members::OfOrganization;
use crate::ServerState;
use crate::answer::Answer;
use crate::error::Failure;
use crate::extract::{Ids, Operator, OperatorOrMember};
use crate::idempotency::finish;
use crate::json::Json;
use crate::query::{Nothing, Query};
use crate::requests::{AcceptBody, InviteBody};
use crate::views::List;
use crate::views::member::{InvitationView, InvitedView, MemberView};

pub(crate) fn router() -> OpenApiRouter<ServerState> {
    OpenApiRouter::new().routes(routes!(list, invite)).routes(routes!(revoke)).routes(routes!(accept))
}

/// List an organization's invitations that were not accepted.
#[utoipa::path(
    get,
    path = "/admin/v1/organizations/{id}/invitations",
    operation_id = "adminListInvitations",
    tag = "Members",
    params(("id" = String, Path, description = "The organization's id.")),
    responses((status = 200, description = "The invitations, oldest first.", body = List<InvitationView>))
)]
async fn list(asked: OfOrganization) -> Result<Response, Failure> {
    listed::<_, InvitationView>(asked.state.app.list_invitations(asked.operator.actor(), asked.id).await?)
}

/// Invite somebody.
///
/// A mail takes a token to the address; the token works once, for a day. An open invitation to the same address ends,
/// which takes whoever could take it back.
#[utoipa::path(
    post,
    path = "/admin/v1/organizations/{id}/invitations",
    operation_id = "adminInviteMember",
    tag = "Members",
    params(("id" = String, Path, description = "The organization's id.")),
    request_body = InviteBody,
    responses((status = 201, description = "The invitation, with its token if you deliver it.", body = InvitedView))
)]
async fn invite(asked: OfOrganization, Json(body): Json<InviteBody>) -> Result<Response, Failure> {
    let OfOrganization { operator, state, id } = asked;
    let mutation = state.app.invite_member(operator.actor(), id, &body.email, body.role, body.send_mail).await?;
    let answer = |invited: Invited, revision| {
        let location = format!("/admin/v1/organizations/{id}/invitations/{}", invited.invitation.id);
        Ok(Answer::created(&location, &InvitedView::from(invited))?.revision(revision))
    };
    finish(&state, operator.keyed(), mutation, answer).await
}

/// Take an invitation back.
#[utoipa::path(
    delete,
    path = "/admin/v1/organizations/{id}/invitations/{invitation}",
    operation_id = "adminRevokeInvitation",
    tag = "Members",
    params(
        ("id" = String, Path, description = "The organization's id."),
        ("invitation" = String, Path, description = "The invitation's id.")
    ),
    responses((status = 200, description = "The invitation that was taken back.", body = InvitationView))
)]
async fn revoke(
    operator: OperatorOrMember,
    State(state): State<ServerState>,
    Ids(id, invitation): Ids<OrganizationId, InvitationId>,
    Query(Nothing): Query<Nothing>,
) -> Result<Response, Failure> {
    let mutation = state.app.revoke_invitation(operator.actor(), id, invitation).await?;
    let done = mutation.commit().await?;
    Ok(Answer::ok(&InvitationView::from(done.value))?.revision(done.revision).done())
}

/// Accept an invitation.
///
/// For the page that an invitation's link leads to: whoever has the token becomes a member, once.
#[utoipa::path(
    post,
    path = "/admin/v1/invitations/accept",
    operation_id = "adminAcceptInvitation",
    tag = "Members",
    request_body = AcceptBody,
    responses((status = 201, description = "The new member.", body = MemberView))
)]
async fn accept(
    operator: Operator,
    State(state): State<ServerState>,
    Query(Nothing): Query<Nothing>,
    Json(body): Json<AcceptBody>,
) -> Result<Response, Failure> {
    let token = PresentedSecret::new(&body.token);
    let mutation = state.app.accept_invitation(operator.actor(), token, body.name).await?;
    let answer = |member: Member, revision| {
        let location = format!("/admin/v1/organizations/{}/members/{}", member.organization, member.id);
        Ok(Answer::created(&location, &MemberView::from(member))?.revision(revision))
    };
    finish(&state, operator.keyed(), mutation, answer).await
}
