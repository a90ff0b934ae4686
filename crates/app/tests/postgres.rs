//! The operations on PostgreSQL.

mod suite;

const DATABASE: suite::support::Kind = suite::support::Kind::Postgres;
