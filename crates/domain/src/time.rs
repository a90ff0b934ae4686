//! Time as a parameter: one instant type, one expiry rule, two clocks.

use std::fmt;
use std::sync::atomic::{AtomicI64, Ordering};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// An instant in microseconds since the Unix epoch. Written as RFC 3339 in UTC.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Timestamp(i64);

/// The text is not an RFC 3339 instant between the years 1970 and 9999.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("not an RFC 3339 time such as 2026-01-31T12:00:00Z")]
pub struct TimestampError;

impl Timestamp {
    /// Takes microseconds since the Unix epoch.
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// Microseconds since the Unix epoch.
    pub const fn as_micros(self) -> i64 {
        self.0
    }

    /// This instant moved forward; `None` when it leaves the range that RFC 3339 can write.
    pub fn plus_seconds(self, seconds: i64) -> Option<Self> {
        let micros = seconds.checked_mul(1_000_000)?.checked_add(self.0)?;
        jiff::Timestamp::from_microsecond(micros).ok()?;
        Some(Self(micros))
    }

    /// This instant without the fraction of its second, for times that are only shown.
    pub const fn to_whole_seconds(self) -> Self {
        Self(self.0 - self.0.rem_euclid(1_000_000))
    }

    /// Whole hours since the Unix epoch, the bucket of usage counts.
    pub const fn hour(self) -> i64 {
        self.0.div_euclid(3_600_000_000)
    }

    /// The first instant of this instant's calendar month in UTC.
    pub fn month_start(self) -> Self {
        let zoned = self.jiff().to_zoned(jiff::tz::TimeZone::UTC);
        zoned
            .first_of_month()
            .and_then(|day| day.start_of_day())
            .map_or(self, |start| Self(start.timestamp().as_microsecond()))
    }

    /// The first instant of the calendar month after this instant's, in UTC.
    pub fn next_month_start(self) -> Self {
        let start = self.month_start();
        // 32 days after the first of a month is always in the next month.
        start.plus_seconds(32 * 24 * 3600).map_or(start, Self::month_start)
    }

    /// The same instant as people there see it.
    pub(crate) fn to_zoned(self, zone: &jiff::tz::TimeZone) -> jiff::Zoned {
        self.jiff().to_zoned(zone.clone())
    }

    fn jiff(self) -> jiff::Timestamp {
        jiff::Timestamp::from_microsecond(self.0).unwrap_or(jiff::Timestamp::MAX)
    }
}

/// The one expiry rule: a thing that expires at `expires_at` is dead from that instant on.
pub fn has_expired(expires_at: Option<Timestamp>, now: Timestamp) -> bool {
    expires_at.is_some_and(|at| at <= now)
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.jiff().fmt(f)
    }
}

impl std::str::FromStr for Timestamp {
    type Err = TimestampError;

    fn from_str(text: &str) -> Result<Self, TimestampError> {
        let parsed: jiff::Timestamp = text.parse().map_err(|_| TimestampError)?;
        let micros = parsed.as_microsecond();
        if micros < 0 { Err(TimestampError) } else { Ok(Self(micros)) }
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

/// Tells the time. The system's clock in production, a [`ManualClock`] in tests.
pub trait Clock: Send + Sync + 'static {
    /// The present instant.
    fn now(&self) -> Timestamp;
}

/// The system's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[allow(clippy::disallowed_methods, reason = "the one place that reads the clock")]
    fn now(&self) -> Timestamp {
        let since_epoch = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        Timestamp(since_epoch.map_or(0, |elapsed| elapsed.as_micros() as i64))
    }
}

/// A clock that moves only when told to.
#[derive(Debug)]
pub struct ManualClock(AtomicI64);

impl ManualClock {
    /// Starts at the given instant.
    pub fn new(now: Timestamp) -> Self {
        Self(AtomicI64::new(now.0))
    }

    /// Moves the clock, backwards with a negative number.
    pub fn advance_micros(&self, micros: i64) {
        self.0.fetch_add(micros, Ordering::SeqCst);
    }

    /// Moves the clock by whole seconds.
    pub fn advance_seconds(&self, seconds: i64) {
        self.advance_micros(seconds * 1_000_000);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::SeqCst))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_and_reads_rfc_3339() {
        let at: Timestamp = "2025-01-15T10:30:00Z".parse().unwrap();
        assert_eq!(at.to_string(), "2025-01-15T10:30:00Z");
        assert_eq!("2025-01-15T11:30:00+01:00".parse(), Ok(at));
        assert_eq!("1969-12-31T23:59:59Z".parse::<Timestamp>(), Err(TimestampError));
        assert_eq!("tomorrow".parse::<Timestamp>(), Err(TimestampError));
    }

    #[test]
    fn expires_at_the_instant_itself() {
        let at = Timestamp::from_micros(10);
        assert!(!has_expired(Some(at), Timestamp::from_micros(9)));
        assert!(has_expired(Some(at), at));
        assert!(!has_expired(None, at));
    }

    #[test]
    fn months_are_calendar_months_in_utc() {
        let at: Timestamp = "2024-02-29T23:59:59.999999Z".parse().unwrap();
        assert_eq!(at.month_start().to_string(), "2024-02-01T00:00:00Z");
        assert_eq!(at.next_month_start().to_string(), "2024-03-01T00:00:00Z");
        let december: Timestamp = "2025-12-31T00:00:00Z".parse().unwrap();
        assert_eq!(december.next_month_start().to_string(), "2026-01-01T00:00:00Z");
    }

    #[test]
    fn never_leaves_the_writable_range() {
        assert_eq!(Timestamp::from_micros(0).plus_seconds(i64::MAX), None);
        assert_eq!(Timestamp::from_micros(0).plus_seconds(400_000_000_000), None);
    }
}
