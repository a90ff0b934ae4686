//! How many keys an organization may still make.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use claviger_domain::id::OrganizationId;
use claviger_domain::key::ApiName;
use claviger_domain::limits;
use claviger_domain::time::Timestamp;
use claviger_store::{Tx, keys};

use crate::AppError;

/// Places that are remembered; beyond it all are forgotten and counted anew.
const PLACES_MAX: usize = 100_000;

/// What is left of [`limits::KEYS_PER_ORGANIZATION_MAX`] for certain, by organization and api.
///
/// Counting an organization's keys takes time, and only making keys brings a count up. So after one exact count, as
/// many keys may be made uncounted as there was room for. When that is used up it is counted again: the
/// keys that died meanwhile make new room.
#[derive(Default)]
pub(crate) struct Room(Mutex<HashMap<(OrganizationId, ApiName), i64>>);

impl Room {
    /// Takes room for one key, to be made in this transaction.
    pub(crate) async fn take(
        &self,
        tx: &mut Tx,
        organization: OrganizationId,
        api: &ApiName,
        now: Timestamp,
    ) -> Result<(), AppError> {
        let place = (organization, api.clone());
        if let Some(left) = self.lock().get_mut(&place).filter(|left| **left > 0) {
            *left -= 1;
            return Ok(());
        }
        let live = keys::count_live(tx.connection().await?, organization, api, now).await?;
        if live >= limits::KEYS_PER_ORGANIZATION_MAX {
            let message = format!(
                "The organization has {} API keys already, which is the limit. Revoke keys that are not used.",
                limits::KEYS_PER_ORGANIZATION_MAX
            );
            return Err(AppError::forbidden(message));
        }
        let mut places = self.lock();
        if places.len() >= PLACES_MAX {
            places.clear();
        }
        places.insert(place, limits::KEYS_PER_ORGANIZATION_MAX - live - 1);
        Ok(())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<(OrganizationId, ApiName), i64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
