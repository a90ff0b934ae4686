//! The time by which units come back: that of the callers' clock, but never going back.

use claviger_domain::time::Timestamp;

use super::NANOS_PER_MICRO;
use crate::sync::{AtomicU64, Ordering};

/// What calls that run side by side may differ by. A clock that is behind by more was set back.
const JITTER_MICROS: u64 = 60_000_000;
/// The last instant there is, in the year 2262: in nanoseconds, and a week on, it is a number still.
pub(crate) const MICROS_MAX: u64 = u64::MAX / 2 / NANOS_PER_MICRO;
/// How exactly the newest instant is remembered: no more than a store a second.
const NOTED_EVERY_MICROS: u64 = 1_000_000;

/// The callers' clock, less its steps back.
///
/// While a clock that was set back by an hour catches up, units must come back as if nothing had happened. So what it was
/// set back by is added to what it says from then on. Time goes on from the newest instant that was seen: nothing is
/// given back for the step, and nothing has to wait for it. Steps of less than a minute cannot be told from threads that
/// asked the clock and were held up since; over those, each account takes the latest instant that it has seen, and nothing
/// comes back until it has passed.
///
/// A thread that was held up for more than a minute between its clock and here looks like a step back. Then units come
/// back too early, once, by as much as it was held up.
#[derive(Debug)]
pub(crate) struct LimitClock {
    /// About the newest instant so far, in microseconds.
    newest: AtomicU64,
    /// What the clock was set back by altogether.
    set_back: AtomicU64,
}

impl LimitClock {
    pub(crate) fn new() -> Self {
        Self { newest: AtomicU64::new(0), set_back: AtomicU64::new(0) }
    }

    /// Microseconds since the epoch, if the clock was never set back, else more; at most [`MICROS_MAX`].
    #[inline]
    pub(crate) fn micros(&self, now: Timestamp) -> u64 {
        let now = u64::try_from(now.as_micros()).unwrap_or(0).min(MICROS_MAX);
        loop {
            let set_back = self.set_back.load(Ordering::Acquire);
            let newest = self.newest.load(Ordering::Relaxed);
            let own = (now + set_back).min(MICROS_MAX);
            if own > newest + NOTED_EVERY_MICROS {
                self.newest.fetch_max(own, Ordering::Relaxed);
                return own;
            }
            if own + JITTER_MICROS >= newest {
                return own;
            }
            // Who comes too late to say so looks again.
            let more = newest - now;
            let noted = self.set_back.compare_exchange(set_back, more, Ordering::AcqRel, Ordering::Relaxed);
            if noted.is_ok() {
                return newest;
            }
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn time_goes_on_from_where_it_was() {
        let clock = LimitClock::new();
        let at = |seconds: i64| clock.micros(Timestamp::from_micros(seconds * 1_000_000)) / 1_000_000;
        assert_eq!([at(1000), at(5000), at(4950)], [1000, 5000, 4950]);
        // An hour back, then on, then forward again.
        assert_eq!([at(1400), at(1401), at(1500)], [5000, 5001, 5100]);
        assert_eq!(at(5100), 8700);
        assert_eq!([at(-5), at(i64::MIN / 1_000_000)], [8700, 8700]);
    }
}
