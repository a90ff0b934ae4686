//! Many threads at once, on real hardware: what has been applied is seen by everybody.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use claviger_domain::change::{Change, Revision};
use claviger_domain::denial::Denial;
use claviger_domain::endpoint::Method;
use claviger_domain::organization::OrganizationStatus;
use claviger_engine::{Engine, EngineOptions};

use crate::limits::{limit, limited};
use crate::support::{Ask, acme, at, key, organization, revoked, rotated, secret};

const READERS: usize = 3;
const ROUNDS: u64 = 1000;

struct Done<'a>(&'a AtomicBool);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

/// A reader that begins after `apply` of a revocation has returned never hears yes again, while keys come, rotate and
/// go around it and their slots are reused. Nothing that was allowed or denied is left uncounted.
#[test]
fn what_was_revoked_is_refused_by_every_thread() {
    let engine = Engine::new(EngineOptions { usage_cells: 1 << 12, keys: 0 });
    let known = [Change::Api(Box::new(acme())), Change::Organization(organization(1, OrganizationStatus::Active))];
    engine.load(Revision(1), known.into_iter()).unwrap();
    let secrets: Vec<[String; 2]> =
        (0..ROUNDS).map(|round| [0, 1].map(|half| secret(&acme(), "live", round * 2 + half))).collect();
    let revoked_through = AtomicU64::new(0);
    let is_done = AtomicBool::new(false);
    let counted = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..READERS {
            scope.spawn(|| {
                let mut round = 0;
                while !is_done.load(Ordering::Acquire) || round < ROUNDS {
                    let known = revoked_through.load(Ordering::Acquire);
                    let place = (round % ROUNDS) as usize;
                    for clear in &secrets[place] {
                        let verdict = Ask::with(clear).verdict(&engine);
                        counted.fetch_add(u64::from(verdict.key.is_some()), Ordering::Relaxed);
                        if (place as u64) < known {
                            assert_ne!(verdict.decision, Ok(()), "round {place} was over");
                        }
                    }
                    round += 1;
                }
            });
        }
        // Also when the writer fails: the readers must end for the test to say so.
        let _done = Done(&is_done);
        let mut revision = engine.revision().0;
        let mut apply = |change: Change| {
            revision += 1;
            engine.apply(Revision(revision), &[change]).unwrap();
        };
        for (round, [first, second]) in (0..ROUNDS).zip(&secrets) {
            let made = key(u128::from(round) + 1, first);
            apply(Change::Key(Box::new(made.clone())));
            assert_eq!(Ask::with(first).decision(&engine), Ok(()));
            let made = rotated(&made, second, Some(at(60)));
            apply(Change::Key(Box::new(made.clone())));
            assert_eq!([first, second].map(|clear| Ask::with(clear).decision(&engine)), [Ok(()), Ok(())]);
            apply(Change::Key(Box::new(revoked(&made))));
            assert_eq!(Ask::with(second).decision(&engine), Err(Denial::Revoked));
            counted.fetch_add(4, Ordering::Relaxed);
            if round % 2 == 0 {
                apply(Change::KeyRemoved { id: made.id });
            }
            revoked_through.store(round + 1, Ordering::Release);
        }
    });
    let total: u64 = engine.usage().collect(at(0)).iter().map(|total| total.count).sum();
    assert_eq!(total, counted.load(Ordering::Relaxed));
}

const CALLERS: usize = 8;

/// So many calls of each of eight threads at one instant; how many passed.
fn calls_at_once(calls: usize, call: impl Fn(usize, usize) -> bool + Sync) -> usize {
    let barrier = std::sync::Barrier::new(CALLERS);
    std::thread::scope(|scope| {
        let run = |caller| {
            let (barrier, call) = (&barrier, &call);
            move || {
                barrier.wait();
                (0..calls).filter(|number| call(caller, *number)).count()
            }
        };
        let callers: Vec<_> = (0..CALLERS).map(|caller| scope.spawn(run(caller))).collect();
        callers.into_iter().map(|caller| caller.join().unwrap()).sum()
    })
}

#[test]
fn with_k_left_exactly_k_of_many_calls_at_once_pass() {
    for round in 0..50 {
        for text in [
            limit("all", "units = 17\nseconds = 86400"),
            limit("each", "units = 17\nseconds = 86400\nper = 'key'"),
            "quota = 17".to_owned(),
            "key_quota = 17".to_owned(),
        ] {
            let (engine, secrets) = limited(&text, 1);
            let passed = calls_at_once(25, |_, _| Ask::with(&secrets[0]).verdict(&engine).is_allowed());
            assert_eq!(passed, 17, "{text} in round {round}");
        }
    }
}

/// One limit is used up, so calls that it applies to are refused: none of them keeps a call from passing that only the
/// other limits apply to, and together these let exactly as many pass as they have.
#[test]
fn what_is_refused_takes_nothing_from_what_passes() {
    let rules = [
        limit("writes", "units = 1\nseconds = 86400\nscope = 'things:write'"),
        limit("all", "units = 1001\nseconds = 86400"),
        limit("each", "units = 2000\nseconds = 86400\nper = 'key'"),
    ];
    let (engine, secrets) = limited(&format!("quota = 1500\n{}", rules.concat()), 2);
    let write = Ask { endpoint: Some((Method::Post, "/v1/things")), ..Ask::with(&secrets[0]) };
    assert!(write.verdict(&engine).is_allowed());
    let passed = calls_at_once(1000, |caller, number| {
        let read = Ask::with(&secrets[caller % 2]);
        if caller < CALLERS / 2 {
            assert_eq!(write.decision(&engine), Err(Denial::RateLimited));
            false
        } else {
            // Two hundred and fifty each: as many as there are.
            number < 250 && {
                assert_eq!(read.decision(&engine), Ok(()));
                true
            }
        }
    });
    assert_eq!(passed, 1000);
    assert_eq!(Ask::with(&secrets[1]).decision(&engine), Err(Denial::RateLimited));
}
