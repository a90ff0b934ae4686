//! The file of usage counters, when the database beside it is another one or an older one.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use claviger_app::{Actor, App, UsageQuery};
use claviger_domain::random::PredictableEntropy;
use claviger_engine::EngineOptions;

use crate::suite::support::{Deployment, Held, plain, run_sql};

static SEEDS: AtomicU64 = AtomicU64::new(1000);

/// Opens the deployment anew, counting in this file.
async fn reopen(deployment: &mut Deployment, counters: &Path) {
    deployment.app.close().await;
    // The file is locked until the last of the app's tasks is gone.
    let opened = async {
        loop {
            let options = Some(EngineOptions { usage_cells: 64, keys: 0 });
            // Each database gets an id of its own.
            let entropy = Arc::new(PredictableEntropy::new(SEEDS.fetch_add(1, Ordering::Relaxed)));
            let clock = Arc::clone(&deployment.clock) as _;
            match App::open(&deployment.database, Some(counters), options, clock, entropy).await {
                Ok(app) => return app,
                Err(error) if error.to_string().contains("in use") => tokio::task::yield_now().await,
                Err(error) => panic!("{error}"),
            }
        }
    };
    deployment.app = tokio::time::timeout(std::time::Duration::from_secs(30), opened).await.unwrap();
}

async fn total(deployment: &Deployment) -> u64 {
    let query = UsageQuery {
        organization: Some(deployment.organization),
        api: Some("tork".parse().unwrap()),
        ..UsageQuery::default()
    };
    deployment.app.usage(&Actor::operator(), query).await.unwrap().organization_counts.total
}

fn call(deployment: &Deployment, key: &Held, times: usize) {
    for _ in 0..times {
        deployment.evaluate(&key.secret).unwrap();
    }
}

fn files(folder: &Path) -> usize {
    std::fs::read_dir(folder).unwrap().count()
}

#[tokio::test]
async fn counters_of_another_database_are_kept_until_it_comes_back() {
    let folder = tempfile::tempdir().unwrap();
    let (living, left) = (folder.path().join("living"), tempfile::tempdir().unwrap());
    let left_file = left.path().join("usage.counters");
    let mut one = Deployment::start().await;
    reopen(&mut one, &living).await;
    let key = one.create("tork", plain("a key")).await.unwrap();
    // What a process leaves that is killed before it writes anything down, twice.
    for (number, calls) in [(1, 3), (2, 4)] {
        call(&one, &key, calls);
        std::fs::copy(&living, &left_file).unwrap();
        let mut another = Deployment::start().await;
        reopen(&mut another, &left_file).await;
        another.app.close().await;
        assert_eq!(files(left.path()), 1 + number);
    }
    one.app.close().await;
    run_sql(&one.database, &["DELETE FROM usage"]).await;
    reopen(&mut one, &left_file).await;
    assert_eq!(total(&one).await, 7);
    call(&one, &key, 1);
    assert_eq!(total(&one).await, 8);
    // The last of the others' is kept now, and its own is not needed any more.
    assert_eq!(files(left.path()), 2);
}

#[tokio::test]
async fn a_restored_database_counts_under_a_number_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let counters = ["first", "second", "third"].map(|name| folder.path().join(name));
    let mut deployment = Deployment::start().await;
    reopen(&mut deployment, &counters[0]).await;
    let key = deployment.create("tork", plain("a key")).await.unwrap();
    call(&deployment, &key, 3);
    deployment.app.close().await;
    // A backup from before the last start.
    run_sql(&deployment.database, &["DELETE FROM usage", "UPDATE deployment SET incarnation = incarnation - 1"]).await;
    std::fs::copy(&counters[0], &counters[1]).unwrap();
    reopen(&mut deployment, &counters[1]).await;
    call(&deployment, &key, 2);
    assert_eq!(total(&deployment).await, 5);
    deployment.app.close().await;
    std::fs::copy(&counters[1], &counters[2]).unwrap();
    reopen(&mut deployment, &counters[2]).await;
    assert_eq!(total(&deployment).await, 5);
}
