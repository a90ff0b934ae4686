//! `claviger keys revoke-all`

use clap::{ArgGroup, Args};
use claviger_domain::id::OrganizationId;
use claviger_domain::key::{ApiName, Creator, Environment, Kind};
use claviger_domain::time::Timestamp;
use serde_json::{Map, Value};

use super::keys::insert;
use super::values;

/// Which keys to revoke; all that is named must fit.
#[derive(Debug, Args)]
// The server refuses the others as well, in the words of its JSON.
#[command(group(ArgGroup::new("whose").args(["org", "created_by", "kind", "issued_before"]).required(true).multiple(true)))]
pub(crate) struct RevokeAllArgs {
    /// Keys of this organization
    #[arg(long, value_name = "ID")]
    org: Option<OrganizationId>,
    /// Keys of this API
    #[arg(long, value_name = "NAME")]
    api: Option<ApiName>,
    /// Keys made by `operator`, or that come from this key: made with it, with those, and so on; not the key itself
    #[arg(long, value_name = "KEY")]
    created_by: Option<Creator>,
    /// Keys of this kind: secret, restricted or ephemeral
    #[arg(long)]
    kind: Option<Kind>,
    /// Keys of this environment: test or live
    #[arg(long, value_name = "ENV")]
    environment: Option<Environment>,
    /// Keys made before: 2027-01-31 or 2027-01-31T12:00:00Z
    #[arg(long, value_name = "TIME", value_parser = values::timestamp)]
    issued_before: Option<Timestamp>,
    /// Why, for the record
    #[arg(long)]
    reason: Option<String>,
    /// Show what would be revoked and revoke nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Do not ask
    #[arg(long, short, conflicts_with = "dry_run")]
    pub(crate) yes: bool,
}

impl RevokeAllArgs {
    /// The request's body.
    pub(crate) fn body(&self, dry_run: bool) -> Value {
        let mut body = Map::new();
        insert(&mut body, "organization", self.org);
        insert(&mut body, "api", self.api.as_ref());
        insert(&mut body, "created_by", self.created_by);
        insert(&mut body, "kind", self.kind);
        insert(&mut body, "environment", self.environment);
        insert(&mut body, "issued_before", self.issued_before);
        insert(&mut body, "reason", self.reason.as_ref());
        body.insert("dry_run".to_owned(), dry_run.into());
        Value::Object(body)
    }
}
