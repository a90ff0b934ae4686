//! `/admin/v1/alerts` and `/admin/v1/organizations/{id}/alert-settings`

use std::fmt::Write as _;

use axum::extract::State;
use axum::response::Response;
use claviger_app::{AlertFilter, AlertSettings, PageRequest};
use claviger_domain::alert::{Alert, AlertKind};
use claviger_domain::audit::Author;
use claviger_domain::id::{AlertId, KeyId, OrganizationId};
use claviger_domain::key::ApiName;
use claviger_domain::time::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::ServerState;
use crate::answer::Answer;
use crate::error::Failure;
use crate::extract::{Id, Operator};
use crate::idempotency::finish;
use crate::json::Json;
use crate::query::{FromQuery, Nothing, Parameters, Query};
use crate::requests::page;
use crate::views::List;

const PATH: &str = "/admin/v1/alerts";

pub(crate) fn router() -> OpenApiRouter<ServerState> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(show))
        .routes(routes!(close))
        .routes(routes!(show_settings, put_settings))
}

/// Something unusual, or about to happen.
#[derive(Serialize, ToSchema)]
#[schema(as = Alert)]
struct AlertView {
    /// Its id.
    #[schema(value_type = String, example = "alrt_01kaf3w8x9e6y8m5n4q2r7s1t0")]
    id: AlertId,
    /// Whose.
    #[schema(value_type = String)]
    organization: OrganizationId,
    /// On which api.
    #[schema(value_type = String)]
    api: ApiName,
    /// The key; `null` where it is about all of the organization's.
    #[schema(value_type = Option<String>, required)]
    key: Option<KeyId>,
    /// What it is about.
    #[schema(value_type = String, example = "usage_spike")]
    kind: AlertKind,
    /// `open` or `closed`.
    state: &'static str,
    /// Since when.
    #[schema(value_type = String, format = DateTime)]
    opened_at: Timestamp,
    /// When it was last told of.
    #[schema(value_type = String, format = DateTime)]
    last_repeated_at: Timestamp,
    /// When it was closed.
    #[schema(value_type = Option<String>, format = DateTime, required)]
    closed_at: Option<Timestamp>,
    /// By whom: `system` when what it is about was over.
    #[schema(value_type = Option<String>, required)]
    closed_by: Option<Author>,
    /// The key's name, prefix and hint, and the figures that it came from.
    #[schema(value_type = Object)]
    detail: Map<String, Value>,
}

impl From<Alert> for AlertView {
    fn from(alert: Alert) -> Self {
        let Alert { id, organization, api, key, kind, opened_at, last_repeated_at, closed, detail, .. } = alert;
        let state = if closed.is_some() { "closed" } else { "open" };
        let (closed_at, closed_by) = closed.unzip();
        Self { id, organization, api, key, kind, state, opened_at, last_repeated_at, closed_at, closed_by, detail }
    }
}

/// Which alerts to list.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "the document's side of the query")]
struct AlertListParameters {
    /// Only of this organization.
    organization: Option<String>,
    /// Only of this api.
    api: Option<String>,
    /// Only about this key.
    key: Option<String>,
    /// Only of this kind, such as `usage_spike`.
    kind: Option<String>,
    /// Only those that are `open`, or `closed`.
    state: Option<String>,
    /// Most rows of a page.
    #[param(minimum = 1, maximum = 200, default = 50)]
    limit: Option<u32>,
    /// The `next_cursor` of the page before.
    cursor: Option<String>,
}

struct AlertList {
    filter: AlertFilter,
    page: PageRequest<AlertId>,
}

impl FromQuery for AlertList {
    fn from_query(parameters: &mut Parameters) -> Result<Self, Failure> {
        let is_open = match parameters.take_text("state")?.as_deref() {
            None => None,
            Some("open") => Some(true),
            Some("closed") => Some(false),
            Some(_) => return Err(Failure::invalid_field("state", "must be one of open, closed")),
        };
        let filter = AlertFilter {
            organization: parameters.take("organization")?,
            api: parameters.take("api")?,
            key: parameters.take("key")?,
            kind: parameters.take("kind")?,
            is_open,
        };
        Ok(Self { filter, page: page(parameters)? })
    }
}

impl AlertList {
    /// Path and query of the page after this one. Nothing in it needs to be encoded.
    fn next_page(&self, cursor: &str) -> String {
        let filter = &self.filter;
        let mut next = format!("{PATH}?limit={}&cursor={cursor}", self.page.limit);
        let parts = [
            ("organization", filter.organization.map(|id| id.to_string())),
            ("api", filter.api.as_ref().map(ToString::to_string)),
            ("key", filter.key.map(|id| id.to_string())),
            ("kind", filter.kind.map(|kind| kind.to_string())),
            ("state", filter.is_open.map(|is_open| if is_open { "open" } else { "closed" }.to_owned())),
        ];
        for (name, value) in parts.into_iter().filter_map(|(name, value)| Some((name, value?))) {
            // Writing to a String does not fail.
            let _ = write!(next, "&{name}={value}");
        }
        next
    }
}

/// List alerts.
#[utoipa::path(
    get,
    path = "/admin/v1/alerts",
    operation_id = "adminListAlerts",
    tag = "Alerts",
    params(AlertListParameters),
    responses((
        status = 200,
        description = "A page of alerts, newest first.",
        body = List<AlertView>,
        headers(("Link" = String, description = "The next page, with `rel=\"next\"`, if there is one."))
    ))
)]
async fn list(
    operator: Operator,
    State(state): State<ServerState>,
    Query(list): Query<AlertList>,
) -> Result<Response, Failure> {
    let found = state.app.list_alerts(operator.actor(), &list.filter, list.page).await?;
    let next = found.rows.last().filter(|_| found.more).map(|alert| alert.id.to_string());
    let next_page = next.as_deref().map(|cursor| list.next_page(cursor));
    let rows = found.rows.into_iter().map(AlertView::from).collect();
    Ok(Answer::ok(&List::bare(rows, next))?.next_page(next_page.as_deref())?.done())
}

/// Show an alert.
#[utoipa::path(
    get,
    path = "/admin/v1/alerts/{id}",
    operation_id = "adminShowAlert",
    tag = "Alerts",
    params(("id" = String, Path, description = "The alert's id.")),
    responses((status = 200, description = "The alert.", body = AlertView))
)]
async fn show(
    operator: Operator,
    State(state): State<ServerState>,
    Id(id): Id<AlertId>,
    Query(Nothing): Query<Nothing>,
) -> Result<Response, Failure> {
    let alert = state.app.find_alert(operator.actor(), id).await?;
    Ok(Answer::ok(&AlertView::from(alert))?.done())
}

/// Close an alert.
///
/// It does not open again for the same cause. Closing it again changes nothing.
#[utoipa::path(
    post,
    path = "/admin/v1/alerts/{id}/close",
    operation_id = "adminCloseAlert",
    tag = "Alerts",
    params(("id" = String, Path, description = "The alert's id.")),
    responses((status = 200, description = "The alert as it is now.", body = AlertView))
)]
async fn close(
    operator: Operator,
    State(state): State<ServerState>,
    Id(id): Id<AlertId>,
    Query(Nothing): Query<Nothing>,
) -> Result<Response, Failure> {
    let mutation = state.app.close_alert(operator.actor(), id).await?;
    let answer = |alert: Alert, revision| Ok(Answer::ok(&AlertView::from(alert))?.revision(revision));
    finish(&state, operator.keyed(), mutation, answer).await
}

/// What an organization wants to be told of. What is left out is the default.
#[derive(Serialize, ToSchema)]
#[schema(as = AlertSettings)]
struct AlertSettingsView {
    /// Kinds that do not open.
    #[schema(required = false)]
    muted: Vec<String>,
    /// What is unusual.
    #[schema(required = false)]
    thresholds: ThresholdsView,
}

/// What is unusual: `docs/alerts.md` says how it is reckoned.
#[derive(Serialize, ToSchema)]
#[schema(as = AlertThresholds)]
struct ThresholdsView {
    /// A spike is so many deviations above what is usual in its hour,
    #[schema(required = false, minimum = 1, default = 10.0)]
    spike_deviations: f64,
    /// at least so many times as much,
    #[schema(required = false, minimum = 1, default = 3.0)]
    spike_factor: f64,
    /// and at least so many calls.
    #[schema(required = false, minimum = 1, default = 100)]
    spike_calls: u64,
    /// A burst is so many refusals in an hour,
    #[schema(required = false, minimum = 1, default = 100)]
    burst_denials: u64,
    /// and at least such a share of the hour's calls.
    #[schema(required = false, minimum = 0, maximum = 1, default = 0.5)]
    burst_share: f64,
}

/// The body of a request to set them.
#[derive(Deserialize)]
#[serde(transparent)]
struct SettingsBody(AlertSettings);

/// Show what an organization wants to be told of.
#[utoipa::path(
    get,
    path = "/admin/v1/organizations/{id}/alert-settings",
    operation_id = "adminShowAlertSettings",
    tag = "Alerts",
    params(("id" = String, Path, description = "The organization's id.")),
    responses((status = 200, description = "The settings.", body = AlertSettingsView))
)]
async fn show_settings(
    operator: Operator,
    State(state): State<ServerState>,
    Id(id): Id<OrganizationId>,
    Query(Nothing): Query<Nothing>,
) -> Result<Response, Failure> {
    let settings = state.app.find_alert_settings(operator.actor(), id).await?;
    Ok(Answer::ok(&settings)?.done())
}

/// Set what an organization wants to be told of.
#[utoipa::path(
    put,
    path = "/admin/v1/organizations/{id}/alert-settings",
    operation_id = "adminPutAlertSettings",
    tag = "Alerts",
    params(("id" = String, Path, description = "The organization's id.")),
    request_body = AlertSettingsView,
    responses((status = 200, description = "The settings as they are now.", body = AlertSettingsView))
)]
async fn put_settings(
    operator: Operator,
    State(state): State<ServerState>,
    Id(id): Id<OrganizationId>,
    Query(Nothing): Query<Nothing>,
    Json(SettingsBody(settings)): Json<SettingsBody>,
) -> Result<Response, Failure> {
    let mutation = state.app.put_alert_settings(operator.actor(), id, settings).await?;
    let put = mutation.commit().await?;
    Ok(Answer::ok(&put.value)?.revision(put.revision).done())
}
