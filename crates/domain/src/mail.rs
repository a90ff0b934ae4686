//! Mails: to whom, about what, and what they say.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::key::{Name, is_deceptive};
use crate::limits;

/// An e-mail address: `local@domain` in ASCII, without quotes, comments or a name. Nothing in it can end a line or begin
/// another address.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct EmailAddress(String);

/// The text is not an e-mail address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be an e-mail address such as ada@example.com, of at most {} bytes", limits::EMAIL_BYTES_MAX)]
pub struct EmailAddressError;

/// Longest part before the `@` (RFC 5321).
const LOCAL_BYTES_MAX: usize = 64;
const LABEL_BYTES_MAX: usize = 63;

impl EmailAddress {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What stands before the `@`, and what after it.
    pub fn parts(&self) -> (&str, &str) {
        self.0.split_once('@').expect("an address has an @")
    }
}

impl FromStr for EmailAddress {
    type Err = EmailAddressError;

    fn from_str(text: &str) -> Result<Self, EmailAddressError> {
        let (local, domain) = text.split_once('@').ok_or(EmailAddressError)?;
        // The `atext` of RFC 5322.
        let is_atom = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~".contains(&byte);
        let is_local = local.split('.').all(|atom| !atom.is_empty() && atom.bytes().all(is_atom));
        let is_label = |label: &str| {
            let allowed = label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
            (1..=LABEL_BYTES_MAX).contains(&label.len()) && allowed && !label.starts_with('-') && !label.ends_with('-')
        };
        if text.len() <= limits::EMAIL_BYTES_MAX
            && local.len() <= LOCAL_BYTES_MAX
            && is_local
            && domain.split('.').all(is_label)
        {
            Ok(Self(text.to_owned()))
        } else {
            Err(EmailAddressError)
        }
    }
}

impl TryFrom<String> for EmailAddress {
    type Error = EmailAddressError;

    fn try_from(text: String) -> Result<Self, EmailAddressError> {
        text.parse()
    }
}

impl From<EmailAddress> for String {
    fn from(address: EmailAddress) -> Self {
        address.0
    }
}

impl fmt::Display for EmailAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A mail of plain text. It may hold a one-time link, so it has no `Debug`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mail {
    to: EmailAddress,
    name: Option<Name>,
    subject: String,
    text: String,
}

/// The texts cannot be those of a mail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MailError {
    /// Nothing, too long, or with characters that end a line.
    #[error("the subject must have 1 to {} characters and no control characters", limits::MAIL_SUBJECT_CHARS_MAX)]
    Subject,
    /// Too long.
    #[error("the text is longer than {} bytes", limits::MAIL_TEXT_BYTES_MAX)]
    Text,
}

impl Mail {
    /// A mail to somebody, of whom the name may be known.
    pub fn new(
        to: EmailAddress,
        name: Option<Name>,
        subject: impl Into<String>,
        text: impl Into<String>,
    ) -> Result<Self, MailError> {
        let (subject, text) = (subject.into(), text.into());
        let is_long = subject.chars().count() > limits::MAIL_SUBJECT_CHARS_MAX;
        if subject.trim().is_empty() || is_long || subject.chars().any(is_deceptive) {
            return Err(MailError::Subject);
        }
        if text.len() > limits::MAIL_TEXT_BYTES_MAX {
            return Err(MailError::Text);
        }
        Ok(Self { to, name, subject, text })
    }

    /// To whom.
    pub fn to(&self) -> &EmailAddress {
        &self.to
    }

    /// What they are called.
    pub fn name(&self) -> Option<&Name> {
        self.name.as_ref()
    }

    /// What it is about.
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// What it says.
    pub fn text(&self) -> &str {
        &self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_one_address_and_nothing_else() {
        for good in ["ada@example.com", "a.b+c_d@x-y.example", "o'brien@localhost", "1@2.3"] {
            assert_eq!(good.parse::<EmailAddress>().unwrap().as_str(), good);
        }
        assert_eq!("ada@example.com".parse::<EmailAddress>().unwrap().parts(), ("ada", "example.com"));
        let long = format!("{}@{}.com", "a".repeat(64), "b".repeat(63));
        assert!(long.parse::<EmailAddress>().is_ok());
        for bad in [
            "",
            "@",
            "ada",
            "ada@",
            "@example.com",
            "ada@@example.com",
            "a b@example.com",
            "ada@example.com\r\nBcc: eve@example.com",
            "ada@example.com,eve@example.com",
            "<ada@example.com>",
            "\"a b\"@example.com",
            "ada@[127.0.0.1]",
            ".ada@example.com",
            "a..b@example.com",
            "ada@-example.com",
            "ada@example..com",
            "ada@example.com.",
            "ädä@example.com",
            &format!("{}@example.com", "a".repeat(65)),
            &format!("ada@{}.com", "b".repeat(64)),
            &format!("ada@{}", ["b"; 130].join(".")),
        ] {
            assert!(bad.parse::<EmailAddress>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_subject_is_one_line() {
        let to: EmailAddress = "ada@example.com".parse().unwrap();
        let subject = |subject: &str| Mail::new(to.clone(), None, subject, "x").map(drop);
        assert_eq!(subject("Müller & Söhne"), Ok(()));
        for bad in ["", " ", "a\r\nBcc: eve@example.com", "a\nb", "a\u{202e}b", &"x".repeat(201)] {
            assert_eq!(subject(bad), Err(MailError::Subject), "{bad:?}");
        }
        let long = "x".repeat(limits::MAIL_TEXT_BYTES_MAX + 1);
        assert_eq!(Mail::new(to, None, "x", long).map(drop), Err(MailError::Text));
    }
}
