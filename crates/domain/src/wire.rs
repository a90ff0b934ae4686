//! How "no" looks on the wire, in the api's own form or as problem+json (RFC 9457).

use serde_json::json;

use crate::definition::{Definition, Form};
use crate::denial::Denial;
use crate::key::Environment;

/// An error answer, ready for any HTTP library.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ErrorAnswer {
    /// HTTP status.
    pub status: u16,
    /// Value of `Content-Type`.
    pub content_type: &'static str,
    /// Value of `WWW-Authenticate` (RFC 6750 section 3), on every 401 and where a scope is missing.
    pub challenge: Option<String>,
    /// Value of `Retry-After`, in seconds.
    pub retry_after_seconds: Option<u32>,
    /// What limits had to say about it.
    pub rate_limit: Option<RateLimitHeaders>,
    /// The body.
    pub body: String,
}

/// One rate limit or quota, for headers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LimitFigures<'a> {
    /// Its name.
    pub name: &'a str,
    /// Units that pass in a window.
    pub limit: u64,
    /// The window, in seconds; `None` where it is the billing period.
    pub window_seconds: Option<u32>,
    /// Units that are left.
    pub remaining: u64,
    /// Seconds until nothing of it is used, if nobody calls any more.
    pub reset_seconds: u32,
}

/// Values of two headers, lists of structured fields (RFC 9651) as draft-ietf-httpapi-ratelimit-headers has them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RateLimitHeaders {
    /// Value of `RateLimit-Policy`.
    pub policy: String,
    /// Value of `RateLimit`.
    pub state: String,
}

impl RateLimitHeaders {
    /// Name of the header for `policy`, in lower case.
    pub const POLICY: &'static str = "ratelimit-policy";
    /// Name of the header for `state`, in lower case.
    pub const STATE: &'static str = "ratelimit";

    /// The headers for these limits; `None` if there are none.
    pub fn new<'a>(limits: impl IntoIterator<Item = LimitFigures<'a>>) -> Option<Self> {
        let (mut policy, mut state) = (String::new(), String::new());
        for LimitFigures { name, limit, window_seconds, remaining, reset_seconds } in limits {
            if !policy.is_empty() {
                policy += ", ";
                state += ", ";
            }
            // Names have no characters that a string escapes, and no number has more than 15 digits.
            policy += &format!("\"{name}\";q={limit}");
            policy += &window_seconds.map_or(String::new(), |seconds| format!(";w={seconds}"));
            state += &format!("\"{name}\";r={remaining};t={reset_seconds}");
        }
        (!policy.is_empty()).then_some(Self { policy, state })
    }
}

/// The answer to a caller who is denied. Without a definition (no api could be chosen) it is problem+json.
///
/// `environment` is that of the key that was presented, once one was found.
pub fn denial(
    definition: Option<&Definition>,
    denial: Denial,
    environment: Option<Environment>,
    missing_scope: Option<&str>,
) -> ErrorAnswer {
    let words = definition.and_then(|definition| definition.errors().denials.get(denial.public_code()));
    let code = words.and_then(|words| words.code.as_deref());
    let message = words.and_then(|words| words.message.as_deref()).unwrap_or(denial.message(environment));
    let mut answer = match code {
        Some(code) => body(definition, denial.status(), code, message, None),
        None => error(definition, denial.status(), denial.public_code(), message, None),
    };
    answer.challenge = challenge(definition, denial, missing_scope);
    answer.retry_after_seconds = (denial == Denial::Unavailable).then_some(1);
    answer
}

/// Any other error of the customer API: `code` is used unless the definition has its own for the status.
/// `field` names the part of the request that is wrong.
pub fn error(
    definition: Option<&Definition>,
    status: u16,
    code: &str,
    message: &str,
    field: Option<&str>,
) -> ErrorAnswer {
    let own = definition.and_then(|definition| definition.errors().status_codes.get(&status.to_string()));
    body(definition, status, own.map_or(code, String::as_str), message, field)
}

fn body(definition: Option<&Definition>, status: u16, code: &str, message: &str, field: Option<&str>) -> ErrorAnswer {
    let form = definition.map_or(Form::Problem, |definition| definition.errors().form);
    let (content_type, mut document) = match form {
        Form::Envelope => (
            "application/json",
            json!({"success": false, "error": {"code": code, "message": message, "status": status}}),
        ),
        Form::Problem => (
            "application/problem+json",
            json!({"type": "about:blank", "title": reason(status), "status": status, "detail": message, "code": code}),
        ),
    };
    if let Some(field) = field {
        let details = if form == Form::Envelope { &mut document["error"] } else { &mut document };
        details["field"] = field.into();
    }
    let (challenge, retry_after_seconds, rate_limit) = (None, None, None);
    ErrorAnswer { status, content_type, challenge, retry_after_seconds, rate_limit, body: document.to_string() }
}

fn challenge(definition: Option<&Definition>, denial: Denial, missing_scope: Option<&str>) -> Option<String> {
    // Titles and scopes hold no quote or backslash, so they stand in a quoted-string as they are.
    let realm = definition.map_or("claviger", Definition::title);
    match denial {
        Denial::Missing => Some(format!(r#"Bearer realm="{realm}""#)),
        Denial::Expired => Some(format!(
            r#"Bearer realm="{realm}", error="invalid_token", error_description="The API key has expired""#
        )),
        _ if denial.status() == 401 => Some(format!(
            r#"Bearer realm="{realm}", error="invalid_token", error_description="The API key is invalid or has been revoked""#
        )),
        Denial::InsufficientScope => {
            let scope = missing_scope.map_or(String::new(), |scope| format!(r#", scope="{scope}""#));
            Some(format!(r#"Bearer realm="{realm}", error="insufficient_scope"{scope}"#))
        }
        _ => None,
    }
}

fn reason(status: u16) -> &'static str {
    match status {
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        409 => "Conflict",
        412 => "Precondition Failed",
        413 => "Content Too Large",
        415 => "Unsupported Media Type",
        422 => "Unprocessable Content",
        428 => "Precondition Required",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        503 => "Service Unavailable",
        _ => "Error",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn definition(errors: &str) -> Definition {
        let text = format!(
            "name = \"acme\"\ntitle = \"Acme\"\nbase_path = \"/v1\"\n[[keys]]\nprefix = \"ac_\"\nkind = \"secret\"\n\
             environment = \"live\"\nalphabet = \"base62\"\nlength = 32\n{errors}"
        );
        Definition::parse(&text).unwrap()
    }

    #[test]
    fn an_api_keeps_its_own_words() {
        let acme = definition(
            "[errors]\nform = \"envelope\"\nstatus_codes = { 403 = \"FORBIDDEN\" }\n\
             [errors.denials.invalid]\ncode = \"invalid_api_key\"\nmessage = \"No.\"",
        );
        let answer = denial(Some(&acme), Denial::Revoked, None, None);
        assert_eq!(answer.body, r#"{"success":false,"error":{"code":"invalid_api_key","message":"No.","status":401}}"#);
        let answer = denial(Some(&acme), Denial::IpNotAllowed, None, None);
        assert!(answer.body.contains(r#""code":"FORBIDDEN""#), "{}", answer.body);
        assert_eq!(answer.challenge, None);
    }

    #[test]
    fn the_native_form_is_a_problem() {
        let answer = error(None, 400, "invalid_request", "name must not be empty", Some("name"));
        assert_eq!(answer.content_type, "application/problem+json");
        assert_eq!(
            answer.body,
            r#"{"type":"about:blank","title":"Bad Request","status":400,"detail":"name must not be empty","code":"invalid_request","field":"name"}"#
        );
    }

    #[test]
    fn challenges_follow_rfc_6750() {
        let acme = definition("");
        let challenge = |denied, scope| denial(Some(&acme), denied, None, scope).challenge;
        assert_eq!(challenge(Denial::Missing, None).as_deref(), Some(r#"Bearer realm="Acme""#));
        assert_eq!(
            challenge(Denial::InsufficientScope, Some("evaluate")).as_deref(),
            Some(r#"Bearer realm="Acme", error="insufficient_scope", scope="evaluate""#)
        );
        let unknown = [Denial::Malformed, Denial::NotFound, Denial::Revoked, Denial::Disabled]
            .map(|denied| denial(Some(&acme), denied, None, None));
        assert!(unknown.iter().all(|answer| *answer == unknown[0]));
        for denied in Denial::ALL {
            assert_eq!(
                denied.status() == 401,
                challenge(denied, None).is_some() && denied != Denial::InsufficientScope
            );
        }
    }

    #[test]
    fn limits_are_lists_of_structured_fields() {
        let figures = |name, limit, window_seconds| LimitFigures {
            name,
            limit,
            window_seconds,
            remaining: limit / 2,
            reset_seconds: 30,
        };
        let headers = RateLimitHeaders::new([figures("burst", 60, Some(10)), figures("quota", 1 << 47, None)]).unwrap();
        assert_eq!(headers.policy, r#""burst";q=60;w=10, "quota";q=140737488355328"#);
        assert_eq!(headers.state, r#""burst";r=30;t=30, "quota";r=70368744177664;t=30"#);
        assert_eq!(RateLimitHeaders::new([]), None);
    }

    #[test]
    fn only_being_unavailable_asks_to_come_back() {
        assert_eq!(denial(None, Denial::Unavailable, None, None).retry_after_seconds, Some(1));
    }
}
