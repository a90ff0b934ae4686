//! A database that has gone back under a running server: a failover that loses the last transactions, a backup put in place.

use claviger_app::{Actor, AppError};
use claviger_domain::definition::Definition;
use claviger_domain::denial::Denial;
use claviger_domain::endpoint::Method;

use crate::suite::support::{Deployment, commit, plain, run_sql};

/// Takes the last transactions back, as whoever made them has done to the tables with these statements.
async fn go_back(deployment: &Deployment, transactions: i64, undo: &[&str]) {
    let revision = deployment.app.engine().revision().0 - transactions;
    let feed = format!("DELETE FROM changes WHERE revision > {revision}");
    let counter = format!("UPDATE deployment SET revision = {revision}");
    let statements: Vec<&str> = undo.iter().copied().chain([&*feed, &*counter]).collect();
    run_sql(&deployment.database, &statements).await;
}

#[tokio::test]
async fn a_revocation_after_the_database_went_back_is_one() {
    let deployment = Deployment::start().await;
    let (app, operator) = (&deployment.app, Actor::operator());
    let stays = deployment.create("tork", plain("stays")).await.unwrap();
    let disabled = deployment.create("tork", plain("disabled")).await.unwrap();
    commit(app.disable_key(&operator, disabled.id, None)).await.unwrap();
    deployment.create("tork", plain("lost")).await.unwrap();
    let lost = deployment.create("tork", plain("lost")).await.unwrap();
    let undo = ["DELETE FROM keys WHERE name = 'lost'", "UPDATE keys SET disabled = FALSE"];
    go_back(&deployment, 3, &undo).await;
    assert_eq!(deployment.evaluate(&stays.secret), Ok(()));

    let revoked = commit(app.revoke_key(&operator, stays.id, None, None)).await.unwrap();
    assert!(revoked.revision < lost.revision);
    assert_eq!(app.engine().revision(), revoked.revision);
    assert_eq!(deployment.evaluate(&stays.secret), Err(Denial::Revoked));
    // Neither a key nor a state that the database knows nothing of.
    assert_eq!(deployment.evaluate(&lost.secret), Err(Denial::NotFound));
    assert_eq!(deployment.evaluate(&disabled.secret), Ok(()));
    let made = deployment.create("tork", plain("made afterwards")).await.unwrap();
    assert_eq!(deployment.evaluate(&made.secret), Ok(()));
}

#[tokio::test]
async fn as_many_transactions_as_were_lost_do_not_hide_that_they_were() {
    let deployment = Deployment::start().await;
    let key = deployment.create("tork", plain("a key")).await.unwrap();
    let lost = deployment.create("tork", plain("lost")).await.unwrap();
    go_back(&deployment, 1, &["DELETE FROM keys WHERE name = 'lost'"]).await;
    let revoked = commit(deployment.app.revoke_key(&Actor::operator(), key.id, None, None)).await.unwrap();
    assert_eq!(revoked.revision, lost.revision);
    assert_eq!(deployment.evaluate(&key.secret), Err(Denial::Revoked));
    assert_eq!(deployment.evaluate(&lost.secret), Err(Denial::NotFound));
}

#[tokio::test]
async fn a_call_that_changes_nothing_finds_out_as_well() {
    let deployment = Deployment::start().await;
    let (app, operator) = (&deployment.app, Actor::operator());
    let (one, two) = (
        deployment.create("tork", plain("one")).await.unwrap(),
        deployment.create("tork", plain("two")).await.unwrap(),
    );
    commit(app.revoke_key(&operator, one.id, None, None)).await.unwrap();
    commit(app.disable_key(&operator, two.id, None)).await.unwrap();
    go_back(&deployment, 1, &["UPDATE keys SET disabled = FALSE"]).await;
    commit(app.revoke_key(&operator, one.id, None, None)).await.unwrap();
    assert_eq!(deployment.evaluate(&two.secret), Ok(()));
}

#[tokio::test]
async fn a_call_that_is_refused_finds_out_and_it_is_mended_behind_it() {
    let deployment = Deployment::start().await;
    let key = deployment.create("tork", plain("lost")).await.unwrap();
    go_back(&deployment, 1, &["DELETE FROM keys WHERE name = 'lost'"]).await;
    let refused = commit(deployment.app.revoke_key(&Actor::operator(), key.id, None, None)).await;
    assert!(matches!(refused.map(drop), Err(AppError::NotFound { .. })));
    let mended = async {
        while deployment.evaluate(&key.secret) != Err(Denial::NotFound) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(30), mended).await.unwrap();
}

#[tokio::test]
async fn an_api_that_was_lost_is_known_no_more() {
    let deployment = Deployment::start().await;
    let (app, operator) = (&deployment.app, Actor::operator());
    let shop = "name = \"shop\"\ntitle = \"Shop\"\nhosts = [\"shop.test\"]\nbase_path = \"/shop\"\n[[keys]]\n\
                prefix = \"shop_\"\nkind = \"secret\"\nenvironment = \"live\"\nalphabet = \"base62\"\nlength = 32\n";
    commit(app.apply_definition(&operator, Definition::parse(shop).unwrap(), false)).await.unwrap();
    let lost = deployment.create("shop", plain("lost")).await.unwrap();
    let call = || deployment.verdict(&lost.secret, Method::Get, "/shop/things", None).decision;
    assert_eq!(call(), Ok(()));
    go_back(&deployment, 2, &["DELETE FROM keys WHERE api = 'shop'", "DELETE FROM apis WHERE name = 'shop'"]).await;
    deployment.create("tork", plain("made afterwards")).await.unwrap();
    assert!(app.engine().directory().find("shop").is_none());
    assert_eq!(call(), Err(Denial::Malformed));
}
