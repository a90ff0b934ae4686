//! The rules by which alerts open and close, without any I/O: tables go in, a judgement comes out, so that the
//! simulation runs the very same. What each rule is worth, in alarms that were right and wrong, stands in
//! `docs/alerts.md`.

use serde::{Deserialize, Serialize};

/// Hours in a week, the profile that usage is held against.
pub const HOURS_PER_WEEK: usize = 168;
const HOURS_PER_DAY: i64 = 24;
/// A week and a day: from then on, whatever day of the week it is has been seen.
const YOUNG_HOURS: usize = HOURS_PER_WEEK + 24;
/// So long after its first use a key is known by its networks.
pub const SETTLED_HOURS: i64 = 7 * HOURS_PER_DAY;
/// For so long a network is new.
pub const NEW_HOURS: i64 = 7 * HOURS_PER_DAY;
/// Whoever has so many networks comes from everywhere.
const NETWORKS_OF_MANY: usize = 20;
/// And whoever has had so many new ones in this time goes from place to place.
const MOVES_OF_MANY: usize = 3;
const MOVES_HOURS: i64 = 30 * HOURS_PER_DAY;
/// Of a normal distribution, how many deviations a median absolute deviation is.
const MAD_TO_DEVIATION: f64 = 1.4826;

/// How much is unusual. An organization may set its own.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Thresholds {
    /// So many deviations above what is usual in an hour are a spike.
    pub spike_deviations: f64,
    /// And at least so many times as much as usual.
    pub spike_factor: f64,
    /// And at least so many calls in the hour.
    pub spike_calls: u64,
    /// So many refusals in an hour are a burst.
    pub burst_denials: u64,
    /// And at least such a share of the hour's calls.
    pub burst_share: f64,
}

impl Default for Thresholds {
    fn default() -> Self {
        Self { spike_deviations: 10.0, spike_factor: 3.0, spike_calls: 100, burst_denials: 100, burst_share: 0.5 }
    }
}

/// What came of the calls with a key in an hour.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct HourCalls {
    /// Those that passed.
    pub allowed: u64,
    /// Those that were refused.
    pub denied: u64,
}

/// What the last weeks say of an hour, in allowed calls.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Usual {
    /// The middle of what it was.
    pub median: f64,
    /// How far it mostly is from that.
    pub deviation: f64,
    /// How many hours this is taken from.
    pub samples: usize,
}

/// An hour that was judged.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Judgement {
    /// Whether it is unusual.
    pub is_unusual: bool,
    /// What it would take to be.
    pub threshold: u64,
}

/// What is usual in the hour after a history, which has one number for each hour up to it, oldest first, from the first
/// in which the key was used. `None` while there is too little to tell.
///
/// The same hour of the week in the last weeks, with the hours beside it for keys whose people come a little earlier or later:
/// from four weeks on. Before that, the same hour of the last days, with those beside it. A key that has not seen a whole
/// week does not know what its Monday is like: to it, its busiest hour so far is usual, from three days on.
pub fn usual(history: &[u64]) -> Option<Usual> {
    let hours = history.len();
    let samples = if hours >= 4 * HOURS_PER_WEEK { at_same_hour(history, HOURS_PER_WEEK, 8) } else { Vec::new() };
    let samples = match samples.len() {
        0 if hours >= 3 * HOURS_PER_DAY as usize => at_same_hour(history, HOURS_PER_DAY as usize, 14),
        _ => samples,
    };
    if samples.is_empty() {
        return None;
    }
    let busiest = history.iter().max().copied().unwrap_or(0) as f64;
    let median = if hours < YOUNG_HOURS { busiest } else { median(samples.clone()) };
    let far = samples.iter().map(|sample| (sample - median).abs()).collect();
    // Counts are never closer together than chance makes them, and those of one key are further apart than that: in each
    // hour, somebody may come who calls many times.
    let recent = &history[hours.saturating_sub(HOURS_PER_WEEK)..];
    let floor = median.max(mean(recent)).max(1.0).sqrt();
    let spread = self::median(far) * MAD_TO_DEVIATION;
    Some(Usual { median, deviation: spread.max(floor).max(usual_spread(history)), samples: samples.len() })
}

/// The numbers of as many turns back as there are, of the hour itself and of those beside it.
fn at_same_hour(history: &[u64], turn: usize, turns: usize) -> Vec<f64> {
    let hours = history.len();
    let mut samples = Vec::with_capacity(turns * 3);
    for back in (1..=turns).map(|turns| turns * turn) {
        for beside in [back + 1, back, back - 1] {
            if let Some(place) = hours.checked_sub(beside).filter(|place| *place < hours) {
                samples.push(history[place] as f64);
            }
        }
    }
    samples
}

/// How far busy hours of this key are from each other: a tenth of the way into the busiest of four weeks. A key that is
/// used in bursts has had them before.
fn usual_spread(history: &[u64]) -> f64 {
    let recent = &history[history.len().saturating_sub(4 * HOURS_PER_WEEK)..];
    let (high, middle) = (quantile(recent, 995) as f64, quantile(recent, 500) as f64);
    (high - middle).max(0.0) / 6.0
}

/// What so many of a thousand are not above.
fn quantile(samples: &[u64], of_thousand: usize) -> u64 {
    let mut samples = samples.to_vec();
    let place = samples.len() * of_thousand / 1000;
    if place < samples.len() { *samples.select_nth_unstable(place).1 } else { 0 }
}

fn median(mut samples: Vec<f64>) -> f64 {
    samples.sort_by(f64::total_cmp);
    let middle = samples.len() / 2;
    match samples.len() {
        0 => 0.0,
        count if count % 2 == 1 => samples[middle],
        _ => f64::midpoint(samples[middle - 1], samples[middle]),
    }
}

fn mean(samples: &[u64]) -> f64 {
    if samples.is_empty() { 0.0 } else { samples.iter().sum::<u64>() as f64 / samples.len() as f64 }
}

/// Whether an hour has far more allowed calls than is usual. Nothing is, where too little is known.
pub fn spike(calls: u64, usual: Option<Usual>, thresholds: &Thresholds) -> Judgement {
    let Some(usual) = usual else { return Judgement { is_unusual: false, threshold: u64::MAX } };
    let far = usual.median + thresholds.spike_deviations * usual.deviation;
    let many = usual.median * thresholds.spike_factor;
    let threshold = far.max(many).max(thresholds.spike_calls as f64).ceil();
    let threshold = if threshold < u64::MAX as f64 { threshold as u64 } else { u64::MAX };
    Judgement { is_unusual: calls >= threshold, threshold }
}

/// Whether an hour has a burst of refusals: many, a large share of its calls, and far more than the busy hours of the week
/// before, for some keys are refused all the time. A job that is refused every night is one of
/// these, a burst of some hours is not, so that it does not hide the next.
pub fn denial_burst(hour: HourCalls, week_before: &[HourCalls], thresholds: &Thresholds) -> Judgement {
    let calls = hour.allowed.saturating_add(hour.denied);
    let denied: Vec<u64> = week_before.iter().map(|hour| hour.denied).collect();
    let threshold = quantile(&denied, 970).saturating_mul(3).max(thresholds.burst_denials);
    let is_large = hour.denied as f64 >= thresholds.burst_share * calls as f64;
    Judgement { is_unusual: hour.denied >= threshold && is_large, threshold }
}

/// How much of a quota is used up: the highest of its marks that was reached.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum QuotaMark {
    /// Four fifths.
    Eighty,
    /// All of it.
    Hundred,
}

/// The mark that was reached. Of a quota of zero nothing can be used, so none is ever reached.
pub fn quota(used: u64, limit: u64) -> Option<QuotaMark> {
    if limit == 0 {
        return None;
    }
    let (used, limit) = (u128::from(used), u128::from(limit));
    if used >= limit {
        Some(QuotaMark::Hundred)
    } else if used * 5 >= limit * 4 {
        Some(QuotaMark::Eighty)
    } else {
        None
    }
}

/// The days before its end at which a key that expires is told of: the smallest that was reached.
pub fn expiry(hours_left: i64) -> Option<u8> {
    if hours_left <= 0 {
        return None;
    }
    [1, 3, 14].into_iter().find(|days| hours_left <= i64::from(*days) * HOURS_PER_DAY)
}

/// Which networks of a key are new to it, as places in a list of the hours in which the key was first used from each, oldest
/// first: those of the week before `now`, if the key was in use for a week by then. Who comes from very many networks, or often from another
/// one, has none.
pub fn new_networks(first_uses: &[i64], now: i64) -> Vec<usize> {
    let Some(first) = first_uses.first() else { return Vec::new() };
    let is_settled = |at: i64| at - first >= SETTLED_HOURS;
    let is_new = |place: &usize| {
        let (at, before) = (first_uses[*place], &first_uses[..*place]);
        let moves = before.iter().filter(|before| is_settled(**before) && at - **before < MOVES_HOURS).count();
        at > now - NEW_HOURS && is_settled(at) && before.len() < NETWORKS_OF_MANY && moves < MOVES_OF_MANY
    };
    (0..first_uses.len()).filter(is_new).collect()
}

/// Whether something happened too long ago: days since a key was made, rotated or used.
pub fn is_old(hours_since: i64, days: i64) -> bool {
    hours_since >= days * HOURS_PER_DAY
}

#[cfg(test)]
mod tests {
    use super::*;

    fn weeks(count: usize, calls: impl Fn(usize) -> u64) -> Vec<u64> {
        (0..count * HOURS_PER_WEEK).map(calls).collect()
    }

    /// Calls from 8 to 16 o'clock on five days.
    fn office(hour: usize) -> u64 {
        if (8..16).contains(&(hour % 24)) && hour / 24 % 7 < 5 { 400 + (hour as u64 * 37) % 80 } else { 0 }
    }

    #[test]
    fn what_happens_every_week_is_usual() {
        let thresholds = Thresholds::default();
        let history = weeks(8, office);
        for hour in 0..HOURS_PER_WEEK {
            let now = 5 * HOURS_PER_WEEK + hour;
            let usual = usual(&history[..now]);
            assert!(!spike(office(now), usual, &thresholds).is_unusual, "{hour} {usual:?}");
            assert!(spike(office(now) * 10 + 4000, usual, &thresholds).is_unusual, "{hour} {usual:?}");
        }
    }

    #[test]
    fn little_is_never_a_spike_and_nor_is_anything_of_a_key_that_nobody_knows() {
        let thresholds = Thresholds::default();
        let quiet = weeks(5, |_| 0);
        assert!(!spike(99, usual(&quiet), &thresholds).is_unusual);
        assert!(spike(100, usual(&quiet), &thresholds).is_unusual);
        for hours in 0..72 {
            assert_eq!(usual(&vec![5; hours]), None);
        }
        assert!(!spike(u64::MAX, None, &thresholds).is_unusual);
        let young = usual(&[100; 72]).unwrap();
        assert!(!spike(150, Some(young), &thresholds).is_unusual);
        assert!(spike(1000, Some(young), &thresholds).is_unusual);
    }

    #[test]
    fn one_bad_week_does_not_become_usual() {
        let mut history = weeks(6, office);
        let now = history.len() - 14 * 24 + 10;
        for calls in &mut history[now..now + 20] {
            *calls *= 20;
        }
        let thresholds = Thresholds::default();
        let found = usual(&history[..6 * HOURS_PER_WEEK]).unwrap();
        assert!(found.median < 600.0 && spike(40_000, Some(found), &thresholds).is_unusual, "{found:?}");
    }

    #[test]
    fn a_network_is_new_to_a_key_that_has_settled() {
        const DAY: i64 = 24;
        let first = 1000 * DAY;
        assert_eq!(new_networks(&[], first), [0; 0]);
        assert_eq!(new_networks(&[first, first + 1, first + 7 * DAY - 1], first + 7 * DAY), [0; 0]);
        let steady = [first, first + DAY, first + 7 * DAY];
        assert_eq!(new_networks(&steady, first + 7 * DAY), [2]);
        assert_eq!(new_networks(&steady, first + 14 * DAY - 1), [2]);
        assert_eq!(new_networks(&steady, first + 14 * DAY), [0; 0]);
        // The first three in a month are told of.
        let moves: Vec<i64> = [0, 10, 12, 14, 16].map(|day| first + day * DAY).to_vec();
        assert_eq!(new_networks(&moves, first + 16 * DAY), [1, 2, 3]);
        let later: Vec<i64> = [0, 10, 12, 14, 45].map(|day| first + day * DAY).to_vec();
        assert_eq!(new_networks(&later, first + 45 * DAY), [4]);
        let many: Vec<i64> = (0..20).map(|hour| first + hour).chain([first + 60 * DAY]).collect();
        assert_eq!(new_networks(&many, first + 60 * DAY), [0; 0]);
        assert_eq!(new_networks(&many[1..], first + 60 * DAY), [19]);
    }

    #[test]
    fn refusals_are_a_burst_when_they_are_many_and_most_and_new() {
        let thresholds = Thresholds::default();
        let hour = |allowed, denied| HourCalls { allowed, denied };
        let quiet = [hour(500, 2); 24];
        let check = |of, before: &[HourCalls]| denial_burst(of, before, &thresholds).is_unusual;
        assert!(check(hour(10, 100), &quiet));
        assert!(!check(hour(10, 99), &quiet));
        assert!(!check(hour(500, 300), &quiet));
        assert!(!check(hour(0, 1000), &[hour(0, 900); 24]));
        assert!(check(hour(0, 1000), &[]));
        assert!(!check(hour(u64::MAX, u64::MAX / 4), &[]));
    }

    #[test]
    fn marks_are_reached_exactly() {
        assert_eq!(
            [79, 80, 99, 100, 101].map(|used| quota(used, 100)),
            [
                None,
                Some(QuotaMark::Eighty),
                Some(QuotaMark::Eighty),
                Some(QuotaMark::Hundred),
                Some(QuotaMark::Hundred)
            ]
        );
        assert_eq!(
            (quota(0, 0), quota(1, 1), quota(u64::MAX, u64::MAX)),
            (None, Some(QuotaMark::Hundred), Some(QuotaMark::Hundred))
        );
        assert_eq!(quota(0, 3), None);
        assert_eq!(
            [0, 1, 24, 25, 72, 73, 336, 337].map(expiry),
            [None, Some(1), Some(1), Some(3), Some(3), Some(14), Some(14), None]
        );
        assert!(is_old(2160, 90) && !is_old(2159, 90));
    }
}
