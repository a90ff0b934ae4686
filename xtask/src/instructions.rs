//! `cargo xtask instructions`: the hot paths take no more instructions than the committed file says.
//!
//! Instructions are counted by callgrind, so a busy machine does not disturb them. They do depend on the compiler, so the
//! file names it, and under another one the check says so and counts for nothing.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context, Result, bail, ensure};

use crate::needs;
use crate::shell::{CommandLine, root};

/// What is committed.
const FILE: &str = "bench/instructions.txt";
/// More than this over the committed number fails.
const TOLERANCE_PERCENT: f64 = 3.0;
/// How many inputs a case of the bench program goes through.
const INPUTS: u64 = 64;
const FOLDER: &str = "target/instructions";
const HEAD: &str = "\
# Instructions of one call on the hot paths, as `cargo xtask instructions` counts them under callgrind (where SHA-256 has
# no instructions of its own, and takes about 1,700 a block). More than 3 % over these fails.
# `cargo xtask instructions --bless` writes this file anew. The numbers are for this compiler:
";

/// The committed file, or one that could be.
#[derive(Debug, PartialEq)]
struct Counts {
    compiler: String,
    /// Instructions a call, by case.
    cases: BTreeMap<String, u64>,
}

/// Fails when a case takes more instructions than it may.
pub(crate) fn check() -> Result<()> {
    let file = root().join(FILE);
    let text = fs::read_to_string(&file)
        .with_context(|| format!("cannot read {FILE}; `cargo xtask instructions --bless` writes it"))?;
    let expected = Counts::parse(&text).with_context(|| format!("{FILE} cannot be read"))?;
    let compiler = compiler()?;
    if compiler != expected.compiler {
        println!(
            "NOT CHECKED: {FILE} holds the numbers of {}, and this is {compiler}.\n\
             With that compiler again, or after `cargo xtask instructions --bless` with this one, they are.",
            expected.compiler
        );
        return Ok(());
    }
    let (report, failures) = compare(&expected.cases, &count()?);
    println!("{report}");
    ensure!(
        failures.is_empty(),
        "{}; if that is the price of something good, `cargo xtask instructions --bless`",
        failures.join("; ")
    );
    Ok(())
}

/// Writes the file from what is counted now.
pub(crate) fn bless() -> Result<()> {
    let counts = Counts { compiler: compiler()?, cases: count()? };
    fs::write(root().join(FILE), counts.text())?;
    println!("{}wrote {FILE}", counts.text());
    Ok(())
}

/// Every case side by side, and what is wrong.
fn compare(expected: &BTreeMap<String, u64>, counted: &BTreeMap<String, u64>) -> (String, Vec<String>) {
    let mut report = format!("{:<32} {:>9} {:>9} {:>8}", "", "expected", "counted", "change");
    let mut failures = Vec::new();
    for (case, now) in counted {
        let Some(before) = expected.get(case) else {
            failures.push(format!("{case} is not in {FILE}"));
            continue;
        };
        let percent = (*now as f64 / *before as f64 - 1.0) * 100.0;
        report.push_str(&format!("\n{case:<32} {before:>9} {now:>9} {percent:>+7.1}%"));
        if *now as f64 > *before as f64 * (1.0 + TOLERANCE_PERCENT / 100.0) {
            failures.push(format!("{case} takes {percent:.1} % more instructions"));
        } else if percent < -TOLERANCE_PERCENT {
            report.push_str("  better: bless it, or it may be lost again unnoticed");
        }
    }
    failures.extend(
        expected.keys().filter(|case| !counted.contains_key(*case)).map(|case| format!("{case} was not counted")),
    );
    (report, failures)
}

/// Builds the bench program and counts the instructions of each of its cases.
fn count() -> Result<BTreeMap<String, u64>> {
    needs::install_missing(needs::FOR_INSTRUCTIONS)?;
    CommandLine::new("cargo", "build --release -p claviger-bench").run()?;
    let folder = root().join(FOLDER);
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    fs::create_dir_all(&folder)?;
    // A file is written, and counting begins anew, where a case or its end is entered.
    CommandLine::new("valgrind", "--tool=callgrind --quiet --dump-before=*case_*")
        .argument(format!("--callgrind-out-file={FOLDER}/counts"))
        .arguments(["target/release/claviger-bench", "--instructions"])
        .run()?;
    let mut files = Vec::new();
    for entry in fs::read_dir(&folder)? {
        let path = entry?.path();
        // counts.1, counts.2, … and at last counts, which is what came after the cases.
        let number = path.extension().and_then(|number| number.to_str()?.parse::<u32>().ok());
        files.extend(number.map(|number| (number, path)));
    }
    files.sort();
    let dumps = files.iter().map(|(_, path)| fs::read_to_string(path)).collect::<Result<Vec<_>, _>>()?;
    let cases = read_cases(&dumps);
    ensure!(!cases.is_empty(), "callgrind counted nothing");
    Ok(cases)
}

/// The instructions a call of each case, from callgrind's files in order. The second pass of a case takes the place of the
/// first.
fn read_cases(dumps: &[String]) -> BTreeMap<String, u64> {
    let mut cases = BTreeMap::new();
    let mut begun = None;
    for (entered, total) in dumps.iter().filter_map(|dump| read_dump(dump)) {
        match begun.take() {
            Some(case) if entered == "end" => drop(cases.insert(case, total / INPUTS)),
            _ => begun = Some(entered),
        }
    }
    cases
}

/// The case, or end, at whose entry one of callgrind's files was written, and the instructions before it.
fn read_dump(dump: &str) -> Option<(String, u64)> {
    let (_, trigger) = dump.lines().find_map(|line| line.strip_prefix("desc: Trigger: "))?.split_once("case_")?;
    let name = trigger.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
    let total = dump.lines().find_map(|line| line.strip_prefix("summary: ").or(line.strip_prefix("totals: ")))?;
    Some((name, total.trim().parse().ok()?))
}

fn compiler() -> Result<String> {
    Ok(CommandLine::new("rustc", "--version").read()?.trim().to_owned())
}

impl Counts {
    fn parse(text: &str) -> Result<Self> {
        let mut compiler = None;
        let mut cases = BTreeMap::new();
        for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let Some((name, value)) = line.split_once(" = ") else { bail!("{line:?} is not NAME = VALUE") };
            if name == "compiler" {
                compiler = Some(value.to_owned());
            } else {
                cases.insert(name.to_owned(), value.parse().with_context(|| format!("{line:?}"))?);
            }
        }
        Ok(Self { compiler: compiler.context("it names no compiler")?, cases })
    }

    fn text(&self) -> String {
        let cases: Vec<String> = self.cases.iter().map(|(case, count)| format!("{case} = {count}\n")).collect();
        format!("{HEAD}compiler = {}\n\n{}", self.compiler, cases.concat())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cases(list: &[(&str, u64)]) -> BTreeMap<String, u64> {
        list.iter().map(|(case, count)| ((*case).to_owned(), *count)).collect()
    }

    #[test]
    fn the_file_reads_as_it_was_written() {
        let counts = Counts { compiler: "rustc 1.95.0 (abc)".to_owned(), cases: cases(&[("path", 7), ("verify", 9)]) };
        assert_eq!(Counts::parse(&counts.text()).expect("what we wrote"), counts);
        assert!(Counts::parse("path = 7\n").is_err(), "no compiler");
        assert!(Counts::parse("compiler = x\npath = many\n").is_err());
    }

    #[test]
    fn more_than_the_tolerance_fails_and_so_does_what_is_missing() {
        let expected = cases(&[("path", 1000)]);
        let failures = |counted: &[(&str, u64)]| compare(&expected, &cases(counted)).1;
        assert!(failures(&[("path", 1030)]).is_empty());
        assert_eq!(failures(&[("path", 1031)]), ["path takes 3.1 % more instructions"]);
        assert!(failures(&[("path", 900)]).is_empty());
        assert_eq!(failures(&[]), ["path was not counted"]);
        assert_eq!(failures(&[("path", 1000), ("new", 1)]), ["new is not in bench/instructions.txt"]);
    }

    #[test]
    fn a_case_is_what_comes_before_its_end() {
        let dump = |entered: &str, total: u64| {
            format!("# callgrind format\ndesc: Trigger: --dump-before=bench::case_{entered}\nsummary: {total}\n")
        };
        let passes = [
            ("path", 9999),
            ("end", 12800),
            ("key", 50),
            ("end", 64),
            ("path", 70),
            ("end", 6400),
            ("key", 1),
            ("end", 128),
        ];
        let mut dumps: Vec<String> = passes.iter().map(|(entered, total)| dump(entered, *total)).collect();
        dumps.push("desc: Trigger: Program termination\nsummary: 6400\n".to_owned());
        assert_eq!(read_cases(&dumps), cases(&[("key", 2), ("path", 100)]));
    }
}
