//! The ways in which secrets get where they do not belong.

use serde_json::json;

use super::search::each;
use crate::support::http::Request;
use crate::{KEYS, USAGE, USER};

/// To the public listener. None of them issues anything, and none is answered with more than was asked.
pub(super) fn public(holder: &str, secret: &str) -> Vec<Request> {
    let mine = |request: Request| request.bearer(holder);
    let create = || mine(Request::post(KEYS));
    let host = secret.replace('_', "-");
    let escaped = each(secret.as_bytes(), |byte| format!("%{byte:02X}"), "");
    let mut requests = vec![
        // Where it belongs, and nearly there.
        Request::get(USER).bearer(secret),
        Request::get(USAGE).bearer(secret),
        Request::get(USER).bearer(&format!("{secret}x")),
        Request::get(USER).bearer(&format!(" {secret}")),
        Request::get(USER).bearer(&format!("{secret},")),
        Request::get(USER).header("Authorization", secret),
        Request::get(USER).header("Authorization", format!("Basic {secret}")),
        Request::get(USER).header("Authorization", format!("Bearer={secret}")),
        Request::get(USER).bearer(secret).bearer(secret),
        Request::get(USER).bearer(holder).bearer(secret),
        // Headers.
        Request::get(USER).header("X-Api-Key", secret).header("Cookie", format!("api_key={secret}")),
        mine(Request::get(KEYS)).header("Cookie", format!("session={secret}; {secret}=1")),
        mine(Request::get(KEYS)).header(&host, "1").header("User-Agent", secret).header("X-Request-Id", secret),
        mine(Request::get(KEYS)).header("Referer", format!("https://{host}.example.com/{secret}")),
        mine(Request::get(KEYS)).header("Accept", secret).header("Origin", format!("https://{secret}")),
        mine(Request::get(KEYS)).header("X-Forwarded-For", secret).header("Forwarded", format!("for={secret}")),
        mine(Request::get(KEYS)).host(&format!("{host}.example.com")),
        mine(Request::get(KEYS)).host(secret),
        mine(Request::get(KEYS)).header("Expect", secret),
        mine(Request::get(KEYS)).header("Transfer-Encoding", secret),
        mine(Request::get(KEYS)).header("Content-Length", secret),
        mine(Request::delete(&format!("{KEYS}/key_01jhkvxz00fakefakefakefake"))).header("If-Match", secret),
        mine(Request::delete(&format!("{KEYS}/key_01jhkvxz00fakefakefakefake")))
            .header("If-Match", format!("\"{secret}\"")),
        create().header("Idempotency-Key", format!("{secret} {secret}")).json(&json!({"name": "Key"})),
        create().header("Idempotency-Key", secret).header("Idempotency-Key", "2").json(&json!({"name": "Key"})),
        create().header("Idempotency-Key", secret).json(&json!({"name": secret, "scopes": [secret]})),
        create().header("Content-Type", secret).body(secret),
        create().header("Content-Type", format!("application/json; charset={secret}")).body("{}"),
        create().header("Content-Encoding", secret).json(&json!({"name": 1})),
        // Method, path and query.
        mine(Request::new(&host, KEYS)),
        Request::new(&host, &format!("/{secret}")),
        Request::get(&format!("{USAGE}?api_key={secret}")),
        mine(Request::get(&format!("{USAGE}?api_key={secret}"))),
        mine(Request::get(&format!("{KEYS}?cursor={secret}"))),
        mine(Request::get(&format!("{KEYS}?limit={secret}&state={secret}"))),
        mine(Request::get(&format!("{KEYS}?state={escaped}"))),
        mine(Request::get(&format!("{KEYS}?{secret}=1"))),
        mine(Request::get(&format!("{KEYS}/{secret}"))),
        mine(Request::get(&format!("{KEYS}/{escaped}"))),
        mine(Request::post(&format!("{KEYS}/{secret}/rotate"))),
        mine(Request::get(&format!("/{secret}"))),
        mine(Request::get(&format!("/v1/../{secret}//"))),
        Request::get(&format!("/v1/{secret}")),
        Request::get(&format!("/v1/{escaped}")),
        Request::get(&format!("https://{secret}@api.example.com{KEYS}")),
        mine(Request::get(&format!("https://{host}.example.com{KEYS}"))),
        // The sample upstream, where there is one.
        mine(Request::get(&format!("/v1/users/{secret}"))),
        mine(Request::post("/v1/users")).json(&json!({"email": secret, secret: secret})),
        mine(Request::post("/v1/users")).header("Content-Type", secret).body(secret),
        Request::post("/api/v1/evaluate").host("tork.network").bearer(secret).json(&json!({"content": secret})),
        Request::post("/api/v1/evaluate")
            .host("tork.network")
            .bearer(secret)
            .json(&json!({"content": secret, "checks": [secret]})),
        Request::post("/api/v1/evaluate")
            .host("tork.network")
            .bearer(secret)
            .json(&json!({"content": secret, "checks": ["pii"]})),
    ];
    // Bodies that are refused, with the secret wherever JSON has a place for it.
    let bodies = [
        json!(secret),
        json!({ secret: 1 }),
        json!({"name": [secret]}),
        json!({"name": 1, "metadata": {"key": secret}}),
        json!({"name": "Key", "prefix": secret}),
        json!({"name": "Key", "kind": secret}),
        json!({"name": "Key", "environment": {secret: secret}}),
        json!({"name": "Key", "scopes": [secret]}),
        json!({"name": "Key", "scopes": secret}),
        json!({"name": "Key", "restrictions": {"ip": [secret]}}),
        json!({"name": "Key", "restrictions": {"referrer": [format!("https://{secret}/")]}}),
        json!({"name": "Key", "restrictions": {"endpoint": [format!("GET {secret}")]}}),
        json!({"name": "Key", "restrictions": {secret: []}}),
        json!({"name": "Key", "expires_at": secret}),
        json!({"name": "Key", "ttl_seconds": secret}),
        json!({"name": "Key", "parent_id": secret}),
        json!({"name": "Key", "webhook": {"url": format!("https://hooks.example.com/{secret}"), "secret": secret}}),
        json!({"name": format!("{secret}\u{7}")}),
        json!({"name": secret, "metadata": 1}),
    ];
    requests.extend(bodies.iter().map(|body| create().json(body)));
    let broken = [secret.to_owned(), format!("{{\"{secret}"), format!("{{\"name\": \"a\", \"name\": \"{secret}\"}}")];
    requests.extend(broken.map(|body| create().header("Content-Type", "application/json").body(body)));
    requests
        .into_iter()
        .map(|request| if request.has_header("host") { request } else { request.host("api.example.com") })
        .collect()
}

/// To the internal listener, by whoever may: the admin API and verify.
pub(super) fn operator(secret: &str) -> Vec<Request> {
    let call = json!({"key": secret, "method": "GET", "path": USER});
    let import =
        |line: String| Request::post("/admin/v1/keys/import").header("Content-Type", "application/x-ndjson").body(line);
    vec![
        Request::post("/v1/verify").json(&call),
        Request::post("/v1/verify").json(&json!({"key": format!("{secret} "), "method": "GET", "path": USER})),
        Request::post("/v1/verify").json(&json!({"key": secret, "method": secret, "path": USER})),
        Request::post("/v1/verify").json(&json!({"key": secret, "method": "GET", "path": format!("/v1/{secret}")})),
        Request::post("/v1/verify").json(&json!({
            "key": secret, "method": "GET", "path": USER, "referrer": secret, "ip": secret, "api": secret,
        })),
        Request::post("/v1/verify").json(&json!({"key": secret, "method": "GET", "path": USER, "scopes": [secret]})),
        Request::post("/v1/verify").json(&json!({"key": [secret], "method": "GET", "path": USER})),
        Request::post("/v1/verify").json(&json!({ secret: 1 })),
        Request::post("/v1/verify").header("Content-Type", "application/json").body(secret),
        Request::post("/v1/verify").header("Content-Type", secret).body(secret),
        Request::get(&format!("/admin/v1/keys/{secret}")),
        Request::get(&format!("/admin/v1/keys?cursor={secret}&organization={secret}")),
        Request::get(&format!("/admin/v1/{secret}?{secret}")),
        Request::get(&format!("/admin/v1/audit?actor={secret}&target={secret}")),
        Request::get(&format!("/admin/v1/audit?target={secret}")),
        Request::get(&format!("/admin/v1/usage?organization={secret}&api={secret}")),
        Request::new(&secret.replace('_', "-"), "/admin/v1/keys"),
        Request::post("/admin/v1/keys").json(&json!({"name": "Key", "organization": secret, "api": secret})),
        Request::post("/admin/v1/keys").header("Idempotency-Key", secret).json(&json!({"name": secret})),
        Request::post("/admin/v1/keys/bulk-revoke").json(&json!({"organization": secret, "reason": secret})),
        Request::post("/admin/v1/organizations").json(&json!({"name": [secret], "secret": secret})),
        Request::put(&format!("/admin/v1/apis/{secret}")).header("Content-Type", "application/toml").body("name = 1"),
        Request::put("/admin/v1/apis/other")
            .header("Content-Type", "application/toml")
            .body(format!("name = \"other\"\n{secret} = \"{secret}\"\n[\"{secret}")),
        Request::put("/admin/v1/apis/other")
            .header("Content-Type", "application/toml")
            .body(format!("name = \"other\"\ntitle = \"Other\"\nkeys = \"{secret}\"\nhosts = [\"{secret}\"]")),
        import(json!({"digest": secret, "name": secret, "secret": secret}).to_string()),
        import(json!({"key": secret}).to_string()),
        import(secret.to_owned()),
    ]
}

/// What somebody may type who takes one thing for another.
pub(super) fn commands(organization: &str, secret: &str) -> Vec<Vec<String>> {
    let long = format!("--{secret}");
    let create: &[&str] = &["keys", "create", "--org", organization, "--api", "example", "--name", "Key"];
    let verify: &[&str] = &["verify", "--key", secret];
    let commands: Vec<Vec<&str>> = vec![
        vec![secret],
        vec![&long],
        vec!["keys", secret],
        vec!["keys", "show", secret],
        vec!["keys", "show", secret, secret],
        vec!["keys", "show", &long],
        vec!["keys", "rotate", secret],
        vec!["keys", "rotate", "--overlap", secret],
        vec!["keys", "revoke", secret, "--reason", secret],
        vec!["keys", "update", secret, "--name", secret],
        vec!["keys", "list", "--org", secret],
        vec!["keys", "list", "--state", secret],
        vec!["keys", "list", "--limit", secret],
        vec!["keys", "list", "--cursor", secret],
        [create, &["--scope", secret]].concat(),
        [create, &["--kind", secret]].concat(),
        [create, &["--prefix", secret]].concat(),
        [create, &["--ip", secret]].concat(),
        [create, &["--referrer", secret]].concat(),
        [create, &["--endpoint", secret]].concat(),
        [create, &["--expires-at", secret]].concat(),
        [create, &["--ttl", secret]].concat(),
        [create, &["--metadata", secret]].concat(),
        [create, &["--parent", secret]].concat(),
        [create, &["--idempotency-key", "two words", "--prefix", secret]].concat(),
        vec!["orgs", "show", secret],
        vec!["usage", "--org", secret],
        vec!["audit", "list", "--actor", secret],
        vec!["audit", "show", secret],
        vec!["audit", "verify", "--expect", secret],
        vec!["verifiers", "revoke", secret],
        vec!["admin-tokens", "revoke", secret],
        vec!["serve", "--listen", secret],
        vec!["serve", "--log-level", secret],
        verify.to_vec(),
        [verify, &["--path", secret]].concat(),
        [verify, &["--ip", secret]].concat(),
        [verify, &["--method", secret, "--referrer", secret]].concat(),
        vec!["verify", secret],
        vec!["keys", "list", "--server", "http://127.0.0.1:1", "--token", secret],
        vec!["keys", "list", "--server", secret, "--token", secret],
    ];
    commands.into_iter().map(|command| command.into_iter().map(str::to_owned).collect()).collect()
}
