//! The OpenAPI 3.1 document. Routes describe themselves; what all of a group have in common is added here:
//! servers, credentials, the errors that can occur, and the headers that go with them.

mod idempotency;
mod share;
pub(crate) mod words;

use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::path::{Operation, ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::{KnownFormat, ObjectBuilder, SchemaFormat, Type};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::server::{ServerBuilder, ServerVariableBuilder};
use utoipa::openapi::tag::TagBuilder;
use utoipa::openapi::{
    Components, ContentBuilder, InfoBuilder, OpenApi, PathItem, Ref, RefOr, Required, Response, ResponseBuilder, Server,
};
use utoipa::{PartialSchema, ToSchema};

use crate::routes::{BULK_REVOKE_PATH, IMPORT_PATH};

/// The document of everything that is served over HTTP: customer, admin, verify and operations. Always the
/// same text.
pub fn openapi() -> OpenApi {
    let (mut customer, mut internal) = crate::routes::documents();
    for (path, item) in &mut customer.paths.paths {
        item.servers = Some(vec![customer_server()]);
        for (operation, is_mutation) in operations(item) {
            complete(operation, Group::Customer, path, is_mutation);
        }
        if let Some(post) = &mut item.post {
            idempotency::document(post, Group::Customer);
        }
    }
    for (path, item) in &mut internal.paths.paths {
        let group = match path.as_str() {
            _ if path.starts_with("/admin/") => Group::Admin,
            "/v1/verify" => Group::Verify,
            _ => Group::Operations,
        };
        item.servers = Some(internal_servers(path));
        for (operation, is_mutation) in operations(item) {
            complete(operation, group, path, is_mutation);
        }
        // A verdict is of the moment: verify does not look at the header.
        if let Some(post) = item.post.as_mut().filter(|_| group != Group::Verify) {
            idempotency::document(post, group);
        }
    }
    customer.merge(internal);
    let components = customer.components.get_or_insert_with(Components::new);
    add_credentials(components);
    add_schema::<words::EnvelopeError>(components);
    add_schema::<words::EnvelopeErrorDetails>(components);
    add_schema::<words::Problem>(components);
    customer.info = InfoBuilder::new()
        .title("Claviger")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(DESCRIPTION))
        .license(Some(utoipa::openapi::LicenseBuilder::new().name("Apache-2.0").identifier(Some("Apache-2.0")).build()))
        .build();
    customer.tags = Some(tags());
    share::share_schemas(&mut customer);
    customer
}

const DESCRIPTION: &str = "API keys for your customers. The customer API is served on the public listener, below the \
base path of each api; everything else on the internal listener and the unix socket, which are never exposed.\n\n\
Every answer has `Cache-Control: no-store`. Errors are `application/problem+json` (RFC 9457), except on the customer \
API of an api whose definition asks for an envelope. The codes of an api may be its own.";

/// Who an operation is for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Group {
    Customer,
    Admin,
    Verify,
    Operations,
}

fn tags() -> Vec<utoipa::openapi::Tag> {
    let tag = |name: &str, description: &str| TagBuilder::new().name(name).description(Some(description)).build();
    vec![
        tag("API keys", "An organization manages its keys with one of them."),
        tag("Usage", "Calls that were made."),
        tag("Verify", "API servers and proxies ask for verdicts."),
        tag("Apis", "The operator describes what is protected."),
        tag("Organizations", "The customers' accounts."),
        tag("Members", "The people of an organization."),
        tag("Subscriptions", "What organizations bought, and how they stand with the bill."),
        tag("Keys", "Keys of any organization, on behalf of it."),
        tag("Credentials", "The operator's own: verifiers and admin tokens."),
        tag("Webhooks", "What happened, told to other programs as it happens."),
        tag("Mail", "Whether mails arrive."),
        tag("Audit", "What was done, by whom, and proof that nothing of it was altered."),
        tag("Alerts", "What is unusual about live keys, or about to happen to them."),
        tag("Operations", "For monitoring."),
    ]
}

fn customer_server() -> Server {
    ServerBuilder::new()
        .url("http://127.0.0.1:8080{base}")
        .description(Some("The public listener. {base}: the api's base path."))
        .parameter("base", ServerVariableBuilder::new().default_value("/v1").description(Some("The api's base path.")))
        .build()
}

fn internal_servers(path: &str) -> Vec<Server> {
    let server = |url: &str, description: &str| ServerBuilder::new().url(url).description(Some(description)).build();
    let mut servers = vec![server("http://127.0.0.1:8081", "The internal listener, never exposed.")];
    if path == "/openapi.json" {
        servers.push(server("http://127.0.0.1:8080", "The public listener."));
    }
    servers
}

/// The operations of a path, and whether each may change something.
fn operations(item: &mut PathItem) -> impl Iterator<Item = (&mut Operation, bool)> {
    let PathItem { get, post, put, patch, delete, .. } = item;
    let mutations = [post, put, patch, delete].into_iter().flatten().map(|operation| (operation, true));
    get.iter_mut().map(|operation| (operation, false)).chain(mutations)
}

/// What stands in the document itself: utoipa refers to schemas only.
fn inline<T>(value: &mut RefOr<T>) -> Option<&mut T> {
    match value {
        RefOr::T(value) => Some(value),
        RefOr::Ref(_) => None,
    }
}

fn complete(operation: &mut Operation, group: Group, path: &str, is_mutation: bool) {
    let credential = match group {
        Group::Customer => Some("apiKey"),
        Group::Admin => Some("adminToken"),
        Group::Verify => Some("verifierToken"),
        Group::Operations => None,
    };
    operation.security = credential.map(|name| vec![SecurityRequirement::new(name, Vec::<String>::new())]);
    let is_mutation = is_mutation && group != Group::Verify;
    if (path.ends_with("/rotate") || path.ends_with("/rotate-secret"))
        && let Some(body) = operation.request_body.as_mut().and_then(inline)
    {
        body.required = Some(Required::False);
    }
    let is_of_key = path.contains("keys/{id}");
    if is_of_key && is_mutation {
        let if_match = ParameterBuilder::new()
            .name("If-Match")
            .parameter_in(ParameterIn::Header)
            .required(Required::False)
            .description(Some("Only if the key is still as its `ETag` said."))
            .schema(Some(ObjectBuilder::new().schema_type(Type::String)))
            .example(Some("\"42\"".into()));
        operation.parameters.get_or_insert_default().push(if_match.build().into());
    }
    let successes = operation.responses.responses.iter_mut().filter(|(status, _)| status.starts_with('2'));
    for response in successes.filter_map(|(_, response)| inline(response)) {
        if is_mutation {
            add_header(
                response,
                "Claviger-Revision",
                Type::Integer,
                "The revision that this led to. Verify takes it as `at_least_revision`.",
            );
        }
        if path.contains("keys")
            && (is_of_key || is_mutation)
            && !is_of_many(path)
            && response.content.contains_key("application/json")
        {
            add_header(response, "ETag", Type::String, "The revision of the key's last change, for `If-Match`.");
        }
    }
    for (status, description) in errors(operation, group, path, is_mutation) {
        operation.responses.responses.insert(status.to_string(), error_response(status, description, group).into());
    }
}

/// Whether a mutation is of many keys, with a body that tells of each.
fn is_of_many(path: &str) -> bool {
    [IMPORT_PATH, BULK_REVOKE_PATH].contains(&path)
}

/// The errors that an operation may answer with.
fn errors(operation: &Operation, group: Group, path: &str, is_mutation: bool) -> Vec<(u16, &'static str)> {
    let has_body = operation.request_body.is_some();
    let is_about_keys = path.contains("keys");
    let with_states = ["/apis/", "/webhooks", "/subscriptions/", "/members", "/invitations"];
    let has_states = is_about_keys || with_states.iter().any(|part| path.contains(part));
    let mut errors = Vec::new();
    let mut add = |applies: bool, status, description| {
        if applies {
            errors.push((status, description));
        }
    };
    add(group != Group::Operations, 400, "A part of the request is wrong; `field` names it.");
    add(group == Group::Customer, 401, "No key, or one that is invalid, revoked, disabled or expired.");
    add(matches!(group, Group::Admin | Group::Verify), 401, "No token, or one that is invalid.");
    add(
        group == Group::Customer,
        403,
        "The key may not do this: its scopes, its restrictions, or it would make more than it is.",
    );
    add(group == Group::Admin, 403, "A rule forbids it, whoever asks, or it is nothing that the member may do.");
    add(
        path.contains('{')
            || path.starts_with("/admin/v1/usage")
            || path == "/admin/v1/invitations/accept"
            // To a member who is none any more, nothing is there, nor is another's organization to any.
            || path == "/admin/v1/keys"
            || (path == "/admin/v1/webhooks" && is_mutation),
        404,
        "There is no such thing, or it is somebody else's.",
    );
    add((is_mutation && has_states) || path == "/admin/v1/usage/export", 409, "The state of things does not allow it.");
    add(is_mutation && path.contains("keys/{id}"), 412, "The key has changed since `If-Match` was read.");
    add(has_body, 413, "The body is too large.");
    add(has_body, 415, "The body is not of a type that is understood here.");
    add(
        group == Group::Customer && is_mutation,
        429,
        "So many requests of this key wait already; try again after `Retry-After`.",
    );
    add(group != Group::Operations, 500, "Something went wrong on our side.");
    add(group != Group::Operations || path == "/readyz", 503, "Not now; try again after `Retry-After`.");
    errors
}

fn error_response(status: u16, description: &str, group: Group) -> Response {
    let mut builder = ResponseBuilder::new().description(description);
    if group == Group::Customer {
        let envelope = ContentBuilder::new().schema(Some(Ref::from_schema_name("EnvelopeError"))).build();
        builder = builder.content("application/json", envelope);
    }
    let problem = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build();
    let mut response = builder.content("application/problem+json", problem).build();
    if status == 401 || (status == 403 && group == Group::Customer) {
        add_header(&mut response, "WWW-Authenticate", Type::String, "The challenge, as RFC 6750 has it.");
    }
    if matches!(status, 429 | 503) {
        add_header(&mut response, "Retry-After", Type::Integer, "Seconds to wait.");
    }
    response
}

fn add_header(response: &mut Response, name: &str, schema_type: Type, description: &str) {
    let mut schema = ObjectBuilder::new();
    if schema_type == Type::Integer {
        schema = schema.format(Some(SchemaFormat::KnownFormat(KnownFormat::Int64)));
    }
    let header =
        HeaderBuilder::new().schema(Some(schema.schema_type(schema_type))).description(Some(description)).build();
    response.headers.insert(name.to_owned(), header.into());
}

fn add_credentials(components: &mut Components) {
    let bearer = |description: &str| {
        SecurityScheme::Http(HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some(description)).build())
    };
    components.add_security_scheme("apiKey", bearer("The secret of an API key."));
    components.add_security_scheme("adminToken", bearer("An admin token. On the unix socket none is needed."));
    components.add_security_scheme("verifierToken", bearer("A verifier's token. On the unix socket none is needed."));
}

fn add_schema<S: ToSchema + PartialSchema>(components: &mut Components) {
    components.schemas.insert(S::name().into_owned(), S::schema());
}
