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

use crate::accounts::{Account, Used};
use crate::engine::EngineOptions;
use crate::index::Table;
use crate::limits::cells::{Cells, Place, RecoveredLimits, Tag as LimitTag};
use crate::record::{Fields, Match, Meta, Record, Records, Terms};
use crate::sync::{AtomicU64, Ordering};
use crate::usage::{HourTable, Layout, Region, State, Tag, Words, read_table};
use crate::verdict::ApiIndex;

/// Preemptions of one run. Two find nearly all there is to find; this leaves room.
const PREEMPTIONS_MAX: usize = 5;

fn check(model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(PREEMPTIONS_MAX);
    builder.check(model);
}

/// A digest whose every word tells it from others.
fn digest(number: u64) -> [u64; 4] {
    [number << 52, number, number, number]
}

fn meta(set: u32, flags: u64) -> Meta {
    Meta::new(set, ApiIndex(0), Kind::Secret, Environment::Live, flags)
}

/// Writes a key whose record, terms and expiry all say its number, so that a mixture shows.
fn write(records: &Records, slot: u32, terms: u32, number: u64) {
    let meta = meta(number as u32, Meta::EXPIRES);
    records.write_terms(terms, &Terms { meta, parent: None, restrictions: None, old: None }).unwrap();
    let expires_at = Some(Timestamp::from_micros(number as i64));
    let id = KeyId::from_u128(u128::from(number));
    let fields = Fields { terms, digest: digest(number), id, account: number as u32, detail: None, expires_at };
    records.write(slot, &fields).unwrap();
}

/// Number of the key that the record is of, if all parts say the same. (Every load multiplies what loom has to try, so
/// these stand for all.)
fn number(record: &Record<'_>) -> Option<u64> {
    let number = u64::from(record.account());
    let is_whole =
        u64::from(record.meta().set()) == number && record.expires_at() == Some(Timestamp::from_micros(number as i64));
    is_whole.then_some(number)
}

/// Records of which the first is key 1.
fn records_with_one() -> Arc<Records> {
    let records = Arc::new(Records::new());
    write(&records, 0, 1, 1);
    records
}

#[test]
fn loom_a_record_is_never_torn() {
    check(|| {
        let records = records_with_one();
        let writer = {
            let records = Arc::clone(&records);
            thread::spawn(move || write(&records, 0, 2, 2))
        };
        let seen = records.look(0, |record| number(record));
        assert!(matches!(seen, None | Some(Some(1 | 2))), "{seen:?}");
        writer.join().unwrap();
        assert_eq!(records.read(0, |record| number(record)), Some(Some(2)));
    });
}

#[test]
fn loom_terms_that_were_left_are_not_mixed_up_with_their_next_content() {
    check(|| {
        let records = records_with_one();
        let terms = |number| Terms { meta: meta(number, Meta::EXPIRES), parent: None, restrictions: None, old: None };
        records.write_terms(2, &terms(1)).unwrap();
        let writer = {
            let records = Arc::clone(&records);
            let expires_at = Some(Timestamp::from_micros(1));
            let id = KeyId::from_u128(1);
            let fields = Fields { terms: 2, digest: digest(1), id, account: 1, detail: None, expires_at };
            thread::spawn(move || {
                records.write(0, &fields).unwrap();
                records.write_terms(1, &terms(9)).unwrap();
            })
        };
        let seen = records.look(0, |record| number(record));
        assert!(matches!(seen, None | Some(Some(1))), "{seen:?}");
        writer.join().unwrap();
    });
}

/// What `verify` does: by digest to the key that has it. A look that was disturbed, which `verify` would repeat, finds
/// a key without a number.
fn find(records: &Records, table: &Table, wanted: u64) -> Option<Option<(u64, Match)>> {
    table.find(&digest(wanted), |slot, _| {
        let look =
            records.look(slot, |record| Some((number(record).unwrap_or(u64::MAX), record.matches(&digest(wanted))?)));
        look.map_or(Some(None), |found| found.map(Some))
    })
}

fn exactly(number: u64) -> Option<Option<(u64, Match)>> {
    Some(Some((number, Match::Current)))
}

#[test]
fn loom_a_lookup_finds_its_key_or_none_while_its_slot_is_given_to_another() {
    check(|| {
        let records = records_with_one();
        let table = Arc::new(Table::with_capacity(2));
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
            assert!(found.flatten().is_none_or(|found| found == (wanted, Match::Current)), "{found:?}");
        }
        writer.join().unwrap();
        assert_eq!(find(&records, &table, 1), None);
        assert_eq!(find(&records, &table, 2), exactly(2));
    });
}

#[test]
fn loom_a_key_that_stays_is_found_while_others_come_and_go() {
    check(|| {
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
        assert_eq!(find(&records, &table, stays), exactly(stays));
        writer.join().unwrap();
        assert_eq!(find(&records, &table, comes), exactly(comes));
    });
}

#[test]
fn loom_a_lookup_survives_growth() {
    check(|| {
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
        assert_eq!(find(&records, &tables[table as usize], 1), exactly(1));
        let found = find(&records, &tables[table as usize], 5);
        assert_eq!(found, if table == 1 { exactly(5) } else { None });
        writer.join().unwrap();
    });
}

#[test]
fn loom_a_rotation_leaves_no_moment_without_a_secret() {
    check(|| {
        let records = Arc::new(Records::new());
        // Rotating gives key 7 the secret 7 instead of 107, which becomes the old one.
        let before = Terms { meta: meta(7, 0), parent: None, restrictions: None, old: None };
        records.write_terms(1, &before).unwrap();
        let id = KeyId::from_u128(7);
        let fields = Fields { terms: 1, digest: digest(107), id, account: 7, detail: None, expires_at: None };
        records.write(0, &fields).unwrap();
        let writer = {
            let records = Arc::clone(&records);
            thread::spawn(move || {
                let old = Some((digest(107), 7));
                let terms = Terms { meta: meta(7, Meta::OLD), parent: None, restrictions: None, old };
                records.write_terms(2, &terms).unwrap();
                records.write(0, &Fields { terms: 2, digest: digest(7), ..fields }).unwrap();
            })
        };
        let old = records.look(0, |record| record.matches(&digest(107)));
        let overlap_ends_at = Timestamp::from_micros(7);
        let expected = [None, Some(Some(Match::Current)), Some(Some(Match::Old { overlap_ends_at }))];
        assert!(expected.contains(&old), "{old:?}");
        writer.join().unwrap();
        assert_eq!(records.read(0, |record| record.matches(&digest(7))), Some(Some(Match::Current)));
    });
}

/// Totals by hour and slot.
type Ledger = Mutex<BTreeMap<(i64, u32), u64>>;

fn book(ledger: &Ledger, hour: i64, tag: Tag, total: u64) {
    *ledger.lock().unwrap().entry((hour, tag.slot())).or_insert(0) += total;
}

/// A region with tables of two cells.
fn layout() -> Layout {
    Layout::of(EngineOptions { usage_cells: 2, keys: 0 })
}

/// A table of two cells, and the words it stands in.
fn table() -> (Arc<HourTable>, Words) {
    let region = Region::with_layout(layout());
    (Arc::new(HourTable::new(&region, 0)), region.words())
}

/// The key at a slot.
fn key(slot: u32) -> KeyId {
    KeyId::from_u128(u128::from(slot) << 64 | 5)
}

/// Counts as `Tally::count` does.
fn count(table: &HourTable, ledger: &Ledger, hour: i64, minute: u8, tag: Tag) {
    if !table.count(hour, minute, tag, key(tag.slot()), 1) {
        book(ledger, hour, tag, 1);
    }
}

/// Even slots want the same cell of a table of two.
fn tag(slot: u32) -> Tag {
    Tag::new(slot, 0, 0)
}

/// What a successor of the process would find: totals by hour and key.
fn recovered(words: &Words) -> BTreeMap<(i64, KeyId), u64> {
    let mut totals = BTreeMap::new();
    for found in read_table((**words).as_ref(), layout(), 0) {
        let (subject, total, _) = found.expect("a cell that makes sense");
        *totals.entry((subject.hour, subject.key)).or_insert(0) += total;
    }
    totals
}

#[test]
fn loom_counters_that_race_for_a_cell_lose_nothing() {
    check(|| {
        let (table, words) = table();
        let ledger = Arc::new(Ledger::default());
        let other = {
            let (table, ledger) = (Arc::clone(&table), Arc::clone(&ledger));
            thread::spawn(move || count(&table, &ledger, 1, 5, tag(0)))
        };
        // The same key, and one that wants the same cell.
        count(&table, &ledger, 1, 7, tag(0));
        count(&table, &ledger, 1, 7, tag(2));
        other.join().unwrap();
        for (tag, total, minute) in table.totals() {
            assert!(minute == 7 || total == 1);
            book(&ledger, 1, tag, total);
        }
        assert_eq!(*ledger.lock().unwrap(), BTreeMap::from([((1, 0), 2), ((1, 2), 1)]));
        assert!(recovered(&words).values().sum::<u64>() >= 1);
    });
}

#[test]
fn loom_what_was_counted_is_recovered_with_its_key_while_others_claim() {
    check(|| {
        let (table, words) = table();
        let other = {
            let table = Arc::clone(&table);
            thread::spawn(move || table.count(1, 0, tag(2), key(2), 1))
        };
        let is_counted = table.count(1, 0, tag(0), key(0), 1);
        // The process may die here, with the other thread anywhere.
        let found = recovered(&words);
        assert_eq!(found.get(&(1, key(0))), is_counted.then_some(&1));
        assert!(found.keys().all(|(hour, id)| *hour == 1 && [key(0), key(2)].contains(id)), "{found:?}");
        other.join().unwrap();
    });
}

#[test]
fn loom_a_table_that_is_closed_and_handed_over_loses_nothing_and_mixes_nothing() {
    check(|| {
        let (table, words) = table();
        let ledger = Arc::new(Ledger::default());
        count(&table, &ledger, 1, 0, tag(0));
        let late = {
            let (table, ledger) = (Arc::clone(&table), Arc::clone(&ledger));
            thread::spawn(move || count(&table, &ledger, 1, 0, tag(0)))
        };
        table.close();
        let closed: Vec<_> = table.totals().map(|(tag, total, _)| (tag, total)).collect();
        assert_eq!(recovered(&words).get(&(1, key(0))), closed.first().map(|(_, total)| total));
        table.hand_over(4);
        closed.into_iter().for_each(|(tag, total)| book(&ledger, 1, tag, total));
        // Another key, which wants the same cell, in the new hour.
        count(&table, &ledger, 4, 0, tag(2));
        late.join().unwrap();
        assert!(recovered(&words).keys().all(|found| *found == (4, key(2))));
        for (tag, total, _) in table.totals() {
            book(&ledger, table.hour().unwrap(), tag, total);
        }
        assert_eq!(*ledger.lock().unwrap(), BTreeMap::from([((1, 0), 2), ((4, 2), 1)]));
    });
}

#[test]
fn loom_who_claims_a_cell_too_late_leaves_nothing_in_it() {
    check(|| {
        let (table, words) = table();
        // The table counts hour 1 so far, in which the key at slot 0 was removed.
        assert!(table.take_hour(1));
        let late = {
            let table = Arc::clone(&table);
            thread::spawn(move || table.count(1, 0, tag(0), key(0), 1))
        };
        table.close();
        table.hand_over(4);
        // The slot has become another key's.
        let is_counted = table.count(4, 0, tag(0), key(8), 1);
        late.join().unwrap();
        assert!(is_counted);
        assert_eq!(recovered(&words), BTreeMap::from([((4, key(8)), 1)]));
    });
}

#[test]
fn loom_a_table_without_an_hour_is_opened_for_one() {
    check(|| {
        let (table, words) = table();
        let first = {
            let table = Arc::clone(&table);
            thread::spawn(move || table.count(1, 0, tag(0), key(0), 1))
        };
        let is_taken = table.take_hour(4);
        let is_counted = first.join().unwrap();
        assert_eq!((is_counted, table.hour()), (!is_taken, Some(if is_taken { 4 } else { 1 })));
        let expected = is_counted.then_some(((1, key(0)), 1));
        assert_eq!(recovered(&words), expected.into_iter().collect());
    });
}

#[test]
fn loom_collecting_sees_what_was_counted_before_it() {
    check(|| {
        let (table, _) = table();
        let other = {
            let table = Arc::clone(&table);
            thread::spawn(move || table.count(1, 0, tag(0), key(0), 1))
        };
        assert!(table.count(1, 0, tag(0), key(0), 1));
        // Our own count is in it, whoever claimed the cell.
        let total: u64 = table.totals().map(|(_, total, _)| total).sum();
        assert!((1..=2).contains(&total), "{total}");
        assert!(other.join().unwrap());
    });
}

#[test]
fn loom_closed_totals_are_final() {
    check(|| {
        let (table, words) = table();
        let other = {
            let table = Arc::clone(&table);
            thread::spawn(move || table.count(1, 0, tag(0), key(0), 1))
        };
        table.close();
        let totals = || table.totals().map(|(_, total, _)| total).sum::<u64>();
        let closed = totals();
        let is_counted = other.join().unwrap();
        // A table that nobody had counted in takes its first hour still.
        if table.state() == State::Closed(1) {
            assert_eq!((closed, totals()), (u64::from(is_counted), u64::from(is_counted)));
        }
        assert_eq!(recovered(&words).values().sum::<u64>(), u64::from(is_counted));
    });
}

/// An account in a region with this many cells of rate limits.
fn limits(cells: usize) -> (Arc<Cells>, Words) {
    let region = Region::with_layout(Layout::of_limits(1, cells));
    (Arc::new(Cells::new(&region, RecoveredLimits::default())), region.words())
}

fn account(words: &Words) -> Account<'_> {
    let line = (**words).as_ref()[Layout::of_limits(1, 0).accounts()].first_chunk().expect("a line");
    Account::of(line)
}

/// One call of a unit against two limits, as `Call::take` makes it: of the account's units, and in a cell.
fn take(cells: &Cells, words: &Words, limits: [u64; 2]) -> bool {
    let place = cells.place(LimitTag::of_key(0, 0), 5, 0);
    let account = account(words);
    let held = account.lock();
    let (value, _) = place.open(&held, cells.left());
    let used = held.used();
    let next = [used.units + 1, value.load(Ordering::Relaxed) + 1];
    let is_allowed = next[0] <= limits[0] && next[1] <= limits[1];
    if is_allowed {
        held.set_used(used.plus(1));
        value.store(next[1], Ordering::Release);
    }
    is_allowed
}

#[test]
fn loom_of_two_calls_for_the_last_unit_one_passes() {
    check(|| {
        let (cells, words) = limits(1);
        let other = {
            let (cells, words) = (Arc::clone(&cells), std::sync::Arc::clone(&words));
            thread::spawn(move || take(&cells, &words, [1, 9]))
        };
        let own = take(&cells, &words, [1, 9]);
        assert!(own != other.join().unwrap());
        // The one that was refused used nothing of either.
        assert!(!take(&cells, &words, [9, 1]) && take(&cells, &words, [9, 2]));
        assert_eq!(account(&words).lock().used(), Used { period: 0, units: 2 });
    });
}

#[test]
fn loom_a_refused_call_is_in_nobodys_way() {
    check(|| {
        let (cells, words) = limits(1);
        let refused = {
            let (cells, words) = (Arc::clone(&cells), std::sync::Arc::clone(&words));
            // The first limit has a unit left, the second none.
            thread::spawn(move || take(&cells, &words, [1, 0]))
        };
        assert!(take(&cells, &words, [1, 1]));
        assert!(!refused.join().unwrap());
    });
}

#[test]
fn loom_cells_of_rate_limits_go_to_one_subject_each() {
    check(|| {
        let (cells, _) = limits(2);
        let address = |place: &Place<'_>| match place {
            Place::Cell(cell, _) => std::ptr::from_ref(*cell).addr(),
            Place::More(..) => 0,
            Place::Own => unreachable!(),
        };
        let claim = move |cells: &Cells, slot| address(&cells.place(LimitTag::of_key(slot, 0), 1, 0));
        let others = {
            let cells = Arc::clone(&cells);
            thread::spawn(move || [claim(&cells, 0), claim(&cells, 1)])
        };
        let own = [claim(&cells, 0), claim(&cells, 2)];
        let others = others.join().unwrap();
        assert_eq!(own[0], others[0], "the same subject");
        assert!(own[0] != 0 && own[1] != others[1], "two cells for three subjects: {own:?} {others:?}");
        assert!(own[1] != own[0] && others[1] != own[0]);
        assert_eq!([claim(&cells, 1), claim(&cells, 2)], [others[1], own[1]], "a place is for ever");
    });
}
