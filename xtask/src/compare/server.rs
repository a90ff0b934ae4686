//! A server process: on one core, in a process group of its own, gone when this is dropped or when we are.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use super::SERVER_CORE;
use crate::shell::CommandLine;

/// How often a server is asked whether it listens, and for how long it is waited for.
const ASK_EVERY: Duration = Duration::from_millis(50);
const ASKED_MAX: u32 = 600;

/// A running server.
pub(super) struct Server {
    child: Child,
    output: PathBuf,
}

impl Server {
    /// Starts a program in a folder, where its output goes to `output.txt`, and waits until it listens.
    ///
    /// The kernel ends it when we are gone, however that happens.
    pub(super) fn start(folder: &Path, port: u16, program: &str, arguments: &[&str]) -> Result<Self> {
        let output = folder.join("output.txt");
        let file = File::create(&output)?;
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "TERM", "taskset", "-c", SERVER_CORE, program])
            .args(arguments)
            .current_dir(folder)
            .stdin(Stdio::null())
            .stderr(file.try_clone()?)
            .stdout(file)
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot start {program}"))?;
        let mut server = Self { child, output };
        server.wait_until_it_listens(port)?;
        Ok(server)
    }

    fn wait_until_it_listens(&mut self, port: u16) -> Result<()> {
        for _ in 0..ASKED_MAX {
            if TcpStream::connect(("127.0.0.1", port)).is_ok() {
                return Ok(());
            }
            if let Some(status) = self.child.try_wait()? {
                bail!("it ended with {status}: {}", self.output()?.trim());
            }
            std::thread::sleep(ASK_EVERY);
        }
        bail!("it does not listen: {}", self.output()?.trim())
    }

    /// What it has written so far.
    pub(super) fn output(&self) -> Result<String> {
        Ok(fs::read_to_string(&self.output)?)
    }

    /// Microseconds that its processes have spent in user and system mode.
    pub(super) fn cpu_us(&self) -> Result<f64> {
        let group = self.child.id().to_string();
        let ticks: Vec<u64> = fs::read_dir("/proc")?
            .filter_map(|entry| fs::read_to_string(entry.ok()?.path().join("stat")).ok())
            .filter_map(|stat| ticks_of(&stat, &group))
            .collect();
        ensure!(!ticks.is_empty(), "the server is gone");
        // A tick of /proc is a hundredth of a second on every Linux.
        Ok(ticks.iter().sum::<u64>() as f64 * 10_000.0)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // First the main process alone, which ends the others in good order; then whoever is left of the group.
        let group = format!("-{}", self.child.id());
        CommandLine::new("kill", "-TERM").argument(&group[1..]).succeeds();
        for _ in 0..ASKED_MAX / 6 {
            if !matches!(self.child.try_wait(), Ok(None)) {
                break;
            }
            std::thread::sleep(ASK_EVERY);
        }
        CommandLine::new("kill", "-KILL --").argument(group).succeeds();
        let _ = self.child.wait();
    }
}

/// Clock ticks in a line of `/proc/PID/stat` (proc(5)), if the process is of the group.
fn ticks_of(stat: &str, group: &str) -> Option<u64> {
    // The name may hold anything but ends with the last parenthesis. Then: state, parent, group, …
    let mut fields = stat.rsplit_once(") ")?.1.split(' ').skip(2);
    if fields.next()? != group {
        return None;
    }
    // utime and stime are fields 14 and 15.
    let mut times = fields.skip(8).map(str::parse::<u64>);
    Some(times.next()?.ok()? + times.next()?.ok()?)
}

/// A port that nobody listens on just now.
pub(super) fn free_port() -> Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

/// Sends one request and returns the answer as far as it comes in one piece.
pub(super) fn exchange(port: u16, request: &str) -> Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).context("no answer")?;
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_a_group_is_added_up() {
        let stat = "77 (a) b (c) S 1 42 42 0 -1 4194560 100 200 0 0 30 12 5 5 20 0 1 0 1000 0 0";
        assert_eq!(ticks_of(stat, "42"), Some(42));
        assert_eq!(ticks_of(stat, "77"), None);
        assert_eq!(ticks_of("", "42"), None);
    }
}
