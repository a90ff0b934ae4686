//! What the engine keeps of keys that are dead.

use claviger_domain::change::{Change, Revision};
use claviger_domain::denial::Denial;
use claviger_domain::key::{Key, Metadata};
use claviger_engine::Engine;

use crate::support::{Ask, acme, apply, at, engine, key, revoked, scopes, secret};

/// A key like no other, with all that may be large.
fn large(number: u128, clear: &str) -> Key {
    let metadata = format!(r#"{{"text": "{}"}}"#, "x".repeat(1000));
    let network = format!(r#"{{"ip": ["10.{}.{}.0/24"]}}"#, number >> 8 & 0xff, number & 0xff);
    Key {
        metadata: serde_json::from_str::<Metadata>(&metadata).unwrap(),
        scopes: scopes(&["things:read", &format!("only:{number}")]),
        restrictions: serde_json::from_str(&network).unwrap(),
        ..key(number, clear)
    }
}

/// What the engine takes after this many keys were made and ended.
fn memory_after(rounds: std::ops::Range<u128>, engine: &Engine, end: impl Fn(&Engine, &Key)) -> usize {
    for number in rounds {
        let key = large(number, &number.to_string());
        apply(engine, Change::Key(Box::new(key.clone())));
        end(engine, &key);
    }
    engine.memory_bytes()
}

/// A record with its place in the indexes, at its dearest.
const RECORD_BYTES: usize = 200;

#[test]
fn revoked_keys_take_no_more_than_their_records() {
    let engine = engine(Vec::new());
    let revoke = |engine: &Engine, key: &Key| apply(engine, Change::Key(Box::new(revoked(key))));
    let before = memory_after(0..1000, &engine, revoke);
    let after = memory_after(1000..9000, &engine, revoke);
    assert!(after - before < 8000 * RECORD_BYTES, "{} bytes a key", (after - before) / 8000);
}

#[test]
fn expired_keys_take_no_more_than_their_records_once_they_are_shed() {
    let engine = engine(Vec::new());
    let expire = |engine: &Engine, key: &Key| {
        apply(engine, Change::Key(Box::new(Key { expires_at: Some(at(60)), ..key.clone() })));
        if key.id.as_u128().is_multiple_of(1000) {
            engine.shed_expired(at(60)).unwrap();
        }
    };
    let before = memory_after(0..1000, &engine, expire);
    let after = memory_after(1000..9000, &engine, expire);
    assert!(after - before < 8000 * RECORD_BYTES, "{} bytes a key", (after - before) / 8000);
}

#[test]
fn a_snapshot_of_dead_keys_is_loaded_without_what_they_need_no_more() {
    let dead = |number: u128| match number % 2 {
        0 => revoked(&large(number, &number.to_string())),
        _ => Key { expires_at: Some(at(60)), ..large(number, &number.to_string()) },
    };
    let engine = Engine::default();
    let before = engine.memory_bytes();
    engine.shed_expired(at(60)).unwrap();
    engine.load(Revision(1), (0..8000).map(|number| Change::Key(Box::new(dead(number))))).unwrap();
    let bytes = engine.memory_bytes() - before;
    assert!(bytes < 8000 * RECORD_BYTES, "{} bytes a key", bytes / 8000);
}

#[test]
fn an_expired_key_that_was_shed_gets_nothing_back_from_a_clock_that_goes_back() {
    let clear = secret(&acme(), "live", 1);
    let key = Key { expires_at: Some(at(60)), ..key(1, &clear) };
    let child_clear = secret(&acme(), "ek", 2);
    let child = Key { parent_id: Some(key.id), ..crate::support::key(2, &child_clear) };
    let engine = engine([&key, &child].map(|key| Change::Key(Box::new(key.clone()))).to_vec());
    let decide =
        |seconds| [&clear, &child_clear].map(|clear| Ask { now: at(seconds), ..Ask::with(clear) }.decision(&engine));
    assert_eq!(decide(59), [Ok(()); 2]);
    engine.shed_expired(at(59)).unwrap();
    assert_eq!(decide(59), [Ok(()); 2]);
    engine.shed_expired(at(60)).unwrap();
    assert_eq!(decide(60), [Err(Denial::Expired); 2]);
    assert_eq!(decide(59), [Err(Denial::InsufficientScope); 2]);
    // The state as it is now is the state, whenever it comes.
    engine.shed_expired(at(0)).unwrap();
    apply(&engine, Change::Key(Box::new(Key { expires_at: None, ..key.clone() })));
    assert_eq!(decide(61), [Ok(()); 2]);
}
