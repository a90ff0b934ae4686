//! The text as the detectors see it: one byte for each code point.
//!
//! An index into the folded text *is* the position that the answer gives, whatever the text is written in,
//! and a number is found whether it was typed on a keyboard, pasted from a word processor (no-break spaces,
//! typographic dashes) or written with full-width characters.

/// Stands for any letter that may be part of an e-mail address without being ASCII.
pub(super) const LETTER: u8 = 0xE0;
/// Stands for everything else.
const OTHER: u8 = 0x80;

/// The folded form of `text`, as many bytes long as `text` has code points.
pub(super) fn fold(text: &str) -> Vec<u8> {
    text.chars().map(fold_one).collect()
}

fn fold_one(character: char) -> u8 {
    match character {
        '\0'..='\x7F' => character as u8,
        '\u{A0}' | '\u{2000}'..='\u{200A}' | '\u{202F}' | '\u{205F}' | '\u{3000}' => b' ',
        '\u{2010}'..='\u{2015}' | '\u{2212}' => b'-',
        // Full-width forms are ASCII, shifted.
        '\u{FF01}'..='\u{FF5E}' => (character as u32 - 0xFEE0) as u8,
        // Combining marks: a letter may come in two code points.
        '\u{300}'..='\u{36F}' => LETTER,
        // Latin, Greek and Cyrillic. Letters of scripts that write words together, or tie small words to the
        // next, belong to the sentence around an address far more often than to the address.
        '\u{80}'..='\u{52F}' | '\u{1E00}'..='\u{1FFF}' if character.is_alphanumeric() => LETTER,
        _ => OTHER,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_byte_for_each_code_point() {
        let text = "aé漢😀e\u{301}\u{A0}–５＠\0\n";
        assert_eq!(fold(text).len(), text.chars().count());
        assert_eq!(
            fold(text),
            [b'a', LETTER, OTHER, OTHER, b'e', LETTER, b' ', b'-', b'5', b'@', 0, b'\n'],
            "each in its place"
        );
    }

    #[test]
    fn no_stand_in_is_a_letter_or_digit_to_a_detector() {
        assert!(!LETTER.is_ascii_alphanumeric() && !OTHER.is_ascii_alphanumeric());
    }
}
