//! The client commands: each asks the server over its admin API and prints the answer.
//!
//! They know no rules of their own: what is allowed, the server says. All of them print the server's own JSON
//! with `--json`, and a table or a few lines without.

mod alerts;
mod apis;
mod apply;
mod audit;
mod import;
mod invitations;
mod keys;
mod members;
mod orgs;
mod revoke_all;
mod subscriptions;
mod tokens;
mod usage;
mod verify;
mod webhooks;

use std::io::Read as _;
use std::process::ExitCode;

use claviger_domain::time::{Clock as _, SystemClock, Timestamp};
use serde_json::Value;

use crate::args::Command;
use crate::connection::Connection;
use crate::failure::{Context as _, Failure};
use crate::output;

/// Runs one client command to its end.
pub(crate) async fn run(command: Command) -> Result<ExitCode, Failure> {
    match command {
        Command::Apply(args) => apply::run(&Session::new(&args.client)?, &args).await?,
        Command::Apis(args) => apis::run(&Session::new(&args.client)?, args.command).await?,
        Command::Orgs(args) => orgs::run(&Session::new(&args.client)?, args.command).await?,
        Command::Members(args) => members::run(&Session::new(&args.client)?, args.command).await?,
        Command::Invitations(args) => invitations::run(&Session::new(&args.client)?, args.command).await?,
        Command::Subscriptions(args) => subscriptions::run(&Session::new(&args.client)?, args.command).await?,
        Command::Keys(args) => keys::run(&Session::new(&args.client)?, args.command).await?,
        Command::Verify(args) => return verify::run(&Session::new(&args.client)?, args).await,
        Command::Usage(args) => usage::run(&args).await?,
        Command::Alerts(args) => alerts::run(&Session::new(&args.client)?, &args.command).await?,
        Command::Audit(args) => return audit::run(&args).await,
        Command::Webhooks(args) => webhooks::run(&Session::new(&args.client)?, args.command).await?,
        Command::Mail(args) => webhooks::run_mail(&Session::new(&args.client)?, args.command).await?,
        Command::Verifiers(args) => tokens::run(&Session::new(&args.client)?, &tokens::VERIFIERS, args.command).await?,
        Command::AdminTokens(args) => {
            tokens::run(&Session::new(&args.client)?, &tokens::ADMIN_TOKENS, args.command).await?;
        }
        Command::Demo(_) | Command::Init(_) | Command::Serve(_) | Command::Completions { .. } | Command::Openapi => {
            unreachable!("main runs these without a server to ask")
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// A server to ask, and the way to answer.
struct Session {
    server: Connection,
    json: bool,
    /// The instant that times are shown relative to.
    now: Timestamp,
}

impl Session {
    fn new(args: &crate::args::ClientArgs) -> Result<Self, Failure> {
        Ok(Self { server: Connection::new(args)?, json: args.json, now: SystemClock.now() })
    }

    /// Prints the answer itself, or what `human` makes of it.
    fn show(&self, answer: &Value, human: impl FnOnce() -> String) -> Result<(), Failure> {
        if self.json { output::print_json(answer) } else { output::print(&human()) }
    }

    /// Prints an answer that holds a secret: for people with a reminder, with `quiet` the secret alone. This is the
    /// only time it is shown.
    fn show_issued(
        &self,
        answer: &Value,
        secret: &str,
        quiet: bool,
        human: impl FnOnce() -> String,
    ) -> Result<(), Failure> {
        if quiet {
            return output::print(&output::text(answer, secret));
        }
        self.show(answer, human)?;
        if !self.json {
            output::note(&format!("\nCopy the {secret} now: it is shown only this once."));
        }
        Ok(())
    }
}

/// Says where a list goes on, when it does.
fn note_next_page(answer: &Value, command: &str) {
    if let Some(cursor) = answer["next_cursor"].as_str() {
        output::note(&format!("\nThere are more: {command} --cursor {}", output::clean(cursor)));
    }
}

/// A JSON object of what was said; what was not said is not in it.
fn said<'n>(values: impl IntoIterator<Item = (&'n str, Option<Value>)>) -> Value {
    let said = values.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
    Value::Object(said.collect())
}

/// The secret itself, or one line of standard input. The line's end is the shell's, not the secret's; nothing else
/// is taken away.
fn presented(key: &str) -> Result<String, Failure> {
    if key != "-" {
        return Ok(key.to_owned());
    }
    let mut line = String::new();
    std::io::stdin()
        .take(64 * 1024)
        .read_to_string(&mut line)
        .or_fail(|| "read a secret from standard input".to_owned())?;
    let line = line.strip_suffix('\n').unwrap_or(&line);
    Ok(line.strip_suffix('\r').unwrap_or(line).to_owned())
}
