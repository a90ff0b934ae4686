//! What a key may be, whoever asks for it.

use claviger_domain::address::IpRule;
use claviger_domain::definition::Api;
use claviger_domain::endpoint::EndpointPattern;
use claviger_domain::format::KeyFormat;
use claviger_domain::key::{Creator, Environment, Key, Kind};
use claviger_domain::limits;
use claviger_domain::restriction::Restrictions;
use claviger_domain::scope::Scopes;
use claviger_domain::time::{Timestamp, has_expired};

use crate::AppError;

/// Scopes must be the api's, and a restricted key names its own.
pub(super) fn scopes(scopes: &Scopes, kind: Kind, api: &Api) -> Result<(), AppError> {
    let Scopes::Named(names) = scopes else {
        return if kind == Kind::Restricted {
            Err(AppError::invalid("scopes", "a restricted key names its scopes; \"*\" is for secret keys"))
        } else {
            Ok(())
        };
    };
    let known = api.definition.scopes();
    for name in names {
        if !known.iter().any(|scope| scope.name == *name) {
            let known = known.iter().map(|scope| scope.name.as_str()).collect::<Vec<_>>().join(", ");
            return Err(AppError::invalid(
                "scopes",
                format!("{:?} is not a scope of this API; there are {known}", name.as_str()),
            ));
        }
    }
    Ok(())
}

/// Lists must be short and free of repetition, whole-internet networks deliberate, endpoints the api's own.
pub(super) fn restrictions(restrictions: &Restrictions, allow_any_ip: bool, api: &Api) -> Result<(), AppError> {
    list("restrictions.ip", restrictions.ip.as_deref())?;
    list("restrictions.referrer", restrictions.referrer.as_deref())?;
    list("restrictions.endpoint", restrictions.endpoint.as_deref())?;
    if !allow_any_ip && let Some(any) = restrictions.ip.iter().flatten().find(|rule| IpRule::is_any(rule)) {
        let message = format!("{any} is every address; leave ip out, or set allow_any_ip to say that this is meant");
        return Err(AppError::invalid("restrictions.ip", message));
    }
    let base = format!("{}/", api.definition.base_path());
    for pattern in restrictions.endpoint.iter().flatten() {
        if !pattern.path().starts_with(&base) {
            let message = format!("\"{pattern}\" is not an endpoint of this API: its paths begin with {base}");
            return Err(AppError::invalid("restrictions.endpoint", message));
        }
    }
    Ok(())
}

fn list<R: PartialEq + std::fmt::Display>(field: &str, rules: Option<&[R]>) -> Result<(), AppError> {
    let rules = rules.unwrap_or_default();
    if rules.len() > limits::RULES_PER_RESTRICTION_MAX {
        return Err(AppError::invalid(field, format!("has more than {} rules", limits::RULES_PER_RESTRICTION_MAX)));
    }
    for (position, rule) in rules.iter().enumerate() {
        if rules[..position].contains(rule) {
            return Err(AppError::invalid(field, format!("{rule} is listed twice")));
        }
    }
    Ok(())
}

/// Named scopes and endpoint rules that no endpoint satisfies together would make a key that can do nothing
/// while it looks as if it could.
pub(super) fn not_contradictory(key: &Key, api: &Api) -> Result<(), AppError> {
    let (Scopes::Named(names), Some(rules)) = (&key.scopes, &key.restrictions.endpoint) else {
        return Ok(());
    };
    if names.is_empty() || rules.is_empty() {
        return Ok(());
    }
    let overlap = |one: &EndpointPattern, other: &EndpointPattern| {
        let methods = |pattern: &EndpointPattern| pattern.method();
        let same_method = methods(one).is_none() || methods(other).is_none() || methods(one) == methods(other);
        same_method && paths_overlap(one.path(), other.path())
    };
    let usable =
        api.definition.endpoints().iter().any(|endpoint| {
            names.contains(&endpoint.scope) && rules.iter().any(|rule| overlap(rule, &endpoint.endpoint))
        });
    if usable {
        return Ok(());
    }
    let message = "contradicts scopes: no endpoint of this API is within both, so the key could do nothing";
    Err(AppError::invalid("restrictions.endpoint", message))
}

/// Whether some path matches both patterns.
fn paths_overlap(one: &str, other: &str) -> bool {
    let wild = |segment: &str| segment == "*" || segment.starts_with('{');
    let (mut ones, mut others) = (one.split('/').skip(1), other.split('/').skip(1));
    loop {
        match (ones.next(), others.next()) {
            (None, None) | (Some("**"), Some(_)) | (Some(_), Some("**")) => return true,
            (Some(one), Some(other)) if wild(one) || wild(other) || one == other => {}
            _ => return false,
        }
    }
}

/// The instant of expiry must be ahead and within what the format allows from the key's creation.
pub(super) fn expiry(
    field: &str,
    expires_at: Option<Timestamp>,
    format: Option<&KeyFormat>,
    created_at: Timestamp,
    now: Timestamp,
) -> Result<(), AppError> {
    if has_expired(expires_at, now) {
        return Err(AppError::invalid(field, "must be in the future"));
    }
    let required = format.and_then(KeyFormat::ttl_seconds_max);
    let longest = required.unwrap_or(limits::TTL_SECONDS_MAX);
    match expires_at {
        None if required.is_some() => {
            Err(AppError::invalid(field, format!("keys of this kind expire, after at most {longest} seconds")))
        }
        // Creation is kept in whole seconds, so the fraction that was cut off is added back.
        Some(at) if created_at.plus_seconds(longest + 1).is_some_and(|limit| at >= limit) => {
            Err(AppError::invalid(field, too_long(longest)))
        }
        _ => Ok(()),
    }
}

/// Whether the key is test data: made with a test key, and so to live for a day at most.
pub(super) fn is_test_data(key: &Key) -> bool {
    // Creation is kept in whole seconds, so the fraction that was cut off is added back.
    let latest = key.created_at.plus_seconds(limits::MADE_WITH_TEST_KEY_TTL_SECONDS_MAX + 1);
    let is_short = key.expires_at.is_some_and(|at| latest.is_some_and(|latest| at < latest));
    is_short && key.environment == Environment::Test && matches!(key.created_by, Creator::Key(_))
}

pub(super) fn lives_too_long_for_test_data(field: &str) -> AppError {
    let seconds = limits::MADE_WITH_TEST_KEY_TTL_SECONDS_MAX;
    AppError::invalid(field, format!("a key that is made with a test key lives for at most {seconds} seconds"))
}

pub(super) fn too_long(longest_seconds: i64) -> String {
    format!("keys of this kind live for at most {longest_seconds} seconds")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_overlap_when_some_path_matches_both() {
        let cases = [
            ("/v1/users/*", "/v1/users/{id}", true),
            ("/v1/users/*", "/v1/users", false),
            ("/v1/**", "/v1/users/{id}", true),
            ("/v1/users/me", "/v1/users/{id}", true),
            ("/v1/users/me", "/v1/users/you", false),
            ("/v1/*/x", "/v1/y/*", true),
            ("/v1/**", "/v1", false),
        ];
        for (one, other, expected) in cases {
            assert_eq!(paths_overlap(one, other), expected, "{one} {other}");
            assert_eq!(paths_overlap(other, one), expected, "{other} {one}");
        }
    }
}
