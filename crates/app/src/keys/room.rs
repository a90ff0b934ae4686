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
        if self.left(tx, organization, api, 1, now).await? < 1 {
            return Err(full());
        }
        self.use_up(organization, api, 1);
        Ok(())
    }

    /// How many more keys there is room for: at least `wanted`, or else exactly so many.
    pub(crate) async fn left(
        &self,
        tx: &mut Tx,
        organization: OrganizationId,
        api: &ApiName,
        wanted: i64,
        now: Timestamp,
    ) -> Result<i64, AppError> {
        let place = (organization, api.clone());
        if let Some(left) = self.lock().get(&place).filter(|left| **left >= wanted) {
            return Ok(*left);
        }
        let live = keys::count_live(tx.connection().await?, organization, api, now).await?;
        let left = (limits::KEYS_PER_ORGANIZATION_MAX - live).max(0);
        let mut places = self.lock();
        if places.len() >= PLACES_MAX {
            places.clear();
        }
        places.insert(place, left);
        Ok(left)
    }

    /// Takes room that was [`left`](Self::left), for keys to be made in this transaction.
    pub(crate) fn use_up(&self, organization: OrganizationId, api: &ApiName, count: i64) {
        if let Some(left) = self.lock().get_mut(&(organization, api.clone())) {
            *left -= count;
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<(OrganizationId, ApiName), i64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why there is no room.
pub(crate) fn full() -> AppError {
    AppError::forbidden(format!(
        "The organization has {} API keys already, which is the limit. Revoke keys that are not used.",
        limits::KEYS_PER_ORGANIZATION_MAX
    ))
}
