//! The operator's own credentials.

use claviger_app::UpdateOrganization;
use claviger_app::credentials::PresentedAdminToken;
use claviger_app::{Actor, AppError, Attempt, Mutated, Mutation, Selection};
use claviger_domain::audit::Source;
use claviger_domain::definition::Definition;
use claviger_domain::id::AdminTokenId;
use claviger_domain::organization::OrganizationStatus;
use claviger_domain::period::TimeZone;

use crate::suite::audit::head;
use crate::suite::support::{Deployment, commit, plain};

const TORK: &str = include_str!("../../../../apis/tork.toml");

/// An admin token that the app has recognised, as a request has that is still being read.
async fn recognised(deployment: &Deployment) -> Actor {
    let (token, secret) =
        commit(deployment.app.create_admin_token(&Actor::operator(), "a token".parse().unwrap())).await.unwrap().value;
    let found = deployment.app.recognise_admin_token(&secret.digest()).await.unwrap();
    assert_eq!(found, PresentedAdminToken::Live(token.id));
    Actor::admin_token(token.id, Source::Unknown)
}

async fn revoke(deployment: &Deployment, actor: &Actor) -> Result<Mutated<()>, AppError> {
    let id = deployment.app.list_admin_tokens().await.unwrap()[0].id;
    let revoked = commit(deployment.app.revoke_admin_token(actor, id)).await?;
    Ok(Mutated { value: (), revision: revoked.revision })
}

/// Whether it was refused because of who asks.
async fn is_refused<T>(mutation: impl Future<Output = Result<Mutation<T>, AppError>>) -> bool {
    matches!(commit(mutation).await.map(drop), Err(AppError::NotTheOperator))
}

#[tokio::test]
async fn a_revoked_admin_token_does_nothing_any_more() {
    let deployment = Deployment::start().await;
    let (app, actor) = (&deployment.app, recognised(&deployment).await);
    let key = deployment.create("tork", plain("a key")).await.unwrap();
    commit(app.disable_key(&actor, key.id, None)).await.unwrap();
    commit(app.enable_key(&actor, key.id, None)).await.unwrap();
    // It may end itself.
    revoke(&deployment, &actor).await.unwrap();
    let before = head(app).await;
    let name = || "another".parse().unwrap();
    let verifier = commit(app.create_verifier(&Actor::operator(), name())).await.unwrap().value.0.id;
    let place = || deployment.place("tork");
    let organization = deployment.organization;
    let selection = Selection { organization: Some(organization), ..Selection::default() };
    assert!(is_refused(app.create_admin_token(&actor, name())).await);
    assert!(is_refused(app.revoke_admin_token(&actor, AdminTokenId::from_u128(1))).await);
    assert!(is_refused(app.create_verifier(&actor, name())).await);
    assert!(is_refused(app.revoke_verifier(&actor, verifier)).await);
    assert!(is_refused(app.create_organization(&actor, name(), TimeZone::UTC)).await);
    let suspended = Some(OrganizationStatus::Suspended);
    assert!(
        is_refused(app.update_organization(
            &actor,
            organization,
            UpdateOrganization { status: suspended, ..UpdateOrganization::default() }
        ))
        .await
    );
    for is_dry in [true, false] {
        assert!(is_refused(app.apply_definition(&actor, Definition::parse(TORK).unwrap(), is_dry)).await);
        assert!(is_refused(app.revoke_keys(&actor, selection.clone(), None, is_dry)).await);
    }
    assert!(is_refused(app.create_key(&actor, place(), plain("x"))).await);
    assert!(is_refused(app.rotate_key(&actor, key.id, 0, None)).await);
    assert!(Box::pin(is_refused(app.disable_key(&actor, key.id, None))).await);
    assert!(Box::pin(is_refused(app.revoke_key(&actor, key.id, None, None))).await);
    assert_eq!(head(app).await.number, before.number + 1);
    assert_eq!(deployment.evaluate(&key.secret), Ok(()));
}

#[tokio::test]
async fn a_token_that_is_revoked_in_the_same_transaction_does_nothing_after_that() {
    let deployment = Deployment::start().await;
    let (app, actor) = (&deployment.app, recognised(&deployment).await);
    let create = |name: &str| commit(app.create_key(&actor, deployment.place("tork"), plain(name)));
    let operator = Actor::operator();
    let (before, revoked, after) = tokio::join!(create("before"), revoke(&deployment, &operator), create("after"));
    revoked.unwrap();
    // Whoever came first had the token still; nobody has it now.
    let made = [before.is_ok(), after.is_ok()];
    assert!(matches!(create("late").await.map(drop), Err(AppError::NotTheOperator)), "{made:?}");
}

#[tokio::test]
async fn a_revoked_token_is_not_told_what_was_answered_before() {
    let deployment = Deployment::start().await;
    let actor = recognised(&deployment).await;
    let attempt = Attempt { caller: "adm".to_owned(), key_digest: [1; 32], fingerprint: [2; 32] };
    let actor = actor.with_attempt(Some(attempt));
    let made = deployment.app.create_key(&actor, deployment.place("tork"), plain("x")).await.unwrap();
    let (_, _, commit) = made.into_parts();
    commit.finish(Some(b"kept".to_vec())).await.unwrap();
    let again = async || deployment.app.create_key(&actor, deployment.place("tork"), plain("x")).await.map(drop);
    assert!(matches!(again().await, Err(AppError::AlreadyAnswered { .. })));
    revoke(&deployment, &Actor::operator()).await.unwrap();
    assert!(matches!(again().await, Err(AppError::NotTheOperator)));
}
