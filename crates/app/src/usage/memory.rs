//! What only memory knows of usage: that of test keys, and the last use of keys where the table does not have it yet.

use std::collections::HashMap;
use std::ops::Range;

use claviger_domain::id::KeyId;
use claviger_domain::time::Timestamp;
use claviger_engine::UsageTotal;
use claviger_store::usage::UsageRow;

use super::{Bucket, HOURS_REMEMBERED, Place};

/// Sums of single test keys that are kept. Beyond it the calls of further keys are added to their organization's alone.
const SUMS_MAX: usize = 1 << 18;
/// For so many days they are: the longest billing period, wherever its days begin.
const DAYS_KEPT: i64 = 33;
const HOURS_PER_DAY: i64 = 24;

/// See the module.
#[derive(Default)]
pub(super) struct Memory {
    test: HashMap<Place, TestUsage>,
    /// Sums of all places.
    sums: usize,
    /// The last hour that is in the sums.
    summed_through: i64,
    last_used: HashMap<KeyId, Timestamp>,
    /// Keys that are no more, with the last hour in which they were: for a while the engine still speaks of it.
    forgotten: HashMap<KeyId, i64>,
}

/// The last weeks' calls with the test keys of an organization to an api.
#[derive(Default)]
struct TestUsage {
    /// Totals of the last hours. The engine says them again, perhaps with more.
    recent: HashMap<Bucket, u64>,
    /// What came before, by the day of UTC.
    sums: HashMap<Sum, u64>,
}

/// Calls with a test key.
pub(super) struct TestCalls<'m> {
    /// `None` stands for keys that are no more or too many.
    pub(super) key: Option<KeyId>,
    pub(super) scope: &'m str,
    pub(super) outcome: &'m str,
    pub(super) total: u64,
}

#[derive(PartialEq, Eq, Hash)]
struct Sum {
    /// Days since the Unix epoch.
    day: i64,
    /// `None` stands for keys that are no more or too many.
    key: Option<KeyId>,
    scope: String,
    outcome: String,
}

impl Memory {
    /// Notes when a key was last used.
    pub(super) fn note_use(&mut self, total: &UsageTotal) {
        if !self.forgotten.contains_key(&total.key) {
            let last_used = self.last_used.entry(total.key).or_insert(total.last_used);
            *last_used = (*last_used).max(total.last_used);
        }
    }

    pub(super) fn last_used(&self, key: KeyId) -> Option<Timestamp> {
        self.last_used.get(&key).copied()
    }

    /// Takes a total of a test key.
    pub(super) fn put_test(&mut self, place: Place, bucket: Bucket, total: u64) {
        if bucket.hour > self.summed_through {
            self.test.entry(place).or_default().recent.insert(bucket, total);
        }
    }

    pub(super) fn wrote(&mut self, rows: &[UsageRow]) {
        for row in rows {
            if self.last_used.get(&row.key).is_some_and(|at| Some(*at) <= row.last_used) {
                self.last_used.remove(&row.key);
            }
        }
    }

    /// Forgets a key. What was called with it remains its organization's.
    pub(super) fn forget_key(&mut self, place: &Place, key: KeyId, hour: i64) {
        self.last_used.remove(&key);
        self.forgotten.insert(key, hour);
        let Some(TestUsage { sums, .. }) = self.test.get_mut(place) else { return };
        let before = sums.len();
        let its: Vec<(Sum, u64)> = sums.extract_if(|sum, _| sum.key == Some(key)).collect();
        for (sum, total) in its {
            *sums.entry(Sum { key: None, ..sum }).or_default() += total;
        }
        self.sums = self.sums + sums.len() - before;
    }

    /// Sums up the hours that the engine will not speak of any more, and forgets days that are long past.
    pub(super) fn sum_up(&mut self, now: Timestamp) {
        let oldest = now.hour() - HOURS_REMEMBERED;
        let first_day = first_day(now);
        self.last_used.retain(|_, at| at.hour() >= first_day * HOURS_PER_DAY);
        if oldest <= self.summed_through + 1 {
            return;
        }
        self.summed_through = oldest - 1;
        let Self { test, sums: count, forgotten, .. } = self;
        test.retain(|_, TestUsage { recent, sums }| {
            let before = sums.len();
            sums.retain(|sum, _| sum.day >= first_day);
            *count -= before - sums.len();
            for (bucket, total) in recent.extract_if(|bucket, _| bucket.hour < oldest) {
                let day = bucket.hour.div_euclid(HOURS_PER_DAY);
                if day < first_day {
                    continue;
                }
                let key = Some(bucket.key).filter(|key| !forgotten.contains_key(key));
                let mut sum = Sum { day, key, scope: bucket.scope, outcome: bucket.outcome };
                if *count >= SUMS_MAX && !sums.contains_key(&sum) {
                    sum.key = None;
                }
                let before = sums.len();
                *sums.entry(sum).or_default() += total;
                *count += sums.len() - before;
            }
            !recent.is_empty() || !sums.is_empty()
        });
        self.forgotten.retain(|_, last| *last >= oldest);
    }

    /// The calls with test keys in a range of hours; none where it begins before what is known. A day of UTC is in the
    /// range where its first hour is.
    pub(super) fn test_calls(&self, place: &Place, hours: &Range<i64>, now: Timestamp) -> Vec<TestCalls<'_>> {
        let Some(TestUsage { recent, sums }) = self.test.get(place) else { return Vec::new() };
        if hours.start.div_euclid(HOURS_PER_DAY) < first_day(now) {
            return Vec::new();
        }
        let recent =
            recent.iter().filter(|(bucket, _)| hours.contains(&bucket.hour)).map(|(bucket, total)| TestCalls {
                key: Some(bucket.key).filter(|key| !self.forgotten.contains_key(key)),
                scope: &bucket.scope,
                outcome: &bucket.outcome,
                total: *total,
            });
        let is_in = |day: i64| hours.contains(&(day * HOURS_PER_DAY));
        let sums = sums.iter().filter(|(sum, _)| is_in(sum.day)).map(|(sum, total)| TestCalls {
            key: sum.key,
            scope: &sum.scope,
            outcome: &sum.outcome,
            total: *total,
        });
        recent.chain(sums).collect()
    }
}

/// The first day that is kept.
fn first_day(now: Timestamp) -> i64 {
    now.hour().div_euclid(HOURS_PER_DAY) - DAYS_KEPT
}

#[cfg(test)]
mod tests {
    use claviger_domain::id::OrganizationId;

    use super::*;

    const OUTCOMES: [&str; 2] = [super::super::ALLOWED, "expired"];

    fn place() -> Place {
        (OrganizationId::from_u128(1), "tork".parse().unwrap())
    }

    fn put(memory: &mut Memory, key: u128, hour: i64, total: u64) {
        for outcome in OUTCOMES {
            let bucket =
                Bucket { key: KeyId::from_u128(key), hour, scope: "evaluate".into(), outcome: outcome.to_owned() };
            memory.put_test(place(), bucket, total);
        }
    }

    /// Total of one key or all in the last weeks, and how many entries there are.
    fn seen(memory: &Memory, key: Option<u128>, now: Timestamp) -> (u64, usize) {
        let hours = now.hour() - 31 * HOURS_PER_DAY..now.hour() + 1;
        let calls = memory.test_calls(&place(), &hours, now);
        let of_key = calls.iter().filter(|calls| key.is_none_or(|key| calls.key == Some(KeyId::from_u128(key))));
        let total = of_key.map(|calls| calls.total).sum();
        (total, memory.test.values().map(|usage| usage.recent.len() + usage.sums.len()).sum())
    }

    #[test]
    fn test_calls_are_one_sum_a_day_key_and_outcome() {
        let mut memory = Memory::default();
        let start: Timestamp = "2026-03-01T00:00:00Z".parse().unwrap();
        let mut now = start;
        for hours in 1..=700_u64 {
            put(&mut memory, 1, now.hour(), 1);
            // Totals are absolute and are said again and again.
            put(&mut memory, 1, now.hour(), 2);
            put(&mut memory, 1, now.hour() - 1, 2 * u64::from(hours > 1));
            memory.sum_up(now);
            let (total, entries) = seen(&memory, Some(1), now);
            assert_eq!(total, hours * 4);
            assert!(entries <= 2 * (HOURS_REMEMBERED as usize + 3 + hours as usize / 24 + 1), "{entries}");
            now = now.plus_seconds(3600).unwrap();
        }
        let before_all_that_is_known = now.hour() - 40 * HOURS_PER_DAY..now.hour();
        assert!(memory.test_calls(&place(), &before_all_that_is_known, now).is_empty());
        now = now.plus_seconds(40 * 24 * 3600).unwrap();
        memory.sum_up(now);
        assert_eq!((seen(&memory, None, now), memory.sums), ((0, 0), 0));
    }

    #[test]
    fn keys_that_are_no_more_take_no_room() {
        let mut memory = Memory::default();
        let mut now: Timestamp = "2026-03-10T00:00:00Z".parse().unwrap();
        for key in 1..=200 {
            put(&mut memory, key, now.hour(), 1);
            if key > 100 {
                memory.forget_key(&place(), KeyId::from_u128(key), now.hour());
            }
        }
        now = now.plus_seconds(10 * 3600).unwrap();
        // Now as before: the engine spoke of the keys after they were forgotten.
        memory.sum_up(now);
        for key in 1..=100 {
            memory.forget_key(&place(), KeyId::from_u128(key), now.hour());
        }
        assert_eq!(seen(&memory, None, now), (400, 2));
        assert_eq!((memory.sums, seen(&memory, Some(1), now).0), (2, 0));
        now = now.plus_seconds(5 * 3600).unwrap();
        memory.sum_up(now);
        assert!(memory.forgotten.is_empty() && memory.last_used.is_empty());
    }

    #[test]
    fn too_many_keys_are_counted_together() {
        let mut now: Timestamp = "2026-03-10T00:00:00Z".parse().unwrap();
        let mut memory = Memory { sums: SUMS_MAX - 2, ..Memory::default() };
        for key in 1..=50 {
            put(&mut memory, key, now.hour(), 1);
        }
        now = now.plus_seconds(10 * 3600).unwrap();
        memory.sum_up(now);
        let (total, entries) = seen(&memory, None, now);
        assert_eq!(total, 100);
        assert!(entries <= 4, "{entries}");
    }
}
