//! The API document, and replies held against it.

use std::collections::HashMap;
use std::sync::{LazyLock, Mutex};

use jsonschema::Validator;
use serde_json::{Value, json};

use crate::deployment::BASES;
use crate::wire::{Listener, Reply};

pub(crate) static DOCUMENT: LazyLock<Value> =
    LazyLock::new(|| serde_json::to_value(claviger_server::openapi()).unwrap());

/// Every operation: its id, method and path.
pub(crate) fn operations() -> Vec<(String, String, String)> {
    let paths = DOCUMENT["paths"].as_object().unwrap();
    let mut operations = Vec::new();
    for (path, item) in paths {
        for (method, operation) in item.as_object().unwrap() {
            if let Some(id) = operation["operationId"].as_str() {
                operations.push((id.to_owned(), method.to_uppercase(), path.clone()));
            }
        }
    }
    operations
}

/// If the request is one of an operation of the document, so must the reply be.
pub(crate) fn check(listener: Listener, what: &str, reply: &Reply) {
    let (method, target) = what.split_once(' ').unwrap();
    let path = target.split('?').next().unwrap();
    let path = match (listener, BASES.iter().find_map(|base| path.strip_prefix(base))) {
        (Listener::Public, Some(relative)) => relative,
        (Listener::Public, None) if path == "/openapi.json" => path,
        (Listener::Internal, _) => path,
        (Listener::Public, None) | (Listener::Other, _) => return,
    };
    let found = operations().into_iter().find(|(_, operation_method, template)| {
        let (path, template): (Vec<_>, Vec<_>) = (path.split('/').collect(), template.split('/').collect());
        operation_method == method
            && path.len() == template.len()
            && path.iter().zip(&template).all(|(segment, pattern)| pattern.starts_with('{') || segment == pattern)
    });
    let Some((id, method, template)) = found else { return };
    let responses = &DOCUMENT["paths"][&template][method.to_lowercase()]["responses"];
    let status = reply.status.as_u16().to_string();
    let response = responses.get(&status).unwrap_or_else(|| panic!("{id} does not say {status}: {}", reply.text));
    let content_type = reply.header("content-type").unwrap();
    let content = response["content"].get(content_type);
    let content = content.unwrap_or_else(|| panic!("{id} {status} does not say {content_type}"));
    if content_type.ends_with("/json") || content_type.ends_with("+json") {
        validate(&format!("{id} {status}"), &content["schema"], &reply.json());
    }
}

fn validate(what: &str, schema: &Value, body: &Value) {
    static VALIDATORS: LazyLock<Mutex<HashMap<String, Validator>>> = LazyLock::new(Mutex::default);
    let mut validators = VALIDATORS.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let validator = validators.entry(schema.to_string()).or_insert_with(|| {
        let mut schema = schema.clone();
        schema["components"] = DOCUMENT["components"].clone();
        jsonschema::options().should_validate_formats(true).build(&schema).unwrap()
    });
    let errors: Vec<_> = validator.iter_errors(body).map(|error| error.to_string()).collect();
    drop(validators);
    assert!(errors.is_empty(), "{what}: {errors:?}\n{body}");
}

#[test]
fn it_is_one_whole_document() {
    let again = serde_json::to_value(claviger_server::openapi()).unwrap();
    assert_eq!(again.to_string(), DOCUMENT.to_string());
    assert_eq!(DOCUMENT["openapi"], "3.1.0");
    let tags: Vec<_> = DOCUMENT["tags"].as_array().unwrap().iter().map(|tag| &tag["name"]).collect();
    let mut ids = Vec::new();
    for (id, method, path) in operations() {
        let operation = &DOCUMENT["paths"][&path][method.to_lowercase()];
        let context = format!("{id}: {operation}");
        assert!(!operation["summary"].as_str().unwrap().is_empty(), "{context}");
        assert!(operation["tags"].as_array().unwrap().iter().all(|tag| tags.contains(&tag)), "{context}");
        assert!(!operation["tags"].as_array().unwrap().is_empty(), "{context}");
        for response in operation["responses"].as_object().unwrap().values() {
            assert!(!response["description"].as_str().unwrap().is_empty(), "{context}");
        }
        let is_open = operation["tags"] == json!(["Operations"]);
        assert_eq!(operation["security"].is_array(), !is_open, "{context}");
        assert!(!ids.contains(&id), "{id} twice");
        ids.push(id);
    }
    assert_eq!(ids.len(), 11 + 58 + 1 + 4);
}

#[test]
fn every_reference_leads_somewhere() {
    fn walk(value: &Value) {
        match value {
            Value::Object(members) => {
                if let Some(Value::String(reference)) = members.get("$ref") {
                    let pointer = reference.strip_prefix('#').unwrap();
                    assert!(DOCUMENT.pointer(pointer).is_some(), "{reference}");
                }
                members.values().for_each(walk);
            }
            Value::Array(items) => items.iter().for_each(walk),
            _ => {}
        }
    }
    walk(&DOCUMENT);
}
