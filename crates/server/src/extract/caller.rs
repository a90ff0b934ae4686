//! The customer API's caller: the holder of a key that the engine allows to do just this.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::response::Response;
use claviger_app::Actor;
use claviger_client::exchange::{client_address, select_api, verdict_for_api};
use claviger_domain::audit::Source;
use claviger_domain::credential::Credential;
use claviger_domain::definition::{Definition, Form};
use claviger_domain::id::KeyId;
use claviger_domain::scope::Scope;
use claviger_engine::{ApiIndex, Directory};
use http::header::AUTHORIZATION;
use http::request::Parts;
use serde::Serialize;

use crate::ServerState;
use crate::answer::Answer;
use crate::error::Failure;
use crate::idempotency::Keyed;
use crate::views::{InForm, List};

/// The api that a request is for, at the moment it came in.
#[derive(Clone)]
pub(crate) struct ApiContext {
    directory: Arc<Directory>,
    index: ApiIndex,
}

impl ApiContext {
    /// Chooses the api by host, path or the prefix of the secret. `None` if none can be chosen, or the path is
    /// not below the base path of the one that was.
    pub(crate) fn of(state: &ServerState, parts: &Parts) -> Option<Self> {
        let directory = Arc::clone(&state.app.engine().directory());
        let index = select_api(&directory, parts)?;
        let context = Self { directory, index };
        context.relative_path(parts).is_some().then_some(context)
    }

    /// What the operator says of the api.
    pub(crate) fn definition(&self) -> &Definition {
        self.directory.api(self.index).definition()
    }

    /// The path below the base path: empty, or beginning with a slash.
    pub(crate) fn relative_path<'p>(&self, parts: &'p Parts) -> Option<&'p str> {
        let relative = parts.uri.path().strip_prefix(self.definition().base_path())?;
        (relative.is_empty() || relative.starts_with('/')).then_some(relative)
    }
}

/// The holder of an allowed key.
///
/// Only [`Caller::verify`] makes one. The customer API's router calls it once a request, before it looks for a
/// route, so that nobody without a key learns which paths and methods there are; asking the engine again in
/// the extractor would count the call twice. What handlers extract is that one answer.
#[derive(Clone)]
pub(crate) struct Caller {
    key: KeyId,
    by_old_secret: bool,
    source: Source,
    api: ApiContext,
    keyed: Option<Keyed>,
}

impl Caller {
    /// Asks the engine, as a proxy in front of any other endpoint of the api would.
    pub(crate) fn verify(state: &ServerState, api: &ApiContext, parts: &Parts) -> Result<Self, Failure> {
        let app = &state.app;
        // Not chosen again: the definition that the request is routed by is the one that it is judged by.
        let (engine, clock) = (app.engine(), app.clock());
        let verdict = verdict_for_api(engine, &**clock, &state.trusted_proxies, parts, Some(api.index));
        let scope = verdict.missing_scope.and_then(|index| api.directory.api(api.index).scope_name(index));
        match (verdict.decision, verdict.key) {
            (Ok(()), Some(key)) => {
                let (key, by_old_secret) = (key.id, key.by_old_secret);
                Ok(Self { key, by_old_secret, source: source_of(state, parts), api: api.clone(), keyed: None })
            }
            (Ok(()), None) => Err(Failure::broken("an allowed verdict without a key")),
            (Err(denial), key) => {
                Err(Failure::denied(denial, key.map(|key| key.environment), scope.map(Scope::to_string)))
            }
        }
    }

    /// Who acts.
    pub(crate) fn actor(&self) -> Actor {
        let by = if self.by_old_secret { Actor::old_secret } else { Actor::key };
        by(self.key, self.source).with_attempt(self.keyed.as_ref().and_then(Keyed::attempt))
    }

    /// The Idempotency-Key of the request.
    pub(crate) fn keyed(&self) -> Option<&Keyed> {
        self.keyed.as_ref()
    }

    /// The key that the caller holds.
    pub(crate) fn key_id(&self) -> KeyId {
        self.key
    }

    /// The path on the public listener of something in this api's customer API.
    pub(crate) fn path(&self, relative: &str) -> String {
        format!("{}{relative}", self.api.definition().base_path())
    }

    /// Whether the api answers in an envelope.
    pub(crate) fn wants_envelope(&self) -> bool {
        self.api.definition().errors().form == Form::Envelope
    }

    /// One thing in the api's form.
    pub(crate) fn in_form<T>(&self, data: T) -> InForm<T> {
        if self.wants_envelope() { InForm::Envelope { success: true, data } } else { InForm::Bare(data) }
    }

    /// A page of a list in the api's form.
    pub(crate) fn list<T: Serialize>(
        &self,
        rows: Vec<T>,
        next_cursor: Option<String>,
        next_page: Option<&str>,
    ) -> Result<Response, Failure> {
        let list =
            if self.wants_envelope() { List::in_envelope(rows, next_cursor) } else { List::bare(rows, next_cursor) };
        Ok(Answer::ok(&list)?.next_page(next_page)?.done())
    }
}

/// Where a request to the customer API comes from.
pub(crate) fn source_of(state: &ServerState, parts: &Parts) -> Source {
    client_address(&state.trusted_proxies, parts).map_or(Source::Unknown, Source::Address)
}

impl FromRequestParts<ServerState> for Caller {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &ServerState) -> Result<Self, Failure> {
        let caller = parts.extensions.get::<Self>().cloned();
        let mut caller = caller.ok_or_else(|| Failure::broken("a customer route outside of the customer router"))?;
        if let Some(keyed) = parts.extensions.get::<Keyed>() {
            let lines = parts.headers.get_all(AUTHORIZATION).iter().map(http::HeaderValue::as_bytes);
            let Credential::Bearer(secret) = Credential::from_authorization(lines) else {
                return Err(Failure::broken("an allowed request without a credential"));
            };
            keyed.bind(state, caller.key.to_string(), secret.expose().as_bytes())?;
            caller.keyed = Some(keyed.clone());
        }
        Ok(caller)
    }
}
