//! The way to a yes allocates nothing. A test binary of its own, because it counts with the global allocator.

#![allow(unsafe_code, reason = "an allocator can only be counted by being one")]
#![allow(clippy::unwrap_used, reason = "a test ends where something is not as it should be")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use claviger_domain::change::{Change, Revision};
use claviger_domain::organization::OrganizationStatus;
use claviger_engine::{Engine, EngineOptions};

#[path = "engine/support.rs"]
#[allow(dead_code, reason = "shared with the other test binary")]
mod support;

use support::{Ask, acme, at, engine, key, organization, planned, secret};

struct Counting;

thread_local! {
    static COUNT: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: everything is handed to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn allocations(engine: &Engine, ask: Ask<'_>) -> u64 {
    let before = COUNT.with(Cell::get);
    let verdict = ask.verdict(engine);
    let after = COUNT.with(Cell::get);
    assert!(verdict.is_allowed(), "{:?}", verdict.decision);
    after - before
}

#[test]
fn a_request_that_limits_allow_allocates_nothing() {
    let plan = "[[plans]]\nname = 'pro'\ntitle = 'Pro'\nquota = 100000\nkey_quota = 100000\n\
                [[plans.rate_limits]]\nname = 'all'\nunits = 1000000\nseconds = 1\n\
                [[plans.rate_limits]]\nname = 'each'\nper = 'key'\nunits = 1000000\nseconds = 1\n\
                [subscriptions]\ndefault_plan = 'pro'\n";
    let clear = secret(&acme(), "live", 1);
    let known = || vec![Change::Key(Box::new(key(1, &clear))), Change::Api(Box::new(planned(plan)))];
    let counting = engine(known());
    let ask = Ask { cost: Some(3), ..Ask::with(&clear) };
    allocations(&counting, ask);
    assert_eq!((0..100).map(|_| allocations(&counting, ask)).sum::<u64>(), 0);
    // Nor when a billing period begins. (Counts of hours that nobody has collected in between would go to the ledger.)
    let not_counting = Engine::new(EngineOptions { usage_cells: 0, keys: 0 });
    let active = Change::Organization(organization(1, OrganizationStatus::Active));
    not_counting.load(Revision(1), known().into_iter().chain([active])).unwrap();
    allocations(&not_counting, ask);
    for days in [40, 80, 120] {
        assert_eq!(allocations(&not_counting, Ask { now: at(days * 86400), ..ask }), 0);
    }
}

#[test]
fn an_allowed_request_allocates_nothing() {
    let plain = secret(&acme(), "live", 1);
    let bound = secret(&acme(), "live", 2);
    let mut restricted = key(2, &bound);
    restricted.restrictions = serde_json::from_str(
        r#"{"ip": ["10.0.0.0/8"], "referrer": ["*.example.com"], "endpoint": ["GET /v1/things/*"]}"#,
    )
    .unwrap();
    let engine = engine(vec![Change::Key(Box::new(key(1, &plain))), Change::Key(Box::new(restricted))]);
    let bound = Ask { ip: Some("10.1.2.3"), referrer: Some("https://app.example.com/x"), ..Ask::with(&bound) };
    for ask in [Ask::with(&plain), bound] {
        // The first use on a thread may set thread-local things up.
        allocations(&engine, ask);
        assert_eq!((0..100).map(|_| allocations(&engine, ask)).sum::<u64>(), 0);
    }
    assert!({
        let before = COUNT.with(Cell::get);
        drop(std::hint::black_box(Box::new(1)));
        COUNT.with(Cell::get) > before
    });
}
