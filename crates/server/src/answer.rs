//! Success, and the headers that go with it.

use axum::response::Response;
use claviger_domain::change::Revision;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, LINK, LOCATION};
use http::{HeaderName, HeaderValue, StatusCode};
use serde::Serialize;

use crate::error::Failure;

/// The revision that a mutation led to.
pub(crate) const CLAVIGER_REVISION: HeaderName = HeaderName::from_static("claviger-revision");

/// A JSON answer under construction.
pub(crate) struct Answer(Response);

impl Answer {
    /// 200 with this body.
    pub(crate) fn ok(body: &impl Serialize) -> Result<Self, Failure> {
        Self::of(StatusCode::OK, body)
    }

    /// 201 with this body, for a thing that is now at this path.
    pub(crate) fn created(location: &str, body: &impl Serialize) -> Result<Self, Failure> {
        Self::of(StatusCode::CREATED, body)?.with(LOCATION, location)
    }

    fn of(status: StatusCode, body: &impl Serialize) -> Result<Self, Failure> {
        let body = serde_json::to_vec(body).map_err(|error| Failure::broken(&format!("answer: {error}")))?;
        let mut response = Response::new(body.into());
        *response.status_mut() = status;
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        Ok(Self(response))
    }

    /// Says which revision a mutation led to.
    pub(crate) fn revision(mut self, revision: Revision) -> Self {
        self.0.headers_mut().insert(CLAVIGER_REVISION, revision.0.into());
        self
    }

    /// Tags the one thing in the body with the revision of its last change, for `If-Match`.
    pub(crate) fn etag(self, revision: Revision) -> Result<Self, Failure> {
        self.with(ETAG, &format!("\"{revision}\""))
    }

    /// Says where the next page of a list is, if there is one.
    pub(crate) fn next_page(self, path_and_query: Option<&str>) -> Result<Self, Failure> {
        match path_and_query {
            Some(next) => self.with(LINK, &format!("<{next}>; rel=\"next\"")),
            None => Ok(self),
        }
    }

    /// The response.
    pub(crate) fn done(self) -> Response {
        self.0
    }

    fn with(mut self, name: HeaderName, value: &str) -> Result<Self, Failure> {
        let value = HeaderValue::from_str(value).map_err(|error| Failure::broken(&format!("{name}: {error}")))?;
        self.0.headers_mut().insert(name, value);
        Ok(self)
    }
}

/// What an authenticated API says is nobody else's business, and secrets pass through here.
pub(crate) async fn no_store(mut response: Response) -> Response {
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
