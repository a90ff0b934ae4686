//! `cargo xtask fuzz`: throws hostile input at the parsers, on the stable toolchain.
//!
//! The targets are in `fuzz/`, a workspace of its own. What a run finds is kept in `target/fuzz/corpus`, and `--keep`
//! takes what is new there into the committed corpora.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::needs;
use crate::shell::{CommandLine, root};
use crate::steps::Steps;

/// A fuzz target.
struct Target {
    name: &'static str,
    /// The longest input that it is given.
    input_bytes_max: u32,
    /// A folder of the repository whose files are inputs, too.
    seeds: Option<&'static str>,
}

const TARGETS: [Target; 6] = [
    Target { name: "credential", input_bytes_max: 1200, seeds: None },
    Target { name: "path", input_bytes_max: 4200, seeds: None },
    Target { name: "address", input_bytes_max: 2048, seeds: None },
    Target { name: "referrer", input_bytes_max: 1024, seeds: None },
    Target { name: "definition", input_bytes_max: 4096, seeds: Some("apis") },
    Target { name: "question", input_bytes_max: 2048, seeds: None },
];

/// An input that takes longer has found something, too.
const INPUT_TIMEOUT: Duration = Duration::from_secs(10);
const MEMORY_MIB_MAX: u32 = 2048;
/// Each committed corpus is part of every clone: it stays small.
const KEPT_FILES_MAX: usize = 199;
const KEPT_BYTES_MAX: u64 = 50_000;

/// What to do.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Options<'a> {
    /// How long each target runs.
    seconds: u32,
    /// The only target, instead of all.
    target: Option<&'a str>,
    /// Whether to take what was found into the committed corpora.
    keep: bool,
    /// Whether to write `fuzz/Cargo.lock` anew and do nothing else.
    lock: bool,
}

impl<'a> Options<'a> {
    /// Reads the arguments of the chore; `None` if one is not known.
    pub(crate) fn read(arguments: &[&'a str]) -> Option<Self> {
        let mut options = Options { seconds: 60, target: None, keep: false, lock: false };
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            match *argument {
                "--seconds" => options.seconds = arguments.next()?.parse().ok().filter(|seconds| *seconds > 0)?,
                "--target" => options.target = Some(arguments.next().filter(|name| find_target(name).is_some())?),
                "--keep" => options.keep = true,
                "--lock" => options.lock = true,
                _ => return None,
            }
        }
        Some(options)
    }
}

fn find_target(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}

/// Builds the targets and runs them, two at a time where there are two cores.
pub(crate) fn run(options: &Options<'_>) -> Result<()> {
    if options.lock {
        return write_lock();
    }
    needs::install_missing(needs::FOR_FUZZ)?;
    let targets: Vec<&Target> =
        TARGETS.iter().filter(|target| options.target.is_none_or(|only| only == target.name)).collect();

    let mut steps = Steps::default();
    steps.run("locked versions", "cargo xtask fuzz", check_lock);
    let format = CommandLine::new("cargo", "fmt --manifest-path fuzz/Cargo.toml -- --check");
    steps.run("format", &format, || format.run());
    let machine = Machine::ask()?;
    let build = machine.build();
    let mut is_built = false;
    steps.run("build", &build, || {
        build.run()?;
        is_built = true;
        Ok(())
    });
    if is_built {
        let seconds = options.seconds;
        let repeat = format!("cargo xtask fuzz --seconds {seconds}");
        steps.run("fuzz", repeat, || fuzz_all(&machine, &targets, seconds));
        if options.keep {
            steps.run("keep", "cargo xtask fuzz --keep", || {
                targets.iter().try_for_each(|target| keep(&machine, target))
            });
        }
        steps.run("corpus size", "cargo xtask fuzz", check_corpora);
    }
    steps.finish()
}

/// What the fuzzer needs to know of this machine.
struct Machine {
    /// Such as `x86_64-unknown-linux-gnu`.
    triple: String,
    has_address_sanitizer: bool,
}

impl Machine {
    fn ask() -> Result<Self> {
        let version = CommandLine::new("rustc", "-vV").read()?;
        let triple = version.lines().find_map(|line| line.strip_prefix("host: ")).context("rustc names no host")?;
        let libraries = CommandLine::new("rustc", "--print target-libdir").read()?;
        let libraries = fs::read_dir(libraries.trim()).context("cannot read the toolchain's libraries")?;
        let is_sanitizer = |name: &str| name.contains("_rt.asan.");
        let has_address_sanitizer = libraries.flatten().any(|file| file.file_name().to_str().is_some_and(is_sanitizer));
        if !has_address_sanitizer {
            println!("this toolchain comes without AddressSanitizer: building without it");
        }
        Ok(Self { triple: triple.to_owned(), has_address_sanitizer })
    }

    /// The fuzzer's instrumentation is unstable; the one toolchain that we support is told to allow it all the same.
    fn build(&self) -> CommandLine {
        let sanitizer = if self.has_address_sanitizer { "address" } else { "none" };
        CommandLine::new(&needs::cargo_fuzz(), "build --fuzz-dir fuzz --target-dir target/fuzz --codegen-units 16")
            .arguments(["--sanitizer", sanitizer, "--target", &self.triple])
            .env("RUSTC_BOOTSTRAP", "1")
    }

    fn program(&self, target: &Target, arguments: &str) -> CommandLine {
        CommandLine::new(&format!("target/fuzz/{}/release/{}", self.triple, target.name), arguments)
    }
}

/// Runs all of them, and fails if one found something.
fn fuzz_all(machine: &Machine, targets: &[&Target], seconds: u32) -> Result<()> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from).min(2);
    let mut failures = Vec::new();
    for together in targets.chunks(cores) {
        let outcomes: Vec<Result<String>> = std::thread::scope(|scope| {
            let runs: Vec<_> = together.iter().map(|target| scope.spawn(|| fuzz(machine, target, seconds))).collect();
            runs.into_iter().map(|run| run.join().expect("a run does not panic")).collect()
        });
        for (target, outcome) in together.iter().zip(outcomes) {
            match outcome {
                Ok(summary) => println!("{:<11} {summary}", target.name),
                Err(error) => {
                    println!("{:<11} FAILED", target.name);
                    failures.push(format!("{}: {error:#}", target.name));
                }
            }
        }
    }
    ensure!(failures.is_empty(), "{}", failures.join("\n"));
    Ok(())
}

/// Runs one target and returns the fuzzer's last word: coverage, corpus, executions.
fn fuzz(machine: &Machine, target: &Target, seconds: u32) -> Result<String> {
    let name = target.name;
    let (found, artifacts) = (format!("target/fuzz/corpus/{name}"), format!("target/fuzz/artifacts/{name}/"));
    for folder in [&found, &artifacts] {
        fs::create_dir_all(root().join(folder)).with_context(|| format!("cannot make {folder}"))?;
    }
    let log = root().join(format!("target/fuzz/{name}.log"));
    // Inputs that are new go to the first folder; all are read.
    let outcome = machine
        .program(target, &format!("-max_total_time={seconds} -timeout={}", INPUT_TIMEOUT.as_secs()))
        .arguments([&*format!("-max_len={}", target.input_bytes_max), &*format!("-rss_limit_mb={MEMORY_MIB_MAX}")])
        .arguments([&*format!("-artifact_prefix={artifacts}"), &*format!("-dict=fuzz/dictionaries/{name}.dict")])
        .arguments([&*found, &*format!("fuzz/corpus/{name}")])
        .arguments(target.seeds)
        .run_into(&log);
    let written = fs::read(&log).with_context(|| format!("cannot read {}", log.display()))?;
    let written = String::from_utf8_lossy(&written);
    if let Err(error) = outcome {
        let tail: Vec<&str> = written.lines().rev().take(60).collect();
        println!("── the end of {}", log.display());
        tail.iter().rev().for_each(|line| println!("{line}"));
        let Some(input) = crashing_input(&written) else { return Err(error) };
        bail!("the input is {input}; repeat it with: {}", machine.program(target, "").argument(input));
    }
    last_word(&written).map(str::to_owned).context("the fuzzer did not say that it is done")
}

/// The file that the fuzzer names when it has found something.
fn crashing_input(log: &str) -> Option<&str> {
    log.lines().find_map(|line| Some(line.split_once("Test unit written to ")?.1))
}

/// `cov: 412 ft: 1033 corp: 250/8Kb lim: 1024 exec/s: 60000 rss: 500Mb` of the line that closes a run.
fn last_word(log: &str) -> Option<&str> {
    let line = log.lines().rev().find(|line| line.starts_with('#') && line.contains("DONE"))?;
    Some(line.split_once("DONE")?.1.trim())
}

/// Writes the committed corpus anew: of a smallest set of inputs that reaches all code that is reached, the shortest
/// ones, as many as a corpus may have.
fn keep(machine: &Machine, target: &Target) -> Result<()> {
    let name = target.name;
    let (committed, merged) = (format!("fuzz/corpus/{name}"), format!("target/fuzz/merged/{name}"));
    let (committed_path, merged_path) = (root().join(&committed), root().join(&merged));
    if merged_path.exists() {
        fs::remove_dir_all(&merged_path)?;
    }
    fs::create_dir_all(&merged_path)?;
    fs::create_dir_all(&committed_path)?;
    machine
        .program(target, "-set_cover_merge=1 -use_counters=0 -verbosity=0")
        .argument(format!("-max_len={}", target.input_bytes_max))
        .arguments([&*merged, &*committed, &*format!("target/fuzz/corpus/{name}")])
        .run_into(&root().join(format!("target/fuzz/{name}.merge.log")))?;
    let mut inputs: Vec<_> = fs::read_dir(&merged_path)?
        .map(|input| input.and_then(|input| Ok((input.metadata()?.len(), input.file_name()))))
        .collect::<std::io::Result<_>>()?;
    inputs.sort();
    fs::remove_dir_all(&committed_path)?;
    fs::create_dir_all(&committed_path)?;
    let mut bytes = 0;
    for (length, file) in inputs.into_iter().take(KEPT_FILES_MAX) {
        bytes += length;
        if bytes > KEPT_BYTES_MAX {
            break;
        }
        fs::copy(merged_path.join(&file), committed_path.join(&file))?;
    }
    Ok(())
}

/// Fails when a committed corpus is missing, or is larger than it may be.
fn check_corpora() -> Result<()> {
    for target in &TARGETS {
        let folder = root().join("fuzz/corpus").join(target.name);
        let (files, bytes) = size_of(&folder).with_context(|| format!("cannot read {}", folder.display()))?;
        println!("{:<11} {files} inputs, {bytes} bytes", target.name);
        ensure!((1..=KEPT_FILES_MAX).contains(&files), "{} has {files} inputs", target.name);
        ensure!(bytes <= KEPT_BYTES_MAX, "{} has {bytes} bytes; {KEPT_BYTES_MAX} are the most", target.name);
    }
    Ok(())
}

fn size_of(folder: &Path) -> Result<(usize, u64)> {
    let (mut files, mut bytes) = (0, 0);
    for file in fs::read_dir(folder)? {
        files += 1;
        bytes += file?.metadata()?.len();
    }
    Ok((files, bytes))
}

/// The parsers are fuzzed with the libraries that they ship with: where both lock files name a package, they agree.
fn check_lock() -> Result<()> {
    let advice = "`cargo xtask fuzz --lock` writes fuzz/Cargo.lock anew";
    CommandLine::new("cargo", "metadata --locked --format-version 1 --manifest-path fuzz/Cargo.toml")
        .succeeds()
        .then_some(())
        .context(advice)?;
    let read = |file: &str| fs::read_to_string(root().join(file)).with_context(|| format!("cannot read {file}"));
    let (own, fuzz) = (read("Cargo.lock")?, read("fuzz/Cargo.lock")?);
    let strangers = strangers(&own, &fuzz);
    ensure!(strangers.is_empty(), "other versions than in Cargo.lock: {}; {advice}", strangers.join(", "));
    Ok(())
}

fn write_lock() -> Result<()> {
    fs::copy(root().join("Cargo.lock"), root().join("fuzz/Cargo.lock")).context("cannot copy Cargo.lock")?;
    // Takes out what is not needed, adds what is missing, and leaves the rest as it is.
    CommandLine::new("cargo", "metadata --format-version 1 --manifest-path fuzz/Cargo.toml").read()?;
    println!("wrote fuzz/Cargo.lock");
    check_lock()
}

/// Packages of `fuzz` that `own` knows, but not in this version.
fn strangers(own: &str, fuzz: &str) -> Vec<String> {
    let own = packages(own);
    let is_stranger = |(name, version): &(&str, &str)| {
        let mut known = own.iter().filter(|(known, _)| known == name).peekable();
        known.peek().is_some() && !known.any(|(_, known)| known == version)
    };
    packages(fuzz).into_iter().filter(is_stranger).map(|(name, version)| format!("{name} {version}")).collect()
}

/// Name and version of each package of a lock file.
fn packages(lock: &str) -> Vec<(&str, &str)> {
    fn value<'l>(line: &'l str, name: &str) -> Option<&'l str> {
        line.strip_prefix(name)?.strip_prefix(" = \"")?.strip_suffix('"')
    }
    let lines: Vec<&str> = lock.lines().collect();
    lines.windows(2).filter_map(|two| Some((value(two[0], "name")?, value(two[1], "version")?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_read() {
        let usual = Options { seconds: 60, target: None, keep: false, lock: false };
        assert_eq!(Options::read(&[]), Some(usual));
        let all = Options { seconds: 5, target: Some("path"), keep: true, lock: false };
        assert_eq!(Options::read(&["--keep", "--target", "path", "--seconds", "5"]), Some(all));
        for wrong in [&["--seconds"][..], &["--seconds", "0"], &["--target", "none"], &["--long"]] {
            assert_eq!(Options::read(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn a_finding_and_the_last_word_are_read_from_the_log() {
        let log = "#2\tINITED cov: 4\n==7== ERROR: libFuzzer\nartifact_prefix='a/'; Test unit written to a/crash-1\n";
        assert_eq!(crashing_input(log), Some("a/crash-1"));
        assert_eq!(last_word(log), None);
        let log = "#9\tDONE   cov: 41 ft: 95 exec/s: 7\nDone 9 runs in 1 second(s)\n";
        assert_eq!((crashing_input(log), last_word(log)), (None, Some("cov: 41 ft: 95 exec/s: 7")));
    }

    #[test]
    fn a_version_that_the_product_does_not_have_is_named() {
        let lock = |version| {
            format!(
                "[[package]]\nname = \"toml\"\nversion = \"{version}\"\n\n[[package]]\nname = \"b\"\nversion = \"1.0.0\"\n"
            )
        };
        let more = "[[package]]\nname = \"arbitrary\"\nversion = \"1.5.0\"\n";
        assert_eq!(strangers(&lock("1.2.1"), &(lock("1.2.1") + more)), Vec::<String>::new());
        assert_eq!(strangers(&lock("1.2.1"), &lock("1.2.2")), ["toml 1.2.2"]);
    }

    #[test]
    fn every_target_has_its_files() {
        for target in &TARGETS {
            for file in [format!("fuzz_targets/{}.rs", target.name), format!("dictionaries/{}.dict", target.name)] {
                assert!(root().join("fuzz").join(&file).is_file(), "{file}");
            }
        }
        check_corpora().expect("the committed corpora are small");
    }
}
