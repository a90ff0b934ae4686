//! `claviger init`: a config file and a first definition to start from. Never overwrites unless told to.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::args::InitArgs;
use crate::data_dir::DataDir;
use crate::failure::{Context as _, Failure};
use crate::output;

const CONFIG: &str = include_str!("../assets/claviger.toml");
const DEFINITION: &str = include_str!("../assets/my-api.toml");

/// Writes both files and says what to do with them.
pub(crate) fn run(args: &InitArgs) -> Result<(), Failure> {
    let directory = DataDir::new(&args.data.directory);
    let (config, definition) = write_files(&directory, args.force)?;
    if args.json {
        return output::print_json(&json!({"config": config, "definition": definition}));
    }
    let (program, data) = (program(), data_flag(directory.path()));
    output::print(&format!(
        "Wrote {}\nWrote {}\n\nNext:\n  {program} serve{data}\n  {program} apply{data} {}",
        config.display(),
        definition.display(),
        shown(&definition),
    ))
}

/// Writes the config file and the definition; neither, if one is there and may not be overwritten.
fn write_files(directory: &DataDir, force: bool) -> Result<(PathBuf, PathBuf), Failure> {
    let (config, definition) = (directory.config(), directory.apis().join("my-api.toml"));
    let files = [(config.clone(), CONFIG), (definition.clone(), DEFINITION)];
    if !force {
        refuse_existing(&files)?;
    }
    directory.create()?;
    fs::create_dir_all(directory.apis()).or_fail(|| format!("make {}", directory.apis().display()))?;
    for (path, text) in &files {
        write(path, text, force)?;
    }
    Ok((config, definition))
}

fn refuse_existing(files: &[(PathBuf, &str)]) -> Result<(), Failure> {
    let existing: Vec<_> =
        files.iter().filter(|(path, _)| path.exists()).map(|(path, _)| path.display().to_string()).collect();
    if existing.is_empty() {
        return Ok(());
    }
    let verb = if existing.len() == 1 { "exists" } else { "exist" };
    Err(Failure::new(format!("{} {verb} already; nothing was written", existing.join(" and ")))
        .next("keep what is there, or overwrite it with --force"))
}

fn write(path: &Path, text: &str, force: bool) -> Result<(), Failure> {
    let mut options = OpenOptions::new();
    options.write(true);
    // A file that appeared since we looked is not overwritten either.
    if force {
        options.create(true).truncate(true)
    } else {
        options.create_new(true)
    };
    let written = options.open(path).and_then(|mut file| file.write_all(text.as_bytes()));
    written.or_fail(|| format!("write {}", path.display()))
}

/// ` --data DIR` as it must be typed, or nothing for the default directory.
pub(crate) fn data_flag(directory: &Path) -> String {
    if directory == Path::new("./claviger-data") { String::new() } else { format!(" --data {}", shown(directory)) }
}

/// How this program was called, so that what is printed can be pasted where it is not on the search path.
pub(crate) fn program() -> String {
    match std::env::args_os().next() {
        Some(name) if name.as_encoded_bytes().contains(&b'/') => shown(Path::new(&name)),
        _ => "claviger".to_owned(),
    }
}

/// A path as it can be pasted into a shell.
pub(crate) fn shown(path: &Path) -> String {
    quoted(&path.display().to_string())
}

/// A word as it can be pasted into a shell.
pub(crate) fn quoted(word: &str) -> String {
    let is_plain = |character: char| character.is_ascii_alphanumeric() || "-_=+./,:@%".contains(character);
    if !word.is_empty() && word.chars().all(is_plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use claviger_domain::definition::Definition;

    use super::*;

    #[test]
    fn the_first_definition_is_a_good_one() {
        let definition = Definition::parse(DEFINITION).unwrap();
        assert_eq!(definition.name().as_str(), "my-api");
        // Its commented part is good as well.
        let spelled_out =
            DEFINITION.replace("\n#[", "\n[").replace("\n#code", "\ncode").replace("\n#message", "\nmessage");
        assert_ne!(spelled_out, DEFINITION);
        Definition::parse(&spelled_out).unwrap();
    }

    #[test]
    fn nothing_is_ever_overwritten_unasked() {
        let directory = tempfile::tempdir().unwrap();
        let place = DataDir::new(directory.path());
        let config = directory.path().join("claviger.toml");
        fs::write(&config, "cores = 1").unwrap();
        let refused = write_files(&place, false).unwrap_err().to_string();
        assert!(refused.contains("claviger.toml exists already; nothing was written"), "{refused}");
        assert!(!directory.path().join("apis").exists());
        assert_eq!(fs::read_to_string(&config).unwrap(), "cores = 1");
        write_files(&place, true).unwrap();
        assert_eq!(fs::read_to_string(&config).unwrap(), CONFIG);
    }

    #[test]
    fn words_can_be_pasted() {
        assert_eq!(quoted("./claviger-data"), "./claviger-data");
        assert_eq!(quoted("it's here"), r"'it'\''s here'");
        assert_eq!(data_flag(Path::new("./claviger-data")), "");
        assert_eq!(data_flag(Path::new("/srv/my keys")), " --data '/srv/my keys'");
    }
}
