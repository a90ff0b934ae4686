//! What only memory knows of usage: that of test keys, and the last use of keys where the table does not have it yet.

use std::collections::HashMap;
use std::ops::Range;

use claviger_domain::id::KeyId;
use claviger_domain::key::Environment;
use claviger_domain::time::Timestamp;
use claviger_engine::UsageTotal;
use claviger_store::usage::UsageRow;

use super::{Bucket, HOURS_REMEMBERED, Place, UsageCounts};

/// Sums of single test keys that are kept. Beyond it the calls of further keys are added to their organization's alone.
const SUMS_MAX: usize = 1 << 18;

/// See the module.
#[derive(Default)]
pub(super) struct Memory {
    test: HashMap<Place, TestUsage>,
    /// Sums of all places.
    sums: usize,
    /// The first hour of the month that the sums are of.
    month: i64,
    /// The last hour that is in the sums.
    summed_through: i64,
    last_used: HashMap<KeyId, Timestamp>,
    /// Keys that are no more, with the last hour in which they were: for a while the engine still speaks of it.
    forgotten: HashMap<KeyId, i64>,
}

/// This month's calls with the test keys of an organization to an api.
#[derive(Default)]
struct TestUsage {
    /// Totals of the last hours. The engine says them again, perhaps with more.
    recent: HashMap<Bucket, u64>,
    /// What came before, without the hour.
    sums: HashMap<Sum, u64>,
}

#[derive(PartialEq, Eq, Hash)]
struct Sum {
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

    /// Sums up the hours that the engine will not speak of any more, and forgets those before this month.
    pub(super) fn sum_up(&mut self, now: Timestamp) {
        let (month, oldest) = (now.month_start().hour(), now.hour() - HOURS_REMEMBERED);
        self.last_used.retain(|_, at| at.hour() >= month);
        if self.month != month {
            self.month = month;
            self.sums = 0;
            self.test.values_mut().for_each(|usage| usage.sums.clear());
        }
        if oldest <= self.summed_through + 1 {
            return;
        }
        self.summed_through = oldest - 1;
        let Self { test, sums: count, forgotten, .. } = self;
        test.retain(|_, TestUsage { recent, sums }| {
            for (bucket, total) in recent.extract_if(|bucket, _| bucket.hour < oldest) {
                if bucket.hour < month {
                    continue;
                }
                let key = Some(bucket.key).filter(|key| !forgotten.contains_key(key));
                let mut sum = Sum { key, scope: bucket.scope, outcome: bucket.outcome };
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

    /// Adds the calls with test keys, with one of them if it is named.
    pub(super) fn add_to(&self, counts: &mut UsageCounts, place: &Place, key: Option<KeyId>, hours: &Range<i64>) {
        let Some(TestUsage { recent, sums }) = self.test.get(place) else { return };
        for (bucket, total) in recent {
            if key.is_none_or(|key| key == bucket.key) && hours.contains(&bucket.hour) {
                counts.add(Environment::Test, &bucket.scope, &bucket.outcome, *total);
            }
        }
        for (sum, total) in sums.iter().filter(|_| self.month == hours.start) {
            if key.is_none_or(|key| sum.key == Some(key)) {
                counts.add(Environment::Test, &sum.scope, &sum.outcome, *total);
            }
        }
    }
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

    /// Total of one key or all, and how many entries there are.
    fn seen(memory: &Memory, key: Option<u128>, now: Timestamp) -> (u64, usize) {
        let hours = now.month_start().hour()..now.next_month_start().hour();
        let mut counts = UsageCounts::default();
        memory.add_to(&mut counts, &place(), key.map(KeyId::from_u128), &hours);
        (counts.total, memory.test.values().map(|usage| usage.recent.len() + usage.sums.len()).sum())
    }

    #[test]
    fn a_month_of_test_calls_is_one_sum_a_key_and_outcome() {
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
            assert!(entries <= 2 * (HOURS_REMEMBERED as usize + 3), "{entries}");
            now = now.plus_seconds(3600).unwrap();
        }
        now = now.next_month_start().plus_seconds(10 * 3600).unwrap();
        memory.sum_up(now);
        assert_eq!(seen(&memory, None, now), (0, 0));
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
        let mut memory = Memory { sums: SUMS_MAX - 2, month: now.month_start().hour(), ..Memory::default() };
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
