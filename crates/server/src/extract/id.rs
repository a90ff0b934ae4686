//! The id in a path.

use std::str::FromStr;

use axum::extract::{FromRequestParts, Path};
use claviger_domain::id::{
    AdminTokenId, AlertId, EventId, InvitationId, KeyId, MemberId, OrganizationId, VerifierId, WebhookId,
};
use claviger_domain::key::ApiName;
use http::request::Parts;

use crate::error::Failure;

/// The `{id}` or `{name}` of a route. Text that cannot be one is not found, like an id that nothing has.
pub(crate) struct Id<T>(pub(crate) T);

/// Something that a path may name.
pub(crate) trait Identified: FromStr {
    /// What the app calls it when it is not found: the two answers must be one.
    const WHAT: &'static str;
}

impl Identified for KeyId {
    const WHAT: &'static str = "API key";
}

impl Identified for OrganizationId {
    const WHAT: &'static str = "organization";
}

impl Identified for VerifierId {
    const WHAT: &'static str = "verifier";
}

impl Identified for AdminTokenId {
    const WHAT: &'static str = "admin token";
}

impl Identified for MemberId {
    const WHAT: &'static str = "member";
}

impl Identified for InvitationId {
    const WHAT: &'static str = "invitation";
}

impl Identified for WebhookId {
    const WHAT: &'static str = "webhook endpoint";
}

impl Identified for EventId {
    const WHAT: &'static str = "delivery";
}

impl Identified for AlertId {
    const WHAT: &'static str = "alert";
}

impl Identified for ApiName {
    const WHAT: &'static str = "API";
}

impl<S: Send + Sync, T: Identified> FromRequestParts<S> for Id<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let Ok(Path(text)) = Path::<String>::from_request_parts(parts, state).await else {
            return Err(Failure::not_found(T::WHAT));
        };
        text.parse().map(Self).map_err(|_| Failure::not_found(T::WHAT))
    }
}

/// Two ids of a route, of a thing and of something in it.
pub(crate) struct Ids<T, U>(pub(crate) T, pub(crate) U);

impl<S: Send + Sync, T: Identified, U: Identified> FromRequestParts<S> for Ids<T, U> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let Ok(Path((outer, inner))) = Path::<(String, String)>::from_request_parts(parts, state).await else {
            return Err(Failure::not_found(T::WHAT));
        };
        let outer = outer.parse().map_err(|_| Failure::not_found(T::WHAT))?;
        Ok(Self(outer, inner.parse().map_err(|_| Failure::not_found(U::WHAT))?))
    }
}
