//! E-mail addresses, as people write them: the unquoted form of RFC 5321, with letters of Latin, Greek and
//! Cyrillic (RFC 6531), less the punctuation that in a sentence stands around an address, not in it.

use std::ops::Range;

use super::fold::LETTER;
use super::{at, before};

const LOCAL_MAX: usize = 64;
const DOMAIN_MAX: usize = 253;
const LABEL_MAX: usize = 63;

pub(super) fn detect(text: &[u8], found: &mut Vec<Range<usize>>) {
    for (sign, _) in text.iter().enumerate().filter(|(_, byte)| **byte == b'@') {
        if let (Some(start), Some(end)) = (local_start(text, sign), domain_end(text, sign + 1)) {
            found.push(start..end);
        }
    }
}

/// Where the local part that ends at `end` starts.
fn local_start(text: &[u8], end: usize) -> Option<usize> {
    let mut start = end;
    while start > 0 && is_local(text[start - 1]) && !(text[start - 1] == b'.' && at(text, start) == b'.') {
        start -= 1;
        // A dot kept at the front may still be trimmed, so one more than the limit is looked at.
        if end - start > LOCAL_MAX + 1 {
            return None;
        }
    }
    // Quotes, bullets and the end of an ellipsis touch addresses without being part of them.
    while start < end && matches!(text[start], b'.' | b'-' | b'\'') {
        start += 1;
    }
    let length = end - start;
    ((1..=LOCAL_MAX).contains(&length) && before(text, end) != b'.').then_some(start)
}

/// Where the domain that starts at `start` ends: the longest run of labels whose last could be a top-level
/// domain. What follows (a full stop, a dash) belongs to the sentence.
fn domain_end(text: &[u8], start: usize) -> Option<usize> {
    let mut end = None;
    let mut label_start = start;
    let first = label(text, start);
    loop {
        let label = label(text, label_start);
        if label.is_empty() || label.len() > LABEL_MAX || label[0] == b'-' || label_start - start > DOMAIN_MAX {
            break;
        }
        let label_end = label_start + label.len();
        if label_start > start
            && let Some(length) = top_level_length(label)
            && label_start + length - start <= DOMAIN_MAX
        {
            end = Some(label_start + length);
        }
        if label.ends_with(b"-") || at(text, label_end) != b'.' {
            break;
        }
        label_start = label_end + 1;
    }
    let end = end?;
    (!is_image_density(first, &text[start..end])).then_some(end)
}

/// The label at `start`, or one byte more than a label can have.
fn label(text: &[u8], start: usize) -> &[u8] {
    let longest = text.len().min(start + LABEL_MAX + 1);
    let end = (start..longest).find(|index| !is_label(text[*index])).unwrap_or(longest);
    &text[start..end]
}

/// How much of `label` could be a top-level domain: two letters or more, up to a dash, or an encoded name.
fn top_level_length(label: &[u8]) -> Option<usize> {
    let is_encoded = label.len() > 4 && label[..4].eq_ignore_ascii_case(b"xn--") && !label.ends_with(b"-");
    if is_encoded {
        return Some(label.len());
    }
    let length = label.iter().position(|byte| *byte == b'-').unwrap_or(label.len());
    (length >= 2 && label[..length].iter().all(|byte| byte.is_ascii_alphabetic() || *byte == LETTER)).then_some(length)
}

/// `logo@2x.png` is the name of an image.
fn is_image_density(first_label: &[u8], domain: &[u8]) -> bool {
    let is_density = first_label.len() == 2 && first_label[0].is_ascii_digit() && first_label[1] == b'x';
    let images: [&[u8]; 7] = [b"png", b"jpg", b"jpeg", b"gif", b"webp", b"avif", b"svg"];
    is_density && images.iter().any(|image| domain[3..].eq_ignore_ascii_case(image))
}

fn is_local(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == LETTER || matches!(byte, b'.' | b'_' | b'%' | b'+' | b'-' | b'\'')
}

fn is_label(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == LETTER || byte == b'-'
}

#[cfg(test)]
mod tests {
    use super::super::tests::{check, check_none};
    use super::super::{Kind, is_email};

    #[test]
    fn found() {
        check(
            Kind::Email,
            &[
                "«ada@example.com»",
                "Write to «ada@example.com».",
                "Write to «ada@example.com»... or not",
                "«ada@example.com», «bob@example.org»; «c@d.io»",
                "<«ada@example.com»>",
                "(«ada@example.com»)",
                "'«ada@example.com»'",
                "\"«ada@example.com»\"",
                "mailto:«ada@example.com»?subject=x",
                "email=«ada@example.com»&x=1",
                "«first.last+tag@mail.example.co.uk»",
                "«o'brien@example.ie»",
                "«under_score%x@a-b.example»",
                "«1234@example.museum»",
                "«ADA@EXAMPLE.COM»",
                "...«ada@example.com»",
                "-«ada@example.com»-",
                "a..«b@example.com»",
                "«ada@example.com»-and more",
                "«ada@example.com».123",
                "«ada@xn--bcher-kva.example» «a@b.xn--p1ai»",
                "«josé@example.com»",
                "«почта@пример.рф»",
                "联系«bob@example.com»谢谢",
                "😀😀«bob@example.com»",
                "@«bob@example.com»",
                "«a@b.co»@",
                "bob＠ or «bob＠example.com»",
            ],
        );
        let longest = format!("«{}@example.com»", "a".repeat(64));
        check(Kind::Email, &[&longest]);
    }

    #[test]
    fn near_misses() {
        let long_local = format!("{}@example.com", "a".repeat(65));
        let long_label = format!("a@{}.com", "b".repeat(64));
        check_none(
            Kind::Email,
            &[
                "@example.com",
                "ada@",
                "ada@localhost",
                "ada@example",
                "ada@example.c",
                "ada@.com",
                "ada@example..com",
                "ada@-example.com",
                "ada@example-.com",
                "ada.@example.com",
                "ada @example.com",
                "ada@ example.com",
                "ada@exa mple.com",
                "ada at example dot com",
                "ada#example.com",
                "react@18.2.0",
                "ada@10.0.0.1",
                "logo@2x.png and logo@3x.JPG",
                "@mention and @another.mention",
                &long_local,
                &long_label,
            ],
        );
    }

    #[test]
    fn one_whole_address() {
        for (text, expected) in [
            ("ada@example.com", true),
            ("josé@example.com", true),
            ("ada@example.com ", false),
            (" ada@example.com", false),
            ("ada@example.com, bob@example.com", false),
            ("<ada@example.com>", false),
            ("ada", false),
            ("", false),
        ] {
            assert_eq!(is_email(text), expected, "{text:?}");
        }
    }
}
