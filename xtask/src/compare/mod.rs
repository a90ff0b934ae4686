//! `cargo xtask bench-compare`: `POST /v1/verify` beside what others would have in its place, in one run on one machine.
//!
//! Every server has one core and the load generator another. They take turns, so that what else the machine does meanwhile
//! hits all alike, and the medians of the turns are printed as one table. A contender that cannot be installed or that
//! does not check the key stands in the table with the reason.
//!
//! Reading order: this file is the run, [`contenders`] who takes part, [`server`] a process and what it has used.

mod contenders;
mod server;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

use self::contenders::{CONTENDERS, Running};
use crate::needs;
use crate::shell::{CommandLine, root};

/// The core of the servers, and that of the load generator.
const SERVER_CORE: &str = "0";
const LOAD_CORE: &str = "1";
/// Connections that are kept open, with one request at a time on each.
const CONNECTIONS: u32 = 32;
const NGINX: &str = "nginx `return 200`";
const ENVOY: &str = "Envoy `api_key_auth`";

/// How long the comparison takes.
pub(crate) struct Length {
    rounds: usize,
    seconds: u32,
}

pub(crate) const THOROUGH: Length = Length { rounds: 5, seconds: 8 };
pub(crate) const QUICK: Length = Length { rounds: 3, seconds: 3 };

/// What one turn of one contender came to.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Turn {
    requests_per_second: f64,
    cpu_us_per_request: f64,
    p50_us: f64,
    p99_us: f64,
}

/// A contender's turns, or why there are none.
struct Row {
    name: &'static str,
    turns: Result<Vec<Turn>>,
}

/// Installs and starts everybody, measures in turns and prints the table.
pub(crate) fn run(length: &Length) -> Result<()> {
    let cores = std::thread::available_parallelism()?.get();
    ensure!(cores >= 2, "the server and the load generator need a core each, and there is {cores}");
    needs::install_missing(needs::FOR_COMPARISON)?;
    let folder = root().join("target/bench-compare");
    fs::create_dir_all(&folder)?;

    let mut field: Vec<(Row, Option<Running>)> = Vec::new();
    for (name, start) in CONTENDERS {
        println!("── {name}");
        let (turns, running) = match start(&folder).and_then(Running::checked) {
            Ok(running) => (Ok(Vec::new()), Some(running)),
            Err(reason) => (Err(reason), None),
        };
        field.push((Row { name, turns }, running));
    }
    for round in 1..=length.rounds {
        println!("── round {round} of {}: {} s each", length.rounds, length.seconds);
        for (row, running) in &mut field {
            let (Ok(turns), Some(running)) = (&mut row.turns, &*running) else { continue };
            match turn(&folder, running, length.seconds) {
                Ok(turn) => turns.push(turn),
                Err(reason) => row.turns = Err(reason),
            }
        }
    }
    let rows: Vec<Row> = field.into_iter().map(|(row, _running)| row).collect();
    println!("\n{}", table(&rows));
    Ok(())
}

/// Loads one server for this long.
fn turn(folder: &Path, running: &Running, seconds: u32) -> Result<Turn> {
    let script = write_script(folder, running)?;
    let before = running.server.cpu_us()?;
    let load = CommandLine::new("taskset", &format!("-c {LOAD_CORE} wrk -t1 -c{CONNECTIONS} -d{seconds}s -s"))
        .argument(script.display().to_string())
        .argument(format!("http://127.0.0.1:{}{}", running.port, contenders::PATH));
    let output = load.read()?;
    let used = running.server.cpu_us()? - before;
    read_turn(&output, used)
}

/// What wrk sends, the same bytes each time, and how it reports.
fn write_script(folder: &Path, running: &Running) -> Result<PathBuf> {
    let headers: Vec<String> =
        running.request.headers.iter().map(|(name, value)| format!("wrk.headers['{name}'] = '{value}'\n")).collect();
    let report = "function done(summary, latency)\n  local e = summary.errors\n  print(string.format('turn: %d %d %d %d %d', \
                  summary.requests, summary.duration, e.connect + e.read + e.write + e.status + e.timeout, \
                  latency:percentile(50), latency:percentile(99)))\nend\n";
    let script = format!("wrk.method = 'POST'\n{}wrk.body = [[{}]]\n{report}", headers.concat(), running.request.body);
    let file = folder.join("load.lua");
    fs::write(&file, script).with_context(|| format!("cannot write {}", file.display()))?;
    Ok(file)
}

/// Reads the line that the script prints: requests, microseconds, errors, and two percentiles in microseconds.
fn read_turn(output: &str, cpu_us: f64) -> Result<Turn> {
    let line = output.lines().find_map(|line| line.strip_prefix("turn: ")).context("wrk did not report")?;
    let numbers: Vec<f64> = line.split(' ').map(str::parse).collect::<Result<_, _>>()?;
    let [requests, duration_us, errors, p50_us, p99_us] = numbers[..] else { bail!("wrk reported {line:?}") };
    ensure!(requests > 0.0 && errors == 0.0, "{errors} of {requests} requests were not answered with success");
    Ok(Turn {
        requests_per_second: requests * 1e6 / duration_us,
        cpu_us_per_request: cpu_us / requests,
        p50_us,
        p99_us,
    })
}

/// The table, in Markdown. Ratios are medians of the ratios of each round.
fn table(rows: &[Row]) -> String {
    let mut lines = vec![
        "| | requests/s | server CPU a request | p50 | p99 | to nginx | to Envoy |".to_owned(),
        "|---|---|---|---|---|---|---|".to_owned(),
    ];
    for Row { name, turns } in rows {
        let cells = match turns {
            Ok(turns) => {
                let middle = |part: fn(&Turn) -> f64| median(turns.iter().map(part).collect());
                let to =
                    |other: &str| ratio(turns, rows, other).map_or("–".to_owned(), |ratio| format!("{ratio:.2}"));
                format!(
                    "{:.0} | {:.2} µs | {:.0} µs | {:.0} µs | {} | {}",
                    middle(|turn| turn.requests_per_second),
                    middle(|turn| turn.cpu_us_per_request),
                    middle(|turn| turn.p50_us),
                    middle(|turn| turn.p99_us),
                    to(NGINX),
                    to(ENVOY),
                )
            }
            Err(reason) => format!("not measured: {reason:#} | – | – | – | – | –").replace('\n', " "),
        };
        lines.push(format!("| {name} | {cells} |"));
    }
    lines.join("\n")
}

/// How many times the requests per second of `other` these turns have.
fn ratio(turns: &[Turn], rows: &[Row], other: &str) -> Option<f64> {
    let others = rows.iter().find(|row| row.name == other)?.turns.as_ref().ok()?;
    let ratios = turns.iter().zip(others).map(|(turn, other)| turn.requests_per_second / other.requests_per_second);
    Some(median(ratios.collect()))
}

fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers.get(numbers.len() / 2).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::*;

    fn turn_of(requests_per_second: f64) -> Turn {
        Turn { requests_per_second, cpu_us_per_request: 1.0, p50_us: 2.0, p99_us: 3.0 }
    }

    #[test]
    fn a_report_is_read() {
        let read = read_turn("Running 3s test\nturn: 200 2000000 0 100 900\n", 500.0).expect("a whole report");
        let expected = Turn { requests_per_second: 100.0, cpu_us_per_request: 2.5, p50_us: 100.0, p99_us: 900.0 };
        assert_eq!(read, expected);
        assert!(read_turn("turn: 200 2000000 1 100 900", 500.0).is_err(), "an error is no answer");
        assert!(read_turn("turn: 0 2000000 0 0 0", 500.0).is_err());
        assert!(read_turn("Running 3s test", 500.0).is_err());
    }

    #[test]
    fn ratios_are_of_the_same_round_and_a_missing_contender_is_named() {
        let rows = [
            Row { name: "us", turns: Ok([90.0, 45.0, 100.0].map(turn_of).to_vec()) },
            Row { name: NGINX, turns: Ok([100.0, 50.0, 200.0].map(turn_of).to_vec()) },
            Row { name: ENVOY, turns: Err(anyhow!("no such package")) },
        ];
        let table = table(&rows);
        assert!(table.contains("| us | 90 | 1.00 µs | 2 µs | 3 µs | 0.90 | – |"), "{table}");
        assert!(table.contains("| Envoy `api_key_auth` | not measured: no such package |"), "{table}");
    }
}
