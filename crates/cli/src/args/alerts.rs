//! `claviger alerts …`

use clap::{Args, Subcommand, ValueEnum};
use claviger_domain::alert::AlertKind;
use claviger_domain::id::{AlertId, KeyId, OrganizationId};
use claviger_domain::key::ApiName;

use super::{ClientArgs, PageArgs};

/// `claviger alerts`.
#[derive(Debug, Args)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub(crate) struct AlertsArgs {
    #[command(subcommand)]
    pub(crate) command: AlertsCommand,
    #[command(flatten)]
    pub(crate) client: ClientArgs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum AlertsCommand {
    /// List alerts, newest first
    List(AlertListArgs),
    /// Show one alert, with the figures that it came from
    Show {
        /// Its id
        id: AlertId,
    },
    /// Close an alert: it does not open again for the same cause
    Close {
        /// Its id
        id: AlertId,
    },
}

/// `claviger alerts list`.
#[derive(Debug, Args)]
pub(crate) struct AlertListArgs {
    /// Only of this organization
    #[arg(long, value_name = "ID")]
    org: Option<OrganizationId>,
    /// Only of this API
    #[arg(long, value_name = "NAME")]
    api: Option<ApiName>,
    /// Only about this key
    #[arg(long, value_name = "ID")]
    key: Option<KeyId>,
    /// Only of this kind, such as `usage_spike`
    #[arg(long, value_name = "KIND")]
    kind: Option<AlertKind>,
    /// Only those that are open, or closed
    #[arg(long, value_enum)]
    state: Option<AlertState>,
    #[command(flatten)]
    page: PageArgs,
}

/// Whether an alert is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum AlertState {
    Open,
    Closed,
}

impl AlertListArgs {
    /// The filter as query parameters.
    pub(crate) fn query(&self) -> Vec<(&'static str, Option<String>)> {
        let state = self.state.map(|state| match state {
            AlertState::Open => "open".to_owned(),
            AlertState::Closed => "closed".to_owned(),
        });
        vec![
            ("organization", self.org.map(|id| id.to_string())),
            ("api", self.api.as_ref().map(ToString::to_string)),
            ("key", self.key.map(|id| id.to_string())),
            ("kind", self.kind.map(|kind| kind.to_string())),
            ("state", state),
            ("limit", self.page.limit.map(|limit| limit.to_string())),
            ("cursor", self.page.cursor.clone()),
        ]
    }
}
