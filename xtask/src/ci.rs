//! `cargo xtask ci`: every check that is not a test.

use anyhow::{Context, Result, ensure};

use crate::shell::{CommandLine, root};
use crate::steps::Steps;
use crate::{instructions, needs, openapi};

/// No source file is longer: a reader should be able to hold one file in the head.
const LINES_MAX: usize = 600;

/// Runs the quick checks first and all of them whatever the outcome.
pub(crate) fn run() -> Result<()> {
    needs::install_missing(needs::FOR_CHECKS)?;

    let mut steps = Steps::default();
    let format = CommandLine::new("cargo", "fmt --all -- --check");
    steps.run("format", &format, || format.run());

    let source_files = CommandLine::new("git", "ls-files --cached --others --exclude-standard --")
        .arguments(["*.rs", "*.py", "*.ts", "*.js", "*.html", "*.css"]);
    steps.run("file length", &source_files, || check_length_of(&source_files.read()?));

    let deny = CommandLine::new(&needs::cargo_deny(), "check --hide-inclusion-graph bans licenses sources");
    steps.run("crate diagram and licences", &deny, || deny.run());

    let clippy = CommandLine::new("cargo", "clippy --workspace --all-targets -- -D warnings");
    steps.run("clippy", &clippy, || clippy.run());

    let docs = CommandLine::new("cargo", "doc --workspace --no-deps").env("RUSTDOCFLAGS", "-D warnings");
    steps.run("docs", &docs, || docs.run());

    steps.run("openapi.json", "cargo xtask openapi --check", openapi::check);
    steps.run("instructions", "cargo xtask instructions", instructions::check);
    steps.finish()
}

/// Fails when one of `files`, one path a line, is longer than [`LINES_MAX`].
fn check_length_of(files: &str) -> Result<()> {
    let mut too_long = Vec::new();
    for file in files.lines() {
        let path = root().join(file);
        // A file that was deleted and not yet committed is still listed.
        if !path.exists() {
            continue;
        }
        let bytes = std::fs::read(&path).with_context(|| format!("cannot read {file}"))?;
        let lines = line_count(&bytes);
        if lines > LINES_MAX {
            too_long.push(format!("{file}: {lines} lines"));
        }
    }
    ensure!(too_long.is_empty(), "{LINES_MAX} lines are the most:\n{}", too_long.join("\n"));
    println!("{} files, none over {LINES_MAX} lines", files.lines().count());
    Ok(())
}

fn line_count(bytes: &[u8]) -> usize {
    bytes.split_inclusive(|byte| *byte == b'\n').count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_counted_with_or_without_a_last_newline() {
        let check = |text: &str, lines| assert_eq!(line_count(text.as_bytes()), lines, "{text:?}");
        check("", 0);
        check("one", 1);
        check("one\n", 1);
        check("one\n\nthree", 3);
    }

    #[test]
    fn our_own_files_are_short_and_a_long_one_is_named() {
        check_length_of("xtask/src/ci.rs\nno/such/file.rs\n").expect("this file is short");
        let error = check_length_of("Cargo.lock\n").expect_err("the lock file is long").to_string();
        assert!(error.contains("Cargo.lock: "), "{error}");
    }
}
