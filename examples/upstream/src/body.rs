//! How a JSON body is read: every field known, given once and of the right type, or an error that says which
//! is not.
//!
//! This is done by hand because derived errors quote the value that did not fit, and a value here may be the
//! very text whose personal data must not be repeated.

use axum::body::HttpBody as _;
use axum::extract::{FromRequest, Request};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, StatusCode};
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value;

use crate::BODY_BYTES_MAX;
use crate::answer::Failure;

/// The members of the object in the request body, in the order sent, repeated names included.
pub(crate) struct Members(Vec<(String, Value)>);

impl<S: Send + Sync> FromRequest<S> for Members {
    type Rejection = Failure;

    async fn from_request(request: Request, state: &S) -> Result<Self, Failure> {
        if !is_json(request.headers()) {
            return Err(Failure::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "unsupported_media_type",
                "The body must be JSON, sent with the header Content-Type: application/json.",
            ));
        }
        // Who announces too much need not send it.
        if request.body().size_hint().lower() > BODY_BYTES_MAX as u64 {
            return Err(too_large());
        }
        let bytes = axum::body::Bytes::from_request(request, state).await.map_err(|rejection| {
            if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
                too_large()
            } else {
                Failure::bad_request("incomplete_body", "The body could not be read to its end.")
            }
        })?;
        serde_json::from_slice(&bytes).map_err(|error| {
            if error.is_data() {
                Failure::bad_request("invalid_body", "The body must be a JSON object.")
            } else {
                // The position is enough to find the mistake, and quotes nothing.
                Failure::bad_request(
                    "malformed_json",
                    format!("The body is not valid JSON: see line {}, column {}.", error.line(), error.column()),
                )
            }
        })
    }
}

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Members;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Object)
    }
}

impl Members {
    /// The values of exactly the fields `names`, all of them required, in that order.
    pub(crate) fn require<const N: usize>(self, names: [&'static str; N]) -> Result<[Value; N], Failure> {
        let mut values = [const { None }; N];
        for (name, value) in self.0 {
            let Some(position) = names.iter().position(|known| *known == name) else {
                return Err(Failure::bad_request(
                    "unknown_field",
                    format!("The field `{}` is not known. Known fields: {}.", shorten(&name), list(&names)),
                ));
            };
            if values[position].replace(value).is_some() {
                return Err(Failure::bad_request("duplicate_field", format!("The field `{name}` is given twice.")));
            }
        }
        if let Some(position) = values.iter().position(Option::is_none) {
            let name = names[position];
            return Err(Failure::bad_request("missing_field", format!("The field `{name}` is required.")));
        }
        Ok(values.map(|value| value.expect("the line above returned if any was missing")))
    }
}

/// `value` as a string, or an error that names the field and what it must be.
pub(crate) fn string(field: &str, value: Value) -> Result<String, Failure> {
    match value {
        Value::String(text) => Ok(text),
        _ => Err(wrong_type(field, "a string")),
    }
}

/// `value` as a list of strings, or an error that names the field or the element.
pub(crate) fn strings(field: &str, value: Value) -> Result<Vec<String>, Failure> {
    let Value::Array(values) = value else {
        return Err(wrong_type(field, "a list of strings"));
    };
    values.into_iter().enumerate().map(|(index, value)| string(&format!("{field}[{index}]"), value)).collect()
}

/// A name out of a request, cut so that an error stays readable. One with a long run of letters and digits is no name but
/// may be a credential in the wrong place, and is not repeated.
pub(crate) fn shorten(name: &str) -> String {
    const CHARACTERS_MAX: usize = 40;
    const RUN_MIN: usize = 20;
    if name.split(|character: char| !character.is_ascii_alphanumeric()).any(|run| run.len() >= RUN_MIN) {
        return "…".to_owned();
    }
    match name.char_indices().nth(CHARACTERS_MAX) {
        Some((end, _)) => format!("{}…", &name[..end]),
        None => name.to_owned(),
    }
}

/// `a`, `b`: names as a sentence lists them.
pub(crate) fn list(names: &[&str]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

fn too_large() -> Failure {
    let message = format!("The body is longer than {BODY_BYTES_MAX} bytes.");
    Failure::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", message)
}

fn wrong_type(field: &str, expected: &str) -> Failure {
    Failure::bad_request("invalid_type", format!("The field `{field}` must be {expected}."))
}

/// Whether the body is declared as JSON: `application/json` or a `+json` type, with any parameters.
fn is_json(headers: &HeaderMap) -> bool {
    let mut declared = headers.get_all(CONTENT_TYPE).iter();
    let (Some(value), None) = (declared.next(), declared.next()) else {
        return false;
    };
    let essence = value.to_str().unwrap_or_default().split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    essence
        .strip_prefix("application/")
        .is_some_and(|subtype| subtype == "json" || (subtype.len() > "+json".len() && subtype.ends_with("+json")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_types() {
        for (declared, expected) in [
            ("application/json", true),
            ("application/json; charset=utf-8", true),
            ("Application/JSON ;charset=UTF-8", true),
            ("application/problem+json", true),
            ("application/+json", false),
            ("application/jsonp", false),
            ("text/json", false),
            ("text/plain", false),
            ("application/x-www-form-urlencoded", false),
            ("", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_TYPE, declared.parse().unwrap());
            assert_eq!(is_json(&headers), expected, "{declared}");
        }
        assert!(!is_json(&HeaderMap::new()));
    }

    #[test]
    fn names_are_cut_between_characters() {
        assert_eq!(shorten("short"), "short");
        assert_eq!(shorten("sk_live_0123456789abcdefghi"), "sk_live_0123456789abcdefghi");
        assert_eq!(shorten("sk_live_0123456789abcdefghij"), "…");
        assert_eq!(shorten(&"é".repeat(40)), "é".repeat(40));
        assert_eq!(shorten(&"é".repeat(41)), format!("{}…", "é".repeat(40)));
    }
}
