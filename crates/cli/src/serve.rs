//! `claviger serve`: the server, from its start to its graceful end.

use std::path::Path;

use serde_json::json;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::args::ServeArgs;
use crate::config::{ServerConfig, Settings};
use crate::data_dir::DataDir;
use crate::failure::{Context as _, Failure};
use crate::init::{data_flag, program, shown};
use crate::node::Node;
use crate::{logging, output};

/// Runs until a signal ends it.
pub(crate) async fn run(args: ServeArgs) -> Result<(), Failure> {
    let directory = DataDir::new(&args.data.directory);
    let config = read_config(&args, &directory)?;
    let _log = logging::start(config.log_level, config.log_format);
    let signals = Signals::listen()?;
    let node = Node::start(&directory, &config, None).await?;
    let is_new = node.app().list_apis().await.is_ok_and(|apis| apis.is_empty());
    if args.json {
        let urls =
            json!({"public_url": node.public_url(), "internal_url": node.internal_url(), "socket": node.socket()});
        output::print(&urls.to_string())?;
    } else {
        output::print(&welcome(&node, &directory, is_new))?;
    }
    run_until_signalled(node, signals).await
}

fn read_config(args: &ServeArgs, directory: &DataDir) -> Result<ServerConfig, Failure> {
    let path = args.config.clone().unwrap_or_else(|| directory.config());
    let file = match std::fs::read_to_string(&path) {
        Ok(text) => Settings::parse(&text).map_err(|mistakes| in_file(&path, &mistakes.to_string()))?,
        // The file that nobody named need not be there.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && args.config.is_none() => Settings::default(),
        Err(error) => {
            return Err(Failure::new(format!("cannot read the config file {}: {error}", path.display())));
        }
    };
    let typed = args.settings().map_err(Failure::usage)?;
    typed.or(file).resolve().map_err(|mistakes| Failure::new(mistakes.to_string()))
}

fn in_file(path: &Path, mistakes: &str) -> Failure {
    Failure::new(format!("the config file {} cannot be used:\n{mistakes}", path.display()))
        .next("correct it; `claviger init --data DIR` writes one that explains every setting")
}

fn welcome(node: &Node, directory: &DataDir, is_new: bool) -> String {
    let addresses = addresses(node);
    if !is_new {
        return format!("Claviger is ready.\n\n{addresses}");
    }
    let (program, data) = (program(), data_flag(directory.path()));
    let definition = directory.apis().join("my-api.toml");
    let init = if definition.exists() { String::new() } else { format!("  {program} init{data}\n") };
    format!(
        "Claviger is ready.\n\n{addresses}\n\n\
         No API is defined yet. Next, in another terminal:\n\n\
         {init}  {program} apply{data} {}\n  \
         {program} orgs create{data} \"First customer\"\n  \
         {program} keys create{data} --org ORG --api my-api --name \"First key\"\n",
        shown(&definition)
    )
}

/// Where the server listens, and for whom.
pub(crate) fn addresses(node: &Node) -> String {
    let rows = [
        ("public", node.public_url(), "customers"),
        ("internal", node.internal_url(), "API servers, proxies and operators; never expose it"),
        ("socket", node.socket().display().to_string(), "the operator on this machine, without a token"),
    ];
    let width = rows.iter().map(|(_, place, _)| place.chars().count()).max().unwrap_or(0);
    let lines = rows.map(|(name, place, whom)| format!("  {name:8}  {place:width$}  {whom}"));
    lines.join("\n")
}

/// Serves until SIGINT or SIGTERM, then lets the requests in flight end. A second signal does not wait for them.
pub(crate) async fn run_until_signalled(node: Node, mut signals: Signals) -> Result<(), Failure> {
    signals.next().await;
    tokio::select! {
        () = node.stop() => Ok(()),
        () = signals.next() => Err(Failure::new("stopped without waiting for the requests in flight")),
    }
}

/// SIGINT and SIGTERM, heard from the moment this is made.
pub(crate) struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    pub(crate) fn listen() -> Result<Self, Failure> {
        let listen = |kind| signal(kind).or_fail(|| "listen for signals".to_owned());
        Ok(Self { interrupt: listen(SignalKind::interrupt())?, terminate: listen(SignalKind::terminate())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
