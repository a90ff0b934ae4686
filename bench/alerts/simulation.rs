//! Simulated traffic with planted incidents, and what the rules of alerts make of it.
//!
//! Weeks of history and then a month that is judged hour by hour, key by key, as the server would. Traffic follows the day and
//! the week, grows, and is further apart than chance makes it (a Poisson count with a gamma-distributed rate). Some
//! keys are young, some run a job every night, some come in bursts that nobody can foresee, some are refused all the time.

use claviger_app::alerts::rules::{HOURS_PER_WEEK, HourCalls, Judgement, Thresholds, denial_burst, spike, usual};

/// History before the month.
const WEEKS_BEFORE: usize = 5;
const MONTH_HOURS: usize = 30 * 24;
/// So many usual hours close an alert.
const CALM_HOURS: usize = 6;
/// An alarm that comes so late after an incident's end is still about it.
const LATE_HOURS: usize = 1;

/// What happened to a key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Incident {
    /// Its secret leaked: ten times its traffic for some hours.
    Leak,
    /// Somebody takes three times as much for two days.
    Slow,
    /// Somebody tries it in vain.
    Denials,
}

/// What a rule was worth.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Score {
    /// Incidents that the rule is about.
    pub(crate) incidents: usize,
    /// Those it found.
    pub(crate) found: usize,
    /// Alerts that opened.
    pub(crate) alarms: usize,
    /// Those that opened in an incident.
    pub(crate) right: usize,
}

impl Score {
    /// The share of its alarms that were right.
    pub(crate) fn precision(&self) -> f64 {
        self.right as f64 / self.alarms.max(1) as f64
    }

    /// The share of the incidents that it found.
    pub(crate) fn recall(&self) -> f64 {
        self.found as f64 / self.incidents.max(1) as f64
    }
}

/// What the simulation came to.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Outcome {
    /// Keys, each for a month.
    pub(crate) keys: usize,
    /// `usage_spike` on leaked keys. Alarms of the two spike rows are the same; what opened in the other's incident is left out.
    pub(crate) leak: Score,
    /// `usage_spike` on slow abuse.
    pub(crate) slow: Score,
    /// `denial_burst`.
    pub(crate) denials: Score,
    /// Alarms of `usage_spike` in no incident at all, but for those of keys that come in bursts.
    pub(crate) false_spikes: usize,
    /// Those of keys that come in bursts which nobody can foresee: to any rule, these are spikes.
    pub(crate) unforeseen: usize,
}

impl Outcome {
    /// Alarms in no incident, of each rule, per key and month.
    /// Alarms of keys that come in bursts stand between the two.
    pub(crate) fn false_alarms(&self) -> [f64; 3] {
        let of = |alarms: usize| alarms as f64 / self.keys as f64;
        [of(self.false_spikes), of(self.unforeseen), of(self.denials.alarms - self.denials.right)]
    }
}

/// Simulates a month of so many keys. The same seed gives the same month.
pub(crate) fn simulate(keys: usize, seed: u64, thresholds: &Thresholds) -> Outcome {
    let mut outcome = Outcome { keys, ..Outcome::default() };
    for key in 0..keys {
        let mut random = Random(seed.wrapping_add(key as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        Key::new(&mut random, key).live(&mut random, thresholds, &mut outcome);
    }
    outcome
}

struct Key {
    /// Calls in an hour, on average.
    rate: f64,
    /// How much of the traffic follows the day, and where its noon is.
    daily: f64,
    noon: f64,
    /// What is left on Saturday and Sunday.
    weekend: f64,
    /// Growth over the whole time.
    growth: f64,
    /// The smaller, the further apart.
    shape: f64,
    /// Calls of a nightly job.
    job: f64,
    /// How likely an hour is a busy one that nobody foresaw.
    burst: f64,
    /// The share of calls that is refused in peace.
    refused: f64,
    born: usize,
    incident: Option<(Incident, usize, usize)>,
}

impl Key {
    fn new(random: &mut Random, number: usize) -> Self {
        let rate = match random.below(100) {
            0..50 => random.between(0.02, 5.0),
            50..85 => random.between(5.0, 300.0),
            _ => random.between(300.0, 20_000.0),
        };
        let chance = |random: &mut Random, percent: u64| random.below(100) < percent;
        let job = if chance(random, 10) { random.between(200.0, 5000.0) } else { 0.0 };
        let burst = if chance(random, 5) { random.between(0.002, 0.02) } else { 0.0 };
        let refused = if chance(random, 2) { random.between(0.4, 0.9) } else { random.between(0.0, 0.03) };
        let end = WEEKS_BEFORE * HOURS_PER_WEEK + MONTH_HOURS;
        let born = if chance(random, 10) { random.below(end as u64 - 24) as usize } else { 0 };
        // Planted where the key has been seen for a week at least: before, the rules are silent or nearly so.
        let first = (WEEKS_BEFORE * HOURS_PER_WEEK).max(born + HOURS_PER_WEEK);
        let incident = match number % 100 {
            0 => Some((Incident::Leak, 2 + random.below(11) as usize)),
            1 => Some((Incident::Slow, 48)),
            2 => Some((Incident::Denials, 1 + random.below(4) as usize)),
            _ => None,
        };
        let incident = incident.filter(|(_, hours)| first + hours + 24 < end).map(|(incident, hours)| {
            let start = first + random.below((end - first - hours - 1) as u64) as usize;
            (incident, start, start + hours)
        });
        Self {
            rate,
            daily: random.between(0.0, 0.95),
            noon: random.between(0.0, 24.0),
            weekend: random.between(0.05, 1.0),
            growth: random.between(-0.3, 1.0),
            shape: random.between(2.0, 30.0),
            job,
            burst,
            refused,
            born,
            incident,
        }
    }

    /// What this hour's traffic is on average.
    fn expected(&self, hour: usize) -> f64 {
        let of_day = (hour % 24) as f64;
        let wave = 1.0 + self.daily * ((of_day - self.noon) / 24.0 * std::f64::consts::TAU).cos();
        let weekend = if hour / 24 % 7 >= 5 { self.weekend } else { 1.0 };
        let weeks = (WEEKS_BEFORE * HOURS_PER_WEEK + MONTH_HOURS) as f64;
        let growth = 1.0 + self.growth * hour as f64 / weeks;
        let job = if hour % 24 == 2 { self.job } else { 0.0 };
        self.rate * wave * weekend * growth + job
    }

    fn calls(&self, hour: usize, random: &mut Random) -> HourCalls {
        let mut expected = self.expected(hour);
        if self.burst > 0.0 && random.unit() < self.burst {
            expected *= random.between(3.0, 10.0);
        }
        let rate = expected * random.gamma(self.shape) / self.shape;
        let mut calls = random.count(rate);
        let mut refused = random.count(calls as f64 * self.refused).min(calls);
        if let Some((incident, _, _)) = self.incident.filter(|(_, start, end)| (*start..*end).contains(&hour)) {
            // Whoever abuses a key takes no notice of its day; of a key that is hardly used, a little is not an incident.
            let more = match incident {
                Incident::Leak => random.count((self.rate * 9.0).max(300.0)),
                Incident::Slow => random.count((self.rate * 2.0).max(150.0)),
                Incident::Denials => 0,
            };
            calls += more;
            if incident == Incident::Denials {
                let rate = random.between(200.0, 2000.0).max(self.rate * 2.0);
                let tried = random.count(rate);
                calls += tried;
                refused += tried;
            }
        }
        HourCalls { allowed: calls - refused, denied: refused }
    }

    fn live(&self, random: &mut Random, thresholds: &Thresholds, outcome: &mut Outcome) {
        let end = WEEKS_BEFORE * HOURS_PER_WEEK + MONTH_HOURS;
        let mut hours: Vec<HourCalls> = Vec::with_capacity(end);
        let mut allowed: Vec<u64> = Vec::with_capacity(end);
        let (mut of_spike, mut of_burst) = (Alert::default(), Alert::default());
        for hour in self.born..end {
            let calls = self.calls(hour, random);
            if hour >= WEEKS_BEFORE * HOURS_PER_WEEK {
                // As the server does it: what cannot be a spike is not looked at any closer.
                let judged = if calls.allowed >= thresholds.spike_calls {
                    spike(calls.allowed, usual(&allowed), thresholds)
                } else {
                    Judgement { is_unusual: false, threshold: u64::MAX }
                };
                of_spike.take(hour, judged);
                let judged = if calls.denied >= thresholds.burst_denials {
                    denial_burst(calls, &hours[hours.len().saturating_sub(HOURS_PER_WEEK)..], thresholds)
                } else {
                    Judgement { is_unusual: false, threshold: u64::MAX }
                };
                of_burst.take(hour, judged);
            }
            allowed.push(calls.allowed);
            hours.push(calls);
        }
        self.score(&of_spike.opened, &of_burst.opened, outcome);
    }

    fn score(&self, spikes: &[usize], bursts: &[usize], outcome: &mut Outcome) {
        let within = |opened: &[usize]| match self.incident {
            Some((_, start, end)) => opened.iter().filter(|hour| (start..end + LATE_HOURS).contains(*hour)).count(),
            None => 0,
        };
        let count = |score: &mut Score, right: usize| {
            score.incidents += 1;
            score.found += usize::from(right > 0);
            score.right += right;
            score.alarms += right;
        };
        let (right_spikes, right_bursts) = (within(spikes), within(bursts));
        let mut false_spikes = spikes.len();
        match self.incident.map(|(incident, _, _)| incident) {
            Some(Incident::Leak) => {
                count(&mut outcome.leak, right_spikes);
                false_spikes -= right_spikes;
            }
            Some(Incident::Slow) => {
                count(&mut outcome.slow, right_spikes);
                false_spikes -= right_spikes;
            }
            Some(Incident::Denials) => {
                outcome.denials.incidents += 1;
                outcome.denials.found += usize::from(right_bursts > 0);
                outcome.denials.right += right_bursts;
            }
            None => {}
        }
        outcome.denials.alarms += bursts.len();
        if self.burst > 0.0 {
            outcome.unforeseen += false_spikes;
        } else {
            outcome.false_spikes += false_spikes;
        }
        outcome.leak.alarms += false_spikes;
        outcome.slow.alarms += false_spikes;
    }
}

/// An alert that opens, stays open while it is unusual, and closes after some calm.
#[derive(Default)]
struct Alert {
    opened: Vec<usize>,
    open_since_unusual: Option<usize>,
}

impl Alert {
    fn take(&mut self, hour: usize, judged: Judgement) {
        if judged.is_unusual {
            if self.open_since_unusual.is_none() {
                self.opened.push(hour);
            }
            self.open_since_unusual = Some(hour);
        } else if self.open_since_unusual.is_some_and(|last| hour - last >= CALM_HOURS) {
            self.open_since_unusual = None;
        }
    }
}

/// SplitMix64, and the distributions that the traffic is made of.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    fn between(&mut self, least: f64, most: f64) -> f64 {
        least + self.unit() * (most - least)
    }

    fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.unit()).ln()).sqrt();
        radius * (self.unit() * std::f64::consts::TAU).cos()
    }

    /// Poisson, by Knuth's way for small ones and as the normal distribution that large ones are like.
    fn count(&mut self, expected: f64) -> u64 {
        if expected > 50.0 {
            return (expected + expected.sqrt() * self.normal()).round().max(0.0) as u64;
        }
        let (limit, mut product, mut count) = ((-expected).exp(), self.unit(), 0);
        while product > limit {
            product *= self.unit();
            count += 1;
        }
        count
    }

    /// Gamma with a scale of one (Marsaglia and Tsang).
    fn gamma(&mut self, shape: f64) -> f64 {
        let d = shape - 1.0 / 3.0;
        let c = 1.0 / (9.0 * d).sqrt();
        loop {
            let x = self.normal();
            let v = (1.0 + c * x).powi(3);
            if v > 0.0 && self.unit().ln() < 0.5 * x * x + d - d * v + d * v.ln() {
                return d * v;
            }
        }
    }
}
