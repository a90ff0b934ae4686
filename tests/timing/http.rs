//! The answers of the customer API and of the sample upstream, byte for byte and by the clock.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::PoisonError;
use std::time::Duration;

use serde_json::json;

use crate::engine::{mistyped, unknown_secret, with_other_prefix};
use crate::support::http::Request;
use crate::support::server::Server;
use crate::{ALONE, Class, judge, measure, median_of, nanoseconds, now, threshold_of};

/// Keys of each class: what one of them happens to share a cache line with must not decide.
const KEYS: usize = 16;

#[test]
fn the_customer_api_does_not_tell_why_a_key_is_refused() {
    check("the customer API", "/v1/api-keys");
}

#[test]
fn a_guarded_upstream_does_not_tell_why_a_key_is_refused() {
    check("the sample upstream", "/v1/users/usr_123");
}

fn check(what: &str, target: &str) {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let server = Server::demo();
    let secrets = Class::ALL.map(|class| secrets(&server, class));
    let mut connection = Connection::open(&server);
    let expected = connection.ask(&request(target, &secrets[0][0]));
    assert!(expected.starts_with("HTTP/1.1 401 "), "{expected}");
    let requests = secrets.map(|secrets| secrets.map(|secret| request(target, &secret)));
    let mut turn = 0;
    let time_one = |class: Class| {
        turn += 1;
        let request = &requests[class as usize][turn / Class::ALL.len() % KEYS];
        let started = now();
        connection.exchange(request);
        let taken = nanoseconds(started.elapsed());
        // Every single answer, headers and all.
        assert_eq!(connection.answer(), expected, "{what}: {class:?} keys can be told by the answer");
        taken
    };
    let (rounds, threshold) = measure(time_one, |warm| threshold_of(median_of(warm, Class::Unknown)));
    judge(what, &rounds, threshold);
}

/// Secrets of a class, all of the same length.
fn secrets(server: &Server, class: Class) -> [String; KEYS] {
    let organization = server.organization();
    std::array::from_fn(|number| {
        let unknown = unknown_secret(class, number);
        // What the server issued, but for the classes that it must not know.
        let issue = || organization.key("example", json!({"kind": "secret", "environment": "live"}));
        match class {
            Class::Unknown | Class::UnknownAgain | Class::Planted => unknown,
            Class::Mistyped => mistyped(&unknown),
            Class::OtherPrefix => with_other_prefix(&unknown),
            Class::Revoked => {
                let key = issue();
                server.admin(Request::delete(&format!("/admin/v1/keys/{}", key.id))).expect(200);
                key.secret
            }
            Class::Disabled => {
                let key = issue();
                server.admin(Request::post(&format!("/admin/v1/keys/{}/disable", key.id))).expect(200);
                key.secret
            }
        }
    })
}

fn request(target: &str, secret: &str) -> Vec<u8> {
    format!("GET {target} HTTP/1.1\r\nHost: api.example.com\r\nAuthorization: Bearer {secret}\r\n\r\n").into_bytes()
}

/// A connection that is kept, on which every answer is as long as the first.
struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
    answer_bytes: usize,
}

impl Connection {
    fn open(server: &Server) -> Self {
        let stream = TcpStream::connect(server.public).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        Self { stream, buffer: vec![0; 8192], answer_bytes: 0 }
    }

    /// The first request, from which the length of all answers is learned.
    fn ask(&mut self, request: &[u8]) -> String {
        self.stream.write_all(request).unwrap();
        let mut read = 0;
        loop {
            read += self.stream.read(&mut self.buffer[read..]).unwrap();
            let text = str::from_utf8(&self.buffer[..read]).unwrap();
            let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
            if body.len() == length.parse::<usize>().unwrap() {
                self.answer_bytes = read;
                return self.answer();
            }
        }
    }

    fn exchange(&mut self, request: &[u8]) {
        self.stream.write_all(request).unwrap();
        self.stream.read_exact(&mut self.buffer[..self.answer_bytes]).unwrap();
    }

    /// The answer without its date, the only thing that may differ.
    fn answer(&self) -> String {
        let text = str::from_utf8(&self.buffer[..self.answer_bytes]).unwrap();
        let is_date = |line: &&str| line.starts_with("date: ");
        text.split("\r\n").filter(|line| !is_date(line)).collect::<Vec<_>>().join("\r\n")
    }
}
