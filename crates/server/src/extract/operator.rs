//! The operator: whoever holds an admin token or may open the unix socket.

use axum::extract::FromRequestParts;
use claviger_domain::credential::Credential;
use claviger_domain::peer::Peer;
use http::header::AUTHORIZATION;
use http::request::Parts;

use crate::ServerState;
use crate::error::Failure;

/// The caller is the operator.
pub(crate) struct Operator(());

impl FromRequestParts<ServerState> for Operator {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &ServerState) -> Result<Self, Failure> {
        if parts.extensions.get() == Some(&Peer::Socket) {
            return Ok(Self(()));
        }
        let lines = parts.headers.get_all(AUTHORIZATION).iter().map(http::HeaderValue::as_bytes);
        let digest = match Credential::from_authorization(lines) {
            Credential::Missing => return Err(Failure::not_the_operator(false)),
            Credential::Malformed => return Err(Failure::not_the_operator(true)),
            Credential::Bearer(secret) => secret.digest(),
        };
        if state.app.is_admin_token(&digest).await? { Ok(Self(())) } else { Err(Failure::not_the_operator(true)) }
    }
}
