//! Members and invitations: races, replays, and addresses and headers that are nearly right.

use axum::body::{Body, Bytes};
use claviger_domain::id::MemberId;
use claviger_domain::member::Role;
use futures_util::future::join_all;
use futures_util::stream::once;
use serde_json::{Value, json};
use tokio::sync::oneshot;
use tower::ServiceExt as _;

use crate::deployment::{Deployment, blank};
use crate::hostile::statuses;
use crate::wire::{Call, Reply};

impl Deployment {
    fn leaves(&self, by: MemberId, id: MemberId) -> Call {
        let what = format!("POST /admin/v1/organizations/{}/members/{id}/remove", self.mine);
        self.as_member(by, &what).json(&json!({"rest": "keep"}))
    }

    fn accepts(&self, token: &str) -> Call {
        self.operator("POST /admin/v1/invitations/accept").json(&json!({"token": token, "name": "Eve"}))
    }

    fn makes_key(&self, member: MemberId) -> Call {
        let body = json!({"organization": self.mine, "api": "plain", "name": "a key"});
        self.as_member(member, "POST /admin/v1/keys").json(&body)
    }

    async fn owners(&self) -> usize {
        let members = self.operator(&format!("GET /admin/v1/organizations/{}/members", self.mine)).send().await;
        let members = members.expect(200);
        members["data"].as_array().unwrap().iter().filter(|member| member["role"] == "owner").count()
    }
}

#[tokio::test]
async fn of_many_who_accept_one_invitation_at_once_one_comes_in() {
    let deployment = Deployment::start().await;
    let (_, token) = deployment.invite(Role::Admin).await;
    let told = statuses((0..20).map(|_| deployment.accepts(&token))).await;
    assert_eq!(told, [(201, 1), (404, 19)]);
    assert_eq!(deployment.recorded("member.joined").await.len(), 1);
}

#[tokio::test]
async fn an_invitation_that_is_taken_back_or_over_lets_nobody_in() {
    let deployment = Deployment::start().await;
    let (id, token) = deployment.invite(Role::Owner).await;
    let revoke = format!("DELETE /admin/v1/organizations/{}/invitations/{id}", deployment.mine);
    deployment.operator(&revoke).send().await.expect(200);
    let refused = deployment.accepts(&token).send().await;
    assert!(!refused.text.contains(&token), "{refused:?}");
    assert_eq!(refused.error().0, 404);
    assert_eq!(deployment.operator(&revoke).send().await.error().0, 404);
    // Both at once: the one or the other, never both.
    for _ in 0..10 {
        let (id, token) = deployment.invite(Role::Owner).await;
        let revoke = format!("DELETE /admin/v1/organizations/{}/invitations/{id}", deployment.mine);
        let told = statuses([deployment.operator(&revoke), deployment.accepts(&token)]).await;
        assert!(told == [(200, 1), (404, 1)] || told == [(201, 1), (404, 1)], "{told:?}");
    }
    // To the microsecond: at the end of its day it is over.
    let (_, early) = deployment.invite(Role::Viewer).await;
    let (_, late) = deployment.invite(Role::Viewer).await;
    deployment.clock.advance_micros(24 * 3_600_000_000 - 1);
    deployment.accepts(&early).send().await.expect(201);
    deployment.clock.advance_micros(1);
    assert_eq!(deployment.accepts(&late).send().await.error().0, 404);
}

#[tokio::test]
async fn two_owners_who_remove_each_other_leave_one() {
    for _ in 0..10 {
        let deployment = Deployment::start().await;
        let (one, other) = (deployment.member(Role::Owner).await, deployment.member(Role::Owner).await);
        let told = statuses([deployment.leaves(one, other), deployment.leaves(other, one)]).await;
        // Whoever came second was no member any more.
        assert_eq!(told, [(200, 1), (404, 1)]);
        assert_eq!(deployment.owners().await, 1);
    }
}

#[tokio::test]
async fn of_owners_who_all_go_at_once_one_stays() {
    let deployment = Deployment::start().await;
    let mut owners = Vec::new();
    for _ in 0..6 {
        owners.push(deployment.member(Role::Owner).await);
    }
    let step_down = |id: &MemberId| {
        let what = format!("PATCH /admin/v1/organizations/{}/members/{id}", deployment.mine);
        deployment.as_member(*id, &what).json(&json!({"role": "viewer"}))
    };
    let (leaving, stepping) = owners.split_at(3);
    let calls = leaving.iter().map(|id| deployment.leaves(*id, *id)).chain(stepping.iter().map(step_down));
    assert_eq!(statuses(calls).await, [(200, 5), (409, 1)]);
    assert_eq!(deployment.owners().await, 1);
}

/// The head of a request is there, its body comes when its sender is no member any more.
#[tokio::test]
async fn a_member_who_is_removed_while_their_request_waits_does_nothing() {
    let deployment = Deployment::start().await;
    deployment.member(Role::Owner).await;
    let member = deployment.member(Role::Admin).await;
    let other = deployment.member(Role::Viewer).await;
    let key = deployment.create(deployment.mine, blank()).await.id;
    let members = format!("/admin/v1/organizations/{}", deployment.mine);
    let cases = [
        ("POST /admin/v1/keys".to_owned(), json!({"organization": deployment.mine, "api": "plain", "name": "late"})),
        (format!("POST /admin/v1/keys/{key}/rotate"), json!({})),
        (format!("PATCH /admin/v1/keys/{key}"), json!({"name": "late"})),
        (format!("POST {members}/invitations"), json!({"email": "l@example.com", "role": "admin", "send_mail": false})),
        (format!("PATCH {members}/members/{other}"), json!({"role": "admin"})),
        (format!("POST {members}/members/{other}/remove"), json!({})),
    ];
    let mut waiting = Vec::new();
    let mut bodies = Vec::new();
    for (what, body) in cases {
        let (sender, receiver) = oneshot::channel::<Bytes>();
        let call = deployment.as_member(member, &what).header("content-type", "application/json");
        let (router, request) = call.request();
        let request = request.map(|_| Body::from_stream(once(receiver)));
        waiting.push(tokio::spawn(router.oneshot(request)));
        bodies.push((sender, Bytes::from(body.to_string())));
    }
    // The one task of this runtime takes each request as far as it goes without its body.
    tokio::task::yield_now().await;
    let remove = format!("POST {members}/members/{member}/remove");
    deployment.operator(&remove).send().await.expect(200);
    for (sender, body) in bodies {
        sender.send(body).unwrap();
    }
    for request in waiting {
        let reply = Reply::read(request.await.unwrap().unwrap()).await;
        assert_eq!(reply.error().0, 404, "{reply:?}");
    }
    let shown = deployment.operator(&format!("GET /admin/v1/keys/{key}")).send().await.expect(200);
    assert_eq!((&shown["name"], &shown["rotated_at"]), (&json!("a key"), &Value::Null));
}

/// What was answered is kept for a day, a secret included. It is not for who has left.
#[tokio::test]
async fn who_was_removed_is_not_told_again_what_they_were_answered() {
    let deployment = Deployment::start().await;
    deployment.member(Role::Owner).await;
    let member = deployment.member(Role::Developer).await;
    let make = || deployment.makes_key(member).header("idempotency-key", "once").send();
    let first = make().await;
    let again = make().await;
    assert_eq!((again.header("idempotency-replayed"), &again.text), (Some("true"), &first.text));
    let secret = first.expect(201)["secret"].as_str().unwrap().to_owned();
    deployment.leaves(member, member).send().await.expect(200);
    let late = make().await;
    assert!(!late.text.contains(&secret), "{late:?}");
    assert_eq!(late.error().0, 404);
}

/// Whoever may not manage keys does not do so by leaving.
#[tokio::test]
async fn who_may_not_manage_keys_ends_none_by_leaving() {
    let deployment = Deployment::start().await;
    let owner = deployment.member(Role::Owner).await;
    let member = deployment.member(Role::Developer).await;
    let key = deployment.makes_key(member).send().await.expect(201);
    let path = format!("/admin/v1/organizations/{}/members/{member}", deployment.mine);
    deployment.operator(&format!("PATCH {path}")).json(&json!({"role": "viewer"})).send().await.expect(200);
    let leave = |body: Value| deployment.as_member(member, &format!("POST {path}/remove")).json(&body).send();
    for body in [
        json!({"rest": "revoke"}),
        json!({"revoke": [key["id"]]}),
        json!({"rest": "hand_over", "to": owner}),
        json!({"rest": "revoke", "dry_run": true}),
    ] {
        assert_eq!(leave(body.clone()).await.error().0, 403, "{body}");
    }
    leave(json!({"rest": "keep"})).await.expect(200);
    let shown = deployment.operator(&format!("GET /admin/v1/keys/{}", key["id"].as_str().unwrap())).send().await;
    assert_eq!(shown.expect(200)["state"], "active");
}

#[tokio::test]
async fn one_address_is_one_person_and_what_is_nearly_one_is_none() {
    let deployment = Deployment::start().await;
    let invite = async |email: &str| {
        let body = json!({"email": email, "role": "viewer", "send_mail": false});
        let what = format!("POST /admin/v1/organizations/{}/invitations", deployment.mine);
        deployment.operator(&what).json(&body).send().await
    };
    let first = invite("Kay@Example.COM").await.expect(201);
    assert_eq!(first["email"], "kay@example.com");
    deployment.accepts(first["token"].as_str().unwrap()).send().await.expect(201);
    for same in ["kay@example.com", "KAY@EXAMPLE.COM", "kAy@example.Com"] {
        assert_eq!(invite(same).await.error().0, 409, "{same}");
    }
    for none in [
        // The Kelvin sign and the long s fold to ASCII, full width letters are normalised to it.
        "\u{212a}ay@example.com",
        "kay@example\u{ff0e}com",
        "\u{ff4b}ay@example.com",
        "kay@\u{17f}example.com",
        "kay\u{200b}@example.com",
        " kay@example.com",
        "kay@example.com ",
        "kay @example.com",
        "kay@example.com\u{a0}",
        "kay@example.com\n",
        "kay@example.com\0",
        "kay@example.com.",
        "\"kay\"@example.com",
        "kay@[127.0.0.1]",
        "kay%40example.com",
        "Kay <kay@example.com>",
        "kay@example.com,eve@example.com",
    ] {
        let refused = invite(none).await.error();
        assert_eq!((refused.0, refused.2.as_deref()), (400, Some("email")), "{none:?}");
    }
    // Of many who invite the same person at once, the last invitation holds and lets one member in.
    let body = json!({"email": "max@example.com", "role": "viewer", "send_mail": false});
    let what = format!("POST /admin/v1/organizations/{}/invitations", deployment.mine);
    let spellings = ["max@example.com", "MAX@example.com", "Max@Example.com"];
    let calls = spellings.iter().cycle().take(12).map(|email| {
        let mut body = body.clone();
        body["email"] = json!(email);
        deployment.operator(&what).json(&body).send()
    });
    let tokens: Vec<String> = join_all(calls)
        .await
        .into_iter()
        .map(|reply| reply.expect(201)["token"].as_str().unwrap().to_owned())
        .collect();
    let told = statuses(tokens.iter().map(|token| deployment.accepts(token))).await;
    assert_eq!(told, [(201, 1), (404, 11)]);
}

#[tokio::test]
async fn the_header_names_one_member_exactly_or_the_request_is_refused() {
    let deployment = Deployment::start().await;
    let member = deployment.member(Role::Owner).await;
    let token = deployment.admin_token().await;
    let what = format!("GET /admin/v1/organizations/{}/members", deployment.mine);
    let id = member.to_string();
    let bad: [Vec<u8>; 9] = [
        Vec::new(),
        b" ".to_vec(),
        id.to_uppercase().into_bytes(),
        format!("{id},{id}").into_bytes(),
        format!("{id} ").into_bytes(),
        format!("{id}\u{e9}").into_bytes(),
        id.replace("mem_", "key_").into_bytes(),
        id.as_bytes()[..id.len() - 1].to_vec(),
        b"operator".to_vec(),
    ];
    for value in &bad {
        let ask = |call: Call| call.header("claviger-member", value).send();
        assert_eq!(ask(deployment.operator(&what)).await.error().0, 400, "{value:?}");
        assert_eq!(ask(deployment.internal(&what).bearer(&token)).await.error().0, 400, "{value:?}");
        // Who may not ask at all is told that, and not what else is wrong.
        assert_eq!(ask(deployment.internal(&what)).await.error().0, 401, "{value:?}");
        assert_eq!(ask(deployment.operator("GET /admin/v1/organizations")).await.error().0, 403, "{value:?}");
    }
    let twice = |other: &str| {
        let call = deployment.internal(&what).bearer(&token).header("claviger-member", &id);
        call.header("Claviger-Member", other).send()
    };
    assert_eq!(twice(&id).await.error().0, 400);
    assert_eq!(twice("").await.error().0, 400);
}

#[tokio::test]
async fn the_header_is_nothing_to_keys_and_verifiers() {
    let deployment = Deployment::start().await;
    let owner = deployment.member(Role::Owner).await;
    let made = deployment.operator("POST /admin/v1/verifiers").json(&json!({"name": "a verifier"})).send().await;
    let verifier = made.expect(201)["token"].as_str().unwrap().to_owned();
    let weak = deployment.restricted(&["things:read"]).await;
    let members = format!("GET /admin/v1/organizations/{}/members", deployment.mine);
    for secret in [&verifier, &weak.secret] {
        let call = deployment.internal(&members).bearer(secret).header("claviger-member", owner.to_string());
        assert_eq!(call.send().await.error().0, 401);
    }
    // The customer API goes by the key alone.
    let full = deployment.full().await;
    for value in [owner.to_string(), String::new(), MemberId::from_u128(1).to_string()] {
        let ask = async |secret: &str, what: &str| {
            let call = deployment.public(what).bearer(secret).header("claviger-member", &value);
            call.send().await.status.as_u16()
        };
        assert_eq!(ask(&weak.secret, "GET /v1/api-keys").await, 403);
        assert_eq!(ask(&weak.secret, "GET /v1/account/alerts").await, 403);
        assert_eq!(ask(&full.secret, "GET /v1/api-keys").await, 200);
    }
    let made = deployment.public("POST /v1/api-keys").bearer(&full.secret).json(&json!({"name": "made"}));
    let made = made.header("claviger-member", owner.to_string()).send().await.expect(201);
    assert_eq!(made["created_by"], full.id.to_string());
}
