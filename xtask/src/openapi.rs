//! `cargo xtask openapi`: the committed API document is what the code says, or CI fails.

use anyhow::{Context, Result, bail, ensure};

use crate::shell::{CommandLine, root};

const FILE: &str = "openapi.json";

/// Writes the document that the code describes to the repository's root.
pub(crate) fn write() -> Result<()> {
    let file = root().join(FILE);
    std::fs::write(&file, from_the_code()?).with_context(|| format!("cannot write {}", file.display()))?;
    println!("wrote {FILE}");
    Ok(())
}

/// Fails when the committed document is not the one that the code describes, naming the first line that differs.
pub(crate) fn check() -> Result<()> {
    let expected = from_the_code()?;
    let committed = std::fs::read_to_string(root().join(FILE))
        .with_context(|| format!("cannot read {FILE}; `cargo xtask openapi` writes it"))?;
    match first_difference(&expected, &committed) {
        None => {
            println!("{FILE} is up to date");
            Ok(())
        }
        Some(line) => bail!("{FILE} is out of date from line {line} on; `cargo xtask openapi` writes it anew"),
    }
}

fn from_the_code() -> Result<String> {
    let printed = CommandLine::new("cargo", "run -p claviger -- openapi").read()?;
    let document = printed.trim();
    ensure!(document.starts_with('{') && document.ends_with('}'), "`claviger openapi` did not print a JSON object");
    Ok(format!("{document}\n"))
}

/// The number, from 1, of the first line that is not the same in both.
fn first_difference(expected: &str, committed: &str) -> Option<usize> {
    if expected == committed {
        return None;
    }
    let same = expected.split('\n').zip(committed.split('\n')).take_while(|(left, right)| left == right).count();
    Some(same + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_that_differs_is_named() {
        let check = |expected, committed, line| assert_eq!(first_difference(expected, committed), line);
        check("{\n}\n", "{\n}\n", None);
        check("{\n}\n", "{\n }\n", Some(2));
        check("{\n}\n", "", Some(1));
        check("{\n}\n", "{\n}", Some(3));
        check("{\n}\n", "{\n}\n\n", Some(4));
        check("{\n}\n", "{\r\n}\r\n", Some(1));
    }
}
