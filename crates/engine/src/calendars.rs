//! The calendars of billing periods: one for each time zone and day that some account has.
//!
//! Each remembers the period that it was last asked about in one word, for the bounds of periods are whole hours: so the
//! question in which period a call falls is a load and two comparisons, whoever asks.

use std::sync::OnceLock;

use claviger_domain::period::{BillingCalendar, Period, TimeZone};
use claviger_domain::subscription::AnchorDay;
use claviger_domain::time::Timestamp;

use crate::accounts::State;
use crate::slab::Slab;
use crate::sync::{AtomicU64, Ordering};

const HOUR_BITS: u32 = 24;
const HOUR_MASK: u64 = (1 << HOUR_BITS) - 1;
const SECONDS_PER_HOUR: i64 = 3600;
const MICROS_PER_SECOND: i64 = 1_000_000;
/// How many periods are looked through for the one that an account is ahead in.
const PERIODS_AHEAD_MAX: usize = 24;

/// Calendars by number.
#[derive(Debug)]
pub(crate) struct Calendars(Slab<OnceLock<Calendar>>);

/// One of them.
#[derive(Debug)]
pub(crate) struct Calendar {
    calendar: BillingCalendar,
    /// Number (16 bits), first hour (24) and first hour after (24) of the period asked about last; zero at first.
    last: AtomicU64,
}

impl Calendars {
    pub(crate) fn new() -> Self {
        Self(Slab::new(State::CALENDARS_MAX))
    }

    pub(crate) fn insert(&self, number: u16, calendar: BillingCalendar) -> Option<()> {
        let place = self.0.ensure(u32::from(number))?;
        place.get_or_init(|| Calendar { calendar, last: AtomicU64::new(0) });
        Some(())
    }

    pub(crate) fn get(&self, number: u16) -> Option<&Calendar> {
        self.0.get(u32::from(number))?.get()
    }

    /// The time zone of a calendar; that of one that there is not yet is UTC.
    pub(crate) fn zone(&self, number: u16) -> TimeZone {
        self.get(number).map_or(TimeZone::UTC, |own| own.calendar.time_zone.clone())
    }

    pub(crate) fn anchor_day(&self, number: u16) -> Option<AnchorDay> {
        self.get(number)?.calendar.anchor_day
    }
}

impl Calendar {
    /// Number of the period that an instant is in, and the seconds until its end, rounded up.
    #[inline]
    pub(crate) fn period(&self, now: Timestamp) -> (u16, u64) {
        let last = self.last.load(Ordering::Relaxed);
        let (start, end) = ((last >> HOUR_BITS & HOUR_MASK) as i64, (last & HOUR_MASK) as i64);
        let hour = now.hour();
        if start <= hour && hour < end {
            return ((last >> (2 * HOUR_BITS)) as u16, seconds_until(end, now));
        }
        self.look_up(now)
    }

    /// Once a period, and as often as clocks are set.
    #[cold]
    fn look_up(&self, now: Timestamp) -> (u16, u64) {
        let Period { number, start, end } = self.calendar.period(now);
        let hours = [start, end].map(|at| u64::try_from(at.hour()).ok().filter(|hour| *hour <= HOUR_MASK));
        if let [Some(start), Some(end)] = hours {
            let word = u64::from(number) << (2 * HOUR_BITS) | start << HOUR_BITS | end;
            self.last.store(word, Ordering::Relaxed);
        }
        (number, seconds_until(end.hour(), now))
    }

    /// Seconds until the end of a period that is not older than the one of this instant.
    #[cold]
    pub(crate) fn seconds_until_end_of(&self, number: u16, now: Timestamp) -> u64 {
        let mut period = self.calendar.period(now);
        for _ in 0..PERIODS_AHEAD_MAX {
            if period.number >= number {
                break;
            }
            period = self.calendar.period(period.end);
        }
        seconds_until(period.end.hour(), now)
    }
}

fn seconds_until(hour: i64, now: Timestamp) -> u64 {
    let micros = hour.saturating_mul(SECONDS_PER_HOUR * MICROS_PER_SECOND).saturating_sub(now.as_micros());
    u64::try_from(micros).unwrap_or(0).div_ceil(MICROS_PER_SECOND.unsigned_abs())
}
