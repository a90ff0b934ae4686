//! Cases about usage: hours, the days that they become, and what is left of both.

use std::ops::Range;

use claviger_domain::id::{KeyId, OrganizationId};
use claviger_domain::key::{Key, Kind};
use claviger_domain::time::Timestamp;
use claviger_store::usage::{Account, UsageRow};
use claviger_store::usage_reports::{ExportPart, ExportRow, KeySum, Spans, UsageAccount};
use claviger_store::{Store, keys, usage, usage_reports, usage_retention};

use crate::cases::{NOW, create_keys, key, later, put_place};

/// The first hour of a day in UTC.
const DAY: i64 = 20_454 * 24;

fn account(organization: u128) -> Account {
    (OrganizationId::from_u128(organization), "tork".parse().unwrap())
}

fn row(hour: i64, key: u128, outcome: &str, total: i64) -> UsageRow {
    UsageRow {
        organization: OrganizationId::from_u128(1),
        api: "tork".parse().unwrap(),
        hour,
        key: KeyId::from_u128(key),
        scope: "evaluate".to_owned(),
        outcome: outcome.to_owned(),
        total,
        last_used: None,
        parent: None,
    }
}

fn sum(key: u128, outcome: &str, total: i64) -> KeySum {
    KeySum { key: KeyId::from_u128(key), scope: "evaluate".to_owned(), outcome: outcome.to_owned(), total }
}

async fn find(store: &Store) -> UsageAccount {
    let mut reader = store.read().await.unwrap();
    usage_reports::find_account(&mut reader, &account(1)).await.unwrap().unwrap()
}

async fn sums(store: &Store, zone: &str, range: Range<i64>) -> Vec<KeySum> {
    let spans = Spans::new(Some(&find(store).await), zone, &range);
    let mut reader = store.read().await.unwrap();
    let by_key = usage_reports::sum_by_key(&mut reader, &account(1), &spans).await.unwrap();
    let by_start = usage_reports::sum_by_start(&mut reader, &account(1), &spans).await.unwrap();
    assert!(by_start.is_sorted() && by_start.iter().all(|sum| range.contains(&sum.start)), "{by_start:?}");
    assert_eq!(by_start.iter().map(|sum| sum.total).sum::<i64>(), by_key.iter().map(|sum| sum.total).sum::<i64>());
    by_key
}

/// Adds up a day from where days hold.
async fn roll(store: &Store, day: Range<i64>, zone: &str) -> bool {
    assert!(usage_retention::begin_day(store, &account(1), &day, zone).await.unwrap());
    let mut reader = store.read().await.unwrap();
    let sums = usage_retention::sum_day(&mut reader, &account(1), &day).await.unwrap();
    drop(reader);
    usage_retention::put_day(store, &account(1), &day, &sums, (true, true)).await.unwrap()
}

pub(crate) async fn totals_never_count_twice(store: Store) {
    put_place(&store).await;
    create_keys(&store, &[key(1)]).await;
    let used = |row: UsageRow, at: Timestamp| UsageRow { last_used: Some(at), ..row };
    let rows =
        [used(row(10, 1, "allowed", 3), later(60)), row(10, 1, "expired", 1), used(row(11, 1, "allowed", 5), NOW)];
    assert_eq!(usage::put_totals(&store, 1, &rows).await.unwrap(), 0);
    usage::put_totals(&store, 1, &rows).await.unwrap();
    usage::put_totals(&store, 1, &[row(10, 1, "allowed", 2), row(10, 1, "allowed", 1)]).await.unwrap();
    usage::put_totals(&store, 2, &[row(11, 1, "allowed", 7)]).await.unwrap();
    usage::put_totals(&store, 2, &[]).await.unwrap();
    assert_eq!(sums(&store, "UTC", 10..12).await, [sum(1, "allowed", 15), sum(1, "expired", 1)]);
    assert_eq!(sums(&store, "UTC", 10..11).await, [sum(1, "allowed", 3), sum(1, "expired", 1)]);
    assert_eq!(sums(&store, "UTC", 12..99).await, []);
    let mut reader = store.read().await.unwrap();
    let (organization, api) = account(1);
    let mut own = usage::list_from(&mut reader, 1, organization, &api, 10).await.unwrap();
    own.sort_by(|one, other| (one.hour, &one.outcome).cmp(&(other.hour, &other.outcome)));
    assert_eq!(own, rows.map(|row| UsageRow { last_used: None, ..row }));
    let others = usage::list_from(&mut reader, 2, organization, &api, 11).await.unwrap();
    assert_eq!(others, [row(11, 1, "allowed", 7)]);
    assert_eq!(usage::list_from(&mut reader, 1, organization, &api, 12).await.unwrap(), []);
    assert_eq!(keys::find(&mut reader, KeyId::from_u128(1)).await.unwrap().unwrap().last_used, Some(later(60)));
    assert_eq!(usage_reports::find_account(&mut reader, &account(2)).await.unwrap(), None);
}

pub(crate) async fn hours_become_days_and_sums_stay_the_same(store: Store) {
    let rows: Vec<UsageRow> =
        (DAY..DAY + 72).flat_map(|hour| [row(hour, 1, "allowed", 2), row(hour, 2, "expired", 1)]).collect();
    usage::put_totals(&store, 1, &rows).await.unwrap();
    usage::put_totals(&store, 2, &[row(DAY + 5, 1, "allowed", 40)]).await.unwrap();
    let all = [sum(1, "allowed", 184), sum(2, "expired", 72)];
    let second = [sum(1, "allowed", 48), sum(2, "expired", 24)];
    let mut reader = store.read().await.unwrap();
    assert_eq!(usage_retention::find_hour(&mut reader, &account(1), DAY + 7).await.unwrap(), Some(DAY + 7));
    assert_eq!(usage_retention::find_hour(&mut reader, &account(1), DAY + 72).await.unwrap(), None);
    let range = DAY + 4..DAY + 1000;
    let mut of_key =
        usage_reports::list_key_hours(&mut reader, &account(1), KeyId::from_u128(1), &range).await.unwrap();
    of_key.sort();
    assert_eq!(of_key.iter().map(|sum| sum.start).collect::<Vec<_>>(), (DAY + 4..DAY + 72).collect::<Vec<_>>());
    assert_eq!((of_key[0].total, of_key[1].total, of_key[1].outcome.as_str()), (2, 42, "allowed"));
    drop(reader);
    for days in 0..3 {
        assert_eq!(find(&store).await.rolled_through, DAY + days * 24);
        assert_eq!(sums(&store, "UTC", DAY..DAY + 72).await, all, "{days}");
        assert_eq!(sums(&store, "UTC", DAY + 24..DAY + 48).await, second, "{days}");
        let day = DAY + days * 24..DAY + days * 24 + 24;
        // A process that died left some of it behind.
        assert!(usage_retention::begin_day(&store, &account(1), &day, "UTC").await.unwrap());
        let left = usage_retention::DayRow {
            key: KeyId::from_u128(7),
            scope: "evaluate".to_owned(),
            outcome: "allowed".to_owned(),
            total: 99,
            parent: None,
        };
        assert!(!usage_retention::put_day(&store, &account(1), &day, &[left], (true, false)).await.unwrap());
        assert_eq!(sums(&store, "UTC", DAY..DAY + 72).await, all, "{days}");
        assert!(roll(&store, day.clone(), "UTC").await);
        assert!(!usage_retention::begin_day(&store, &account(1), &day, "UTC").await.unwrap());
        assert!(!usage_retention::end_day(&store, &account(1), &day).await.unwrap());
    }
    assert_eq!(sums(&store, "UTC", DAY..DAY + 72).await, all);
    assert_eq!(sums(&store, "UTC", DAY + 24..DAY + 48).await, second);
}

pub(crate) async fn a_late_total_is_in_the_day_it_is_of(store: Store) {
    usage::put_totals(&store, 1, &[row(DAY, 1, "allowed", 1), row(DAY + 30, 1, "allowed", 2)]).await.unwrap();
    for day in 0..4 {
        assert!(roll(&store, DAY + day * 24..DAY + day * 24 + 24, "UTC").await);
    }
    // Of another incarnation, for a day that has no usage at all, and for one that has.
    usage::put_totals(&store, 2, &[row(DAY + 50, 1, "allowed", 10)]).await.unwrap();
    assert_eq!(find(&store).await.rolled_through, DAY + 24);
    assert_eq!(sums(&store, "UTC", DAY..DAY + 96).await, [sum(1, "allowed", 13)]);
    usage::put_totals(&store, 2, &[row(DAY + 3, 1, "allowed", 100)]).await.unwrap();
    assert_eq!(find(&store).await.rolled_through, DAY);
    assert_eq!(sums(&store, "UTC", DAY..DAY + 96).await, [sum(1, "allowed", 113)]);
    for day in 0..4 {
        assert!(roll(&store, DAY + day * 24..DAY + day * 24 + 24, "UTC").await);
        assert_eq!(sums(&store, "UTC", DAY..DAY + 96).await, [sum(1, "allowed", 113)]);
    }
    // While a day is being added up: what was read of it does not hold.
    let day = DAY + 96..DAY + 120;
    usage::put_totals(&store, 2, &[row(DAY + 97, 1, "allowed", 1)]).await.unwrap();
    assert!(usage_retention::begin_day(&store, &account(1), &day, "UTC").await.unwrap());
    let mut reader = store.read().await.unwrap();
    let read = usage_retention::sum_day(&mut reader, &account(1), &day).await.unwrap();
    drop(reader);
    usage::put_totals(&store, 2, &[row(DAY + 98, 1, "allowed", 1)]).await.unwrap();
    assert!(!usage_retention::put_day(&store, &account(1), &day, &read, (true, true)).await.unwrap());
    assert_eq!(sums(&store, "UTC", day.clone()).await, [sum(1, "allowed", 2)]);
    assert!(roll(&store, day.clone(), "UTC").await);
    assert_eq!(sums(&store, "UTC", day).await, [sum(1, "allowed", 2)]);
    // Before all that is known.
    usage::put_totals(&store, 2, &[row(DAY - 30, 1, "allowed", 5)]).await.unwrap();
    assert_eq!(find(&store).await.rolled_through, DAY - 30);
    assert_eq!(sums(&store, "UTC", DAY - 48..DAY + 120).await, [sum(1, "allowed", 120)]);
}

pub(crate) async fn a_time_zone_that_changes_moves_no_call(store: Store) {
    let rows: Vec<UsageRow> = (DAY..DAY + 240).map(|hour| row(hour, 1, "allowed", 1)).collect();
    usage::put_totals(&store, 1, &rows).await.unwrap();
    for day in 0..4 {
        assert!(roll(&store, DAY + day * 24..DAY + day * 24 + 24, "UTC").await);
    }
    // Days of Tokyo begin nine hours earlier.
    let tokyo = |day: i64| DAY + day * 24 - 9;
    for (zone, start) in [("Asia/Tokyo", tokyo(2)), ("UTC", DAY + 48)] {
        assert_eq!(sums(&store, zone, start..start + 72).await, [sum(1, "allowed", 72)], "{zone}");
    }
    assert!(roll(&store, DAY + 96..tokyo(5), "Asia/Tokyo").await);
    assert!(roll(&store, tokyo(5)..tokyo(6), "Asia/Tokyo").await);
    let found = find(&store).await;
    assert_eq!(
        (found.aligned_since, found.rolled_through, found.time_zone.as_str()),
        (DAY + 96, tokyo(6), "Asia/Tokyo")
    );
    for (zone, start) in [("Asia/Tokyo", tokyo(2)), ("Asia/Tokyo", tokyo(5)), ("UTC", DAY + 48), ("UTC", DAY + 96)] {
        assert_eq!(sums(&store, zone, start..start + 72).await, [sum(1, "allowed", 72)], "{zone} {start}");
    }
}

pub(crate) async fn what_is_old_is_forgotten_in_small_parts(store: Store) {
    let rows: Vec<UsageRow> = (DAY..DAY + 240).map(|hour| row(hour, 1, "allowed", 1)).collect();
    usage::put_totals(&store, 1, &rows).await.unwrap();
    for day in 0..5 {
        assert!(roll(&store, DAY + day * 24..DAY + day * 24 + 24, "UTC").await);
    }
    let all = [sum(1, "allowed", 240)];
    // In the middle of the third day, and then past all that are in days.
    let mut parts = 0;
    for (before, pruned) in [(DAY + 60, DAY + 48), (DAY + 200, DAY + 120)] {
        while usage_retention::delete_hours(&store, &account(1), before, 10).await.unwrap() {
            parts += 1;
            assert_eq!(sums(&store, "UTC", DAY..DAY + 240).await, all);
        }
        assert_eq!(find(&store).await.pruned_before, pruned);
        assert_eq!(sums(&store, "UTC", DAY..DAY + 240).await, all);
        assert_eq!(sums(&store, "UTC", DAY + 24..DAY + 48).await, [sum(1, "allowed", 24)]);
    }
    assert_eq!(parts, 4 + 7);
    let mut reader = store.read().await.unwrap();
    assert_eq!(usage_retention::find_hour(&mut reader, &account(1), 0).await.unwrap(), Some(DAY + 120));
    assert_eq!(usage_reports::sum_units(&mut reader, &account(1), &(DAY..DAY + 240)).await.unwrap(), 240);
    drop(reader);
    // What is not kept any more is not written: it may be in a day already. What is kept is.
    let late = [row(DAY + 119, 1, "allowed", 7), row(DAY + 120, 1, "allowed", 7)];
    assert_eq!(usage::put_totals(&store, 1, &late).await.unwrap(), 1);
    assert_eq!(sums(&store, "UTC", DAY..DAY + 240).await, [sum(1, "allowed", 246)]);
    assert!(usage_retention::delete_days(&store, &account(1), DAY + 70, 1).await.unwrap());
    while usage_retention::delete_days(&store, &account(1), DAY + 70, 1).await.unwrap() {}
    let mut reader = store.read().await.unwrap();
    assert_eq!(usage_retention::find_first_day(&mut reader, &account(1)).await.unwrap(), Some(DAY + 72));
    assert_eq!(usage_retention::find_first_day(&mut reader, &account(2)).await.unwrap(), None);
    drop(reader);
    assert_eq!(sums(&store, "UTC", DAY..DAY + 240).await, [sum(1, "allowed", 174)]);
    assert!(!usage_retention::delete_hours(&store, &account(2), DAY, 10).await.unwrap());
}

pub(crate) async fn units_are_what_is_billable_of_all_incarnations(store: Store) {
    put_place(&store).await;
    let child = Key { parent_id: Some(KeyId::from_u128(1)), kind: Kind::Ephemeral, ..key(2) };
    create_keys(&store, &[key(1), child]).await;
    let forgotten = UsageRow { parent: Some(KeyId::from_u128(1)), ..row(DAY + 2, 3, "allowed", 1000) };
    let rows = [
        row(DAY, 1, "allowed", 1),
        row(DAY, 1, "allowed_free", 9),
        row(DAY, 1, "extra_units", 20),
        row(DAY, 1, "rate_limited", 9),
        row(DAY + 1, 2, "allowed", 300),
        forgotten,
        row(DAY + 30, 4, "allowed", 50_000),
    ];
    usage::put_totals(&store, 1, &rows).await.unwrap();
    usage::put_totals(&store, 1, &rows).await.unwrap();
    usage::put_totals(&store, 2, &[row(DAY, 1, "extra_units", 5)]).await.unwrap();
    usage::put_totals(&store, 2, &[row(DAY, 1, "extra_units", 4_000)]).await.unwrap();
    let theirs = UsageRow { organization: OrganizationId::from_u128(2), ..row(DAY, 9, "allowed", 8) };
    usage::put_totals(&store, 1, &[theirs]).await.unwrap();
    for is_rolled in [false, true] {
        if is_rolled {
            assert!(roll(&store, DAY..DAY + 24, "UTC").await);
        }
        let mut reader = store.read().await.unwrap();
        let units = async |reader: &mut _, hours| usage_reports::sum_units(reader, &account(1), &hours).await.unwrap();
        assert_eq!(units(&mut reader, DAY..DAY + 24).await, 5321);
        assert_eq!(units(&mut reader, DAY + 1..DAY + 48).await, 51_300);
        let since = [(account(1), DAY + 2), (account(2), 0), (account(3), 0)];
        let mut all = usage_reports::list_account_units(&mut reader, &since).await.unwrap();
        all.sort();
        assert_eq!(all, [(account(1), 51_000), (account(2), 8)]);
        let spans = Spans::new(
            usage_reports::find_account(&mut reader, &account(1)).await.unwrap().as_ref(),
            "UTC",
            &(DAY..DAY + 24),
        );
        let keys = usage_reports::list_key_units(&mut reader, &account(1), &spans).await.unwrap();
        assert_eq!(keys, [(KeyId::from_u128(1), 5321)]);
    }
    let mut reader = store.read().await.unwrap();
    let mut list = async |of: (Option<OrganizationId>, Option<&claviger_domain::key::ApiName>),
                          after: Option<&Account>| {
        let found = usage_reports::list_accounts(&mut reader, of, after, 10).await.unwrap();
        found.into_iter().map(|account| account.organization.as_u128()).collect::<Vec<_>>()
    };
    assert_eq!(list((None, None), None).await, [1, 2]);
    assert_eq!(list((None, None), Some(&account(1))).await, [2]);
    assert_eq!(list((Some(OrganizationId::from_u128(2)), None), None).await, [2]);
    assert_eq!(list((None, Some(&"other".parse().unwrap())), None).await, []);
}

pub(crate) async fn an_export_is_read_in_pages(store: Store) {
    let rows: Vec<UsageRow> = (DAY..DAY + 48)
        .step_by(12)
        .flat_map(|hour| [row(hour, 1, "allowed", 2), row(hour, 1, "extra_units", 3), row(hour, 2, "expired", 1)])
        .collect();
    usage::put_totals(&store, 1, &rows).await.unwrap();
    assert!(roll(&store, DAY..DAY + 24, "UTC").await);
    assert!(!usage_retention::delete_hours(&store, &account(1), DAY + 24, 100).await.unwrap());
    let read = async |is_billable_only, limit| {
        let mut part = ExportPart { account: account(1), range: DAY..DAY + 36, is_billable_only, after: None };
        let mut all: Vec<ExportRow> = Vec::new();
        loop {
            let mut reader = store.read().await.unwrap();
            let page = usage_reports::list_export(&mut reader, &part, limit).await.unwrap();
            let Some(last) = page.last() else { return all };
            part.after = Some((last.start, last.key, last.scope.clone(), last.outcome.clone()));
            all.extend(page);
        }
    };
    let exported = |start, key, outcome: &str, total| ExportRow {
        start,
        key: KeyId::from_u128(key),
        scope: "evaluate".to_owned(),
        outcome: outcome.to_owned(),
        total,
    };
    let all = [
        exported(DAY, 1, "allowed", 4),
        exported(DAY, 1, "extra_units", 6),
        exported(DAY, 2, "expired", 2),
        exported(DAY + 24, 1, "allowed", 2),
        exported(DAY + 24, 1, "extra_units", 3),
        exported(DAY + 24, 2, "expired", 1),
    ];
    for limit in [1, 2, 5, 100] {
        assert_eq!(read(false, limit).await, all, "{limit}");
        assert_eq!(read(true, limit).await, [exported(DAY, 1, "", 10), exported(DAY + 24, 1, "", 5)], "{limit}");
    }
}
