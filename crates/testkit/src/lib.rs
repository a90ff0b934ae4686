//! Real servers for tests, started on free ports and gone with the test process, however it ends.
//!
//! Not part of the product: only tests depend on it. A server runs below a small shell that waits on a pipe
//! from the test process; when that closes, by a normal end or a crash, the shell stops the server and removes
//! its folder. Nothing is left behind and nothing is shared between test processes.

mod postgres;

pub use postgres::Postgres;
