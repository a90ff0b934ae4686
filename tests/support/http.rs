//! HTTP/1.1 over a bare socket, so that a test decides about every byte that is sent and sees every one that
//! comes back. One request a connection.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

/// How long a server may take before a test gives up on it.
const PATIENCE: Duration = Duration::from_secs(30);

/// A request under construction. `Host` is added when it is sent, unless the test names one.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    method: String,
    target: String,
    headers: Vec<(String, Vec<u8>)>,
    body: Vec<u8>,
}

impl Request {
    pub(crate) fn new(method: &str, target: &str) -> Self {
        Self { method: method.to_owned(), target: target.to_owned(), headers: Vec::new(), body: Vec::new() }
    }

    pub(crate) fn get(target: &str) -> Self {
        Self::new("GET", target)
    }

    pub(crate) fn post(target: &str) -> Self {
        Self::new("POST", target)
    }

    pub(crate) fn patch(target: &str) -> Self {
        Self::new("PATCH", target)
    }

    pub(crate) fn put(target: &str) -> Self {
        Self::new("PUT", target)
    }

    pub(crate) fn delete(target: &str) -> Self {
        Self::new("DELETE", target)
    }

    /// Adds a header line, even one of a name that is there already, and even one that is no header.
    pub(crate) fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.headers.push((name.to_owned(), value.as_ref().to_owned()));
        self
    }

    pub(crate) fn bearer(self, secret: &str) -> Self {
        self.header("Authorization", format!("Bearer {secret}"))
    }

    pub(crate) fn host(self, host: &str) -> Self {
        self.header("Host", host)
    }

    /// Takes the `Host` away again: the same request, sent to the machine by its address.
    pub(crate) fn without_host(mut self) -> Self {
        self.headers.retain(|(name, _)| !name.eq_ignore_ascii_case("host"));
        self
    }

    pub(crate) fn json(self, body: &Value) -> Self {
        self.header("Content-Type", "application/json").body(body.to_string())
    }

    pub(crate) fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// Method and target, to tell which request it was.
    pub(crate) fn line(&self) -> String {
        format!("{} {}", self.method, self.target)
    }

    pub(crate) fn has_header(&self, name: &str) -> bool {
        self.headers.iter().any(|(found, _)| found.eq_ignore_ascii_case(name))
    }

    fn to_bytes(&self, authority: &str) -> Vec<u8> {
        let mut bytes = format!("{} {} HTTP/1.1\r\n", self.method, self.target).into_bytes();
        let mut line = |name: &str, value: &[u8]| {
            bytes.extend_from_slice(name.as_bytes());
            bytes.extend_from_slice(b": ");
            bytes.extend_from_slice(value);
            bytes.extend_from_slice(b"\r\n");
        };
        if !self.has_header("host") {
            line("Host", authority.as_bytes());
        }
        for (name, value) in &self.headers {
            line(name, value);
        }
        if !self.body.is_empty() && !self.has_header("content-length") && !self.has_header("transfer-encoding") {
            line("Content-Length", self.body.len().to_string().as_bytes());
        }
        line("Connection", b"close");
        bytes.extend_from_slice(b"\r\n");
        bytes.extend_from_slice(&self.body);
        bytes
    }

    /// Sends the request and checks that the answer is sound.
    pub(crate) fn send(&self, address: SocketAddr) -> Response {
        self.try_send(address).unwrap_or_else(|error| panic!("{}: {error}", self.line()))
    }

    /// Like [`send`](Self::send), where the server may also hang up.
    pub(crate) fn try_send(&self, address: SocketAddr) -> io::Result<Response> {
        let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        self.exchange(stream, &address.to_string())
    }

    /// Sends the request to a unix socket.
    pub(crate) fn send_to_socket(&self, path: &Path) -> Response {
        let stream = UnixStream::connect(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        self.exchange(stream, "localhost").unwrap_or_else(|error| panic!("{}: {error}", self.line()))
    }

    fn exchange(&self, mut stream: impl Read + Write, authority: &str) -> io::Result<Response> {
        // A server that answers before it has read everything may hang up on the rest; its answer counts.
        let written = stream.write_all(&self.to_bytes(authority));
        let mut bytes = Vec::new();
        let read = stream.read_to_end(&mut bytes);
        if bytes.is_empty() {
            written?;
            read?;
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "nothing came back"));
        }
        let response = Response::parse(&bytes, self.method == "HEAD")?;
        response.must_be_sound(&self.line());
        Ok(response)
    }
}

/// An answer.
#[derive(Clone, Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Response {
    fn parse(bytes: &[u8], is_head: bool) -> io::Result<Self> {
        match Self::parse_first(bytes, is_head)? {
            (response, []) => Ok(response),
            (_, rest) => Err(io::Error::new(io::ErrorKind::InvalidData, format!("{} bytes too many", rest.len()))),
        }
    }

    /// The first answer of those in the bytes, and what follows it.
    pub(crate) fn parse_first(bytes: &[u8], is_head: bool) -> io::Result<(Self, &[u8])> {
        let broken = |what: &str| {
            let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(300)]).into_owned();
            io::Error::new(io::ErrorKind::InvalidData, format!("{what}: {shown:?}"))
        };
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").ok_or_else(|| broken("no end of headers"))?;
        let head = str::from_utf8(&bytes[..end]).map_err(|_| broken("headers are not UTF-8"))?;
        let mut lines = head.split("\r\n");
        let status_line = lines.next().unwrap_or_default();
        let status = status_line.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)?.parse().ok());
        let status = status.ok_or_else(|| broken("no status line"))?;
        let headers = lines
            .map(|line| line.split_once(':').map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned())))
            .collect::<Option<Vec<_>>>()
            .ok_or_else(|| broken("a header without a colon"))?;
        let mut response = Self { status, headers, body: Vec::new() };
        let rest = &bytes[end + 4..];
        let (body, rest) = match (response.header("transfer-encoding"), response.header("content-length")) {
            _ if is_head => (Vec::new(), rest),
            (Some("chunked"), None) => unchunked(rest).ok_or_else(|| broken("bad chunks"))?,
            (None, Some(length)) => {
                let parts = length.parse().ok().and_then(|length| rest.split_at_checked(length));
                let (body, rest) = parts.ok_or_else(|| broken("the body is not as long as announced"))?;
                (body.to_owned(), rest)
            }
            (None, None) if matches!(status, 100..200 | 204 | 304) => (Vec::new(), rest),
            _ => return Err(broken("the body's length is not announced")),
        };
        response.body = body;
        Ok((response, rest))
    }

    /// What must hold of every answer, whoever asked and for whatever.
    pub(crate) fn must_be_sound(&self, request: &str) {
        if self.status == 401 {
            let challenge = self.header("www-authenticate");
            let is_bearer = challenge.is_some_and(|challenge| challenge.starts_with("Bearer realm=\""));
            assert!(is_bearer, "{request}: a 401 without a challenge: {self:?}");
        }
        let Ok(document) = serde_json::from_slice::<Value>(&self.body) else {
            return;
        };
        let things = [&document, &document["data"]];
        if things.iter().any(|thing| thing.get("secret").is_some() || thing.get("token").is_some()) {
            assert_eq!(self.header("cache-control"), Some("no-store"), "{request}: a secret that may be stored");
        }
        // Error bodies name their own status: the two must be one.
        for written in [&document["status"], &document["error"]["status"]] {
            if self.status >= 400 && written.is_u64() {
                assert_eq!(written.as_u64(), Some(u64::from(self.status)), "{request}: {document}");
            }
        }
    }

    /// The one value of a header.
    #[track_caller]
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.iter().filter(|(found, _)| found == name).map(|(_, value)| value.as_str());
        let value = values.next();
        assert!(values.next().is_none(), "{name} stands twice: {self:?}");
        value
    }

    /// All headers, names in lower case.
    pub(crate) fn headers(&self) -> &[(String, String)] {
        &self.headers
    }

    /// Leaves a header out of account.
    pub(crate) fn forget_header(&mut self, name: &str) {
        self.headers.retain(|(found, _)| found != name);
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    /// The body as JSON, with names in the order sent.
    #[track_caller]
    pub(crate) fn value(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The body of an answer with this status.
    #[track_caller]
    pub(crate) fn expect(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", String::from_utf8_lossy(&self.body));
        self.value()
    }
}

/// The body in these chunks, and what follows them.
fn unchunked(mut rest: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let mut body = Vec::new();
    loop {
        let end = rest.windows(2).position(|two| two == b"\r\n")?;
        let size = str::from_utf8(&rest[..end]).ok()?.split(';').next()?;
        let size = usize::from_str_radix(size, 16).ok()?;
        rest = rest.get(end + 2..)?;
        if size == 0 {
            return Some((body, rest.strip_prefix(b"\r\n")?));
        }
        body.extend_from_slice(rest.get(..size)?);
        rest = rest.get(size..)?.strip_prefix(b"\r\n")?;
    }
}
