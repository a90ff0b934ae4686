//! Issue, use, lose, mistype, put in the wrong place; then look everywhere.

mod misplace;
mod search;

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use claviger_domain::definition::Definition;
use claviger_domain::random::PredictableEntropy;
use claviger_testkit::Postgres;
use serde_json::json;
use sha2::{Digest as _, Sha256};

use crate::support::http::{Request, Response};
use crate::support::server::{Server, collect_files};
use crate::support::world::Key;
use crate::{KEYS, call, path, serve};
use search::{Search, each};

/// The name of every key: what is found wherever a secret could have been.
const NAME: &str = "Planted-4c1f09";
const TORK: &str = include_str!("../../../apis/tork.toml");

#[test]
fn no_secret_is_left_in_logs_answers_or_files() {
    let server = serve(&["--log-level", "trace"]);
    let witness = Story::play(&server);
    let files = kill(server);
    witness.must_find_nothing(&files);
    // The process had no time to put anything in order.
    let find = |name: &str| files.iter().find(|(path, _)| path.ends_with(name)).map(|(_, bytes)| bytes);
    let has = |name, text| find(name).is_some_and(|bytes| contains(bytes, text));
    let is_there = has("claviger.db-wal", NAME) && has("usage.counters", "users:read");
    assert!(is_there && find("claviger.db-shm").is_some(), "{:?}", paths(&files));
}

#[test]
fn no_secret_is_left_in_json_logs_or_on_postgres() {
    let url = Postgres::shared().create_database();
    let server = serve(&["--log-level", "trace", "--log-format", "json", "--database-url", &url]);
    let witness = Story::play(&server);
    let mut files = kill(server);
    let asked = Command::new("psql").args([&url, "-Atqc", "CHECKPOINT", "-c", "SHOW data_directory"]).output().unwrap();
    assert!(asked.status.success(), "{asked:?}");
    let directory = PathBuf::from(String::from_utf8(asked.stdout).unwrap().trim());
    collect_files(&directory, &mut files);
    witness.must_find_nothing(&files);
    for part in ["base", "pg_wal"] {
        let part = directory.join(part);
        assert!(files.iter().any(|(path, bytes)| path.starts_with(&part) && contains(bytes, NAME)), "{part:?}");
    }
}

#[test]
fn no_secret_is_left_by_the_demo_and_its_upstream() {
    let server = Server::demo();
    let witness = Story::play(&server);
    witness.must_find_nothing(&kill(server));
}

/// Ends the server as a crash would, and reads what it left.
fn kill(server: Server) -> Vec<(PathBuf, Vec<u8>)> {
    let place = server.kill();
    let mut files = Vec::new();
    collect_files(&place.data(), &mut files);
    files
}

fn contains(bytes: &[u8], text: &str) -> bool {
    Search::text(text).find(bytes).is_some()
}

fn paths(files: &[(PathBuf, Vec<u8>)]) -> Vec<&Path> {
    files.iter().map(|(path, _)| path.as_path()).collect()
}

/// All secrets that were issued or mistyped, and what was said while they were.
struct Witness {
    secrets: Vec<String>,
    /// Every answer and output that issued nothing, with what it answered.
    heard: Vec<(String, Vec<u8>)>,
}

impl Witness {
    fn must_find_nothing(&self, files: &[(PathBuf, Vec<u8>)]) {
        let secrets = || self.secrets.iter().flat_map(|secret| parts(secret));
        // A digest is kept, and told to nobody.
        let digest = |secret: &String| (format!("the digest of {secret}"), Sha256::digest(secret).to_vec());
        let told = Search::new(secrets().chain(self.secrets.iter().map(digest)));
        let heard = self.heard.iter().filter_map(|(place, bytes)| Some(format!("{place}: {}", told.find(bytes)?)));
        let search = Search::new(secrets());
        let kept =
            files.iter().filter_map(|(path, bytes)| Some(format!("{}: {}", path.display(), search.find(bytes)?)));
        let found: Vec<String> = heard.chain(kept).collect();
        assert!(found.is_empty(), "{} leaks:\n{}", found.len(), found.join("\n"));
        assert!(files.iter().any(|(_, bytes)| contains(bytes, NAME)), "{NAME} is nowhere in {:?}", paths(files));
    }
}

/// A secret's random characters in three parts: whoever writes down a third of them has told too much.
fn parts(secret: &str) -> Vec<(String, Vec<u8>)> {
    let random = &secret[secret.rfind('_').unwrap() + 1..];
    let third = random.len() / 3;
    assert!(third >= 9, "{secret} is short");
    let parts = [&random[..third], &random[third..2 * third], &random[2 * third..]];
    parts.map(|part| (format!("a part of {secret}"), part.as_bytes().to_vec())).into()
}

/// A secret with one wrong character: whoever finds it has the right one soon.
fn mistyped(secret: &str) -> String {
    let middle = secret.len() * 2 / 3;
    let other = if secret.as_bytes()[middle] == b'a' { "b" } else { "a" };
    [&secret[..middle], other, &secret[middle + 1..]].concat()
}

/// What is done to a server.
struct Story<'s> {
    server: &'s Server,
    organization: String,
    witness: Witness,
}

impl<'s> Story<'s> {
    fn play(server: &'s Server) -> Witness {
        let is_demo = server.said["admin_token"].is_string();
        if !is_demo {
            let tork = Request::put("/admin/v1/apis/tork").header("Content-Type", "application/toml").body(TORK);
            server.admin(tork).expect(200);
        }
        let witness = Witness { secrets: Vec::new(), heard: Vec::new() };
        let mut story = Self { server, organization: server.organization().id, witness };
        let (holder, lost) = story.issue_all();
        let wrong = mistyped(&lost.secret);
        story.witness.secrets.push(wrong.clone());
        for secret in story.witness.secrets.clone() {
            story.misplace(&holder, &secret);
        }
        for secret in [&lost.secret, &wrong] {
            story.mistake(secret);
        }
        for key in [&lost, &holder] {
            call(server, &holder.secret, Request::delete(&path(key))).expect(200);
            story.misplace(&holder, &key.secret);
        }
        story.ask();
        let log = if is_demo { server.log() } else { story.log() };
        story.witness.heard.push(("the log".to_owned(), log.into_bytes()));
        story.witness
    }

    /// The log, up to a last request: the server does not wait until it is written.
    #[expect(clippy::disallowed_methods, reason = "a bound on how long the log may take")]
    fn log(&self) -> String {
        let last = "/openapi.json";
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            self.server.admin(Request::get(last)).expect(200);
            let log = self.server.log();
            if log.contains(last) {
                assert!(contains(log.as_bytes(), "{id}/rotate"), "requests are missing from the log: {log}");
                return log;
            }
            assert!(Instant::now() < deadline, "the log does not come to its end: {log}");
        }
    }

    /// Secrets in all ways in which there are any, each by a request that is repeated where it can be. Returns a key
    /// that manages others, and one that may be lost.
    fn issue_all(&mut self) -> (Key, Key) {
        let server = self.server;
        let place = json!({"organization": self.organization, "api": "example", "name": NAME});
        let holder = self.issue(|| server.admin(once(Request::post("/admin/v1/keys"), "holder").json(&place)));
        let mine = |request: Request| call(server, &holder.secret, request);
        let name = json!({"name": NAME});
        let made = self.issue(|| mine(once(Request::post(KEYS), "made").json(&name)));
        let rotate = format!("{}/rotate", path(&made));
        let rotated =
            self.issue(|| mine(once(Request::post(&rotate), "rotated").json(&json!({"overlap_seconds": 60}))));
        // A secret that was taken for the Idempotency-Key.
        self.issue(|| mine(once(Request::post(KEYS), &made.secret).json(&name)));
        self.issue(|| mine(once(Request::post(KEYS), &mistyped(&made.secret)).json(&name)));

        let place = json!({"organization": self.organization, "api": "tork", "name": NAME, "prefix": "tork_sk_"});
        let root = self.issue(|| server.admin(once(Request::post("/admin/v1/keys"), "root").json(&place)));
        let child = json!({"name": NAME, "kind": "ephemeral"});
        let create = || once(Request::post("/api/v1/api-keys"), "child").host("tork.network").bearer(&root.secret);
        self.issue(|| server.public(&create().json(&child)));

        for (number, things) in ["admin-tokens", "verifiers"].into_iter().enumerate() {
            let request = once(Request::post(&format!("/admin/v1/{things}")), &format!("token-{number}")).json(&name);
            let token = server.admin(request).expect(201)["token"].as_str().unwrap().to_owned();
            self.witness.secrets.push(token);
        }

        let organization = self.organization.clone();
        let create = ["keys", "create", "--org", &organization, "--api", "example", "--name", NAME, "--json"];
        for command in [&create[..], &["keys", "rotate", &rotated.id, "--json"]] {
            let answer = self.run(command);
            self.witness.secrets.push(Key::issued(&serde_json::from_slice(&answer).unwrap()).secret);
        }
        self.import();
        (holder, rotated)
    }

    /// A key that was issued elsewhere, imported twice.
    fn import(&mut self) {
        let definition = Definition::parse(TORK).unwrap();
        let format = definition.choose_format(Some("tork_live_"), None, None).unwrap();
        let secret = format.issue(&PredictableEntropy::new(4109)).into_clear().to_string();
        let digest = each(&Sha256::digest(&secret), |byte| format!("{byte:02x}"), "");
        let line = json!({
            "digest": digest, "organization": self.organization, "api": "tork", "name": NAME, "prefix": "tork_live_",
        });
        for again in ["import", "import", "import-again"] {
            let request = once(Request::post("/admin/v1/keys/import"), again);
            let request = request.header("Content-Type", "application/x-ndjson").body(line.to_string());
            self.hear(&request.clone(), |server| server.admin(request));
        }
        self.witness.secrets.push(secret);
    }

    /// Sends a request that issues a secret twice: the answer is kept.
    fn issue(&mut self, send: impl Fn() -> Response) -> Key {
        let (first, second) = (send(), send());
        let key = Key::issued(&first.value());
        assert_eq!((second.header("idempotency-replayed"), &second.body), (Some("true"), &first.body));
        self.witness.secrets.push(key.secret.clone());
        key
    }

    fn misplace(&mut self, holder: &Key, secret: &str) {
        for request in misplace::public(&holder.secret, secret) {
            self.hear(&request.clone(), |server| server.public(&request));
        }
        for request in misplace::operator(secret) {
            self.hear(&request.clone(), |server| server.admin(request.clone()));
            // A key is no admin token and no verifier's.
            self.hear(&request.clone(), |server| request.bearer(secret).send(server.internal));
        }
    }

    fn mistake(&mut self, secret: &str) {
        for arguments in misplace::commands(&self.organization, secret) {
            let ran = self.command(&arguments).output().unwrap();
            assert!(matches!(ran.status.code(), Some(1 | 2)), "{arguments:?}: {ran:?}");
            self.witness.heard.push((format!("claviger {arguments:?}"), [ran.stdout, ran.stderr].concat()));
        }
    }

    /// What a command that succeeds prints. What it notes besides holds no secret, whatever it prints.
    fn run(&mut self, arguments: &[&str]) -> Vec<u8> {
        let ran = self.command(arguments).output().unwrap();
        assert!(ran.status.success(), "{arguments:?}: {ran:?}");
        self.witness.heard.push((format!("the notes of claviger {arguments:?}"), ran.stderr));
        ran.stdout
    }

    fn command(&self, arguments: &[impl AsRef<OsStr>]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_claviger"));
        command.args(arguments).env_clear().env("CLAVIGER_DATA", self.server.data());
        command
    }

    fn hear(&mut self, request: &Request, send: impl FnOnce(&Server) -> Response) {
        let response = send(self.server);
        let is_fit = (200..500).contains(&response.status) && response.status != 201;
        assert!(is_fit, "{request:?}: {response:?}");
        let mut said = format!("{:?}\n", response.headers()).into_bytes();
        said.extend(response.body);
        self.witness.heard.push((request.line(), said));
    }

    /// Everything at once: the audit log and the metrics.
    fn ask(&mut self) {
        let export = self.run(&["audit", "export"]);
        assert!(contains(&export, NAME), "{NAME} is not in the audit log");
        let metrics = self.server.admin(Request::get("/metrics")).body;
        assert!(contains(&metrics, "claviger_"), "{}", metrics.escape_ascii());
        self.witness.heard.extend([("the audit log".to_owned(), export), ("the metrics".to_owned(), metrics)]);
    }
}

fn once(request: Request, key: &str) -> Request {
    request.header("Idempotency-Key", key)
}
