//! `Idempotency-Key`: a POST that is sent again is answered again and not done again, for a day.
//!
//! 1. [`layer`] reads the header of a POST and makes a fingerprint of the whole request.
//! 2. Whoever extracts the caller [binds](Keyed::bind) it to them: one caller's keys are never another's. A second
//!    request with the same key while the first is at work is 409.
//! 3. The app looks for an earlier answer inside the transaction, and [`finish`] keeps the answer in the very
//!    transaction that does what was asked: there is no moment in which one of both exists.
//! 4. What is kept is encrypted (AES-256-GCM) under a key derived (HKDF-SHA256) from the caller's own credential and the
//!    Idempotency-Key, neither of which is stored: whoever has the database cannot read an issued secret from it.
//!
//! Only successes are kept: a request that was refused changed nothing and is judged anew.
//!
//! A key that rotates itself may lose the answer and with it the only secret that still works. So [`replaced`] gives the kept
//! answer to the secret that asked for it, though that one is dead by now: being able to open it is the proof.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::hkdf::{HKDF_SHA256, Salt};
use axum::extract::Request;
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use claviger_app::{Actor, Attempt, Mutation};
use claviger_domain::audit::Source;
use claviger_domain::change::Revision;
use claviger_domain::credential::Credential;
use claviger_domain::id::KeyId;
use claviger_domain::peer::Peer;
use claviger_domain::random::Entropy;
use http::header::{AUTHORIZATION, CONTENT_TYPE, IF_MATCH};
use http::{HeaderName, HeaderValue, Method};
use sha2::{Digest as _, Sha256};
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

use crate::ServerState;
use crate::answer::Answer;
use crate::error::Failure;
use crate::json::read_body;
use crate::routes::body_bytes_max;

const HEADER: HeaderName = HeaderName::from_static("idempotency-key");
/// Says that an answer was given before.
const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");
const KEY_BYTES_MAX: usize = 255;
const DEAD_SECRETS_MAX: usize = 2;
const PURPOSE: &[u8] = b"claviger idempotency answer 1";

/// The requests with an Idempotency-Key that are at work on this node, by caller and digest of the key.
#[derive(Clone, Debug)]
pub struct InFlight {
    places: Arc<Mutex<HashSet<Place>>>,
    /// Requests with a dead secret that may be [`replaced`].
    dead_secrets: Arc<Semaphore>,
}

type Place = (String, [u8; 32]);

impl Default for InFlight {
    fn default() -> Self {
        Self { places: Arc::default(), dead_secrets: Arc::new(Semaphore::new(DEAD_SECRETS_MAX)) }
    }
}

impl InFlight {
    fn lock(&self) -> std::sync::MutexGuard<'_, HashSet<Place>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A POST with an Idempotency-Key.
#[derive(Clone)]
pub(crate) struct Keyed(Arc<Inner>);

struct Inner {
    key: Zeroizing<Vec<u8>>,
    key_digest: [u8; 32],
    fingerprint: [u8; 32],
    bound: OnceLock<Bound>,
}

/// What is known once the caller is.
struct Bound {
    attempt: Attempt,
    cipher: LessSafeKey,
    in_flight: InFlight,
}

impl Drop for Bound {
    fn drop(&mut self) {
        self.in_flight.lock().remove(&(self.attempt.caller.clone(), self.attempt.key_digest));
    }
}

/// Reads the header, and gives the earlier answer where there is one.
pub(crate) async fn layer(request: Request, next: Next) -> Response {
    match keyed(request).await {
        Ok((request, None)) => next.run(request).await,
        Ok((request, Some(keyed))) => {
            let response = next.run(request).await;
            match response.extensions().get::<Failure>().and_then(Failure::kept_answer) {
                Some(kept) => keyed.open(kept).map_or_else(Failure::into_response, given_again),
                None => response,
            }
        }
        Err(failure) => failure.into_response(),
    }
}

/// The answer to a key that rotated itself, for the secret that asked for it and that the rotation ended, with the secret that
/// took its place. `request` is below the base path, as the routes see it. Nobody else learns anything: what does not open
/// is as if it were not there.
pub(crate) async fn replaced(
    state: &ServerState,
    source: Source,
    request: Request,
) -> Result<Option<(Answer, Zeroizing<String>)>, Failure> {
    let Some(id) = rotated(request.uri().path()) else { return Ok(None) };
    // Who has nothing to show is refused for that, whatever else is wrong.
    let Ok((request, Some(keyed))) = keyed(request).await else { return Ok(None) };
    let lines = request.headers().get_all(AUTHORIZATION).iter().map(HeaderValue::as_bytes);
    let Credential::Bearer(secret) = Credential::from_authorization(lines) else { return Ok(None) };
    // They ask the database, whoever they are: a few at a time.
    let Ok(_permit) = state.in_flight.dead_secrets.try_acquire() else { return Ok(None) };
    keyed.bind(state, id.to_string(), secret.expose().as_bytes())?;
    let actor = Actor::old_secret(id, source).with_attempt(keyed.attempt());
    let answer = state.app.find_kept_answer(&actor).await?.and_then(|kept| keyed.open(&kept).ok());
    Ok(answer.and_then(|answer| answer.issued_secret().map(|secret| (answer, secret))))
}

/// The response with an answer that was given before.
pub(crate) fn given_again(answer: Answer) -> Response {
    let mut response = answer.done();
    response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
    response
}

/// The key that a path below the base path rotates.
fn rotated(path: &str) -> Option<KeyId> {
    path.strip_prefix("/api-keys/")?.strip_suffix("/rotate")?.parse().ok()
}

async fn keyed(request: Request) -> Result<(Request, Option<Keyed>), Failure> {
    // Here too.
    let is_somebody =
        request.headers().contains_key(AUTHORIZATION) || request.extensions().get::<Peer>() == Some(&Peer::Socket);
    if request.method() != Method::POST || !request.headers().contains_key(HEADER) || !is_somebody {
        return Ok((request, None));
    }
    let mut lines = request.headers().get_all(HEADER).iter().map(HeaderValue::as_bytes);
    let key = match (lines.next(), lines.next()) {
        (Some(key), None) if (1..=KEY_BYTES_MAX).contains(&key.len()) && key.iter().all(u8::is_ascii_graphic) => {
            Zeroizing::new(key.to_vec())
        }
        _ => {
            let message = format!("send one line of 1 to {KEY_BYTES_MAX} visible ASCII characters, without spaces");
            return Err(Failure::invalid_field("Idempotency-Key", &message));
        }
    };
    let (parts, body) = request.into_parts();
    let whole = Request::from_parts(parts.clone(), body);
    // Whoever it is, they have not been asked yet.
    let body = read_body(whole, body_bytes_max(parts.uri.path())).await?;
    let target = parts.uri.path_and_query().map_or("", |target| target.as_str());
    let content_type = parts.headers.get(CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
    let mut fingerprint = Sha256::new();
    // A request is another one when it is to be carried out under another precondition.
    let if_match = parts.headers.get_all(IF_MATCH).iter().map(HeaderValue::as_bytes);
    for part in [target.as_bytes(), content_type, &body].into_iter().chain(if_match) {
        fingerprint.update((part.len() as u64).to_be_bytes());
        fingerprint.update(part);
    }
    let keyed = Keyed(Arc::new(Inner {
        key_digest: Sha256::digest(&key).into(),
        key,
        fingerprint: fingerprint.finalize().into(),
        bound: OnceLock::new(),
    }));
    let mut request = Request::from_parts(parts, body.into());
    request.extensions_mut().insert(keyed.clone());
    Ok((request, Some(keyed)))
}

impl Keyed {
    /// Ties the request to its caller and their credential. Fails while another request of theirs with the same key is
    /// at work.
    pub(crate) fn bind(&self, state: &ServerState, caller: String, credential: &[u8]) -> Result<(), Failure> {
        let inner = &*self.0;
        let attempt = Attempt { caller, key_digest: inner.key_digest, fingerprint: inner.fingerprint };
        let place = (attempt.caller.clone(), attempt.key_digest);
        if !state.in_flight.lock().insert(place) {
            return Err(Failure::idempotency_key_in_use());
        }
        let cipher = cipher(credential, &inner.key);
        let bound = Bound { attempt, cipher, in_flight: state.in_flight.clone() };
        // A request has one caller.
        inner.bound.set(bound).map_err(|_| Failure::broken("a request was bound to its caller twice"))
    }

    /// What the app looks for.
    pub(crate) fn attempt(&self) -> Option<Attempt> {
        self.0.bound.get().map(|bound| bound.attempt.clone())
    }

    fn seal(&self, answer: &Answer, entropy: &dyn Entropy) -> Option<Vec<u8>> {
        let bound = self.0.bound.get()?;
        let mut nonce = [0; NONCE_LEN];
        entropy.fill(&mut nonce);
        let mut text = answer.to_kept();
        let aad = Aad::from(bound.attempt.fingerprint);
        let sealed = bound.cipher.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), aad, &mut *text);
        sealed.ok()?;
        Some([&nonce[..], &text].concat())
    }

    fn open(&self, kept: &[u8]) -> Result<Answer, Failure> {
        let other = || Failure::idempotency_key_reused("It was first sent with another credential. Use a new one.");
        let bound = self.0.bound.get().ok_or_else(other)?;
        let (nonce, text) = kept.split_at_checked(NONCE_LEN).ok_or_else(other)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| other())?;
        let mut text = Zeroizing::new(text.to_vec());
        let aad = Aad::from(bound.attempt.fingerprint);
        let opened = bound.cipher.open_in_place(nonce, aad, &mut text).map_err(|_| other())?;
        Answer::from_kept(opened)
    }
}

fn cipher(credential: &[u8], key: &[u8]) -> LessSafeKey {
    let prk = Salt::new(HKDF_SHA256, key).extract(credential);
    let okm = prk.expand(&[PURPOSE], &AES_256_GCM).expect("32 bytes are not too many");
    LessSafeKey::new(UnboundKey::from(okm))
}

/// Answers a mutation and makes both durable together.
pub(crate) async fn finish<T>(
    state: &ServerState,
    keyed: Option<&Keyed>,
    mutation: Mutation<T>,
    answer: impl FnOnce(T, Revision) -> Result<Answer, Failure>,
) -> Result<Response, Failure> {
    let (value, revision, commit) = mutation.into_parts();
    let answer = answer(value, revision)?;
    let kept = match keyed {
        Some(keyed) => {
            let sealed = keyed.seal(&answer, &**state.app.entropy());
            Some(sealed.ok_or_else(|| Failure::broken("an answer could not be encrypted"))?)
        }
        None => None,
    };
    commit.finish(kept).await?;
    Ok(answer.done())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_credential_and_key_open_an_answer() {
        let seal = |credential: &[u8], key: &[u8]| {
            let mut text = b"tork_sk_secret".to_vec();
            let nonce = Nonce::assume_unique_for_key([7; NONCE_LEN]);
            cipher(credential, key).seal_in_place_append_tag(nonce, Aad::from([1; 32]), &mut text).unwrap();
            text
        };
        let open = |credential: &[u8], key: &[u8], aad: [u8; 32]| {
            let mut text = seal(b"credential", b"key");
            let nonce = Nonce::assume_unique_for_key([7; NONCE_LEN]);
            cipher(credential, key).open_in_place(nonce, Aad::from(aad), &mut text).map(|clear| clear.to_vec())
        };
        assert!(!seal(b"credential", b"key").windows(4).any(|window| window == b"tork"));
        assert_eq!(open(b"credential", b"key", [1; 32]).unwrap(), b"tork_sk_secret");
        assert!(open(b"credentiaL", b"key", [1; 32]).is_err());
        assert!(open(b"credential", b"kez", [1; 32]).is_err());
        assert!(open(b"credential", b"key", [2; 32]).is_err());
    }
}
