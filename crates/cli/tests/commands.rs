//! The client commands through the real binary, over the socket of a real server.

#![allow(clippy::unwrap_used, reason = "a test's helpers are part of the test")]

mod support;

use std::path::PathBuf;

use serde_json::{Value, json};
use support::{Ran, TestServer, claviger, server};

fn definition(name: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("../../apis/{name}.toml"));
    path.to_str().unwrap().to_owned()
}

fn text<'v>(document: &'v Value, name: &str) -> &'v str {
    document[name].as_str().unwrap_or_else(|| panic!("{name} is not in {document}"))
}

fn verify(server: &TestServer, secret: &str) -> Ran {
    let mut command = server.command(&["verify", "--key", "-", "--path", "/v1/users/usr_123"]);
    Ran::with_input(&mut command, Some(&format!("{secret}\n")))
}

#[test]
fn applying_is_idempotent() {
    let directory = tempfile::tempdir().unwrap();
    let server = TestServer::serve_in(directory.path());
    let file = definition("tork");
    let outcome = |arguments: &[&str]| {
        let ran = server.run(arguments);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        ran.stdout
    };
    let dry = outcome(&["apply", "--dry-run", &file]);
    assert!(dry.starts_with("tork: would be created\n  + "), "{dry}");
    assert!(outcome(&["apis"]).starts_with("No API is defined yet."));
    assert!(outcome(&["apply", &file]).starts_with("tork: created\n  + "));
    assert_eq!(outcome(&["apply", &file]), "tork: nothing to change\n");

    let changed = directory.path().join("tork.toml");
    std::fs::write(&changed, std::fs::read_to_string(&file).unwrap().replace("\"Tork\"", "\"Tork Two\"")).unwrap();
    let changed = changed.to_str().unwrap();
    let shown = outcome(&["apply", "--dry-run", changed]);
    assert!(shown.starts_with("tork: would get 1 change\n  ~ title"), "{shown}");
    assert!(outcome(&["apply", changed]).starts_with("tork: 1 change\n  ~ title"));
    let answer = server.run_json(&["apply", changed, &definition("example")]);
    let names: Vec<_> = answer["data"].as_array().unwrap().iter().map(|applied| text(applied, "name")).collect();
    assert_eq!(names, ["tork", "example"]);
}

#[test]
fn a_bad_definition_changes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let server = TestServer::serve_in(directory.path());
    let bad = directory.path().join("bad.toml");
    std::fs::write(&bad, std::fs::read_to_string(definition("tork")).unwrap().replace("length = 29", "length = 9"))
        .unwrap();
    let ran = server.run(&["apply", &definition("example"), bad.to_str().unwrap()]);
    assert_eq!((ran.code, ran.stdout.as_str()), (1, ""));
    assert!(ran.stderr.contains("bad.toml:") && ran.stderr.contains("random bits"), "{}", ran.stderr);
    assert_eq!(server.run_json(&["apis"])["data"], json!([]));
    // A clash with what is defined is found by the server.
    assert_eq!(server.run(&["apply", &definition("tork")]).code, 0);
    std::fs::write(&bad, std::fs::read_to_string(definition("tork")).unwrap().replacen("\"tork\"", "\"twin\"", 1))
        .unwrap();
    let ran = server.run(&["apply", bad.to_str().unwrap()]);
    assert_eq!(ran.code, 1);
    assert!(ran.stderr.contains("belongs to api tork already"), "{}", ran.stderr);
}

#[test]
fn a_key_lives_its_whole_life() {
    let (_directory, server, organization) = server();
    let create = ["keys", "create", "--org", &organization, "--api", "example", "--name", "Production Key"];
    let created = server.run_json(&create);
    let (id, secret) = (text(&created, "id"), text(&created, "secret"));
    assert!(secret.starts_with("sk_live_"));
    assert_eq!(verify(&server, secret).code, 0);

    assert_eq!(server.run(&["keys", "disable", id]).stdout, format!("Disabled {id} (Production Key).\n"));
    assert_eq!(verify(&server, secret).code, 1);
    assert_eq!(server.run(&["keys", "enable", id]).stdout, format!("Enabled {id} (Production Key).\n"));
    assert_eq!(verify(&server, secret).code, 0);

    let updated = server.run_json(&["keys", "update", id, "--name", "Renamed", "--ip", "10.0.0.0/8"]);
    assert_eq!((text(&updated, "name"), &updated["restrictions"]["ip"]), ("Renamed", &json!(["10.0.0.0/8"])));
    assert_eq!(verify(&server, secret).code, 1);
    let lifted = server.run_json(&["keys", "update", id, "--no-ip"]);
    assert_eq!(lifted["restrictions"]["ip"], Value::Null);

    let rotated = server.run_json(&["keys", "rotate", id, "--overlap", "1h"]);
    let new_secret = text(&rotated, "secret");
    assert_eq!(text(&rotated, "id"), id);
    assert_eq!((verify(&server, secret).code, verify(&server, new_secret).code), (0, 0));
    let rotated = server.run(&["keys", "rotate", id, "--quiet"]);
    assert_eq!((verify(&server, secret).code, verify(&server, new_secret).code), (1, 1));
    assert_eq!(verify(&server, rotated.stdout.trim()).code, 0);

    let revoked = server.run(&["keys", "revoke", id, "--reason", "leaked"]);
    assert_eq!((revoked.code, revoked.stdout), (0, format!("Revoked {id}. No server accepts it any more.\n")));
    assert_eq!(verify(&server, rotated.stdout.trim()).code, 1);
    let shown = server.run_json(&["keys", "show", id]);
    assert_eq!((text(&shown, "state"), text(&shown, "revoked_reason")), ("revoked", "leaked"));
    assert!(shown.get("secret").is_none());
}

#[test]
fn a_secret_is_printed_once_and_only_to_standard_output() {
    let (_directory, server, organization) = server();
    let create = ["keys", "create", "--org", &organization, "--api", "example", "--name", "x"];
    let human = server.run(&create);
    assert_eq!(human.stdout.matches("sk_live_").count(), 1, "{}", human.stdout);
    assert_eq!(human.stderr, "\nCopy the secret now: it is shown only this once.\n");
    let quiet = server.run(&[&create[..], &["--quiet"]].concat());
    assert_eq!((quiet.stdout.lines().count(), quiet.stderr.as_str()), (1, ""));
    let secret = quiet.stdout.trim();
    assert_eq!(verify(&server, secret).code, 0);
    for command in [&["keys", "list"][..], &["keys", "list", "--json"], &["keys", "list", "--org", &organization]] {
        let listed = server.run(command);
        assert!(!listed.stdout.contains(secret) && !listed.stderr.contains(secret));
    }
}

#[test]
fn organizations_can_be_suspended_and_activated() {
    let (_directory, server, organization) = server();
    let create = ["keys", "create", "--org", &organization, "--api", "example", "--name", "x", "-q"];
    let secret = server.run(&create).stdout;
    assert_eq!(server.run(&["orgs", "suspend", &organization]).stdout, format!("Suspended {organization} (Acme).\n"));
    assert_eq!(verify(&server, secret.trim()).code, 1);
    assert_eq!(text(&server.run_json(&["orgs", "show", &organization]), "status"), "suspended");
    assert_eq!(server.run(&["orgs", "activate", &organization]).stdout, format!("Activated {organization} (Acme).\n"));
    assert_eq!(verify(&server, secret.trim()).code, 0);
}

#[test]
fn verdicts_are_for_people_and_for_scripts() {
    let (_directory, server, organization) = server();
    let create = ["keys", "create", "--org", &organization, "--api", "example", "--name", "x", "--scope", "users:read"];
    let created = server.run_json(&create);
    let secret = text(&created, "secret");
    let allowed = verify(&server, secret);
    assert!(allowed.stdout.starts_with("valid         yes, GET /v1/users/usr_123 may pass\n"), "{}", allowed.stdout);
    assert!(!allowed.stdout.contains(secret));
    let arguments = ["verify", "--method", "POST", "--path", "/v1/users"];
    let denied = Ran::of(server.command(&arguments).env("CLAVIGER_KEY", secret));
    assert_eq!(denied.code, 1);
    assert!(denied.stdout.contains("code          insufficient_scope\n"), "{}", denied.stdout);
    let answer = Ran::of(server.command(&arguments).arg("--json").env("CLAVIGER_KEY", secret));
    let answer: Value = serde_json::from_str(&answer.stdout).unwrap();
    assert_eq!((&answer["valid"], text(&answer, "code")), (&json!(false), "insufficient_scope"));
}

#[test]
fn a_verdict_says_what_is_left_of_the_limits() {
    let (_directory, server, organization) = server();
    assert_eq!(server.run(&["apply", &definition("tork")]).code, 0);
    let created = server.run_json(&["keys", "create", "--org", &organization, "--api", "tork", "--name", "x"]);
    let question = ["verify", "--method", "POST", "--path", "/api/v1/evaluate"];
    let ask = |more: &[&str]| {
        let mut command = server.command(&[&question[..], more].concat());
        Ran::of(command.env("CLAVIGER_KEY", text(&created, "secret")))
    };
    let answer: Value = serde_json::from_str(&ask(&["--json"]).stdout).unwrap();
    let human = ask(&[]);
    assert_eq!(human.code, 0, "{}", human.stdout);
    let limits = answer["limits"].as_array().unwrap();
    assert!(!limits.is_empty());
    for limit in limits {
        let name = format!("limit {} ", text(limit, "name"));
        let line = human.stdout.lines().find(|line| line.starts_with(&name)).unwrap();
        assert!(line.contains(&format!(" of {} left", limit["limit"])) && line.contains(", resets "), "{line}");
    }
    let refused = ask(&["--cost", "100000"]);
    assert!(refused.code == 1 && refused.stdout.contains("; it refused the call"), "{}", refused.stdout);
}

#[test]
fn tokens_open_the_internal_listener_until_they_are_revoked() {
    let (_directory, server, _) = server();
    let remote = |arguments: &[&str], token: &str| {
        let mut command = claviger();
        command.args(arguments).env("CLAVIGER_SERVER", server.internal_url()).env("CLAVIGER_TOKEN", token);
        Ran::of(&mut command)
    };
    let admin = server.run_json(&["admin-tokens", "create", "Laptop"]);
    assert_eq!(remote(&["orgs", "list"], text(&admin, "token")).code, 0);
    assert_eq!(server.run(&["admin-tokens", "revoke", text(&admin, "id")]).code, 0);
    let refused = remote(&["orgs", "list"], text(&admin, "token"));
    assert_eq!(refused.code, 1);
    assert!(refused.stderr.contains("\n next: check CLAVIGER_TOKEN"), "{}", refused.stderr);

    let verifier = server.run_json(&["verifiers", "create", "Proxy"]);
    let question = ["verify", "--key", "nonsense", "--path", "/v1/users/usr_123"];
    assert!(remote(&question, text(&verifier, "token")).stdout.starts_with("valid"));
    assert_eq!(server.run(&["verifiers", "revoke", text(&verifier, "id")]).code, 0);
    let refused = remote(&question, text(&verifier, "token"));
    assert!(refused.stderr.contains("verify takes a verifier's token"), "{}", refused.stderr);

    for command in ["admin-tokens", "verifiers"] {
        let listed = server.run(&[command, "list"]);
        assert!(listed.stdout.starts_with("ID  "), "{}", listed.stdout);
        assert!(!listed.stdout.contains("claviger_"), "{}", listed.stdout);
    }
}

#[test]
fn every_answer_is_one_json_document() {
    let (_directory, server, organization) = server();
    let key = server.run_json(&["keys", "create", "--org", &organization, "--api", "example", "--name", "x"]);
    let id = text(&key, "id");
    let commands: &[&[&str]] = &[
        &["apis"],
        &["apis", "list"],
        &["apis", "show", "example"],
        &["orgs", "list", "--limit", "1"],
        &["orgs", "show", &organization],
        &["keys", "list", "--org", &organization, "--state", "active", "--kind", "secret", "--environment", "live"],
        &["keys", "show", id],
        &["usage", "--org", &organization, "--api", "example"],
        &["verifiers", "list"],
        &["admin-tokens", "list"],
        &["keys", "revoke", id],
    ];
    for command in commands {
        let answer = server.run_json(command);
        assert!(answer.is_object(), "{command:?}: {answer}");
        let human = server.run(command);
        assert_eq!(human.code, 0, "{command:?}: {}", human.stderr);
        assert!(!human.stdout.trim().is_empty(), "{command:?}");
    }
    let openapi = Ran::of(claviger().arg("openapi"));
    let document: Value = serde_json::from_str(&openapi.stdout).unwrap();
    assert!(text(&document, "openapi").starts_with("3.1"));
}

#[test]
fn lists_go_on_where_they_stopped() {
    let (_directory, server, _) = server();
    for name in ["B", "C"] {
        server.run_json(&["orgs", "create", name]);
    }
    let first = server.run(&["orgs", "list", "--limit", "2"]);
    assert_eq!(first.stdout.lines().count(), 3);
    let cursor = first.stderr.trim().strip_prefix("There are more: claviger orgs list --cursor ").unwrap();
    let second = server.run(&["orgs", "list", "--cursor", cursor]);
    assert_eq!((second.stdout.lines().count(), second.stderr.as_str()), (2, ""));
    assert!(second.stdout.contains("Acme"), "{}", second.stdout);
}

#[test]
fn refusals_say_what_and_what_next() {
    let (_directory, server, organization) = server();
    let unknown = "key_0000000000000000000000001a";
    let ran = server.run(&["keys", "show", unknown]);
    assert_eq!((ran.code, ran.stdout.as_str()), (1, ""));
    assert!(
        ran.stderr.starts_with("error: ")
            && ran.stderr.ends_with("\n next: see what there is with `claviger keys list`\n")
    );

    let ran =
        server.run(&["keys", "create", "--org", &organization, "--api", "example", "--name", "x", "--scope", "fly"]);
    assert_eq!(ran.code, 1);
    assert!(ran.stderr.starts_with("error: scopes: "), "{}", ran.stderr);

    let ran = server.run(&["keys", "show", "key_123"]);
    assert_eq!(ran.code, 2);
    let ran = Ran::of(claviger().args(["orgs", "list", "--server", "http://127.0.0.1:1"]));
    assert_eq!(ran.code, 2);
    assert!(ran.stderr.contains("asks for a token"), "{}", ran.stderr);
}

#[test]
fn without_a_server_it_says_how_to_start_one() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().to_str().unwrap();
    let ran = Ran::of(claviger().args(["keys", "list", "--data", data]));
    assert_eq!(ran.code, 1);
    insta::assert_snapshot!(ran.stderr.replace(data, "DIR"), @r"
    error: no server runs on DIR
     next: start one with `claviger serve --data DIR`, or name another with --data DIR or --server URL
           (looked for its socket DIR/claviger.sock)
    ");
    let ran = Ran::of(claviger().args(["keys", "list", "--server", "http://127.0.0.1:1", "--token", "t"]));
    assert_eq!(ran.code, 1);
    assert!(ran.stderr.starts_with("error: no server answers at http://127.0.0.1:1: "), "{}", ran.stderr);
}

#[test]
fn completions_are_written_for_every_shell() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let ran = Ran::of(claviger().args(["completions", shell]));
        assert_eq!(ran.code, 0);
        assert!(ran.stdout.contains("admin-tokens"), "{shell}");
    }
}
