//! The operator: whoever holds an admin token or may open the unix socket.

use axum::extract::FromRequestParts;
use claviger_app::credentials::PresentedAdminToken;
use claviger_app::{Actor, RefusalReason};
use claviger_domain::audit::Source;
use claviger_domain::credential::Credential;
use claviger_domain::id::MemberId;
use http::header::AUTHORIZATION;
use http::request::Parts;
use http::{HeaderMap, HeaderName};

use crate::ServerState;
use crate::error::Failure;
use crate::idempotency::Keyed;
use crate::visit::{self, Visit};

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
        let member = claimed_member(&parts.headers);
        // Whoever may not ask is told so before anything else is looked at.
        let operator = Operator::recognise(parts, state, member).await?;
        if member.is_none() && parts.headers.contains_key(MEMBER) {
            return Err(Failure::invalid(None, "The header Claviger-Member is not the id of one member."));
        }
        Ok(Self(operator))
    }
}

impl FromRequestParts<ServerState> for Operator {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &ServerState) -> Result<Self, Failure> {
        let operator = Self::recognise(parts, state, None).await?;
        // Nothing of this is a member's, so that nobody acts for one with rights that they do not have.
        if parts.headers.contains_key(MEMBER) {
            return Err(Failure::forbidden("Only the operator can do this."));
        }
        Ok(operator)
    }
}

/// The member whom a request names. Two lines are two members, so none.
pub(crate) fn claimed_member(headers: &HeaderMap) -> Option<MemberId> {
    let mut lines = headers.get_all(MEMBER).iter();
    let id = lines.next()?.to_str().ok()?.parse().ok()?;
    lines.next().is_none().then_some(id)
}

impl Operator {
    async fn recognise(parts: &Parts, state: &ServerState, member: Option<MemberId>) -> Result<Self, Failure> {
        // What is answered to one member is not given again to another.
        let caller = |name: String| member.map_or(name.clone(), |member| format!("{name} {member}"));
        let keyed = parts.extensions.get::<Keyed>().cloned();
        let source = visit::source(&parts.extensions);
        let visit = parts.extensions.get::<Visit>().ok_or_else(|| Failure::broken("an admin route without a visit"))?;
        if source == Source::Socket {
            visit.is_recognised();
            if let Some(keyed) = &keyed {
                keyed.bind(state, caller("operator".to_owned()), &**state.socket_secret)?;
            }
            let actor = member.map_or_else(Actor::operator, |member| Actor::member(member, None, source));
            return Ok(Self::new(actor, keyed));
        }
        let lines = parts.headers.get_all(AUTHORIZATION).iter().map(http::HeaderValue::as_bytes);
        let secret = match Credential::from_authorization(lines) {
            Credential::Missing => return Err(Failure::not_the_operator(RefusalReason::NoToken)),
            Credential::Malformed => return Err(Failure::not_the_operator(RefusalReason::MalformedToken)),
            Credential::Bearer(secret) => secret,
        };
        let id = match state.app.recognise_admin_token(&secret.digest()).await? {
            PresentedAdminToken::Live(id) => id,
            PresentedAdminToken::Revoked(id) => {
                visit.presented(id);
                return Err(Failure::not_the_operator(RefusalReason::RevokedToken));
            }
            PresentedAdminToken::Unknown => return Err(Failure::not_the_operator(RefusalReason::UnknownToken)),
        };
        visit.presented(id);
        visit.is_recognised();
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
