//! `/admin/v1/audit`

use std::fmt::Write as _;

use axum::extract::State;
use axum::response::Response;
use claviger_app::audit::EXPORT_ROWS_MAX;
use claviger_app::{AuditFilter, AuditVerification, AuditWalk, ListedEvent, PageRequest};
use claviger_domain::audit::{Action, AuditEvent, Author, Head, Source};
use claviger_domain::change::Revision;
use claviger_domain::id::OrganizationId;
use claviger_domain::time::Timestamp;
use http::HeaderValue;
use http::header::CONTENT_TYPE;
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::ServerState;
use crate::answer::Answer;
use crate::error::Failure;
use crate::extract::Operator;
use crate::query::{FromQuery, Parameters, Query};
use crate::requests::page;
use crate::views::List;

const PATH: &str = "/admin/v1/audit";
/// One JSON object a line.
const NDJSON: &str = "application/x-ndjson";
/// Longest target that is looked for: ids and names of apis are shorter.
const TARGET_BYTES_MAX: usize = 64;

pub(crate) fn router() -> OpenApiRouter<ServerState> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(verify)).routes(routes!(export))
}

/// Something that was done.
#[derive(Serialize, ToSchema)]
#[schema(as = AuditEvent)]
struct EventView {
    /// Its place, counted from one without gaps.
    number: i64,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    /// Who: `operator`, `system`, `unknown`, or the id of an admin token, key or member.
    #[schema(value_type = String, example = "operator")]
    actor: Author,
    /// From where: an address, `socket`, `process` or `unknown`.
    #[schema(value_type = String, example = "203.0.113.7")]
    source: Source,
    /// What.
    #[schema(value_type = String, example = "key.revoked")]
    action: Action,
    /// To what: an id, or the name of an api. Of `admin.signed_in` and `admin.refused`, the admin token that was presented, or
    /// `admin_api` where none is known.
    target: String,
    /// Whose the target is, when it is an organization's. Of `admin.signed_in` and `admin.refused`, that of the member.
    #[schema(value_type = Option<String>, required)]
    organization: Option<OrganizationId>,
    /// What was otherwise before; `null` when it is new. Never a secret or a digest.
    #[schema(value_type = Option<Object>, required)]
    before: Option<Map<String, Value>>,
    /// What it is now; `null` when it is gone. Of `admin.refused`: `reason`, `method`, `route`, `suppressed` (so many other
    /// refusals were not written since the one before) and `member`, if one was named who is not the actor.
    #[schema(value_type = Option<Object>, required)]
    after: Option<Map<String, Value>>,
    /// The revision that brought it about.
    #[schema(value_type = i64)]
    revision: Revision,
}

impl From<AuditEvent> for EventView {
    fn from(event: AuditEvent) -> Self {
        let AuditEvent { number, at, actor, source, action, target, organization, before, after, revision } = event;
        Self { number, at, actor, source, action, target, organization, before, after, revision }
    }
}

/// A place in the list.
#[derive(Serialize, ToSchema)]
#[schema(as = ListedAuditEvent)]
#[serde(untagged)]
enum ListedView {
    Event(Box<EventView>),
    Unreadable(UnreadableView),
}

/// An event whose text is not what was written: somebody altered the database.
#[derive(Serialize, ToSchema)]
#[schema(as = UnreadableAuditEvent)]
struct UnreadableView {
    /// Its place.
    number: i64,
    /// Always `true`. Verify the log to learn what is wrong.
    unreadable: bool,
}

impl From<ListedEvent> for ListedView {
    fn from(listed: ListedEvent) -> Self {
        match listed {
            ListedEvent::Event(event) => Self::Event(Box::new((*event).into())),
            ListedEvent::Unreadable { number } => Self::Unreadable(UnreadableView { number, unreadable: true }),
        }
    }
}

/// What a walk along the log found.
#[derive(Serialize, ToSchema)]
#[schema(as = AuditVerification)]
struct VerificationView {
    /// How many events are as they were written, from the one after `after` on.
    events: i64,
    /// The last of them. Note it down elsewhere, and pass it as `expected` later.
    head: HeadView,
    /// The first event that is not as it was written.
    #[schema(required)]
    first_bad: Option<FirstBadView>,
    /// Whether `limit` ended the walk before the log did: go on with `after` this `head`.
    more: bool,
}

/// A place in the log.
#[derive(Serialize, ToSchema)]
#[schema(as = AuditHead)]
struct HeadView {
    /// The number of the event; zero when there is none.
    number: i64,
    /// Its hash, which covers all before it: SHA-256 in hexadecimal.
    #[schema(min_length = 64, max_length = 64)]
    hash: String,
}

/// An event that is not as it was written.
#[derive(Serialize, ToSchema)]
#[schema(as = AuditFirstBad)]
struct FirstBadView {
    /// Its number.
    number: i64,
    /// What is wrong with it.
    reason: String,
}

impl From<AuditVerification> for VerificationView {
    fn from(found: AuditVerification) -> Self {
        Self {
            events: found.events,
            head: HeadView { number: found.head.number, hash: found.head.hash_text() },
            first_bad: found.first_bad.map(|bad| FirstBadView { number: bad.number, reason: bad.flaw.to_string() }),
            more: found.more,
        }
    }
}

/// Which events to list.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "the document's side of AuditList")]
struct AuditListParameters {
    /// Only what was done to things of this organization, or by its members to the admin API.
    organization: Option<String>,
    /// Only what this actor did: `operator`, `system`, `unknown`, or the id of an admin token, key or member.
    actor: Option<String>,
    /// Only this sort, such as `key.revoked`.
    action: Option<String>,
    /// Only what was done to this: an id, the name of an api, or `admin_api`.
    target: Option<String>,
    /// Only at this instant or later.
    #[param(format = DateTime)]
    since: Option<String>,
    /// Only before this instant.
    #[param(format = DateTime)]
    until: Option<String>,
    /// Most rows of a page.
    #[param(minimum = 1, maximum = 200, default = 50)]
    limit: Option<u32>,
    /// The `next_cursor` of the page before: only events with a smaller number.
    cursor: Option<i64>,
}

struct AuditList {
    filter: AuditFilter,
    page: PageRequest<i64>,
}

impl FromQuery for AuditList {
    fn from_query(parameters: &mut Parameters) -> Result<Self, Failure> {
        let filter = AuditFilter {
            organization: parameters.take("organization")?,
            actor: parameters.take("actor")?,
            action: parameters.take("action")?,
            target: parameters.take_text("target")?,
            since: parameters.take("since")?,
            until: parameters.take("until")?,
        };
        let is_target = |target: &String| {
            target.len() <= TARGET_BYTES_MAX
                && target.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
        };
        if filter.target.as_ref().is_some_and(|target| !is_target(target)) {
            return Err(Failure::invalid_field("target", "must be an id or the name of an API"));
        }
        Ok(Self { filter, page: page(parameters)? })
    }
}

impl AuditList {
    /// Path and query of the page after the one that ends with this event. Nothing in it needs to be encoded.
    fn next_page(&self, cursor: &str) -> String {
        let filter = &self.filter;
        let mut next = format!("{PATH}?limit={}&cursor={cursor}", self.page.limit);
        let parts = [
            ("organization", filter.organization.map(|id| id.to_string())),
            ("actor", filter.actor.map(|actor| actor.to_string())),
            ("action", filter.action.map(|action| action.as_str().to_owned())),
            ("target", filter.target.clone()),
            ("since", filter.since.map(|at| at.to_string())),
            ("until", filter.until.map(|at| at.to_string())),
        ];
        for (name, value) in parts.into_iter().filter_map(|(name, value)| Some((name, value?))) {
            // Writing to a String does not fail.
            let _ = write!(next, "&{name}={value}");
        }
        next
    }
}

/// List what was done.
#[utoipa::path(
    get,
    path = "/admin/v1/audit",
    operation_id = "adminListAudit",
    tag = "Audit",
    params(AuditListParameters),
    responses((
        status = 200,
        description = "A page of events, newest first.",
        body = List<ListedView>,
        headers(("Link" = String, description = "The next page, with `rel=\"next\"`, if there is one."))
    ))
)]
async fn list(
    operator: Operator,
    State(state): State<ServerState>,
    Query(list): Query<AuditList>,
) -> Result<Response, Failure> {
    let found = state.app.list_audit(operator.actor(), &list.filter, list.page).await?;
    let next = found.rows.last().filter(|_| found.more).map(|event| event.number().to_string());
    let next_page = next.as_deref().map(|cursor| list.next_page(cursor));
    let rows = found.rows.into_iter().map(ListedView::from).collect();
    Ok(Answer::ok(&List::bare(rows, next))?.next_page(next_page.as_deref())?.done())
}

/// How far to walk, and what the log must still hold.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
struct VerifyQuery {
    /// `NUMBER:HASH` of an event that was noted down before. The log must still hold exactly it: only this shows that
    /// the end was cut off, or that all of it was written anew.
    #[param(value_type = Option<String>)]
    expected: Option<Head>,
    /// `NUMBER:HASH` of the event to begin after, which the log must hold as well. Left out, the walk begins with the first.
    #[param(value_type = Option<String>)]
    after: Option<Head>,
    /// Most events that are checked. Left out, all of them, which can take long.
    #[param(minimum = 1)]
    limit: Option<u32>,
}

impl FromQuery for VerifyQuery {
    fn from_query(parameters: &mut Parameters) -> Result<Self, Failure> {
        let (expected, after) = (parameters.take("expected")?, parameters.take("after")?);
        let query = Self { expected, after, limit: parameters.take("limit")? };
        if query.limit == Some(0) {
            return Err(Failure::invalid_field("limit", "must be at least 1"));
        }
        Ok(query)
    }
}

/// Verify the log.
///
/// Every event is checked against all before it. A log that is not as it was written is an answer too: 200 with
/// `first_bad`.
#[utoipa::path(
    get,
    path = "/admin/v1/audit/verification",
    operation_id = "adminVerifyAudit",
    tag = "Audit",
    params(VerifyQuery),
    responses((status = 200, description = "What was found.", body = VerificationView))
)]
async fn verify(
    operator: Operator,
    State(state): State<ServerState>,
    Query(query): Query<VerifyQuery>,
) -> Result<Response, Failure> {
    let VerifyQuery { expected, after, limit } = query;
    let walk = AuditWalk { after: after.unwrap_or(Head::START), expected, limit };
    let found = state.app.verify_audit(operator.actor(), walk).await?;
    Ok(Answer::ok(&VerificationView::from(found))?.done())
}

/// Where to go on.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
struct ExportQuery {
    /// Only events with a greater number.
    #[param(minimum = 0, default = 0)]
    after: Option<i64>,
    /// Most lines of the answer.
    #[param(minimum = 1, maximum = 10_000, default = 10_000)]
    limit: Option<usize>,
}

impl FromQuery for ExportQuery {
    fn from_query(parameters: &mut Parameters) -> Result<Self, Failure> {
        let query = Self { after: parameters.take("after")?, limit: parameters.take("limit")? };
        if query.after.is_some_and(|after| after < 0) {
            return Err(Failure::invalid_field("after", "must be the number of an event, or 0"));
        }
        if query.limit.is_some_and(|limit| !(1..=EXPORT_ROWS_MAX).contains(&limit)) {
            return Err(Failure::invalid_field("limit", &format!("must be from 1 to {EXPORT_ROWS_MAX}")));
        }
        Ok(query)
    }
}

/// Export the log.
///
/// One JSON object a line, oldest first: `event` is the very text that was hashed, and `hash` is SHA-256 of the hash
/// before it (32 zero bytes before the first) and of that text. So whoever has the lines can check them.
#[utoipa::path(
    get,
    path = "/admin/v1/audit/export",
    operation_id = "adminExportAudit",
    tag = "Audit",
    params(ExportQuery),
    responses((
        status = 200,
        description = "Events, at most `limit` and some four megabytes of them.",
        body = String,
        content_type = "application/x-ndjson",
        headers(("Link" = String, description = "Where to go on, with `rel=\"next\"`, if there are more."))
    ))
)]
async fn export(
    operator: Operator,
    State(state): State<ServerState>,
    Query(query): Query<ExportQuery>,
) -> Result<Response, Failure> {
    let limit = query.limit.unwrap_or(EXPORT_ROWS_MAX);
    let export = state.app.export_audit(operator.actor(), query.after.unwrap_or(0), limit).await?;
    let next = export.more.then(|| format!("{PATH}/export?after={}&limit={limit}", export.last));
    let mut response = Answer::ok(&())?.next_page(next.as_deref())?.done();
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(NDJSON));
    *response.body_mut() = export.lines.into();
    Ok(response)
}
