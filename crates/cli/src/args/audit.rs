//! `claviger audit …`

use std::path::PathBuf;

use clap::{Args, Subcommand};
use claviger_domain::audit::{Action, Author, Head};
use claviger_domain::id::OrganizationId;
use claviger_domain::time::Timestamp;

use super::{ClientArgs, PageArgs, values};

/// `claviger audit`.
#[derive(Debug, Args)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub(crate) struct AuditArgs {
    #[command(subcommand)]
    pub(crate) command: AuditCommand,
    #[command(flatten)]
    pub(crate) client: ClientArgs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum AuditCommand {
    /// List what was done, who signed in and who was refused, newest first
    List(AuditListArgs),
    /// Show one event, with what it changed
    Show {
        /// Its number
        #[arg(value_parser = clap::value_parser!(i64).range(1..i64::MAX))]
        number: i64,
    },
    /// Check that nothing in the log was altered, left out or put in between
    Verify(AuditVerifyArgs),
    /// Write the log out, oldest first, one JSON object a line
    Export(AuditExportArgs),
}

/// `claviger audit list`.
#[derive(Debug, Args)]
pub(crate) struct AuditListArgs {
    /// Only what was done to things of this organization, or by its members
    #[arg(long, value_name = "ID")]
    org: Option<OrganizationId>,
    /// Only what `operator`, `system`, `unknown`, or this key, admin token or member did
    #[arg(long, value_name = "WHO")]
    actor: Option<Author>,
    /// Only this sort, such as key.revoked
    #[arg(long, value_name = "WHAT")]
    action: Option<Action>,
    /// Only what was done to this id or API; of sign-ins and refusals, the admin token or `admin_api`
    #[arg(long, value_name = "ID")]
    target: Option<String>,
    /// Only since: 2027-01-31 or 2027-01-31T12:00:00Z
    #[arg(long, value_name = "TIME", value_parser = values::timestamp)]
    since: Option<Timestamp>,
    /// Only before
    #[arg(long, value_name = "TIME", value_parser = values::timestamp)]
    until: Option<Timestamp>,
    #[command(flatten)]
    page: PageArgs,
}

impl AuditListArgs {
    /// The filter as query parameters.
    pub(crate) fn query(&self) -> Vec<(&'static str, Option<String>)> {
        vec![
            ("organization", self.org.map(|id| id.to_string())),
            ("actor", self.actor.map(|actor| actor.to_string())),
            ("action", self.action.map(|action| action.as_str().to_owned())),
            ("target", self.target.clone()),
            ("since", self.since.map(|at| at.to_string())),
            ("until", self.until.map(|at| at.to_string())),
            ("limit", self.page.limit.map(|limit| limit.to_string())),
            ("cursor", self.page.cursor.clone()),
        ]
    }
}

/// `claviger audit verify`.
#[derive(Debug, Args)]
pub(crate) struct AuditVerifyArgs {
    /// Event that was noted down before and must still be there, as this command prints it
    #[arg(long, value_name = "NUMBER:HASH")]
    pub(crate) expect: Option<Head>,
    /// Begin after this event, as for an export that does not begin with the first; it was checked before
    #[arg(long, value_name = "NUMBER:HASH")]
    pub(crate) after: Option<Head>,
    /// Check an exported file instead of a server's log; `-` reads standard input
    #[arg(long, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
}

/// `claviger audit export`.
#[derive(Debug, Args)]
pub(crate) struct AuditExportArgs {
    /// Go on after this event; a file that exists is then added to
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(i64).range(0..))]
    pub(crate) after: Option<i64>,
    /// Where to write [default: standard output]
    pub(crate) file: Option<PathBuf>,
}
