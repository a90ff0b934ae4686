//! `/admin/v1/usage`

use axum::extract::State;
use axum::response::Response;
use claviger_app::{ExportFormat, UnknownKeyQuery, UsageQuery};
use http::HeaderValue;
use http::header::CONTENT_TYPE;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::ServerState;
use crate::answer::Answer;
use crate::error::Failure;
use crate::extract::{Operator, OperatorOrMember};
use crate::query::Query;
use crate::requests::usage::{
    OrganizationUsageList, OrganizationUsageParameters, UnknownKeyParameters, UsageExportParameters, UsageExportQuery,
    UsageParameters,
};
use crate::views::List;
use crate::views::usage::{OrganizationUsageView, UnknownKeyView, UsageView};

const PATH: &str = "/admin/v1/usage";

pub(crate) fn router() -> OpenApiRouter<ServerState> {
    OpenApiRouter::new()
        .routes(routes!(usage))
        .routes(routes!(organizations))
        .routes(routes!(export))
        .routes(routes!(unknown_keys))
}

/// Show an organization's usage of an api.
///
/// Of its present billing period, of another one, or between two days.
#[utoipa::path(
    get,
    path = "/admin/v1/usage",
    operation_id = "adminShowUsage",
    tag = "Usage",
    params(UsageParameters),
    responses((status = 200, description = "The usage.", body = UsageView))
)]
async fn usage(
    operator: OperatorOrMember,
    State(state): State<ServerState>,
    Query(query): Query<UsageQuery>,
) -> Result<Response, Failure> {
    let report = state.app.usage(operator.actor(), query).await?;
    Ok(Answer::ok(&UsageView::of(report, None))?.done())
}

/// List what organizations used of an api.
///
/// Each in its own billing period, for these may begin on different days.
#[utoipa::path(
    get,
    path = "/admin/v1/usage/organizations",
    operation_id = "adminListOrganizationUsage",
    tag = "Usage",
    params(OrganizationUsageParameters),
    responses((
        status = 200,
        description = "A page of organizations, newest first.",
        body = List<OrganizationUsageView>,
        headers(("Link" = String, description = "The next page, with `rel=\"next\"`, if there is one."))
    ))
)]
async fn organizations(
    operator: Operator,
    State(state): State<ServerState>,
    Query(list): Query<OrganizationUsageList>,
) -> Result<Response, Failure> {
    let OrganizationUsageList { api, month, page } = list;
    let found = state.app.list_organization_usage(operator.actor(), &api, month, page).await?;
    let next = found.rows.last().filter(|_| found.more).map(|row| row.organization.id.to_string());
    let period = month.map(|month| format!("&period={month}")).unwrap_or_default();
    let next_page = next
        .as_ref()
        .map(|cursor| format!("{PATH}/organizations?api={api}{period}&limit={}&cursor={cursor}", page.limit));
    let rows = found.rows.into_iter().map(OrganizationUsageView::from).collect();
    Ok(Answer::ok(&List::bare(rows, next))?.next_page(next_page.as_deref())?.done())
}

/// Export usage of live keys.
///
/// By hour, key, scope and outcome: only hours that are over, for what was exported does not change any more. What is no
/// longer kept by the hour is exported by the day. As `cloudevents`, only what is billable, an event an hour, key and
/// scope; the `id` is made of these, so that whoever takes an event in twice can tell. Events are of hours only.
#[utoipa::path(
    get,
    path = "/admin/v1/usage/export",
    operation_id = "adminExportUsage",
    tag = "Usage",
    params(UsageExportParameters),
    responses((
        status = 200,
        description = "At most `limit` rows and some four megabytes of them.",
        headers(("Link" = String, description = "Where to go on, with `rel=\"next\"`, if there are more.")),
        content((String = "text/csv"), (String = "application/x-ndjson"))
    ))
)]
async fn export(
    operator: Operator,
    State(state): State<ServerState>,
    Query(query): Query<UsageExportQuery>,
) -> Result<Response, Failure> {
    let export = state.app.export_usage(operator.actor(), &query.0).await?;
    let next = export.next.map(|cursor| format!("{PATH}/export?{}", query.next(&cursor.to_string())));
    let mut response = Answer::ok(&())?.next_page(next.as_deref())?.done();
    let content_type = match query.0.format {
        ExportFormat::Csv => "text/csv",
        ExportFormat::Ndjson | ExportFormat::CloudEvents => "application/x-ndjson",
    };
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    *response.body_mut() = export.lines.into();
    Ok(response)
}

/// List who presents keys that are nobody's.
///
/// Calls with keys that are well-formed and not known here, by prefix and by the network that they came from, the most
/// first: somebody guesses, or a program goes on with a key that was forgotten long ago. Each hour knows some 1,000
/// networks; the calls from others are counted without one. In the last 24 hours, or between two instants, by whole hours.
#[utoipa::path(
    get,
    path = "/admin/v1/usage/unknown-keys",
    operation_id = "adminListUnknownKeys",
    tag = "Usage",
    params(UnknownKeyParameters),
    responses((status = 200, description = "Prefixes and networks.", body = List<UnknownKeyView>))
)]
async fn unknown_keys(
    operator: Operator,
    State(state): State<ServerState>,
    Query(query): Query<UnknownKeyQuery>,
) -> Result<Response, Failure> {
    let found = state.app.list_unknown_keys(operator.actor(), &query).await?;
    let rows = found.into_iter().map(UnknownKeyView::from).collect();
    Ok(Answer::ok(&List::bare(rows, None))?.done())
}
