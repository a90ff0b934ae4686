//! Cases about transactions that several mutations share, and what is written with them.

use claviger_domain::audit::{Action, AuditEvent, Author, FIRST_PREVIOUS_HASH, Source, chain_hash};
use claviger_domain::change::{Change, Revision};
use claviger_domain::id::{KeyId, OrganizationId};
use claviger_domain::key::{Creator, Environment, Key, Kind, OldSecret, Revocation};
use claviger_domain::organization::Organization;
use claviger_domain::secret::SecretDigest;
use claviger_store::audit::AuditFilter;
use claviger_store::dead_keys;
use claviger_store::idempotency::{Attempt, KeptAnswer};
use claviger_store::key_counts;
use claviger_store::keys::Selection;
use claviger_store::{
    PageRequest, Store, StoreError, Tx, audit, feed, idempotency, keys, organizations, retired_digests,
};

use crate::cases::{NOW, create_keys, key, later, organization, put_place};

pub(crate) fn event(target: &str, organization: Option<u128>) -> AuditEvent {
    AuditEvent {
        number: 0,
        at: NOW,
        actor: Author::Operator,
        source: Source::Socket,
        action: Action::OrganizationCreated,
        target: target.to_owned(),
        organization: organization.map(OrganizationId::from_u128),
        before: None,
        after: None,
        revision: Revision(0),
    }
}

async fn put(tx: &mut Tx, number: u128) {
    organizations::put(tx, &organization(number)).await.unwrap();
    tx.publish(Change::Organization(organization(number)));
    tx.record(event(&format!("org {number}"), Some(number)));
}

pub(crate) async fn parts_stand_and_fall_alone(store: Store) {
    let mut tx = store.begin().await.unwrap();
    put(&mut tx, 1).await;
    tx.keep().unwrap();
    assert_eq!((tx.revision_before(), tx.revision()), (Revision(1), Revision(2)));
    put(&mut tx, 2).await;
    tx.discard().await.unwrap();
    // This one only looks, and sees what was kept.
    assert!(organizations::find(tx.connection().await.unwrap(), OrganizationId::from_u128(1)).await.unwrap().is_some());
    assert!(organizations::find(tx.connection().await.unwrap(), OrganizationId::from_u128(2)).await.unwrap().is_none());
    tx.keep().unwrap();
    put(&mut tx, 3).await;
    let committed = tx.commit(NOW).await.unwrap();
    let expected = [(1, 1), (2, 3)].map(|(revision, number)| feed::Transaction {
        revision: Revision(revision),
        changes: vec![Change::Organization(organization(number))],
    });
    assert_eq!(committed, expected);
    let mut reader = store.read().await.unwrap();
    assert_eq!(feed::find_revision(&mut reader).await.unwrap(), Revision(2));
    assert_eq!(feed::list_transactions(&mut reader, Revision(0), 10).await.unwrap(), expected);
    let filter = AuditFilter::default();
    let page = audit::list(&mut reader, &filter, PageRequest { after: None, limit: 10 }).await.unwrap();
    let events: Vec<_> = page.rows.into_iter().map(|listed| listed.event().unwrap()).collect();
    let told: Vec<_> = events.iter().map(|event| (event.number, &*event.target, event.revision.0)).collect();
    assert_eq!(told, [(2, "org 3", 2), (1, "org 1", 1)]);
}

pub(crate) async fn what_is_read_once_is_read_anew_when_it_changes(store: Store) {
    put_place(&store).await;
    let (id, api) = (OrganizationId::from_u128(1), "tork".parse().unwrap());
    let mut tx = store.begin().await.unwrap();
    assert_eq!(tx.find_organization(id).await.unwrap(), Some(organization(1)));
    assert_eq!(tx.find_organization(OrganizationId::from_u128(2)).await.unwrap(), None);
    let first = tx.find_api(&api).await.unwrap().unwrap();
    assert!(std::sync::Arc::ptr_eq(&first, &tx.find_api(&api).await.unwrap().unwrap()));
    let renamed = Organization { name: "renamed".parse().unwrap(), ..organization(1) };
    organizations::put(&mut tx, &renamed).await.unwrap();
    assert_eq!(tx.find_organization(id).await.unwrap().as_ref(), Some(&renamed));
    tx.discard().await.unwrap();
    assert_eq!(tx.find_organization(id).await.unwrap(), Some(organization(1)));
}

pub(crate) async fn new_keys_are_there_for_whoever_looks_and_gone_when_discarded(store: Store) {
    put_place(&store).await;
    let publish = |tx: &mut Tx, number| {
        keys::create(tx, &key(number));
        tx.publish(Change::Key(Box::new(key(number))));
    };
    let mut tx = store.begin().await.unwrap();
    publish(&mut tx, 1);
    tx.keep().unwrap();
    publish(&mut tx, 2);
    tx.discard().await.unwrap();
    publish(&mut tx, 3);
    let is_there = async |tx: &mut Tx, number| {
        keys::find(tx.connection().await.unwrap(), KeyId::from_u128(number)).await.unwrap().is_some()
    };
    // Looking sends the kept one and the part's own; discarding takes back only the own.
    assert!(is_there(&mut tx, 1).await && !is_there(&mut tx, 2).await && is_there(&mut tx, 3).await);
    tx.discard().await.unwrap();
    assert!(is_there(&mut tx, 1).await && !is_there(&mut tx, 3).await);
    publish(&mut tx, 4);
    tx.keep().unwrap();
    publish(&mut tx, 5);
    assert_eq!(tx.commit(NOW).await.unwrap().len(), 3);
    let mut reader = store.read().await.unwrap();
    for (number, is_kept) in [(1, true), (2, false), (3, false), (4, true), (5, true)] {
        let found = keys::find(&mut reader, KeyId::from_u128(number)).await.unwrap();
        assert_eq!(found.is_some(), is_kept, "{number}");
    }
}

pub(crate) async fn a_shared_transaction_that_ends_early_leaves_nothing(store: Store) {
    let mut tx = store.begin().await.unwrap();
    put(&mut tx, 1).await;
    tx.keep().unwrap();
    drop(tx);
    let mut reader = store.read().await.unwrap();
    assert_eq!(feed::find_revision(&mut reader).await.unwrap(), Revision(0));
    assert_eq!(audit::find_head(&mut reader).await.unwrap().number, 0);
    assert!(organizations::find(&mut reader, OrganizationId::from_u128(1)).await.unwrap().is_none());
}

pub(crate) async fn audit_events_are_chained_found_and_never_altered(store: Store) {
    for number in 1..=3 {
        let mut tx = store.begin().await.unwrap();
        put(&mut tx, number).await;
        tx.record(event("beside", None));
        tx.commit(later(number as i64)).await.unwrap();
    }
    let mut reader = store.read().await.unwrap();
    let rows = audit::list_rows(&mut reader, 0, 100).await.unwrap();
    assert_eq!(rows.iter().map(|row| row.number).collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6]);
    let mut previous = FIRST_PREVIOUS_HASH;
    for row in &rows {
        previous = chain_hash(&previous, &row.body);
        assert!(row.hash == previous && row.columns_agree, "{row:?}");
    }
    let head = audit::find_head(&mut reader).await.unwrap();
    assert_eq!((head.number, head.hash), (6, previous));
    assert_eq!(audit::list_rows(&mut reader, 4, 1).await.unwrap(), rows[4..5]);
    let count = async |reader: &mut _, filter: AuditFilter| {
        let page = audit::list(reader, &filter, PageRequest { after: None, limit: 10 }).await.unwrap();
        page.rows.len()
    };
    let of = |number| AuditFilter { organization: Some(OrganizationId::from_u128(number)), ..AuditFilter::default() };
    assert_eq!(count(&mut reader, of(2)).await, 1);
    let by = |actor| AuditFilter { actor: Some(actor), ..AuditFilter::default() };
    assert_eq!(count(&mut reader, by(Author::Operator)).await, 6);
    assert_eq!(count(&mut reader, by(Author::System)).await, 0);
    let made = |action| AuditFilter { action: Some(action), ..AuditFilter::default() };
    assert_eq!(count(&mut reader, made(Action::OrganizationCreated)).await, 6);
    assert_eq!(count(&mut reader, made(Action::KeyCreated)).await, 0);
    let to = AuditFilter { target: Some("beside".to_owned()), ..AuditFilter::default() };
    assert_eq!(count(&mut reader, to.clone()).await, 3);
    let all_that_fits = AuditFilter { actor: Some(Author::Operator), action: Some(Action::OrganizationCreated), ..to };
    assert_eq!(count(&mut reader, all_that_fits.clone()).await, 3);
    assert_eq!(count(&mut reader, AuditFilter { actor: Some(Author::System), ..all_that_fits }).await, 0);
    let after = AuditFilter { since: Some(later(1)), ..AuditFilter::default() };
    assert_eq!(count(&mut reader, after).await, 0);
    let before = AuditFilter { until: Some(later(1)), ..AuditFilter::default() };
    assert_eq!(count(&mut reader, before).await, 6);
    let first = PageRequest { after: Some(3), limit: 1 };
    let page = audit::list(&mut reader, &AuditFilter::default(), first).await.unwrap();
    assert_eq!((page.rows[0].number(), page.more), (2, true));
}

pub(crate) async fn answers_are_kept_for_their_caller_and_forgotten(store: Store) {
    let attempt = |caller: &str, key, fingerprint| Attempt {
        caller: caller.to_owned(),
        key_digest: [key; 32],
        fingerprint: [fingerprint; 32],
    };
    let mine = attempt("key_1", 1, 7);
    let mut tx = store.begin().await.unwrap();
    idempotency::put(&mut tx, &mine, NOW, b"sealed".to_vec()).await.unwrap();
    // Nothing for followers: no revision.
    assert_eq!(tx.commit(NOW).await.unwrap(), []);
    let mut reader = store.read().await.unwrap();
    let kept = KeptAnswer { fingerprint: vec![7; 32], answer: b"sealed".to_vec(), created_at: NOW };
    assert_eq!(idempotency::find(&mut reader, &mine).await.unwrap(), Some(kept.clone()));
    assert_eq!(idempotency::find(&mut reader, &attempt("key_1", 1, 8)).await.unwrap(), Some(kept));
    assert_eq!(idempotency::find(&mut reader, &attempt("key_2", 1, 7)).await.unwrap(), None);
    assert_eq!(idempotency::find(&mut reader, &attempt("key_1", 2, 7)).await.unwrap(), None);
    drop(reader);
    let mut tx = store.begin().await.unwrap();
    assert_eq!(idempotency::delete_before(&mut tx, NOW, 10).await.unwrap(), 0);
    assert_eq!(idempotency::delete_before(&mut tx, later(1), 10).await.unwrap(), 1);
    assert_eq!(idempotency::find(tx.connection().await.unwrap(), &mine).await.unwrap(), None);
}

pub(crate) async fn old_test_keys_that_were_to_live_shortly_are_found(store: Store) {
    put_place(&store).await;
    let made_with = |number, environment| Key {
        environment,
        created_by: Creator::Key(KeyId::from_u128(1)),
        expires_at: Some(later(8)),
        ..key(number)
    };
    let test = Environment::Test;
    let child = Key {
        parent_id: Some(KeyId::from_u128(4)),
        kind: Kind::Ephemeral,
        created_at: later(50),
        ..made_with(5, test)
    };
    let planted = [
        Key { environment: test, expires_at: Some(later(1)), ..key(1) },
        Key { expires_at: None, ..made_with(7, test) },
        Key { expires_at: Some(later(9)), ..made_with(8, test) },
        made_with(2, Environment::Live),
        made_with(3, test),
        made_with(4, test),
        child,
        Key { created_at: later(50), ..made_with(6, test) },
    ];
    create_keys(&store, &planted).await;
    let mut reader = store.read().await.unwrap();
    let mut ids = async |before, limit| {
        let old = dead_keys::list_old_test(&mut reader, before, 8, limit).await.unwrap();
        let mut ids: Vec<u128> = old.iter().map(|key| key.id.as_u128()).collect();
        ids.sort_unstable();
        ids
    };
    // The operator's own stays, so do those without an expiry or with a late one, and a parent waits for its child.
    assert_eq!(ids(later(10), 10).await, [3]);
    assert_eq!(ids(later(60), 10).await, [3, 5, 6]);
    assert_eq!(ids(later(60), 1).await, [3]);
    assert_eq!(ids(NOW, 10).await, Vec::<u128>::new());
}

pub(crate) async fn many_keys_are_written_at_once(store: Store) {
    put_place(&store).await;
    let many: Vec<Key> = (1..=1300).map(key).collect();
    create_keys(&store, &many).await;
    let mut reader = store.read().await.unwrap();
    let api = "tork".parse().unwrap();
    assert_eq!(
        key_counts::count_live(&mut reader, OrganizationId::from_u128(1), &api, NOW).await.unwrap().standing,
        1300
    );
    for number in [1, 513, 1300] {
        assert_eq!(keys::find(&mut reader, KeyId::from_u128(number)).await.unwrap().unwrap().key, key(number));
    }
}

pub(crate) async fn digests_are_found_with_whose_they_are(store: Store) {
    put_place(&store).await;
    let digest = |number: u128| SecretDigest::of(&format!("secret {number}"));
    let mut rotated = key(2);
    rotated.old_secret = Some(OldSecret { digest: digest(1002), overlap_ends_at: NOW });
    create_keys(&store, &[vec![key(1), rotated], (3..=600).map(key).collect()].concat()).await;
    let mut reader = store.read().await.unwrap();
    let asked: Vec<SecretDigest> = (1..=2000).map(digest).collect();
    let found = keys::list_digest_owners(&mut reader, &asked).await.unwrap();
    let mut numbers: Vec<u128> =
        found.iter().map(|owner| (1..=2000).find(|number| digest(*number) == owner.digest).unwrap()).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, [(1..=600).collect(), vec![1002]].concat());
    let owner = |owner: &keys::DigestOwner| (owner.organization, owner.api.to_string());
    assert!(found.iter().all(|found| owner(found) == (OrganizationId::from_u128(1), "tork".to_owned())));
    assert_eq!(keys::list_digest_owners(&mut reader, &[digest(1002)]).await.unwrap().len(), 1);
    assert_eq!(keys::list_digest_owners(&mut reader, &[]).await.unwrap(), []);
}

pub(crate) async fn retired_digests_are_known_for_ever(store: Store) {
    put_place(&store).await;
    create_keys(&store, &[key(1), key(2)]).await;
    let digest = |number: u128| SecretDigest::of(&format!("lost {number}"));
    let mut tx = store.begin().await.unwrap();
    retired_digests::create_all(&mut tx, &key(1), &[digest(1), digest(2)], NOW).await.unwrap();
    retired_digests::create_all(&mut tx, &key(2), &[digest(3)], NOW).await.unwrap();
    tx.commit(NOW).await.unwrap();
    let asked = [digest(1), digest(2), digest(3), key(2).digest];
    let owners = async || {
        let mut reader = store.read().await.unwrap();
        let found = keys::list_digest_owners(&mut reader, &asked).await.unwrap();
        let place = |owner: &keys::DigestOwner| (owner.organization, owner.api.to_string());
        assert!(found.iter().all(|owner| place(owner) == (OrganizationId::from_u128(1), "tork".to_owned())));
        asked.map(|digest| found.iter().filter(|owner| owner.digest == digest).count())
    };
    assert_eq!(owners().await, [1, 1, 1, 1]);
    // A digest is lost once.
    let mut tx = store.begin().await.unwrap();
    let again = retired_digests::create_all(&mut tx, &key(2), &[digest(1)], NOW).await;
    assert!(matches!(again, Err(StoreError::Database(_))));
    drop(tx);
    // And for ever: it outlives its key.
    let mut tx = store.begin().await.unwrap();
    keys::delete(&mut tx, key(1).id).await.unwrap();
    tx.commit(NOW).await.unwrap();
    assert_eq!(owners().await, [1, 1, 1, 1]);
}

pub(crate) async fn a_database_keeps_its_identity(store: Store) {
    assert_eq!(store.identify([1; 16]).await.unwrap(), [1; 16]);
    assert_eq!(store.identify([2; 16]).await.unwrap(), [1; 16]);
}

pub(crate) async fn selected_keys_are_counted_and_listed_while_they_live(store: Store) {
    put_place(&store).await;
    let made_by = KeyId::from_u128(1);
    let dead = Revocation { at: NOW, reason: None };
    let all = [
        key(1),
        Key { created_by: Creator::Key(made_by), created_at: later(1), ..key(2) },
        Key { kind: Kind::Restricted, environment: Environment::Test, created_at: later(2), ..key(3) },
        Key { revocation: Some(dead), ..key(4) },
        Key { expires_at: Some(later(1)), ..key(5) },
    ];
    create_keys(&store, &all).await;
    let mut reader = store.read().await.unwrap();
    let every = Selection { organization: Some(OrganizationId::from_u128(1)), ..Selection::default() };
    let check = async |reader: &mut _, selection: Selection, expected: &[u128], revoked: i64| {
        let rows = keys::list_selected(reader, &selection, later(1), None, 10).await.unwrap();
        let found: Vec<_> = rows.iter().map(|row| row.key.id).collect();
        assert_eq!(found, expected.iter().map(|id| KeyId::from_u128(*id)).collect::<Vec<_>>(), "{selection:?}");
        let counted = keys::count_selected(reader, &selection, later(1)).await.unwrap();
        assert_eq!(counted, (expected.len() as i64, revoked), "{selection:?}");
    };
    check(&mut reader, every.clone(), &[1, 2, 3], 1).await;
    check(&mut reader, Selection::default(), &[1, 2, 3], 1).await;
    check(&mut reader, Selection { api: Some("example".parse().unwrap()), ..every.clone() }, &[], 0).await;
    let nobodys = Selection { organization: Some(OrganizationId::from_u128(99)), ..Selection::default() };
    check(&mut reader, nobodys, &[], 0).await;
    check(&mut reader, Selection { created_by: Some(Creator::Key(made_by)), ..every.clone() }, &[2], 0).await;
    check(&mut reader, Selection { kind: Some(Kind::Restricted), ..every.clone() }, &[3], 0).await;
    check(&mut reader, Selection { environment: Some(Environment::Live), ..every.clone() }, &[1, 2], 1).await;
    check(&mut reader, Selection { issued_before: Some(later(2)), ..every.clone() }, &[1, 2], 1).await;
    let past = Some(KeyId::from_u128(1));
    let rows = keys::list_selected(&mut reader, &every, NOW, past, 1).await.unwrap();
    assert_eq!(rows.iter().map(|row| row.key.id).collect::<Vec<_>>(), [KeyId::from_u128(2)]);

    let ids = [4, 99, 1, 4].map(KeyId::from_u128);
    let rows = keys::list_by_id(&mut reader, &ids).await.unwrap();
    assert_eq!(rows.iter().map(|row| row.key.id).collect::<Vec<_>>(), [ids[2], ids[0]]);
    assert_eq!(keys::list_by_id(&mut reader, &[]).await.unwrap(), []);
}
