//! The one envelope of the sample API, for data and for errors.

use std::borrow::Cow;

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde::Serialize;

/// `{"success": true, "data": …}`
pub(crate) fn success(status: StatusCode, data: impl Serialize) -> Response {
    #[derive(Serialize)]
    struct Envelope<T> {
        success: bool,
        data: T,
    }
    (status, Json(Envelope { success: true, data })).into_response()
}

/// `{"success": false, "error": {"code": "…", "message": "…", "status": 400}}`
///
/// The code is for programs and never changes; the message tells a person what to do next.
#[derive(Debug)]
pub(crate) struct Failure {
    status: StatusCode,
    code: &'static str,
    message: Cow<'static, str>,
}

impl Failure {
    pub(crate) fn new(status: StatusCode, code: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self { status, code, message: message.into() }
    }

    /// A 400: the caller can fix it by sending something else.
    pub(crate) fn bad_request(code: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, message)
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        #[derive(Serialize)]
        struct Envelope<'a> {
            success: bool,
            error: Error<'a>,
        }
        #[derive(Serialize)]
        struct Error<'a> {
            code: &'a str,
            message: &'a str,
            status: u16,
        }
        let error = Error { code: self.code, message: &self.message, status: self.status.as_u16() };
        (self.status, Json(Envelope { success: false, error })).into_response()
    }
}
