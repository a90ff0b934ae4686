//! The one JSON extractor: what it lets through is exactly one document of the expected shape.

use std::fmt;
use std::marker::PhantomData;

use axum::body::Body;
use axum::extract::{FromRequest, Request};
use bytes::Bytes;
use claviger_domain::limits;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, DeserializeOwned, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};
use serde_path_to_error::Track;

use crate::error::Failure;

/// A JSON body of at most [`limits::BODY_BYTES_MAX`] bytes.
///
/// Refused: another content type (415), too many bytes (413), and with 400 and the path of the field:
/// what is not JSON, a name that stands twice in an object anywhere in the document (two readers would pick
/// different ones), a field that is unknown, missing or of another type, nesting deeper than serde_json's 128.
pub(crate) struct Json<T>(pub(crate) T);

/// Like [`Json`], but an empty body is `T::default()`, whatever its headers announce: clients that send
/// `Content-Type: application/json` with every request (seed 002) send it with an empty one too.
pub(crate) struct OptionalJson<T>(pub(crate) T);

impl<S: Sync, T: DeserializeOwned> FromRequest<S> for Json<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, _state: &S) -> Result<Self, Failure> {
        require_content_type(request.headers(), &["application/json"])?;
        let body = read_body(request, limits::BODY_BYTES_MAX).await?;
        parse(&body).map(Self)
    }
}

impl<S: Sync, T: DeserializeOwned + Default> FromRequest<S> for OptionalJson<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, _state: &S) -> Result<Self, Failure> {
        let content_type = require_content_type(request.headers(), &["application/json"]);
        let body = read_body(request, limits::BODY_BYTES_MAX).await?;
        if body.is_empty() {
            return Ok(Self(T::default()));
        }
        content_type?;
        parse(&body).map(Self)
    }
}

/// Checks that there is one `Content-Type` and that it is one of these, whatever its parameters.
pub(crate) fn require_content_type(headers: &HeaderMap, expected: &[&str]) -> Result<(), Failure> {
    let mut lines = headers.get_all(CONTENT_TYPE).iter();
    let essence = match (lines.next(), lines.next()) {
        (Some(line), None) => line.to_str().ok().and_then(|line| line.split(';').next()),
        _ => None,
    };
    let is_expected = |essence: &str| expected.iter().any(|one| one.eq_ignore_ascii_case(essence.trim()));
    if essence.is_some_and(is_expected) { Ok(()) } else { Err(Failure::unsupported_media_type(expected[0])) }
}

/// Reads a body of at most this many bytes. One that announces more is not read at all.
pub(crate) async fn read_body(request: Request<Body>, bytes_max: usize) -> Result<Bytes, Failure> {
    let announced = request.headers().get(CONTENT_LENGTH).and_then(announced_bytes);
    if announced.is_some_and(|bytes| bytes > bytes_max as u64) {
        return Err(Failure::too_large(bytes_max));
    }
    match Limited::new(request.into_body(), bytes_max).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(Failure::too_large(bytes_max)),
        Err(_) => Err(Failure::invalid(None, "The body ended early.")),
    }
}

fn announced_bytes(value: &HeaderValue) -> Option<u64> {
    value.to_str().ok()?.parse().ok()
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Failure> {
    typed(document(body, "body")?)
}

/// One JSON document in which no object has a name twice. `what` it is called in messages.
pub(crate) fn document(text: &[u8], what: &str) -> Result<Value, Failure> {
    let failure = |path: &str, error: &serde_json::Error| failure(what, path, error);
    let text = str::from_utf8(text).map_err(|_| Failure::invalid(None, &format!("The {what} is not UTF-8.")))?;
    let mut deserializer = serde_json::Deserializer::from_str(text);
    // First for what a typed reader would not see: names that stand twice inside free-form objects.
    let document: Strict = serde_path_to_error::deserialize(&mut deserializer)
        .map_err(|error| failure(&error.path().to_string(), error.inner()))?;
    deserializer.end().map_err(|error| failure(".", &error))?;
    Ok(document.0)
}

/// The document as an object of the expected shape.
pub(crate) fn typed<T: DeserializeOwned>(document: Value) -> Result<T, Failure> {
    let mut track = Track::new();
    let document = serde_path_to_error::Deserializer::new(document, &mut track);
    object(document).map_err(|error: serde_json::Error| failure("body", &track.path().to_string(), &error))
}

fn failure(what: &str, path: &str, error: &serde_json::Error) -> Failure {
    let message = error.to_string();
    if !error.is_data() {
        // Of a line, its number is known already.
        let message = if what == "line" { message.replace(" at line 1 column ", " at column ") } else { message };
        return Failure::invalid(None, &format!("The {what} is not JSON: {message}"));
    }
    // Where in the text is of no use once the field is named.
    let message = message.rsplit_once(" at line ").map_or(message.as_str(), |(message, _)| message);
    let field = match (path, named_field(message)) {
        (".", None) => return Failure::invalid(None, message),
        (".", Some(name)) => name.to_owned(),
        (path, None) => path.to_owned(),
        (path, Some(name)) if path == name || path.ends_with(&format!(".{name}")) => path.to_owned(),
        (path, Some(name)) => format!("{path}.{name}"),
    };
    Failure::invalid_field(&field, message)
}

/// The field that serde's own messages name, where the path stops at the object around it.
fn named_field(message: &str) -> Option<&str> {
    let rest = ["unknown field `", "missing field `", "duplicate field `"]
        .iter()
        .find_map(|head| message.strip_prefix(head))?;
    rest.split('`').next()
}

/// A JSON value in which no object has a name twice.
struct Strict(Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(StrictVisitor).map(Self)
    }
}

struct StrictVisitor;

impl<'de> Visitor<'de> for StrictVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(Strict(item)) = list.next_element()? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut members = Map::new();
        while let Some(name) = map.next_key::<String>()? {
            if members.contains_key(&name) {
                map.next_value::<IgnoredAny>()?;
                return Err(de::Error::custom(format_args!("duplicate field `{name}`")));
            }
            let Strict(member) = map.next_value()?;
            members.insert(name, member);
        }
        Ok(Value::Object(members))
    }
}

/// For fields that are objects: serde would also read a struct from a list of its values.
pub(crate) fn object<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
    struct ObjectVisitor<T>(PhantomData<T>);

    impl<'de, T: Deserialize<'de>> Visitor<'de> for ObjectVisitor<T> {
        type Value = T;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
            T::deserialize(MapAccessDeserializer::new(map))
        }
    }

    deserializer.deserialize_map(ObjectVisitor(PhantomData))
}

/// For fields where absent and `null` differ: `None` is absent, `Some(None)` is `null`.
#[expect(clippy::option_option, reason = "absent, null and a value are three things")]
pub(crate) fn present<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

/// For fields that may be absent but not `null`.
pub(crate) fn not_null<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

#[cfg(test)]
mod tests {
    use claviger_domain::key::{Metadata, Name};

    use super::*;

    #[derive(Debug, Default, Deserialize)]
    #[serde(deny_unknown_fields, expecting = "an object")]
    #[expect(dead_code, clippy::option_option, reason = "only read")]
    struct Outer {
        name: Name2,
        #[serde(default, deserialize_with = "object")]
        inner: Inner,
        #[serde(default)]
        metadata: Metadata,
        #[serde(default, deserialize_with = "present")]
        limit: Option<Option<i64>>,
        #[serde(default, deserialize_with = "not_null")]
        count: Option<i64>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(transparent)]
    #[expect(dead_code, reason = "only read")]
    struct Name2(Name);

    impl Default for Name2 {
        fn default() -> Self {
            Self("x".parse().unwrap())
        }
    }

    #[derive(Debug, Default, Deserialize)]
    #[serde(deny_unknown_fields, expecting = "an object")]
    #[expect(dead_code, reason = "only read")]
    struct Inner {
        list: Vec<u8>,
    }

    #[test]
    fn mistakes_name_their_field() {
        let check = |text: &str, field: Option<&str>, words: &str| {
            let failure = parse::<Outer>(text.as_bytes()).map(|_| ()).expect_err(text);
            let response = axum::response::IntoResponse::into_response(failure);
            let body = response.into_body();
            let bytes = futures_body(body);
            let document: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
            assert_eq!(document["field"].as_str(), field, "{text}: {document}");
            assert!(document["detail"].as_str().unwrap().contains(words), "{text}: {document}");
        };
        check("", None, "not JSON");
        check("{", None, "not JSON");
        check("{} {}", None, "not JSON");
        check("{\"name\":\"x\",}", None, "not JSON");
        check("[]", None, "an object");
        check(r#"["x"]"#, None, "an object");
        check(r#"{"name":"x","inner":[[1]]}"#, Some("inner"), "an object");
        check("null", None, "an object");
        check("{}", Some("name"), "missing field");
        check(r#"{"name":1}"#, Some("name"), "expected a string");
        check(r#"{"name":""}"#, Some("name"), "must not be empty");
        check(r#"{"name":"x","name":"x"}"#, Some("name"), "duplicate");
        check(r#"{"name":"x","nam\u0065":"x"}"#, Some("name"), "duplicate");
        check(r#"{"name":"x","other":1}"#, Some("other"), "unknown field");
        check(r#"{"name":"x","inner":{"list":[1,300]}}"#, Some("inner.list[1]"), "300");
        check(r#"{"name":"x","inner":{"other":1}}"#, Some("inner.other"), "unknown field");
        check(r#"{"name":"x","inner":{}}"#, Some("inner.list"), "missing field");
        check(r#"{"name":"x","metadata":{"a":{"b":1,"b":1}}}"#, Some("metadata.a.b"), "duplicate");
        check(r#"{"name":"x","count":null}"#, Some("count"), "null");
        check(r#"{"name":"x","count":1.5}"#, Some("count"), "1.5");
        check(r#"{"name":"x","count":9223372036854775808}"#, Some("count"), "9223372036854775808");
        check(r#"{"name":"x","count":1e999}"#, None, "not JSON");
        check(&format!("{}{}", "[".repeat(200), "]".repeat(200)), None, "recursion limit");
    }

    #[test]
    fn null_and_absent_differ() {
        let read = |text: &str| parse::<Outer>(text.as_bytes()).map_err(|_| ()).unwrap();
        assert_eq!(read(r#"{"name":"x"}"#).limit, None);
        assert_eq!(read(r#"{"name":"x","limit":null}"#).limit, Some(None));
        assert_eq!(read(r#"{"name":"x","limit":1}"#).limit, Some(Some(1)));
    }

    #[test]
    fn content_types_are_compared_without_parameters() {
        let check = |lines: &[&'static str], expected: bool| {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(CONTENT_TYPE, HeaderValue::from_static(line));
            }
            assert_eq!(require_content_type(&headers, &["application/json"]).is_ok(), expected, "{lines:?}");
        };
        check(&["application/json"], true);
        check(&["Application/JSON; charset=utf-8"], true);
        check(&[], false);
        check(&["text/plain"], false);
        check(&["application/jsonx"], false);
        check(&["application/json", "application/json"], false);
        check(&["text/plain, application/json"], false);
    }

    fn futures_body(body: Body) -> Bytes {
        tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap()
            .block_on(async { body.collect().await.unwrap().to_bytes() })
    }
}
