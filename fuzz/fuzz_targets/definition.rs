//! Definition files: parsing ends, without panic and with a bounded answer; what parses is sound, comes back the same
//! from TOML and JSON, and can be asked everything that the product asks of a definition.
//!
//! The input is one file, or two separated by the byte 0x1E, which are then compared.

#![no_main]

use std::collections::HashSet;
use std::sync::LazyLock;

use claviger_domain::definition::{Api, Definition, prefixes_clash};
use claviger_domain::denial::Denial;
use claviger_domain::endpoint::EndpointTable;
use claviger_domain::limits;
use claviger_domain::random::PredictableEntropy;
use claviger_domain::wire;
use libfuzzer_sys::fuzz_target;

static SHIPPED: LazyLock<Vec<Api>> = LazyLock::new(|| {
    let files = [
        include_str!("../../apis/tork.toml"),
        include_str!("../../apis/toksta.toml"),
        include_str!("../../apis/example.toml"),
    ];
    files.map(|file| api(Definition::parse(file).expect("the shipped files are definitions"))).into()
});

fuzz_target!(|input: &str| {
    let parsed: Vec<Definition> = input.split('\x1E').take(2).filter_map(parse).collect();
    for definition in &parsed {
        assert_is_sound(definition);
        assert_comes_back(definition);
        assert_says_no(definition);
        for other in SHIPPED.iter().cloned().chain(parsed.iter().cloned().map(api)) {
            assert_conflicts_are_mutual(definition, &other);
        }
    }
});

fn api(definition: Definition) -> Api {
    Api { definition, retired_formats: Vec::new() }
}

fn parse(text: &str) -> Option<Definition> {
    match Definition::parse(text) {
        Ok(definition) => Some(definition),
        Err(errors) => {
            assert!(!errors.0.is_empty() && errors.0.iter().all(|error| !error.is_empty()));
            // One mistake a thing that can be wrong, not one a pair of them.
            assert!(errors.0.len() <= 200 + text.len() / 8, "{} mistakes in {} bytes", errors.0.len(), text.len());
            None
        }
    }
}

fn assert_is_sound(definition: &Definition) {
    let formats = definition.formats();
    assert!((1..=limits::FORMATS_PER_API_MAX).contains(&formats.len()));
    for (position, format) in formats.iter().enumerate() {
        assert!(format.random_bits() >= limits::RANDOM_BITS_MIN && format.length <= limits::RANDOM_CHARS_MAX);
        assert!(formats[..position].iter().all(|earlier| !prefixes_clash(&earlier.prefix, &format.prefix)));
        assert_eq!(definition.choose_format(Some(&format.prefix), None, None), Some(format));
        let chosen = definition.choose_format(None, Some(format.kind), Some(format.environment)).expect("there is one");
        assert!(chosen.kind == format.kind && chosen.environment == format.environment);
        let secret = format.issue(&PredictableEntropy::new(position as u64)).into_clear();
        let recognising: Vec<_> = formats.iter().filter(|format| format.recognises(&secret)).collect();
        assert_eq!(recognising, [format]);
    }
    assert!(definition.choose_format(None, None, None).is_some());
    assert_eq!(definition.choose_format(Some("no such prefix"), None, None), None);

    let hosts: HashSet<&String> = definition.hosts().iter().collect();
    assert_eq!(hosts.len(), definition.hosts().len());
    assert!(hosts.iter().all(|host| !host.ends_with('.')), "a request's host is compared without the last dot");
    let scopes = definition.scopes();
    let endpoints = definition.endpoints();
    assert!(scopes.len() <= limits::SCOPES_PER_API_MAX && endpoints.len() <= limits::ENDPOINTS_PER_API_MAX + 9);
    for endpoint in &endpoints {
        assert!(endpoint.endpoint.path().starts_with(definition.base_path()));
        assert!(scopes.iter().any(|scope| scope.name == endpoint.scope));
    }
    assert!(EndpointTable::new(endpoints.into_iter().map(|endpoint| (endpoint.endpoint, ()))).is_ok());
}

fn assert_comes_back(definition: &Definition) {
    let json = serde_json::to_string(definition).expect("a definition can be written as JSON");
    assert_eq!(serde_json::from_str::<Definition>(&json).as_ref().ok(), Some(definition), "{json}");
    let toml = toml::to_string(definition).expect("a definition can be written as TOML");
    match Definition::parse(&toml) {
        Ok(again) => assert_eq!(&again, definition, "{toml}"),
        // Written out, with escapes and defaults, it may be longer than it was.
        Err(errors) => assert!(toml.len() > limits::DEFINITION_BYTES_MAX, "{errors}\n{toml}"),
    }
}

fn assert_says_no(definition: &Definition) {
    for denial in Denial::ALL {
        let answer =
            wire::denial(Some(definition), denial, Some(claviger_domain::key::Environment::Test), Some("a:scope"));
        let body: serde_json::Value = serde_json::from_str(&answer.body).expect("the body is JSON");
        assert!(body.is_object());
        let is_header_text = |text: &String| text.bytes().all(|byte| (b' '..=b'~').contains(&byte));
        assert!(answer.challenge.as_ref().is_none_or(is_header_text), "{:?}", answer.challenge);
    }
    // Each code that the file gives a status is used for it: none is written in vain.
    for (status, code) in &definition.errors().status_codes {
        let number: u16 = status.parse().expect("statuses are numbers");
        let answer = wire::error(Some(definition), number, "other", "message", None);
        let body: serde_json::Value = serde_json::from_str(&answer.body).expect("the body is JSON");
        let found = [&body["code"], &body["error"]["code"]].into_iter().find_map(serde_json::Value::as_str);
        assert_eq!(found, Some(&**code), "errors.status_codes.{status} is never used");
    }
}

fn assert_conflicts_are_mutual(definition: &Definition, other: &Api) {
    let mine = definition.conflicts_with(other);
    let theirs = other.definition.conflicts_with(&api(definition.clone()));
    assert_eq!(mine.len(), theirs.len(), "{mine:?} {theirs:?}");
    let can_collide = definition.formats().iter().any(|format| {
        let secret = format.issue(&PredictableEntropy::new(7)).into_clear();
        other.definition.formats().iter().any(|theirs| theirs.recognises(&secret))
    });
    assert!(!can_collide || !mine.is_empty(), "a secret of two apis");
}
