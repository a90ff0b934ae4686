//! Subscriptions: what the billing system says of an organization's plan on an api.

use claviger_domain::audit::Action;
use claviger_domain::change::Change;
use claviger_domain::definition::Api;
use claviger_domain::id::{KeyId, OrganizationId};
use claviger_domain::key::{ApiName, Key};
use claviger_domain::plan::{OverKeyLimit, Plan, PlanName};
use claviger_domain::subscription::{AnchorDay, BillingState, Gate, Subscription, terms};
use claviger_domain::time::Timestamp;
use claviger_store::key_counts;
use claviger_store::{Tx, apis, organizations, subscriptions};

use crate::actor::Deed;
use crate::keys::{Class, KeyLimit, Place};
use crate::mutation::Work;
use crate::usage::report::calendar;
use crate::{Actor, App, AppError, Mutation};

/// The sender's clock may be ahead of ours by so much. What claims to be later would keep out everything until then.
const CLOCK_AHEAD_SECONDS_MAX: i64 = 300;

/// What the billing system says. `None` leaves a thing as it is, or as it is at first.
#[derive(Clone, Debug)]
pub struct SetSubscription {
    /// What was bought.
    pub plan: Option<PlanName>,
    /// How it stands with the bill.
    pub state: Option<BillingState>,
    /// Whether keys work at all.
    pub api_access: Option<bool>,
    /// The day on which billing periods begin; `Some(None)` is calendar months.
    pub anchor_day: Option<Option<AnchorDay>>,
    /// When it happened, by the sender's clock; now when left out.
    pub event_at: Option<Timestamp>,
}

/// A subscription, and what it means at the moment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SubscriptionReport {
    /// What was said; `None` if the api's default plan holds.
    pub subscription: Option<Subscription>,
    /// The plan, if there is one.
    pub plan: Option<Plan>,
    /// Whether, and how long, keys work.
    pub gate: Gate,
    /// Keys that are neither revoked nor expired, ephemeral ones aside.
    pub keys: i64,
    /// How many there may be.
    pub key_limit: i64,
    /// Whether what was said was taken: not when something newer is known.
    pub applied: bool,
    /// The keys that were disabled because the plan has no room for them.
    pub disabled_keys: Vec<KeyId>,
}

impl App {
    /// Sets an organization's plan or billing state on an api. It acts on the next call, on all keys and without touching them.
    ///
    /// What happened before the newest thing that is known changes nothing, so events may come late, twice and in any order. Of two
    /// that happened at the same instant the one that comes last counts.
    pub async fn set_subscription(
        &self,
        actor: &Actor,
        organization: OrganizationId,
        api: &ApiName,
        input: SetSubscription,
    ) -> Result<Mutation<SubscriptionReport>, AppError> {
        actor.must_be_operator()?;
        let mut work = self.begin(actor).await?;
        let now = work.now;
        let event_at = input.event_at.unwrap_or(now);
        if Some(event_at) > now.plus_seconds(CLOCK_AHEAD_SECONDS_MAX) {
            return Err(AppError::invalid("event_at", "is in the future"));
        }
        let owner =
            work.tx.find_organization(organization).await?.ok_or(AppError::NotFound { what: "organization" })?;
        let api = work.tx.find_api(api).await?.ok_or(AppError::NotFound { what: "API" })?;
        let before = work.tx.find_subscription(organization, api.definition.name()).await?;
        let after = said(&api, organization, before.as_ref(), input, event_at)?;
        let is_late = before.as_ref().is_some_and(|before| event_at < before.event_at);
        if is_late || before.as_ref() == Some(&after) {
            let report = report(&mut work.tx, &api, organization, before, now).await?;
            let revision = work.tx.revision_before();
            return Ok(work.at(SubscriptionReport { applied: !is_late, ..report }, revision));
        }
        let (old, new) = (calendar(&owner, before.as_ref()), calendar(&owner, Some(&after)));
        work.keep_period(&(organization, after.api.clone()), &old, &new).await?;
        subscriptions::put(&mut work.tx, &after).await?;
        let target = format!("{organization} {}", after.api);
        let deed = Deed::new(Action::SubscriptionUpdated, target, before.as_ref(), Some(&after)).of(organization);
        work.tell(Change::Subscription(Box::new(after.clone())), deed);
        let disabled_keys = self.disable_beyond_limit(&mut work, &api, organization).await?;
        let report = report(&mut work.tx, &api, organization, Some(after), now).await?;
        Ok(work.done(SubscriptionReport { disabled_keys, ..report }))
    }

    /// Shows what holds for an organization on an api.
    pub async fn find_subscription(
        &self,
        organization: OrganizationId,
        api: &ApiName,
    ) -> Result<SubscriptionReport, AppError> {
        let mut reader = self.store.read().await?;
        organizations::find(&mut reader, organization).await?.ok_or(AppError::NotFound { what: "organization" })?;
        let api = apis::find(&mut reader, api).await?.ok_or(AppError::NotFound { what: "API" })?;
        let name = api.definition.name();
        let subscription = subscriptions::find(&mut reader, organization, name).await?;
        let live = key_counts::count_live(&mut reader, organization, name, self.now()).await?;
        Ok(SubscriptionReport::of(&api, subscription, live.standing))
    }

    /// What was said of an organization, by api.
    pub async fn list_subscriptions(&self, organization: OrganizationId) -> Result<Vec<Subscription>, AppError> {
        let mut reader = self.store.read().await?;
        organizations::find(&mut reader, organization).await?.ok_or(AppError::NotFound { what: "organization" })?;
        Ok(subscriptions::list(&mut reader, organization).await?)
    }

    /// Where the definition asks for it, disables the newest keys that a smaller plan has no room for.
    async fn disable_beyond_limit(
        &self,
        work: &mut Work,
        api: &Api,
        organization: OrganizationId,
    ) -> Result<Vec<KeyId>, AppError> {
        if api.definition.subscription_rules().over_key_limit == OverKeyLimit::Keep {
            return Ok(Vec::new());
        }
        let limit = KeyLimit::find(&mut work.tx, Place { organization, api, class: Class::Standing }).await?;
        let reader = work.tx.connection().await?;
        let beyond =
            key_counts::list_enabled_beyond(reader, organization, api.definition.name(), work.now, limit.keys).await?;
        for before in &beyond {
            let key = Key { disabled: true, ..before.clone() };
            crate::keys::put_key(work, Action::KeyDisabled, before, &key).await?;
        }
        Ok(beyond.into_iter().map(|key| key.id).collect())
    }
}

async fn report(
    tx: &mut Tx,
    api: &Api,
    organization: OrganizationId,
    subscription: Option<Subscription>,
    now: Timestamp,
) -> Result<SubscriptionReport, AppError> {
    let live = key_counts::count_live(tx.connection().await?, organization, api.definition.name(), now).await?;
    Ok(SubscriptionReport::of(api, subscription, live.standing))
}

impl SubscriptionReport {
    fn of(api: &Api, subscription: Option<Subscription>, keys: i64) -> Self {
        let (gate, plan) = terms(&api.definition, subscription.as_ref());
        let key_limit = KeyLimit::of(&api.definition, plan, Class::Standing).keys;
        let plan = plan.cloned();
        Self { subscription, plan, gate, keys, key_limit, applied: true, disabled_keys: Vec::new() }
    }
}

/// The subscription as it would be.
fn said(
    api: &Api,
    organization: OrganizationId,
    before: Option<&Subscription>,
    input: SetSubscription,
    event_at: Timestamp,
) -> Result<Subscription, AppError> {
    let plans = api.definition.plans();
    if plans.is_empty() {
        let message = "This API has no plans, so there is nothing to subscribe to. Add [[plans]] to its definition.";
        return Err(AppError::conflict(message));
    }
    let plan = input.plan.or_else(|| before.map(|before| before.plan.clone()));
    let plan = plan.or(api.definition.subscription_rules().default_plan);
    let plan = plan.ok_or_else(|| AppError::invalid("plan", "is missing"))?;
    if api.definition.find_plan(&plan).is_none() {
        let known = plans.iter().map(|plan| plan.name.as_str()).collect::<Vec<_>>().join(", ");
        return Err(AppError::invalid("plan", format!("is no plan of this API; there are {known}")));
    }
    let state = input.state.or(before.map(|before| before.state)).unwrap_or(BillingState::Active);
    Ok(Subscription {
        organization,
        api: api.definition.name().clone(),
        plan,
        state,
        // Said again, a state is not newer: the grace period does not begin anew.
        state_since: before.filter(|before| before.state == state).map_or(event_at, |before| before.state_since),
        api_access: input.api_access.or(before.map(|before| before.api_access)).unwrap_or(true),
        anchor_day: input.anchor_day.unwrap_or(before.and_then(|before| before.anchor_day)),
        event_at,
    })
}
