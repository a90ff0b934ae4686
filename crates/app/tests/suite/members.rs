//! Members: what becomes of races, and of what somebody was answered who has left since.

use claviger_app::{Actor, AppError, Attempt, RemoveMember, Rest, UpdateMember};
use claviger_domain::audit::Source;
use claviger_domain::id::MemberId;
use claviger_domain::member::Role;
use claviger_domain::secret::PresentedSecret;

use super::support::{Deployment, commit, plain};

async fn invite(deployment: &Deployment, email: &str, role: Role) -> String {
    let (operator, email) = (Actor::operator(), email.parse().unwrap());
    let invited = commit(deployment.app.invite_member(&operator, deployment.organization, &email, role, false)).await;
    invited.unwrap().value.token.unwrap().into_clear().to_string()
}

async fn accept(deployment: &Deployment, token: &str) -> Result<MemberId, AppError> {
    let (operator, token) = (Actor::operator(), PresentedSecret::new(token));
    let name = "Somebody".parse().unwrap();
    commit(deployment.app.accept_invitation(&operator, token, name)).await.map(|done| done.value.id)
}

async fn member(deployment: &Deployment, email: &str, role: Role) -> MemberId {
    accept(deployment, &invite(deployment, email, role).await).await.unwrap()
}

fn acting(id: MemberId) -> Actor {
    Actor::member(id, None, Source::Unknown)
}

async fn remove(deployment: &Deployment, by: MemberId, id: MemberId, rest: Rest) -> Result<(), AppError> {
    let input = RemoveMember { rest: Some(rest), ..RemoveMember::default() };
    let actor = acting(by);
    commit(deployment.app.remove_member(&actor, deployment.organization, id, input)).await.map(drop)
}

#[tokio::test]
async fn two_who_accept_one_invitation_and_two_owners_who_remove_each_other_are_one_each() {
    let deployment = Deployment::start().await;
    let token = invite(&deployment, "ada@example.com", Role::Owner).await;
    let (one, other) = tokio::join!(accept(&deployment, &token), accept(&deployment, &token));
    assert_ne!(one.is_ok(), other.is_ok());
    let ada = one.or(other).unwrap();
    let eve = member(&deployment, "eve@example.com", Role::Owner).await;
    let (one, other) =
        tokio::join!(remove(&deployment, ada, eve, Rest::Keep), remove(&deployment, eve, ada, Rest::Keep));
    assert_ne!(one.is_ok(), other.is_ok());
    let left = deployment.app.list_members(&Actor::operator(), deployment.organization).await.unwrap();
    assert_eq!(left.iter().map(|member| member.role).collect::<Vec<_>>(), [Role::Owner]);
}

#[tokio::test]
async fn who_was_removed_is_not_told_again_what_they_were_answered() {
    let deployment = Deployment::start().await;
    member(&deployment, "ada@example.com", Role::Owner).await;
    let eve = member(&deployment, "eve@example.com", Role::Developer).await;
    let attempt = Attempt { caller: "operator".to_owned(), key_digest: [1; 32], fingerprint: [2; 32] };
    let actor = acting(eve).with_attempt(Some(attempt));
    let (_, _, commit) =
        deployment.app.create_key(&actor, deployment.place("tork"), plain("x")).await.unwrap().into_parts();
    commit.finish(Some(b"kept".to_vec())).await.unwrap();
    let again = async || deployment.app.create_key(&actor, deployment.place("tork"), plain("x")).await.map(drop);
    assert!(matches!(again().await, Err(AppError::AlreadyAnswered { .. })));
    remove(&deployment, eve, eve, Rest::Keep).await.unwrap();
    assert!(matches!(again().await, Err(AppError::UnknownMember { .. })));
}

#[tokio::test]
async fn who_may_not_manage_keys_ends_none_by_leaving() {
    let deployment = Deployment::start().await;
    member(&deployment, "ada@example.com", Role::Owner).await;
    let eve = member(&deployment, "eve@example.com", Role::Developer).await;
    let actor = acting(eve);
    commit(deployment.app.create_key(&actor, deployment.place("tork"), plain("x"))).await.unwrap();
    let demoted = UpdateMember { role: Some(Role::Viewer), ..UpdateMember::default() };
    commit(deployment.app.update_member(&Actor::operator(), deployment.organization, eve, demoted)).await.unwrap();
    let refused = remove(&deployment, eve, eve, Rest::Revoke).await;
    assert!(matches!(refused, Err(AppError::Forbidden { .. })), "{refused:?}");
    remove(&deployment, eve, eve, Rest::Keep).await.unwrap();
}

#[tokio::test]
async fn a_mailed_invitation_leads_to_the_operators_page_and_works_once() {
    let deployment = Deployment::start().await;
    deployment.set_up_delivery(None);
    let (operator, email) = (Actor::operator(), "owner@example.com".parse().unwrap());
    let invited = deployment.app.invite_member(&operator, deployment.organization, &email, Role::Owner, true);
    assert!(commit(invited).await.unwrap().value.token.is_none());
    deployment.app.run_due().await.unwrap();
    let file = std::fs::read_dir(deployment.mail_folder()).unwrap().next().unwrap().unwrap().path();
    // Long lines are folded.
    let mail = std::fs::read_to_string(file).unwrap().replace("=\r\n", "").replace("=3D", "=");
    let (_, link) = mail.split_once("https://keys.example.com/join#").unwrap();
    let token = link.lines().next().unwrap();
    assert!(token.starts_with("claviger_invitation_"), "{mail}");
    accept(&deployment, token).await.unwrap();
    assert!(matches!(accept(&deployment, token).await, Err(AppError::NotFound { .. })));
}

#[tokio::test]
async fn who_accepts_again_with_the_same_idempotency_key_is_given_the_same_answer() {
    let deployment = Deployment::start().await;
    let token = invite(&deployment, "ada@example.com", Role::Owner).await;
    let attempt = Attempt { caller: "operator".to_owned(), key_digest: [1; 32], fingerprint: [2; 32] };
    let actor = Actor::operator().with_attempt(Some(attempt));
    let accept = async || {
        let name = "Ada".parse().unwrap();
        deployment.app.accept_invitation(&actor, PresentedSecret::new(&token), name).await
    };
    let (_, _, commit) = accept().await.unwrap().into_parts();
    commit.finish(Some(b"kept".to_vec())).await.unwrap();
    assert!(matches!(accept().await, Err(AppError::AlreadyAnswered { .. })));
}
