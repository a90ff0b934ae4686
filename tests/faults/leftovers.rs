//! What a dead process or a bad disk left in the data directory. The server starts and says the truth, or says why it
//! does not start; it never lets anybody in who was shut out.

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::path::Path;

use claviger_domain::random::{Entropy as _, PredictableEntropy};
use serde_json::{Value, json};

use crate::books::{code, key};
use crate::load::KEYS;
use crate::support::http::Request;
use crate::support::server::{Place, Server};
use crate::support::world::Key;
use crate::{Database, refused_start};

/// A deployment whose server is dead, with a key that passes and one that was revoked.
struct Dead {
    place: Place,
    organization: String,
    key: Key,
    revoked: Key,
    /// Calls with the key that passed.
    calls: u64,
}

impl Dead {
    /// After a crash.
    fn killed() -> Self {
        Self::ended(Server::kill)
    }

    fn ended(end: fn(Server) -> Place) -> Self {
        let server = Database::Sqlite.serve_example();
        let organization = server.organization();
        let (key, revoked) = (key(&organization), key(&organization));
        server.admin(Request::delete(&format!("/admin/v1/keys/{}", revoked.id))).expect(200);
        let id = organization.id.clone();
        let dead = Self { organization: id, key, revoked, calls: 3, place: Place::new() };
        for _ in 0..dead.calls {
            assert_eq!(code(&server, &dead.key), Value::Null);
        }
        Self { place: end(server), ..dead }
    }

    /// Starts a server on what is there, and returns it with the calls that it has counted.
    fn revive(self) -> (Server, u64) {
        let server = Database::Sqlite.serve(self.place);
        assert_eq!(code(&server, &self.revoked), "revoked");
        let target = format!("/admin/v1/usage?organization={}&api=example", self.organization);
        let usage = server.admin(Request::get(&target)).expect(200);
        assert_eq!(code(&server, &self.key), Value::Null);
        let manager = server.admin(Request::get(&format!("/admin/v1/keys/{}", self.revoked.id))).expect(200);
        assert_eq!(manager["state"], "revoked");
        let made = Request::post(KEYS).host("api.example.com").bearer(&self.key.secret).json(&json!({"name": "After"}));
        server.public(&made).expect(201);
        (server, usage["organization"]["allowed"].as_u64().unwrap())
    }
}

fn garbage(bytes: usize) -> Vec<u8> {
    let mut garbage = vec![0; bytes];
    PredictableEntropy::new(7).fill(&mut garbage);
    garbage
}

fn cut(path: &Path, bytes: u64) {
    File::options().write(true).open(path).unwrap().set_len(bytes).unwrap();
}

fn append(path: &Path, bytes: &[u8]) {
    OpenOptions::new().append(true).open(path).unwrap().write_all(bytes).unwrap();
}

#[test]
fn counters_that_are_not_what_they_were_lose_counts_and_nothing_else() {
    type Harm = (&'static str, fn(&Path));
    let harms: [Harm; 7] = [
        ("gone", |path| fs::remove_file(path).unwrap()),
        ("empty", |path| cut(path, 0)),
        ("not even a word", |path| cut(path, 3)),
        ("a part of the header", |path| cut(path, 100)),
        ("no page at the end", |path| cut(path, fs::metadata(path).unwrap().len() - 4096)),
        ("half a word at the end", |path| cut(path, fs::metadata(path).unwrap().len() - 4)),
        ("garbage", |path| fs::write(path, garbage(1 << 20)).unwrap()),
    ];
    for (name, harm) in harms {
        let dead = Dead::killed();
        harm(&dead.place.data().join("usage.counters"));
        let (server, counted) = dead.revive();
        assert_eq!(counted, 0, "{name}");
        // Counting goes on in a new file.
        assert!(fs::metadata(server.data().join("usage.counters")).unwrap().len() > 4096, "{name}");
    }
    // A header that is right above garbage: what makes no sense is left out, and said.
    let dead = Dead::killed();
    let path = dead.place.data().join("usage.counters");
    let mut bytes = fs::read(&path).unwrap();
    let behind = &mut bytes[2 * 4096..];
    behind.copy_from_slice(&garbage(behind.len()));
    fs::write(&path, bytes).unwrap();
    let (server, _) = dead.revive();
    assert!(server.log().contains("made no sense") || server.log().contains("cannot be read"), "{}", server.log());
}

#[test]
fn counters_of_another_database_are_not_counted_here() {
    let (one, other) = (Dead::killed(), Dead::killed());
    let path = one.place.data().join("usage.counters");
    fs::copy(other.place.data().join("usage.counters"), &path).unwrap();
    let (server, counted) = one.revive();
    assert_eq!(counted, 0);
    let mut names = fs::read_dir(server.data()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert!(names.any(|name| name.starts_with("usage.counters.")), "they are kept for whose they are");
    // The other's own are still good.
    assert_eq!(other.revive().1, 3);
}

/// What was being written when the machine died was never answered; what was answered is before it.
#[test]
fn a_torn_end_of_the_journal_loses_nothing_that_was_answered() {
    for torn in [1, 23, 24, 1000, 24 + 4096, 40_000] {
        let dead = Dead::killed();
        append(&dead.place.data().join("claviger.db-wal"), &garbage(torn));
        assert_eq!(dead.revive().1, 3, "{torn}");
    }
    let dead = Dead::killed();
    let index = dead.place.data().join("claviger.db-shm");
    let length = fs::metadata(&index).unwrap().len();
    fs::write(&index, garbage(length as usize)).unwrap();
    assert_eq!(dead.revive().1, 3);
}

/// A disk that lost the end of the journal, after it had said that it was written, takes the last mutations with it: nobody
/// can know of them. What is left holds together, and verdicts are those of what is left.
#[test]
fn a_journal_that_was_cut_short_is_an_older_state_and_not_a_mixture() {
    let dead = Dead::killed();
    let journal = dead.place.data().join("claviger.db-wal");
    cut(&journal, fs::metadata(&journal).unwrap().len() - 2000);
    let server = Database::Sqlite.serve(dead.place);
    for key in [&dead.key, &dead.revoked] {
        let shown = server.admin(Request::get(&format!("/admin/v1/keys/{}", key.id)));
        let expected = match shown.status {
            404 => json!("not_found"),
            _ if shown.expect(200)["state"] == "active" => Value::Null,
            _ => json!("revoked"),
        };
        assert_eq!(code(&server, key), expected);
    }
    let log = server.admin(Request::get("/admin/v1/audit/verification")).expect(200);
    assert_eq!(log["first_bad"], Value::Null, "{log}");
}

#[test]
fn a_damaged_database_is_named_and_not_served() {
    type Harm = (&'static str, fn(&mut Vec<u8>));
    let harms: [Harm; 3] = [
        ("no header", |bytes| bytes[..100].fill(0)),
        ("garbage behind the first pages", |bytes| {
            let rest = bytes.len() - 2 * 4096;
            bytes[2 * 4096..].copy_from_slice(&garbage(rest));
        }),
        ("half of it", |bytes| bytes.truncate(bytes.len() / 2 / 4096 * 4096)),
    ];
    for (name, harm) in harms {
        // After an orderly end everything is in the one file.
        let dead = Dead::ended(Server::stop);
        let path = dead.place.data().join("claviger.db");
        let mut bytes = fs::read(&path).unwrap();
        harm(&mut bytes);
        fs::write(&path, bytes).unwrap();
        let said = refused_start(&dead.place.data(), &[]);
        assert!(said.contains("claviger.db is not a Claviger database or is damaged"), "{name}: {said}");
        assert!(said.contains("\n next: "), "{name}: {said}");
    }
}

#[test]
fn whatever_stands_in_the_place_of_the_socket_is_replaced_or_named() {
    // The socket of a process that was killed.
    let dead = Dead::killed();
    assert!(dead.place.data().join("claviger.sock").exists());
    let (server, _) = dead.revive();
    let place = server.stop();
    let socket = place.data().join("claviger.sock");
    fs::create_dir(&socket).unwrap();
    let said = refused_start(&place.data(), &[]);
    assert!(said.contains("claviger.sock") && said.starts_with("error: cannot listen on"), "{said}");
    fs::remove_dir(&socket).unwrap();
    drop(Database::Sqlite.serve(place));
}
