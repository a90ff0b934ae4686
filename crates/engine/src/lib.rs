//! The engine: may this key do this, from there, now?
//!
//! A pure in-memory machine. It is told everything by the feed ([`Engine::load`], [`Engine::apply`]) and
//! answers [`Engine::verify`] from memory: no lock, no wait, no allocation on the way to a yes. It has no
//! I/O and no async, and knows neither clock nor randomness nor HTTP: time is a parameter, the request comes parsed,
//! and the verdict is a plain value.
//!
//! Reading order: [`verdict`] (the question and the answer), `verify` (the decision), [`directory`] (the apis),
//! `record` and `index` (how keys are kept, and why a reader needs no lock), `accounts` (what holds for all keys of an
//! organization on an api), `limits` (rate limits and quotas, and why they are exact), `writer` (how news is taken in), [`usage`]
//! (how verdicts are counted without losing one), `callers` and `unknown_keys` (what may be unusual). `slab`, `texts` and `sync` are what these stand on.

#![allow(
    clippy::inline_always,
    reason = "the checks of a verdict are one straight walk; calls between them were measured"
)]

mod accounts;
mod calendars;
mod callers;
pub mod directory;
mod engine;
mod error;
mod index;
mod limits;
#[cfg(all(test, loom))]
mod loom_tests;
mod record;
mod scopes;
mod shared;
mod slab;
mod sync;
mod texts;
mod unknown_keys;
pub mod usage;
pub mod verdict;
mod verify;
mod writer;

pub use callers::Caller;
pub use directory::{CompiledApi, Directory, Limit};
pub use engine::{Description, Engine, EngineOptions};
pub use error::ApplyError;
pub use unknown_keys::UnknownKeyCalls;
pub use usage::{Outcome, Usage, UsageTotal};
pub use verdict::{ApiIndex, Limits, Request, ScopeIndex, Verdict, VerifiedKey};
