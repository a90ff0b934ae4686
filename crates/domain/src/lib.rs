//! What things are: ids, secrets, key formats, scopes, restrictions, definitions, denials, changes.
//!
//! This crate decides nothing and keeps nothing. It turns outside text into values that cannot be wrong
//! (parse once, at the edge) and back, and it is shared by the control plane and the data plane so that
//! both mean the same thing by the same word. It has no I/O, no async, and reads neither the clock nor
//! the system's randomness except in the two implementations in [`time`] and [`random`] that the binary
//! wires in.
//!
//! Reading order: [`key`] (the record everything is about), [`secret`] and [`mod@format`] (what a holder
//! presents), [`scope`] and [`restriction`] (what it may do), [`definition`] (the api it belongs to),
//! [`plan`], [`subscription`] and [`period`] (what an organization bought, and for when),
//! [`denial`] and [`wire`] (how "no" is said), [`change`] (how the data plane learns), [`event`], [`webhook`] and
//! [`mail`] (how people and their programs learn).

pub mod address;
pub mod alert;
pub mod audit;
pub mod change;
pub mod credential;
pub mod day;
pub mod definition;
pub mod denial;
pub mod endpoint;
pub mod event;
pub mod format;
pub mod id;
pub mod key;
pub mod limits;
pub mod mail;
pub mod mask;
pub mod member;
pub mod network;
pub mod organization;
pub mod path;
pub mod peer;
pub mod period;
pub mod plan;
pub mod random;
pub mod referrer;
pub mod restriction;
pub mod scope;
pub mod secret;
pub mod subscription;
pub mod time;
pub mod webhook;
pub mod wire;
