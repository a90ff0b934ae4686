//! United States social security numbers: `123-45-6789` with the parts that the Social Security
//! Administration can issue. Nine bare digits are one only after a word that says so.

use std::ops::Range;
use std::sync::LazyLock;

use regex::bytes::Regex;

use super::{each_match, is_piece};

static GROUPED: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"(?-u)[0-9]{3}-[0-9]{2}-[0-9]{4}|[0-9]{3} [0-9]{2} [0-9]{4}").expect("the pattern is a constant")
});

static ANNOUNCED: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"(?i-u)\b(?:ssn|social[ -]security)\b[^0-9\n]{0,16}[0-9]{9}").expect("the pattern is a constant")
});

/// Numbers printed in advertisements and forms, which were never or are no longer anyone's.
const PUBLISHED: [&[u8]; 2] = [b"078051120", b"219099999"];

pub(super) fn detect(text: &[u8], found: &mut Vec<Range<usize>>) {
    each_match(&GROUPED, text, found, |range| {
        let separator = text[range.start + 3];
        (!is_piece(text, &range, &[b'-', b'.', separator]) && is_issued(&text[range.clone()])).then_some(range)
    });
    each_match(&ANNOUNCED, text, found, |matched| {
        let range = matched.end - 9..matched.end;
        (!is_piece(text, &range, b"-.") && is_issued(&text[range.clone()])).then_some(range)
    });
}

fn is_issued(number: &[u8]) -> bool {
    let digits: Vec<u8> = number.iter().copied().filter(u8::is_ascii_digit).collect();
    let (area, group, serial) = (&digits[..3], &digits[3..5], &digits[5..]);
    area != b"000"
        && area != b"666"
        && area[0] != b'9'
        && group != b"00"
        && serial != b"0000"
        && !PUBLISHED.contains(&digits.as_slice())
}

#[cfg(test)]
mod tests {
    use super::super::Kind;
    use super::super::tests::{check, check_none};

    #[test]
    fn found() {
        check(
            Kind::UsSsn,
            &[
                "«123-45-6789»",
                "My SSN is «123-45-6789».",
                "«001-01-0001» and «899-99-9999»",
                "«665-45-6789» «667-45-6789»",
                "«123 45 6789»",
                "(«123-45-6789»)",
                "«123–45–6789»",
                "ssn=«123456789»;",
                "SSN: «123456789»",
                "social security number: «123456789»",
                "7 «123-45-6789» 8",
                "ssn_«123-45-6789»",
                "社保«123-45-6789»号",
            ],
        );
    }

    #[test]
    fn near_misses() {
        check_none(
            Kind::UsSsn,
            &[
                "000-45-6789",
                "666-45-6789",
                "900-45-6789",
                "999-99-9999",
                "987-65-4321",
                "123-00-6789",
                "123-45-0000",
                "078-05-1120",
                "219-09-9999",
                "SSN 000456789",
                "SSN 078051120",
                "123456789",
                "SSN 1234567890",
                "assn 123456789",
                "SSN\n123456789",
                "12-345-6789",
                "123-456-789",
                "123-45-678",
                "123-45-67890",
                "1123-45-6789",
                "a123-45-6789",
                "123-45-6789b",
                "1-123-45-6789",
                "123-45-6789-1",
                "123-45 6789",
                "123 45-6789",
                "11 123 45 6789",
                "123.45.6789",
                "123--45--6789",
            ],
        );
    }

    #[test]
    fn a_false_start_hides_nothing() {
        check(Kind::UsSsn, &["000-12-3456 «123-45-6789»", "ssn ssn ssn «123456789»"]);
    }
}
