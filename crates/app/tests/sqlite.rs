//! The operations on the embedded database.

mod suite;

const DATABASE: suite::support::Kind = suite::support::Kind::Sqlite;
