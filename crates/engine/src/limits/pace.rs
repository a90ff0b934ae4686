//! The arithmetic of one rate limit.
//!
//! A meter is a *value*, the instant at which everything that was used has come back (the "theoretical arrival time" of
//! GCRA), in nanoseconds since the epoch. How far that is ahead of now is the *backlog*: as many intervals as units are used up.
//! One number says it all, it needs no attention while nobody calls, and it is good for restarts.

use super::NANOS_PER_SECOND;

/// How fast units come back, and how many there are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Pace {
    /// Nanoseconds after which one more unit passes; zero when none ever does.
    interval: u64,
    /// The backlog with which nothing more passes.
    burst_nanos: u64,
}

impl Pace {
    /// `interval` is in nanoseconds, `None` where nothing passes.
    pub(crate) fn new(interval: Option<u64>, burst: u64) -> Self {
        let interval = interval.unwrap_or(0);
        Self { interval, burst_nanos: burst.saturating_mul(interval) }
    }

    pub(crate) fn interval(self) -> u64 {
        self.interval
    }

    /// The backlog of a meter that was last written with another interval, perhaps.
    ///
    /// When the limit has changed since, the units that were used stay used: an upgrade does not turn ten used units into a
    /// thousand, a downgrade does not make a thousand of them one. And never are more used than there are.
    #[inline]
    pub(crate) fn backlog(self, value: u64, interval_then: u64, now: u64) -> u64 {
        let backlog = value.saturating_sub(now);
        if interval_then == self.interval || interval_then == 0 {
            return backlog.min(self.burst_nanos);
        }
        let units_kept = (u128::from(backlog) * u128::from(self.interval)).div_ceil(u128::from(interval_then));
        u64::try_from(units_kept).map_or(self.burst_nanos, |backlog| backlog.min(self.burst_nanos))
    }

    /// Whether the limit is another than when the meter was written, so that the [`backlog`](Self::backlog) has to be noted.
    #[inline]
    pub(crate) fn is_news(self, value: u64, interval_then: u64, now: u64, backlog: u64) -> bool {
        let is_other = interval_then != self.interval || value.saturating_sub(now) > backlog;
        self.interval != 0 && value > now && is_other
    }

    /// The backlog after so many more units, or the nanoseconds until they would pass, if ever.
    #[inline]
    pub(crate) fn take(self, backlog: u64, units: u64) -> Result<u64, Option<u64>> {
        let need = units.saturating_mul(self.interval);
        if self.interval == 0 || need > self.burst_nanos {
            return Err(None);
        }
        // Neither is more than the burst, which comes back within a week.
        let after = backlog + need;
        if after <= self.burst_nanos { Ok(after) } else { Err(Some(after - self.burst_nanos)) }
    }

    /// Whole units that would pass with this backlog.
    #[inline]
    pub(crate) fn remaining(self, backlog: u64) -> u64 {
        (self.burst_nanos - backlog.min(self.burst_nanos)).checked_div(self.interval).unwrap_or(0)
    }

    /// Whole seconds after which all units have come back.
    pub(crate) fn reset_seconds(self, backlog: u64) -> u32 {
        u32::try_from(backlog.min(self.burst_nanos).div_ceil(NANOS_PER_SECOND)).unwrap_or(u32::MAX)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn a_burst_passes_and_then_one_unit_an_interval() {
        let pace = Pace::new(Some(SECOND), 3);
        let mut value = 0;
        let mut take = |now, units| {
            pace.take(pace.backlog(value, SECOND, now), units).map(|backlog| {
                value = now + backlog;
                pace.remaining(backlog)
            })
        };
        let start = 1000 * SECOND;
        assert_eq!([take(start, 1), take(start, 2), take(start, 1)], [Ok(2), Ok(0), Err(Some(SECOND))]);
        assert_eq!([take(start + SECOND - 1, 1), take(start + SECOND, 1)], [Err(Some(1)), Ok(0)]);
        assert_eq!(take(start + 2 * SECOND, 2), Err(Some(SECOND)));
        assert_eq!(take(start + 60 * SECOND, 4), Err(None), "more than there ever are");
        assert_eq!(take(start + 60 * SECOND, 3), Ok(0));
        let nothing = Pace::new(None, 0);
        assert_eq!((nothing.take(0, 1), nothing.remaining(0)), (Err(None), 0));
    }

    #[test]
    fn units_stay_used_when_the_limit_changes() {
        let now = 1000 * SECOND;
        let used = |pace: Pace, value, then| pace.backlog(value, then, now).div_ceil(pace.interval());
        let (slow, fast) = (Pace::new(Some(60 * SECOND), 10), Pace::new(Some(SECOND / 10), 1000));
        let ten = now + 10 * 60 * SECOND;
        assert_eq!((used(slow, ten, 60 * SECOND), used(fast, ten, 60 * SECOND)), (10, 10));
        let many = now + 700 * SECOND / 10;
        assert_eq!((used(fast, many, SECOND / 10), used(slow, many, SECOND / 10)), (700, 10));
        // Of one whose interval nobody knows any more, and where the clock was far ahead, no more than there are.
        assert_eq!((used(fast, u64::MAX, 0), used(slow, u64::MAX, 1)), (1000, 10));
    }
}
