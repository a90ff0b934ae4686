//! One Claviger a PostgreSQL database, even when the lock that keeps others out has gone with its session.

use std::time::Duration;

use claviger_testkit::Postgres;
use rustix::process::{Signal, kill_process};
use serde_json::json;

use crate::books::{code, key};
use crate::load::{KEYS, call, create, must_ask_to_come_back};
use crate::support::http::Request;
use crate::support::server::Place;
use crate::{Database, refused_start, until};

const LOCKS: &str = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND database = \
                     (SELECT oid FROM pg_database WHERE datname = current_database())";
const PATIENCE: Duration = Duration::from_secs(30);
/// So soon after its return a process that was superseded says no to everything.
const NOTICED_WITHIN: Duration = Duration::from_secs(5);

#[test]
fn the_lock_is_taken_again_when_the_database_is_back() {
    let postgres = Postgres::start();
    let url = postgres.create_database();
    let elder = Database::Postgres(url.clone()).serve_example();
    let key = key(&elder.organization());
    postgres.stop();
    postgres.start_again();
    until("the lock is held", PATIENCE, || postgres.query(&url, LOCKS) == "1");
    let other = tempfile::tempdir().unwrap();
    let said = refused_start(&other.path().join("data"), &["--database-url", &url]);
    assert!(said.contains("another Claviger is running on PostgreSQL database"), "{said}");
    assert_eq!(code(&elder, &key), json!(null));
    until("mutations are done", PATIENCE, || {
        call(elder.public, &key.secret, &create("after")).is_ok_and(|answer| answer.status == 201)
    });
}

/// The elder sleeps while the database restarts and a younger one takes it over, then wakes up.
#[test]
fn who_was_superseded_changes_nothing_and_soon_says_no_to_everything() {
    let postgres = Postgres::start();
    let database = Database::Postgres(postgres.create_database());
    let elder = database.serve_example();
    let organization = elder.organization();
    let (manager, leaked) = (key(&organization), key(&organization));
    kill_process(elder.process(), Signal::STOP).unwrap();
    postgres.stop();
    postgres.start_again();
    let younger = database.serve(Place::new());
    call(younger.public, &manager.secret, &Request::delete(&format!("{KEYS}/{}", leaked.id))).unwrap().expect(200);

    kill_process(elder.process(), Signal::CONT).unwrap();
    // From the first call on.
    must_ask_to_come_back(&call(elder.public, &manager.secret, &create("by the elder")).unwrap());
    until("the elder says no", NOTICED_WITHIN, || code(&elder, &leaked) == "unavailable");
    assert_eq!(code(&elder, &manager), "unavailable");
    Request::get("/readyz").send(elder.internal).expect(503);
    assert!(elder.log().contains("another Claviger has started on this database"), "{}", elder.log());

    let answer = call(younger.public, &manager.secret, &create("by the younger")).unwrap().expect(201);
    let listed = call(younger.public, &manager.secret, &Request::get(KEYS)).unwrap().expect(200);
    assert_eq!(listed["data"][0]["id"], answer["data"]["id"]);
    assert!(!listed.to_string().contains("by the elder"), "{listed}");
    assert_eq!(code(&younger, &leaked), "revoked");
    // It ends in good order all the same.
    elder.stop();
    assert_eq!(code(&younger, &manager), json!(null));
}
