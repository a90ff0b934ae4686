//! What attackers send, against the real binary: tricks with paths, addresses, credentials and referrers, times at the edges,
//! smuggled and slow requests, floods. Every attack is tried at all three doors, and after each the server must still
//! serve an honest caller.
//!
//! The tricks are data (`corpora/`); `README.md` beside this file says what is in them and how to add a case.

#![allow(clippy::single_match_else, reason = "both ways are of one weight")]
#![allow(clippy::unwrap_used, reason = "helpers of tests: a failure here is the test's failure")]

#[path = "../support/mod.rs"]
mod support;

mod attrition;
mod clock;
mod corpora;
mod corpus;
mod doors;
mod environments;
mod floods;
mod nesting;
mod smuggling;
mod times;
mod wire;
