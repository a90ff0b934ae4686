//! Everything that the binary does, on PostgreSQL: by the command line, over a restart, and without a word of the
//! database's password.

use std::process::Command;

use claviger_domain::definition::Definition;
use claviger_domain::random::PredictableEntropy;
use claviger_testkit::Postgres;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::cli::{Ran, claviger};
use crate::load::USER;
use crate::support::server::{Place, Server};

const PASSWORD: &str = "hunter2-of-the-database";
const EXAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../apis/example.toml");

/// The command line beside a server, and everything that it ever printed.
struct Terminal {
    server: Server,
    printed: String,
}

impl Terminal {
    fn at(server: Server) -> Self {
        Self { server, printed: String::new() }
    }

    /// Ends the server and starts one on another directory: nothing that counts is in the files beside the database.
    fn restart(self, serve: impl FnOnce(Place) -> Server) -> Self {
        let printed = self.end();
        Self { server: serve(Place::new()), printed }
    }

    /// Ends the server, and returns what it and all commands printed and logged.
    fn end(self) -> String {
        let Self { server, printed } = self;
        let said = server.said.to_string();
        let place = server.stop();
        printed + &said + &std::fs::read_to_string(place.log()).unwrap()
    }

    fn run(&mut self, arguments: &[&str]) -> Ran {
        self.run_with_input(arguments, None)
    }

    fn run_with_input(&mut self, arguments: &[&str], input: Option<&str>) -> Ran {
        let mut command: Command = claviger();
        command.args(arguments).env("CLAVIGER_DATA", self.server.data());
        let ran = Ran::with_input(&mut command, input);
        self.printed.push_str(&ran.stdout);
        self.printed.push_str(&ran.stderr);
        ran
    }

    #[track_caller]
    fn json(&mut self, arguments: &[&str]) -> Value {
        let ran = self.run(&[arguments, &["--json"]].concat());
        assert_eq!(ran.code, 0, "{arguments:?}: {}", ran.stderr);
        serde_json::from_str(&ran.stdout).unwrap()
    }

    /// Whether a call with the secret may pass.
    fn passes(&mut self, secret: &str) -> bool {
        let ran = self.run_with_input(&["verify", "--key", "-", "--path", USER], Some(&format!("{secret}\n")));
        assert!(ran.stdout.starts_with("valid"), "{}", ran.stderr);
        ran.code == 0
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

/// A key that was issued elsewhere: its secret, and its line in a file to import.
fn foreign_key(organization: &str) -> (String, String) {
    let definition = Definition::parse(include_str!("../../apis/example.toml")).unwrap();
    let format = definition.choose_format(Some("sk_live_"), None, None).unwrap();
    let secret = format.issue(&PredictableEntropy::new(5)).into_clear().to_string();
    let digest = Sha256::digest(&secret).iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"));
    let line = json!({
        "digest": digest, "organization": organization, "api": "example", "name": "Imported", "prefix": "sk_live_",
    });
    (secret, format!("{line}\n"))
}

#[test]
fn the_command_line_works_on_postgres_and_all_of_it_is_there_after_a_restart() {
    let url = Postgres::shared().create_database().replace("postgres@", &format!("postgres:{PASSWORD}@"));
    let serve = |place| Server::serve(place, &["--database-url", &url]);
    let mut terminal = Terminal::at(serve(Place::new()));

    assert!(terminal.run(&["apply", EXAMPLE]).stdout.starts_with("example: created\n"));
    assert_eq!(terminal.run(&["apply", EXAMPLE]).stdout, "example: nothing to change\n");
    let organization = text(&terminal.json(&["orgs", "create", "Acme"])["id"]);
    let create = ["keys", "create", "--org", &organization, "--api", "example", "--name"];
    let [kept, rotated, revoked] =
        ["Kept", "Rotated", "Revoked"].map(|name| terminal.json(&[&create[..], &[name]].concat()));
    let old = text(&rotated["secret"]);
    let new = text(&terminal.json(&["keys", "rotate", rotated["id"].as_str().unwrap(), "--overlap", "1h"])["secret"]);
    assert_eq!(terminal.run(&["keys", "revoke", revoked["id"].as_str().unwrap(), "--reason", "leaked"]).code, 0);
    let (imported, line) = foreign_key(&organization);
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), line).unwrap();
    assert_eq!(terminal.run(&["keys", "import", file.path().to_str().unwrap()]).code, 0);

    let secrets = [(text(&kept["secret"]), true), (old, true), (new, true), (imported, true)];
    let secrets: Vec<_> = secrets.into_iter().chain([(text(&revoked["secret"]), false)]).collect();
    for lives in 1..=2 {
        for (secret, passes) in &secrets {
            assert_eq!(terminal.passes(secret), *passes);
        }
        let usage = &terminal.json(&["usage", "--org", &organization, "--api", "example"])["organization"];
        assert_eq!((&usage["allowed"], &usage["by_outcome"]["revoked"]), (&json!(4 * lives), &json!(lives)), "{usage}");
        let listed = terminal.json(&["keys", "list", "--org", &organization]);
        assert_eq!(listed["data"].as_array().unwrap().len(), 4);
        let verified = terminal.run(&["audit", "verify"]);
        assert_eq!(verified.code, 0, "{}", verified.stderr);
        terminal = terminal.restart(serve);
    }
    let printed = terminal.end();
    assert!(printed.contains("listening") && !printed.contains(PASSWORD), "{printed}");
    // Nor is it told to whoever asks for a database that is not there, or not in that way.
    let data = tempfile::tempdir().unwrap();
    for wrong in [
        url.replace("/test_", "/no_such_"),
        url.replace("://postgres:", "://nobody:"),
        url.replace("postgres://", "mysql://"),
    ] {
        let ran = Ran::of(claviger().args(["serve", "--database-url", &wrong, "--data"]).arg(data.path()));
        assert!(ran.code != 0 && ran.stderr.starts_with("error: "), "{}", ran.stderr);
        assert!(!ran.stderr.contains(PASSWORD) && !ran.stdout.contains(PASSWORD), "{}", ran.stderr);
    }
}
