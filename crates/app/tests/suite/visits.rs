//! Who came to the admin API: what becomes an audit event, and what only a number in one.

use claviger_app::{Actor, App, AuditFilter, ListedEvent, PageRequest, RefusalReason, Refused, Visitor};
use claviger_domain::audit::{Action, AuditEvent, Author, Source};
use claviger_domain::id::{AdminTokenId, MemberId};
use claviger_domain::member::Role;
use claviger_domain::secret::PresentedSecret;

use crate::suite::audit::{events, head};
use crate::suite::support::{Deployment, commit};

fn from(address: &str) -> Visitor {
    Visitor { token: None, member: None, source: address.parse().unwrap() }
}

fn refuse(app: &App, visitor: Visitor, reason: RefusalReason) {
    app.note_refused(Refused { visitor, reason, method: "GET", route: "/admin/v1/keys".into() });
}

/// What was written since.
async fn written(app: &App, past: i64) -> Vec<AuditEvent> {
    app.write_visits(false).await;
    events(app, past).await
}

async fn member(deployment: &Deployment) -> MemberId {
    let (app, operator) = (&deployment.app, Actor::operator());
    let email = "ada@example.com".parse().unwrap();
    let invited = commit(app.invite_member(&operator, deployment.organization, &email, Role::Viewer, false));
    let token = invited.await.unwrap().value.token.unwrap().into_clear();
    let token = PresentedSecret::new(&token);
    commit(app.accept_invitation(&operator, token, "Ada".parse().unwrap())).await.unwrap().value.id
}

#[tokio::test]
async fn the_first_use_of_a_credential_is_an_event() {
    let deployment = Deployment::start().await;
    let app = &*deployment.app;
    let ada = member(&deployment).await;
    let past = head(app).await.number;
    let token = Some(AdminTokenId::from_u128(7));
    let visitors = [
        from("socket"),
        Visitor { token, ..from("203.0.113.7") },
        Visitor { token, ..from("203.0.113.8") },
        Visitor { token, member: Some(ada), ..from("203.0.113.7") },
        Visitor { token, member: Some(MemberId::from_u128(1)), ..from("203.0.113.7") },
    ];
    let come = || {
        for visitor in visitors {
            app.note_signed_in(visitor);
        }
    };
    for _ in 0..3 {
        come();
    }
    let told = written(app, past).await;
    // Not for a member whom nobody knows.
    assert_eq!(told.len(), 4, "{told:?}");
    let by_token = Author::AdminToken(AdminTokenId::from_u128(7));
    let id = AdminTokenId::from_u128(7).to_string();
    let expected = [
        (Author::Operator, "socket", "admin_api", None),
        (by_token, "203.0.113.7", &id, None),
        (by_token, "203.0.113.8", &id, None),
        (Author::Member(ada), "203.0.113.7", &id, Some(deployment.organization)),
    ];
    for (event, (actor, source, target, organization)) in told.iter().zip(expected) {
        assert_eq!((event.actor, event.source), (actor, source.parse::<Source>().unwrap()));
        assert_eq!((event.target.as_str(), event.organization), (target, organization));
        assert_eq!((event.action, event.at, &event.after), (Action::AdminSignedIn, app.now(), &None));
    }
    // The log of one organization has it too.
    let of =
        AuditFilter { organization: Some(deployment.organization), actor: told[3].actor.into(), ..Default::default() };
    let page = PageRequest { after: None, limit: 10 };
    let found = app.list_audit(&Actor::operator(), &of, page).await.unwrap();
    assert_eq!(found.rows.into_iter().filter_map(ListedEvent::event).collect::<Vec<_>>(), told[3..]);

    let past = head(app).await.number;
    deployment.clock.advance_seconds(12 * 3600 - 1);
    come();
    assert_eq!(written(app, past).await, []);
    deployment.clock.advance_seconds(1);
    come();
    assert_eq!(written(app, past).await.len(), 4);
}

#[tokio::test]
async fn a_refusal_names_whom_it_can() {
    let deployment = Deployment::start().await;
    let app = &*deployment.app;
    let ada = member(&deployment).await;
    let past = head(app).await.number;
    let token = Some(AdminTokenId::from_u128(7));
    let nobody = MemberId::from_u128(1);
    let of = |token, member| Visitor { token, member, ..from("203.0.113.7") };
    refuse(app, of(None, Some(ada)), RefusalReason::UnknownToken);
    refuse(app, of(token, Some(ada)), RefusalReason::RevokedToken);
    refuse(app, of(token, Some(nobody)), RefusalReason::UnknownMember);
    refuse(app, of(token, Some(ada)), RefusalReason::Forbidden);
    let told = written(app, past).await;
    let by_token = Author::AdminToken(AdminTokenId::from_u128(7));
    // Whoever presents a dead token is not the member whom they name.
    let expected = [
        (Author::Unknown, "unknown_token", Some(ada)),
        (by_token, "revoked_token", Some(ada)),
        (by_token, "unknown_member", Some(nobody)),
        (Author::Member(ada), "forbidden", None),
    ];
    assert_eq!(told.len(), expected.len());
    for (event, (actor, reason, named)) in told.iter().zip(expected) {
        let after = event.after.as_ref().unwrap();
        assert_eq!((event.action, event.actor, after["reason"].as_str()), (Action::AdminRefused, actor, Some(reason)));
        let route = (after["method"].as_str(), after["route"].as_str(), after["suppressed"].as_i64());
        assert_eq!(route, (Some("GET"), Some("/admin/v1/keys"), Some(0)));
        assert_eq!(after.get("member").and_then(|id| id.as_str()), named.map(|id| id.to_string()).as_deref());
    }
    assert_eq!(told[3].organization, Some(deployment.organization));
}

#[tokio::test]
async fn ten_thousand_refusals_leave_twenty_events_a_minute() {
    let deployment = Deployment::start().await;
    let app = &*deployment.app;
    let past = head(app).await.number;
    for number in 0..10_000 {
        let address = format!("10.{}.{}.{}", number / 250 % 250, number % 250, number % 7);
        refuse(app, from(&address), RefusalReason::UnknownToken);
    }
    // Others come through all the same.
    app.note_signed_in(from("socket"));
    let told = written(app, past).await;
    assert_eq!(told.iter().filter(|event| event.action == Action::AdminRefused).count(), 20);
    assert_eq!(told.iter().filter(|event| event.action == Action::AdminSignedIn).count(), 1);
    let past = head(app).await.number;
    assert_eq!(written(app, past).await, []);
    deployment.clock.advance_seconds(60);
    let late = written(app, past).await;
    assert_eq!(late.len(), 1, "{late:?}");
    assert_eq!(late[0].after.as_ref().unwrap()["suppressed"], 10_000 - 20 - 1);
}

#[tokio::test]
async fn what_is_noted_is_written_at_the_end() {
    let mut deployment = Deployment::start().await;
    let past = head(&deployment.app).await.number;
    deployment.app.note_signed_in(from("socket"));
    for _ in 0..3 {
        refuse(&deployment.app, from("203.0.113.7"), RefusalReason::NoToken);
    }
    deployment.restart().await;
    let told = events(&deployment.app, past).await;
    let said: Vec<_> =
        told.iter().map(|event| event.after.as_ref().map(|after| after["suppressed"].as_i64())).collect();
    assert_eq!(said, [None, Some(Some(0)), Some(Some(1))]);
}
