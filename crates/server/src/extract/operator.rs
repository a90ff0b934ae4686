//! The operator: whoever holds an admin token or may open the unix socket.

use axum::extract::FromRequestParts;
use claviger_app::Actor;
use claviger_domain::audit::Source;
use claviger_domain::credential::Credential;
use claviger_domain::peer::Peer;
use http::header::AUTHORIZATION;
use http::request::Parts;

use crate::ServerState;
use crate::error::Failure;
use crate::idempotency::Keyed;

/// The caller is the operator.
pub(crate) struct Operator {
    actor: Actor,
    keyed: Option<Keyed>,
}

impl Operator {
    fn new(actor: Actor, keyed: Option<Keyed>) -> Self {
        let attempt = keyed.as_ref().and_then(Keyed::attempt);
        Self { actor: actor.with_attempt(attempt), keyed }
    }

    /// Who acts.
    pub(crate) fn actor(&self) -> &Actor {
        &self.actor
    }

    /// The Idempotency-Key of the request.
    pub(crate) fn keyed(&self) -> Option<&Keyed> {
        self.keyed.as_ref()
    }
}

impl FromRequestParts<ServerState> for Operator {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &ServerState) -> Result<Self, Failure> {
        let keyed = parts.extensions.get::<Keyed>().cloned();
        let source = match parts.extensions.get::<Peer>() {
            Some(Peer::Socket) => {
                if let Some(keyed) = &keyed {
                    keyed.bind(state, "operator".to_owned(), &**state.socket_secret)?;
                }
                return Ok(Self::new(Actor::operator(), keyed));
            }
            Some(Peer::Address(address)) => Source::Address(*address),
            None => Source::Unknown,
        };
        let lines = parts.headers.get_all(AUTHORIZATION).iter().map(http::HeaderValue::as_bytes);
        let secret = match Credential::from_authorization(lines) {
            Credential::Missing => return Err(Failure::not_the_operator(false)),
            Credential::Malformed => return Err(Failure::not_the_operator(true)),
            Credential::Bearer(secret) => secret,
        };
        let found = state.app.find_admin_token(&secret.digest()).await?;
        let id = found.ok_or_else(|| Failure::not_the_operator(true))?;
        if let Some(keyed) = &keyed {
            keyed.bind(state, id.to_string(), secret.expose().as_bytes())?;
        }
        Ok(Self::new(Actor::admin_token(id, source), keyed))
    }
}
