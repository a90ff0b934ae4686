//! A chore's steps: run in order, timed, and summed up at the end.

use std::fmt::Display;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// The steps that a chore has run so far.
#[derive(Default)]
pub(crate) struct Steps {
    done: Vec<Step>,
}

struct Step {
    name: &'static str,
    elapsed: Duration,
    failure: Option<Failure>,
}

struct Failure {
    reason: String,
    repeat: String,
}

impl Steps {
    /// Runs one step. A failure is kept for the summary and the chore goes on, so that one run shows all that is wrong.
    /// `repeat` is the command that runs this step alone.
    pub(crate) fn run(&mut self, name: &'static str, repeat: impl Display, work: impl FnOnce() -> Result<()>) {
        println!("\n── {name}: {repeat}");
        let started = now();
        let failure = work().err().map(|error| Failure { reason: format!("{error:#}"), repeat: repeat.to_string() });
        if let Some(failure) = &failure {
            eprintln!("failed: {name}: {}", failure.reason);
        }
        self.done.push(Step { name, elapsed: started.elapsed(), failure });
    }

    /// Prints what each step took and how to repeat those that failed; an error if one did.
    pub(crate) fn finish(&self) -> Result<()> {
        println!("\n{}", self.summary());
        let failed: Vec<&str> = self.done.iter().filter(|step| step.failure.is_some()).map(|step| step.name).collect();
        if !failed.is_empty() {
            bail!("{} of {} steps failed: {}", failed.len(), self.done.len(), failed.join(", "));
        }
        Ok(())
    }

    fn summary(&self) -> String {
        let name_width = self.done.iter().map(|step| step.name.chars().count()).max().unwrap_or(0);
        let mut lines = Vec::new();
        for step in &self.done {
            let outcome = if step.failure.is_none() { "ok    " } else { "FAILED" };
            lines.push(format!("{outcome}  {:name_width$}  {:>8}", step.name, minutes(step.elapsed)));
            if let Some(failure) = &step.failure {
                lines.push(format!("        why:    {}", failure.reason.replace('\n', "\n                ")));
                lines.push(format!("        repeat: {}", failure.repeat));
            }
        }
        let total = self.done.iter().map(|step| step.elapsed).sum();
        lines.push(format!("total   {:name_width$}  {:>8}", "", minutes(total)));
        lines.join("\n")
    }
}

fn minutes(elapsed: Duration) -> String {
    let seconds = elapsed.as_secs();
    if seconds < 60 {
        format!("{:.1} s", elapsed.as_secs_f64())
    } else {
        format!("{} m {:02} s", seconds / 60, seconds % 60)
    }
}

#[expect(clippy::disallowed_methods, reason = "a chore measures how long its own steps take")]
fn now() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_says_what_failed_and_how_to_repeat_it() {
        let failure = Failure { reason: "exit status: 1".to_owned(), repeat: "cargo fmt --check".to_owned() };
        let steps = Steps {
            done: vec![
                Step { name: "format", elapsed: Duration::from_millis(1200), failure: Some(failure) },
                Step { name: "docs", elapsed: Duration::from_secs(61), failure: None },
            ],
        };
        let expected = "\
FAILED  format     1.2 s
        why:    exit status: 1
        repeat: cargo fmt --check
ok      docs    1 m 01 s
total           1 m 02 s";
        assert_eq!(steps.summary(), expected);
        let error = steps.finish().expect_err("a step failed");
        assert_eq!(error.to_string(), "1 of 2 steps failed: format");
    }

    #[test]
    fn a_failed_step_does_not_stop_the_next() {
        let mut steps = Steps::default();
        let mut reached = false;
        steps.run("first", "false", || bail!("no"));
        steps.run("second", "true", || {
            reached = true;
            Ok(())
        });
        assert!(reached);
        assert!(steps.finish().is_err());
    }
}
