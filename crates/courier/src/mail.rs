//! One mail: by SMTP, or into a folder where there is no SMTP server.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::{Duration, SystemTime};

use claviger_domain::mail::{EmailAddress, Mail};
use lettre::message::{Mailbox, SinglePart};
use lettre::transport::smtp::client::{Certificate, Tls, TlsParameters};
use lettre::transport::smtp::{AsyncSmtpTransportBuilder, Error as SmtpError};
use lettre::{Address, AsyncSmtpTransport, AsyncTransport as _, Message, Tokio1Executor};
use tokio::fs;
use tokio::io::AsyncWriteExt as _;
use tokio::time::timeout;
use url::Url;

use crate::authorities::Authorities;

/// Who mails are from: `Claviger <keys@example.com>`, or the address alone.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sender(Mailbox);

impl FromStr for Sender {
    type Err = MailerError;

    fn from_str(text: &str) -> Result<Self, MailerError> {
        let mailbox: Mailbox = text.parse().map_err(|_| MailerError::Sender)?;
        let is_one_line = !text.chars().any(claviger_domain::key::is_deceptive);
        let is_address = mailbox.email.to_string().parse::<EmailAddress>().is_ok();
        if is_one_line && is_address { Ok(Self(mailbox)) } else { Err(MailerError::Sender) }
    }
}

/// Where the SMTP server is: `smtps://user:password@host`, or `smtp://host?tls=required`. It may hold a password, so it is
/// not shown.
#[derive(Clone, PartialEq, Eq)]
pub struct SmtpUrl(Url);

impl FromStr for SmtpUrl {
    type Err = MailerError;

    fn from_str(text: &str) -> Result<Self, MailerError> {
        let url = Url::parse(text).map_err(|_| MailerError::SmtpUrl)?;
        let host = url.host_str().filter(|host| !host.is_empty()).ok_or(MailerError::SmtpUrl)?;
        let tls = url.query_pairs().find(|(name, _)| name == "tls").map(|(_, value)| value.into_owned());
        let is_encrypted = match (url.scheme(), tls.as_deref()) {
            ("smtps", None) | ("smtp", Some("required")) => true,
            ("smtp", None | Some("opportunistic")) => false,
            _ => return Err(MailerError::SmtpUrl),
        };
        let is_here = ["localhost", "127.0.0.1", "[::1]"].contains(&host);
        if url.password().is_some() && !is_encrypted && !is_here {
            return Err(MailerError::PasswordInClear);
        }
        // Whatever else it does not understand, it says now.
        AsyncSmtpTransport::<Tokio1Executor>::from_url(url.as_str()).map_err(|_| MailerError::SmtpUrl)?;
        Ok(Self(url))
    }
}

impl fmt::Debug for SmtpUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SmtpUrl(redacted)")
    }
}

/// Mails cannot be sent as the settings say. What they say is not repeated.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum MailerError {
    /// Not where an SMTP server is.
    #[error(
        "must be smtps://USER:PASSWORD@HOST, or smtp://HOST?tls=required for STARTTLS, or smtp://HOST without encryption"
    )]
    SmtpUrl,
    /// Anybody on the way could read the password.
    #[error("holds a password that would be sent in clear; use smtps:// or ?tls=required")]
    PasswordInClear,
    /// An authority cannot be trusted.
    #[error("the certificates of ca_file cannot be used for SMTP")]
    Authorities,
    /// Not who mails are from.
    #[error("must be an e-mail address such as keys@example.com or \"Keys <keys@example.com>\"")]
    Sender,
}

/// A mail was not sent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MailFailure {
    /// Why, for the operator. It holds no part of the mail.
    pub reason: String,
    /// Whether it is of no use to try again.
    pub is_permanent: bool,
}

/// Sends mails.
pub enum Mailer {
    /// To an SMTP server.
    Smtp {
        /// The connection.
        transport: Box<AsyncSmtpTransport<Tokio1Executor>>,
        /// Who they are from.
        from: Sender,
        /// How long one may take.
        patience: Duration,
    },
    /// Into a folder, as files that end in `.eml`.
    Folder {
        /// The folder, which is made when it is missing.
        folder: PathBuf,
        /// Who they are from.
        from: Sender,
    },
}

impl Mailer {
    /// By SMTP. One mail takes no longer than `patience`. The server's certificate may be from these authorities too.
    pub fn smtp(
        url: &SmtpUrl,
        from: Sender,
        patience: Duration,
        authorities: &Authorities,
    ) -> Result<Self, MailerError> {
        let builder =
            AsyncSmtpTransport::<Tokio1Executor>::from_url(url.0.as_str()).map_err(|_| MailerError::SmtpUrl)?;
        let builder = trusting(builder, url, authorities).map_err(|_| MailerError::Authorities)?;
        Ok(Self::Smtp { transport: Box::new(builder.timeout(Some(patience)).build()), from, patience })
    }

    /// Into a folder.
    pub fn folder(folder: impl Into<PathBuf>, from: Sender) -> Self {
        Self::Folder { folder: folder.into(), from }
    }

    /// The folder, where mails go into one.
    pub fn folder_path(&self) -> Option<&Path> {
        match self {
            Self::Smtp { .. } => None,
            Self::Folder { folder, .. } => Some(folder),
        }
    }

    /// Sends a mail. `id` stays the same however often that is tried, and so does the mail's `Message-ID`; `seconds` since
    /// the Unix epoch are its date.
    pub async fn send(&self, id: &str, seconds: i64, mail: &Mail) -> Result<(), MailFailure> {
        match self {
            Self::Smtp { transport, from, patience } => {
                let message = message(from, id, seconds, mail)?;
                // Each of the server's answers has a time of its own; all of them together have one too.
                match timeout(*patience, transport.send(message)).await {
                    Ok(Ok(_)) => Ok(()),
                    Ok(Err(error)) => Err(of_smtp(&error)),
                    Err(_) => Err(again("the SMTP server did not answer in time")),
                }
            }
            Self::Folder { folder, from } => {
                let message = message(from, id, seconds, mail)?;
                let written = write(folder, id, &message.formatted()).await;
                written.map_err(|error| again(&format!("cannot write to {}: {error}", folder.display())))
            }
        }
    }
}

/// The same with more roots, as encrypted as the URL says.
fn trusting(
    builder: AsyncSmtpTransportBuilder,
    url: &SmtpUrl,
    authorities: &Authorities,
) -> Result<AsyncSmtpTransportBuilder, SmtpError> {
    if authorities.certificates().is_empty() {
        return Ok(builder);
    }
    let mut parameters = TlsParameters::builder(url.0.host_str().unwrap_or_default().to_owned());
    for certificate in authorities.certificates() {
        parameters = parameters.add_root_certificate(Certificate::from_der(certificate.to_vec())?);
    }
    let parameters = parameters.build()?;
    let tls = url.0.query_pairs().find(|(name, _)| name == "tls").map(|(_, value)| value.into_owned());
    Ok(match (url.0.scheme(), tls.as_deref()) {
        ("smtps", _) => builder.tls(Tls::Wrapper(parameters)),
        (_, Some("required")) => builder.tls(Tls::Required(parameters)),
        (_, Some("opportunistic")) => builder.tls(Tls::Opportunistic(parameters)),
        _ => builder,
    })
}

fn again(reason: &str) -> MailFailure {
    MailFailure { reason: reason.to_owned(), is_permanent: false }
}

/// What to make of an error: the server's text is left out, for it may quote the mail.
fn of_smtp(error: &SmtpError) -> MailFailure {
    let code = error.status().map(u16::from);
    // Who we are to the server is not the mail's fault: a password can be put right.
    let is_about_us = matches!(code, Some(530 | 534 | 535 | 538));
    let reason = match code {
        Some(code) => format!("the SMTP server answered {code}"),
        None if error.is_timeout() => "the SMTP server did not answer in time".to_owned(),
        None if error.is_tls() => "no TLS connection to the SMTP server".to_owned(),
        None => "no connection to the SMTP server".to_owned(),
    };
    MailFailure { reason, is_permanent: error.is_permanent() && !is_about_us }
}

/// The mail as it is sent. Lines end where the library ends them: addresses, name and subject are encoded by it.
fn message(from: &Sender, id: &str, seconds: i64, mail: &Mail) -> Result<Message, MailFailure> {
    let broken = |error: &dyn fmt::Display| MailFailure { reason: error.to_string(), is_permanent: true };
    let (local, domain) = mail.to().parts();
    let to = Address::new(local, domain).map_err(|error| broken(&error))?;
    let date = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds.max(0).unsigned_abs());
    Message::builder()
        .message_id(Some(format!("<{id}@{}>", from.0.email.domain())))
        .date(date)
        .from(from.0.clone())
        .to(Mailbox::new(mail.name().map(ToString::to_string), to))
        .subject(mail.subject())
        .singlepart(SinglePart::plain(mail.text().to_owned()))
        .map_err(|error| broken(&error))
}

/// Writes the file for its owner alone, whole or not at all.
async fn write(folder: &Path, id: &str, bytes: &[u8]) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).await?;
    let (new, path) = (folder.join(format!("{id}.eml.new")), folder.join(format!("{id}.eml")));
    let mut options = fs::OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&new).await?;
    file.write_all(bytes).await?;
    file.sync_all().await?;
    fs::rename(&new, &path).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_read_and_never_repeated() {
        for good in [
            "smtps://ada:pw@mail.example.com",
            "smtp://ada:pw@mail.example.com:587?tls=required",
            "smtp://ada:pw@127.0.0.1:2525",
            "smtp://mail.example.com?tls=opportunistic",
            "smtp://mail.example.com:25",
        ] {
            let url: SmtpUrl = good.parse().unwrap_or_else(|error| panic!("{good}: {error}"));
            assert!(!format!("{url:?}").contains("pw"));
        }
        for (bad, error) in [
            ("", MailerError::SmtpUrl),
            ("mail.example.com", MailerError::SmtpUrl),
            ("http://mail.example.com", MailerError::SmtpUrl),
            ("smtp://", MailerError::SmtpUrl),
            ("smtp://mail.example.com?tls=never", MailerError::SmtpUrl),
            ("smtp://ada:pw@mail.example.com", MailerError::PasswordInClear),
            ("smtp://ada:pw@mail.example.com?tls=opportunistic", MailerError::PasswordInClear),
        ] {
            assert_eq!(bad.parse::<SmtpUrl>(), Err(error), "{bad}");
        }
        for (text, is_good) in [
            ("keys@example.com", true),
            ("Keys <keys@example.com>", true),
            ("", false),
            ("Keys", false),
            ("Keys <keys@example.com>\r\nBcc: eve@example.com", false),
        ] {
            assert_eq!(text.parse::<Sender>().is_ok(), is_good, "{text:?}");
        }
    }

    #[test]
    fn no_text_ends_a_line_of_the_head() {
        let name: claviger_domain::key::Name = "Müller, \"Ada\" <x@evil.example>".parse().unwrap();
        let mail =
            Mail::new("ada@example.com".parse().unwrap(), Some(name), "Größe = 1", "Hello\r\n.\r\nBcc: x").unwrap();
        let sender: Sender = "Keys <keys@example.com>".parse().unwrap();
        let text = String::from_utf8(message(&sender, "mail_1", 0, &mail).unwrap().formatted()).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        let names: Vec<&str> =
            head.lines().filter(|line| !line.starts_with(' ')).map(|line| line.split(':').next().unwrap()).collect();
        let expected = ["Message-ID", "Date", "From", "To", "Subject", "Content-Type", "Content-Transfer-Encoding"];
        for name in &names {
            assert!(expected.contains(name) || *name == "MIME-Version", "{head}");
        }
        assert!(head.contains("Message-ID: <mail_1@example.com>") && head.contains("<ada@example.com>"), "{head}");
        assert!(!head.contains("<x@evil.example>"), "{head}");
        assert!(body.contains("Hello"));
    }
}
