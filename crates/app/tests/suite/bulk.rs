//! Revoking many keys at once.

use std::collections::BTreeSet;

use claviger_app::{Actor, AppError, BulkRevoked, CreateKey, Lifetime, Mutated, Selection};
use claviger_domain::audit::Action;
use claviger_domain::denial::Denial;
use claviger_domain::id::OrganizationId;
use claviger_domain::key::{Creator, Environment, Kind};
use claviger_domain::period::TimeZone;
use claviger_domain::time::Timestamp;
use futures_util::stream::{self, StreamExt as _};

use crate::suite::audit::{events, head};
use crate::suite::support::{
    Deployment, Held, commit, invalid_field, of_environment, of_kind, plain, restricted, start_time,
};

async fn revoke(
    deployment: &Deployment,
    selection: Selection,
    dry_run: bool,
) -> Result<Mutated<BulkRevoked>, AppError> {
    commit(deployment.app.revoke_keys(&Actor::operator(), selection, Some("leak".into()), dry_run)).await
}

fn issued_before(at: Timestamp) -> Selection {
    Selection { issued_before: Some(at), ..Selection::default() }
}

/// Many keys, made some hundreds at a time.
async fn create_many(deployment: &Deployment, count: usize) -> Vec<Held> {
    let making = (0..count).map(|_| deployment.create("tork", plain("one of many")));
    stream::iter(making).buffer_unordered(500).map(Result::unwrap).collect().await
}

#[tokio::test]
async fn nothing_named_is_nothing_selected() {
    let deployment = Deployment::start().await;
    let key = deployment.create("tork", plain("x")).await.unwrap();
    let nothing = Selection::default();
    let too_little = [
        nothing.clone(),
        Selection { api: Some("tork".parse().unwrap()), ..nothing.clone() },
        Selection { environment: Some(Environment::Live), ..nothing },
    ];
    for selection in too_little {
        assert!(matches!(revoke(&deployment, selection, false).await, Err(AppError::Invalid { .. })));
    }
    let holder = Actor::key(key.id, claviger_domain::audit::Source::Unknown);
    let selection = Selection { kind: Some(Kind::Secret), ..Selection::default() };
    let refused = deployment.app.revoke_keys(&holder, selection, None, false).await.map(drop);
    assert!(matches!(refused, Err(AppError::Forbidden { .. })));
    assert_eq!(deployment.evaluate(&key.secret), Ok(()));
}

#[tokio::test]
async fn only_what_fits_dies() {
    let deployment = Deployment::start().await;
    let app = &*deployment.app;
    let other = commit(app.create_organization(&Actor::operator(), "Other".parse().unwrap(), TimeZone::UTC))
        .await
        .unwrap()
        .value
        .id;
    let mine = deployment.create("tork", of_kind(Kind::Secret)).await.unwrap();
    let made_with = deployment.create_with(&mine, restricted(r#"["evaluate"]"#)).await.unwrap();
    let weak = deployment.create("tork", restricted(r#"["evaluate"]"#)).await.unwrap();
    let test = deployment.create("example", of_environment(Environment::Test)).await.unwrap();
    let short = CreateKey { lifetime: Some(Lifetime::TtlSeconds(1)), ..plain("short") };
    deployment.create("tork", short).await.unwrap();
    deployment.clock.advance_seconds(1);

    let mine_only = Selection { organization: Some(deployment.organization), ..Selection::default() };
    let check = async |selection: Selection, expected: &[&Held]| {
        let found = revoke(&deployment, selection, true).await.unwrap().value;
        let ids: BTreeSet<_> = found.sample.iter().map(|key| key.id.to_string()).collect();
        assert_eq!(ids, expected.iter().map(|key| key.id.to_string()).collect());
        assert_eq!((found.matched, found.revoked, found.dry_run), (expected.len() as i64, 0, true));
    };
    // The one that expired is not among them.
    check(mine_only.clone(), &[&mine, &made_with, &weak, &test]).await;
    check(Selection { organization: Some(other), ..Selection::default() }, &[]).await;
    check(Selection { organization: Some(OrganizationId::from_u128(1)), ..Selection::default() }, &[]).await;
    check(Selection { api: Some("example".parse().unwrap()), ..mine_only.clone() }, &[&test]).await;
    check(Selection { environment: Some(Environment::Test), ..mine_only.clone() }, &[&test]).await;
    check(Selection { created_by: Some(Creator::Operator), ..Selection::default() }, &[&mine, &weak, &test]).await;
    check(Selection { kind: Some(Kind::Restricted), ..Selection::default() }, &[&made_with, &weak]).await;

    let before = head(app).await.number;
    let by_mine = Selection { created_by: Some(Creator::Key(mine.id)), ..Selection::default() };
    let done = revoke(&deployment, by_mine.clone(), false).await.unwrap();
    assert_eq!((done.value.matched, done.value.revoked, done.value.already_revoked), (1, 1, 0));
    assert_eq!(deployment.evaluate(&made_with.secret), Err(Denial::Revoked));
    assert_eq!((deployment.evaluate(&mine.secret), deployment.evaluate(&weak.secret)), (Ok(()), Ok(())));
    let told = events(app, before).await;
    assert_eq!(told.len(), 1);
    assert_eq!((told[0].action, &told[0].target), (Action::KeyRevoked, &made_with.id.to_string()));
    assert_eq!(told[0].after.as_ref().unwrap()["revocation"]["reason"], "leak");
    let again = revoke(&deployment, by_mine, false).await.unwrap();
    assert_eq!((again.value.matched, again.value.revoked, again.value.already_revoked), (0, 0, 1));
    assert_eq!(again.revision, done.revision);
    assert_eq!(events(app, before).await.len(), 1);
}

#[tokio::test]
async fn whatever_comes_from_a_key_dies_with_what_was_made_with_it() {
    let deployment = Deployment::start().await;
    let root = deployment.create("tork", of_kind(Kind::Secret)).await.unwrap();
    let beside = deployment.create("tork", of_kind(Kind::Secret)).await.unwrap();
    let made_beside = deployment.create_with(&beside, of_kind(Kind::Secret)).await.unwrap();
    let mut descendants = Vec::new();
    for _ in 0..4 {
        let maker = descendants.last().unwrap_or(&root);
        descendants.push(deployment.create_with(maker, of_kind(Kind::Secret)).await.unwrap());
    }
    let last = deployment.create_with(&descendants[3], restricted(r#"["evaluate"]"#)).await.unwrap();
    // That one in between is dead already keeps nobody alive.
    let by = |key: &Held| Selection { created_by: Some(Creator::Key(key.id)), ..Selection::default() };
    let of_kind = |selection, kind| Selection { kind: Some(kind), ..selection };
    let done = revoke(&deployment, of_kind(by(&root), Kind::Restricted), false).await.unwrap().value;
    assert_eq!((done.revoked, deployment.evaluate(&last.secret)), (1, Err(Denial::Revoked)));
    let dry = revoke(&deployment, by(&descendants[0]), true).await.unwrap().value;
    assert_eq!((dry.matched, dry.already_revoked, dry.sample.len()), (3, 1, 3));
    let done = revoke(&deployment, by(&descendants[1]), false).await.unwrap().value;
    assert_eq!((done.revoked, done.already_revoked), (2, 1));
    let done = revoke(&deployment, by(&root), false).await.unwrap().value;
    assert_eq!((done.revoked, done.already_revoked), (2, 3));
    for dead in &descendants {
        assert_eq!(deployment.evaluate(&dead.secret), Err(Denial::Revoked));
    }
    for spared in [&root, &beside, &made_beside] {
        assert_eq!(deployment.evaluate(&spared.secret), Ok(()));
    }
}

#[tokio::test]
async fn issued_before_is_exact_to_the_second_and_never_ahead() {
    let deployment = Deployment::start().await;
    let first = deployment.create("tork", plain("at 0.0")).await.unwrap();
    deployment.clock.advance_micros(999_999);
    let second = deployment.create("tork", plain("at 0.999999")).await.unwrap();
    let next = start_time().plus_seconds(1).unwrap();
    // A key that is made in what is left of this second would fit as well.
    for ahead in [next, start_time().plus_seconds(3600).unwrap(), Timestamp::from_micros(start_time().as_micros() + 1)]
    {
        assert_eq!(
            invalid_field(revoke(&deployment, issued_before(ahead), false).await).as_deref(),
            Some("issued_before")
        );
    }
    assert_eq!(revoke(&deployment, issued_before(start_time()), false).await.unwrap().value.matched, 0);
    deployment.clock.advance_micros(1);
    let third = deployment.create("tork", plain("at 1.0")).await.unwrap();
    let done = revoke(&deployment, issued_before(next), false).await.unwrap();
    assert_eq!(done.value.revoked, 2);
    for dead in [&first, &second] {
        assert_eq!(deployment.evaluate(&dead.secret), Err(Denial::Revoked));
    }
    assert_eq!(deployment.evaluate(&third.secret), Ok(()));
}

#[tokio::test]
async fn many_are_revoked_in_parts_and_what_was_cut_short_is_gone_on_with() {
    let deployment = Deployment::start().await;
    let app = &*deployment.app;
    let keys = create_many(&deployment, 1201).await;
    let all = Selection { organization: Some(deployment.organization), ..Selection::default() };
    let before = head(app).await.number;
    // Everything but the last part is committed when the caller is gone.
    let cut_short = app.revoke_keys(&Actor::operator(), all.clone(), None, false).await.unwrap();
    drop(cut_short);
    assert_eq!(head(app).await.number, before + 1000);
    let done = revoke(&deployment, all, false).await.unwrap();
    assert_eq!((done.value.matched, done.value.revoked, done.value.already_revoked), (201, 201, 1000));
    assert_eq!(done.value.sample.len(), 20);
    assert_eq!(head(app).await.number, before + 1201);
    for key in &keys {
        assert_eq!(deployment.evaluate(&key.secret), Err(Denial::Revoked));
    }
}

#[tokio::test]
async fn no_key_that_was_made_meanwhile_is_left() {
    let deployment = Deployment::start().await;
    create_many(&deployment, 700).await;
    let all = Selection { organization: Some(deployment.organization), ..Selection::default() };
    let makers = create_many(&deployment, 300);
    let (done, made) = tokio::join!(revoke(&deployment, all, false), makers);
    let done = done.unwrap();
    assert_eq!(done.value.matched, done.value.revoked);
    for key in made {
        let expected = if key.revision < done.revision { Err(Denial::Revoked) } else { Ok(()) };
        assert_eq!(deployment.evaluate(&key.secret), expected, "{} {}", key.revision, done.revision);
    }
}
