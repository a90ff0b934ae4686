//! What is sent: mistakes are refused as a whole, and the answer names the field.

use serde_json::{Value, json};

use crate::support::http::Request;
use crate::support::server::Server;
use crate::support::world::{in_days, with};
use crate::{KEYS, USAGE, call, create, path};

#[test]
fn a_mistake_in_a_new_key_names_its_field() {
    let server = Server::demo();
    let admin = server.organization().key("example", json!({}));
    let cases = [
        (json!({"name": null}), "name"),
        (json!({"name": 7}), "name"),
        (json!({"name": ""}), "name"),
        (json!({"name": " Key"}), "name"),
        (json!({"name": "a\nb"}), "name"),
        (json!({"name": "a\u{202e}b"}), "name"),
        (json!({"name": "x".repeat(101)}), "name"),
        (json!({"kind": "public"}), "kind"),
        (json!({"kind": "restricted"}), "kind"),
        (json!({"kind": ["secret"]}), "kind"),
        (json!({"environment": "staging"}), "environment"),
        (json!({"prefix": "sk_other_"}), "prefix"),
        (json!({"scopes": "users:read"}), "scopes"),
        (json!({"scopes": ["*", "users:read"]}), "scopes"),
        (json!({"scopes": ["users:read", "users:read"]}), "scopes"),
        (json!({"scopes": ["users:delete"]}), "scopes"),
        (json!({"scopes": ["Users:Read"]}), "scopes"),
        (json!({"restrictions": []}), "restrictions"),
        (json!({"restrictions": {"IP": []}}), "restrictions.IP"),
        (json!({"restrictions": {"ip": "10.0.0.0/8"}}), "restrictions.ip"),
        (json!({"restrictions": {"ip": ["10.0.0.1/8"]}}), "restrictions.ip[0]"),
        (json!({"restrictions": {"ip": ["10.0.0.0/8", "localhost"]}}), "restrictions.ip[1]"),
        (json!({"restrictions": {"ip": ["10.0.0.0/8", "10.0.0.0/8"]}}), "restrictions.ip"),
        (json!({"restrictions": {"ip": ["0.0.0.0/0"]}}), "restrictions.ip"),
        (json!({"restrictions": {"ip": ["::/0"]}}), "restrictions.ip"),
        (json!({"restrictions": {"referrer": ["https://example.com"]}}), "restrictions.referrer[0]"),
        (json!({"restrictions": {"referrer": ["*.com"]}}), "restrictions.referrer[0]"),
        (json!({"restrictions": {"endpoint": ["/v1/users"]}}), "restrictions.endpoint[0]"),
        (json!({"restrictions": {"endpoint": ["GET /v1/../x"]}}), "restrictions.endpoint[0]"),
        (json!({"restrictions": {"endpoint": ["GET /v2/users"]}}), "restrictions.endpoint"),
        (json!({"scopes": ["users:read"], "restrictions": {"endpoint": ["POST /v1/users"]}}), "restrictions.endpoint"),
        (json!({"allow_any_ip": 1}), "allow_any_ip"),
        (json!({"expires_at": "tomorrow"}), "expires_at"),
        (json!({"expires_at": "2020-01-01T00:00:00Z"}), "expires_at"),
        (json!({"expires_at": in_days(10 * 366 + 1)}), "expires_at"),
        (json!({"expires_at": "9999-12-31T23:59:59Z"}), "expires_at"),
        (json!({"expires_at": in_days(30).replace('Z', "")}), "expires_at"),
        (json!({"expires_at": 4_102_444_800_i64}), "expires_at"),
        (json!({"ttl_seconds": 0}), "ttl_seconds"),
        (json!({"ttl_seconds": -1}), "ttl_seconds"),
        (json!({"ttl_seconds": 1.5}), "ttl_seconds"),
        (json!({"ttl_seconds": i64::MAX}), "ttl_seconds"),
        (json!({"ttl_seconds": 60, "expires_at": in_days(30)}), "ttl_seconds"),
        (json!({"metadata": []}), "metadata"),
        (json!({"metadata": {"x": "x".repeat(4096)}}), "metadata"),
        (json!({"id": "key_123"}), "id"),
        (json!({"secret": "x"}), "secret"),
        (json!({"organization": "x"}), "organization"),
        (json!({"parent_id": admin.id}), "parent_id"),
    ];
    for (wish, field) in cases {
        let body = with(json!({"name": "Key"}), wish);
        let refused = call(&server, &admin.secret, Request::post(KEYS).json(&body)).expect(400);
        assert_eq!(refused["error"]["field"], field, "{body} {refused}");
        assert_eq!(refused["error"]["code"], "invalid_request");
    }
    let missing = call(&server, &admin.secret, Request::post(KEYS).json(&json!({}))).expect(400);
    assert_eq!(missing["error"]["field"], "name");
    assert_eq!(call(&server, &admin.secret, Request::get(KEYS)).expect(200)["data"].as_array().unwrap().len(), 1);
}

#[test]
fn what_is_sent_is_what_is_kept() {
    let server = Server::demo();
    let noon = format!("{}T12:00:00Z", &in_days(30)[..10]);
    let admin = server.organization().key("example", json!({}));
    let cases = [
        (json!({"name": "Schlüssel № 1 🔑"}), "/name", json!("Schlüssel № 1 🔑")),
        (json!({"name": "é".repeat(100)}), "/name", json!("é".repeat(100))),
        (json!({"name": "<script>alert('x')</script>\"\\"}), "/name", json!("<script>alert('x')</script>\"\\")),
        (
            json!({"metadata": {"z": 1, "a": {"ü": [true, null, 1.5, "\u{0}"]}}}),
            "/metadata",
            json!({"z": 1, "a": {"ü": [true, null, 1.5, "\u{0}"]}}),
        ),
        (json!({"scopes": []}), "/scopes", json!([])),
        (json!({"scopes": ["users:write", "users:read"]}), "/scopes", json!(["users:read", "users:write"])),
        (
            json!({"restrictions": {"ip": ["203.0.113.7", "2001:DB8::/32", "::ffff:10.0.0.0/104"]}}),
            "/restrictions/ip",
            json!(["203.0.113.7/32", "2001:db8::/32", "10.0.0.0/8"]),
        ),
        (
            json!({"restrictions": {"ip": ["0.0.0.0/0"]}, "allow_any_ip": true}),
            "/restrictions/ip",
            json!(["0.0.0.0/0"]),
        ),
        (
            json!({"restrictions": {"referrer": ["WWW.Example.COM:8443", "[2001:DB8::1]"]}}),
            "/restrictions/referrer",
            json!(["www.example.com:8443", "[2001:db8::1]"]),
        ),
        (
            json!({"restrictions": {"endpoint": ["GET /v1/users/{id}", "* /v1/users/**"]}}),
            "/restrictions/endpoint",
            json!(["GET /v1/users/{id}", "* /v1/users/**"]),
        ),
        (json!({"expires_at": noon}), "/expires_at", json!(noon)),
        (
            json!({"expires_at": noon.replace("12:00:00Z", "13:30:00.5+01:30")}),
            "/expires_at",
            json!(noon.replace('Z', ".5Z")),
        ),
    ];
    for (wish, pointer, kept) in cases {
        let key = create(&server, &admin.secret, &with(json!({"name": "Key"}), wish.clone()));
        let shown = crate::show(&server, &admin.secret, &key);
        for body in [&key.body, &shown] {
            // As text, so that the order of members counts too.
            assert_eq!(body.pointer(pointer).unwrap().to_string(), kept.to_string(), "{wish}");
        }
        // What creating answers with is what the key is, and the secret on top.
        let issued = with(shown, json!({"secret": key.secret}));
        assert_eq!(key.body, issued);
    }
}

/// Every member, in the order of the contract; nothing is left out because it is null.
#[test]
fn a_key_reads_the_same_everywhere() {
    let server = Server::demo();
    let organization = server.organization();
    let key = organization.key("example", json!({}));
    let names = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    let expected = [
        "id",
        "name",
        "kind",
        "environment",
        "prefix",
        "hint",
        "scopes",
        "restrictions",
        "parent_id",
        "metadata",
        "state",
        "created_at",
        "created_by",
        "expires_at",
        "last_used",
        "rotated_at",
        "overlap_ends_at",
        "revoked_at",
        "revoked_reason",
    ];
    let shown = crate::show(&server, &key.secret, &key);
    assert_eq!(names(&shown), expected);
    assert_eq!(names(&shown["restrictions"]), ["ip", "referrer", "endpoint"]);
    assert_eq!(shown["created_by"], "operator");
    let list = call(&server, &key.secret, Request::get(KEYS)).expect(200);
    assert_eq!(names(&list["data"][0]), expected);
    let as_operator = server.admin(Request::get(&format!("/admin/v1/keys/{}", key.id))).expect(200);
    for name in expected.iter().filter(|name| **name != "last_used") {
        assert_eq!(as_operator[*name], shown[*name], "{name}");
    }
    assert_eq!((&as_operator["organization"], &as_operator["api"]), (&json!(organization.id), &json!("example")));
    assert!(as_operator["revision"].is_u64());
}

#[test]
fn bodies_that_are_none() {
    let server = Server::demo();
    let admin = server.organization().key("example", json!({}));
    let post = |content_type: Option<&str>, body: &[u8]| {
        let request =
            content_type.into_iter().fold(Request::post(KEYS), |request, value| request.header("Content-Type", value));
        call(&server, &admin.secret, request.body(body)).status
    };
    let json = Some("application/json");
    for content_type in
        [None, Some("text/plain"), Some("application/x-www-form-urlencoded"), Some("application/jsonx"), Some("")]
    {
        assert_eq!(post(content_type, br#"{"name": "Key"}"#), 415, "{content_type:?}");
    }
    let bodies: [&[u8]; 9] = [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\"x\"",
        b"{\"name\": \"Key\"} x",
        b"{\"name\": \"Key\", \"name\": \"Other\"}",
        b"{\"name\": \"\xff\"}",
        b"{'name': 'Key'}",
    ];
    for body in bodies {
        assert_eq!(post(json, body), 400, "{}", String::from_utf8_lossy(body));
    }
    let padded = |bytes: usize| format!("{{\"name\": \"Key\"{}}}", " ".repeat(bytes - 15)).into_bytes();
    assert_eq!(padded(1000).len(), 1000);
    assert_eq!(post(json, &padded(64 * 1024)), 201);
    assert_eq!(post(json, &padded(64 * 1024 + 1)), 413);
    // The same without saying beforehand how much it will be.
    let body = padded(64 * 1024 + 1);
    let chunked = [format!("{:x}\r\n", body.len()).as_bytes(), &body, b"\r\n0\r\n\r\n"].concat();
    let request = Request::post(KEYS).header("Content-Type", "application/json").header("Transfer-Encoding", "chunked");
    assert_eq!(call(&server, &admin.secret, request.clone().body(chunked)).status, 413);
    call(&server, &admin.secret, request.body("f\r\n{\"name\": \"Key\"}\r\n0\r\n\r\n")).expect(201);
}

#[test]
fn methods_and_paths_that_are_none() {
    let server = Server::demo();
    let admin = server.organization().key("example", json!({}));
    let key = path(&admin);
    let cases = [
        ("PUT", KEYS.to_owned(), "GET,HEAD,POST"),
        ("DELETE", KEYS.to_owned(), "GET,HEAD,POST"),
        ("POST", key.clone(), "DELETE,GET,HEAD,PATCH"),
        ("GET", format!("{key}/rotate"), "POST"),
        ("DELETE", format!("{key}/disable"), "POST"),
        ("POST", USAGE.to_owned(), "GET,HEAD"),
    ];
    for (method, target, allowed) in cases {
        let response = call(&server, &admin.secret, Request::new(method, &target));
        assert_eq!(response.expect(405)["error"]["code"], "method_not_allowed");
        let mut allow: Vec<_> = response.header("allow").unwrap().split(',').map(str::trim).collect();
        allow.sort_unstable();
        assert_eq!(allow.join(","), allowed, "{method} {target}");
    }
    for target in [
        format!("{KEYS}/"),
        format!("{key}/"),
        format!("{key}/destroy"),
        format!("{key}/rotate/now"),
        "/v1/account".to_owned(),
    ] {
        let status = call(&server, &admin.secret, Request::get(&target)).status;
        // What is no canonical path is no endpoint of any key's.
        assert!(matches!(status, 403 | 404), "{target}: {status}");
    }
    for target in [format!("{key}?x=1"), format!("{USAGE}?month=1")] {
        assert_eq!(call(&server, &admin.secret, Request::get(&target)).status, 400, "{target}");
    }
    let head = call(&server, &admin.secret, Request::new("HEAD", KEYS));
    assert_eq!((head.status, head.body.len()), (200, 0));
}
