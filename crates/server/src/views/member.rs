//! Members and invitations as the outside sees them.

use std::collections::BTreeSet;

use claviger_app::{Invited, RemovedMember};
use claviger_domain::alert::AlertKind;
use claviger_domain::id::{InvitationId, MemberId, OrganizationId};
use claviger_domain::key::{Key, Name};
use claviger_domain::mail::EmailAddress;
use claviger_domain::member::{Invitation, Member, Role};
use claviger_domain::time::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

use super::Clear;
use crate::openapi::words;

/// A person in an organization.
#[derive(Serialize, ToSchema)]
#[schema(as = Member)]
pub(crate) struct MemberView {
    /// Its id.
    #[schema(value_type = String, example = "mem_01kaf3w8x9e6y8m5n4q2r7s1t0")]
    id: MemberId,
    /// The organization.
    #[schema(value_type = String)]
    organization: OrganizationId,
    /// Its address, by which the same person is known in other organizations.
    #[schema(value_type = String, format = Email)]
    email: EmailAddress,
    /// The name that people see.
    #[schema(value_type = String)]
    name: Name,
    /// What it may do.
    #[schema(value_type = words::Role)]
    role: Role,
    /// The kinds of alerts that it is mailed; `null` is what its role has: owners and admins all, others none.
    #[schema(value_type = Option<Vec<String>>, required, example = json!(["usage_spike", "quota_100"]))]
    alert_mails: Option<BTreeSet<AlertKind>>,
    /// When it came in.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
}

impl From<Member> for MemberView {
    fn from(member: Member) -> Self {
        let Member { id, organization, email, name, role, alert_mails, created_at } = member;
        Self { id, organization, email, name, role, alert_mails, created_at }
    }
}

/// An invitation that was not accepted.
#[derive(Serialize, ToSchema)]
#[schema(as = Invitation)]
pub(crate) struct InvitationView {
    /// Its id.
    #[schema(value_type = String, example = "inv_01kaf3w8x9e6y8m5n4q2r7s1t0")]
    id: InvitationId,
    /// Where to.
    #[schema(value_type = String)]
    organization: OrganizationId,
    /// Who.
    #[schema(value_type = String, format = Email)]
    email: EmailAddress,
    /// What they will be.
    #[schema(value_type = words::Role)]
    role: Role,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// When its link stops working.
    #[schema(value_type = String, format = DateTime)]
    expires_at: Timestamp,
}

impl From<Invitation> for InvitationView {
    fn from(invitation: Invitation) -> Self {
        let Invitation { id, organization, email, role, created_at, expires_at } = invitation;
        Self { id, organization, email, role, created_at, expires_at }
    }
}

/// An invitation that was just made.
#[derive(Serialize, ToSchema)]
#[schema(as = NewInvitation)]
pub(crate) struct InvitedView {
    #[serde(flatten)]
    invitation: InvitationView,
    /// What accepts it, once; `null` if it was mailed. Shown only here.
    #[schema(value_type = Option<String>, required)]
    token: Option<Clear>,
}

impl From<Invited> for InvitedView {
    fn from(invited: Invited) -> Self {
        let Invited { invitation, token } = invited;
        Self { invitation: invitation.into(), token: token.map(Clear::of) }
    }
}

/// A key of somebody who leaves.
#[derive(Serialize, ToSchema)]
#[schema(as = LeftKey)]
pub(crate) struct LeftKeyView {
    /// Its id.
    id: String,
    /// The api that it opens.
    api: String,
    /// The name that people gave it.
    name: String,
    /// The public head of its secret.
    prefix: String,
    /// The last four characters of its secret.
    hint: String,
}

impl From<&Key> for LeftKeyView {
    fn from(key: &Key) -> Self {
        Self {
            id: key.id.to_string(),
            api: key.api.to_string(),
            name: key.name.to_string(),
            prefix: key.prefix.clone(),
            hint: key.hint.clone(),
        }
    }
}

/// What became of the keys of somebody who left.
#[derive(Serialize, ToSchema)]
#[schema(as = RemovedMember)]
pub(crate) struct RemovedMemberView {
    /// Who it was.
    member: MemberView,
    /// Keys that were revoked.
    revoked: Vec<LeftKeyView>,
    /// Keys that were handed over. Whoever left still knows their secrets: rotate them.
    handed_over: Vec<LeftKeyView>,
    /// Keys that stay as they are.
    kept: Vec<LeftKeyView>,
    /// Whether this is only what would be done.
    dry_run: bool,
}

impl RemovedMemberView {
    pub(crate) fn of(removed: RemovedMember, dry_run: bool) -> Self {
        let views = |keys: &[Key]| keys.iter().map(LeftKeyView::from).collect();
        let (revoked, handed_over, kept) = (views(&removed.revoked), views(&removed.handed_over), views(&removed.kept));
        Self { member: removed.member.into(), revoked, handed_over, kept, dry_run }
    }
}
