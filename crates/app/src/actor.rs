//! Who acts, and how far they see and reach.

use claviger_domain::audit::{Action, AuditEvent, Audited, Author, Source, difference};
use claviger_domain::change::Revision;
use claviger_domain::definition::{API_KEYS_READ, API_KEYS_WRITE, USAGE_READ};
use claviger_domain::denial::Denial;
use claviger_domain::id::{AdminTokenId, KeyId, OrganizationId};
use claviger_domain::key::{Environment, Key, Kind, State};
use claviger_domain::organization::{Organization, OrganizationStatus};
use claviger_domain::scope::Scope;
use claviger_domain::time::Timestamp;
use claviger_store::idempotency::Attempt;
use claviger_store::{Connection, Tx, admin_tokens, keys, organizations};
use serde_json::{Map, Value};

use crate::AppError;

/// Who asks for an operation, from where, and whether it may be a repetition.
#[derive(Clone, Debug)]
pub struct Actor {
    identity: Identity,
    source: Source,
    attempt: Option<Attempt>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Identity {
    Operator,
    AdminToken(AdminTokenId),
    Key(KeyId),
    OldSecret(KeyId),
    System,
}

impl Actor {
    /// The operator, by the unix socket.
    pub fn operator() -> Self {
        Self::new(Identity::Operator, Source::Socket)
    }

    /// The operator, by an admin token that the app has just recognised.
    pub fn admin_token(id: AdminTokenId, source: Source) -> Self {
        Self::new(Identity::AdminToken(id), source)
    }

    /// The holder of a key that the engine has just allowed.
    pub fn key(id: KeyId, source: Source) -> Self {
        Self::new(Identity::Key(id), source)
    }

    /// The same, by the secret that the key's last rotation replaced. It may read and make ephemeral keys, so that a
    /// program goes on while it is moved to the new secret; it manages nothing, for it may be why there was a rotation.
    pub fn old_secret(id: KeyId, source: Source) -> Self {
        Self::new(Identity::OldSecret(id), source)
    }

    /// Claviger itself, because of the time.
    pub(crate) fn system() -> Self {
        Self::new(Identity::System, Source::Process)
    }

    fn new(identity: Identity, source: Source) -> Self {
        Self { identity, source, attempt: None }
    }

    /// The same actor, asking for something that it may have asked for already.
    pub fn with_attempt(self, attempt: Option<Attempt>) -> Self {
        Self { attempt, ..self }
    }

    /// The key that acts.
    pub(crate) fn acting_key(&self) -> Option<KeyId> {
        match self.identity {
            Identity::Key(id) | Identity::OldSecret(id) => Some(id),
            Identity::Operator | Identity::AdminToken(_) | Identity::System => None,
        }
    }

    pub(crate) fn attempt(&self) -> Option<&Attempt> {
        self.attempt.as_ref()
    }

    /// Only the operator may do this.
    pub(crate) fn must_be_operator(&self) -> Result<(), AppError> {
        match self.identity {
            Identity::Operator | Identity::AdminToken(_) | Identity::System => Ok(()),
            Identity::Key(_) | Identity::OldSecret(_) => Err(AppError::forbidden("Only the operator can do this.")),
        }
    }

    /// An admin token that was revoked since it was recognised does nothing any more: the body of a request may come
    /// long after its head. Keys are looked up by each operation, which needs them.
    pub(crate) async fn must_not_be_revoked(&self, tx: &mut Tx) -> Result<(), AppError> {
        let Identity::AdminToken(id) = self.identity else { return Ok(()) };
        let token = admin_tokens::find(tx.without_new_keys(), id).await?;
        if token.is_some_and(|token| token.revoked_at.is_none()) { Ok(()) } else { Err(AppError::NotTheOperator) }
    }

    /// Who it is, for the audit log.
    pub(crate) fn author(&self) -> Author {
        match self.identity {
            Identity::Operator => Author::Operator,
            Identity::AdminToken(id) => Author::AdminToken(id),
            Identity::Key(id) | Identity::OldSecret(id) => Author::Key(id),
            Identity::System => Author::System,
        }
    }

    /// What the audit log will say that this actor did.
    pub(crate) fn event(&self, now: Timestamp, deed: Deed) -> AuditEvent {
        let actor = self.author();
        let (before, after) = difference(deed.before, deed.after);
        AuditEvent {
            number: 0,
            at: now,
            actor,
            source: self.source,
            action: deed.action,
            target: deed.target,
            organization: deed.organization,
            before,
            after,
            revision: Revision::default(),
        }
    }
}

/// What was done to what.
pub(crate) struct Deed {
    pub(crate) action: Action,
    pub(crate) target: String,
    pub(crate) organization: Option<OrganizationId>,
    pub(crate) before: Option<Map<String, Value>>,
    pub(crate) after: Option<Map<String, Value>>,
}

impl Deed {
    /// Something done to a thing, from how it was to how it is.
    pub(crate) fn new<T: Audited>(
        action: Action,
        target: impl ToString,
        before: Option<&T>,
        after: Option<&T>,
    ) -> Self {
        Self {
            action,
            target: target.to_string(),
            organization: None,
            before: before.map(Audited::audit_view),
            after: after.map(Audited::audit_view),
        }
    }

    /// The same, with whose the thing is.
    pub(crate) fn of(self, organization: OrganizationId) -> Self {
        Self { organization: Some(organization), ..self }
    }
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
        &self,
        connection: &mut Connection,
        need: Need,
        now: Timestamp,
    ) -> Result<Acting, AppError> {
        let Some(found) = self.find(connection, now).await? else { return Ok(Acting::Operator) };
        let organization = organizations::find(connection, found.key.organization).await?;
        found.act(organization.as_ref(), need)
    }

    /// The same inside a transaction that writes.
    pub(crate) async fn look_up_to_write(&self, tx: &mut Tx, now: Timestamp) -> Result<Acting, AppError> {
        let Some(found) = self.find(tx.without_new_keys(), now).await? else { return Ok(Acting::Operator) };
        let organization = tx.find_organization(found.key.organization).await?;
        found.act(organization.as_ref(), Need::WriteKeys)
    }

    /// The key that acts, alive. The operator is none.
    async fn find(&self, connection: &mut Connection, now: Timestamp) -> Result<Option<FoundKey>, AppError> {
        let (id, by_old_secret) = match self.identity {
            Identity::Operator | Identity::AdminToken(_) | Identity::System => return Ok(None),
            Identity::Key(id) => (id, false),
            Identity::OldSecret(id) => (id, true),
        };
        let key = Box::new(find_alive(connection, id, now).await?);
        let parent = match key.parent_id {
            Some(parent_id) => Some(Box::new(find_alive(connection, parent_id, now).await?)),
            None => None,
        };
        Ok(Some(FoundKey { key, parent, by_old_secret }))
    }
}

/// A key that would act.
struct FoundKey {
    key: Box<Key>,
    parent: Option<Box<Key>>,
    by_old_secret: bool,
}

impl FoundKey {
    /// Lets it act for its organization.
    fn act(self, organization: Option<&Organization>, need: Need) -> Result<Acting, AppError> {
        let Self { key, parent, by_old_secret } = self;
        if organization.is_none_or(|organization| organization.status != OrganizationStatus::Active) {
            return Err(AppError::Denied(Denial::SubscriptionInactive));
        }
        let scope: Scope = need.scope().parse().expect("built-in scopes are scopes");
        if !key.scopes.contains(&scope) || parent.as_ref().is_some_and(|parent| !parent.scopes.contains(&scope)) {
            return Err(AppError::Denied(Denial::InsufficientScope));
        }
        Ok(Acting::Key { key, parent, by_old_secret })
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

    /// The key that acts.
    pub(crate) fn key_id(&self) -> Option<KeyId> {
        match self {
            Self::Operator => None,
            Self::Key { key, .. } => Some(key.id),
        }
    }

    /// Whether the actor holds a scope, and its parent too.
    pub(crate) fn holds(&self, scope: &Scope) -> bool {
        match self {
            Self::Operator => true,
            Self::Key { key, parent, .. } => {
                key.scopes.contains(scope) && parent.as_ref().is_none_or(|parent| parent.scopes.contains(scope))
            }
        }
    }

    /// Whether what is made now is test data.
    pub(crate) fn is_test_key(&self) -> bool {
        matches!(self, Self::Key { key, .. } if key.environment == Environment::Test)
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
