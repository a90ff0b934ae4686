//! Command lines: built once, run here, and shown in the form that can be pasted into a shell.

use std::ffi::OsString;
use std::fmt;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

use anyhow::{Context, Result, ensure};

/// The repository's root: every command runs there.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("this crate is a folder of the repository")
}

/// The file of `command` on the search path, or in the folders that Debian keeps from ordinary users' search path.
pub(crate) fn find_program(command: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/sbin", "/sbin"].map(PathBuf::from));
    folders.map(|folder| folder.join(command)).find(|file| file.is_file())
}

/// A program, its arguments and the environment that it gets on top of ours.
#[derive(Clone, Debug)]
pub(crate) struct CommandLine {
    program: String,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
}

impl CommandLine {
    /// `program` with its arguments, separated by spaces as in a shell: no quoting.
    pub(crate) fn new(program: &str, arguments: &str) -> CommandLine {
        let arguments = arguments.split_whitespace().map(str::to_owned).collect();
        CommandLine { program: program.to_owned(), arguments, environment: Vec::new() }
    }

    /// Adds one argument as it is, spaces and all.
    #[must_use]
    pub(crate) fn argument(mut self, argument: impl Into<String>) -> CommandLine {
        self.arguments.push(argument.into());
        self
    }

    /// Adds arguments as they are.
    #[must_use]
    pub(crate) fn arguments<'a>(mut self, arguments: impl IntoIterator<Item = &'a str>) -> CommandLine {
        self.arguments.extend(arguments.into_iter().map(str::to_owned));
        self
    }

    /// Sets one environment variable.
    #[must_use]
    pub(crate) fn env(mut self, name: &str, value: &str) -> CommandLine {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Runs with our own output and input.
    pub(crate) fn run(&self) -> Result<()> {
        let status = self.command().status().with_context(|| format!("cannot start `{self}`"))?;
        ensure_success(status)
    }

    /// Runs quietly and says whether it succeeded; a program that cannot be started did not.
    pub(crate) fn succeeds(&self) -> bool {
        let status = self.command().stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
        status.is_ok_and(|status| status.success())
    }

    /// Runs and returns what it wrote to standard output.
    pub(crate) fn read(&self) -> Result<String> {
        let output =
            self.command().stderr(Stdio::inherit()).output().with_context(|| format!("cannot start `{self}`"))?;
        ensure_success(output.status).with_context(|| format!("`{self}` failed"))?;
        String::from_utf8(output.stdout).with_context(|| format!("`{self}` wrote something that is not UTF-8"))
    }

    /// Runs, passes standard output on while it comes, and shows every line of it to `watch`.
    pub(crate) fn run_watched(&self, mut watch: impl FnMut(&str)) -> Result<()> {
        let mut child =
            self.command().stdout(Stdio::piped()).spawn().with_context(|| format!("cannot start `{self}`"))?;
        let mut output = BufReader::new(child.stdout.take().expect("standard output is piped, two lines above"));
        let mut line = Vec::new();
        loop {
            line.clear();
            if output.read_until(b'\n', &mut line)? == 0 {
                break;
            }
            let text = String::from_utf8_lossy(&line);
            print!("{text}");
            watch(text.trim_end());
        }
        ensure_success(child.wait()?)
    }

    /// Runs with standard output and error written to a file.
    pub(crate) fn run_into(&self, file: &Path) -> Result<()> {
        let output = File::create(file).with_context(|| format!("cannot write {}", file.display()))?;
        let errors = output.try_clone().with_context(|| format!("cannot write {}", file.display()))?;
        let status = self.command().stdin(Stdio::null()).stdout(output).stderr(errors).status();
        ensure_success(status.with_context(|| format!("cannot start `{self}`"))?)
    }

    fn command(&self) -> Command {
        // A bare name is looked up on the search path, a path starts at the root.
        let program = if self.program.contains('/') { root().join(&self.program) } else { self.program.clone().into() };
        let mut command = Command::new(program);
        command.args(&self.arguments).current_dir(root());
        // `cargo run` tells us about *this* package; build scripts further down would see that as a change and run again.
        for name in inherited_package_variables() {
            command.env_remove(name);
        }
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }
}

impl fmt::Display for CommandLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, value) in &self.environment {
            write!(f, "{name}={} ", quoted(value))?;
        }
        f.write_str(&quoted(&self.program))?;
        for argument in &self.arguments {
            write!(f, " {}", quoted(argument))?;
        }
        Ok(())
    }
}

fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_=+./,:@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

fn inherited_package_variables() -> impl Iterator<Item = OsString> {
    let names = std::env::vars_os().map(|(name, _)| name);
    names.filter(|name| {
        name.to_str().is_some_and(|name| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_"))
    })
}

fn ensure_success(status: ExitStatus) -> Result<()> {
    ensure!(status.success(), "{status}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_line_reads_as_it_would_be_typed() {
        let typed = CommandLine::new("cargo", "test -p xtask").env("RUSTFLAGS", "--cfg loom").argument("it's");
        assert_eq!(typed.to_string(), r"RUSTFLAGS='--cfg loom' cargo test -p xtask 'it'\''s'");
    }

    #[test]
    fn output_is_watched_line_by_line_and_the_exit_status_counts() {
        let mut lines = Vec::new();
        let watched = CommandLine::new("sh", "-c").argument("echo one; echo two; exit 3");
        let failure = watched.run_watched(|line| lines.push(line.to_owned())).expect_err("exit 3 is a failure");
        assert_eq!(lines, ["one", "two"]);
        assert_eq!(failure.to_string(), "exit status: 3");
    }

    #[test]
    fn output_goes_to_a_file() {
        let file = std::env::temp_dir().join(format!("xtask-{}.log", std::process::id()));
        let command = CommandLine::new("sh", "-c").argument("echo one; echo two >&2; exit 3");
        let failure = command.run_into(&file).expect_err("exit 3 is a failure");
        let written = std::fs::read_to_string(&file).expect("the file was written");
        std::fs::remove_file(&file).expect("the file is ours");
        assert_eq!((&*written, &*failure.to_string()), ("one\ntwo\n", "exit status: 3"));
    }

    #[test]
    fn programs_are_found_on_the_search_path_only() {
        assert!(find_program("sh").is_some());
        assert!(find_program("no-such-program-anywhere").is_none());
    }
}
