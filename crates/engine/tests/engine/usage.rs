//! Counts at the edges: full tables, late counts, removed keys, clocks that jump, and what a crash leaves.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use claviger_domain::change::{Change, Revision};
use claviger_domain::id::KeyId;
use claviger_domain::key::Key;
use claviger_domain::organization::OrganizationStatus;
use claviger_engine::usage::{CountersError, RecoverError, RecoveredLimits, Words, recover, words_needed};
use claviger_engine::{Engine, EngineOptions, UsageTotal};

use crate::support::{
    Ask, Region, START, acme, apply, at, engine, engine_with_words, key, organization, recovered, region, rotated,
    secret, totals_of,
};

const OPTIONS: EngineOptions = EngineOptions { usage_cells: 64, keys: 0 };
const HOUR: i64 = 3600;

/// An engine that knows this many keys, their secrets, and the words it counts in.
fn counting(keys: u64) -> (Engine, Vec<String>, Arc<Region>) {
    let (engine, words) = engine_with_words(OPTIONS);
    let secrets: Vec<String> = (0..keys).map(|seed| secret(&acme(), "live", seed)).collect();
    let known = [Change::Api(Box::new(acme())), Change::Organization(organization(1, OrganizationStatus::Active))];
    let keys = secrets.iter().zip(1..).map(|(clear, number)| Change::Key(Box::new(key(number, clear))));
    engine.load(Revision(1), known.into_iter().chain(keys)).unwrap();
    (engine, secrets, words)
}

fn call(engine: &Engine, clear: &str, seconds: i64) {
    Ask { now: at(seconds), ..Ask::with(clear) }.decision(engine).unwrap();
}

/// Sums by hour.
fn by_hour(totals: &[UsageTotal]) -> Vec<(i64, u64)> {
    let mut hours = BTreeMap::new();
    for total in totals {
        *hours.entry(total.hour - START.hour()).or_insert(0) += total.count;
    }
    hours.into_iter().collect()
}

fn collected(engine: &Engine, seconds: i64) -> Vec<(i64, u64)> {
    by_hour(&engine.usage().collect(at(seconds)))
}

fn closed(engine: &Engine, seconds: i64) -> Vec<(i64, u64)> {
    by_hour(&engine.usage().close_hours(at(seconds)))
}

#[test]
fn a_full_table_loses_nothing() {
    // Far more keys than the 64 cells of the test's tables.
    let (engine, secrets, words) = counting(500);
    for round in 1..=3 {
        for clear in &secrets {
            call(&engine, clear, 0);
        }
        assert_eq!(collected(&engine, 0), [(0, round * 500)]);
    }
    // 56 cells and 16 entries of the ledger are safe, the others are known not to be.
    let safe: u64 = recovered(&words).iter().map(|total| total.4).sum();
    assert_eq!((safe, engine.usage().unsafe_entries()), (3 * (56 + 16), 500 - 56 - 16));
}

#[test]
fn entries_that_become_free_take_in_what_had_none() {
    let (engine, secrets, words) = counting(100);
    assert_eq!(closed(&engine, 0), []);
    for clear in &secrets {
        call(&engine, clear, 0);
        call(&engine, clear, HOUR);
    }
    assert_eq!(engine.usage().unsafe_entries(), 2 * (100 - 56) - 16);
    for _ in 0..2 {
        collected(&engine, 2 * HOUR);
        closed(&engine, 2 * HOUR);
    }
    assert_eq!(collected(&engine, 2 * HOUR), [(1, 100)]);
    let safe: u64 = recovered(&words).iter().map(|total| total.4).sum();
    assert_eq!((safe, engine.usage().unsafe_entries()), (56 + 16, 100 - 56 - 16));
}

#[test]
fn counts_of_a_removed_key_are_still_collected() {
    let clear = secret(&acme(), "live", 1);
    let engine = engine(vec![Change::Key(Box::new(key(1, &clear)))]);
    Ask::with(&clear).decision(&engine).unwrap();
    let id = key(1, &clear).id;
    apply(&engine, Change::KeyRemoved { id });
    let totals = engine.usage().collect(at(0));
    assert_eq!(totals.iter().map(|total| (total.key, total.count)).collect::<Vec<_>>(), [(id, 1)]);
}

#[test]
fn a_clock_that_steps_back_is_counted_in_the_hour_it_says_while_that_is_open() {
    let (engine, secrets, _) = counting(1);
    for seconds in [HOUR, HOUR - 1, 0, HOUR + 1] {
        call(&engine, &secrets[0], seconds);
    }
    assert_eq!(collected(&engine, HOUR + 2), [(0, 2), (1, 2)]);
    assert_eq!(collected(&engine, HOUR + 2), [(0, 2), (1, 2)]);
}

#[test]
fn an_hour_is_forgotten_only_after_its_last_totals_were_collected() {
    let (engine, secrets, words) = counting(1);
    let call = |seconds| call(&engine, &secrets[0], seconds);
    call(0);
    assert_eq!(collected(&engine, 0), [(0, 1)]);
    assert_eq!(closed(&engine, HOUR), []);
    // A straggler: after collecting, before closing.
    call(1);
    assert_eq!(closed(&engine, 2 * HOUR), [(0, 2)]);
    // One that is later still.
    call(2);
    assert_eq!(closed(&engine, 2 * HOUR), [(0, 2)]);
    assert_eq!(recovered(&words), totals_of(&engine.usage().collect(at(2 * HOUR))));
    assert_eq!(collected(&engine, 2 * HOUR), [(0, 2), (1, 1)]);
    assert_eq!(closed(&engine, 2 * HOUR), []);
    assert_eq!(collected(&engine, 2 * HOUR), [(1, 1)]);
    assert_eq!(recovered(&words), totals_of(&engine.usage().collect(at(2 * HOUR))));
}

#[test]
fn where_nothing_can_be_written_nothing_is_forgotten() {
    let (engine, secrets, words) = counting(4);
    let mut expected = Vec::new();
    for hour in 0..30 {
        for clear in &secrets {
            call(&engine, clear, hour * HOUR);
        }
        expected.push((hour, 4));
        assert_eq!(collected(&engine, hour * HOUR), expected);
    }
    // Two hours stand in tables (the third has the hour before the first), four in the entries of the ledger.
    assert_eq!(engine.usage().unsafe_entries(), (30 - 2 - 4) * 4);
    assert_eq!(recovered(&words).len(), (2 + 4) * 4);
    // Then it can be written again.
    assert_eq!(closed(&engine, 29 * HOUR), expected[..28]);
    assert_eq!(collected(&engine, 29 * HOUR), expected);
    closed(&engine, 29 * HOUR);
    assert_eq!(collected(&engine, 29 * HOUR), expected[28..]);
    assert_eq!(engine.usage().unsafe_entries(), 0);
    assert_eq!(recovered(&words).len(), 2 * 4);
}

#[test]
fn clocks_that_jump_lose_nothing() {
    let (engine, secrets, words) = counting(3);
    let hours = [0, 1, 5000, 5001, 0, 3, 300_000, -40, 300_003, 300_004, 300_004, 0];
    let mut written = BTreeMap::new();
    let mut calls = 0;
    for (hour, times) in hours.into_iter().zip(1..) {
        let now = at(hour * HOUR);
        for clear in secrets.iter().cycle().take(times) {
            call(&engine, clear, hour * HOUR);
            calls += 1;
        }
        let totals = engine.usage().collect(now);
        assert_eq!(recovered(&words), totals_of(&totals));
        written.extend(totals.into_iter().map(|total| ((total.key, total.hour), total.count)));
        assert_eq!(written.values().sum::<u64>(), calls, "after hour {hour}");
        engine.usage().close_hours(now);
        assert_eq!(recovered(&words), totals_of(&engine.usage().collect(now)));
    }
}

#[test]
fn scopes_are_recovered_by_name_whatever_became_of_the_definition() {
    let (engine, secrets, words) = counting(1);
    call(&engine, &secrets[0], 0);
    let unlisted = Some((claviger_domain::endpoint::Method::Get, "/v1/nobody/lists/this"));
    Ask { endpoint: unlisted, ..Ask::with(&secrets[0]) }.decision(&engine).unwrap();
    apply(&engine, Change::Api(Box::new(crate::support::api("acme", "/v1", ""))));
    let mut names: Vec<_> = recovered(&words).into_iter().map(|total| total.2.map(String::from)).collect();
    names.sort();
    assert_eq!(names, [None, Some("things:read".to_owned())]);
}

#[test]
fn words_are_counted_in_once() {
    let with = |words: &Arc<Region>| {
        Engine::with_counters(OPTIONS, Arc::clone(words) as Words, 1, RecoveredLimits::default()).map(drop)
    };
    let words = region(words_needed(OPTIONS));
    assert_eq!(recover(AsRef::as_ref(&*words)), Err(RecoverError::Empty));
    assert_eq!(with(&words), Ok(()));
    assert_eq!(with(&words), Err(CountersError::NotEmpty));
    let needs = words_needed(OPTIONS);
    assert_eq!(with(&region(needs - 1)), Err(CountersError::TooSmall { has: needs - 1, needs }));
    assert_eq!(recover(&[]), Err(RecoverError::Truncated { has: 0, needs: 16 }));
    let all: &[_] = (*words).as_ref();
    assert_eq!(recover(&all[..needs - 1]), Err(RecoverError::Truncated { has: needs - 1, needs }));
    all[0].store(1, Ordering::Relaxed);
    assert_eq!(recover(all), Err(RecoverError::Foreign));
}

/// Every word of a region is damaged in several ways in turn: nothing panics, whatever is damaged costs no more than what
/// it is about, and what is said stays possible.
#[test]
fn a_damaged_region_says_nothing_impossible() {
    let (engine, secrets, words) = counting(100);
    for clear in &secrets {
        call(&engine, clear, 0);
    }
    let sound = recovered(&words);
    let words: &[_] = (*words).as_ref();
    let used = words.iter().filter(|word| word.load(Ordering::Relaxed) != 0);
    let mut damaged = 0;
    for word in used {
        let before = word.load(Ordering::Relaxed);
        for after in [0, 1, u64::MAX, before ^ 1 << 63, before ^ 1 << 50, before ^ 1 << 20, before.swap_bytes()] {
            word.store(after, Ordering::Relaxed);
            let Ok(found) = recover(words) else { continue };
            damaged += 1;
            assert!(found.totals.len() + found.skipped <= sound.len() + 1);
            assert!(found.totals.iter().all(|total| (1..1 << 40).contains(&total.count)));
        }
        word.store(before, Ordering::Relaxed);
    }
    assert!(damaged > 1000, "{damaged}");
}

#[test]
fn the_last_use_is_known_without_collecting() {
    let clear = secret(&acme(), "live", 1);
    let key = key(1, &clear);
    let engine = engine(vec![Change::Key(Box::new(key.clone()))]);
    let ask = |seconds, secret: &str| Ask { now: at(seconds), ..Ask::with(secret) }.decision(&engine);
    let last_used = |key: &Key| engine.usage().last_used(key.id, &key.digest);
    assert_eq!(last_used(&key), None);
    assert!(Ask { endpoint: None, ..Ask::with(&clear) }.decision(&engine).is_err());
    assert_eq!(last_used(&key), None);
    ask(61, &clear).unwrap();
    ask(59, &clear).unwrap();
    assert_eq!(last_used(&key), Some(at(60)));
    ask(3700, &clear).unwrap();
    assert_eq!(last_used(&key), Some(at(3660)));
    // The key is the same after a rotation, and another key has nothing of it.
    let new = secret(&acme(), "live", 2);
    let rotated = rotated(&key, &new, None);
    apply(&engine, Change::Key(Box::new(rotated.clone())));
    assert_eq!((last_used(&rotated), last_used(&key)), (Some(at(3660)), None));
    let another = Key { id: KeyId::from_u128(2), ..rotated.clone() };
    assert_eq!(last_used(&another), None);
    // Counts that are handed over are kept elsewhere.
    for hour in 3..6 {
        engine.usage().collect(at(hour * 3600));
        engine.usage().close_hours(at(hour * 3600));
    }
    assert_eq!(last_used(&rotated), None);
}

#[test]
fn an_engine_has_four_usage_cells_a_key_as_far_as_its_memory_allows() {
    let cells = |keys| EngineOptions::for_keys(keys).usage_cells;
    assert_eq!([0, 1000, 1 << 16].map(cells), [1 << 18; 3]);
    assert_eq!([(1 << 16) + 1, 1 << 17, 200_000].map(cells), [1 << 19, 1 << 19, 1 << 20]);
    assert_eq!([1 << 18, 10_000_000, usize::MAX].map(cells), [1 << 20; 3]);
    assert_eq!(EngineOptions::default(), EngineOptions::for_keys(0));
}
