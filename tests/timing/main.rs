//! Unknown, revoked and disabled keys are told apart by nothing that a caller can see: not by one byte of the answer, and
//! not by the time it takes.
//!
//! # What is promised about time
//!
//! Seen from the other end of a connection on the same machine, the median answers to two such keys lie at most
//! [`THRESHOLD_PERCENT`] of the round trip apart (or [`THRESHOLD_NS_MIN`], if that is more). The engine itself does a
//! little more for a key that it knows: it reads the record and counts. That must stay below [`THRESHOLD_NS_MIN`].
//!
//! # Why to believe it
//!
//! All classes are measured in turn, in random order, so that whatever else the machine does hits all of them alike, and
//! are compared within each turn; see [`statistics`]. Two classes test the test: one is the baseline under another name
//! and must not be told from it; the other is the baseline with twice the threshold added to each answer, and must be.

#![allow(clippy::unwrap_used, reason = "helpers of tests: a failure here is the test's failure")]
#![allow(clippy::print_stdout, reason = "figures that are worth reading when the test passes, too")]

#[path = "../support/mod.rs"]
mod support;

mod engine;
mod http;
mod statistics;

use std::sync::Mutex;
use std::time::{Duration, Instant};

use self::statistics::{Difference, difference};

/// Of the median round trip.
const THRESHOLD_PERCENT: f64 = 2.0;
/// What the clock and the scheduler of an idle machine blur.
const THRESHOLD_NS_MIN: f64 = 250.0;
/// A measurement goes on until it is this much more precise than the threshold (three standard errors), …
const PRECISION: f64 = 0.5;
/// … has seen this much, …
const ROUNDS_MIN: usize = 2_000;
/// … or has taken this long.
const PATIENCE: Duration = Duration::from_secs(12);

/// Measurements share no core with each other.
static ALONE: Mutex<()> = Mutex::new(());

/// What is compared, in the order of each report.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Class {
    /// Well-formed, and never issued: what the others are compared with.
    Unknown,
    /// The same once more.
    UnknownAgain,
    /// The same, with twice the threshold added by the test.
    Planted,
    Revoked,
    Disabled,
    /// The checksum is wrong. For information: it is no secret what is well-formed.
    Mistyped,
    /// No format has this prefix. For information, too.
    OtherPrefix,
}

impl Class {
    const ALL: [Self; 7] = [
        Self::Unknown,
        Self::UnknownAgain,
        Self::Planted,
        Self::Revoked,
        Self::Disabled,
        Self::Mistyped,
        Self::OtherPrefix,
    ];
}

/// How long each class took in each round, in nanoseconds.
type Rounds = Vec<[f64; Class::ALL.len()]>;

/// Measures until the figures are good enough. `time_one` takes one sample of a class; `threshold` is told what was
/// measured first.
fn measure(mut time_one: impl FnMut(Class) -> f64, threshold: impl Fn(&Rounds) -> f64) -> (Rounds, f64) {
    let mut order = Class::ALL;
    let mut random = 0x9E37_79B9_7F4A_7C15_u64;
    let mut round = |planted_ns: f64| {
        for place in (1..order.len()).rev() {
            // Xorshift: the order must not follow a rhythm, no more.
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            order.swap(place, (random % (place as u64 + 1)) as usize);
        }
        let mut times = [0.0; Class::ALL.len()];
        for class in order {
            let taken = time_one(class);
            times[class as usize] = if class == Class::Planted { taken + spin_for(planted_ns) } else { taken };
        }
        times
    };
    let warm: Rounds = (0..ROUNDS_MIN / 4).map(|_| round(0.0)).collect();
    let threshold = threshold(&warm);
    let started = now();
    let mut rounds: Rounds = Vec::new();
    loop {
        rounds.extend((0..ROUNDS_MIN).map(|_| round(2.0 * threshold)));
        let is_precise = Class::ALL.iter().all(|class| compared(&rounds, *class).error * 3.0 < threshold * PRECISION);
        if is_precise || started.elapsed() > PATIENCE {
            return (rounds, threshold);
        }
    }
}

fn compared(rounds: &Rounds, class: Class) -> Difference {
    difference(rounds.iter().map(|times| (times[class as usize], times[Class::Unknown as usize])))
}

/// Prints the figures, and fails if a class can be told from the unknown keys, or if the test could not have seen it.
fn judge(what: &str, rounds: &Rounds, threshold: f64) {
    let median = median_of(rounds, Class::Unknown);
    println!("{what}: median {median:.0} ns, threshold {threshold:.0} ns, {} rounds", rounds.len());
    for class in Class::ALL {
        let Difference { median, error } = compared(rounds, class);
        println!("  {class:<12} {median:+8.0} ns, standard error {error:.0} ns", class = format!("{class:?}"));
    }
    let is_told_apart = |class| compared(rounds, class).exceeds(threshold);
    assert!(is_told_apart(Class::Planted), "{what}: too noisy a machine: a planted difference was not seen");
    for class in [Class::UnknownAgain, Class::Revoked, Class::Disabled] {
        assert!(
            !is_told_apart(class),
            "{what}: {class:?} keys can be told from unknown ones by the time of the answer"
        );
    }
}

fn median_of(rounds: &Rounds, class: Class) -> f64 {
    statistics::median(&mut rounds.iter().map(|times| times[class as usize]).collect::<Vec<_>>())
}

fn threshold_of(round_trip_ns: f64) -> f64 {
    (round_trip_ns * THRESHOLD_PERCENT / 100.0).max(THRESHOLD_NS_MIN)
}

/// Keeps the core busy for so long, and says how long it really was.
fn spin_for(ns: f64) -> f64 {
    let started = now();
    loop {
        let taken = nanoseconds(started.elapsed());
        if taken >= ns {
            return taken;
        }
        std::hint::spin_loop();
    }
}

fn nanoseconds(duration: Duration) -> f64 {
    duration.as_nanos() as f64
}

#[expect(clippy::disallowed_methods, reason = "the one test that measures time")]
fn now() -> Instant {
    Instant::now()
}
