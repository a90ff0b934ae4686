//! How one message leaves the house: an event by HTTP to somebody's webhook endpoint, a mail by SMTP.
//!
//! This crate sends once and says what came of it. It keeps nothing, repeats nothing and knows no database: when to try
//! again, and what an answer means for the next attempt, the app decides.
//!
//! Where a webhook goes is written down by others, so nothing about it is trusted: see [`address`] for where a request may
//! go at all and [`Courier::post`] for how it is held to that.
//!
//! Reading order: [`signature`] (what is said), [`address`] and [`target`] (where to), [`authorities`] (whom to trust), [`webhook`]
//! and [`mail`] (how).

pub mod address;
pub mod authorities;
pub mod mail;
pub mod signature;
pub mod target;
pub mod webhook;

pub use authorities::{Authorities, AuthoritiesError};
pub use mail::{MailFailure, Mailer, MailerError, Sender, SmtpUrl};
pub use target::{Target, TargetError};
pub use webhook::{Answer, Courier, Patience, Post, Reach};
