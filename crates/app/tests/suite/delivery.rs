//! Webhooks, to endpoints that take them, refuse them, send them elsewhere and hang.

use std::collections::BTreeSet;

use claviger_app::{
    Actor, AppError, CreateWebhook, PageRequest, Replay, ShownDelivery, UpdateKey, UpdateWebhook, WebhookDelivery,
    WebhookRow,
};
use claviger_courier::{Authorities, Courier, Mailer, Patience, Reach};
use claviger_domain::audit::{Action, Author};
use claviger_domain::event::{Event, EventType};
use claviger_domain::id::{EventId, OrganizationId, WebhookId};
use claviger_domain::key::{Kind, Name};
use claviger_domain::limits;
use claviger_domain::period::TimeZone;
use claviger_domain::time::Clock as _;
use claviger_domain::webhook::{DeliveryState, DisabledReason};
use claviger_store::deliveries;
use serde_json::json;

use crate::suite::audit::events;
use crate::suite::receiver::{Received, Receiver, Reply};
use crate::suite::support::{Deployment, commit, ephemeral, invalid_field, of_kind, plain, start_time};

/// A deployment that sends, with an endpoint of its organization.
struct Sending {
    deployment: Deployment,
    receiver: Receiver,
    id: WebhookId,
    secret: String,
}

async fn create(
    deployment: &Deployment,
    organization: Option<OrganizationId>,
    url: &str,
    events: &str,
) -> (WebhookId, String) {
    let events = serde_json::from_str(events).unwrap();
    let input = CreateWebhook { organization, url: url.to_owned(), description: None, events };
    let issued = commit(deployment.app.create_webhook(&Actor::operator(), input)).await.unwrap().value;
    (issued.row.endpoint.id, issued.secret.into_clear().to_string())
}

impl Sending {
    async fn start() -> Self {
        let deployment = Deployment::start().await;
        deployment.set_up_delivery(None);
        let receiver = Receiver::start().await;
        let (id, secret) = create(&deployment, Some(deployment.organization), &receiver.url, r#"["*"]"#).await;
        Self { deployment, receiver, id, secret }
    }

    async fn run(&self) -> usize {
        self.deployment.app.run_due().await.unwrap()
    }

    async fn ping(&self) -> EventId {
        commit(self.deployment.app.test_webhook(&Actor::operator(), self.id)).await.unwrap().value.event
    }

    async fn shown(&self, event: EventId) -> ShownDelivery {
        self.deployment.app.find_delivery(self.id, event).await.unwrap()
    }

    async fn row(&self) -> WebhookRow {
        self.deployment.app.find_webhook(self.id).await.unwrap()
    }

    async fn listed(&self) -> Vec<WebhookDelivery> {
        let page = PageRequest { after: None, limit: 200 };
        self.deployment.app.list_deliveries(self.id, None, page).await.unwrap().rows
    }
}

#[tokio::test]
async fn what_happens_to_keys_is_told_signed_and_without_secrets() {
    let sending = Sending::start().await;
    let Sending { deployment, receiver, secret, .. } = &sending;
    let app = &deployment.app;
    let everything = Receiver::start().await;
    let (_, operators) = create(deployment, None, &everything.url, r#"["key.created"]"#).await;
    let elsewhere = commit(app.create_organization(&Actor::operator(), "Two".parse().unwrap(), TimeZone::UTC))
        .await
        .unwrap()
        .value
        .id;
    let other = Receiver::start().await;
    create(deployment, Some(elsewhere), &other.url, r#"["*"]"#).await;

    let key = deployment.create("tork", of_kind(Kind::Secret)).await.unwrap();
    deployment.create_with(&key, ephemeral(60)).await.unwrap();
    let operator = Actor::operator();
    let rotated = commit(app.rotate_key(&operator, key.id, 0, None)).await.unwrap().value;
    let second = rotated.secret.into_clear().to_string();
    for _ in 0..2 {
        commit(app.revoke_key(&operator, key.id, Some("leaked".to_owned()), None)).await.unwrap();
    }
    // Three to the organization's, one to the operator's.
    assert_eq!(sending.run().await, 4);
    assert_eq!(sending.run().await, 0);
    let mut received = receiver.take();
    // In no order, and all of one instant.
    received.sort_by_key(Received::kind);
    let kinds: Vec<String> = received.iter().map(Received::kind).collect();
    assert_eq!(kinds, ["key.created", "key.revoked", "key.rotated"]);
    for request in &received {
        assert!(request.is_signed_with(secret) && !request.is_signed_with(&operators), "{request:?}");
        assert_eq!(request.head, "POST /hook HTTP/1.1");
        assert_eq!(request.lines["content-type"], "application/json");
        assert_eq!(request.lines["webhook-timestamp"], (start_time().as_micros() / 1_000_000).to_string());
        let document = request.document();
        assert_eq!(document["id"], request.id());
        assert_eq!(document["organization"], json!(deployment.organization));
        assert_eq!((&document["api"], &document["timestamp"]), (&json!("tork"), &json!(start_time())));
        assert_eq!(document["data"]["key"]["id"], json!(key.id));
        for hidden in [&key.secret, &second] {
            assert!(!request.body.contains(&hidden[12..hidden.len() - 4]), "{}", request.body);
        }
        assert!(!request.body.contains("digest"), "{}", request.body);
    }
    assert_eq!(received[1].document()["data"]["key"]["revocation"]["reason"], "leaked");
    let told = everything.take();
    assert_eq!(told.len(), 1);
    assert!(told[0].is_signed_with(&operators) && told[0].id() == received[0].id());
    assert_eq!(other.take().len(), 0, "another organization's endpoint hears nothing");
}

#[tokio::test]
async fn an_event_is_sent_again_under_its_id_until_it_arrives() {
    let sending = Sending::start().await;
    sending.receiver.reply([Reply::status("500 Oops"), Reply::Garbage]);
    let event = sending.ping().await;
    assert_eq!(sending.run().await, 1);
    assert_eq!(sending.run().await, 0, "not before its time");
    let waits = sending.shown(event).await;
    assert_eq!((waits.delivery.state, waits.attempts.len()), (DeliveryState::Pending, 1));
    sending.deployment.clock.advance_seconds(6);
    assert_eq!(sending.run().await, 1);
    sending.deployment.clock.advance_seconds(331);
    assert_eq!(sending.run().await, 1);
    let received = sending.receiver.take();
    assert_eq!(received.len(), 3);
    assert!(
        received.iter().all(|request| request.id() == event.to_string() && request.is_signed_with(&sending.secret))
    );
    let mut seconds: Vec<_> = received.iter().map(|request| request.lines["webhook-timestamp"].clone()).collect();
    seconds.dedup();
    assert_eq!(seconds.len(), 3, "each attempt has a time of its own");
    let shown = sending.shown(event).await;
    assert_eq!((shown.delivery.state, shown.delivery.next_at), (DeliveryState::Delivered, None));
    let statuses: Vec<_> = shown.attempts.iter().map(|attempt| (attempt.number, attempt.status)).collect();
    assert_eq!(statuses, [(3, Some(200)), (2, None), (1, Some(500))]);
    assert!(shown.attempts[1].reason.as_deref().unwrap().starts_with("no answer"));
    assert_eq!(shown.attempts[2].answer.as_deref(), Some(""));
}

#[tokio::test]
async fn after_three_days_an_event_is_given_up_and_can_be_replayed() {
    let sending = Sending::start().await;
    sending.receiver.reply(vec![Reply::status("503 Busy"); 10]);
    let event = sending.ping().await;
    let mut attempts = 0;
    // Each step is longer than the longest wait.
    for _ in 0..15 {
        attempts += sending.run().await;
        sending.deployment.clock.advance_seconds(27 * 3600);
    }
    assert_eq!(attempts, 10);
    let failed = sending.shown(event).await.delivery;
    assert_eq!((failed.state, failed.attempts), (DeliveryState::Failed, 10));
    assert_eq!(failed.reason.as_deref(), Some("the last attempt failed"));
    let row = sending.row().await;
    assert!(row.failing_since.is_some() && row.endpoint.disabled.is_none());
    let app = &sending.deployment.app;
    let replay = async |which| commit(app.replay_webhook(&Actor::operator(), sending.id, which)).await;
    let failed = Some(DeliveryState::Failed);
    let later = Replay { since: Some(app.now()), state: failed, ..Replay::default() };
    assert_eq!(replay(later).await.unwrap().value.replayed, 0);
    let all = Replay { since: Some(start_time()), state: failed, ..Replay::default() };
    let done = replay(all).await.unwrap().value;
    assert_eq!((done.replayed, done.more), (1, false));
    assert_eq!(sending.run().await, 1);
    let shown = sending.shown(event).await;
    assert_eq!((shown.delivery.state, shown.delivery.attempts), (DeliveryState::Delivered, 11));
    assert_eq!(sending.row().await.failing_since, None, "it is well again");
    let received = sending.receiver.take();
    assert!(received.iter().all(|request| request.id() == event.to_string()));
    let unknown = Replay { event: Some(EventId::from_u128(1)), ..Replay::default() };
    assert!(matches!(replay(unknown).await, Err(AppError::NotFound { what: "delivery" })));
    assert_eq!(invalid_field(replay(Replay::default()).await).as_deref(), Some("since"));
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let sending = Sending::start().await;
    let elsewhere = Receiver::start().await;
    for status in ["301 Moved", "302 Found", "307 Temporary", "308 Permanent"] {
        let head = format!("{status}\r\nLocation: {}", elsewhere.url);
        sending.receiver.reply([Reply::With(head, String::new())]);
        let event = sending.ping().await;
        assert_eq!(sending.run().await, 1);
        let shown = sending.shown(event).await;
        assert_eq!(shown.delivery.state, DeliveryState::Pending);
        assert_eq!(shown.attempts[0].status, status[..3].parse().ok());
    }
    assert_eq!(elsewhere.take().len(), 0);
}

#[tokio::test]
async fn an_endpoint_that_says_it_is_gone_is_left_alone() {
    let sending = Sending::start().await;
    let app = &sending.deployment.app;
    sending.receiver.reply([Reply::status("500 Oops")]);
    let waiting = sending.ping().await;
    sending.run().await;
    sending.receiver.reply([Reply::status("410 Gone")]);
    let event = sending.ping().await;
    let seen = events(app, 0).await.last().unwrap().number;
    sending.run().await;
    let delivery = sending.shown(event).await.delivery;
    assert_eq!((delivery.state, delivery.attempts), (DeliveryState::Failed, 1));
    assert_eq!(sending.row().await.endpoint.disabled, Some(DisabledReason::Gone));
    let told = events(app, seen).await;
    assert_eq!(told.len(), 1);
    assert_eq!((told[0].actor, told[0].action), (Author::System, Action::WebhookUpdated));
    assert_eq!(told[0].after.as_ref().unwrap()["disabled"], "gone");
    sending.receiver.take();
    // Nothing is queued for it, and what waited is given up without a request.
    sending.deployment.create("tork", plain("x")).await.unwrap();
    sending.deployment.clock.advance_seconds(60);
    sending.run().await;
    assert_eq!(sending.receiver.take().len(), 0);
    let given_up = sending.shown(waiting).await;
    assert_eq!((given_up.delivery.state, given_up.attempts.len()), (DeliveryState::Failed, 1));
    assert_eq!(given_up.delivery.reason.as_deref(), Some("the endpoint is disabled"));
    assert_eq!(sending.listed().await.len(), 2);
    let test = commit(app.test_webhook(&Actor::operator(), sending.id)).await;
    assert!(matches!(test, Err(AppError::Conflict { .. })));
    let one = Replay { event: Some(waiting), ..Replay::default() };
    let replay = commit(app.replay_webhook(&Actor::operator(), sending.id, one)).await;
    assert!(matches!(replay, Err(AppError::Conflict { .. })));
    let on = UpdateWebhook { enabled: Some(true), ..UpdateWebhook::default() };
    commit(app.update_webhook(&Actor::operator(), sending.id, on)).await.unwrap();
    sending.deployment.create("tork", plain("y")).await.unwrap();
    sending.run().await;
    assert_eq!(sending.receiver.take().len(), 1);
}

#[tokio::test]
async fn whoever_asks_for_time_gets_it() {
    let sending = Sending::start().await;
    let wait = async |head: &str| {
        sending.receiver.reply([Reply::status(head)]);
        let event = sending.ping().await;
        sending.run().await;
        let next = sending.shown(event).await.delivery.next_at.unwrap();
        (next.as_micros() - sending.deployment.clock.now().as_micros()) / 1_000_000
    };
    assert_eq!(wait("429 Slow Down\r\nRetry-After: 600").await, 600);
    assert_eq!(wait("503 Busy\r\nRetry-After: 999999999").await, 24 * 3600);
    assert_eq!(wait("503 Busy\r\nRetry-After: Tue, 10 Mar 2026 12:10:00 GMT").await, 600);
    assert!(wait("503 Busy\r\nRetry-After: soon").await < 6);
    assert!(wait("500 Oops\r\nRetry-After: 600").await < 6);
}

#[tokio::test]
async fn slow_endless_and_silent_endpoints_hold_up_nobody() {
    let sending = Sending::start().await;
    let quick = Receiver::start().await;
    create(&sending.deployment, None, &quick.url, r#"["key.created"]"#).await;
    sending.receiver.reply([Reply::Never, Reply::Endless, Reply::Stalled, Reply::Never, Reply::Never, Reply::Never]);
    for name in ["a", "b", "c", "d", "e", "f"] {
        sending.deployment.create("tork", plain(name)).await.unwrap();
    }
    assert_eq!(sending.run().await, 12);
    assert_eq!(quick.take().len(), 6);
    assert_eq!(sending.receiver.most_at_once(), limits::WEBHOOKS_AT_ONCE_PER_ENDPOINT_MAX);
    let mut answers = Vec::new();
    for delivery in sending.listed().await {
        let shown = sending.shown(delivery.event).await;
        let attempt = &shown.attempts[0];
        answers.push((shown.delivery.state.as_str(), attempt.reason.clone(), attempt.answer.as_ref().map(String::len)));
    }
    answers.sort();
    // The head is the answer, whatever becomes of the body; of that the beginning is kept.
    let silent = ("pending", Some("no answer in time".to_owned()), None);
    let mut expected = vec![("delivered", None, Some(3)), ("delivered", None, Some(1024))];
    expected.extend(vec![silent; 4]);
    assert_eq!(answers, expected);
}

#[tokio::test]
async fn during_an_overlap_everything_is_signed_with_both_secrets() {
    let sending = Sending::start().await;
    let app = &sending.deployment.app;
    let rotate = async |seconds| commit(app.rotate_webhook_secret(&Actor::operator(), sending.id, seconds)).await;
    let second = rotate(600).await.unwrap().value.secret.into_clear().to_string();
    sending.ping().await;
    sending.run().await;
    let both = sending.receiver.take().remove(0);
    assert!(both.is_signed_with(&sending.secret) && both.is_signed_with(&second) && both.signatures() == 2);
    sending.deployment.clock.advance_seconds(600);
    sending.ping().await;
    sending.run().await;
    let one = sending.receiver.take().remove(0);
    assert!(!one.is_signed_with(&sending.secret) && one.is_signed_with(&second) && one.signatures() == 1);
    let third = rotate(0).await.unwrap().value.secret.into_clear().to_string();
    sending.ping().await;
    sending.run().await;
    let one = sending.receiver.take().remove(0);
    assert!(one.is_signed_with(&third) && one.signatures() == 1);
    for seconds in [-1, limits::WEBHOOK_OVERLAP_SECONDS_MAX + 1, i64::MAX] {
        assert_eq!(invalid_field(rotate(seconds).await).as_deref(), Some("overlap_seconds"));
    }
}

#[tokio::test]
async fn what_was_accepted_is_sent_after_a_restart() {
    let mut sending = Sending::start().await;
    let key = sending.deployment.create("tork", plain("x")).await.unwrap();
    sending.deployment.restart().await;
    sending.deployment.set_up_delivery(None);
    assert_eq!(sending.run().await, 1);
    let received = sending.receiver.take();
    assert!(received[0].is_signed_with(&sending.secret));
    assert_eq!(received[0].document()["data"]["key"]["id"], json!(key.id));
    // Under another key the secret cannot be read, and nothing goes out unsigned.
    sending.deployment.clock.advance_seconds(1);
    sending.deployment.create("tork", plain("y")).await.unwrap();
    sending.deployment.restart().await;
    sending.deployment.set_up_delivery_under([8; 32]);
    assert_eq!(sending.run().await, 1);
    assert_eq!(sending.receiver.take().len(), 0);
    let last = sending.listed().await.remove(0);
    assert!(sending.shown(last.event).await.attempts[0].reason.as_deref().unwrap().contains("cannot be decrypted"));
}

#[tokio::test]
async fn the_worker_sends_by_itself_and_ends_with_the_app() {
    let sending = Sending::start().await;
    sending.deployment.app.start_delivery();
    let event = sending.ping().await;
    let arrived = async {
        while sending.shown(event).await.delivery.state != DeliveryState::Delivered {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(30), arrived).await.unwrap();
    assert_eq!(sending.receiver.take().len(), 1);
    sending.deployment.app.close().await;
}

#[tokio::test]
async fn keys_that_die_by_themselves_are_told_of_once() {
    let mut sending = Sending::start().await;
    sending.run().await;
    let dies =
        |name: &str| claviger_app::CreateKey { lifetime: Some(claviger_app::Lifetime::TtlSeconds(100)), ..plain(name) };
    let key = sending.deployment.create("tork", dies("dies")).await.unwrap();
    let revoked = sending.deployment.create("tork", dies("is revoked")).await.unwrap();
    let parent = sending.deployment.create("tork", of_kind(Kind::Secret)).await.unwrap();
    sending.deployment.create_with(&parent, ephemeral(100)).await.unwrap();
    commit(sending.deployment.app.revoke_key(&Actor::operator(), revoked.id, None, None)).await.unwrap();
    sending.run().await;
    sending.receiver.take();
    sending.deployment.clock.advance_seconds(99);
    assert_eq!(sending.run().await, 0);
    // Nobody looks while it dies.
    sending.deployment.clock.advance_seconds(1);
    sending.deployment.restart().await;
    sending.deployment.set_up_delivery(None);
    assert_eq!(sending.run().await, 1);
    let received = sending.receiver.take();
    assert_eq!(
        (received[0].kind(), &received[0].document()["data"]["key"]["id"]),
        ("key.expired".to_owned(), &json!(key.id))
    );
    sending.deployment.clock.advance_seconds(3600);
    assert_eq!(sending.run().await, 0);
    // A clock that was set back: what dies in the hour that comes again is told of too.
    sending.deployment.clock.advance_seconds(-3600);
    sending.run().await;
    sending.deployment.create("tork", dies("in the hour that comes again")).await.unwrap();
    sending.deployment.clock.advance_seconds(100);
    sending.run().await;
    let kinds: Vec<String> = sending.receiver.take().iter().map(Received::kind).collect();
    assert!(kinds.contains(&"key.expired".to_owned()), "{kinds:?}");
}

#[tokio::test]
async fn a_clock_that_is_set_back_has_no_key_told_of_twice() {
    let mut sending = Sending::start().await;
    sending.run().await;
    let dies =
        |name: &str| claviger_app::CreateKey { lifetime: Some(claviger_app::Lifetime::TtlSeconds(100)), ..plain(name) };
    let born = sending.deployment.app.now();
    let told = sending.deployment.create("tork", dies("told")).await.unwrap();
    let moved = sending.deployment.create("tork", dies("moved")).await.unwrap();
    sending.deployment.clock.advance_seconds(3600);
    sending.run().await;
    let expired = |sending: &Sending| {
        let received = sending.receiver.take();
        let expired = received.iter().filter(|received| received.kind() == "key.expired");
        let ids = expired.map(|received| received.document()["data"]["key"]["id"].as_str().unwrap().to_owned());
        ids.collect::<BTreeSet<_>>()
    };
    assert_eq!(expired(&sending), BTreeSet::from([told.id.to_string(), moved.id.to_string()]));

    // All of it comes again. Two keys die in it: one that is made now, one at another instant than was told.
    sending.deployment.clock.advance_seconds(-3590);
    assert_eq!(sending.run().await, 0);
    let made = sending.deployment.create("tork", dies("made")).await.unwrap();
    let later = UpdateKey { expires_at: Some(born.plus_seconds(120)), ..UpdateKey::default() };
    commit(sending.deployment.app.update_key(&Actor::operator(), moved.id, later, None)).await.unwrap();
    sending.run().await;
    assert_eq!(expired(&sending), BTreeSet::new());
    sending.deployment.restart().await;
    sending.deployment.set_up_delivery(None);
    for seconds in [90, 10, 10, 3000, -3100, 3100, 3600] {
        sending.deployment.clock.advance_seconds(seconds);
        sending.run().await;
    }
    let received = sending.receiver.take();
    let ids: Vec<_> = received.iter().map(|received| received.document()["data"]["key"]["id"].clone()).collect();
    assert_eq!(ids, [json!(made.id), json!(moved.id)], "each once");
}

#[tokio::test]
async fn a_queue_has_an_end() {
    let mut sending = Sending::start().await;
    let store = sending.deployment.close().await;
    let far = start_time().plus_seconds(3600).unwrap();
    let mut tx = store.begin().await.unwrap();
    for number in 1..=(limits::WEBHOOK_QUEUE_MAX as u128 + 7) {
        let event = Event {
            id: EventId::from_u128(number),
            kind: EventType::KeyCreated,
            at: far,
            organization: None,
            api: None,
            data: serde_json::Map::new(),
        };
        deliveries::create(&mut tx, sending.id, &event).await.unwrap();
    }
    tx.commit(start_time()).await.unwrap();
    store.close().await;
    sending.deployment.restart().await;
    sending.deployment.set_up_delivery(None);
    assert_eq!(sending.run().await, 0);
    for (number, state) in [(7, DeliveryState::Failed), (8, DeliveryState::Pending)] {
        let delivery = sending.shown(EventId::from_u128(number)).await.delivery;
        assert_eq!(delivery.state, state, "{number}: {:?}", delivery.reason);
    }
    assert!(sending.row().await.failing_since.is_some());
}

#[tokio::test]
async fn an_endpoint_goes_with_its_log_and_the_log_with_time() {
    let sending = Sending::start().await;
    let app = &sending.deployment.app;
    let event = sending.ping().await;
    sending.run().await;
    sending.deployment.clock.advance_seconds(limits::DELIVERY_LOG_DAYS * 24 * 3600);
    sending.run().await;
    assert_eq!(sending.shown(event).await.delivery.state, DeliveryState::Delivered);
    sending.deployment.clock.advance_seconds(1);
    sending.run().await;
    assert_eq!(sending.listed().await, []);
    sending.ping().await;
    sending.receiver.take();
    commit(app.delete_webhook(&Actor::operator(), sending.id)).await.unwrap();
    let gone = app.find_webhook(sending.id).await;
    assert!(matches!(gone, Err(AppError::NotFound { what: "webhook endpoint" })));
    assert!(matches!(app.find_delivery(sending.id, event).await, Err(AppError::NotFound { .. })));
    let again = commit(app.delete_webhook(&Actor::operator(), sending.id)).await;
    assert!(matches!(again, Err(AppError::NotFound { .. })));
    sending.run().await;
    assert_eq!(sending.receiver.take().len(), 0, "what waited for it is not sent");
}

#[tokio::test]
async fn endpoints_have_a_limit_and_a_place_that_may_be_sent_to() {
    let deployment = Deployment::start().await;
    let app = &deployment.app;
    let input = |organization, url: &str| CreateWebhook {
        organization,
        url: url.to_owned(),
        description: Some("x".parse::<Name>().unwrap()),
        events: serde_json::from_str(r#"["*"]"#).unwrap(),
    };
    let make = async |input| commit(app.create_webhook(&Actor::operator(), input)).await.map(drop);
    let unset = make(input(None, "https://example.com/")).await;
    assert!(matches!(unset, Err(AppError::Unavailable { .. })), "{unset:?}");
    let mailer = Mailer::folder(deployment.mail_folder(), "keys@example.com".parse().unwrap());
    let courier = Courier::new(Reach::default(), Patience::default(), &Authorities::default());
    app.set_up_delivery(claviger_app::DeliverySettings { key: [7; 32].into(), courier, mailer, invitation_url: None });
    let mine = Some(deployment.organization);
    for url in ["http://example.com/", "https://127.0.0.1/", "https://[fd00::1]/", "nonsense", ""] {
        assert_eq!(invalid_field(make(input(mine, url)).await).as_deref(), Some("url"), "{url}");
    }
    let nobody = Some(OrganizationId::from_u128(1));
    let unknown = make(input(nobody, "https://example.com/")).await;
    assert!(matches!(unknown, Err(AppError::NotFound { what: "organization" })));
    for _ in 0..limits::WEBHOOKS_PER_ORGANIZATION_MAX {
        make(input(mine, "https://example.com/")).await.unwrap();
    }
    assert!(matches!(make(input(mine, "https://example.com/")).await, Err(AppError::Conflict { .. })));
    // The operator's own are counted apart.
    make(input(None, "https://example.com/")).await.unwrap();
    let key = deployment.create("tork", of_kind(Kind::Secret)).await.unwrap();
    let holder = Actor::key(key.id, claviger_domain::audit::Source::Unknown);
    let refused = commit(app.create_webhook(&holder, input(mine, "https://example.com/"))).await.map(drop);
    assert!(matches!(refused, Err(AppError::Forbidden { .. })));
}

#[tokio::test]
async fn a_url_that_was_allowed_is_not_sent_to_when_it_is_no_longer() {
    let mut sending = Sending::start().await;
    sending.ping().await;
    sending.deployment.restart().await;
    let mailer = Mailer::folder(sending.deployment.mail_folder(), "keys@example.com".parse().unwrap());
    let courier = Courier::new(
        Reach { allows_http: true, allows_private_networks: false },
        Patience::default(),
        &Authorities::default(),
    );
    sending.deployment.app.set_up_delivery(claviger_app::DeliverySettings {
        key: [7; 32].into(),
        courier,
        mailer,
        invitation_url: None,
    });
    assert_eq!(sending.run().await, 1);
    assert_eq!(sending.receiver.take().len(), 0);
    let last = sending.listed().await.remove(0);
    let reason = sending.shown(last.event).await.attempts[0].reason.clone().unwrap();
    assert!(reason.contains("must not lead to a private, local or reserved address"), "{reason}");
}
