//! Accounts: what holds for all keys of one organization on one api.
//!
//! An account is one cache line of eight words:
//!
//! | word | holds |
//! |---|---|
//! | 0-1 | id of the organization |
//! | 2 | [`State`]: api, plan, calendar, and flags |
//! | 3 | since when the billing state has been what it is, in microseconds: where the grace period begins |
//! | 4 | the latest instant at which somebody counted against a limit, in microseconds, and the lock in the lowest bit |
//! | 5 | number of the billing period (16 bits) and the units used in it (48) |
//! | 6-7 | the account's own [meter](crate::limits): of one rate limit for the whole organization |
//!
//! The first lines stand in the [region](crate::usage), so that a successor of the process finds what was used of the
//! rate limit; the others are in ordinary memory. A row is never given to another organization or api.
//!
//! The state is written by the writer and read by anybody. What stands in the words 4 to 7, and in the
//! [cells](crate::limits) of the account's keys, is read and written by whoever holds the lock, and that is
//! an ordinary spin lock: it is held for some tens of nanoseconds, over nothing but loads and stores. With several
//! limits at once there is no way around it: a call that one of them refuses must not have used anything of another
//! when a third call asks. Accounts of apis without plans never take it.

use claviger_domain::id::OrganizationId;
use claviger_domain::subscription::BillingState;

use crate::slab::{Line, Slab};
use crate::sync::{AtomicU64, Ordering, relax};
use crate::usage::{Part, Region};
use crate::verdict::ApiIndex;

/// Rows that there can be.
const ACCOUNTS_MAX: usize = 1 << 28;
const HIGH: usize = 0;
const LOW: usize = 1;
const STATE: usize = 2;
const SINCE: usize = 3;
const CLOCK: usize = 4;
const USED: usize = 5;
const METER: usize = 6;

/// Everything about an account that is one of a few values. The word of an untouched row says that its keys do not work.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct State(u64);

impl State {
    /// Its keys work.
    pub(crate) const OPEN: u64 = 1;
    /// They work until the grace period is over.
    pub(crate) const IN_GRACE: u64 = 1 << 1;
    /// The api has plans: units are counted, and limits looked at.
    pub(crate) const PLANNED: u64 = 1 << 2;
    /// The organization is known and not suspended.
    pub(crate) const ACTIVE: u64 = 1 << 3;
    /// The subscription lets its keys work.
    pub(crate) const ACCESS: u64 = 1 << 4;
    const BILLING_SHIFT: u32 = 5;
    const BILLING_MASK: u64 = 7;
    const PLAN_SHIFT: u32 = 16;
    const API_SHIFT: u32 = 32;
    const CALENDAR_SHIFT: u32 = 48;
    /// Calendars that can be told apart.
    pub(crate) const CALENDARS_MAX: usize = 1 << 16;
    /// The api of a row that only stands for its organization so far.
    pub(crate) const NO_API: ApiIndex = ApiIndex(u16::MAX);

    /// A row on an api, all flags down.
    pub(crate) fn new(api: ApiIndex) -> Self {
        Self(u64::from(api.0) << Self::API_SHIFT)
    }

    #[inline]
    pub(crate) fn has(self, flag: u64) -> bool {
        self.0 & flag != 0
    }

    pub(crate) fn with(self, flag: u64, is_set: bool) -> Self {
        Self(if is_set { self.0 | flag } else { self.0 & !flag })
    }

    pub(crate) fn api(self) -> ApiIndex {
        ApiIndex((self.0 >> Self::API_SHIFT) as u16)
    }

    /// Number of the plan in its api.
    pub(crate) fn plan(self) -> u16 {
        (self.0 >> Self::PLAN_SHIFT) as u16
    }

    pub(crate) fn with_plan(self, plan: u16) -> Self {
        self.with_field(Self::PLAN_SHIFT, plan)
    }

    /// Number of the calendar of its billing periods.
    pub(crate) fn calendar(self) -> u16 {
        (self.0 >> Self::CALENDAR_SHIFT) as u16
    }

    pub(crate) fn with_calendar(self, calendar: u16) -> Self {
        self.with_field(Self::CALENDAR_SHIFT, calendar)
    }

    /// What the subscription says; `None` without one.
    pub(crate) fn billing(self) -> Option<BillingState> {
        let number = (self.0 >> Self::BILLING_SHIFT & Self::BILLING_MASK) as usize;
        number.checked_sub(1).and_then(|place| BILLING_STATES.get(place)).copied()
    }

    pub(crate) fn with_billing(self, billing: Option<BillingState>) -> Self {
        let place = billing.and_then(|billing| BILLING_STATES.iter().position(|known| *known == billing));
        let number = place.map_or(0, |place| place as u64 + 1);
        Self(self.0 & !(Self::BILLING_MASK << Self::BILLING_SHIFT) | number << Self::BILLING_SHIFT)
    }

    fn with_field(self, shift: u32, value: u16) -> Self {
        Self(self.0 & !(u64::from(u16::MAX) << shift) | u64::from(value) << shift)
    }
}

const BILLING_STATES: [BillingState; 5] = [
    BillingState::Trialing,
    BillingState::Active,
    BillingState::PastDue,
    BillingState::Canceled,
    BillingState::Suspended,
];

/// Units that were used in a billing period, in one word.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Used {
    /// The period's number.
    pub(crate) period: u16,
    /// Units, at most [`Used::UNITS_MAX`].
    pub(crate) units: u64,
}

impl Used {
    pub(crate) const UNITS_MAX: u64 = (1 << 48) - 1;

    pub(crate) fn from_word(word: u64) -> Self {
        Self { period: (word >> 48) as u16, units: word & Self::UNITS_MAX }
    }

    pub(crate) fn word(self) -> u64 {
        u64::from(self.period) << 48 | self.units.min(Self::UNITS_MAX)
    }

    /// The same in a period. One that is newer begins at nothing; one that is older than what was counted last changes
    /// nothing: the clock was set back, or the day on which periods begin was moved, and either must not give units back.
    pub(crate) fn at(self, period: u16) -> Self {
        if period > self.period { Self { period, units: 0 } } else { self }
    }

    pub(crate) fn plus(self, units: u64) -> Self {
        Self { units: self.units.saturating_add(units).min(Self::UNITS_MAX), ..self }
    }

    /// At least so many in that period.
    pub(crate) fn at_least(self, period: u16, units: u64) -> Self {
        let own = self.at(period);
        if own.period == period { Self { units: own.units.max(units), ..own } } else { own }
    }
}

/// All accounts, by row.
pub(crate) struct Accounts {
    /// The first, in the region.
    lines: Part<[[AtomicU64; 8]]>,
    /// The others.
    more: Slab<Line>,
    /// By api: the hash of the rate limit that the meters of its accounts are of, in the region.
    meters: Part<[AtomicU64]>,
}

impl Accounts {
    pub(crate) fn new(region: &Region) -> Self {
        let layout = region.layout();
        let (lines, meters) = (region.groups(layout.accounts()), region.part(layout.meters()));
        Self { lines, more: Slab::new(ACCOUNTS_MAX), meters }
    }

    #[inline]
    pub(crate) fn get(&self, row: u32) -> Option<Account<'_>> {
        let lines = *self.lines.get();
        match lines.get(row as usize) {
            Some(line) => Some(Account(line)),
            None => self.more.get(row - lines.len() as u32).map(|line| Account(&line.0)),
        }
    }

    /// Makes the row exist, for an organization on an api. Its keys do not work yet.
    pub(crate) fn insert(&self, row: u32, organization: OrganizationId, api: ApiIndex) -> Option<()> {
        if row == u32::MAX {
            return None;
        }
        let in_region = self.lines.get().len();
        if row as usize >= in_region {
            self.more.ensure(row - in_region as u32)?;
        }
        let Account(line) = self.get(row)?;
        let id = organization.as_u128();
        line[HIGH].store((id >> 64) as u64, Ordering::Relaxed);
        line[LOW].store(id as u64, Ordering::Relaxed);
        line[STATE].store(State::new(api).0, Ordering::Release);
        Some(())
    }

    /// Writes down whose meters stand in the lines of an api's accounts: a successor of the process reads it. Afterwards it
    /// stays so.
    pub(crate) fn note_meter(&self, api: ApiIndex, hash: u64) {
        if let Some(word) = self.meters.get().get(usize::from(api.0)) {
            word.store(hash, Ordering::Release);
        }
    }

    /// Has the processor fetch the account.
    #[inline]
    pub(crate) fn prefetch(&self, row: u32) {
        if let Some(Account(line)) = self.get(row) {
            line[STATE].load(Ordering::Relaxed);
        }
    }

    #[inline]
    pub(crate) fn id(&self, row: u32) -> Option<OrganizationId> {
        Some(self.get(row)?.organization())
    }

    /// What it has allocated beside the region.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.more.memory_bytes()
    }
}

impl std::fmt::Debug for Accounts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Accounts").field("in_region", &self.lines.get().len()).finish_non_exhaustive()
    }
}

/// One account.
#[derive(Clone, Copy)]
pub(crate) struct Account<'a>(&'a [AtomicU64; 8]);

impl<'a> Account<'a> {
    pub(crate) fn of(line: &'a [AtomicU64; 8]) -> Self {
        Self(line)
    }

    #[inline]
    pub(crate) fn organization(self) -> OrganizationId {
        let [high, low] = [HIGH, LOW].map(|word| u128::from(self.0[word].load(Ordering::Relaxed)));
        OrganizationId::from_u128(high << 64 | low)
    }

    #[inline]
    pub(crate) fn state(self) -> State {
        State(self.0[STATE].load(Ordering::Acquire))
    }

    /// One caller at a time.
    pub(crate) fn set_state(self, state: State) {
        self.0[STATE].store(state.0, Ordering::Release);
    }

    /// Since when the billing state has been what it is, in microseconds.
    #[inline]
    pub(crate) fn since(self) -> i64 {
        self.0[SINCE].load(Ordering::Relaxed) as i64
    }

    /// To be called before the state that it belongs to is set.
    pub(crate) fn set_since(self, micros: i64) {
        self.0[SINCE].store(micros as u64, Ordering::Relaxed);
    }

    /// Waits for its turn at what is counted. To be given back within a few loads and stores.
    #[inline]
    pub(crate) fn lock(self) -> Held<'a> {
        let word = &self.0[CLOCK];
        let mut attempt = 0;
        loop {
            let seen = word.load(Ordering::Relaxed);
            if seen & 1 == 0 && word.compare_exchange_weak(seen, seen | 1, Ordering::Acquire, Ordering::Relaxed).is_ok()
            {
                return Held { line: self.0, latest: seen >> 1 };
            }
            relax(attempt);
            attempt += 1;
        }
    }

    /// Value and interval of its own meter, for who reads the words of a dead process.
    pub(crate) fn meter_words(self) -> (u64, u64) {
        (self.0[METER].load(Ordering::Relaxed), self.0[METER + 1].load(Ordering::Relaxed))
    }
}

/// The turn at what is counted of an account. It ends when this is dropped, also by a panic.
pub(crate) struct Held<'a> {
    line: &'a [AtomicU64; 8],
    latest: u64,
}

impl<'a> Held<'a> {
    /// The latest of this instant and those that the account has seen, in microseconds, of which one bit must be free: it is
    /// the lock.
    #[inline]
    pub(crate) fn latest(&mut self, now: u64) -> u64 {
        self.latest = self.latest.max(now);
        self.latest
    }

    #[inline]
    pub(crate) fn used(&self) -> Used {
        Used::from_word(self.line[USED].load(Ordering::Relaxed))
    }

    #[inline]
    pub(crate) fn set_used(&self, used: Used) {
        self.line[USED].store(used.word(), Ordering::Relaxed);
    }

    /// Value and interval of its own meter.
    #[inline]
    pub(crate) fn meter(&self) -> (&'a AtomicU64, &'a AtomicU64) {
        (&self.line[METER], &self.line[METER + 1])
    }
}

impl Drop for Held<'_> {
    #[inline]
    fn drop(&mut self) {
        self.line[CLOCK].store(self.latest << 1, Ordering::Release);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn the_fields_of_a_state_do_not_touch_each_other() {
        let state = State::new(ApiIndex(7)).with_plan(u16::MAX).with_calendar(u16::MAX).with(State::OPEN, true);
        for billing in BILLING_STATES.map(Some).into_iter().chain([None]) {
            let state = state.with_billing(billing);
            assert_eq!((state.api().0, state.plan(), state.calendar()), (7, u16::MAX, u16::MAX));
            assert_eq!((state.billing(), state.has(State::OPEN), state.has(State::ACCESS)), (billing, true, false));
        }
        let state = state.with_plan(0).with_calendar(1).with(State::OPEN, false);
        assert_eq!((state.plan(), state.calendar(), state.api().0, state.has(State::OPEN)), (0, 1, 7, false));
        assert!(!State(0).has(State::OPEN | State::IN_GRACE));
    }

    #[test]
    fn a_period_never_goes_back_and_units_never_wrap() {
        let used = Used { period: 5, units: 7 };
        assert_eq!(Used::from_word(used.word()), used);
        assert_eq!((used.at(5), used.at(4), used.at(6)), (used, used, Used { period: 6, units: 0 }));
        assert_eq!(used.plus(u64::MAX).units, Used::UNITS_MAX);
        assert_eq!((used.at_least(5, 3), used.at_least(5, 9).units), (used, 9));
        assert_eq!((used.at_least(4, 9), used.at_least(6, 9)), (used, Used { period: 6, units: 9 }));
    }
}
