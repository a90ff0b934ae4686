//! What was used of quotas, told to an engine that does not know it: a new one, or one that learns of plans.

use std::collections::HashMap;

use claviger_domain::definition::Api;
use claviger_domain::id::OrganizationId;
use claviger_domain::key::ApiName;
use claviger_domain::organization::Organization;
use claviger_domain::period::{BillingCalendar, RunningPeriod};
use claviger_domain::subscription::Subscription;
use claviger_domain::time::Timestamp;
use claviger_engine::Engine;
use claviger_store::usage::Account;
use claviger_store::usage_reports::{Spans, find_account, list_account_units, list_accounts, list_key_units};
use claviger_store::{Store, StoreError, apis, organizations, running_periods, subscriptions};

use super::report::calendar;
use crate::mutation::Work;
use crate::{App, AppError};

/// Accounts that are read at once.
const ACCOUNTS_AT_ONCE: u32 = 500;

impl App {
    /// Tells the engine what was used in the present billing periods, as after a definition got its first plans. What is
    /// told twice counts once.
    pub async fn seed_quotas(&self) -> Result<(), AppError> {
        self.flush_usage().await?;
        Ok(seed(&self.store, &self.engine, self.now()).await?)
    }
}

/// Reads what was written of the present billing periods, and tells the engine.
pub(crate) async fn seed(store: &Store, engine: &Engine, now: Timestamp) -> Result<(), StoreError> {
    let mut reader = store.read().await?;
    let with_plans = |api: &Api| !api.definition.plans().is_empty();
    let apis: Vec<Api> = apis::list(&mut reader).await?.into_iter().filter(with_plans).collect();
    if apis.is_empty() {
        return Ok(());
    }
    let apis: HashMap<ApiName, Api> = apis.into_iter().map(|api| (api.definition.name().clone(), api)).collect();
    let all = organizations::list_all(&mut reader).await?;
    let organizations: HashMap<OrganizationId, Organization> = all.into_iter().map(|one| (one.id, one)).collect();
    let all = subscriptions::list_all(&mut reader).await?;
    let subscriptions: HashMap<Account, Subscription> =
        all.into_iter().map(|one| ((one.organization, one.api.clone()), one)).collect();
    let kept: HashMap<Account, RunningPeriod> = running_periods::list_all(&mut reader).await?.into_iter().collect();
    let mut after: Option<Account> = None;
    loop {
        let accounts = list_accounts(&mut reader, (None, None), after.as_ref(), ACCOUNTS_AT_ONCE).await?;
        after = accounts.last().map(|account| (account.organization, account.api.clone()));
        let is_last = accounts.len() < ACCOUNTS_AT_ONCE as usize;
        let mut periods = HashMap::new();
        for account in accounts {
            let place = (account.organization, account.api);
            let (Some(api), Some(organization)) = (apis.get(&place.1), organizations.get(&place.0)) else { continue };
            let subscription = subscriptions.get(&place);
            let period = calendar(organization, subscription).running(kept.get(&place).copied(), now);
            // Also on plans without such a quota: one that has one may be bought before the period ends.
            let by_key = api.definition.plans().iter().any(|plan| plan.key_quota.is_some());
            periods.insert(place, (period, by_key));
        }
        let since: Vec<(Account, i64)> =
            periods.iter().map(|(place, (period, _))| (place.clone(), period.start.hour())).collect();
        for (place, units) in list_account_units(&mut reader, &since).await? {
            let Some((period, _)) = periods.get(&place) else { continue };
            if let Err(error) = engine.seed_usage(place.0, &place.1, period.number, units.unsigned_abs()) {
                tracing::error!(%error, "the engine could not be told what was used of a quota");
            }
        }
        for (place, (period, _)) in periods.iter().filter(|(_, (_, by_key))| *by_key) {
            let zone = organizations.get(&place.0).map_or("UTC", |organization| organization.time_zone.name());
            let spans = Spans::new(find_account(&mut reader, place).await?.as_ref(), zone, &period.hours());
            for (key, units) in list_key_units(&mut reader, place, &spans).await? {
                engine.seed_key_usage(key, period.number, units.unsigned_abs());
            }
        }
        if is_last {
            return Ok(());
        }
    }
}

impl Work {
    /// Lets the billing period of an account go on though its calendar is about to be another: what the engine holds against it
    /// now must be found again after a restart.
    pub(crate) async fn keep_period(
        &mut self,
        account: &Account,
        before: &BillingCalendar,
        after: &BillingCalendar,
    ) -> Result<(), AppError> {
        if before == after {
            return Ok(());
        }
        let kept = running_periods::find(self.tx.connection().await?, account.0, &account.1).await?;
        let running = after.taking_over(before.running(kept, self.now), self.now);
        Ok(running_periods::put(&mut self.tx, account, running).await?)
    }
}
