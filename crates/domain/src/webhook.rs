//! Webhook endpoints: where events are sent, and the secret that signs them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use crate::audit::{Audited, object};
use crate::event::EventFilter;
use crate::id::{OrganizationId, WebhookId};
use crate::key::{Name, WordError};
use crate::random::Entropy;
use crate::secret::IssuedSecret;
use crate::time::Timestamp;

/// The head of every signing secret, as Standard Webhooks has it.
pub const WEBHOOK_SECRET_PREFIX: &str = "whsec_";

/// A signing secret in bytes: of so many that nobody guesses it, and no more than a block of the hash.
pub type SigningKey = Zeroizing<[u8; 32]>;

/// Makes a signing secret: the text for whoever will check signatures, and its bytes to sign with.
pub fn issue_webhook_secret(entropy: &dyn Entropy) -> (IssuedSecret, SigningKey) {
    let mut key = SigningKey::default();
    entropy.fill(&mut *key);
    let mut text = Zeroizing::new(String::with_capacity(64));
    text.push_str(WEBHOOK_SECRET_PREFIX);
    STANDARD.encode_string(*key, &mut text);
    (IssuedSecret::new(text), key)
}

/// Why nothing is sent to an endpoint.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DisabledReason {
    /// The operator switched it off.
    Operator,
    /// It answered 410: it wants no more.
    Gone,
}

impl DisabledReason {
    /// The word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Operator => "operator",
            Self::Gone => "gone",
        }
    }
}

impl std::str::FromStr for DisabledReason {
    type Err = WordError;

    fn from_str(text: &str) -> Result<Self, WordError> {
        match text {
            "operator" => Ok(Self::Operator),
            "gone" => Ok(Self::Gone),
            _ => Err(WordError("operator, gone")),
        }
    }
}

/// Where events are sent.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct WebhookEndpoint {
    /// Its id.
    pub id: WebhookId,
    /// Whose events it is told; the operator's endpoints are told everybody's.
    pub organization: Option<OrganizationId>,
    /// Where it is. Whether one may send there is asked each time.
    pub url: String,
    /// What people call it.
    pub description: Option<Name>,
    /// What it is told.
    pub events: EventFilter,
    /// Why it is told nothing at the moment.
    pub disabled: Option<DisabledReason>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When its secret was last replaced.
    pub rotated_at: Option<Timestamp>,
    /// Until when the secret before this one signs as well.
    pub overlap_ends_at: Option<Timestamp>,
}

impl Audited for WebhookEndpoint {
    fn audit_view(&self) -> Map<String, Value> {
        object(self, &[])
    }
}

/// What became of a delivery.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DeliveryState {
    /// It waits for its next attempt.
    Pending,
    /// It arrived.
    Delivered,
    /// It was given up.
    Failed,
}

impl DeliveryState {
    /// The word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Delivered => "delivered",
            Self::Failed => "failed",
        }
    }
}

impl std::str::FromStr for DeliveryState {
    type Err = WordError;

    fn from_str(text: &str) -> Result<Self, WordError> {
        let all = [Self::Pending, Self::Delivered, Self::Failed];
        all.into_iter().find(|state| state.as_str() == text).ok_or(WordError("pending, delivered, failed"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::PredictableEntropy;

    #[test]
    fn the_text_of_a_secret_is_its_bytes_in_base_64() {
        let (issued, key) = issue_webhook_secret(&PredictableEntropy::new(1));
        let text = issued.into_clear();
        let bytes = STANDARD.decode(text.strip_prefix("whsec_").unwrap()).unwrap();
        assert_eq!(bytes, *key);
        let (other, _) = issue_webhook_secret(&PredictableEntropy::new(2));
        assert_ne!(*text, *other.into_clear());
    }

    #[test]
    fn words_are_read_back() {
        for state in [DeliveryState::Pending, DeliveryState::Delivered, DeliveryState::Failed] {
            assert_eq!(state.as_str().parse(), Ok(state));
        }
        for reason in [DisabledReason::Operator, DisabledReason::Gone] {
            assert_eq!(reason.as_str().parse(), Ok(reason));
        }
        assert!("lost".parse::<DeliveryState>().is_err() && "".parse::<DisabledReason>().is_err());
    }
}
