//! `kill -9` in the middle of things, again and again on the same deployment.

use claviger_domain::random::{Entropy as _, PredictableEntropy, SystemEntropy};

use crate::Database;
use crate::books::{Books, Calls};

const KILLS: u32 = 20;
/// The process is killed when so many calls were answered, or up to so many more.
const ANSWERED: (u64, u64) = (5, 300);

/// Moments that nobody chose; the seed is printed, and `FAULTS_SEED` sets it.
struct Moments(PredictableEntropy);

impl Moments {
    #[expect(clippy::disallowed_methods, reason = "nobody but the test has a say in it")]
    fn new() -> Self {
        let mut bytes = [0; 8];
        SystemEntropy.fill(&mut bytes);
        let given = std::env::var("FAULTS_SEED").ok();
        let seed = given.map_or(u64::from_le_bytes(bytes), |seed| seed.parse().unwrap());
        say(&format!("FAULTS_SEED={seed}"));
        Self(PredictableEntropy::new(seed))
    }

    /// After how many answers.
    fn next(&self) -> u64 {
        let mut bytes = [0; 8];
        self.0.fill(&mut bytes);
        let (least, range) = ANSWERED;
        least + u64::from_le_bytes(bytes) % range
    }
}

fn kill_again_and_again(database: &Database) {
    let moments = Moments::new();
    let mut server = database.serve_example();
    let mut books = Books::open(&server);
    let mut sum = Calls::default();
    for _ in 0..KILLS {
        let load = books.load(&server);
        let (place, tally) = load.run(|load| {
            load.until_answered(moments.next());
            load.expect_the_end();
            server.kill()
        });
        server = database.serve(place);
        assert_eq!(tally.unavailable, 0);
        let counted = books.check(&server, tally);
        sum.answered += counted.answered;
        sum.lost += counted.lost;
        sum.lost_but_counted += counted.lost_but_counted;
    }
    books.close(&server);
    say(&format!("{KILLS} kills: {sum:?}"));
}

#[test]
fn a_killed_process_has_lost_nothing_that_it_answered_on_sqlite() {
    kill_again_and_again(&Database::Sqlite);
}

#[test]
fn a_killed_process_has_lost_nothing_that_it_answered_on_postgres() {
    kill_again_and_again(&Database::postgres());
}

#[allow(clippy::print_stderr, reason = "shown when the test fails, or with --nocapture")]
fn say(text: &str) {
    eprintln!("{text}");
}
