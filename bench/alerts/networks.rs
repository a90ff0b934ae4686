//! A month of networks: who stays, who moves, who comes from everywhere, and whose key leaks.

use claviger_app::alerts::rules::new_networks;
use claviger_domain::random::{Entropy as _, PredictableEntropy};

use crate::simulation::Score;

const DAY: i64 = 24;
/// Weeks before the month that is judged.
const BEFORE: i64 = 35 * DAY;
const MONTH: i64 = 30 * DAY;

/// How the holder of a key comes by networks, in hundredths of the keys.
const STAYS: u64 = 70;
const MOVES: u64 = 15;
const GROWS: u64 = 10;

struct Random(PredictableEntropy);

impl Random {
    /// A number below another.
    fn below(&self, end: u64) -> u64 {
        let mut bytes = [0; 8];
        self.0.fill(&mut bytes);
        u64::from_le_bytes(bytes) % end
    }

    fn between(&self, from: i64, to: i64) -> i64 {
        from + self.below((to - from).unsigned_abs()).cast_signed()
    }
}

/// What came of it: the score, and alarms without a leak for each key and month.
pub(crate) fn simulate(keys: usize, seed: u64) -> (Score, f64) {
    let random = Random(PredictableEntropy::new(seed));
    let mut score = Score::default();
    for _ in 0..keys {
        // First uses of networks, and whether they are a thief's.
        let mut uses: Vec<(i64, bool)> = first_uses(&random).into_iter().map(|hour| (hour, false)).collect();
        let is_leaked = random.below(100) == 0;
        if is_leaked {
            let hour = random.between(BEFORE, BEFORE + MONTH - DAY);
            let thieves = random.between(1, 4);
            uses.extend((0..thieves).map(|_| (hour + random.between(0, DAY), true)));
        }
        uses.sort_unstable();
        let alarms = alarms(&uses);
        score.incidents += usize::from(is_leaked);
        score.found += usize::from(alarms.contains(&true));
        score.alarms += alarms.len();
        score.right += alarms.iter().filter(|is_right| **is_right).count();
    }
    (score, (score.alarms - score.right) as f64 / keys as f64)
}

/// Hours in which a holder first comes from a network.
fn first_uses(random: &Random) -> Vec<i64> {
    let mut uses: Vec<i64> = (0..random.between(1, 4)).map(|_| random.between(0, 2 * DAY)).collect();
    let pause = match random.below(100) {
        sort if sort < STAYS => return uses,
        // Another provider, another office, a new machine.
        sort if sort < STAYS + MOVES => 20 * DAY..60 * DAY,
        // Machines that come and go.
        sort if sort < STAYS + MOVES + GROWS => DAY..7 * DAY,
        // People on the road.
        _ => 1..12,
    };
    let mut hour = random.between(0, pause.end);
    while hour < BEFORE + MONTH {
        uses.push(hour);
        hour += random.between(pause.start, pause.end);
    }
    uses
}

/// For each alarm in the month whether it is a thief's, in the order in which they are raised.
fn alarms(uses: &[(i64, bool)]) -> Vec<bool> {
    let hours: Vec<i64> = uses.iter().map(|(hour, _)| *hour).collect();
    let raised = |place: &usize| {
        let hour = hours[*place];
        hour >= BEFORE && new_networks(&hours[..=*place], hour).last() == Some(place)
    };
    (0..uses.len()).filter(raised).map(|place| uses[place].1).collect()
}
