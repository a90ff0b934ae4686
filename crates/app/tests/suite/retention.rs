//! Keys that ended are forgotten, and what must not be forgotten with them.

use claviger_app::{Actor, AppError, KeyFilter, PageRequest};
use claviger_domain::audit::Source;
use claviger_domain::id::KeyId;
use claviger_domain::limits;
use claviger_domain::secret::SecretDigest;

use super::import::{import, keys, line, outcome};
use super::support::{Deployment, commit, ephemeral, plain};

const DAY_MICROS: i64 = 24 * 3_600_000_000;

async fn listed(deployment: &Deployment) -> Vec<KeyId> {
    let page = PageRequest { after: None, limit: 50 };
    let rows = deployment.app.list_keys(&Actor::operator(), KeyFilter::default(), page).await.unwrap().rows;
    let mut ids: Vec<KeyId> = rows.into_iter().map(|row| row.key.id).collect();
    ids.sort_unstable();
    ids
}

fn sorted<const N: usize>(mut ids: [KeyId; N]) -> [KeyId; N] {
    ids.sort_unstable();
    ids
}

#[tokio::test]
async fn a_key_that_ended_is_shown_for_ninety_days() {
    let deployment = Deployment::start().await;
    let app = &deployment.app;
    let kept = deployment.create("tork", plain("kept")).await.unwrap();
    let revoked = deployment.create("tork", plain("revoked")).await.unwrap();
    commit(app.revoke_key(&Actor::operator(), revoked.id, None, None)).await.unwrap();
    deployment.clock.advance_micros(limits::DEAD_KEYS_KEPT_DAYS * DAY_MICROS);
    app.forget().await.unwrap();
    assert_eq!(listed(&deployment).await, sorted([kept.id, revoked.id]));
    deployment.clock.advance_micros(1_000_001);
    app.forget().await.unwrap();
    assert_eq!(listed(&deployment).await, [kept.id]);
    let gone = app.find_key(&Actor::operator(), revoked.id).await;
    assert!(matches!(gone, Err(AppError::NotFound { .. })));
    assert!(deployment.evaluate(&revoked.secret).is_err());
}

#[tokio::test]
async fn no_import_revives_a_key_that_was_forgotten() {
    let deployment = Deployment::start().await;
    let app = &deployment.app;
    let held = deployment.create("tork", plain("first")).await.unwrap();
    commit(app.rotate_key(&Actor::operator(), held.id, 0, None)).await.unwrap();
    commit(app.revoke_key(&Actor::operator(), held.id, None, None)).await.unwrap();
    deployment.clock.advance_micros((limits::DEAD_KEYS_KEPT_DAYS + 1) * DAY_MICROS);
    app.forget().await.unwrap();
    assert_eq!(listed(&deployment).await, []);
    let lines = vec![line(deployment.organization, SecretDigest::of(&held.secret))];
    assert_eq!(outcome(&import(&deployment, keys(lines)).await.value), (0, 1, vec![]));
    assert!(deployment.evaluate(&held.secret).is_err());
}

#[tokio::test]
async fn a_maker_stays_as_long_as_the_keys_that_it_made() {
    let deployment = Deployment::start().await;
    let app = &deployment.app;
    let leaked = deployment.create("tork", plain("leaked")).await.unwrap();
    let middle = deployment.create_with(&leaked, plain("middle")).await.unwrap();
    let last = deployment.create_with(&middle, plain("last")).await.unwrap();
    for id in [leaked.id, middle.id] {
        commit(app.revoke_key(&Actor::operator(), id, None, None)).await.unwrap();
    }
    deployment.clock.advance_micros((limits::DEAD_KEYS_KEPT_DAYS + 1) * DAY_MICROS);
    app.forget().await.unwrap();
    assert_eq!(listed(&deployment).await, sorted([leaked.id, middle.id, last.id]));
    // They go from the end of the line to its beginning.
    commit(app.revoke_key(&Actor::operator(), last.id, None, None)).await.unwrap();
    deployment.clock.advance_micros((limits::DEAD_KEYS_KEPT_DAYS + 1) * DAY_MICROS);
    for left in [2, 1, 0] {
        app.forget().await.unwrap();
        assert_eq!(listed(&deployment).await.len(), left);
    }
}

#[tokio::test]
async fn ephemeral_keys_are_forgotten_an_hour_after_their_end() {
    let deployment = Deployment::start().await;
    let app = &deployment.app;
    let parent = deployment.create("tork", plain("parent")).await.unwrap();
    let expired = deployment.create_with(&parent, ephemeral(60)).await.unwrap();
    let revoked = deployment.create_with(&parent, ephemeral(24 * 3600)).await.unwrap();
    commit(app.revoke_key(&Actor::key(revoked.id, Source::Unknown), revoked.id, None, None)).await.unwrap();
    deployment.clock.advance_micros(3_600_000_000);
    app.forget().await.unwrap();
    assert_eq!(listed(&deployment).await, sorted([parent.id, expired.id, revoked.id]));
    deployment.clock.advance_micros(61_000_000);
    app.forget().await.unwrap();
    assert_eq!(listed(&deployment).await, [parent.id]);
}
