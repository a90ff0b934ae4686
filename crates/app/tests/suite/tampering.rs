//! Somebody who can write to the database file alters the audit log, and is found out.

use claviger_app::{Actor, AuditFilter, AuditWalk, Database, PageRequest};
use claviger_domain::audit::{FirstBad, Flaw, Head};
use sqlx::{AssertSqlSafe, Connection as _, SqliteConnection};

use crate::suite::audit::head;
use crate::suite::support::{Deployment, plain};

/// Alters the file behind the server's back.
async fn alter(deployment: &Deployment, sql: &str) {
    let Database::Sqlite(path) = &deployment.database else { panic!("a file") };
    let url = format!("sqlite://{}", path.display());
    let mut connection = SqliteConnection::connect(&url).await.unwrap();
    let refused = sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(&mut connection).await;
    assert!(refused.unwrap_err().to_string().contains("append-only"), "{sql}");
    let triggers = "DROP TRIGGER audit_is_never_altered; DROP TRIGGER audit_is_never_shortened;";
    sqlx::raw_sql(AssertSqlSafe(format!("{triggers} {sql}"))).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}

async fn find(deployment: &Deployment, expected: Option<Head>) -> Option<FirstBad> {
    let walk = AuditWalk { expected, ..AuditWalk::default() };
    deployment.app.verify_audit(&Actor::operator(), walk).await.unwrap().first_bad
}

/// The same, three events at a time.
async fn find_in_parts(deployment: &Deployment) -> Option<FirstBad> {
    let mut walk = AuditWalk { limit: Some(3), ..AuditWalk::default() };
    loop {
        let found = deployment.app.verify_audit(&Actor::operator(), walk).await.unwrap();
        assert!(found.events <= 3 && found.head.number == walk.after.number + found.events, "{found:?}");
        if !found.more {
            return found.first_bad;
        }
        walk.after = found.head;
    }
}

#[tokio::test]
async fn a_part_begins_where_the_log_says() {
    let deployment = Deployment::start().await;
    for _ in 0..6 {
        deployment.create("tork", plain("x")).await.unwrap();
    }
    assert_eq!(find_in_parts(&deployment).await, None);
    let after = |after| AuditWalk { after, ..AuditWalk::default() };
    let verify = async |walk| deployment.app.verify_audit(&Actor::operator(), walk).await.unwrap();
    let head = head(&deployment.app).await;
    let rest = verify(after(head)).await;
    assert_eq!((rest.events, rest.head, rest.first_bad, rest.more), (0, head, None, false));
    for (number, flaw) in [(9, Flaw::NotAsNoted), (11, Flaw::CutOff)] {
        let found = verify(after(Head { number, ..head })).await;
        assert_eq!((found.events, found.first_bad), (0, Some(FirstBad { number, flaw })));
    }
}

#[tokio::test]
async fn whatever_is_altered_is_found() {
    let cases = [
        ("UPDATE audit SET body = replace(body, 'key.created', 'key.revoked') WHERE number = 7", 7, Flaw::Hash),
        ("UPDATE audit SET body = '{}' WHERE number = 7", 7, Flaw::Body),
        ("UPDATE audit SET body = body || ' ' WHERE number = 7", 7, Flaw::Hash),
        ("UPDATE audit SET hash = zeroblob(32) WHERE number = 1", 1, Flaw::Hash),
        ("UPDATE audit SET hash = x'' WHERE number = 7", 7, Flaw::Hash),
        ("UPDATE audit SET actor = 'system' WHERE number = 7", 7, Flaw::Columns),
        ("UPDATE audit SET target = 'tork' WHERE number = 7", 7, Flaw::Columns),
        ("UPDATE audit SET at = at + 1 WHERE number = 7", 7, Flaw::Columns),
        ("UPDATE audit SET organization = NULL WHERE number = 7", 7, Flaw::Columns),
        ("UPDATE audit SET number = 700 WHERE number = 7", 7, Flaw::Missing),
        ("DELETE FROM audit WHERE number = 7", 7, Flaw::Missing),
        ("DELETE FROM audit WHERE number = 1", 1, Flaw::Missing),
        ("UPDATE audit SET number = -1 WHERE number = 7", 1, Flaw::Body),
    ];
    for (sql, number, flaw) in cases {
        let deployment = Deployment::start().await;
        for _ in 0..6 {
            deployment.create("tork", plain("x")).await.unwrap();
        }
        assert_eq!(head(&deployment.app).await.number, 10);
        alter(&deployment, sql).await;
        assert_eq!(find(&deployment, None).await, Some(FirstBad { number, flaw }), "{sql}");
        assert_eq!(find_in_parts(&deployment).await, Some(FirstBad { number, flaw }), "{sql}");
    }
}

#[tokio::test]
async fn one_event_that_cannot_be_read_hides_no_other() {
    let deployment = Deployment::start().await;
    for _ in 0..6 {
        deployment.create("tork", plain("x")).await.unwrap();
    }
    alter(
        &deployment,
        "UPDATE audit SET body = '{}' WHERE number = 7; UPDATE audit SET body = replace(body, '8', '9') WHERE number = 8",
    )
    .await;
    let page = PageRequest { after: Some(10), limit: 4 };
    let page = deployment.app.list_audit(&Actor::operator(), &AuditFilter::default(), page).await.unwrap();
    let listed: Vec<_> = page.rows.into_iter().map(|row| (row.number(), row.event().is_some())).collect();
    assert_eq!(listed, [(9, true), (8, false), (7, false), (6, true)]);
}

#[tokio::test]
async fn a_log_that_was_shortened_or_written_anew_is_not_the_one_that_was_noted_down() {
    let mut deployment = Deployment::start().await;
    for _ in 0..6 {
        deployment.create("tork", plain("x")).await.unwrap();
    }
    let noted = head(&deployment.app).await;
    assert_eq!(find(&deployment, Some(noted)).await, None);
    alter(&deployment, "DELETE FROM audit WHERE number > 8").await;
    // By itself what is left is a good chain.
    let cut = head(&deployment.app).await;
    assert_eq!(cut.number, 8);
    assert_eq!(find(&deployment, Some(noted)).await, Some(FirstBad { number: 10, flaw: Flaw::CutOff }));
    assert_eq!(find(&deployment, Some(cut)).await, None);
    // A server that comes later goes on writing, and the log is as long as it was.
    deployment.restart().await;
    for _ in 0..3 {
        deployment.create("tork", plain("y")).await.unwrap();
    }
    assert_eq!(head(&deployment.app).await.number, 11);
    assert_eq!(find(&deployment, Some(noted)).await, Some(FirstBad { number: 10, flaw: Flaw::NotAsNoted }));
}

#[tokio::test]
async fn a_running_server_knows_where_its_log_ends() {
    let deployment = Deployment::start().await;
    for _ in 0..6 {
        deployment.create("tork", plain("x")).await.unwrap();
    }
    alter(&deployment, "DELETE FROM audit WHERE number > 8").await;
    deployment.create("tork", plain("y")).await.unwrap();
    assert_eq!(find(&deployment, None).await, Some(FirstBad { number: 9, flaw: Flaw::Missing }));
}
