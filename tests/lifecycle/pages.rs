//! Lists in pages.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::support::http::Request;
use crate::support::server::Server;
use crate::{KEYS, call, create, path};

fn ids(list: &Value) -> Vec<String> {
    list["data"].as_array().unwrap().iter().map(|key| key["id"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn every_key_is_on_one_page() {
    let server = Server::demo();
    let admin = server.organization().key("example", json!({}));
    let mut newest_first = vec![admin.id.clone()];
    for number in 1..7 {
        newest_first.insert(0, create(&server, &admin.secret, &json!({"name": format!("Key {number}")})).id);
    }
    let list = |target: &str| call(&server, &admin.secret, Request::get(target));
    assert_eq!(ids(&list(KEYS).expect(200)), newest_first);
    for limit in [1, 2, 3, 6, 7, 8, 200] {
        let (mut seen, mut pages) = (Vec::new(), 0);
        let mut target = format!("{KEYS}?limit={limit}");
        loop {
            let response = list(&target);
            let page = response.expect(200);
            assert!(ids(&page).len() <= limit && !ids(&page).is_empty());
            seen.extend(ids(&page));
            pages += 1;
            // The cursor and the link say the same, or both nothing.
            let Some(cursor) = page.get("next_cursor") else {
                assert_eq!(response.header("link"), None);
                break;
            };
            let next = response.header("link").unwrap();
            target = next.strip_prefix('<').unwrap().strip_suffix(">; rel=\"next\"").unwrap().to_owned();
            assert!(target.contains(cursor.as_str().unwrap()), "{target}");
            let by_cursor = list(&format!("{KEYS}?cursor={}&limit={limit}", cursor.as_str().unwrap()));
            assert_eq!(by_cursor.value(), list(&target).value());
        }
        assert_eq!((seen, pages), (newest_first.clone(), 7_usize.div_ceil(limit)), "limit {limit}");
    }
}

/// Whoever makes or ends keys meanwhile: what was there stays on exactly one page.
#[test]
fn pages_stand_still_while_keys_come_and_go() {
    let server = Server::demo();
    let admin = server.organization().key("example", json!({}));
    let before: Vec<_> = (0..6).map(|_| create(&server, &admin.secret, &json!({"name": "Key"}))).collect();
    let mut seen = Vec::new();
    let mut target = Some(format!("{KEYS}?limit=2"));
    while let Some(current) = target {
        let page = call(&server, &admin.secret, Request::get(&current)).expect(200);
        seen.extend(ids(&page));
        create(&server, &admin.secret, &json!({"name": "Meanwhile"}));
        call(&server, &admin.secret, Request::delete(&path(&before[seen.len() % before.len()]))).expect(200);
        target = page["next_cursor"].as_str().map(|cursor| format!("{KEYS}?limit=2&cursor={cursor}"));
    }
    let distinct: BTreeSet<_> = seen.iter().cloned().collect();
    assert_eq!(distinct.len(), seen.len(), "a key stands on two pages");
    for key in &before {
        assert!(distinct.contains(&key.id), "a key is on no page");
    }
}

#[test]
fn filters_combine() {
    let server = Server::demo();
    let admin = server.organization().key("example", json!({}));
    let test = create(&server, &admin.secret, &json!({"name": "Key", "environment": "test"}));
    let [disabled, revoked, revoked_test] = ["live", "live", "test"]
        .map(|environment| create(&server, &admin.secret, &json!({"name": "Key", "environment": environment})));
    call(&server, &admin.secret, Request::post(&format!("{}/disable", path(&disabled)))).expect(200);
    for key in [&revoked, &revoked_test] {
        call(&server, &admin.secret, Request::delete(&path(key))).expect(200);
    }
    let cases: [(&str, &[&str]); 8] = [
        ("state=active", &[&test.id, &admin.id]),
        ("state=disabled", &[&disabled.id]),
        ("state=revoked", &[&revoked_test.id, &revoked.id]),
        ("state=expired", &[]),
        ("environment=test", &[&revoked_test.id, &test.id]),
        ("environment=test&state=revoked", &[&revoked_test.id]),
        ("kind=secret&state=disabled&environment=live", &[&disabled.id]),
        ("kind=ephemeral", &[]),
    ];
    for (query, expected) in cases {
        let list = call(&server, &admin.secret, Request::get(&format!("{KEYS}?{query}"))).expect(200);
        assert_eq!(ids(&list), expected, "{query}");
        assert!(list.get("next_cursor").is_none());
    }
    // The next page is one of the same filter.
    let page = call(&server, &admin.secret, Request::get(&format!("{KEYS}?limit=1&state=revoked")));
    let next = page.header("link").unwrap().to_owned();
    let next = next.strip_prefix('<').unwrap().split('>').next().unwrap();
    assert_eq!(ids(&call(&server, &admin.secret, Request::get(next)).expect(200)), [revoked.id.as_str()]);
}

#[test]
fn what_is_no_filter_is_refused() {
    let server = Server::demo();
    let admin = server.organization().key("example", json!({}));
    let cases = [
        ("limit=0", "limit"),
        ("limit=201", "limit"),
        ("limit=-1", "limit"),
        ("limit=x", "limit"),
        ("limit=", "limit"),
        ("limit=1&limit=2", "limit"),
        ("state=dead", "state"),
        ("state=Active", "state"),
        ("state=", "state"),
        ("kind=public", "kind"),
        ("environment=staging", "environment"),
        ("cursor=x", "cursor"),
        ("cursor=", "cursor"),
        ("cursor=org_00000000000000000000000000", "cursor"),
        ("organization=org_00000000000000000000000000", "organization"),
        ("offset=10", "offset"),
    ];
    for (query, field) in cases {
        let refused = call(&server, &admin.secret, Request::get(&format!("{KEYS}?{query}"))).expect(400);
        assert_eq!(refused["error"]["field"], field, "{query}");
    }
    // A cursor is a place in the list, whoever's key it names: of an end that nobody reaches there is nothing.
    let end = format!("{KEYS}?cursor=key_00000000000000000000000000");
    assert_eq!(call(&server, &admin.secret, Request::get(&end)).expect(200)["data"], json!([]));
}
