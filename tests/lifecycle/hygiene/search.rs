//! Looks for texts in every form in which they may have been written down.

use std::collections::HashMap;

use regex::bytes::Regex;

const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const BASE64_URL: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// Finds any of some bytes in any form.
pub(super) struct Search {
    pattern: Regex,
    /// What each match is.
    names: HashMap<String, String>,
}

impl Search {
    /// For these bytes, each with a name to tell of it.
    pub(super) fn new(wanted: impl IntoIterator<Item = (String, Vec<u8>)>) -> Self {
        let mut names = HashMap::new();
        for (name, bytes) in wanted {
            for (form, written) in forms(&bytes) {
                names.entry(written).or_insert_with(|| format!("{name}, {form}"));
            }
        }
        let alternatives: Vec<String> = names.keys().map(|written| regex::escape(written)).collect();
        Self { pattern: Regex::new(&alternatives.join("|")).unwrap(), names }
    }

    /// For one text.
    pub(super) fn text(text: &str) -> Self {
        Self::new([(text.to_owned(), text.as_bytes().to_vec())])
    }

    /// What of it is in these bytes, and what stands around it.
    pub(super) fn find(&self, bytes: &[u8]) -> Option<String> {
        let found = self.pattern.find(bytes)?;
        let name = &self.names[str::from_utf8(found.as_bytes()).unwrap()];
        let around = &bytes[found.start().saturating_sub(100)..bytes.len().min(found.end() + 100)];
        Some(format!("{name}, in: {}", around.escape_ascii()))
    }
}

/// The bytes written one after the other.
pub(super) fn each(bytes: &[u8], write: fn(&u8) -> String, between: &str) -> String {
    bytes.iter().map(write).collect::<Vec<_>>().join(between)
}

fn forms(bytes: &[u8]) -> Vec<(&'static str, String)> {
    let hexadecimal = each(bytes, |byte| format!("{byte:02x}"), "");
    let percent = each(bytes, |byte| format!("%{byte:02x}"), "");
    let mut forms = vec![
        ("in upper hexadecimal", hexadecimal.to_uppercase()),
        ("in hexadecimal", hexadecimal),
        ("in upper percent-encoding", percent.to_uppercase()),
        ("in percent-encoding", percent),
        ("as numbers", each(bytes, u8::to_string, ", ")),
        ("as JSON numbers", each(bytes, u8::to_string, ",")),
    ];
    // What is no text is only looked for as one.
    if let Ok(text) = str::from_utf8(bytes) {
        forms.push(("in clear", text.to_owned()));
        forms.push(("backwards", text.chars().rev().collect()));
    }
    for symbols in [BASE64, BASE64_URL] {
        forms.extend([0, 4, 2].map(|first| ("in Base64", base64(bytes, first, symbols))));
    }
    forms
}

/// The characters of Base64 that hold bits of these bytes only. The first of them begins at bit 0, 4 or 2, as the first
/// byte is the first, second or third of its three.
fn base64(bytes: &[u8], first: usize, symbols: &[u8; 64]) -> String {
    let bit = |at: usize| usize::from(bytes[at / 8] >> (7 - at % 8) & 1);
    let starts = (first..=bytes.len() * 8 - 6).step_by(6);
    starts.map(|start| char::from(symbols[(start..start + 6).fold(0, |value, at| value << 1 | bit(at))])).collect()
}

/// What finds nothing proves nothing: each form is found, wherever it begins.
#[test]
fn every_form_is_found() {
    let search = Search::text("s3cret_~?>");
    for written in [
        "s3cret_~?>",
        ">?~_terc3s",
        "7333637265745f7e3f3e",
        "7333637265745F7E3F3E",
        "%73%33%63%72%65%74%5f%7e%3f%3e",
        "%73%33%63%72%65%74%5F%7E%3F%3E",
        "[1, 115, 51, 99, 114, 101, 116, 95, 126, 63, 62]",
        "[1,115,51,99,114,101,116,95,126,63,62]",
        // Of "s3cret_~?>!", "=s3cret_~?>!" and "==s3cret_~?>!".
        "czNjcmV0X34/PiE=",
        "czNjcmV0X34_PiE=",
        "PXMzY3JldF9+Pz4h",
        "PXMzY3JldF9-Pz4h",
        "PT1zM2NyZXRffj8+IQ==",
        "PT1zM2NyZXRffj8-IQ==",
    ] {
        assert!(search.find(format!("\u{fffd}x{written}x").as_bytes()).is_some(), "{written}");
    }
    assert_eq!(search.find(b"S3CRET_~?> s3cret_~? PXMzY3JldF9"), None);
}
