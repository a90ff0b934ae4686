//! Cases about alerts.

use claviger_domain::alert::{Alert, AlertKind};
use claviger_domain::audit::Author;
use claviger_domain::id::{AlertId, KeyId, OrganizationId};
use claviger_domain::key::{Environment, Key, Kind, Revocation};
use claviger_store::alerts::AlertFilter;
use claviger_store::{PageRequest, Store, StoreError, alerts};

use crate::cases::{NOW, create_keys, key, later, put_place};

fn alert(number: u128, key: Option<u128>, kind: AlertKind) -> Alert {
    Alert {
        id: AlertId::from_u128(number),
        organization: OrganizationId::from_u128(1),
        api: "tork".parse().unwrap(),
        key: key.map(KeyId::from_u128),
        kind,
        opened_at: NOW,
        last_repeated_at: NOW,
        last_seen_at: later(60),
        closed: None,
        detail: serde_json::from_str(r#"{"calls": 1200, "name": "Ümläut"}"#).unwrap(),
    }
}

async fn put(store: &Store, alert: &Alert) -> Result<(), StoreError> {
    let mut tx = store.begin().await.unwrap();
    alerts::put(&mut tx, alert).await?;
    tx.commit(NOW).await.map(|_| ())
}

pub(crate) async fn one_alert_of_a_key_and_kind_is_open(store: Store) {
    put_place(&store).await;
    let first = alert(1, Some(7), AlertKind::UsageSpike);
    put(&store, &first).await.unwrap();
    put(&store, &alert(2, Some(7), AlertKind::DenialBurst)).await.unwrap();
    put(&store, &alert(3, None, AlertKind::Quota80)).await.unwrap();
    for twin in [alert(4, Some(7), AlertKind::UsageSpike), alert(5, None, AlertKind::Quota80)] {
        assert!(matches!(put(&store, &twin).await, Err(StoreError::Database(_))), "{twin:?}");
    }
    let newest = async |key: Option<u128>, kind| {
        let mut reader = store.read().await.unwrap();
        let (first, key) = (&first, key.map(KeyId::from_u128));
        alerts::find_newest(&mut reader, first.organization, &first.api, key, kind).await.unwrap()
    };
    assert_eq!(newest(Some(7), AlertKind::UsageSpike).await, Some(first.clone()));
    assert_eq!(newest(Some(8), AlertKind::UsageSpike).await, None);
    assert_eq!(newest(None, AlertKind::Quota80).await.map(|found| found.key), Some(None));
    let closed = Alert { closed: Some((later(90), Author::System)), last_repeated_at: later(80), ..first.clone() };
    put(&store, &closed).await.unwrap();
    assert_eq!(newest(Some(7), AlertKind::UsageSpike).await.as_ref(), Some(&closed));
    put(&store, &alert(4, Some(7), AlertKind::UsageSpike)).await.unwrap();
    assert_eq!(newest(Some(7), AlertKind::UsageSpike).await.map(|found| found.id.as_u128()), Some(4));
    let mut reader = store.read().await.unwrap();
    assert_eq!(alerts::find(&mut reader, first.id).await.unwrap(), Some(closed));
    assert_eq!(alerts::find(&mut reader, AlertId::from_u128(99)).await.unwrap(), None);
}

pub(crate) async fn alerts_are_listed_by_every_filter_and_forgotten(store: Store) {
    put_place(&store).await;
    put(&store, &alert(1, Some(7), AlertKind::UsageSpike)).await.unwrap();
    put(&store, &alert(2, Some(8), AlertKind::UsageSpike)).await.unwrap();
    let closed = Some((later(90), Author::Operator));
    put(&store, &Alert { closed, ..alert(3, None, AlertKind::Quota100) }).await.unwrap();
    let list = async |filter: AlertFilter| {
        let mut reader = store.read().await.unwrap();
        let page = alerts::list(&mut reader, &filter, PageRequest { after: None, limit: 10 }).await.unwrap();
        page.rows.iter().map(|alert| alert.id.as_u128()).collect::<Vec<_>>()
    };
    let all = AlertFilter::default();
    assert_eq!(list(all.clone()).await, [3, 2, 1]);
    let of = |organization| AlertFilter { organization: Some(OrganizationId::from_u128(organization)), ..all.clone() };
    assert_eq!((list(of(1)).await, list(of(2)).await), (vec![3, 2, 1], vec![]));
    assert_eq!(list(AlertFilter { is_open: Some(true), ..of(1) }).await, [2, 1]);
    let mut reader = store.read().await.unwrap();
    let open = async |reader: &mut _, kind| {
        let api = "tork".parse().unwrap();
        alerts::count_open(reader, OrganizationId::from_u128(1), &api, kind).await.unwrap()
    };
    assert_eq!(open(&mut reader, AlertKind::UsageSpike).await, 2);
    assert_eq!(open(&mut reader, AlertKind::Quota100).await, 0);
    drop(reader);
    assert_eq!(list(AlertFilter { is_open: Some(true), ..all.clone() }).await, [2, 1]);
    assert_eq!(list(AlertFilter { is_open: Some(false), ..all.clone() }).await, [3]);
    assert_eq!(list(AlertFilter { key: Some(KeyId::from_u128(7)), ..all.clone() }).await, [1]);
    assert_eq!(list(AlertFilter { kind: Some(AlertKind::Quota100), ..all.clone() }).await, [3]);
    assert_eq!(list(AlertFilter { organization: Some(OrganizationId::from_u128(2)), ..all.clone() }).await, []);
    assert_eq!(list(AlertFilter { api: Some("other".parse().unwrap()), ..all.clone() }).await, []);
    let mut reader = store.read().await.unwrap();
    let page = PageRequest { after: Some(AlertId::from_u128(3)), limit: 1 };
    let page = alerts::list(&mut reader, &all, page).await.unwrap();
    assert_eq!((page.rows[0].id.as_u128(), page.more), (2, true));
    drop(reader);
    for (before, deleted) in [(later(90), 0), (later(91), 1), (later(91), 0)] {
        let mut tx = store.begin().await.unwrap();
        assert_eq!(alerts::delete_closed_before(&mut tx, before, 10).await.unwrap(), deleted);
        tx.commit(NOW).await.unwrap();
    }
    assert_eq!(list(all).await, [2, 1]);
}

pub(crate) async fn settings_are_kept_and_keys_that_matter_listed(store: Store) {
    put_place(&store).await;
    let organization = OrganizationId::from_u128(1);
    for body in [r#"{"kinds": []}"#, r#"{"kinds": ["quota_80"]}"#] {
        let mut tx = store.begin().await.unwrap();
        alerts::put_settings(&mut tx, organization, body).await.unwrap();
        tx.commit(NOW).await.unwrap();
        let mut reader = store.read().await.unwrap();
        assert_eq!(alerts::find_settings(&mut reader, organization).await.unwrap().as_deref(), Some(body));
        assert_eq!(alerts::find_settings(&mut reader, OrganizationId::from_u128(2)).await.unwrap(), None);
    }
    let keys = [
        key(1),
        Key { environment: Environment::Test, ..key(2) },
        Key { expires_at: Some(later(5)), ..key(3) },
        Key { revocation: Some(Revocation { at: NOW, reason: None }), ..key(4) },
        Key { parent_id: Some(KeyId::from_u128(1)), kind: Kind::Ephemeral, ..key(5) },
        Key { disabled: true, ..key(6) },
    ];
    create_keys(&store, &keys).await;
    let mut reader = store.read().await.unwrap();
    let mut list = async |now, after: Option<u128>| {
        let found = alerts::list_watched_keys(&mut reader, now, after.map(KeyId::from_u128), 2).await.unwrap();
        found.into_iter().map(KeyId::as_u128).collect::<Vec<_>>()
    };
    assert_eq!(list(NOW, None).await, [1, 3]);
    assert_eq!(list(NOW, Some(3)).await, [6]);
    assert_eq!(list(later(5), None).await, [1, 6]);
}
