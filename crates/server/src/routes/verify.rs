//! `POST /v1/verify`: only its description. The gate serves it, on the data plane.
#![expect(dead_code, reason = "only their schemas are used")]

use serde::Deserialize;
use utoipa::openapi::OpenApi;
use utoipa::{OpenApi as _, ToSchema};

use crate::openapi::words;

#[derive(utoipa::OpenApi)]
#[openapi(paths(verify))]
struct Document;

/// What to add to the internal listener's document.
pub(super) fn document() -> OpenApi {
    Document::openapi()
}

/// Ask whether a key may do this, from there.
///
/// A refusal is an answer: 200 with `valid: false`. For API servers and proxies with a verifier's token.
#[utoipa::path(
    post,
    path = "/v1/verify",
    operation_id = "verify",
    tag = "Verify",
    request_body = VerifyRequest,
    responses((status = 200, description = "The verdict.", body = VerifyAnswer))
)]
fn verify() {}

/// A question.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct VerifyRequest {
    /// The secret that was presented; `null` if none was.
    #[schema(required)]
    key: Option<String>,
    /// The api that the request is for. Left out, it is chosen by the path and the secret's prefix.
    api: Option<String>,
    /// The request's method.
    #[schema(example = "POST")]
    method: String,
    /// The request's path. A query is cut off.
    #[schema(example = "/api/v1/evaluate")]
    path: String,
    /// The client's address. Without one, `ip` restrictions fail.
    ip: Option<String>,
    /// The value of the request's `Origin` or `Referer`. Without one, `referrer` restrictions fail.
    referrer: Option<String>,
    /// Scopes to ask for beyond the endpoint's own.
    scopes: Option<Vec<String>>,
    /// What the call costs, in units of rate limits and quotas. Left out, it is what the definition says of the endpoint, else one.
    #[schema(minimum = 1, maximum = 100_000)]
    cost: Option<i64>,
    /// The least revision that the answer must know of, as some mutation's `Claviger-Revision`.
    at_least_revision: Option<i64>,
}

/// A verdict.
#[derive(ToSchema)]
struct VerifyAnswer {
    /// Whether the request may pass.
    valid: bool,
    /// Why not.
    #[schema(required, example = "insufficient_scope")]
    code: Option<String>,
    /// The status to answer with, 200 if it may pass.
    status: u16,
    /// Why not, in the api's own words.
    #[schema(required)]
    message: Option<String>,
    /// The key, once one was found.
    #[schema(required)]
    key: Option<VerifiedKey>,
    /// The rate limits and quotas of the organization's plan that were looked at, which is after all else was found to be fine.
    limits: Vec<Limit>,
    /// Whole seconds after which the call would pass, when a limit refused it; `null` if it costs more than a limit ever lets through.
    #[schema(required)]
    retry_after: Option<i64>,
    /// The revision that the verdict was made at.
    revision: i64,
}

/// A rate limit or a quota, as it was right after the verdict.
#[expect(clippy::struct_field_names, reason = "the wire's names")]
#[derive(ToSchema)]
struct Limit {
    /// The rate limit's name, or `quota` or `key_quota`.
    #[schema(example = "burst")]
    name: String,
    /// Whose calls count together: `organization` or `key`.
    #[schema(example = "organization")]
    per: String,
    /// The scope that a call must ask for to count.
    scope: Option<String>,
    /// Units that pass in a window.
    limit: i64,
    /// The window; `null` for quotas, whose window is the billing period.
    #[schema(required)]
    window_seconds: Option<i64>,
    /// Units that are left.
    remaining: i64,
    /// When nothing of it is used, if nobody calls any more; of a quota, when the billing period ends.
    #[schema(value_type = String, format = DateTime)]
    reset_at: String,
    /// Whether the call was refused because of it.
    refused: bool,
}

/// The key that a secret belongs to. Of one that is revoked, or has been expired for an hour, name, scopes and metadata
/// are empty: they are no longer in memory.
#[derive(ToSchema)]
struct VerifiedKey {
    id: String,
    name: String,
    kind: words::Kind,
    environment: words::Environment,
    /// Whose it is.
    organization: String,
    scopes: Vec<String>,
    #[schema(value_type = Option<String>, format = DateTime, required)]
    expires_at: Option<String>,
    #[schema(value_type = Object)]
    metadata: (),
}
