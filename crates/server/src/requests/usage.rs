//! Of whose usage, and of when, a request asks.

use claviger_app::{ExportFormat, ExportQuery, ExportRange, PageRequest, UnknownKeyQuery, UsageQuery, UsageRange};
use claviger_domain::day::Month;
use claviger_domain::id::OrganizationId;
use claviger_domain::key::ApiName;
use claviger_domain::limits;
use claviger_domain::time::Timestamp;
use utoipa::IntoParams;

use crate::error::Failure;
use crate::query::{FromQuery, Parameters};
use crate::requests::{limit, page};

/// Whose usage, and of when.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "the document's side of UsageQuery")]
pub(crate) struct UsageParameters {
    /// The organization.
    organization: String,
    /// The api.
    api: String,
    /// The billing period that begins in this month; this period when left out.
    #[param(example = "2026-10")]
    period: Option<String>,
    /// Instead of a period: the first day, in the organization's time zone. At most 366 days.
    #[param(format = Date)]
    from: Option<String>,
    /// The last day; today when left out.
    #[param(format = Date)]
    to: Option<String>,
}

/// Of when.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "the document's side of OwnUsage")]
pub(crate) struct OwnUsageParameters {
    /// The billing period that begins in this month; this period when left out.
    #[param(example = "2026-10")]
    period: Option<String>,
    /// Instead of a period: the first day, in the organization's time zone. At most 366 days.
    #[param(format = Date)]
    from: Option<String>,
    /// The last day; today when left out.
    #[param(format = Date)]
    to: Option<String>,
}

fn range(parameters: &mut Parameters) -> Result<UsageRange, Failure> {
    let (period, from, to) = (parameters.take("period")?, parameters.take("from")?, parameters.take("to")?);
    match (period, from, to) {
        (None, None, None) => Ok(UsageRange::Current),
        (Some(month), None, None) => Ok(UsageRange::Period(month)),
        (None, Some(from), to) => Ok(UsageRange::Days { from, to }),
        (Some(_), ..) => Err(Failure::invalid_field("period", "cannot stand beside from or to")),
        (None, None, Some(_)) => Err(Failure::invalid_field("from", "is missing")),
    }
}

impl FromQuery for UsageQuery {
    fn from_query(parameters: &mut Parameters) -> Result<Self, Failure> {
        let (organization, api) = (parameters.take("organization")?, parameters.take("api")?);
        Ok(Self { organization, api, range: range(parameters)? })
    }
}

/// Of when; whose is the caller's.
pub(crate) struct OwnUsage(pub(crate) UsageQuery);

impl FromQuery for OwnUsage {
    fn from_query(parameters: &mut Parameters) -> Result<Self, Failure> {
        Ok(Self(UsageQuery { range: range(parameters)?, ..UsageQuery::default() }))
    }
}

/// Which organizations' usage.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "the document's side of OrganizationUsageList")]
pub(crate) struct OrganizationUsageParameters {
    /// The api.
    api: String,
    /// Each organization's billing period that begins in this month; its present one when left out.
    #[param(example = "2026-10")]
    period: Option<String>,
    /// Most rows of a page.
    #[param(minimum = 1, maximum = 200, default = 50)]
    limit: Option<u32>,
    /// The `next_cursor` of the page before.
    cursor: Option<String>,
}

pub(crate) struct OrganizationUsageList {
    pub(crate) api: ApiName,
    pub(crate) month: Option<Month>,
    pub(crate) page: PageRequest<OrganizationId>,
}

impl FromQuery for OrganizationUsageList {
    fn from_query(parameters: &mut Parameters) -> Result<Self, Failure> {
        let api = parameters.take("api")?.ok_or_else(|| Failure::invalid_field("api", "is missing"))?;
        Ok(Self { api, month: parameters.take("period")?, page: page(parameters)? })
    }
}

/// Which unknown keys.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "the document's side of UnknownKeyQuery")]
pub(crate) struct UnknownKeyParameters {
    /// Only those that claimed to be for this api.
    api: Option<String>,
    /// From the hour of this instant on; 24 hours before `until` when left out.
    #[param(format = DateTime)]
    since: Option<String>,
    /// Before this instant; now when left out.
    #[param(format = DateTime)]
    until: Option<String>,
    /// Most rows.
    #[param(minimum = 1, maximum = 200, default = 50)]
    limit: Option<u32>,
}

impl FromQuery for UnknownKeyQuery {
    fn from_query(parameters: &mut Parameters) -> Result<Self, Failure> {
        Ok(Self {
            api: parameters.take("api")?,
            since: parameters.take("since")?,
            until: parameters.take("until")?,
            limit: limit(parameters, limits::PAGE_ROWS_DEFAULT, limits::PAGE_ROWS_MAX)?,
        })
    }
}

/// What to export, and how.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "the document's side of UsageExportQuery")]
pub(crate) struct UsageExportParameters {
    /// `csv`, `ndjson` or `cloudevents`.
    #[param(example = "csv")]
    format: String,
    /// Only of this organization.
    organization: Option<String>,
    /// Only of this api.
    api: Option<String>,
    /// Of each organization's billing period that begins in this month.
    #[param(example = "2026-10")]
    period: Option<String>,
    /// Instead of a period: from this instant on, a whole hour.
    #[param(format = DateTime)]
    from: Option<String>,
    /// Before this instant, a whole hour; the last hour that is over when left out.
    #[param(format = DateTime)]
    to: Option<String>,
    /// Most rows of the answer.
    #[param(minimum = 1, maximum = 10_000, default = 10_000)]
    limit: Option<u32>,
    /// Where to go on, from the `Link` of the answer before.
    cursor: Option<String>,
}

pub(crate) struct UsageExportQuery(pub(crate) ExportQuery);

impl FromQuery for UsageExportQuery {
    fn from_query(parameters: &mut Parameters) -> Result<Self, Failure> {
        let format: Option<ExportFormat> = parameters.take("format")?;
        let (organization, api) = (parameters.take("organization")?, parameters.take("api")?);
        let (period, from, to): (Option<Month>, Option<Timestamp>, Option<Timestamp>) =
            (parameters.take("period")?, parameters.take("from")?, parameters.take("to")?);
        let is_whole_hour = |at: &Timestamp| at.as_micros() % 3_600_000_000 == 0;
        for (name, at) in [("from", from), ("to", to)] {
            if !at.as_ref().is_none_or(is_whole_hour) {
                return Err(Failure::invalid_field(name, "must be a whole hour of UTC, for usage is counted by them"));
            }
        }
        let range = match (period, from, to) {
            (Some(month), None, None) => ExportRange::Period(month),
            (None, Some(from), Some(to)) if to < from => {
                return Err(Failure::invalid_field("to", "must not be before from"));
            }
            (None, Some(from), to) => ExportRange::Between { from, to },
            (Some(_), ..) => return Err(Failure::invalid_field("period", "cannot stand beside from or to")),
            (None, None, _) => return Err(Failure::invalid_field("from", "is missing; or name a period")),
        };
        let limit = limit(parameters, limits::USAGE_EXPORT_ROWS_MAX, limits::USAGE_EXPORT_ROWS_MAX)?;
        let format =
            format.ok_or_else(|| Failure::invalid_field("format", "is missing: csv, ndjson or cloudevents"))?;
        Ok(Self(ExportQuery { format, organization, api, range, after: parameters.take("cursor")?, limit }))
    }
}

impl UsageExportQuery {
    /// The query of the part after this one. Nothing in it needs to be encoded.
    pub(crate) fn next(&self, cursor: &str) -> String {
        let query = &self.0;
        let (period, from, to) = match query.range {
            ExportRange::Period(month) => (Some(month.to_string()), None, None),
            ExportRange::Between { from, to } => (None, Some(from.to_string()), to.map(|to| to.to_string())),
        };
        let parts = [
            ("format", Some(query.format.as_str().to_owned())),
            ("organization", query.organization.map(|id| id.to_string())),
            ("api", query.api.as_ref().map(ToString::to_string)),
            ("period", period),
            ("from", from),
            ("to", to),
            ("limit", Some(query.limit.to_string())),
            ("cursor", Some(cursor.to_owned())),
        ];
        let parts = parts.into_iter().filter_map(|(name, value)| Some(format!("{name}={}", value?)));
        parts.collect::<Vec<_>>().join("&")
    }
}
