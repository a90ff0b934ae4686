//! Cases about networks: those of keys, and those that unknown keys come from.

use claviger_domain::id::KeyId;
use claviger_domain::key::ApiName;
use claviger_domain::limits::{KEY_NETWORKS_MAX, UNKNOWN_KEY_NETWORKS_MAX};
use claviger_domain::network::Network;
use claviger_store::{Store, networks};

use crate::cases::{NOW, later};

const DAY: i64 = 24 * 3600;

fn key(number: u128) -> KeyId {
    KeyId::from_u128(number)
}

fn network(number: usize) -> Network {
    Network::of([10, (number >> 8) as u8, number as u8, 1].into())
}

fn api(name: &str) -> ApiName {
    name.parse().unwrap()
}

pub(crate) async fn networks_of_keys_are_kept_with_their_first_and_last_use(store: Store) {
    let of_key = async |number| {
        let mut reader = store.read().await.unwrap();
        let found = networks::list_of_key(&mut reader, key(number)).await.unwrap();
        found.into_iter().map(|one| (one.network, one.first_seen, one.last_seen)).collect::<Vec<_>>()
    };
    let six: Network = "2001:db8:7::/48".parse().unwrap();
    // Twice in a batch, and not in order.
    let batch = [(key(1), network(1), later(60)), (key(1), six, later(10)), (key(1), network(1), NOW)];
    networks::put_callers(&store, &batch).await.unwrap();
    assert_eq!(of_key(1).await, [(network(1), NOW, later(60)), (six, later(10), later(10))]);
    networks::put_callers(&store, &[(key(1), network(1), later(DAY)), (key(2), six, NOW)]).await.unwrap();
    // One that comes late takes nothing back.
    networks::put_callers(&store, &[(key(1), network(1), later(30))]).await.unwrap();
    networks::put_callers(&store, &[]).await.unwrap();
    assert_eq!(of_key(1).await, [(network(1), NOW, later(DAY)), (six, later(10), later(10))]);
    assert_eq!((of_key(2).await.len(), of_key(3).await.len()), (1, 0));

    let many: Vec<_> = (0..2 * KEY_NETWORKS_MAX).map(|number| (key(3), network(number), NOW)).collect();
    networks::put_callers(&store, &many).await.unwrap();
    networks::put_callers(&store, &[(key(3), network(1), later(DAY)), (key(3), six, NOW)]).await.unwrap();
    let kept = of_key(3).await;
    assert_eq!(kept.len(), KEY_NETWORKS_MAX);
    assert!(kept.contains(&(network(1), NOW, later(DAY))), "what is known is kept up to date");

    assert!(networks::forget_callers(&store, later(DAY), 10).await.unwrap());
    while networks::forget_callers(&store, later(DAY), 50).await.unwrap() {}
    assert_eq!((of_key(1).await.len(), of_key(2).await.len(), of_key(3).await.len()), (1, 0, 1));
}

pub(crate) async fn keys_with_new_networks_are_found_in_pages(store: Store) {
    let week = 7 * DAY;
    let mut callers = Vec::new();
    for number in 1..=5 {
        callers.push((key(number), network(1), NOW));
        // One that is too soon, and four that are not.
        callers.push((key(number), network(2), later(week - i64::from(number == 3))));
    }
    // All new, and all old.
    callers.extend([(key(6), network(1), later(week)), (key(7), network(1), NOW)]);
    networks::put_callers(&store, &callers).await.unwrap();
    let list = async |since, past, limit| {
        let mut reader = store.read().await.unwrap();
        networks::list_keys_with_new(&mut reader, later(since), week, past, limit).await.unwrap()
    };
    assert_eq!(list(week, None, 10).await, [1, 2, 4, 5].map(key));
    assert_eq!(list(0, None, 2).await, [1, 2].map(key));
    assert_eq!(list(0, Some(key(2)), 2).await, [4, 5].map(key));
    assert_eq!(list(week + 1, None, 10).await, []);
}

pub(crate) async fn unknown_keys_are_added_up_and_forgotten_by_the_hour(store: Store) {
    let list = async |name: Option<&str>, from, until, limit| {
        let mut reader = store.read().await.unwrap();
        let name = name.map(api);
        networks::list_unknown_keys(&mut reader, name.as_ref(), &(from..until), limit).await.unwrap()
    };
    let call = |name: &str, from: Option<Network>, calls| (api(name), format!("{name}_live_"), from, calls);
    let batch = [call("tork", Some(network(1)), 3), call("tork", None, 1), call("saas", Some(network(1)), 2)];
    networks::add_unknown_keys(&store, 100, &batch).await.unwrap();
    networks::add_unknown_keys(&store, 100, &[call("tork", Some(network(1)), 4)]).await.unwrap();
    networks::add_unknown_keys(&store, 102, &[call("tork", Some(network(1)), 5)]).await.unwrap();
    let all = list(None, 100, 103, 10).await;
    let seen: Vec<_> = all.iter().map(|row| (row.api.as_str(), row.network, row.calls, row.hours)).collect();
    let first = ("tork", Some(network(1)), 12, (100, 102));
    assert_eq!(seen, [first, ("saas", Some(network(1)), 2, (100, 100)), ("tork", None, 1, (100, 100))]);
    assert_eq!(all[0].prefix, "tork_live_");
    assert_eq!((list(None, 100, 103, 1).await.len(), list(Some("saas"), 0, 200, 10).await.len()), (1, 1));
    assert_eq!((list(None, 101, 102, 10).await, list(None, 102, 103, 10).await[0].calls), (vec![], 5));

    let flood: Vec<_> =
        (0..UNKNOWN_KEY_NETWORKS_MAX + 500).map(|number| call("tork", Some(network(number)), 1)).collect();
    networks::add_unknown_keys(&store, 103, &flood).await.unwrap();
    networks::add_unknown_keys(&store, 103, &flood).await.unwrap();
    let flooded = list(None, 103, 104, 5000).await;
    let (calls, others) = (flooded.iter().map(|row| row.calls).sum::<i64>(), flooded[0].clone());
    assert_eq!((calls, flooded.len()), (2 * flood.len() as i64, UNKNOWN_KEY_NETWORKS_MAX + 1));
    assert_eq!((others.network, others.calls), (None, 1000));

    assert!(networks::forget_unknown_keys(&store, 103).await.unwrap());
    assert!(networks::forget_unknown_keys(&store, 103).await.unwrap());
    assert!(!networks::forget_unknown_keys(&store, 103).await.unwrap());
    assert_eq!((list(None, 0, 103, 10).await, list(None, 0, 200, 5000).await.len()), (vec![], flooded.len()));
}
