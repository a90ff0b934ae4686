//! Who acts, and how far they see and reach.

use claviger_domain::definition::{API_KEYS_READ, API_KEYS_WRITE, USAGE_READ};
use claviger_domain::denial::Denial;
use claviger_domain::id::KeyId;
use claviger_domain::key::{Key, Kind, State};
use claviger_domain::organization::OrganizationStatus;
use claviger_domain::scope::Scope;
use claviger_domain::time::Timestamp;
use claviger_store::{Connection, keys, organizations};

use crate::AppError;

/// Who asks for an operation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Actor {
    /// The operator: the unix socket or an admin token.
    Operator,
    /// The holder of a key that the engine has just allowed.
    Key(KeyId),
    /// The same, by the secret that the key's last rotation replaced. It may read and make ephemeral keys, so that a
    /// program goes on while it is moved to the new secret; it manages nothing, for it may be why there was a rotation.
    OldSecret(KeyId),
}

/// What the operation needs of a key that acts.
#[derive(Clone, Copy)]
pub(crate) enum Need {
    ReadKeys,
    WriteKeys,
    ReadUsage,
}

/// An actor looked up inside the operation's transaction.
#[derive(Clone, Debug)]
pub(crate) enum Acting {
    Operator,
    Key {
        key: Box<Key>,
        /// The key it was made with: an ephemeral key reaches no further than that one does now.
        parent: Option<Box<Key>>,
        by_old_secret: bool,
    },
}

impl Actor {
    /// Looks the actor up. A key that is dead by now, or no longer holds the scope, is denied.
    pub(crate) async fn look_up(
        self,
        connection: &mut Connection,
        need: Need,
        now: Timestamp,
    ) -> Result<Acting, AppError> {
        let (id, by_old_secret) = match self {
            Self::Operator => return Ok(Acting::Operator),
            Self::Key(id) => (id, false),
            Self::OldSecret(id) => (id, true),
        };
        let key = find_alive(connection, id, now).await?;
        let parent = match key.parent_id {
            Some(parent_id) => Some(Box::new(find_alive(connection, parent_id, now).await?)),
            None => None,
        };
        let organization = organizations::find(connection, key.organization).await?;
        if organization.is_none_or(|organization| organization.status != OrganizationStatus::Active) {
            return Err(AppError::Denied(Denial::SubscriptionInactive));
        }
        let scope: Scope = need.scope().parse().expect("built-in scopes are scopes");
        if !key.scopes.contains(&scope) || parent.as_ref().is_some_and(|parent| !parent.scopes.contains(&scope)) {
            return Err(AppError::Denied(Denial::InsufficientScope));
        }
        Ok(Acting::Key { key: Box::new(key), parent, by_old_secret })
    }
}

impl Need {
    fn scope(self) -> &'static str {
        match self {
            Self::ReadKeys => API_KEYS_READ,
            Self::WriteKeys => API_KEYS_WRITE,
            Self::ReadUsage => USAGE_READ,
        }
    }
}

async fn find_alive(connection: &mut Connection, id: KeyId, now: Timestamp) -> Result<Key, AppError> {
    let key = keys::find(connection, id).await?.ok_or(AppError::Denied(Denial::NotFound))?.key;
    match key.state(now) {
        State::Active => Ok(key),
        State::Disabled => Err(AppError::Denied(Denial::Disabled)),
        State::Expired => Err(AppError::Denied(Denial::Expired)),
        State::Revoked => Err(AppError::Denied(Denial::Revoked)),
    }
}

impl Acting {
    /// Whether the actor may know of the key. Another organization's or api's key does not exist for a key,
    /// and live keys do not exist for a test key.
    pub(crate) fn sees(&self, key: &Key) -> bool {
        match self {
            Self::Operator => true,
            Self::Key { key: mine, .. } => {
                mine.organization == key.organization && mine.api == key.api && key.environment <= mine.environment
            }
        }
    }

    /// Whether the actor may change the key as it is, before it is asked what it would become.
    ///
    /// An ephemeral key manages no key; it may only end itself. A parent manages its own children whatever they hold:
    /// they reach no further than it does anyway.
    pub(crate) fn may_change(&self, key: &Key, by_revoking: bool) -> Result<(), AppError> {
        let Self::Key { key: mine, by_old_secret, .. } = self else { return Ok(()) };
        if *by_old_secret {
            return Err(old_secret());
        }
        if mine.kind == Kind::Ephemeral {
            return if by_revoking && mine.id == key.id {
                Ok(())
            } else {
                Err(AppError::forbidden("An ephemeral key cannot manage keys. Use a secret or restricted key."))
            };
        }
        if key.parent_id == Some(mine.id) { Ok(()) } else { self.must_outrank(key) }
    }

    /// Nobody makes, rotates or edits a key that is stronger than the one in hand.
    pub(crate) fn must_outrank(&self, key: &Key) -> Result<(), AppError> {
        let Self::Key { key: mine, parent, .. } = self else {
            return Ok(());
        };
        let outranks = |mine: &Key| key.is_within(mine);
        if outranks(mine) && parent.as_deref().is_none_or(outranks) {
            return Ok(());
        }
        Err(AppError::forbidden(
            "This API key cannot manage a key with more access than it has itself: scopes, restrictions, \
             environment and expiry must all be within its own.",
        ))
    }
}

/// The answer to a replaced secret that would manage keys.
pub(crate) fn old_secret() -> AppError {
    AppError::forbidden("This secret was replaced by a rotation. Use the key's new secret to manage keys.")
}
