//! `claviger demo`: everything at once, with sample APIs and keys to try.

mod guide;
mod seed;
mod upstream;

use std::path::PathBuf;

use crate::args::DemoArgs;
use crate::config::{LogFormat, LogLevel, Settings};
use crate::data_dir::DataDir;
use crate::failure::{Context as _, Failure};
use crate::node::Node;
use crate::serve::{Signals, run_until_signalled};
use crate::{logging, output};

/// Runs until a signal ends it; a directory that was not asked for is removed then.
pub(crate) async fn run(args: DemoArgs) -> Result<(), Failure> {
    let _log = logging::start(LogLevel::Warn, LogFormat::Text);
    let signals = Signals::listen()?;
    let place = Place::choose(args.data)?;
    let directory = DataDir::new(place.path());
    let said = Settings {
        listen: Some(args.listen),
        internal_listen: Some(args.internal_listen),
        trusted_proxies: args.trusted_proxies,
        forwarding_header: args.forwarding_header,
        ..Settings::default()
    };
    let config = said.resolve().map_err(|mistakes| Failure::new(mistakes.to_string()))?;
    let node = Node::start(&directory, &config, Some(upstream::guarded)).await?;
    let deployment = seed::plant(node.app()).await?;
    if args.json {
        output::print(&guide::json(&node, &deployment).to_string())?;
    } else {
        output::print(&guide::text(&node, &directory, &deployment, place.is_temporary()))?;
    }
    run_until_signalled(node, signals).await
}

/// The data directory: the one that was named, or one that goes when this is dropped.
enum Place {
    Named(PathBuf),
    Temporary(tempfile::TempDir),
}

impl Place {
    fn choose(named: Option<PathBuf>) -> Result<Self, Failure> {
        match named {
            Some(path) => Ok(Self::Named(path)),
            None => tempfile::Builder::new()
                .prefix("claviger-demo-")
                .tempdir()
                .map(Self::Temporary)
                .or_fail(|| "make a temporary directory".to_owned()),
        }
    }

    fn path(&self) -> PathBuf {
        match self {
            Self::Named(path) => path.clone(),
            Self::Temporary(directory) => directory.path().to_owned(),
        }
    }

    fn is_temporary(&self) -> bool {
        matches!(self, Self::Temporary(_))
    }
}
