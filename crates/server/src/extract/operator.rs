//! The operator: whoever holds an admin token or may open the unix socket.

use axum::extract::FromRequestParts;
use claviger_app::{Actor, AppError};
use claviger_domain::audit::Source;
use claviger_domain::credential::Credential;
use claviger_domain::id::MemberId;
use claviger_domain::peer::Peer;
use http::header::AUTHORIZATION;
use http::request::Parts;
use http::{HeaderMap, HeaderName};

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

/// The header by which whoever the operator trusts says for which member it acts.
pub(crate) const MEMBER: HeaderName = HeaderName::from_static("claviger-member");

/// The operator, or somebody with the operator's credential who acts for a member, with that member's rights and no more.
/// The operator's own dashboard does, for one.
pub(crate) struct OperatorOrMember(Operator);

impl std::ops::Deref for OperatorOrMember {
    type Target = Operator;

    fn deref(&self) -> &Operator {
        &self.0
    }
}

impl FromRequestParts<ServerState> for OperatorOrMember {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &ServerState) -> Result<Self, Failure> {
        let member = member(&parts.headers)?;
        Operator::recognise(parts, state, member).await.map(Self)
    }
}

impl FromRequestParts<ServerState> for Operator {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &ServerState) -> Result<Self, Failure> {
        let operator = Self::recognise(parts, state, None).await?;
        // Nothing of this is a member's, so that nobody acts for one with rights that they do not have.
        if parts.headers.contains_key(MEMBER) {
            return Err(Failure::from(AppError::Forbidden { message: "Only the operator can do this.".to_owned() }));
        }
        Ok(operator)
    }
}

/// The member who is acted for. Two lines are two members, so none.
fn member(headers: &HeaderMap) -> Result<Option<MemberId>, Failure> {
    let mut lines = headers.get_all(MEMBER).iter();
    let Some(line) = lines.next() else { return Ok(None) };
    let id = line.to_str().ok().and_then(|text| text.parse().ok()).filter(|_| lines.next().is_none());
    id.map(Some).ok_or_else(|| Failure::invalid(None, "The header Claviger-Member is not the id of one member."))
}

impl Operator {
    async fn recognise(parts: &Parts, state: &ServerState, member: Option<MemberId>) -> Result<Self, Failure> {
        // What is answered to one member is not given again to another.
        let caller = |name: String| member.map_or(name.clone(), |member| format!("{name} {member}"));
        let keyed = parts.extensions.get::<Keyed>().cloned();
        let source = match parts.extensions.get::<Peer>() {
            Some(Peer::Socket) => {
                if let Some(keyed) = &keyed {
                    keyed.bind(state, caller("operator".to_owned()), &**state.socket_secret)?;
                }
                let actor = member.map_or_else(Actor::operator, |member| Actor::member(member, None, Source::Socket));
                return Ok(Self::new(actor, keyed));
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
            keyed.bind(state, caller(id.to_string()), secret.expose().as_bytes())?;
        }
        let actor = match member {
            Some(member) => Actor::member(member, Some(id), source),
            None => Actor::admin_token(id, source),
        };
        Ok(Self::new(actor, keyed))
    }
}
