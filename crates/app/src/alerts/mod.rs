//! Alerts: what is unusual about live keys, or about to happen to them.
//!
//! The rules stand in [`rules`], without any I/O.

pub mod rules;
