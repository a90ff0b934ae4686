//! `cargo xtask bench`: the benchmarks, in the mode in which their numbers mean something.

use anyhow::Result;

use crate::shell::CommandLine;

/// Runs the bench program with `arguments` as they were given.
pub(crate) fn run(arguments: &[&str]) -> Result<()> {
    CommandLine::new("cargo", "run --release -p claviger-bench --").arguments(arguments.iter().copied()).run()
}
