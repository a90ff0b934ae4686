//! `{base}/account/alerts`

use axum::extract::State;
use axum::response::Response;
use claviger_domain::alert::Alert;
use claviger_domain::id::AlertId;

use crate::ServerState;
use crate::answer::Answer;
use crate::error::Failure;
use crate::extract::{Caller, Id};
use crate::idempotency::finish;
use crate::query::{Nothing, Query};
use crate::requests::alerts::{AlertList, AlertListParameters};
use crate::views::alert::AlertView;
use crate::views::{InForm, List};

/// List alerts: what is unusual about the organization's live keys, or about to happen to them.
///
/// Newest first, the closed ones too. To a test key there is none.
#[utoipa::path(
    get,
    path = "/account/alerts",
    operation_id = "listAlerts",
    tag = "Alerts",
    params(AlertListParameters),
    responses((
        status = 200,
        description = "A page of alerts.",
        body = List<AlertView>,
        headers(("Link" = String, description = "The next page, with `rel=\"next\"`, if there is one."))
    ))
)]
pub(crate) async fn list(
    caller: Caller,
    State(state): State<ServerState>,
    Query(list): Query<AlertList>,
) -> Result<Response, Failure> {
    let found = state.app.list_alerts(&caller.actor(), &list.filter, list.page).await?;
    let next = found.rows.last().filter(|_| found.more).map(|alert| alert.id.to_string());
    let next_page = next.as_deref().map(|cursor| list.next_page(&caller.path("/account/alerts"), cursor));
    let rows = found.rows.into_iter().map(AlertView::of).collect();
    caller.list(rows, next, next_page.as_deref())
}

/// Close an alert.
///
/// It does not open again for the same cause. Closing it again changes nothing. One about a key takes a key that may change
/// that one.
#[utoipa::path(
    post,
    path = "/account/alerts/{id}/close",
    operation_id = "closeAlert",
    tag = "Alerts",
    params(("id" = String, Path, description = "The alert's id.")),
    responses((status = 200, description = "The alert as it is now.", body = InForm<AlertView>))
)]
pub(crate) async fn close(
    caller: Caller,
    State(state): State<ServerState>,
    Id(id): Id<AlertId>,
    Query(Nothing): Query<Nothing>,
) -> Result<Response, Failure> {
    let mutation = state.app.close_alert(&caller.actor(), id).await?;
    let answer = |alert: Alert, revision| Ok(Answer::ok(&caller.in_form(AlertView::of(alert)))?.revision(revision));
    finish(&state, caller.keyed(), mutation, answer).await
}
