//! The audit log, revoking many keys and repeating a command, through the real binary.

#![allow(clippy::unwrap_used, reason = "a test's helpers are part of the test")]

mod support;

use serde_json::{Value, json};
use support::{Ran, TestServer, claviger, server};

fn create(server: &TestServer, organization: &str, more: &[&str]) -> Value {
    let create = ["keys", "create", "--org", organization, "--api", "example", "--name", "CI"];
    server.run_json(&[&create[..], more].concat())
}

#[test]
fn the_log_is_listed_shown_and_verified() {
    let (_directory, server, organization) = server();
    let key = create(&server, &organization, &[]);
    let id = key["id"].as_str().unwrap();
    assert_eq!(server.run(&["keys", "update", id, "--name", "Renamed"]).code, 0);
    let listed = server.run(&["audit", "list", "--target", id]);
    let lines: Vec<_> = listed.stdout.lines().collect();
    assert_eq!(lines.len(), 3, "{}", listed.stdout);
    let words: Vec<_> = lines[1].split_whitespace().collect();
    assert_eq!((words[0], words[3], words[4], words[5], words[6]), ("5", "operator", "key.updated", id, "socket"));
    assert_eq!(server.run(&["audit", "list", "--actor", "system"]).stdout, "There are no such events.\n");
    let first = server.run(&["audit", "list", "--limit", "2"]);
    let cursor = first.stderr.trim().strip_prefix("There are more: claviger audit list --cursor ").unwrap();
    assert_eq!(server.run(&["audit", "list", "--cursor", cursor]).stdout.lines().count(), 4);
    let came = server.run(&["audit", "list", "--target", "admin_api", "--actor", "operator"]);
    assert!(came.stdout.contains("operator  admin.signed_in  admin_api  socket\n"), "{}", came.stdout);

    let shown = server.run(&["audit", "show", "5"]);
    assert!(shown.stdout.ends_with("\n\n~ name: \"CI\" → \"Renamed\"\n"), "{}", shown.stdout);
    assert!(server.run(&["audit", "show", "4"]).stdout.contains("\n+ scopes: [\"*\"]\n"));
    assert_eq!(server.run_json(&["audit", "show", "5"])["number"], 5);
    let missing = server.run(&["audit", "show", "6"]);
    assert_eq!((missing.code, missing.stdout.as_str()), (1, ""));

    let verified = server.run(&["audit", "verify"]);
    assert_eq!(verified.code, 0);
    let head = verified.stdout.strip_prefix("5 events as they were written, number 1 to 5\nhead  ").unwrap().trim();
    assert!(verified.stderr.contains(&format!("claviger audit verify --expect {head}")), "{}", verified.stderr);
    assert_eq!(server.run(&["audit", "verify", "--expect", head]).code, 0);
    let other = format!("5:{}", "0".repeat(64));
    let refused = server.run(&["audit", "verify", "--expect", &other]);
    assert_eq!((refused.code, refused.stdout.as_str()), (1, ""));
    assert!(
        refused.stderr.starts_with("error: the audit log is not as it was written: event 5: "),
        "{}",
        refused.stderr
    );
    let refused = server.run(&["audit", "verify", "--expect", &other, "--json"]);
    assert_eq!(refused.code, 1);
    assert_eq!(serde_json::from_str::<Value>(&refused.stdout).unwrap()["first_bad"]["number"], 5);
    let whole = server.run_json(&["audit", "verify"]);
    assert_eq!((&whole["events"], &whole["first"], &whole["head"]["number"]), (&json!(5), &json!(1), &json!(5)));
    assert_eq!(server.run(&["audit", "verify", "--after", &other]).code, 1);
    let nothing_new = server.run(&["audit", "verify", "--after", head]);
    assert_eq!(nothing_new.stdout, format!("0 events as they were written\nhead  {head}\n"));
}

#[test]
fn an_export_is_checked_without_a_server() {
    let (directory, server, organization) = server();
    create(&server, &organization, &[]);
    let file = directory.path().join("log.ndjson");
    let file = file.to_str().unwrap();
    assert_eq!(server.run(&["audit", "export", file]).code, 0);
    let exists = server.run(&["audit", "export", file]);
    assert_eq!(exists.code, 1);
    assert!(exists.stderr.contains("is there already"), "{}", exists.stderr);
    create(&server, &organization, &[]);
    assert_eq!(server.run(&["audit", "export", "--after", "4", file]).code, 0);
    let whole = server.run(&["audit", "export"]);
    let text = std::fs::read_to_string(file).unwrap();
    assert_eq!((whole.stdout.as_str(), whole.stderr.as_str()), (text.as_str(), ""));
    let head = server.run(&["audit", "verify"]).stdout;
    drop(server);

    let check = |arguments: &[&str], text: &str| {
        let mut command = claviger();
        command.args(["audit", "verify", "--file", "-"]).args(arguments);
        Ran::with_input(&mut command, Some(text))
    };
    let verified = check(&[], &text);
    assert_eq!((verified.code, verified.stdout.as_str()), (0, head.as_str()));
    let noted = head.lines().nth(1).unwrap().strip_prefix("head  ").unwrap();
    assert_eq!(check(&["--expect", noted], &text).code, 0);
    let lines: Vec<&str> = text.lines().collect();
    let without = |left_out: usize| {
        let kept = lines.iter().enumerate().filter(|(position, _)| *position != left_out);
        kept.flat_map(|(_, line)| [*line, "\n"]).collect::<String>()
    };
    let says = |ran: &Ran, what: &str| {
        assert_eq!((ran.code, ran.stdout.as_str()), (1, ""), "{what}");
        assert!(ran.stderr.contains(what), "{}", ran.stderr);
    };
    says(&check(&[], &text.replace("\"CI\"", "\"CD\"")), "event 4: its hash");
    says(&check(&[], &without(1)), "event 2: it is missing");
    says(&check(&[], &without(0)), "event 1: it is missing");
    assert_eq!(check(&[], &without(4)).code, 0);
    says(&check(&["--expect", noted], &without(4)), "event 5: it was noted down, but the log ends before it");
    says(&check(&["--expect", noted], ""), "event 5: it was noted down");
    says(&check(&[], "nonsense\n"), "line 1 is not that of an audit export");
    // A part is checked from the event before it on.
    let first: Value = serde_json::from_str(lines[0]).unwrap();
    let before = format!("1:{}", first["hash"].as_str().unwrap());
    let rest = check(&["--after", &before, "--expect", noted], &without(0));
    assert_eq!((rest.code, rest.stdout.lines().next()), (0, Some("4 events as they were written, number 2 to 5")));
    // What is to be in the file is not what it begins after.
    says(&check(&["--expect", &before], &without(0)), "event 1: it is missing");
    says(&check(&["--after", &before], &text), "event 2: ");
    let json = check(&["--json"], &without(2));
    assert_eq!(json.code, 1);
    assert_eq!(serde_json::from_str::<Value>(&json.stdout).unwrap()["first_bad"]["number"], 3);
}

#[test]
fn nobody_revokes_many_keys_by_mistake() {
    let (_directory, server, organization) = server();
    create(&server, &organization, &[]);
    let all = ["keys", "revoke-all", "--org", &organization];
    let refused = server.run(&all);
    assert_eq!(refused.code, 2);
    assert!(refused.stderr.contains("--dry-run") && refused.stderr.contains("--yes"), "{}", refused.stderr);
    let looked = server.run(&[&all[..], &["--dry-run"]].concat());
    assert!(looked.stdout.starts_with("1 key would be revoked.\n\nID  "), "{}", looked.stdout);
    for too_little in [&["--yes"][..], &["--yes", "--api", "example"], &["--yes", "--environment", "live"]] {
        let refused = server.run(&[&["keys", "revoke-all"], too_little].concat());
        assert_eq!(refused.code, 2);
        for flag in ["--org", "--created-by", "--kind", "--issued-before"] {
            assert!(refused.stderr.contains(flag), "{}", refused.stderr);
        }
    }
    let done = server.run(&[&all[..], &["--yes", "--reason", "leaked"]].concat());
    assert!(done.stdout.starts_with("Revoked 1 key. No server accepts them any more.\n"), "{}", done.stdout);
    let again = server.run_json(&[&all[..], &["--yes"]].concat());
    assert_eq!((&again["revoked"], &again["already_revoked"]), (&json!(0), &json!(1)));
    let revoked = server.run_json(&["audit", "list", "--action", "key.revoked"]);
    assert_eq!(revoked["data"].as_array().unwrap().len(), 1);
}

#[test]
fn a_command_that_is_repeated_creates_nothing_more() {
    let (_directory, server, organization) = server();
    let once = ["--idempotency-key", "deploy-17"];
    let key = create(&server, &organization, &once);
    assert_eq!(create(&server, &organization, &once), key);
    let rotate = ["keys", "rotate", key["id"].as_str().unwrap(), "--idempotency-key", "rotate-17"];
    let first = server.run_json(&rotate);
    let again = Ran::of(server.command(&rotate).arg("--quiet"));
    assert_eq!(again.stdout.trim(), first["secret"].as_str().unwrap());
    assert!(again.stderr.starts_with("This was done before"), "{}", again.stderr);
    let other = server.run(&[
        "keys",
        "rotate",
        key["id"].as_str().unwrap(),
        "--overlap",
        "1h",
        "--idempotency-key",
        "rotate-17",
    ]);
    assert_eq!(other.code, 1);
    assert!(other.stderr.contains("Idempotency-Key"), "{}", other.stderr);
    for command in [["orgs", "create"], ["verifiers", "create"], ["admin-tokens", "create"]] {
        let create = [&command[..], &["Twice", "--idempotency-key", command[0]]].concat();
        assert_eq!(server.run_json(&create), server.run_json(&create));
    }
}
