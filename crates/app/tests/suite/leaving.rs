//! What becomes of the keys of members who leave.

use claviger_app::{Actor, AppError, CreateKey, RemoveMember, RemovedMember, Rest, UpdateMember};
use claviger_domain::audit::{Action, Source};
use claviger_domain::denial::Denial;
use claviger_domain::id::MemberId;
use claviger_domain::key::Key;
use claviger_domain::limits;
use claviger_domain::mail::EmailAddress;
use claviger_domain::member::Role;
use futures_util::stream::{self, StreamExt as _};

use crate::suite::audit::{events, head};
use crate::suite::support::{Deployment, Held, commit, invalid_field, plain};

/// An actor on behalf of a member.
fn acting(member: MemberId) -> Actor {
    Actor::member(member, None, Source::Unknown)
}

impl Deployment {
    async fn create_as(&self, member: MemberId, input: CreateKey) -> Held {
        commit(self.app.create_key(&acting(member), self.place("tork"), input)).await.unwrap().into()
    }

    async fn remove(&self, actor: &Actor, member: MemberId, input: RemoveMember) -> Result<RemovedMember, AppError> {
        commit(self.app.remove_member(actor, self.organization, member, input)).await.map(|done| done.value)
    }
}

fn ids(keys: &[Key]) -> Vec<String> {
    let mut ids: Vec<String> = keys.iter().map(|key| key.id.to_string()).collect();
    ids.sort_unstable();
    ids
}

fn sorted<const N: usize>(keys: [&Held; N]) -> Vec<String> {
    let mut ids: Vec<String> = keys.iter().map(|key| key.id.to_string()).collect();
    ids.sort_unstable();
    ids
}

#[tokio::test]
async fn a_removal_takes_so_many_live_keys_and_no_more() {
    let deployment = Deployment::start().await;
    let (app, operator) = (&deployment.app, Actor::operator());
    let leaver = deployment.join("leaver", Role::Developer).await.id;
    let making = (0..1001).map(|_| deployment.create_as(leaver, plain("one of many")));
    let made: Vec<Held> = stream::iter(making).buffer_unordered(500).collect().await;
    let all = RemoveMember { rest: Some(Rest::Revoke), ..RemoveMember::default() };
    for dry_run in [true, false] {
        let refused = deployment.remove(&operator, leaver, RemoveMember { dry_run, ..all.clone() }).await;
        let Err(AppError::Conflict { message }) = refused else { panic!("{refused:?}") };
        assert!(message.contains("1001 keys"), "{message}");
    }
    // Those that ended do not count, and what was made with them does.
    let child = deployment.create_with(&made[0], plain("made with one of them")).await.unwrap();
    for key in &made[..2] {
        commit(app.revoke_key(&operator, key.id, None, None)).await.unwrap();
    }
    let dry = deployment.remove(&operator, leaver, RemoveMember { dry_run: true, ..all.clone() }).await.unwrap();
    assert_eq!(dry.revoked.len(), 1000);
    assert_eq!(deployment.evaluate(&child.secret), Ok(()));
    let listed = app.list_member_keys(&operator, deployment.organization, leaver).await.unwrap();
    assert_eq!(listed.len(), 1000);
    let removed = deployment.remove(&operator, leaver, all).await.unwrap();
    assert_eq!(ids(&removed.revoked), ids(&dry.revoked));
    for key in made.iter().chain([&child]) {
        assert_eq!(deployment.evaluate(&key.secret), Err(Denial::Revoked));
    }
}

#[tokio::test]
async fn what_was_made_with_a_key_that_is_revoked_goes_with_it() {
    let deployment = Deployment::start().await;
    let operator = Actor::operator();
    let (leaver, heir) =
        (deployment.join("leaver", Role::Developer).await.id, deployment.join("heir", Role::Developer).await.id);
    let (known, spared) =
        (deployment.create_as(leaver, plain("known")).await, deployment.create_as(leaver, plain("spared")).await);
    let made = deployment.create_with(&known, plain("made with it")).await.unwrap();
    let last = deployment.create_with(&made, plain("made with that")).await.unwrap();
    let beside = deployment.create_with(&spared, plain("made with the other")).await.unwrap();
    // One in between that is dead already keeps nobody alive.
    commit(deployment.app.revoke_key(&operator, made.id, None, None)).await.unwrap();
    let rest = |rest| RemoveMember {
        revoke: vec![known.id],
        rest: Some(rest),
        to: Some(heir),
        dry_run: true,
        ..RemoveMember::default()
    };
    for what in [Rest::Keep, Rest::HandOver] {
        let told = deployment.remove(&operator, leaver, rest(what)).await.unwrap();
        assert_eq!(ids(&told.revoked), sorted([&known, &last]), "{what:?}");
        let left = ids(&[told.kept, told.handed_over].concat());
        assert_eq!(left, sorted([&spared, &beside]), "{what:?}");
    }
    for contradiction in [
        RemoveMember { hand_over: vec![last.id], ..rest(Rest::Keep) },
        RemoveMember { hand_over: vec![last.id], revoke: vec![], ..rest(Rest::Revoke) },
    ] {
        let refused = deployment.remove(&operator, leaver, contradiction).await;
        assert_eq!(invalid_field(refused).as_deref(), Some("hand_over"));
    }
    let all_named =
        RemoveMember { hand_over: vec![spared.id, beside.id], rest: None, dry_run: false, ..rest(Rest::Keep) };
    deployment.remove(&operator, leaver, all_named).await.unwrap();
    for (key, expected) in
        [(&known, Err(Denial::Revoked)), (&last, Err(Denial::Revoked)), (&spared, Ok(())), (&beside, Ok(()))]
    {
        assert_eq!(deployment.evaluate(&key.secret), expected);
    }
}

#[tokio::test]
async fn who_may_not_manage_keys_does_not_end_any_by_leaving() {
    let deployment = Deployment::start().await;
    let leaver = deployment.join("leaver", Role::Developer).await.id;
    let heir = deployment.join("heir", Role::Developer).await.id;
    let key = deployment.create_as(leaver, plain("in use")).await;
    let made_viewer = UpdateMember { role: Some(Role::Viewer), ..UpdateMember::default() };
    let (operator, organization) = (Actor::operator(), deployment.organization);
    commit(deployment.app.update_member(&operator, organization, leaver, made_viewer)).await.unwrap();
    let nothing = RemoveMember::default();
    for decided in [
        RemoveMember { rest: Some(Rest::Revoke), ..nothing.clone() },
        RemoveMember { rest: Some(Rest::HandOver), to: Some(heir), ..nothing.clone() },
        RemoveMember { revoke: vec![key.id], ..nothing.clone() },
        RemoveMember { hand_over: vec![key.id], to: Some(heir), rest: Some(Rest::Keep), ..nothing.clone() },
    ] {
        for dry_run in [true, false] {
            let refused = deployment.remove(&acting(leaver), leaver, RemoveMember { dry_run, ..decided.clone() }).await;
            assert!(matches!(refused, Err(AppError::Forbidden { .. })), "{refused:?}");
        }
    }
    let kept = RemoveMember { rest: Some(Rest::Keep), ..nothing };
    assert_eq!(deployment.remove(&acting(leaver), leaver, kept).await.unwrap().kept.len(), 1);
    assert_eq!(deployment.evaluate(&key.secret), Ok(()));
    // Whoever manages keys decides on their own.
    let own = deployment.create_as(heir, plain("own")).await;
    let ended = RemoveMember { rest: Some(Rest::Revoke), ..RemoveMember::default() };
    deployment.remove(&acting(heir), heir, ended).await.unwrap();
    assert_eq!(deployment.evaluate(&own.secret), Err(Denial::Revoked));
}

#[tokio::test]
async fn an_invitation_is_not_ended_by_who_could_not_have_made_it() {
    let deployment = Deployment::start().await;
    let (app, organization) = (&deployment.app, deployment.organization);
    let owner = acting(deployment.join("owner", Role::Owner).await.id);
    let admin = acting(deployment.join("admin", Role::Admin).await.id);
    let email: EmailAddress = "ada@example.com".parse().unwrap();
    let invite = async |actor: &Actor, role| {
        commit(app.invite_member(actor, organization, &email, role, false)).await.map(|done| done.value.invitation)
    };
    let first = invite(&owner, Role::Owner).await.unwrap();
    let before = head(app).await.number;
    assert!(matches!(invite(&admin, Role::Viewer).await, Err(AppError::Forbidden { .. })));
    let open = app.list_invitations(&admin, organization).await.unwrap();
    assert_eq!((open, head(app).await.number), (vec![first.clone()], before));
    // Who may end it leaves word of that.
    let second = invite(&owner, Role::Admin).await.unwrap();
    let told: Vec<_> = events(app, before).await.into_iter().map(|event| (event.action, event.target)).collect();
    let expected = [(Action::InvitationRevoked, first.id.to_string()), (Action::MemberInvited, second.id.to_string())];
    assert_eq!(told, expected);
    invite(&admin, Role::Developer).await.unwrap();
    // One whose time is over is in nobody's way.
    invite(&owner, Role::Owner).await.unwrap();
    deployment.clock.advance_seconds(limits::INVITATION_TTL_SECONDS);
    let before = head(app).await.number;
    invite(&admin, Role::Viewer).await.unwrap();
    assert_eq!(head(app).await.number, before + 1);
}
