//! What must be known in clear to be used, and must not be in the database in clear: encrypted (AES-256-GCM) under a key
//! from a file beside it, and bound to the row that it stands in.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use claviger_domain::id::{MailId, WebhookId};
use claviger_domain::random::Entropy;
use zeroize::Zeroizing;

pub(super) struct Seal(LessSafeKey);

/// The row that something stands in: nothing opens in another.
#[derive(Clone, Copy)]
pub(super) enum Bound {
    Webhook(WebhookId),
    Mail(MailId),
}

impl Bound {
    fn aad(self) -> Aad<Vec<u8>> {
        let (purpose, id) = match self {
            Self::Webhook(id) => (&b"claviger webhook secret 1"[..], id.to_bytes()),
            Self::Mail(id) => (&b"claviger mail 1"[..], id.to_bytes()),
        };
        Aad::from([purpose, &id].concat())
    }
}

impl Seal {
    pub(super) fn new(key: &[u8; 32]) -> Self {
        Self(LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key).expect("32 bytes are a key")))
    }

    pub(super) fn seal(&self, entropy: &dyn Entropy, bound: Bound, clear: &[u8]) -> Vec<u8> {
        let mut nonce = [0; NONCE_LEN];
        entropy.fill(&mut nonce);
        let mut text = Zeroizing::new(clear.to_vec());
        // Room for the tag too, so that nothing in clear is left where it was moved from.
        text.reserve_exact(AES_256_GCM.tag_len());
        let nonce_value = Nonce::assume_unique_for_key(nonce);
        self.0
            .seal_in_place_append_tag(nonce_value, bound.aad(), &mut *text)
            .expect("what is sealed here is not gigabytes long");
        [&nonce[..], &text].concat()
    }

    /// What was sealed; `None` under another key, in another row, or when it was altered.
    pub(super) fn open(&self, bound: Bound, sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let (nonce, text) = sealed.split_at_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut text = Zeroizing::new(text.to_vec());
        let length = self.0.open_in_place(nonce, bound.aad(), &mut text).ok()?.len();
        text.truncate(length);
        Some(text)
    }
}

#[cfg(test)]
mod tests {
    use claviger_domain::random::PredictableEntropy;

    use super::*;

    #[test]
    fn only_the_same_key_and_row_open_it() {
        let entropy = PredictableEntropy::new(1);
        let (one, two) = (Bound::Webhook(WebhookId::from_u128(1)), Bound::Webhook(WebhookId::from_u128(2)));
        let seal = Seal::new(&[7; 32]);
        let sealed = seal.seal(&entropy, one, b"secret");
        assert!(!sealed.windows(6).any(|window| window == b"secret"));
        assert_eq!(seal.open(one, &sealed).unwrap().as_slice(), b"secret");
        assert_ne!(seal.seal(&entropy, one, b"secret"), sealed);
        assert!(seal.open(two, &sealed).is_none() && seal.open(Bound::Mail(MailId::from_u128(1)), &sealed).is_none());
        assert!(Seal::new(&[8; 32]).open(one, &sealed).is_none());
        for position in 0..sealed.len() {
            let mut altered = sealed.clone();
            altered[position] ^= 1;
            assert!(seal.open(one, &altered).is_none());
        }
        for length in 0..sealed.len() {
            assert!(seal.open(one, &sealed[..length]).is_none());
        }
    }
}
