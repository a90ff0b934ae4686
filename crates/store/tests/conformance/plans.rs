//! Subscriptions, and keys that ended long ago.

use claviger_domain::id::{KeyId, OrganizationId};
use claviger_domain::key::{ApiName, Creator, Key, Kind, Revocation};
use claviger_domain::period::RunningPeriod;
use claviger_domain::subscription::{AnchorDay, BillingState, Subscription};
use claviger_store::dead_keys::{self, End};
use claviger_store::expiry::Mark;
use claviger_store::{Store, running_periods, subscriptions};

use crate::cases::{NOW, create_keys, key, later, put_place};

fn subscription(plan: &str) -> Subscription {
    Subscription {
        organization: OrganizationId::from_u128(1),
        api: "tork".parse().unwrap(),
        plan: plan.parse().unwrap(),
        state: BillingState::PastDue,
        state_since: later(-60),
        api_access: false,
        anchor_day: Some(AnchorDay::try_from(31).unwrap()),
        event_at: NOW,
    }
}

pub(crate) async fn subscriptions_are_put_found_and_counted(store: Store) {
    put_place(&store).await;
    let (organization, api) = (OrganizationId::from_u128(1), "tork".parse().unwrap());
    let mut tx = store.begin().await.unwrap();
    assert_eq!(tx.find_subscription(organization, &api).await.unwrap(), None);
    subscriptions::put(&mut tx, &subscription("free")).await.unwrap();
    // What was looked up before is looked up anew.
    assert_eq!(tx.find_subscription(organization, &api).await.unwrap(), Some(subscription("free")));
    let upgraded = Subscription {
        state: BillingState::Active,
        api_access: true,
        anchor_day: None,
        event_at: later(1),
        ..subscription("pro")
    };
    subscriptions::put(&mut tx, &upgraded).await.unwrap();
    tx.keep().unwrap();
    tx.commit(NOW).await.unwrap();
    let mut reader = store.read().await.unwrap();
    let found = subscriptions::find(&mut reader, organization, &api).await.unwrap();
    assert_eq!(found.as_ref(), Some(&upgraded));
    let other = OrganizationId::from_u128(2);
    assert_eq!(subscriptions::find(&mut reader, other, &api).await.unwrap(), None);
    let listed = subscriptions::list(&mut reader, organization).await.unwrap();
    assert_eq!(listed, std::slice::from_ref(&upgraded));
    assert_eq!(subscriptions::list(&mut reader, other).await.unwrap(), []);
    assert_eq!(subscriptions::list_all(&mut reader).await.unwrap(), [upgraded]);
    assert_eq!(subscriptions::count_by_plan(&mut reader, &api).await.unwrap(), [("pro".parse().unwrap(), 1)]);
}

pub(crate) async fn keys_that_ended_long_ago_are_found_and_their_makers_known(store: Store) {
    put_place(&store).await;
    let revoked = |number, at| Key { revocation: Some(Revocation { at: later(at), reason: None }), ..key(number) };
    let made_by = Creator::Key(KeyId::from_u128(2));
    let all = [
        key(1),
        revoked(2, 5),
        Key { expires_at: Some(later(5)), created_by: made_by, ..key(3) },
        revoked(4, 50),
        // Ephemeral keys are not among them, nor who has some.
        Key { kind: Kind::Ephemeral, parent_id: Some(KeyId::from_u128(6)), expires_at: Some(later(1)), ..key(5) },
        revoked(6, 5),
        revoked(7, 6),
    ];
    create_keys(&store, &all).await;
    let mut reader = store.read().await.unwrap();
    let dead = async |reader: &mut _, end, past, limit| {
        let found = dead_keys::list_dead(reader, end, later(7), past, limit).await.unwrap();
        found.iter().map(|key| key.id.as_u128()).collect::<Vec<_>>()
    };
    assert_eq!(dead(&mut reader, End::Revoked, Mark::FIRST, 10).await, [2, 7]);
    assert_eq!(dead(&mut reader, End::Expired, Mark::FIRST, 10).await, [3]);
    assert_eq!(dead(&mut reader, End::Revoked, Mark::FIRST, 1).await, [2]);
    assert_eq!(End::Expired.mark(&all[1]), None);
    for (end, ended, left) in [(End::Revoked, &all[1], vec![7]), (End::Expired, &all[2], vec![])] {
        let past = end.mark(ended).unwrap();
        assert_eq!(past, Mark { at: later(5), key: ended.id });
        assert_eq!(dead(&mut reader, end, past, 10).await, left);
    }
    let ids = [2, 3, 7].map(KeyId::from_u128);
    assert_eq!(dead_keys::list_makers_among(&mut reader, &ids).await.unwrap(), [KeyId::from_u128(2)]);
    assert_eq!(dead_keys::list_makers_among(&mut reader, &[]).await.unwrap(), []);
}

pub(crate) async fn running_periods_are_kept_by_account(store: Store) {
    put_place(&store).await;
    let account = (OrganizationId::from_u128(1), "tork".parse::<ApiName>().unwrap());
    for running in [RunningPeriod { number: 672, since: 491_000 }, RunningPeriod { number: 673, since: 491_720 }] {
        let mut tx = store.begin().await.unwrap();
        running_periods::put(&mut tx, &account, running).await.unwrap();
        tx.commit(NOW).await.unwrap();
        let mut reader = store.read().await.unwrap();
        assert_eq!(running_periods::find(&mut reader, account.0, &account.1).await.unwrap(), Some(running));
        assert_eq!(running_periods::list_all(&mut reader).await.unwrap(), [(account.clone(), running)]);
    }
    let mut reader = store.read().await.unwrap();
    let other = OrganizationId::from_u128(2);
    assert_eq!(running_periods::find(&mut reader, other, &account.1).await.unwrap(), None);
}
