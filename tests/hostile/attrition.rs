//! Clients who take their time: the server ends them within its own patience, and serves everybody else meanwhile.
//!
//! This takes as long as that patience is, three quarters of a minute. Tests begin in the order of their names, so the module's
//! is one that comes first.

use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::doors::{Door, HOST, World};
use crate::wire::{ATTACKER, connect};

/// The gate's patience with a head and with a body, each with its tick, and the machine's own delays.
const HEAD_MAX: Duration = Duration::from_secs(10 + 10 + 10);
const BODY_MAX: Duration = Duration::from_secs(30 + 10 + 10);
/// How long to listen on one connection before the next byte goes out on it.
const PACE: Duration = Duration::from_millis(30);

struct Slow {
    name: &'static str,
    stream: TcpStream,
    /// What goes out, byte by byte; nothing when the client has fallen silent.
    drip: &'static [u8],
    limit: Duration,
    is_over: bool,
}

impl Slow {
    /// Listens for a moment, then sends another byte. Whether the server has hung up.
    fn step(&mut self) -> bool {
        let mut answer = [0; 4096];
        match self.stream.read(&mut answer) {
            Ok(0) => self.is_over = true,
            // The server may say why it hangs up; it may not be content.
            Ok(length) => assert!(!answer[..length].starts_with(b"HTTP/1.1 2"), "{}", self.name),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                self.is_over = self.drip.first().is_some_and(|byte| self.stream.write_all(&[*byte]).is_err());
            }
            Err(_) => self.is_over = true,
        }
        self.is_over
    }
}

#[test]
#[allow(clippy::disallowed_methods, reason = "what is measured is the server's patience in real time")]
fn the_slow_are_ended_and_the_others_served() {
    let world = World::shared();
    let begin = Instant::now();
    let mut all = Vec::new();
    for door in Door::ALL {
        let token = world.server.said["verifier_token"].as_str().unwrap();
        let (line, secret) = match door {
            Door::Verify => ("POST /v1/verify", token),
            Door::Customer => ("POST /v1/api-keys", world.key.secret.as_str()),
            Door::Upstream => ("POST /v1/users", world.key.secret.as_str()),
        };
        let fields = format!("Host: {HOST}\r\nAuthorization: Bearer {secret}\r\nContent-Type: application/json\r\n");
        let sized = format!("{line} HTTP/1.1\r\n{fields}Content-Length: 60000\r\n\r\n{{");
        let chunked = format!("{line} HTTP/1.1\r\n{fields}Transfer-Encoding: chunked\r\n\r\n1\r\n{{\r\n");
        let mut add = |name, first: &str, drip, limit| {
            let mut stream = connect(door.address(&world.server), ATTACKER);
            stream.write_all(first.as_bytes()).unwrap();
            stream.set_read_timeout(Some(PACE)).unwrap();
            all.push(Slow { name, stream, drip, limit, is_over: false });
        };
        add("nothing at all", "", b"", HEAD_MAX);
        add("half a request line", "GET /v1/ap", b"", HEAD_MAX);
        add("a request line, byte by byte", "GET /", b"x", HEAD_MAX);
        add("a head, byte by byte", &format!("{line} HTTP/1.1\r\n{fields}X: "), b"x", HEAD_MAX);
        add("empty lines, byte by byte", "\r\n", b"\n", HEAD_MAX);
        add("a body that does not come", &sized, b"", BODY_MAX);
        add("a body, byte by byte", &sized, b" ", BODY_MAX);
        add("a chunked body that does not go on", &chunked, b"", BODY_MAX);
        add("a chunk's extension, byte by byte", &format!("{chunked}1;"), b"x", BODY_MAX);
    }
    while !all.is_empty() {
        for slow in &mut all {
            assert!(begin.elapsed() < slow.limit, "{} goes on after {:?}", slow.name, slow.limit);
            slow.step();
        }
        all.retain(|slow| !slow.is_over);
        for door in Door::ALL {
            world.must_serve(door, "slow requests began");
        }
    }
    assert!(begin.elapsed() >= Duration::from_secs(10), "whoever is merely slow gets ten seconds");
}
