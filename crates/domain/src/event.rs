//! Events: what webhooks tell of.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::audit::Audited as _;
use crate::id::{EventId, OrganizationId};
use crate::key::{ApiName, Key, WordError};
use crate::subscription::Subscription;
use crate::time::Timestamp;

macro_rules! event_types {
    ($($(#[$doc:meta])* $name:ident = $word:literal,)+) => {
        /// What happened.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
        pub enum EventType {
            $($(#[$doc])* #[serde(rename = $word)] $name,)+
        }

        impl EventType {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// The word.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $word,)+
                }
            }
        }

        impl std::str::FromStr for EventType {
            type Err = WordError;

            fn from_str(text: &str) -> Result<Self, WordError> {
                match text {
                    $($word => Ok(Self::$name),)+
                    _ => Err(WordError(concat!($($word, " ",)+))),
                }
            }
        }
    };
}

event_types! {
    /// A key was made.
    KeyCreated = "key.created",
    /// A key got a new secret.
    KeyRotated = "key.rotated",
    /// A key was ended for ever.
    KeyRevoked = "key.revoked",
    /// A key has died by itself.
    KeyExpired = "key.expired",
    /// Something unusual began.
    AlertOpened = "alert.opened",
    /// It is over, or somebody has seen to it.
    AlertClosed = "alert.closed",
    /// An organization's plan or billing state on an api was set.
    SubscriptionUpdated = "subscription.updated",
    /// An organization has used a part of its quota that is worth telling, or all of it.
    QuotaReached = "quota.reached",
    /// Somebody tries an endpoint out.
    Ping = "ping",
}

/// Something that happened, as it is sent. Never a secret or a digest.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Event {
    /// The same however often, and to however many endpoints, it is sent.
    pub id: EventId,
    /// What happened.
    #[serde(rename = "type")]
    pub kind: EventType,
    /// When.
    #[serde(rename = "timestamp")]
    pub at: Timestamp,
    /// To whose things; only a ping to an endpoint of the operator is nobody's.
    pub organization: Option<OrganizationId>,
    /// In which api, when it is one's.
    pub api: Option<ApiName>,
    /// To what.
    pub data: Map<String, Value>,
}

impl Event {
    /// Something that happened to a key: `data.key` is all of it but its secret.
    pub fn of_key(id: EventId, kind: EventType, at: Timestamp, key: &Key) -> Self {
        let data = Map::from_iter([("key".to_owned(), Value::Object(key.audit_view()))]);
        Self { id, kind, at, organization: Some(key.organization), api: Some(key.api.clone()), data }
    }

    /// A subscription that was set: `data.subscription` is all of it.
    pub fn of_subscription(id: EventId, at: Timestamp, subscription: &Subscription) -> Self {
        let data = Map::from_iter([("subscription".to_owned(), Value::Object(subscription.audit_view()))]);
        let (organization, api) = (Some(subscription.organization), Some(subscription.api.clone()));
        Self { id, kind: EventType::SubscriptionUpdated, at, organization, api, data }
    }

    /// The text that is sent and signed.
    pub fn to_body(&self) -> String {
        serde_json::to_string(self).expect("an event can be written as JSON")
    }
}

/// Which events somebody wants. As JSON, a list of types, or `["*"]` for all there are and will be.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(try_from = "Vec<String>", into = "Vec<String>")]
pub enum EventFilter {
    /// Whatever happens.
    All,
    /// Only these.
    Only(BTreeSet<EventType>),
}

/// The list does not say which events are wanted.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum EventFilterError {
    /// Nothing would ever be sent.
    #[error("must name at least one type of event, or \"*\" for all")]
    Empty,
    /// `*` and something else.
    #[error("must be \"*\" alone, or types of events")]
    Mixed,
    /// There is no such type, or it cannot be asked for.
    #[error("{word:?} is no type of event; there are {known}", word = .0, known = known_types())]
    Unknown(String),
}

/// A ping is sent to whom it is meant for.
fn can_be_wanted(kind: EventType) -> bool {
    kind != EventType::Ping
}

fn known_types() -> String {
    let words = EventType::ALL.iter().filter(|kind| can_be_wanted(**kind)).map(|kind| kind.as_str());
    words.collect::<Vec<_>>().join(", ")
}

impl EventFilter {
    /// Whether events of this type are wanted.
    pub fn wants(&self, kind: EventType) -> bool {
        match self {
            Self::All => can_be_wanted(kind),
            Self::Only(kinds) => kinds.contains(&kind),
        }
    }
}

impl TryFrom<Vec<String>> for EventFilter {
    type Error = EventFilterError;

    fn try_from(words: Vec<String>) -> Result<Self, EventFilterError> {
        match words.as_slice() {
            [] => return Err(EventFilterError::Empty),
            [word] if word == "*" => return Ok(Self::All),
            words if words.iter().any(|word| word == "*") => return Err(EventFilterError::Mixed),
            _ => {}
        }
        let kind = |word: String| {
            let kind = word.parse::<EventType>().ok().filter(|kind| can_be_wanted(*kind));
            // It may be long, and a secret in the wrong place.
            kind.ok_or_else(|| EventFilterError::Unknown(crate::mask::masked(&word).chars().take(40).collect()))
        };
        words.into_iter().map(kind).collect::<Result<_, _>>().map(Self::Only)
    }
}

impl From<EventFilter> for Vec<String> {
    fn from(filter: EventFilter) -> Self {
        match filter {
            EventFilter::All => vec!["*".to_owned()],
            EventFilter::Only(kinds) => kinds.into_iter().map(|kind| kind.as_str().to_owned()).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(json: &str) -> Result<EventFilter, String> {
        serde_json::from_str(json).map_err(|error| error.to_string())
    }

    #[test]
    fn words_and_types_are_one() {
        for kind in EventType::ALL {
            assert_eq!(kind.as_str().parse(), Ok(*kind));
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.as_str());
        }
        assert!("key.eaten".parse::<EventType>().is_err());
    }

    #[test]
    fn what_is_wanted_is_named() {
        let keys = filter(r#"["key.revoked", "key.created", "key.revoked"]"#).unwrap();
        assert!(keys.wants(EventType::KeyCreated) && keys.wants(EventType::KeyRevoked));
        assert!(!keys.wants(EventType::KeyRotated) && !keys.wants(EventType::Ping));
        assert_eq!(serde_json::to_string(&keys).unwrap(), r#"["key.created","key.revoked"]"#);
        let all = filter(r#"["*"]"#).unwrap();
        assert!(EventType::ALL.iter().all(|kind| all.wants(*kind) == (*kind != EventType::Ping)));
        assert_eq!(serde_json::to_string(&all).unwrap(), r#"["*"]"#);
        for bad in ["[]", r#"["*", "key.created"]"#, r#"["ping"]"#, r#"["key.eaten"]"#, r#"[""]"#, r#""*""#] {
            assert!(filter(bad).is_err(), "{bad}");
        }
        let secret = format!("whsec_{}", "A".repeat(44));
        assert!(!filter(&format!("[{secret:?}]")).unwrap_err().contains("AAAA"));
    }

    #[test]
    fn the_body_says_what_where_and_when() {
        let event = Event {
            id: EventId::from_u128(1),
            kind: EventType::Ping,
            at: "2026-03-10T12:00:00Z".parse().unwrap(),
            organization: None,
            api: Some("tork".parse().unwrap()),
            data: Map::new(),
        };
        let body = r#"{"id":"evt_00000000000000000000000001","type":"ping","timestamp":"2026-03-10T12:00:00Z","organization":null,"api":"tork","data":{}}"#;
        assert_eq!(event.to_body(), body);
    }
}
