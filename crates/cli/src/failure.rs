//! What a person is told when a command fails: one line what went wrong, one line what to do next.

use std::fmt;
use std::process::ExitCode;

use crate::output::clean;

/// Why a command could not do what was asked.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    what: String,
    next: Option<String>,
    usage: bool,
}

impl Failure {
    /// Says what went wrong, in a sentence without a full stop.
    pub(crate) fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), next: None, usage: false }
    }

    /// A mistake in how the command was called: the exit code is 2.
    pub(crate) fn usage(what: impl Into<String>) -> Self {
        Self { usage: true, ..Self::new(what) }
    }

    /// Adds what to do next.
    pub(crate) fn next(mut self, next: impl Into<String>) -> Self {
        self.next = Some(next.into());
        self
    }

    /// Says what it is about, before what went wrong.
    pub(crate) fn about(mut self, subject: &str) -> Self {
        self.what = format!("{subject}: {}", self.what);
        self
    }

    /// 2 for wrong usage, 1 for everything else.
    pub(crate) fn exit_code(&self) -> ExitCode {
        ExitCode::from(if self.usage { 2 } else { 1 })
    }
}

/// Further lines of a message are indented below the first. Whatever a server sent is made harmless.
impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_indented(f, "error: ", &self.what)?;
        match &self.next {
            Some(next) => {
                f.write_str("\n")?;
                write_indented(f, " next: ", next)
            }
            None => Ok(()),
        }
    }
}

fn write_indented(f: &mut fmt::Formatter<'_>, label: &str, text: &str) -> fmt::Result {
    for (position, line) in text.lines().enumerate() {
        match position {
            0 => write!(f, "{label}{}", clean(line))?,
            _ => write!(f, "\n       {}", clean(line))?,
        }
    }
    Ok(())
}

/// Gives an I/O error the name of the thing it happened to.
pub(crate) trait Context<T> {
    /// `what` is an action: "read /etc/claviger.toml".
    fn or_fail(self, what: impl FnOnce() -> String) -> Result<T, Failure>;
}

impl<T, E: fmt::Display> Context<T> for Result<T, E> {
    fn or_fail(self, what: impl FnOnce() -> String) -> Result<T, Failure> {
        self.map_err(|error| Failure::new(format!("cannot {}: {error}", what())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_says_what_and_what_next() {
        let failure = Failure::new("two things:\none\ntwo").next("do this");
        assert_eq!(failure.to_string(), "error: two things:\n       one\n       two\n next: do this");
        assert_eq!(Failure::new("no").to_string(), "error: no");
    }

    #[test]
    fn a_server_cannot_write_to_the_terminal_through_an_error() {
        let failure = Failure::new("bad name \u{1b}[2Jx\u{202e}");
        assert_eq!(failure.to_string(), "error: bad name \\u{1b}[2Jx\\u{202e}");
    }
}
