//! How things are kept: all SQL, the migrations, the transactions and the feed.
//!
//! This crate knows tables and nothing of rules: it never decides whether something may happen. Its
//! functions take a [`Connection`] when they read and a [`Tx`] when they write, so that whatever is
//! written stands in the transaction that also publishes its [`Change`](claviger_domain::change::Change).
//! Rows hold primitives and become domain values through checked conversions: a row that makes no
//! sense is a [`StoreError::Row`], never a panic.
//!
//! Reading order: [`database`] (reading, writing), `dialect` (in what SQLite and PostgreSQL differ), [`feed`] (revisions, changes), [`snapshot`]
//! (everything at once), then one module a table.

pub mod admin_tokens;
pub mod alerts;
pub mod apis;
pub mod audit;
pub mod counters;
pub mod database;
pub mod dead_keys;
pub mod deliveries;
mod dialect;
pub mod expiry;
pub mod feed;
pub mod idempotency;
pub mod invitations;
pub mod key_counts;
pub mod keys;
mod known;
pub mod mails;
pub mod members;
pub mod networks;
pub mod organizations;
#[cfg(test)]
mod query_plans;
pub mod retired_digests;
mod row;
mod rows;
pub mod running_periods;
pub mod snapshot;
pub mod subscriptions;
pub mod usage;
pub mod usage_reports;
pub mod usage_retention;
pub mod verifiers;
pub mod webhooks;

pub use database::{OpenError, Store, StoreError, Tx};
pub use dialect::{Connection, Database, DatabaseError};

/// A page of a list that is read from newest to oldest.
#[derive(Clone, Copy, Debug)]
pub struct PageRequest<C> {
    /// The last row of the page before.
    pub after: Option<C>,
    /// Most rows wanted.
    pub limit: u32,
}

/// Some rows of a list.
#[derive(Clone, Debug)]
pub struct Page<T> {
    /// The rows.
    pub rows: Vec<T>,
    /// Whether there are more after them.
    pub more: bool,
}

impl<T> Page<T> {
    /// Makes a page of rows that were read with one more than the limit, which tells whether there are more.
    pub(crate) fn of(mut rows: Vec<T>, limit: u32) -> Self {
        let more = rows.len() > limit as usize;
        rows.truncate(limit as usize);
        Self { rows, more }
    }
}
