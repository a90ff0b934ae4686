//! How fast the engine decides and how much memory a key takes, beside the least that any engine could do.
//!
//!     cargo run --release -p claviger-bench -- [--keys 10000,1000000,10000000] [--json] [--plot FILE.svg]
//!
//! With `--plot` the sizes are 1,000 to 10,000,000 unless `--keys` says otherwise, and the curve is drawn as well. With
//! `--instructions` alone it goes through the cases whose instructions `cargo xtask instructions` has counted.
//!
//! The floor is bare SHA-256 of the secret and a hit in a hash map from digests, over the same secrets in the same
//! order, alternating with the engine in one run. The engine does everything: format and checksum, digest, index,
//! key and organization, address, referrer, endpoint, scopes, and it counts the verdict. Each size is measured twice, the
//! second time with a plan that has rate limits and a quota.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program that reports")]

mod instructions;
mod measure;
mod plot;
mod population;

use claviger_domain::change::Revision;
use claviger_engine::{Engine, EngineOptions};

use crate::measure::{Floor, Times, compare};
use crate::population::{Limits, NOW, Traits, api, presented, secrets, snapshot};

/// Verifications of a pass. Where there are fewer keys, they come again and again.
const VERIFICATIONS: usize = 1 << 19;

const USAGE: &str = "usage: claviger-bench [--keys 10000,1000000,10000000] [--json] [--plot FILE.svg]";

struct Report {
    what: String,
    keys: usize,
    times: Times,
    counted_bytes_per_key: f64,
    resident_bytes_per_key: f64,
    load_seconds: f64,
    budget: Option<f64>,
}

fn main() {
    let mut sizes = None;
    let mut is_json = false;
    let mut plot = None;
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--instructions" => return instructions::run(),
            "--json" => is_json = true,
            "--plot" => plot = arguments.next(),
            "--keys" => match arguments.next().and_then(|list| list.split(',').map(|size| size.parse().ok()).collect())
            {
                Some(list) => sizes = Some(list),
                None => return eprintln!("--keys takes numbers separated by commas"),
            },
            _ => return eprintln!("{USAGE}"),
        }
    }
    let sizes: Vec<usize> = sizes.unwrap_or_else(|| match plot {
        Some(_) => vec![1_000, 10_000, 100_000, 1_000_000, 10_000_000],
        None => vec![10_000, 1_000_000, 10_000_000],
    });
    if !is_json {
        println!(
            "{:<34} {:>9} {:>9} {:>7} {:>7} {:>10} {:>10} {:>8}",
            "", "floor", "engine", "ratio", "budget", "B/key", "B/key RSS", "load s"
        );
    }
    let mut points = Vec::new();
    for size in sizes {
        let report = run(size, Traits::default());
        print(&report, is_json);
        points.push(plot::Point { keys: size, times: report.times });
        if plot.is_some() {
            continue;
        }
        // Where there are very many keys, few of them have a limit for themselves.
        let limits = if size <= 100_000 { Limits::Key } else { Limits::Organization };
        print(&run(size, Traits { limits, ..Traits::default() }), is_json);
    }
    if let Some(file) = plot
        && let Err(error) = std::fs::write(&file, plot::svg(&points))
    {
        eprintln!("cannot write {file}: {error}");
    }
}

fn run(size: usize, traits: Traits) -> Report {
    let api = api(traits.limits);
    let secrets = secrets(&api, size);
    let resident_before = resident_bytes();
    let (engine, load_seconds) = load(EngineOptions::for_keys(size), &api, &secrets, traits);
    let resident = resident_bytes().saturating_sub(resident_before);
    let floor = Floor::new(&secrets);
    let presented = presented(&secrets, VERIFICATIONS.min(size));
    let times = compare(&engine, &floor, &presented, VERIFICATIONS);
    let what = match traits {
        Traits { restricted: true, .. } => "ip and endpoint restricted",
        Traits { expiring: true, .. } => "expiring",
        Traits { limits: Limits::Organization, .. } => "quota, 1 rate limit",
        Traits { limits: Limits::Key, .. } => "quota, 2 rate limits",
        _ if size <= 100_000 => "hot",
        _ => "random",
    };
    Report {
        what: format!("{size} keys, {what}"),
        keys: size,
        times,
        counted_bytes_per_key: engine.memory_bytes() as f64 / size as f64,
        resident_bytes_per_key: resident as f64 / size as f64,
        load_seconds,
        budget: match (traits.restricted, size) {
            (false, 10_000) => Some(2.5),
            (false, 10_000_000) => Some(1.5),
            _ => None,
        },
    }
}

#[expect(clippy::disallowed_methods, reason = "a bench measures time")]
fn load(
    options: EngineOptions,
    api: &claviger_domain::definition::Api,
    secrets: &population::Secrets,
    traits: Traits,
) -> (Engine, f64) {
    let start = std::time::Instant::now();
    let engine = Engine::new(options);
    engine.load(Revision(1), snapshot(api, secrets, traits)).expect("a sound snapshot");
    engine.usage().collect(NOW);
    (engine, start.elapsed().as_secs_f64())
}

/// Memory of the process that is in RAM.
fn resident_bytes() -> usize {
    let pages = std::fs::read_to_string("/proc/self/statm").ok();
    let pages = pages.and_then(|text| text.split_whitespace().nth(1)?.parse::<usize>().ok());
    pages.unwrap_or(0) * 4096
}

fn print(report: &Report, is_json: bool) {
    let Report {
        what,
        keys,
        times,
        counted_bytes_per_key: counted,
        resident_bytes_per_key: resident,
        load_seconds,
        budget,
    } = report;
    let Times { floor, engine, ratio } = times;
    if is_json {
        let budget = budget.map_or("null".to_owned(), |budget| budget.to_string());
        println!(
            "{{\"what\":\"{what}\",\"keys\":{keys},\"floor_ns\":{floor:.1},\"engine_ns\":{engine:.1},\"ratio\":{ratio:.3},\
             \"ratio_budget\":{budget},\"counted_bytes_per_key\":{counted:.1},\"resident_bytes_per_key\":{resident:.1},\
             \"load_seconds\":{load_seconds:.2}}}"
        );
    } else {
        let budget = budget.map_or(String::new(), |budget| budget.to_string());
        println!(
            "{what:<34} {floor:>6.1} ns {engine:>6.1} ns {ratio:>7.2} {budget:>7} {counted:>10.1} {resident:>10.1} {load_seconds:>8.2}"
        );
    }
}
