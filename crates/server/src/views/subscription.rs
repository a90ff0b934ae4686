//! Subscriptions as the operator sees them.

use claviger_app::SubscriptionReport;
use claviger_domain::id::{KeyId, OrganizationId};
use claviger_domain::key::ApiName;
use claviger_domain::plan::PlanName;
use claviger_domain::subscription::{AnchorDay, BillingState, Gate, Subscription};
use claviger_domain::time::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

use crate::openapi::words;

/// What the billing system said last.
#[derive(Serialize, ToSchema)]
#[schema(as = Said)]
pub(crate) struct SaidView {
    /// The organization.
    #[schema(value_type = String)]
    organization: OrganizationId,
    /// The api.
    #[schema(value_type = String, example = "tork")]
    api: ApiName,
    /// The plan's name.
    #[schema(value_type = String, example = "pro")]
    plan: PlanName,
    /// How it stands with the bill.
    #[schema(value_type = words::BillingState)]
    state: BillingState,
    /// Since when: where the grace period begins.
    #[schema(value_type = String, format = DateTime)]
    state_since: Timestamp,
    /// Whether keys work at all.
    api_access: bool,
    /// The day of the month on which billing periods begin; `null` is calendar months.
    #[schema(value_type = Option<u8>, required)]
    anchor_day: Option<AnchorDay>,
    /// When the newest thing that is known happened.
    #[schema(value_type = String, format = DateTime)]
    event_at: Timestamp,
}

impl From<Subscription> for SaidView {
    fn from(subscription: Subscription) -> Self {
        let Subscription { organization, api, plan, state, state_since, api_access, anchor_day, event_at } =
            subscription;
        Self { organization, api, plan, state, state_since, api_access, anchor_day, event_at }
    }
}

/// What an organization has of an api.
#[derive(Serialize, ToSchema)]
#[schema(as = Subscription)]
pub(crate) struct SubscriptionView {
    /// The api.
    #[schema(value_type = String, example = "tork")]
    api: ApiName,
    /// The plan that holds; `null` if there is none.
    #[schema(value_type = Option<String>, required, example = "pro")]
    plan: Option<PlanName>,
    /// The plan's name for people.
    #[schema(required)]
    plan_title: Option<String>,
    /// What the billing system said last; `null` if nothing, so that the api's default plan holds.
    #[schema(required)]
    said: Option<SaidView>,
    /// Whether keys work now.
    keys_work: bool,
    /// Until when they do, if a grace period runs.
    #[schema(value_type = Option<String>, format = DateTime, required)]
    keys_work_until: Option<Timestamp>,
    /// Keys that are neither revoked nor expired, ephemeral ones aside.
    keys: i64,
    /// How many there may be.
    key_limit: i64,
    /// Whether what was said was taken: not when something newer is known.
    applied: bool,
    /// The keys that were just disabled because the plan has no room for them.
    #[schema(value_type = Vec<String>)]
    disabled_keys: Vec<KeyId>,
    /// What somebody should know, such as keys beyond the plan's limit.
    #[schema(required)]
    notice: Option<String>,
}

impl SubscriptionView {
    pub(crate) fn of(report: SubscriptionReport, api: &ApiName, now: Timestamp) -> Self {
        let SubscriptionReport { subscription, plan, gate, keys, key_limit, applied, disabled_keys } = report;
        let notice = notice(keys, key_limit, applied, &disabled_keys);
        let (plan, plan_title) = plan.map(|plan| (plan.name, plan.title)).unzip();
        let keys_work_until = match gate {
            Gate::OpenUntil(end) if now < end => Some(end),
            Gate::OpenUntil(_) | Gate::Open | Gate::Closed => None,
        };
        Self {
            api: api.clone(),
            plan,
            plan_title,
            said: subscription.map(SaidView::from),
            keys_work: gate.is_open(now),
            keys_work_until,
            keys,
            key_limit,
            applied,
            disabled_keys,
            notice,
        }
    }
}

fn notice(keys: i64, key_limit: i64, applied: bool, disabled: &[KeyId]) -> Option<String> {
    if !applied {
        return Some("Something newer is known, so nothing was changed.".to_owned());
    }
    if keys <= key_limit {
        return None;
    }
    Some(match disabled.len() {
        0 => format!(
            "The organization has {keys} keys and the plan allows {key_limit}. They stay as they are; \
             no more can be created until some are revoked."
        ),
        disabled => format!(
            "The organization has {keys} keys and the plan allows {key_limit}. The newest {disabled} were disabled."
        ),
    })
}
