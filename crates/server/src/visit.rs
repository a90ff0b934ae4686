//! What the app hears of each request to the admin API: that a credential was used, or that whoever came was turned away.

use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use claviger_app::{Refused, Visitor};
use claviger_domain::audit::Source;
use claviger_domain::id::AdminTokenId;
use claviger_domain::peer::Peer;
use http::Extensions;

use crate::ServerState;
use crate::error::Failure;
use crate::extract::claimed_member;
use crate::trace::known_method;

/// What the extractor found out about the caller, for the layer around it.
#[derive(Clone, Default)]
pub(crate) struct Visit(Arc<Mutex<Found>>);

#[derive(Clone, Copy, Default)]
struct Found {
    token: Option<AdminTokenId>,
    is_recognised: bool,
}

impl Visit {
    /// An admin token that there is was presented, live or not.
    pub(crate) fn presented(&self, token: AdminTokenId) {
        self.change(|found| found.token = Some(token));
    }

    /// The caller may be let in.
    pub(crate) fn is_recognised(&self) {
        self.change(|found| found.is_recognised = true);
    }

    fn change(&self, change: impl FnOnce(&mut Found)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn found(&self) -> Found {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where a request to the internal listener comes from. No proxy is believed there.
pub(crate) fn source(extensions: &Extensions) -> Source {
    match extensions.get::<Peer>() {
        Some(Peer::Socket) => Source::Socket,
        Some(Peer::Address(address)) => Source::Address(*address),
        None => Source::Unknown,
    }
}

/// Tells the app when the answer is known, and keeps nobody waiting.
pub(crate) async fn layer(State(state): State<ServerState>, mut request: Request, next: Next) -> Response {
    let visit = Visit::default();
    let method = known_method(request.method());
    let route = request.extensions().get::<MatchedPath>().cloned();
    let (source, member) = (source(request.extensions()), claimed_member(request.headers()));
    request.extensions_mut().insert(visit.clone());
    let response = next.run(request).await;
    let Found { token, is_recognised } = visit.found();
    let visitor = Visitor { token, member, source };
    match response.extensions().get::<Failure>().and_then(Failure::refusal) {
        Some(reason) => {
            let route = route.as_ref().map_or("-", MatchedPath::as_str).into();
            state.app.note_refused(Refused { visitor, reason, method, route });
        }
        None if is_recognised => state.app.note_signed_in(visitor),
        None => {}
    }
    response
}
