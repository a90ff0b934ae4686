//! A small month: the rules must not get worse than they were when their figures were written down.

mod networks;
mod simulation;

use claviger_app::alerts::rules::Thresholds;

use crate::simulation::simulate;

#[test]
fn incidents_are_found_and_few_alarms_are_false() {
    let outcome = simulate(600, 7, &Thresholds::default());
    let told = format!("{outcome:?} {:?}", outcome.false_alarms());
    assert!(outcome.leak.incidents >= 5 && outcome.slow.incidents >= 5 && outcome.denials.incidents >= 5, "{told}");
    assert!(outcome.leak.recall() >= 0.8, "{told}");
    assert!(outcome.denials.recall() >= 0.9 && outcome.denials.precision() >= 0.5, "{told}");
    assert!(outcome.false_alarms()[0] <= 0.05 && outcome.false_alarms()[2] <= 0.01, "{told}");
}

#[test]
fn thieves_come_from_elsewhere_and_holders_mostly_do_not() {
    let (score, false_alarms) = networks::simulate(2000, 7);
    assert!(score.incidents >= 10 && score.recall() >= 0.75 && false_alarms <= 0.3, "{score:?} {false_alarms}");
}

#[test]
fn the_same_seed_is_the_same_month() {
    let once = format!("{:?}", simulate(50, 3, &Thresholds::default()));
    assert_eq!(format!("{:?}", simulate(50, 3, &Thresholds::default())), once);
}
