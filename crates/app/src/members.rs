//! Members: invited, joined, given roles, and taken out together with what becomes of their keys.

use std::collections::{BTreeSet, HashSet};

use claviger_domain::alert::AlertKind;
use claviger_domain::audit::Action;
use claviger_domain::format::issue_operator_token;
use claviger_domain::id::{InvitationId, KeyId, MemberId, OrganizationId};
use claviger_domain::key::{Creator, Key, Name};
use claviger_domain::limits;
use claviger_domain::mail::{EmailAddress, Mail};
use claviger_domain::member::{Invitation, Member, Role};
use claviger_domain::secret::{IssuedSecret, PresentedSecret};
use claviger_domain::time::Timestamp;
use claviger_store::{Connection, invitations, keys, members, organizations};

use crate::actor::Deed;
use crate::keys::bulk::revoke;
use crate::keys::lineage::Lineage;
use crate::keys::put_key;
use crate::{Actor, App, AppError, KeyRow, Mutation};

/// The head of every invitation's token.
pub const INVITATION_TOKEN_PREFIX: &str = "claviger_invitation_";
/// Keys that one removal ends or hands over, in its one transaction.
const KEYS_PER_REMOVAL_MAX: usize = 1000;

const NO_MEMBER: AppError = AppError::NotFound { what: "member" };
const NO_INVITATION: AppError = AppError::NotFound { what: "invitation" };
const NO_ORGANIZATION: AppError = AppError::NotFound { what: "organization" };

/// An invitation that was just made.
pub struct Invited {
    /// The invitation.
    pub invitation: Invitation,
    /// What accepts it, where it was not mailed: it exists nowhere else.
    pub token: Option<IssuedSecret>,
}

/// What to change of a member. What is `None` stays as it is.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct UpdateMember {
    /// The name that people see.
    pub name: Option<Name>,
    /// What they may do.
    pub role: Option<Role>,
    /// The kinds of alerts that they are mailed, or `None` for what their role has.
    pub alert_mails: Option<Option<BTreeSet<AlertKind>>>,
}

/// What becomes of the keys of somebody who leaves.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct RemoveMember {
    /// Keys to revoke, and with them all that were made with them.
    pub revoke: Vec<KeyId>,
    /// Keys to hand over.
    pub hand_over: Vec<KeyId>,
    /// What to do with all others that are neither revoked nor expired. Must be said if there are any.
    pub rest: Option<Rest>,
    /// Who gets what is handed over.
    pub to: Option<MemberId>,
    /// Only say what would be done.
    pub dry_run: bool,
}

/// What becomes of keys that are not named.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rest {
    /// They are revoked.
    Revoke,
    /// They are handed over.
    HandOver,
    /// They stay the organization's, as they are.
    Keep,
}

/// What became of the keys of somebody who left.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RemovedMember {
    /// Who it was.
    pub member: Member,
    /// Keys that were revoked.
    pub revoked: Vec<Key>,
    /// Keys that were handed over. Whoever left still knows their secrets.
    pub handed_over: Vec<Key>,
    /// Keys that stay as they are.
    pub kept: Vec<Key>,
}

impl App {
    /// Invites somebody. What accepts the invitation is mailed to them, or else in the answer, for whoever delivers it. An open
    /// invitation to the same address ends, if the actor may end it.
    pub async fn invite_member(
        &self,
        actor: &Actor,
        organization: OrganizationId,
        email: &EmailAddress,
        role: Role,
        by_mail: bool,
    ) -> Result<Mutation<Invited>, AppError> {
        let mut work = self.begin(actor).await?;
        let reader = work.tx.connection().await?;
        let managing = actor.manage_members(reader, organization).await?;
        let name = organizations::find(reader, organization).await?.ok_or(NO_ORGANIZATION)?.name;
        managing.must_manage(role)?;
        let email = lower_case(email);
        if members::find_by_email(reader, organization, &email).await?.is_some() {
            return Err(AppError::conflict("This person is a member already."));
        }
        let now = work.now;
        let mut open = invitations::list(reader, organization).await?;
        open.retain(|invitation| invitation.is_open(now));
        let replaced = open.iter().find(|invitation| invitation.email == email).cloned();
        if let Some(replaced) = &replaced {
            // It ends by this, which takes whoever may end it.
            managing.must_manage(replaced.role)?;
        } else if open.len() >= limits::MEMBERS_PER_ORGANIZATION_MAX {
            return Err(too_many("open invitations"));
        }
        let token = issue_operator_token(INVITATION_TOKEN_PREFIX, &*self.entropy);
        let created_at = work.now.to_whole_seconds();
        let invitation = Invitation {
            id: InvitationId::new(work.now, &*self.entropy),
            organization,
            email,
            role,
            created_at,
            expires_at: created_at.plus_seconds(limits::INVITATION_TTL_SECONDS).unwrap_or(created_at),
        };
        invitations::put(&mut work.tx, &invitation, &token.digest()).await?;
        if let Some(replaced) = &replaced {
            let deed = Deed::new(Action::InvitationRevoked, replaced.id, Some(replaced), None).of(organization);
            work.record(deed);
        }
        work.record(Deed::new(Action::MemberInvited, invitation.id, None, Some(&invitation)).of(organization));
        if !by_mail {
            return Ok(work.done(Invited { invitation, token: Some(token) }));
        }
        let token = token.into_clear();
        let url = work.delivery.as_ref().and_then(|delivery| delivery.invitation_url.as_ref());
        let (what, how) = match url {
            Some(url) => ("link", url.with(&token)),
            None => ("token", token),
        };
        let text = format!(
            "You are invited to {} as {}.\n\nYour {what}, which works once and until {}:\n\n{}\n",
            name.as_str(),
            role.as_str(),
            invitation.expires_at,
            *how
        );
        let mail = Mail::new(invitation.email.clone(), None, format!("Invitation to {}", name.as_str()), text);
        work.mail(&mail.map_err(|error| AppError::Internal { context: error.to_string() })?).await?;
        Ok(work.done(Invited { invitation, token: None }))
    }

    /// Lists an organization's invitations that were not accepted, those whose time is over included.
    pub async fn list_invitations(
        &self,
        actor: &Actor,
        organization: OrganizationId,
    ) -> Result<Vec<Invitation>, AppError> {
        let mut reader = self.read_people(actor, organization).await?;
        Ok(invitations::list(&mut reader, organization).await?)
    }

    /// Reads on behalf of somebody who may see the people of an organization that there is.
    async fn read_people(&self, actor: &Actor, organization: OrganizationId) -> Result<Connection, AppError> {
        let mut reader = self.store.read().await?;
        actor.see_members(&mut reader, organization).await?;
        organizations::find(&mut reader, organization).await?.ok_or(NO_ORGANIZATION)?;
        Ok(reader)
    }

    /// Takes an invitation back.
    pub async fn revoke_invitation(
        &self,
        actor: &Actor,
        organization: OrganizationId,
        id: InvitationId,
    ) -> Result<Mutation<Invitation>, AppError> {
        let mut work = self.begin(actor).await?;
        let reader = work.tx.connection().await?;
        let managing = actor.manage_members(reader, organization).await?;
        let found = invitations::find(reader, id).await?.filter(|found| found.organization == organization);
        let invitation = found.ok_or(NO_INVITATION)?;
        managing.must_manage(invitation.role)?;
        invitations::delete(&mut work.tx, id).await?;
        work.record(Deed::new(Action::InvitationRevoked, id, Some(&invitation), None).of(organization));
        Ok(work.done(invitation))
    }

    /// Shows the invitation whose link has this token, if it still works.
    pub async fn find_invitation(&self, token: PresentedSecret<'_>) -> Result<Invitation, AppError> {
        let mut reader = self.store.read().await?;
        let found = invitations::find_by_digest(&mut reader, &token.digest()).await?;
        found.filter(|invitation| invitation.is_open(self.now())).ok_or(NO_INVITATION)
    }

    /// Makes whoever holds an invitation's token a member. The token works once.
    pub async fn accept_invitation(
        &self,
        actor: &Actor,
        token: PresentedSecret<'_>,
        name: Name,
    ) -> Result<Mutation<Member>, AppError> {
        actor.must_be_operator()?;
        // Nobody waits in the queue of those who write for a token that opens nothing. Who repeats a request is given the answer
        // that was kept, for by then the token is used up.
        if actor.attempt().is_none() {
            self.find_invitation(token).await?;
        }
        let mut work = self.begin(actor).await?;
        let now = work.now;
        let reader = work.tx.connection().await?;
        let found = invitations::find_by_digest(reader, &token.digest()).await?;
        let invitation = found.filter(|invitation| invitation.is_open(now)).ok_or(NO_INVITATION)?;
        if members::list(reader, invitation.organization).await?.len() >= limits::MEMBERS_PER_ORGANIZATION_MAX {
            return Err(too_many("members"));
        }
        let member = Member {
            id: MemberId::new(now, &*self.entropy),
            organization: invitation.organization,
            email: invitation.email.clone(),
            name,
            role: invitation.role,
            alert_mails: None,
            created_at: now.to_whole_seconds(),
        };
        invitations::delete(&mut work.tx, invitation.id).await?;
        members::put(&mut work.tx, &member).await?;
        let deed = Deed::new(Action::MemberJoined, member.id, None, Some(&member)).of(member.organization);
        work.record(deed);
        Ok(work.done(member))
    }

    /// Lists an organization's members, oldest first.
    pub async fn list_members(&self, actor: &Actor, organization: OrganizationId) -> Result<Vec<Member>, AppError> {
        let mut reader = self.read_people(actor, organization).await?;
        Ok(members::list(&mut reader, organization).await?)
    }

    /// Shows a member.
    pub async fn find_member(
        &self,
        actor: &Actor,
        organization: OrganizationId,
        id: MemberId,
    ) -> Result<Member, AppError> {
        let mut reader = self.store.read().await?;
        actor.see_members(&mut reader, organization).await?;
        find(&mut reader, organization, id).await
    }

    /// The keys that a member made or was handed over, and those that were made with them, that are neither revoked
    /// nor expired.
    pub async fn list_member_keys(
        &self,
        actor: &Actor,
        organization: OrganizationId,
        id: MemberId,
    ) -> Result<Vec<KeyRow>, AppError> {
        let now = self.now();
        let mut reader = self.store.read().await?;
        actor.see_members(&mut reader, organization).await?;
        find(&mut reader, organization, id).await?;
        let lineage = Lineage::of(&mut reader, Creator::Member(id), now).await?;
        let rows = keys::list_by_id(&mut reader, &live_keys(&lineage, id)).await?;
        Ok(rows.into_iter().map(|row| self.with_last_used(row)).collect())
    }

    /// Renames a member, gives them another role or chooses what alerts they are mailed; the last, everybody may for themselves.
    /// The last owner stays one.
    pub async fn update_member(
        &self,
        actor: &Actor,
        organization: OrganizationId,
        id: MemberId,
        input: UpdateMember,
    ) -> Result<Mutation<Member>, AppError> {
        let UpdateMember { name, role, alert_mails } = input;
        let mut work = self.begin(actor).await?;
        let reader = work.tx.connection().await?;
        let managing = if name.is_none() && role.is_none() {
            actor.manage_members_or_self(reader, organization, id).await?
        } else {
            actor.manage_members(reader, organization).await?
        };
        let before = find(reader, organization, id).await?;
        managing.must_manage(before.role)?;
        let mut member = before.clone();
        member.name = name.unwrap_or(member.name);
        member.role = role.unwrap_or(member.role);
        member.alert_mails = alert_mails.unwrap_or(member.alert_mails);
        managing.must_manage(member.role)?;
        if member.role != Role::Owner {
            must_not_be_last_owner(reader, &before).await?;
        }
        if member == before {
            let revision = work.tx.revision_before();
            return Ok(work.at(member, revision));
        }
        members::put(&mut work.tx, &member).await?;
        work.record(Deed::new(Action::MemberUpdated, id, Some(&before), Some(&member)).of(organization));
        Ok(work.done(member))
    }

    /// Takes a member out of an organization and, in the same transaction, revokes or hands over their keys. The last
    /// owner cannot leave, and whoever may not manage keys ends none by leaving.
    pub async fn remove_member(
        &self,
        actor: &Actor,
        organization: OrganizationId,
        id: MemberId,
        input: RemoveMember,
    ) -> Result<Mutation<RemovedMember>, AppError> {
        // There may be very many keys to look through. Whoever may not, or only asks, makes nobody who writes wait for it.
        let mut reader = self.store.read().await?;
        let planned = plan_removal(&mut reader, actor, organization, id, &input, self.now()).await;
        drop(reader);
        // A request that was answered before is answered so again, whatever it would come to now.
        let mut work = self.begin(actor).await?;
        let planned = planned?;
        if input.dry_run {
            let revision = work.tx.revision_before();
            return Ok(work.at(planned, revision));
        }
        let now = work.now;
        let removed = plan_removal(work.tx.connection().await?, actor, organization, id, &input, now).await?;
        for key in &removed.revoked {
            revoke(&mut work, key, Some("Its member was removed".to_owned())).await?;
            self.room.has_changed(key.organization, &key.api);
        }
        if let Some(to) = input.to {
            for key in &removed.handed_over {
                let handed_over = Key { created_by: Creator::Member(to), ..key.clone() };
                put_key(&mut work, Action::KeyUpdated, key, &handed_over).await?;
            }
        }
        members::delete(&mut work.tx, id).await?;
        let deed = Deed::new(Action::MemberRemoved, id, Some(&removed.member), None).of(organization);
        work.record(deed);
        Ok(work.done(removed))
    }
}

/// What a removal comes to, if the actor may do it.
async fn plan_removal(
    connection: &mut Connection,
    actor: &Actor,
    organization: OrganizationId,
    id: MemberId,
    input: &RemoveMember,
    now: Timestamp,
) -> Result<RemovedMember, AppError> {
    let managing = actor.manage_members_or_self(connection, organization, id).await?;
    let member = find(connection, organization, id).await?;
    managing.must_manage(member.role)?;
    must_not_be_last_owner(connection, &member).await?;
    must_have_heir(connection, &member, input).await?;
    let may_manage_keys = !actor.is_member(id) || member.role >= Role::Developer;
    let removed = sort_keys(connection, member, input, now).await?;
    let changes_keys = !removed.revoked.is_empty() || !removed.handed_over.is_empty();
    if changes_keys && !may_manage_keys {
        return Err(AppError::forbidden("A viewer cannot manage keys by leaving. Say keep, or let an admin decide."));
    }
    Ok(removed)
}

/// Whoever gets keys must be able to manage them.
async fn must_have_heir(connection: &mut Connection, member: &Member, input: &RemoveMember) -> Result<(), AppError> {
    let Some(to) = input.to else {
        let wants_heir = !input.hand_over.is_empty() || input.rest == Some(Rest::HandOver);
        return if wants_heir { Err(AppError::invalid("to", "is missing: who gets the keys?")) } else { Ok(()) };
    };
    let heir = members::find(connection, to).await?.filter(|heir| heir.organization == member.organization);
    let heir = heir.ok_or_else(|| AppError::invalid("to", "is no member of this organization"))?;
    if heir.id == member.id || heir.role < Role::Developer {
        return Err(AppError::invalid("to", "must be another member, who may manage keys"));
    }
    Ok(())
}

/// The keys that come from a member and are neither revoked nor expired.
fn live_keys(lineage: &Lineage, member: MemberId) -> Vec<KeyId> {
    let made = lineage.descendants([Creator::Member(member)]);
    made.into_iter().filter(|key| key.is_alive).map(|key| key.id).collect()
}

/// Decides of each key of a member what becomes of it.
async fn sort_keys(
    connection: &mut Connection,
    member: Member,
    input: &RemoveMember,
    now: Timestamp,
) -> Result<RemovedMember, AppError> {
    let lineage = Lineage::of(connection, Creator::Member(member.id), now).await?;
    let ids = live_keys(&lineage, member.id);
    if ids.len() > KEYS_PER_REMOVAL_MAX {
        return Err(AppError::conflict(format!(
            "The member made {} keys that are live, more than the {KEYS_PER_REMOVAL_MAX} that one call takes. \
             Revoke some of them first; the operator can revoke many at once, by created_by.",
            ids.len()
        )));
    }
    let rows = keys::list_by_id(connection, &ids).await?;
    let all: Vec<Key> = rows.into_iter().map(|row| row.key).collect();
    for (field, named) in [("revoke", &input.revoke), ("hand_over", &input.hand_over)] {
        if let Some(stranger) = named.iter().find(|id| !all.iter().any(|key| key.id == **id)) {
            return Err(AppError::invalid(field, format!("{stranger} is no live key that this member made")));
        }
    }
    if let Some(twice) = input.revoke.iter().find(|id| input.hand_over.contains(id)) {
        return Err(AppError::invalid("hand_over", format!("{twice} is also to be revoked")));
    }
    let is_to_be_revoked = |key: &Key| {
        input.revoke.contains(&key.id) || (input.rest == Some(Rest::Revoke) && !input.hand_over.contains(&key.id))
    };
    let roots = all.iter().filter(|key| is_to_be_revoked(key)).map(|key| Creator::Key(key.id));
    let made_with_revoked: HashSet<KeyId> = lineage.descendants(roots).iter().map(|key| key.id).collect();
    if let Some(id) = input.hand_over.iter().find(|id| made_with_revoked.contains(id)) {
        let message = format!("{id} was made with a key that is to be revoked, and is revoked with it");
        return Err(AppError::invalid("hand_over", message));
    }
    let mut removed = RemovedMember { member, revoked: Vec::new(), handed_over: Vec::new(), kept: Vec::new() };
    let own = Creator::Member(removed.member.id);
    for key in all {
        if is_to_be_revoked(&key) || made_with_revoked.contains(&key.id) {
            removed.revoked.push(key);
            continue;
        }
        match (input.hand_over.contains(&key.id), input.rest) {
            // What was made with their keys was made by a key, and stays that.
            (true, _) | (_, Some(Rest::HandOver)) if key.created_by == own => removed.handed_over.push(key),
            (true, _) | (_, Some(_)) => removed.kept.push(key),
            (false, None) => {
                return Err(AppError::invalid(
                    "rest",
                    "is missing: the member made live keys that are not named. Say revoke, hand_over or keep.",
                ));
            }
        }
    }
    Ok(removed)
}

async fn find(connection: &mut Connection, organization: OrganizationId, id: MemberId) -> Result<Member, AppError> {
    let found = members::find(connection, id).await?.filter(|member| member.organization == organization);
    found.ok_or(NO_MEMBER)
}

async fn must_not_be_last_owner(connection: &mut Connection, member: &Member) -> Result<(), AppError> {
    if member.role == Role::Owner && members::count_of_role(connection, member.organization, Role::Owner).await? <= 1 {
        return Err(AppError::conflict("The last owner must stay. Make somebody else an owner first."));
    }
    Ok(())
}

/// Addresses are people: `Ada@` and `ada@` are one.
fn lower_case(email: &EmailAddress) -> EmailAddress {
    email.as_str().to_ascii_lowercase().parse().unwrap_or_else(|_| email.clone())
}

fn too_many(what: &str) -> AppError {
    AppError::conflict(format!(
        "The organization has {} {what} already, which is the limit.",
        limits::MEMBERS_PER_ORGANIZATION_MAX
    ))
}
