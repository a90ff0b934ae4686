//! Cases about what is sent to others.

use std::time::Duration;

use claviger_domain::event::{Event, EventFilter, EventType};
use claviger_domain::id::{EventId, KeyId, MailId, OrganizationId, WebhookId};
use claviger_domain::key::{Key, Kind, Revocation};
use claviger_domain::time::Timestamp;
use claviger_domain::webhook::{DeliveryState, DisabledReason, WebhookEndpoint};
use claviger_store::deliveries::{Attempt, Delivery, Replay};
use claviger_store::expiry::Mark;
use claviger_store::webhooks::WebhookRow;
use claviger_store::{PageRequest, Store, StoreError, Tx, deliveries, expiry, keys, mails, organizations, webhooks};

use crate::cases::{NOW, create_keys, key, later, organization, put_place};
use crate::shared::event as audit_event;

fn webhook(number: u128, organization: Option<u128>, events: &str) -> WebhookRow {
    let endpoint = WebhookEndpoint {
        id: WebhookId::from_u128(number),
        organization: organization.map(OrganizationId::from_u128),
        url: format!("https://example.com/{number}"),
        description: Some(format!("endpoint {number}").parse().unwrap()),
        events: serde_json::from_str(events).unwrap(),
        disabled: None,
        created_at: NOW,
        rotated_at: None,
        overlap_ends_at: None,
    };
    WebhookRow { endpoint, secret: vec![1, 2, 3], old_secret: None, failing_since: None }
}

async fn put(tx: &mut Tx, row: &WebhookRow) {
    webhooks::put(tx, row).await.unwrap();
    tx.record(audit_event("webhook", None));
}

/// Two organizations and these endpoints.
async fn plant(store: &Store, rows: &[WebhookRow]) {
    let mut tx = store.begin().await.unwrap();
    for number in [1, 2] {
        organizations::put(&mut tx, &organization(number)).await.unwrap();
    }
    for row in rows {
        put(&mut tx, row).await;
    }
    tx.commit(NOW).await.unwrap();
}

fn event(number: u128, organization: Option<u128>, kind: EventType) -> Event {
    Event {
        id: EventId::from_u128(number),
        kind,
        at: NOW,
        organization: organization.map(OrganizationId::from_u128),
        api: None,
        data: serde_json::Map::new(),
    }
}

/// The endpoints that an event was queued for.
async fn queued(store: &Store, number: u128) -> Vec<u128> {
    let mut reader = store.read().await.unwrap();
    let mut found = Vec::new();
    for endpoint in 1..=9 {
        let id = WebhookId::from_u128(endpoint);
        if deliveries::find(&mut reader, id, EventId::from_u128(number)).await.unwrap().is_some() {
            found.push(endpoint);
        }
    }
    found
}

async fn create(store: &Store, endpoint: u128, numbers: std::ops::RangeInclusive<u128>) {
    let mut tx = store.begin().await.unwrap();
    for number in numbers {
        let event = Event { at: later(number as i64), ..event(number, Some(1), EventType::KeyCreated) };
        deliveries::create(&mut tx, WebhookId::from_u128(endpoint), &event).await.unwrap();
    }
    tx.commit(NOW).await.unwrap();
}

async fn find(store: &Store, endpoint: u128, event: u128) -> Delivery {
    let mut reader = store.read().await.unwrap();
    let (endpoint, event) = (WebhookId::from_u128(endpoint), EventId::from_u128(event));
    deliveries::find(&mut reader, endpoint, event).await.unwrap().unwrap()
}

fn page<C>(after: Option<C>, limit: u32) -> PageRequest<C> {
    PageRequest { after, limit }
}

pub(crate) async fn webhook_endpoints_are_put_found_paged_and_deleted(store: Store) {
    let rows =
        [webhook(1, Some(1), r#"["*"]"#), webhook(2, None, r#"["key.created"]"#), webhook(3, Some(1), r#"["*"]"#)];
    plant(&store, &rows).await;
    let mut changed = rows[0].clone();
    "https://example.org/".clone_into(&mut changed.endpoint.url);
    changed.endpoint.description = None;
    changed.endpoint.disabled = Some(DisabledReason::Gone);
    changed.endpoint.rotated_at = Some(later(1));
    changed.endpoint.overlap_ends_at = Some(later(2));
    changed.endpoint.events = serde_json::from_str(r#"["alert.opened", "key.revoked"]"#).unwrap();
    (changed.secret, changed.old_secret) = (vec![4], Some(vec![1, 2, 3]));
    let mut tx = store.begin().await.unwrap();
    put(&mut tx, &changed).await;
    webhooks::set_failing_since(&mut tx, WebhookId::from_u128(3), Some(later(5))).await.unwrap();
    tx.commit(NOW).await.unwrap();
    let mut reader = store.read().await.unwrap();
    assert_eq!(webhooks::find(&mut reader, WebhookId::from_u128(1)).await.unwrap(), Some(changed));
    assert_eq!(webhooks::find(&mut reader, WebhookId::from_u128(9)).await.unwrap(), None);
    let failing = webhooks::find(&mut reader, WebhookId::from_u128(3)).await.unwrap().unwrap();
    assert_eq!((failing.failing_since, failing.endpoint), (Some(later(5)), rows[2].endpoint.clone()));
    let mut ids = async |organization: Option<u128>, page| {
        let found = webhooks::list(&mut reader, organization.map(OrganizationId::from_u128), page).await.unwrap();
        (found.rows.iter().map(|row| row.endpoint.id.as_u128()).collect::<Vec<_>>(), found.more)
    };
    assert_eq!(ids(None, page(None, 2)).await, (vec![3, 2], true));
    assert_eq!(ids(None, page(Some(WebhookId::from_u128(2)), 2)).await, (vec![1], false));
    assert_eq!(ids(Some(1), page(None, 9)).await, (vec![3, 1], false));
    assert_eq!(ids(Some(2), page(None, 9)).await, (vec![], false));
    for (organization, expected) in [(Some(1), 2), (Some(2), 0), (None, 1)] {
        let count = webhooks::count(&mut reader, organization.map(OrganizationId::from_u128)).await.unwrap();
        assert_eq!(count, expected, "{organization:?}");
    }
    assert!(!webhooks::has_deleted(&mut reader).await.unwrap());
    drop(reader);

    create(&store, 3, 1..=5).await;
    let mut tx = store.begin().await.unwrap();
    webhooks::delete(&mut tx, WebhookId::from_u128(3), NOW).await.unwrap();
    tx.record(audit_event("webhook", None));
    tx.commit(NOW).await.unwrap();
    let mut reader = store.read().await.unwrap();
    assert!(webhooks::has_deleted(&mut reader).await.unwrap());
    assert_eq!(webhooks::find(&mut reader, WebhookId::from_u128(3)).await.unwrap(), None);
    assert_eq!(webhooks::count(&mut reader, Some(OrganizationId::from_u128(1))).await.unwrap(), 1);
    assert_eq!(deliveries::list_due_endpoints(&mut reader, later(99), None, 9).await.unwrap(), []);
    drop(reader);
    for expected in [3, 2, 0] {
        let mut tx = store.begin().await.unwrap();
        assert_eq!(webhooks::purge(&mut tx, 3).await.unwrap(), expected);
        tx.commit(NOW).await.unwrap();
    }
    assert!(!webhooks::has_deleted(&mut store.read().await.unwrap()).await.unwrap());
    assert_eq!(queued(&store, 1).await, Vec::<u128>::new());
}

pub(crate) async fn an_event_is_queued_for_whoever_wants_it(store: Store) {
    let off = |row: WebhookRow| {
        let endpoint = WebhookEndpoint { disabled: Some(DisabledReason::Operator), ..row.endpoint };
        WebhookRow { endpoint, ..row }
    };
    plant(
        &store,
        &[
            webhook(1, Some(1), r#"["key.created"]"#),
            webhook(2, Some(1), r#"["key.revoked"]"#),
            webhook(3, Some(2), r#"["*"]"#),
            webhook(4, None, r#"["*"]"#),
            off(webhook(5, Some(1), r#"["*"]"#)),
            off(webhook(6, None, r#"["*"]"#)),
        ],
    )
    .await;
    let mut tx = store.begin().await.unwrap();
    assert!(tx.has_listeners());
    tx.announce(event(1, Some(1), EventType::KeyCreated));
    tx.announce(event(2, Some(1), EventType::KeyExpired));
    tx.announce(event(3, Some(2), EventType::KeyRevoked));
    tx.announce(event(4, None, EventType::AlertOpened));
    tx.announce(event(5, None, EventType::Ping));
    assert!(tx.commit(NOW).await.unwrap().is_empty(), "nothing for followers");
    // Whoever sends is woken.
    tokio::time::timeout(Duration::from_secs(5), store.outbox().notified()).await.unwrap();
    for (number, expected) in [(1, vec![1, 4]), (2, vec![4]), (3, vec![3, 4]), (4, vec![4]), (5, vec![])] {
        assert_eq!(queued(&store, number).await, expected, "{number}");
    }
    let expected = Delivery {
        endpoint: WebhookId::from_u128(1),
        event: EventId::from_u128(1),
        kind: EventType::KeyCreated,
        body: event(1, Some(1), EventType::KeyCreated).to_body(),
        state: DeliveryState::Pending,
        round: 0,
        attempts: 0,
        next_at: Some(NOW),
        created_at: NOW,
        finished_at: None,
        reason: None,
    };
    assert_eq!(find(&store, 1, 1).await, expected);
}

pub(crate) async fn what_is_announced_stands_and_falls_with_its_part(store: Store) {
    plant(&store, &[webhook(1, Some(1), r#"["*"]"#)]).await;
    let mut tx = store.begin().await.unwrap();
    tx.announce(event(1, Some(1), EventType::KeyCreated));
    tx.keep().unwrap();
    tx.announce(event(2, Some(1), EventType::KeyCreated));
    tx.discard().await.unwrap();
    tx.announce(event(3, Some(1), EventType::KeyCreated));
    tx.commit(NOW).await.unwrap();
    for (number, expected) in [(1, vec![1]), (2, vec![]), (3, vec![1])] {
        assert_eq!(queued(&store, number).await, expected, "{number}");
    }
    let mut tx = store.begin().await.unwrap();
    tx.announce(event(4, Some(1), EventType::KeyCreated));
    tx.keep().unwrap();
    drop(tx);
    assert_eq!(queued(&store, 4).await, Vec::<u128>::new());
}

pub(crate) async fn whoever_listens_is_asked_anew_when_it_changes(store: Store) {
    plant(&store, &[]).await;
    let announce = async |number| {
        let mut tx = store.begin().await.unwrap();
        let has_listeners = tx.has_listeners();
        tx.announce(event(number, Some(1), EventType::KeyCreated));
        tx.record(audit_event("key", None));
        tx.commit(NOW).await.unwrap();
        (has_listeners, queued(&store, number).await)
    };
    // Nobody has looked yet; then it is known.
    assert_eq!(announce(1).await, (true, vec![]));
    assert_eq!(announce(2).await, (false, vec![]));
    let row = webhook(1, Some(1), r#"["*"]"#);
    let mut tx = store.begin().await.unwrap();
    put(&mut tx, &row).await;
    assert!(tx.has_listeners());
    tx.commit(NOW).await.unwrap();
    assert_eq!(announce(3).await, (true, vec![1]));
    assert_eq!(announce(4).await, (true, vec![1]));
    let mut tx = store.begin().await.unwrap();
    let events: EventFilter = serde_json::from_str(r#"["key.revoked"]"#).unwrap();
    put(&mut tx, &WebhookRow { endpoint: WebhookEndpoint { events, ..row.endpoint.clone() }, ..row }).await;
    tx.commit(NOW).await.unwrap();
    assert_eq!(announce(5).await, (true, vec![]));
    // One that goes in the same transaction hears nothing of it, and breaks nothing.
    let mut tx = store.begin().await.unwrap();
    tx.announce(event(6, Some(1), EventType::KeyRevoked));
    tx.keep().unwrap();
    webhooks::delete(&mut tx, WebhookId::from_u128(1), NOW).await.unwrap();
    tx.record(audit_event("webhook", None));
    tx.commit(NOW).await.unwrap();
    assert_eq!(queued(&store, 6).await, Vec::<u128>::new());
}

fn attempt(number: i64) -> Attempt {
    Attempt { number, at: NOW, milliseconds: 7, status: Some(500), reason: None, answer: Some("no".to_owned()) }
}

pub(crate) async fn deliveries_are_due_tried_and_over(store: Store) {
    plant(&store, &[webhook(1, Some(1), r#"["*"]"#), webhook(2, None, r#"["*"]"#)]).await;
    create(&store, 1, 1..=3).await;
    create(&store, 2, 4..=4).await;
    let (one, two) = (WebhookId::from_u128(1), WebhookId::from_u128(2));
    let mut reader = store.read().await.unwrap();
    assert_eq!(deliveries::find_next_due(&mut reader).await.unwrap(), Some(later(1)));
    let mut due = async |now, past, limit| deliveries::list_due_endpoints(&mut reader, now, past, limit).await.unwrap();
    assert_eq!(due(NOW, None, 9).await, []);
    assert_eq!(due(later(3), None, 9).await, [one]);
    assert_eq!(due(later(4), None, 9).await, [one, two]);
    assert_eq!(due(later(4), None, 1).await, [one]);
    assert_eq!(due(later(4), Some(one), 9).await, [two]);
    let ids = async |reader: &mut _, now, limit| {
        let rows = deliveries::list_due(reader, one, now, limit).await.unwrap();
        rows.iter().map(|row| row.event.as_u128()).collect::<Vec<_>>()
    };
    assert_eq!(ids(&mut reader, later(2), 9).await, [1, 2]);
    assert_eq!(ids(&mut reader, later(9), 2).await, [1, 2]);
    drop(reader);

    let before = find(&store, 1, 1).await;
    let tried = Delivery { round: 1, attempts: 1, next_at: Some(later(50)), ..before.clone() };
    let update = async |attempts_before, after: &Delivery, attempt: Option<Attempt>| {
        let mut tx = store.begin().await.unwrap();
        let done = deliveries::update(&mut tx, attempts_before, after, attempt.as_ref()).await.unwrap();
        tx.commit(NOW).await.unwrap();
        done
    };
    assert!(update(0, &tried, Some(attempt(1))).await);
    // Somebody else's news of the same attempt comes too late.
    assert!(!update(0, &tried, Some(attempt(1))).await);
    assert_eq!(find(&store, 1, 1).await, tried);
    let over = Delivery {
        state: DeliveryState::Failed,
        attempts: 2,
        round: 2,
        next_at: None,
        finished_at: Some(later(60)),
        reason: Some("enough".to_owned()),
        ..before
    };
    let silent = Attempt { status: None, reason: Some("no answer".to_owned()), answer: None, ..attempt(2) };
    assert!(update(1, &over, Some(silent.clone())).await);
    assert!(!update(2, &tried, None).await, "what is over stays so");
    assert_eq!(find(&store, 1, 1).await, over);
    let mut reader = store.read().await.unwrap();
    assert_eq!(ids(&mut reader, later(99), 9).await, [2, 3]);
    let attempts = async |reader: &mut _, limit| {
        deliveries::list_attempts(reader, one, EventId::from_u128(1), limit).await.unwrap()
    };
    assert_eq!(attempts(&mut reader, 9).await, [silent.clone(), attempt(1)]);
    assert_eq!(attempts(&mut reader, 1).await, [silent]);
    let mut list = async |state, page| {
        let found = deliveries::list(&mut reader, one, state, page).await.unwrap();
        (found.rows.iter().map(|row| row.event.as_u128()).collect::<Vec<_>>(), found.more)
    };
    assert_eq!(list(None, page(None, 2)).await, (vec![3, 2], true));
    assert_eq!(list(None, page(Some(EventId::from_u128(2)), 2)).await, (vec![1], false));
    assert_eq!(list(Some(DeliveryState::Failed), page(None, 9)).await, (vec![1], false));
    assert_eq!(list(Some(DeliveryState::Delivered), page(None, 9)).await, (vec![], false));
    assert_eq!(deliveries::find(&mut reader, two, EventId::from_u128(1)).await.unwrap(), None);
    // An event goes to an endpoint once.
    drop(reader);
    let mut tx = store.begin().await.unwrap();
    let twice = deliveries::create(&mut tx, one, &event(1, Some(1), EventType::KeyCreated)).await;
    assert!(matches!(twice, Err(StoreError::Database(_))));
}

async fn finish(store: &Store, numbers: &[u128], state: DeliveryState, at: Timestamp) {
    for number in numbers {
        let before = find(store, 1, *number).await;
        let after = Delivery { state, attempts: 1, round: 1, next_at: None, finished_at: Some(at), ..before };
        let mut tx = store.begin().await.unwrap();
        assert!(deliveries::update(&mut tx, 0, &after, Some(&attempt(1))).await.unwrap());
        tx.commit(NOW).await.unwrap();
    }
}

pub(crate) async fn deliveries_are_replayed_by_what_fits(store: Store) {
    plant(&store, &[webhook(1, Some(1), r#"["*"]"#)]).await;
    create(&store, 1, 1..=6).await;
    finish(&store, &[1, 2, 3], DeliveryState::Failed, later(90)).await;
    finish(&store, &[4, 5], DeliveryState::Delivered, later(90)).await;
    let replay = async |which: Replay, limit| {
        let mut tx = store.begin().await.unwrap();
        let replayed = deliveries::replay(&mut tx, WebhookId::from_u128(1), &which, later(100), limit).await.unwrap();
        tx.commit(NOW).await.unwrap();
        replayed
    };
    let failed = Replay { state: Some(DeliveryState::Failed), ..Replay::default() };
    let nothing = Replay { since: Some(later(4)), ..failed.clone() };
    assert_eq!(replay(nothing, 9).await, 0);
    let time = Replay { since: Some(later(2)), until: Some(later(3)), ..failed.clone() };
    assert_eq!(replay(time, 9).await, 1);
    let again = find(&store, 1, 2).await;
    assert_eq!((again.state, again.round, again.attempts), (DeliveryState::Pending, 0, 1));
    assert_eq!((again.next_at, again.finished_at), (Some(later(100)), None));
    assert_eq!(replay(failed, 1).await, 1);
    assert_eq!(find(&store, 1, 1).await.state, DeliveryState::Pending);
    // All but what waits: of 3, 4 and 5.
    assert_eq!(replay(Replay { since: Some(NOW), ..Replay::default() }, 9).await, 3);
    assert_eq!(find(&store, 1, 6).await.next_at, Some(later(6)));
    // One alone is sent at once, whatever it waits for.
    let one = |number| Replay { event: Some(EventId::from_u128(number)), ..Replay::default() };
    assert_eq!(replay(one(6), 9).await, 1);
    assert_eq!(find(&store, 1, 6).await.next_at, Some(later(100)));
    assert_eq!(replay(one(7), 9).await, 0);
}

pub(crate) async fn a_long_queue_loses_its_oldest(store: Store) {
    plant(&store, &[webhook(1, Some(1), r#"["*"]"#), webhook(2, None, r#"["*"]"#)]).await;
    create(&store, 1, 1..=5).await;
    create(&store, 2, 6..=7).await;
    let one = WebhookId::from_u128(1);
    let mut tx = store.begin().await.unwrap();
    assert_eq!(deliveries::list_overfull(tx.connection().await.unwrap(), 2).await.unwrap(), [(one, 5)]);
    assert_eq!(deliveries::fail_oldest(&mut tx, one, 3, "too many", later(9)).await.unwrap(), 3);
    assert_eq!(deliveries::list_overfull(tx.connection().await.unwrap(), 2).await.unwrap(), []);
    tx.commit(NOW).await.unwrap();
    let failed = find(&store, 1, 3).await;
    assert_eq!((failed.state, failed.next_at, failed.finished_at), (DeliveryState::Failed, None, Some(later(9))));
    assert_eq!((failed.reason.as_deref(), find(&store, 1, 4).await.state), (Some("too many"), DeliveryState::Pending));
}

pub(crate) async fn what_is_over_is_forgotten(store: Store) {
    plant(&store, &[webhook(1, Some(1), r#"["*"]"#)]).await;
    create(&store, 1, 1..=4).await;
    finish(&store, &[1, 2, 3], DeliveryState::Delivered, later(90)).await;
    let forget = async |before, limit| {
        let mut tx = store.begin().await.unwrap();
        let forgotten = deliveries::forget_finished(&mut tx, before, limit).await.unwrap();
        tx.commit(NOW).await.unwrap();
        forgotten
    };
    assert_eq!(forget(later(90), 9).await, 0);
    assert_eq!(forget(later(91), 2).await, 2);
    assert_eq!(forget(later(91), 2).await, 1);
    assert_eq!(queued(&store, 4).await, [1]);
    let mut reader = store.read().await.unwrap();
    let (endpoint, event) = (WebhookId::from_u128(1), EventId::from_u128(1));
    assert_eq!(deliveries::list_attempts(&mut reader, endpoint, event, 9).await.unwrap(), []);
}

pub(crate) async fn mails_are_due_tried_and_over(store: Store) {
    let id = MailId::from_u128;
    let mut tx = store.begin().await.unwrap();
    for number in 1..=3 {
        mails::create(&mut tx, id(number), vec![number as u8], later(number as i64)).await.unwrap();
    }
    assert_eq!(mails::count_pending(tx.connection().await.unwrap()).await.unwrap(), 3);
    tx.commit(NOW).await.unwrap();
    let due = async |now, limit| mails::list_due(&mut store.read().await.unwrap(), now, limit).await.unwrap();
    assert_eq!(due(later(2), 9).await.iter().map(|mail| mail.id).collect::<Vec<_>>(), [id(1), id(2)]);
    let first = due(later(9), 1).await.remove(0);
    assert_eq!((first.id, first.content.as_deref(), first.attempts), (id(1), Some(&[1][..]), 0));
    assert_eq!((first.next_at, first.created_at, first.state), (Some(later(1)), later(1), DeliveryState::Pending));
    let update = async |mail: &mails::MailRow| {
        let mut tx = store.begin().await.unwrap();
        mails::update(&mut tx, mail).await.unwrap();
        tx.commit(NOW).await.unwrap();
        mails::find(&mut store.read().await.unwrap(), mail.id).await.unwrap().unwrap()
    };
    let later_on = mails::MailRow { attempts: 1, next_at: Some(later(50)), reason: Some("away".into()), ..first };
    assert_eq!(update(&later_on).await, later_on);
    let (state, finished_at) = (DeliveryState::Delivered, Some(later(51)));
    let gone = mails::MailRow { attempts: 2, content: None, next_at: None, state, finished_at, ..later_on.clone() };
    assert_eq!(update(&gone).await, gone);
    assert_eq!(update(&later_on).await, gone, "what has gone stays so");
    assert_eq!(mails::count_pending(&mut store.read().await.unwrap()).await.unwrap(), 2);
    let mut tx = store.begin().await.unwrap();
    assert_eq!(mails::forget_finished(&mut tx, later(51), 9).await.unwrap(), 0);
    assert_eq!(mails::forget_finished(&mut tx, later(52), 9).await.unwrap(), 1);
    assert_eq!(mails::find(tx.connection().await.unwrap(), id(1)).await.unwrap(), None);
}

pub(crate) async fn keys_that_expire_are_found_once(store: Store) {
    put_place(&store).await;
    let dies = |number, seconds| Key { expires_at: Some(later(seconds)), ..key(number) };
    let revoked = Revocation { at: NOW, reason: None };
    let child = Key { parent_id: Some(KeyId::from_u128(1)), kind: Kind::Ephemeral, ..dies(6, 10) };
    let planted = [
        key(1),
        dies(2, 10),
        dies(3, 20),
        dies(4, 20),
        Key { revocation: Some(revoked), ..dies(5, 20) },
        child,
        dies(7, 5),
    ];
    create_keys(&store, &planted).await;
    let mut tx = store.begin().await.unwrap();
    assert_eq!(expiry::find_mark(tx.connection().await.unwrap()).await.unwrap(), None);
    let mark = Mark { at: later(5), key: KeyId::from_u128(u128::MAX) };
    expiry::put_mark(&mut tx, mark).await.unwrap();
    tx.commit(NOW).await.unwrap();
    let found_mark = expiry::find_mark(&mut store.read().await.unwrap()).await.unwrap();
    assert_eq!(found_mark, Some(mark));
    let list = async |past, until, limit| {
        let found = expiry::list(&mut store.read().await.unwrap(), past, until, limit).await.unwrap();
        found.iter().map(|key| key.id.as_u128()).collect::<Vec<_>>()
    };
    assert_eq!(list(mark, later(9), 9).await, Vec::<u128>::new());
    assert_eq!(list(mark, later(20), 9).await, [2, 3, 4]);
    assert_eq!(list(mark, later(20), 2).await, [2, 3]);
    assert_eq!(list(Mark { at: later(20), key: KeyId::from_u128(3) }, later(20), 9).await, [4]);
    assert_eq!(list(Mark { at: later(20), key: KeyId::from_u128(u128::MAX) }, later(99), 9).await, Vec::<u128>::new());
    // What was told is not found again, from wherever one looks, unless it expires at another instant.
    let mut tx = store.begin().await.unwrap();
    expiry::put_told(&mut tx, mark, Mark { at: later(20), key: KeyId::from_u128(3) }).await.unwrap();
    tx.commit(NOW).await.unwrap();
    let start = Mark { at: NOW, key: KeyId::from_u128(0) };
    assert_eq!(list(start, later(99), 9).await, [7, 4]);
    let mut tx = store.begin().await.unwrap();
    keys::update(&mut tx, &dies(2, 30)).await.unwrap();
    tx.commit(NOW).await.unwrap();
    assert_eq!(list(start, later(99), 9).await, [7, 4, 2]);
}
