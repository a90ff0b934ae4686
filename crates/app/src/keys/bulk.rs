//! Revoking many keys at once: whatever fits a selection.

use claviger_domain::audit::Action;
use claviger_domain::key::{Key, Revocation};
use claviger_store::keys::{self, Selection};

use super::edit::check_reason;
use super::put_key;
use crate::mutation::Work;
use crate::{Actor, App, AppError, Mutation};

/// Keys that one transaction revokes.
const KEYS_PER_TRANSACTION: u32 = 500;
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
        let mut work = self.begin(actor).await?;
        // Creation is kept in whole seconds: a key of the second that runs could still be made, and would fit.
        if selection.issued_before.is_some_and(|before| before > work.now.to_whole_seconds()) {
            let message = "must be a second that has begun or an earlier one: keys made later would fit as well";
            return Err(AppError::invalid("issued_before", message));
        }
        let (matched, already_revoked) =
            keys::count_selected(work.tx.connection().await?, &selection, work.now).await?;
        let mut done = BulkRevoked { already_revoked, dry_run, ..BulkRevoked::default() };
        if dry_run {
            let limit = SAMPLE_KEYS_MAX as u32;
            let rows = keys::list_selected(work.tx.connection().await?, &selection, work.now, None, limit).await?;
            let sample = rows.into_iter().map(|row| row.key).collect();
            let revision = work.tx.revision_before();
            return Ok(work.at(BulkRevoked { matched, sample, ..done }, revision));
        }
        let mut past = None;
        loop {
            let rows =
                keys::list_selected(work.tx.connection().await?, &selection, work.now, past, KEYS_PER_TRANSACTION)
                    .await?;
            let is_short = rows.len() < KEYS_PER_TRANSACTION as usize;
            let last = rows.last().map(|row| row.key.id);
            for row in rows {
                revoke(&mut work, &row.key, reason.clone()).await?;
                done.revoked += 1;
                if done.sample.len() < SAMPLE_KEYS_MAX {
                    done.sample.push(row.key);
                }
            }
            done.matched = done.revoked;
            let is_left = async |work: &mut Work| {
                let left = keys::list_selected(work.tx.connection().await?, &selection, work.now, None, 1).await?;
                Ok::<_, AppError>(!left.is_empty())
            };
            if is_short && !is_left(&mut work).await? {
                let revision = if last.is_some() { work.tx.revision() } else { work.tx.revision_before() };
                return Ok(work.at(done, revision));
            }
            past = last.filter(|_| !is_short);
            work.done(()).commit().await?;
            work = self.begin(actor).await?;
        }
    }
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

async fn revoke(work: &mut Work, before: &Key, reason: Option<String>) -> Result<(), AppError> {
    let revocation = Some(Revocation { at: work.now.to_whole_seconds(), reason });
    let key = Key { revocation, old_secret: None, ..before.clone() };
    put_key(work, Action::KeyRevoked, before, &key).await
}
