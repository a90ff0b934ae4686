//! HTTP in, HTTP out: a request as a question to the engine, a denial as a response.

use std::net::IpAddr;

use claviger_domain::address::TrustedProxies;
use claviger_domain::change::Revision;
use claviger_domain::credential::Credential;
use claviger_domain::denial::Denial;
use claviger_domain::endpoint::Method;
use claviger_domain::path::CanonicalPath;
use claviger_domain::peer::Peer;
use claviger_domain::referrer::Referrer;
use claviger_domain::scope::Scope;
use claviger_domain::time::Clock;
use claviger_domain::wire::{self, ErrorAnswer, LimitFigures, RateLimitHeaders};
use claviger_engine::{ApiIndex, CompiledApi, Directory, Engine, Verdict};
use http::header::{
    AUTHORIZATION, AsHeaderName, CACHE_CONTROL, CONTENT_TYPE, HOST, HeaderName, HeaderValue, ORIGIN, REFERER,
    RETRY_AFTER, WWW_AUTHENTICATE,
};
use http::request::Parts;
use http::{HeaderMap, Response, StatusCode};

/// May this request pass? Everything that counts is in its head: the `Authorization` header, the host, method and
/// path, the [`Peer`] in the extensions with the forwarding header of trusted proxies, `Origin` and `Referer`.
///
/// The path must be the one that the client sent: a router that strips prefixes must stand behind this.
/// Without a [`Peer::Address`] no client address is known, which fails every `ip` restriction. Never
/// waits, and allocates nothing.
pub fn verdict_for(engine: &Engine, clock: &dyn Clock, trusted: &TrustedProxies, request: &Parts) -> Verdict {
    let api = select_api(&engine.directory(), request);
    verdict_for_api(engine, clock, trusted, request, api)
}

/// The same for a request whose api is known already, whatever its host and path say; `None` leaves the choice to
/// the secret.
pub fn verdict_for_api(
    engine: &Engine,
    clock: &dyn Clock,
    trusted: &TrustedProxies,
    request: &Parts,
    api: Option<ApiIndex>,
) -> Verdict {
    let endpoint = endpoint(request);
    let question = claviger_engine::Request {
        credential: Credential::from_authorization(lines(&request.headers, AUTHORIZATION)),
        api,
        endpoint,
        ip: client_address(trusted, request),
        referrer: Referrer::from_headers(lines(&request.headers, ORIGIN), lines(&request.headers, REFERER)),
        scopes: &[],
        // What the endpoint costs.
        cost: None,
        at_least_revision: Revision::default(),
    };
    engine.verify(clock.now(), &question)
}

/// The api that a request is for, by its host, its path and what stands in the place of a secret. The one place
/// where this is chosen for a request over HTTP.
pub fn select_api(directory: &Directory, request: &Parts) -> Option<ApiIndex> {
    directory.select(host(request), endpoint(request), request.uri.path(), secret_text(&request.headers))
}

/// The address of the client behind the trusted proxies, or `None` when it cannot be known for sure.
pub fn client_address(trusted: &TrustedProxies, request: &Parts) -> Option<IpAddr> {
    let Some(Peer::Address(peer)) = request.extensions.get::<Peer>() else {
        return None;
    };
    trusted.client_address(*peer, lines(&request.headers, trusted.header().name()))
}

/// The headers that say how much of the limits is left that a verdict looked at.
pub fn rate_limit_headers(engine: &Engine, verdict: &Verdict) -> Option<RateLimitHeaders> {
    if verdict.limits.is_empty() {
        return None;
    }
    let directory = engine.directory();
    let limits = directory.api(verdict.api?).limits(&verdict.limits);
    RateLimitHeaders::new(limits.map(|limit| LimitFigures {
        name: limit.name,
        limit: limit.limit,
        window_seconds: limit.window_seconds,
        remaining: limit.remaining,
        reset_seconds: limit.reset_seconds,
    }))
}

/// Adds those headers to an answer.
pub(crate) fn insert_rate_limit(headers: &mut HeaderMap, rate_limit: Option<RateLimitHeaders>) {
    let Some(RateLimitHeaders { policy, state }) = rate_limit else { return };
    for (name, value) in [(RateLimitHeaders::POLICY, policy), (RateLimitHeaders::STATE, state)] {
        // They are made of names and numbers.
        if let Ok(value) = HeaderValue::try_from(value) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
}

/// The answer to a request that was denied, in the words of the api that the verdict names.
pub fn denial_answer(engine: &Engine, verdict: &Verdict, denial: Denial) -> ErrorAnswer {
    // Taken after the verdict, whose api may be newer than any directory taken before it.
    let directory = engine.directory();
    let api = verdict.api.map(|api| directory.api(api));
    let missing_scope = api.zip(verdict.missing_scope).and_then(|(api, scope)| api.scope_name(scope));
    let environment = verdict.key.map(|key| key.environment);
    let mut answer =
        wire::denial(api.map(CompiledApi::definition), denial, environment, missing_scope.map(Scope::as_str));
    answer.retry_after_seconds = verdict.limits.retry_after_seconds.or(answer.retry_after_seconds);
    answer.rate_limit = rate_limit_headers(engine, verdict);
    answer
}

/// An error answer as an HTTP response that no cache keeps.
pub fn error_response<B: From<String>>(answer: ErrorAnswer) -> Response<B> {
    let mut response = Response::new(answer.body.into());
    *response.status_mut() = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut insert = |name: HeaderName, value: Option<HeaderValue>| {
        if let Some(value) = value {
            response.headers_mut().insert(name, value);
        }
    };
    insert(CONTENT_TYPE, Some(HeaderValue::from_static(answer.content_type)));
    insert(CACHE_CONTROL, Some(HeaderValue::from_static("no-store")));
    insert(WWW_AUTHENTICATE, answer.challenge.and_then(|challenge| challenge.try_into().ok()));
    insert(RETRY_AFTER, answer.retry_after_seconds.map(HeaderValue::from));
    insert_rate_limit(response.headers_mut(), answer.rate_limit);
    response
}

/// Nothing if the method is unknown or the path not canonical: then no endpoint matches.
fn endpoint(request: &Parts) -> Option<(Method, CanonicalPath<'_>)> {
    request.method.as_str().parse().ok().zip(CanonicalPath::parse(request.uri.path()).ok())
}

/// The host that the request is for: the target's (HTTP/2, or RFC 9112 section 3.2.2), else that of the one `Host`
/// line. Two lines are two answers, so none. Without its port and without the dot of a fully qualified name.
fn host(request: &Parts) -> Option<&str> {
    if let Some(authority) = request.uri.authority() {
        return Some(without_dot(authority.host()));
    }
    let mut values = request.headers.get_all(HOST).iter();
    let host = values.next()?.to_str().ok()?;
    if values.next().is_some() {
        return None;
    }
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    Some(without_dot(name))
}

fn without_dot(name: &str) -> &str {
    name.strip_suffix('.').unwrap_or(name)
}

/// What stands in the place of a secret, well-formed or not. Only good for telling which api was meant.
fn secret_text(headers: &HeaderMap) -> Option<&str> {
    let (scheme, secret) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("Bearer").then_some(secret)
}

fn lines(headers: &HeaderMap, name: impl AsHeaderName) -> impl DoubleEndedIterator<Item = &[u8]> {
    headers.get_all(name).iter().map(HeaderValue::as_bytes)
}
