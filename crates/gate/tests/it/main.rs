//! The gate from outside: its doors through real sockets, its hot route in process.

mod sockets;
mod support;
mod verify;
