//! `claviger webhooks …` and `claviger mail …`

use std::str::FromStr;

use clap::{Args, Subcommand};
use claviger_domain::event::EventFilter;
use claviger_domain::id::{EventId, OrganizationId, WebhookId};
use claviger_domain::key::Name;
use claviger_domain::mail::EmailAddress;
use claviger_domain::time::Timestamp;
use serde::Serialize;

use super::{ClientArgs, OnceArgs, PageArgs, values};

/// `claviger webhooks`.
#[derive(Debug, Args)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub(crate) struct WebhooksArgs {
    #[command(subcommand)]
    pub(crate) command: WebhooksCommand,
    #[command(flatten)]
    pub(crate) client: ClientArgs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum WebhooksCommand {
    /// Create an endpoint and print its signing secret, which is shown only now
    Create(CreateWebhookArgs),
    /// List endpoints, newest first
    List {
        /// Only those of this organization
        #[arg(long, value_name = "ID")]
        org: Option<OrganizationId>,
        #[command(flatten)]
        page: PageArgs,
    },
    /// Show one endpoint
    Show {
        /// Its id
        id: WebhookId,
    },
    /// Change an endpoint
    Update(UpdateWebhookArgs),
    /// Send it events again, after it was disabled or answered 410
    Enable {
        /// Its id
        id: WebhookId,
    },
    /// Send it nothing until it is enabled
    Disable {
        /// Its id
        id: WebhookId,
    },
    /// Give it a new signing secret and print it; for a while everything is signed with both
    RotateSecret {
        /// Its id
        id: WebhookId,
        /// How long the old secret signs too: 12h, 7d; 0 ends that at once [default: 1d]
        #[arg(long, value_name = "DURATION", value_parser = values::overlap_seconds)]
        overlap: Option<i64>,
        /// Print only the secret
        #[arg(long, short, conflicts_with = "json")]
        quiet: bool,
        #[command(flatten)]
        once: OnceArgs,
    },
    /// Delete it and its log
    Delete {
        /// Its id
        id: WebhookId,
    },
    /// Send it a ping
    Test {
        /// Its id
        id: WebhookId,
    },
    /// List what was sent to it, newest first
    Deliveries {
        /// Its id
        id: WebhookId,
        /// Only those that are pending, delivered or failed
        #[arg(long, value_name = "STATE", value_parser = ["pending", "delivered", "failed"])]
        state: Option<String>,
        #[command(flatten)]
        page: PageArgs,
    },
    /// Show one delivery: what is sent, and what each attempt led to
    Delivery {
        /// The endpoint's id
        id: WebhookId,
        /// The event's id
        event: EventId,
    },
    /// Send an event, or those of a time that failed, once more
    Replay(ReplayArgs),
}

/// `claviger webhooks create`.
#[derive(Debug, Args)]
pub(crate) struct CreateWebhookArgs {
    /// Where it is
    #[arg(long, value_name = "URL")]
    pub(crate) url: String,
    /// Types of events to send, separated by commas; * is all
    #[arg(long = "event", value_name = "TYPE", value_delimiter = ',', required = true)]
    pub(crate) events: Vec<EventWord>,
    /// The organization whose events it is told [default: everybody's]
    #[arg(long, value_name = "ID")]
    pub(crate) org: Option<OrganizationId>,
    /// What to call it
    #[arg(long, value_name = "TEXT")]
    pub(crate) description: Option<Name>,
    /// Print only the secret
    #[arg(long, short, conflicts_with = "json")]
    pub(crate) quiet: bool,
    #[command(flatten)]
    pub(crate) once: OnceArgs,
}

/// `claviger webhooks update`.
#[derive(Debug, Args)]
pub(crate) struct UpdateWebhookArgs {
    /// Its id
    pub(crate) id: WebhookId,
    /// Where it is
    #[arg(long, value_name = "URL")]
    pub(crate) url: Option<String>,
    /// Types of events to send, instead of those before
    #[arg(long = "event", value_name = "TYPE", value_delimiter = ',')]
    pub(crate) events: Option<Vec<EventWord>>,
    /// What to call it
    #[arg(long, value_name = "TEXT")]
    pub(crate) description: Option<Name>,
    /// Call it nothing
    #[arg(long, conflicts_with = "description")]
    pub(crate) no_description: bool,
}

/// `claviger webhooks replay`.
#[derive(Debug, Args)]
pub(crate) struct ReplayArgs {
    /// The endpoint's id
    pub(crate) id: WebhookId,
    /// This event, whatever became of it
    #[arg(long, value_name = "ID", required_unless_present = "since", conflicts_with_all = ["since", "until", "delivered_too"])]
    pub(crate) event: Option<EventId>,
    /// What was queued since: 2027-01-31 or 2027-01-31T12:00:00Z
    #[arg(long, value_name = "TIME", value_parser = values::timestamp)]
    pub(crate) since: Option<Timestamp>,
    /// What was queued before
    #[arg(long, value_name = "TIME", value_parser = values::timestamp)]
    pub(crate) until: Option<Timestamp>,
    /// Also what arrived
    #[arg(long)]
    pub(crate) delivered_too: bool,
}

/// A type of event, or `*`.
#[derive(Clone, Debug, Serialize)]
#[serde(transparent)]
pub(crate) struct EventWord(String);

impl FromStr for EventWord {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        EventFilter::try_from(vec![text.to_owned()]).map_err(|error| error.to_string())?;
        Ok(Self(text.to_owned()))
    }
}

/// `claviger mail`.
#[derive(Debug, Args)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub(crate) struct MailArgs {
    #[command(subcommand)]
    pub(crate) command: MailCommand,
    #[command(flatten)]
    pub(crate) client: ClientArgs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum MailCommand {
    /// Send a mail that says that mails arrive
    Test {
        /// To whom
        to: EmailAddress,
    },
}
