//! Disks that take nothing any more. A limit on the size of files stands for a disk that is full: the next write that
//! would make one longer fails, and it can be lifted again without privileges.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::time::Duration;

use rustix::process::{Resource, Rlimit, geteuid, getrlimit, prlimit};

use crate::books::Books;
use crate::support::server::Server;
use crate::{Database, open_to_all, refused_start_with};

const PATIENCE: Duration = Duration::from_secs(30);
const NOBODY: u32 = 65534;
const BACK_WITHIN: Duration = Duration::from_secs(5);

/// No file of the server grows beyond this many bytes, from now on.
fn limit_files(server: &Server, bytes: Option<u64>) {
    let limit = Rlimit { current: bytes, ..getrlimit(Resource::Fsize) };
    prlimit(Some(server.process()), Resource::Fsize, limit).unwrap();
}

#[test]
fn a_full_disk_stops_mutations_and_nothing_else() {
    let server = Database::Sqlite.serve_example();
    let mut books = Books::open(&server);
    let load = books.load(&server);
    let ((), tally) = load.run(|load| {
        load.until("callers are at work", PATIENCE, || load.done() >= 8 && load.verdicts() >= 20);
        let journal = fs::metadata(server.data().join("claviger.db-wal")).unwrap().len();
        limit_files(&server, Some(journal));
        load.until("mutations are refused", PATIENCE, || load.unavailable() >= 4);
        let before = load.verdicts();
        load.until("verification goes on", PATIENCE, || load.verdicts() >= before + 100);
        // Whoever only reads is served.
        books.look_up(&server, |answer| drop(answer.expect(200)));
        limit_files(&server, None);
        let before = load.done();
        load.until("mutations are done again", BACK_WITHIN, || load.done() >= before + 8);
    });
    books.check(&server, tally);
    // The same after a restart, whatever the disk had of it.
    let server = Database::Sqlite.serve(server.kill());
    books.close(&server);
}

/// A full disk outlives the server: it ends in good order, and what it could not write is not half written.
#[test]
fn a_disk_that_stays_full_until_the_end_leaves_nothing_half_done() {
    let server = Database::Sqlite.serve_example();
    let mut books = Books::open(&server);
    let load = books.load(&server);
    let (place, tally) = load.run(|load| {
        load.until("callers are at work", PATIENCE, || load.done() >= 8 && load.verdicts() >= 20);
        let journal = fs::metadata(server.data().join("claviger.db-wal")).unwrap().len();
        limit_files(&server, Some(journal));
        load.until("mutations are refused", PATIENCE, || load.unavailable() >= 4);
        load.expect_the_end();
        server.kill()
    });
    let server = Database::Sqlite.serve(place);
    books.check(&server, tally);
    books.close(&server);
}

#[test]
fn a_disk_without_room_for_the_counters_is_named_at_the_start() {
    let directory = tempfile::tempdir().unwrap();
    open_to_all(directory.path());
    // In blocks of 512 bytes: the database has room, the counters have not.
    let said = refused_start_with("ulimit -f 8192", &directory.path().join("data"));
    assert!(said.contains("usage.counters") && said.contains("space cannot be reserved"), "{said}");
    assert!(said.contains("\n next: "), "{said}");
}

#[test]
fn a_directory_that_cannot_be_written_is_named_at_the_start() {
    let directory = tempfile::tempdir().unwrap();
    open_to_all(directory.path());
    let data = directory.path().join("data");
    fs::create_dir(&data).unwrap();
    fs::write(data.join("letter.txt"), "Dear Ada").unwrap();
    fs::set_permissions(&data, fs::Permissions::from_mode(0o555)).unwrap();
    let said = refused_start_with("", &data);
    assert!(said.contains(&format!("cannot open {}", data.display())) && said.contains("Permission denied"), "{said}");
    assert!(said.contains("\n next: "), "{said}");
}

#[test]
fn a_database_that_cannot_be_written_is_named_at_the_start() {
    let server = Database::Sqlite.serve_example();
    let place = server.stop();
    let data = place.data();
    open_to_all(data.parent().unwrap());
    if geteuid().is_root() {
        let files = fs::read_dir(&data).unwrap().map(|file| file.unwrap().path());
        for path in files.chain([data.clone()]) {
            chown(&path, Some(NOBODY), Some(NOBODY)).unwrap();
        }
    }
    fs::set_permissions(data.join("claviger.db"), fs::Permissions::from_mode(0o400)).unwrap();
    let said = refused_start_with("", &data);
    assert!(said.contains("claviger.db: Permission denied") && said.contains("\n next: "), "{said}");
    // Nothing was done to it.
    fs::set_permissions(data.join("claviger.db"), fs::Permissions::from_mode(0o600)).unwrap();
    drop(Database::Sqlite.serve(place));
}
