//! The suite, which each database runs in a test binary of its own.

mod alert_mails;
mod alerts;
pub(crate) mod audit;
mod bulk;
mod counters;
mod delivery;
mod going_back;
mod group_commit;
pub(crate) mod import;
mod leaving;
mod lifecycle;
mod mail;
mod members;
mod networks;
mod operators;
mod plans;
mod receiver;
mod retention;
pub(crate) mod support;
mod test_keys;
mod usage_and_definitions;
mod usage_reports;
mod visits;
