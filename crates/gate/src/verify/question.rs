//! The body of a verify request, read without copying what needs no unescaping.

use std::borrow::Cow;

use claviger_domain::limits::{COST_MAX, SCOPES_PER_API_MAX};
use serde::Deserialize;
use serde_json::Value;

use super::Refusal;

/// What a verifier asks. `null` is the same as leaving a field out.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Question<'a> {
    #[serde(borrow, default)]
    key: Option<Text<'a>>,
    #[serde(borrow, default)]
    api: Option<Text<'a>>,
    #[serde(borrow)]
    method: Text<'a>,
    #[serde(borrow)]
    path: Text<'a>,
    #[serde(borrow, default)]
    ip: Option<Text<'a>>,
    #[serde(borrow, default)]
    referrer: Option<Text<'a>>,
    #[serde(borrow, default)]
    scopes: Option<Vec<Text<'a>>>,
    #[serde(default)]
    cost: Option<u32>,
    #[serde(default)]
    at_least_revision: Option<i64>,
}

/// A string of the body. A type of its own because serde borrows into a `Cow` only where it stands alone,
/// not inside an `Option` or a `Vec`.
#[derive(Deserialize)]
#[serde(transparent)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'a> Question<'a> {
    /// Reads a body.
    pub(super) fn parse(body: &'a [u8]) -> Result<Self, Refusal> {
        // Bytes are checked to be UTF-8 once, not in every text.
        let text = str::from_utf8(body).map_err(|_| mistake(body))?;
        let question: Self = serde_json::from_str(text).map_err(|_| mistake(body))?;
        let is_fine = question.at_least_revision.unwrap_or(0) >= 0
            && question.cost.is_none_or(|cost| (1..=COST_MAX).contains(&cost))
            && question.scopes.as_ref().is_none_or(|scopes| scopes.len() <= SCOPES_PER_API_MAX);
        if is_fine { Ok(question) } else { Err(mistake(body)) }
    }

    pub(super) fn key(&self) -> Option<&str> {
        text(self.key.as_ref())
    }

    pub(super) fn api(&self) -> Option<&str> {
        text(self.api.as_ref())
    }

    pub(super) fn method(&self) -> &str {
        &self.method.0
    }

    pub(super) fn path(&self) -> &str {
        &self.path.0
    }

    pub(super) fn ip(&self) -> Option<&str> {
        text(self.ip.as_ref())
    }

    pub(super) fn referrer(&self) -> Option<&str> {
        text(self.referrer.as_ref())
    }

    pub(super) fn scopes(&self) -> impl Iterator<Item = &str> {
        self.scopes.iter().flatten().map(|scope| &*scope.0)
    }

    pub(super) fn cost(&self) -> Option<u32> {
        self.cost
    }

    pub(super) fn at_least_revision(&self) -> i64 {
        self.at_least_revision.unwrap_or(0)
    }
}

fn text<'q>(text: Option<&'q Text<'_>>) -> Option<&'q str> {
    text.map(|text| &*text.0)
}

/// A field's name, whether a value will do for it, and what to say if not.
type Field = (&'static str, fn(&Value) -> bool, &'static str);

const FIELDS: [Field; 9] = [
    ("key", is_text_or_null, "must be a string or null"),
    ("api", is_text_or_null, "must be a string or null"),
    ("method", Value::is_string, "must be a string such as \"GET\""),
    ("path", Value::is_string, "must be a string such as \"/v1/users/usr_123\""),
    ("ip", is_text_or_null, "must be a string or null"),
    ("referrer", is_text_or_null, "must be a string or null"),
    ("scopes", is_list_of_texts, "must be a list of at most 60 strings"),
    ("cost", is_cost, "must be an integer from 1 to 100000"),
    ("at_least_revision", is_revision, "must be an integer from 0 to 9223372036854775807"),
];

fn is_text_or_null(value: &Value) -> bool {
    value.is_string() || value.is_null()
}

fn is_list_of_texts(value: &Value) -> bool {
    let is_fine = |list: &Vec<Value>| list.len() <= SCOPES_PER_API_MAX && list.iter().all(Value::is_string);
    value.is_null() || value.as_array().is_some_and(is_fine)
}

fn is_cost(value: &Value) -> bool {
    value.is_null() || value.as_u64().is_some_and(|cost| (1..=u64::from(COST_MAX)).contains(&cost))
}

fn is_revision(value: &Value) -> bool {
    value.is_null() || value.as_i64().is_some_and(|revision| revision >= 0)
}

/// What is wrong with a body that could not be read. serde's own messages quote the body, in which a secret may
/// stand in the wrong place, so this reads it once more and says it in words of ours.
fn mistake(body: &[u8]) -> Refusal {
    let invalid = |field: Option<&str>, message: String| Refusal::Invalid {
        field: field.map(|field| field.to_owned().into()),
        message: message.into(),
    };
    let Ok(value) = serde_json::from_slice::<Value>(body) else {
        return invalid(None, "the body is not JSON".to_owned());
    };
    let Value::Object(fields) = value else {
        return invalid(None, "the body must be a JSON object".to_owned());
    };
    if let Some(unknown) = fields.keys().find(|name| !FIELDS.iter().any(|(known, ..)| known == name)) {
        let known = FIELDS.map(|(name, ..)| name).join(", ");
        let is_harmless = unknown.len() <= 32 && unknown.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
        return invalid(is_harmless.then_some(unknown), format!("the body has an unknown field; there are {known}"));
    }
    for (name, is_fine, demand) in FIELDS {
        let Some(value) = fields.get(name) else { continue };
        if !is_fine(value) {
            return invalid(Some(name), format!("{name} {demand}"));
        }
    }
    for name in ["method", "path"] {
        if !fields.contains_key(name) {
            return invalid(Some(name), format!("{name} is missing"));
        }
    }
    invalid(None, "the body names a field twice".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(body: &str, field: Option<&str>, message: &str) {
        let Err(Refusal::Invalid { field: named, message: said }) = Question::parse(body.as_bytes()) else {
            panic!("{body}: was read");
        };
        assert_eq!(named.as_deref(), field, "{body}");
        assert!(said.contains(message), "{body}: {said}");
    }

    #[test]
    fn texts_are_borrowed_where_nothing_is_escaped() {
        let body = br#"{"key":"k","method":"GET","path":"\/v1\/x","scopes":["a"]}"#;
        let question = Question::parse(body).unwrap();
        assert!(matches!(question.key, Some(Text(Cow::Borrowed("k")))));
        assert!(matches!(question.scopes.as_deref(), Some([Text(Cow::Borrowed("a"))])));
        assert!(matches!(question.path, Text(Cow::Owned(_))));
        assert_eq!(question.path(), "/v1/x");
    }

    #[test]
    fn null_is_absent() {
        let body = br#"{"key":null,"api":null,"method":"GET","path":"/","ip":null,"referrer":null,"scopes":null,"cost":null,"at_least_revision":null}"#;
        let question = Question::parse(body).unwrap();
        assert_eq!((question.key(), question.api(), question.ip(), question.referrer()), (None, None, None, None));
        assert_eq!((question.scopes().count(), question.at_least_revision()), (0, 0));
    }

    #[test]
    fn mistakes_name_the_field() {
        let with = |field: &str| format!(r#"{{"key":"k","method":"GET","path":"/",{field}}}"#);
        check("", None, "not JSON");
        check("{", None, "not JSON");
        check(r#"{"method":"GET","path":"/"} x"#, None, "not JSON");
        check("[]", None, "must be a JSON object");
        check(r#"{"key":"k","path":"/"}"#, Some("method"), "method is missing");
        check(r#"{"key":"k","method":"GET"}"#, Some("path"), "path is missing");
        check(r#"{"key":5,"method":"GET","path":"/"}"#, Some("key"), "must be a string or null");
        check(r#"{"key":"k","method":null,"path":"/"}"#, Some("method"), "must be a string");
        check(&with(r#""kye":1"#), Some("kye"), "unknown field; there are key, api");
        check(&with(r#""path":"/x""#), None, "twice");
        check(&with(r#""ip":["::1"]"#), Some("ip"), "must be a string");
        check(&with(r#""scopes":"a""#), Some("scopes"), "must be a list");
        check(&with(r#""scopes":[1]"#), Some("scopes"), "must be a list");
        check(&with(&format!(r#""scopes":[{}"a"]"#, r#""a","#.repeat(60))), Some("scopes"), "at most 60");
        for cost in ["0", "-1", "1.5", "\"1\"", "100001", "4294967296", "9223372036854775808"] {
            check(&with(&format!(r#""cost":{cost}"#)), Some("cost"), "from 1 to");
        }
        for revision in ["-1", "1.0", "\"1\"", "9223372036854775808"] {
            check(&with(&format!(r#""at_least_revision":{revision}"#)), Some("at_least_revision"), "from 0 to");
        }
        check("{\"key\":\"\u{0}\",\"method\":\"GET\",\"path\":\"/\"}", None, "not JSON");
    }

    #[test]
    fn a_secret_in_the_wrong_place_is_not_quoted() {
        let secret = "tork_live_0123456789abcdefghijABCDEFGHIJ";
        for body in [
            format!(r#"{{"{secret}":1,"method":"GET","path":"/"}}"#),
            format!(r#"{{"cost":"{secret}","method":"GET","path":"/"}}"#),
            format!(r#""{secret}""#),
            format!("{{\"key\":\"{secret}"),
        ] {
            let refusal = format!("{:?}", Question::parse(body.as_bytes()).err().unwrap());
            assert!(!refusal.contains("tork_live_"), "{refusal}");
        }
    }
}
