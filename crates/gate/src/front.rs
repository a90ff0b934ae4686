//! Who answers a request: a hot route here and now, everything else the control plane on its own runtime.

use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use claviger_domain::peer::Peer;
use claviger_domain::wire::{self, ErrorAnswer};
use http::header::{CONNECTION, CONTENT_TYPE, HOST, HeaderName, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{Method, Request, Response, StatusCode, Version};
use http_body_util::Full;
use hyper::body::Body;
use hyper::service::Service;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use crate::body::{AnswerBody, RequestBody};
use crate::patience::{Phase, Pulse};
use crate::verify::{self, Verify};

/// What stands behind a listener.
pub struct Front {
    verify: Option<Verify>,
    fallback: Box<Fallback>,
}

/// Starts the control plane's work on a request. The pulse is for the body of the answer.
type Fallback = dyn Fn(Request<RequestBody>, Arc<Pulse>) -> JoinHandle<Response<AnswerBody>> + Send + Sync;

impl Front {
    /// Answers everything with `fallback`, which runs on the `control` runtime. Requests carry the [`Peer`]
    /// in their extensions.
    ///
    /// When the client goes away the fallback still runs to its end: what it began to change is not left
    /// half told. If it panics the client gets 500, if the runtime is shutting down 503.
    pub fn new<S, B>(control: Handle, fallback: S) -> Self
    where
        S: Service<Request<RequestBody>, Response = Response<B>, Error = Infallible> + Send + Sync + 'static,
        S::Future: Send + 'static,
        B: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Send + 'static,
    {
        let fallback = Box::new(move |request, pulse| {
            let answer = fallback.call(request);
            control.spawn(async move {
                let Ok(answer) = answer.await;
                answer.map(|body| AnswerBody::watched(body, pulse))
            })
        });
        Self { verify: None, fallback }
    }

    /// Answers [`verify::PATH`] on the spot.
    pub fn with_verify(mut self, verify: Verify) -> Self {
        self.verify = Some(verify);
        self
    }

    /// Answers one request, without a connection: for tests, and for whoever has a listener of their own.
    pub async fn answer<B>(&self, peer: Peer, request: Request<B>) -> Response<AnswerBody>
    where
        B: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Send + Unpin + 'static,
    {
        self.answer_watched(peer, request, &Arc::new(Pulse::new())).await
    }

    pub(crate) async fn answer_watched<B>(
        &self,
        peer: Peer,
        request: Request<B>,
        pulse: &Arc<Pulse>,
    ) -> Response<AnswerBody>
    where
        B: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Send + Unpin + 'static,
    {
        if let Some(verify) = &self.verify
            && request.uri().path() == verify::PATH
        {
            pulse.enter(Phase::Body);
            let answer = verify.answer(peer, request).await;
            pulse.enter(Phase::Rest);
            return answer.map(AnswerBody::whole);
        }
        self.fall_back(peer, request, pulse).await
    }

    async fn fall_back<B>(&self, peer: Peer, request: Request<B>, pulse: &Arc<Pulse>) -> Response<AnswerBody>
    where
        B: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Send + Unpin + 'static,
    {
        let mut request = request.map(|body| RequestBody::new(body, pulse));
        request.extensions_mut().insert(peer);
        match (self.fallback)(request, Arc::clone(pulse)).await {
            Ok(answer) => answer,
            Err(error) => {
                pulse.enter(Phase::Rest);
                broken(&error).map(AnswerBody::whole)
            }
        }
    }
}

impl fmt::Debug for Front {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Front").field("verify", &self.verify.is_some()).finish_non_exhaustive()
    }
}

/// The answer to a request that does not say which one host it is for (RFC 9112 section 3.2), or says so in its
/// target too, as only a proxy is asked to.
///
/// A server in front that goes by another of two hosts than we do would guard another api than we serve: so a target that is
/// a whole URL (RFC 9112 section 3.2.2) must name the host that the header names, and there is one header. What follows on
/// the same connection is not read: whoever sent that request reads HTTP otherwise than we do.
pub(crate) fn refusal<B>(request: &Request<B>) -> Option<Response<Full<Bytes>>> {
    let mut hosts = request.headers().get_all(HOST).iter();
    let authority = request.uri().authority().map(|authority| authority.as_str().as_bytes());
    let message = match (hosts.next(), hosts.next()) {
        (Some(_), Some(_)) => "Send one Host header, not several.",
        (None, _) if request.version() != Version::HTTP_10 => "Send a Host header.",
        (Some(host), None) if authority.is_some_and(|named| !named.eq_ignore_ascii_case(host.as_bytes())) => {
            "The request's target names another host than its Host header."
        }
        _ if request.method() == Method::CONNECT => "This is no proxy.",
        _ => return None,
    };
    let mut answer = error_response(wire::error(None, 400, "invalid_request", message, None));
    answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    Some(answer)
}

/// The answer when the fallback did not come to one.
fn broken(error: &tokio::task::JoinError) -> Response<Full<Bytes>> {
    if error.is_cancelled() {
        let mut answer = wire::error(None, 503, "unavailable", "The server is shutting down.", None);
        answer.retry_after_seconds = Some(1);
        return error_response(answer);
    }
    // The panic's message may hold anything; the panic hook has printed where it happened.
    tracing::error!("a request handler panicked");
    error_response(wire::error(None, 500, "internal_error", "Something went wrong on our side.", None))
}

/// An error answer as an HTTP response.
pub(crate) fn error_response(answer: ErrorAnswer) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(answer.body)));
    *response.status_mut() = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut insert = |name: HeaderName, value: Option<HeaderValue>| {
        if let Some(value) = value {
            response.headers_mut().insert(name, value);
        }
    };
    insert(CONTENT_TYPE, Some(HeaderValue::from_static(answer.content_type)));
    insert(WWW_AUTHENTICATE, answer.challenge.and_then(|challenge| challenge.try_into().ok()));
    insert(RETRY_AFTER, answer.retry_after_seconds.map(HeaderValue::from));
    response
}
