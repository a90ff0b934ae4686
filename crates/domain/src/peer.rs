//! Where a connection came from, as the listener that accepted it saw it.

use std::net::IpAddr;

/// The other end of a connection. Listeners put it into every request's extensions.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Peer {
    /// A TCP connection from this address.
    Address(IpAddr),
    /// The unix socket in the data directory: whoever may open it is the operator.
    Socket,
}
