//! What becomes of the keys of members who leave.

use claviger_app::{Actor, AppError, CreateKey, RemoveMember, RemovedMember, Rest};
use claviger_domain::audit::Source;
use claviger_domain::denial::Denial;
use claviger_domain::id::MemberId;
use claviger_domain::key::Key;
use claviger_domain::member::Role;
use futures_util::stream::{self, StreamExt as _};

use super::support::{Deployment, Held, commit, plain};

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
