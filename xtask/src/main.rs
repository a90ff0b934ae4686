//! Every project chore behind one command: `cargo xtask CHORE`.
//!
//! A chore is a list of steps, and a step is mostly a command line that can be repeated by hand; this crate adds what a
//! shell script does badly: installing what is missing, timing, adding up test results, and saying at the end which step
//! failed and how to run it again. It knows nothing about keys, and no other crate depends on it.
//!
//! Reading order: [`mod@test`] and [`ci`] are the two chores that matter, [`needs`] is the table of what a machine must
//! have, [`steps`] and [`shell`] are how steps are run and told.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a chore talks to the person who ran it")]

mod bench;
mod bench_import;
mod ci;
mod compare;
mod fuzz;
mod instructions;
mod needs;
mod openapi;
mod shell;
mod steps;
mod test;

use std::process::ExitCode;

/// What `cargo xtask` without a chore prints.
const HELP: &str = "\
Claviger's chores. Run one with `cargo xtask CHORE`.

  test [--long]      Run every test: unit, integration and doc tests, then the engine's concurrency model under loom.
                     Installs what is missing on a Debian machine, and says so first.
                     --long  gives each property test sixteen times as many cases
  ci                 Run every check that is not a test: format, file length, clippy, docs, crate diagram and licences,
                     openapi.json, instructions of the hot paths. CI runs `cargo xtask ci`, `cargo xtask test`, then `cargo xtask fuzz`.
  fuzz [OPTIONS]     Throw hostile input at every parser: a minute for each target in fuzz/, two at a time.
                     --seconds N  the time for each target
                     --target T   only this one
                     --keep       take what was found into the committed corpora, fuzz/corpus
                     --lock       only write fuzz/Cargo.lock anew, after a change of Cargo.lock
  openapi [--check]  Write openapi.json from the code.
                     --check  only says whether the committed file is up to date
  bench [ARGS…]      Measure the engine beside its floor: 10,000, 1,000,000 and 10,000,000 keys.
                     --keys N,N,…  --json  --plot FILE.svg
  bench-creation     Measure how many keys 64 callers make a second, beside the database's own batched inserts.
  bench-import [ARGS…]
                     Measure an import of 1,000,000 keys through the command line, and the same again.
                     --lines N  --database-url URL
  bench-start [ARGS…]
                     Measure a server's start with 1,000,000 keys in its database, to its first verdict.
                     --database sqlite,postgres  --keys N  --runs N
  bench-usage [ARGS…]
                     Measure a report of one organization's month, with a year of usage of 100,000 keys in SQLite.
                     --keys N  --organizations N  --runs N  --data DIR
  bench-compare [--quick]
                     Measure POST /v1/verify beside nginx, Envoy, djangorestframework-api-key and better-auth, each on one
                     core. Installs them into target/bench-compare. Five rounds of eight seconds for each.
                     --quick  three rounds of three seconds
  simulate-alerts [ARGS…]
                     Judge a simulated month of 10,000 keys by the rules of alerts: what they found, and what not.
                     --keys N  --seed N
  instructions [--bless]
                     Compare the instructions of the hot paths with bench/instructions.txt.
                     --bless  writes the file anew
  help               Print this.
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match arguments.as_slice() {
        [] | ["help" | "--help" | "-h"] => {
            print!("{HELP}");
            Ok(())
        }
        ["test"] => test::run(test::Length::Usual),
        ["test", "--long"] => test::run(test::Length::Long),
        ["ci"] => ci::run(),
        ["openapi"] => openapi::write(),
        ["openapi", "--check"] => openapi::check(),
        ["bench-compare"] => compare::run(&compare::THOROUGH),
        ["bench-compare", "--quick"] => compare::run(&compare::QUICK),
        ["instructions"] => instructions::check(),
        ["instructions", "--bless"] => instructions::bless(),
        ["bench", bench_arguments @ ..] => bench::run(bench_arguments),
        ["bench-creation"] => bench::creation(),
        ["simulate-alerts", arguments @ ..] => bench::simulate_alerts(arguments),
        ["bench-usage", bench_arguments @ ..] => bench::usage(bench_arguments),
        ["bench-start", bench_arguments @ ..] => bench::start(bench_arguments),
        ["fuzz", options @ ..] if let Some(options) = fuzz::Options::read(options) => fuzz::run(&options),
        ["bench-import", import_arguments @ ..] => bench_import::run(import_arguments),
        unknown => {
            eprintln!("error: there is no chore `{}`\n\n{HELP}", unknown.join(" "));
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
