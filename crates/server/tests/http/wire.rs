//! One request and its reply.

use std::net::{IpAddr, Ipv4Addr};

use axum::Router;
use axum::body::Body;
use claviger_domain::peer::Peer;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, Request, StatusCode};

use serde_json::Value;
use tower::ServiceExt as _;

use crate::document;

/// Which of the document's operations are served.
#[derive(Clone, Copy)]
pub(crate) enum Listener {
    Public,
    Internal,
    /// Replies are not held against the document.
    Other,
}

/// A request under construction.
#[derive(Clone)]
pub(crate) struct Call {
    router: Router,
    listener: Listener,
    method: String,
    target: String,
    headers: Vec<(String, Vec<u8>)>,
    body: Vec<u8>,
    peer: Option<Peer>,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Call {
    /// `what` is a method and a request target: `GET /v1/api-keys?limit=1`.
    pub(crate) fn new(router: &Router, listener: Listener, what: &str) -> Self {
        let (method, target) = what.split_once(' ').expect("a method and a target");
        Self {
            router: router.clone(),
            listener,
            method: method.to_owned(),
            target: target.to_owned(),
            headers: Vec::new(),
            body: Vec::new(),
            peer: Some(Peer::Address(IpAddr::V4(Ipv4Addr::new(203, 0, 113, 7)))),
        }
    }

    pub(crate) fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.headers.push((name.to_owned(), value.as_ref().to_vec()));
        self
    }

    /// With this secret or token.
    pub(crate) fn bearer(self, secret: &str) -> Self {
        self.header(AUTHORIZATION.as_str(), format!("Bearer {secret}"))
    }

    pub(crate) fn peer(mut self, peer: Option<Peer>) -> Self {
        self.peer = peer;
        self
    }

    pub(crate) fn json(self, body: &Value) -> Self {
        self.body("application/json", body.to_string())
    }

    pub(crate) fn body(self, content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        self.header(CONTENT_TYPE.as_str(), content_type).raw(body)
    }

    pub(crate) fn raw(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    pub(crate) fn request(self) -> (Router, Request<Body>) {
        let mut request = Request::builder().method(self.method.as_str()).uri(&self.target);
        for (name, value) in &self.headers {
            request = request.header(name.as_str(), value.as_slice());
        }
        if let Some(peer) = self.peer {
            request = request.extension(peer);
        }
        (self.router, request.body(Body::from(self.body)).unwrap())
    }

    /// The reply is not held against the document.
    pub(crate) fn undocumented(mut self) -> Self {
        self.listener = Listener::Other;
        self
    }

    pub(crate) async fn send(self) -> Reply {
        let listener = self.listener;
        let what = format!("{} {}", self.method, self.target);
        let (router, request) = self.request();
        let response = router.oneshot(request).await.unwrap();
        let reply = Reply::read(response).await;
        assert_eq!(reply.header("cache-control"), Some("no-store"), "{what}");
        document::check(listener, &what, &reply);
        reply
    }
}

impl Reply {
    pub(crate) async fn read<B>(response: http::Response<B>) -> Self
    where
        B: http_body_util::BodyExt<Error: std::fmt::Debug>,
    {
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        Self { status: parts.status, headers: parts.headers, text }
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// The document, if the status is as expected.
    #[track_caller]
    pub(crate) fn expect(self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.text);
        self.json()
    }

    /// Status, code and field of an error, in whichever form.
    pub(crate) fn error(&self) -> (u16, String, Option<String>) {
        let document = self.json();
        let error = document.get("error").unwrap_or(&document);
        let text = |name: &str| error[name].as_str().map(str::to_owned);
        (self.status.as_u16(), text("code").unwrap_or_default(), text("field"))
    }
}
