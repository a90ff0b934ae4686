//! The suite, which each database runs in a test binary of its own.

pub(crate) mod audit;
mod bulk;
mod group_commit;
pub(crate) mod import;
mod lifecycle;
pub(crate) mod support;
mod test_keys;
mod usage_and_definitions;
