//! The wiring: store, engine, gate and the two routers, made into one running server.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use claviger_app::{App, Database, DeliverySettings};
use claviger_courier::{Authorities, Courier, Mailer, Patience};
use claviger_domain::address::TrustedProxies;
use claviger_domain::random::SystemEntropy;
use claviger_domain::time::SystemClock;
use claviger_gate::listen::{self, SocketFile, TcpListeners};
use claviger_gate::{Door, Front, Gate, Verify};
use claviger_server::{InFlight, ServerState};
use hyper_util::service::TowerToHyperService;
use rustix::process::{DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit};
use tokio::runtime::Handle;

use crate::config::ServerConfig;
use crate::data_dir::{DataDir, DataDirLock};
use crate::failure::{Context as _, Failure};

/// Makes what the public listener serves beside the customer API.
pub(crate) type Upstream = fn(&Arc<App>, &Arc<TrustedProxies>) -> Router;

/// A running server, ended with [`Node::stop`]. One that is not has nothing lost: usage of the last seconds is in the file of
/// counters, and the next start writes it down.
pub(crate) struct Node {
    app: Arc<App>,
    gate: Gate,
    public: SocketAddr,
    internal: SocketAddr,
    socket: PathBuf,
    // Released last, when the database is closed.
    lock: DataDirLock,
}

impl Node {
    /// Takes the data directory, listens, loads everything, and opens the doors.
    pub(crate) async fn start(
        directory: &DataDir,
        config: &ServerConfig,
        upstream: Option<Upstream>,
    ) -> Result<Self, Failure> {
        forbid_core_file().or_fail(|| "forbid core files".to_owned())?;
        raise_file_limit();
        let lock = directory.lock()?;
        let cores = config.cores.or_else(|| std::thread::available_parallelism().ok()).map_or(1, NonZeroUsize::get);
        // The database of a server that cannot listen, or knows not whom to trust, is left alone.
        let authorities = config.ca_file.as_deref().map(read_authorities).transpose()?.unwrap_or_default();
        let sockets = Sockets::bind(directory, config, cores)?;
        let database = config.database.clone().unwrap_or_else(|| directory.database());
        let (clock, entropy) = (Arc::new(SystemClock), Arc::new(SystemEntropy));
        let counters = directory.counters();
        let opened = App::open(&database, Some(&counters), None, clock, entropy).await;
        let app = opened.map_err(|error| {
            let next = match database {
                Database::Sqlite(_) => {
                    "nothing was changed; put that right, or start on another data directory with --data DIR"
                }
                Database::Postgres(_) => "nothing was changed; check --database-url and that the database is running",
            };
            Failure::new(error.to_string()).next(next)
        })?;
        app.set_up_delivery(delivery_settings(directory, config, &authorities)?);
        app.keep_usage_for(config.usage);
        let state = ServerState {
            app: Arc::clone(&app),
            trusted_proxies: Arc::new(config.trusted_proxies.clone()),
            socket_secret: Arc::new(directory.socket_secret(&SystemEntropy)?),
            in_flight: InFlight::default(),
        };
        let (public, internal) = (sockets.public.local_addr(), sockets.internal.local_addr());
        let socket = sockets.socket.path().to_owned();
        let gate = Gate::open(sockets.doors(&state, upstream)).or_fail(|| "start the data plane".to_owned())?;
        app.start_delivery();
        tracing::info!(%public, %internal, socket = %socket.display(), cores, "listening");
        if !internal.ip().is_loopback() {
            tracing::warn!(%internal, "the internal listener is not on a loopback address; make sure that no customer reaches it");
        }
        Ok(Self { app, gate, public, internal, socket, lock })
    }

    /// Stops accepting, lets the requests in flight end, and writes what is only in memory.
    pub(crate) async fn stop(self) {
        tracing::info!("stopping");
        self.gate.close().await;
        self.app.close().await;
        drop(self.lock);
        tracing::info!("stopped");
    }

    pub(crate) fn app(&self) -> &Arc<App> {
        &self.app
    }

    pub(crate) fn public_url(&self) -> String {
        url(self.public)
    }

    pub(crate) fn internal_url(&self) -> String {
        url(self.internal)
    }

    pub(crate) fn socket(&self) -> &Path {
        &self.socket
    }
}

/// So long one mail may take. An SMTP server that hangs holds up a few others for that time, and nothing else.
const MAIL_PATIENCE: Duration = Duration::from_mins(1);

fn delivery_settings(
    directory: &DataDir,
    config: &ServerConfig,
    authorities: &Authorities,
) -> Result<DeliverySettings, Failure> {
    let from = config.mail_from.clone();
    let mailer = match &config.smtp_url {
        Some(url) => {
            Mailer::smtp(url, from, MAIL_PATIENCE, authorities).map_err(|error| Failure::new(error.to_string()))?
        }
        None => Mailer::folder(directory.mail(), from),
    };
    let courier = Courier::new(config.reach, Patience::default(), authorities);
    let (key, invitation_url) = (directory.delivery_key(&SystemEntropy)?, config.invitation_url.clone());
    Ok(DeliverySettings { key, courier, mailer, invitation_url })
}

/// Fails where the file does not say whom to trust: then it would be found out by events that do not arrive.
fn read_authorities(file: &Path) -> Result<Authorities, Failure> {
    let text = std::fs::read(file).or_fail(|| format!("read ca_file {}", file.display()))?;
    Authorities::from_pem(&text)
        .map_err(|error| Failure::new(format!("ca_file {} cannot be used: {error}", file.display())))
}

/// Secrets pass through memory, and a core file keeps what was there. The limit is for files; a system that hands cores to a
/// program instead, as systemd-coredump, asks whether the process may be dumped.
fn forbid_core_file() -> rustix::io::Result<()> {
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable)
}

/// Lets the process hold as many connections as the system allows: the limit it starts with is often 1024.
fn raise_file_limit() {
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum
        && let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit })
    {
        tracing::warn!(%error, limit = limit.current, "the limit on open files could not be raised");
    }
}

/// Where a program on this machine reaches an address; one that means "everywhere" is reached at loopback.
fn url(address: SocketAddr) -> String {
    let ip = match address {
        SocketAddr::V4(v4) if v4.ip().is_unspecified() => std::net::Ipv4Addr::LOCALHOST.into(),
        SocketAddr::V6(v6) if v6.ip().is_unspecified() => std::net::Ipv6Addr::LOCALHOST.into(),
        other => other.ip(),
    };
    format!("http://{}", SocketAddr::new(ip, address.port()))
}

struct Sockets {
    public: TcpListeners,
    internal: TcpListeners,
    socket: SocketFile,
}

impl Sockets {
    fn bind(directory: &DataDir, config: &ServerConfig, cores: usize) -> Result<Self, Failure> {
        Ok(Self {
            public: bind(config.listen, cores, "--listen")?,
            internal: bind(config.internal_listen, cores, "--internal-listen")?,
            socket: listen::bind_unix(&directory.socket())
                .or_fail(|| format!("listen on {}", directory.socket().display()))?,
        })
    }

    fn doors(self, state: &ServerState, upstream: Option<Upstream>) -> Vec<Door> {
        let upstream = upstream.map(|upstream| upstream(&state.app, &state.trusted_proxies));
        let public = front(claviger_server::public_router(state.clone(), upstream));
        let verify = Verify::new(Arc::clone(state.app.engine()), Arc::clone(state.app.clock()));
        let internal = || front(claviger_server::internal_router(state.clone())).with_verify(verify.clone());
        vec![Door::tcp(self.public, public), Door::tcp(self.internal, internal()), Door::unix(self.socket, internal())]
    }
}

fn front(router: Router) -> Front {
    Front::new(Handle::current(), TowerToHyperService::new(router))
}

fn bind(address: SocketAddr, cores: usize, flag: &str) -> Result<TcpListeners, Failure> {
    listen::bind(address, cores).map_err(|error| {
        let why = match error.kind() {
            std::io::ErrorKind::AddrInUse => "something else listens there already".to_owned(),
            _ => error.to_string(),
        };
        Failure::new(format!("cannot listen on {address}: {why}"))
            .next(format!("stop what listens there, or choose another address with {flag} (port 0 takes a free one)"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_can_be_used_on_this_machine() {
        let cases = [
            ("127.0.0.1:80", "http://127.0.0.1:80"),
            ("0.0.0.0:8080", "http://127.0.0.1:8080"),
            ("[::]:8080", "http://[::1]:8080"),
            ("10.0.0.1:1", "http://10.0.0.1:1"),
        ];
        for (address, expected) in cases {
            assert_eq!(url(address.parse().unwrap()), expected);
        }
    }
}
