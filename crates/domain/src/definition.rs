//! Api definitions: everything that makes one product serve many apis, in one TOML file each.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::denial::Denial;
use crate::endpoint::{EndpointPattern, EndpointTable};
use crate::format::KeyFormat;
use crate::key::{ApiName, Environment, Kind};
use crate::limits;
use crate::path::CanonicalPath;
use crate::plan::{self, Plan, PlanName, SubscriptionRules};
use crate::scope::Scope;

/// An api as the feed carries it: its definition, and formats it no longer issues but still honours.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Api {
    /// What the operator applied last.
    pub definition: Definition,
    /// Formats of earlier definitions under which keys were issued: changing a prefix strands nobody.
    pub retired_formats: Vec<KeyFormat>,
}

/// What the operator says of one api. Only made by [`Definition::parse`] and from rows, both of which check it.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub struct Definition(Written);

/// The file as written.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    name: ApiName,
    title: String,
    #[serde(default)]
    hosts: Vec<String>,
    base_path: String,
    keys: Vec<KeyFormat>,
    #[serde(default)]
    scopes: Vec<ScopeDefinition>,
    #[serde(default)]
    endpoints: Vec<EndpointDefinition>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    plans: Vec<Plan>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    subscriptions: Option<SubscriptionRules>,
    #[serde(default)]
    errors: ErrorForm,
}

/// A scope of the api.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScopeDefinition {
    /// Its name.
    pub name: Scope,
    /// What it permits, for people.
    pub description: String,
}

/// An endpoint of the api and what it takes to call it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EndpointDefinition {
    /// Method and path, such as `GET /v1/users/{id}`.
    pub endpoint: EndpointPattern,
    /// The scope a key must hold.
    pub scope: Scope,
    /// The only environment that may call it, when it is not for both.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<Environment>,
    /// The units that a call uses of rate limits and quotas, and that are billed. A call that costs none is not limited.
    /// The customer API's own endpoints always cost none.
    #[serde(default = "one_unit", skip_serializing_if = "is_one_unit")]
    pub cost: u32,
}

const fn one_unit() -> u32 {
    1
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
const fn is_one_unit(cost: &u32) -> bool {
    *cost == 1
}

/// How the api says no.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ErrorForm {
    /// The shape of a body.
    #[serde(default)]
    pub form: Form,
    /// Codes by HTTP status, where a denial has no code of its own.
    #[serde(default)]
    pub status_codes: BTreeMap<String, String>,
    /// Code and message by denial.
    #[serde(default)]
    pub denials: BTreeMap<String, Words>,
}

/// The shape of an error's body.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Form {
    /// `application/problem+json`, RFC 9457.
    #[default]
    Problem,
    /// `{"success": false, "error": {"code", "message", "status"}}` (seed 001); answers are
    /// `{"success": true, "data": …}` (seed 003).
    Envelope,
}

/// Code and message of one denial.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Words {
    /// The api's own code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// The api's own message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// Everything that is wrong with a definition, one sentence each.
#[derive(Debug, thiserror::Error, PartialEq, Eq, Clone)]
#[error("{}", .0.join("\n"))]
pub struct DefinitionErrors(pub Vec<String>);

/// The scope that reads keys through the customer API.
pub const API_KEYS_READ: &str = "api_keys:read";
/// The scope that makes, edits and revokes keys through the customer API.
pub const API_KEYS_WRITE: &str = "api_keys:write";
/// The scope that reads usage through the customer API.
pub const USAGE_READ: &str = "usage:read";

/// The scopes that every api has, with what they permit.
pub const BUILT_IN_SCOPES: [(&str, &str); 3] = [
    (API_KEYS_READ, "List and show the organization's API keys, and list alerts about them"),
    (API_KEYS_WRITE, "Create, change, rotate and revoke API keys, and close alerts about them"),
    (USAGE_READ, "Read the usage of the organization and of the key"),
];

/// The customer API's endpoints below the base path, and their scopes.
pub const BUILT_IN_ENDPOINTS: [(&str, &str, &str); 11] = [
    ("GET", "/api-keys", API_KEYS_READ),
    ("POST", "/api-keys", API_KEYS_WRITE),
    ("GET", "/api-keys/{id}", API_KEYS_READ),
    ("PATCH", "/api-keys/{id}", API_KEYS_WRITE),
    ("DELETE", "/api-keys/{id}", API_KEYS_WRITE),
    ("POST", "/api-keys/{id}/rotate", API_KEYS_WRITE),
    ("POST", "/api-keys/{id}/disable", API_KEYS_WRITE),
    ("POST", "/api-keys/{id}/enable", API_KEYS_WRITE),
    ("GET", "/account/usage", USAGE_READ),
    ("GET", "/account/alerts", API_KEYS_READ),
    ("POST", "/account/alerts/{id}/close", API_KEYS_WRITE),
];

impl Definition {
    /// Reads a definition file, reporting every mistake it can find together.
    pub fn parse(text: &str) -> Result<Self, DefinitionErrors> {
        if text.len() > limits::DEFINITION_BYTES_MAX {
            return Err(DefinitionErrors(vec![format!("larger than {} bytes", limits::DEFINITION_BYTES_MAX)]));
        }
        let written: Written = toml::from_str(text).map_err(|error| DefinitionErrors(vec![error.to_string()]))?;
        Self::try_from(written)
    }

    /// Its name.
    pub fn name(&self) -> &ApiName {
        &self.0.name
    }

    /// Its name for people, and the realm of its challenges.
    pub fn title(&self) -> &str {
        &self.0.title
    }

    /// The hosts it is served at, lower case, without ports.
    pub fn hosts(&self) -> &[String] {
        &self.0.hosts
    }

    /// The path that all its endpoints begin with, without a slash at the end.
    pub fn base_path(&self) -> &str {
        &self.0.base_path
    }

    /// The key formats it issues.
    pub fn formats(&self) -> &[KeyFormat] {
        &self.0.keys
    }

    /// How it says no.
    pub fn errors(&self) -> &ErrorForm {
        &self.0.errors
    }

    /// The endpoints that the file lists.
    pub fn listed_endpoints(&self) -> &[EndpointDefinition] {
        &self.0.endpoints
    }

    /// What may be bought. An api without plans limits nothing and asks for no subscription.
    pub fn plans(&self) -> &[Plan] {
        &self.0.plans
    }

    /// The plan of this name.
    pub fn find_plan(&self, name: &PlanName) -> Option<&Plan> {
        self.0.plans.iter().find(|plan| plan.name == *name)
    }

    /// What holds for organizations with regard to plans.
    pub fn subscription_rules(&self) -> SubscriptionRules {
        self.0.subscriptions.clone().unwrap_or_default()
    }

    /// Every scope a key of the api may hold: those of the file, then the built-in ones it does not repeat.
    pub fn scopes(&self) -> Vec<ScopeDefinition> {
        let mut scopes = self.0.scopes.clone();
        for (name, description) in BUILT_IN_SCOPES {
            if !scopes.iter().any(|scope| scope.name.as_str() == name) {
                let name = name.parse().expect("built-in scopes are scopes");
                scopes.push(ScopeDefinition { name, description: description.to_owned() });
            }
        }
        scopes
    }

    /// Every endpoint: those of the file, then the customer API's that it does not repeat.
    pub fn endpoints(&self) -> Vec<EndpointDefinition> {
        let mut endpoints = self.0.endpoints.clone();
        for built_in in self.built_in_endpoints() {
            match endpoints.iter_mut().find(|listed| same_endpoint(&listed.endpoint, &built_in.endpoint)) {
                Some(listed) => listed.cost = built_in.cost,
                None => endpoints.push(built_in),
            }
        }
        endpoints
    }

    /// The format for a new key: of those that fit what the caller named, the default one, else the first.
    /// A default counts only while the caller leaves kind and prefix open.
    pub fn choose_format(
        &self,
        prefix: Option<&str>,
        kind: Option<Kind>,
        environment: Option<Environment>,
    ) -> Option<&KeyFormat> {
        let fits = |format: &&KeyFormat| {
            prefix.is_none_or(|prefix| prefix == format.prefix)
                && kind.is_none_or(|kind| kind == format.kind)
                && environment.is_none_or(|environment| environment == format.environment)
        };
        let default = || self.0.keys.iter().filter(fits).find(|format| format.default);
        let first = || self.0.keys.iter().find(fits);
        if kind.is_none() { default().or_else(first) } else { first() }
    }

    /// What keeps this definition and another from standing beside each other, one sentence each.
    pub fn conflicts_with(&self, other: &Api) -> Vec<String> {
        let mut conflicts = Vec::new();
        let theirs = &other.definition;
        for host in self.hosts().iter().filter(|host| theirs.hosts().contains(host)) {
            conflicts.push(format!("host {host:?} belongs to api {} already", theirs.name()));
        }
        for mine in self.formats() {
            for format in theirs.formats().iter().chain(&other.retired_formats) {
                if prefixes_clash(&mine.prefix, &format.prefix) {
                    conflicts.push(format!(
                        "key prefix {:?} cannot be told from {:?} of api {}",
                        mine.prefix,
                        format.prefix,
                        theirs.name()
                    ));
                }
            }
        }
        conflicts
    }

    fn built_in_endpoints(&self) -> impl Iterator<Item = EndpointDefinition> {
        BUILT_IN_ENDPOINTS.iter().map(|(method, path, scope)| EndpointDefinition {
            endpoint: format!("{method} {}{path}", self.base_path()).parse().expect("the base path was checked"),
            scope: scope.parse().expect("built-in scopes are scopes"),
            environment: None,
            // Whoever has used everything up must still be able to look after their keys.
            cost: 0,
        })
    }
}

/// Whether two prefixes could begin the same secret.
pub fn prefixes_clash(one: &str, other: &str) -> bool {
    one.starts_with(other) || other.starts_with(one)
}

fn same_endpoint(one: &EndpointPattern, other: &EndpointPattern) -> bool {
    one.method() == other.method() && one.is_within(other) && other.is_within(one)
}

impl From<Definition> for Written {
    fn from(definition: Definition) -> Self {
        definition.0
    }
}

impl TryFrom<Written> for Definition {
    type Error = DefinitionErrors;

    fn try_from(written: Written) -> Result<Self, DefinitionErrors> {
        let mut mistakes = Vec::new();
        check_place(&written, &mut mistakes);
        check_formats(&written, &mut mistakes);
        if mistakes.is_empty() {
            // Endpoints are looked at under a base path that is known to be sound.
            let definition = Self(written);
            check_scopes_and_endpoints(&definition, &mut mistakes);
            let scopes = definition.scopes();
            let knows_scope = |scope: &Scope| scopes.iter().any(|known| known.name == *scope);
            let Written { plans, subscriptions, .. } = &definition.0;
            mistakes.extend(plan::mistakes(plans, subscriptions.as_ref(), knows_scope));
            check_errors(&definition.0.errors, &mut mistakes);
            if mistakes.is_empty() {
                return Ok(definition);
            }
        } else {
            check_errors(&written.errors, &mut mistakes);
        }
        Err(DefinitionErrors(mistakes))
    }
}

fn check_place(written: &Written, mistakes: &mut Vec<String>) {
    let plain = |byte: u8| (b' '..=b'~').contains(&byte) && byte != b'"' && byte != b'\\';
    if written.title.is_empty() || written.title.len() > 64 || !written.title.bytes().all(plain) {
        mistakes.push("title must have 1 to 64 printable ASCII characters without quotes or backslashes".to_owned());
    }
    let base = &written.base_path;
    if base == "/" || CanonicalPath::parse(base).is_err() || base.contains(['*', '{', '}', '%']) {
        mistakes.push(format!("base_path {base:?} must be a plain path such as \"/v1\", without a slash at the end"));
    }
    if base.len() > limits::BASE_PATH_BYTES_MAX {
        mistakes.push(format!("base_path is longer than {} bytes", limits::BASE_PATH_BYTES_MAX));
    }
    let mut seen = BTreeSet::new();
    for host in &written.hosts {
        let host_byte = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'.';
        let is_name =
            host.len() <= 253 && host.bytes().all(host_byte) && host.split('.').all(|label| !label.is_empty());
        if !is_name {
            // A request's host is compared without the dot of a fully qualified name.
            mistakes.push(format!("host {host:?} must be a lower-case host name without a port or a dot at the end"));
        }
        if !seen.insert(host) {
            mistakes.push(format!("host {host:?} is listed twice"));
        }
    }
}

fn check_formats(written: &Written, mistakes: &mut Vec<String>) {
    if written.keys.is_empty() || written.keys.len() > limits::FORMATS_PER_API_MAX {
        mistakes.push(format!("an api has 1 to {} [[keys]]", limits::FORMATS_PER_API_MAX));
        // Thousands fit into a file, and each two of them may be a mistake.
        return;
    }
    for (position, format) in written.keys.iter().enumerate() {
        mistakes.extend(format.mistakes());
        for earlier in &written.keys[..position] {
            if prefixes_clash(&earlier.prefix, &format.prefix) {
                mistakes
                    .push(format!("key prefixes {:?} and {:?} cannot be told apart", earlier.prefix, format.prefix));
            }
        }
    }
    if written.keys.iter().filter(|format| format.default).count() > 1 {
        mistakes.push("only one of the [[keys]] can be the default".to_owned());
    }
    if written.keys.iter().any(|format| format.default && format.kind != Kind::Secret) {
        mistakes.push("only a secret kind can be the default of [[keys]]".to_owned());
    }
}

fn check_scopes_and_endpoints(definition: &Definition, mistakes: &mut Vec<String>) {
    let scopes = definition.scopes();
    if scopes.len() > limits::SCOPES_PER_API_MAX {
        mistakes.push(format!("an api has at most {} scopes, the built-in ones included", limits::SCOPES_PER_API_MAX));
    }
    let mut seen = BTreeSet::new();
    for scope in &scopes {
        if !seen.insert(&scope.name) {
            mistakes.push(format!("scope {:?} is listed twice", scope.name.as_str()));
        }
    }
    if definition.listed_endpoints().len() > limits::ENDPOINTS_PER_API_MAX {
        mistakes.push(format!("an api has at most {} endpoints", limits::ENDPOINTS_PER_API_MAX));
        return;
    }
    let base = format!("{}/", definition.base_path());
    for listed in definition.listed_endpoints() {
        if !listed.endpoint.path().starts_with(&base) {
            mistakes.push(format!(
                "endpoint \"{}\" is not below base_path {:?}",
                listed.endpoint,
                definition.base_path()
            ));
        }
        if listed.cost > limits::COST_MAX {
            mistakes.push(format!("endpoint \"{}\" costs more than {}", listed.endpoint, limits::COST_MAX));
        }
        if !seen.contains(&listed.scope) {
            mistakes.push(format!(
                "endpoint \"{}\" asks for scope {:?}, which is not in [[scopes]]",
                listed.endpoint,
                listed.scope.as_str()
            ));
        }
    }
    for built_in in definition.built_in_endpoints() {
        for listed in definition.listed_endpoints() {
            if same_endpoint(&listed.endpoint, &built_in.endpoint) && *listed.scope.as_str() != *built_in.scope.as_str()
            {
                mistakes.push(format!(
                    "endpoint \"{}\" is the customer API's own and asks for scope {:?}",
                    listed.endpoint,
                    built_in.scope.as_str()
                ));
            }
        }
    }
    let table = EndpointTable::new(definition.endpoints().into_iter().map(|endpoint| (endpoint.endpoint, ())));
    if let Err(conflict) = table {
        mistakes.push(conflict.to_string());
    }
}

fn check_errors(errors: &ErrorForm, mistakes: &mut Vec<String>) {
    let codes: BTreeSet<&str> = Denial::ALL.into_iter().map(Denial::public_code).collect();
    for name in errors.denials.keys().filter(|name| !codes.contains(name.as_str())) {
        let known = codes.iter().copied().collect::<Vec<_>>().join(", ");
        mistakes.push(format!("errors.denials.{name} is not a denial; there are {known}"));
    }
    // As it is looked up: the integer parser alone would take "+401" and "0401", which no answer has.
    let is_status =
        |text: &str| text.parse().is_ok_and(|status: u16| (400..=599).contains(&status) && status.to_string() == text);
    for status in errors.status_codes.keys().filter(|status| !is_status(status)) {
        mistakes.push(format!("errors.status_codes.{status} is not an HTTP error status"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
        name = "acme"
        title = "Acme API"
        hosts = ["api.acme.test"]
        base_path = "/v1"
        [[keys]]
        prefix = "ac_live_"
        kind = "secret"
        environment = "live"
        alphabet = "base62"
        length = 32
        checksum = "crc32"
        [[keys]]
        prefix = "ac_rk_"
        kind = "restricted"
        environment = "live"
        alphabet = "base62"
        length = 32
        [[scopes]]
        name = "things"
        description = "Things"
        [[endpoints]]
        endpoint = "GET /v1/things/{id}"
        scope = "things"
    "#;

    fn mistakes(from: &str, to: &str) -> Vec<String> {
        assert!(GOOD.contains(from), "{from} is not in the good definition");
        Definition::parse(&GOOD.replacen(from, to, 1)).err().map_or(Vec::new(), |errors| errors.0)
    }

    #[test]
    fn a_good_definition_round_trips_through_json() {
        let definition = Definition::parse(GOOD).unwrap();
        let json = serde_json::to_string(&definition).unwrap();
        assert_eq!(serde_json::from_str::<Definition>(&json).unwrap(), definition);
        assert_eq!(definition.scopes().len(), 4);
        assert_eq!(definition.endpoints().len(), 12);
    }

    #[test]
    fn mistakes_are_named() {
        let cases = [
            ("ac_rk_", "ac_live_", "cannot be told apart"),
            ("ac_rk_", "ac_", "cannot be told apart"),
            ("length = 32", "length = 22", "random bits"),
            ("\"/v1\"", "\"/v1/\"", "base_path"),
            ("\"/v1\"", "\"/\"", "base_path"),
            ("\"/v1\"", &format!("\"/{}\"", "a".repeat(600)), "base_path is longer"),
            ("\"/v1\"", "\"/v2\"", "not below base_path"),
            ("scope = \"things\"", "scope = \"other\"", "not in [[scopes]]"),
            ("title = \"Acme API\"", "title = 'Say \"hi\"'", "title"),
            ("title = \"Acme API\"", "title = \"Acme API\"\ncolour = 1", "unknown field"),
            ("api.acme.test", "API.acme.test", "lower-case host"),
            ("api.acme.test", "api.acme.test.", "dot at the end"),
            ("api.acme.test", "api..test", "lower-case host"),
            ("[[scopes]]", "[errors]\nstatus_codes = { 399 = \"x\" }\n[[scopes]]", "status_codes.399 is not"),
            ("[[scopes]]", "[errors]\nstatus_codes = { \"+401\" = \"x\" }\n[[scopes]]", "status_codes.+401 is not"),
            ("[[scopes]]", "[errors]\nstatus_codes = { 0401 = \"x\" }\n[[scopes]]", "status_codes.0401 is not"),
            ("GET /v1/things/{id}", "GET /v1/api-keys", "customer API's own"),
            ("\"base62\"", "\"base61\"", "unknown variant"),
            ("name = \"acme\"", "name = \"Acme\"", "api's name"),
        ];
        for (from, to, expected) in cases {
            let found = mistakes(from, to);
            assert!(found.iter().any(|mistake| mistake.contains(expected)), "{to}: {found:?}");
        }
    }

    #[test]
    fn mistakes_are_reported_together() {
        let text = GOOD.replace("ac_rk_", "ac_live_").replace("\"/v1\"", "\"v1\"").replace("length = 32", "length = 2");
        assert!(Definition::parse(&text).unwrap_err().0.len() >= 4);
    }

    #[test]
    fn mistakes_are_not_reported_for_each_two_of_too_many_keys() {
        let key = "{prefix='ab',kind='secret',environment='live',alphabet='hex',length=9},";
        let keys = key.repeat(limits::DEFINITION_BYTES_MAX / key.len() - 1);
        let text = format!("name = 'acme'\ntitle = 'Acme'\nbase_path = '/v1'\nkeys = [{keys}]\n");
        assert_eq!(Definition::parse(&text).unwrap_err().0, ["an api has 1 to 16 [[keys]]"]);
    }

    #[test]
    fn formats_are_chosen_by_what_the_caller_names() {
        let text =
            GOOD.replace("length = 32\n        checksum", "length = 32\n        default = true\n        checksum");
        let definition = Definition::parse(&text).unwrap();
        let choose = |prefix, kind, environment| {
            definition.choose_format(prefix, kind, environment).map(|format| &*format.prefix)
        };
        assert_eq!(choose(None, None, None), Some("ac_live_"));
        assert_eq!(choose(None, Some(Kind::Restricted), None), Some("ac_rk_"));
        assert_eq!(choose(Some("ac_rk_"), None, None), Some("ac_rk_"));
        assert_eq!(choose(None, Some(Kind::Ephemeral), None), None);
        assert_eq!(choose(None, None, Some(Environment::Test)), None);
    }

    #[test]
    fn definitions_must_not_clash() {
        let mine = Definition::parse(GOOD).unwrap();
        let other = GOOD.replace("\"acme\"", "\"other\"").replace("ac_rk_", "ot_rk_").replace("ac_live_", "ac_");
        let other = Api { definition: Definition::parse(&other).unwrap(), retired_formats: Vec::new() };
        assert_eq!(mine.conflicts_with(&other).len(), 3);
    }
}
