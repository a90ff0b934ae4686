//! Subscriptions: an organization's plan on an api, and how it stands with the bill.

use serde::{Deserialize, Serialize};

use crate::definition::Definition;
use crate::id::OrganizationId;
use crate::key::{ApiName, WordError};
use crate::plan::{Plan, PlanName};
use crate::time::Timestamp;

/// How an organization stands with its bill.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BillingState {
    /// Trying the plan out: keys work.
    Trialing,
    /// Paid: keys work.
    Active,
    /// A payment is due: keys work until the definition's grace period is over.
    PastDue,
    /// Ended: keys are refused.
    Canceled,
    /// Stopped by the operator: keys are refused.
    Suspended,
}

impl BillingState {
    /// The word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Trialing => "trialing",
            Self::Active => "active",
            Self::PastDue => "past_due",
            Self::Canceled => "canceled",
            Self::Suspended => "suspended",
        }
    }
}

impl std::str::FromStr for BillingState {
    type Err = WordError;

    fn from_str(text: &str) -> Result<Self, WordError> {
        let all = [Self::Trialing, Self::Active, Self::PastDue, Self::Canceled, Self::Suspended];
        all.into_iter()
            .find(|state| state.as_str() == text)
            .ok_or(WordError("trialing, active, past_due, canceled, suspended"))
    }
}

/// An organization's plan on an api and its billing state. The feed carries it whole.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Subscription {
    /// Whose.
    pub organization: OrganizationId,
    /// On which api.
    pub api: ApiName,
    /// What was bought.
    pub plan: PlanName,
    /// How it stands with the bill.
    pub state: BillingState,
    /// Since when it has been in that state, by the sender's clock: where the grace period begins.
    pub state_since: Timestamp,
    /// Whether the operator lets its keys work at all.
    pub api_access: bool,
    /// The day of the month on which billing periods begin; calendar months when left out. In a month that is shorter,
    /// it is the last day.
    pub anchor_day: Option<AnchorDay>,
    /// When the newest thing it says happened, by the sender's clock: what comes later and is older changes nothing.
    pub event_at: Timestamp,
}

/// A day of the month, 1 to 31.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(try_from = "u8", into = "u8")]
pub struct AnchorDay(u8);

/// The number is no day of a month.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("must be a day of the month, 1 to 31")]
pub struct AnchorDayError;

impl AnchorDay {
    /// The number.
    pub fn get(self) -> u8 {
        self.0
    }
}

impl TryFrom<u8> for AnchorDay {
    type Error = AnchorDayError;

    fn try_from(day: u8) -> Result<Self, AnchorDayError> {
        if (1..=31).contains(&day) { Ok(Self(day)) } else { Err(AnchorDayError) }
    }
}

impl From<AnchorDay> for u8 {
    fn from(day: AnchorDay) -> Self {
        day.0
    }
}

/// Whether, and how long, keys of an organization work on an api.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Gate {
    /// Not at all.
    Closed,
    /// Until something changes.
    Open,
    /// Until this instant, exclusively.
    OpenUntil(Timestamp),
}

/// What holds for an organization on an api at the moment: the gate, and the plan if the api has plans.
pub fn terms<'d>(definition: &'d Definition, subscription: Option<&Subscription>) -> (Gate, Option<&'d Plan>) {
    if definition.plans().is_empty() {
        return (Gate::Open, None);
    }
    let rules = definition.subscription_rules();
    let name = subscription.map(|subscription| &subscription.plan).or(rules.default_plan.as_ref());
    // A plan that the definition does not have is no plan.
    let Some(plan) = name.and_then(|name| definition.find_plan(name)) else { return (Gate::Closed, None) };
    if !plan.api_access {
        return (Gate::Closed, Some(plan));
    }
    let gate = match subscription {
        None => Gate::Open,
        Some(subscription) if !subscription.api_access => Gate::Closed,
        Some(Subscription { state, state_since, .. }) => match state {
            BillingState::Trialing | BillingState::Active => Gate::Open,
            BillingState::Canceled | BillingState::Suspended => Gate::Closed,
            BillingState::PastDue => {
                let grace = i64::from(rules.past_due_grace_days) * 24 * 3600;
                state_since.plus_seconds(grace).map_or(Gate::Closed, Gate::OpenUntil)
            }
        },
    };
    (gate, Some(plan))
}

impl Gate {
    /// Whether keys work at an instant.
    pub fn is_open(self, now: Timestamp) -> bool {
        match self {
            Self::Closed => false,
            Self::Open => true,
            Self::OpenUntil(end) => now < end,
        }
    }
}
