//! The JSON shapes of things, as the outside sees them. Times are RFC 3339 in UTC; what does not apply is `null`.

pub(crate) mod alert;
pub(crate) mod usage;

use claviger_app::{AdminToken, Issued, KeyRow};
use claviger_domain::change::{Revision, Verifier};
use claviger_domain::definition::{Api, EndpointDefinition, ScopeDefinition};
use claviger_domain::format::KeyFormat;
use claviger_domain::id::{AdminTokenId, KeyId, OrganizationId, VerifierId};
use claviger_domain::key::{ApiName, Creator, Environment, Kind, Metadata, Name, State};
use claviger_domain::organization::{Organization, OrganizationStatus};
use claviger_domain::period::TimeZone;
use claviger_domain::plan::{Plan, PlanName};
use claviger_domain::restriction::Restrictions;
use claviger_domain::scope::Scopes;
use claviger_domain::secret::IssuedSecret;
use claviger_domain::time::{Timestamp, has_expired};
use serde::{Serialize, Serializer};
use utoipa::ToSchema;
use zeroize::Zeroizing;

use crate::openapi::words;

pub(crate) mod member;
pub(crate) mod subscription;

/// An API key. Its secret is never shown again.
#[derive(Serialize, ToSchema)]
#[schema(as = Key)]
pub(crate) struct KeyView {
    /// Its id, for ever the same.
    #[schema(value_type = String, example = "key_01kaf3w8x9e6y8m5n4q2r7s1t0")]
    id: KeyId,
    /// The name that people gave it.
    #[schema(value_type = String, min_length = 1, max_length = 100)]
    name: Name,
    /// What it is for.
    #[schema(value_type = words::Kind)]
    kind: Kind,
    /// Where it works.
    #[schema(value_type = words::Environment)]
    environment: Environment,
    /// The public head of its secret.
    #[schema(example = "tork_sk_")]
    prefix: String,
    /// The last four characters of its secret.
    hint: String,
    /// What it may do; `["*"]` is everything.
    #[schema(value_type = Vec<String>)]
    scopes: Scopes,
    /// Where, from where and for what it may be used.
    #[schema(value_type = words::Restrictions)]
    restrictions: Restrictions,
    /// The key that an ephemeral key was made with.
    #[schema(value_type = Option<String>, required)]
    parent_id: Option<KeyId>,
    /// What the holder keeps beside it.
    #[schema(value_type = Object)]
    metadata: Metadata,
    /// What it is now.
    #[schema(value_type = words::State)]
    state: State,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// Who made it: `operator`, or the id of a key.
    #[schema(value_type = String)]
    created_by: Creator,
    /// When it dies by itself.
    #[schema(value_type = Option<String>, format = DateTime, required)]
    expires_at: Option<Timestamp>,
    /// When it was last used, to the minute.
    #[schema(value_type = Option<String>, format = DateTime, required)]
    last_used: Option<Timestamp>,
    /// When its secret was last replaced.
    #[schema(value_type = Option<String>, format = DateTime, required)]
    rotated_at: Option<Timestamp>,
    /// When the secret before this one stops working, while it still does.
    #[schema(value_type = Option<String>, format = DateTime, required)]
    overlap_ends_at: Option<Timestamp>,
    /// When it was revoked.
    #[schema(value_type = Option<String>, format = DateTime, required)]
    revoked_at: Option<Timestamp>,
    /// Why, in the words of whoever did it.
    #[schema(required)]
    revoked_reason: Option<String>,
}

impl KeyView {
    /// The key as it is at an instant.
    pub(crate) fn of(row: &KeyRow, now: Timestamp) -> Self {
        let key = &row.key;
        let overlap_ends_at = key.old_secret.map(|old| old.overlap_ends_at);
        Self {
            id: key.id,
            name: key.name.clone(),
            kind: key.kind,
            environment: key.environment,
            prefix: key.prefix.clone(),
            hint: key.hint.clone(),
            scopes: key.scopes.clone(),
            restrictions: key.restrictions.clone(),
            parent_id: key.parent_id,
            metadata: key.metadata.clone(),
            state: key.state(now),
            created_at: key.created_at,
            created_by: key.created_by,
            expires_at: key.expires_at,
            last_used: row.last_used,
            rotated_at: key.rotated_at,
            overlap_ends_at: overlap_ends_at.filter(|_| !has_expired(overlap_ends_at, now)),
            revoked_at: key.revocation.as_ref().map(|revocation| revocation.at),
            revoked_reason: key.revocation.as_ref().and_then(|revocation| revocation.reason.clone()),
        }
    }
}

/// An API key as the operator sees it.
#[derive(Serialize, ToSchema)]
#[schema(as = AdminKey)]
pub(crate) struct AdminKeyView {
    #[serde(flatten)]
    key: KeyView,
    /// Whose it is.
    #[schema(value_type = String)]
    organization: OrganizationId,
    /// The api it opens.
    #[schema(value_type = String)]
    api: ApiName,
    /// The revision of its last change.
    #[schema(value_type = i64)]
    revision: Revision,
}

impl AdminKeyView {
    /// The key as it is at an instant.
    pub(crate) fn of(row: &KeyRow, now: Timestamp) -> Self {
        Self {
            key: KeyView::of(row, now),
            organization: row.key.organization,
            api: row.key.api.clone(),
            revision: row.revision,
        }
    }
}

/// A key and its secret, which is shown this once.
#[derive(Serialize, ToSchema)]
pub(crate) struct IssuedKey {
    #[serde(flatten)]
    key: KeyView,
    /// The full secret. It cannot be read again.
    #[schema(value_type = String)]
    secret: Clear,
}

/// A key as the operator sees it and its secret, which is shown this once.
#[derive(Serialize, ToSchema)]
pub(crate) struct IssuedAdminKey {
    #[serde(flatten)]
    key: AdminKeyView,
    /// The full secret. It cannot be read again.
    #[schema(value_type = String)]
    secret: Clear,
}

impl IssuedKey {
    /// Consumes the secret of a key that was just made or rotated.
    pub(crate) fn of(issued: Issued, now: Timestamp) -> Self {
        Self { key: KeyView::of(&issued.row, now), secret: Clear::of(issued.secret) }
    }
}

impl IssuedAdminKey {
    /// Consumes the secret of a key that was just made or rotated.
    pub(crate) fn of(issued: Issued, now: Timestamp) -> Self {
        Self { key: AdminKeyView::of(&issued.row, now), secret: Clear::of(issued.secret) }
    }
}

/// A clear secret on its way into the one body that shows it. It has no `Debug`, like [`IssuedSecret`] itself.
pub(crate) struct Clear(Zeroizing<String>);

impl Clear {
    pub(crate) fn of(secret: IssuedSecret) -> Self {
        Self(secret.into_clear())
    }
}

impl Serialize for Clear {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

/// A page of a list.
#[derive(Serialize, ToSchema)]
pub(crate) struct List<T> {
    /// `true`, where the api answers with an envelope.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    success: Option<bool>,
    /// The rows, newest first.
    data: Vec<T>,
    /// Present when there is a next page: pass it as `cursor`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    next_cursor: Option<String>,
}

impl<T> List<T> {
    /// A page without an envelope.
    pub(crate) fn bare(data: Vec<T>, next_cursor: Option<String>) -> Self {
        Self { success: None, data, next_cursor }
    }

    /// A page in an envelope.
    pub(crate) fn in_envelope(data: Vec<T>, next_cursor: Option<String>) -> Self {
        Self { success: Some(true), data, next_cursor }
    }
}

/// One thing, in the api's own form: in an envelope or as it is.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
pub(crate) enum InForm<T> {
    /// Where the api answers with an envelope.
    Envelope {
        /// `true`.
        success: bool,
        /// The thing.
        data: T,
    },
    /// Where it does not.
    Bare(T),
}

/// The key is revoked.
#[derive(Serialize, ToSchema)]
pub(crate) struct Revoked {
    /// `true`, where the api answers with an envelope.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(crate) success: Option<bool>,
    /// For people.
    #[schema(example = "API key revoked successfully")]
    pub(crate) message: &'static str,
}

/// A customer account.
#[derive(Serialize, ToSchema)]
#[schema(as = Organization)]
pub(crate) struct OrganizationView {
    /// Its id.
    #[schema(value_type = String, example = "org_01kaf3w8x9e6y8m5n4q2r7s1t0")]
    id: OrganizationId,
    /// The name that people see.
    #[schema(value_type = String)]
    name: Name,
    /// Whether its keys work.
    #[schema(value_type = words::OrganizationStatus)]
    status: OrganizationStatus,
    /// Where its days and billing periods begin, by its name in the IANA database.
    #[schema(value_type = String, example = "Europe/Berlin")]
    time_zone: TimeZone,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
}

impl From<Organization> for OrganizationView {
    fn from(organization: Organization) -> Self {
        let Organization { id, name, status, time_zone, created_at } = organization;
        Self { id, name, status, time_zone, created_at }
    }
}

/// An API server or proxy that may ask for verdicts over HTTP.
#[derive(Serialize, ToSchema)]
#[schema(as = Verifier)]
pub(crate) struct VerifierView {
    /// Its id.
    #[schema(value_type = String, example = "ver_01kaf3w8x9e6y8m5n4q2r7s1t0")]
    id: VerifierId,
    /// The name that the operator gave it.
    #[schema(value_type = String)]
    name: Name,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// When it was revoked.
    #[schema(value_type = Option<String>, format = DateTime, required)]
    revoked_at: Option<Timestamp>,
}

impl From<Verifier> for VerifierView {
    fn from(verifier: Verifier) -> Self {
        let Verifier { id, name, created_at, revoked_at, digest: _ } = verifier;
        Self { id, name, created_at, revoked_at }
    }
}

/// A credential of the operator for the admin API over HTTP.
#[derive(Serialize, ToSchema)]
#[schema(as = AdminToken)]
pub(crate) struct AdminTokenView {
    /// Its id.
    #[schema(value_type = String, example = "adm_01kaf3w8x9e6y8m5n4q2r7s1t0")]
    id: AdminTokenId,
    /// The name that the operator gave it.
    #[schema(value_type = String)]
    name: Name,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// When it was revoked.
    #[schema(value_type = Option<String>, format = DateTime, required)]
    revoked_at: Option<Timestamp>,
}

impl From<AdminToken> for AdminTokenView {
    fn from(token: AdminToken) -> Self {
        Self { id: token.id, name: token.name, created_at: token.created_at, revoked_at: token.revoked_at }
    }
}

/// A credential that was just made, with its token, which is shown this once.
#[derive(Serialize, ToSchema)]
pub(crate) struct IssuedToken<T> {
    #[serde(flatten)]
    subject: T,
    /// The full token. It cannot be read again.
    #[schema(value_type = String)]
    token: Clear,
}

impl<T> IssuedToken<T> {
    /// Consumes the token.
    pub(crate) fn of(subject: T, token: IssuedSecret) -> Self {
        Self { subject, token: Clear::of(token) }
    }
}

/// An api, as its definition describes it.
#[derive(Serialize, ToSchema)]
#[schema(as = Api)]
pub(crate) struct ApiView {
    /// Its name.
    #[schema(value_type = String, example = "tork")]
    name: ApiName,
    /// Its name for people, and the realm of its challenges.
    title: String,
    /// The hosts it is served at.
    hosts: Vec<String>,
    /// The path that all its endpoints begin with.
    #[schema(example = "/api/v1")]
    base_path: String,
    /// The key formats it issues.
    #[schema(value_type = Vec<words::Format>)]
    formats: Vec<KeyFormat>,
    /// Every scope that a key may hold, the built-in ones included.
    #[schema(value_type = Vec<words::Scope>)]
    scopes: Vec<ScopeDefinition>,
    /// Every endpoint, the customer API's included.
    #[schema(value_type = Vec<words::Endpoint>)]
    endpoints: Vec<EndpointDefinition>,
    /// What may be bought; empty where nothing is limited.
    #[schema(value_type = Vec<words::Plan>)]
    plans: Vec<Plan>,
    /// The plan of organizations without a subscription; `null` where their keys are refused, or there are no plans.
    #[schema(value_type = Option<String>, required)]
    default_plan: Option<PlanName>,
}

impl From<&Api> for ApiView {
    fn from(api: &Api) -> Self {
        let definition = &api.definition;
        Self {
            name: definition.name().clone(),
            title: definition.title().to_owned(),
            hosts: definition.hosts().to_vec(),
            base_path: definition.base_path().to_owned(),
            formats: definition.formats().to_vec(),
            scopes: definition.scopes(),
            endpoints: definition.endpoints(),
            plans: definition.plans().to_vec(),
            default_plan: definition.subscription_rules().default_plan,
        }
    }
}

/// What applying a definition did, or would do.
#[derive(Serialize, ToSchema)]
#[schema(as = Applied)]
pub(crate) struct AppliedView {
    /// The api.
    #[schema(value_type = String)]
    pub(crate) name: ApiName,
    /// Whether it did not exist before.
    pub(crate) created: bool,
    /// What differs from what was applied before, one line each.
    pub(crate) differences: Vec<String>,
    /// Whether anything was changed.
    pub(crate) applied: bool,
    /// The revision that it led to, if anything was changed.
    #[schema(value_type = Option<i64>, required)]
    pub(crate) revision: Option<Revision>,
}
