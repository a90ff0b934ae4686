//! The three lives of a secret: presented, stored as a digest, issued once.
//!
//! They never convert silently. A [`PresentedSecret`] can be hashed, an [`IssuedSecret`] can be hashed
//! and then consumed by the one response that shows it, and a [`SecretDigest`] leads nowhere back.

use std::fmt;

use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

/// A secret as a caller presented it, borrowed from the request. Compared byte for byte: nothing
/// here trims, folds case or normalises.
#[derive(Clone, Copy)]
pub struct PresentedSecret<'a>(&'a str);

impl<'a> PresentedSecret<'a> {
    /// Takes the text exactly as it was presented.
    pub fn new(text: &'a str) -> Self {
        Self(text)
    }

    /// The clear text, for recognising its format. Never log, store or echo it.
    pub fn expose(self) -> &'a str {
        self.0
    }

    /// The SHA-256 digest under which the key is known.
    pub fn digest(self) -> SecretDigest {
        SecretDigest::of(self.0)
    }
}

impl fmt::Debug for PresentedSecret<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PresentedSecret(redacted)")
    }
}

/// SHA-256 of a secret: all that is ever stored of it (seed 002).
#[derive(Clone, Copy)]
pub struct SecretDigest([u8; 32]);

impl SecretDigest {
    /// Hashes a clear secret.
    pub fn of(clear: &str) -> Self {
        Self(Sha256::digest(clear.as_bytes()).into())
    }

    /// Takes a digest that was computed elsewhere (a stored row, an import).
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The digest as four big-endian words, the form in which the engine keeps it.
    pub fn words(&self) -> [u64; 4] {
        let mut words = [0; 4];
        for (word, bytes) in words.iter_mut().zip(self.0.chunks_exact(8)) {
            *word = u64::from_be_bytes(bytes.try_into().expect("chunks of eight bytes"));
        }
        words
    }
}

/// Constant-time, so that a digest cannot be found byte by byte.
impl PartialEq for SecretDigest {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for SecretDigest {}

impl fmt::Debug for SecretDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretDigest(redacted)")
    }
}

/// A secret that was just made. It has no `Debug`, `Display`, `Clone` or `Serialize`: the only way to
/// print it is [`IssuedSecret::into_clear`], which consumes it. Wiped from memory when dropped.
pub struct IssuedSecret(Zeroizing<String>);

impl IssuedSecret {
    /// Wraps freshly generated text.
    pub(crate) fn new(clear: Zeroizing<String>) -> Self {
        Self(clear)
    }

    /// The digest to store.
    pub fn digest(&self) -> SecretDigest {
        SecretDigest::of(&self.0)
    }

    /// The last four characters, shown to people to tell keys apart.
    pub fn hint(&self) -> String {
        self.0[self.0.len() - 4..].to_owned()
    }

    /// The clear text, for the one response that issues it.
    pub fn into_clear(self) -> Zeroizing<String> {
        self.0
    }
}
