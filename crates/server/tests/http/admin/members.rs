//! `/admin/v1/organizations/{id}/members` and `…/invitations`

use claviger_domain::id::MemberId;
use claviger_domain::member::Role;
use serde_json::{Value, json};

use crate::deployment::Deployment;
use crate::wire::Reply;

impl Deployment {
    async fn key_of(&self, member: MemberId, name: &str) -> Value {
        let body = json!({"organization": self.mine, "api": "plain", "name": name});
        self.as_member(member, "POST /admin/v1/keys").json(&body).send().await.expect(201)
    }

    async fn remove(&self, member: MemberId, body: Value) -> Reply {
        let path = format!("/admin/v1/organizations/{}/members/{member}/remove", self.mine);
        self.operator(&format!("POST {path}")).json(&body).send().await
    }

    async fn state_of(&self, key: &Value) -> (String, String) {
        let path = format!("GET /admin/v1/keys/{}", key["id"].as_str().unwrap());
        let shown = self.operator(&path).send().await.expect(200);
        (shown["state"].as_str().unwrap().to_owned(), shown["created_by"].as_str().unwrap().to_owned())
    }
}

#[tokio::test]
async fn an_invitation_is_accepted_once_and_within_a_day() {
    let deployment = Deployment::start().await;
    let path = format!("/admin/v1/organizations/{}", deployment.mine);
    let invite = async |email: &str| {
        let body = json!({"email": email, "role": "developer", "send_mail": false});
        deployment.operator(&format!("POST {path}/invitations")).json(&body).send().await
    };
    let accept = async |token: &Value| {
        let body = json!({"token": token, "name": "Ada"});
        deployment.operator("POST /admin/v1/invitations/accept").json(&body).send().await
    };
    let first = invite("Ada@Example.com").await.expect(201);
    let second = invite("ada@example.com").await.expect(201);
    // The later one took the place of the earlier.
    assert_eq!(accept(&first["token"]).await.error().0, 404);
    let open = deployment.operator(&format!("GET {path}/invitations")).send().await.expect(200);
    assert_eq!(open["data"].as_array().unwrap().len(), 1);
    assert!(!open.to_string().contains(second["token"].as_str().unwrap()));
    let member = accept(&second["token"]).await.expect(201);
    assert_eq!((&member["email"], &member["role"]), (&json!("ada@example.com"), &json!("developer")));
    assert_eq!(accept(&second["token"]).await.error().0, 404);
    assert_eq!(invite("ADA@example.com").await.error().0, 409);
    let late = invite("late@example.com").await.expect(201);
    deployment.clock.advance_seconds(24 * 3600);
    assert_eq!(accept(&late["token"]).await.error().0, 404);
    assert_eq!(accept(&json!("claviger_invitation_nothing")).await.error().0, 404);
}

#[tokio::test]
async fn the_last_owner_cannot_leave() {
    let deployment = Deployment::start().await;
    let owner = deployment.member(Role::Owner).await;
    let path = format!("PATCH /admin/v1/organizations/{}/members/{owner}", deployment.mine);
    let demote = async || deployment.operator(&path).json(&json!({"role": "admin"})).send().await;
    assert_eq!(demote().await.error().0, 409);
    assert_eq!(deployment.remove(owner, json!({})).await.error().0, 409);
    let second = deployment.member(Role::Owner).await;
    demote().await.expect(200);
    assert_eq!(deployment.remove(second, json!({})).await.error().0, 409);
    deployment.remove(owner, json!({})).await.expect(200);
}

#[tokio::test]
async fn who_leaves_takes_no_key_along() {
    let deployment = Deployment::start().await;
    let (leaver, heir) = (deployment.member(Role::Developer).await, deployment.member(Role::Developer).await);
    let viewer = deployment.member(Role::Viewer).await;
    let (revoked, handed, rest) = (
        deployment.key_of(leaver, "revoked").await,
        deployment.key_of(leaver, "handed over").await,
        deployment.key_of(leaver, "rest").await,
    );
    // Made with the secret of one of them.
    let body = json!({"name": "made with it"});
    let made = deployment.public("POST /v1/api-keys").bearer(rest["secret"].as_str().unwrap());
    let made = made.json(&body).send().await.expect(201);
    let path = format!("GET /admin/v1/organizations/{}/members/{leaver}/keys", deployment.mine);
    assert_eq!(deployment.operator(&path).send().await.expect(200)["data"].as_array().unwrap().len(), 4);
    // What becomes of each must be said.
    let refuse = async |body: Value| deployment.remove(leaver, body).await.error().2;
    assert_eq!(refuse(json!({})).await.as_deref(), Some("rest"));
    assert_eq!(refuse(json!({"rest": "hand_over"})).await.as_deref(), Some("to"));
    assert_eq!(refuse(json!({"rest": "hand_over", "to": viewer})).await.as_deref(), Some("to"));
    assert_eq!(refuse(json!({"rest": "hand_over", "to": leaver})).await.as_deref(), Some("to"));
    let stranger = deployment.create(deployment.theirs, crate::deployment::blank()).await.id;
    assert_eq!(refuse(json!({"rest": "keep", "revoke": [stranger]})).await.as_deref(), Some("revoke"));
    let plan = json!({"revoke": [revoked["id"]], "hand_over": [handed["id"]], "to": heir, "rest": "revoke"});
    let mut dry = plan.clone();
    dry["dry_run"] = json!(true);
    let told = deployment.remove(leaver, dry).await.expect(200);
    assert_eq!(told["revoked"].as_array().unwrap().len(), 3);
    assert_eq!(deployment.state_of(&revoked).await.0, "active");
    let done = deployment.remove(leaver, plan).await;
    assert!(done.header("claviger-revision").is_some());
    assert_eq!(done.expect(200)["handed_over"][0]["name"], "handed over");
    for key in [&revoked, &rest, &made] {
        assert_eq!(deployment.state_of(key).await.0, "revoked", "{key}");
    }
    assert_eq!(deployment.state_of(&handed).await, ("active".to_owned(), heir.to_string()));
    // Who is no member any more does nothing.
    let body = json!({"organization": deployment.mine, "api": "plain", "name": "again"});
    assert_eq!(deployment.as_member(leaver, "POST /admin/v1/keys").json(&body).send().await.error().0, 404);
}

#[tokio::test]
async fn a_member_may_do_what_their_role_says() {
    let deployment = Deployment::start().await;
    let people = [
        deployment.member(Role::Viewer).await,
        deployment.member(Role::Developer).await,
        deployment.member(Role::Admin).await,
        deployment.member(Role::Owner).await,
    ];
    let mine = deployment.mine;
    let key = deployment.create(mine, crate::deployment::blank()).await.id;
    let cases = [
        ("GET /admin/v1/keys".to_owned(), None, [200, 200, 200, 200]),
        (format!("GET /admin/v1/keys/{key}"), None, [200, 200, 200, 200]),
        (format!("GET /admin/v1/usage?organization={mine}&api=plain"), None, [200, 200, 200, 200]),
        (format!("POST /admin/v1/keys/{key}/disable"), None, [403, 200, 200, 200]),
        (format!("POST /admin/v1/keys/{key}/rotate"), None, [403, 200, 200, 200]),
        (format!("GET /admin/v1/organizations/{mine}/members"), None, [200, 200, 200, 200]),
        (
            format!("POST /admin/v1/organizations/{mine}/invitations"),
            Some(json!({"email": "dev@example.com", "role": "developer", "send_mail": false})),
            [403, 403, 201, 201],
        ),
        (
            format!("POST /admin/v1/organizations/{mine}/invitations"),
            Some(json!({"email": "boss@example.com", "role": "owner", "send_mail": false})),
            [403, 403, 403, 201],
        ),
        (format!("PATCH /admin/v1/organizations/{mine}"), Some(json!({"name": "Mine"})), [403; 4]),
        ("GET /admin/v1/organizations".to_owned(), None, [403; 4]),
        ("GET /admin/v1/audit".to_owned(), None, [403; 4]),
    ];
    for (what, body, expected) in cases {
        for (person, status) in people.into_iter().zip(expected) {
            let call = deployment.as_member(person, &what);
            let reply = match &body {
                Some(body) => call.json(body).send().await,
                None => call.send().await,
            };
            assert_eq!(reply.status, status, "{what} {person}: {reply:?}");
        }
    }
    // They are told what it takes.
    let rename = format!("PATCH /admin/v1/organizations/{mine}/members/{}", people[1]);
    let refused = deployment.as_member(people[1], &rename).json(&json!({"name": "Ada"})).send().await;
    assert!(format!("{refused:?}").contains("it takes an admin or an owner"), "{refused:?}");
    // An admin makes nobody an owner, nor ends one.
    let [_, developer, admin, owner] = people;
    let promote = format!("PATCH /admin/v1/organizations/{mine}/members/{developer}");
    assert_eq!(deployment.as_member(admin, &promote).json(&json!({"role": "owner"})).send().await.status, 403);
    let end = format!("POST /admin/v1/organizations/{mine}/members/{owner}/remove");
    assert_eq!(deployment.as_member(admin, &end).send().await.status, 403);
    // Everybody may leave.
    let leave = format!("POST /admin/v1/organizations/{mine}/members/{developer}/remove");
    assert_eq!(deployment.as_member(developer, &leave).send().await.status, 200);
}

#[tokio::test]
async fn another_organizations_members_and_keys_do_not_exist() {
    let deployment = Deployment::start().await;
    let owner = deployment.member(Role::Owner).await;
    let theirs = deployment.theirs;
    let key = deployment.create(theirs, crate::deployment::blank()).await.id;
    for what in [
        format!("GET /admin/v1/keys/{key}"),
        format!("POST /admin/v1/keys/{key}/rotate"),
        format!("DELETE /admin/v1/keys/{key}"),
        format!("GET /admin/v1/organizations/{theirs}/members"),
        format!("GET /admin/v1/organizations/{theirs}/members/{owner}"),
        format!("POST /admin/v1/organizations/{theirs}/members/{owner}/remove"),
    ] {
        assert_eq!(deployment.as_member(owner, &what).send().await.status, 404, "{what}");
    }
    let body = json!({"organization": theirs, "api": "plain", "name": "x"});
    assert_eq!(deployment.as_member(owner, "POST /admin/v1/keys").json(&body).send().await.status, 404);
    // Nor is a list of their own given for one of another.
    let listed = deployment.as_member(owner, &format!("GET /admin/v1/keys?organization={theirs}")).send().await;
    assert_eq!(listed.error().0, 404);
    let listed = deployment.as_member(owner, &format!("GET /admin/v1/keys?organization={}", deployment.mine));
    assert_eq!(listed.send().await.expect(200)["data"], json!([]));
    // Two members are none, and neither is nonsense.
    let twice = deployment.as_member(owner, "GET /admin/v1/keys").header("claviger-member", owner.to_string());
    assert_eq!(twice.send().await.status, 400);
    let nonsense = deployment.operator("GET /admin/v1/keys").header("claviger-member", "everybody");
    assert_eq!(nonsense.send().await.status, 400);
}

#[tokio::test]
async fn members_say_for_themselves_what_they_are_mailed() {
    let deployment = Deployment::start().await;
    let (viewer, admin) = (deployment.member(Role::Viewer).await, deployment.member(Role::Admin).await);
    let owner = deployment.member(Role::Owner).await;
    let patch = async |who: MemberId, of: MemberId, body: Value| {
        let path = format!("PATCH /admin/v1/organizations/{}/members/{of}", deployment.mine);
        deployment.as_member(who, &path).json(&body).send().await
    };
    let chosen = patch(viewer, viewer, json!({"alert_mails": ["quota_100", "usage_spike"]})).await.expect(200);
    assert_eq!(chosen["alert_mails"], json!(["usage_spike", "quota_100"]));
    let nothing = patch(admin, viewer, json!({"alert_mails": []})).await.expect(200);
    assert_eq!(nothing["alert_mails"], json!([]));
    assert_eq!(patch(viewer, viewer, json!({"alert_mails": null})).await.expect(200)["alert_mails"], Value::Null);
    assert_eq!(patch(viewer, viewer, json!({"alert_mails": [], "role": "owner"})).await.status, 403);
    assert_eq!(patch(viewer, admin, json!({"alert_mails": []})).await.status, 403);
    assert_eq!(patch(admin, owner, json!({"alert_mails": []})).await.status, 403);
    let refused = patch(viewer, viewer, json!({"alert_mails": ["rain"]})).await.error();
    assert_eq!((refused.0, refused.2.as_deref()), (400, Some("alert_mails[0]")));
    let elsewhere = format!("PATCH /admin/v1/organizations/{}/members/{viewer}", deployment.theirs);
    let refused = deployment.as_member(viewer, &elsewhere).json(&json!({"alert_mails": []})).send().await;
    assert_eq!(refused.status, 404);
}

#[tokio::test]
async fn a_removal_that_is_asked_for_again_is_answered_again() {
    let deployment = Deployment::start().await;
    let leaver = deployment.member(Role::Developer).await;
    deployment.key_of(leaver, "theirs").await;
    let remove = async |dry_run: bool| {
        let path = format!("POST /admin/v1/organizations/{}/members/{leaver}/remove", deployment.mine);
        let body = json!({"rest": "revoke", "dry_run": dry_run});
        let key = if dry_run { "looked" } else { "done" };
        deployment.operator(&path).json(&body).header("idempotency-key", key).send().await
    };
    for dry_run in [true, false] {
        let first = remove(dry_run).await;
        let again = remove(dry_run).await;
        assert_eq!(again.header("idempotency-replayed"), Some("true"));
        let (first, again) = (first.expect(200), again.expect(200));
        assert_eq!((&first["revoked"].as_array().unwrap().len(), &first), (&1, &again));
    }
    assert_eq!(remove(true).await.expect(200)["dry_run"], true);
}
