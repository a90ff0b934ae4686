//! `cargo xtask bench-import`: keys by the million, through the real command line, socket and server.

use std::fs::File;
use std::io::{BufRead as _, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};

use crate::shell::{CommandLine, root};

/// Below the limit of an organization in one api, with room to spare.
const KEYS_PER_ORGANIZATION: u64 = 9000;

struct Options {
    lines: u64,
    database_url: Option<String>,
}

/// Imports into a new server, then imports the same again, and prints how fast both were.
pub(crate) fn run(arguments: &[&str]) -> Result<()> {
    let options = options(arguments)?;
    CommandLine::new("cargo", "build --release -p claviger").run()?;
    let folder = Folder::new()?;
    let mut server = Server::start(&folder.0, options.database_url.as_deref())?;
    server.claviger(&["apply", "apis/tork.toml"])?;
    let organizations = (0..options.lines.div_ceil(KEYS_PER_ORGANIZATION))
        .map(|number| {
            let id = server.claviger(&["orgs", "create", &format!("Bench {number}"), "--quiet"])?.trim().to_owned();
            server.claviger(&["subscriptions", "set", "--org", &id, "--api", "tork", "--plan", "enterprise"])?;
            Ok(id)
        })
        .collect::<Result<Vec<String>>>()?;
    let file = folder.0.join("keys.ndjson");
    write_lines(BufWriter::new(File::create(&file)?), options.lines, &organizations)?;
    for what in ["imported", "existing"] {
        #[allow(clippy::disallowed_methods, reason = "a bench times")]
        let begun = Instant::now();
        let summary = server.claviger(&["keys", "import", &file.to_string_lossy()])?;
        let seconds = begun.elapsed().as_secs_f64();
        let expected = format!("{what}  {}", options.lines);
        ensure!(summary.lines().any(|line| line == expected), "expected {expected:?}, found\n{summary}");
        println!("{what:9} {} lines in {seconds:.1} s: {:.0} lines/s", options.lines, options.lines as f64 / seconds);
    }
    Ok(())
}

fn options(arguments: &[&str]) -> Result<Options> {
    let mut options = Options { lines: 1_000_000, database_url: None };
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().with_context(|| format!("{argument} needs a value"));
        match *argument {
            "--lines" => options.lines = value()?.parse().context("--lines needs a number")?,
            "--database-url" => options.database_url = Some((*value()?).to_owned()),
            other => bail!("there is no argument {other}"),
        }
    }
    Ok(options)
}

/// Lines as a migration would have them: all of one organization together, nothing in them the same but their shape.
fn write_lines(mut out: impl Write, lines: u64, organizations: &[String]) -> Result<()> {
    let mut state = 0x9e37_79b9_7f4a_7c15;
    for number in 0..lines {
        let organization = &organizations[(number / KEYS_PER_ORGANIZATION) as usize];
        let [a, b, c, d] = std::array::from_fn(|_| random(&mut state));
        writeln!(
            out,
            "{{\"digest\":\"{a:016x}{b:016x}{c:016x}{d:016x}\",\"organization\":\"{organization}\",\"api\":\"tork\",\
             \"name\":\"Production server {number}\",\"prefix\":\"tork_live_\",\"hint\":\"{:04x}\",\"scopes\":[\"*\"],\
             \"metadata\":{{\"old_id\":{number}}},\"created_at\":\"2024-05-17T08:30:00Z\"}}",
            d & 0xffff
        )?;
    }
    Ok(out.flush()?)
}

/// SplitMix64: different enough from line to line, the same in every run.
fn random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// A temporary folder, gone when dropped.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Result<Self> {
        let path = std::env::temp_dir().join(format!("claviger-bench-import-{}", std::process::id()));
        std::fs::create_dir(&path).with_context(|| format!("cannot make {}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // There is nobody to tell.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A server of the release build, ended when dropped.
struct Server {
    process: Child,
    data: PathBuf,
}

fn binary() -> PathBuf {
    root().join("target/release/claviger")
}

impl Server {
    fn start(folder: &Path, database_url: Option<&str>) -> Result<Self> {
        let data = folder.join("data");
        let mut command = Command::new(binary());
        command.args(["serve", "--json", "--listen", "127.0.0.1:0", "--internal-listen", "127.0.0.1:0", "--data"]);
        command.arg(&data).stdin(Stdio::null()).stdout(Stdio::piped());
        if let Some(url) = database_url {
            command.env("CLAVIGER_DATABASE_URL", url);
        }
        let mut process = command.spawn().context("cannot start the server")?;
        let mut ready = String::new();
        let stdout = process.stdout.take().context("standard output is piped")?;
        let server = Self { process, data };
        BufReader::new(stdout).read_line(&mut ready)?;
        ensure!(ready.starts_with('{'), "the server did not become ready");
        Ok(server)
    }

    /// Runs a client command and returns what it printed.
    fn claviger(&mut self, arguments: &[&str]) -> Result<String> {
        let mut command = Command::new(binary());
        command.args(arguments).current_dir(root()).env("CLAVIGER_DATA", &self.data);
        let output = command.stderr(Stdio::inherit()).output().context("cannot start claviger")?;
        ensure!(output.status.success(), "claviger {} failed", arguments.join(" "));
        String::from_utf8(output.stdout).context("claviger printed something that is not UTF-8")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Nothing that it holds is kept.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
