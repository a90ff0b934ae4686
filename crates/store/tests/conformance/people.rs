//! Members and invitations.

use claviger_domain::alert::AlertKind;
use claviger_domain::id::{InvitationId, KeyId, MemberId, OrganizationId};
use claviger_domain::key::{Creator, Key, Revocation};
use claviger_domain::member::{Invitation, Member, Role};
use claviger_domain::secret::SecretDigest;
use claviger_store::keys::Made;
use claviger_store::{Store, StoreError, invitations, keys, members};

use crate::cases::{NOW, create_keys, key, later, put_place};

fn member(number: u128, role: Role) -> Member {
    Member {
        id: MemberId::from_u128(number),
        organization: OrganizationId::from_u128(1),
        email: format!("person{number}@example.com").parse().unwrap(),
        name: format!("Person {number}").parse().unwrap(),
        role,
        alert_mails: None,
        created_at: NOW,
    }
}

pub(crate) async fn members_are_put_found_and_deleted(store: Store) {
    put_place(&store).await;
    let mut tx = store.begin().await.unwrap();
    for one in [member(1, Role::Owner), member(2, Role::Viewer)] {
        members::put(&mut tx, &one).await.unwrap();
    }
    // Nothing chosen, nothing wanted and something wanted are three things.
    let chosen = |kinds: &[AlertKind]| Some(kinds.iter().copied().collect());
    for alert_mails in [chosen(&[]), None, chosen(&AlertKind::ALL), chosen(&[AlertKind::Quota80])] {
        let choosy = Member { alert_mails, ..member(2, Role::Viewer) };
        members::put(&mut tx, &choosy).await.unwrap();
        assert_eq!(members::find(tx.connection().await.unwrap(), choosy.id).await.unwrap(), Some(choosy));
    }
    let alert_mails = chosen(&[AlertKind::KeyAge90]);
    let renamed = Member { name: "Renamed".parse().unwrap(), alert_mails, ..member(2, Role::Owner) };
    members::put(&mut tx, &renamed).await.unwrap();
    tx.keep().unwrap();
    tx.commit(NOW).await.unwrap();
    let mut reader = store.read().await.unwrap();
    let organization = OrganizationId::from_u128(1);
    assert_eq!(members::find(&mut reader, renamed.id).await.unwrap().as_ref(), Some(&renamed));
    let found = members::find_by_email(&mut reader, organization, &renamed.email).await.unwrap();
    assert_eq!(found.as_ref(), Some(&renamed));
    let elsewhere = members::find_by_email(&mut reader, OrganizationId::from_u128(2), &renamed.email).await.unwrap();
    assert_eq!(elsewhere, None);
    assert_eq!(members::list(&mut reader, organization).await.unwrap(), [member(1, Role::Owner), renamed.clone()]);
    assert_eq!(members::count_of_role(&mut reader, organization, Role::Owner).await.unwrap(), 2);
    drop(reader);
    // One of each address.
    let mut tx = store.begin().await.unwrap();
    let twin = Member { email: renamed.email.clone(), ..member(3, Role::Viewer) };
    assert!(matches!(members::put(&mut tx, &twin).await, Err(StoreError::Database(_))));
    drop(tx);
    let mut tx = store.begin().await.unwrap();
    members::delete(&mut tx, renamed.id).await.unwrap();
    tx.keep().unwrap();
    tx.commit(NOW).await.unwrap();
    assert_eq!(members::list(&mut store.read().await.unwrap(), organization).await.unwrap().len(), 1);
}

pub(crate) async fn invitations_are_open_until_they_end(store: Store) {
    put_place(&store).await;
    let organization = OrganizationId::from_u128(1);
    let invitation = |number: u128| Invitation {
        id: InvitationId::from_u128(number),
        organization,
        email: "ada@example.com".parse().unwrap(),
        role: Role::Admin,
        created_at: NOW,
        expires_at: later(60),
    };
    let digest = |number: u128| SecretDigest::of(&format!("token {number}"));
    let mut tx = store.begin().await.unwrap();
    invitations::put(&mut tx, &invitation(1), &digest(1)).await.unwrap();
    // A later one to the same address takes its place.
    invitations::put(&mut tx, &invitation(2), &digest(2)).await.unwrap();
    let reader = tx.connection().await.unwrap();
    assert_eq!(invitations::find(reader, InvitationId::from_u128(1)).await.unwrap(), None);
    assert_eq!(invitations::find_by_digest(reader, &digest(1)).await.unwrap(), None);
    assert_eq!(invitations::find(reader, InvitationId::from_u128(2)).await.unwrap(), Some(invitation(2)));
    assert_eq!(invitations::find_by_digest(reader, &digest(2)).await.unwrap(), Some(invitation(2)));
    assert_eq!(invitations::list(reader, organization).await.unwrap(), [invitation(2)]);
    assert_eq!(invitations::delete_expired(&mut tx, later(60), 10).await.unwrap(), 0);
    assert_eq!(invitations::delete_expired(&mut tx, later(61), 10).await.unwrap(), 1);
    invitations::put(&mut tx, &invitation(3), &digest(3)).await.unwrap();
    invitations::delete(&mut tx, InvitationId::from_u128(3)).await.unwrap();
    assert_eq!(invitations::list(tx.connection().await.unwrap(), organization).await.unwrap(), []);
}

pub(crate) async fn keys_are_found_by_who_made_them(store: Store) {
    put_place(&store).await;
    let by = |number| Creator::Member(MemberId::from_u128(number));
    let with = Creator::Key(KeyId::from_u128(2));
    let planted = [
        key(1),
        Key { created_by: by(1), ..key(2) },
        Key { created_by: with, expires_at: Some(later(1)), ..key(3) },
        Key { created_by: with, revocation: Some(Revocation { at: NOW, reason: None }), ..key(4) },
    ];
    create_keys(&store, &planted).await;
    let mut reader = store.read().await.unwrap();
    let place = (OrganizationId::from_u128(1), key(1).api);
    for (creator, expected) in
        [(by(1), vec![place.clone()]), (with, vec![place.clone()]), (by(3), vec![]), (Creator::Operator, vec![])]
    {
        assert_eq!(keys::list_places_of_made(&mut reader, creator).await.unwrap(), expected, "{creator:?}");
    }
    let mut list = async |organization, now| {
        let mut made = keys::list_made(&mut reader, organization, &place.1, now).await.unwrap();
        made.sort_unstable_by_key(|made| made.id);
        made
    };
    let made = |number, created_by, is_alive| Made { id: KeyId::from_u128(number), created_by, is_alive };
    assert_eq!(list(place.0, NOW).await, [made(2, by(1), true), made(3, with, true), made(4, with, false)]);
    assert_eq!(list(place.0, later(1)).await, [made(2, by(1), true), made(3, with, false), made(4, with, false)]);
    assert_eq!(list(OrganizationId::from_u128(99), NOW).await, []);
}
