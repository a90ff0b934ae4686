//! The server over HTTP, in process, against a real app on a temporary database. The tree mirrors the URLs; `hostile` has what
//! attackers, races and careless callers do across them.
//!
//! Every answer to an operation of the API document is held against it: the status must be one it names, the body must
//! have the shape it gives.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod access;
mod admin;
mod customer;
mod deployment;
mod document;
mod hostile;
mod idempotency;
mod log;
mod ops;
mod outage;
mod wire;
