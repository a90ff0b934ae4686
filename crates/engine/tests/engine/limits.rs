//! Rate limits and quotas, one rule at a time.

use std::sync::Arc;

use claviger_domain::change::{Change, Revision};
use claviger_domain::definition::Api;
use claviger_domain::denial::Denial;
use claviger_domain::endpoint::Method;
use claviger_domain::id::{KeyId, OrganizationId};
use claviger_domain::key::{Environment, Key, Kind};
use claviger_domain::organization::{Organization, OrganizationStatus};
use claviger_domain::period::BillingCalendar;
use claviger_domain::subscription::Subscription;
use claviger_domain::time::Timestamp;
use claviger_engine::usage::{RecoveredLimits, Words, recover, words_needed};
use claviger_engine::{Engine, EngineOptions, Verdict};

use crate::support::{
    Ask, START, acme, apply, at, engine, engine_with_words, key, organization, planned, region, secret, subscription,
};

const OPTIONS: EngineOptions = EngineOptions { usage_cells: 64, keys: 0 };

/// An api whose organizations have a plan with this in it.
pub(crate) fn plan(text: &str) -> Api {
    planned(&format!("[[plans]]\nname = 'pro'\ntitle = 'Pro'\n{text}\n[subscriptions]\ndefault_plan = 'pro'\n"))
}

pub(crate) fn limit(name: &str, more: &str) -> String {
    format!("[[plans.rate_limits]]\nname = '{name}'\n{more}\n")
}

fn define(engine: &Engine, text: &str) {
    apply(engine, Change::Api(Box::new(plan(text))));
}

/// An engine with this plan and this many live keys of organization 1, and their secrets.
pub(crate) fn limited(text: &str, keys: u64) -> (Engine, Vec<String>) {
    let secrets: Vec<String> = (1..=keys).map(|seed| secret(&acme(), "live", seed)).collect();
    let keys = secrets.iter().zip(1..).map(|(clear, number)| Change::Key(Box::new(key(number, clear))));
    (engine(keys.chain([Change::Api(Box::new(plan(text)))]).collect()), secrets)
}

fn verdict(engine: &Engine, clear: &str, now: Timestamp) -> Verdict {
    Ask { now, ..Ask::with(clear) }.verdict(engine)
}

/// How many of so many calls at one instant pass.
fn passed(engine: &Engine, clear: &str, now: Timestamp, calls: usize) -> usize {
    (0..calls).filter(|_| verdict(engine, clear, now).is_allowed()).count()
}

/// Name, units, left, seconds until all is back, and whether it refused.
fn seen(engine: &Engine, verdict: &Verdict) -> Vec<(String, u64, u64, u32, bool)> {
    let directory = engine.directory();
    let api = directory.api(verdict.api.unwrap());
    let limits = api.limits(&verdict.limits);
    limits.map(|l| (l.name.to_owned(), l.limit, l.remaining, l.reset_seconds, l.is_refused)).collect()
}

#[test]
fn a_burst_passes_and_then_as_much_as_comes_back() {
    let (engine, secrets) = limited(&limit("burst", "units = 60\nseconds = 60\nburst = 3"), 2);
    // Per organization: it does not matter which key.
    assert_eq!((passed(&engine, &secrets[0], at(0), 2), passed(&engine, &secrets[1], at(0), 9)), (2, 1));
    let refused = verdict(&engine, &secrets[0], at(0));
    assert_eq!(refused.decision, Err(Denial::RateLimited));
    assert_eq!(refused.limits.retry_after_seconds, Some(1));
    assert_eq!(seen(&engine, &refused), [("burst".to_owned(), 60, 0, 3, true)]);
    assert_eq!([passed(&engine, &secrets[0], at(1), 9), passed(&engine, &secrets[1], at(3), 9)], [1, 2]);
    let allowed = verdict(&engine, &secrets[0], at(1000));
    assert_eq!(seen(&engine, &allowed), [("burst".to_owned(), 60, 2, 1, false)]);
    assert_eq!(allowed.limits.retry_after_seconds, None);
}

#[test]
fn all_or_nothing_with_cost() {
    let rules = [
        limit("small", "units = 5\nseconds = 60\nscope = 'things:write'"),
        limit("large", "units = 100\nseconds = 60\nper = 'key'"),
        limit("larger", "units = 1000\nseconds = 60"),
    ];
    let (engine, secrets) = limited(&format!("quota = 50\n{}", rules.concat()), 1);
    let ask = |method, cost| {
        let path = if method == Method::Get { "/v1/things/1" } else { "/v1/things" };
        Ask { endpoint: Some((method, path)), cost: Some(cost), ..Ask::with(&secrets[0]) }.verdict(&engine)
    };
    let left = |verdict: &Verdict| seen(&engine, verdict).iter().map(|seen| seen.2).collect::<Vec<_>>();
    assert_eq!(left(&ask(Method::Post, 4)), [1, 96, 996, 46]);
    for cost in [2, 5, 6] {
        let refused = ask(Method::Post, cost);
        assert_eq!((refused.decision, left(&refused)), (Err(Denial::RateLimited), vec![1, 96, 996, 46]));
        // More than there ever are is never let through.
        assert_eq!(refused.limits.retry_after_seconds.is_none(), cost == 6);
    }
    // The smaller limit is not for this endpoint.
    assert_eq!(left(&ask(Method::Get, 40)), [56, 956, 6]);
    let refused = ask(Method::Get, 7);
    assert_eq!((refused.decision, left(&refused)), (Err(Denial::QuotaExceeded), vec![56, 956, 6]));
    assert_eq!(refused.limits.retry_after_seconds, Some(31 * 86400));
    assert_eq!(ask(Method::Get, 51).limits.retry_after_seconds, None);
    // Both refuse: the rate limit says what it is called.
    assert_eq!(ask(Method::Get, 57).decision, Err(Denial::RateLimited));
    assert_eq!(left(&ask(Method::Get, 6)), [50, 950, 0]);
    // What costs nothing is not limited.
    let free = Ask { endpoint: Some((Method::Get, "/v1/api-keys")), ..Ask::with(&secrets[0]) }.verdict(&engine);
    assert!(free.is_allowed() && free.limits.is_empty());
}

#[test]
fn a_limit_of_nothing_lets_nothing_through() {
    for text in [limit("none", "units = 0\nseconds = 60"), "quota = 0".to_owned(), "key_quota = 0".to_owned()] {
        let (engine, secrets) = limited(&text, 1);
        for seconds in [0, 86400, 400 * 86400] {
            let verdict = verdict(&engine, &secrets[0], at(seconds));
            assert!(!verdict.is_allowed() && verdict.limits.retry_after_seconds.is_none(), "{text}");
        }
    }
}

#[test]
fn the_largest_numbers_are_fine() {
    let rules = [
        limit("fast", "units = 1000000000\nseconds = 1"),
        limit("slow", "units = 1\nseconds = 86400\nburst = 7\nper = 'key'"),
    ];
    let (engine, secrets) = limited(&format!("quota = 140737488355328\n{}", rules.concat()), 1);
    let most = Ask { cost: Some(u32::MAX), ..Ask::with(&secrets[0]) }.verdict(&engine);
    assert_eq!((most.decision, most.limits.retry_after_seconds), (Err(Denial::RateLimited), None));
    assert_eq!(passed(&engine, &secrets[0], at(0), 9), 7);
    assert_eq!(passed(&engine, &secrets[0], at(86400), 9), 1);
    for now in [i64::MIN, -1, 0, i64::MAX].map(Timestamp::from_micros) {
        verdict(&engine, &secrets[0], now);
    }
}

#[test]
fn keys_have_limits_of_their_own_and_share_them_with_what_they_make() {
    let text = format!("key_quota = 5\n{}", limit("each", "units = 3\nseconds = 60\nper = 'key'"));
    let (engine, secrets) = limited(&text, 2);
    let child = |number: u128, parent| {
        let clear = secret(&acme(), "ek", number as u64);
        let child = Key { kind: Kind::Ephemeral, parent_id: Some(KeyId::from_u128(parent)), ..key(number, &clear) };
        apply(&engine, Change::Key(Box::new(child)));
        clear
    };
    let (one, other) = (child(11, 1), child(12, 1));
    assert_eq!(passed(&engine, &secrets[0], at(0), 1), 1);
    assert_eq!([&one, &other, &one].map(|clear| passed(&engine, clear, at(0), 1)), [1, 1, 0]);
    assert_eq!(passed(&engine, &secrets[0], at(0), 1), 0, "its children have used it up");
    assert_eq!(passed(&engine, &secrets[1], at(0), 9), 3, "another key");
    assert_eq!(passed(&engine, &one, at(600), 9), 2, "the quota of the parent");
    let later = child(13, 1);
    let refused = verdict(&engine, &later, at(1200));
    assert_eq!(refused.decision, Err(Denial::QuotaExceeded));
    assert_eq!(seen(&engine, &refused)[1].0, "key_quota");
}

#[test]
fn test_calls_are_limited_apart_and_use_no_quota() {
    let text = format!(
        "quota = 2\nkey_quota = 2\n{}{}",
        limit("all", "units = 4\nseconds = 60"),
        limit("each", "units = 3\nseconds = 60\nper = 'key'")
    );
    let (engine, secrets) = limited(&text, 1);
    let tests = [21, 22].map(|number: u128| {
        let clear = secret(&acme(), "test", number as u64);
        let made = Key { environment: Environment::Test, ..key(number, &clear) };
        apply(&engine, Change::Key(Box::new(made)));
        clear
    });
    assert_eq!((passed(&engine, &tests[0], at(0), 9), passed(&engine, &tests[1], at(0), 9)), (3, 1));
    assert_eq!(passed(&engine, &secrets[0], at(0), 9), 2);
    let refused = verdict(&engine, &tests[0], at(0));
    assert_eq!((refused.decision, seen(&engine, &refused).len()), (Err(Denial::RateLimited), 2));
}

#[test]
fn a_clock_that_is_set_back_neither_blocks_nor_gives_back() {
    let (engine, secrets) = limited(&limit("burst", "units = 60\nseconds = 60\nburst = 10"), 1);
    let passed = |seconds| passed(&engine, &secrets[0], at(seconds), 99);
    assert_eq!(passed(100_000), 10);
    // A moment back, as threads are: nothing comes back that came back before.
    assert_eq!([passed(99_990), passed(100_001)], [0, 1]);
    // An hour back: time goes on from where it was.
    assert_eq!([passed(96_400), passed(96_402), passed(96_404)], [0, 1, 2]);
    assert_eq!([passed(50_000), passed(50_100)], [0, 10]);
}

#[test]
fn a_limit_that_is_raised_or_lowered_acts_at_once_and_keeps_what_was_used() {
    let rule = |units: u32, seconds| limit("calls", &format!("units = {units}\nseconds = {seconds}"));
    let per_key = |units: u32| limit("each", &format!("units = {units}\nseconds = 60\nper = 'key'"));
    let (engine, secrets) = limited(&format!("{}{}", rule(100, 60), per_key(100)), 1);
    let now = at(0);
    assert_eq!(passed(&engine, &secrets[0], now, 10), 10);
    // Ten are used, whatever the limit is.
    for (units, key_units, expected) in [(30, 500, 20), (1000, 80, 50), (1000, 2000, 920), (999, 100, 0)] {
        define(&engine, &format!("{}{}", rule(units, 60), per_key(key_units)));
        assert_eq!(passed(&engine, &secrets[0], now, 2000), expected, "{units} {key_units}");
    }
    // A limit of another name begins anew.
    define(&engine, &limit("other", "units = 5\nseconds = 60"));
    assert_eq!(passed(&engine, &secrets[0], now, 9), 5);
    define(&engine, &rule(1, 1));
    assert_eq!([now, at(1)].map(|now| passed(&engine, &secrets[0], now, 9)), [0, 1]);
}

#[test]
fn a_plan_that_is_changed_acts_at_once() {
    let plans = "[[plans]]\nname = 'small'\ntitle = 'S'\nquota = 3\n[[plans]]\nname = 'large'\ntitle = 'L'\nquota = 10\n\
                 [[plans]]\nname = 'open'\ntitle = 'O'\n[subscriptions]\ndefault_plan = 'small'\n";
    let (engine, secrets) = limited("", 1);
    apply(&engine, Change::Api(Box::new(planned(plans))));
    let subscribe = |plan| apply(&engine, Change::Subscription(Box::new(subscription(plan))));
    let passed = || passed(&engine, &secrets[0], at(0), 6);
    assert_eq!(passed(), 3);
    subscribe("large");
    assert_eq!(passed(), 6);
    subscribe("open");
    assert_eq!(passed(), 6);
    for plan in ["small", "large"] {
        subscribe(plan);
        assert_eq!(passed(), 0, "units on a plan without a quota count as well");
    }
}

fn organization_in(zone: &str) -> Change {
    let organization = organization(1, OrganizationStatus::Active);
    Change::Organization(Organization { time_zone: zone.parse().unwrap(), ..organization })
}

#[test]
fn a_quota_begins_anew_with_the_billing_period() {
    let (engine, secrets) = limited("quota = 4\nkey_quota = 3", 2);
    let passed = |key: usize, now: &str| passed(&engine, &secrets[key], now.parse().unwrap(), 9);
    assert_eq!([passed(0, "2026-01-31T23:59:59.999999Z"), passed(1, "2026-01-01T00:00:00Z")], [3, 1]);
    assert_eq!(passed(1, "2026-01-31T23:59:59.999999Z"), 0);
    assert_eq!([passed(1, "2026-02-01T00:00:00Z"), passed(0, "2026-02-28T00:00:00Z")], [3, 1]);
    // A clock that is set back gives nothing back, and the newer period goes on.
    assert_eq!([passed(0, "2026-01-15T00:00:00Z"), passed(0, "2026-02-28T00:00:00Z")], [0, 0]);
    let refused = verdict(&engine, &secrets[0], "2026-01-31T00:00:00Z".parse().unwrap());
    assert_eq!(refused.limits.retry_after_seconds, Some(29 * 86400), "until the end of February");
    // Where the organization is, April begins two hours earlier.
    apply(&engine, organization_in("Europe/Berlin"));
    assert_eq!(passed(0, "2026-03-31T21:59:59Z"), 3);
    assert_eq!([passed(1, "2026-03-31T21:59:59Z"), passed(1, "2026-03-31T22:00:00Z")], [1, 3]);
}

#[test]
fn units_are_kept_while_the_period_has_the_same_number() {
    let (engine, secrets) = limited("quota = 4", 1);
    let passed = |now: &str| passed(&engine, &secrets[0], now.parse().unwrap(), 9);
    let anchor = |day: u8| {
        let anchor_day = Some(day.try_into().unwrap());
        apply(&engine, Change::Subscription(Box::new(Subscription { anchor_day, ..subscription("pro") })));
    };
    assert_eq!(passed("2026-03-10T00:00:00Z"), 4);
    anchor(15);
    // By the new day it is still February's period, and then March's, which was begun.
    assert_eq!([passed("2026-03-10T00:00:00Z"), passed("2026-03-20T00:00:00Z")], [0, 0]);
    assert_eq!(passed("2026-04-15T00:00:00Z"), 4);
    anchor(31);
    assert_eq!([passed("2026-04-29T00:00:00Z"), passed("2026-04-30T00:00:00Z")], [0, 0]);
    assert_eq!(passed("2026-05-31T00:00:00Z"), 4);
    apply(&engine, organization_in("Asia/Kolkata"));
    assert_eq!(passed("2026-05-31T00:00:00Z"), 0);
}

#[test]
fn what_was_used_before_the_engine_was_made_is_said_to_it() {
    let (engine, secrets) = limited("quota = 10\nkey_quota = 8", 2);
    let period = BillingCalendar::default().period(at(0)).number;
    let (organization, api) = (OrganizationId::from_u128(1), "acme".parse().unwrap());
    for _ in 0..2 {
        engine.seed_usage(organization, &api, period, 4).unwrap();
        engine.seed_key_usage(KeyId::from_u128(1), period, 3);
    }
    // What is older, or less, changes nothing.
    engine.seed_usage(organization, &api, period - 1, 9).unwrap();
    engine.seed_usage(organization, &api, period, 2).unwrap();
    engine.seed_key_usage(KeyId::from_u128(1), period - 1, 8);
    engine.seed_key_usage(KeyId::from_u128(99), period, 8);
    assert_eq!([0, 1].map(|key| passed(&engine, &secrets[key], at(0), 9)), [5, 1]);
    // Nor does what is said of an organization that the engine does not know make any key work.
    engine.seed_usage(OrganizationId::from_u128(7), &api, period, 1).unwrap();
    engine.seed_usage(organization, &"other".parse().unwrap(), period, 1).unwrap();
    assert_eq!(passed(&engine, &secrets[0], at(32 * 86400), 20), 8);
}

/// The limits of a process that dies, and a new engine of the same keys with what it left.
fn killed(words: &[std::sync::atomic::AtomicU64]) -> RecoveredLimits {
    recover(words).unwrap().limits
}

#[test]
fn a_restart_gives_nothing_back() {
    let text = format!(
        "{}{}{}",
        limit("first", "units = 40\nseconds = 3600"),
        limit("second", "units = 20\nseconds = 3600"),
        limit("each", "units = 5\nseconds = 3600\nper = 'key'")
    );
    let secrets: Vec<String> = (1..=5).map(|seed| secret(&acme(), "live", seed)).collect();
    let snapshot = || {
        let numbered: Vec<(&String, u128)> = secrets.iter().zip(1..).collect();
        let keys = numbered.into_iter().map(|(clear, number)| Change::Key(Box::new(key(number, clear))));
        let organization = Change::Organization(organization(1, OrganizationStatus::Active));
        // In another order than before, so that rows and slots are others.
        keys.rev().chain([organization, Change::Api(Box::new(plan(&text)))])
    };
    let (engine, words) = engine_with_words(OPTIONS);
    engine.load(Revision(1), snapshot().collect::<Vec<_>>().into_iter().rev()).unwrap();
    assert_eq!([0_usize, 1, 2].map(|place| passed(&engine, &secrets[place], at(0), 4)), [4, 4, 4]);
    let mut left = killed((*words).as_ref());
    assert_eq!(left.len(), 5);
    // Twelve units come back in 18 and in 36 minutes, and each key's four in 48.
    for (minutes, expected) in [(0, 5), (18, 4), (36, 3), (48, 0)] {
        let mut later = left.clone();
        later.forget_spent(at(minutes * 60));
        assert_eq!(later.len(), expected, "after {minutes} minutes");
    }
    // Killed again and again, with nobody calling but at last.
    for _ in 0..3 {
        let words = region(words_needed(OPTIONS));
        let engine = Engine::with_counters(OPTIONS, Arc::clone(&words) as Words, 8, left.clone()).unwrap();
        engine.load(Revision(1), snapshot()).unwrap();
        let found = killed((*words).as_ref());
        assert_eq!(found, left);
        left = found;
    }
    let words = region(words_needed(OPTIONS));
    let engine = Engine::with_counters(OPTIONS, Arc::clone(&words) as Words, 9, left).unwrap();
    engine.load(Revision(1), snapshot()).unwrap();
    let passed: Vec<usize> = secrets.iter().map(|clear| passed(&engine, clear, at(0), 9)).collect();
    // One more with each of the first three keys, then as the organization's second limit has it: eight in all.
    assert_eq!(passed, [1, 1, 1, 5, 0]);
    assert_eq!(seen(&engine, &verdict(&engine, &secrets[0], at(0)))[0].2, 40 - 20);
}

#[test]
fn the_counters_of_the_version_before_are_read() {
    let (engine, words) = engine_with_words(OPTIONS);
    let clear = secret(&acme(), "live", 1);
    let known = [Change::Api(Box::new(acme())), Change::Organization(organization(1, OrganizationStatus::Active))];
    engine.load(Revision(1), known.into_iter().chain([Change::Key(Box::new(key(1, &clear)))])).unwrap();
    assert_eq!(passed(&engine, &clear, START, 3), 3);
    let now = recover((*words).as_ref()).unwrap();
    // As small as this, tables, names and ledger were where they are now, and nothing came after them.
    let all: &[std::sync::atomic::AtomicU64] = (*words).as_ref();
    let length = 16 + 64 * 2 * 3 * 2 + 2048 + 16 * 6;
    for (word, value) in [(1, 1), (4, 0), (5, 0)] {
        all[word].store(value, std::sync::atomic::Ordering::Relaxed);
    }
    let before = recover(&all[..length]).unwrap();
    assert_eq!((before.totals.len(), before.totals), (1, now.totals));
    assert!(before.limits.is_empty() && recover(&all[..length - 1]).is_err());
    all[1].store(3, std::sync::atomic::Ordering::Relaxed);
    assert!(recover(all).is_err());
}

#[test]
fn more_keys_than_there_is_room_for_are_limited_all_the_same() {
    // There are 16 cells.
    let (engine, secrets) = limited(&limit("each", "units = 2\nseconds = 60\nper = 'key'"), 1500);
    for seconds in [0, 30, 3600] {
        let expected = if seconds == 30 { 1 } else { 2 };
        for clear in &secrets {
            assert_eq!(passed(&engine, clear, at(seconds), 4), expected);
        }
    }
}

#[test]
fn a_slot_that_is_used_again_does_not_bring_its_limits_along() {
    let (engine, secrets) = limited(&limit("each", "units = 2\nseconds = 86400\nper = 'key'"), 1);
    assert_eq!(passed(&engine, &secrets[0], at(0), 9), 2);
    apply(&engine, Change::KeyRemoved { id: KeyId::from_u128(1) });
    // The slot rests until every table was handed over twice.
    for hour in 0..12 {
        engine.usage().collect(at(hour * 3600));
        engine.usage().close_hours(at(hour * 3600));
    }
    let next = secret(&acme(), "live", 2);
    apply(&engine, Change::Key(Box::new(key(2, &next))));
    assert_eq!(passed(&engine, &next, at(0), 9), 2);
    // And the key of before, brought back, has none of the other's. It is another slot, so it begins anew.
    apply(&engine, Change::Key(Box::new(key(1, &secrets[0]))));
    assert_eq!(passed(&engine, &secrets[0], at(0), 9), 2);
}

#[test]
fn accounts_beyond_those_that_are_kept_are_limited_too() {
    let (engine, _) = limited(&limit("all", "units = 2\nseconds = 60"), 0);
    // There are lines for 16 accounts.
    for number in 1..100_u128 {
        let clear = secret(&acme(), "live", number as u64);
        let organization = organization(number, OrganizationStatus::Active);
        let key = Key { organization: organization.id, ..key(number, &clear) };
        apply(&engine, Change::Organization(organization));
        apply(&engine, Change::Key(Box::new(key)));
        assert_eq!(passed(&engine, &clear, at(0), 9), 2);
    }
}
