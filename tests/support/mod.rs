//! What the end-to-end tests share: the real binary ([`server`]), a raw HTTP client ([`http`]), and short words for
//! the things that every test needs ([`world`]).
//!
//! Nothing here knows what a right answer is, except for what must hold of *every* answer
//! ([`http::Response::must_be_sound`]): that is checked on each one that any test receives.

#![allow(dead_code, reason = "each test binary uses its part")]
#![allow(clippy::unwrap_used, reason = "helpers of tests: a failure here is the test's failure")]

pub(crate) mod curl;
pub(crate) mod http;
pub(crate) mod server;
pub(crate) mod world;
