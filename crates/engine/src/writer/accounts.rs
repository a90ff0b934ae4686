//! Accounts, as the writer keeps them: which organization is on which api, with which subscription.
//!
//! All that is known of a subscription stands in the account's own words, so it takes no other room, and whatever alters
//! the gate (the api, the organization, the subscription, in any order) has it computed anew from them.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};

use claviger_domain::definition::Definition;
use claviger_domain::id::{KeyId, OrganizationId};
use claviger_domain::key::ApiName;
use claviger_domain::organization::{Organization, OrganizationStatus};
use claviger_domain::period::{BillingCalendar, TimeZone};
use claviger_domain::plan::PlanName;
use claviger_domain::subscription::{AnchorDay, Gate, Subscription, terms};
use claviger_domain::time::Timestamp;
use hashbrown::HashTable;

use super::{Seen, Writer};
use crate::accounts::{Account, State, Used};
use crate::directory::{CompiledApi, intern};
use crate::error::ApplyError;
use crate::limits::cells::identity;
use crate::limits::key_quota_place;
use crate::shared::Shared;
use crate::sync::Ordering;
use crate::verdict::ApiIndex;

/// Which rows there are.
#[derive(Debug, Default)]
pub(super) struct Book {
    /// The first row of each organization, by its id.
    organizations: HashTable<u32>,
    /// By row: the next of the same organization + 1.
    next: Vec<u32>,
    /// Numbers of calendars, by time zone and day.
    calendars: HashMap<(Box<str>, Option<u8>), u16>,
}

impl Book {
    pub(super) fn is_empty(&self) -> bool {
        self.next.is_empty()
    }

    pub(super) fn memory_bytes(&self) -> usize {
        super::places(&self.organizations) * (size_of::<u32>() + 1) + self.next.capacity() * size_of::<u32>()
    }

    fn first(&self, hasher: &RandomState, shared: &Shared, organization: OrganizationId) -> Option<u32> {
        let is_same = |row: &u32| shared.accounts.id(*row) == Some(organization);
        self.organizations.find(hasher.hash_one(organization), is_same).copied()
    }

    /// The rows of an organization from this one on.
    fn rows_from(&self, first: u32) -> impl Iterator<Item = u32> {
        std::iter::successors(Some(first), |row| self.next.get(*row as usize)?.checked_sub(1))
    }

    fn rows(&self) -> std::ops::Range<u32> {
        0..self.next.len() as u32
    }

    fn take_row(&mut self, shared: &Shared, organization: OrganizationId, api: ApiIndex) -> Result<u32, ApplyError> {
        let full = ApplyError::Full("accounts");
        let row = u32::try_from(self.next.len()).map_err(|_| full)?;
        shared.accounts.insert(row, organization, api).ok_or(full)?;
        self.next.push(0);
        Ok(row)
    }

    /// The first row of an organization. A new one is of no api yet.
    fn organization(
        &mut self,
        hasher: &RandomState,
        shared: &Shared,
        organization: OrganizationId,
    ) -> Result<u32, ApplyError> {
        if let Some(first) = self.first(hasher, shared, organization) {
            return Ok(first);
        }
        let row = self.take_row(shared, organization, State::NO_API)?;
        let hash_of_row = |row: &u32| shared.accounts.id(*row).map_or(0, |id| hasher.hash_one(id));
        self.organizations.insert_unique(hasher.hash_one(organization), row, hash_of_row);
        Ok(row)
    }
}

impl Writer {
    /// The row of an organization on an api.
    pub(super) fn account_row(
        &mut self,
        shared: &Shared,
        organization: OrganizationId,
        api: ApiIndex,
    ) -> Result<u32, ApplyError> {
        let Self { book, hasher, .. } = self;
        let first = book.organization(hasher, shared, organization)?;
        let state_of = |row| account(shared, row).state();
        if let Some(known) = book.rows_from(first).find(|row| state_of(*row).api() == api) {
            return Ok(known);
        }
        let first_state = state_of(first);
        let row = if first_state.api() == State::NO_API {
            first
        } else {
            let row = book.take_row(shared, organization, api)?;
            book.next[row as usize] = book.next[first as usize];
            book.next[first as usize] = row + 1;
            row
        };
        // Of the organization it is what the others are, of the subscription nothing is known yet.
        let zone = shared.calendars.zone(first_state.calendar());
        let calendar = self.calendar_number(shared, zone, None)?;
        let is_active = first_state.has(State::ACTIVE);
        account(shared, row).set_state(State::new(api).with_calendar(calendar).with(State::ACTIVE, is_active));
        self.review(shared, row);
        Ok(row)
    }

    pub(super) fn apply_organization(
        &mut self,
        shared: &Shared,
        organization: &Organization,
    ) -> Result<(), ApplyError> {
        let first = self.book.organization(&self.hasher, shared, organization.id)?;
        let rows: Vec<u32> = self.book.rows_from(first).collect();
        for row in rows {
            let state = account(shared, row).state();
            let day = shared.calendars.anchor_day(state.calendar());
            let calendar = self.calendar_number(shared, organization.time_zone.clone(), day)?;
            let is_active = organization.status == OrganizationStatus::Active;
            account(shared, row).set_state(state.with_calendar(calendar).with(State::ACTIVE, is_active));
            self.review(shared, row);
        }
        Ok(())
    }

    pub(super) fn apply_subscription(
        &mut self,
        shared: &Shared,
        subscription: &Subscription,
    ) -> Result<(), ApplyError> {
        let api = self.api_index(&subscription.api)?;
        let row = self.account_row(shared, subscription.organization, api)?;
        let plan = intern(&mut self.apis[usize::from(api.0)].names.plans, &subscription.plan, "plan names")?;
        let state = account(shared, row).state();
        let zone = shared.calendars.zone(state.calendar());
        let calendar = self.calendar_number(shared, zone, subscription.anchor_day)?;
        let state = state
            .with_plan(plan)
            .with_billing(Some(subscription.state))
            .with(State::ACCESS, subscription.api_access)
            .with_calendar(calendar);
        account(shared, row).set_since(subscription.state_since.as_micros());
        account(shared, row).set_state(state);
        self.review(shared, row);
        Ok(())
    }

    /// Whatever a snapshot did not hold is no more: organizations are as good as suspended, subscriptions gone.
    pub(super) fn retain_accounts(&mut self, shared: &Shared, seen: &Seen) -> Result<(), ApplyError> {
        for row in self.book.rows() {
            let account = account(shared, row);
            let (organization, mut state) = (account.organization(), account.state());
            if !seen.organizations.contains(&organization) {
                state = state.with(State::ACTIVE, false);
            }
            let names = seen.subscriptions.get(&organization);
            let has_subscription = || {
                self.apis
                    .get(usize::from(state.api().0))
                    .is_some_and(|api| names.is_some_and(|names| names.contains(&api.name)))
            };
            if state.billing().is_some() && !has_subscription() {
                let zone = shared.calendars.zone(state.calendar());
                let calendar = self.calendar_number(shared, zone, None)?;
                state = state.with_billing(None).with_calendar(calendar);
            }
            account.set_state(state);
            self.review(shared, row);
        }
        Ok(())
    }

    /// Computes anew for all accounts of an api whether their keys work.
    pub(super) fn review_api(&self, shared: &Shared, api: ApiIndex) {
        for row in self.book.rows() {
            if account(shared, row).state().api() == api {
                self.review(shared, row);
            }
        }
    }

    /// Computes anew from all that is known whether an account's keys work, and on which plan.
    fn review(&self, shared: &Shared, row: u32) {
        let account = account(shared, row);
        let state = account.state();
        let closed = [State::OPEN, State::IN_GRACE, State::PLANNED]
            .into_iter()
            .fold(state, |state, flag| state.with(flag, false));
        let entry = self.apis.get(usize::from(state.api().0));
        let compiled = entry.and_then(|entry| Some((entry, entry.compiled.as_ref()?)));
        let Some((entry, compiled)) = compiled.filter(|_| state.has(State::ACTIVE)) else {
            return account.set_state(closed);
        };
        let definition = compiled.definition();
        let subscription = state.billing().and_then(|billing| {
            Some(Subscription {
                organization: account.organization(),
                api: entry.name.clone(),
                plan: entry.names.plans.get(usize::from(state.plan()))?.clone(),
                state: billing,
                state_since: Timestamp::from_micros(account.since()),
                api_access: state.has(State::ACCESS),
                anchor_day: None,
                event_at: Timestamp::from_micros(0),
            })
        });
        let (gate, plan) = terms(definition, subscription.as_ref());
        let mut state = closed
            .with(State::OPEN, gate == Gate::Open)
            .with(State::IN_GRACE, matches!(gate, Gate::OpenUntil(_)))
            .with(State::PLANNED, has_plans(definition));
        if let Some(number) = plan.and_then(|plan| number_of(&entry.names.plans, &plan.name)) {
            state = state.with_plan(number);
        }
        adopt_meter(shared, compiled, account);
        account.set_state(state);
    }

    /// Raises what was used of quotas in a billing period to at least so many units, of an organization on an api.
    pub(crate) fn seed_usage(
        &mut self,
        shared: &Shared,
        organization: OrganizationId,
        api: &ApiName,
        period: u16,
        units: u64,
    ) -> Result<(), ApplyError> {
        let api = self.api_index(api)?;
        let row = self.account_row(shared, organization, api)?;
        let held = account(shared, row).lock();
        held.set_used(held.used().at_least(period, units));
        Ok(())
    }

    /// The same of a key. Nothing becomes of a key that is not known.
    pub(crate) fn seed_key_usage(&self, shared: &Shared, key: KeyId, period: u16, units: u64) {
        let Some(slot) = self.find_slot(shared, key) else { return };
        #[expect(clippy::redundant_closure_for_method_calls, reason = "the method alone is not general enough")]
        let row = shared.records.read(slot, |record| record.account());
        let Some(account) = row.and_then(|row| shared.accounts.get(row)) else { return };
        let place = key_quota_place(shared, slot, key);
        let held = account.lock();
        let (word, _) = place.open(&held, shared.limit_cells.left());
        let used = Used::from_word(word.load(Ordering::Relaxed)).at_least(period, units);
        word.store(used.word(), Ordering::Release);
    }

    /// The number of a calendar, which it keeps for ever.
    fn calendar_number(
        &mut self,
        shared: &Shared,
        time_zone: TimeZone,
        anchor_day: Option<AnchorDay>,
    ) -> Result<u16, ApplyError> {
        let calendars = &mut self.book.calendars;
        let key = (time_zone.name().into(), anchor_day.map(AnchorDay::get));
        if let Some(number) = calendars.get(&key) {
            return Ok(*number);
        }
        let full = ApplyError::Full("calendars");
        let number = u16::try_from(calendars.len()).map_err(|_| full)?;
        shared.calendars.insert(number, BillingCalendar { time_zone, anchor_day }).ok_or(full)?;
        calendars.insert(key, number);
        Ok(number)
    }
}

/// Takes over what the process before this one knew of the account's own meter, unless it was used since.
fn adopt_meter(shared: &Shared, compiled: &CompiledApi, account: Account<'_>) {
    let left = shared.limit_cells.left();
    let Some(hash) = compiled.own_meter_hash().filter(|_| !left.is_empty()) else { return };
    let Some((value, interval)) = left.find(identity(account.organization().as_u128(), hash, false)) else { return };
    let held = account.lock();
    let meter = held.meter();
    if meter.0.load(Ordering::Relaxed) == 0 {
        meter.1.store(interval, Ordering::Release);
        meter.0.store(value, Ordering::Release);
    }
}

fn has_plans(definition: &Definition) -> bool {
    !definition.plans().is_empty()
}

fn number_of(names: &[PlanName], name: &PlanName) -> Option<u16> {
    names.iter().position(|known| known == name).and_then(|place| u16::try_from(place).ok())
}

/// An account that there is.
fn account(shared: &Shared, row: u32) -> Account<'_> {
    shared.accounts.get(row).expect("rows are made before they are known")
}
