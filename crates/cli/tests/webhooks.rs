//! Webhooks and mails through the real binary, a `kill -9` in the middle of it included.

#![allow(clippy::unwrap_used, reason = "a test's helpers are part of the test")]

mod support;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;
use support::TestServer;

const SIGKILL: u32 = 9;
const PATIENCE: Duration = Duration::from_mins(1);

/// A server that may send to this machine.
fn serve_in(directory: &Path) -> TestServer {
    let settings = "[webhooks]\nallow_http = true\nallow_private_networks = true\n";
    std::fs::write(directory.join("claviger.toml"), settings).unwrap();
    TestServer::serve_in(directory)
}

/// The next request to an endpoint: its id and body, and the connection to answer on.
fn accept(listener: &TcpListener) -> (String, String, TcpStream) {
    let (stream, _) = listener.accept().unwrap();
    let mut reader = BufReader::new(stream);
    let (mut id, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        let Some((name, value)) = line.trim_end().split_once(": ") else {
            if line.trim_end().is_empty() {
                break;
            }
            continue;
        };
        match name.to_ascii_lowercase().as_str() {
            "webhook-id" => value.clone_into(&mut id),
            "content-length" => length = value.parse().unwrap(),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    (id, String::from_utf8(body).unwrap(), reader.into_inner())
}

fn answer(mut stream: &TcpStream, status: &str) {
    write!(stream, "HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n").unwrap();
}

/// Asks until it is so.
#[allow(clippy::disallowed_methods, reason = "how long a test waits is no part of what it tests")]
fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(begun.elapsed() < PATIENCE, "{what} did not come about");
    }
}

fn create(server: &TestServer, url: &str) -> String {
    let created =
        server.run_json(&["webhooks", "create", "--url", url, "--event", "*", "--description", "our billing"]);
    assert!(created["secret"].as_str().unwrap().starts_with("whsec_"));
    created["id"].as_str().unwrap().to_owned()
}

#[test]
fn what_was_accepted_arrives_though_the_server_is_killed() {
    let directory = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let server = serve_in(directory.path());
    let endpoint = create(&server, &url);
    let event = server.run_json(&["webhooks", "test", &endpoint])["event"].as_str().unwrap().to_owned();
    // It is under way, and nobody has answered.
    let (first, body, unanswered) = accept(&listener);
    assert_eq!(first, event);
    server.signal(SIGKILL);
    drop(unanswered);
    let server = serve_in(directory.path());
    let (second, again, stream) = accept(&listener);
    assert_eq!((second, again), (event.clone(), body));
    answer(&stream, "200 OK");
    let delivery = until("the delivery", || {
        let shown = server.run_json(&["webhooks", "delivery", &endpoint, &event]);
        (shown["state"] == "delivered").then_some(shown)
    });
    assert_eq!(delivery["log"][0]["status"], 200);
    // What the log of the first process would have said was never written.
    assert_eq!(delivery["attempts"], 1);
    let shown = server.run(&["webhooks", "delivery", &endpoint, &event]);
    assert!(shown.stdout.contains("delivered") && shown.stdout.contains("payload"), "{}", shown.stdout);
}

#[test]
fn endpoints_are_managed_by_the_command_line() {
    let directory = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let server = serve_in(directory.path());
    assert!(server.run(&["webhooks", "list"]).stdout.starts_with("There are no webhook endpoints."));
    let endpoint = create(&server, &url);
    let shown = server.run(&["webhooks", "show", &endpoint]).stdout;
    for text in ["our billing", "everybody's", "enabled", &url] {
        assert!(shown.contains(text), "{shown}");
    }
    assert!(!shown.contains("whsec_") && !server.run(&["webhooks", "list"]).stdout.contains("whsec_"));
    let updated = server.run_json(&["webhooks", "update", &endpoint, "--event", "key.revoked", "--no-description"]);
    assert_eq!((&updated["events"][0], &updated["description"]), (&Value::from("key.revoked"), &Value::Null));
    assert_eq!(server.run(&["webhooks", "update", &endpoint]).code, 2);
    let rotated = server.run(&["webhooks", "rotate-secret", &endpoint, "--overlap", "1h", "--quiet"]);
    assert!(rotated.stdout.starts_with("whsec_"), "{}", rotated.stdout);

    assert_eq!(server.run(&["webhooks", "test", &endpoint]).code, 0);
    let (event, _, stream) = accept(&listener);
    answer(&stream, "410 Gone");
    until("the end of the endpoint", || {
        (server.run_json(&["webhooks", "show", &endpoint])["disabled_reason"] == "gone").then_some(())
    });
    let listed = server.run(&["webhooks", "deliveries", &endpoint, "--state", "failed"]).stdout;
    assert!(listed.contains(&event) && listed.contains("410"), "{listed}");
    let refused = server.run(&["webhooks", "replay", &endpoint, "--event", &event]);
    assert!(refused.code == 1 && refused.stderr.contains("disabled"), "{}", refused.stderr);
    assert_eq!(server.run(&["webhooks", "enable", &endpoint]).code, 0);
    let replayed = server.run(&["webhooks", "replay", &endpoint, "--since", "2020-01-01"]);
    assert_eq!(replayed.stdout, "1 event is sent once more.\n");
    let (again, _, stream) = accept(&listener);
    answer(&stream, "204 No Content");
    assert_eq!(again, event);
    assert!(server.run(&["webhooks", "disable", &endpoint]).stdout.contains("disabled"));
    assert_eq!(server.run(&["webhooks", "delete", &endpoint]).code, 0);
    let gone = server.run(&["webhooks", "show", &endpoint]);
    assert!(gone.code == 1 && gone.stderr.contains("claviger webhooks list"), "{}", gone.stderr);
}

#[test]
fn addresses_at_home_are_refused_unless_the_operator_says_otherwise() {
    let directory = tempfile::tempdir().unwrap();
    let server = TestServer::serve_in(directory.path());
    for url in ["http://example.com", "https://127.0.0.1:9/", "https://localhost/", "https://169.254.169.254/"] {
        let refused = server.run(&["webhooks", "create", "--url", url, "--event", "*"]);
        assert!(refused.code == 1 && refused.stderr.contains("url"), "{url}: {}", refused.stderr);
    }
}

#[test]
fn without_an_smtp_server_a_mail_is_a_file() {
    let directory = tempfile::tempdir().unwrap();
    let server = TestServer::serve_in(directory.path());
    let id = server.run_json(&["mail", "test", "ada@example.com"])["id"].as_str().unwrap().to_owned();
    let file = directory.path().join("mail").join(format!("{id}.eml"));
    let text = until("the mail", || std::fs::read_to_string(&file).ok());
    assert!(text.contains("To: ada@example.com") && text.contains("From: Claviger <claviger@localhost>"), "{text}");
}

#[test]
fn a_password_of_the_smtp_server_is_never_repeated() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().to_str().unwrap();
    let mut command = support::claviger();
    command.args(["serve", "--data", data]).env("CLAVIGER_SMTP_URL", "smtp://ada:hunter2@mail.example.com");
    let refused = support::Ran::of(&mut command);
    assert_eq!(refused.code, 2);
    assert!(refused.stderr.contains("--smtp-url: holds a password"), "{}", refused.stderr);
    assert!(!refused.stderr.contains("hunter2") && !refused.stdout.contains("hunter2"));
}
