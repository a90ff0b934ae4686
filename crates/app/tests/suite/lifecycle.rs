//! The life of keys, with the clock in hand: what the operations do is what the engine then says.

use crate::suite::support::{
    Deployment, Held, commit, ephemeral, invalid_field, of_environment, of_kind, plain, restricted, restrictions,
    scopes,
};
use claviger_app::UpdateOrganization;
use claviger_app::{Actor, AppError, CreateKey, KeyFilter, KeyPlace, Lifetime, PageRequest, UpdateKey};
use claviger_domain::audit::Source;
use claviger_domain::denial::Denial;
use claviger_domain::endpoint::Method;
use claviger_domain::key::{Environment, Kind, State};
use claviger_domain::organization::OrganizationStatus;
use claviger_domain::period::TimeZone;

#[tokio::test]
async fn a_key_works_until_it_is_revoked_and_for_ever_not() {
    let mut deployment = Deployment::start().await;
    let key = deployment.create("tork", of_kind(Kind::Secret)).await.unwrap();
    assert!(key.secret.starts_with("tork_sk_"));
    assert_eq!(deployment.evaluate(&key.secret), Ok(()));
    let revoked =
        commit(deployment.app.revoke_key(&Actor::operator(), key.id, Some("leaked".into()), None)).await.unwrap();
    assert!(revoked.revision > key.revision);
    assert_eq!(deployment.evaluate(&key.secret), Err(Denial::Revoked));
    let again =
        commit(deployment.app.revoke_key(&Actor::operator(), key.id, Some("other".into()), None)).await.unwrap();
    assert_eq!(again.value.key.revocation.unwrap().reason.as_deref(), Some("leaked"));
    assert!(matches!(
        commit(deployment.app.enable_key(&Actor::operator(), key.id, None)).await,
        Err(AppError::Conflict { .. })
    ));
    deployment.restart().await;
    assert_eq!(deployment.evaluate(&key.secret), Err(Denial::Revoked));
}

#[tokio::test]
async fn expiry_is_the_instant_itself() {
    let deployment = Deployment::start().await;
    let key = deployment
        .create("tork", CreateKey { lifetime: Some(Lifetime::TtlSeconds(10)), ..plain("short") })
        .await
        .unwrap();
    deployment.clock.advance_micros(9_999_999);
    assert_eq!(deployment.evaluate(&key.secret), Ok(()));
    deployment.clock.advance_micros(1);
    assert_eq!(deployment.evaluate(&key.secret), Err(Denial::Expired));
    let row = deployment.app.find_key(&Actor::operator(), key.id).await.unwrap();
    assert_eq!(row.key.state(deployment.app.now()), State::Expired);
    deployment.clock.advance_micros(-1);
    assert_eq!(deployment.evaluate(&key.secret), Ok(()));
}

#[tokio::test]
async fn rotation_keeps_the_key_and_ends_the_old_secret_when_it_says() {
    let mut deployment = Deployment::start().await;
    let first = deployment.create("tork", plain("rotated")).await.unwrap();
    let before = deployment.app.find_key(&Actor::operator(), first.id).await.unwrap().key;
    let second: Held = commit(deployment.app.rotate_key(&Actor::operator(), first.id, 0, None)).await.unwrap().into();
    assert_eq!(second.id, first.id);
    assert_eq!(deployment.evaluate(&second.secret), Ok(()));
    assert!(deployment.evaluate(&first.secret).is_err());

    let third: Held = commit(deployment.app.rotate_key(&Actor::operator(), first.id, 60, None)).await.unwrap().into();
    deployment.clock.advance_seconds(59);
    assert_eq!((deployment.evaluate(&second.secret), deployment.evaluate(&third.secret)), (Ok(()), Ok(())));
    deployment.restart().await;
    assert_eq!((deployment.evaluate(&second.secret), deployment.evaluate(&third.secret)), (Ok(()), Ok(())));
    deployment.clock.advance_seconds(1);
    assert!(deployment.evaluate(&second.secret).is_err());
    assert_eq!(deployment.evaluate(&third.secret), Ok(()));

    let after = deployment.app.find_key(&Actor::operator(), first.id).await.unwrap().key;
    assert_eq!((after.name, after.scopes, after.created_at), (before.name, before.scopes, before.created_at));
}

#[tokio::test]
async fn rotating_during_an_overlap_ends_the_older_overlap() {
    let deployment = Deployment::start().await;
    let first = deployment.create("tork", plain("rotated")).await.unwrap();
    let second: Held = commit(deployment.app.rotate_key(&Actor::operator(), first.id, 600, None)).await.unwrap().into();
    let third: Held = commit(deployment.app.rotate_key(&Actor::operator(), first.id, 600, None)).await.unwrap().into();
    assert!(deployment.evaluate(&first.secret).is_err());
    assert_eq!((deployment.evaluate(&second.secret), deployment.evaluate(&third.secret)), (Ok(()), Ok(())));
    commit(deployment.app.revoke_key(&Actor::operator(), first.id, None, None)).await.unwrap();
    for secret in [&first.secret, &second.secret, &third.secret] {
        assert!(deployment.evaluate(secret).is_err());
    }
}

#[tokio::test]
async fn an_overlap_never_reaches_past_the_expiry() {
    let deployment = Deployment::start().await;
    let key = CreateKey { lifetime: Some(Lifetime::TtlSeconds(100)), ..plain("short") };
    let first = deployment.create("tork", key).await.unwrap();
    let rotated = commit(deployment.app.rotate_key(&Actor::operator(), first.id, 600, None)).await.unwrap();
    assert_eq!(rotated.value.row.key.old_secret.unwrap().overlap_ends_at, rotated.value.row.key.expires_at.unwrap());
    for overlap_seconds in [-1, 7 * 24 * 3600 + 1, i64::MAX] {
        let result = commit(deployment.app.rotate_key(&Actor::operator(), first.id, overlap_seconds, None)).await;
        assert_eq!(invalid_field(result.map(|_| ())).as_deref(), Some("overlap_seconds"));
    }
}

#[tokio::test]
async fn an_ephemeral_key_dies_with_its_parent() {
    let deployment = Deployment::start().await;
    let parent = deployment.create("tork", of_kind(Kind::Secret)).await.unwrap();
    let child = deployment.create_with(&parent, ephemeral(600)).await.unwrap();
    assert!(child.secret.starts_with("tork_ek_"));
    assert_eq!(deployment.evaluate(&child.secret), Ok(()));
    commit(deployment.app.disable_key(&Actor::operator(), parent.id, None)).await.unwrap();
    assert_eq!(deployment.evaluate(&child.secret), Err(Denial::Disabled));
    commit(deployment.app.enable_key(&Actor::operator(), parent.id, None)).await.unwrap();
    assert_eq!(deployment.evaluate(&child.secret), Ok(()));
    commit(deployment.app.revoke_key(&Actor::operator(), parent.id, None, None)).await.unwrap();
    assert_eq!(deployment.evaluate(&child.secret), Err(Denial::Revoked));
}

#[tokio::test]
async fn an_ephemeral_key_loses_what_its_parent_loses() {
    let deployment = Deployment::start().await;
    let parent = deployment.create("tork", restricted(r#"["evaluate", "api_keys:write"]"#)).await.unwrap();
    let child = deployment.create_with(&parent, ephemeral(600)).await.unwrap();
    assert_eq!(deployment.evaluate(&child.secret), Ok(()));
    let narrower = UpdateKey { scopes: Some(scopes(r#"["api_keys:write"]"#)), ..UpdateKey::default() };
    commit(deployment.app.update_key(&Actor::operator(), parent.id, narrower, None)).await.unwrap();
    assert_eq!(deployment.evaluate(&child.secret), Err(Denial::InsufficientScope));
}

#[tokio::test]
async fn ephemeral_keys_are_short_and_have_no_children() {
    let deployment = Deployment::start().await;
    let parent = deployment.create("tork", of_kind(Kind::Secret)).await.unwrap();
    for ttl_seconds in [0, -1, 86_401, i64::MAX, i64::MIN] {
        let field = invalid_field(deployment.create_with(&parent, ephemeral(ttl_seconds)).await);
        assert_eq!(field.as_deref(), Some("ttl_seconds"), "{ttl_seconds}");
    }
    let child = deployment.create_with(&parent, of_kind(Kind::Ephemeral)).await.unwrap();
    let row = deployment.app.find_key(&Actor::operator(), child.id).await.unwrap();
    assert_eq!(row.key.expires_at, deployment.app.now().plus_seconds(3600));
    let grandchild = deployment.create_with(&child, ephemeral(60)).await;
    assert!(matches!(grandchild, Err(AppError::Forbidden { .. })));
    let lift = UpdateKey { expires_at: Some(None), ..UpdateKey::default() };
    assert_eq!(
        invalid_field(commit(deployment.app.update_key(&Actor::operator(), child.id, lift, None)).await).as_deref(),
        Some("expires_at")
    );
    assert_eq!(invalid_field(deployment.create("tork", ephemeral(60)).await).as_deref(), Some("parent_id"));
}

#[tokio::test]
async fn nobody_makes_a_stronger_key() {
    let deployment = Deployment::start().await;
    let weak = CreateKey {
        restrictions: restrictions(r#"{"ip": ["10.0.0.0/8"]}"#),
        lifetime: Some(Lifetime::TtlSeconds(1000)),
        ..restricted(r#"["evaluate", "api_keys:write", "api_keys:read"]"#)
    };
    let weak = deployment.create("tork", weak).await.unwrap();
    let refused = [
        of_kind(Kind::Secret),
        plain("default"),
        restricted(r#"["evaluate", "usage:read"]"#),
        CreateKey { restrictions: restrictions(r#"{"ip": ["11.0.0.0/8"]}"#), ..restricted(r#"["evaluate"]"#) },
        CreateKey {
            restrictions: restrictions(r#"{"ip": ["0.0.0.0/0"]}"#),
            allow_any_ip: true,
            ..restricted(r#"["evaluate"]"#)
        },
        CreateKey { lifetime: Some(Lifetime::TtlSeconds(1001)), ..restricted(r#"["evaluate"]"#) },
        ephemeral(1001),
    ];
    for input in refused {
        let shown = format!("{input:?}");
        assert!(matches!(deployment.create_with(&weak, input).await, Err(AppError::Forbidden { .. })), "{shown}");
    }
    // What is left open is taken from the key in hand.
    let heir = deployment.create_with(&weak, restricted(r#"["evaluate"]"#)).await.unwrap();
    let (heir, weak_key) = (
        deployment.app.find_key(&Actor::operator(), heir.id).await.unwrap().key,
        deployment.app.find_key(&Actor::operator(), weak.id).await.unwrap().key,
    );
    assert_eq!((&heir.restrictions, heir.expires_at), (&weak_key.restrictions, weak_key.expires_at));
}

#[tokio::test]
async fn nobody_edits_rotates_or_revokes_a_stronger_key() {
    let deployment = Deployment::start().await;
    let strong = deployment.create("tork", of_kind(Kind::Secret)).await.unwrap();
    let weak = deployment.create("tork", restricted(r#"["evaluate", "api_keys:write"]"#)).await.unwrap();
    let actor = Actor::key(weak.id, Source::Unknown);
    let app = &deployment.app;
    let forbidden = |result: Result<(), AppError>| matches!(result, Err(AppError::Forbidden { .. }));
    assert!(forbidden(commit(app.rotate_key(&actor, strong.id, 0, None)).await.map(|_| ())));
    assert!(forbidden(commit(app.update_key(&actor, strong.id, UpdateKey::default(), None)).await.map(|_| ())));
    assert!(forbidden(commit(app.disable_key(&actor, strong.id, None)).await.map(|_| ())));
    assert!(forbidden(commit(app.revoke_key(&actor, strong.id, None, None)).await.map(|_| ())));
    let wider =
        UpdateKey { scopes: Some(scopes(r#"["evaluate", "api_keys:write", "usage:read"]"#)), ..UpdateKey::default() };
    assert!(forbidden(commit(app.update_key(&actor, weak.id, wider, None)).await.map(|_| ())));
    let renamed = UpdateKey { name: Some("renamed".parse().unwrap()), ..UpdateKey::default() };
    assert_eq!(
        commit(app.update_key(&actor, weak.id, renamed, None)).await.unwrap().value.key.name.as_str(),
        "renamed"
    );
    assert_eq!(deployment.evaluate(&strong.secret), Ok(()));
}

#[tokio::test]
async fn an_ephemeral_key_manages_nothing_but_its_own_end() {
    let deployment = Deployment::start().await;
    let parents = [
        deployment.create("tork", of_kind(Kind::Secret)).await.unwrap(),
        deployment.create("tork", of_kind(Kind::Secret)).await.unwrap(),
    ];
    let child = deployment.create_with(&parents[0], ephemeral(600)).await.unwrap();
    let sibling = deployment.create_with(&parents[1], ephemeral(60)).await.unwrap();
    let (app, actor) = (&deployment.app, Actor::key(child.id, Source::Unknown));
    let forbidden = |result: Result<(), AppError>| matches!(result, Err(AppError::Forbidden { .. }));
    for id in [sibling.id, child.id] {
        assert!(forbidden(commit(app.rotate_key(&actor, id, 0, None)).await.map(|_| ())));
        assert!(forbidden(commit(app.disable_key(&actor, id, None)).await.map(|_| ())));
        assert!(forbidden(commit(app.update_key(&actor, id, UpdateKey::default(), None)).await.map(|_| ())));
    }
    assert!(forbidden(commit(app.revoke_key(&actor, sibling.id, None, None)).await.map(|_| ())));
    commit(app.revoke_key(&actor, child.id, None, None)).await.unwrap();
    assert_eq!(deployment.evaluate(&child.secret), Err(Denial::Revoked));
    assert_eq!(deployment.evaluate(&sibling.secret), Ok(()));
}

#[tokio::test]
async fn a_replaced_secret_works_on_but_manages_nothing() {
    let deployment = Deployment::start().await;
    let first = deployment.create("tork", of_kind(Kind::Secret)).await.unwrap();
    commit(deployment.app.rotate_key(&Actor::operator(), first.id, 600, None)).await.unwrap();
    let verdict = deployment.verdict(&first.secret, Method::Post, "/api/v1/evaluate", None);
    assert!(verdict.is_allowed() && verdict.key.unwrap().by_old_secret);
    let (app, actor) = (&deployment.app, Actor::old_secret(first.id, Source::Unknown));
    let forbidden = |result: Result<(), AppError>| matches!(result, Err(AppError::Forbidden { .. }));
    assert!(forbidden(commit(app.rotate_key(&actor, first.id, 0, None)).await.map(|_| ())));
    assert!(forbidden(commit(app.revoke_key(&actor, first.id, None, None)).await.map(|_| ())));
    assert!(forbidden(commit(app.create_key(&actor, KeyPlace::default(), of_kind(Kind::Secret))).await.map(|_| ())));
    assert!(commit(app.create_key(&actor, KeyPlace::default(), ephemeral(60))).await.is_ok());
    assert!(app.find_key(&actor, first.id).await.is_ok());
}

#[tokio::test]
async fn a_parent_that_was_narrowed_still_manages_its_children() {
    let deployment = Deployment::start().await;
    let parent = deployment.create("tork", restricted(r#"["evaluate", "api_keys:write"]"#)).await.unwrap();
    let child = deployment.create_with(&parent, ephemeral(600)).await.unwrap();
    let narrower = UpdateKey { scopes: Some(scopes(r#"["api_keys:write"]"#)), ..UpdateKey::default() };
    commit(deployment.app.update_key(&Actor::operator(), parent.id, narrower, None)).await.unwrap();
    let renamed = UpdateKey { name: Some("renamed".parse().unwrap()), ..UpdateKey::default() };
    assert!(commit(deployment.app.update_key(&Actor::operator(), child.id, renamed, None)).await.is_ok());
    let wider = UpdateKey { scopes: Some(scopes(r#"["evaluate"]"#)), ..UpdateKey::default() };
    let refused = commit(deployment.app.update_key(&Actor::operator(), child.id, wider, None)).await;
    assert!(matches!(refused, Err(AppError::Forbidden { .. })));
    assert!(
        commit(deployment.app.revoke_key(&Actor::key(parent.id, Source::Unknown), child.id, None, None)).await.is_ok()
    );
}

#[tokio::test]
async fn a_key_that_died_a_moment_ago_changes_nothing() {
    let deployment = Deployment::start().await;
    let actor = deployment.create("tork", of_kind(Kind::Secret)).await.unwrap();
    let target = deployment.create("tork", of_kind(Kind::Secret)).await.unwrap();
    let app = &deployment.app;
    commit(app.disable_key(&Actor::operator(), actor.id, None)).await.unwrap();
    let denied = commit(app.revoke_key(&Actor::key(actor.id, Source::Unknown), target.id, None, None)).await;
    assert!(matches!(denied, Err(AppError::Denied(Denial::Disabled))));
    commit(app.enable_key(&Actor::operator(), actor.id, None)).await.unwrap();
    commit(app.update_organization(
        &Actor::operator(),
        deployment.organization,
        UpdateOrganization { status: Some(OrganizationStatus::Suspended), ..UpdateOrganization::default() },
    ))
    .await
    .unwrap();
    assert_eq!(deployment.evaluate(&target.secret), Err(Denial::SubscriptionInactive));
    let denied =
        commit(app.create_key(&Actor::key(actor.id, Source::Unknown), KeyPlace::default(), of_kind(Kind::Secret)))
            .await;
    assert!(matches!(denied.map(|_| ()), Err(AppError::Denied(Denial::SubscriptionInactive))));
    commit(app.update_organization(
        &Actor::operator(),
        deployment.organization,
        UpdateOrganization { status: Some(OrganizationStatus::Active), ..UpdateOrganization::default() },
    ))
    .await
    .unwrap();
    assert_eq!(deployment.evaluate(&target.secret), Ok(()));
}

#[tokio::test]
async fn other_organizations_keys_do_not_exist() {
    let deployment = Deployment::start().await;
    let mine = deployment.create("tork", of_kind(Kind::Secret)).await.unwrap();
    let other = commit(deployment.app.create_organization(&Actor::operator(), "Other".parse().unwrap(), TimeZone::UTC))
        .await
        .unwrap()
        .value
        .id;
    let place = KeyPlace { organization: Some(other), api: Some("tork".parse().unwrap()) };
    let theirs: Held =
        commit(deployment.app.create_key(&Actor::operator(), place, plain("theirs"))).await.unwrap().into();
    let elsewhere = deployment.create("toksta", plain("another api")).await.unwrap();
    let actor = Actor::key(mine.id, Source::Unknown);
    for id in [theirs.id, elsewhere.id] {
        let found = deployment.app.find_key(&actor, id).await;
        assert!(matches!(found, Err(AppError::NotFound { what: "API key" })));
        let revoked = commit(deployment.app.revoke_key(&actor, id, None, None)).await;
        assert!(matches!(revoked, Err(AppError::NotFound { what: "API key" })));
    }
    let page = PageRequest { after: None, limit: 10 };
    let listed = deployment.app.list_keys(&actor, KeyFilter::default(), page).await.unwrap();
    assert_eq!(listed.rows.iter().map(|row| row.key.id).collect::<Vec<_>>(), [mine.id]);
}

#[tokio::test]
async fn test_keys_live_in_their_own_world() {
    let deployment = Deployment::start().await;
    let live = deployment.create("example", of_environment(Environment::Live)).await.unwrap();
    let test = deployment.create("example", of_environment(Environment::Test)).await.unwrap();
    let made = deployment.create_with(&test, plain("made with a test key")).await.unwrap();
    assert!(made.secret.starts_with("sk_test_"));
    let refused = deployment.create_with(&test, of_environment(Environment::Live)).await;
    assert!(matches!(refused, Err(AppError::Forbidden { .. })));
    let hidden = deployment.app.find_key(&Actor::key(test.id, Source::Unknown), live.id).await;
    assert!(matches!(hidden, Err(AppError::NotFound { .. })));
    assert!(deployment.app.find_key(&Actor::key(live.id, Source::Unknown), test.id).await.is_ok());
}

#[tokio::test]
async fn if_match_guards_against_lost_updates() {
    let deployment = Deployment::start().await;
    let key = deployment.create("tork", plain("contended")).await.unwrap();
    let rename = |name: &str| UpdateKey { name: Some(name.parse().unwrap()), ..UpdateKey::default() };
    let first = commit(deployment.app.update_key(&Actor::operator(), key.id, rename("first"), Some(key.revision)))
        .await
        .unwrap();
    let lost =
        commit(deployment.app.update_key(&Actor::operator(), key.id, rename("second"), Some(key.revision))).await;
    assert!(matches!(lost, Err(AppError::PreconditionFailed)));
    assert!(commit(deployment.app.rotate_key(&Actor::operator(), key.id, 0, Some(first.revision))).await.is_ok());
}

#[tokio::test]
async fn narrowing_acts_at_once() {
    let deployment = Deployment::start().await;
    let key = deployment.create("example", of_environment(Environment::Live)).await.unwrap();
    let call = |ip| deployment.verdict(&key.secret, Method::Get, "/v1/users/usr_123", ip).decision;
    assert_eq!(call(None), Ok(()));
    let narrow = UpdateKey { ip: Some(restrictions(r#"{"ip": ["203.0.113.0/24"]}"#).ip), ..UpdateKey::default() };
    commit(deployment.app.update_key(&Actor::operator(), key.id, narrow, None)).await.unwrap();
    assert_eq!(call(None), Err(Denial::IpNotAllowed));
    assert_eq!(call(Some("198.51.100.1")), Err(Denial::IpNotAllowed));
    assert_eq!(call(Some("::ffff:203.0.113.9")), Ok(()));
    let lift = UpdateKey { ip: Some(None), ..UpdateKey::default() };
    commit(deployment.app.update_key(&Actor::operator(), key.id, lift, None)).await.unwrap();
    assert_eq!(call(None), Ok(()));
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_by_name() {
    let deployment = Deployment::start().await;
    let cases: Vec<(&str, CreateKey)> = vec![
        ("scopes", restricted(r#"["nothing"]"#)),
        ("scopes", restricted(r#"["*"]"#)),
        ("scopes", of_kind(Kind::Restricted)),
        ("kind", CreateKey { kind: Some(Kind::Ephemeral), environment: Some(Environment::Test), ..plain("x") }),
        ("prefix", CreateKey { prefix: Some("sk_live_".into()), ..plain("x") }),
        ("environment", of_environment(Environment::Test)),
        ("restrictions.ip", CreateKey { restrictions: restrictions(r#"{"ip": ["0.0.0.0/0"]}"#), ..plain("x") }),
        (
            "restrictions.ip",
            CreateKey { restrictions: restrictions(r#"{"ip": ["10.0.0.0/8", "10.0.0.0/8"]}"#), ..plain("x") },
        ),
        (
            "restrictions.endpoint",
            CreateKey { restrictions: restrictions(r#"{"endpoint": ["GET /v2/users"]}"#), ..plain("x") },
        ),
        (
            "restrictions.endpoint",
            CreateKey {
                restrictions: restrictions(r#"{"endpoint": ["GET /api/v1/account/usage"]}"#),
                ..restricted(r#"["evaluate"]"#)
            },
        ),
        (
            "expires_at",
            CreateKey { lifetime: Some(Lifetime::ExpiresAt(crate::suite::support::start_time())), ..plain("x") },
        ),
        ("ttl_seconds", CreateKey { lifetime: Some(Lifetime::TtlSeconds(i64::MAX)), ..plain("x") }),
        ("parent_id", CreateKey { parent_id: Some(claviger_domain::id::KeyId::from_u128(1)), ..plain("x") }),
    ];
    for (field, input) in cases {
        let shown = format!("{input:?}");
        assert_eq!(invalid_field(deployment.create("tork", input).await).as_deref(), Some(field), "{shown}");
    }
}
