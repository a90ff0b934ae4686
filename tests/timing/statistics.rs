//! How much longer one thing takes than another, on a machine that does other things as well.
//!
//! Samples come in pairs that were taken one right after the other, and only their differences count: what slows both
//! down cancels out. The differences are cut into stretches of time, each of which says its median, and the median of
//! these is the answer. How far the stretches are apart says how sure it is. A few samples that took a thousand times
//! longer change nothing.

/// Stretches that the samples are cut into.
const STRETCHES: usize = 50;
/// A difference must exceed the threshold by this many standard errors: about one time in a thousand, chance does that.
const SURE: f64 = 3.0;

/// How much longer, in nanoseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Difference {
    pub(crate) median: f64,
    /// Standard error of the median.
    pub(crate) error: f64,
}

impl Difference {
    /// Whether the difference is, beyond chance, larger than this in either direction.
    pub(crate) fn exceeds(self, threshold: f64) -> bool {
        self.median.abs() > threshold + SURE * self.error
    }
}

pub(crate) fn difference(pairs: impl Iterator<Item = (f64, f64)>) -> Difference {
    let differences: Vec<f64> = pairs.map(|(one, other)| one - other).collect();
    let stretch = differences.len().div_ceil(STRETCHES).max(1);
    let mut medians: Vec<f64> = differences.chunks(stretch).map(|stretch| median(&mut stretch.to_vec())).collect();
    let middle = median(&mut medians);
    let mut deviations: Vec<f64> = medians.iter().map(|median| (median - middle).abs()).collect();
    // The median deviation of a normal distribution is 1 / 1.4826 of the standard deviation, and a median of n is
    // 1.2533 times less sure than their mean.
    let deviation = 1.4826 * median(&mut deviations);
    Difference { median: middle, error: 1.2533 * deviation / (medians.len() as f64).sqrt() }
}

pub(crate) fn median(values: &mut [f64]) -> f64 {
    let middle = values.len() / 2;
    *values.select_nth_unstable_by(middle, f64::total_cmp).1
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pairs of 10 microseconds and some noise, with every hundredth sample a thousand times slower.
    fn noisy(added: f64) -> impl Iterator<Item = (f64, f64)> {
        let mut random = 1_u64;
        let mut sample = move || {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let noise = (random >> 40) as f64 / f64::from(1 << 24) * 4_000.0;
            if (random >> 33).is_multiple_of(100) { 1e7 } else { 10_000.0 + noise }
        };
        std::iter::repeat_with(move || (sample() + added, sample())).take(20_000)
    }

    #[test]
    fn a_difference_is_found_in_noise_and_none_is_not() {
        assert!(!difference(noisy(0.0)).exceeds(100.0));
        for added in [-300.0, 300.0] {
            let found = difference(noisy(added));
            assert!(found.exceeds(100.0) && (found.median - added).abs() < 100.0, "{found:?}");
            assert!(!found.exceeds(500.0));
        }
    }
}
