//! A verdict as JSON, written straight into one buffer.

use std::fmt::{self, Write as _};

use claviger_domain::definition::Definition;
use claviger_domain::denial::Denial;
use claviger_domain::key::Environment;
use claviger_domain::time::Timestamp;
use claviger_engine::{Engine, Verdict, VerifiedKey};
use serde::Serialize;

/// Enough for an answer with a short name and little metadata.
const BYTES_EXPECTED: usize = 512;

/// The body of the answer to a verdict of this instant.
pub(super) fn write(engine: &Engine, verdict: &Verdict, now: Timestamp) -> Vec<u8> {
    let mut out = Json(Vec::with_capacity(BYTES_EXPECTED));
    match verdict.decision {
        Ok(()) => out.raw(r#"{"valid":true,"code":null,"status":200,"message":null"#),
        Err(denial) => {
            // Taken after the verdict, whose api may be newer than any directory taken before it.
            let directory = engine.directory();
            let definition = verdict.api.map(|api| directory.api(api).definition());
            out.raw(r#"{"valid":false,"code":""#);
            out.raw(denial.as_str());
            out.raw(r#"","status":"#);
            out.value(&denial.status());
            out.raw(r#","message":"#);
            out.value(message(definition, denial, verdict.key.map(|key| key.environment)));
        }
    }
    out.raw(r#","key":"#);
    let is_written = verdict.key.is_some_and(|key| push_key(&mut out, engine, &key));
    if !is_written {
        out.raw("null");
    }
    out.raw(r#","limits":["#);
    push_limits(&mut out, engine, verdict, now);
    out.raw(r#"],"retry_after":"#);
    out.value(&verdict.limits.retry_after_seconds);
    out.raw(r#","revision":"#);
    out.value(&verdict.revision);
    out.raw("}");
    out.0
}

/// The api's own message for a denial, else the common one: the same choice as
/// [`claviger_domain::wire::denial`] makes.
fn message(definition: Option<&Definition>, denial: Denial, environment: Option<Environment>) -> &str {
    let words = definition.and_then(|definition| definition.errors().denials.get(denial.public_code()));
    words.and_then(|words| words.message.as_deref()).unwrap_or(denial.message(environment))
}

/// Writes the limits that were looked at.
fn push_limits(out: &mut Json, engine: &Engine, verdict: &Verdict, now: Timestamp) {
    let Some(api) = verdict.api.filter(|_| !verdict.limits.is_empty()) else { return };
    let directory = engine.directory();
    for (position, limit) in directory.api(api).limits(&verdict.limits).enumerate() {
        out.raw(if position == 0 { r#"{"name":""# } else { r#",{"name":""# });
        out.raw(limit.name);
        out.raw(r#"","per":""#);
        out.raw(limit.per.as_str());
        if let Some(scope) = limit.scope {
            out.raw(r#"","scope":""#);
            out.raw(scope.as_str());
        }
        out.raw(r#"","limit":"#);
        out.value(&limit.limit);
        out.raw(r#","window_seconds":"#);
        out.value(&limit.window_seconds);
        out.raw(r#","remaining":"#);
        out.value(&limit.remaining);
        out.raw(r#","reset_at":"#);
        // Whole seconds were rounded up, so the instant is not too early.
        let reset_at = now.plus_seconds(limit.reset_seconds.into());
        out.value(&reset_at);
        out.raw(r#","refused":"#);
        out.raw(if limit.is_refused { "true}" } else { "false}" });
    }
}

/// Writes the key, or nothing when it was forgotten since the verdict.
fn push_key(out: &mut Json, engine: &Engine, key: &VerifiedKey) -> bool {
    let start = out.0.len();
    out.raw(r#"{"id":""#);
    out.text(&key.id);
    out.raw(r#"","kind":""#);
    out.raw(key.kind.as_str());
    out.raw(r#"","environment":""#);
    out.raw(key.environment.as_str());
    out.raw(r#"","organization":""#);
    out.text(&key.organization);
    out.raw(r#"","expires_at":"#);
    out.value(&key.expires_at);
    out.raw(",");
    if !engine.write_description(key, &mut out.0) {
        out.0.truncate(start);
        return false;
    }
    out.raw("}");
    true
}

/// JSON in the making.
struct Json(Vec<u8>);

impl Json {
    /// Appends what is JSON already.
    fn raw(&mut self, text: &str) {
        self.0.extend_from_slice(text.as_bytes());
    }

    /// Appends a value.
    fn value<T: Serialize + ?Sized>(&mut self, value: &T) {
        serde_json::to_writer(&mut self.0, value).expect("texts and numbers can be written to memory");
    }

    /// Appends what has no characters to escape.
    fn text(&mut self, text: &impl fmt::Display) {
        write!(self, "{text}").expect("memory can be written to");
    }
}

impl fmt::Write for Json {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.raw(text);
        Ok(())
    }
}
