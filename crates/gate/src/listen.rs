//! Sockets: one per core on the same TCP port, and the operator's unix socket.

use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use socket2::{Domain, Protocol, SockAddr, Socket, Type};

/// Connections that the kernel keeps for each socket until they are accepted.
pub const BACKLOG_MAX: i32 = 1024;

/// Sockets that listen on one TCP address, one for each core.
#[derive(Debug)]
pub struct TcpListeners {
    pub(crate) sockets: Vec<TcpListener>,
    address: SocketAddr,
}

impl TcpListeners {
    /// The address, with the port that the system chose where 0 was asked for.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }
}

/// Listens on a TCP address once for each of `cores` (at least once).
///
/// `SO_REUSEPORT` lets any process of the same user join a port, silently taking part of its connections:
/// a second server started by mistake would answer every other request. So the first socket is
/// bound and listens *without* the option, which the kernel refuses (`AddrInUse`) while anybody listens on the
/// port, with the option or not. Only then does the socket take the option on and the others join. Two
/// servers that start at the same instant cannot both get through: both may bind, but whichever listens second
/// is refused. (A bind that only tests, closes and binds anew would leave a gap here.)
///
/// # Errors
/// Those of the system; [`io::ErrorKind::AddrInUse`] when the port is served already.
pub fn bind(address: SocketAddr, cores: usize) -> io::Result<TcpListeners> {
    let first = tcp_socket(address)?;
    first.listen(BACKLOG_MAX)?;
    first.set_reuse_port(true)?;
    let first = TcpListener::from(first);
    let address = first.local_addr()?;
    let mut sockets = vec![first];
    for _ in 1..cores {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_port(true)?;
        sockets.push(prepared(socket, address).and_then(|socket| {
            socket.listen(BACKLOG_MAX)?;
            Ok(socket.into())
        })?);
    }
    Ok(TcpListeners { sockets, address })
}

fn tcp_socket(address: SocketAddr) -> io::Result<Socket> {
    prepared(Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?, address)
}

/// Binds. `SO_REUSEADDR` so that connections that linger after a restart do not hold the port.
fn prepared(socket: Socket, address: SocketAddr) -> io::Result<Socket> {
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

/// A unix socket that listens, and its file, which goes when this is dropped.
#[derive(Debug)]
pub struct SocketFile {
    pub(crate) socket: UnixListener,
    path: PathBuf,
    identity: (u64, u64),
}

impl SocketFile {
    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Only our own file: by now another server may have put its own in this place.
        if fs::symlink_metadata(&self.path).is_ok_and(|file| (file.dev(), file.ino()) == self.identity) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Listens on a unix socket that only the process's own user may open (mode 0600).
///
/// A socket file that nobody answers on is the leftover of a server that was killed, and is replaced. Two
/// servers doing so at the same instant could take the file from each other; the lock on the data directory,
/// which a server holds before it comes here, is what keeps a second one out.
///
/// # Errors
/// Those of the system; [`io::ErrorKind::AddrInUse`] when somebody answers on the socket, and
/// [`io::ErrorKind::AlreadyExists`] when the file is no socket.
pub fn bind_unix(path: &Path) -> io::Result<SocketFile> {
    remove_stale(path)?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SockAddr::unix(path)?)?;
    // Nobody can connect before `listen`, so there is no moment at which others may.
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    socket.listen(BACKLOG_MAX)?;
    let file = fs::symlink_metadata(path)?;
    Ok(SocketFile { socket: socket.into(), path: path.to_owned(), identity: (file.dev(), file.ino()) })
}

fn remove_stale(path: &Path) -> io::Result<()> {
    let file = match fs::symlink_metadata(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if !file.file_type().is_socket() {
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, "the file exists and is not a socket"));
    }
    match UnixStream::connect(path) {
        Ok(_) => Err(io::Error::new(io::ErrorKind::AddrInUse, "another server answers on this socket")),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

    use super::*;

    fn loopback() -> SocketAddr {
        ([127, 0, 0, 1], 0).into()
    }

    fn accepted(socket: &TcpListener) -> usize {
        std::iter::from_fn(|| socket.accept().ok()).count()
    }

    #[test]
    fn every_core_gets_connections_of_the_one_port() {
        let listeners = bind(loopback(), 3).unwrap();
        assert_eq!(listeners.sockets.len(), 3);
        let connections: Vec<_> = (0..200).map(|_| TcpStream::connect(listeners.local_addr()).unwrap()).collect();
        let counts: Vec<usize> = listeners.sockets.iter().map(accepted).collect();
        assert_eq!(counts.iter().sum::<usize>(), connections.len());
        assert!(counts.iter().all(|count| *count > 0), "{counts:?}");
    }

    #[test]
    fn a_served_port_is_refused_however_it_is_served() {
        let ours = bind(loopback(), 2).unwrap();
        assert_eq!(bind(ours.local_addr(), 2).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        let everywhere = SocketAddr::from(([0, 0, 0, 0], ours.local_addr().port()));
        assert_eq!(bind(everywhere, 1).unwrap_err().kind(), io::ErrorKind::AddrInUse);

        let foreign = TcpListener::bind(loopback()).unwrap();
        assert_eq!(bind(foreign.local_addr().unwrap(), 2).unwrap_err().kind(), io::ErrorKind::AddrInUse);

        let sharing = tcp_socket(loopback()).unwrap();
        sharing.set_reuse_port(true).unwrap();
        sharing.listen(1).unwrap();
        let address = sharing.local_addr().unwrap().as_socket().unwrap();
        assert_eq!(bind(address, 1).unwrap_err().kind(), io::ErrorKind::AddrInUse);
    }

    #[test]
    fn of_two_that_start_together_one_is_refused() {
        // The other one has bound but does not listen yet.
        let other = tcp_socket(loopback()).unwrap();
        let address = other.local_addr().unwrap().as_socket().unwrap();
        let ours = bind(address, 2).unwrap();
        assert_eq!(other.listen(1).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        drop(ours);
    }

    #[test]
    fn a_port_is_free_again_at_once() {
        let listeners = bind(loopback(), 2).unwrap();
        let address = listeners.local_addr();
        let client = TcpStream::connect(address).unwrap();
        let accepted = listeners.sockets.iter().find_map(|socket| socket.accept().ok()).unwrap();
        // The side that closes first is the one whose port lingers.
        drop(accepted);
        drop(client);
        drop(listeners);
        bind(address, 2).unwrap();
    }

    #[test]
    fn the_unix_socket_is_the_users_own() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("claviger.sock");
        let file = bind_unix(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(bind_unix(&path).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        drop(file);
        assert!(!path.exists());
    }

    #[test]
    fn a_stale_socket_is_replaced_and_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("claviger.sock");
        drop(UnixListener::bind(&path).unwrap());
        let first = bind_unix(&path).unwrap();

        // A file that another server put in the place of ours stays.
        fs::remove_file(&path).unwrap();
        let second = bind_unix(&path).unwrap();
        drop(first);
        UnixStream::connect(&path).unwrap();
        drop(second);

        fs::write(&path, "precious").unwrap();
        assert_eq!(bind_unix(&path).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    }
}
