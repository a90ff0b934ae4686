//! What every POST that may be repeated has in common.

use utoipa::openapi::Required;
use utoipa::openapi::path::{Operation, ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::{ObjectBuilder, Type};

use super::{Group, add_header, error_response, inline};

const IN_USE: &str = "A request with the same `Idempotency-Key` is being carried out (`idempotency_key_in_use`): send it again in a moment.";
const REUSED: &str =
    "The `Idempotency-Key` belongs to another request, or to another credential (`idempotency_key_reused`).";

/// Adds the header, what it leads to and how it fails.
pub(super) fn document(operation: &mut Operation, group: Group) {
    let key = ParameterBuilder::new()
        .name("Idempotency-Key")
        .parameter_in(ParameterIn::Header)
        .required(Required::False)
        .description(Some(
            "Of your choice, once for each thing that is to happen. For a day, the same request with the same key and \
             credential gets the same answer again, and nothing is done twice.",
        ))
        .schema(Some(
            ObjectBuilder::new()
                .schema_type(Type::String)
                .min_length(Some(1))
                .max_length(Some(255))
                .pattern(Some("^[!-~]+$")),
        ));
    operation.parameters.get_or_insert_default().push(key.build().into());
    let responses = &mut operation.responses.responses;
    for (status, response) in responses.iter_mut() {
        if let (true, Some(response)) = (status.starts_with('2'), inline(response)) {
            let description = "`true` when the answer was given before and nothing was done now.";
            add_header(response, "Idempotency-Replayed", Type::String, description);
        }
    }
    for (status, code, why) in [("409", 409, IN_USE), ("422", 422, REUSED)] {
        let response = responses.entry(status.to_owned()).or_insert_with(|| error_response(code, "", group).into());
        if let Some(response) = inline(response) {
            let separator = if response.description.is_empty() { "" } else { " " };
            response.description = format!("{}{separator}{why}", response.description);
        }
    }
    if let Some(in_use) = responses.get_mut("409").and_then(inline) {
        add_header(in_use, "Retry-After", Type::Integer, "Seconds to wait until the other request is done.");
    }
}
