//! The caller's address behind trusted proxies, as `ip` restrictions see it.

use serde_json::json;

use crate::support::http::Request;
use crate::support::server::Server;
use crate::{KEYS, call, serve};

/// Calls with a key that is restricted to `203.0.113.0/24` and `2001:db8::/32`; whether it passes.
fn check(server: &Server, cases: &[(&[(&str, &str)], bool)]) {
    let restrictions = json!({"ip": ["203.0.113.0/24", "2001:db8::/32"]});
    let key = server.organization().key("example", json!({"restrictions": restrictions}));
    for (headers, is_allowed) in cases {
        let request = headers.iter().fold(Request::get(KEYS), |request, (name, value)| request.header(name, value));
        let status = call(server, &key.secret, request).status;
        assert_eq!(status, if *is_allowed { 200 } else { 403 }, "{headers:?}");
    }
}

#[test]
fn the_forwarding_header_is_walked_from_the_right() {
    let server = serve(&["--trusted-proxies", "127.0.0.0/8,10.0.0.0/8"]);
    let name = "X-Forwarded-For";
    check(
        &server,
        &[
            (&[(name, "203.0.113.7")], true),
            (&[(name, "198.51.100.1, 203.0.113.7")], true),
            (&[(name, "203.0.113.7, 10.1.2.3")], true),
            (&[(name, "203.0.113.7,10.1.2.3,10.9.9.9")], true),
            (&[(name, "203.0.113.7"), (name, "10.1.2.3")], true),
            (&[(name, "::ffff:203.0.113.7")], true),
            (&[(name, "2001:db8::1")], true),
            (&[(name, "203.0.113.7, 198.51.100.1")], false),
            (&[(name, "203.0.113.7"), (name, "198.51.100.1")], false),
            (&[(name, "203.0.113.7, 198.51.100.1, 10.1.2.3")], false),
            (&[(name, "203.0.113.7, nonsense")], false),
            (&[(name, "203.0.113.7, ")], false),
            (&[(name, "203.0.113.7, unknown, 10.1.2.3")], false),
            (&[(name, "203.0.113.007")], false),
            (&[(name, "")], false),
            // No proxy has said anything, so the proxy itself is the caller.
            (&[], false),
            (&[("Forwarded", "for=203.0.113.7")], false),
            (&[(name, "198.51.100.1"), ("Forwarded", "for=203.0.113.7")], false),
            (&[("X-Real-IP", "203.0.113.7")], false),
        ],
    );
}

#[test]
fn the_other_forwarding_header() {
    let server = serve(&["--trusted-proxies", "127.0.0.1", "--forwarding-header", "forwarded"]);
    let name = "Forwarded";
    check(
        &server,
        &[
            (&[(name, "for=203.0.113.7;proto=https;by=127.0.0.1")], true),
            (&[(name, "for=198.51.100.1, for=203.0.113.7")], true),
            (&[(name, "for=\"[2001:db8::1]:4711\"")], true),
            (&[(name, "for=203.0.113.7, for=198.51.100.1")], false),
            (&[(name, "for=unknown")], false),
            (&[(name, "for=_hidden")], false),
            (&[(name, "proto=https")], false),
            (&[("X-Forwarded-For", "203.0.113.7")], false),
        ],
    );
}

#[test]
fn nobody_is_trusted_unless_the_operator_says_so() {
    let server = serve(&[]);
    check(
        &server,
        &[(&[("X-Forwarded-For", "203.0.113.7")], false), (&[("Forwarded", "for=203.0.113.7")], false), (&[], false)],
    );
    let server = serve(&["--trusted-proxies", "10.0.0.0/8"]);
    check(&server, &[(&[("X-Forwarded-For", "203.0.113.7")], false)]);
}
