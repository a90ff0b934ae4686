//! Bytes on a socket, as an attacker writes them, and whatever comes back.

use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};

use crate::support::http::Response;

/// How long the server may be silent before a test gives up on it.
const PATIENCE: Duration = Duration::from_secs(20);

/// Where all attacks come from, unless they say otherwise.
pub(crate) const ATTACKER: Ipv4Addr = Ipv4Addr::LOCALHOST;

/// A connection from this address of the loopback network.
pub(crate) fn connect(server: SocketAddr, from: Ipv4Addr) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP)).unwrap();
    socket.bind(&SocketAddr::from((from, 0)).into()).unwrap();
    socket.connect_timeout(&server.into(), PATIENCE).unwrap();
    let stream = TcpStream::from(socket);
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Sends these bytes, and reads all answers until the server hangs up, which it must.
pub(crate) fn exchange(server: SocketAddr, from: Ipv4Addr, bytes: &[u8]) -> Vec<Response> {
    try_exchange(server, from, bytes).unwrap_or_else(|why| panic!("{why}"))
}

/// Like [`exchange`], where what went wrong is the caller's to report.
pub(crate) fn try_exchange(server: SocketAddr, from: Ipv4Addr, bytes: &[u8]) -> Result<Vec<Response>, String> {
    let mut stream = connect(server, from);
    // A server that answers before it has read everything may hang up on the rest; its answer counts.
    let _ = stream.write_all(bytes);
    read_all(&mut stream)
}

/// Reads all answers until the server hangs up.
///
/// # Errors
/// One of them is not sound, or the server does not hang up.
pub(crate) fn read_all(stream: &mut TcpStream) -> Result<Vec<Response>, String> {
    let mut bytes = Vec::new();
    let end = stream.read_to_end(&mut bytes);
    let is_open = end.is_err_and(|error| matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut));
    if is_open {
        return Err(format!("the server keeps the connection open after {:?}", String::from_utf8_lossy(&bytes)));
    }
    // Anything else is a reset after what was read: the server did not read everything before it hung up.
    let (mut answers, mut rest) = (Vec::new(), bytes.as_slice());
    while !rest.is_empty() {
        let (answer, after) = Response::parse_first(rest, false).map_err(|error| error.to_string())?;
        answer.must_be_sound("an attack");
        answers.push(answer);
        rest = after;
    }
    Ok(answers)
}
