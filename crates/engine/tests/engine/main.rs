//! The engine from outside: verdicts, the directory, usage, and agreement with a naive model.

mod directory;
mod model;
mod support;
mod threads;
mod usage;
mod verdicts;
