//! Payment cards: 13 to 19 digits, in one piece or in groups parted by single spaces or dashes, that a card
//! scheme could have issued (ISO/IEC 7812: issuer number, Luhn check digit).

use std::ops::{Range, RangeInclusive};

use super::{at, before};

const DIGITS_MIN: usize = 13;
const DIGITS_MAX: usize = 19;

/// A scheme's range of leading digits, and the lengths of its numbers.
struct Scheme {
    leading: RangeInclusive<u32>,
    digits: &'static [usize],
}

const fn scheme(leading: RangeInclusive<u32>, digits: &'static [usize]) -> Scheme {
    Scheme { leading, digits }
}

/// Ranges as the schemes publish them. The two ends of a range have the same number of digits.
const SCHEMES: [Scheme; 23] = [
    // Visa
    scheme(4..=4, &[13, 16, 19]),
    // Mastercard
    scheme(51..=55, &[16]),
    scheme(2221..=2720, &[16]),
    // American Express
    scheme(34..=34, &[15]),
    scheme(37..=37, &[15]),
    // Discover
    scheme(6011..=6011, &[16, 17, 18, 19]),
    scheme(644..=649, &[16, 17, 18, 19]),
    scheme(65..=65, &[16, 17, 18, 19]),
    // Diners Club
    scheme(300..=305, &[14, 16, 17, 18, 19]),
    scheme(3095..=3095, &[14, 16, 17, 18, 19]),
    scheme(36..=36, &[14, 15, 16, 17, 18, 19]),
    scheme(38..=39, &[14, 16, 17, 18, 19]),
    // JCB
    scheme(3528..=3589, &[16, 17, 18, 19]),
    // UnionPay
    scheme(62..=62, &[16, 17, 18, 19]),
    // RuPay (and UnionPay's 81)
    scheme(60..=60, &[16]),
    scheme(81..=82, &[16, 17, 18, 19]),
    // Mir
    scheme(2200..=2204, &[16, 17, 18, 19]),
    // Troy
    scheme(9792..=9792, &[16]),
    // Maestro, Elo and Verve
    scheme(50..=50, &[13, 14, 15, 16, 17, 18, 19]),
    scheme(56..=58, &[13, 14, 15, 16, 17, 18, 19]),
    scheme(6304..=6304, &[13, 14, 15, 16, 17, 18, 19]),
    scheme(6759..=6759, &[13, 14, 15, 16, 17, 18, 19]),
    scheme(676..=677, &[13, 14, 15, 16, 17, 18, 19]),
];

pub(super) fn detect(text: &[u8], found: &mut Vec<Range<usize>>) {
    let mut position = 0;
    while position < text.len() {
        if text[position].is_ascii_digit() {
            let groups = read_groups(text, position);
            position = groups.last().map_or(position + 1, |group| group.end);
            detect_in_groups(text, &groups, found);
        } else {
            position += 1;
        }
    }
}

/// The groups of digits from `start` on, as far as single spaces or dashes tie them together.
fn read_groups(text: &[u8], start: usize) -> Vec<Range<usize>> {
    let mut groups = Vec::new();
    let mut start = start;
    while at(text, start).is_ascii_digit() {
        let end = (start..text.len()).find(|index| !text[*index].is_ascii_digit()).unwrap_or(text.len());
        groups.push(start..end);
        if !matches!(at(text, end), b' ' | b'-') {
            break;
        }
        start = end + 1;
    }
    groups
}

/// Tries every stretch of whole groups that has few enough digits: a number may stand between other numbers.
fn detect_in_groups(text: &[u8], groups: &[Range<usize>], found: &mut Vec<Range<usize>>) {
    let mut first = 0;
    while first < groups.len() {
        if let Some(last) = longest_card_from(text, &groups[first..]) {
            found.push(groups[first].start..groups[first + last].end);
            first += last;
        }
        first += 1;
    }
}

/// The index of the last group of the longest card number that starts with the first group.
fn longest_card_from(text: &[u8], groups: &[Range<usize>]) -> Option<usize> {
    let start = groups.first()?.start;
    if before(text, start).is_ascii_alphabetic() || is_fraction(text, start) {
        return None;
    }
    let mut digits = Vec::with_capacity(DIGITS_MAX);
    let mut longest = None;
    for (index, group) in groups.iter().enumerate() {
        if digits.len() + group.len() > DIGITS_MAX {
            break;
        }
        digits.extend(text[group.clone()].iter().map(|digit| u32::from(digit - b'0')));
        if digits.len() >= DIGITS_MIN
            && !at(text, group.end).is_ascii_alphabetic()
            && !(at(text, group.end) == b'.' && at(text, group.end + 1).is_ascii_digit())
            && is_issued(&digits)
            && passes_luhn(&digits)
        {
            longest = Some(index);
        }
        // Cards are printed in groups of four or so. Columns of small numbers are not cards, although one in
        // ten of their stretches passes the check digit.
        if group.len() < if index == 0 { 4 } else { 3 } {
            break;
        }
    }
    longest
}

/// Whether the digits at `start` are the decimals of a number.
fn is_fraction(text: &[u8], start: usize) -> bool {
    start >= 2 && text[start - 1] == b'.' && text[start - 2].is_ascii_digit()
}

fn is_issued(digits: &[u32]) -> bool {
    SCHEMES.iter().any(|scheme| {
        let length = scheme.leading.end().ilog10() as usize + 1;
        let leading = digits[..length].iter().fold(0, |number, digit| number * 10 + digit);
        scheme.leading.contains(&leading) && scheme.digits.contains(&digits.len())
    })
}

fn passes_luhn(digits: &[u32]) -> bool {
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(index, digit)| match (index % 2, digit * 2) {
            (0, _) => *digit,
            (_, doubled) if doubled > 9 => doubled - 9,
            (_, doubled) => doubled,
        })
        .sum();
    sum.is_multiple_of(10)
}

#[cfg(test)]
mod tests {
    use super::super::Kind;
    use super::super::tests::{check, check_none};

    #[test]
    fn found() {
        check(
            Kind::Card,
            &[
                "«4111111111111111»",
                "card «4111 1111 1111 1111», please",
                "«4111-1111-1111-1111».",
                "«4012888888881881» and «5555555555554444»",
                "«2223003122003222» «5105105105105100»",
                "amex «3782 822463 10005», «371449635398431»",
                "«6011111111111117» «6011 0009 9013 9424»",
                "diners «30569309025904» «3852 000002 3237»",
                "jcb «3530111333300000»",
                "unionpay «6200000000000005»",
                "nineteen digits «6205500000000000004»",
                "thirteen digits «4222222222222»",
                "maestro «6759649826438453»",
                "mir «2200000000000004»",
                "2024-01-15 «4111 1111 1111 1111» 12/27 123",
                "12 «4111 1111 1111 1111» 99",
                "card_«4111111111111111»",
                "card:«4111111111111111»;",
                "\"«4111111111111111»\"",
                "«4111\u{A0}1111\u{A0}1111\u{A0}1111»",
                "«4111–1111–1111–1111»",
                "卡号«4111111111111111»谢谢",
                "«４１１１１１１１１１１１１１１１»",
                "«4111111111111111»\n«4242424242424242»",
            ],
        );
    }

    #[test]
    fn near_misses() {
        check_none(
            Kind::Card,
            &[
                // wrong check digit
                "4111111111111112",
                "4111 1111 1111 1112",
                "378282246310006",
                "5555555555554445",
                // passes Luhn, but no scheme issues it
                "0000000000000000",
                "1000000000000008",
                "9999999999999995",
                "7000000000000005",
                // right scheme, wrong length
                "55555555555554",
                "411111111111116",
                // too short, too long
                "424242424242",
                "41111111111111111111",
                "4111111111111111000000000000",
                // not in one piece
                "4111  1111  1111  1111",
                "4111--1111--1111--1111",
                "4111.1111.1111.1111",
                "4111, 1111, 1111, 1111",
                "4111 1111\n1111 1111",
                // small numbers in a row
                "4 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1",
                "41 11 11 11 11 11 11 11",
                // inside a word, an identifier or a fraction
                "a4111111111111111",
                "4111111111111111b",
                "0.4111111111111111",
                "4111111111111111.5",
                "1700000000000",
                "550e8400-e29b-41d4-a716-446655440000",
            ],
        );
    }
}
