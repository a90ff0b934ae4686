//! `/admin/v1/keys/import`

use axum::extract::{Request, State};
use axum::response::Response;
use claviger_app::{ImportKey, ImportKeys, ImportPlace, ImportedKeys};
use claviger_domain::id::OrganizationId;
use claviger_domain::key::{ApiName, Metadata, Name, hex_digest};
use claviger_domain::limits;
use claviger_domain::restriction::Restrictions;
use claviger_domain::scope::Scopes;
use claviger_domain::secret::SecretDigest;
use claviger_domain::time::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, de};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::ServerState;
use crate::answer::Answer;
use crate::error::Failure;
use crate::extract::Operator;
use crate::idempotency::finish;
use crate::json::{document, object, read_body, require_content_type, typed};
use crate::openapi::words;
use crate::query::{FromQuery, Parameters, Query};
use crate::routes::body_bytes_max;

/// Where keys are imported.
pub(crate) const PATH: &str = "/admin/v1/keys/import";
/// Members in which somebody who has not read on would send what must never be sent.
const SECRET_MEMBERS: [&str; 7] = ["secret", "key", "api_key", "apikey", "token", "password", "plaintext"];

pub(crate) fn router() -> OpenApiRouter<ServerState> {
    OpenApiRouter::new().routes(routes!(import))
}

/// How to import.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
struct ImportQuery {
    /// `true` says what would be imported and changes nothing.
    #[param(default = false)]
    dry_run: Option<bool>,
    /// `true` imports nothing when a line of this request is refused, and answers 422.
    #[param(default = false)]
    strict: Option<bool>,
}

impl FromQuery for ImportQuery {
    fn from_query(parameters: &mut Parameters) -> Result<Self, Failure> {
        Ok(Self { dry_run: parameters.take("dry_run")?, strict: parameters.take("strict")? })
    }
}

/// A key that was issued elsewhere.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "an object")]
struct ImportLine {
    /// SHA-256 of the whole secret, as 64 hexadecimal digits. The secret itself is never sent.
    #[schema(value_type = String, min_length = 64, max_length = 64)]
    #[serde(deserialize_with = "digest")]
    digest: SecretDigest,
    /// The organization that it is of.
    #[schema(value_type = String)]
    organization: OrganizationId,
    /// The api that it opens.
    #[schema(value_type = String, example = "tork")]
    api: ApiName,
    /// The name that people see.
    #[schema(value_type = String, min_length = 1, max_length = 100, example = "Production server")]
    name: Name,
    /// The public head of its secret, which must be that of a key format of the api, retired ones included. Kind and
    /// environment are the format's. Ephemeral keys are not imported.
    #[schema(example = "tork_live_")]
    prefix: String,
    /// The last four characters of its secret, to show to people.
    #[schema(value_type = Option<String>, min_length = 4, max_length = 4)]
    #[serde(default, deserialize_with = "hint")]
    hint: Option<String>,
    /// What it may do. Secret keys get `["*"]`; restricted keys must say.
    #[schema(value_type = Option<Vec<String>>)]
    scopes: Option<Scopes>,
    /// Where, from where and for what it may be used.
    #[schema(value_type = words::RestrictionsInput, required = false)]
    #[serde(default, deserialize_with = "object")]
    restrictions: Restrictions,
    /// Says that a network of all addresses is meant.
    #[serde(default)]
    allow_any_ip: bool,
    /// What the holder keeps beside it: at most 4096 bytes and 16 levels of JSON.
    #[schema(value_type = Object, required = false)]
    #[serde(default, deserialize_with = "Metadata::deserialize_new")]
    metadata: Metadata,
    /// When it was issued. Left out, now.
    #[schema(value_type = Option<String>, format = DateTime)]
    created_at: Option<Timestamp>,
    /// When it dies by itself. Left out, never. What has expired already is refused.
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<Timestamp>,
    /// Whether it is switched off for now.
    #[serde(default)]
    disabled: bool,
}

/// Nothing of what stands in its place is repeated: it may be the secret.
fn digest<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SecretDigest, D::Error> {
    hex_digest::deserialize(deserializer)
        .map_err(|_| de::Error::custom("must be 64 hexadecimal digits: the SHA-256 of the whole secret"))
}

fn hint<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let text = Option::<String>::deserialize(deserializer).unwrap_or_else(|_| Some(String::new()));
    let is_hint = |text: &String| text.len() == 4 && text.bytes().all(|byte| byte.is_ascii_graphic());
    match text {
        Some(text) if !is_hint(&text) => {
            Err(de::Error::custom("must be the last four characters of the secret, no more"))
        }
        hint => Ok(hint),
    }
}

impl From<ImportLine> for ImportKey {
    fn from(line: ImportLine) -> Self {
        Self {
            digest: line.digest,
            organization: line.organization,
            api: line.api,
            name: line.name,
            prefix: line.prefix,
            hint: line.hint.unwrap_or_default(),
            scopes: line.scopes,
            restrictions: line.restrictions,
            allow_any_ip: line.allow_any_ip,
            metadata: line.metadata,
            created_at: line.created_at,
            expires_at: line.expires_at,
            disabled: line.disabled,
        }
    }
}

/// What became of the lines.
#[derive(Serialize, ToSchema)]
pub(crate) struct ImportReport {
    /// How many keys were imported, or would be.
    imported: usize,
    /// How many were there already, in the same organization and api. They are left as they are.
    existing: usize,
    /// The lines that were refused.
    errors: Vec<LineError>,
    /// Whether nothing was changed because that was asked for.
    dry_run: bool,
    /// In a dry run, where the new keys would go: with more than one request, their sums must be within the room.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    places: Option<Vec<Place>>,
}

/// Why a line was refused.
#[derive(Serialize, ToSchema)]
struct LineError {
    /// Its number in the body, from 1.
    line: usize,
    /// The part of it that is wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    field: Option<String>,
    /// What is wrong with it.
    message: String,
}

/// The new keys of one organization in one api.
#[derive(Serialize, ToSchema)]
struct Place {
    /// The organization.
    #[schema(value_type = String)]
    organization: OrganizationId,
    /// The api.
    #[schema(value_type = String)]
    api: ApiName,
    /// How many would be new.
    new: i64,
    /// How many there is room for, at least.
    left: i64,
}

impl From<ImportPlace> for Place {
    fn from(place: ImportPlace) -> Self {
        let ImportPlace { organization, api, new, left } = place;
        Self { organization, api, new, left }
    }
}

/// Import keys that were issued elsewhere.
///
/// The body has one JSON object a line, at most 1000 lines and 4 MiB. A line that is refused is reported and passed over,
/// and so is a key that is there already: the same request can be sent again. What is imported is imported together, in
/// one revision.
#[utoipa::path(
    post,
    path = PATH,
    operation_id = "adminImportKeys",
    tag = "Keys",
    params(ImportQuery),
    request_body(content = ImportLine, content_type = "application/x-ndjson", description = "One such object a line."),
    responses(
        (status = 200, description = "What became of the lines.", body = ImportReport),
        (
            status = 422,
            description = "A line was refused, and `strict` was asked for: nothing was imported (`import_refused`).",
            body = words::Problem,
            content_type = "application/problem+json"
        )
    )
)]
async fn import(
    operator: Operator,
    State(state): State<ServerState>,
    Query(query): Query<ImportQuery>,
    request: Request,
) -> Result<Response, Failure> {
    require_content_type(request.headers(), &["application/x-ndjson"])?;
    let body = read_body(request, body_bytes_max(PATH)).await?;
    let (lines, mut errors) = read_lines(&body)?;
    let (dry_run, strict) = (query.dry_run.unwrap_or(false), query.strict.unwrap_or(false));
    let import = ImportKeys { lines, has_refused_lines: !errors.is_empty(), dry_run, strict };
    let mutation = state.app.import_keys(operator.actor(), import).await?;
    let answer = |done: ImportedKeys, revision| {
        errors.extend(done.refused.into_iter().map(|(line, error)| line_error(line, error.into())));
        errors.sort_by_key(|error| error.line);
        let places = dry_run.then(|| done.places.into_iter().map(Place::from).collect());
        let is_refused = strict && !dry_run && !errors.is_empty();
        let report = ImportReport { imported: done.imported, existing: done.existing, errors, dry_run, places };
        if is_refused {
            let report = serde_json::to_value(report).map_err(|error| Failure::broken(&format!("report: {error}")))?;
            return Err(Failure::import_refused(report));
        }
        Ok(Answer::ok(&report)?.revision(revision))
    };
    finish(&state, operator.keyed(), mutation, answer).await
}

type Lines = (Vec<(usize, ImportKey)>, Vec<LineError>);

/// Reads each line by itself. Blank ones count and are passed over.
fn read_lines(body: &[u8]) -> Result<Lines, Failure> {
    let (mut lines, mut errors) = (Vec::new(), Vec::new());
    let body = body.strip_suffix(b"\n").unwrap_or(body);
    for (number, line) in (1..).zip(body.split(|byte| *byte == b'\n')) {
        if number > limits::IMPORT_KEYS_MAX {
            let message = format!("The body has more than {} lines. Send it in parts.", limits::IMPORT_KEYS_MAX);
            return Err(Failure::invalid(None, &message));
        }
        if line.trim_ascii().is_empty() {
            continue;
        }
        match read_line(line) {
            Ok(key) => lines.push((number, key)),
            Err(failure) => errors.push(line_error(number, failure)),
        }
    }
    Ok((lines, errors))
}

fn read_line(line: &[u8]) -> Result<ImportKey, Failure> {
    if line.len() > limits::BODY_BYTES_MAX {
        return Err(Failure::invalid(None, &format!("The line is longer than {} bytes.", limits::BODY_BYTES_MAX)));
    }
    let document = document(line, "line")?;
    let is_secret = |name: &&str| {
        document.as_object().is_some_and(|object| object.keys().any(|found| found.eq_ignore_ascii_case(name)))
    };
    if let Some(name) = SECRET_MEMBERS.iter().find(|name| is_secret(name)) {
        return Err(Failure::invalid_field(name, "secrets are not imported; send digest, the SHA-256 of the secret"));
    }
    typed::<ImportLine>(document).map(ImportKey::from)
}

fn line_error(line: usize, failure: Failure) -> LineError {
    let (field, message) = failure.into_mistake();
    LineError { line, field, message }
}
