//! Issue, use, lose, mistype, put in the wrong place; then look everywhere.

use serde_json::json;

use crate::support::http::Request;
use crate::support::server::Server;
use crate::support::world::{Key, contains};
use crate::{KEYS, USAGE, USER, call, create, path, serve};

/// Whatever people do with a secret, it is in no log, at any level, and in no file.
#[test]
fn a_secret_is_nowhere_but_in_its_answer() {
    let server = serve(&["--log-level", "trace"]);
    let organization = server.organization();
    let admin = organization.key("example", json!({}));
    let key = create(&server, &admin.secret, &json!({"name": "Key"}));
    let rotate = Request::post(&format!("{}/rotate", path(&key))).json(&json!({"overlap_seconds": 60}));
    let rotated = Key::issued(&call(&server, &admin.secret, rotate).expect(200));
    misplace(&server, &admin, &rotated.secret);
    call(&server, &admin.secret, Request::delete(&path(&key))).expect(200);
    misplace(&server, &admin, &rotated.secret);
    call(&server, &rotated.secret, Request::get(KEYS)).expect(401);
    let secrets = [&admin.secret, &key.secret, &rotated.secret].map(|secret| secret["sk_live_".len()..].to_owned());
    let place = server.stop_and_read();
    // There is a log to look at, down to single requests.
    assert!(place.log.contains(KEYS) || place.log.contains("api-keys"), "{}", place.log);
    for secret in &secrets {
        assert!(!place.log.contains(secret.as_str()), "the log holds a secret:\n{}", lines_with(&place.log, secret));
        for (path, bytes) in &place.files {
            assert!(!contains(bytes, secret.as_bytes()), "{} holds a secret", path.display());
        }
    }
}

/// The ways in which secrets get where they do not belong.
fn misplace(server: &Server, admin: &Key, secret: &str) {
    let typo = format!("{}x", &secret[..secret.len() - 1]);
    let requests = [
        Request::get(USER).bearer(secret),
        Request::get(USER).bearer(&format!("{secret}x")),
        Request::get(USER).bearer(&typo),
        Request::get(USER).header("Authorization", format!("Basic {secret}")),
        Request::get(USER).bearer(secret).bearer(secret),
        Request::get(USER).header("X-Api-Key", secret).header("Cookie", format!("api_key={secret}")),
        Request::get(&format!("{USAGE}?api_key={secret}")),
        Request::get(&format!("{USAGE}?api_key={secret}")).bearer(&admin.secret),
        Request::get(&format!("{KEYS}?cursor={secret}")).bearer(&admin.secret),
        Request::get(&format!("{KEYS}?{secret}=1")).bearer(&admin.secret),
        Request::get(&format!("{KEYS}/{secret}")).bearer(&admin.secret),
        Request::get(&format!("/{secret}")).bearer(&admin.secret),
        Request::get(&format!("/v1/{secret}")),
        Request::new(&secret.replace('_', "-"), KEYS).bearer(&admin.secret),
        Request::get(KEYS)
            .header("If-Match", secret)
            .header("Referer", format!("https://{secret}.example.com/{secret}")),
        Request::post(KEYS).bearer(&admin.secret).json(&json!({"name": 1, "metadata": {"key": secret}})),
        Request::post(KEYS).bearer(&admin.secret).json(&json!({"name": "Key", "prefix": secret})),
        Request::post(KEYS).bearer(&admin.secret).json(&json!({"name": "Key", "scopes": [secret]})),
        Request::post(KEYS).bearer(&admin.secret).json(&json!({"name": "Key", secret: 1})),
        Request::post(KEYS).bearer(&admin.secret).header("Content-Type", "application/json").body(secret),
        Request::post(KEYS).bearer(&admin.secret).header("Content-Type", secret).body(secret),
    ];
    for request in requests {
        let status = server.public(&request.host("api.example.com")).status;
        assert!((200..500).contains(&status), "{status}");
    }
    server.public(&Request::get(KEYS).host(&format!("{}.example.com", secret.replace('_', "-"))));
    server.verify(
        &json!({"key": secret, "method": "GET", "path": format!("/v1/{secret}"), "referrer": secret, "ip": secret}),
    );
    for body in
        [format!("{{\"{secret}\": 1}}"), secret.to_owned(), json!({"key": secret, "method": secret}).to_string()]
    {
        let request = Request::post("/v1/verify").header("Content-Type", "application/json").body(body);
        request.send_to_socket(&server.socket()).expect(400);
        let request =
            Request::post("/v1/verify").bearer(secret).json(&json!({"key": secret, "method": "GET", "path": USER}));
        request.send(server.internal).expect(401);
    }
    Request::get(&format!("/admin/v1/keys/{secret}")).bearer(secret).send(server.internal).expect(401);
    server.admin(Request::get(&format!("/admin/v1/keys/{secret}"))).expect(404);
    server.admin(Request::get(&format!("/admin/v1/keys?cursor={secret}"))).expect(400);
}

fn lines_with(log: &str, secret: &str) -> String {
    log.lines().filter(|line| line.contains(secret)).collect::<Vec<_>>().join("\n")
}
