//! `cargo xtask test`: every test there is, on any machine with Rust.

use anyhow::{Result, ensure};

use crate::needs;
use crate::shell::CommandLine;
use crate::steps::Steps;

/// How long the tests may take.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Length {
    /// What a developer waits for and CI runs.
    Usual,
    /// Sixteen times proptest's usual 256 cases for each property.
    Long,
}

/// Installs what is missing, runs every test and adds up the results.
pub(crate) fn run(length: Length) -> Result<()> {
    needs::install_missing(needs::FOR_TESTS)?;

    let mut steps = Steps::default();
    let mut total = Tally::default();
    for (name, command) in [("tests", workspace(length)), ("loom", loom())] {
        steps.run(name, &command, || {
            let mut tally = Tally::default();
            let result = command.run_watched(|line| tally += Tally::from_line(line).unwrap_or_default());
            total += tally;
            result?;
            ensure!(tally.passed > 0, "not one test was run");
            Ok(())
        });
    }

    let finished = steps.finish();
    // A crash or a compile error leaves tests uncounted: then there is no number to give.
    if finished.is_ok() || total.failed > 0 {
        println!("\n{} passed, {} failed", total.passed, total.failed);
    }
    finished
}

/// Unit, integration and doc tests of every crate. One failure does not hide the next.
fn workspace(length: Length) -> CommandLine {
    let command = CommandLine::new("cargo", "test --workspace --no-fail-fast");
    match length {
        Length::Usual => command,
        Length::Long => command.env("PROPTEST_CASES", "4096"),
    }
}

/// The engine's lock-free parts under every interleaving that loom can make. Its atomics are loom's own there, so it is
/// another build, in a folder of its own that does not disturb the first.
fn loom() -> CommandLine {
    CommandLine::new("cargo", "test -p claviger-engine --release --lib loom")
        .env("RUSTFLAGS", "--cfg loom")
        .env("CARGO_TARGET_DIR", "target/loom")
}

/// Tests that passed and failed, as their runners say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Tally {
    passed: u64,
    failed: u64,
}

impl Tally {
    /// Reads the line that closes each test program: `test result: ok. 3 passed; 0 failed; 0 ignored; …`.
    fn from_line(line: &str) -> Option<Tally> {
        let (_verdict, counts) = line.strip_prefix("test result: ")?.split_once(". ")?;
        let count = |word: &str| {
            counts.split(';').find_map(|part| part.trim().strip_suffix(word)?.trim_end().parse::<u64>().ok())
        };
        Some(Tally { passed: count("passed")?, failed: count("failed")? })
    }
}

impl std::ops::AddAssign for Tally {
    fn add_assign(&mut self, more: Tally) {
        self.passed += more.passed;
        self.failed += more.failed;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closing_lines_are_counted_and_nothing_else() {
        let check = |line, expected: Option<(u64, u64)>| {
            assert_eq!(Tally::from_line(line), expected.map(|(passed, failed)| Tally { passed, failed }), "{line}");
        };
        check(
            "test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 3 filtered out; finished in 0.00s",
            Some((12, 0)),
        );
        check("test result: FAILED. 2 passed; 7 failed; 0 ignored; 0 measured; 0 filtered out", Some((2, 7)));
        check("test result: \u{1b}[32mok\u{1b}[0m. 1 passed; 0 failed; 0 ignored", Some((1, 0)));
        check("test tests::a_test_result: ok. 5 passed; 0 failed", None);
        check("test result: ok", None);
        check("running 3 tests", None);
    }

    #[test]
    fn loom_does_not_share_a_target_folder_with_the_other_tests() {
        let typed = loom().to_string();
        let expected = "RUSTFLAGS='--cfg loom' CARGO_TARGET_DIR=target/loom \
                        cargo test -p claviger-engine --release --lib loom";
        assert_eq!(typed, expected);
    }
}
