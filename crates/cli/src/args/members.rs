//! `claviger members …` and `claviger invitations …`

use clap::{Args, Subcommand, ValueEnum};
use claviger_domain::alert::AlertKind;
use claviger_domain::id::{InvitationId, KeyId, MemberId, OrganizationId};
use claviger_domain::key::Name;
use claviger_domain::mail::EmailAddress;
use claviger_domain::member::Role;
use serde::Serialize;

use super::{ClientArgs, OnceArgs};

/// `claviger members`.
#[derive(Debug, Args)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub(crate) struct MembersArgs {
    #[command(subcommand)]
    pub(crate) command: MembersCommand,
    #[command(flatten)]
    pub(crate) client: ClientArgs,
}

/// Which organization.
#[derive(Debug, Args)]
pub(crate) struct OrgArgs {
    /// The organization
    #[arg(long, value_name = "ORG")]
    pub(crate) org: OrganizationId,
}

/// Which member.
#[derive(Debug, Args)]
pub(crate) struct MemberArgs {
    /// The member's id
    pub(crate) id: MemberId,
    #[command(flatten)]
    pub(crate) at: OrgArgs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum MembersCommand {
    /// List an organization's members, oldest first
    List(OrgArgs),
    /// Show one member
    Show(MemberArgs),
    /// List the live keys that a member made or was handed over, and those that were made with these
    Keys(MemberArgs),
    /// Rename a member, give them another role, or choose what alerts they are mailed
    Update(UpdateMemberArgs),
    /// Take a member out of the organization, and decide on their keys, all at once
    Remove(RemoveArgs),
}

/// `claviger members update`.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("change").required(true).multiple(true))]
pub(crate) struct UpdateMemberArgs {
    #[command(flatten)]
    pub(crate) member: MemberArgs,
    /// The name that people see
    #[arg(long, group = "change")]
    pub(crate) name: Option<Name>,
    /// What they may do: owner, admin, developer or viewer
    #[arg(long, group = "change")]
    pub(crate) role: Option<Role>,
    /// The kinds of alerts that they are mailed, separated by commas, such as `usage_spike,quota_100`
    #[arg(long, value_name = "KIND", value_delimiter = ',', group = "change", conflicts_with = "no_alert_mails")]
    pub(crate) alert_mails: Option<Vec<AlertKind>>,
    /// Mail them no alerts
    #[arg(long, group = "change")]
    pub(crate) no_alert_mails: bool,
    /// Mail them what their role has: owners and admins all alerts, others none
    #[arg(long, group = "change", conflicts_with_all = ["alert_mails", "no_alert_mails"])]
    pub(crate) default_alert_mails: bool,
}

/// `claviger members remove`.
#[derive(Debug, Args)]
pub(crate) struct RemoveArgs {
    #[command(flatten)]
    pub(crate) member: MemberArgs,
    #[command(flatten)]
    pub(crate) keys: LeftKeysArgs,
    /// Change nothing: show what would become of the keys, or with no decision which keys there are
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// What becomes of the keys of somebody who leaves.
#[derive(Debug, Args, Serialize)]
pub(crate) struct LeftKeysArgs {
    /// Keys to revoke, with what was made with them; separated by commas
    #[arg(long, value_name = "KEY", value_delimiter = ',')]
    revoke: Vec<KeyId>,
    /// Keys to hand over, separated by commas
    #[arg(long, value_name = "KEY", value_delimiter = ',', requires = "to")]
    hand_over: Vec<KeyId>,
    /// What to do with all other live keys; must be said if there are any
    #[arg(long, value_enum)]
    #[serde(skip_serializing_if = "Option::is_none")]
    rest: Option<Rest>,
    /// The member who gets what is handed over
    #[arg(long, value_name = "MEMBER", required_if_eq("rest", "hand-over"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    to: Option<MemberId>,
}

impl LeftKeysArgs {
    /// Whether nothing was decided.
    pub(crate) fn is_open(&self) -> bool {
        self.revoke.is_empty() && self.hand_over.is_empty() && self.rest.is_none()
    }
}

/// What becomes of keys that are not named.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "snake_case")]
enum Rest {
    Revoke,
    HandOver,
    Keep,
}

/// `claviger invitations`.
#[derive(Debug, Args)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub(crate) struct InvitationsArgs {
    #[command(subcommand)]
    pub(crate) command: InvitationsCommand,
    #[command(flatten)]
    pub(crate) client: ClientArgs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum InvitationsCommand {
    /// Invite somebody and print the token that makes them a member, which is shown only now
    Create(InviteArgs),
    /// List an organization's invitations that were not accepted, oldest first
    List(OrgArgs),
    /// Take an invitation back
    Revoke {
        /// The invitation's id
        id: InvitationId,
        #[command(flatten)]
        at: OrgArgs,
    },
    /// Accept an invitation: whoever it is for becomes a member
    Accept(AcceptArgs),
}

/// `claviger invitations create`.
#[derive(Debug, Args)]
pub(crate) struct InviteArgs {
    #[command(flatten)]
    pub(crate) at: OrgArgs,
    /// Whom
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) email: EmailAddress,
    /// What they will be: owner, admin, developer or viewer
    #[arg(long)]
    pub(crate) role: Role,
    /// Let a mail take the token to them, instead of printing it
    #[arg(long, conflicts_with = "quiet")]
    pub(crate) send_mail: bool,
    /// Print only the token
    #[arg(long, short, conflicts_with = "json")]
    pub(crate) quiet: bool,
    #[command(flatten)]
    pub(crate) once: OnceArgs,
}

/// `claviger invitations accept`.
#[derive(Debug, Args)]
pub(crate) struct AcceptArgs {
    /// The invitation's token; `-` reads it from standard input
    #[arg(long, value_name = "TOKEN", env = "CLAVIGER_INVITATION", hide_env_values = true)]
    pub(crate) invitation: String,
    /// The name that people will see
    #[arg(long)]
    pub(crate) name: Name,
    #[command(flatten)]
    pub(crate) once: OnceArgs,
}
