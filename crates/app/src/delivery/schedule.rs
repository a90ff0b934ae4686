//! When to try again.

use claviger_domain::random::Entropy;
use claviger_domain::time::Timestamp;

/// Seconds after each failed attempt until the next, as Standard Webhooks proposes: about three days in all.
const RETRY_SECONDS: [i64; 9] = [5, 5 * 60, 30 * 60, 2 * 3600, 5 * 3600, 10 * 3600, 14 * 3600, 20 * 3600, 24 * 3600];
/// Whoever asks for more time than this gets this.
const RETRY_AFTER_SECONDS_MAX: i64 = 24 * 3600;
/// So many percent earlier or later, so that what failed together does not come together again.
const JITTER_PERCENT: i64 = 10;

/// When to try next, after so many failed attempts, and not before the endpoint wants to be asked. `None` is never.
pub(super) fn next_attempt(
    failed: i64,
    now: Timestamp,
    not_before_seconds: Option<i64>,
    entropy: &dyn Entropy,
) -> Option<Timestamp> {
    let position = usize::try_from(failed - 1).ok()?;
    let seconds = *RETRY_SECONDS.get(position)?;
    let mut random = [0; 8];
    entropy.fill(&mut random);
    let half = seconds * 1_000_000 * JITTER_PERCENT / 100;
    let jitter = (u64::from_le_bytes(random) % (2 * half as u64 + 1)) as i64 - half;
    let asked = not_before_seconds.unwrap_or(0).clamp(0, RETRY_AFTER_SECONDS_MAX) * 1_000_000;
    let micros = (seconds * 1_000_000 + jitter).max(asked);
    Some(Timestamp::from_micros(now.as_micros().saturating_add(micros)))
}

#[cfg(test)]
mod tests {
    use claviger_domain::random::PredictableEntropy;

    use super::*;

    const NOW: Timestamp = Timestamp::from_micros(1_767_225_600_000_000);

    fn wait(failed: i64, asked: Option<i64>, seed: u64) -> Option<i64> {
        let next = next_attempt(failed, NOW, asked, &PredictableEntropy::new(seed))?;
        Some(next.as_micros() - NOW.as_micros())
    }

    #[test]
    fn waits_grow_and_end_after_three_days() {
        let mut waits = Vec::new();
        let mut whole = 0;
        for (position, seconds) in RETRY_SECONDS.into_iter().enumerate() {
            for seed in 0..200 {
                let waited = wait(position as i64 + 1, None, seed).unwrap();
                assert!((seconds * 900_000..=seconds * 1_100_000).contains(&waited), "{seconds}: {waited}");
                waits.push(waited);
            }
            whole += seconds;
        }
        waits.sort_unstable();
        waits.dedup();
        assert!(waits.len() > 1500, "they hardly differ");
        assert_eq!(whole / 3600, 75);
        assert_eq!(wait(10, None, 1), None);
        assert_eq!(wait(0, None, 1), None);
        assert_eq!(wait(i64::MAX, None, 1), None);
    }

    #[test]
    fn who_asks_for_time_gets_it_within_bounds() {
        assert_eq!(wait(1, Some(600), 1), Some(600_000_000));
        assert_eq!(wait(1, Some(i64::MAX), 1), Some(RETRY_AFTER_SECONDS_MAX * 1_000_000));
        // Nobody is asked sooner than otherwise.
        assert!(wait(2, Some(0), 1).unwrap() >= 270_000_000);
        assert!(wait(2, Some(-5), 1).unwrap() >= 270_000_000);
        assert_eq!(wait(10, Some(5), 1), None);
    }
}
