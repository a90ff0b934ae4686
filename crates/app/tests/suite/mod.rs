//! The suite, which each database runs in a test binary of its own.

mod import;
mod lifecycle;
pub(crate) mod support;
mod usage_and_definitions;
