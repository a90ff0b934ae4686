//! The lock-free parts under loom, which tries every interleaving, and every value that a relaxed load may return, up
//! to a bounded number of preemptions. `cargo xtask` runs them; by hand:
//!
//!     RUSTFLAGS="--cfg loom" cargo test -p claviger-engine --release --lib loom

use std::collections::BTreeMap;

use claviger_domain::id::KeyId;
use claviger_domain::key::{Environment, Kind};
use claviger_domain::time::Timestamp;
use loom::sync::{Arc, Mutex};
use loom::thread;

use crate::index::Table;
use crate::record::{Fields, Match, Meta, Record, Records, Terms};
use crate::sync::{AtomicU64, Ordering};
use crate::usage::{HourTable, Tag};
use crate::verdict::ApiIndex;

fn check(preemptions: usize, model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(model);
}

/// A digest whose every word tells it from others.
fn digest(number: u64) -> [u64; 4] {
    [number << 52, number, number, number]
}

fn meta(set: u32, flags: u64) -> Meta {
    Meta::new(set, ApiIndex(0), Kind::Secret, Environment::Live, flags)
}

/// Writes a key all of whose parts are its number, so that a mixture shows.
fn write(records: &Records, slot: u32, terms: u32, number: u64) {
    let old = Some((digest(number + 100), number as i64));
    let flags = Meta::OLD | Meta::EXPIRES;
    let expires_at = Some(Timestamp::from_micros(number as i64));
    records.write_terms(terms, &Terms { meta: meta(number as u32, flags), parent: None, restrictions: None, old }).unwrap();
    let id = KeyId::from_u128(u128::from(number) << 64 | u128::from(number));
    let fields = Fields { terms, digest: digest(number), id, organization: number as u32, detail: None, expires_at };
    records.write(slot, &fields).unwrap();
}

/// Number of the key that the record is of, once every part of it says the same.
fn number(record: &Record<'_>) -> Option<u64> {
    let number = u64::from(record.organization());
    let is_whole = record.digest() == digest(number)
        && record.old_digest() == Some(digest(number + 100))
        && record.id().as_u128() == u128::from(number) << 64 | u128::from(number)
        && u64::from(record.meta().set()) == number
        && record.expires_at() == Some(Timestamp::from_micros(number as i64));
    is_whole.then_some(number)
}

#[test]
fn loom_a_record_is_never_torn() {
    check(2, || {
        let records = Arc::new(Records::new());
        records.write_terms(0, &Terms { meta: meta(0, Meta::UNKNOWN), parent: None, restrictions: None, old: None }).unwrap();
        write(&records, 0, 1, 1);
        let writer = {
            let records = Arc::clone(&records);
            // The third write uses the terms that the second has left.
            thread::spawn(move || {
                write(&records, 0, 2, 2);
                write(&records, 0, 1, 3);
            })
        };
        let seen = records.read(0, |record| number(record)).unwrap();
        assert!(matches!(seen, Some(1..=3)), "{seen:?}");
        writer.join().unwrap();
        assert_eq!(records.read(0, |record| number(record)), Some(Some(3)));
    });
}

/// What `verify` does: by digest to the key that has it.
fn find(records: &Records, table: &Table, wanted: u64) -> Option<(u64, Match)> {
    table.find(&digest(wanted), |slot, _| {
        records.read(slot, |record| Some((number(record).unwrap_or(u64::MAX), record.matches(&digest(wanted))?)))?
    })
}

#[test]
fn loom_a_lookup_finds_its_key_or_none_while_its_slot_is_given_to_another() {
    check(3, || {
        let records = Arc::new(Records::new());
        let table = Arc::new(Table::with_capacity(2));
        write(&records, 0, 1, 1);
        table.insert(&digest(1), 0, 0);
        let writer = {
            let (records, table) = (Arc::clone(&records), Arc::clone(&table));
            thread::spawn(move || {
                table.remove(&digest(1), 0);
                write(&records, 0, 2, 2);
                table.insert(&digest(2), 0, 0);
            })
        };
        for wanted in [1, 2] {
            let found = find(&records, &table, wanted);
            assert!(found.is_none_or(|found| found == (wanted, Match::Current)), "{wanted}: {found:?}");
        }
        writer.join().unwrap();
        assert_eq!(find(&records, &table, 1), None);
        assert_eq!(find(&records, &table, 2), Some((2, Match::Current)));
    });
}

#[test]
fn loom_a_key_that_stays_is_found_while_others_come_and_go() {
    check(3, || {
        let records = Arc::new(Records::new());
        let table = Arc::new(Table::with_capacity(3));
        // All three begin at the same place of a table of four.
        let [gone, stays, comes] = [4, 8, 12];
        for (slot, number) in [(0, gone), (1, stays)] {
            write(&records, slot, slot + 1, number);
            table.insert(&digest(number), slot, 0);
        }
        let writer = {
            let (records, table) = (Arc::clone(&records), Arc::clone(&table));
            thread::spawn(move || {
                table.remove(&digest(gone), 0);
                write(&records, 2, 3, comes);
                table.insert(&digest(comes), 2, 0);
            })
        };
        assert_eq!(find(&records, &table, stays), Some((stays, Match::Current)));
        writer.join().unwrap();
        assert_eq!(find(&records, &table, comes), Some((comes, Match::Current)));
    });
}

#[test]
fn loom_a_lookup_survives_growth() {
    check(3, || {
        let records = Arc::new(Records::new());
        let tables = Arc::new([Table::with_capacity(2), Table::with_capacity(6)]);
        let current = Arc::new(AtomicU64::new(0));
        write(&records, 0, 1, 1);
        tables[0].insert(&digest(1), 0, 0);
        let writer = {
            let (records, tables, current) = (Arc::clone(&records), Arc::clone(&tables), Arc::clone(&current));
            thread::spawn(move || {
                write(&records, 1, 2, 5);
                for (slot, number) in [(0, 1), (1, 5)] {
                    tables[1].insert(&digest(number), slot, 0);
                }
                // The view is published with release and read with acquire, as here.
                current.store(1, Ordering::Release);
            })
        };
        let table = current.load(Ordering::Acquire);
        assert_eq!(find(&records, &tables[table as usize], 1), Some((1, Match::Current)));
        let found = find(&records, &tables[table as usize], 5);
        assert_eq!(found, (table == 1).then_some((5, Match::Current)));
        writer.join().unwrap();
    });
}

#[test]
fn loom_a_rotation_leaves_no_moment_without_a_secret() {
    check(3, || {
        let records = Arc::new(Records::new());
        let table = Arc::new(Table::with_capacity(3));
        // Rotating gives key 7 the secret 7 instead of 107, which becomes the old one.
        let before = Terms { meta: meta(7, 0), parent: None, restrictions: None, old: None };
        records.write_terms(1, &before).unwrap();
        let id = KeyId::from_u128(7);
        let fields = Fields { terms: 1, digest: digest(107), id, organization: 7, detail: None, expires_at: None };
        records.write(0, &fields).unwrap();
        table.insert(&digest(107), 0, 0);
        let writer = {
            let (records, table) = (Arc::clone(&records), Arc::clone(&table));
            thread::spawn(move || {
                write(&records, 0, 2, 7);
                table.insert(&digest(7), 0, 0);
            })
        };
        let old = table.find(&digest(107), |slot, _| records.read(slot, |record| record.matches(&digest(107)))?);
        let overlap_ends_at = Timestamp::from_micros(7);
        assert!(matches!(old, Some(Match::Current)) || old == Some(Match::Old { overlap_ends_at }), "{old:?}");
        writer.join().unwrap();
        assert_eq!(find(&records, &table, 7), Some((7, Match::Current)));
    });
}

const ONE: (i64, u8) = (1, 0);

fn tag(slot: u32) -> Tag {
    Tag::new(slot, 0, 0)
}

#[test]
fn loom_counters_that_race_for_a_cell_lose_nothing() {
    check(3, || {
        let table = Arc::new(HourTable::new(2));
        let other = {
            let table = Arc::clone(&table);
            thread::spawn(move || assert!(table.count(1, 5, tag(0))))
        };
        // The same key, and one that wants the same cell.
        assert!(table.count(1, 7, tag(0)));
        let is_counted = table.count(1, 7, tag(2));
        other.join().unwrap();
        let mut totals: Vec<_> = table.totals().collect();
        totals.sort_by_key(|(tag, ..)| tag.slot());
        assert_eq!(totals[0], (tag(0), 2, 7));
        assert_eq!(totals.len(), 1 + usize::from(is_counted));
    });
}

#[test]
fn loom_a_table_that_is_handed_over_loses_nothing_and_mixes_nothing() {
    check(3, || {
        let table = Arc::new(HourTable::new(2));
        let ledger = Arc::new(Mutex::new(BTreeMap::<(i64, u32), u64>::new()));
        let book = |ledger: &Mutex<BTreeMap<(i64, u32), u64>>, hour, slot, total| {
            *ledger.lock().unwrap().entry((hour, slot)).or_insert(0) += total;
        };
        assert!(table.count(ONE.0, ONE.1, tag(0)));
        let late = {
            let (table, ledger) = (Arc::clone(&table), Arc::clone(&ledger));
            thread::spawn(move || {
                if !table.count(1, 0, tag(0)) {
                    book(&ledger, 1, 0, 1);
                }
            })
        };
        let collector = {
            let (table, ledger) = (Arc::clone(&table), Arc::clone(&ledger));
            thread::spawn(move || {
                table.hand_over(4, |hour, tag, total, _| book(&ledger, hour, tag.slot(), total));
                // Another key, which wants the same cell, in the new hour.
                assert!(table.count(4, 0, tag(2)));
            })
        };
        late.join().unwrap();
        collector.join().unwrap();
        for (tag, total, _) in table.totals() {
            book(&ledger, table.hour().unwrap(), tag.slot(), total);
        }
        assert_eq!(*ledger.lock().unwrap(), BTreeMap::from([((1, 0), 2), ((4, 2), 1)]));
    });
}

#[test]
fn loom_a_table_without_an_hour_takes_one_or_is_handed_over() {
    check(3, || {
        let table = Arc::new(HourTable::new(2));
        let first = {
            let table = Arc::clone(&table);
            thread::spawn(move || table.count(1, 0, tag(0)))
        };
        let mut taken = 0;
        table.hand_over(4, |hour, _, total, _| {
            assert_eq!(hour, 1);
            taken += total;
        });
        let is_counted = first.join().unwrap();
        assert_eq!(taken, u64::from(is_counted));
        assert_eq!((table.totals().count(), table.hour()), (0, Some(4)));
    });
}

#[test]
fn loom_collecting_sees_what_was_counted_before_it() {
    check(3, || {
        let table = Arc::new(HourTable::new(2));
        let other = {
            let table = Arc::clone(&table);
            thread::spawn(move || table.count(1, 0, tag(0)))
        };
        assert!(table.count(1, 0, tag(0)));
        // Our own count is in it, whoever claimed the cell.
        let total: u64 = table.totals().map(|(_, total, _)| total).sum();
        assert!((1..=2).contains(&total), "{total}");
        assert!(other.join().unwrap());
    });
}
