//! `Authorization` lines: `domain::credential` beside a plain reading of RFC 6750 and of "one credential or none".
//!
//! The input is the values of the lines, separated by the byte 0x1E.

#![no_main]

use claviger_domain::credential::{Credential, SECRET_BYTES_MAX};
use libfuzzer_sys::fuzz_target;

/// What a request presents, in the words of the rule.
#[derive(Debug, PartialEq, Eq)]
enum Reading<'a> {
    Missing,
    Malformed,
    Bearer(&'a str),
}

fuzz_target!(|input: &[u8]| {
    let lines: Vec<&[u8]> = if input.is_empty() { Vec::new() } else { input.split(|byte| *byte == 0x1E).collect() };
    let credential = Credential::from_authorization(lines.iter().copied());
    let shown = format!("{credential:?}");
    let reading = match credential {
        Credential::Missing => Reading::Missing,
        Credential::Malformed => Reading::Malformed,
        Credential::Bearer(secret) => Reading::Bearer(secret.expose()),
    };
    assert_eq!(reading, plain_reading(&lines));
    assert!(["Missing", "Malformed", "Bearer(PresentedSecret(redacted))"].contains(&&*shown), "{shown}");
});

/// Byte by byte, first to last: `B e a r e r SP`, characters of b64token, then any number of `=`.
fn plain_reading<'a>(lines: &[&'a [u8]]) -> Reading<'a> {
    let line = match lines {
        [] => return Reading::Missing,
        [line] => *line,
        _ => return Reading::Malformed,
    };
    let mut rest = line.iter().copied();
    for expected in *b"bearer " {
        if rest.next().map(|byte| byte.to_ascii_lowercase()) != Some(expected) {
            return Reading::Malformed;
        }
    }
    let (mut characters, mut is_padding) = (0, false);
    for byte in rest {
        match byte {
            b'=' if characters > 0 => is_padding = true,
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'+' | b'/' if !is_padding => {}
            _ => return Reading::Malformed,
        }
        characters += 1;
    }
    if characters == 0 || characters > SECRET_BYTES_MAX {
        return Reading::Malformed;
    }
    Reading::Bearer(std::str::from_utf8(&line["bearer ".len()..]).expect("b64token is ASCII"))
}
