//! The operations on the embedded database.

#![allow(clippy::unwrap_used, reason = "a test ends where something is not as it should be")]

mod suite;
#[path = "suite/tampering.rs"]
mod tampering;

const DATABASE: suite::support::Kind = suite::support::Kind::Sqlite;
