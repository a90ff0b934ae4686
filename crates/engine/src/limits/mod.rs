//! Rate limits and quotas: how many units a plan lets through, exactly.
//!
//! # What a call goes through
//!
//! Whatever else is decided, was decided before. [`Call::take`] looks for the meters of all limits that apply, takes the lock of
//! the [account](crate::accounts), and then either adds the call's units to all of them or to none. So with k units left, of
//! however many calls at once exactly k pass, a refused call uses nothing of any limit, and no call is refused because
//! another one that is refused itself was looked at in between. Looking for the meters may claim cells or, for a subject
//! without a place, allocate; under the lock there are only loads and stores of words that are known by then, and, once
//! in the life of a cell, a look into the map of what was recovered.
//!
//! # Whose units
//!
//! Rate limits *per organization* have a meter by account, the quota is the account's word of units used; those *per
//! key* have a meter by slot, and ephemeral keys use that of the key that they were made with, or a holder of a key
//! would have as many limits as they make keys. Live and test calls have meters of their own, and only live ones use
//! quotas. The first rate limit per organization that an api ever names has its live meter in the account's line. All
//! others are found in [cells]. Units are counted for every account of an api with plans, also on plans without a quota, so that
//! one that is bought later, or smaller, knows them; those of single keys wherever a plan of the api has a `key_quota`.
//!
//! # Changes
//!
//! A meter belongs to the *name* of a rate limit in its api. Plans of one api that name a limit alike share it: who changes
//! plan keeps what was used, in units, see [`Pace::backlog`]. A changed plan or definition acts on the next call.
//! Units of a quota are kept while the number of the billing period is the same. That is the month in which the period begins, and it
//! never goes back: who moves the day on which periods begin gets no units back, and has a longer or shorter period once.
//!
//! # Clocks
//!
//! See [`LimitClock`](clock::LimitClock) for rate limits. Quotas go by the clock as it is: a period that has begun goes on when the
//! clock is set back, and a clock that is wrongly ahead of the end of the month begins a new one.
//!
//! # Restarts
//!
//! The meters stand in the region, so that whoever [recovers](crate::usage::recover()) it finds them, by a hash of ids and names.
//! A meter is one word (and the interval it was written with), so a crash between any two stores finds it before the
//! call or after it. What was used of quotas is not taken from there: usage is written down anyway, so who starts an
//! engine adds it up and says it with [`Engine::seed_usage`](crate::Engine::seed_usage). Meters in memory alone
//! begin at nothing: those of accounts and subjects for which the region has no room.

pub(crate) mod cells;
pub(crate) mod clock;
pub(crate) mod pace;
pub(crate) mod plan;

use arrayvec::ArrayVec;
use claviger_domain::denial::Denial;
use claviger_domain::id::KeyId;
use claviger_domain::limits::RATE_LIMITS_PER_PLAN_MAX;
use claviger_domain::plan::Per;
use claviger_domain::time::Timestamp;

use self::cells::{Place, Tag, identity};
use self::plan::{CompiledPlan, KEY_QUOTA_HASH, Rule};
use crate::accounts::{Account, State, Used};
use crate::directory::CompiledApi;
use crate::shared::Shared;
use crate::sync::{AtomicU64, Ordering};
use crate::verdict::{LimitIndex, Limits, ScopeIndex};

const NANOS_PER_MICRO: u64 = 1000;
const NANOS_PER_SECOND: u64 = 1_000_000_000;

/// A call that passes as far as anything but limits is concerned.
pub(crate) struct Call<'a> {
    pub(crate) shared: &'a Shared,
    pub(crate) api: &'a CompiledApi,
    pub(crate) plan: &'a CompiledPlan,
    pub(crate) row: u32,
    pub(crate) account: Account<'a>,
    pub(crate) state: State,
    /// The key whose limits count: of an ephemeral key the one that it was made with.
    pub(crate) slot: u32,
    pub(crate) key: KeyId,
    pub(crate) is_test: bool,
    /// The scope that the endpoint asks for.
    pub(crate) scope: Option<ScopeIndex>,
    pub(crate) units: u64,
    pub(crate) now: Timestamp,
}

/// Why a call is refused.
#[derive(Default)]
struct Refusal {
    /// The limits that let too little through, as bits of [`Limits`].
    by: u8,
    /// One of them never lets so many units through.
    is_never: bool,
    /// When the refusing rate limits would let them through.
    wait_nanos: u64,
}

/// A rate limit that applies.
struct Applied<'a> {
    /// Its place in the plan.
    number: usize,
    rule: &'a Rule,
    place: Place<'a>,
}

/// The meter of a rate limit that applies, as it is and as it would be.
struct Meter<'a> {
    value: &'a AtomicU64,
    interval: &'a AtomicU64,
    backlog: u64,
    after: u64,
}

/// What was found out, and done, under the lock.
struct Taken {
    refusal: Refusal,
    /// Units of the billing period: the organization's and the key's.
    used: [Used; 2],
}

impl Call<'_> {
    /// Uses the units of all limits that apply, or of none and says why. What it looked at is in `limits` then.
    pub(crate) fn take(&self, limits: &mut Limits) -> Result<(), Denial> {
        limits.plan = self.state.plan();
        let micros = self.shared.limit_clock.micros(self.now);
        let rules = self.plan.rules.iter().enumerate();
        let applied = rules.filter(|(_, rule)| rule.scope.is_none() || rule.scope == self.scope);
        let applied: ArrayVec<_, RATE_LIMITS_PER_PLAN_MAX> = applied
            .map(|(number, rule)| Applied { number, rule, place: self.place(rule, micros * NANOS_PER_MICRO) })
            .collect();
        let key_place = self.key_place();
        let calendar = self.shared.calendars.get(self.state.calendar());
        let (period, seconds_left) = calendar.map_or((0, 0), |calendar| calendar.period(self.now));
        let Taken { refusal, used } = self.take_locked(&applied, key_place.as_ref(), micros, period, limits);
        let mut wait = refusal.wait_nanos.div_ceil(NANOS_PER_SECOND);
        if !self.is_test {
            for (number, quota) in [self.plan.quota, self.plan.key_quota].into_iter().enumerate() {
                let Some(quota) = quota else { continue };
                let reset = self.seconds_left(used[number], period, seconds_left);
                limits.set_quota(number, quota.saturating_sub(used[number].units), reset);
                if refusal.has(Limits::QUOTA_BITS[number]) {
                    wait = wait.max(reset);
                }
            }
        }
        if refusal.by == 0 {
            return Ok(());
        }
        limits.refused = refusal.by;
        limits.retry_after_seconds = (!refusal.is_never).then_some(u32::try_from(wait.max(1)).unwrap_or(u32::MAX));
        let is_rate = refusal.by & ((1 << RATE_LIMITS_PER_PLAN_MAX) - 1) != 0;
        Err(if is_rate { Denial::RateLimited } else { Denial::QuotaExceeded })
    }

    /// Looks at everything, then writes to all or to none.
    #[inline]
    fn take_locked(
        &self,
        applied: &[Applied<'_>],
        key_place: Option<&Place<'_>>,
        micros: u64,
        period: u16,
        limits: &mut Limits,
    ) -> Taken {
        let Self { plan, units, .. } = *self;
        let left = self.shared.limit_cells.left();
        let mut refusal = Refusal::default();
        let mut held = self.account.lock();
        let now = held.latest(micros) * NANOS_PER_MICRO;
        let mut meters: ArrayVec<Meter<'_>, RATE_LIMITS_PER_PLAN_MAX> = ArrayVec::new();
        for Applied { number, rule: Rule { pace, .. }, place } in applied {
            let (value, interval) = place.open(&held, left);
            let (known, then) = (value.load(Ordering::Relaxed), interval.load(Ordering::Relaxed));
            let backlog = pace.backlog(known, then, now);
            if pace.is_news(known, then, now, backlog) {
                // What was used comes back at the new pace from now on, also if nothing passes.
                interval.store(pace.interval(), Ordering::Relaxed);
                value.store(now + backlog, Ordering::Release);
            }
            let after = pace.take(backlog, units).unwrap_or_else(|wait| {
                refusal.add(*number, wait);
                backlog
            });
            meters.push(Meter { value, interval, backlog, after });
        }
        let key_units = key_place.map(|place| place.open(&held, left).0);
        let mut used = [Used { period: 0, units: 0 }; 2];
        if !self.is_test {
            let key_used = key_units.map_or(used[1], |units| Used::from_word(units.load(Ordering::Relaxed)));
            used = [held.used().at(period), key_used.at(period)];
            for ((used, quota), bit) in used.into_iter().zip([plan.quota, plan.key_quota]).zip(Limits::QUOTA_BITS) {
                if let Some(quota) = quota.filter(|quota| used.units.saturating_add(units) > *quota) {
                    refusal.add(bit, (units <= quota).then_some(0));
                }
            }
        }
        if refusal.by == 0 {
            for (Meter { value, interval, backlog, after }, Applied { rule, .. }) in meters.iter_mut().zip(applied) {
                interval.store(rule.pace.interval(), Ordering::Relaxed);
                value.store(now + *after, Ordering::Release);
                *backlog = *after;
            }
            if !self.is_test {
                used = used.map(|used| used.plus(units));
                held.set_used(used[0]);
                if let Some(units) = key_units {
                    units.store(used[1].word(), Ordering::Release);
                }
            }
        }
        drop(held);
        for (Meter { backlog, .. }, Applied { number, rule, .. }) in meters.iter().zip(applied) {
            limits.set_rate_limit(*number, LimitIndex(rule.limit), *backlog);
        }
        Taken { refusal, used }
    }

    /// Where the units of the key stand, if units of keys are counted.
    #[inline]
    fn key_place(&self) -> Option<Place<'_>> {
        let is_counted = !self.is_test && self.api.counts_keys;
        is_counted.then(|| key_quota_place(self.shared, self.slot, self.key))
    }

    /// Where the meter of a rule stands.
    #[inline]
    fn place(&self, rule: &Rule, now: u64) -> Place<'_> {
        let (tag, id) = match rule.per {
            Per::Organization if !self.is_test && self.api.has_own_meter(rule.limit) => return Place::Own,
            Per::Organization => {
                let id = self.account.organization().as_u128();
                (Tag::of_account(self.row, rule.limit, self.is_test), id)
            }
            Per::Key => (Tag::of_key(self.slot, rule.limit), self.key.as_u128()),
        };
        self.shared.limit_cells.place(tag, identity(id, rule.name_hash, self.is_test), now)
    }

    /// Until the period ends that the units are of.
    #[inline]
    fn seconds_left(&self, used: Used, period: u16, seconds_left: u64) -> u64 {
        if used.period == period {
            return seconds_left;
        }
        let calendar = self.shared.calendars.get(self.state.calendar());
        calendar.map_or(seconds_left, |calendar| calendar.seconds_until_end_of(used.period, self.now))
    }
}

impl Refusal {
    /// `wait` is in nanoseconds, `None` if it will never do.
    fn add(&mut self, bit: usize, wait: Option<u64>) {
        self.by |= 1 << bit;
        self.is_never |= wait.is_none();
        self.wait_nanos = self.wait_nanos.max(wait.unwrap_or(0));
    }

    fn has(&self, bit: usize) -> bool {
        self.by >> bit & 1 == 1
    }
}

/// Where the units stand that a key has used.
#[inline]
pub(crate) fn key_quota_place(shared: &Shared, slot: u32, key: KeyId) -> Place<'_> {
    let identity = identity(key.as_u128(), KEY_QUOTA_HASH, false);
    shared.limit_cells.place(Tag::of_key(slot, Tag::QUOTA), identity, 0)
}
