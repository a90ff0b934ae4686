//! `POST /v1/verify`: may this key do this, from there?
//!
//! API servers and proxies ask with a verifier credential, or over the unix socket. A denied key is an
//! answer (200 with `"valid": false`), not an error of the request.

mod answer;
mod question;

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use claviger_domain::address::parse_address;
use claviger_domain::change::Revision;
use claviger_domain::credential::{Credential, SECRET_BYTES_MAX};
use claviger_domain::limits::BODY_BYTES_MAX;
use claviger_domain::path::CanonicalPath;
use claviger_domain::peer::Peer;
use claviger_domain::referrer::Referrer;
use claviger_domain::time::Clock;
use claviger_domain::wire::{self, ErrorAnswer};
use claviger_engine::Engine;
use http::header::{ALLOW, AUTHORIZATION, CONTENT_TYPE};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Body;

use self::question::Question;
use crate::front::error_response;

/// Where the route is.
pub const PATH: &str = "/v1/verify";

/// The hot route `POST /v1/verify`.
#[derive(Clone)]
pub struct Verify {
    engine: Arc<Engine>,
    clock: Arc<dyn Clock>,
}

impl Verify {
    /// Asks this engine, with the time of this clock.
    pub fn new(engine: Arc<Engine>, clock: Arc<dyn Clock>) -> Self {
        Self { engine, clock }
    }

    /// Answers a request for [`PATH`], whatever its method.
    pub async fn answer<B>(&self, peer: Peer, request: Request<B>) -> Response<Full<Bytes>>
    where
        B: Body<Data = Bytes> + Unpin,
    {
        let (head, body) = request.into_parts();
        match self.decide(peer, &head, body).await {
            Ok(body) => {
                // The request's map, emptied, saves making another: hyper hands it on to the next request.
                let mut headers = head.headers;
                headers.clear();
                headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
                let mut response = Response::new(Full::new(body));
                *response.headers_mut() = headers;
                response
            }
            Err(refusal) => refusal.into_response(),
        }
    }

    async fn decide<B>(&self, peer: Peer, head: &Parts, body: B) -> Result<Bytes, Refusal>
    where
        B: Body<Data = Bytes> + Unpin,
    {
        if head.method != Method::POST {
            return Err(Refusal::Method);
        }
        self.authenticate(peer, &head.headers)?;
        let body = read(body).await?;
        let question = Question::parse(&body)?;
        self.verdict(&question)
    }

    /// Lets verifiers pass, and whoever may open the socket.
    fn authenticate(&self, peer: Peer, headers: &HeaderMap) -> Result<(), Refusal> {
        if peer == Peer::Socket {
            return Ok(());
        }
        match Credential::from_authorization(headers.get_all(AUTHORIZATION).iter().map(HeaderValue::as_bytes)) {
            Credential::Missing => Err(Refusal::NoCredential),
            Credential::Bearer(token) if self.engine.is_verifier(&token.digest()) => Ok(()),
            Credential::Bearer(_) | Credential::Malformed => Err(Refusal::UnknownCredential),
        }
    }

    fn verdict(&self, question: &Question<'_>) -> Result<Bytes, Refusal> {
        let directory = self.engine.directory();
        let mut header = [0; CREDENTIAL_BYTES];
        let credential = credential(question.key(), &mut header);
        let path = question.path().split_once('?').map_or(question.path(), |(path, _query)| path);
        let endpoint = question.method().parse().ok().zip(CanonicalPath::parse(path).ok());
        let api = match question.api() {
            Some(name) => Some(directory.find(name).ok_or(UNKNOWN_API)?),
            None => directory.select(None, endpoint, path, question.key()),
        };
        let scopes: Vec<&str> = question.scopes().collect();
        let request = claviger_engine::Request {
            credential,
            api,
            endpoint,
            // What cannot be read as an address or a referrer fails the restrictions on it, no more.
            ip: question.ip().and_then(parse_address),
            referrer: question.referrer().and_then(Referrer::parse),
            scopes: &scopes,
            cost: question.cost(),
            at_least_revision: Revision(question.at_least_revision()),
        };
        let now = self.clock.now();
        let verdict = self.engine.verify(now, &request);
        Ok(answer::write(&self.engine, &verdict, now).into())
    }
}

impl fmt::Debug for Verify {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verify").finish_non_exhaustive()
    }
}

const UNKNOWN_API: Refusal =
    Refusal::Invalid { field: Some(Cow::Borrowed("api")), message: Cow::Borrowed("there is no api of this name") };

/// Why a request gets no verdict.
#[derive(Debug, PartialEq, Eq)]
enum Refusal {
    Method,
    NoCredential,
    UnknownCredential,
    TooLarge,
    /// `field` is one of ours or looks like a field's name, and no message quotes the caller: what stands in
    /// the wrong place may be a secret.
    Invalid {
        field: Option<Cow<'static, str>>,
        message: Cow<'static, str>,
    },
}

impl Refusal {
    fn into_response(self) -> Response<Full<Bytes>> {
        let is_method = self == Self::Method;
        let mut response = error_response(self.into_answer());
        if is_method {
            response.headers_mut().insert(ALLOW, HeaderValue::from_static("POST"));
        }
        response
    }

    fn into_answer(self) -> ErrorAnswer {
        match self {
            Self::Method => wire::error(None, 405, "method_not_allowed", "Only POST is answered here.", None),
            Self::NoCredential => {
                let message = "Send a verifier's token as: Authorization: Bearer <token>.";
                let mut answer = wire::error(None, 401, "unauthenticated", message, None);
                answer.challenge = Some(r#"Bearer realm="claviger""#.to_owned());
                answer
            }
            Self::UnknownCredential => {
                let message = "The Authorization header does not hold exactly one token of a verifier.";
                let mut answer = wire::error(None, 401, "unauthenticated", message, None);
                answer.challenge = Some(r#"Bearer realm="claviger", error="invalid_token""#.to_owned());
                answer
            }
            Self::TooLarge => {
                let message = format!("The body is larger than {BODY_BYTES_MAX} bytes.");
                wire::error(None, 413, "payload_too_large", &message, None)
            }
            Self::Invalid { field, message } => wire::error(None, 400, "invalid_request", &message, field.as_deref()),
        }
    }
}

/// Reads a body of at most [`BODY_BYTES_MAX`]. One that comes in one piece, as nearly all do, is not copied.
async fn read<B: Body<Data = Bytes> + Unpin>(mut body: B) -> Result<Bytes, Refusal> {
    if body.size_hint().lower() > BODY_BYTES_MAX as u64 {
        return Err(Refusal::TooLarge);
    }
    let mut first = Bytes::new();
    let mut all = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Refusal::Invalid { field: None, message: "the body broke off".into() })?;
        let Ok(data) = frame.into_data() else { continue };
        if first.len() + all.len() + data.len() > BODY_BYTES_MAX {
            return Err(Refusal::TooLarge);
        }
        if first.is_empty() && all.is_empty() {
            first = data;
        } else {
            all.extend_from_slice(&std::mem::take(&mut first));
            all.extend_from_slice(&data);
        }
        if body.is_end_stream() {
            break;
        }
    }
    Ok(if all.is_empty() { first } else { all.into() })
}

const SCHEME: &[u8] = b"Bearer ";
const CREDENTIAL_BYTES: usize = SCHEME.len() + SECRET_BYTES_MAX;

/// The credential that an `Authorization` header with this key would be: one rule for both.
fn credential<'a>(key: Option<&str>, header: &'a mut [u8; CREDENTIAL_BYTES]) -> Credential<'a> {
    let Some(key) = key else { return Credential::Missing };
    let Some(header) = header.get_mut(..SCHEME.len() + key.len()) else {
        return Credential::Malformed;
    };
    header[..SCHEME.len()].copy_from_slice(SCHEME);
    header[SCHEME.len()..].copy_from_slice(key.as_bytes());
    Credential::from_authorization(std::iter::once(&*header))
}
