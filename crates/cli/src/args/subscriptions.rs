//! `claviger subscriptions`.

use clap::{Args, Subcommand, ValueEnum};
use claviger_domain::id::OrganizationId;
use claviger_domain::key::ApiName;
use claviger_domain::plan::PlanName;
use claviger_domain::subscription::BillingState;
use claviger_domain::time::Timestamp;

use super::{ClientArgs, values};

#[derive(Debug, Args)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub(crate) struct SubscriptionsArgs {
    #[command(subcommand)]
    pub(crate) command: SubscriptionsCommand,
    #[command(flatten)]
    pub(crate) client: ClientArgs,
}

/// Which subscription.
#[derive(Debug, Args)]
pub(crate) struct PlaceArgs {
    /// The organization
    #[arg(long, value_name = "ORG")]
    pub(crate) org: OrganizationId,
    /// The API, by name
    #[arg(long, value_name = "NAME")]
    pub(crate) api: ApiName,
}

#[derive(Debug, Subcommand)]
pub(crate) enum SubscriptionsCommand {
    /// Set an organization's plan or billing state; it acts on the next call
    #[command(group = clap::ArgGroup::new("change").required(true).multiple(true))]
    Set {
        #[command(flatten)]
        place: PlaceArgs,
        /// The plan
        #[arg(long, value_name = "NAME", group = "change")]
        plan: Option<PlanName>,
        /// How it stands with the bill: trialing, active, past_due, canceled or suspended
        #[arg(long, value_name = "STATE", group = "change")]
        state: Option<BillingState>,
        /// Whether keys work at all
        #[arg(long, value_name = "on|off", group = "change")]
        api_access: Option<Switch>,
        /// The day of the month on which billing periods begin, 1 to 31; `none` is calendar months
        #[arg(long, value_name = "DAY", group = "change", value_parser = values::anchor_day)]
        anchor_day: Option<values::Anchor>,
        /// When it happened [default: now]; what is older than what is known changes nothing
        #[arg(long, value_name = "TIME", value_parser = values::timestamp)]
        event_at: Option<Timestamp>,
    },
    /// Show what an organization has of an API
    Show(PlaceArgs),
    /// List an organization's subscriptions
    List {
        /// The organization
        #[arg(long, value_name = "ORG")]
        org: OrganizationId,
    },
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Switch {
    On,
    Off,
}
