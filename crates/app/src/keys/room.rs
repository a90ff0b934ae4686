//! How many keys an organization may still make.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use claviger_domain::definition::{Api, Definition};
use claviger_domain::id::OrganizationId;
use claviger_domain::key::{ApiName, Kind};
use claviger_domain::limits;
use claviger_domain::plan::Plan;
use claviger_domain::subscription;
use claviger_domain::time::Timestamp;
use claviger_store::Tx;
use claviger_store::key_counts;

use crate::AppError;

/// Places that are remembered; beyond it all are forgotten and counted anew.
const PLACES_MAX: usize = 100_000;
/// For so long nothing is counted again where nothing was left, unless a key ends: counting takes time in which everybody
/// who writes waits.
const FULL_FOR_MICROS: i64 = 1_000_000;

/// What is counted together: ephemeral keys have limits of their own.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Class {
    Standing,
    Ephemeral,
}

impl Class {
    pub(crate) fn of(kind: Kind) -> Self {
        if kind == Kind::Ephemeral { Self::Ephemeral } else { Self::Standing }
    }

    fn of_counts(self, counts: key_counts::KeyCounts) -> i64 {
        match self {
            Self::Standing => counts.standing,
            Self::Ephemeral => counts.ephemeral,
        }
    }
}

/// Where keys are made.
#[derive(Clone, Copy)]
pub(crate) struct Place<'a> {
    pub(crate) organization: OrganizationId,
    pub(crate) api: &'a Api,
    pub(crate) class: Class,
}

/// How many keys a place may have at once, and who says so.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct KeyLimit {
    pub(crate) keys: i64,
    /// The plan's title and name, if it is the plan's limit.
    plan: Option<(String, String)>,
    class: Class,
}

/// What is left for certain, by organization, api and class.
///
/// Counting an organization's keys takes time, and only making keys brings a count up. So after one exact count, as
/// many keys may be made uncounted as there was room for. When that is used up it is counted again: the
/// keys that died meanwhile make new room.
#[derive(Default)]
pub(crate) struct Room(Mutex<HashMap<(OrganizationId, ApiName, Class), Left>>);

#[derive(Clone, Copy)]
struct Left {
    /// The limit that it is of: another one is counted for anew.
    limit: i64,
    keys: i64,
    /// Whether those that ended take up the room.
    is_kept_full: bool,
    /// When nothing was left: until when that is believed.
    full_until: Timestamp,
}

/// How many more keys there is room for, and what there is room for no more because of.
pub(crate) struct RoomLeft {
    /// At least as many as were wanted, or else exactly so many.
    pub(crate) keys: i64,
    limit: KeyLimit,
    is_kept_full: bool,
}

impl RoomLeft {
    /// Why no more keys than these can be made.
    pub(crate) fn refusal(&self) -> AppError {
        if self.is_kept_full { too_many_ended() } else { self.limit.is_reached() }
    }
}

impl Room {
    /// Takes room for one key, to be made in this transaction.
    pub(crate) async fn take(&self, tx: &mut Tx, place: Place<'_>, now: Timestamp) -> Result<(), AppError> {
        let left = self.left(tx, place, 1, now).await?;
        if left.keys < 1 {
            return Err(left.refusal());
        }
        self.use_up(place.organization, place.api.definition.name(), place.class, 1);
        Ok(())
    }

    /// How many more keys there is room for.
    pub(crate) async fn left(
        &self,
        tx: &mut Tx,
        place: Place<'_>,
        wanted: i64,
        now: Timestamp,
    ) -> Result<RoomLeft, AppError> {
        let limit = KeyLimit::find(tx, place).await?;
        let name = place.api.definition.name();
        let entry = (place.organization, name.clone(), place.class);
        let is_believed = |left: &&Left| left.limit == limit.keys && (left.keys >= wanted || now < left.full_until);
        if let Some(Left { keys, is_kept_full, .. }) = self.lock().get(&entry).filter(is_believed).copied() {
            return Ok(RoomLeft { keys, limit, is_kept_full });
        }
        let reader = tx.connection().await?;
        let live = key_counts::count_live(reader, place.organization, name, now).await?;
        let kept = key_counts::count_kept(reader, place.organization, name).await?;
        let by_limit = (limit.keys - place.class.of_counts(live)).max(0);
        let by_kept = (limits::KEYS_KEPT_PER_ORGANIZATION_MAX - place.class.of_counts(kept)).max(0);
        let (keys, is_kept_full) = (by_limit.min(by_kept), by_kept < by_limit);
        let full_until = if keys == 0 { Timestamp::from_micros(now.as_micros() + FULL_FOR_MICROS) } else { now };
        let mut places = self.lock();
        if places.len() >= PLACES_MAX {
            places.clear();
        }
        places.insert(entry, Left { limit: limit.keys, keys, is_kept_full, full_until });
        Ok(RoomLeft { keys, limit, is_kept_full })
    }

    /// Takes room that was [`left`](Self::left), for keys to be made in this transaction.
    pub(crate) fn use_up(&self, organization: OrganizationId, api: &ApiName, class: Class, count: i64) {
        if let Some(left) = self.lock().get_mut(&(organization, api.clone(), class)) {
            left.keys -= count;
        }
    }

    /// Keys of a place have ended, or may have: it is counted again before it is called full.
    pub(crate) fn has_changed(&self, organization: OrganizationId, api: &ApiName) {
        let mut places = self.lock();
        for class in [Class::Standing, Class::Ephemeral] {
            places.remove(&(organization, api.clone(), class));
        }
    }

    /// What was counted in a transaction that never was is not so.
    pub(crate) fn forget(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<(OrganizationId, ApiName, Class), Left>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl KeyLimit {
    /// The limit of a place, as its organization's plan is in this transaction.
    pub(crate) async fn find(tx: &mut Tx, place: Place<'_>) -> Result<Self, AppError> {
        let definition = &place.api.definition;
        if definition.plans().is_empty() {
            return Ok(Self::of(definition, None, place.class));
        }
        let subscription = tx.find_subscription(place.organization, definition.name()).await?;
        let (_, plan) = subscription::terms(definition, subscription.as_ref());
        Ok(Self::of(definition, plan, place.class))
    }

    /// The limit of organizations that have this plan, if any.
    pub(crate) fn of(definition: &Definition, plan: Option<&Plan>, class: Class) -> Self {
        let by_plan = plan.and_then(|plan| match class {
            Class::Standing => plan.keys,
            Class::Ephemeral => plan.ephemeral_keys,
        });
        let named = plan.map(|plan| (plan.title.clone(), plan.name.to_string()));
        match by_plan {
            Some(keys) => Self { keys: keys.into(), plan: named, class },
            // Who has no plan where there are some has bought nothing.
            None if plan.is_none() && !definition.plans().is_empty() => Self { keys: 0, plan: None, class },
            None => Self { keys: limits::KEYS_PER_ORGANIZATION_MAX, plan: None, class },
        }
    }

    /// Why no more keys can be made.
    pub(crate) fn is_reached(&self) -> AppError {
        let Self { keys, plan, class } = self;
        let what = match class {
            Class::Standing => "API keys",
            Class::Ephemeral => "ephemeral API keys",
        };
        AppError::limit_reached(match plan {
            Some((title, name)) => format!(
                "The {title} plan ({name}) allows {keys} {what}, and the organization has as many. \
                 Revoke keys that are not used, or move to a larger plan."
            ),
            None if *keys == 0 => "The organization has no plan for this API, so it cannot create keys.".to_owned(),
            None => format!(
                "The organization has {keys} {what} already, which is the limit. Revoke keys that are not used."
            ),
        })
    }
}

fn too_many_ended() -> AppError {
    AppError::limit_reached(format!(
        "The organization has {} API keys, most of which have ended. Keys that ended are forgotten after {} days; \
         until then no more can be created.",
        limits::KEYS_KEPT_PER_ORGANIZATION_MAX,
        limits::DEAD_KEYS_KEPT_DAYS
    ))
}
