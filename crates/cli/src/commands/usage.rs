//! `claviger usage`

use serde_json::Value;

use super::Session;
use crate::args::UsageArgs;
use crate::failure::Failure;
use crate::output::time::short_value;
use crate::output::{self, Column, Table, text};

pub(super) async fn run(session: &Session, args: &UsageArgs) -> Result<(), Failure> {
    let query = [("organization", Some(args.org.to_string())), ("api", Some(args.api.to_string()))];
    let answer = session.server.get("/admin/v1/usage", &query).await?;
    session.show(&answer, || report(session, &answer))
}

fn report(session: &Session, answer: &Value) -> String {
    let day = |name: &str| text(answer, name).chars().take(10).collect::<String>();
    let end = short_value(&answer["period_end"], session.now, "");
    let counts = &answer["organization"];
    let number = |name: &str| counts[name].as_u64().unwrap_or_default();
    let head = output::fields(&[
        ("organization", text(counts, "id")),
        ("period", format!("{} to {} (ends {end})", day("period_start"), day("period_end"))),
        ("allowed", grouped(number("allowed"))),
        ("denied", grouped(number("denied"))),
        ("billable", grouped(number("billable"))),
    ]);
    let parts = [("SCOPE", "by_scope"), ("ENVIRONMENT", "by_environment"), ("OUTCOME", "by_outcome")];
    let tables = parts.into_iter().filter_map(|(title, name)| breakdown(title, &counts[name]));
    std::iter::once(head).chain(tables).collect::<Vec<_>>().join("\n\n")
}

fn breakdown(title: &'static str, counts: &Value) -> Option<String> {
    let counts = counts.as_object().filter(|counts| !counts.is_empty())?;
    let mut table = Table::new(&[Column::Whole(title), Column::Number("CALLS")]);
    for (name, calls) in counts {
        table.row([name.clone(), grouped(calls.as_u64().unwrap_or_default())]);
    }
    Some(table.lines())
}

/// `1 234 567`, with narrow blanks that cannot be mistaken for a decimal point or comma.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_numbers_are_grouped() {
        let cases = [(0, "0"), (999, "999"), (1000, "1 000"), (1_234_567, "1 234 567")];
        for (number, expected) in cases {
            assert_eq!(grouped(number), expected);
        }
    }
}
