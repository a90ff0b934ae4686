//! Telephone numbers, where the form is unmistakable: international (`+44 20 7946 0958`), North American in
//! groups (`(415) 555-2671`), and a national number in any grouping after a word that says what it is
//! (`Tel. 020 7946 0958`). Bare digits are far more often an order or a time than a telephone.

use std::ops::Range;
use std::sync::LazyLock;

use regex::bytes::Regex;

use super::{at, before, each_match};

static INTERNATIONAL: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"(?-u)\+[1-9]").expect("the pattern is a constant"));

/// Area code and exchange start with 2 to 9.
static NORTH_AMERICAN: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"(?-u)(?:1[ .-]?)?(?:\([2-9][0-9]{2}\) ?|[2-9][0-9]{2}[ .-])[2-9][0-9]{2}[ .-]?[0-9]{4}")
        .expect("the pattern is a constant")
});

static ANNOUNCED: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(
        r"(?i-u)\b(?:phone|telephone|tel|mobile|mob|cell|fax|call|text|sms|whatsapp|dial|ring)\b[^0-9+\n]{0,16}[0-9]",
    )
    .expect("the pattern is a constant")
});

/// E.164: at most fifteen digits, country code included. Seven or fewer are no complete number anywhere.
const INTERNATIONAL_DIGITS: (usize, usize) = (8, 15);
/// The country code 1 and a number, which always has ten.
const NORTH_AMERICAN_DIGITS: (usize, usize) = (11, 11);
/// With the trunk prefix 0.
const NATIONAL_DIGITS: (usize, usize) = (9, 12);

pub(super) fn detect(text: &[u8], found: &mut Vec<Range<usize>>) {
    each_match(&INTERNATIONAL, text, found, |matched| {
        let first = matched.start + 1;
        if before(text, matched.start).is_ascii_alphanumeric() {
            return None;
        }
        let limits = if text[first] == b'1' { NORTH_AMERICAN_DIGITS } else { INTERNATIONAL_DIGITS };
        Some(matched.start..read_number(text, first, limits)?)
    });
    each_match(&NORTH_AMERICAN, text, found, |range| {
        (!is_tied(text, &range) && is_assignable(&text[range.clone()])).then_some(range)
    });
    each_match(&ANNOUNCED, text, found, |matched| {
        let start = matched.end - 1;
        let end = match text[start] {
            b'0' => read_number(text, start, NATIONAL_DIGITS)?,
            b'1' => read_number(text, start, NORTH_AMERICAN_DIGITS)?,
            _ => read_number(text, start, (10, 10))?,
        };
        let is_national = text[start] == b'0' && at(text, start + 1) != b'0';
        let range = start..end;
        (!is_tied(text, &range) && (is_national || is_assignable(&text[range.clone()]))).then_some(range)
    });
}

/// Where a number that starts at `start` ends: after the last group of digits with which it has at least
/// `fewest` and at most `most`. So a number that follows, or the rest of the sentence, is left out.
fn read_number(text: &[u8], start: usize, (fewest, most): (usize, usize)) -> Option<usize> {
    let mut position = start;
    let mut digits = 0;
    let mut end = None;
    loop {
        while at(text, position).is_ascii_digit() {
            digits += 1;
            position += 1;
            if digits > most {
                return end;
            }
        }
        if digits >= fewest {
            end = Some(position);
        }
        match separator_length(text, position) {
            Some(length) if at(text, position + length).is_ascii_digit() => position += length,
            _ => return end,
        }
    }
}

/// How many bytes part one group of digits from the next: a space, dash, dot or slash, with a parenthesis on
/// either side of it or without.
fn separator_length(text: &[u8], position: usize) -> Option<usize> {
    let is_separator = |byte: u8| matches!(byte, b' ' | b'-' | b'.' | b'/');
    let is_parenthesis = |byte: u8| matches!(byte, b'(' | b')');
    let (first, second) = (at(text, position), at(text, position + 1));
    match (is_separator(first), is_parenthesis(first)) {
        (true, _) if is_parenthesis(second) => Some(2),
        (_, true) if is_separator(second) => Some(2),
        (true, _) | (_, true) => Some(1),
        _ => None,
    }
}

/// Whether the number goes on, or is the end of something longer. An extension (`x12`) may follow.
fn is_tied(text: &[u8], range: &Range<usize>) -> bool {
    let (left, right) = (before(text, range.start), at(text, range.end));
    left.is_ascii_alphanumeric()
        || (matches!(left, b'-' | b'.' | b'/') && range.start >= 2 && text[range.start - 2].is_ascii_digit())
        || (right.is_ascii_alphanumeric() && !matches!(right, b'x' | b'X'))
        || (matches!(right, b'-' | b'.' | b'/' | b':') && at(text, range.end + 1).is_ascii_digit())
}

/// Whether the last ten digits are a North American number that could be given out: neither the area code nor
/// the exchange starts with 0 or 1 or is a service code such as 911.
fn is_assignable(number: &[u8]) -> bool {
    let digits: Vec<u8> = number.iter().copied().filter(u8::is_ascii_digit).collect();
    let Some(national) = digits.len().checked_sub(10).map(|start| &digits[start..]) else {
        return false;
    };
    let is_code = |code: &[u8]| code[0] >= b'2' && !code.ends_with(b"11");
    is_code(&national[..3]) && is_code(&national[3..6])
}

#[cfg(test)]
mod tests {
    use super::super::Kind;
    use super::super::tests::{check, check_none};

    #[test]
    fn found() {
        check(
            Kind::Phone,
            &[
                "«+14155552671»",
                "«+1 415 555 2671»",
                "«+1 (415) 555-2671»",
                "«+1-415-555-2671».",
                "«+1.415.555.2671», thanks",
                "«+44 20 7946 0958»",
                "«+44 (0)20 7946 0958»",
                "«+442079460958»",
                "«+49 (30) 901820»",
                "«+49/30/901820»",
                "«+33 1 42 68 53 00»",
                "«+81-3-1234-5678»",
                "«+86 138 0013 8000»",
                "tel:«+14155552671»",
                "wa.me/«+442079460958»",
                "«415-555-2671»",
                "«(415) 555-2671»",
                "«(415)555-2671»",
                "«415.555.2671»",
                "«415 555 2671»",
                "«1-415-555-2671»",
                "«1 (415) 555-2671»",
                "Room 5 «415-555-2671»",
                "«415-555-2671»x12 or «415-555-2671» ext. 12",
                "«415–555–2671»",
                "«+1 415 555 2671» 5 people",
                "«+14155552671» 4111",
                "«+442079460958». 12 people",
                "«+14155552671»/«+442079460958»",
                "call «4155552671» now",
                "Tel.: «020 7946 0958»",
                "phone (home): «06 12 34 56 78»",
                "Tel. («030) 901820-00»",
                "mobile «07700 900123», fax «0151/2345678»",
                "phone «14155552671»",
                "电话«+86 138 0013 8000»。",
            ],
        );
    }

    #[test]
    fn near_misses() {
        check_none(
            Kind::Phone,
            &[
                "4155552671",
                "1700000000",
                "call 1700000000",
                "555-2671",
                "+1 415 555",
                "+1 415 555 26711",
                "+0123456789",
                "+1234567",
                "+44 20 79",
                "+1234567890123456",
                "x+12345678",
                "2+22345678",
                "1 + 12345678901",
                "115-555-2671",
                "415-155-2671",
                "911-555-2671",
                "415-911-2671",
                "415-555-267",
                "415-555-26711",
                "a415-555-2671",
                "415-555-2671b",
                "99-415-555-2671",
                "415-555-2671-99",
                "415--555--2671",
                "415/555/2671",
                "2024-01-15",
                "2024-01-15 10:30:00",
                "call 2024-01-15",
                "call on 01-15-2024 10:30",
                "text 12345",
                "recall 4155552671",
                "call\n4155552671",
                "call 0044 20 79",
                "978-0-306-40615-7",
                "192.168.100.200",
                "123-45-6789",
            ],
        );
    }

    #[test]
    fn a_false_start_hides_nothing() {
        check(
            Kind::Phone,
            &["+1 «+14155552671»", "911 «415-555-2671»", "411 555 «212 555 2671»", "call call call «4155552671»"],
        );
    }
}
