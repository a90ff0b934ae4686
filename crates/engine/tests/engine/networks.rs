//! From where: which networks keys are used from, and who presents keys that are nobody's.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use claviger_domain::change::Change;
use claviger_domain::denial::Denial;
use claviger_domain::key::{Environment, Key, Kind};
use claviger_engine::{Engine, UnknownKeyCalls};

use crate::support::{Ask, START, acme, at, engine, key, revoked, secret};

fn with_key(key: Key) -> Engine {
    engine(vec![Change::Api(Box::new(acme())), Change::Key(Box::new(key))])
}

/// Key and network of what is noted.
fn noted(engine: &Engine) -> Vec<(u128, String)> {
    let callers = engine.take_callers();
    callers.iter().map(|caller| (caller.key.as_u128(), caller.network.to_string())).collect()
}

#[test]
fn each_network_of_a_key_is_noted_once_a_day() {
    let clear = secret(&acme(), "live", 1);
    let engine = with_key(key(7, &clear));
    let from = |ip, now| Ask { now, ip, ..Ask::with(&clear) }.decision(&engine);
    for ip in ["198.51.100.7", "198.51.100.200", "::ffff:198.51.100.9", "2001:db8:1::1", "2001:db8:1:ffff::2"] {
        from(Some(ip), START).unwrap();
    }
    let both = [(7, "198.51.100.0/24".to_owned()), (7, "2001:db8:1::/48".to_owned())];
    assert_eq!(noted(&engine), both);
    // From nowhere, again from there, and on the next day.
    from(None, START).unwrap();
    from(Some("198.51.100.1"), at(60)).unwrap();
    assert_eq!(noted(&engine), []);
    from(Some("198.51.100.1"), at(24 * 3600)).unwrap();
    assert_eq!(noted(&engine), both[..1]);
}

#[test]
fn who_is_refused_is_not_noted_nor_are_test_keys_and_ephemeral_ones() {
    let clear = secret(&acme(), "live", 1);
    let test = Key { environment: Environment::Test, ..key(7, &clear) };
    for key in [revoked(&key(7, &clear)), test, Key { kind: Kind::Ephemeral, ..key(7, &clear) }] {
        let engine = with_key(key);
        let _ = Ask { ip: Some("198.51.100.7"), ..Ask::with(&clear) }.decision(&engine);
        assert_eq!((noted(&engine), engine.take_unknown_keys()), (vec![], vec![]));
    }
}

#[test]
fn unknown_keys_are_counted_by_prefix_and_network() {
    let engine = with_key(key(7, &secret(&acme(), "live", 1)));
    let ask = |secret: &str, ip| Ask { ip, ..Ask::with(secret) }.decision(&engine);
    let (live, test) = (secret(&acme(), "live", 2), secret(&acme(), "test", 3));
    for _ in 0..3 {
        assert_eq!(ask(&live, Some("198.51.100.7")), Err(Denial::NotFound));
    }
    ask(&live, Some("203.0.113.1")).unwrap_err();
    ask(&test, None).unwrap_err();
    // What cannot be a key is nobody's and no key.
    assert_eq!(ask("acme_live_x", Some("198.51.100.7")), Err(Denial::Malformed));
    let calls = |prefix: &str, network: Option<&str>, calls| UnknownKeyCalls {
        api: "acme".parse().unwrap(),
        prefix: prefix.to_owned(),
        network: network.map(|network| network.parse().unwrap()),
        calls,
    };
    let mut taken = engine.take_unknown_keys();
    taken.sort();
    let prefix = |secret: &str| secret[..=secret.rfind('_').unwrap()].to_owned();
    let mut expected = vec![
        calls(&prefix(&live), Some("198.51.100.0/24"), 3),
        calls(&prefix(&live), Some("203.0.113.0/24"), 1),
        calls(&prefix(&test), None, 1),
    ];
    expected.sort();
    assert_eq!(taken, expected);
    assert_eq!(engine.take_unknown_keys(), []);
}

#[test]
fn a_flood_from_everywhere_is_counted_by_prefix() {
    let engine = with_key(key(7, &secret(&acme(), "live", 1)));
    let unknown = secret(&acme(), "live", 2);
    for network in 0..5000_u32 {
        let ip = format!("10.{}.{}.1", network >> 8, network & 255);
        Ask { ip: Some(&ip), ..Ask::with(&unknown) }.decision(&engine).unwrap_err();
    }
    let taken = engine.take_unknown_keys();
    assert_eq!(taken.iter().map(|calls| calls.calls).sum::<u64>(), 5000);
    let nowhere = taken.iter().find(|calls| calls.network.is_none()).unwrap();
    assert!(taken.len() < 1026 && nowhere.calls > 3900, "{} {nowhere:?}", taken.len());
}

#[test]
fn no_call_is_lost_or_doubled_while_counts_are_taken() {
    const CALLS: u64 = 20_000;
    let engine = Arc::new(with_key(key(7, &secret(&acme(), "live", 1))));
    let is_over = Arc::new(AtomicBool::new(false));
    let callers = (0..2_u64).map(|caller| {
        let engine = Arc::clone(&engine);
        thread::spawn(move || {
            let unknown = secret(&acme(), "live", 10 + caller);
            for call in 0..CALLS {
                let ip = format!("10.0.{}.1", call % 7);
                Ask { ip: Some(&ip), ..Ask::with(&unknown) }.decision(&engine).unwrap_err();
            }
        })
    });
    let taker = {
        let (engine, is_over) = (Arc::clone(&engine), Arc::clone(&is_over));
        thread::spawn(move || {
            let mut taken = Vec::new();
            while !is_over.load(Ordering::SeqCst) {
                taken.extend(engine.take_unknown_keys());
            }
            taken
        })
    };
    callers.collect::<Vec<_>>().into_iter().for_each(|caller| caller.join().unwrap());
    is_over.store(true, Ordering::SeqCst);
    let mut sums: BTreeMap<String, u64> = BTreeMap::new();
    for calls in taker.join().unwrap().into_iter().chain(engine.take_unknown_keys()) {
        *sums.entry(calls.network.unwrap().to_string()).or_default() += calls.calls;
    }
    assert_eq!((sums.len(), sums.values().sum::<u64>()), (7, 2 * CALLS), "{sums:?}");
}
