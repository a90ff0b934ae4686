//! Where an event is sent: a URL, held to what may be sent to at all.

use std::net::IpAddr;

use claviger_domain::limits;
use url::{Host, Url};

use crate::address::is_public;
use crate::webhook::Reach;

/// The URL of a webhook endpoint that may be sent to as far as its text tells.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Target {
    url: Url,
    host: Host,
    port: u16,
}

/// Nothing is sent to this URL.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum TargetError {
    /// Over the limit.
    #[error("is longer than {} bytes", limits::WEBHOOK_URL_BYTES_MAX)]
    Long,
    /// Not a URL, or one that not everybody reads alike.
    #[error("must be a URL such as https://example.com/webhooks, of printable ASCII")]
    Malformed,
    /// Another scheme.
    #[error("must begin with https://")]
    NotHttps,
    /// Another scheme, where http would do.
    #[error("must begin with https:// or http://")]
    NotHttp,
    /// A name or a password, which would stand in lists and logs.
    #[error("must not hold a user name or password: events are signed instead")]
    Credentials,
    /// A fragment, which no server sees.
    #[error("must not have a fragment (#…)")]
    Fragment,
    /// An address that a stranger may not have us call.
    #[error("must not lead to a private, local or reserved address")]
    NotPublic,
}

impl Target {
    /// Reads a URL.
    pub fn parse(text: &str, reach: Reach) -> Result<Self, TargetError> {
        if text.len() > limits::WEBHOOK_URL_BYTES_MAX {
            return Err(TargetError::Long);
        }
        // Parsers drop line ends and blanks, or not, and write `\` as `/`, or not.
        if !text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\') {
            return Err(TargetError::Malformed);
        }
        let url = Url::parse(text).map_err(|_| TargetError::Malformed)?;
        match url.scheme() {
            "https" => {}
            "http" if reach.allows_http => {}
            _ if reach.allows_http => return Err(TargetError::NotHttp),
            _ => return Err(TargetError::NotHttps),
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(TargetError::Credentials);
        }
        if url.fragment().is_some() {
            return Err(TargetError::Fragment);
        }
        let host = url.host().ok_or(TargetError::Malformed)?.to_owned();
        let port = url.port_or_known_default().filter(|port| *port != 0).ok_or(TargetError::Malformed)?;
        let is_local = match &host {
            Host::Domain(name) => is_local_name(name),
            Host::Ipv4(address) => !is_public(IpAddr::V4(*address)),
            Host::Ipv6(address) => !is_public(IpAddr::V6(*address)),
        };
        if is_local && !reach.allows_private_networks {
            return Err(TargetError::NotPublic);
        }
        Ok(Self { url, host, port })
    }

    /// The URL as it is kept and shown.
    pub fn as_str(&self) -> &str {
        self.url.as_str()
    }

    pub(crate) fn is_https(&self) -> bool {
        self.url.scheme() == "https"
    }

    pub(crate) fn host(&self) -> &Host {
        &self.host
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// What stands in the head of the request.
    pub(crate) fn path_and_query(&self) -> &str {
        &self.url[url::Position::BeforePath..url::Position::AfterQuery]
    }

    /// The value of the `Host` line.
    pub(crate) fn authority(&self) -> &str {
        &self.url[url::Position::BeforeHost..url::Position::AfterPort]
    }
}

/// Names that mean this machine everywhere (RFC 6761). All others are what they resolve to.
fn is_local_name(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    name == "localhost" || name.ends_with(".localhost")
}

#[cfg(test)]
mod tests {
    use super::*;

    const STRICT: Reach = Reach { allows_http: false, allows_private_networks: false };
    const LAX: Reach = Reach { allows_http: true, allows_private_networks: true };

    #[test]
    fn a_good_url_is_kept_in_one_form() {
        for (text, kept) in [
            ("https://example.com", "https://example.com/"),
            ("HTTPS://Example.COM:443/a/../b?c=d", "https://example.com/b?c=d"),
            ("https://1.1.1.1:8443/x", "https://1.1.1.1:8443/x"),
            ("https://[2606:4700::1111]/", "https://[2606:4700::1111]/"),
        ] {
            let target = Target::parse(text, STRICT).unwrap();
            assert_eq!(target.as_str(), kept);
            assert_eq!(Target::parse(kept, STRICT), Ok(target));
        }
        let target = Target::parse("https://example.com:8443/a?b", STRICT).unwrap();
        assert_eq!((target.authority(), target.path_and_query(), target.port()), ("example.com:8443", "/a?b", 8443));
        let target = Target::parse("https://[2606:4700::1111]/", STRICT).unwrap();
        assert_eq!((target.authority(), target.path_and_query(), target.port()), ("[2606:4700::1111]", "/", 443));
    }

    #[test]
    fn what_is_not_sent_to_is_refused_by_its_text() {
        use TargetError::{Credentials, Fragment, Long, Malformed, NotHttps, NotPublic};
        let long = format!("https://example.com/{}", "a".repeat(2048));
        for (text, error) in [
            ("", Malformed),
            ("example.com", Malformed),
            ("https://", Malformed),
            ("https://exa mple.com/", Malformed),
            ("https://example.com/\r\nX-Evil: 1", Malformed),
            ("https://example.com\\@127.0.0.1/", Malformed),
            ("https://ex\u{e4}mple.com/", Malformed),
            ("https://example.com:0/", Malformed),
            ("https://example.com:99999/", Malformed),
            ("http://example.com/", NotHttps),
            ("file:///etc/passwd", NotHttps),
            ("gopher://example.com/", NotHttps),
            ("https://ada@example.com/", Credentials),
            ("https://ada:pw@example.com/", Credentials),
            ("https://example.com/#x", Fragment),
            (&long, Long),
            ("https://localhost/", NotPublic),
            ("https://LOCALHOST./", NotPublic),
            ("https://a.localhost:8443/", NotPublic),
            ("https://127.0.0.1/", NotPublic),
            ("https://127.1/", NotPublic),
            ("https://2130706433/", NotPublic),
            ("https://0x7f.0.0.1/", NotPublic),
            ("https://0177.0.0.1/", NotPublic),
            ("https://0/", NotPublic),
            ("https://[::1]/", NotPublic),
            ("https://[::ffff:10.0.0.1]/", NotPublic),
            ("https://169.254.169.254/latest/meta-data", NotPublic),
        ] {
            assert_eq!(Target::parse(text, STRICT), Err(error), "{text}");
        }
    }

    #[test]
    fn whoever_wants_it_may_send_at_home() {
        for text in ["http://127.0.0.1:8080/x", "http://localhost/", "https://10.0.0.1/"] {
            assert!(Target::parse(text, LAX).is_ok(), "{text}");
        }
        assert_eq!(Target::parse("ftp://example.com/", LAX), Err(TargetError::NotHttp));
    }
}
