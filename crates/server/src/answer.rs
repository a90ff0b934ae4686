//! Success, and the headers that go with it.

use axum::response::Response;
use claviger_domain::change::Revision;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, LINK, LOCATION};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::error::Failure;

/// The revision that a mutation led to.
pub(crate) const CLAVIGER_REVISION: HeaderName = HeaderName::from_static("claviger-revision");

/// A JSON answer under construction.
pub(crate) struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Zeroizing<Vec<u8>>,
}

/// An answer as it is kept for whoever repeats the request.
#[derive(Serialize, Deserialize)]
struct Kept<'a> {
    status: u16,
    headers: Vec<(String, String)>,
    #[serde(borrow)]
    body: std::borrow::Cow<'a, str>,
}

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
        let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("application/json"))]);
        Ok(Self { status, headers, body: Zeroizing::new(body) })
    }

    /// Says which revision a mutation led to.
    pub(crate) fn revision(mut self, revision: Revision) -> Self {
        self.headers.insert(CLAVIGER_REVISION, revision.0.into());
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
    pub(crate) fn done(mut self) -> Response {
        let mut response = Response::new(std::mem::take(&mut *self.body).into());
        *response.status_mut() = self.status;
        *response.headers_mut() = self.headers;
        response
    }

    /// The secret in it, where it issues one.
    pub(crate) fn issued_secret(&self) -> Option<Zeroizing<String>> {
        #[derive(Deserialize)]
        struct Body<'b> {
            #[serde(borrow)]
            secret: Option<&'b str>,
            #[serde(borrow)]
            data: Option<Box<Body<'b>>>,
        }
        let body: Body<'_> = serde_json::from_slice(&self.body).ok()?;
        let secret = body.secret.or_else(|| body.data?.secret)?;
        Some(Zeroizing::new(secret.to_owned()))
    }

    /// All of it, to be encrypted and kept.
    pub(crate) fn to_kept(&self) -> Zeroizing<Vec<u8>> {
        let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        let headers = self.headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect();
        let kept = Kept { status: self.status.as_u16(), headers, body: String::from_utf8_lossy(&self.body) };
        Zeroizing::new(serde_json::to_vec(&kept).expect("an answer can be written as JSON"))
    }

    /// What was kept.
    pub(crate) fn from_kept(text: &[u8]) -> Result<Self, Failure> {
        let broken = |error: String| Failure::broken(&format!("kept answer: {error}"));
        let kept: Kept<'_> = serde_json::from_slice(text).map_err(|error| broken(error.to_string()))?;
        let status = StatusCode::from_u16(kept.status).map_err(|error| broken(error.to_string()))?;
        let body = Zeroizing::new(kept.body.as_bytes().to_vec());
        let mut answer = Self { status, headers: HeaderMap::new(), body };
        for (name, value) in kept.headers {
            let name = HeaderName::try_from(name).map_err(|error| broken(error.to_string()))?;
            answer = answer.with(name, &value)?;
        }
        Ok(answer)
    }

    fn with(mut self, name: HeaderName, value: &str) -> Result<Self, Failure> {
        let value = HeaderValue::from_str(value).map_err(|error| Failure::broken(&format!("{name}: {error}")))?;
        self.headers.insert(name, value);
        Ok(self)
    }
}

/// What an authenticated API says is nobody else's business, and secrets pass through here.
pub(crate) async fn no_store(mut response: Response) -> Response {
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kept_answer_is_given_again_as_it_was() {
        let answer = Answer::created("/v1/things/1", &serde_json::json!({"name": "\"é\u{1}"})).unwrap();
        let answer = answer.etag(Revision(7)).unwrap().revision(Revision(7));
        let again = Answer::from_kept(&answer.to_kept()).unwrap();
        assert_eq!((again.status, &again.headers, &again.body), (answer.status, &answer.headers, &answer.body));
    }
}
