//! Restrictions: where, from where and for what a key may be used. They combine: all must hold.

use serde::{Deserialize, Serialize};

use crate::address::IpRule;
use crate::endpoint::EndpointPattern;
use crate::referrer::ReferrerRule;

/// `null` restricts nothing; an empty list allows nothing. The two are different values.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Restrictions {
    /// Networks that the caller's address must be in.
    #[serde(default)]
    pub ip: Option<Vec<IpRule>>,
    /// Hosts that the browser page must come from.
    #[serde(default)]
    pub referrer: Option<Vec<ReferrerRule>>,
    /// Endpoints that may be called.
    #[serde(default)]
    pub endpoint: Option<Vec<EndpointPattern>>,
}

impl Restrictions {
    /// No restriction at all.
    pub const NONE: Self = Self { ip: None, referrer: None, endpoint: None };

    /// Whether nothing is restricted.
    pub fn is_none(&self) -> bool {
        *self == Self::NONE
    }

    /// Whether every request that `self` lets pass, `other` lets pass too. Never wrongly true.
    pub fn is_within(&self, other: &Self) -> bool {
        list_is_within(self.ip.as_deref(), other.ip.as_deref(), IpRule::is_within)
            && list_is_within(self.referrer.as_deref(), other.referrer.as_deref(), ReferrerRule::is_within)
            && list_is_within(self.endpoint.as_deref(), other.endpoint.as_deref(), EndpointPattern::is_within)
    }
}

fn list_is_within<R>(mine: Option<&[R]>, theirs: Option<&[R]>, within: impl Fn(&R, &R) -> bool) -> bool {
    match (mine, theirs) {
        (_, None) => true,
        (None, Some(_)) => false,
        (Some(mine), Some(theirs)) => mine.iter().all(|rule| theirs.iter().any(|wider| within(rule, wider))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn restrictions(json: &str) -> Restrictions {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn null_and_empty_differ() {
        let (none, nothing) = (restrictions("{}"), restrictions(r#"{"ip": []}"#));
        assert!(none.is_none() && !nothing.is_none());
        assert!(nothing.is_within(&none) && !none.is_within(&nothing));
    }

    #[test]
    fn every_dimension_must_be_within() {
        let parent = restrictions(r#"{"ip": ["10.0.0.0/8"], "endpoint": ["GET /v1/*"]}"#);
        let cases = [
            (r#"{"ip": ["10.1.0.0/16"], "endpoint": ["GET /v1/users"]}"#, true),
            (r#"{"ip": ["10.1.0.0/16"], "endpoint": ["GET /v1/users"], "referrer": ["example.com"]}"#, true),
            (r#"{"ip": ["10.1.0.0/16"]}"#, false),
            (r#"{"ip": ["10.1.0.0/16", "11.0.0.0/8"], "endpoint": ["GET /v1/users"]}"#, false),
            (r#"{"ip": [], "endpoint": []}"#, true),
        ];
        for (child, expected) in cases {
            assert_eq!(restrictions(child).is_within(&parent), expected, "{child}");
        }
    }
}
