//! Domain types as OpenAPI schemas. The domain knows nothing of OpenAPI, so their shapes are said again here; the
//! access table's test holds every answer against them.
#![expect(dead_code, reason = "only their schemas are used")]

use serde::Deserialize;
use utoipa::ToSchema;

use crate::routes::ImportReport;

/// What a key is for.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
pub(crate) enum Kind {
    Secret,
    Restricted,
    Ephemeral,
}

/// Where a key works. Test keys cost nothing.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
pub(crate) enum Environment {
    Test,
    Live,
}

/// What a key is now.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
pub(crate) enum State {
    Active,
    Disabled,
    Expired,
    Revoked,
}

/// Whether an organization's keys work.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
pub(crate) enum OrganizationStatus {
    Active,
    Suspended,
}

/// What a member may do: look at everything, manage keys, manage members, everything.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub(crate) enum Role {
    Viewer,
    Developer,
    Admin,
    Owner,
}

/// What becomes of keys that are not named.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub(crate) enum Rest {
    Revoke,
    HandOver,
    Keep,
}

/// How an organization stands with its bill. Keys work while it is `trialing` or `active`, and while it is `past_due` until the
/// definition's grace period is over.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub(crate) enum BillingState {
    Trialing,
    Active,
    PastDue,
    Canceled,
    Suspended,
}

/// Why a webhook endpoint is told nothing: the operator switched it off, or it answered 410.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
pub(crate) enum DisabledReason {
    Operator,
    Gone,
}

/// What became of a delivery.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
pub(crate) enum DeliveryState {
    Pending,
    Delivered,
    Failed,
}

/// Where, from where and for what a key may be used. All must hold. `null` restricts nothing; an empty list
/// allows nothing.
#[derive(ToSchema)]
pub(crate) struct Restrictions {
    /// Networks that the caller's address must be in.
    #[schema(required, max_items = 50, example = json!(["203.0.113.0/24"]))]
    ip: Option<Vec<String>>,
    /// Hosts that the browser page must come from.
    #[schema(required, max_items = 50, example = json!(["*.example.com"]))]
    referrer: Option<Vec<String>>,
    /// Endpoints that may be called.
    #[schema(required, max_items = 50, example = json!(["GET /v1/users/*"]))]
    endpoint: Option<Vec<String>>,
}

/// Restrictions to set. In an update, a list that is absent stays as it is and `null` lifts it.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RestrictionsInput {
    /// Networks that the caller's address must be in.
    #[schema(max_items = 50, example = json!(["203.0.113.0/24"]))]
    ip: Option<Vec<String>>,
    /// Hosts that the browser page must come from.
    #[schema(max_items = 50, example = json!(["*.example.com"]))]
    referrer: Option<Vec<String>>,
    /// Endpoints that may be called.
    #[schema(max_items = 50, example = json!(["GET /v1/users/*"]))]
    endpoint: Option<Vec<String>>,
}

/// One sort of key of an api.
#[derive(ToSchema)]
pub(crate) struct Format {
    /// The public head of the secret.
    prefix: String,
    kind: Kind,
    environment: Environment,
    /// The characters of the random part.
    alphabet: Alphabet,
    /// The length of the random part, checksum included.
    length: u32,
    /// How a mistyped secret is recognised.
    #[schema(nullable = false)]
    checksum: Option<Checksum>,
    /// Whether it is taken when a caller names neither kind nor prefix.
    default: bool,
    /// The life of a key when the caller names none.
    #[schema(nullable = false)]
    default_ttl_seconds: Option<i64>,
    /// The longest life that a caller may ask for.
    #[schema(nullable = false)]
    max_ttl_seconds: Option<i64>,
}

#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
pub(crate) enum Alphabet {
    Base62,
    Base32,
    Hex,
}

#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
pub(crate) enum Checksum {
    Crc32,
}

/// A named permission.
#[derive(ToSchema)]
pub(crate) struct Scope {
    #[schema(example = "evaluate")]
    name: String,
    /// What it permits, for people.
    description: String,
}

/// An endpoint and what it takes to call it.
#[expect(clippy::struct_field_names, reason = "the wire's names")]
#[derive(ToSchema)]
pub(crate) struct Endpoint {
    #[schema(example = "POST /api/v1/evaluate")]
    endpoint: String,
    /// The scope that a key must hold.
    scope: String,
    /// The only environment that may call it, when it is not for both.
    #[schema(nullable = false)]
    environment: Option<Environment>,
    /// The units that a call uses of rate limits and quotas, and that are billed. 1 when absent; 0 is not limited.
    #[schema(required = false, nullable = false, maximum = 100_000)]
    cost: Option<u32>,
}

/// What may be bought. A limit that is absent does not limit.
#[derive(ToSchema)]
pub(crate) struct Plan {
    #[schema(example = "pro")]
    name: String,
    /// Its name for people.
    title: String,
    /// Whether keys work at all.
    api_access: bool,
    /// The kinds of keys that can be made; all when absent.
    #[schema(nullable = false)]
    kinds: Option<Vec<Kind>>,
    /// Keys that are neither revoked nor expired, ephemeral ones aside.
    #[schema(nullable = false, maximum = 10000)]
    keys: Option<u32>,
    /// The same for ephemeral keys.
    #[schema(nullable = false, maximum = 10000)]
    ephemeral_keys: Option<u32>,
    /// Units that live keys may use in a billing period.
    #[schema(nullable = false)]
    quota: Option<u64>,
    /// The same for each single key.
    #[schema(nullable = false)]
    key_quota: Option<u64>,
    /// All of which a call must stay within.
    #[schema(required = false, max_items = 6)]
    rate_limits: Vec<RateLimit>,
}

/// So many units in so many seconds.
#[derive(ToSchema)]
pub(crate) struct RateLimit {
    /// Its name in answers.
    #[schema(example = "burst")]
    name: String,
    /// Whose calls count together.
    per: Per,
    /// Only calls to endpoints that ask for this scope count.
    #[schema(nullable = false)]
    scope: Option<String>,
    /// How many.
    units: u64,
    /// In how long.
    #[schema(minimum = 1, maximum = 86400)]
    seconds: u32,
    /// How many at once after a pause; `units` when absent.
    #[schema(nullable = false)]
    burst: Option<u64>,
}

/// Whose calls a rate limit counts together.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
pub(crate) enum Per {
    Organization,
    Key,
}

/// An error in an api's own envelope.
#[derive(ToSchema)]
pub(crate) struct EnvelopeError {
    /// `false`.
    success: bool,
    error: EnvelopeErrorDetails,
}

/// What went wrong.
#[derive(ToSchema)]
pub(crate) struct EnvelopeErrorDetails {
    /// For programs; an api may have codes of its own.
    #[schema(example = "invalid_request")]
    code: String,
    /// For people.
    message: String,
    /// The HTTP status again.
    status: u16,
    /// The part of the request that is wrong.
    #[schema(nullable = false)]
    field: Option<String>,
}

/// An error as RFC 9457 has it.
#[derive(ToSchema)]
pub(crate) struct Problem {
    #[schema(example = "about:blank")]
    r#type: String,
    title: String,
    /// The HTTP status again.
    status: u16,
    /// For people.
    detail: String,
    /// For programs; an api may have codes of its own.
    #[schema(example = "invalid_request")]
    code: String,
    /// The part of the request that is wrong.
    #[schema(nullable = false)]
    field: Option<String>,
    /// With `import_refused`: what became of the lines.
    #[schema(nullable = false)]
    report: Option<ImportReport>,
}
