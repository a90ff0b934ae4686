//! Hours become days once they cannot change any more, and are forgotten later; so are days.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use claviger_domain::id::OrganizationId;
use claviger_domain::limits;
use claviger_domain::period::TimeZone;
use claviger_store::organizations;
use claviger_store::usage_reports::{UsageAccount, list_accounts};
use claviger_store::usage_retention::{
    begin_day, delete_days, delete_hours, end_day, find_first_day, find_hour, put_day, sum_day,
};

use super::{Place, ROWS_PER_WRITE};
use crate::{App, AppError};

/// Hours this old have their last total, but for what a killed process left behind: a database may be away for a while.
const ROLLED_UP_AFTER_HOURS: i64 = 72;
const ACCOUNTS_AT_ONCE: u32 = 500;
const HOURS_PER_DAY: i64 = 24;
/// Rows that are forgotten in one transaction.
const FORGOTTEN_AT_ONCE: u32 = 2000;

/// For how long usage is kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct UsageRetention {
    hours_kept_days: u16,
    days_kept_days: u16,
}

impl Default for UsageRetention {
    fn default() -> Self {
        Self { hours_kept_days: 90, days_kept_days: 3 * 365 + 1 }
    }
}

impl UsageRetention {
    /// By the hour and by the day, for so many days each. `None` unless they are within
    /// [`limits::USAGE_HOURS_KEPT_DAYS`] and [`limits::USAGE_DAYS_KEPT_DAYS`], and hours no longer than days.
    pub fn new(hours_kept_days: u16, days_kept_days: u16) -> Option<Self> {
        let is_bounded = limits::USAGE_HOURS_KEPT_DAYS.contains(&hours_kept_days)
            && limits::USAGE_DAYS_KEPT_DAYS.contains(&days_kept_days);
        (is_bounded && hours_kept_days <= days_kept_days).then_some(Self { hours_kept_days, days_kept_days })
    }

    /// For how many days it is kept by the hour.
    pub fn hours_kept_days(self) -> u16 {
        self.hours_kept_days
    }

    /// For how many days it is kept by the day.
    pub fn days_kept_days(self) -> u16 {
        self.days_kept_days
    }
}

impl App {
    /// Keeps usage for so long from now on.
    pub fn keep_usage_for(&self, retention: UsageRetention) {
        *self.ledger.retention.lock().unwrap_or_else(PoisonError::into_inner) = retention;
    }

    pub(crate) fn usage_retention(&self) -> UsageRetention {
        *self.ledger.retention.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes days of hours and forgets what is old, where it is time to: once an hour.
    pub async fn tend_usage(&self) -> Result<(), AppError> {
        let hour = self.now().hour();
        if self.ledger.tended_in.load(Ordering::SeqCst) == hour {
            return Ok(());
        }
        let retention = self.usage_retention();
        let mut zones: HashMap<OrganizationId, TimeZone> = HashMap::new();
        let mut after: Option<Place> = None;
        loop {
            let mut reader = self.store.read().await?;
            let accounts = list_accounts(&mut reader, (None, None), after.as_ref(), ACCOUNTS_AT_ONCE).await?;
            drop(reader);
            let Some(last) = accounts.last() else { break };
            after = Some((last.organization, last.api.clone()));
            for account in &accounts {
                self.roll_up(account, hour - ROLLED_UP_AFTER_HOURS, &mut zones).await?;
                self.forget_usage(account, hour, retention).await?;
            }
        }
        self.ledger.tended_in.store(hour, Ordering::SeqCst);
        Ok(())
    }

    /// Makes days of an account's hours before one.
    async fn roll_up(
        &self,
        account: &UsageAccount,
        before: i64,
        zones: &mut HashMap<OrganizationId, TimeZone>,
    ) -> Result<(), AppError> {
        let place: Place = (account.organization, account.api.clone());
        let mut start = account.rolled_through;
        while start < before {
            let mut reader = self.store.read().await?;
            let Some(first) = find_hour(&mut reader, &place, start).await?.filter(|first| *first < before) else {
                return Ok(());
            };
            let zone = match zones.get(&place.0) {
                Some(zone) => zone.clone(),
                None => {
                    organizations::find(&mut reader, place.0).await?.map(|found| found.time_zone).unwrap_or_default()
                }
            };
            drop(reader);
            let day = zone.day_of(first);
            // Days without any use are passed in one step, so that the next one begins where it does.
            let end = if zone.first_hour(day) > start { zone.first_hour(day) } else { zone.first_hour(day.next()) };
            zones.insert(place.0, zone.clone());
            if end > before || !self.add_up(&place, &(start..end), &zone).await? {
                return Ok(());
            }
            start = end;
        }
        Ok(())
    }

    /// Adds up a day in transactions of a few rows. False where somebody wrote for one of its hours meanwhile: it is
    /// added up the next time.
    async fn add_up(&self, place: &Place, day: &Range<i64>, zone: &TimeZone) -> Result<bool, AppError> {
        if !begin_day(&self.store, place, day, zone.name()).await? {
            return Ok(false);
        }
        let mut reader = self.store.read().await?;
        let sums = sum_day(&mut reader, place, day).await?;
        drop(reader);
        if sums.is_empty() {
            // What was there before, if anything was.
            return Ok(put_day(&self.store, place, day, &[], (true, true)).await?);
        }
        let mut is_first = true;
        for rows in sums.chunks(ROWS_PER_WRITE) {
            put_day(&self.store, place, day, rows, (is_first, false)).await?;
            is_first = false;
        }
        Ok(end_day(&self.store, place, day).await?)
    }

    async fn forget_usage(&self, account: &UsageAccount, hour: i64, retention: UsageRetention) -> Result<(), AppError> {
        let place: Place = (account.organization, account.api.clone());
        let hours_before = hour - i64::from(retention.hours_kept_days) * HOURS_PER_DAY;
        let days_before = hour - i64::from(retention.days_kept_days) * HOURS_PER_DAY;
        let mut reader = self.store.read().await?;
        let first_hour = find_hour(&mut reader, &place, i64::MIN).await?;
        let first_day = find_first_day(&mut reader, &place).await?;
        drop(reader);
        if first_hour.is_some_and(|first| first < hours_before) {
            while delete_hours(&self.store, &place, hours_before, FORGOTTEN_AT_ONCE).await? {}
        }
        if first_day.is_some_and(|first| first < days_before) {
            while delete_days(&self.store, &place, days_before, FORGOTTEN_AT_ONCE).await? {}
        }
        Ok(())
    }
}
