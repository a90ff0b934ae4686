//! Which alerts to list.

use claviger_app::{AlertFilter, PageRequest};
use claviger_domain::id::AlertId;
use claviger_domain::key::ApiName;
use utoipa::IntoParams;

use super::{next_page, page};
use crate::error::Failure;
use crate::query::{FromQuery, Parameters};

/// Which alerts to list.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "the document's side of AlertList")]
pub(crate) struct AlertListParameters {
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

/// Which alerts of the deployment to list.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "the document's side of AdminAlertList")]
pub(crate) struct AdminAlertListParameters {
    /// Only of this organization.
    organization: Option<String>,
    /// Only of this api.
    api: Option<String>,
}

/// A filter and a page of alerts.
pub(crate) struct AlertList {
    pub(crate) filter: AlertFilter,
    pub(crate) page: PageRequest<AlertId>,
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
            key: parameters.take("key")?,
            kind: parameters.take("kind")?,
            is_open,
            ..AlertFilter::default()
        };
        Ok(Self { filter, page: page(parameters)? })
    }
}

impl AlertList {
    /// Path and query of the page after the one that ends with this alert.
    pub(crate) fn next_page(&self, path: &str, cursor: &str) -> String {
        let filter = &self.filter;
        let state = filter.is_open.map(|is_open| if is_open { "open" } else { "closed" }.to_owned());
        next_page(
            path,
            self.page.limit,
            cursor,
            [
                ("organization", filter.organization.map(|id| id.to_string())),
                ("api", filter.api.as_ref().map(ApiName::to_string)),
                ("key", filter.key.map(|id| id.to_string())),
                ("kind", filter.kind.map(|kind| kind.to_string())),
                ("state", state),
            ],
        )
    }
}

/// Like [`AlertList`], over all organizations and apis.
pub(crate) struct AdminAlertList(pub(crate) AlertList);

impl FromQuery for AdminAlertList {
    fn from_query(parameters: &mut Parameters) -> Result<Self, Failure> {
        let mut list = AlertList::from_query(parameters)?;
        list.filter.organization = parameters.take("organization")?;
        list.filter.api = parameters.take("api")?;
        Ok(Self(list))
    }
}
