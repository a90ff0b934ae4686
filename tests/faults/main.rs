//! What happens when something breaks, with the real binary on both databases: the process is killed, the database goes
//! away, the disk is full, files are damaged. What was answered must be so, what was not must be wholly there or not at
//! all, and nobody may be let in who was shut out.
//!
//! Usage is held to the call: a call that was answered is counted once, one that was in flight once or not at all.
//! `README.md` beside this file says which faults there are and what is promised under each.

#![allow(clippy::unwrap_used, reason = "helpers of tests: a failure here is the test's failure")]

#[path = "../../crates/cli/tests/support/mod.rs"]
mod cli;
#[path = "../support/mod.rs"]
mod support;

mod away;
mod books;
mod disk;
mod end_to_end;
mod fence;
mod kill;
mod leftovers;
mod load;
mod terminate;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use claviger_testkit::Postgres;
use cli::Ran;
use rustix::process::geteuid;
use support::http::Request;
use support::server::{Place, Server};

/// Where a deployment keeps its truth.
#[derive(Clone)]
enum Database {
    Sqlite,
    Postgres(String),
}

impl Database {
    /// A new database on the PostgreSQL of this test process.
    fn postgres() -> Self {
        Self::Postgres(Postgres::shared().create_database())
    }

    /// `claviger serve` on it.
    fn serve(&self, place: Place) -> Server {
        match self {
            Self::Sqlite => Server::serve(place, &[]),
            Self::Postgres(url) => Server::serve(place, &["--database-url", url]),
        }
    }

    /// The same on a new directory, with the example api.
    fn serve_example(&self) -> Server {
        let server = self.serve(Place::new());
        let definition = Request::put("/admin/v1/apis/example").header("Content-Type", "application/toml");
        server.admin(definition.body(include_str!("../../apis/example.toml"))).expect(200);
        server
    }
}

/// Has `claviger serve` fail on a directory, and returns what it says.
fn refused_start(data: &Path, arguments: &[&str]) -> String {
    refused_start_by(&[], "", data, arguments)
}

/// The same as a user whom permissions bind, after a shell has run the words of `before`.
fn refused_start_with(before: &str, data: &Path) -> String {
    let nobody: &[&str] = &["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"];
    refused_start_by(if geteuid().is_root() { nobody } else { &[] }, before, data, &[])
}

fn refused_start_by(who: &[&str], before: &str, data: &Path, arguments: &[&str]) -> String {
    let script = format!("trap '' XFSZ; {before}\nexec \"$@\"");
    let ran = Ran::of(
        Command::new("timeout")
            .arg("30")
            .args(who)
            .args(["sh", "-c", &script, "sh", env!("CARGO_BIN_EXE_claviger"), "serve"])
            .args(["--listen", "127.0.0.1:0", "--internal-listen", "127.0.0.1:0", "--data"])
            .arg(data)
            .args(arguments)
            .env_clear()
            .env("PATH", "/usr/bin:/bin"),
    );
    assert_eq!((ran.code, ran.stdout.as_str()), (1, ""), "{}", ran.stderr);
    ran.stderr
}

/// Whoever the server runs as gets as far as to the directory.
fn open_to_all(path: &Path) {
    fs::set_permissions(path, fs::Permissions::from_mode(0o777)).unwrap();
}

/// Asks until something is so, and fails when it takes too long. Each question is one to another process.
#[track_caller]
#[expect(clippy::disallowed_methods, reason = "a bound on how long the test waits")]
fn until(what: &str, patience: Duration, mut is_so: impl FnMut() -> bool) -> Duration {
    let begin = Instant::now();
    while !is_so() {
        assert!(begin.elapsed() < patience, "{what}: not within {patience:?}");
        thread::yield_now();
    }
    begin.elapsed()
}
