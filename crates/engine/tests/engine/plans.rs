//! Gates: which keys work, by their organization's plan and how it stands with the bill.

use claviger_domain::change::{Change, Revision};
use claviger_domain::definition::Api;
use claviger_domain::denial::Denial;
use claviger_domain::endpoint::Method;
use claviger_domain::id::OrganizationId;
use claviger_domain::key::Key;
use claviger_domain::organization::OrganizationStatus;
use claviger_domain::subscription::{BillingState, Subscription};
use claviger_domain::time::Timestamp;
use claviger_engine::{Engine, Outcome};

use crate::support::{Ask, acme, api, apply, at, engine, key, organization, planned, secret, subscription};

const PLANS: &str = "
[[plans]]
name = 'free'
title = 'Free'
api_access = false
[[plans]]
name = 'pro'
title = 'Pro'
";

fn with_rules(rules: &str) -> Api {
    planned(&format!("{PLANS}[subscriptions]\n{rules}\n"))
}

fn change(subscription: Subscription) -> Change {
    Change::Subscription(Box::new(subscription))
}

fn define(api: Api) -> Change {
    Change::Api(Box::new(api))
}

const CLOSED: Result<(), Denial> = Err(Denial::SubscriptionInactive);

struct Customer {
    engine: Engine,
    clear: String,
}

impl Customer {
    /// Organization 1 with a live key, on an api with these rules.
    fn with(rules: &str) -> Self {
        let clear = secret(&acme(), "live", 1);
        let engine = engine(vec![Change::Key(Box::new(key(1, &clear))), define(with_rules(rules))]);
        Self { engine, clear }
    }

    fn at(&self, now: Timestamp) -> Result<(), Denial> {
        Ask { now, ..Ask::with(&self.clear) }.decision(&self.engine)
    }

    fn after(&self, subscription: Subscription) -> Result<(), Denial> {
        apply(&self.engine, change(subscription));
        self.at(at(0))
    }
}

#[test]
fn keys_work_as_the_subscription_says() {
    let customer = Customer::with("");
    assert_eq!(customer.at(at(0)), CLOSED, "no subscription and no default plan");
    for (state, expected) in [
        (BillingState::Active, Ok(())),
        (BillingState::Canceled, CLOSED),
        (BillingState::Trialing, Ok(())),
        (BillingState::Suspended, CLOSED),
        (BillingState::PastDue, Ok(())),
    ] {
        assert_eq!(customer.after(Subscription { state, ..subscription("pro") }), expected, "{state:?}");
    }
    assert_eq!(customer.after(subscription("free")), CLOSED, "a plan without access");
    assert_eq!(customer.after(subscription("gold")), CLOSED, "a plan that the definition does not have");
    assert_eq!(customer.after(Subscription { api_access: false, ..subscription("pro") }), CLOSED);
    assert_eq!(customer.after(subscription("pro")), Ok(()));
    apply(&customer.engine, Change::Organization(organization(1, OrganizationStatus::Suspended)));
    assert_eq!(customer.at(at(0)), CLOSED);
    apply(&customer.engine, Change::Organization(organization(1, OrganizationStatus::Active)));
    assert_eq!(customer.at(at(0)), Ok(()));
}

#[test]
fn the_grace_period_ends_to_the_microsecond_and_follows_the_definition() {
    let customer = Customer::with("past_due_grace_days = 2");
    let past_due = Subscription { state: BillingState::PastDue, state_since: at(60), ..subscription("pro") };
    assert_eq!(customer.after(past_due.clone()), Ok(()));
    let end = at(60 + 2 * 86400);
    let before = Timestamp::from_micros(end.as_micros() - 1);
    assert_eq!([customer.at(before), customer.at(end)], [Ok(()), CLOSED]);
    apply(&customer.engine, define(with_rules("past_due_grace_days = 3")));
    assert_eq!([customer.at(end), customer.at(at(60 + 3 * 86400))], [Ok(()), CLOSED]);
    apply(&customer.engine, define(with_rules("past_due_grace_days = 0")));
    assert_eq!([customer.at(at(59)), customer.at(at(60))], [Ok(()), CLOSED]);
    let paid = Subscription { state: BillingState::Active, state_since: at(70), ..past_due };
    assert_eq!(customer.after(paid), Ok(()));
    assert_eq!(customer.at(at(90 * 86400)), Ok(()));
}

#[test]
fn a_definition_may_begin_and_end_to_have_plans() {
    let clear = secret(&acme(), "live", 1);
    let customer = Customer { engine: engine(vec![Change::Key(Box::new(key(1, &clear)))]), clear };
    assert_eq!(customer.at(at(0)), Ok(()), "an api without plans asks for no subscription");
    for (rules, expected) in [("", CLOSED), ("default_plan = 'pro'", Ok(())), ("default_plan = 'free'", CLOSED)] {
        apply(&customer.engine, define(with_rules(rules)));
        assert_eq!(customer.at(at(0)), expected, "{rules}");
    }
    apply(&customer.engine, define(acme()));
    assert_eq!(customer.at(at(0)), Ok(()));
}

/// Every order in which these can come.
fn orders<T: Clone>(all: &[T]) -> Vec<Vec<T>> {
    if all.is_empty() {
        return vec![Vec::new()];
    }
    let with = |place: usize| {
        let mut rest = all.to_vec();
        let first = rest.remove(place);
        orders(&rest).into_iter().map(move |mut order| {
            order.insert(0, first.clone());
            order
        })
    };
    (0..all.len()).flat_map(with).collect()
}

#[test]
fn a_snapshot_may_come_in_any_order() {
    let clear = secret(&acme(), "live", 1);
    let other = secret(&acme(), "live", 2);
    let elsewhere = OrganizationId::from_u128(2);
    let all = [
        define(with_rules("default_plan = 'free'")),
        Change::Organization(organization(1, OrganizationStatus::Active)),
        change(subscription("pro")),
        Change::Key(Box::new(key(1, &clear))),
        Change::Key(Box::new(Key { organization: elsewhere, ..key(2, &other) })),
    ];
    for order in orders(&all) {
        let engine = Engine::new(claviger_engine::EngineOptions { usage_cells: 64, keys: 0 });
        engine.load(Revision(1), order.into_iter()).unwrap();
        assert_eq!(Ask::with(&clear).decision(&engine), Ok(()));
        assert_eq!(Ask::with(&other).decision(&engine), CLOSED, "an organization that nobody has heard of");
        // What a later snapshot does not hold is no more.
        for without in 1..3 {
            let rest = all.iter().enumerate().filter(|(place, _)| *place != without).map(|(_, change)| change.clone());
            engine.load(Revision(engine.revision().0 + 1), rest).unwrap();
            assert_eq!(Ask::with(&clear).decision(&engine), CLOSED);
            engine.load(Revision(engine.revision().0 + 1), all.iter().cloned()).unwrap();
            assert_eq!(Ask::with(&clear).decision(&engine), Ok(()));
        }
    }
}

#[test]
fn an_organization_has_a_subscription_for_each_api() {
    let beta = api("beta", "/v2", &format!("{PLANS}[subscriptions]\ndefault_plan = 'pro'\n"));
    let (acme_key, beta_key) = (secret(&acme(), "live", 1), secret(&beta, "live", 2));
    let engine = engine(vec![
        define(with_rules("")),
        define(beta),
        Change::Key(Box::new(key(1, &acme_key))),
        Change::Key(Box::new(Key { api: "beta".parse().unwrap(), ..key(2, &beta_key) })),
    ]);
    let beta = Ask { api: Some("beta"), endpoint: Some((Method::Get, "/v2/any")), ..Ask::with(&beta_key) };
    assert_eq!((Ask::with(&acme_key).decision(&engine), beta.decision(&engine)), (CLOSED, Ok(())));
    apply(&engine, change(subscription("pro")));
    let canceled = Subscription { api: "beta".parse().unwrap(), ..subscription("pro") };
    apply(&engine, change(Subscription { state: BillingState::Canceled, ..canceled }));
    assert_eq!((Ask::with(&acme_key).decision(&engine), beta.decision(&engine)), (Ok(()), CLOSED));
}

#[test]
fn what_a_call_costs_is_counted() {
    let customer = Customer::with("default_plan = 'pro'");
    let call = |path, cost| {
        let endpoint = Some((Method::Get, path));
        Ask { endpoint, cost, ..Ask::with(&customer.clear) }.decision(&customer.engine).unwrap();
    };
    call("/v1/things/1", None);
    call("/v1/things/1", Some(5));
    call("/v1/costly", None);
    call("/v1/costly", Some(1));
    call("/v1/unlisted", None);
    call("/v1/api-keys", None);
    call("/v1/things/1", Some(u32::MAX));
    let refused = Ask { endpoint: None, cost: Some(7), ..Ask::with(&customer.clear) };
    assert_eq!(refused.decision(&customer.engine), Err(Denial::EndpointNotAllowed));
    let sum = |wanted| {
        let totals = customer.engine.usage().collect(at(0));
        totals.iter().filter(|total| total.outcome == wanted).map(|total| total.count).sum::<u64>()
    };
    let most = u64::from(claviger_domain::limits::COST_MAX);
    assert_eq!(sum(Outcome::Allowed), 6);
    assert_eq!(sum(Outcome::ExtraUnits), 4 + 2 + (most - 1));
    assert_eq!(sum(Outcome::AllowedFree), 1);
    assert_eq!(sum(Outcome::Denied(Denial::EndpointNotAllowed)), 1);
}
