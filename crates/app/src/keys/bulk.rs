//! Revoking many keys at once: whatever fits a selection.

use claviger_domain::audit::Action;
use claviger_domain::id::KeyId;
use claviger_domain::key::{Creator, Key, Revocation, State};
use claviger_domain::time::Timestamp;
use claviger_store::Connection;
use claviger_store::keys::{self, KeyRow, Selection};

use super::edit::check_reason;
use super::lineage::Lineage;
use super::put_key;
use crate::mutation::Work;
use crate::{Actor, App, AppError, Mutation};

/// Keys that one transaction revokes.
const KEYS_PER_TRANSACTION: usize = 500;
/// Keys that are named in the answer.
const SAMPLE_KEYS_MAX: usize = 20;

/// What revoking many keys did, or would do.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct BulkRevoked {
    /// Keys that fitted and were neither revoked nor expired.
    pub matched: i64,
    /// Those that this call revoked: none in a dry run, else all.
    pub revoked: i64,
    /// Keys that fitted and had been revoked before, by a call that was cut short for example.
    pub already_revoked: i64,
    /// Whether it only looked.
    pub dry_run: bool,
    /// The first of those that matched, at most twenty.
    pub sample: Vec<Key>,
}

impl App {
    /// Revokes every key that fits the selection and is neither revoked nor expired. When the last transaction is
    /// committed, which the caller does, all of them are refused everywhere. Only the operator may.
    ///
    /// Each transaction revokes 500 keys at most and stands for itself. Called again after it was cut short, it goes on
    /// with those that are left. The last transaction looks at all keys once more, so that none that was
    /// made meanwhile and fits is left when it ends.
    pub async fn revoke_keys(
        &self,
        actor: &Actor,
        selection: Selection,
        reason: Option<String>,
        dry_run: bool,
    ) -> Result<Mutation<BulkRevoked>, AppError> {
        actor.must_be_operator()?;
        must_select(&selection)?;
        if let Some(reason) = &reason {
            check_reason(reason)?;
        }
        // Many steps make a large future, which is not carried about by all that await it.
        Box::pin(self.revoke_selected(actor, &selection, reason, dry_run)).await
    }

    async fn revoke_selected(
        &self,
        actor: &Actor,
        selection: &Selection,
        reason: Option<String>,
        dry_run: bool,
    ) -> Result<Mutation<BulkRevoked>, AppError> {
        let now = self.now();
        // Creation is kept in whole seconds: a key of the second that runs could still be made, and would fit.
        if selection.issued_before.is_some_and(|before| before > now.to_whole_seconds()) {
            let message = "must be a second that has begun or an earlier one: keys made later would fit as well";
            return Err(AppError::invalid("issued_before", message));
        }
        // Nobody who writes waits while there is only something to count.
        let mut reader = self.store.read().await?;
        let search = Search::begin(&mut reader, selection, now).await?;
        let (matched, already_revoked) = search.count(&mut reader, now).await?;
        let mut done = BulkRevoked { already_revoked, dry_run, ..BulkRevoked::default() };
        if dry_run {
            let rows = search.list(&mut reader, now, None, SAMPLE_KEYS_MAX).await?;
            drop(reader);
            let sample = rows.into_iter().map(|row| row.key).collect();
            let work = self.begin(actor).await?;
            let revision = work.tx.revision_before();
            return Ok(work.at(BulkRevoked { matched, sample, ..done }, revision));
        }
        drop(reader);
        let mut work = self.begin(actor).await?;
        let mut search = Search::begin(work.tx.connection().await?, selection, work.now).await?;
        let mut past = None;
        loop {
            let rows = search.list(work.tx.connection().await?, work.now, past, KEYS_PER_TRANSACTION).await?;
            let is_short = rows.len() < KEYS_PER_TRANSACTION;
            let last = rows.last().map(|row| row.key.id);
            for row in rows {
                revoke(&mut work, &row.key, reason.clone()).await?;
                self.room.has_changed(row.key.organization, &row.key.api);
                done.revoked += 1;
                if done.sample.len() < SAMPLE_KEYS_MAX {
                    done.sample.push(row.key);
                }
            }
            done.matched = done.revoked;
            if is_short {
                // Keys may have been made since the search began.
                search = Search::begin(work.tx.connection().await?, selection, work.now).await?;
                if search.list(work.tx.connection().await?, work.now, None, 1).await?.is_empty() {
                    let revision = if last.is_some() { work.tx.revision() } else { work.tx.revision_before() };
                    return Ok(work.at(done, revision));
                }
            }
            past = last.filter(|_| !is_short);
            work.done(()).commit().await?;
            work = self.begin(actor).await?;
        }
    }
}

/// Finds the keys that fit a selection.
struct Search<'s> {
    selection: &'s Selection,
    /// With a key or a member as their creator, all that come from it, in the order of their ids: those made with it, those made with
    /// these, and so on. Whoever had a secret that leaked may have made keys with keys that they made.
    descendants: Option<Vec<KeyId>>,
}

impl<'s> Search<'s> {
    async fn begin(connection: &mut Connection, selection: &'s Selection, now: Timestamp) -> Result<Self, AppError> {
        let descendants = match selection.created_by {
            Some(creator @ (Creator::Key(_) | Creator::Member(_))) => {
                let made = Lineage::of(connection, creator, now).await?.descendants([creator]);
                Some(made.iter().map(|key| key.id).collect())
            }
            Some(Creator::Operator) | None => None,
        };
        Ok(Self { selection, descendants })
    }

    /// Keys that are neither revoked nor expired, in the order of their ids, past one of them, at most `limit`.
    async fn list(
        &self,
        connection: &mut Connection,
        now: Timestamp,
        past: Option<KeyId>,
        limit: usize,
    ) -> Result<Vec<KeyRow>, AppError> {
        let Some(descendants) = &self.descendants else {
            return Ok(keys::list_selected(connection, self.selection, now, past, limit as u32).await?);
        };
        let mut found = Vec::new();
        let begun = past.map_or(0, |past| descendants.partition_point(|id| *id <= past));
        for ids in descendants[begun..].chunks(KEYS_PER_TRANSACTION) {
            let rows = keys::list_by_id(connection, ids).await?;
            found.extend(rows.into_iter().filter(|row| is_alive(&row.key, now) && self.fits(&row.key)));
            if found.len() >= limit {
                found.truncate(limit);
                break;
            }
        }
        Ok(found)
    }

    /// How many keys are neither revoked nor expired, and how many are revoked.
    async fn count(&self, connection: &mut Connection, now: Timestamp) -> Result<(i64, i64), AppError> {
        let Some(descendants) = &self.descendants else {
            return Ok(keys::count_selected(connection, self.selection, now).await?);
        };
        let (mut alive, mut revoked) = (0, 0);
        for ids in descendants.chunks(KEYS_PER_TRANSACTION) {
            for row in keys::list_by_id(connection, ids).await?.iter().filter(|row| self.fits(&row.key)) {
                alive += i64::from(is_alive(&row.key, now));
                revoked += i64::from(row.key.revocation.is_some());
            }
        }
        Ok((alive, revoked))
    }

    /// Whether a descendant is selected by the rest.
    fn fits(&self, key: &Key) -> bool {
        let Selection { organization, api, created_by: _, kind, environment, issued_before } = self.selection;
        organization.is_none_or(|organization| organization == key.organization)
            && api.as_ref().is_none_or(|api| *api == key.api)
            && kind.is_none_or(|kind| kind == key.kind)
            && environment.is_none_or(|environment| environment == key.environment)
            && issued_before.is_none_or(|before| key.created_at < before)
    }
}

fn is_alive(key: &Key, now: Timestamp) -> bool {
    !matches!(key.state(now), State::Revoked | State::Expired)
}

/// An empty selection would be every key there is.
fn must_select(selection: &Selection) -> Result<(), AppError> {
    let Selection { organization, created_by, kind, issued_before, api: _, environment: _ } = selection;
    if organization.is_none() && created_by.is_none() && kind.is_none() && issued_before.is_none() {
        let message = "Name at least one of organization, created_by, kind and issued_before.".to_owned();
        return Err(AppError::Invalid { field: None, message });
    }
    Ok(())
}

pub(crate) async fn revoke(work: &mut Work, before: &Key, reason: Option<String>) -> Result<(), AppError> {
    let revocation = Some(Revocation { at: work.now.to_whole_seconds(), reason });
    let key = Key { revocation, old_secret: None, ..before.clone() };
    put_key(work, Action::KeyRevoked, before, &key).await
}
