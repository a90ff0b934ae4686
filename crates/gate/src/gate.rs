//! Threads, doors and the graceful end.

use std::io;
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use claviger_domain::peer::Peer;
use hyper::server::conn::http1;
use tokio::runtime::{self, Runtime};
use tokio::sync::{Semaphore, oneshot, watch};
use tokio::time::{sleep, timeout};

use crate::connection;
use crate::front::Front;
use crate::listen::{SocketFile, TcpListeners};

/// How long requests in flight may take to end once the gate is closing.
pub const DRAIN_MAX: Duration = Duration::from_secs(10);
/// Connections that one core serves of one door; more wait in the kernel's backlog, so that a crowd at the
/// public door does not shut the internal one.
pub const CONNECTIONS_MAX: u32 = 8192;
/// Pause after an accept that failed for want of file descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A listener and what answers behind it.
#[derive(Debug)]
pub struct Door {
    sockets: Sockets,
    front: Arc<Front>,
}

#[derive(Debug)]
enum Sockets {
    Tcp(TcpListeners),
    Unix(SocketFile),
}

impl Door {
    /// A door on the network. Requests come from a [`Peer::Address`].
    pub fn tcp(listeners: TcpListeners, front: Front) -> Self {
        Self { sockets: Sockets::Tcp(listeners), front: Arc::new(front) }
    }

    /// A door on the operator's own socket. Requests come from [`Peer::Socket`].
    pub fn unix(socket: SocketFile, front: Front) -> Self {
        Self { sockets: Sockets::Unix(socket), front: Arc::new(front) }
    }
}

/// The running data plane. It stops when this is dropped, and orderly with [`Gate::close`].
#[derive(Debug)]
pub struct Gate {
    stop: watch::Sender<bool>,
    cores: Vec<Core>,
    socket_files: Vec<SocketFile>,
}

#[derive(Debug)]
struct Core {
    thread: JoinHandle<()>,
    done: oneshot::Receiver<()>,
}

impl Gate {
    /// Starts one thread for each socket that the widest door has; each serves one socket of every door.
    ///
    /// # Errors
    /// Those of the system: no thread, no file descriptor.
    pub fn open(doors: Vec<Door>) -> io::Result<Self> {
        let cores = doors.iter().map(|door| door.sockets.count()).max().unwrap_or(0);
        let mut entries: Vec<Vec<Entry>> = (0..cores).map(|_| Vec::new()).collect();
        let mut socket_files = Vec::new();
        for Door { sockets, front } in doors {
            match sockets {
                Sockets::Tcp(listeners) => {
                    for (entries, socket) in entries.iter_mut().zip(listeners.sockets) {
                        entries.push(Entry { listener: Listener::Tcp(socket), front: Arc::clone(&front) });
                    }
                }
                Sockets::Unix(file) => {
                    for entries in &mut entries {
                        let listener = Listener::Unix(file.socket.try_clone()?);
                        entries.push(Entry { listener, front: Arc::clone(&front) });
                    }
                    socket_files.push(file);
                }
            }
        }
        let (stop, stopped) = watch::channel(false);
        let start = |(number, entries)| Core::start(number, entries, stopped.clone());
        let cores = entries.into_iter().enumerate().map(start).collect::<io::Result<_>>()?;
        Ok(Self { stop, cores, socket_files })
    }

    /// Stops accepting, lets the requests in flight end for at most [`DRAIN_MAX`], and ends the threads. The
    /// runtime of the fallbacks must still be running.
    pub async fn close(self) {
        self.stop.send_replace(true);
        for core in self.cores {
            // An error means that the thread is gone already.
            let _ = core.done.await;
            if core.thread.join().is_err() {
                tracing::error!("a thread of the gate panicked");
            }
        }
        drop(self.socket_files);
    }
}

impl Sockets {
    fn count(&self) -> usize {
        match self {
            Self::Tcp(listeners) => listeners.sockets.len(),
            Self::Unix(_) => 1,
        }
    }
}

impl Core {
    fn start(number: usize, entries: Vec<Entry>, stop: watch::Receiver<bool>) -> io::Result<Self> {
        let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
        let (finished, done) = oneshot::channel();
        let work = move || {
            run(&runtime, entries, &stop);
            drop(runtime);
            let _ = finished.send(());
        };
        let thread = thread::Builder::new().name(format!("gate-{number}")).spawn(work)?;
        Ok(Self { thread, done })
    }
}

/// One socket of a door, on one core.
struct Entry {
    listener: Listener<TcpListener, UnixListener>,
    front: Arc<Front>,
}

enum Listener<T, U> {
    Tcp(T),
    Unix(U),
}

fn run(runtime: &Runtime, entries: Vec<Entry>, stop: &watch::Receiver<bool>) {
    runtime.block_on(async {
        let settings = Arc::new(connection::settings());
        let serve = |entry| tokio::spawn(accept(entry, Arc::clone(&settings), stop.clone()));
        let doors: Vec<_> = entries.into_iter().map(serve).collect();
        for door in doors {
            match door.await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::error!(%error, "a listener could not be served"),
                Err(_) => tracing::error!("a listener's task panicked"),
            }
        }
    });
}

/// Accepts until told to stop, then waits for the connections.
async fn accept(entry: Entry, settings: Arc<http1::Builder>, mut stop: watch::Receiver<bool>) -> io::Result<()> {
    let Entry { listener, front } = entry;
    let listener = match listener {
        Listener::Tcp(socket) => Listener::Tcp(tokio::net::TcpListener::from_std(socket)?),
        Listener::Unix(socket) => Listener::Unix(tokio::net::UnixListener::from_std(socket)?),
    };
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX as usize));
    loop {
        let next = async {
            let place = Arc::clone(&places).acquire_owned().await.map_err(io::Error::other)?;
            Ok((listener.accept().await?, place))
        };
        let accepted: io::Result<_> = tokio::select! {
            biased;
            () = connection::stopped(&mut stop) => break,
            accepted = next => accepted,
        };
        match accepted {
            Ok((stream, place)) => {
                let (front, settings, stop) = (Arc::clone(&front), Arc::clone(&settings), stop.clone());
                tokio::spawn(async move {
                    match stream {
                        Stream::Tcp(stream, peer) => connection::serve(stream, peer, front, &settings, stop).await,
                        Stream::Unix(stream) => connection::serve(stream, Peer::Socket, front, &settings, stop).await,
                    }
                    drop(place);
                });
            }
            Err(error) if is_the_peers_doing(&error) => {}
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    if timeout(DRAIN_MAX, places.acquire_many(CONNECTIONS_MAX)).await.is_err() {
        tracing::warn!("requests were cut off because they took longer than {} s to end", DRAIN_MAX.as_secs());
    }
    Ok(())
}

enum Stream {
    Tcp(tokio::net::TcpStream, Peer),
    Unix(tokio::net::UnixStream),
}

impl Listener<tokio::net::TcpListener, tokio::net::UnixListener> {
    async fn accept(&self) -> io::Result<Stream> {
        match self {
            Self::Tcp(listener) => {
                let (stream, address) = listener.accept().await?;
                // A small answer must not wait for more to send. The peer may be gone already: no matter.
                let _ = stream.set_nodelay(true);
                Ok(Stream::Tcp(stream, Peer::Address(address.ip().to_canonical())))
            }
            Self::Unix(listener) => Ok(Stream::Unix(listener.accept().await?.0)),
        }
    }
}

fn is_the_peers_doing(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}
