//! What the rules of alerts are worth, on a simulated month.
//!
//!     cargo xtask simulate-alerts [--keys 10000] [--seed 1]

#![allow(clippy::print_stdout, clippy::print_stderr, clippy::unwrap_used, reason = "a program that reports")]

mod networks;
mod simulation;

use claviger_app::alerts::rules::Thresholds;

use crate::simulation::{Score, simulate};

fn main() {
    let (mut keys, mut seed) = (10_000, 1);
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--keys" => keys = arguments.next().unwrap().parse().unwrap(),
            "--seed" => seed = arguments.next().unwrap().parse().unwrap(),
            // What `cargo bench` says to every bench.
            "--bench" => {}
            _ => {
                eprintln!("usage: [--keys N] [--seed N]");
                std::process::exit(2);
            }
        }
    }
    let outcome = simulate(keys, seed, &Thresholds::default());
    let [spikes, unforeseen, bursts] = outcome.false_alarms();
    println!(
        "{:<32} {:>9} {:>7} {:>10} {:>28}",
        "", "incidents", "recall", "precision", "false alarms a key and month"
    );
    let line = |name: &str, score: &Score, false_alarms: f64| {
        println!(
            "{name:<32} {:>9} {:>6.1} % {:>8.1} % {false_alarms:>28.4}",
            score.incidents,
            score.recall() * 100.0,
            score.precision() * 100.0
        );
    };
    line("usage_spike, leaked key (x 10)", &outcome.leak, spikes);
    line("usage_spike, slow abuse (x 3)", &outcome.slow, spikes);
    line("denial_burst", &outcome.denials, bursts);
    let (networks, false_alarms) = networks::simulate(keys, seed);
    line("new_network, leaked key", &networks, false_alarms);
    println!(
        "usage_spike, on the one key in twenty that comes in bursts which nobody foresees: {unforeseen:.4} more, in the precision too"
    );
}
