//! `claviger keys import` through the real binary, over the socket of a real server.

#![allow(
    clippy::format_collect,
    clippy::assigning_clones,
    clippy::range_plus_one,
    reason = "the shortest way to say it in a test"
)]
#![allow(clippy::unwrap_used, reason = "a test's helpers are part of the test")]

mod support;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::Path;
use std::process::Stdio;

use claviger_domain::definition::Definition;
use claviger_domain::limits;
use claviger_domain::random::PredictableEntropy;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use support::{Ran, TestServer, server};

fn line(organization: &str, secret: &str) -> Value {
    let digest: String = Sha256::digest(secret).iter().map(|byte| format!("{byte:02x}")).collect();
    json!({"digest": digest, "organization": organization, "api": "example", "name": "old", "prefix": "sk_live_"})
}

fn lines(organization: &str, numbers: impl Iterator<Item = usize>) -> String {
    numbers.map(|number| format!("{}\n", line(organization, &format!("secret {number}")))).collect()
}

/// A secret that was issued elsewhere.
fn foreign_secret() -> String {
    let definition = Definition::parse(include_str!("../../../apis/example.toml")).unwrap();
    let format = definition.choose_format(Some("sk_live_"), None, None).unwrap();
    format.issue(&PredictableEntropy::new(5)).into_clear().to_string()
}

fn write(directory: &Path, text: &str) -> String {
    let path = directory.join("keys.ndjson");
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

fn count(server: &TestServer) -> usize {
    let mut ids = Vec::new();
    let mut cursor = String::new();
    loop {
        let mut command = vec!["keys", "list", "--limit", "200"];
        if !cursor.is_empty() {
            command.extend(["--cursor", &cursor]);
        }
        let page = server.run_json(&command);
        ids.extend(page["data"].as_array().unwrap().iter().map(|key| key["id"].to_string()));
        match page["next_cursor"].as_str() {
            Some(next) => cursor = next.to_owned(),
            None => return ids.len(),
        }
    }
}

#[test]
fn imported_keys_work_and_what_is_refused_is_told() {
    let (directory, server, organization) = server();
    let secret = foreign_secret();
    let mut pasted = line(&organization, "y");
    pasted["secret"] = secret.as_str().into();
    let text = format!("{}\n\n{pasted}\nnonsense\n{}", line(&organization, &secret), line(&organization, "z"));
    let file = write(directory.path(), &text);

    let dry = server.run(&["keys", "import", "--dry-run", &file]);
    assert_eq!(dry.code, 1);
    assert!(dry.stdout.starts_with("new       2\nexisting  0\nrefused   2\n  line 3: secret: "), "{}", dry.stdout);
    assert_eq!(count(&server), 0);

    let ran = server.run(&["keys", "import", &file]);
    assert_eq!(ran.code, 1);
    insta::assert_snapshot!(ran.stdout, @r"
    imported  2
    existing  0
    refused   2
      line 3: secret: secrets are not imported; send digest, the SHA-256 of the secret
      line 4: The line is not JSON: expected ident at column 2
    ");
    insta::assert_snapshot!(ran.stderr, @r"
    line 3: secret: secrets are not imported; send digest, the SHA-256 of the secret
    line 4: The line is not JSON: expected ident at column 2
    error: 2 lines were refused
     next: correct them and import the file again: what was imported already is passed over
    ");
    let mut verify = server.command(&["verify", "--key", "-", "--path", "/v1/users/usr_123"]);
    let verified = Ran::with_input(&mut verify, Some(&secret));
    assert!(verified.stdout.starts_with("valid"), "{verified:?}");

    let mut again = server.command(&["keys", "import", "-", "--json"]);
    let again = Ran::with_input(&mut again, Some(&lines(&organization, 0..1)));
    assert_eq!(again.code, 0, "{}", again.stderr);
    let document: Value = serde_json::from_str(&again.stdout).unwrap();
    assert_eq!(document, json!({"imported": 1, "existing": 0, "refused": 0, "errors": [], "dry_run": false}));
    assert_eq!(server.run(&["keys", "import", "/nonexistent"]).code, 1);
}

#[test]
fn an_import_that_broke_off_is_finished_by_doing_it_again() {
    let (directory, server, organization) = server();
    let total = limits::IMPORT_KEYS_MAX * 2 + 10;
    // Its refusal tells that the first part was answered.
    let text = format!("{{}}\n{}", lines(&organization, 1..total));
    let file = write(directory.path(), &text);
    let mut import = server.command(&["keys", "import", "-"]);
    import.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut import = import.spawn().unwrap();
    let mut stdin = import.stdin.take().unwrap();
    let mut stderr = BufReader::new(import.stderr.take().unwrap());
    let first: String = text.split_inclusive('\n').take(limits::IMPORT_KEYS_MAX).collect();
    stdin.write_all(first.as_bytes()).unwrap();
    let mut told = String::new();
    stderr.read_line(&mut told).unwrap();
    assert!(told.starts_with("line 1: "), "{told}");
    server.signal(9);
    stdin.write_all(&text.as_bytes()[first.len()..]).unwrap();
    drop(stdin);
    stderr.read_to_string(&mut told).unwrap();
    assert_eq!(import.wait().unwrap().code(), Some(1));
    assert!(told.contains("error: after line 1000: ") && told.contains("run the same command again"), "{told}");

    let server = TestServer::serve_in(directory.path());
    assert_eq!(count(&server), limits::IMPORT_KEYS_MAX - 1);
    let ran = Ran::of(server.command(&["keys", "import", &file]).arg("--json"));
    let document: Value = serde_json::from_str(&ran.stdout).unwrap();
    let numbers = ["imported", "existing", "refused"].map(|name| document[name].as_u64().unwrap() as usize);
    assert_eq!(numbers, [total - limits::IMPORT_KEYS_MAX, limits::IMPORT_KEYS_MAX - 1, 1]);
    assert_eq!(count(&server), total - 1);
}

#[test]
fn strict_is_all_or_nothing_over_the_whole_file() {
    let (directory, server, organization) = server();
    let strict = |text: &str| server.run(&["keys", "import", "--strict", &write(directory.path(), text)]);
    let many = lines(&organization, 0..limits::IMPORT_KEYS_MAX + 5);

    let repeated = strict(&format!("{many}{}", lines(&organization, 7..8)));
    assert_eq!((repeated.code, count(&server)), (1, 0));
    let line = limits::IMPORT_KEYS_MAX + 6;
    let told =
        format!("line {line}: digest: stands in line 8 already\nerror: 1 line was refused, so nothing was imported");
    assert!(repeated.stderr.starts_with(&told), "{}", repeated.stderr);

    let beyond = lines(&organization, 0..limits::KEYS_PER_ORGANIZATION_MAX as usize + 1);
    let beyond = strict(&beyond);
    assert_eq!((beyond.code, count(&server)), (1, 0));
    let told = format!("{organization} has room for 10000 more keys of API example, and the file has more\n");
    assert!(beyond.stderr.starts_with(&told), "{}", beyond.stderr);

    let mut from_stdin = server.command(&["keys", "import", "--strict", "-"]);
    let imported = Ran::with_input(&mut from_stdin, Some(&many));
    assert_eq!(imported.code, 0, "{}", imported.stderr);
    assert!(imported.stderr.starts_with("1005 keys would be imported and no line is refused. Importing.\n"));
    assert_eq!(imported.stdout, "imported  1005\nexisting  0\nrefused   0\n");
    assert_eq!(count(&server), limits::IMPORT_KEYS_MAX + 5);
}
