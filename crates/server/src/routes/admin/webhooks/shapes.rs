//! What is sent and shown of webhook endpoints.

#![expect(clippy::option_option, reason = "absent, null and a value are three things")]

use claviger_app::{CreateWebhook, IssuedWebhook, PageRequest, UpdateWebhook};
use claviger_domain::event::EventFilter;
use claviger_domain::id::{OrganizationId, WebhookId};
use claviger_domain::key::Name;
use claviger_domain::limits;
use claviger_domain::time::Timestamp;
use claviger_domain::webhook::{DisabledReason, WebhookEndpoint};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::error::Failure;
use crate::json::{not_null, present};
use crate::openapi::words;
use crate::query::{FromQuery, Parameters};
use crate::requests::page;
use crate::views::Clear;

/// A new webhook endpoint.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "an object")]
pub(super) struct CreateWebhookBody {
    /// Whose events it is told. Left out or `null`, everybody's: it is an endpoint of the operator's own.
    #[schema(value_type = Option<String>)]
    organization: Option<OrganizationId>,
    /// Where it is. `https://`, unless the server is told to allow `http://`.
    #[schema(max_length = 2048, example = "https://example.com/webhooks/claviger")]
    url: String,
    /// What people call it.
    #[schema(value_type = Option<String>, min_length = 1, max_length = 100)]
    description: Option<Name>,
    /// The types of events that it is told of, or `["*"]` for all that there are and will be.
    #[schema(value_type = Vec<String>, min_items = 1, example = json!(["key.revoked", "key.expired"]))]
    events: EventFilter,
}

impl From<CreateWebhookBody> for CreateWebhook {
    fn from(body: CreateWebhookBody) -> Self {
        let CreateWebhookBody { organization, url, description, events } = body;
        Self { organization, url, description, events }
    }
}

/// What to change of a webhook endpoint. What is absent stays as it is.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "an object")]
pub(super) struct UpdateWebhookBody {
    /// Where it is.
    #[schema(max_length = 2048, required = false, nullable = false)]
    #[serde(default, deserialize_with = "not_null")]
    url: Option<String>,
    /// What people call it; `null` is nothing.
    #[schema(value_type = Option<String>, min_length = 1, max_length = 100)]
    #[serde(default, deserialize_with = "present")]
    description: Option<Option<Name>>,
    /// The types of events that it is told of, replaced as a whole.
    #[schema(value_type = Vec<String>, min_items = 1, required = false)]
    #[serde(default, deserialize_with = "not_null")]
    events: Option<EventFilter>,
    /// Whether it is told anything. One that answered 410 is switched on again with `true`.
    #[schema(required = false, nullable = false)]
    #[serde(default, deserialize_with = "not_null")]
    enabled: Option<bool>,
}

impl From<UpdateWebhookBody> for UpdateWebhook {
    fn from(body: UpdateWebhookBody) -> Self {
        let UpdateWebhookBody { url, description, events, enabled } = body;
        Self { url, description, events, enabled }
    }
}

/// How to replace a signing secret. No body at all is an overlap of a day.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "an object")]
pub(super) struct RotateSecretBody {
    /// For how long everything is signed with the old secret too; 0 ends that at once.
    #[schema(minimum = 0, maximum = 604_800, default = 86_400, required = false, nullable = false)]
    #[serde(default, deserialize_with = "not_null")]
    overlap_seconds: Option<i64>,
}

impl RotateSecretBody {
    pub(super) fn overlap_seconds(&self) -> i64 {
        self.overlap_seconds.unwrap_or(limits::WEBHOOK_OVERLAP_SECONDS_DEFAULT)
    }
}

/// Which webhook endpoints to list.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "the document's side of WebhookList")]
pub(super) struct WebhookListParameters {
    /// Only endpoints of this organization.
    organization: Option<String>,
    /// Most rows of a page.
    #[param(minimum = 1, maximum = 200, default = 50)]
    limit: Option<u32>,
    /// The `next_cursor` of the page before.
    cursor: Option<String>,
}

/// A page of webhook endpoints.
pub(super) struct WebhookList {
    pub(super) organization: Option<OrganizationId>,
    pub(super) page: PageRequest<WebhookId>,
}

impl FromQuery for WebhookList {
    fn from_query(parameters: &mut Parameters) -> Result<Self, Failure> {
        Ok(Self { organization: parameters.take("organization")?, page: page(parameters)? })
    }
}

/// A webhook endpoint. Its signing secret is never shown again.
#[derive(Serialize, ToSchema)]
#[schema(as = Webhook)]
pub(super) struct WebhookView {
    /// Its id.
    #[schema(value_type = String, example = "whe_01kaf3w8x9e6y8m5n4q2r7s1t0")]
    id: WebhookId,
    /// Whose events it is told; `null` is everybody's.
    #[schema(value_type = Option<String>, required)]
    organization: Option<OrganizationId>,
    /// Where it is.
    url: String,
    /// What people call it.
    #[schema(value_type = Option<String>, required)]
    description: Option<Name>,
    /// The types of events that it is told of; `["*"]` is all.
    #[schema(value_type = Vec<String>)]
    events: EventFilter,
    /// Whether it is told anything.
    enabled: bool,
    /// Why not.
    #[schema(value_type = Option<words::DisabledReason>, required)]
    disabled_reason: Option<DisabledReason>,
    /// Since when deliveries to it are given up; `null` when the last one that ended arrived, or none did yet.
    #[schema(value_type = Option<String>, format = DateTime, required)]
    failing_since: Option<Timestamp>,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// When its signing secret was last replaced.
    #[schema(value_type = Option<String>, format = DateTime, required)]
    rotated_at: Option<Timestamp>,
    /// Until when the secret before it signs too.
    #[schema(value_type = Option<String>, format = DateTime, required)]
    overlap_ends_at: Option<Timestamp>,
}

impl WebhookView {
    pub(super) fn of(endpoint: WebhookEndpoint, failing_since: Option<Timestamp>) -> Self {
        let WebhookEndpoint {
            id,
            organization,
            url,
            description,
            events,
            disabled,
            created_at,
            rotated_at,
            overlap_ends_at,
        } = endpoint;
        Self {
            id,
            organization,
            url,
            description,
            events,
            enabled: disabled.is_none(),
            disabled_reason: disabled,
            failing_since,
            created_at,
            rotated_at,
            overlap_ends_at,
        }
    }
}

/// A webhook endpoint and its signing secret, which is shown this once.
#[derive(Serialize, ToSchema)]
#[schema(as = IssuedWebhook)]
pub(super) struct IssuedWebhookView {
    #[serde(flatten)]
    webhook: WebhookView,
    /// The signing secret: `whsec_` and base 64. It cannot be read again.
    #[schema(value_type = String)]
    secret: Clear,
}

impl IssuedWebhookView {
    /// Consumes the secret that was just made.
    pub(super) fn of(issued: IssuedWebhook) -> Self {
        Self { webhook: WebhookView::from(issued.row), secret: Clear::of(issued.secret) }
    }
}
