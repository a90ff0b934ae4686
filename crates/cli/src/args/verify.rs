//! `claviger verify`

use std::net::IpAddr;

use clap::Args;
use claviger_domain::key::ApiName;
use claviger_domain::scope::Scope;

use super::ClientArgs;

/// `claviger verify`.
#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    /// The secret as the caller presents it; `-` reads it from standard input
    #[arg(long, value_name = "SECRET", env = "CLAVIGER_KEY", hide_env_values = true)]
    pub(crate) key: String,
    /// Method of the call
    #[arg(long, value_name = "METHOD", default_value = "GET")]
    pub(crate) method: String,
    /// Path of the call, such as /v1/users/usr_123
    #[arg(long, value_name = "PATH", default_value = "/")]
    pub(crate) path: String,
    /// API the call is for [default: found by path and key]
    #[arg(long, value_name = "NAME")]
    pub(crate) api: Option<ApiName>,
    /// Address the call comes from
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) ip: Option<IpAddr>,
    /// Page the call comes from
    #[arg(long, value_name = "URL")]
    pub(crate) referrer: Option<String>,
    /// Scopes to ask for beyond the endpoint's own
    #[arg(long = "scope", value_name = "SCOPE", value_delimiter = ',')]
    pub(crate) scopes: Vec<Scope>,
    /// How much the call counts
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) cost: Option<u32>,
    /// Refuse to answer from before this revision
    #[arg(long, value_name = "REVISION", value_parser = clap::value_parser!(i64).range(0..))]
    pub(crate) at_least_revision: Option<i64>,
    #[command(flatten)]
    pub(crate) client: ClientArgs,
}
