//! The client of a deployment's internal listener: what the command line speaks.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use bytes::Bytes;
use claviger_domain::change::Revision;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, HeaderName, HeaderValue, LINK};
use http::{HeaderMap, Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

/// How long a request may take, from connecting to the last byte of the answer, unless it was said otherwise.
pub const TIMEOUT: Duration = Duration::from_secs(30);
/// The largest answer that is read.
pub const ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const IDEMPOTENCY_REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// Where a deployment's internal listener is.
///
/// Written `/var/lib/claviger/claviger.sock`, `unix:claviger.sock` or `http://127.0.0.1:8081`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Place {
    /// The unix socket in the data directory: file permissions are the authority.
    Socket(PathBuf),
    /// A host and port, to which an admin token is sent in clear: loopback, or the end of a tunnel.
    Http(String),
}

/// The text is not a [`Place`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PlaceError {
    /// `https://…`
    #[error("https:// is not supported: use the unix socket, or http:// to the near end of a tunnel")]
    Https,
    /// Neither a path nor an `http://` URL with only a host and a port.
    #[error("expected the path of a unix socket or http://host:port")]
    Shape,
}

impl FromStr for Place {
    type Err = PlaceError;

    fn from_str(text: &str) -> Result<Self, PlaceError> {
        if let Some(path) = text.strip_prefix("unix:") {
            return if path.is_empty() { Err(PlaceError::Shape) } else { Ok(Self::Socket(path.into())) };
        }
        if text.starts_with('/') {
            return Ok(Self::Socket(text.into()));
        }
        let uri: Uri = text.parse().map_err(|_| PlaceError::Shape)?;
        match uri.scheme_str() {
            Some("http") => {}
            Some("https") => return Err(PlaceError::Https),
            _ => return Err(PlaceError::Shape),
        }
        let authority =
            uri.authority().filter(|authority| !authority.as_str().contains('@')).ok_or(PlaceError::Shape)?;
        if uri.path() != "/" || uri.query().is_some() || authority.host().is_empty() {
            return Err(PlaceError::Shape);
        }
        let port = authority.port_u16().unwrap_or(80);
        Ok(Self::Http(format!("{}:{port}", authority.host())))
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket(path) => path.display().fmt(f),
            Self::Http(authority) => write!(f, "http://{authority}"),
        }
    }
}

/// What is sent with a request.
#[derive(Clone, PartialEq, Debug)]
pub enum Body {
    /// `application/json`
    Json(Value),
    /// `application/toml`: a definition file as it stands.
    Toml(String),
    /// `application/x-ndjson`: one JSON object a line.
    Ndjson(Vec<u8>),
}

/// Why there is no good answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The request could not be written as HTTP: a path or token with characters that do not belong there.
    #[error("{0}")]
    Request(&'static str),
    /// Nobody answers there.
    #[error("cannot reach {place}: {source}")]
    Unreachable {
        /// Where it was tried.
        place: Place,
        /// What the system said.
        source: io::Error,
    },
    /// The connection broke off; whether the request was carried out is not known.
    #[error("the connection to {place} broke off: {source}")]
    BrokeOff {
        /// Where to.
        place: Place,
        /// What went wrong.
        source: hyper::Error,
    },
    /// No complete answer within [`TIMEOUT`], or the time that was set; whether the request was carried out is not known.
    #[error("{place} did not answer in time")]
    TimedOut {
        /// Where it was tried.
        place: Place,
    },
    /// The answer is larger than [`ANSWER_BYTES_MAX`].
    #[error("the answer is larger than {ANSWER_BYTES_MAX} bytes")]
    TooLarge,
    /// The answer is not what a Claviger server writes.
    #[error("the answer (status {status}) was not understood: is this a Claviger server's internal listener?")]
    NotUnderstood {
        /// The HTTP status.
        status: u16,
    },
    /// The server said no.
    #[error("{message}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// The error's code, such as `not_found`.
        code: String,
        /// The error in words.
        message: String,
        /// The part of the request that is wrong.
        field: Option<String>,
        /// What the server says beyond that, such as which lines of an import were refused.
        report: Option<Box<Value>>,
    },
}

/// A good answer. `Debug` leaves the content out: it may hold a secret that was just issued.
#[derive(Clone)]
pub struct Answer {
    /// The HTTP status, 200 to 299.
    pub status: u16,
    /// The revision of the mutation that the request was.
    pub revision: Option<Revision>,
    /// Whether the request was done before, and this is the answer that was given then.
    pub replayed: bool,
    /// The query of what comes after this part of a longer answer, by its `Link` with `rel="next"`.
    pub next_query: Option<String>,
    content: Bytes,
}

impl Answer {
    /// The content as JSON.
    ///
    /// # Errors
    /// [`ClientError::NotUnderstood`] when it is something else.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, ClientError> {
        serde_json::from_slice(&self.content).map_err(|_| ClientError::NotUnderstood { status: self.status })
    }

    /// The content as it came.
    pub fn content(&self) -> &[u8] {
        &self.content
    }
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { status, revision, replayed, next_query: _, content: _ } = self;
        let mut shown = f.debug_struct("Answer");
        shown.field("status", status).field("revision", revision).field("replayed", replayed).finish_non_exhaustive()
    }
}

/// Speaks to a deployment, one connection a request. Needs a tokio runtime.
#[derive(Clone, Debug)]
pub struct Management {
    place: Place,
    /// Marked sensitive, so that its `Debug` is redacted.
    authorization: Option<HeaderValue>,
    timeout: Option<Duration>,
}

impl Management {
    /// Speaks to the deployment at this place.
    pub fn new(place: Place) -> Self {
        Self { place, authorization: None, timeout: Some(TIMEOUT) }
    }

    /// Sends this admin token along, which the unix socket does without.
    ///
    /// # Errors
    /// [`ClientError::Request`] when the text has characters that no token has.
    pub fn with_token(self, token: &str) -> Result<Self, ClientError> {
        let mut value = HeaderValue::try_from(format!("Bearer {token}"))
            .map_err(|_| ClientError::Request("the admin token has characters that no token has"))?;
        value.set_sensitive(true);
        Ok(Self { authorization: Some(value), ..self })
    }

    /// Waits this long instead of [`TIMEOUT`], or as long as it takes: for what takes longer the more there is to do.
    pub fn with_timeout(self, timeout: Option<Duration>) -> Self {
        Self { timeout, ..self }
    }

    /// Makes a request: `path` as in a URL, and the names and values of the query as they are meant.
    ///
    /// # Errors
    /// Everything but a 2xx answer; see [`ClientError`]. Nothing is tried twice.
    pub async fn request(
        &self,
        method: Method,
        path: &str,
        query: &[(&str, &str)],
        body: Option<Body>,
    ) -> Result<Answer, ClientError> {
        let request = self.build(method, path, query, body)?;
        self.send(request).await
    }

    /// Makes a POST that is done once, however often it is sent with this Idempotency-Key within a day: the answer is
    /// then the one that was given first, secrets included.
    ///
    /// # Errors
    /// Those of [`Management::request`].
    pub async fn post_once(
        &self,
        path: &str,
        body: Option<Body>,
        idempotency_key: &str,
    ) -> Result<Answer, ClientError> {
        let mut request = self.build(Method::POST, path, &[], body)?;
        let mut key = HeaderValue::try_from(idempotency_key)
            .map_err(|_| ClientError::Request("the idempotency key has characters that a header cannot hold"))?;
        // Together with the credential it opens the kept answer.
        key.set_sensitive(true);
        request.headers_mut().insert(IDEMPOTENCY_KEY, key);
        self.send(request).await
    }

    async fn send(&self, request: Request<Full<Bytes>>) -> Result<Answer, ClientError> {
        let exchange = async {
            match &self.place {
                Place::Socket(path) => self.exchange(UnixStream::connect(path).await, request).await,
                Place::Http(authority) => self.exchange(TcpStream::connect(authority).await, request).await,
            }
        };
        let timed_out = |_| ClientError::TimedOut { place: self.place.clone() };
        let (status, headers, content) = match self.timeout {
            Some(timeout) => tokio::time::timeout(timeout, exchange).await.map_err(timed_out)??,
            None => exchange.await?,
        };
        if !status.is_success() {
            return Err(refusal(status, &content));
        }
        let revision = headers.get("claviger-revision").and_then(|value| value.to_str().ok()?.parse().ok());
        let replayed = headers.get(IDEMPOTENCY_REPLAYED).is_some_and(|value| value == "true");
        let next_query = headers.get(LINK).and_then(|link| next_query(link.to_str().ok()?));
        Ok(Answer { status: status.as_u16(), revision: revision.map(Revision), replayed, next_query, content })
    }

    fn build(
        &self,
        method: Method,
        path: &str,
        query: &[(&str, &str)],
        body: Option<Body>,
    ) -> Result<Request<Full<Bytes>>, ClientError> {
        let host = match &self.place {
            Place::Socket(_) => "localhost",
            Place::Http(authority) => authority,
        };
        let target = format!("{path}{}", Query(query));
        let mut request =
            Request::builder().method(method).uri(target).header(HOST, host).header(ACCEPT, "application/json");
        if let Some(authorization) = &self.authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        let content = match body {
            None => Bytes::new(),
            Some(Body::Json(value)) => {
                request = request.header(CONTENT_TYPE, "application/json");
                value.to_string().into()
            }
            Some(Body::Toml(text)) => {
                request = request.header(CONTENT_TYPE, "application/toml");
                text.into()
            }
            Some(Body::Ndjson(lines)) => {
                request = request.header(CONTENT_TYPE, "application/x-ndjson");
                lines.into()
            }
        };
        let is_path = path.starts_with('/') && !path.contains(['?', '#']);
        let request = request.body(Full::new(content)).ok().filter(|_| is_path);
        request.ok_or(ClientError::Request("the path has characters that must be percent-encoded"))
    }

    async fn exchange<I>(
        &self,
        connected: io::Result<I>,
        request: Request<Full<Bytes>>,
    ) -> Result<(StatusCode, HeaderMap, Bytes), ClientError>
    where
        I: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let stream = connected.map_err(|source| ClientError::Unreachable { place: self.place.clone(), source })?;
        let broke_off = |source| ClientError::BrokeOff { place: self.place.clone(), source };
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broke_off)?;
        // It ends when the sender and the answer's body are dropped; its error comes through both of them.
        tokio::spawn(connection);
        let (head, body) = sender.send_request(request).await.map_err(broke_off)?.into_parts();
        match Limited::new(body, ANSWER_BYTES_MAX).collect().await {
            Ok(content) => Ok((head.status, head.headers, content.to_bytes())),
            Err(error) if error.is::<LengthLimitError>() => Err(ClientError::TooLarge),
            Err(error) => Err(match error.downcast::<hyper::Error>() {
                Ok(source) => broke_off(*source),
                Err(_) => ClientError::NotUnderstood { status: head.status.as_u16() },
            }),
        }
    }
}

/// The members of problem+json (RFC 9457) that a Claviger server writes.
#[derive(Deserialize)]
struct Problem {
    code: String,
    detail: String,
    field: Option<String>,
    report: Option<Box<Value>>,
}

/// The query of a link to the next part.
fn next_query(link: &str) -> Option<String> {
    let target = link.strip_prefix('<')?.strip_suffix(">; rel=\"next\"")?;
    target.split_once('?').map(|(_, query)| query.to_owned())
}

fn refusal(status: StatusCode, content: &[u8]) -> ClientError {
    let status = status.as_u16();
    match serde_json::from_slice(content) {
        Ok(Problem { code, detail, field, report }) => {
            ClientError::Refused { status, code, message: detail, field, report }
        }
        Err(_) => ClientError::NotUnderstood { status },
    }
}

/// A query with its question mark; nothing when there is none. All but unreserved characters (RFC 3986
/// section 2.3) are escaped.
struct Query<'a>(&'a [(&'a str, &'a str)]);

impl fmt::Display for Query<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, (name, value)) in self.0.iter().enumerate() {
            f.write_str(if position == 0 { "?" } else { "&" })?;
            write_escaped(f, name)?;
            f.write_str("=")?;
            write_escaped(f, value)?;
        }
        Ok(())
    }
}

fn write_escaped(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    text.bytes().try_for_each(|byte| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => write!(f, "{}", char::from(byte)),
        _ => write!(f, "%{byte:02X}"),
    })
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::body::Bytes as Content;
    use axum::http::Uri as Target;
    use axum::response::IntoResponse;
    use axum::routing::{get, post, put};
    use serde_json::json;
    use tokio::net::{TcpListener, UnixListener};

    use super::*;

    #[test]
    fn places() {
        let check = |text: &str, expected: Result<&str, PlaceError>| {
            let place = text.parse::<Place>();
            assert_eq!(place.map(|place| place.to_string()), expected.map(str::to_owned), "{text}");
        };
        check("/run/claviger.sock", Ok("/run/claviger.sock"));
        check("unix:claviger.sock", Ok("claviger.sock"));
        check("http://127.0.0.1:8081", Ok("http://127.0.0.1:8081"));
        check("http://localhost/", Ok("http://localhost:80"));
        check("HTTP://[::1]:8081", Ok("http://[::1]:8081"));
        check("https://localhost:8081", Err(PlaceError::Https));
        for text in [
            "",
            "unix:",
            "localhost:8081",
            "claviger.sock",
            "http://",
            "http://h/admin",
            "http://h?a=b",
            "http://u@h",
            "ftp://h",
        ] {
            check(text, Err(PlaceError::Shape));
        }
    }

    async fn echo(method: Method, target: Target, headers: HeaderMap, body: Content) -> impl IntoResponse {
        let header = |name| headers.get(name).map(|value| value.to_str().unwrap().to_owned());
        let answer = json!({
            "request": format!("{method} {target}"), "authorization": header("authorization"),
            "content_type": header("content-type"), "body": str::from_utf8(&body).unwrap(),
        });
        ([("claviger-revision", "7")], axum::Json(answer))
    }

    async fn once(headers: HeaderMap) -> impl IntoResponse {
        let key = headers.get("idempotency-key").unwrap().to_str().unwrap().to_owned();
        ([("idempotency-replayed", if key == "again" { "true" } else { "false" })], key)
    }

    async fn refuse() -> impl IntoResponse {
        let problem =
            claviger_domain::wire::error(None, 400, "invalid_request", "name must not be empty", Some("name"));
        (StatusCode::BAD_REQUEST, problem.body)
    }

    async fn report() -> impl IntoResponse {
        let problem = json!({"code": "import_refused", "detail": "nothing", "report": {"imported": 0}});
        (StatusCode::UNPROCESSABLE_ENTITY, problem.to_string())
    }

    fn server() -> Router {
        Router::new()
            .route("/echo", get(echo))
            .route("/echo", put(echo).post(echo))
            .route("/once", post(once))
            .route("/refuse", get(refuse))
            .route("/report", get(report))
            .route("/never", get(std::future::pending::<()>))
            .route("/large", get(async || vec![b' '; ANSWER_BYTES_MAX + 1]))
    }

    async fn over_tcp() -> Management {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let place = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        tokio::spawn(async { axum::serve(listener, server()).await });
        Management::new(place)
    }

    #[tokio::test]
    async fn requests_go_out_as_they_are_meant() {
        let client = over_tcp().await.with_token("cadm_1").unwrap();
        assert!(!format!("{client:?}").contains("cadm_1"));
        let query = [("organization", "org_1"), ("name", "a b&c=d/é")];
        let answer = client.request(Method::GET, "/echo", &query, None).await.unwrap();
        assert_eq!((answer.status, answer.revision), (200, Some(Revision(7))));
        let expected = json!({
            "request": "GET /echo?organization=org_1&name=a%20b%26c%3Dd%2F%C3%A9", "authorization": "Bearer cadm_1",
            "content_type": null, "body": "",
        });
        assert_eq!(answer.json::<Value>().unwrap(), expected);
        assert!(!format!("{answer:?}").contains("cadm_1"));

        let answer = client.request(Method::PUT, "/echo", &[], Some(Body::Toml("a = 1\n".into()))).await.unwrap();
        let echoed: Value = answer.json().unwrap();
        assert_eq!((&echoed["content_type"], &echoed["body"]), (&json!("application/toml"), &json!("a = 1\n")));
        let lines = Body::Ndjson(b"{}\n{}\n".to_vec());
        let echoed: Value = client.request(Method::POST, "/echo", &[], Some(lines)).await.unwrap().json().unwrap();
        assert_eq!((&echoed["content_type"], &echoed["body"]), (&json!("application/x-ndjson"), &json!("{}\n{}\n")));
        let answer = client.request(Method::PUT, "/echo", &[], Some(Body::Json(json!({"a": 1})))).await.unwrap();
        let echoed: Value = answer.json().unwrap();
        assert_eq!((&echoed["content_type"], &echoed["body"]), (&json!("application/json"), &json!("{\"a\":1}")));
    }

    #[tokio::test]
    async fn a_post_says_that_it_may_be_a_repetition() {
        let client = over_tcp().await;
        for (key, replayed) in [("first", false), ("again", true)] {
            let answer = client.post_once("/once", None, key).await.unwrap();
            assert_eq!((answer.content(), answer.replayed), (key.as_bytes(), replayed));
        }
        assert!(matches!(client.post_once("/once", None, "a\nb").await, Err(ClientError::Request(_))));
    }

    #[tokio::test]
    async fn the_socket_needs_no_token() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("claviger.sock");
        let listener = UnixListener::bind(&path).unwrap();
        tokio::spawn(async { axum::serve(listener, server()).await });
        let client = Management::new(Place::Socket(path));
        let answer = client.request(Method::GET, "/echo", &[], None).await.unwrap();
        assert_eq!(answer.json::<Value>().unwrap()["authorization"], Value::Null);
    }

    #[tokio::test]
    async fn an_answer_is_waited_for_as_long_as_was_said() {
        let request = async |timeout: Option<Duration>, path: &str| {
            over_tcp().await.with_timeout(timeout).request(Method::GET, path, &[], None).await
        };
        assert!(matches!(request(Some(Duration::ZERO), "/never").await, Err(ClientError::TimedOut { .. })));
        assert_eq!(request(None, "/echo").await.unwrap().status, 200);
    }

    #[tokio::test]
    async fn what_went_wrong_is_told_apart() {
        let client = over_tcp().await;
        let request = async |path: &str| client.request(Method::GET, path, &[], None).await.unwrap_err();

        let error = request("/refuse").await;
        assert_eq!(error.to_string(), "name must not be empty");
        let ClientError::Refused { status: 400, code, field, .. } = error else { panic!("{error:?}") };
        assert_eq!((&*code, field.as_deref()), ("invalid_request", Some("name")));

        let ClientError::Refused { report, .. } = request("/report").await else { panic!() };
        assert_eq!(report, Some(Box::new(json!({"imported": 0}))));

        assert!(matches!(request("/nowhere").await, ClientError::NotUnderstood { status: 404 }));
        assert!(matches!(request("/large").await, ClientError::TooLarge));
        for path in ["", "echo", "/a b", "/a?b", "/a#b", "http://elsewhere/", "//elsewhere/\n"] {
            assert!(matches!(request(path).await, ClientError::Request(_)), "{path}");
        }
        assert!(client.clone().with_token("a\nb").is_err());

        let nobody = Management::new(Place::Socket("/nonexistent/claviger.sock".into()));
        let error = nobody.request(Method::GET, "/", &[], None).await.unwrap_err();
        assert!(error.to_string().starts_with("cannot reach /nonexistent/claviger.sock: "), "{error}");

        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let place = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        tokio::spawn(async move { drop(listener.accept().await) });
        let error = Management::new(place).request(Method::GET, "/", &[], None).await.unwrap_err();
        assert!(matches!(error, ClientError::BrokeOff { .. }), "{error:?}");
    }
}
