//! The whole detector: overlaps, positions, hostile texts. Each kind's own cases are in its own file.

use super::{Finding, Kind, find, without_overlaps};

/// Each text has «marks» around exactly what must be found of this kind, overlaps settled.
pub(super) fn check(kind: Kind, marked: &[&str]) {
    for marked in marked {
        let text = marked.replace(['«', '»'], "");
        let mut expected = Vec::new();
        let mut start = None;
        let mut position = 0;
        for character in marked.chars() {
            match character {
                '«' => start = Some(position),
                '»' => expected.push((start.take().unwrap(), position)),
                _ => position += 1,
            }
        }
        assert!(!expected.is_empty(), "nothing is marked in {marked:?}");
        assert_eq!(positions(kind, &text), expected, "in {marked:?}");
    }
}

/// Nothing of this kind is in any of the texts.
pub(super) fn check_none(kind: Kind, texts: &[&str]) {
    for text in texts {
        assert_eq!(positions(kind, text), [], "in {text:?}");
    }
}

fn positions(kind: Kind, text: &str) -> Vec<(usize, usize)> {
    let found = find(text).into_iter().filter(|finding| finding.kind == kind);
    found.map(|finding| (finding.start, finding.end)).collect()
}

fn kinds(text: &str) -> Vec<Kind> {
    find(text).into_iter().map(|finding| finding.kind).collect()
}

#[test]
fn positions_are_code_points() {
    let text = "Grüße 😀 漢字 e\u{301}: ada@example.com";
    let start = text.chars().position(|character| character == 'a').unwrap();
    assert_eq!(start, 15);
    assert_eq!(find(text), [Finding { kind: Kind::Email, start, end: start + "ada@example.com".len() }]);
}

#[test]
fn one_of_each() {
    let text = format!(
        "ada@example.com, +14155552671, 4111 1111 1111 1111, DE89370400440532013000, 123-45-6789, 192.0.2.1, \
         2001:db8::1, sk_live_{}",
        "aB3dE6gH".repeat(4),
    );
    assert_eq!(
        kinds(&text),
        [Kind::Email, Kind::Phone, Kind::Card, Kind::Iban, Kind::UsSsn, Kind::IpAddress, Kind::IpAddress, Kind::ApiKey]
    );
}

#[test]
fn the_longest_wins() {
    assert_eq!(kinds("4111111111111111@example.com"), [Kind::Email]);
    assert_eq!(kinds("415-555-2671@example.com"), [Kind::Email]);
    assert_eq!(kinds("::ffff:192.0.2.1"), [Kind::IpAddress]);
    assert_eq!(kinds("ada@example.com@example.org").len(), 1);
}

#[test]
fn overlaps_are_settled_by_length_then_kind_then_position() {
    let finding = |kind, start, end| Finding { kind, start, end };
    for (found, kept) in [
        (vec![], vec![]),
        // side by side is not an overlap
        (
            vec![finding(Kind::Card, 5, 9), finding(Kind::Phone, 0, 5)],
            vec![finding(Kind::Phone, 0, 5), finding(Kind::Card, 5, 9)],
        ),
        (vec![finding(Kind::ApiKey, 2, 4), finding(Kind::Email, 0, 9)], vec![finding(Kind::Email, 0, 9)]),
        (vec![finding(Kind::Phone, 0, 9), finding(Kind::Card, 0, 9)], vec![finding(Kind::Card, 0, 9)]),
        (vec![finding(Kind::Card, 4, 8), finding(Kind::Card, 1, 5)], vec![finding(Kind::Card, 1, 5)]),
        // the middle one loses to both neighbours, or beats both
        (
            vec![finding(Kind::Card, 0, 5), finding(Kind::Card, 4, 7), finding(Kind::Card, 6, 11)],
            vec![finding(Kind::Card, 0, 5), finding(Kind::Card, 6, 11)],
        ),
        (
            vec![finding(Kind::Card, 0, 3), finding(Kind::Card, 2, 9), finding(Kind::Card, 8, 11)],
            vec![finding(Kind::Card, 2, 9)],
        ),
    ] {
        assert_eq!(without_overlaps(found.clone()), kept, "{found:?}");
    }
}

#[test]
fn findings_are_sorted_and_apart() {
    let text = "1.2.3.4 a@b.co +14155552671 ".repeat(50);
    let found = find(&text);
    assert_eq!(found.len(), 150);
    assert!(found.windows(2).all(|pair| pair[0].end <= pair[1].start));
}

#[test]
fn nothing_in_nothing() {
    assert_eq!(find(""), []);
    assert_eq!(find("Hello world"), []);
}

/// Texts put together from pieces that detectors care about: nothing panics, findings are apart and inside the
/// text, and what stands on the lines before moves them and changes nothing else.
#[test]
fn findings_do_not_depend_on_where_the_text_stands() {
    const PIECES: [&str; 32] = [
        "4111 1111 1111 1111",
        "4111",
        "1111-",
        "0",
        "7",
        "12",
        "123-45-6789",
        "ssn ",
        "tel. ",
        "+1",
        "+44 20 ",
        "(415) ",
        "555-2671",
        "192.0.2.1",
        "2001:db8::1",
        "::",
        ":",
        ".",
        "..",
        "@",
        "ada@example",
        ".com",
        "DE89",
        "3704 0044 0532 ",
        "0130 00",
        "sk_live_",
        "0123456789abcdef",
        "x",
        " ",
        "-",
        "é",
        "漢",
    ];
    const BEFORE: &str = "漢字 😀\n";
    let mut state = 1_u64;
    let mut total = 0;
    for round in 0..5_000 {
        let mut text = String::new();
        for _ in 0..=round % 12 {
            // Knuth's MMIX generator: the same texts in every run.
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            text.push_str(PIECES[(state >> 59) as usize]);
        }
        let found = find(&text);
        assert!(found.iter().all(|finding| finding.start < finding.end), "{text:?}");
        assert!(found.windows(2).all(|pair| pair[0].end <= pair[1].start), "{text:?}");
        assert!(found.last().is_none_or(|last| last.end <= text.chars().count()), "{text:?}");
        total += found.len();
        let shift = BEFORE.chars().count();
        let moved: Vec<Finding> = found
            .into_iter()
            .map(|finding| Finding { start: finding.start + shift, end: finding.end + shift, ..finding })
            .collect();
        assert_eq!(find(&format!("{BEFORE}{text}")), moved, "{text:?}");
    }
    assert!(total > 1_000, "the pieces make up something to find, {total} in all");
}

/// A step for every pair of characters would be 10^11 steps for each of these: this test would not end.
#[test]
fn hostile_texts_take_linear_time() {
    const CHARACTERS: usize = 1 << 19;
    for (unit, findings_in_a_thousand_units) in [
        ("a", 0),
        ("1", 0),
        ("@", 0),
        (".", 0),
        (":", 0),
        ("+", 0),
        ("(", 0),
        (" ", 0),
        ("é", 0),
        ("a@", 0),
        ("a.", 0),
        ("1.", 0),
        ("1:", 0),
        ("1 ", 0),
        ("1-", 0),
        ("4111 ", 0),
        ("4000 0000 0000 0001 ", 0),
        ("+1", 0),
        ("+1 ", 0),
        ("call ", 0),
        ("call 1", 0),
        ("ssn ", 0),
        ("ssn:1", 0),
        ("000-00-0000 ", 0),
        ("911-911-9111 ", 0),
        ("911 ", 0),
        ("DE89", 0),
        ("DE89 ", 0),
        ("GT00 0000 0000 0000 0000 0000 0000 ", 0),
        ("sk_live_", 0),
        ("sk_live_000000000000000_", 0),
        ("a@b.", 0),
        ("a@a.a-", 0),
        ("f:", 0),
        ("::", 0),
        ("a@b.co ", 1000),
        ("1.2.3.4 ", 1000),
    ] {
        let units = CHARACTERS / unit.chars().count();
        let text = unit.repeat(units);
        let expected = units * findings_in_a_thousand_units / 1000;
        assert_eq!(find(&text).len(), expected, "{unit:?}");
    }
    // A shape that starts once and never ends.
    let run = "a".repeat(CHARACTERS);
    let digits = "1".repeat(CHARACTERS);
    assert_eq!(kinds(&format!("sk_live_{run}")), [Kind::ApiKey]);
    assert_eq!(kinds(&format!("{run}@{run}.{run}")), []);
    assert_eq!(kinds(&format!("+{digits}")), []);
    assert_eq!(kinds(&format!("ssn {digits}")), []);
}
