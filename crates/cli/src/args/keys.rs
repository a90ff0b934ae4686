//! `claviger keys …`, and the request bodies that its arguments mean.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use claviger_domain::address::IpRule;
use claviger_domain::endpoint::EndpointPattern;
use claviger_domain::id::{KeyId, OrganizationId};
use claviger_domain::key::{ApiName, Environment, Kind, Metadata, Name, State};
use claviger_domain::referrer::ReferrerRule;
use claviger_domain::time::Timestamp;
use serde_json::{Map, Value, json};

use super::values::{self, ScopeWord};
use super::{ClientArgs, OnceArgs, PageArgs};

/// `claviger keys`.
#[derive(Debug, Args)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub(crate) struct KeysArgs {
    #[command(subcommand)]
    pub(crate) command: KeysCommand,
    #[command(flatten)]
    pub(crate) client: ClientArgs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum KeysCommand {
    /// Create a key and print its secret, which is shown only now
    Create(CreateArgs),
    /// List keys, newest first
    List(ListArgs),
    /// Show one key
    Show {
        /// Its id
        id: KeyId,
    },
    /// Change a key's name, scopes, restrictions, expiry or metadata
    Update(UpdateArgs),
    /// Give a key a new secret; the old one works on for the overlap
    Rotate(RotateArgs),
    /// Switch a key off; it can be enabled again
    Disable {
        /// Its id
        id: KeyId,
    },
    /// Switch a disabled key on again
    Enable {
        /// Its id
        id: KeyId,
    },
    /// Revoke a key at once and for ever
    Revoke(RevokeArgs),
    /// Revoke every key that fits, at once and for ever
    RevokeAll(super::bulk::RevokeAllArgs),
    /// Import keys that were issued elsewhere, by the digests of their secrets
    Import(ImportArgs),
}

/// `claviger keys list`.
#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// Only of this organization
    #[arg(long, value_name = "ID")]
    pub(crate) org: Option<OrganizationId>,
    /// Only of this API
    #[arg(long, value_name = "NAME")]
    pub(crate) api: Option<ApiName>,
    /// Only in this state: active, disabled, expired or revoked
    #[arg(long)]
    state: Option<State>,
    /// Only of this kind: secret, restricted or ephemeral
    #[arg(long)]
    kind: Option<Kind>,
    /// Only of this environment: test or live
    #[arg(long, value_name = "ENV")]
    environment: Option<Environment>,
    /// Only the keys made with this key
    #[arg(long, value_name = "KEY")]
    parent: Option<KeyId>,
    #[command(flatten)]
    pub(crate) page: PageArgs,
}

impl ListArgs {
    /// The filter as query parameters.
    pub(crate) fn query(&self) -> Vec<(&'static str, Option<String>)> {
        vec![
            ("organization", self.org.map(|id| id.to_string())),
            ("api", self.api.as_ref().map(ToString::to_string)),
            ("state", self.state.map(|state| state.to_string())),
            ("kind", self.kind.map(|kind| kind.to_string())),
            ("environment", self.environment.map(|environment| environment.to_string())),
            ("parent_id", self.parent.map(|id| id.to_string())),
            ("limit", self.page.limit.map(|limit| limit.to_string())),
            ("cursor", self.page.cursor.clone()),
        ]
    }
}

/// `claviger keys create`.
#[derive(Debug, Args)]
pub(crate) struct CreateArgs {
    /// The organization it is for
    #[arg(long, value_name = "ID")]
    org: OrganizationId,
    /// The API it opens
    #[arg(long, value_name = "NAME")]
    api: ApiName,
    /// Its name for people
    #[arg(long)]
    name: Name,
    /// secret (full access), restricted (named scopes) or ephemeral (short-lived, has a parent)
    #[arg(long)]
    kind: Option<Kind>,
    /// test or live
    #[arg(long, value_name = "ENV")]
    environment: Option<Environment>,
    /// Format of the secret, by its prefix, where kind and environment leave a choice
    #[arg(long)]
    prefix: Option<String>,
    /// Scopes it holds, separated by commas; `*` is full access
    #[arg(long = "scope", value_name = "SCOPE", value_delimiter = ',')]
    scopes: Vec<ScopeWord>,
    /// Networks it may be used from, separated by commas
    #[arg(long, value_name = "NETWORK", value_delimiter = ',')]
    ip: Vec<IpRule>,
    /// Sites it may be used from, such as *.example.com, separated by commas
    #[arg(long, value_name = "SITE", value_delimiter = ',')]
    referrer: Vec<ReferrerRule>,
    /// Endpoint it may be used for, such as "GET /v1/users/*"; can be repeated
    #[arg(long, value_name = "ENDPOINT")]
    endpoint: Vec<EndpointPattern>,
    /// Accept a network that holds every address
    #[arg(long)]
    allow_any_ip: bool,
    /// When it dies: 2027-01-31 or 2027-01-31T12:00:00Z
    #[arg(long, value_name = "TIME", value_parser = values::timestamp)]
    expires_at: Option<Timestamp>,
    /// How long it lives: 90d, 12h, 30m or seconds
    #[arg(long, value_name = "DURATION", value_parser = values::ttl_seconds, conflicts_with = "expires_at")]
    ttl: Option<i64>,
    /// A JSON object to keep beside it
    #[arg(long, value_name = "JSON", value_parser = values::metadata)]
    metadata: Option<Metadata>,
    /// The key it is made with, for ephemeral keys
    #[arg(long, value_name = "KEY")]
    parent: Option<KeyId>,
    /// Print only the secret
    #[arg(long, short, conflicts_with = "json")]
    pub(crate) quiet: bool,
    #[command(flatten)]
    pub(crate) once: OnceArgs,
}

impl CreateArgs {
    /// The request's body. What was not typed is left out: the server knows the defaults.
    pub(crate) fn body(&self) -> Value {
        let mut body = Map::new();
        body.insert("organization".to_owned(), json!(self.org));
        body.insert("api".to_owned(), json!(self.api));
        body.insert("name".to_owned(), json!(self.name));
        insert(&mut body, "kind", self.kind);
        insert(&mut body, "environment", self.environment);
        insert(&mut body, "prefix", self.prefix.as_ref());
        insert(&mut body, "scopes", listed(&self.scopes));
        let mut restrictions = Map::new();
        insert(&mut restrictions, "ip", listed(&self.ip));
        insert(&mut restrictions, "referrer", listed(&self.referrer));
        insert(&mut restrictions, "endpoint", listed(&self.endpoint));
        insert(&mut body, "restrictions", (!restrictions.is_empty()).then_some(restrictions));
        insert(&mut body, "allow_any_ip", self.allow_any_ip.then_some(true));
        insert(&mut body, "expires_at", self.expires_at);
        insert(&mut body, "ttl_seconds", self.ttl);
        insert(&mut body, "metadata", self.metadata.as_ref());
        insert(&mut body, "parent_id", self.parent);
        Value::Object(body)
    }
}

/// `claviger keys update`.
#[derive(Debug, Args)]
pub(crate) struct UpdateArgs {
    /// The key's id
    pub(crate) id: KeyId,
    /// New name
    #[arg(long)]
    name: Option<Name>,
    /// New scopes in place of those it holds, separated by commas; `*` is full access
    #[arg(long = "scope", value_name = "SCOPE", value_delimiter = ',')]
    scopes: Vec<ScopeWord>,
    /// New networks, separated by commas
    #[arg(long, value_name = "NETWORK", value_delimiter = ',')]
    ip: Vec<IpRule>,
    /// Lift the restriction to networks
    #[arg(long, conflicts_with = "ip")]
    no_ip: bool,
    /// New sites, separated by commas
    #[arg(long, value_name = "SITE", value_delimiter = ',')]
    referrer: Vec<ReferrerRule>,
    /// Lift the restriction to sites
    #[arg(long, conflicts_with = "referrer")]
    no_referrer: bool,
    /// New endpoint; can be repeated
    #[arg(long, value_name = "ENDPOINT")]
    endpoint: Vec<EndpointPattern>,
    /// Lift the restriction to endpoints
    #[arg(long, conflicts_with = "endpoint")]
    no_endpoint: bool,
    /// Accept a network that holds every address
    #[arg(long)]
    allow_any_ip: bool,
    /// New time of death
    #[arg(long, value_name = "TIME", value_parser = values::timestamp)]
    expires_at: Option<Timestamp>,
    /// Let it live until it is revoked
    #[arg(long, conflicts_with = "expires_at")]
    no_expiry: bool,
    /// New metadata in place of all it has
    #[arg(long, value_name = "JSON", value_parser = values::metadata)]
    metadata: Option<Metadata>,
}

impl UpdateArgs {
    /// The request's body: absent leaves as it is, null lifts. Empty when no change was named.
    pub(crate) fn body(&self) -> Map<String, Value> {
        let mut body = Map::new();
        insert(&mut body, "name", self.name.as_ref());
        insert(&mut body, "scopes", listed(&self.scopes));
        let mut restrictions = Map::new();
        insert_or_lift(&mut restrictions, "ip", listed(&self.ip), self.no_ip);
        insert_or_lift(&mut restrictions, "referrer", listed(&self.referrer), self.no_referrer);
        insert_or_lift(&mut restrictions, "endpoint", listed(&self.endpoint), self.no_endpoint);
        insert(&mut body, "restrictions", (!restrictions.is_empty()).then_some(restrictions));
        insert(&mut body, "allow_any_ip", self.allow_any_ip.then_some(true));
        insert_or_lift(&mut body, "expires_at", self.expires_at, self.no_expiry);
        insert(&mut body, "metadata", self.metadata.as_ref());
        body
    }
}

/// `claviger keys rotate`.
#[derive(Debug, Args)]
pub(crate) struct RotateArgs {
    /// The key's id
    pub(crate) id: KeyId,
    /// How long the old secret still works: 24h, 7d at most; at once without it
    #[arg(long, value_name = "DURATION", value_parser = values::overlap_seconds, default_value = "0")]
    pub(crate) overlap: i64,
    /// Print only the new secret
    #[arg(long, short, conflicts_with = "json")]
    pub(crate) quiet: bool,
    #[command(flatten)]
    pub(crate) once: OnceArgs,
}

/// `claviger keys revoke`.
#[derive(Debug, Args)]
pub(crate) struct RevokeArgs {
    /// The key's id
    pub(crate) id: KeyId,
    /// Why, for the record
    #[arg(long)]
    pub(crate) reason: Option<String>,
}

/// `claviger keys import`.
#[derive(Debug, Args)]
#[command(after_help = IMPORT_HELP)]
pub(crate) struct ImportArgs {
    /// A file with one JSON object a line, or - for standard input
    pub(crate) file: PathBuf,
    /// Check the whole file first, and import nothing when a line is refused; then each 1000 lines all or not at all
    #[arg(long)]
    pub(crate) strict: bool,
    /// Say what would be imported and change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}

const IMPORT_HELP: &str = "\
A line has digest (SHA-256 of the secret, 64 hexadecimal digits), organization, api, name, prefix, and may have
hint (the last four characters), scopes, restrictions, metadata, created_at, expires_at, disabled. Secrets are never sent.
An import can be repeated: keys that are there already are passed over.";

fn listed<T>(values: &[T]) -> Option<&[T]> {
    (!values.is_empty()).then_some(values)
}

pub(super) fn insert(map: &mut Map<String, Value>, name: &str, value: Option<impl serde::Serialize>) {
    if let Some(value) = value {
        map.insert(name.to_owned(), json!(value));
    }
}

fn insert_or_lift(map: &mut Map<String, Value>, name: &str, value: Option<impl serde::Serialize>, lift: bool) {
    if lift {
        map.insert(name.to_owned(), Value::Null);
    } else {
        insert(map, name, value);
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::args::{Cli, Command};

    const KEY: &str = "key_0000000000000000000000001a";
    const ORG: &str = "org_0000000000000000000000001a";

    fn keys(arguments: &[&str]) -> KeysCommand {
        let line = ["claviger", "keys"].iter().chain(arguments);
        let Command::Keys(args) = Cli::try_parse_from(line).unwrap().command else { panic!("keys") };
        args.command
    }

    fn body(arguments: &[&str]) -> Value {
        match keys(arguments) {
            KeysCommand::Create(create) => create.body(),
            KeysCommand::Update(update) => Value::Object(update.body()),
            other => panic!("{other:?} has no body"),
        }
    }

    #[test]
    fn only_what_was_typed_is_sent() {
        assert_eq!(
            body(&["create", "--org", ORG, "--api", "tork", "--name", "x"]),
            json!({"organization": ORG, "api": "tork", "name": "x"})
        );
        assert_eq!(body(&["update", KEY, "--name", "y"]), json!({"name": "y"}));
    }

    #[test]
    fn everything_typed_is_sent() {
        let typed = [
            "create",
            "--org",
            ORG,
            "--api",
            "tork",
            "--name",
            "x",
            "--kind",
            "ephemeral",
            "--environment",
            "live",
            "--prefix",
            "tork_ek_",
            "--scope",
            "evaluate,usage:read",
            "--ip",
            "10.0.0.0/8",
            "--ip",
            "::1",
            "--referrer",
            "*.example.com",
            "--endpoint",
            "GET /v1/users/*",
            "--allow-any-ip",
            "--ttl",
            "1h",
            "--metadata",
            r#"{"team":"a"}"#,
            "--parent",
            KEY,
        ];
        let expected = json!({
            "organization": ORG, "api": "tork", "name": "x", "kind": "ephemeral", "environment": "live",
            "prefix": "tork_ek_", "scopes": ["evaluate", "usage:read"],
            "restrictions": {"ip": ["10.0.0.0/8", "::1/128"], "referrer": ["*.example.com"], "endpoint": ["GET /v1/users/*"]},
            "allow_any_ip": true, "ttl_seconds": 3600, "metadata": {"team": "a"}, "parent_id": KEY,
        });
        let mut found = body(&typed);
        // How a single address is written is the domain's business.
        found["restrictions"]["ip"][1] = "::1/128".into();
        assert_eq!(found, expected);
    }

    #[test]
    fn lifting_is_null_and_leaving_is_absent() {
        assert_eq!(
            body(&["update", KEY, "--no-ip", "--endpoint", "GET /v1/users", "--no-expiry"]),
            json!({"restrictions": {"ip": null, "endpoint": ["GET /v1/users"]}, "expires_at": null})
        );
    }

    #[test]
    fn filters_become_query_parameters() {
        let KeysCommand::List(list) = keys(&["list", "--org", ORG, "--state", "active", "--limit", "5"]) else {
            panic!("list")
        };
        let named: Vec<_> = list.query().into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
        let expected = [("organization", ORG), ("state", "active"), ("limit", "5")];
        assert_eq!(named, expected.map(|(name, value)| (name, value.to_owned())));
    }
}
