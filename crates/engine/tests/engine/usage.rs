//! Counts at the edges: full tables, late counts, removed keys.

use claviger_domain::change::Change;

use crate::support::{Ask, acme, apply, at, engine, key, secret};

/// Sums by hour.
fn collected(engine: &claviger_engine::Engine, seconds: i64) -> Vec<(i64, u64)> {
    let mut hours = std::collections::BTreeMap::new();
    for total in engine.usage().collect(at(seconds)) {
        *hours.entry(total.hour - at(0).hour()).or_insert(0) += total.count;
    }
    hours.into_iter().collect()
}

#[test]
fn a_full_table_loses_nothing() {
    // Far more keys than the 64 cells of the test's tables.
    let secrets: Vec<String> = (0..500).map(|seed| secret(&acme(), "live", seed)).collect();
    let keys = secrets.iter().zip(1..).map(|(clear, number)| Change::Key(Box::new(key(number, clear))));
    let engine = engine(keys.collect());
    for round in 1..=3 {
        for clear in &secrets {
            Ask::with(clear).decision(&engine).unwrap();
        }
        assert_eq!(collected(&engine, 0), [(0, round * 500)]);
    }
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
    let clear = secret(&acme(), "live", 1);
    let engine = engine(vec![Change::Key(Box::new(key(1, &clear)))]);
    for seconds in [3600, 3599, 0, 3601] {
        Ask { now: at(seconds), ..Ask::with(&clear) }.decision(&engine).unwrap();
    }
    assert_eq!(collected(&engine, 3602), [(0, 2), (1, 2)]);
    assert_eq!(collected(&engine, 3602), [(0, 2), (1, 2)]);
}
