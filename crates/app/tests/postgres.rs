//! The operations on PostgreSQL.

#![allow(clippy::unwrap_used, reason = "a test ends where something is not as it should be")]

mod suite;

const DATABASE: suite::support::Kind = suite::support::Kind::Postgres;
