//! The gate from outside: its doors through real sockets, its hot route in process.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod sockets;
mod support;
mod verify;
