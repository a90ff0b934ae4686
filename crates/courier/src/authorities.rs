//! Whom a certificate may be from, beside those that every browser trusts.

use std::fmt;

use tokio_rustls::rustls::RootCertStore;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;

/// Certificates of authorities of the operator's own. They are trusted beside Mozilla's roots, by webhooks and by mails.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Authorities(Vec<CertificateDer<'static>>);

/// The text holds no certificates of authorities.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum AuthoritiesError {
    /// It is not PEM, or breaks off.
    #[error("it is not a file of certificates in PEM")]
    Pem,
    /// It has no certificate.
    #[error("there is no certificate in it")]
    None,
    /// A certificate cannot be read.
    #[error("certificate {number} of it cannot be read")]
    Certificate {
        /// Which, counted from one.
        number: usize,
    },
}

impl Authorities {
    /// Reads certificates in PEM. Whatever else stands between them is passed over.
    pub fn from_pem(text: &[u8]) -> Result<Self, AuthoritiesError> {
        let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text).collect();
        let found = found.map_err(|_| AuthoritiesError::Pem)?;
        if found.is_empty() {
            return Err(AuthoritiesError::None);
        }
        let mut roots = RootCertStore::empty();
        for (number, certificate) in (1..).zip(&found) {
            roots.add(certificate.clone()).map_err(|_| AuthoritiesError::Certificate { number })?;
        }
        Ok(Self(found))
    }

    /// Each of them, in DER.
    pub(crate) fn certificates(&self) -> &[CertificateDer<'static>] {
        &self.0
    }

    /// They and Mozilla's.
    pub(crate) fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
        // All of them were read when this was made.
        roots.add_parsable_certificates(self.0.iter().cloned());
        roots
    }
}

impl fmt::Debug for Authorities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Authorities({} certificates)", self.0.len())
    }
}
