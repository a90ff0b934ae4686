//! The orderly end, in the middle of things.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::json;

use crate::books::{Books, key};
use crate::load::USER;
use crate::support::http::{Request, Response};
use crate::{Database, until};

const ENDS: u64 = 5;

/// Every answer is a whole one, and every call that was answered is counted, exactly: a call that came too late was
/// turned away before anything was done.
fn end_again_and_again(database: &Database) {
    let mut server = database.serve_example();
    let mut books = Books::open(&server);
    for end in 0..ENDS {
        let load = books.load(&server);
        let (place, mut tally) = load.run(|load| {
            load.until_answered(20 + 40 * end);
            load.expect_the_end();
            // Fails unless the exit code is 0.
            server.stop()
        });
        server = database.serve(place);
        assert!(tally.torn.is_empty(), "{:?}", tally.torn);
        assert_eq!(tally.unavailable, 0);
        // Whoever was not answered is not counted.
        (tally.lost_verdicts, tally.lost_calls) = (0, 0);
        books.check(&server, tally);
    }
    books.close(&server);
}

#[test]
fn an_orderly_end_answers_and_counts_every_call_on_sqlite() {
    end_again_and_again(&Database::Sqlite);
}

#[test]
fn an_orderly_end_answers_and_counts_every_call_on_postgres() {
    end_again_and_again(&Database::postgres());
}

/// A call that is still being sent when the end begins is answered; whoever comes later is refused at the door.
#[test]
fn calls_in_flight_are_answered_and_later_ones_refused() {
    let mut server = Database::Sqlite.serve_example();
    let key = key(&server.organization());
    let verifier = server.admin(Request::post("/admin/v1/verifiers").json(&json!({"name": "Verifier"}))).expect(201);
    let body = json!({"key": key.secret, "method": "GET", "path": USER}).to_string();
    let (first, rest) = body.split_at(body.len() / 2);
    let mut slow = TcpStream::connect(server.internal).unwrap();
    slow.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let token = verifier["token"].as_str().unwrap();
    let head = format!(
        "POST /v1/verify HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\
         Content-Type: application/json\r\nExpect: 100-continue\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    slow.write_all(head.as_bytes()).unwrap();
    // The server has begun to read the body.
    let mut go_on = [0; 25];
    slow.read_exact(&mut go_on).unwrap();
    assert_eq!(&go_on[..], b"HTTP/1.1 100 Continue\r\n\r\n");
    slow.write_all(first.as_bytes()).unwrap();

    server.ask_to_stop();
    for address in [server.public, server.internal] {
        until("new connections are refused", Duration::from_secs(10), || TcpStream::connect(address).is_err());
    }
    slow.write_all(rest.as_bytes()).unwrap();
    let mut bytes = Vec::new();
    slow.read_to_end(&mut bytes).unwrap();
    let (answer, after) = Response::parse_first(&bytes, false).unwrap();
    assert_eq!((&answer.expect(200)["valid"], after), (&json!(true), &b""[..]));
    // Fails unless the exit code is 0.
    let place = server.stop();
    assert!(!place.data().join("claviger.sock").exists());
}
