//! Scopes: named permissions over endpoints.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The name of a permission, such as `evaluate` or `api_keys:read`: 1 to 64 characters of `a-z`, `0-9`,
/// `_`, `-`, `.` and `:`, beginning with a letter.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Scope(Box<str>);

/// The text is not a scope.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("a scope has 1 to 64 characters of a-z, 0-9, '_', '-', '.' and ':' and begins with a letter")]
pub struct ScopeError;

impl Scope {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Scope {
    type Err = ScopeError;

    fn from_str(text: &str) -> Result<Self, ScopeError> {
        let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-.:".contains(&byte);
        let starts_well = text.bytes().next().is_some_and(|byte| byte.is_ascii_lowercase());
        if starts_well && text.len() <= 64 && text.bytes().all(allowed) {
            Ok(Self(text.into()))
        } else {
            Err(ScopeError)
        }
    }
}

impl TryFrom<String> for Scope {
    type Error = ScopeError;

    fn try_from(text: String) -> Result<Self, ScopeError> {
        text.parse()
    }
}

impl From<Scope> for String {
    fn from(scope: Scope) -> Self {
        scope.0.into()
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a key may do. Full access is only ever the explicit `*`; an empty set allows nothing.
/// Written as a list: `["*"]`, `["evaluate", "usage:read"]`, `[]`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(try_from = "Vec<String>", into = "Vec<String>")]
pub enum Scopes {
    /// `["*"]`: everything the api offers now and later.
    Full,
    /// Only what is named.
    Named(BTreeSet<Scope>),
}

/// The list is not a set of scopes.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ScopesError {
    /// One of the names is not a scope.
    #[error("{0:?} is not a scope: {ScopeError}")]
    Name(String),
    /// A name stands in the list twice.
    #[error("{0:?} is listed twice")]
    Twice(String),
    /// `*` stands beside names.
    #[error("\"*\" already means every scope; list it alone or list names")]
    FullAndNames,
}

impl Scopes {
    /// Whether everything that `self` allows, `other` allows too.
    pub fn is_within(&self, other: &Self) -> bool {
        match (self, other) {
            (_, Self::Full) => true,
            (Self::Full, Self::Named(_)) => false,
            (Self::Named(mine), Self::Named(theirs)) => mine.is_subset(theirs),
        }
    }

    /// Whether this scope is allowed.
    pub fn contains(&self, scope: &Scope) -> bool {
        match self {
            Self::Full => true,
            Self::Named(names) => names.contains(scope),
        }
    }
}

impl TryFrom<Vec<String>> for Scopes {
    type Error = ScopesError;

    fn try_from(list: Vec<String>) -> Result<Self, ScopesError> {
        if list.iter().any(|name| name == "*") {
            return if list.len() == 1 { Ok(Self::Full) } else { Err(ScopesError::FullAndNames) };
        }
        let mut names = BTreeSet::new();
        for name in list {
            let Ok(scope) = name.parse() else {
                return Err(ScopesError::Name(name));
            };
            if !names.insert(scope) {
                return Err(ScopesError::Twice(name));
            }
        }
        Ok(Self::Named(names))
    }
}

impl From<Scopes> for Vec<String> {
    fn from(scopes: Scopes) -> Self {
        match scopes {
            Scopes::Full => vec!["*".to_owned()],
            Scopes::Named(names) => names.into_iter().map(String::from).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scopes(list: &[&str]) -> Result<Scopes, ScopesError> {
        Scopes::try_from(list.iter().map(ToString::to_string).collect::<Vec<_>>())
    }

    #[test]
    fn full_access_is_only_the_explicit_star() {
        assert_eq!(scopes(&["*"]), Ok(Scopes::Full));
        assert_eq!(scopes(&[]), Ok(Scopes::Named(BTreeSet::new())));
        assert_eq!(scopes(&["*", "evaluate"]), Err(ScopesError::FullAndNames));
        assert_eq!(scopes(&["*", "*"]), Err(ScopesError::FullAndNames));
    }

    #[test]
    fn names_are_checked() {
        for name in ["", "Evaluate", "évaluer", "a b", ":read", "1st", &"a".repeat(65), "a*", "a\n"] {
            assert_eq!(scopes(&[name]), Err(ScopesError::Name(name.to_owned())), "{name}");
        }
        assert_eq!(scopes(&["a", "a"]), Err(ScopesError::Twice("a".to_owned())));
    }

    #[test]
    fn within_is_subset() {
        let (none, one, two) = (scopes(&[]).unwrap(), scopes(&["a"]).unwrap(), scopes(&["a", "b"]).unwrap());
        assert!(none.is_within(&one) && one.is_within(&two) && two.is_within(&Scopes::Full));
        assert!(!two.is_within(&one) && !Scopes::Full.is_within(&two) && !one.is_within(&none));
        assert!(Scopes::Full.is_within(&Scopes::Full));
    }
}
