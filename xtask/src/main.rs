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
                     openapi.json. CI runs `cargo xtask ci`, then `cargo xtask test`.
  openapi [--check]  Write openapi.json from the code.
                     --check  only says whether the committed file is up to date
  bench [ARGS…]      Run the benchmarks in release mode; the arguments go to the bench program as they are.
                     --full   the full sizes, which take longer and need more memory
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
        ["bench", bench_arguments @ ..] => bench::run(bench_arguments),
        // Not in the help: it takes minutes, and the figures stand in bench/README.md.
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
