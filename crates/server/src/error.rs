//! Everything but success, and how it is said: in the api's own form on the customer API, as problem+json
//! elsewhere.

use std::sync::Arc;

use axum::response::{IntoResponse, Response};
use claviger_app::{AppError, RefusalReason};
use claviger_domain::definition::Definition;
use claviger_domain::denial::Denial;
use claviger_domain::key::Environment;
use claviger_domain::mask::masked;
use claviger_domain::wire::{self, ErrorAnswer};
use http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, StatusCode};
use serde_json::Value;

/// The longest message that is sent back: it may quote what the caller sent.
const MESSAGE_CHARS_MAX: usize = 4096;
/// The code of a request that must wait for another with its Idempotency-Key.
const IN_USE: &str = "idempotency_key_in_use";
/// What is said of a bug of ours.
const BROKEN: &str = "Something went wrong on our side.";

/// An answer other than success, not yet in anybody's form.
///
/// As a response it is problem+json and travels along in the response's extensions, so that
/// [`in_form`] can say it again in the words of the api that the request was for.
#[derive(Clone, Debug)]
pub(crate) struct Failure(Sort);

#[derive(Clone, Debug)]
enum Sort {
    /// The key does not pass.
    Denied { denial: Denial, environment: Option<Environment>, missing_scope: Option<String> },
    /// The operator's credential does not pass.
    NotTheOperator { why: RefusalReason },
    /// The request was answered before; whoever read its Idempotency-Key gives that answer again.
    Answered { kept: Arc<[u8]> },
    /// Anything else.
    Refused {
        status: StatusCode,
        code: &'static str,
        message: String,
        field: Option<String>,
        /// What it says beyond that, on the admin API.
        report: Option<Arc<Value>>,
        /// Set where it is about who asks.
        why: Option<RefusalReason>,
    },
}

impl Failure {
    /// The encrypted answer that was given before.
    pub(crate) fn kept_answer(&self) -> Option<&[u8]> {
        match &self.0 {
            Sort::Answered { kept } => Some(kept),
            _ => None,
        }
    }

    /// Whether the secret is nobody's, or dead for ever or for now: three that take the same way, so that none can be told from
    /// another.
    pub(crate) fn is_dead_secret(&self) -> bool {
        matches!(self.0, Sort::Denied { denial: Denial::NotFound | Denial::Revoked | Denial::Disabled, .. })
    }

    /// Another request with the same Idempotency-Key is at work.
    pub(crate) fn idempotency_key_in_use() -> Self {
        let message = "A request with this Idempotency-Key is being carried out. Send it again in a moment.";
        Self::refused(StatusCode::CONFLICT, IN_USE, message)
    }

    /// The Idempotency-Key was used for something else.
    pub(crate) fn idempotency_key_reused(why: &str) -> Self {
        let message = format!("This Idempotency-Key was used already. {why}");
        Self::refused(StatusCode::UNPROCESSABLE_ENTITY, "idempotency_key_reused", &message)
    }

    /// The verdict on the caller's key.
    pub(crate) fn denied(denial: Denial, environment: Option<Environment>, missing_scope: Option<String>) -> Self {
        Self(Sort::Denied { denial, environment, missing_scope })
    }

    /// No admin token, or one that is not valid.
    pub(crate) fn not_the_operator(why: RefusalReason) -> Self {
        Self(Sort::NotTheOperator { why })
    }

    /// Whoever asks may not do this; somebody else may.
    pub(crate) fn forbidden(message: &str) -> Self {
        Self::refused(StatusCode::FORBIDDEN, "forbidden", message).about_caller(RefusalReason::Forbidden)
    }

    fn about_caller(mut self, reason: RefusalReason) -> Self {
        if let Sort::Refused { why, .. } = &mut self.0 {
            *why = Some(reason);
        }
        self
    }

    /// Why whoever asked was turned away, if it is about who they are.
    pub(crate) fn refusal(&self) -> Option<RefusalReason> {
        match &self.0 {
            Sort::NotTheOperator { why } => Some(*why),
            Sort::Refused { why, .. } => *why,
            Sort::Denied { .. } | Sort::Answered { .. } => None,
        }
    }

    /// A part of the request is wrong; `field` names it if it is one.
    pub(crate) fn invalid(field: Option<&str>, message: &str) -> Self {
        let mut failure = Self::refused(StatusCode::BAD_REQUEST, "invalid_request", message);
        if let Sort::Refused { field: slot, .. } = &mut failure.0 {
            *slot = field.filter(|field| masked(field) == **field).map(str::to_owned);
        }
        failure
    }

    /// A named part of the request is wrong.
    pub(crate) fn invalid_field(field: &str, message: &str) -> Self {
        Self::invalid(Some(field), &format!("{field}: {message}"))
    }

    /// There is no such thing, or it is somebody else's.
    pub(crate) fn not_found(what: &str) -> Self {
        Self::refused(StatusCode::NOT_FOUND, "not_found", &format!("There is no such {what}."))
    }

    /// No route has this path.
    pub(crate) fn no_route() -> Self {
        Self::refused(StatusCode::NOT_FOUND, "not_found", "There is nothing at this path.")
    }

    /// A route has this path, but not with this method. Whoever answers adds `Allow`.
    pub(crate) fn method_not_allowed() -> Self {
        let message = "This path does not support the method; see the Allow header.";
        Self::refused(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", message)
    }

    /// The thing has changed since the caller last saw it.
    pub(crate) fn precondition_failed() -> Self {
        let message = "The resource is not at the revision that If-Match names. Read it again.";
        Self::refused(StatusCode::PRECONDITION_FAILED, "precondition_failed", message)
    }

    /// A strict import of which nothing was taken in.
    pub(crate) fn import_refused(report: Value) -> Self {
        let message = "Nothing was imported, because lines were refused; see report.";
        let mut failure = Self::refused(StatusCode::UNPROCESSABLE_ENTITY, "import_refused", message);
        if let Sort::Refused { report: slot, .. } = &mut failure.0 {
            *slot = Some(Arc::new(report));
        }
        failure
    }

    /// The body is larger than this many bytes.
    pub(crate) fn too_large(bytes_max: usize) -> Self {
        let message = format!("The body is larger than {bytes_max} bytes.");
        Self::refused(StatusCode::PAYLOAD_TOO_LARGE, "payload_too_large", &message)
    }

    /// The body is not of a type that is understood here.
    pub(crate) fn unsupported_media_type(expected: &str) -> Self {
        let message = format!("Send the body with Content-Type: {expected}.");
        Self::refused(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", &message)
    }

    /// Not now; the caller may try again.
    pub(crate) fn unavailable() -> Self {
        let message = "The service is not available right now. Try again shortly.";
        Self::refused(StatusCode::SERVICE_UNAVAILABLE, "unavailable", message)
    }

    /// A bug of ours, told to the log only.
    pub(crate) fn broken(context: &str) -> Self {
        tracing::error!(context, "internal error");
        Self::refused(StatusCode::INTERNAL_SERVER_ERROR, "internal_error", BROKEN)
    }

    fn refused(status: StatusCode, code: &'static str, message: &str) -> Self {
        let message = masked(message).chars().take(MESSAGE_CHARS_MAX).collect();
        Self(Sort::Refused { status, code, message, field: None, report: None, why: None })
    }

    /// What is wrong, for a report on one part of a request: the field and the message.
    pub(crate) fn into_mistake(self) -> (Option<String>, String) {
        match self.0 {
            Sort::Refused { message, field, .. } => (field, message),
            other => (None, Self(other).reason().to_owned()),
        }
    }

    /// The true reason, for the operator's log.
    pub(crate) fn reason(&self) -> &'static str {
        match &self.0 {
            Sort::Denied { denial, .. } => denial.as_str(),
            Sort::NotTheOperator { why: RefusalReason::NoToken } => "no admin token",
            Sort::NotTheOperator { .. } => "invalid admin token",
            Sort::Answered { .. } => "answered before",
            Sort::Refused { code, .. } => code,
        }
    }

    fn answer(&self, definition: Option<&Definition>) -> ErrorAnswer {
        match &self.0 {
            Sort::Denied { denial, environment, missing_scope } => {
                wire::denial(definition, *denial, *environment, missing_scope.as_deref())
            }
            Sort::NotTheOperator { why } => operator_answer(*why != RefusalReason::NoToken),
            // Whoever read the Idempotency-Key gives the kept answer instead of this.
            Sort::Answered { .. } => broken_answer(definition),
            Sort::Refused { status, code, message, field, report, .. } => {
                let mut answer = wire::error(definition, status.as_u16(), code, message, field.as_deref());
                let passes = matches!(*status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS)
                    || *code == IN_USE;
                answer.retry_after_seconds = passes.then_some(1);
                if let Some(report) = report
                    && let Ok(mut document) = serde_json::from_str::<Value>(&answer.body)
                {
                    document["report"] = Value::clone(report);
                    answer.body = document.to_string();
                }
                answer
            }
        }
    }
}

fn broken_answer(definition: Option<&Definition>) -> ErrorAnswer {
    wire::error(definition, 500, "internal_error", BROKEN, None)
}

fn operator_answer(is_presented: bool) -> ErrorAnswer {
    let (code, message, challenge) = if is_presented {
        let challenge = r#"Bearer realm="claviger admin", error="invalid_token", error_description="The admin token is invalid or has been revoked""#;
        ("invalid", "The admin token is invalid or has been revoked.", challenge)
    } else {
        let message = "Send an admin token as: Authorization: Bearer <token>, or come in by the unix socket.";
        ("missing", message, r#"Bearer realm="claviger admin""#)
    };
    let mut answer = wire::error(None, 401, code, message, None);
    answer.challenge = Some(challenge.to_owned());
    answer
}

/// Divided by who can act on it; what only the operator may know goes to the log.
impl From<AppError> for Failure {
    fn from(error: AppError) -> Self {
        match error {
            AppError::Invalid { field: Some(field), message } => Self::invalid_field(&field, &message),
            AppError::Invalid { field: None, message } => Self::invalid(None, &message),
            AppError::Forbidden { message } => Self::forbidden(&message),
            AppError::LimitReached { message } => Self::refused(StatusCode::FORBIDDEN, "forbidden", &message),
            AppError::UnknownMember { what } => Self::not_found(what).about_caller(RefusalReason::UnknownMember),
            AppError::Denied(denial) => Self::denied(denial, None, None),
            AppError::NotTheOperator => Self::not_the_operator(RefusalReason::RevokedToken),
            AppError::NotFound { what } => Self::not_found(what),
            AppError::Conflict { message } => Self::refused(StatusCode::CONFLICT, "conflict", &message),
            AppError::PreconditionFailed => Self::precondition_failed(),
            AppError::AlreadyAnswered { answer } => Self(Sort::Answered { kept: answer.into() }),
            AppError::IdempotencyKeyReused => {
                Self::idempotency_key_reused("It belongs to another request. Use a new one.")
            }
            AppError::TooManyAtOnce => {
                let message = "Too many requests of this API key wait already. Send fewer at once.";
                Self::refused(StatusCode::TOO_MANY_REQUESTS, "too_many_requests", message)
            }
            AppError::Unavailable { context } => {
                tracing::error!(context, "unavailable");
                Self::unavailable()
            }
            AppError::Internal { context } => Self::broken(&context),
        }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let answer = self.answer(None);
        let mut response = Response::new(answer.body.into());
        *response.status_mut() = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        write_headers(response.headers_mut(), answer.content_type, answer.challenge, answer.retry_after_seconds);
        response.extensions_mut().insert(self);
        response
    }
}

/// Says a failure again in the form of the api. Any other response is left as it is, and so are
/// headers that came on top, such as `Allow`.
pub(crate) fn in_form(mut response: Response, definition: &Definition) -> Response {
    let Some(failure) = response.extensions().get::<Failure>() else {
        return response;
    };
    let answer = failure.answer(Some(definition));
    response.headers_mut().remove(http::header::CONTENT_LENGTH);
    write_headers(response.headers_mut(), answer.content_type, answer.challenge, answer.retry_after_seconds);
    *response.body_mut() = answer.body.into();
    response
}

fn write_headers(headers: &mut HeaderMap, content_type: &'static str, challenge: Option<String>, retry: Option<u32>) {
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    // A challenge is made of a title and a scope, which are printable ASCII.
    if let Some(challenge) = challenge.and_then(|challenge| HeaderValue::from_str(&challenge).ok()) {
        headers.insert(WWW_AUTHENTICATE, challenge);
    }
    if let Some(seconds) = retry {
        headers.insert(RETRY_AFTER, seconds.into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_message_is_cut() {
        let Sort::Refused { message, .. } = Failure::invalid(None, &"x ".repeat(10_000)).0 else { panic!() };
        assert_eq!(message.len(), MESSAGE_CHARS_MAX);
    }

    #[test]
    fn what_may_be_a_secret_is_not_repeated() {
        let secret = "tk_live_0123456789abcdef0123456789abcdef0123456789abcdef";
        let answer = Failure::invalid_field(secret, &format!("unknown field `{secret}`")).answer(None);
        assert!(!answer.body.contains("0123456789abcdef") && !answer.body.contains("field\":"), "{}", answer.body);
    }

    #[test]
    fn what_is_internal_stays_internal() {
        for error in [
            AppError::Internal { context: "disk /dev/sda".to_owned() },
            AppError::Unavailable { context: "disk /dev/sda".to_owned() },
        ] {
            assert!(!Failure::from(error).answer(None).body.contains("sda"));
        }
    }

    #[test]
    fn being_unavailable_asks_to_come_back() {
        assert_eq!(Failure::unavailable().answer(None).retry_after_seconds, Some(1));
    }
}
