//! Editing keys: update, disable, enable, revoke.

use claviger_domain::address::IpRule;
use claviger_domain::audit::Action;
use claviger_domain::change::Revision;
use claviger_domain::endpoint::EndpointPattern;
use claviger_domain::id::KeyId;
use claviger_domain::key::{Key, Metadata, Name, Revocation, is_deceptive};
use claviger_domain::limits;
use claviger_domain::plan::OverKeyLimit;
use claviger_domain::referrer::ReferrerRule;
use claviger_domain::scope::Scopes;
use claviger_domain::time::Timestamp;
use claviger_store::key_counts;

use super::room::{Class, KeyLimit, Place};
use super::{Means, check, find_api, find_for_mutation, find_parent, must_not_be_final, put_key};
use crate::mutation::Work;
use crate::{Actor, App, AppError, KeyRow, Mutation};

/// What to change of a key. `None` leaves a thing as it is; in restrictions and expiry, `Some(None)` lifts it.
#[derive(Clone, Debug, Default)]
pub struct UpdateKey {
    /// The name.
    pub name: Option<Name>,
    /// What it may do.
    pub scopes: Option<Scopes>,
    /// The `ip` restriction.
    pub ip: Option<Option<Vec<IpRule>>>,
    /// The `referrer` restriction.
    pub referrer: Option<Option<Vec<ReferrerRule>>>,
    /// The `endpoint` restriction.
    pub endpoint: Option<Option<Vec<EndpointPattern>>>,
    /// Says that a network of all addresses is meant.
    pub allow_any_ip: bool,
    /// When it dies by itself.
    pub expires_at: Option<Option<Timestamp>>,
    /// What the holder keeps beside it, replaced as a whole.
    pub metadata: Option<Metadata>,
}

impl App {
    /// Changes a key. What is narrowed acts at once; nothing can become wider than the key in hand.
    pub async fn update_key(
        &self,
        actor: &Actor,
        id: KeyId,
        input: UpdateKey,
        if_match: Option<Revision>,
    ) -> Result<Mutation<KeyRow>, AppError> {
        let mut work = self.begin(actor).await?;
        let now = work.now;
        let (acting, row) = find_for_mutation(&mut work, actor, id, if_match, Means::Change).await?;
        must_not_be_final(&row.key, now)?;
        let api = find_api(&mut work.tx, &row.key.api).await?;
        let allow_any_ip = input.allow_any_ip || input.ip.is_none();
        let key = patched(row.key.clone(), input);
        // What does not change is not judged again: a definition may have moved on since.
        let changes_scopes = key.scopes != row.key.scopes;
        let changes_restrictions = key.restrictions != row.key.restrictions;
        let changes_expiry = key.expires_at != row.key.expires_at;
        if changes_scopes {
            check::scopes(&key.scopes, key.kind, &api)?;
        }
        if changes_restrictions {
            check::restrictions(&key.restrictions, allow_any_ip, &api)?;
        }
        if changes_scopes || changes_restrictions {
            check::not_contradictory(&key, &api)?;
        }
        if changes_expiry {
            let format =
                api.definition.formats().iter().chain(&api.retired_formats).find(|format| format.prefix == key.prefix);
            check::expiry("expires_at", key.expires_at, format, key.created_at, now)?;
        }
        if acting.is_test_key() && check::is_test_data(&row.key) && !check::is_test_data(&key) {
            return Err(check::lives_too_long_for_test_data("expires_at"));
        }
        acting.must_outrank(&key)?;
        if (changes_scopes || changes_restrictions || changes_expiry)
            && let Some(parent) = find_parent(work.tx.connection().await?, &key).await?
            && !key.is_within(&parent)
        {
            return Err(AppError::forbidden("An ephemeral key cannot have more access than the key it was made with."));
        }
        self.put_edited(work, Action::KeyUpdated, row, key).await
    }

    /// Switches a key off until it is enabled.
    pub async fn disable_key(
        &self,
        actor: &Actor,
        id: KeyId,
        if_match: Option<Revision>,
    ) -> Result<Mutation<KeyRow>, AppError> {
        self.switch(actor, id, if_match, true).await
    }

    /// Switches a disabled key on.
    pub async fn enable_key(
        &self,
        actor: &Actor,
        id: KeyId,
        if_match: Option<Revision>,
    ) -> Result<Mutation<KeyRow>, AppError> {
        self.switch(actor, id, if_match, false).await
    }

    async fn switch(
        &self,
        actor: &Actor,
        id: KeyId,
        if_match: Option<Revision>,
        disabled: bool,
    ) -> Result<Mutation<KeyRow>, AppError> {
        let mut work = self.begin(actor).await?;
        let (_, row) = find_for_mutation(&mut work, actor, id, if_match, Means::Change).await?;
        must_not_be_final(&row.key, work.now)?;
        let key = Key { disabled, ..row.key.clone() };
        if row.key.disabled && !disabled {
            self.must_have_room_to_enable(&mut work, &row.key).await?;
        }
        let action = if disabled { Action::KeyDisabled } else { Action::KeyEnabled };
        self.put_edited(work, action, row, key).await
    }

    /// Where a smaller plan had keys disabled, they are not enabled again beyond it.
    async fn must_have_room_to_enable(&self, work: &mut Work, key: &Key) -> Result<(), AppError> {
        let api = find_api(&mut work.tx, &key.api).await?;
        let class = Class::of(key.kind);
        if api.definition.subscription_rules().over_key_limit == OverKeyLimit::Keep || class == Class::Ephemeral {
            return Ok(());
        }
        let limit = KeyLimit::find(&mut work.tx, Place { organization: key.organization, api: &api, class }).await?;
        let reader = work.tx.connection().await?;
        let counts = key_counts::count_live(reader, key.organization, &key.api, work.now).await?;
        if counts.enabled < limit.keys { Ok(()) } else { Err(limit.is_reached()) }
    }

    /// Ends a key for ever. When this returns, no engine accepts it. Doing it again changes nothing.
    pub async fn revoke_key(
        &self,
        actor: &Actor,
        id: KeyId,
        reason: Option<String>,
        if_match: Option<Revision>,
    ) -> Result<Mutation<KeyRow>, AppError> {
        if let Some(reason) = &reason {
            check_reason(reason)?;
        }
        let mut work = self.begin(actor).await?;
        let (_, row) = find_for_mutation(&mut work, actor, id, if_match, Means::Revoke).await?;
        let mut key = row.key.clone();
        key.revocation.get_or_insert(Revocation { at: work.now.to_whole_seconds(), reason });
        key.old_secret = None;
        self.put_edited(work, Action::KeyRevoked, row, key).await
    }

    /// Writes an edited key; one that is as it was needs no revision.
    async fn put_edited(
        &self,
        mut work: Work,
        action: Action,
        row: KeyRow,
        key: Key,
    ) -> Result<Mutation<KeyRow>, AppError> {
        if key == row.key {
            let revision = row.revision;
            return Ok(work.at(self.with_last_used(row), revision));
        }
        put_key(&mut work, action, &row.key, &key).await?;
        // A key that expires another time does not end now: it is no reason to count again.
        if action == Action::KeyRevoked {
            self.room.has_changed(key.organization, &key.api);
        }
        let revision = work.tx.revision();
        let value = self.with_last_used(KeyRow { key, last_used: row.last_used, revision });
        Ok(work.done(value))
    }
}

fn patched(mut key: Key, input: UpdateKey) -> Key {
    if let Some(name) = input.name {
        key.name = name;
    }
    if let Some(scopes) = input.scopes {
        key.scopes = scopes;
    }
    if let Some(ip) = input.ip {
        key.restrictions.ip = ip;
    }
    if let Some(referrer) = input.referrer {
        key.restrictions.referrer = referrer;
    }
    if let Some(endpoint) = input.endpoint {
        key.restrictions.endpoint = endpoint;
    }
    if let Some(metadata) = input.metadata {
        key.metadata = metadata;
    }
    if let Some(expires_at) = input.expires_at {
        key.expires_at = expires_at;
        // An overlap never reaches past the key's expiry.
        if let (Some(old), Some(expires_at)) = (&mut key.old_secret, expires_at) {
            old.overlap_ends_at = old.overlap_ends_at.min(expires_at);
        }
    }
    key
}

pub(super) fn check_reason(reason: &str) -> Result<(), AppError> {
    if reason.trim().is_empty() {
        return Err(AppError::invalid("reason", "must not be empty"));
    }
    if reason.chars().count() > limits::REASON_CHARS_MAX {
        return Err(AppError::invalid("reason", format!("is longer than {} characters", limits::REASON_CHARS_MAX)));
    }
    if reason.chars().any(is_deceptive) {
        return Err(AppError::invalid("reason", "must not contain control characters"));
    }
    Ok(())
}
