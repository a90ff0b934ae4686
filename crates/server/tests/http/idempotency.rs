//! `Idempotency-Key`: a POST that is sent again is answered again and not done again.
//!
//! What a test cannot show is a process that is killed between doing and answering. There is no such moment: the answer
//! is in the transaction that does what was asked, so whoever comes again finds both or neither. That both are
//! there is what `the_answer_is_given_again_byte_for_byte` shows, that neither is, `what_was_refused_is_judged_anew`.

use claviger_app::CreateKey;
use claviger_domain::peer::Peer;
use claviger_domain::period::TimeZone;
use serde_json::{Value, json};

use crate::deployment::Deployment;
use crate::wire::{Call, Reply};

const HEADER: &str = "idempotency-key";

fn keyed(call: Call) -> Call {
    call.header(HEADER, "order-1")
}

fn replayed(reply: &Reply) -> bool {
    reply.header("idempotency-replayed") == Some("true")
}

/// Sends it twice: the second reply is the first, said to be so.
async fn twice(call: Call) -> Value {
    let first = call.clone().send().await;
    assert!(first.status.is_success() && !replayed(&first), "{first:?}");
    let mut second = call.send().await;
    assert!(replayed(&second), "{second:?}");
    second.headers.remove("idempotency-replayed");
    assert_eq!((second.status, &second.headers, &second.text), (first.status, &first.headers, &first.text));
    first.json()
}

fn code(reply: &Reply) -> (u16, String) {
    let (status, code, _) = reply.error();
    (status, code)
}

fn reused() -> (u16, String) {
    (422, "idempotency_key_reused".to_owned())
}

#[tokio::test]
async fn the_answer_is_given_again_byte_for_byte() {
    let deployment = Deployment::start().await;
    let name = json!({"name": "once"});
    for (api, base) in [("plain", "/v1"), ("envelope", "/e1")] {
        let holder = deployment.create_of(api, deployment.mine, crate::deployment::blank()).await;
        let made =
            twice(keyed(deployment.public(&format!("POST {base}/api-keys")).bearer(&holder.secret).json(&name))).await;
        let made = made.get("data").unwrap_or(&made);
        let secret = made["secret"].as_str().unwrap();
        // It works, and there is one of it.
        let list = deployment.public(&format!("GET {base}/api-keys")).bearer(secret).send().await.expect(200);
        assert_eq!(list["data"].as_array().unwrap().len(), 2);
        // The same key of the same caller is for one request; here is another.
        let rotate = format!("POST {base}/api-keys/{}/rotate", made["id"].as_str().unwrap());
        let rotate = deployment.public(&rotate).bearer(&holder.secret).header(HEADER, "order-2");
        let rotated = twice(rotate).await;
        assert_ne!(rotated.get("data").unwrap_or(&rotated)["secret"], made["secret"]);
    }
    let body = json!({"name": "once", "organization": deployment.mine, "api": "plain"});
    let key = twice(keyed(deployment.operator("POST /admin/v1/keys").json(&body))).await;
    for (number, action) in ["rotate", "disable", "enable"].into_iter().enumerate() {
        let path = format!("POST /admin/v1/keys/{}/{action}", key["id"].as_str().unwrap());
        twice(deployment.operator(&path).header(HEADER, format!("action-{number}"))).await;
    }
    for (number, path) in ["organizations", "verifiers", "admin-tokens"].into_iter().enumerate() {
        let call = deployment.operator(&format!("POST /admin/v1/{path}")).json(&name);
        twice(call.header(HEADER, format!("thing-{number}"))).await;
    }
    let body = json!({"organization": deployment.theirs, "kind": "secret"});
    twice(deployment.operator("POST /admin/v1/keys/bulk-revoke").json(&body).header(HEADER, "bulk")).await;
}

#[tokio::test]
async fn a_key_belongs_to_one_request() {
    let deployment = Deployment::start().await;
    let (holder, target) = (deployment.full().await, deployment.full().await);
    let call = |what: &str| keyed(deployment.public(what).bearer(&holder.secret));
    let create = || call("POST /v1/api-keys");
    create().json(&json!({"name": "a"})).send().await.expect(201);
    assert_eq!(code(&create().json(&json!({"name": "b"})).send().await), reused());
    assert_eq!(code(&create().body("application/json", "{\"name\":\"a\"} ").send().await), reused());
    assert_eq!(code(&create().body("application/json; charset=utf-8", "{\"name\":\"a\"}").send().await), reused());
    for action in ["rotate", "disable", "enable"] {
        assert_eq!(
            code(&call(&format!("POST /v1/api-keys/{}/{action}", target.id)).send().await),
            reused(),
            "{action}"
        );
    }
    // No POST takes a query; one that has one does not get as far.
    let query = call("POST /v1/api-keys?a=b").json(&json!({"name": "a"})).send().await;
    assert_eq!((query.status.as_u16(), replayed(&query)), (400, false));
    // Only a POST is looked at.
    let list = call("GET /v1/api-keys").send().await;
    assert!(!replayed(&list));
    assert_eq!(list.expect(200)["data"].as_array().unwrap().len(), 3);
    let patched = call(&format!("PATCH /v1/api-keys/{}", target.id)).json(&json!({"name": "c"})).send().await;
    assert_eq!(patched.expect(200)["name"], "c");
}

#[tokio::test]
async fn a_request_with_another_precondition_is_another_request() {
    let deployment = Deployment::start().await;
    let (holder, target) = (deployment.full().await, deployment.full().await);
    let path = format!("/v1/api-keys/{}", target.id);
    let shown = deployment.public(&format!("GET {path}")).bearer(&holder.secret).send().await;
    let tag = shown.header("etag").unwrap().to_owned();
    let rotate = || keyed(deployment.public(&format!("POST {path}/rotate")).bearer(&holder.secret));
    twice(rotate().header("if-match", &tag)).await;
    for call in [rotate(), rotate().header("if-match", "*"), rotate().header("if-match", &tag).header("if-match", &tag)]
    {
        assert_eq!(code(&call.send().await), reused());
    }
}

#[tokio::test]
async fn while_the_first_is_at_work_the_second_is_refused() {
    let deployment = Deployment::start().await;
    // Whoever holds the turn keeps all others waiting until it is dropped.
    let operator = claviger_app::Actor::operator();
    let held = deployment.app.create_organization(&operator, "Held".parse().unwrap(), TimeZone::UTC).await.unwrap();
    let call = || keyed(deployment.operator("POST /admin/v1/organizations").json(&json!({"name": "Once"})));
    let mut first = Box::pin(call().send());
    tokio::select! {
        biased;
        reply = &mut first => panic!("it did not wait: {reply:?}"),
        () = std::future::ready(()) => {}
    }
    for _ in 0..3 {
        let second = call().send().await;
        assert_eq!(code(&second), (409, "idempotency_key_in_use".to_owned()));
        assert_eq!(second.header("retry-after"), Some("1"));
    }
    drop(held);
    let first = first.await;
    let again = call().send().await;
    assert!(replayed(&again));
    assert_eq!(again.text, first.text);
    first.expect(201);

    // The request of a caller that hangs up is carried through, and whoever comes again is told what came of it.
    let held = deployment.app.create_organization(&operator, "Held".parse().unwrap(), TimeZone::UTC).await.unwrap();
    let other = || deployment.operator("POST /admin/v1/verifiers").json(&json!({"name": "v"})).header(HEADER, "v");
    let mut fleeing = Box::pin(other().send());
    tokio::select! {
        biased;
        reply = &mut fleeing => panic!("it did not wait: {reply:?}"),
        () = std::future::ready(()) => {}
    }
    drop(fleeing);
    drop(held);
    let mut reply = other().send().await;
    for _ in 0..1000 {
        if reply.status.as_u16() != 409 {
            break;
        }
        reply = other().send().await;
    }
    assert!(replayed(&reply));
    reply.expect(201);
}

#[tokio::test]
async fn callers_do_not_meet() {
    let deployment = Deployment::start().await;
    let body = json!({"name": "mine"});
    let (one, two) = (deployment.full().await, deployment.full().await);
    let theirs = deployment.create(deployment.theirs, crate::deployment::blank()).await;
    let mut ids = Vec::new();
    for holder in [&one, &two, &theirs] {
        let made = twice(keyed(deployment.public("POST /v1/api-keys").bearer(&holder.secret).json(&body))).await;
        ids.push(made["id"].clone());
    }
    let (first, second) = (deployment.admin_token().await, deployment.admin_token().await);
    for token in [Some(&first), Some(&second), None] {
        let call = keyed(deployment.internal("POST /admin/v1/organizations").json(&body));
        let call = match token {
            Some(token) => call.bearer(token),
            None => call.peer(Some(Peer::Socket)),
        };
        ids.push(twice(call).await["id"].clone());
    }
    for (position, id) in ids.iter().enumerate() {
        assert!(!ids[..position].contains(id));
    }
}

#[tokio::test]
async fn a_rotation_is_answered_again_to_the_secret_that_asked_for_it() {
    let deployment = Deployment::start().await;
    let holder = deployment.full().await;
    let rotate = |secret: &str| {
        let call = deployment.public(&format!("POST /v1/api-keys/{}/rotate", holder.id)).bearer(secret);
        keyed(call.json(&json!({"overlap_seconds": 600})))
    };
    let first = rotate(&holder.secret).send().await;
    let new_secret = first.json()["secret"].as_str().unwrap().to_owned();
    // The old secret could not rotate again, but it is told what came of the rotation it was answered with.
    let again = rotate(&holder.secret).send().await;
    assert!(replayed(&again));
    assert_eq!(again.text, first.text);
    // The answer was kept under the old secret: to the new one, and to nobody else, it can be opened.
    let by_new = rotate(&new_secret).send().await;
    assert_eq!(code(&by_new), reused());
    assert!(!by_new.text.contains(&new_secret[10..]));
    deployment.clock.advance_seconds(600);
    let ended = rotate(&holder.secret).send().await;
    assert!(replayed(&ended));
    assert_eq!(ended.text, first.text);
}

#[tokio::test]
async fn a_key_that_rotated_itself_and_lost_the_answer_gets_it_again() {
    let deployment = Deployment::start().await;
    for (api, base) in [("plain", "/v1"), ("envelope", "/e1")] {
        let create = async || deployment.create_of(api, deployment.mine, crate::deployment::blank()).await;
        let (holder, other) = (create().await, create().await);
        let path = format!("{base}/api-keys/{}/rotate", holder.id);
        let rotate = |secret: &str| keyed(deployment.public(&format!("POST {path}")).bearer(secret));
        let first = rotate(&holder.secret).send().await;
        let works = async |secret: &str| {
            deployment.public(&format!("GET {base}/api-keys")).bearer(secret).send().await.status == 200
        };
        assert!(first.status == 200 && !works(&holder.secret).await, "{first:?}");
        let again = rotate(&holder.secret).send().await;
        assert!(replayed(&again), "{again:?}");
        assert_eq!((&again.text, again.header("etag")), (&first.text, first.header("etag")));

        // Whatever else is asked, or by whom, the secret is dead.
        deployment
            .public(&format!("DELETE {base}/api-keys/{}", other.id))
            .bearer(&other.secret)
            .send()
            .await
            .expect(200);
        let dead = |what: &str| deployment.public(what).bearer(&holder.secret);
        let post = format!("POST {path}");
        for call in [
            rotate(&other.secret),
            rotate(&holder.secret).json(&json!({"overlap_seconds": 600})),
            dead(&post),
            dead(&post).header(HEADER, "order-2"),
            dead(&post).header(HEADER, "not a key"),
            keyed(dead(&post)).raw(vec![b' '; 1 << 20]),
            keyed(dead(&format!("{post}?a=b"))),
            keyed(dead(&format!("GET {path}"))).undocumented(),
            keyed(dead(&format!("POST {base}/api-keys/{}/rotate", other.id))),
            keyed(dead(&format!("POST {base}/api-keys/{}/disable", holder.id))),
        ] {
            let reply = call.send().await;
            assert!(reply.status == 401 && !replayed(&reply), "{reply:?}");
        }
        // A key that is dead as a whole has no answers.
        let path = format!("POST /admin/v1/keys/{}", holder.id);
        deployment.operator(&format!("{path}/disable")).send().await.expect(200);
        assert_eq!(rotate(&holder.secret).send().await.status, 401);
        deployment.operator(&format!("{path}/enable")).send().await.expect(200);
        assert!(replayed(&rotate(&holder.secret).send().await));
        // Whoever lost the answer asks at once.
        deployment.clock.advance_seconds(15 * 60);
        assert_eq!(rotate(&holder.secret).send().await.status, 401);
    }
}

#[tokio::test]
async fn what_binds_the_new_secret_binds_whoever_asks_with_the_old_one() {
    let deployment = Deployment::start().await;
    let restrictions = serde_json::from_value(json!({"ip": ["203.0.113.0/24"]})).unwrap();
    let bound = CreateKey { restrictions, ..crate::deployment::blank() };
    let holder = deployment.create_of("plain", deployment.mine, bound).await;
    let path = format!("POST /v1/api-keys/{}/rotate", holder.id);
    let rotate_from = |address: &str| {
        let proxied = Peer::Address("10.0.0.1".parse().unwrap());
        keyed(deployment.public(&path).bearer(&holder.secret)).peer(Some(proxied)).header("X-Forwarded-For", address)
    };
    let first = rotate_from("203.0.113.7").send().await;
    assert_eq!(first.status, 200, "{first:?}");
    let elsewhere = rotate_from("198.51.100.7").send().await;
    assert!(elsewhere.status == 401 && !replayed(&elsewhere), "{elsewhere:?}");
    assert!(replayed(&rotate_from("203.0.113.7").send().await));
}

#[tokio::test]
async fn after_a_day_it_is_done_anew() {
    let deployment = Deployment::start().await;
    let call = || keyed(deployment.operator("POST /admin/v1/organizations").json(&json!({"name": "Daily"})));
    let first = call().send().await.expect(201);
    deployment.clock.advance_seconds(24 * 3600);
    deployment.app.forget().await.unwrap();
    assert_eq!(call().send().await.expect(201)["id"], first["id"]);
    deployment.clock.advance_seconds(1);
    deployment.app.forget().await.unwrap();
    let anew = call().send().await;
    assert!(!replayed(&anew));
    assert_ne!(anew.expect(201)["id"], first["id"]);
}

#[tokio::test]
async fn what_was_refused_is_judged_anew() {
    let deployment = Deployment::start().await;
    let holder = deployment.full().await;
    let rotate = || keyed(deployment.operator(&format!("POST /admin/v1/keys/{}/rotate", holder.id)));
    assert_eq!(rotate().header("if-match", "\"999\"").send().await.status, 412);
    let done = rotate().send().await;
    assert!(!replayed(&done));
    done.expect(200);
    // A request that could not be read is no request.
    let create = || deployment.operator("POST /admin/v1/organizations").header(HEADER, "o");
    assert_eq!(create().json(&json!({"name": ""})).send().await.status, 400);
    assert_eq!(create().json(&json!({"name": "fine"})).send().await.status, 201);
}

#[tokio::test]
async fn a_header_that_is_no_key_is_refused() {
    let deployment = Deployment::start().await;
    let call = || deployment.operator("POST /admin/v1/organizations").json(&json!({"name": "x"}));
    let long = "k".repeat(256);
    for bad in ["", " ", "a b", "a\tb", "\u{e9}", &long] {
        let reply = call().header(HEADER, bad).send().await;
        let (status, code, field) = reply.error();
        assert_eq!((status, &*code, field.as_deref()), (400, "invalid_request", Some("Idempotency-Key")), "{bad:?}");
    }
    assert_eq!(call().header(HEADER, "a").header(HEADER, "a").send().await.status, 400);
    assert_eq!(call().header(HEADER, "k".repeat(255)).send().await.status, 201);
    assert_eq!(call().header(HEADER, "!~").send().await.status, 201);
}

#[tokio::test]
async fn no_secret_is_kept() {
    let deployment = Deployment::start().await;
    let holder = deployment.full().await;
    let key = "4f1c-a-key-that-only-the-caller-knows";
    let body = json!({"name": "kept in the answer"});
    let call = || deployment.public("POST /v1/api-keys").bearer(&holder.secret).json(&body).header(HEADER, key);
    let made = call().send().await.expect(201);
    assert!(replayed(&call().send().await));
    let files = deployment.files();
    let holds = |text: &str| files.windows(text.len()).any(|window| window == text.as_bytes());
    // What is looked for is looked for in the right place.
    assert!(holds("kept in the answer") && holds(made["id"].as_str().unwrap().strip_prefix("key_").unwrap()));
    for secret in [made["secret"].as_str().unwrap(), &holder.secret] {
        assert!(!holds(secret) && !holds(&secret[10..secret.len() - 4]), "a secret is on the disk");
    }
    assert!(!holds(key), "the caller's key is on the disk");
}
