//! `/admin/v1/alerts` and `/admin/v1/organizations/{id}/alert-settings`

use axum::extract::State;
use axum::response::Response;
use claviger_app::AlertSettings;
use claviger_domain::alert::Alert;
use claviger_domain::id::{AlertId, OrganizationId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::ServerState;
use crate::answer::Answer;
use crate::error::Failure;
use crate::extract::{Id, Operator};
use crate::idempotency::finish;
use crate::json::Json;
use crate::query::{Nothing, Query};
use crate::requests::alerts::{AdminAlertList, AdminAlertListParameters, AlertListParameters};
use crate::views::List;
use crate::views::alert::AdminAlertView;

const PATH: &str = "/admin/v1/alerts";

pub(crate) fn router() -> OpenApiRouter<ServerState> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(show))
        .routes(routes!(close))
        .routes(routes!(show_settings, put_settings))
}

/// List alerts.
#[utoipa::path(
    get,
    path = "/admin/v1/alerts",
    operation_id = "adminListAlerts",
    tag = "Alerts",
    params(AdminAlertListParameters, AlertListParameters),
    responses((
        status = 200,
        description = "A page of alerts, newest first.",
        body = List<AdminAlertView>,
        headers(("Link" = String, description = "The next page, with `rel=\"next\"`, if there is one."))
    ))
)]
async fn list(
    operator: Operator,
    State(state): State<ServerState>,
    Query(AdminAlertList(list)): Query<AdminAlertList>,
) -> Result<Response, Failure> {
    let found = state.app.list_alerts(operator.actor(), &list.filter, list.page).await?;
    let next = found.rows.last().filter(|_| found.more).map(|alert| alert.id.to_string());
    let next_page = next.as_deref().map(|cursor| list.next_page(PATH, cursor));
    let rows = found.rows.into_iter().map(AdminAlertView::from).collect();
    Ok(Answer::ok(&List::bare(rows, next))?.next_page(next_page.as_deref())?.done())
}

/// Show an alert.
#[utoipa::path(
    get,
    path = "/admin/v1/alerts/{id}",
    operation_id = "adminShowAlert",
    tag = "Alerts",
    params(("id" = String, Path, description = "The alert's id.")),
    responses((status = 200, description = "The alert.", body = AdminAlertView))
)]
async fn show(
    operator: Operator,
    State(state): State<ServerState>,
    Id(id): Id<AlertId>,
    Query(Nothing): Query<Nothing>,
) -> Result<Response, Failure> {
    let alert = state.app.find_alert(operator.actor(), id).await?;
    Ok(Answer::ok(&AdminAlertView::from(alert))?.done())
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
    responses((status = 200, description = "The alert as it is now.", body = AdminAlertView))
)]
async fn close(
    operator: Operator,
    State(state): State<ServerState>,
    Id(id): Id<AlertId>,
    Query(Nothing): Query<Nothing>,
) -> Result<Response, Failure> {
    let mutation = state.app.close_alert(operator.actor(), id).await?;
    let answer = |alert: Alert, revision| Ok(Answer::ok(&AdminAlertView::from(alert))?.revision(revision));
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
