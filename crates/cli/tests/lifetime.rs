//! Starting, refusing to start, and ending: through the real binary.

#![allow(clippy::unwrap_used, reason = "a test's helpers are part of the test")]

mod support;

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use serde_json::json;
use support::{Ran, TestServer, claviger, http, http_for_host};

const SIGINT: u32 = 2;
const SIGTERM: u32 = 15;

#[test]
fn a_demo_ends_cleanly_and_leaves_nothing() {
    for signal in [SIGINT, SIGTERM] {
        let demo = TestServer::demo();
        let (data, socket) = (demo.data().to_owned(), demo.socket().to_owned());
        assert!(socket.exists());
        assert_eq!(std::fs::metadata(&data).unwrap().permissions().mode() & 0o777, 0o700);
        let status = demo.signal(signal);
        assert_eq!(status.code(), Some(0), "signal {signal}");
        assert!(!data.exists(), "signal {signal}");
    }
}

#[test]
fn a_server_leaves_no_core_file() {
    let directory = tempfile::tempdir().unwrap();
    for server in [TestServer::demo(), TestServer::serve_in(directory.path())] {
        let limits = server.proc_file("limits");
        let line = limits.lines().find_map(|line| line.strip_prefix("Max core file size")).unwrap();
        // Neither now nor, by raising it again, later.
        assert_eq!(line.split_whitespace().collect::<Vec<_>>(), ["0", "0", "bytes"]);
    }
}

#[test]
fn a_demo_says_everything_there_is_to_try() {
    let demo = TestServer::demo();
    let prefixes = [
        ("/apis/tork/keys/secret", "tork_sk_"),
        ("/apis/tork/keys/restricted", "tork_rk_"),
        ("/apis/tork/keys/ephemeral", "tork_ek_"),
        ("/apis/tork/keys/live", "tork_live_"),
        ("/apis/toksta/keys/live", "tk_live_"),
        ("/apis/toksta/keys/scoped", "tk_live_"),
        ("/apis/example/keys/test", "sk_test_"),
        ("/apis/example/keys/live", "sk_live_"),
        ("/apis/tork/organization", "org_"),
        ("/apis/toksta/organization", "org_"),
        ("/apis/example/organization", "org_"),
        ("/admin_token", "claviger_admin_"),
        ("/verifier_token", "claviger_verifier_"),
    ];
    for (pointer, prefix) in prefixes {
        assert!(demo.text(pointer).starts_with(prefix), "{pointer}: {}", demo.text(pointer));
    }
}

#[test]
fn the_demo_serves_the_documents_examples() {
    let demo = TestServer::demo();
    let evaluate = json!({"content": "Hello world", "checks": ["pii"]});
    for name in ["secret", "restricted", "ephemeral", "live"] {
        let key = demo.text(&format!("/apis/tork/keys/{name}"));
        let (status, answer) = demo.call("POST", "/api/v1/evaluate", Some(key), Some(&evaluate));
        assert_eq!((status, &answer["success"]), (200, &json!(true)), "{name}: {answer}");
    }
    let refused = |method, path, key: &str| {
        let (status, answer) = demo.call(method, path, Some(key), None);
        assert_eq!(answer["success"], false, "{answer}");
        (status, answer["error"]["code"].as_str().unwrap_or_default().to_owned())
    };
    let restricted = demo.text("/apis/tork/keys/restricted");
    assert_eq!(refused("GET", "/api/v1/api-keys", restricted), (403, "insufficient_permissions".to_owned()));
    assert_eq!(refused("POST", "/api/v1/evaluate", "tork_sk_your_api_key_here"), (401, "invalid_api_key".to_owned()));
    let scoped = demo.text("/apis/toksta/keys/scoped");
    assert_eq!(refused("GET", "/v1/api-keys", scoped), (403, "FORBIDDEN".to_owned()));

    for (path, key) in [
        ("/v1/account/usage", "/apis/toksta/keys/live"),
        ("/v1/account/usage", "/apis/toksta/keys/scoped"),
        ("/v1/users/usr_123", "/apis/example/keys/live"),
        ("/v1/users/usr_123", "/apis/example/keys/test"),
        ("/v1/api-keys", "/apis/example/keys/live"),
    ] {
        let (status, answer) = demo.call("GET", path, Some(demo.text(key)), None);
        assert_eq!((status, &answer["success"]), (200, &json!(true)), "{path} {key}: {answer}");
    }
}

#[test]
fn only_a_key_of_its_own_api_reaches_the_sample() {
    let demo = TestServer::demo();
    let evaluate = json!({"content": "Hello world", "checks": ["pii"]});
    let hosts = ["127.0.0.1", "tork.network", "api.toksta.com", "api.example.com", "api.example.com.", "elsewhere"];
    let keys = [("tork", "secret"), ("toksta", "live"), ("example", "live"), ("example", "test")];
    for (method, path, owner, form) in [
        ("POST", "/api/v1/evaluate", "tork", "invalid_api_key"),
        ("GET", "/v1/users/usr_123", "example", "unauthorized"),
    ] {
        let body = (method == "POST").then_some(&evaluate);
        for host in hosts {
            let call = |key| http_for_host(host, demo.public_url(), method, path, key, body);
            for (api, name) in keys {
                let (status, answer) = call(Some(demo.text(&format!("/apis/{api}/keys/{name}"))));
                let context = format!("{path} at {host} with a key of {api}: {answer}");
                if api == owner {
                    assert_eq!((status, &answer["success"]), (200, &json!(true)), "{context}");
                } else {
                    assert_eq!((status, &answer["error"]["code"]), (401, &json!(form)), "{context}");
                }
            }
            let (status, answer) = call(None);
            assert_eq!((status, &answer["success"]), (401, &json!(false)), "{path} at {host}: {answer}");
        }
    }
    for path in ["/", "/v1/usersx", "/v1//users", "/v1", "/api/v1", "/api/v1/evaluatex", "/api/v1/%65valuate"] {
        let (status, answer) = demo.call("GET", path, Some(demo.text("/apis/tork/keys/secret")), None);
        assert!([401, 403, 404].contains(&status), "{path}: {answer}");
    }
}

#[test]
fn a_directory_that_is_not_claviger_s_keeps_its_mode() {
    let directory = tempfile::tempdir().unwrap();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    std::fs::write(directory.path().join("letter.txt"), "Dear Ada").unwrap();
    std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o1777)).unwrap();
    let server = TestServer::serve_in(directory.path());
    assert_eq!(mode(directory.path()), 0o1777);
    for file in std::fs::read_dir(server.data()).unwrap().map(|file| file.unwrap().path()) {
        if !file.ends_with("letter.txt") {
            assert_eq!(mode(&file), 0o600, "{}", file.display());
        }
    }
}

#[test]
fn the_demo_answers_verifiers_and_admins() {
    let demo = TestServer::demo();
    let question =
        json!({"key": demo.text("/apis/tork/keys/restricted"), "method": "POST", "path": "/api/v1/evaluate"});
    let verify = |token| http(demo.internal_url(), "POST", "/v1/verify", token, Some(&question));
    let (status, verdict) = verify(Some(demo.text("/verifier_token")));
    assert_eq!((status, &verdict["valid"]), (200, &json!(true)), "{verdict}");
    assert_eq!(verify(None).0, 401);
    assert_eq!(verify(Some(demo.text("/admin_token"))).0, 401);
    let organizations = |token| http(demo.internal_url(), "GET", "/admin/v1/organizations", token, None);
    let (status, answer) = organizations(Some(demo.text("/admin_token")));
    assert_eq!((status, answer["data"].as_array().map(Vec::len)), (200, Some(3)), "{answer}");
    assert_eq!(organizations(Some(demo.text("/verifier_token"))).0, 401);
}

#[test]
fn a_demo_can_be_started_again_where_it_was() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("demo");
    let first = TestServer::demo_in(&data);
    let organization = first.text("/apis/tork/organization").to_owned();
    let key = first.text("/apis/tork/keys/secret").to_owned();
    assert_eq!(first.signal(SIGTERM).code(), Some(0));
    assert!(data.exists() && !data.join("claviger.sock").exists());

    let second = TestServer::demo_in(&data);
    assert_eq!(second.text("/apis/tork/organization"), organization);
    assert_ne!(second.text("/apis/tork/keys/secret"), key);
    for key in [key.as_str(), second.text("/apis/tork/keys/secret")] {
        assert_eq!(second.call("GET", "/api/v1/api-keys", Some(key), None).0, 200);
    }
}

#[test]
fn a_second_server_on_the_directory_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let first = TestServer::serve_in(directory.path());
    let data = directory.path().to_str().unwrap();
    for command in ["serve", "demo"] {
        let arguments =
            [command, "--json", "--listen", "127.0.0.1:0", "--internal-listen", "127.0.0.1:0", "--data", data];
        let second = Ran::of(claviger().args(arguments));
        assert_eq!((second.code, second.stdout.as_str()), (1, ""), "{}", second.stderr);
        let complaint = second.stderr.replace(data, "DIR");
        assert!(complaint.starts_with("error: another server (process "), "{complaint}");
        assert!(complaint.contains("already runs on DIR\n next: stop that one first"), "{complaint}");
    }
    // The first one was not disturbed.
    assert_eq!(first.run(&["apis"]).code, 0);
}

#[test]
fn a_killed_server_leaves_nothing_in_the_way() {
    let directory = tempfile::tempdir().unwrap();
    let killed = TestServer::serve_in(directory.path());
    let organization = killed.run_json(&["orgs", "create", "Acme"]);
    killed.signal(9);
    assert!(directory.path().join("claviger.sock").exists());
    let next = TestServer::serve_in(directory.path());
    let listed = next.run_json(&["orgs", "list"]);
    assert_eq!(listed["data"][0]["id"], organization["id"]);
}

/// Whoever collects the log has stopped reading, and a pipe holds 64 KiB.
#[test]
fn a_log_that_nobody_reads_stops_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let server = TestServer::serve_unread_in(directory.path(), "trace");
    for number in 0..200 {
        let (status, answer) = server.call("GET", &format!("/{}", "x".repeat(1000 + number)), None, None);
        assert_eq!(status, 404, "{answer}");
        let created = server.run(&["orgs", "create", &format!("Customer {number}")]);
        assert_eq!(created.code, 0, "{created:?}");
    }
    assert_eq!(server.signal(SIGTERM).code(), Some(0));
}

#[test]
fn an_address_in_use_is_said_plainly() {
    let directory = tempfile::tempdir().unwrap();
    let holder = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = holder.local_addr().unwrap().to_string();
    let ran = Ran::of(
        claviger()
            .args(["serve", "--listen", &address, "--internal-listen", "127.0.0.1:0"])
            .args(data(directory.path())),
    );
    assert_eq!(ran.code, 1);
    assert_eq!(
        ran.stderr.replace(&address, "ADDRESS"),
        "error: cannot listen on ADDRESS: something else listens there already\n next: stop what listens there, or \
         choose another address with --listen (port 0 takes a free one)\n"
    );
}

#[test]
fn every_mistake_in_the_config_file_is_reported_together() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("claviger.toml"), "listen = 1\ncolour = \"red\"\n").unwrap();
    let ran = Ran::of(claviger().arg("serve").args(data(directory.path())));
    assert_eq!(ran.code, 1);
    for expected in ["line 1: listen must be", "line 2: colour is not a setting", "\n next: correct it"] {
        assert!(ran.stderr.contains(expected), "{}", ran.stderr);
    }
    let ran = Ran::of(claviger().args(["serve", "--config", "/nonexistent.toml"]).args(data(directory.path())));
    assert_eq!(ran.code, 1);
    assert!(ran.stderr.starts_with("error: cannot read the config file /nonexistent.toml: "), "{}", ran.stderr);
}

#[test]
fn a_file_of_authorities_that_cannot_be_used_stops_the_start() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("ca.pem");
    let config = format!("listen = \"127.0.0.1:0\"\ninternal_listen = \"127.0.0.1:0\"\nca_file = {file:?}\n");
    std::fs::write(directory.path().join("claviger.toml"), config).unwrap();
    let serve = || Ran::of(claviger().arg("serve").args(data(directory.path())));
    let missing = serve();
    assert_eq!(missing.code, 1);
    assert!(missing.stderr.contains(&format!("read ca_file {}", file.display())), "{}", missing.stderr);
    std::fs::write(&file, "not a certificate").unwrap();
    let empty = serve();
    assert_eq!(empty.code, 1);
    assert!(empty.stderr.contains("cannot be used: there is no certificate in it"), "{}", empty.stderr);
    assert!(!directory.path().join("claviger.db").exists());
}

#[test]
fn flags_beat_the_environment_which_beats_the_file() {
    let directory = tempfile::tempdir().unwrap();
    let holders = [0, 1, 2].map(|_| std::net::TcpListener::bind("127.0.0.1:0").unwrap());
    // The addresses are held, so that the refusal names the one that was chosen.
    let [file, environment, flag] = holders.each_ref().map(|holder| holder.local_addr().unwrap().to_string());
    std::fs::write(directory.path().join("claviger.toml"), format!("listen = {file:?}\n")).unwrap();
    let chosen = |configure: &dyn Fn(&mut std::process::Command)| {
        let mut command = claviger();
        command.args(["serve", "--internal-listen", "127.0.0.1:0"]).args(data(directory.path()));
        configure(&mut command);
        Ran::of(&mut command).stderr
    };
    assert!(chosen(&|_| {}).contains(&file));
    assert!(chosen(&|command| _ = command.env("CLAVIGER_LISTEN", &environment)).contains(&environment));
    let both = chosen(&|command| {
        command.env("CLAVIGER_LISTEN", &environment).args(["--listen", &flag]);
    });
    assert!(both.contains(&flag), "{both}");
    drop(holders);
}

#[test]
fn what_init_writes_can_be_served_and_applied() {
    let directory = tempfile::tempdir().unwrap();
    let init = || Ran::of(claviger().arg("init").args(data(directory.path())));
    let first = init();
    assert_eq!(first.code, 0, "{}", first.stderr);
    let again = init();
    assert_eq!(again.code, 1);
    assert!(again.stderr.contains("exist already; nothing was written\n next: keep what is there"), "{}", again.stderr);

    let server = TestServer::serve_in(directory.path());
    let definition = directory.path().join("apis/my-api.toml");
    let applied = server.run(&["apply", definition.to_str().unwrap()]);
    assert_eq!(applied.code, 0, "{}", applied.stderr);
    assert!(applied.stdout.starts_with("my-api: created\n  + "), "{}", applied.stdout);
}

fn data(directory: &Path) -> [&str; 2] {
    ["--data", directory.to_str().unwrap()]
}
