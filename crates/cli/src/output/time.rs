//! Times for people: how long ago, or until when.

use claviger_domain::time::Timestamp;
use serde_json::Value;

const MINUTE: i64 = 60;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

/// For a table's cell: `5 min ago`, `in 3 days`, or the date when it is far away.
pub(crate) fn short(at: Timestamp, now: Timestamp) -> String {
    let seconds = (at.as_micros() - now.as_micros()) / 1_000_000;
    let distance = seconds.abs();
    let amount = match distance {
        0..MINUTE => return if seconds > 0 { "in seconds" } else { "just now" }.to_owned(),
        MINUTE..HOUR => format!("{} min", distance / MINUTE),
        HOUR..DAY => format!("{} h", distance / HOUR),
        DAY..172_800 => "1 day".to_owned(),
        _ if distance < 60 * DAY => format!("{} days", distance / DAY),
        _ => return date(at),
    };
    if seconds > 0 { format!("in {amount}") } else { format!("{amount} ago") }
}

/// For a line of its own: `2026-01-31 12:00:00 UTC (5 min ago)`.
pub(crate) fn long(at: Timestamp, now: Timestamp) -> String {
    let exact = exact(at);
    let short = short(at, now);
    if exact.starts_with(&short) { exact } else { format!("{exact} ({short})") }
}

/// `2026-01-31`.
pub(crate) fn date(at: Timestamp) -> String {
    at.to_string().chars().take(10).collect()
}

fn exact(at: Timestamp) -> String {
    let text: String = at.to_string().chars().take(19).collect();
    format!("{} UTC", text.replace('T', " "))
}

/// The short form of a JSON time; `missing` when there is none. What is not a time is shown as it is.
pub(crate) fn short_value(value: &Value, now: Timestamp, missing: &str) -> String {
    form(value, missing, |at| short(at, now))
}

/// The long form of a JSON time.
pub(crate) fn long_value(value: &Value, now: Timestamp, missing: &str) -> String {
    form(value, missing, |at| long(at, now))
}

fn form(value: &Value, missing: &str, write: impl Fn(Timestamp) -> String) -> String {
    let Some(text) = value.as_str() else {
        return missing.to_owned();
    };
    text.parse().map_or_else(|_| text.to_owned(), write)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_short_and_readable() {
        let now: Timestamp = "2026-01-31T12:00:00Z".parse().unwrap();
        let cases = [
            ("2026-01-31T12:00:00.5Z", "just now"),
            ("2026-01-31T11:59:30Z", "just now"),
            ("2026-01-31T12:00:30Z", "in seconds"),
            ("2026-01-31T11:55:00Z", "5 min ago"),
            ("2026-01-31T15:30:00Z", "in 3 h"),
            ("2026-01-30T11:00:00Z", "1 day ago"),
            ("2026-02-10T12:00:00Z", "in 10 days"),
            ("2025-06-01T00:00:00Z", "2025-06-01"),
            ("2030-06-01T00:00:00Z", "2030-06-01"),
        ];
        for (at, expected) in cases {
            assert_eq!(short(at.parse().unwrap(), now), expected, "{at}");
        }
        assert_eq!(long("2026-01-31T11:54:59.123456Z".parse().unwrap(), now), "2026-01-31 11:54:59 UTC (5 min ago)");
        assert_eq!(long("2025-06-01T08:09:10Z".parse().unwrap(), now), "2025-06-01 08:09:10 UTC");
    }

    #[test]
    fn what_is_not_a_time_is_shown_as_it_is() {
        let now = Timestamp::from_micros(0);
        assert_eq!(short_value(&Value::Null, now, "never"), "never");
        assert_eq!(short_value(&"soon".into(), now, "never"), "soon");
    }
}
