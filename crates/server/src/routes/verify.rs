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
    /// What the call costs.
    #[schema(minimum = 1)]
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
    /// The limits that were counted against.
    limits: Vec<serde_json::Value>,
    /// The revision that the verdict was made at.
    revision: i64,
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
