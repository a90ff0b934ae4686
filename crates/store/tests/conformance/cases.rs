//! The cases: each a function of an empty store.

use claviger_domain::change::{Change, Revision, Verifier};
use claviger_domain::definition::{Api, Definition};
use claviger_domain::id::{AdminTokenId, KeyId, OrganizationId, VerifierId};
use claviger_domain::key::{Creator, Environment, Key, Kind, OldSecret, Revocation, State};
use claviger_domain::organization::{Organization, OrganizationStatus};
use claviger_domain::period::TimeZone;
use claviger_domain::secret::SecretDigest;
use claviger_domain::time::Timestamp;
use claviger_store::admin_tokens::AdminToken;
use claviger_store::dead_keys::{self, End};
use claviger_store::key_counts;
use claviger_store::keys::KeyFilter;
use claviger_store::{
    Connection, PageRequest, Store, StoreError, Tx, admin_tokens, apis, feed, keys, organizations, verifiers,
};

pub(crate) const NOW: Timestamp = Timestamp::from_micros(1_767_225_600_000_000);

pub(crate) fn later(seconds: i64) -> Timestamp {
    NOW.plus_seconds(seconds).unwrap()
}

pub(crate) fn api() -> Api {
    let definition = Definition::parse(include_str!("../../../../apis/tork.toml")).unwrap();
    Api { definition, retired_formats: Vec::new() }
}

pub(crate) fn organization(number: u128) -> Organization {
    Organization {
        id: OrganizationId::from_u128(number),
        name: format!("organization {number}").parse().unwrap(),
        status: OrganizationStatus::Active,
        time_zone: TimeZone::UTC,
        created_at: NOW,
    }
}

pub(crate) fn key(number: u128) -> Key {
    Key {
        id: KeyId::from_u128(number),
        organization: OrganizationId::from_u128(1),
        api: "tork".parse().unwrap(),
        name: format!("key {number}").parse().unwrap(),
        kind: Kind::Secret,
        environment: Environment::Live,
        prefix: "tork_sk_".to_owned(),
        hint: "abcd".to_owned(),
        digest: SecretDigest::of(&format!("secret {number}")),
        old_secret: None,
        scopes: serde_json::from_str(r#"["*"]"#).unwrap(),
        restrictions: serde_json::from_str("{}").unwrap(),
        parent_id: None,
        metadata: serde_json::from_str("{}").unwrap(),
        disabled: false,
        revocation: None,
        created_at: NOW,
        created_by: Creator::Operator,
        expires_at: None,
        rotated_at: None,
    }
}

async fn commit(mut tx: Tx, change: Change) -> Revision {
    tx.publish(change);
    tx.commit(NOW).await.unwrap().last().unwrap().revision
}

async fn put_organization(store: &Store, number: u128) -> Revision {
    let mut tx = store.begin().await.unwrap();
    organizations::put(&mut tx, &organization(number)).await.unwrap();
    commit(tx, Change::Organization(organization(number))).await
}

/// Keys need an api and an organization.
pub(crate) async fn put_place(store: &Store) {
    let mut tx = store.begin().await.unwrap();
    apis::put(&mut tx, &api()).await.unwrap();
    organizations::put(&mut tx, &organization(1)).await.unwrap();
    commit(tx, Change::Api(Box::new(api()))).await;
}

pub(crate) async fn create_keys(store: &Store, created: &[Key]) -> Revision {
    let mut tx = store.begin().await.unwrap();
    keys::create_all(&mut tx, created);
    for key in created {
        tx.publish(Change::Key(Box::new(key.clone())));
    }
    tx.commit(NOW).await.unwrap().last().unwrap().revision
}

pub(crate) async fn revisions_count_committed_transactions_without_gaps(store: Store) {
    assert_eq!(put_organization(&store, 1).await, Revision(1));
    let mut abandoned = store.begin().await.unwrap();
    organizations::put(&mut abandoned, &organization(2)).await.unwrap();
    drop(abandoned);
    assert_eq!(put_organization(&store, 3).await, Revision(2));
    let mut reader = store.read().await.unwrap();
    assert_eq!(feed::find_revision(&mut reader).await.unwrap(), Revision(2));
    assert_eq!(organizations::find(&mut reader, OrganizationId::from_u128(2)).await.unwrap(), None);
    let transactions = feed::list_transactions(&mut reader, Revision(0), 10).await.unwrap();
    let expected = [(1, 1), (2, 3)].map(|(revision, number)| feed::Transaction {
        revision: Revision(revision),
        changes: vec![Change::Organization(organization(number))],
    });
    assert_eq!(transactions, expected);
    assert_eq!(feed::list_transactions(&mut reader, Revision(2), 10).await.unwrap(), []);
    assert_eq!(feed::list_transactions(&mut reader, Revision(0), 1).await.unwrap().len(), 1);
}

pub(crate) async fn concurrent_writers_take_turns(store: Store) {
    let writers = (1..=20).map(|number| {
        let store = store.clone();
        tokio::spawn(async move { put_organization(&store, number).await })
    });
    let mut revisions = Vec::new();
    for writer in writers.collect::<Vec<_>>() {
        revisions.push(writer.await.unwrap().0);
    }
    revisions.sort_unstable();
    assert_eq!(revisions, (1..=20).collect::<Vec<_>>());
}

pub(crate) async fn old_transactions_are_forgotten_but_never_the_newest(store: Store) {
    for number in 1..=3 {
        put_organization(&store, number).await;
    }
    let mut tx = store.begin().await.unwrap();
    let deleted = feed::delete_transactions_before(&mut tx, later(1), 10).await.unwrap();
    assert_eq!((deleted, commit(tx, Change::Organization(organization(4))).await), (2, Revision(4)));
    let mut reader = store.read().await.unwrap();
    let left = feed::list_transactions(&mut reader, Revision(0), 10).await.unwrap();
    assert_eq!(left.iter().map(|transaction| transaction.revision.0).collect::<Vec<_>>(), [3, 4]);
}

pub(crate) async fn incarnations_count_up(store: Store) {
    assert_eq!(store.next_incarnation(0).await.unwrap(), 1);
    assert_eq!(store.next_incarnation(0).await.unwrap(), 2);
    assert_eq!(store.next_incarnation(2).await.unwrap(), 3);
    assert_eq!(store.next_incarnation(7).await.unwrap(), 8);
    store.close().await;
}

pub(crate) async fn who_was_superseded_writes_nothing(store: Store) {
    store.next_incarnation(0).await.unwrap();
    let mut tx = store.begin().await.unwrap();
    store.stand_guard().await.unwrap();
    // As another process does when it starts.
    let raise = "UPDATE deployment SET incarnation = incarnation + 1";
    match tx.connection().await.unwrap() {
        Connection::Sqlite(tx) => drop(sqlx::query(raise).execute(&mut **tx).await.unwrap()),
        Connection::Postgres { tx, .. } => drop(sqlx::query(raise).execute(&mut **tx).await.unwrap()),
    }
    tx.commit(NOW).await.unwrap();
    assert!(matches!(store.begin().await, Err(StoreError::Superseded)));
    // A file has a lock that cannot be lost.
    let is_on_postgres = matches!(store.read().await.unwrap(), Connection::Postgres { .. });
    assert_eq!(matches!(store.stand_guard().await, Err(StoreError::Superseded)), is_on_postgres);
}

/// SQLite undoes a transaction by itself when a disk is full, for example.
pub(crate) async fn a_transaction_that_the_database_gave_up_is_not_committed(store: Store) {
    put_place(&store).await;
    let mut tx = store.begin().await.unwrap();
    let before = tx.revision_before();
    keys::create(&mut tx, &key(1));
    tx.publish(Change::Key(Box::new(key(1))));
    tx.keep().unwrap();
    let Connection::Sqlite(connection) = tx.connection().await.unwrap() else { return };
    sqlx::raw_sql("ROLLBACK").execute(&mut **connection).await.unwrap();
    // Whoever comes next is in no transaction any more, and does not notice.
    keys::create(&mut tx, &key(2));
    assert!(matches!(tx.commit(NOW).await, Err(StoreError::Database(_))));
    let mut reader = store.read().await.unwrap();
    assert_eq!(feed::find_revision(&mut reader).await.unwrap(), before);
    for number in [1, 2] {
        assert_eq!(keys::find(&mut reader, KeyId::from_u128(number)).await.unwrap(), None);
    }
    drop(reader);
    // The next transaction is in order again.
    create_keys(&store, &[key(1)]).await;
}

pub(crate) async fn apis_are_put_found_and_listed(store: Store) {
    put_place(&store).await;
    let redefined = Api { retired_formats: api().definition.formats().to_vec(), ..api() };
    let mut tx = store.begin().await.unwrap();
    apis::put(&mut tx, &redefined).await.unwrap();
    tx.commit(NOW).await.unwrap();
    let mut reader = store.read().await.unwrap();
    assert_eq!(apis::find(&mut reader, &"tork".parse().unwrap()).await.unwrap().as_ref(), Some(&redefined));
    assert_eq!(apis::find(&mut reader, &"other".parse().unwrap()).await.unwrap(), None);
    assert_eq!(apis::list(&mut reader).await.unwrap(), [redefined]);
}

pub(crate) async fn organizations_are_put_found_and_paged(store: Store) {
    for number in 1..=5 {
        put_organization(&store, number).await;
    }
    let suspended = Organization { status: OrganizationStatus::Suspended, ..organization(3) };
    let mut tx = store.begin().await.unwrap();
    organizations::put(&mut tx, &suspended).await.unwrap();
    tx.commit(NOW).await.unwrap();
    let mut reader = store.read().await.unwrap();
    assert_eq!(organizations::find(&mut reader, suspended.id).await.unwrap(), Some(suspended));
    let page = organizations::list(&mut reader, PageRequest { after: None, limit: 3 }).await.unwrap();
    assert_eq!(page.rows.iter().map(|row| row.id.as_u128()).collect::<Vec<_>>(), [5, 4, 3]);
    assert!(page.more);
    let after = PageRequest { after: Some(page.rows[2].id), limit: 3 };
    let page = organizations::list(&mut reader, after).await.unwrap();
    assert_eq!((page.rows.len(), page.more), (2, false));
    assert_eq!(organizations::list_all(&mut reader).await.unwrap().len(), 5);
}

pub(crate) async fn keys_keep_every_field(store: Store) {
    put_place(&store).await;
    let plain = key(1);
    let created = create_keys(&store, std::slice::from_ref(&plain)).await;
    let full = Key {
        name: "Ümläut \u{1f511} 'quoted' \"name\"".parse().unwrap(),
        prefix: "tork_live_".to_owned(),
        hint: "wxyz".to_owned(),
        digest: SecretDigest::of("another secret"),
        old_secret: Some(OldSecret { digest: SecretDigest::of("secret 1"), overlap_ends_at: later(5) }),
        scopes: serde_json::from_str(r#"["api_keys:read", "evaluate"]"#).unwrap(),
        restrictions: serde_json::from_str(
            r#"{"ip": ["10.0.0.0/8", "2001:db8::/32"], "referrer": [], "endpoint": ["GET /api/v1/*"]}"#,
        )
        .unwrap(),
        metadata: serde_json::from_str(r#"{"z": 1, "a": {"b": [null, "\u0000"]}}"#).unwrap(),
        disabled: true,
        revocation: Some(Revocation { at: later(9), reason: Some("leaked".to_owned()) }),
        expires_at: Some(later(1000)),
        rotated_at: Some(later(3)),
        ..plain.clone()
    };
    let mut reader = store.read().await.unwrap();
    let row = keys::find(&mut reader, plain.id).await.unwrap().unwrap();
    assert_eq!((row.key, row.last_used, row.revision), (plain.clone(), None, created));
    drop(reader);
    let mut tx = store.begin().await.unwrap();
    keys::update(&mut tx, &full).await.unwrap();
    let updated = commit(tx, Change::Key(Box::new(full.clone()))).await;
    let mut reader = store.read().await.unwrap();
    let row = keys::find(&mut reader, plain.id).await.unwrap().unwrap();
    assert_eq!((row.key, row.revision), (full, updated));
    assert_eq!(keys::find(&mut reader, KeyId::from_u128(99)).await.unwrap(), None);
}

pub(crate) async fn overlaps_and_restrictions_are_found_while_they_last(store: Store) {
    put_place(&store).await;
    let overlap = Some(OldSecret { digest: SecretDigest::of("old"), overlap_ends_at: later(5) });
    let restrictions: claviger_domain::restriction::Restrictions = serde_json::from_str(r#"{"ip": []}"#).unwrap();
    let restricted = |number| Key { restrictions: restrictions.clone(), expires_at: Some(later(9)), ..key(number) };
    create_keys(&store, &[Key { old_secret: overlap, ..key(1) }, restricted(2), restricted(3)]).await;
    let mut reader = store.read().await.unwrap();
    let api = "tork".parse().unwrap();
    assert!(keys::has_overlap(&mut reader, &api, later(4)).await.unwrap());
    assert!(!keys::has_overlap(&mut reader, &api, later(5)).await.unwrap());
    assert!(!keys::has_overlap(&mut reader, &"other".parse().unwrap(), NOW).await.unwrap());
    assert_eq!(keys::list_restrictions(&mut reader, &api, NOW).await.unwrap(), [restrictions]);
    assert_eq!(keys::list_restrictions(&mut reader, &api, later(9)).await.unwrap(), []);
}

pub(crate) async fn keys_are_listed_by_every_filter(store: Store) {
    put_place(&store).await;
    put_organization(&store, 2).await;
    let all = [
        key(1),
        Key { disabled: true, ..key(2) },
        Key { expires_at: Some(later(10)), ..key(3) },
        Key { revocation: Some(Revocation { at: NOW, reason: None }), disabled: true, ..key(4) },
        Key { parent_id: Some(KeyId::from_u128(1)), kind: Kind::Ephemeral, environment: Environment::Test, ..key(5) },
        Key { organization: OrganizationId::from_u128(2), ..key(6) },
    ];
    create_keys(&store, &all).await;
    let list = async |filter: KeyFilter, now: Timestamp| {
        let mut reader = store.read().await.unwrap();
        let page = keys::list(&mut reader, &filter, now, PageRequest { after: None, limit: 10 }).await.unwrap();
        page.rows.iter().map(|row| row.key.id.as_u128()).collect::<Vec<_>>()
    };
    let state = |state| KeyFilter { state: Some(state), ..KeyFilter::default() };
    assert_eq!(list(KeyFilter::default(), NOW).await, [6, 5, 4, 3, 2, 1]);
    assert_eq!(list(state(State::Active), NOW).await, [6, 5, 3, 1]);
    assert_eq!(list(state(State::Active), later(10)).await, [6, 5, 1]);
    assert_eq!(list(state(State::Expired), later(10)).await, [3]);
    assert_eq!(list(state(State::Expired), later(9)).await, []);
    assert_eq!(list(state(State::Disabled), NOW).await, [2]);
    assert_eq!(list(state(State::Revoked), NOW).await, [4]);
    let of_second = KeyFilter { organization: Some(OrganizationId::from_u128(2)), ..KeyFilter::default() };
    assert_eq!(list(of_second, NOW).await, [6]);
    assert_eq!(list(KeyFilter { kind: Some(Kind::Ephemeral), ..KeyFilter::default() }, NOW).await, [5]);
    assert_eq!(list(KeyFilter { environment: Some(Environment::Test), ..KeyFilter::default() }, NOW).await, [5]);
    assert_eq!(list(KeyFilter { parent_id: Some(KeyId::from_u128(1)), ..KeyFilter::default() }, NOW).await, [5]);
    assert_eq!(list(KeyFilter { api: Some("other".parse().unwrap()), ..KeyFilter::default() }, NOW).await, []);
    let mut reader = store.read().await.unwrap();
    let after = PageRequest { after: Some(KeyId::from_u128(4)), limit: 2 };
    let page = keys::list(&mut reader, &KeyFilter::default(), NOW, after).await.unwrap();
    assert_eq!(page.rows.iter().map(|row| row.key.id.as_u128()).collect::<Vec<_>>(), [3, 2]);
    assert!(page.more);
}

pub(crate) async fn keys_are_counted_and_summed_up(store: Store) {
    put_place(&store).await;
    let narrow = serde_json::from_str(r#"["evaluate"]"#).unwrap();
    let all = [
        key(1),
        Key { scopes: narrow, prefix: "tork_rk_".to_owned(), ..key(2) },
        Key { expires_at: Some(NOW), ..key(3) },
        Key { revocation: Some(Revocation { at: NOW, reason: None }), ..key(4) },
        Key { disabled: true, ..key(5) },
        Key { kind: Kind::Ephemeral, parent_id: Some(KeyId::from_u128(1)), expires_at: Some(later(1)), ..key(6) },
        Key { kind: Kind::Ephemeral, parent_id: Some(KeyId::from_u128(1)), expires_at: Some(NOW), ..key(7) },
    ];
    create_keys(&store, &all).await;
    let mut reader = store.read().await.unwrap();
    let (organization, api) = (OrganizationId::from_u128(1), "tork".parse().unwrap());
    let counts = |standing, enabled, ephemeral| key_counts::KeyCounts { standing, enabled, ephemeral };
    assert_eq!(key_counts::count_live(&mut reader, organization, &api, NOW).await.unwrap(), counts(3, 2, 1));
    assert_eq!(key_counts::count_kept(&mut reader, organization, &api).await.unwrap(), counts(5, 4, 2));
    let beyond = async |reader: &mut _, oldest| {
        let keys = key_counts::list_enabled_beyond(reader, organization, &api, NOW, oldest).await.unwrap();
        keys.iter().map(|key| key.id.as_u128()).collect::<Vec<_>>()
    };
    assert_eq!(beyond(&mut reader, 0).await, [1, 2]);
    assert_eq!(beyond(&mut reader, 1).await, [2]);
    assert_eq!(keys::list_prefixes(&mut reader, &api).await.unwrap(), ["tork_rk_", "tork_sk_"]);
    let mut sets = keys::list_scope_sets(&mut reader, &api, NOW).await.unwrap();
    assert_eq!(keys::list_restrictions(&mut reader, &api, NOW).await.unwrap(), []);
    assert!(!keys::has_overlap(&mut reader, &api, NOW).await.unwrap());
    sets.sort_by_key(|(_, count)| *count);
    assert_eq!(sets.iter().map(|(_, count)| *count).collect::<Vec<_>>(), [1, 3]);
}

pub(crate) async fn dead_ephemeral_keys_are_found_and_deleted(store: Store) {
    put_place(&store).await;
    let child = |number, dies| Key {
        kind: Kind::Ephemeral,
        parent_id: Some(KeyId::from_u128(1)),
        expires_at: Some(later(dies)),
        ..key(number)
    };
    let revoked = Revocation { at: later(3), reason: None };
    let planted = [
        key(1),
        child(2, 5),
        child(3, 6),
        child(4, 50),
        Key { expires_at: Some(later(1)), ..key(5) },
        Key { revocation: Some(revoked.clone()), ..child(6, 50) },
        Key { revocation: Some(revoked.clone()), ..child(7, 6) },
        Key { revocation: Some(revoked), ..key(8) },
    ];
    create_keys(&store, &planted).await;
    let mut tx = store.begin().await.unwrap();
    let list = async |tx: &mut Tx, end, limit| {
        let reader = tx.connection().await.unwrap();
        let found = dead_keys::list_dead_ephemeral(reader, end, later(7), limit).await.unwrap();
        let mut ids: Vec<KeyId> = found.iter().map(|key| key.id).collect();
        ids.sort_unstable();
        ids
    };
    assert_eq!(list(&mut tx, End::Revoked, 10).await, [6, 7].map(KeyId::from_u128));
    let dead = list(&mut tx, End::Expired, 10).await;
    assert_eq!(dead, [2, 3, 7].map(KeyId::from_u128));
    assert_eq!(list(&mut tx, End::Expired, 1).await, [KeyId::from_u128(2)]);
    keys::delete(&mut tx, dead[0]).await.unwrap();
    tx.commit(NOW).await.unwrap();
    let mut reader = store.read().await.unwrap();
    assert_eq!(keys::find(&mut reader, dead[0]).await.unwrap(), None);
}

pub(crate) async fn a_digest_belongs_to_one_key(store: Store) {
    put_place(&store).await;
    create_keys(&store, &[key(1)]).await;
    let mut tx = store.begin().await.unwrap();
    let twin = Key { digest: key(1).digest, ..key(2) };
    keys::create(&mut tx, &twin);
    assert!(matches!(tx.connection().await, Err(StoreError::Database(_))));
    drop(tx);
    let mut tx = store.begin().await.unwrap();
    keys::create(&mut tx, &twin);
    assert!(matches!(tx.commit(NOW).await, Err(StoreError::Database(_))));
}

pub(crate) async fn verifiers_and_admin_tokens_live_and_die(store: Store) {
    let verifier = Verifier {
        id: VerifierId::from_u128(1),
        name: "edge".parse().unwrap(),
        digest: SecretDigest::of("verifier"),
        created_at: NOW,
        revoked_at: None,
    };
    let token =
        AdminToken { id: AdminTokenId::from_u128(1), name: "ci".parse().unwrap(), created_at: NOW, revoked_at: None };
    let digest = SecretDigest::of("admin");
    let mut tx = store.begin().await.unwrap();
    verifiers::put(&mut tx, &verifier).await.unwrap();
    admin_tokens::create(&mut tx, &token, &digest).await.unwrap();
    tx.commit(NOW).await.unwrap();
    let mut reader = store.read().await.unwrap();
    assert_eq!(verifiers::find(&mut reader, verifier.id).await.unwrap(), Some(verifier.clone()));
    assert_eq!(admin_tokens::find_by_digest(&mut reader, &digest).await.unwrap(), Some(token.clone()));
    assert_eq!(admin_tokens::find_by_digest(&mut reader, &SecretDigest::of("other")).await.unwrap(), None);
    assert_eq!(admin_tokens::list(&mut reader).await.unwrap(), std::slice::from_ref(&token));
    drop(reader);
    let mut tx = store.begin().await.unwrap();
    verifiers::put(&mut tx, &Verifier { revoked_at: Some(later(1)), ..verifier.clone() }).await.unwrap();
    admin_tokens::revoke(&mut tx, token.id, later(1)).await.unwrap();
    let revoked = admin_tokens::find(tx.connection().await.unwrap(), token.id).await.unwrap().unwrap();
    assert_eq!(revoked.revoked_at, Some(later(1)));
    assert_eq!(admin_tokens::find(tx.connection().await.unwrap(), AdminTokenId::from_u128(9)).await.unwrap(), None);
    tx.commit(NOW).await.unwrap();
    let mut reader = store.read().await.unwrap();
    assert_eq!(admin_tokens::find_by_digest(&mut reader, &digest).await.unwrap(), Some(revoked));
    assert_eq!(verifiers::list(&mut reader).await.unwrap()[0].revoked_at, Some(later(1)));
}

pub(crate) async fn a_view_does_not_move(store: Store) {
    put_organization(&store, 1).await;
    let mut reader = store.read().await.unwrap();
    assert_eq!(organizations::list_all(&mut reader).await.unwrap().len(), 1);
    put_organization(&store, 2).await;
    assert_eq!(organizations::list_all(&mut reader).await.unwrap().len(), 1);
    assert_eq!(feed::find_revision(&mut reader).await.unwrap(), Revision(1));
}
