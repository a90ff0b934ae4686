//! The corpora: attacks as data, each with what must come of it and why.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::fs;
use std::path::Path;

use claviger_domain::denial::Denial;
use serde::de::{Deserialize, Deserializer, Error as _};

/// One attack, in the words of its data file. `README.md` says what each field means.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) why: String,
    pub(crate) expect: Outcome,
    /// The doors at which it comes out differently, or cannot be tried.
    #[serde(default)]
    pub(crate) doors: BTreeMap<String, Exception>,
    #[serde(default = "get")]
    pub(crate) method: String,
    #[serde(default = "place")]
    pub(crate) target: String,
    /// Header lines, whole, without the line end.
    #[serde(default)]
    pub(crate) lines: Vec<String>,
    /// What an API server tells verify.
    pub(crate) tells: Option<String>,
    /// Rules of the key in hand.
    #[serde(default)]
    pub(crate) rules: Vec<String>,
    /// The header that is believed, for whoever comes by the proxy.
    pub(crate) believes: Option<String>,
    /// Whether it comes by the proxy that is trusted.
    #[serde(default)]
    pub(crate) by_proxy: bool,
}

fn get() -> String {
    "GET".to_owned()
}

fn place() -> String {
    "{place}".to_owned()
}

/// What one door does differently, and why.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Exception {
    /// What comes of it there; without it, it cannot be tried there.
    pub(crate) expect: Option<Outcome>,
    pub(crate) why: String,
}

/// What must come of an attack.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Outcome {
    /// It is none: the request is let through.
    Allowed,
    /// The verdict is no.
    Denied(Denial),
    /// There is no verdict: the request is refused with this status.
    Refused(u16),
}

impl<'de> Deserialize<'de> for Outcome {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text == "allowed" {
            return Ok(Self::Allowed);
        }
        if let Ok(status) = text.parse() {
            return Ok(Self::Refused(status));
        }
        let denial = Denial::ALL.into_iter().find(|denial| denial.as_str() == text);
        denial.map(Self::Denied).ok_or_else(|| D::Error::custom(format!("{text} is no outcome")))
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Allowed => f.write_str("allowed"),
            Self::Denied(denial) => denial.fmt(f),
            Self::Refused(status) => status.fmt(f),
        }
    }
}

/// Reads a data file and checks that there are enough different cases in it.
pub(crate) fn read(name: &str, cases_min: usize) -> Vec<Case> {
    #[derive(serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct File {
        case: Vec<Case>,
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/hostile/corpora").join(name);
    let File { case: cases } = toml::from_str(&fs::read_to_string(&path).unwrap())
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert!(cases.len() >= cases_min, "{name} has {} cases; {cases_min} were promised", cases.len());
    let (mut names, mut inputs) = (BTreeSet::new(), BTreeSet::new());
    for case in &cases {
        assert!(names.insert(&case.name), "{name}: two cases are called {:?}", case.name);
        let input = (&case.method, &case.target, &case.lines, &case.tells, &case.rules, &case.believes, case.by_proxy);
        assert!(inputs.insert(input), "{name}: {:?} is another case again", case.name);
        assert!(!case.why.is_empty() && case.doors.values().all(|door| !door.why.is_empty()), "{:?}", case.name);
    }
    cases
}

/// Fills the blanks of a text: `{name}` with its value, `{x*100}` with a hundred of `x`, and `\xNN` with that byte.
pub(crate) fn fill(text: &str, values: &HashMap<&str, String>) -> Vec<u8> {
    let mut filled = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find(['{', '\\']) {
        filled.extend_from_slice(&rest.as_bytes()[..at]);
        rest = &rest[at..];
        if let Some(hex) = rest.strip_prefix("\\x") {
            filled.push(u8::from_str_radix(&hex[..2], 16).unwrap_or_else(|error| panic!("{text}: {error}")));
            rest = &hex[2..];
        } else if let Some(name) = rest.strip_prefix('{').and_then(|rest| rest.split('}').next()) {
            match name.split_once('*') {
                Some((piece, count)) => filled.extend_from_slice(piece.repeat(count.parse().unwrap()).as_bytes()),
                None => {
                    let value = values.get(name).unwrap_or_else(|| panic!("{text}: nothing is called {name}"));
                    filled.extend_from_slice(value.as_bytes());
                }
            }
            rest = &rest[name.len() + 2..];
        } else {
            filled.push(b'\\');
            rest = &rest[1..];
        }
    }
    filled.extend_from_slice(rest.as_bytes());
    filled
}

/// What went wrong in a corpus, one paragraph a case.
pub(crate) struct Report {
    corpus: &'static str,
    tried: BTreeMap<&'static str, usize>,
    wrong: Vec<String>,
}

impl Report {
    pub(crate) fn new(corpus: &'static str) -> Self {
        Self { corpus, tried: BTreeMap::new(), wrong: Vec::new() }
    }

    pub(crate) fn tried(&mut self, door: &'static str) {
        *self.tried.entry(door).or_default() += 1;
    }

    pub(crate) fn wrong(&mut self, case: &Case, what: &str) {
        self.wrong.push(format!("- {}\n    {what}\n    why it matters: {}", case.name, case.why));
    }

    /// Fails if anything was wrong.
    pub(crate) fn finish(self, cases: &[Case]) {
        let tried: Vec<_> = self.tried.iter().map(|(door, count)| format!("{count} at {door}")).collect();
        assert!(
            self.wrong.is_empty(),
            "{}: {} cases, tried {}; {} came out wrong:\n{}",
            self.corpus,
            cases.len(),
            tried.join(", "),
            self.wrong.len(),
            self.wrong.join("\n")
        );
    }
}
