//! Text forms that only the command line has: durations, dates, `*` among scopes.

use std::str::FromStr;

use claviger_domain::key::Metadata;
use claviger_domain::limits;
use claviger_domain::scope::{Scope, ScopeError};
use claviger_domain::subscription::AnchorDay;
use claviger_domain::time::Timestamp;
use serde::Serialize;

use crate::config::CORES_MAX;

/// A scope's name, or `*`.
#[derive(Clone, Debug, Serialize)]
#[serde(transparent)]
pub(crate) struct ScopeWord(String);

impl FromStr for ScopeWord {
    type Err = ScopeError;

    fn from_str(text: &str) -> Result<Self, ScopeError> {
        if text != "*" {
            Scope::from_str(text)?;
        }
        Ok(Self(text.to_owned()))
    }
}

/// A lifetime in seconds.
pub(crate) fn ttl_seconds(text: &str) -> Result<i64, String> {
    seconds(text, 1, limits::TTL_SECONDS_MAX)
}

/// A rotation's overlap in seconds.
pub(crate) fn overlap_seconds(text: &str) -> Result<i64, String> {
    seconds(text, 0, limits::OVERLAP_SECONDS_MAX)
}

/// `90d`, `12h`, `30m`, `45s`, or seconds alone.
fn seconds(text: &str, least: i64, most: i64) -> Result<i64, String> {
    const EXAMPLES: &str = "expected a duration such as 90d, 12h, 30m or 45s";
    let (digits, unit) = match text.char_indices().find(|(_, character)| !character.is_ascii_digit()) {
        Some((position, _)) => text.split_at(position),
        None => (text, "s"),
    };
    let unit_seconds = match unit {
        "d" => 24 * 3600,
        "h" => 3600,
        "m" => 60,
        "s" => 1,
        _ => return Err(EXAMPLES.to_owned()),
    };
    let count: i64 = digits.parse().map_err(|_| EXAMPLES.to_owned())?;
    let total = count.checked_mul(unit_seconds).filter(|total| (least..=most).contains(total));
    total.ok_or_else(|| match most / (24 * 3600) {
        days if least == 0 => format!("expected at most {days}d"),
        days => format!("expected from {least}s to {days}d"),
    })
}

/// An RFC 3339 time, or a date, which means its first instant in UTC.
pub(crate) fn timestamp(text: &str) -> Result<Timestamp, String> {
    let midnight = || format!("{text}T00:00:00Z").parse();
    text.parse().or_else(|_| midnight()).map_err(|_| "expected 2027-01-31 or 2027-01-31T12:00:00Z".to_owned())
}

/// An anchor day, or none.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Anchor(pub(crate) Option<AnchorDay>);

/// A day of the month, or `none`.
pub(crate) fn anchor_day(text: &str) -> Result<Anchor, String> {
    if text == "none" {
        return Ok(Anchor(None));
    }
    let day = text.parse::<u8>().ok().and_then(|day| AnchorDay::try_from(day).ok());
    day.map(|day| Anchor(Some(day))).ok_or_else(|| "expected a day of the month, 1 to 31, or none".to_owned())
}

/// A JSON object.
pub(crate) fn metadata(text: &str) -> Result<Metadata, String> {
    let map: serde_json::Map<String, serde_json::Value> = serde_json::from_str(text)
        .map_err(|error| format!("expected a JSON object such as {{\"team\": \"billing\"}}: {error}"))?;
    Metadata::try_from(map).map_err(|error| error.to_string())
}

/// A number of cores; 0 is all.
pub(crate) fn cores(text: &str) -> Result<usize, String> {
    text.parse()
        .ok()
        .filter(|cores| *cores <= CORES_MAX)
        .ok_or_else(|| format!("expected a number from 0 to {CORES_MAX}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read() {
        let cases = [("90d", 7_776_000), ("12h", 43_200), ("30m", 1800), ("45s", 45), ("3600", 3600)];
        for (text, expected) in cases {
            assert_eq!(ttl_seconds(text), Ok(expected), "{text}");
        }
        for text in ["", "d", "1w", "1.5h", "-1h", "1h30m", " 1h", "0", "0d", "9999999999999999999d", "3661d", "1é"] {
            assert!(ttl_seconds(text).is_err(), "{text}");
        }
        assert_eq!(overlap_seconds("0"), Ok(0));
        assert_eq!(overlap_seconds("8d"), Err("expected at most 7d".to_owned()));
    }

    #[test]
    fn dates_are_midnight_in_utc() {
        assert_eq!(timestamp("2027-01-31").unwrap().to_string(), "2027-01-31T00:00:00Z");
        assert_eq!(timestamp("2027-01-31T12:00:00+01:00").unwrap().to_string(), "2027-01-31T11:00:00Z");
        assert!(timestamp("tomorrow").is_err());
    }

    #[test]
    fn full_access_is_a_scope_word_of_its_own() {
        assert!("*".parse::<ScopeWord>().is_ok() && "evaluate".parse::<ScopeWord>().is_ok());
        assert!("".parse::<ScopeWord>().is_err() && "**".parse::<ScopeWord>().is_err());
    }
}
