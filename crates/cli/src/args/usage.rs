//! `claviger usage …`

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use claviger_domain::day::{Day, Month};
use claviger_domain::id::OrganizationId;
use claviger_domain::key::ApiName;
use claviger_domain::time::Timestamp;

use super::{ClientArgs, PageArgs, values};

/// `claviger usage`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(crate) struct UsageArgs {
    #[command(subcommand)]
    pub(crate) command: Option<UsageCommand>,
    /// The organization
    #[arg(long, value_name = "ID", required = true)]
    pub(crate) org: Option<OrganizationId>,
    /// The API
    #[arg(long, value_name = "NAME", required = true)]
    pub(crate) api: Option<ApiName>,
    /// The billing period that begins in this month, such as 2026-10 [default: the present one]
    #[arg(long, value_name = "MONTH", conflicts_with = "from")]
    pub(crate) period: Option<Month>,
    /// Instead of a period: the first day, such as 2026-10-01
    #[arg(long, value_name = "DAY")]
    pub(crate) from: Option<Day>,
    /// The last day [default: today]
    #[arg(long, value_name = "DAY", requires = "from")]
    pub(crate) to: Option<Day>,
    #[command(flatten)]
    pub(crate) client: ClientArgs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum UsageCommand {
    /// List what each organization used of an API in its billing period
    List(UsageListArgs),
    /// Write usage out for other programs: hours that are over, live keys only
    Export(UsageExportArgs),
    /// List who presents keys that are nobody's, by prefix and network
    UnknownKeys(UnknownKeysArgs),
}

/// `claviger usage list`.
#[derive(Debug, Args)]
pub(crate) struct UsageListArgs {
    /// The API
    #[arg(long, value_name = "NAME")]
    pub(crate) api: ApiName,
    /// The billing periods that begin in this month, such as 2026-10 [default: the present ones]
    #[arg(long, value_name = "MONTH")]
    pub(crate) period: Option<Month>,
    #[command(flatten)]
    pub(crate) page: PageArgs,
    #[command(flatten)]
    pub(crate) client: ClientArgs,
}

/// `claviger usage unknown-keys`.
#[derive(Debug, Args)]
pub(crate) struct UnknownKeysArgs {
    /// Only those that claimed to be for this API
    #[arg(long, value_name = "NAME")]
    pub(crate) api: Option<ApiName>,
    /// Since the hour of: 2027-01-31 or 2027-01-31T12:00:00Z [default: the last 24 hours]
    #[arg(long, value_name = "TIME", value_parser = values::timestamp)]
    pub(crate) since: Option<Timestamp>,
    /// Before [default: now]
    #[arg(long, value_name = "TIME", value_parser = values::timestamp)]
    pub(crate) until: Option<Timestamp>,
    /// At most so many, those with the most calls first [default: 50]
    #[arg(long, value_name = "N")]
    pub(crate) limit: Option<u32>,
    #[command(flatten)]
    pub(crate) client: ClientArgs,
}

/// `claviger usage export`.
#[derive(Debug, Args)]
pub(crate) struct UsageExportArgs {
    /// How it is written; cloudevents are of billable units only, for a meter
    #[arg(long, value_enum)]
    pub(crate) format: Format,
    /// Only of this organization
    #[arg(long, value_name = "ID")]
    pub(crate) org: Option<OrganizationId>,
    /// Only of this API
    #[arg(long, value_name = "NAME")]
    pub(crate) api: Option<ApiName>,
    /// The billing period of each organization that begins in this month, such as 2026-10
    #[arg(long, value_name = "MONTH", required_unless_present = "from", conflicts_with = "from")]
    pub(crate) period: Option<Month>,
    /// Instead of a period, since: 2027-01-31 or 2027-01-31T12:00:00Z, a whole hour
    #[arg(long, value_name = "TIME", value_parser = values::timestamp)]
    pub(crate) from: Option<Timestamp>,
    /// Before [default: now]
    #[arg(long, value_name = "TIME", value_parser = values::timestamp, requires = "from")]
    pub(crate) to: Option<Timestamp>,
    /// Write to this file, which must not be there yet [default: standard output]
    pub(crate) file: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) client: ClientArgs,
}

/// How an export is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    Csv,
    Ndjson,
    #[value(name = "cloudevents")]
    CloudEvents,
}

impl Format {
    /// The word that the server knows.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Csv => "csv",
            Self::Ndjson => "ndjson",
            Self::CloudEvents => "cloudevents",
        }
    }
}
