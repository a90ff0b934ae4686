//! utoipa writes a generic type's argument out in full where it is used, and names the type `List_Key`. Here it
//! becomes a reference again, and a name that reads well in a generated client.

use utoipa::openapi::schema::ArrayItems;
use utoipa::openapi::{Components, OpenApi, Ref, RefOr, Schema};

use super::{inline, operations};

/// Replaces what stands in full by a reference to the schema that is the same.
pub(super) fn share_schemas(document: &mut OpenApi) {
    for item in document.paths.paths.values_mut() {
        for (operation, _) in operations(item) {
            let responses = operation.responses.responses.values_mut().filter_map(inline);
            let answers = responses.flat_map(|response| response.content.values_mut());
            let asked = operation.request_body.iter_mut().filter_map(inline).flat_map(|body| body.content.values_mut());
            for content in answers.chain(asked).filter_map(inline) {
                if let Some(RefOr::Ref(reference)) = &mut content.schema {
                    rename(reference);
                }
            }
        }
    }
    let Some(components) = &mut document.components else {
        return;
    };
    let known: Vec<(String, Schema)> = components
        .schemas
        .iter()
        .filter_map(|(name, schema)| match schema {
            RefOr::T(schema @ Schema::Object(_)) => Some((readable(name), schema.clone())),
            _ => None,
        })
        .collect();
    for schema in components.schemas.values_mut().filter_map(inline) {
        within(schema, &known);
    }
    rename_schemas(components);
}

fn share(schema: &mut RefOr<Schema>, known: &[(String, Schema)]) {
    match schema {
        RefOr::Ref(reference) => rename(reference),
        RefOr::T(inner) => match known.iter().find(|(_, schema)| schema == inner) {
            Some((name, _)) => *schema = Ref::from_schema_name(name).into(),
            None => within(inner, known),
        },
    }
}

fn within(schema: &mut Schema, known: &[(String, Schema)]) {
    let parts: Vec<&mut RefOr<Schema>> = match schema {
        Schema::Object(object) => object.properties.values_mut().collect(),
        Schema::Array(array) => match &mut array.items {
            ArrayItems::RefOrSchema(items) => vec![items],
            ArrayItems::False => Vec::new(),
        },
        Schema::OneOf(choice) => choice.items.iter_mut().collect(),
        Schema::AllOf(parts) => parts.items.iter_mut().collect(),
        Schema::AnyOf(choice) => choice.items.iter_mut().collect(),
        _ => Vec::new(),
    };
    for part in parts {
        share(part, known);
    }
}

fn rename_schemas(components: &mut Components) {
    let schemas = std::mem::take(&mut components.schemas);
    components.schemas = schemas.into_iter().map(|(name, schema)| (readable(&name), schema)).collect();
}

fn rename(reference: &mut Ref) {
    if let Some((head, name)) = reference.ref_location.rsplit_once('/') {
        reference.ref_location = format!("{head}/{}", readable(name));
    }
}

fn readable(name: &str) -> String {
    match name.split_once('_') {
        Some(("InForm", of)) => format!("{of}Answer"),
        Some(("List", of)) => format!("{of}List"),
        Some(("IssuedToken", of)) => format!("Issued{of}"),
        _ => name.to_owned(),
    }
}
