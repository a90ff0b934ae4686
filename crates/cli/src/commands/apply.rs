//! `claviger apply FILE…`

use std::io::Read as _;
use std::path::{Path, PathBuf};

use claviger_domain::definition::Definition;
use claviger_domain::key::ApiName;
use serde_json::{Value, json};

use super::Session;
use crate::args::ApplyArgs;
use crate::failure::{Context as _, Failure};
use crate::output;

/// Reads and checks every file before the first one is applied.
pub(super) async fn run(session: &Session, args: &ApplyArgs) -> Result<(), Failure> {
    let definitions = read_all(&args.files)?;
    let mut answers = Vec::with_capacity(definitions.len());
    for (text, definition) in definitions {
        let answer = session.server.apply(definition.name(), text, args.dry_run).await;
        let answer = answer.map_err(|failure| stopped(failure, definition.name(), &answers, session.json))?;
        if !session.json {
            output::print(&differences(&answer, args.dry_run))?;
        }
        answers.push(answer);
    }
    if session.json { output::print_json(&json!({"data": answers})) } else { Ok(()) }
}

/// With JSON, nothing has been printed yet of what went well before.
fn stopped(failure: Failure, name: &ApiName, done: &[Value], json: bool) -> Failure {
    let failure = failure.about(name.as_str());
    if !json || done.is_empty() {
        return failure;
    }
    let names: Vec<_> = done.iter().map(|answer| output::text(answer, "name")).collect();
    failure.next(format!("correct it and apply again; {} went well before", names.join(", ")))
}

fn read_all(files: &[PathBuf]) -> Result<Vec<(String, Definition)>, Failure> {
    let mut definitions = Vec::with_capacity(files.len());
    let mut mistakes = Vec::new();
    for file in files {
        let text = read(file)?;
        match Definition::parse(&text) {
            Ok(definition) => definitions.push((text, definition)),
            Err(errors) => {
                mistakes.push(format!("{}:", file.display()));
                mistakes.extend(errors.0.iter().flat_map(|error| error.lines()).map(|line| format!("  {line}")));
            }
        }
    }
    if mistakes.is_empty() {
        return Ok(definitions);
    }
    Err(Failure::new(format!("nothing was applied, because of what stands in\n{}", mistakes.join("\n")))
        .next("correct it and apply again"))
}

fn read(file: &Path) -> Result<String, Failure> {
    if file == Path::new("-") {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).or_fail(|| "read a definition from standard input".to_owned())?;
        return Ok(text);
    }
    std::fs::read_to_string(file).or_fail(|| format!("read {}", file.display()))
}

fn differences(answer: &Value, dry_run: bool) -> String {
    let name = output::clean(&output::text(answer, "name"));
    let lines: Vec<_> = answer["differences"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let created = answer["created"] == true;
    let outcome = match (lines.is_empty() && !created, created, dry_run) {
        (true, _, _) => "nothing to change".to_owned(),
        (_, true, false) => "created".to_owned(),
        (_, true, true) => "would be created".to_owned(),
        (_, false, false) => output::count(lines.len(), "change"),
        (_, false, true) => format!("would get {}", output::count(lines.len(), "change")),
    };
    let mut text = format!("{name}: {outcome}");
    for line in lines {
        text.push_str("\n  ");
        text.push_str(&output::clean(line));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_outcome_stands_before_its_lines() {
        let check = |answer: Value, dry_run, expected| assert_eq!(differences(&answer, dry_run), expected);
        check(json!({"name": "tork", "created": false, "differences": []}), false, "tork: nothing to change");
        check(json!({"name": "tork", "created": false, "differences": []}), true, "tork: nothing to change");
        check(
            json!({"name": "tork", "created": true, "differences": ["+ key tork_sk_"]}),
            false,
            "tork: created\n  + key tork_sk_",
        );
        check(
            json!({"name": "tork", "created": false, "differences": ["~ x"]}),
            true,
            "tork: would get 1 change\n  ~ x",
        );
    }

    #[test]
    fn every_file_is_checked_before_anything_is_applied() {
        let directory = tempfile::tempdir().unwrap();
        let files = ["a.toml", "b.toml"].map(|name| directory.path().join(name));
        std::fs::write(&files[0], "name = 1").unwrap();
        std::fs::write(&files[1], "base_path = 1").unwrap();
        let refused = read_all(&files).unwrap_err().to_string();
        assert!(refused.contains("a.toml:") && refused.contains("b.toml:"), "{refused}");
    }
}
