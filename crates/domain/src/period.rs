//! Billing periods: calendar months in an organization's time zone, or months from an anchor day.

use std::fmt;
use std::str::FromStr;

use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use crate::day::{Day, Month};
use crate::subscription::AnchorDay;
use crate::time::Timestamp;

const MICROS_PER_HOUR: i64 = 3_600_000_000;
/// Longest name of a time zone that is looked up.
const ZONE_BYTES_MAX: usize = 64;
/// What stands beside the zones in a system's folder of them, and is this machine's own zone, or that of no place.
const NO_ZONES: [&str; 3] = ["localtime", "posixrules", "factory"];
/// The same for whole folders: zones that count leap seconds, and all the others once more.
const NO_ZONE_FOLDERS: [&str; 2] = ["right/", "posix/"];

/// A time zone of the IANA database, such as `Europe/Berlin`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TimeZone(jiff::tz::TimeZone);

/// There is no such time zone.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("is no time zone of the IANA database; examples are UTC and Europe/Berlin")]
pub struct TimeZoneError;

impl TimeZone {
    /// Coordinated universal time.
    pub const UTC: Self = Self(jiff::tz::TimeZone::UTC);

    /// Its name, as the database spells it.
    pub fn name(&self) -> &str {
        self.0.iana_name().unwrap_or("UTC")
    }

    /// The first whole hour of a day here, counted since the Unix epoch: the first that does not begin before it does.
    /// The hours of usage from that one up to the next day's first are the day's.
    pub fn first_hour(&self, day: Day) -> i64 {
        let Ok(midnight) = day.date().to_zoned(self.0.clone()) else { return i64::MAX / MICROS_PER_HOUR };
        // Where the clocks are put forward at midnight the day begins later.
        let start = midnight.start_of_day().unwrap_or(midnight).timestamp().as_microsecond();
        start.div_euclid(MICROS_PER_HOUR) + i64::from(start.rem_euclid(MICROS_PER_HOUR) > 0)
    }

    /// The day here that an hour of usage is of.
    pub fn day_of(&self, hour: i64) -> Day {
        let day = Day::of(Timestamp::from_micros(hour.saturating_mul(MICROS_PER_HOUR)).to_zoned(&self.0).date());
        // Its day may have begun within the hour, which is then still the day's before.
        if self.first_hour(day) > hour { day.minus(1) } else { day }
    }
}

impl PartialEq for TimeZone {
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name()
    }
}

impl Eq for TimeZone {}

impl Default for TimeZone {
    fn default() -> Self {
        Self::UTC
    }
}

impl FromStr for TimeZone {
    type Err = TimeZoneError;

    fn from_str(text: &str) -> Result<Self, TimeZoneError> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'_' | b'-' | b'+');
        if text.is_empty() || text.len() > ZONE_BYTES_MAX || !text.bytes().all(plain) {
            return Err(TimeZoneError);
        }
        let lower = text.to_ascii_lowercase();
        if lower == "utc" {
            return Ok(Self::UTC);
        }
        if NO_ZONES.contains(&lower.as_str()) || NO_ZONE_FOLDERS.iter().any(|folder| lower.starts_with(folder)) {
            return Err(TimeZoneError);
        }
        let zone = jiff::tz::TimeZone::get(text).map_err(|_| TimeZoneError)?;
        if zone.iana_name().is_some() { Ok(Self(zone)) } else { Err(TimeZoneError) }
    }
}

impl TryFrom<String> for TimeZone {
    type Error = TimeZoneError;

    fn try_from(text: String) -> Result<Self, TimeZoneError> {
        text.parse()
    }
}

impl From<TimeZone> for String {
    fn from(zone: TimeZone) -> Self {
        zone.name().to_owned()
    }
}

impl fmt::Display for TimeZone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// When billing periods begin.
///
/// Usage is counted by the hour of UTC, and a bill must be the sum of what was counted. So a period begins with the first
/// whole hour that is not before midnight of its first day: in the few zones that are not whole hours from UTC it is
/// up to three quarters of an hour later than midnight.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct BillingCalendar {
    /// Where days begin.
    pub time_zone: TimeZone,
    /// On which day of the month periods begin; the first when left out.
    pub anchor_day: Option<AnchorDay>,
}

/// A billing period. It includes `start` and not `end`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Period {
    /// The month in which it begins there, counted from January 1970.
    pub number: u16,
    /// Its first instant, on a whole hour.
    pub start: Timestamp,
    /// The first instant of the next.
    pub end: Timestamp,
}

impl Period {
    /// Its hours since the Unix epoch, as usage is counted.
    pub fn hours(&self) -> std::ops::Range<i64> {
        self.start.hour()..self.end.hour()
    }
}

/// A billing period that goes on though its calendar was changed while it ran.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RunningPeriod {
    /// Its [number](Period::number).
    pub number: u16,
    /// The first hour, since the Unix epoch, whose units count.
    pub since: i64,
}

impl BillingCalendar {
    /// The period that counts at an instant, where one may go on that began before the calendar was this one: until a period with
    /// a greater number begins.
    pub fn running(&self, kept: Option<RunningPeriod>, at: Timestamp) -> Period {
        let own = self.period(at);
        let Some(kept) = kept.filter(|kept| kept.number >= own.number) else { return own };
        let start = Timestamp::from_micros(kept.since.saturating_mul(MICROS_PER_HOUR));
        Period { number: kept.number, start, end: self.start(i64::from(kept.number) + 1) }
    }

    /// The period that counts from an instant on at which this calendar takes the place of another, by which `before` ran. A
    /// period with a greater number begins there and then; units of the hour that is under way count in it.
    pub fn taking_over(&self, before: Period, at: Timestamp) -> RunningPeriod {
        let own = self.period(at);
        if own.number > before.number {
            RunningPeriod { number: own.number, since: at.hour() }
        } else {
            RunningPeriod { number: before.number, since: before.start.hour() }
        }
    }

    /// The period that an instant is in. Instants before 1970 are in the first.
    pub fn period(&self, at: Timestamp) -> Period {
        let local = at.to_zoned(&self.time_zone.0).date();
        let month = (i64::from(local.year()) - 1970) * 12 + i64::from(local.month()) - 1;
        // Its month's period may not have begun yet, nor, with whole hours, may the one that began a moment ago.
        let mut number = month + 1;
        while number > 0 && self.start(number) > at {
            number -= 1;
        }
        let number = number.clamp(0, i64::from(u16::MAX));
        Period { number: number as u16, start: self.start(number), end: self.start(number + 1) }
    }

    /// The period that begins in a month.
    pub fn period_of(&self, month: Month) -> Period {
        let number = month.number();
        Period { number, start: self.start(i64::from(number)), end: self.start(i64::from(number) + 1) }
    }

    /// The first instant of the period that begins in a month, counted from January 1970.
    fn start(&self, number: i64) -> Timestamp {
        let (year, month) = (1970 + number.div_euclid(12), number.rem_euclid(12) + 1);
        let Ok(first) = Date::new(year as i16, month as i8, 1) else { return Timestamp::from_micros(i64::MAX) };
        let day = self.anchor_day.map_or(1, AnchorDay::get).min(first.days_in_month().unsigned_abs());
        let date = Date::new(first.year(), first.month(), day as i8).unwrap_or(first);
        Timestamp::from_micros(self.time_zone.first_hour(Day::of(date)).saturating_mul(MICROS_PER_HOUR))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn calendar(zone: &str, anchor: Option<u8>) -> BillingCalendar {
        let anchor_day = anchor.map(|day| AnchorDay::try_from(day).unwrap());
        BillingCalendar { time_zone: zone.parse().unwrap(), anchor_day }
    }

    #[test]
    fn a_period_goes_on_when_the_calendar_is_changed() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let (monthly, mid, late) = (calendar("UTC", None), calendar("UTC", Some(15)), calendar("UTC", Some(25)));
        let now = at("2026-01-20T10:30:00Z");
        // January goes on, and ends when the new calendar's does.
        let kept = mid.taking_over(monthly.running(None, now), now);
        let running = mid.running(Some(kept), now);
        assert_eq!((running.start, running.end), (at("2026-01-01T00:00:00Z"), at("2026-02-15T00:00:00Z")));
        assert_eq!(mid.running(Some(kept), at("2026-02-15T00:00:00Z")), mid.period(at("2026-02-15T00:00:00Z")));
        // So it does when it was to be December still.
        let kept = late.taking_over(monthly.running(None, now), now);
        assert_eq!(
            (kept.number, late.running(Some(kept), now).start),
            (monthly.period(now).number, at("2026-01-01T00:00:00Z"))
        );
        // And back again, which changes nothing either.
        let back = monthly.taking_over(late.running(Some(kept), now), now);
        assert_eq!((back, monthly.running(Some(back), now)), (kept, monthly.period(now)));
        // From December into January, which begins now.
        let kept = monthly.taking_over(late.running(None, now), now);
        let running = monthly.running(Some(kept), now);
        assert_eq!((running.start, running.end), (at("2026-01-20T10:00:00Z"), at("2026-02-01T00:00:00Z")));
    }

    #[test]
    fn periods_begin_where_the_organization_is() {
        let cases = [
            ("UTC", None, "2026-03-15T12:00:00Z", "2026-03-01T00:00:00Z", "2026-04-01T00:00:00Z"),
            ("UTC", None, "2026-02-28T23:59:59.999999Z", "2026-02-01T00:00:00Z", "2026-03-01T00:00:00Z"),
            // Daylight saving time begins within the month.
            ("Europe/Berlin", None, "2026-03-31T22:00:00Z", "2026-03-31T22:00:00Z", "2026-04-30T22:00:00Z"),
            ("Europe/Berlin", None, "2026-03-31T21:59:59Z", "2026-02-28T23:00:00Z", "2026-03-31T22:00:00Z"),
            ("Pacific/Kiritimati", None, "2025-12-31T10:00:00Z", "2025-12-31T10:00:00Z", "2026-01-31T10:00:00Z"),
            // An anchor day that February does not have.
            ("UTC", Some(31), "2026-02-28T00:00:00Z", "2026-02-28T00:00:00Z", "2026-03-31T00:00:00Z"),
            ("UTC", Some(31), "2026-02-27T23:00:00Z", "2026-01-31T00:00:00Z", "2026-02-28T00:00:00Z"),
            ("UTC", Some(30), "2028-02-29T00:00:00Z", "2028-02-29T00:00:00Z", "2028-03-30T00:00:00Z"),
            ("America/New_York", Some(15), "2026-03-15T03:59:59Z", "2026-02-15T05:00:00Z", "2026-03-15T04:00:00Z"),
            // Midnight does not exist where the clocks go forward at midnight.
            ("Africa/Cairo", Some(24), "2026-04-23T22:00:00Z", "2026-04-23T22:00:00Z", "2026-05-23T21:00:00Z"),
            // Half an hour from whole hours: the first whole hour that is not before midnight.
            ("Asia/Kolkata", None, "2026-03-31T18:45:00Z", "2026-02-28T19:00:00Z", "2026-03-31T19:00:00Z"),
            ("Asia/Kolkata", None, "2026-03-31T19:00:00Z", "2026-03-31T19:00:00Z", "2026-04-30T19:00:00Z"),
        ];
        for (zone, anchor, at, start, end) in cases {
            let period = calendar(zone, anchor).period(at.parse().unwrap());
            assert_eq!(
                (period.start.to_string(), period.end.to_string()),
                (start.to_owned(), end.to_owned()),
                "{zone} {at}"
            );
        }
    }

    #[test]
    fn every_instant_is_in_one_period_and_the_next_follows() {
        for (zone, anchor) in [("Africa/Cairo", Some(31)), ("Asia/Kathmandu", None), ("America/Sao_Paulo", Some(1))] {
            let calendar = calendar(zone, anchor);
            let mut at: Timestamp = "2017-06-01T00:30:00Z".parse().unwrap();
            let mut last = calendar.period(at);
            for _ in 0..8000 {
                at = at.plus_seconds(5 * 3600).unwrap();
                let period = calendar.period(at);
                assert!(period.start <= at && at < period.end, "{zone} {at}");
                assert!(
                    period == last || (period.number == last.number + 1 && period.start == last.end),
                    "{zone} {at}"
                );
                last = period;
            }
        }
        assert_eq!(calendar("UTC", None).period(Timestamp::from_micros(-1)).number, 0);
    }

    #[test]
    fn every_hour_is_of_one_day_and_periods_are_whole_days() {
        let zones = [
            "UTC",
            "Europe/Berlin",
            "Asia/Kolkata",
            "Asia/Kathmandu",
            "Africa/Cairo",
            "America/Sao_Paulo",
            "Pacific/Apia",
        ];
        for zone in zones {
            let zone: TimeZone = zone.parse().unwrap();
            let mut hour = "2011-12-20T00:00:00Z".parse::<Timestamp>().unwrap().hour();
            let mut day = zone.day_of(hour);
            let mut lengths = std::collections::BTreeSet::new();
            for _ in 0..400 {
                // Where a day was left out, as in Apia, it has no hours.
                let (first, end) = (zone.first_hour(day), zone.first_hour(day.next()));
                let next = zone.day_of(end);
                assert!((first..end).contains(&hour), "{zone} {day}");
                assert!((first..end).all(|hour| zone.day_of(hour) == day), "{zone} {day}");
                lengths.insert(end - first);
                (hour, day) = (end, next);
            }
            assert!(
                lengths.contains(&24) && lengths.iter().all(|hours| (23..=25).contains(hours)),
                "{zone} {lengths:?}"
            );
        }
        let calendar = calendar("Asia/Kolkata", Some(31));
        let period = calendar.period_of("2026-02".parse().unwrap());
        assert_eq!((period.start.to_string().as_str(), period.number), ("2026-02-27T19:00:00Z", 673));
        assert_eq!(calendar.period(period.start), period);
        assert_eq!(calendar.time_zone.first_hour("2026-02-28".parse().unwrap()), period.start.hour());
    }

    #[test]
    fn only_real_time_zones_are_known() {
        assert_eq!("europe/berlin".parse::<TimeZone>().unwrap().name(), "Europe/Berlin");
        for bad in ["", "Mars/Olympus", "../etc/passwd", "/etc/localtime", "UTC+1", "Etc/Unknown", &"a".repeat(65)] {
            assert!(bad.parse::<TimeZone>().is_err(), "{bad}");
        }
        for bad in ["localtime", "PosixRules", "Factory", "right/Europe/Berlin", "Right/UTC", "posix/Europe/Berlin"] {
            assert!(bad.parse::<TimeZone>().is_err(), "{bad}");
        }
        assert!(AnchorDay::try_from(0).is_err() && AnchorDay::try_from(32).is_err());
    }
}
