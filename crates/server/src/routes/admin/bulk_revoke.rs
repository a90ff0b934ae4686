//! `/admin/v1/keys/bulk-revoke`

use axum::extract::State;
use axum::response::Response;
use claviger_app::{BulkRevoked, Selection};
use claviger_domain::id::{KeyId, OrganizationId};
use claviger_domain::key::{ApiName, Creator, Environment, Key, Kind, Name};
use claviger_domain::time::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::ServerState;
use crate::answer::Answer;
use crate::error::Failure;
use crate::extract::Operator;
use crate::idempotency::finish;
use crate::json::Json;
use crate::openapi::words;
use crate::query::{Nothing, Query};

/// Where many keys are revoked.
pub(crate) const PATH: &str = "/admin/v1/keys/bulk-revoke";

pub(crate) fn router() -> OpenApiRouter<ServerState> {
    OpenApiRouter::new().routes(routes!(bulk_revoke))
}

/// Which keys to revoke. All that is named must fit; at least one of `organization`, `created_by`, `kind` and
/// `issued_before` must be.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "an object")]
struct BulkRevokeBody {
    /// Keys of this organization.
    #[schema(value_type = Option<String>)]
    organization: Option<OrganizationId>,
    /// Keys of this api.
    #[schema(value_type = Option<String>)]
    api: Option<ApiName>,
    /// Keys that were made by `operator`, or that come from this key: made with it, with a key that was made with it, and so on.
    /// The key itself is not among them.
    #[schema(value_type = Option<String>, example = "operator")]
    created_by: Option<Creator>,
    /// Keys of this kind.
    #[schema(value_type = Option<words::Kind>)]
    kind: Option<Kind>,
    /// Keys of this environment.
    #[schema(value_type = Option<words::Environment>)]
    environment: Option<Environment>,
    /// Keys whose `created_at`, a whole second, is before this instant, which must not lie ahead.
    #[schema(value_type = Option<String>, format = DateTime)]
    issued_before: Option<Timestamp>,
    /// For the record, in the caller's words.
    #[schema(min_length = 1, max_length = 200)]
    reason: Option<String>,
    /// `true` shows what would be revoked and revokes nothing.
    #[serde(default)]
    dry_run: bool,
}

/// What was revoked, or would be.
#[derive(Serialize, ToSchema)]
#[schema(as = BulkRevoked)]
struct BulkRevokedView {
    /// Keys that fitted and were neither revoked nor expired.
    matched: i64,
    /// Those that this request revoked: none in a dry run, else all.
    revoked: i64,
    /// Keys that fitted and had been revoked before.
    already_revoked: i64,
    /// Whether it only looked.
    dry_run: bool,
    /// The first of those that matched, at most twenty.
    keys: Vec<SelectedKey>,
}

/// A key, shortly.
#[derive(Serialize, ToSchema)]
struct SelectedKey {
    /// Its id.
    #[schema(value_type = String)]
    id: KeyId,
    /// The name that people gave it.
    #[schema(value_type = String)]
    name: Name,
    /// The public head of its secret.
    prefix: String,
    /// The last four characters of its secret.
    hint: String,
    /// Whose it is.
    #[schema(value_type = String)]
    organization: OrganizationId,
}

impl From<Key> for SelectedKey {
    fn from(key: Key) -> Self {
        let Key { id, name, prefix, hint, organization, .. } = key;
        Self { id, name, prefix, hint, organization }
    }
}

/// Revoke many keys.
///
/// When this has answered, all of them are accepted nowhere, and never will be again. A request that was cut short has
/// revoked some of them; the same request again goes on with the rest.
#[utoipa::path(
    post,
    path = PATH,
    operation_id = "adminBulkRevokeKeys",
    tag = "Keys",
    request_body = BulkRevokeBody,
    responses((status = 200, description = "What was revoked.", body = BulkRevokedView))
)]
async fn bulk_revoke(
    operator: Operator,
    State(state): State<ServerState>,
    Query(Nothing): Query<Nothing>,
    Json(body): Json<BulkRevokeBody>,
) -> Result<Response, Failure> {
    let BulkRevokeBody { organization, api, created_by, kind, environment, issued_before, reason, dry_run } = body;
    let selection = Selection { organization, api, created_by, kind, environment, issued_before };
    let mutation = state.app.revoke_keys(operator.actor(), selection, reason, dry_run).await?;
    let answer = |done: BulkRevoked, revision| {
        let BulkRevoked { matched, revoked, already_revoked, dry_run, sample } = done;
        let keys = sample.into_iter().map(SelectedKey::from).collect();
        let view = BulkRevokedView { matched, revoked, already_revoked, dry_run, keys };
        Ok(Answer::ok(&view)?.revision(revision))
    };
    finish(&state, operator.keyed(), mutation, answer).await
}
