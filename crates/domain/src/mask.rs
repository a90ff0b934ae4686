//! What is not repeated to whoever sent or typed it: in the wrong place, it may be a secret.

use crate::id::{AdminTokenId, AlertId, EventId, InvitationId, KeyId, MemberId, OrganizationId, VerifierId, WebhookId};

/// A word with this many letters and digits in a row may be a secret. Those have at least 128 bits, which is 22
/// characters.
const RANDOM_CHARS_MIN: usize = 20;

/// The text with every word left out that may be a secret.
pub fn masked(text: &str) -> String {
    let is_word = |character: char| character.is_ascii_alphanumeric() || "_-".contains(character);
    let mut masked = String::with_capacity(text.len());
    let mut rest = text;
    while !rest.is_empty() {
        let (word, after) = rest.split_at(rest.find(|character| !is_word(character)).unwrap_or(rest.len()));
        masked.push_str(if may_be_secret(word) { "…" } else { word });
        let (between, next) = after.split_at(after.find(is_word).unwrap_or(after.len()));
        masked.push_str(between);
        rest = next;
    }
    masked
}

/// Names of scopes and keys are words set apart by `_` or `-`, and an id opens no door.
fn may_be_secret(word: &str) -> bool {
    let is_id = || {
        word.parse::<KeyId>().is_ok()
            || word.parse::<OrganizationId>().is_ok()
            || word.parse::<VerifierId>().is_ok()
            || word.parse::<AdminTokenId>().is_ok()
            || word.parse::<WebhookId>().is_ok()
            || word.parse::<EventId>().is_ok()
            || word.parse::<AlertId>().is_ok()
            || word.parse::<MemberId>().is_ok()
            || word.parse::<InvitationId>().is_ok()
    };
    word.split(['_', '-']).any(|run| run.len() >= RANDOM_CHARS_MIN) && !is_id()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_a_secret_is_left_out() {
        let secret = "tk_live_0123456789abcdef0123456789abcdef0123456789abcdef";
        assert_eq!(
            masked(&format!("kind: unknown variant `{secret}`, expected `a`")),
            "kind: unknown variant `…`, expected `a`"
        );
        assert_eq!(
            masked("restrictions.ip[0]: 203.0.113.7/24 has host bits"),
            "restrictions.ip[0]: 203.0.113.7/24 has host bits"
        );
        for kept in [
            "né…",
            "scope \"billing_accounts:invoices_read-only_for_partners\" is not in the api's definition",
            "key_01jhkvxz00fakefakefakefake is not a parent of org_01jhkvxz00fakefakefakefake",
            "ver_01jhkvxz00fakefakefakefake adm_01jhkvxz00fakefakefakefake",
            "whe_01jhkvxz00fakefakefakefake evt_01jhkvxz00fakefakefakefake",
            "mem_01jhkvxz00fakefakefakefake inv_01jhkvxz00fakefakefakefake alrt_01jhkvxz00fakefakefakefake",
            "a-b_0123456789abcdef012",
        ] {
            assert_eq!(masked(kept), kept);
        }
        for left_out in [
            "0123456789abcdef0123",
            "my-0123456789abcdef0123_x",
            "key_01JHKVXZ00FAKEFAKEFAKEFAKE",
            "key_01jhkvxz00fakefakefakefake0",
            "sk_live_01jhkvxz00fakefakefakefake",
        ] {
            assert_eq!(masked(left_out), "…", "{left_out}");
        }
    }
}
