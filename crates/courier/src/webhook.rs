//! One request to a webhook endpoint.
//!
//! A connection is made for each request, by hand and to the very address that was found to be public: there is no second
//! look-up in between, no connection of somebody else's to be used again, no proxy that the environment names, and nothing
//! that follows a redirect.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use claviger_domain::limits;
use http::header::{CONTENT_TYPE, HOST, RETRY_AFTER, USER_AGENT};
use http::{HeaderValue, Method, Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, lookup_host};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, crypto};
use url::Host;

use crate::address::is_public;
use crate::authorities::Authorities;
use crate::target::Target;

/// Largest head of an answer.
const HEAD_BYTES_MAX: usize = 64 * 1024;
/// Most addresses of a name that are tried.
const ADDRESSES_MAX: usize = 4;

/// Where requests may go.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Reach {
    /// Without encryption too.
    pub allows_http: bool,
    /// To addresses that are not the public internet's too.
    pub allows_private_networks: bool,
}

/// How long is waited for what.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Patience {
    /// Until there is a connection, with the look-up of the name and the handshake of TLS.
    pub connect: Duration,
    /// Until the head of the answer is there, with the connection.
    pub whole: Duration,
    /// For the part of the body that is kept. It does not matter to the delivery.
    pub body: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { connect: Duration::from_secs(5), whole: Duration::from_secs(15), body: Duration::from_secs(3) }
    }
}

/// A request to make.
#[derive(Clone, Copy, Debug)]
pub struct Post<'a> {
    /// `webhook-id`.
    pub id: &'a str,
    /// `webhook-timestamp`, in seconds since the Unix epoch.
    pub seconds: i64,
    /// `webhook-signature`.
    pub signature: &'a str,
    /// The event, as JSON.
    pub body: &'a str,
}

/// What came back.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// In how many seconds to try again, if it says so.
    pub retry_after_seconds: Option<i64>,
    /// The beginning of the body, as text.
    pub body: String,
}

/// Why there is no answer, for the log that the endpoint's owner reads.
#[derive(Debug, thiserror::Error)]
pub enum PostError {
    /// Nobody knows the name.
    #[error("the name of the host cannot be resolved")]
    Unresolved,
    /// A stranger may not have us call there.
    #[error("the name of the host leads to a private, local or reserved address")]
    NotPublic,
    /// Nobody listens.
    #[error("no connection: {0}")]
    Connect(io::ErrorKind),
    /// Whoever listens is not who they should be, or does not speak TLS.
    #[error("no TLS connection: {0}")]
    Tls(io::Error),
    /// It took too long until there was a connection.
    #[error("no connection in time")]
    ConnectTimeout,
    /// It took too long until there was an answer.
    #[error("no answer in time")]
    AnswerTimeout,
    /// What came back was not HTTP, or broke off.
    #[error("no answer: {0}")]
    Http(#[from] hyper::Error),
    /// The request cannot be written.
    #[error("the request cannot be made: {0}")]
    Request(#[from] http::Error),
}

/// Sends events.
pub struct Courier {
    reach: Reach,
    patience: Patience,
    tls: TlsConnector,
}

/// Either sort of connection.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

impl Courier {
    /// A courier that goes so far, waits so long and trusts nobody beyond Mozilla's roots but these.
    pub fn new(reach: Reach, patience: Patience, authorities: &Authorities) -> Self {
        let mut config = ClientConfig::builder_with_provider(Arc::new(crypto::aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("the provider has the default versions")
            .with_root_certificates(authorities.roots())
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Self { reach, patience, tls: TlsConnector::from(Arc::new(config)) }
    }

    /// Where it goes.
    pub fn reach(&self) -> Reach {
        self.reach
    }

    /// Makes one request and returns what was answered, whatever it was.
    pub async fn post(&self, target: &Target, post: Post<'_>) -> Result<Answer, PostError> {
        let deadline = Instant::now() + self.patience.whole;
        let connect = self.connect(target);
        let stream = timeout(self.patience.connect, connect).await.map_err(|_| PostError::ConnectTimeout)??;
        let request = request(target, post)?;
        let exchange = async {
            let builder = http1::Builder::new().max_buf_size(HEAD_BYTES_MAX).to_owned();
            let (mut sender, connection) = builder.handshake(TokioIo::new(stream)).await?;
            let driver = Driver(tokio::spawn(async move {
                // What goes wrong, the request tells.
                let _ = connection.await;
            }));
            Ok::<_, PostError>((sender.send_request(request).await?, driver))
        };
        let (response, _driver) = timeout_at(deadline, exchange).await.map_err(|_| PostError::AnswerTimeout)??;
        let status = response.status().as_u16();
        let retry_after_seconds = retry_after(&response, post.seconds);
        Ok(Answer { status, retry_after_seconds, body: self.beginning(response).await })
    }

    async fn connect(&self, target: &Target) -> Result<Box<dyn Stream>, PostError> {
        let addresses = self.addresses(target).await?;
        let mut refused = io::ErrorKind::NotFound;
        for address in addresses {
            match TcpStream::connect(address).await {
                Ok(stream) => return self.secure(target, stream).await,
                Err(error) => refused = error.kind(),
            }
        }
        Err(PostError::Connect(refused))
    }

    /// The addresses of the host that may be called.
    async fn addresses(&self, target: &Target) -> Result<Vec<SocketAddr>, PostError> {
        let found: Vec<SocketAddr> = match target.host() {
            Host::Ipv4(address) => vec![(IpAddr::V4(*address), target.port()).into()],
            Host::Ipv6(address) => vec![(IpAddr::V6(*address), target.port()).into()],
            Host::Domain(name) => {
                let found = lookup_host((name.as_str(), target.port())).await;
                found.map_err(|_| PostError::Unresolved)?.collect()
            }
        };
        if found.is_empty() {
            return Err(PostError::Unresolved);
        }
        let may_be_called = |address: &SocketAddr| self.reach.allows_private_networks || is_public(address.ip());
        // One that is not public is no mistake that an honest name has beside others.
        if !found.iter().all(may_be_called) {
            return Err(PostError::NotPublic);
        }
        Ok(found.into_iter().take(ADDRESSES_MAX).collect())
    }

    async fn secure(&self, target: &Target, stream: TcpStream) -> Result<Box<dyn Stream>, PostError> {
        // A request is written at once; without this, its end may wait for the other side.
        let _ = stream.set_nodelay(true);
        if !target.is_https() {
            return Ok(Box::new(stream));
        }
        let name = match target.host() {
            Host::Ipv4(address) => ServerName::IpAddress(IpAddr::V4(*address).into()),
            Host::Ipv6(address) => ServerName::IpAddress(IpAddr::V6(*address).into()),
            Host::Domain(name) => {
                let name = name.strip_suffix('.').unwrap_or(name).to_owned();
                ServerName::try_from(name).map_err(|error| PostError::Tls(io::Error::other(error)))?
            }
        };
        Ok(Box::new(self.tls.connect(name, stream).await.map_err(PostError::Tls)?))
    }

    /// The first bytes of the body, as far as they come in time.
    async fn beginning(&self, response: Response<Incoming>) -> String {
        let mut kept = Vec::new();
        let read = async {
            let mut body = response.into_body();
            while kept.len() < limits::WEBHOOK_ANSWER_BYTES_MAX
                && let Some(Ok(frame)) = body.frame().await
            {
                let Ok(data) = frame.into_data() else { continue };
                let room = limits::WEBHOOK_ANSWER_BYTES_MAX - kept.len();
                kept.extend_from_slice(&data[..data.len().min(room)]);
            }
        };
        let _ = timeout(self.patience.body, read).await;
        String::from_utf8_lossy(&kept).replace('\0', "\u{fffd}")
    }
}

/// Drives a connection, and closes it when dropped.
struct Driver(JoinHandle<()>);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn request(target: &Target, post: Post<'_>) -> Result<Request<Full<Bytes>>, http::Error> {
    Request::builder()
        .method(Method::POST)
        .uri(target.path_and_query())
        .header(HOST, target.authority())
        .header(USER_AGENT, concat!("Claviger/", env!("CARGO_PKG_VERSION")))
        .header(CONTENT_TYPE, HeaderValue::from_static("application/json"))
        .header("webhook-id", post.id)
        .header("webhook-timestamp", post.seconds)
        .header("webhook-signature", post.signature)
        .body(Full::new(Bytes::copy_from_slice(post.body.as_bytes())))
}

/// What `Retry-After` says, in seconds or as a date.
fn retry_after(response: &Response<Incoming>, now: i64) -> Option<i64> {
    let text = response.headers().get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse::<u32>() {
        return Some(i64::from(seconds));
    }
    let at = httpdate::parse_http_date(text).ok()?.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    Some(i64::try_from(at.as_secs()).ok()?.saturating_sub(now).max(0))
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    const POST: Post<'_> = Post { id: "evt_1", seconds: 0, signature: "v1,x", body: "{}" };

    fn courier(allows_private_networks: bool) -> Courier {
        let patience =
            Patience { connect: Duration::from_secs(5), whole: Duration::from_secs(5), ..Patience::default() };
        Courier::new(Reach { allows_http: true, allows_private_networks }, patience, &Authorities::default())
    }

    /// A URL whose text was not looked at closely.
    fn target(url: &str) -> Target {
        Target::parse(url, Reach { allows_http: true, allows_private_networks: true }).unwrap()
    }

    #[tokio::test]
    async fn a_name_that_leads_home_is_not_called() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        for host in ["localhost", "127.0.0.1", "[::ffff:127.0.0.1]", "169.254.169.254", "10.0.0.1"] {
            let refused = courier(false).post(&target(&format!("http://{host}:{port}/")), POST).await;
            assert!(matches!(refused, Err(PostError::NotPublic)), "{host}: {refused:?}");
        }
        let untouched = timeout(Duration::from_millis(50), listener.accept()).await;
        assert!(untouched.is_err(), "somebody called");
    }

    #[tokio::test]
    async fn nobody_there_is_told_as_such() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let refused = courier(true).post(&target(&format!("http://127.0.0.1:{port}/")), POST).await;
        assert!(matches!(refused, Err(PostError::Connect(io::ErrorKind::ConnectionRefused))), "{refused:?}");
        let unknown = courier(true).post(&target("http://does-not-exist.invalid/"), POST).await;
        assert!(matches!(unknown, Err(PostError::Unresolved)), "{unknown:?}");
    }

    #[tokio::test]
    async fn who_speaks_no_tls_gets_nothing() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let heard = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut first = [0; 1];
            tokio::io::AsyncReadExt::read_exact(&mut stream, &mut first).await.unwrap();
            tokio::io::AsyncWriteExt::write_all(&mut stream, b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
            first[0]
        });
        let refused = courier(true).post(&target(&format!("https://127.0.0.1:{port}/")), POST).await;
        assert!(matches!(refused, Err(PostError::Tls(_))), "{refused:?}");
        // The first byte of a handshake, not of a request.
        assert_eq!(heard.await.unwrap(), 0x16);
    }
}
