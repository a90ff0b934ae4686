//! What attackers, races and careless callers do, across operations.

mod members;
mod roles;
mod subscriptions;
mod usage;
