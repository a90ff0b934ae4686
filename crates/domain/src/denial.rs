//! Every way of saying no (DESIGN: verification).

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::key::Environment;

/// Why a presented secret does not pass. A value, not an error: nothing is broken.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Denial {
    /// No credential was presented.
    Missing = 1,
    /// The credential is not a well-formed secret of this api.
    Malformed,
    /// Well-formed, but no key has it.
    NotFound,
    /// The key was revoked, or the secret was replaced by a rotation.
    Revoked,
    /// The key, or the key it was made with, is disabled.
    Disabled,
    /// The key, or the key it was made with, has expired.
    Expired,
    /// The organization has no access to the api.
    SubscriptionInactive,
    /// The endpoint is not for this key's environment.
    WrongEnvironment,
    /// The caller's address is outside the key's `ip` restriction.
    IpNotAllowed,
    /// The referrer is missing or outside the key's `referrer` restriction.
    ReferrerNotAllowed,
    /// The endpoint is outside the key's `endpoint` restriction, or the path is not canonical.
    EndpointNotAllowed,
    /// The key does not hold the scope that the endpoint asks for.
    InsufficientScope,
    /// Too many calls in a short time.
    RateLimited,
    /// The billing period's calls are used up.
    QuotaExceeded,
    /// The engine may not decide now: not loaded, behind, or without a lease.
    Unavailable,
}

impl Denial {
    /// Every denial, in the order of verification.
    pub const ALL: [Self; 15] = [
        Self::Missing,
        Self::Malformed,
        Self::NotFound,
        Self::Revoked,
        Self::Disabled,
        Self::Expired,
        Self::SubscriptionInactive,
        Self::WrongEnvironment,
        Self::IpNotAllowed,
        Self::ReferrerNotAllowed,
        Self::EndpointNotAllowed,
        Self::InsufficientScope,
        Self::RateLimited,
        Self::QuotaExceeded,
        Self::Unavailable,
    ];

    /// The code, for the operator's side: verify answers, usage, logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Malformed => "malformed",
            Self::NotFound => "not_found",
            Self::Revoked => "revoked",
            Self::Disabled => "disabled",
            Self::Expired => "expired",
            Self::SubscriptionInactive => "subscription_inactive",
            Self::WrongEnvironment => "wrong_environment",
            Self::IpNotAllowed => "ip_not_allowed",
            Self::ReferrerNotAllowed => "referrer_not_allowed",
            Self::EndpointNotAllowed => "endpoint_not_allowed",
            Self::InsufficientScope => "insufficient_scope",
            Self::RateLimited => "rate_limited",
            Self::QuotaExceeded => "quota_exceeded",
            Self::Unavailable => "unavailable",
        }
    }

    /// The code that a key's holder may see: the four ways of being unknown are one.
    pub const fn public_code(self) -> &'static str {
        match self {
            Self::Malformed | Self::NotFound | Self::Revoked | Self::Disabled => "invalid",
            other => other.as_str(),
        }
    }

    /// The HTTP status.
    pub const fn status(self) -> u16 {
        match self {
            Self::Missing | Self::Malformed | Self::NotFound | Self::Revoked | Self::Disabled | Self::Expired => 401,
            Self::SubscriptionInactive
            | Self::WrongEnvironment
            | Self::IpNotAllowed
            | Self::ReferrerNotAllowed
            | Self::EndpointNotAllowed
            | Self::InsufficientScope => 403,
            Self::RateLimited | Self::QuotaExceeded => 429,
            Self::Unavailable => 503,
        }
    }

    /// What to tell the holder of a key of this environment, `None` where no key was found, when the api's definition has
    /// no words of its own. The four ways of being unknown share one sentence.
    pub const fn message(self, environment: Option<Environment>) -> &'static str {
        match self {
            Self::Missing => "No API key was provided. Send it as: Authorization: Bearer <your key>.",
            Self::Malformed | Self::NotFound | Self::Revoked | Self::Disabled => {
                "The API key provided is invalid or has been revoked."
            }
            Self::Expired => "The API key provided has expired. Create or rotate a key to continue.",
            Self::SubscriptionInactive => "The organization's subscription does not include access to this API.",
            Self::WrongEnvironment => match environment {
                Some(Environment::Test) => "This endpoint does not accept test keys. Use a live API key.",
                Some(Environment::Live) => "This endpoint accepts test keys only. Use a test API key.",
                None => "This endpoint is not available to keys of this environment. Use a key of the other one.",
            },
            Self::IpNotAllowed => "This API key may not be used from this IP address.",
            Self::ReferrerNotAllowed => "This API key may not be used from this referrer.",
            Self::EndpointNotAllowed => "This API key may not be used for this endpoint.",
            Self::InsufficientScope => "This API key does not have permission for this endpoint.",
            Self::RateLimited => "Too many requests. Slow down and try again later.",
            Self::QuotaExceeded => "The quota of this billing period is used up.",
            Self::Unavailable => "The API key cannot be verified right now. Try again shortly.",
        }
    }
}

impl fmt::Display for Denial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_four_unknowns_are_one_on_the_wire() {
        let unknown = [Denial::Malformed, Denial::NotFound, Denial::Revoked, Denial::Disabled];
        for denial in unknown {
            assert_eq!(
                (denial.public_code(), denial.status(), denial.message(None)),
                (unknown[0].public_code(), unknown[0].status(), unknown[0].message(None))
            );
        }
    }

    #[test]
    fn the_wrong_environment_says_which_one_is_right() {
        let message = |environment| Denial::WrongEnvironment.message(environment);
        assert!(message(Some(Environment::Test)).contains("Use a live API key"));
        assert!(message(Some(Environment::Live)).contains("Use a test API key"));
        for denial in Denial::ALL.into_iter().filter(|denial| *denial != Denial::WrongEnvironment) {
            assert_eq!(denial.message(Some(Environment::Test)), denial.message(Some(Environment::Live)));
        }
    }

    #[test]
    fn all_lists_every_denial_once_in_order() {
        for (position, denial) in Denial::ALL.iter().enumerate() {
            assert_eq!(*denial as usize, position + 1);
        }
    }
}
