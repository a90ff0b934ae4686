//! Rotation: the same key, a new secret, and an overlap in which both work.

use claviger_domain::audit::Action;
use claviger_domain::change::Revision;
use claviger_domain::definition::Api;
use claviger_domain::format::KeyFormat;
use claviger_domain::id::KeyId;
use claviger_domain::key::{Key, OldSecret};
use claviger_domain::limits;

use super::{Issued, Means, find_api, find_for_mutation, must_not_be_final, put_key};
use crate::{Actor, App, AppError, KeyRow, Mutation};

impl App {
    /// Gives a key a new secret. The old one dies at once, or after `overlap_seconds`, which never reaches past
    /// the key's expiry. An overlap that still runs ends: of three secrets, the oldest is dead.
    pub async fn rotate_key(
        &self,
        actor: &Actor,
        id: KeyId,
        overlap_seconds: i64,
        if_match: Option<Revision>,
    ) -> Result<Mutation<Issued>, AppError> {
        if !(0..=limits::OVERLAP_SECONDS_MAX).contains(&overlap_seconds) {
            let message = format!("must be from 0 to {} (seven days)", limits::OVERLAP_SECONDS_MAX);
            return Err(AppError::invalid("overlap_seconds", message));
        }
        let mut work = self.begin(actor).await?;
        let now = work.now;
        let (_, row) = find_for_mutation(&mut work, actor, id, if_match, Means::Change).await?;
        let mut key = row.key.clone();
        must_not_be_final(&key, now)?;
        let api = find_api(&mut work.tx, &key.api).await?;
        let format = format_for(&api, &key)?;
        let secret = format.issue(&*self.entropy);
        key.old_secret = match now.plus_seconds(overlap_seconds) {
            Some(end) if overlap_seconds > 0 => Some(OldSecret {
                digest: key.digest,
                overlap_ends_at: key.expires_at.map_or(end, |expires_at| expires_at.min(end)),
            }),
            _ => None,
        };
        key.digest = secret.digest();
        key.hint = secret.hint();
        key.prefix.clone_from(&format.prefix);
        key.rotated_at = Some(now.to_whole_seconds());
        put_key(&mut work, Action::KeyRotated, &row.key, &key).await?;
        let revision = work.tx.revision();
        let row = KeyRow { key, last_used: self.with_last_used(row).last_used, revision };
        Ok(work.done(Issued { row, secret }))
    }
}

/// The format of the new secret: the key's own, or the one that took its place when it was retired.
fn format_for<'a>(api: &'a Api, key: &Key) -> Result<&'a KeyFormat, AppError> {
    let own = api.definition.choose_format(Some(&key.prefix), Some(key.kind), Some(key.environment));
    own.or_else(|| api.definition.choose_format(None, Some(key.kind), Some(key.environment))).ok_or_else(|| {
        AppError::conflict(format!("This API issues no {} {} keys any more.", key.environment, key.kind))
    })
}
