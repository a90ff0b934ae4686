//! A tower layer that lets only allowed requests through to the service behind it.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use claviger_domain::address::TrustedProxies;
use claviger_domain::denial::Denial;
use claviger_domain::key::ApiName;
use claviger_domain::time::Clock;
use claviger_domain::wire::{self, ErrorAnswer, RateLimitHeaders};
use claviger_engine::{ApiIndex, Engine, VerifiedKey};
use http::header::AUTHORIZATION;
use http::request::Parts;
use http::{Request, Response};
use pin_project_lite::pin_project;
use tower::{Layer, Service};

use crate::exchange::{
    denial_answer, error_response, insert_rate_limit, rate_limit_headers, select_api, verdict_for_api,
};

/// What the guard knows of a request that it let through. It is in the request's extensions.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Verified {
    /// The api that the request is for; its definition is in the engine's directory.
    pub api: ApiIndex,
    /// The key that was presented: its id, organization, kind and environment.
    pub key: VerifiedKey,
}

/// Puts a [`Guard`] before a service.
///
/// ```
/// use std::sync::Arc;
///
/// use axum::Router;
/// use axum::extract::Extension;
/// use axum::routing::get;
/// use claviger_client::{GuardLayer, Verified};
/// use claviger_domain::address::TrustedProxies;
/// use claviger_domain::time::SystemClock;
/// use claviger_engine::Engine;
///
/// async fn user(Extension(verified): Extension<Verified>) -> String {
///     format!("asked by {}", verified.key.organization)
/// }
///
/// fn app(engine: Arc<Engine>) -> Router {
///     let guard = GuardLayer::new(engine, Arc::new(SystemClock), TrustedProxies::default());
///     // The layer goes around the outermost router: one that is nested sees paths without their prefix,
///     // which no endpoint of the definition matches.
///     Router::new().route("/v1/users/{id}", get(user)).layer(guard)
/// }
/// ```
#[derive(Clone)]
pub struct GuardLayer {
    shared: Arc<Shared>,
}

#[derive(Clone)]
struct Shared {
    engine: Arc<Engine>,
    clock: Arc<dyn Clock>,
    trusted: TrustedProxies,
    pinned: Option<ApiName>,
}

impl GuardLayer {
    /// Asks this engine, with the time of this clock. The client's address is that of the
    /// [`Peer`](claviger_domain::peer::Peer) in the request's extensions, unless that is one of the trusted
    /// proxies.
    ///
    /// Each request is judged for the api that it is for, by its host, path and secret: the caller has a say
    /// in that. A service that belongs to one api says so with [`Self::for_api`].
    pub fn new(engine: Arc<Engine>, clock: Arc<dyn Clock>, trusted: TrustedProxies) -> Self {
        Self { shared: Arc::new(Shared { engine, clock, trusted, pinned: None }) }
    }

    /// Judges every request for this api, whatever host it names: no other api's key passes. While the engine
    /// knows no api of this name, nothing passes (503).
    #[must_use]
    pub fn for_api(self, api: ApiName) -> Self {
        let shared = Shared { pinned: Some(api), ..Arc::unwrap_or_clone(self.shared) };
        Self { shared: Arc::new(shared) }
    }
}

impl<S> Layer<S> for GuardLayer {
    type Service = Guard<S>;

    fn layer(&self, inner: S) -> Guard<S> {
        Guard { inner, shared: Arc::clone(&self.shared) }
    }
}

/// Lets a request through to the inner service if the engine allows it, with [`Verified`] in its extensions and
/// without its `Authorization` header: the secret has done its work. Any other request is answered in the
/// words of the api that it was for, and the inner service never hears of it.
///
/// An answer to a request that counted against limits says what is left of them, in `RateLimit-Policy` and `RateLimit`,
/// in place of what the service itself said there.
///
/// The verdict is given before the future is made: nothing waits for it.
#[derive(Clone)]
pub struct Guard<S> {
    inner: S,
    shared: Arc<Shared>,
}

impl<S, A, B> Service<Request<A>> for Guard<S>
where
    S: Service<Request<A>, Response = Response<B>>,
    B: From<String>,
{
    type Response = Response<B>;
    type Error = S::Error;
    type Future = GuardFuture<S::Future, B>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<A>) -> Self::Future {
        let (mut head, body) = request.into_parts();
        match self.shared.pass(&mut head) {
            Ok(rate_limit) => {
                GuardFuture::Passed { inner: self.inner.call(Request::from_parts(head, body)), rate_limit }
            }
            Err(answer) => GuardFuture::Refused { response: Some(error_response(*answer)) },
        }
    }
}

pin_project! {
    /// What a [`Guard`] answers: what the inner service does, or that the request was refused.
    #[project = GuardProjection]
    #[allow(missing_docs, reason = "made by the guard alone")]
    #[derive(Debug)]
    pub enum GuardFuture<F, B> {
        Passed { #[pin] inner: F, rate_limit: Option<RateLimitHeaders> },
        Refused { response: Option<Response<B>> },
    }
}

impl<F, B, E> Future for GuardFuture<F, B>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        match self.project() {
            GuardProjection::Passed { inner, rate_limit } => {
                let answered = ready!(inner.poll(context));
                Poll::Ready(answered.map(|mut response| {
                    insert_rate_limit(response.headers_mut(), rate_limit.take());
                    response
                }))
            }
            GuardProjection::Refused { response } => {
                Poll::Ready(Ok(response.take().expect("a future is not polled once it is ready")))
            }
        }
    }
}

impl Shared {
    /// Readies an allowed request for the inner service, or makes the answer to one that is not.
    fn pass(&self, head: &mut Parts) -> Result<Option<RateLimitHeaders>, Box<ErrorAnswer>> {
        let directory = self.engine.directory();
        let api = match &self.pinned {
            None => select_api(&directory, head),
            Some(name) => match directory.find(name.as_str()) {
                Some(api) => Some(api),
                None => return Err(wire::denial(None, Denial::Unavailable, None, None).into()),
            },
        };
        drop(directory);
        let verdict = verdict_for_api(&self.engine, &*self.clock, &self.trusted, head, api);
        let denial = match (verdict.decision, verdict.api, verdict.key) {
            (Ok(()), Some(api), Some(key)) => {
                head.headers.remove(AUTHORIZATION);
                head.extensions.insert(Verified { api, key });
                return Ok(rate_limit_headers(&self.engine, &verdict));
            }
            (Err(denial), ..) => denial,
            // An engine that allows nobody for nothing is broken, and what is broken does not allow.
            (Ok(()), ..) => Denial::Unavailable,
        };
        Err(denial_answer(&self.engine, &verdict, denial).into())
    }
}

impl fmt::Debug for GuardLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Shared { trusted, pinned, .. } = &*self.shared;
        f.debug_struct("GuardLayer").field("pinned", pinned).field("trusted", trusted).finish_non_exhaustive()
    }
}

impl<S: fmt::Debug> fmt::Debug for Guard<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard").field("inner", &self.inner).finish_non_exhaustive()
    }
}
