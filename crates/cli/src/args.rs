//! What was typed. Values are parsed here, once, into what they mean; what a command then does with them
//! stands in `commands/` and the lifetime modules.

pub(crate) mod alerts;
pub(crate) mod audit;
pub(crate) mod bulk;
pub(crate) mod keys;
pub(crate) mod members;
pub(crate) mod subscriptions;
pub(crate) mod usage;
pub(crate) mod values;
pub(crate) mod verify;
pub(crate) mod webhooks;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::error::{ContextKind, ContextValue};
use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;
use claviger_app::{Database, DatabaseError};
use claviger_courier::{MailerError, SmtpUrl};
use claviger_domain::address::{ForwardingHeader, IpRule};
use claviger_domain::id::{AdminTokenId, OrganizationId, VerifierId};
use claviger_domain::key::{ApiName, Name};
use claviger_domain::mask::masked;
use claviger_domain::period::TimeZone;

use crate::config::{self, LogFormat, LogLevel, Settings};

/// API keys for your customers: issue, restrict, rotate, revoke, and verify in microseconds.
#[derive(Debug, Parser)]
#[command(
    name = "claviger",
    version,
    max_term_width = 100,
    propagate_version = false,
    subcommand_required = true,
    arg_required_else_help = true,
    after_help = "See it work:  claviger demo\nStart:        claviger init, then claviger serve, then claviger apply FILE"
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The same mistake, told without what may be a secret: what is printed may be kept, by a build server for one.
pub(crate) fn without_secrets(mut error: clap::Error) -> clap::Error {
    for kind in [ContextKind::InvalidValue, ContextKind::InvalidArg, ContextKind::InvalidSubcommand] {
        if let Some(ContextValue::String(typed)) = error.get(kind)
            && let shown = masked(typed)
            && shown != *typed
        {
            error.insert(kind, ContextValue::String(shown));
            // How to type it so that it fits would repeat it.
            error.remove(ContextKind::Suggested);
        }
    }
    error
}

/// The commands, in the order in which a newcomer meets them.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run everything with sample APIs and keys to try, and leave nothing behind
    Demo(DemoArgs),
    /// Write a commented config file and a first API definition
    Init(InitArgs),
    /// Run the server
    Serve(ServeArgs),
    /// Define APIs from files, showing what changes
    Apply(ApplyArgs),
    /// Show the APIs that are defined
    Apis(ApisArgs),
    /// Manage organizations, the customers' accounts
    Orgs(OrgsArgs),
    /// Manage members, the people of an organization
    Members(members::MembersArgs),
    /// Invite people into an organization
    Invitations(members::InvitationsArgs),
    /// Set and show organizations' plans and billing states
    Subscriptions(subscriptions::SubscriptionsArgs),
    /// Manage API keys
    Keys(keys::KeysArgs),
    /// Ask whether a key may make a call; exits with 0 when it may, 1 when not
    Verify(verify::VerifyArgs),
    /// Show and export what organizations use
    Usage(usage::UsageArgs),
    /// Show and close alerts: what is unusual about keys, or about to happen to them
    Alerts(alerts::AlertsArgs),
    /// Show, verify and export what was done, by whom
    Audit(audit::AuditArgs),
    /// Manage webhook endpoints: programs that are told what happens, as it happens
    Webhooks(webhooks::WebhooksArgs),
    /// See whether mails arrive
    Mail(webhooks::MailArgs),
    /// Manage verifiers: API servers and proxies that ask for verdicts over HTTP
    Verifiers(VerifiersArgs),
    /// Manage admin tokens: the operator's access over HTTP
    AdminTokens(AdminTokensArgs),
    /// Print a completion script for a shell
    Completions {
        /// The shell to write for
        shell: Shell,
    },
    /// Print the OpenAPI document
    #[command(hide = true)]
    Openapi,
}

/// `claviger serve`.
#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    #[command(flatten)]
    pub(crate) data: DataArgs,
    /// Config file [default: claviger.toml in the data directory, if there is one]
    #[arg(long, value_name = "FILE", env = "CLAVIGER_CONFIG", hide_env_values = true)]
    pub(crate) config: Option<PathBuf>,
    #[command(flatten)]
    settings: SettingsArgs,
    /// Print one line of JSON with the addresses, once everything is ready
    #[arg(long)]
    pub(crate) json: bool,
}

/// Where the server keeps everything.
#[derive(Debug, Args)]
pub(crate) struct DataArgs {
    /// Data directory; made when it does not exist
    #[arg(
        long = "data",
        value_name = "DIR",
        env = "CLAVIGER_DATA",
        hide_env_values = true,
        default_value = "./claviger-data"
    )]
    pub(crate) directory: PathBuf,
}

#[derive(Debug, Args)]
struct SettingsArgs {
    /// Public address: customers [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDRESS", env = "CLAVIGER_LISTEN", hide_env_values = true, value_parser = config::parse_listen)]
    listen: Option<SocketAddr>,
    /// Internal address: API servers, proxies, operators, monitoring [default: 127.0.0.1:8081]
    #[arg(long, value_name = "ADDRESS", env = "CLAVIGER_INTERNAL_LISTEN", hide_env_values = true, value_parser = config::parse_listen)]
    internal_listen: Option<SocketAddr>,
    /// PostgreSQL database, such as postgres://claviger@db.internal/claviger; the environment variable keeps a
    /// password out of the process list [default: claviger.db in the data directory]
    #[arg(long, value_name = "URL", env = "CLAVIGER_DATABASE_URL", hide_env_values = true, value_parser = parse_database)]
    database_url: Option<Result<Database, DatabaseError>>,
    /// SMTP server, such as smtps://claviger:password@mail.example.com; the environment variable keeps a password out of the
    /// process list [default: mails are written into mail/ in the data directory]
    #[arg(long, value_name = "URL", env = "CLAVIGER_SMTP_URL", hide_env_values = true, value_parser = parse_smtp)]
    smtp_url: Option<Result<SmtpUrl, MailerError>>,
    /// Networks whose forwarding header is believed, separated by commas
    #[arg(
        long,
        value_name = "NETWORK",
        env = "CLAVIGER_TRUSTED_PROXIES",
        hide_env_values = true,
        value_delimiter = ','
    )]
    trusted_proxies: Option<Vec<IpRule>>,
    /// Header in which trusted proxies name the client: x-forwarded-for or forwarded
    #[arg(long, value_name = "HEADER", env = "CLAVIGER_FORWARDING_HEADER", hide_env_values = true, value_parser = config::parse_forwarding_header)]
    forwarding_header: Option<ForwardingHeader>,
    /// CPU cores that verify requests [default: all]
    #[arg(long, value_name = "N", env = "CLAVIGER_CORES", hide_env_values = true, value_parser = values::cores)]
    cores: Option<usize>,
    /// How much to log
    #[arg(long, value_name = "LEVEL", env = "CLAVIGER_LOG_LEVEL", hide_env_values = true)]
    log_level: Option<LogLevel>,
    /// What a log line looks like
    #[arg(long, value_name = "FORMAT", env = "CLAVIGER_LOG_FORMAT", hide_env_values = true)]
    log_format: Option<LogFormat>,
}

impl ServeArgs {
    /// What flags and environment say; clap has already let flags win.
    pub(crate) fn settings(&self) -> Result<Settings, String> {
        let typed = &self.settings;
        let told = |flag: &str, error: &dyn std::fmt::Display| format!("{flag}: {error}");
        Ok(Settings {
            listen: typed.listen,
            internal_listen: typed.internal_listen,
            database: typed.database_url.clone().transpose().map_err(|error| told("--database-url", &error))?,
            smtp_url: typed.smtp_url.clone().transpose().map_err(|error| told("--smtp-url", &error))?,
            trusted_proxies: typed.trusted_proxies.clone(),
            forwarding_header: typed.forwarding_header,
            cores: typed.cores,
            log_level: typed.log_level,
            log_format: typed.log_format,
            ..Settings::default()
        })
    }
}

/// Leaves a mistake for later: the parser's own report of it would repeat the URL, and with it a password.
#[expect(clippy::unnecessary_wraps, reason = "the outer result is the parser's, the inner one is what it parsed")]
fn parse_database(text: &str) -> Result<Result<Database, DatabaseError>, Infallible> {
    Ok(text.parse())
}

/// The same, for the same reason.
#[expect(clippy::unnecessary_wraps, reason = "the outer result is the parser's, the inner one is what it parsed")]
fn parse_smtp(text: &str) -> Result<Result<SmtpUrl, MailerError>, Infallible> {
    Ok(text.parse())
}

/// `claviger demo`.
#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// Data directory to use and keep [default: a temporary one, removed at the end]
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// Public address; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080", value_parser = config::parse_listen)]
    pub(crate) listen: SocketAddr,
    /// Internal address; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8081", value_parser = config::parse_listen)]
    pub(crate) internal_listen: SocketAddr,
    /// Networks whose forwarding header is believed, separated by commas
    #[arg(long, value_name = "NETWORK", value_delimiter = ',')]
    pub(crate) trusted_proxies: Option<Vec<IpRule>>,
    /// Header in which trusted proxies name the client: x-forwarded-for or forwarded
    #[arg(long, value_name = "HEADER", value_parser = config::parse_forwarding_header)]
    pub(crate) forwarding_header: Option<ForwardingHeader>,
    /// Print one line of JSON with addresses and keys, once everything is ready
    #[arg(long)]
    pub(crate) json: bool,
}

/// `claviger init`.
#[derive(Debug, Args)]
pub(crate) struct InitArgs {
    #[command(flatten)]
    pub(crate) data: DataArgs,
    /// Overwrite files that exist
    #[arg(long)]
    pub(crate) force: bool,
    /// Print the paths as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Which server the client commands talk to, and how they answer.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Server and output")]
pub(crate) struct ClientArgs {
    /// Data directory of the server on this machine, reached by its socket
    #[arg(
        long,
        value_name = "DIR",
        env = "CLAVIGER_DATA",
        hide_env_values = true,
        default_value = "./claviger-data",
        global = true
    )]
    pub(crate) data: PathBuf,
    /// Internal address of a server elsewhere, such as http://10.0.0.5:8081; needs a token
    #[arg(long, value_name = "URL", env = "CLAVIGER_SERVER", hide_env_values = true, global = true)]
    pub(crate) server: Option<String>,
    /// Admin token for --server; the environment variable keeps it out of the process list
    #[arg(long, value_name = "TOKEN", env = "CLAVIGER_TOKEN", hide_env_values = true, global = true)]
    pub(crate) token: Option<String>,
    /// Print the server's own JSON, one document
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

/// How a command that creates something is told from its repetition.
#[derive(Debug, Args)]
pub(crate) struct OnceArgs {
    /// Makes it safe to repeat: for a day, the same command with the same key creates nothing more and prints the
    /// same answer again
    #[arg(long, value_name = "KEY")]
    pub(crate) idempotency_key: Option<String>,
}

/// A page of a list.
#[derive(Debug, Args)]
pub(crate) struct PageArgs {
    /// Rows to show, at most 200
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=200))]
    pub(crate) limit: Option<u32>,
    /// Where to go on, as the page before said
    #[arg(long)]
    pub(crate) cursor: Option<String>,
}

/// `claviger apply`.
#[derive(Debug, Args)]
pub(crate) struct ApplyArgs {
    /// Definition files; `-` reads standard input
    #[arg(value_name = "FILE", required = true)]
    pub(crate) files: Vec<PathBuf>,
    /// Show what would change and change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    #[command(flatten)]
    pub(crate) client: ClientArgs,
}

/// `claviger apis`.
#[derive(Debug, Args)]
pub(crate) struct ApisArgs {
    #[command(subcommand)]
    pub(crate) command: Option<ApisCommand>,
    #[command(flatten)]
    pub(crate) client: ClientArgs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ApisCommand {
    /// List the APIs (what `claviger apis` alone does)
    List,
    /// Show one API: its key formats, scopes and endpoints
    Show {
        /// Its name
        name: ApiName,
    },
}

/// `claviger orgs`.
#[derive(Debug, Args)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub(crate) struct OrgsArgs {
    #[command(subcommand)]
    pub(crate) command: OrgsCommand,
    #[command(flatten)]
    pub(crate) client: ClientArgs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum OrgsCommand {
    /// Create an organization
    Create {
        /// Its name for people
        name: Name,
        /// Where its days and billing periods begin, such as Europe/Berlin
        #[arg(long, value_name = "ZONE", default_value = "UTC")]
        time_zone: TimeZone,
        /// Print only the id
        #[arg(long, short, conflicts_with = "json")]
        quiet: bool,
        #[command(flatten)]
        once: OnceArgs,
    },
    /// List organizations, newest first
    List(PageArgs),
    /// Show one organization
    Show {
        /// Its id
        id: OrganizationId,
    },
    /// Rename it, or move it to another time zone
    #[command(group = clap::ArgGroup::new("change").required(true).multiple(true))]
    Update {
        /// Its id
        id: OrganizationId,
        /// Its new name for people
        #[arg(long, group = "change")]
        name: Option<Name>,
        /// Where its days and billing periods begin, such as Europe/Berlin
        #[arg(long, value_name = "ZONE", group = "change")]
        time_zone: Option<TimeZone>,
    },
    /// Refuse all its keys until it is activated again; the keys themselves stay as they are
    Suspend {
        /// Its id
        id: OrganizationId,
    },
    /// Let its keys work again
    Activate {
        /// Its id
        id: OrganizationId,
    },
}

/// `claviger verifiers`.
#[derive(Debug, Args)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub(crate) struct VerifiersArgs {
    #[command(subcommand)]
    pub(crate) command: TokensCommand<VerifierId>,
    #[command(flatten)]
    pub(crate) client: ClientArgs,
}

/// `claviger admin-tokens`.
#[derive(Debug, Args)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub(crate) struct AdminTokensArgs {
    #[command(subcommand)]
    pub(crate) command: TokensCommand<AdminTokenId>,
    #[command(flatten)]
    pub(crate) client: ClientArgs,
}

/// What can be done with things that have a name and a token.
#[derive(Debug, Subcommand)]
pub(crate) enum TokensCommand<Id>
where
    Id: Clone + Send + Sync + 'static + std::str::FromStr,
    Id::Err: std::error::Error + Send + Sync + 'static,
{
    /// Create one and print its token, which is shown only now
    Create {
        /// Its name for people
        name: Name,
        /// Print only the token
        #[arg(long, short, conflicts_with = "json")]
        quiet: bool,
        #[command(flatten)]
        once: OnceArgs,
    },
    /// List them
    List,
    /// Revoke one at once and for ever
    Revoke {
        /// Its id
        #[arg(value_parser = str::parse::<Id>)]
        id: Id,
    },
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;
    use clap::error::ErrorKind;

    use super::*;

    const KEY: &str = "key_0000000000000000000000001a";
    const ORG: &str = "org_0000000000000000000000001a";
    const WEBHOOK: &str = "whe_0000000000000000000000001a";
    const MEMBER: &str = "mem_0000000000000000000000001a";

    fn typed(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(std::iter::once("claviger").chain(line.split(' ')))
    }

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn what_is_wrong_is_known_before_anything_is_asked_of_a_server() {
        let cases = [
            "keys show org_0000000000000000000000001a",
            "keys show key_123",
            "keys list --state dead",
            "keys list --limit 0",
            "keys list --limit 201",
            &format!("keys create --org {ORG} --api Tork --name x"),
            &format!("keys create --org {ORG} --api tork --name \u{202e}x"),
            &format!("keys create --org {ORG} --api tork --name x --ip 10.0.0.1/8"),
            &format!("keys create --org {ORG} --api tork --name x --ttl soon"),
            &format!("keys create --org {ORG} --api tork --name x --metadata []"),
            &format!("keys create --org {ORG} --api tork --name x --ttl 1h --expires-at 2030-01-01"),
            &format!("keys update {KEY} --ip 10.0.0.1 --no-ip"),
            &format!("keys rotate {KEY} --overlap 8d"),
            "serve --listen 8080",
            "serve --cores 1025",
            "serve --trusted-proxies 10.0.0.1/8",
            "serve --forwarding-header x-real-ip",
            "verify --key x --cost 0",
            "apply",
            "orgs create",
            "verifiers revoke adm_0000000000000000000000001a",
            "usage",
            &format!("usage --org {ORG}"),
            "completions tcsh",
            "audit verify --expect 7",
            "audit list --action key.eaten",
            "audit show zero",
            "audit export --after -1",
            "keys revoke-all --kind fast",
            "webhooks create",
            "webhooks create --url https://example.com",
            "webhooks create --url https://example.com --event key.eaten",
            &format!("webhooks show {KEY}"),
            &format!("webhooks rotate-secret {WEBHOOK} --overlap 8d"),
            &format!("webhooks replay {WEBHOOK}"),
            "mail test ada",
            "members list",
            &format!("members show {MEMBER}"),
            &format!("members show {ORG} --org {ORG}"),
            &format!("members update {MEMBER} --org {ORG}"),
            &format!("members update {MEMBER} --org {ORG} --role king"),
            &format!("members update {MEMBER} --org {ORG} --alert-mails rain"),
            &format!("members update {MEMBER} --org {ORG} --alert-mails quota_80 --no-alert-mails"),
            &format!("members remove {MEMBER} --org {ORG} --rest hand-over"),
            &format!("members remove {MEMBER} --org {ORG} --hand-over {KEY}"),
            &format!("members remove {MEMBER} --org {ORG} --rest burn"),
            &format!("invitations create --org {ORG} --email ada --role viewer"),
            &format!("invitations create --org {ORG} --email ada@example.com"),
            &format!("invitations create --org {ORG} --email ada@example.com --role viewer --send-mail --quiet"),
            "invitations accept --name Ada",
        ];
        for line in cases {
            let error = typed(line).err().unwrap_or_else(|| panic!("accepted: {line}"));
            assert_eq!(error.exit_code(), 2, "{line}");
        }
    }

    #[test]
    fn good_lines_are_accepted() {
        let cases = [
            "demo --json --listen 127.0.0.1:0 --internal-listen [::1]:0",
            "serve --data x --trusted-proxies 10.0.0.0/8,::1 --forwarding-header forwarded --cores 2 --log-format json",
            "apis",
            "apis --json",
            "apis show tork --json",
            "keys --json list",
            "keys list --json --server http://127.0.0.1:8081 --token t",
            &format!("keys create --org {ORG} --api tork --name x --scope evaluate,usage:read --ip ::1,10.0.0.0/8 -q"),
            &format!("keys create --org {ORG} --api tork --name x --scope * --ttl 90d"),
            &format!("keys update {KEY} --no-ip --no-expiry --scope evaluate"),
            &format!("keys rotate {KEY} --overlap 7d"),
            &format!("keys revoke {KEY} --reason leaked"),
            &format!("usage --org {ORG} --api tork"),
            &format!("usage --org {ORG} --api tork --period 2026-10 --json"),
            &format!("usage --org {ORG} --api tork --from 2026-10-01 --to 2026-10-07"),
            "usage list --api tork --period 2026-10",
            "usage export --format cloudevents --period 2026-10",
            "usage export --format csv --from 2026-10-01 usage.csv",
            "admin-tokens revoke adm_0000000000000000000000001a",
            "completions zsh",
            &format!("keys revoke-all --org {ORG} --created-by operator --issued-before 2027-01-31 --dry-run"),
            &format!("audit list --org {ORG} --actor system --action key.removed --since 2027-01-31 --limit 5"),
            "alerts list --state open --kind usage_spike --limit 5",
            "alerts close alrt_0000000000000000000000001a",
            "audit export --after 7 log.ndjson",
            "audit verify --file log.ndjson",
            "orgs create Acme --idempotency-key 7",
            &format!("webhooks create --url https://example.com --event key.created,key.revoked --org {ORG} -q"),
            "webhooks create --url https://example.com --event *",
            &format!("webhooks update {WEBHOOK} --no-description --event alert.opened"),
            &format!("webhooks rotate-secret {WEBHOOK} --overlap 0"),
            &format!("webhooks deliveries {WEBHOOK} --state failed"),
            &format!("webhooks replay {WEBHOOK} --since 2027-01-31 --delivered-too"),
            "mail test ada@example.com",
            &format!("members update {MEMBER} --org {ORG} --role admin"),
            &format!("members remove {MEMBER} --org {ORG} --revoke {KEY},{KEY} --rest keep --dry-run"),
            &format!("members remove {MEMBER} --org {ORG} --hand-over {KEY} --to {MEMBER} --rest revoke"),
            &format!("invitations create --org {ORG} --email ada@example.com --role viewer -q --idempotency-key 7"),
            "invitations accept --invitation - --name Ada",
        ];
        for line in cases {
            assert!(typed(line).is_ok(), "{line}: {}", typed(line).unwrap_err());
        }
    }

    #[test]
    fn nothing_typed_is_a_question_for_help() {
        let error = Cli::try_parse_from(["claviger"]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand);
        assert_eq!(error.exit_code(), 2);
    }

    #[test]
    fn a_secret_in_the_wrong_place_is_not_repeated() {
        let told = |line: &str| without_secrets(typed(line).err().unwrap()).to_string();
        for place in ["", "--", "keys ", "keys show ", "keys show --", "keys list --limit ", "serve --listen="] {
            let error = told(&format!("{place}sk_live_0123456789abcdefghijABCDEFGHIJ"));
            assert!(error.contains('…') && !error.contains("0123456789"), "{error}");
        }
        let error = told("keys lst");
        assert!(error.contains("'lst'") && error.contains("'list'"), "{error}");
    }

    #[test]
    fn no_secret_is_ever_shown_by_help() {
        const SECRETS: [&str; 3] = ["CLAVIGER_TOKEN", "CLAVIGER_KEY", "CLAVIGER_INVITATION"];
        let all = Cli::command();
        let nested = |command: &'_ clap::Command| command.get_subcommands().cloned().collect::<Vec<_>>();
        for command in all.get_subcommands().flat_map(|one| [nested(one), vec![one.clone()]].concat()) {
            for argument in command
                .get_arguments()
                .filter(|argument| argument.get_env().is_some_and(|name| SECRETS.iter().any(|secret| name == *secret)))
            {
                assert!(argument.is_hide_env_values_set(), "{}", argument.get_id());
            }
        }
    }
}
