//! The life of keys: create, import, show, list, update, rotate, disable, enable, revoke one or many.

pub(crate) mod bulk;
mod check;
mod create;
mod edit;
mod import;
pub(crate) mod lineage;
mod room;
mod rotate;

use std::sync::Arc;

use claviger_domain::audit::Action;
use claviger_domain::change::{Change, Revision};
use claviger_domain::definition::Api;
use claviger_domain::denial::Denial;
use claviger_domain::id::KeyId;
use claviger_domain::key::{ApiName, Key, State};
use claviger_domain::secret::{IssuedSecret, SecretDigest};
use claviger_domain::time::Timestamp;
use claviger_store::{Connection, Page, PageRequest, Tx, keys, retired_digests};

pub use bulk::BulkRevoked;
pub use create::{CreateKey, KeyPlace, Lifetime};
pub use edit::UpdateKey;
pub use import::{ImportKey, ImportKeys, ImportPlace, ImportedKeys};
pub(crate) use room::{Class, KeyLimit, Place, Room};

use crate::actor::{Acting, Deed, Need};
use crate::mutation::Work;
use crate::{Actor, App, AppError, KeyFilter, KeyRow};

/// A key with a secret that was just made. The secret exists nowhere else.
pub struct Issued {
    /// The key.
    pub row: KeyRow,
    /// Its new secret.
    pub secret: IssuedSecret,
}

impl App {
    /// Shows a key.
    pub async fn find_key(&self, actor: &Actor, id: KeyId) -> Result<KeyRow, AppError> {
        let mut reader = self.store.read().await?;
        let acting = actor.look_up(&mut reader, Need::ReadKeys, self.now()).await?;
        let row = find_visible(&mut reader, &acting, id).await?;
        Ok(self.with_last_used(row))
    }

    /// Lists keys, newest first. A key that acts sees its own organization and api, a test key test keys only. To a member
    /// another organization does not exist.
    pub async fn list_keys(
        &self,
        actor: &Actor,
        filter: KeyFilter,
        page: PageRequest<KeyId>,
    ) -> Result<Page<KeyRow>, AppError> {
        let now = self.now();
        let mut reader = self.store.read().await?;
        let mut filter = filter;
        let acting = actor.look_up(&mut reader, Need::ReadKeys, now).await?;
        filter.organization = acting.organization_asked(filter.organization)?;
        if let Acting::Key { key, .. } = acting {
            filter.api = Some(key.api.clone());
            if filter.environment.is_some_and(|environment| environment > key.environment) {
                return Ok(Page { rows: Vec::new(), more: false });
            }
            if key.environment == claviger_domain::key::Environment::Test {
                filter.environment = Some(key.environment);
            }
        }
        let page = keys::list(&mut reader, &filter, now, page).await?;
        let rows = page.rows.into_iter().map(|row| self.with_last_used(row)).collect();
        Ok(Page { rows, more: page.more })
    }
}

/// The key, if there is one that the actor may know of.
async fn find_visible(connection: &mut Connection, acting: &Acting, id: KeyId) -> Result<KeyRow, AppError> {
    let row = keys::find(connection, id).await?.filter(|row| acting.sees(&row.key));
    row.ok_or(AppError::NotFound { what: "API key" })
}

/// What a mutation does to a key.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Means {
    /// Anything that the key survives.
    Change,
    /// The end of it.
    Revoke,
}

/// The key that a mutation is about: visible, not stronger than the actor, and as the caller last saw it.
async fn find_for_mutation(
    work: &mut Work,
    actor: &Actor,
    id: KeyId,
    if_match: Option<Revision>,
    means: Means,
) -> Result<(Acting, KeyRow), AppError> {
    let acting = actor.look_up_to_write(&mut work.tx, work.now).await?;
    let row = find_visible(work.tx.connection().await?, &acting, id).await?;
    acting.may_change(&row.key, means == Means::Revoke)?;
    if if_match.is_some_and(|revision| revision != row.revision) {
        return Err(AppError::PreconditionFailed);
    }
    Ok((acting, row))
}

/// A revoked or expired key stays as it is for ever.
fn must_not_be_final(key: &Key, now: Timestamp) -> Result<(), AppError> {
    match key.state(now) {
        State::Active | State::Disabled => Ok(()),
        State::Expired => Err(AppError::conflict("An expired API key cannot be changed. Create a new one.")),
        State::Revoked => Err(AppError::conflict("A revoked API key cannot be changed. Create a new one.")),
    }
}

async fn find_api(tx: &mut Tx, name: &ApiName) -> Result<Arc<Api>, AppError> {
    tx.find_api(name).await?.ok_or(AppError::NotFound { what: "API" })
}

/// The key that an ephemeral key was or will be made with.
async fn find_parent(connection: &mut Connection, key: &Key) -> Result<Option<Key>, AppError> {
    let Some(parent_id) = key.parent_id else {
        return Ok(None);
    };
    let parent = keys::find(connection, parent_id).await?.ok_or(AppError::Denied(Denial::Revoked))?;
    Ok(Some(parent.key))
}

/// Writes an altered key and tells of it. What it no longer answers to stays known, or an import would take it for new.
pub(crate) async fn put_key(work: &mut Work, action: Action, before: &Key, key: &Key) -> Result<(), AppError> {
    keys::update(&mut work.tx, key).await?;
    let lost: Vec<SecretDigest> = digests(before).filter(|had| digests(key).all(|has| has != *had)).collect();
    if !lost.is_empty() {
        retired_digests::create_all(&mut work.tx, key, &lost, work.now).await?;
    }
    let deed = Deed::new(action, key.id, Some(before), Some(key)).of(key.organization);
    work.tell(Change::Key(Box::new(key.clone())), deed);
    Ok(())
}

pub(crate) fn digests(key: &Key) -> impl Iterator<Item = SecretDigest> {
    [key.digest].into_iter().chain(key.old_secret.map(|old| old.digest))
}
