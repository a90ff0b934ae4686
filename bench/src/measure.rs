//! The two things that are compared, round by round.

use std::hint::black_box;
use std::time::Instant;

use claviger_domain::change::Revision;
use claviger_domain::credential::Credential;
use claviger_domain::endpoint::Method;
use claviger_domain::id::KeyId;
use claviger_domain::path::CanonicalPath;
use claviger_domain::referrer::Referrer;
use claviger_domain::secret::{PresentedSecret, SecretDigest};
use claviger_engine::{Engine, Request};
use hashbrown::HashMap;

use crate::population::{NOW, Secrets};

/// How often each side goes through all the secrets.
const PASSES: usize = 5;
/// Verifications of one side before it is the other's turn: short, so that what else the machine does meanwhile
/// hits both alike.
const TURN: usize = 1 << 16;

/// Medians over all turns.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    /// Nanoseconds of a look-up.
    pub(crate) floor: f64,
    /// Nanoseconds of a verification.
    pub(crate) engine: f64,
    /// How many times longer the engine took than the floor in the turn before.
    pub(crate) ratio: f64,
}

/// The least that a verification can be: the digest of the secret, and a hit in a map that says whose it is.
pub(crate) struct Floor(HashMap<[u8; 32], KeyId>);

impl Floor {
    pub(crate) fn new(secrets: &Secrets) -> Self {
        let mut map = HashMap::with_capacity(secrets.len());
        for (secret, number) in secrets.iter().zip(0..) {
            map.insert(*SecretDigest::of(secret).as_bytes(), KeyId::from_u128(number));
        }
        Self(map)
    }

    fn run<'a>(&self, presented: impl Iterator<Item = &'a str>) -> usize {
        let hit =
            |secret: &&str| black_box(self.0.get(SecretDigest::of(black_box(secret)).as_bytes()).copied()).is_some();
        presented.filter(hit).count()
    }
}

fn verify_all<'a>(engine: &Engine, presented: impl Iterator<Item = &'a str>) -> usize {
    let api = engine.directory().find("example");
    let path = CanonicalPath::parse("/v1/users/usr_123").expect("a canonical path");
    let referrer = Referrer::parse("https://www.example.com/page");
    let allowed = |secret: &&str| {
        let request = Request {
            credential: Credential::Bearer(PresentedSecret::new(black_box(secret))),
            api,
            endpoint: Some((Method::Get, path)),
            ip: Some([198, 51, 100, 7].into()),
            referrer,
            scopes: &[],
            cost: None,
            at_least_revision: Revision(1),
        };
        engine.verify(black_box(NOW), black_box(&request)).is_allowed()
    };
    presented.filter(allowed).count()
}

/// Runs both sides in turn over the same secrets in the same order.
pub(crate) fn compare(engine: &Engine, floor: &Floor, presented: &Secrets, verifications: usize) -> Times {
    let turns = verifications / TURN;
    let mut times = [Vec::new(), Vec::new(), Vec::new()];
    for pass in 0..=PASSES {
        for turn in 0..turns {
            let secrets = || presented.iter().cycle().skip(turn * TURN % presented.len()).take(TURN);
            let floor_time = time(|| floor.run(secrets()));
            let engine_time = time(|| verify_all(engine, secrets()));
            // The first pass does not count: it claims the usage cells and warms what can be warm.
            if pass > 0 {
                times[0].push(floor_time);
                times[1].push(engine_time);
                times[2].push(engine_time / floor_time);
            }
        }
    }
    let [floor, engine, ratio] = times.map(median);
    Times { floor, engine, ratio }
}

#[expect(clippy::disallowed_methods, reason = "a bench measures time")]
fn time(run: impl FnOnce() -> usize) -> f64 {
    let start = Instant::now();
    let good = run();
    let elapsed = start.elapsed();
    assert_eq!(good, TURN, "every secret is known and allowed");
    elapsed.as_secs_f64() * 1e9 / TURN as f64
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}
