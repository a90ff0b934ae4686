//! Who acts, and how far they see and reach.

use claviger_domain::alert::Alert;
use claviger_domain::audit::{Action, AuditEvent, Audited, Author, Source, difference};
use claviger_domain::change::Revision;
use claviger_domain::definition::{API_KEYS_READ, API_KEYS_WRITE, Api, USAGE_READ};
use claviger_domain::denial::Denial;
use claviger_domain::id::{AdminTokenId, KeyId, MemberId, OrganizationId};
use claviger_domain::key::{Environment, Key, Kind, State};
use claviger_domain::member::{Member, Role};
use claviger_domain::organization::{Organization, OrganizationStatus};
use claviger_domain::scope::Scope;
use claviger_domain::subscription::{Gate, Subscription, terms};
use claviger_domain::time::Timestamp;
use claviger_store::idempotency::Attempt;
use claviger_store::{Connection, Tx, admin_tokens, apis, keys, members, organizations, subscriptions};
use serde_json::{Map, Value};

use crate::AppError;

/// Who asks for an operation, from where, and whether it may be a repetition.
#[derive(Clone, Debug)]
pub struct Actor {
    identity: Identity,
    source: Source,
    attempt: Option<Attempt>,
    /// The admin token with which somebody acts for a member.
    by: Option<AdminTokenId>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Identity {
    Operator,
    AdminToken(AdminTokenId),
    Key(KeyId),
    OldSecret(KeyId),
    Member(MemberId),
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

    /// A member, for whom somebody acts that the operator trusts: whoever holds an admin token and says so.
    pub fn member(id: MemberId, by: Option<AdminTokenId>, source: Source) -> Self {
        Self { by, ..Self::new(Identity::Member(id), source) }
    }

    /// Claviger itself, because of the time.
    pub(crate) fn system() -> Self {
        Self::new(Identity::System, Source::Process)
    }

    fn new(identity: Identity, source: Source) -> Self {
        Self { identity, source, attempt: None, by: None }
    }

    /// The same actor, asking for something that it may have asked for already.
    pub fn with_attempt(self, attempt: Option<Attempt>) -> Self {
        Self { attempt, ..self }
    }

    /// The key that acts.
    pub(crate) fn acting_key(&self) -> Option<KeyId> {
        match self.identity {
            Identity::Key(id) | Identity::OldSecret(id) => Some(id),
            Identity::Operator | Identity::AdminToken(_) | Identity::Member(_) | Identity::System => None,
        }
    }

    pub(crate) fn attempt(&self) -> Option<&Attempt> {
        self.attempt.as_ref()
    }

    /// Only the operator may do this.
    pub(crate) fn must_be_operator(&self) -> Result<(), AppError> {
        match self.identity {
            Identity::Operator | Identity::AdminToken(_) | Identity::System => Ok(()),
            Identity::Key(_) | Identity::OldSecret(_) | Identity::Member(_) => {
                Err(AppError::forbidden("Only the operator can do this."))
            }
        }
    }

    /// An admin token that was revoked since it was recognised does nothing any more: the body of a request may come
    /// long after its head. Keys are looked up by each operation, which needs them.
    pub(crate) async fn must_not_be_revoked(&self, tx: &mut Tx) -> Result<(), AppError> {
        let ((Identity::AdminToken(id), _) | (_, Some(id))) = (self.identity, self.by) else { return Ok(()) };
        let token = admin_tokens::find(tx.without_new_keys(), id).await?;
        if token.is_some_and(|token| token.revoked_at.is_none()) { Ok(()) } else { Err(AppError::NotTheOperator) }
    }

    /// A member who was taken out of the organization is told nothing any more, what they were answered before included.
    pub(crate) async fn must_not_be_removed(&self, tx: &mut Tx) -> Result<(), AppError> {
        let Identity::Member(id) = self.identity else { return Ok(()) };
        members::find(tx.without_new_keys(), id).await?.ok_or(AppError::UnknownMember { what: "member" }).map(drop)
    }

    /// Who it is, for the audit log.
    pub(crate) fn author(&self) -> Author {
        match self.identity {
            Identity::Operator => Author::Operator,
            Identity::AdminToken(id) => Author::AdminToken(id),
            Identity::Key(id) | Identity::OldSecret(id) => Author::Key(id),
            Identity::Member(id) => Author::Member(id),
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

/// Somebody who manages members.
pub(crate) enum Managing {
    Operator,
    /// A member of this role.
    As(Role),
    /// A member who is about themselves.
    Themselves,
}

impl Managing {
    /// Nobody gives, takes or ends a role above their own.
    pub(crate) fn must_manage(&self, role: Role) -> Result<(), AppError> {
        match self {
            Self::As(Role::Admin) if role == Role::Owner => {
                Err(AppError::forbidden("An admin cannot manage an owner of the organization; it takes an owner."))
            }
            Self::As(mine) if !mine.may_manage(role) => Err(AppError::forbidden(format!(
                "A {} cannot manage the organization's members; it takes an admin or an owner.",
                mine.as_str()
            ))),
            Self::Operator | Self::As(_) | Self::Themselves => Ok(()),
        }
    }
}

impl Actor {
    /// Whether the actor is this member.
    pub(crate) fn is_member(&self, id: MemberId) -> bool {
        self.identity == Identity::Member(id)
    }

    /// Lets the actor manage an organization's members. Another organization's do not exist for them.
    pub(crate) async fn manage_members(
        &self,
        connection: &mut Connection,
        organization: OrganizationId,
    ) -> Result<Managing, AppError> {
        let managing = self.manage_members_or(connection, organization).await?;
        managing.must_manage(Role::Viewer)?;
        Ok(managing)
    }

    /// The same, or themselves: everybody may leave, and choose what they are mailed.
    pub(crate) async fn manage_members_or_self(
        &self,
        connection: &mut Connection,
        organization: OrganizationId,
        id: MemberId,
    ) -> Result<Managing, AppError> {
        let managing = self.manage_members_or(connection, organization).await?;
        Ok(if self.is_member(id) { Managing::Themselves } else { managing })
    }

    async fn manage_members_or(
        &self,
        connection: &mut Connection,
        organization: OrganizationId,
    ) -> Result<Managing, AppError> {
        let Identity::Member(id) = self.identity else {
            self.must_be_operator()?;
            return Ok(Managing::Operator);
        };
        let what = "organization";
        let member = members::find(connection, id).await?.ok_or(AppError::UnknownMember { what })?;
        if member.organization != organization {
            return Err(AppError::NotFound { what });
        }
        Ok(Managing::As(member.role))
    }

    /// Lets the actor look at an organization's members.
    pub(crate) async fn see_members(
        &self,
        connection: &mut Connection,
        organization: OrganizationId,
    ) -> Result<(), AppError> {
        self.manage_members_or(connection, organization).await.map(drop)
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
    /// Sees the organization's keys and manages them if the role allows it.
    Member(Box<Member>),
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
        if let Identity::Member(id) = self.identity {
            return act_as_member(connection, id, need).await;
        }
        let Some(found) = self.find(connection, now).await? else { return Ok(Acting::Operator) };
        let (organization, api) = (found.key.organization, found.key.api.clone());
        let subscription = subscriptions::find(connection, organization, &api).await?;
        let organization = organizations::find(connection, organization).await?;
        let api = apis::find(connection, &api).await?;
        found.act(Account::of(organization.as_ref(), api.as_ref(), subscription.as_ref()), need, now)
    }

    /// The same inside a transaction that writes.
    pub(crate) async fn look_up_to_write(&self, tx: &mut Tx, now: Timestamp) -> Result<Acting, AppError> {
        if let Identity::Member(id) = self.identity {
            return act_as_member(tx.without_new_keys(), id, Need::WriteKeys).await;
        }
        let Some(found) = self.find(tx.without_new_keys(), now).await? else { return Ok(Acting::Operator) };
        let organization = tx.find_organization(found.key.organization).await?;
        let subscription = tx.find_subscription(found.key.organization, &found.key.api).await?;
        let api = tx.find_api(&found.key.api).await?;
        found.act(Account::of(organization.as_ref(), api.as_deref(), subscription.as_ref()), Need::WriteKeys, now)
    }

    /// The key that acts, alive. The operator is none.
    async fn find(&self, connection: &mut Connection, now: Timestamp) -> Result<Option<FoundKey>, AppError> {
        let (id, by_old_secret) = match self.identity {
            Identity::Operator | Identity::AdminToken(_) | Identity::Member(_) | Identity::System => return Ok(None),
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

/// Whether keys of an organization work on an api.
struct Account(Gate);

impl Account {
    fn of(organization: Option<&Organization>, api: Option<&Api>, subscription: Option<&Subscription>) -> Self {
        let is_active = organization.is_some_and(|organization| organization.status == OrganizationStatus::Active);
        match api {
            Some(api) if is_active => Self(terms(&api.definition, subscription).0),
            _ => Self(Gate::Closed),
        }
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
    fn act(self, account: Account, need: Need, now: Timestamp) -> Result<Acting, AppError> {
        let Self { key, parent, by_old_secret } = self;
        if !account.0.is_open(now) {
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
    /// The least role that it takes.
    fn role(self) -> Role {
        match self {
            Self::ReadKeys | Self::ReadUsage => Role::Viewer,
            Self::WriteKeys => Role::Developer,
        }
    }

    fn scope(self) -> &'static str {
        match self {
            Self::ReadKeys => API_KEYS_READ,
            Self::WriteKeys => API_KEYS_WRITE,
            Self::ReadUsage => USAGE_READ,
        }
    }
}

/// A member who was taken out of the organization is nobody.
async fn act_as_member(connection: &mut Connection, id: MemberId, need: Need) -> Result<Acting, AppError> {
    let member = members::find(connection, id).await?.ok_or(AppError::UnknownMember { what: "member" })?;
    if member.role < need.role() {
        return Err(AppError::forbidden(format!(
            "A {} cannot do this; it takes a {} of the organization.",
            member.role.as_str(),
            need.role().as_str()
        )));
    }
    Ok(Acting::Member(Box::new(member)))
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
    /// The organization that a list is about, where this one was asked for. There is no other than their own for a member; it is
    /// not put in the place of one that was asked for, for the list would be taken for that one's.
    pub(crate) fn organization_asked(&self, asked: Option<OrganizationId>) -> Result<Option<OrganizationId>, AppError> {
        match self {
            Self::Operator => Ok(asked),
            Self::Member(member) if asked.is_some_and(|asked| asked != member.organization) => {
                Err(AppError::NotFound { what: "organization" })
            }
            Self::Member(member) => Ok(Some(member.organization)),
            Self::Key { key, .. } => Ok(Some(key.organization)),
        }
    }

    /// Whether the actor may know of the key. Another organization's or api's key does not exist for a key,
    /// and live keys do not exist for a test key.
    pub(crate) fn sees(&self, key: &Key) -> bool {
        match self {
            Self::Operator => true,
            Self::Member(member) => member.organization == key.organization,
            Self::Key { key: mine, .. } => {
                mine.organization == key.organization && mine.api == key.api && key.environment <= mine.environment
            }
        }
    }

    /// Whether the actor may know of the alert, which is about live keys: to a test key there is none.
    pub(crate) fn sees_alert(&self, alert: &Alert) -> bool {
        match self {
            Self::Operator => true,
            Self::Member(member) => member.organization == alert.organization,
            Self::Key { key, .. } => {
                key.organization == alert.organization && key.api == alert.api && !self.is_test_key()
            }
        }
    }

    /// The key that acts.
    pub(crate) fn key_id(&self) -> Option<KeyId> {
        match self {
            Self::Operator | Self::Member(_) => None,
            Self::Key { key, .. } => Some(key.id),
        }
    }

    /// Whether the actor holds a scope, and its parent too.
    pub(crate) fn holds(&self, scope: &Scope) -> bool {
        match self {
            Self::Operator | Self::Member(_) => true,
            Self::Key { key, parent, .. } => {
                key.scopes.contains(scope) && parent.as_ref().is_none_or(|parent| parent.scopes.contains(scope))
            }
        }
    }

    /// Whether what is made now is test data.
    pub(crate) fn is_test_key(&self) -> bool {
        matches!(self, Self::Key { key, .. } if key.environment == Environment::Test)
    }

    /// Whether the actor manages anything at all: a replaced secret and an ephemeral key do not.
    pub(crate) fn may_manage(&self) -> Result<(), AppError> {
        match self {
            Self::Key { by_old_secret: true, .. } => Err(old_secret()),
            Self::Key { key, .. } if key.kind == Kind::Ephemeral => {
                Err(AppError::forbidden("An ephemeral key cannot manage keys. Use a secret or restricted key."))
            }
            _ => Ok(()),
        }
    }

    /// Whether the actor may change the key as it is, before it is asked what it would become.
    ///
    /// An ephemeral key manages no key; it may only end itself. A parent manages its own children whatever they hold:
    /// they reach no further than it does anyway.
    pub(crate) fn may_change(&self, key: &Key, by_revoking: bool) -> Result<(), AppError> {
        let Self::Key { key: mine, by_old_secret, .. } = self else { return Ok(()) };
        if by_revoking && !by_old_secret && mine.kind == Kind::Ephemeral && mine.id == key.id {
            return Ok(());
        }
        self.may_manage()?;
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
