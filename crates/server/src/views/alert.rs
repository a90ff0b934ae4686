//! Alerts as the outside sees them.

use claviger_domain::alert::{Alert, AlertKind};
use claviger_domain::audit::Author;
use claviger_domain::id::{AlertId, KeyId, OrganizationId};
use claviger_domain::key::ApiName;
use claviger_domain::time::Timestamp;
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

/// Something unusual, or about to happen.
#[derive(Serialize, ToSchema)]
#[schema(as = Alert)]
pub(crate) struct AlertView {
    /// Its id.
    #[schema(value_type = String, example = "alrt_01kaf3w8x9e6y8m5n4q2r7s1t0")]
    id: AlertId,
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

impl AlertView {
    /// The alert as its organization sees it: which of the operator's tokens closed it is the operator's own affair.
    pub(crate) fn of(alert: Alert) -> Self {
        let mut view = Self::whole(alert);
        if let Some(Author::AdminToken(_)) = view.closed_by {
            view.closed_by = Some(Author::Operator);
        }
        view
    }

    fn whole(alert: Alert) -> Self {
        let Alert { id, key, kind, opened_at, last_repeated_at, closed, detail, .. } = alert;
        let state = if closed.is_some() { "closed" } else { "open" };
        let (closed_at, closed_by) = closed.unzip();
        Self { id, key, kind, state, opened_at, last_repeated_at, closed_at, closed_by, detail }
    }
}

/// An alert as the operator sees it.
#[derive(Serialize, ToSchema)]
#[schema(as = AdminAlert)]
pub(crate) struct AdminAlertView {
    #[serde(flatten)]
    alert: AlertView,
    /// Whose.
    #[schema(value_type = String)]
    organization: OrganizationId,
    /// On which api.
    #[schema(value_type = String)]
    api: ApiName,
}

impl From<Alert> for AdminAlertView {
    fn from(alert: Alert) -> Self {
        let (organization, api) = (alert.organization, alert.api.clone());
        Self { alert: AlertView::whole(alert), organization, api }
    }
}
