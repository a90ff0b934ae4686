//! Who calls. The extractor is the permission: a handler that takes a [`Caller`] or an [`Operator`] cannot run
//! without one, and there is no other way to make either.

mod caller;
mod id;
mod operator;

pub(crate) use caller::{ApiContext, Caller, source_of};
pub(crate) use id::{Id, Ids};
pub(crate) use operator::{Operator, OperatorOrMember, claimed_member};
