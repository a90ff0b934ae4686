//! Members and invitations through the real binary: from the invitation to what becomes of the keys.

#![allow(clippy::unwrap_used, reason = "a test's helpers are part of the test")]

mod support;

use serde_json::{Value, json};
use support::{Ran, TestServer, claviger, http_with_lines, server};

/// Invites somebody and accepts for them. Returns the member's id.
fn join(server: &TestServer, organization: &str, email: &str, role: &str) -> String {
    let invite = ["invitations", "create", "--org", organization, "--email", email, "--role", role, "--quiet"];
    let token = server.run(&invite).stdout;
    let mut accept = server.command(&["invitations", "accept", "--invitation", "-", "--name", "Ada", "--json"]);
    let accepted = Ran::with_input(&mut accept, Some(&token));
    assert_eq!(accepted.code, 0, "{}", accepted.stderr);
    serde_json::from_str::<Value>(&accepted.stdout).unwrap()["id"].as_str().unwrap().to_owned()
}

/// A key that a member made, as a dashboard would make it.
fn key_of(server: &TestServer, organization: &str, member: &str, name: &str) -> String {
    let token = server.run(&["admin-tokens", "create", "Dashboard", "--quiet"]).stdout;
    let body = json!({"organization": organization, "api": "example", "name": name});
    let lines = format!("Host: internal\r\nAuthorization: Bearer {}\r\nClaviger-Member: {member}\r\n", token.trim());
    let (status, made) = http_with_lines(server.internal_url(), "POST", "/admin/v1/keys", &lines, Some(&body));
    assert_eq!(status, 201, "{made}");
    made["id"].as_str().unwrap().to_owned()
}

#[test]
fn an_invitation_is_printed_once_and_accepted_once() {
    let (_directory, server, organization) = server();
    let org = ["--org", organization.as_str()];
    let none = server.run(&[&["members", "list"][..], &org].concat());
    assert!(none.stdout.contains("claviger invitations create --org"), "{}", none.stdout);
    let invite = ["invitations", "create", "--email", "ada@example.com", "--role", "owner"];
    let invited = server.run(&[&invite[..], &org].concat());
    assert_eq!(invited.stdout.matches("claviger_invitation_").count(), 1, "{}", invited.stdout);
    assert!(invited.stdout.contains("expires"), "{}", invited.stdout);
    assert!(invited.stderr.contains("claviger invitations accept"), "{}", invited.stderr);
    assert!(!invited.stderr.contains("claviger_invitation_"), "{}", invited.stderr);
    let token = invited.stdout.split_whitespace().last().unwrap();
    let listed = server.run(&[&["invitations", "list"][..], &org].concat());
    assert!(listed.stdout.contains("ada@example.com") && !listed.stdout.contains(token), "{}", listed.stdout);

    let mut accept = server.command(&["invitations", "accept", "--name", "Ada Lovelace"]);
    let accepted = Ran::of(accept.env("CLAVIGER_INVITATION", token));
    assert_eq!(accepted.code, 0, "{}", accepted.stderr);
    assert!(accepted.stdout.contains("Ada Lovelace") && accepted.stdout.contains("owner"), "{}", accepted.stdout);
    let again = Ran::of(accept.env("CLAVIGER_INVITATION", token));
    assert!(again.code == 1 && again.stderr.contains("claviger invitations list"), "{}", again.stderr);
    assert!(!again.stderr.contains(token), "{}", again.stderr);
    let empty = server.run(&[&["invitations", "list"][..], &org].concat());
    assert_eq!(empty.stdout, "There are no open invitations.\n");
}

#[test]
fn an_invitation_is_mailed_or_taken_back() {
    let (_directory, server, organization) = server();
    let org = ["--org", organization.as_str()];
    let invite = ["invitations", "create", "--email", "ada@example.com", "--role", "viewer", "--send-mail"];
    let mailed = server.run(&[&invite[..], &org].concat());
    assert_eq!(mailed.code, 0, "{}", mailed.stderr);
    assert!(mailed.stdout.ends_with("A mail takes the token to them.\n"), "{}", mailed.stdout);
    assert!(!mailed.stdout.contains("claviger_invitation_"), "{}", mailed.stdout);
    let listed = server.run_json(&[&["invitations", "list"][..], &org].concat());
    let id = listed["data"][0]["id"].as_str().unwrap();
    let revoke = [&["invitations", "revoke", id][..], &org].concat();
    assert_eq!(server.run(&revoke).stdout, format!("Took back invitation {id} to ada@example.com.\n"));
    assert_eq!(server.run(&revoke).code, 1);
}

#[test]
fn who_leaves_has_their_keys_decided_on() {
    let (_directory, server, organization) = server();
    let org = ["--org", organization.as_str()];
    let heir = join(&server, &organization, "heir@example.com", "owner");
    let leaver = join(&server, &organization, "ada@example.com", "viewer");
    let promoted = server.run(&[&["members", "update", &leaver, "--role", "developer"][..], &org].concat());
    assert!(promoted.stdout.contains("developer"), "{}", promoted.stdout);
    let [revoked, handed, kept] = ["CI", "Web", "Cron"].map(|name| key_of(&server, &organization, &leaver, name));
    let listed = server.run(&[&["members", "list"][..], &org].concat()).stdout;
    assert!(listed.contains("heir@example.com") && listed.contains(&leaver), "{listed}");
    assert!(server.run(&[&["members", "show", &heir][..], &org].concat()).stdout.contains("owner"));

    let remove = [&["members", "remove", &leaver][..], &org].concat();
    let with = |more: &[&str]| server.run(&[&remove[..], more].concat());
    // Which keys there are, and that something must become of each.
    for shown in [with(&["--dry-run"]), server.run(&[&["members", "keys", &leaver][..], &org].concat())] {
        assert_eq!(shown.stdout.lines().count(), 4, "{}", shown.stdout);
    }
    let undecided = with(&[]);
    assert!(undecided.code == 1 && undecided.stderr.starts_with("error: rest: "), "{}", undecided.stderr);
    let decided = ["--revoke", &revoked, "--hand-over", &handed, "--to", &heir, "--rest", "keep"];
    let dry = with(&[&decided[..], &["--dry-run"]].concat());
    assert!(dry.stdout.contains("would be removed.") && dry.stderr.is_empty(), "{}{}", dry.stdout, dry.stderr);
    assert_eq!(server.run_json(&["keys", "show", &revoked])["state"], "active");
    let done = with(&decided);
    assert!(done.stdout.contains("kept as it is") && done.stderr.contains("claviger keys rotate"), "{}", done.stdout);

    assert_eq!(server.run_json(&["keys", "show", &revoked])["state"], "revoked");
    let shown = server.run_json(&["keys", "show", &handed]);
    assert_eq!((&shown["state"], &shown["created_by"]), (&json!("active"), &json!(heir)));
    assert_eq!(server.run_json(&["keys", "show", &kept])["state"], "active");
    let gone = server.run(&[&["members", "show", &leaver][..], &org].concat());
    assert!(gone.code == 1 && gone.stderr.contains("claviger members list"), "{}", gone.stderr);
    let last = server.run(&[&["members", "remove", &heir, "--rest", "keep"][..], &org].concat());
    assert!(last.code == 1 && last.stderr.contains("last owner"), "{}", last.stderr);
}

#[test]
fn what_somebody_is_mailed_is_chosen_and_shown() {
    let (_directory, server, organization) = server();
    let member = join(&server, &organization, "ada@example.com", "owner");
    let choose = |more: &[&str]| {
        let update = ["members", "update", member.as_str(), "--org", organization.as_str()];
        let ran = server.run(&[&update[..], more].concat());
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        ran.stdout.lines().find_map(|line| line.strip_prefix("alert mails")).unwrap().trim().to_owned()
    };
    assert_eq!(choose(&["--alert-mails", "quota_100,usage_spike"]), "usage_spike, quota_100");
    assert_eq!(choose(&["--name", "Ada Lovelace"]), "usage_spike, quota_100");
    assert_eq!(choose(&["--no-alert-mails"]), "none");
    assert_eq!(choose(&["--default-alert-mails"]), "what the role has");
}

#[test]
fn another_organizations_members_do_not_exist() {
    let (_directory, server, organization) = server();
    let member = join(&server, &organization, "ada@example.com", "owner");
    let other = server.run(&["orgs", "create", "Other", "--quiet"]).stdout.trim().to_owned();
    for command in ["show", "keys", "remove"] {
        let ran = server.run(&["members", command, &member, "--org", &other]);
        assert!(ran.code == 1 && ran.stderr.contains("no such member"), "{command}: {}", ran.stderr);
    }
    // What is typed in the wrong place is not repeated.
    let secret = "claviger_invitation_0123456789abcdefghijABCDEFGHIJ";
    let ran = Ran::of(claviger().args(["invitations", "revoke", secret, "--org", &other]));
    assert!(ran.code == 2 && !ran.stderr.contains("0123456789"), "{}", ran.stderr);
}
