//! What the audit log says of each mutation.

use std::collections::BTreeSet;

use claviger_app::{
    Actor, App, AppError, AuditFilter, AuditWalk, CreateWebhook, KeyPlace, PageRequest, RemoveMember, Replay,
    UpdateKey, UpdateMember, UpdateOrganization, UpdateWebhook,
};
use claviger_domain::audit::{Action, AuditEvent, Author, Chain, Head, Source};
use claviger_domain::definition::Definition;
use claviger_domain::event::EventFilter;
use claviger_domain::key::Kind;
use claviger_domain::member::Role;
use claviger_domain::organization::OrganizationStatus;
use claviger_domain::period::TimeZone;
use claviger_domain::secret::PresentedSecret;
use serde_json::{Value, json};

use crate::suite::support::{Deployment, Held, commit, ephemeral, of_kind, plain, restricted, scopes};

const TORK: &str = include_str!("../../../../apis/tork.toml");

/// Events past a number, oldest first.
pub(crate) async fn events(app: &App, past: i64) -> Vec<AuditEvent> {
    let page = PageRequest { after: None, limit: 200 };
    let page = app.list_audit(&Actor::operator(), &AuditFilter::default(), page).await.unwrap();
    let events = page.rows.into_iter().map(|listed| listed.event().unwrap());
    let mut events: Vec<_> = events.filter(|event| event.number > past).collect();
    events.reverse();
    events
}

pub(crate) async fn head(app: &App) -> Head {
    let found = app.verify_audit(&Actor::operator(), AuditWalk::default()).await.unwrap();
    assert_eq!(found.first_bad, None);
    found.head
}

/// What one event must say.
struct Expected {
    actor: Author,
    source: Source,
    action: Action,
    target: String,
    before: Value,
    after: Value,
}

/// Takes the one event that was written since the last call and holds it against what is expected. Members of
/// `before` and `after` that are not expected may be there where the thing is new or gone.
struct Watch<'a> {
    app: &'a App,
    seen: i64,
    actions: BTreeSet<&'static str>,
}

impl Watch<'_> {
    async fn one(&mut self, expected: Expected) -> AuditEvent {
        let mut events = events(self.app, self.seen).await;
        assert_eq!(events.len(), 1, "{events:?}");
        let event = events.remove(0);
        self.seen = event.number;
        self.actions.insert(event.action.as_str());
        let Expected { actor, source, action, target, before, after } = expected;
        assert_eq!((event.actor, event.source, event.action, &event.target), (actor, source, action, &target));
        for (found, expected) in [(&event.before, &before), (&event.after, &after)] {
            let Some(members) = expected.as_object() else {
                assert_eq!(*found, None, "{event:?}");
                continue;
            };
            let found = found.as_ref().unwrap_or_else(|| panic!("{event:?}"));
            for (name, value) in members {
                assert_eq!(found.get(name), Some(value), "{name} of {event:?}");
            }
            if before.is_object() && after.is_object() {
                assert_eq!(found.len(), members.len(), "more than what differs: {event:?}");
            }
        }
        event
    }

    async fn none(&self) {
        assert_eq!(events(self.app, self.seen).await, []);
    }
}

async fn members_are_told_of(watch: &mut Watch<'_>, deployment: &Deployment) -> String {
    let (app, operator) = (&*deployment.app, Actor::operator());
    let by_operator = |action, target: &dyn ToString, before, after| Expected {
        actor: Author::Operator,
        source: Source::Socket,
        action,
        target: target.to_string(),
        before,
        after,
    };
    let email = "ada@example.com".parse().unwrap();
    let invite = || commit(app.invite_member(&operator, deployment.organization, &email, Role::Developer, false));
    let invited = invite().await.unwrap().value;
    let after = json!({"email": "ada@example.com", "role": "developer"});
    watch.one(by_operator(Action::MemberInvited, &invited.invitation.id, Value::Null, after)).await;
    let hidden = invited.token.unwrap().into_clear().to_string();
    commit(app.revoke_invitation(&operator, deployment.organization, invited.invitation.id)).await.unwrap();
    let before = json!({"role": "developer"});
    watch.one(by_operator(Action::InvitationRevoked, &invited.invitation.id, before, Value::Null)).await;
    let token = invite().await.unwrap().value.token.unwrap().into_clear();
    watch.seen += 1;
    let token = PresentedSecret::new(&token);
    let joined = commit(app.accept_invitation(&operator, token, "Ada".parse().unwrap())).await.unwrap().value;
    watch.one(by_operator(Action::MemberJoined, &joined.id, Value::Null, json!({"name": "Ada"}))).await;
    let viewer = UpdateMember { role: Some(Role::Viewer), ..UpdateMember::default() };
    commit(app.update_member(&operator, deployment.organization, joined.id, viewer)).await.unwrap();
    let (before, after) = (json!({"role": "developer"}), json!({"role": "viewer"}));
    watch.one(by_operator(Action::MemberUpdated, &joined.id, before, after)).await;
    let removal = app.remove_member(&operator, deployment.organization, joined.id, RemoveMember::default());
    commit(removal).await.unwrap();
    watch.one(by_operator(Action::MemberRemoved, &joined.id, json!({"role": "viewer"}), Value::Null)).await;
    hidden
}

#[tokio::test]
async fn each_mutation_writes_one_event_and_says_who_what_and_how_it_was() {
    let deployment = Deployment::start().await;
    let app = &*deployment.app;
    let mut watch = Watch { app, seen: head(app).await.number, actions: BTreeSet::new() };
    let operator = Actor::operator();
    let by_operator = |action, target: &dyn ToString, before, after| Expected {
        actor: Author::Operator,
        source: Source::Socket,
        action,
        target: target.to_string(),
        before,
        after,
    };
    let mut hidden = Vec::new();

    let made = commit(app.create_organization(&operator, "Two".parse().unwrap(), TimeZone::UTC)).await.unwrap();
    let id = made.value.id;
    let after = json!({"name": "Two", "status": "active"});
    let event = watch.one(by_operator(Action::OrganizationCreated, &id, Value::Null, after)).await;
    assert_eq!((event.organization, event.revision, event.at), (Some(id), made.revision, app.now()));
    let suspended = Some(OrganizationStatus::Suspended);
    commit(app.update_organization(
        &operator,
        id,
        UpdateOrganization { status: suspended, ..UpdateOrganization::default() },
    ))
    .await
    .unwrap();
    let (before, after) = (json!({"status": "active"}), json!({"status": "suspended"}));
    watch.one(by_operator(Action::OrganizationUpdated, &id, before, after)).await;
    commit(app.update_organization(
        &operator,
        id,
        UpdateOrganization { status: suspended, ..UpdateOrganization::default() },
    ))
    .await
    .unwrap();
    watch.none().await;

    let (verifier, token) = commit(app.create_verifier(&operator, "edge".parse().unwrap())).await.unwrap().value;
    hidden.push(token.into_clear().to_string());
    watch.one(by_operator(Action::VerifierCreated, &verifier.id, Value::Null, json!({"name": "edge"}))).await;
    for _ in 0..2 {
        commit(app.revoke_verifier(&operator, verifier.id)).await.unwrap();
    }
    let after = json!({"revoked_at": app.now()});
    watch.one(by_operator(Action::VerifierRevoked, &verifier.id, json!({"revoked_at": null}), after)).await;

    let (token, secret) = commit(app.create_admin_token(&operator, "ada".parse().unwrap())).await.unwrap().value;
    hidden.push(secret.into_clear().to_string());
    watch.one(by_operator(Action::AdminTokenCreated, &token.id, Value::Null, json!({"name": "ada"}))).await;
    let address = Source::Address("2001:db8::7".parse().unwrap());
    let ada = Actor::admin_token(token.id, address);
    let by_ada = |expected| Expected { actor: Author::AdminToken(token.id), source: address, ..expected };

    let changed = Definition::parse(&TORK.replace("\"Tork\"", "\"Tork Two\"")).unwrap();
    commit(app.apply_definition(&ada, changed.clone(), true)).await.unwrap();
    watch.none().await;
    commit(app.apply_definition(&ada, changed.clone(), false)).await.unwrap();
    commit(app.apply_definition(&ada, changed, false)).await.unwrap();
    let found = events(app, watch.seen).await;
    assert!(found[0].before.as_ref().unwrap().contains_key("definition"), "{found:?}");
    let (before, after) = (json!(found[0].before.clone().unwrap()), json!(found[0].after.clone().unwrap()));
    assert_ne!(before, after);
    watch.one(by_ada(by_operator(Action::ApiApplied, &"tork", before, after))).await;

    let key: Held = commit(app.create_key(&ada, deployment.place("tork"), of_kind(Kind::Secret))).await.unwrap().into();
    hidden.push(key.secret.clone());
    let after =
        json!({"name": "a key", "kind": "secret", "scopes": ["*"], "hint": &key.secret[key.secret.len() - 4..]});
    let event = watch.one(by_ada(by_operator(Action::KeyCreated, &key.id, Value::Null, after))).await;
    assert_eq!((event.organization, event.revision), (Some(deployment.organization), key.revision));

    let holder = Actor::key(key.id, Source::Unknown);
    let by_key = |expected| Expected { actor: Author::Key(key.id), source: Source::Unknown, ..expected };
    let child: Held = commit(app.create_key(&holder, KeyPlace::default(), ephemeral(60))).await.unwrap().into();
    hidden.push(child.secret.clone());
    let after = json!({"kind": "ephemeral", "parent_id": key.id, "created_by": key.id});
    watch.one(by_key(by_operator(Action::KeyCreated, &child.id, Value::Null, after))).await;

    let narrowed = UpdateKey { scopes: Some(scopes(r#"["evaluate", "api_keys:write"]"#)), ..UpdateKey::default() };
    commit(app.update_key(&holder, key.id, narrowed.clone(), None)).await.unwrap();
    let (before, after) = (json!({"scopes": ["*"]}), json!({"scopes": ["api_keys:write", "evaluate"]}));
    watch.one(by_key(by_operator(Action::KeyUpdated, &key.id, before, after))).await;
    commit(app.update_key(&operator, key.id, narrowed, None)).await.unwrap();
    watch.none().await;

    let old_hint = key.secret[key.secret.len() - 4..].to_owned();
    let rotated: Held = commit(app.rotate_key(&holder, key.id, 600, None)).await.unwrap().into();
    hidden.push(rotated.secret.clone());
    let hint = &rotated.secret[rotated.secret.len() - 4..];
    let before = json!({"hint": old_hint, "rotated_at": null, "overlap_ends_at": null});
    let after = json!({"hint": hint, "rotated_at": app.now(), "overlap_ends_at": app.now().plus_seconds(600)});
    watch.one(by_key(by_operator(Action::KeyRotated, &key.id, before, after))).await;
    // By the secret that was replaced, which is still that key.
    let by_old = Actor::old_secret(key.id, Source::Unknown);
    let second: Held = commit(app.create_key(&by_old, KeyPlace::default(), ephemeral(60))).await.unwrap().into();
    hidden.push(second.secret.clone());
    let after = json!({"created_by": key.id});
    watch.one(by_key(by_operator(Action::KeyCreated, &second.id, Value::Null, after))).await;

    commit(app.disable_key(&operator, key.id, None)).await.unwrap();
    let (off, on) = (json!({"disabled": true}), json!({"disabled": false}));
    watch.one(by_operator(Action::KeyDisabled, &key.id, on.clone(), off.clone())).await;
    commit(app.enable_key(&operator, key.id, None)).await.unwrap();
    watch.one(by_operator(Action::KeyEnabled, &key.id, off, on)).await;
    for _ in 0..2 {
        commit(app.revoke_key(&operator, key.id, Some("leaked".into()), None)).await.unwrap();
    }
    let before = json!({"revocation": null, "overlap_ends_at": app.now().plus_seconds(600)});
    let after = json!({"revocation": {"at": app.now(), "reason": "leaked"}, "overlap_ends_at": null});
    watch.one(by_operator(Action::KeyRevoked, &key.id, before, after)).await;

    deployment.set_up_delivery(None);
    let wanted: EventFilter = serde_json::from_str(r#"["key.rotated"]"#).unwrap();
    let url = "http://127.0.0.1:9/hook".to_owned();
    let organization = Some(deployment.organization);
    let input = CreateWebhook { organization, url, description: None, events: wanted };
    let issued = commit(app.create_webhook(&operator, input)).await.unwrap().value;
    let id = issued.row.endpoint.id;
    hidden.push(issued.secret.into_clear().to_string());
    let after = json!({"url": "http://127.0.0.1:9/hook", "events": ["key.rotated"], "disabled": null});
    let event = watch.one(by_operator(Action::WebhookCreated, &id, Value::Null, after)).await;
    assert_eq!(event.organization, Some(deployment.organization));
    for _ in 0..2 {
        let off = UpdateWebhook { enabled: Some(false), ..UpdateWebhook::default() };
        commit(app.update_webhook(&operator, id, off)).await.unwrap();
    }
    let (on, off) = (json!({"disabled": null}), json!({"disabled": "operator"}));
    watch.one(by_operator(Action::WebhookUpdated, &id, on.clone(), off.clone())).await;
    let again = UpdateWebhook { enabled: Some(true), ..UpdateWebhook::default() };
    commit(app.update_webhook(&operator, id, again)).await.unwrap();
    watch.one(by_operator(Action::WebhookUpdated, &id, off, on)).await;
    let issued = commit(app.rotate_webhook_secret(&operator, id, 60)).await.unwrap().value;
    hidden.push(issued.secret.into_clear().to_string());
    let before = json!({"rotated_at": null, "overlap_ends_at": null});
    let after = json!({"rotated_at": app.now(), "overlap_ends_at": app.now().plus_seconds(60)});
    watch.one(by_operator(Action::WebhookRotated, &id, before, after)).await;
    let ping = commit(app.test_webhook(&operator, id)).await.unwrap().value.event;
    watch.one(by_operator(Action::WebhookTested, &id, Value::Null, json!({"event": ping}))).await;
    let which = Replay { event: Some(ping), ..Replay::default() };
    commit(app.replay_webhook(&operator, id, which)).await.unwrap();
    watch.one(by_operator(Action::WebhookReplayed, &id, Value::Null, json!({"event": ping, "deliveries": 1}))).await;
    commit(app.delete_webhook(&operator, id)).await.unwrap();
    watch.one(by_operator(Action::WebhookDeleted, &id, json!({"url": "http://127.0.0.1:9/hook"}), Value::Null)).await;
    let mail = commit(app.send_test_mail(&operator, "ada@example.com".parse().unwrap())).await.unwrap().value;
    watch.one(by_operator(Action::MailTested, &mail, Value::Null, json!({"to": "ada@example.com"}))).await;

    commit(app.revoke_admin_token(&operator, token.id)).await.unwrap();
    let (before, after) = (json!({"revoked_at": null}), json!({"revoked_at": app.now()}));
    watch.one(by_operator(Action::AdminTokenRevoked, &token.id, before, after)).await;

    deployment.clock.advance_seconds(61 + 24 * 3600);
    app.forget().await.unwrap();
    let removed = events(app, watch.seen).await;
    assert_eq!(removed.len(), 2);
    for event in &removed {
        assert_eq!((event.actor, event.source), (Author::System, Source::Process));
        assert_eq!((event.action, &event.after), (Action::KeyRemoved, &None));
        assert_eq!(event.before.as_ref().unwrap()["kind"], "ephemeral");
    }
    let targets: BTreeSet<_> = removed.iter().map(|event| event.target.clone()).collect();
    assert_eq!(targets, BTreeSet::from([child.id.to_string(), second.id.to_string()]));
    watch.actions.insert(Action::KeyRemoved.as_str());

    watch.seen = head(app).await.number;
    hidden.push(Box::pin(members_are_told_of(&mut watch, &deployment)).await);

    for said in ["pro", "free", "free"] {
        deployment.subscribe("tork", super::support::plan(said)).await.unwrap();
    }
    let target = format!("{} tork", deployment.organization);
    let events = events(app, watch.seen).await;
    let [first, second] = events.last_chunk().unwrap();
    assert_eq!((first.action, &first.target), (Action::SubscriptionUpdated, &target));
    assert_eq!((&first.before, first.after.as_ref().unwrap()["plan"].as_str()), (&None, Some("pro")));
    assert_eq!(second.before.as_ref().unwrap()["plan"], "pro");
    assert_eq!(second.after.as_ref().unwrap()["plan"], "free");

    // Imports have a test of their own, and so have alerts and visits.
    let elsewhere = [
        Action::SubscriptionUpdated,
        Action::AlertOpened,
        Action::AlertClosed,
        Action::AlertSettingsUpdated,
        Action::AdminSignedIn,
        Action::AdminRefused,
    ];
    watch.actions.extend(elsewhere.map(Action::as_str));
    let missing = Action::ALL.iter().filter(|action| !watch.actions.contains(action.as_str())).collect::<Vec<_>>();
    assert_eq!(missing, [&Action::KeysImported]);
    let export = app.export_audit(&operator, 0, 1000).await.unwrap();
    assert!(!export.lines.contains("digest") && !export.lines.contains("old_secret"), "{}", export.lines);
    for secret in hidden {
        // Without its prefix and its hint, which are shown.
        let middle = &secret[secret.len() - 24..secret.len() - 4];
        assert!(!export.lines.contains(middle), "a secret is in the audit log");
    }
}

#[tokio::test]
async fn what_an_operation_refused_is_not_in_the_log() {
    let deployment = Deployment::start().await;
    let app = &*deployment.app;
    let weak = deployment.create("tork", restricted(r#"["evaluate", "api_keys:write"]"#)).await.unwrap();
    let strong = deployment.create("tork", of_kind(Kind::Secret)).await.unwrap();
    let before = head(app).await;
    let (operator, holder) = (Actor::operator(), Actor::key(weak.id, Source::Unknown));
    let unknown = claviger_domain::id::KeyId::from_u128(1);
    let refused: [Result<(), AppError>; 9] = [
        deployment.create("tork", restricted(r#"["fly"]"#)).await.map(drop),
        deployment.create_with(&weak, of_kind(Kind::Secret)).await.map(drop),
        commit(app.create_organization(&holder, "Mine".parse().unwrap(), TimeZone::UTC)).await.map(drop),
        commit(app.create_verifier(&holder, "Mine".parse().unwrap())).await.map(drop),
        commit(app.revoke_key(&holder, strong.id, None, None)).await.map(drop),
        commit(app.revoke_key(&operator, unknown, None, None)).await.map(drop),
        commit(app.rotate_key(&operator, strong.id, -1, None)).await.map(drop),
        commit(app.disable_key(&operator, strong.id, Some(weak.revision))).await.map(drop),
        commit(app.apply_definition(&holder, Definition::parse(TORK).unwrap(), false)).await.map(drop),
    ];
    assert!(refused.iter().all(Result::is_err), "{refused:?}");
    // Done but never committed is not done.
    drop(app.disable_key(&operator, strong.id, None).await.unwrap());
    assert_eq!(head(app).await, before);
}

#[tokio::test]
async fn an_export_is_the_whole_chain_in_parts() {
    let deployment = Deployment::start().await;
    for _ in 0..5 {
        deployment.create("tork", plain("x")).await.unwrap();
    }
    let app = &*deployment.app;
    let operator = Actor::operator();
    let (mut chain, mut after, mut parts) = (Chain::begin(Head::START, None).unwrap(), 0, 0);
    loop {
        let export = app.export_audit(&operator, after, 2).await.unwrap();
        for line in export.lines.lines() {
            let line: Value = serde_json::from_str(line).unwrap();
            let hash = claviger_domain::key::hex_digest::parse(line["hash"].as_str().unwrap()).unwrap();
            let number = line["event"]["number"].as_i64().unwrap();
            chain.take(number, &line["event"].to_string(), hash.as_bytes()).unwrap();
        }
        (after, parts) = (export.last, parts + 1);
        if !export.more {
            break;
        }
    }
    assert_eq!(chain.head(), head(app).await);
    assert_eq!((chain.checked(), parts), (9, 5));
    let holder = deployment.create("tork", plain("x")).await.unwrap();
    let nobody = Actor::key(holder.id, Source::Unknown);
    assert!(matches!(app.export_audit(&nobody, 0, 1).await, Err(AppError::Forbidden { .. })));
    assert!(matches!(app.verify_audit(&nobody, AuditWalk::default()).await, Err(AppError::Forbidden { .. })));
    let page = PageRequest { after: None, limit: 1 };
    assert!(matches!(app.list_audit(&nobody, &AuditFilter::default(), page).await, Err(AppError::Forbidden { .. })));
}
