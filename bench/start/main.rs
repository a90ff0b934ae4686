//! How long a server takes from its start to its first verdict, with a database full of keys.
//!
//!     cargo xtask bench-start [--keys 1000000] [--database sqlite,postgres] [--runs 3] [--data DIR]
//!
//! The database is filled straight through SQL, then `claviger serve` is started on it and asked about one of its
//! keys over its unix socket. The clock runs from before the process is made until an answer says that the call may
//! pass. The database's pages are in the system's cache, as after a restart of the server alone.

#![allow(clippy::print_stdout, clippy::print_stderr, clippy::unwrap_used, reason = "a program that reports")]

mod ask;
mod fill;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use claviger_store::Database;
use claviger_testkit::Postgres;

struct Options {
    keys: usize,
    databases: Vec<String>,
    runs: usize,
    /// Where the SQLite database is kept for the next time. Without it, nothing is kept.
    data: Option<PathBuf>,
    server: PathBuf,
}

fn main() {
    let Some(options) = Options::read(std::env::args().skip(1)) else {
        eprintln!("usage: [--server FILE] [--keys N] [--database sqlite,postgres] [--runs N] [--data DIR]");
        std::process::exit(2);
    };
    let folder = tempfile::tempdir().unwrap();
    println!("{:<28} {:>10} {:>14} {:>12} {:>10}", "", "keys", "first verdict", "median", "VmRSS");
    for name in &options.databases {
        let data = options.data.clone().unwrap_or_else(|| folder.path().join(name));
        std::fs::create_dir_all(&data).unwrap();
        let database = match name.as_str() {
            "postgres" => Database::Postgres(Postgres::shared().create_database()),
            _ => Database::Sqlite(data.join("claviger.db")),
        };
        let secret = fill::fill(&database, options.keys);
        let mut times: Vec<Duration> = Vec::new();
        for run in 1..=options.runs {
            let (time, resident_kib) = start(&options.server, &data, &database, &secret);
            times.push(time);
            times.sort_unstable();
            println!(
                "{:<28} {:>10} {:>12.2} s {:>10.2} s {:>6} MiB",
                format!("{name}, start {run}"),
                options.keys,
                time.as_secs_f64(),
                times[times.len() / 2].as_secs_f64(),
                resident_kib / 1024
            );
        }
    }
}

impl Options {
    fn read(mut arguments: impl Iterator<Item = String>) -> Option<Self> {
        let mut options = Self {
            keys: 1_000_000,
            databases: vec!["sqlite".to_owned()],
            runs: 3,
            data: None,
            server: "target/release/claviger".into(),
        };
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--keys" => options.keys = arguments.next()?.parse().ok()?,
                "--runs" => options.runs = arguments.next()?.parse().ok()?,
                "--data" => options.data = Some(arguments.next()?.into()),
                "--server" => options.server = arguments.next()?.into(),
                "--database" => options.databases = arguments.next()?.split(',').map(str::to_owned).collect(),
                // What `cargo bench` says to every bench.
                "--bench" => {}
                _ => return None,
            }
        }
        let is_known = |name: &String| name == "sqlite" || name == "postgres";
        (options.keys > 0 && options.runs > 0 && options.databases.iter().all(is_known)).then_some(options)
    }
}

/// Starts a server and stops it after its first yes: how long that took, and the server's memory then.
fn start(program: &Path, data: &Path, database: &Database, secret: &str) -> (Duration, u64) {
    let socket = data.join("claviger.sock");
    // That of a server before, whose connections would be refused.
    std::fs::remove_file(&socket).ok();
    let mut command = Command::new(program);
    command.args(["serve", "--listen", "127.0.0.1:0", "--internal-listen", "127.0.0.1:0", "--data"]).arg(data);
    if let Database::Postgres(url) = database {
        command.args(["--database-url", url]);
    }
    command.stdout(Stdio::null());
    #[expect(clippy::disallowed_methods, reason = "a bench measures time")]
    let begin = Instant::now();
    let mut server = Server(command.spawn().expect("the server starts; `cargo build --release -p claviger` makes it"));
    ask::until_allowed(&socket, secret, || server.0.try_wait().unwrap().is_none());
    let time = begin.elapsed();
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.0.id())).unwrap();
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    // In order, so that PostgreSQL has let go of the lock when the next one starts.
    Command::new("kill").arg(server.0.id().to_string()).status().unwrap();
    server.0.wait().unwrap();
    (time, resident.trim().trim_end_matches(" kB").parse().unwrap())
}

/// Ends with whatever started it, also when that fails.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}
