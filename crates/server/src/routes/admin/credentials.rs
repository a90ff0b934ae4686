//! What verifiers and admin tokens have in common: each is a name, with a token that is shown once.

use axum::response::Response;
use claviger_app::{Mutated, Mutation};
use claviger_domain::secret::IssuedSecret;
use serde::Serialize;

use crate::ServerState;
use crate::answer::Answer;
use crate::error::Failure;
use crate::extract::Operator;
use crate::idempotency::finish;
use crate::views::IssuedToken;

/// A new one at this path, with its token.
pub(super) async fn created<T, V: From<T> + Serialize>(
    state: &ServerState,
    operator: &Operator,
    mutation: Mutation<(T, IssuedSecret)>,
    path: impl FnOnce(&T) -> String,
) -> Result<Response, Failure> {
    let answer = |(credential, token): (T, IssuedSecret), revision| {
        let location = path(&credential);
        let view = IssuedToken::of(V::from(credential), token);
        Ok(Answer::created(&location, &view)?.revision(revision))
    };
    finish(state, operator.keyed(), mutation, answer).await
}

/// One that was revoked.
pub(super) fn revoked<T, V: From<T> + Serialize>(revoked: Mutated<T>) -> Result<Response, Failure> {
    Ok(Answer::ok(&V::from(revoked.value))?.revision(revoked.revision).done())
}
