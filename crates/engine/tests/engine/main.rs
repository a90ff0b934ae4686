//! The engine from outside: verdicts, the directory, usage, and agreement with a naive model.

#![allow(clippy::unwrap_used, reason = "a test ends where something is not as it should be")]

mod dead;
mod directory;
mod limits;
mod limits_model;
mod model;
mod networks;
mod plans;
mod support;
mod threads;
mod usage;
mod verdicts;
