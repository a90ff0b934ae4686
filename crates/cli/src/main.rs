//! The `claviger` binary: arguments, config, process lifetime, wiring.
//!
//! It decides nothing about keys (the engine does), does nothing to them (the app does) and knows no HTTP route
//! but those it asks. Here is read what a library must not read: the environment, the clock, the system's
//! randomness.
//!
//! Reading order: `args` (what was typed), `config` (what the server is told), `node` (the wiring) with `serve`
//! and `demo` on top of it, then `commands` (asking a running server) with `connection` and `output` below.

mod args;
mod commands;
mod config;
mod connection;
mod data_dir;
mod demo;
mod failure;
mod init;
mod logging;
mod node;
mod output;
mod serve;

use std::process::ExitCode;

use clap::{CommandFactory as _, Parser as _};
use clap_complete::Shell;

use crate::args::{Cli, Command};
use crate::failure::{Context as _, Failure};

fn main() -> ExitCode {
    let cli = Cli::try_parse().unwrap_or_else(|error| args::without_secrets(error).exit());
    match run(cli.command) {
        Ok(code) => code,
        Err(failure) => {
            output::note(&failure.to_string());
            failure.exit_code()
        }
    }
}

fn run(command: Command) -> Result<ExitCode, Failure> {
    match command {
        Command::Demo(args) => server_runtime()?.block_on(demo::run(args))?,
        Command::Serve(args) => server_runtime()?.block_on(serve::run(args))?,
        Command::Init(args) => init::run(&args)?,
        Command::Completions { shell } => output::print(completions(shell)?.trim_end())?,
        Command::Openapi => print_openapi()?,
        asking => return client_runtime()?.block_on(commands::run(asking)),
    }
    Ok(ExitCode::SUCCESS)
}

/// The control plane's runtime; the data plane brings threads of its own.
fn server_runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().or_fail(|| "start".to_owned())
}

fn client_runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().or_fail(|| "start".to_owned())
}

fn completions(shell: Shell) -> Result<String, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "claviger", &mut script);
    String::from_utf8(script).or_fail(|| "write the completion script".to_owned())
}

fn print_openapi() -> Result<(), Failure> {
    let document =
        serde_json::to_value(claviger_server::openapi()).or_fail(|| "write the OpenAPI document".to_owned())?;
    output::print_json(&document)
}
