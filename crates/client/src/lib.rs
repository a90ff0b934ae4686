//! The Rust SDK: guard a service with an engine in the same process, and manage a deployment from outside.
//!
//! It depends on the engine and the words of the domain, never on a server crate. The arrow may point
//! the other way: the server authorises its customer API with [`exchange::verdict_for`] too, so that
//! there is one place that turns an HTTP request into a question to the engine.
//!
//! Not here: feeding the engine. Whoever makes a [`Guard`] owns the engine and keeps it up to date.
//!
//! Reading order: [`guard`] (the tower layer), [`exchange`] (HTTP in, HTTP out), [`management`] (the client
//! of the admin API).

pub mod exchange;
pub mod guard;
pub mod management;

pub use self::guard::{Guard, GuardLayer, Verified};
pub use self::management::{Answer, Body, ClientError, Management, Place};
