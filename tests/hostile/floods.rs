//! Too much of everything: headers, targets, bodies, connections. The answer is short, and comes before all of it was read.

use std::io::Write as _;
use std::iter;

use crate::doors::{Door, HOST, World};
use crate::wire::{ATTACKER, connect, exchange, read_all};

/// Connections that are opened at once: more than most programs, fewer than a machine's limit.
const CONNECTIONS: usize = 1500;
/// More than any buffer between two programs on one machine, so that whoever sends it notices when nobody reads.
const FLOOD_BYTES: usize = 64 * 1024 * 1024;

fn lines(line: &str, count: usize) -> String {
    iter::repeat_n(line, count).collect()
}

#[test]
fn heads_are_bounded() {
    let world = World::shared();
    let head = format!("GET /v1/api-keys HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n");
    let cases = [
        ("101 header lines", format!("{head}{}\r\n", lines("X: y\r\n", 101)), 431),
        ("5,000 short header lines", format!("{head}{}\r\n", lines("X:\r\n", 5000)), 431),
        ("a header of 20 KiB", format!("{head}X: {}\r\n\r\n", "x".repeat(20 * 1024)), 431),
        ("a header of 10 MiB", format!("{head}X: {}\r\n\r\n", "x".repeat(10 * 1024 * 1024)), 431),
        ("a header name of 20 KiB", format!("{head}{}: y\r\n\r\n", "x".repeat(20 * 1024)), 431),
        ("a secret of 20 KiB", format!("{head}Authorization: Bearer {}\r\n\r\n", "x".repeat(20 * 1024)), 431),
        ("a target of 20 KiB", head.replace("api-keys", &"x".repeat(20 * 1024)) + "\r\n", 431),
        ("a target of 10 MiB", head.replace("api-keys", &"x".repeat(10 * 1024 * 1024)) + "\r\n", 431),
        ("a query of 20 KiB", head.replace("api-keys", &format!("api-keys?{}", "x".repeat(20 * 1024))) + "\r\n", 431),
        ("a host of 20 KiB", head.replace(HOST, &"x".repeat(20 * 1024)) + "\r\n", 431),
        ("a method of 1 MiB", head.replace("GET", &"G".repeat(1024 * 1024)) + "\r\n", 431),
        // Below the bound, and so an ordinary request without a key.
        ("90 header lines", format!("{head}{}\r\n", lines("X: y\r\n", 90)), 401),
        ("a header of 15 KiB", format!("{head}X: {}\r\n\r\n", "x".repeat(15 * 1024)), 401),
        ("many X-Forwarded-For lines", format!("{head}{}\r\n", lines("X-Forwarded-For: 203.0.113.7\r\n", 90)), 401),
    ];
    let mut wrong = Vec::new();
    for (name, request, expected) in cases {
        for address in [world.server.public, world.server.internal] {
            let expected = if address == world.server.internal && expected == 401 { 404 } else { expected };
            let statuses: Vec<u16> =
                exchange(address, ATTACKER, request.as_bytes()).iter().map(|answer| answer.status).collect();
            if statuses != [expected] {
                wrong.push(format!("- {name}, at {address}: {statuses:?}, not {expected}"));
            }
        }
        for door in Door::ALL {
            world.must_serve(door, name);
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Who announces too much is refused without having sent it, and who just goes on sending is hung up on.
#[test]
fn bodies_are_bounded() {
    let world = World::shared();
    let token = world.server.said["verifier_token"].as_str().unwrap();
    let targets = [
        (Door::Verify, "POST /v1/verify", token, 413),
        (Door::Customer, "POST /v1/api-keys", world.key.secret.as_str(), 413),
        (Door::Upstream, "POST /v1/users", world.key.secret.as_str(), 413),
        // What takes no body does not wait for it.
        (Door::Customer, "GET /v1/api-keys", world.key.secret.as_str(), 200),
        (Door::Upstream, "GET /v1/users/usr_123", world.key.secret.as_str(), 200),
        // Nor does a refusal.
        (Door::Customer, "POST /v1/api-keys", "sk_live_nobody", 401),
        (Door::Upstream, "POST /v1/users", "sk_live_nobody", 401),
        (Door::Verify, "POST /v1/verify", "nobody", 401),
    ];
    let chunk = format!("10000\r\n{}\r\n", "x".repeat(0x10000));
    let mut wrong = Vec::new();
    for (door, target, secret, expected) in targets {
        let head = format!(
            "{target} HTTP/1.1\r\nHost: {HOST}\r\nAuthorization: Bearer {secret}\r\nContent-Type: application/json\r\n"
        );
        for (name, framing, piece) in [
            ("9 GB announced", "Content-Length: 9000000000", None),
            ("9 GB announced, and begun", "Content-Length: 9000000000", Some("x".repeat(0x10000))),
            ("2^64 - 1 bytes announced", "Content-Length: 18446744073709551615", Some("x".repeat(0x10000))),
            ("chunks without an end", "Transfer-Encoding: chunked", Some(chunk.clone())),
            ("9 GB after an expectation", "Expect: 100-continue\r\nContent-Length: 9000000000", None),
        ] {
            let mut stream = connect(door.address(&world.server), ATTACKER);
            stream.write_all(format!("{head}{framing}\r\n\r\n").as_bytes()).unwrap();
            let pieces = piece.iter().cycle().take(piece.as_ref().map_or(0, |piece| FLOOD_BYTES / piece.len()));
            let taken = pieces.take_while(|piece| stream.write_all(piece.as_bytes()).is_ok()).count();
            if piece.as_ref().is_some_and(|piece| taken == FLOOD_BYTES / piece.len()) {
                wrong.push(format!("- {name}, {target}: all of it was read"));
            }
            let answers = match read_all(&mut stream) {
                Ok(answers) => answers,
                Err(why) => {
                    wrong.push(format!("- {name}, {target}: {why}"));
                    continue;
                }
            };
            let statuses: Vec<u16> = answers.iter().map(|answer| answer.status).collect();
            // More bytes than can be counted are too large before anybody asks what for.
            let expected = if framing.ends_with("18446744073709551615") { 431 } else { expected };
            // An answer may be lost to the reset of a connection on which there was more to read.
            let is_right = statuses == [expected] || (piece.is_some() && statuses.is_empty());
            if !is_right {
                wrong.push(format!("- {name}, {target}: {statuses:?}, not {expected}"));
            }
        }
        world.must_serve(door, target);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_crowd_does_not_keep_others_out() {
    let world = World::shared();
    let heads =
        ["", "G", "GET /v1/api-keys HTTP/1.1\r\nHost: a\r\n", "POST /v1/verify HTTP/1.1\r\nContent-Length: 9\r\n"];
    for address in [world.server.public, world.server.internal] {
        let crowd: Vec<_> = (0..CONNECTIONS / 2)
            .map(|number| {
                let mut stream = connect(address, ATTACKER);
                stream.write_all(heads[number % heads.len()].as_bytes()).unwrap();
                stream
            })
            .collect();
        for door in Door::ALL {
            world.must_serve(door, "while a crowd holds connections");
        }
        drop(crowd);
    }
    // Connections that come and go without a word.
    for _ in 0..CONNECTIONS {
        drop(connect(world.server.public, ATTACKER));
    }
    for door in Door::ALL {
        world.must_serve(door, "a crowd that came and went");
    }
}

/// A thousand requests in one breath, by somebody who reads no answer before the last was sent.
#[test]
fn requests_in_one_breath_are_answered_in_turn() {
    let world = World::shared();
    let request = format!("GET /v1/users/usr_123 HTTP/1.1\r\nHost: {HOST}\r\n");
    let mut bytes = lines(&format!("{request}\r\n"), 999);
    bytes += &format!("{request}Authorization: Bearer {}\r\nConnection: close\r\n\r\n", world.key.secret);
    let answers = exchange(world.server.public, ATTACKER, bytes.as_bytes());
    let statuses: Vec<u16> = answers.iter().map(|answer| answer.status).collect();
    assert_eq!(statuses.len(), 1000);
    assert_eq!((statuses[998], statuses[999]), (401, 200));
    assert!(statuses[..999].iter().all(|status| *status == 401));
}
