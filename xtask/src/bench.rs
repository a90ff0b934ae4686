//! `cargo xtask bench`: the benchmarks, in the mode in which their numbers mean something.

use anyhow::Result;

use crate::needs;
use crate::shell::{CommandLine, root};

/// Runs the bench program with `arguments` as they were given.
pub(crate) fn run(arguments: &[&str]) -> Result<()> {
    CommandLine::new("cargo", "run --release -p claviger-bench --").arguments(arguments.iter().copied()).run()
}

/// Measures the start of a server whose database is full of keys; `arguments` go to the bench program as they are.
pub(crate) fn start(arguments: &[&str]) -> Result<()> {
    CommandLine::new("cargo", "build --release -p claviger").run()?;
    let server = root().join("target/release/claviger");
    CommandLine::new("cargo", "bench -p claviger-bench --bench start -- --server")
        .arguments([server.to_string_lossy().as_ref()])
        .arguments(arguments.iter().copied())
        .run()
}

/// Measures how fast keys are made by many callers, on both databases.
pub(crate) fn creation() -> Result<()> {
    needs::install_missing(needs::FOR_TESTS)?;
    CommandLine::new("cargo", "bench -p claviger-bench --bench creation").run()
}

/// Measures reports of one organization's month among a year of usage; `arguments` go to the bench program as they are.
pub(crate) fn usage(arguments: &[&str]) -> Result<()> {
    CommandLine::new("cargo", "bench -p claviger-bench --bench usage --").arguments(arguments.iter().copied()).run()
}

/// Simulates a month of keys with planted incidents and says what the rules of alerts found; `arguments` go to the
/// program as they are.
pub(crate) fn simulate_alerts(arguments: &[&str]) -> Result<()> {
    CommandLine::new("cargo", "bench -p claviger-bench --bench alerts --").arguments(arguments.iter().copied()).run()
}
