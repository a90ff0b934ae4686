//! `ETag` and `If-Match`: a key is changed only as it was last seen.

use std::thread;

use serde_json::json;

use crate::support::http::{Request, Response};
use crate::support::server::Server;
use crate::support::world::Key;
use crate::{call, create, path, show};

/// Every way to change a key, once.
fn mutations(key: &Key) -> Vec<Request> {
    let path = path(key);
    vec![
        Request::patch(&path).json(&json!({"name": "Renamed"})),
        Request::post(&format!("{path}/disable")),
        Request::post(&format!("{path}/enable")),
        Request::post(&format!("{path}/rotate")),
        Request::delete(&path),
    ]
}

fn etag(response: &Response) -> String {
    response.header("etag").unwrap().to_owned()
}

fn revision(response: &Response) -> u64 {
    response.header("claviger-revision").unwrap().parse().unwrap()
}

#[test]
fn a_stale_tag_changes_nothing() {
    let server = Server::demo();
    let organization = server.organization();
    let (admin, key) = (organization.key("example", json!({})), organization.key("example", json!({})));
    let read = || call(&server, &admin.secret, Request::get(&path(&key)));
    let stale = etag(&read());
    let renamed = Request::patch(&path(&key)).json(&json!({"name": "Newer"}));
    call(&server, &admin.secret, renamed).expect(200);
    let (tag, before) = (etag(&read()), read().value());
    assert_ne!(tag, stale);
    let weak = format!("W/{tag}");
    for precondition in [stale.as_str(), &weak, "\"0\"", "\"other\"", "\"-1\"", "\"99999999999999999999\""] {
        for mutation in mutations(&key) {
            call(&server, &admin.secret, mutation.header("If-Match", precondition)).expect(412);
        }
    }
    for precondition in ["", "7", "\"7", "x", "\"7\" \"8\"", "\"1\",\"2\",\"3\",\"4\",\"5\""] {
        for mutation in mutations(&key) {
            let refused = call(&server, &admin.secret, mutation.header("If-Match", precondition)).expect(400);
            assert_eq!(refused["error"]["field"], "If-Match", "{precondition}");
        }
    }
    assert_eq!((etag(&read()), read().value()), (tag, before));
}

#[test]
fn the_tag_last_seen_lets_each_change_through() {
    let server = Server::demo();
    let organization = server.organization();
    let (admin, key) = (organization.key("example", json!({})), organization.key("example", json!({})));
    let mut last = 0;
    for mutation in mutations(&key) {
        let tag = etag(&call(&server, &admin.secret, Request::get(&path(&key))));
        let listed = format!("\"1\", {tag}");
        let done = call(&server, &admin.secret, mutation.header("If-Match", listed));
        done.expect(200);
        // What the change says of itself is what the key then is at, and revisions only rise.
        let tag = etag(&call(&server, &admin.secret, Request::get(&path(&key))));
        assert_eq!(tag, format!("\"{}\"", revision(&done)));
        assert!(done.header("etag").is_none_or(|said| said == tag));
        assert!(revision(&done) > last);
        last = revision(&done);
    }
}

#[test]
fn any_tag_will_do() {
    let server = Server::demo();
    let organization = server.organization();
    let (admin, key) = (organization.key("example", json!({})), organization.key("example", json!({})));
    for mutation in mutations(&key) {
        call(&server, &admin.secret, mutation.header("If-Match", "*")).expect(200);
    }
    let created = call(&server, &admin.secret, Request::post(crate::KEYS).json(&json!({"name": "Key"})));
    assert_eq!(etag(&created), format!("\"{}\"", revision(&created)));
}

/// Of two who saw the same and change it, one is told.
#[test]
fn the_second_of_two_editors_is_told() {
    let server = Server::demo();
    let organization = server.organization();
    let (admin, key) = (organization.key("example", json!({})), organization.key("example", json!({})));
    let tag = etag(&call(&server, &admin.secret, Request::get(&path(&key))));
    let edit = |name: &str| {
        let request = Request::patch(&path(&key)).json(&json!({"name": name})).header("If-Match", &tag);
        call(&server, &admin.secret, request).status
    };
    assert_eq!([edit("First"), edit("Second")], [200, 412]);
    assert_eq!(show(&server, &admin.secret, &key)["name"], "First");
}

/// What changes nothing is no change: the tag that others hold stays good.
#[test]
fn a_change_to_the_same_is_none() {
    let server = Server::demo();
    let admin = server.organization().key("example", json!({}));
    let key = create(&server, &admin.secret, &json!({"name": "Key", "metadata": {"a": 1}}));
    let tag = etag(&call(&server, &admin.secret, Request::get(&path(&key))));
    for (mutation, is_change) in [
        (Request::patch(&path(&key)).json(&json!({})), false),
        (Request::patch(&path(&key)).json(&json!({"name": "Key", "metadata": {"a": 1}})), false),
        (Request::post(&format!("{}/enable", path(&key))), false),
        (Request::patch(&path(&key)).json(&json!({"metadata": {"a": 2}})), true),
    ] {
        let done = call(&server, &admin.secret, mutation);
        done.expect(200);
        assert_eq!(etag(&done) != tag, is_change, "{done:?}");
    }
    call(&server, &admin.secret, Request::delete(&path(&key))).expect(200);
    let first = show(&server, &admin.secret, &key);
    call(&server, &admin.secret, Request::delete(&format!("{}?reason=again", path(&key)))).expect(200);
    assert_eq!(show(&server, &admin.secret, &key), first);
}

/// However many at a time: of those who saw the same, one gets through.
#[test]
fn of_many_editors_at_a_time_one_gets_through() {
    let server = Server::demo();
    let organization = server.organization();
    let (admin, key) = (organization.key("example", json!({})), organization.key("example", json!({})));
    for _ in 0..5 {
        let tag = etag(&call(&server, &admin.secret, Request::get(&path(&key))));
        let mut statuses: Vec<_> = thread::scope(|scope| {
            let editors: Vec<_> = (0..6)
                .map(|number| {
                    let request = match number % 2 {
                        0 => Request::patch(&path(&key)).json(&json!({"metadata": {"by": number, "after": tag}})),
                        _ => Request::post(&format!("{}/rotate", path(&key))),
                    };
                    let (server, admin, tag) = (&server, &admin, &tag);
                    scope.spawn(move || call(server, &admin.secret, request.header("If-Match", tag)).status)
                })
                .collect();
            editors.into_iter().map(|editor| editor.join().unwrap()).collect()
        });
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 412, 412, 412, 412, 412]);
    }
}
