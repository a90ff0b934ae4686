//! Alerts: what is unusual about live keys, or about to happen to them.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::audit::{Audited, Author};
use crate::id::{AlertId, KeyId, OrganizationId};
use crate::key::{ApiName, WordError};
use crate::time::Timestamp;

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident = $word:literal,)+) => {
        /// What an alert is about.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
        pub enum AlertKind {
            $($(#[$doc])* #[serde(rename = $word)] $name,)+
        }

        impl AlertKind {
            /// Every kind.
            pub const ALL: [Self; [$($word),+].len()] = [$(Self::$name),+];

            /// The word.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $word,)+
                }
            }
        }
    };
}

kinds! {
    /// A key is used far more than in the same hour of other weeks.
    UsageSpike = "usage_spike",
    /// A key is used from a network that it was not used from for long.
    NewNetwork = "new_network",
    /// Most calls of a key are refused, and they are many.
    DenialBurst = "denial_burst",
    /// Four fifths of the quota are used.
    Quota80 = "quota_80",
    /// The quota is used up.
    Quota100 = "quota_100",
    /// A key's secret is 90 days old.
    KeyAge90 = "key_age_90",
    /// A key expires soon.
    KeyExpiry = "key_expiry",
    /// A key was not used for 90 days.
    KeyUnused90 = "key_unused_90",
}

impl std::fmt::Display for AlertKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::str::FromStr for AlertKind {
    type Err = WordError;

    fn from_str(text: &str) -> Result<Self, WordError> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text).ok_or(WordError(
            "usage_spike, new_network, denial_burst, quota_80, quota_100, key_age_90, key_expiry, key_unused_90",
        ))
    }
}

/// An alert, which is open until it is closed: by a person, or by itself when what it is about is over.
#[derive(Clone, PartialEq, Debug)]
pub struct Alert {
    /// Its id.
    pub id: AlertId,
    /// Whose.
    pub organization: OrganizationId,
    /// On which api.
    pub api: ApiName,
    /// The key that it is about; `None` where it is about all of the organization's on the api.
    pub key: Option<KeyId>,
    /// What it is about.
    pub kind: AlertKind,
    /// Since when.
    pub opened_at: Timestamp,
    /// When it was last told of.
    pub last_repeated_at: Timestamp,
    /// When what it is about was last so.
    pub last_seen_at: Timestamp,
    /// When it was closed, and by whom.
    pub closed: Option<(Timestamp, Author)>,
    /// The figures that it came from, and what the key was called. Never a secret.
    pub detail: Map<String, Value>,
}

impl Audited for Alert {
    fn audit_view(&self) -> Map<String, Value> {
        let mut view = Map::new();
        view.insert("api".to_owned(), self.api.as_str().into());
        view.insert("key".to_owned(), self.key.map_or(Value::Null, |key| key.to_string().into()));
        view.insert("kind".to_owned(), self.kind.as_str().into());
        view.insert("opened_at".to_owned(), self.opened_at.to_string().into());
        view.insert("closed_at".to_owned(), self.closed.map_or(Value::Null, |(at, _)| at.to_string().into()));
        view.insert("detail".to_owned(), Value::Object(self.detail.clone()));
        view
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_read_as_they_are_written() {
        for kind in AlertKind::ALL {
            assert_eq!(kind.to_string().parse(), Ok(kind));
            assert!("".parse::<AlertKind>().unwrap_err().to_string().contains(kind.as_str()));
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.as_str());
        }
    }
}
