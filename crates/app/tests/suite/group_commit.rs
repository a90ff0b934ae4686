//! Mutations that share a transaction stand and fall alone.

use std::collections::BTreeSet;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::task::{Context, Poll};

use claviger_app::{Actor, App, AppError, Database, KeyFilter, Mutated, PageRequest};
use claviger_domain::denial::Denial;
use claviger_domain::random::{Entropy, PredictableEntropy};
use claviger_domain::time::{Clock, Timestamp};
use futures_util::future::FutureExt as _;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use tokio::task::JoinSet;

use crate::suite::audit::head;
use crate::suite::import::{digest, keys, line};
use crate::suite::support::{Deployment, Held, commit, plain, start_time};

/// A clock that no two readings of agree: what was committed together bears the same instant, and nothing else does.
struct Ticking(AtomicI64);

impl Clock for Ticking {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(start_time().as_micros() + self.0.fetch_add(1, Ordering::SeqCst))
    }
}

async fn reopen(deployment: &mut Deployment, clock: Arc<dyn Clock>, entropy: Arc<dyn Entropy>) {
    deployment.app.close().await;
    deployment.app = App::open(&deployment.database, None, None, clock, entropy).await.unwrap();
}

/// The instants at which revisions past this one were committed, one a transaction.
async fn commits(database: &Database, past: i64) -> (usize, usize) {
    const INSTANTS: &str = "SELECT at FROM changes WHERE revision > $1";
    let rows: Vec<i64> = match database {
        Database::Sqlite(path) => {
            let url = format!("sqlite://{}", path.display());
            let mut connection = <sqlx::SqliteConnection as sqlx::Connection>::connect(&url).await.unwrap();
            sqlx::query_scalar(INSTANTS).bind(past).fetch_all(&mut connection).await.unwrap()
        }
        Database::Postgres(url) => {
            let mut connection = <sqlx::PgConnection as sqlx::Connection>::connect(url).await.unwrap();
            sqlx::query_scalar(INSTANTS).bind(past).fetch_all(&mut connection).await.unwrap()
        }
    };
    (rows.len(), rows.iter().collect::<BTreeSet<_>>().len())
}

#[tokio::test]
async fn concurrent_mutations_share_transactions_and_each_has_its_revision() {
    let mut deployment = Deployment::start().await;
    reopen(&mut deployment, Arc::new(Ticking(AtomicI64::new(0))), Arc::new(PredictableEntropy::new(3))).await;
    let past = deployment.app.engine().revision();
    let mut making = JoinSet::new();
    for _ in 0..64 {
        let (app, place) = (Arc::clone(&deployment.app), deployment.place("tork"));
        making.spawn(async move {
            let made: Mutated<_> = commit(app.create_key(&Actor::operator(), place, plain("one of 64"))).await.unwrap();
            // Known to the engine when it is answered.
            assert!(app.engine().revision() >= made.revision);
            Held::from(made)
        });
    }
    let made = making.join_all().await;
    let revisions: BTreeSet<i64> = made.iter().map(|held| held.revision.0).collect();
    assert_eq!(revisions, (past.0 + 1..=past.0 + 64).collect());
    for held in &made {
        assert_eq!(deployment.evaluate(&held.secret), Ok(()));
    }
    let (revisions, transactions) = commits(&deployment.database, past.0).await;
    assert_eq!(revisions, 64);
    assert!(transactions <= 4, "{transactions} transactions");
}

/// Polls a future so many times and then drops it where it stands.
struct DroppedAfter<F> {
    inner: Pin<Box<F>>,
    polls: usize,
}

impl<F: Future> Future for DroppedAfter<F> {
    type Output = Option<F::Output>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if self.polls == 0 {
            return Poll::Ready(None);
        }
        self.polls -= 1;
        match self.inner.as_mut().poll(context) {
            Poll::Ready(value) => Poll::Ready(Some(value)),
            Poll::Pending if self.polls == 0 => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    }
}

#[tokio::test]
async fn a_caller_that_hangs_up_anywhere_harms_nobody() {
    let deployment = Deployment::start().await;
    let operator = Actor::operator();
    let create = |name: &str| commit(deployment.app.create_key(&operator, deployment.place("tork"), plain(name)));
    let mut made = Vec::new();
    for polls in 0.. {
        let fleeing = async { DroppedAfter { inner: Box::pin(create("fleeing")), polls }.await };
        let (before, fled, after) = tokio::join!(create("before"), fleeing, create("after"));
        made.push(Held::from(before.unwrap()));
        made.push(Held::from(after.unwrap()));
        if let Some(stayed) = fled {
            made.push(stayed.unwrap().into());
            break;
        }
        assert!(polls < 1000, "it never ends");
    }
    for held in &made {
        assert_eq!(deployment.evaluate(&held.secret), Ok(()));
    }
    // Whoever fled has a key or none, and the log says which.
    let page = PageRequest { after: None, limit: 200 };
    let listed = deployment.app.list_keys(&Actor::operator(), KeyFilter::default(), page).await.unwrap();
    assert!(!listed.more && listed.rows.len() >= made.len());
    // Three definitions, an organization and the keys.
    assert_eq!(head(&deployment.app).await.number, 4 + listed.rows.len() as i64);
    assert_eq!(deployment.app.engine().revision().0, 4 + listed.rows.len() as i64);
}

#[tokio::test]
async fn a_mutation_that_fails_among_others_takes_nobody_with_it() {
    let deployment = Deployment::start().await;
    let (one, two) = (
        deployment.create("tork", plain("one")).await.unwrap(),
        deployment.create("tork", plain("two")).await.unwrap(),
    );
    let app = &deployment.app;
    let operator = Actor::operator();
    let create = || commit(app.create_key(&operator, deployment.place("tork"), plain("another")));
    // Done and not wanted after all.
    let undone = async { drop(app.disable_key(&operator, two.id, None).await.unwrap()) };
    let refused = commit(app.rotate_key(&operator, claviger_domain::id::KeyId::from_u128(1), 0, None));
    let (first, disabled, second, (), refused, third, revoked) = tokio::join!(
        create(),
        commit(app.disable_key(&operator, one.id, None)),
        create(),
        undone,
        refused,
        create(),
        commit(app.revoke_key(&operator, one.id, None, None)),
    );
    let made = [first, second, third].map(|made| Held::from(made.unwrap()));
    assert!(matches!(refused.map(drop), Err(AppError::NotFound { .. })));
    assert!(revoked.unwrap().revision > disabled.unwrap().revision);
    for held in &made {
        assert_eq!(deployment.evaluate(&held.secret), Ok(()));
    }
    assert_eq!(deployment.evaluate(&one.secret), Err(Denial::Revoked));
    assert_eq!(deployment.evaluate(&two.secret), Ok(()));
    assert_eq!(head(app).await.number, 4 + 2 + 5);
}

/// A digest that is taken would cost everybody in the transaction their mutation, so nobody gets as far.
#[tokio::test]
async fn imports_that_share_a_transaction_see_each_other() {
    let mut deployment = Deployment::start().await;
    reopen(&mut deployment, Arc::new(Ticking(AtomicI64::new(0))), Arc::new(PredictableEntropy::new(3))).await;
    let past = deployment.app.engine().revision();
    let operator = Actor::operator();
    let import = |numbers: std::ops::Range<usize>| {
        let lines = numbers.map(|number| line(deployment.organization, digest(number))).collect();
        commit(deployment.app.import_keys(&operator, keys(lines)))
    };
    let create = || commit(deployment.app.create_key(&operator, deployment.place("tork"), plain("between")));
    let (first, one, second, two, third) = tokio::join!(import(0..3), create(), import(1..5), create(), import(0..5));
    let counts = [first, second, third].map(|done| done.unwrap().value).map(|done| (done.imported, done.existing));
    assert_eq!(counts, [(3, 0), (2, 2), (0, 5)]);
    for made in [one, two] {
        assert_eq!(deployment.evaluate(&Held::from(made.unwrap()).secret), Ok(()));
    }
    // Four of them changed something, all in one transaction: the second to get a turn found the others waiting.
    assert_eq!(commits(&deployment.database, past.0).await, (4, 1));
    // Nor does a secret come back that a key loses in the same transaction.
    let page = PageRequest { after: None, limit: 10 };
    let rows = deployment.app.list_keys(&operator, KeyFilter::default(), page).await.unwrap().rows;
    let id = rows.iter().find(|row| row.key.digest == digest(0)).unwrap().key.id;
    let (before, rotated, after) =
        tokio::join!(import(0..1), commit(deployment.app.rotate_key(&operator, id, 0, None)), import(0..1));
    rotated.unwrap();
    for done in [before, after] {
        assert_eq!(done.unwrap().value.existing, 1);
    }
}

/// The holder of one key does not keep everybody else waiting.
#[tokio::test]
async fn a_key_that_asks_for_too_much_at_once_is_refused_the_rest() {
    let deployment = Deployment::start().await;
    let (greedy, other) = (
        deployment.create("tork", plain("greedy")).await.unwrap(),
        deployment.create("tork", plain("other")).await.unwrap(),
    );
    // A turn that is not given back yet: all others wait.
    let held = deployment.app.disable_key(&Actor::operator(), other.id, None).await.unwrap();
    let mut waiting = FuturesUnordered::new();
    for number in 0..100 {
        waiting.push(deployment.create_with(&greedy, plain(&format!("key {number}"))));
    }
    let mut refused = 0;
    while let Some(Some(done)) = waiting.next().now_or_never() {
        assert!(matches!(done.map(drop), Err(AppError::TooManyAtOnce)));
        refused += 1;
    }
    assert_eq!(refused, 36);
    let theirs = deployment.create("tork", plain("theirs"));
    drop(held);
    let (mine, theirs) = tokio::join!(waiting.collect::<Vec<_>>(), theirs);
    assert_eq!(mine.into_iter().flatten().count(), 64);
    theirs.unwrap();
    // Those who had their turn make room.
    deployment.create_with(&greedy, plain("later")).await.unwrap();
}
