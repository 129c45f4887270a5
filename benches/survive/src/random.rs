//! Random numbers that are equal on every machine.
//!
//! `f64::exp` and `f64::ln` may differ in the last bit from one platform to the next, and one bit is enough to send a
//! call to another server. These use additions, multiplications, divisions and roundings only, which IEEE 754 defines.

use fastrand::Rng;
use std::f64::consts::{LN_2, LOG2_E, SQRT_2};
use std::time::Duration;

const TERMS: i32 = 13; // the remainder of exp is below 1e-16 for |r| <= ln 2 / 2

/// A generator of its own for each purpose, so that a decision of one contestant shifts no other one's arrivals.
pub(crate) fn stream(seed: u64, purpose: u64, number: usize) -> Rng {
    let mut mixed =
        seed ^ purpose.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ (number as u64).wrapping_mul(0xD1B5_4A32_D192_ED03);
    mixed = (mixed ^ (mixed >> 32)).wrapping_mul(0xD6E8_FEB8_6659_FD93); // the finalizer of splitmix-like generators
    Rng::with_seed(mixed ^ (mixed >> 32))
}

/// A number below `end`; equal on 32 and 64 bits, unlike `Rng::usize`.
pub(crate) fn below(rng: &mut Rng, end: usize) -> usize {
    usize::try_from(rng.u64(..end.max(1) as u64)).unwrap_or_default()
}

/// `e` to the power of `x`.
pub(crate) fn exp(x: f64) -> f64 {
    let x = x.clamp(-700.0, 700.0);
    let exponent = (x * LOG2_E).round();
    let rest = x - exponent * LN_2;
    let series = (1..=TERMS).rev().fold(1.0, |sum, n| 1.0 + rest / f64::from(n) * sum);
    series * f64::from_bits(((1023 + exponent as i64) as u64) << 52)
}

/// The natural logarithm of a normal positive number.
fn ln(x: f64) -> f64 {
    let bits = x.to_bits();
    let mut exponent = (bits >> 52) as i32 - 1023;
    let mut mantissa = f64::from_bits((bits & ((1 << 52) - 1)) | (1023 << 52));
    if mantissa > SQRT_2 {
        mantissa /= 2.0;
        exponent += 1;
    }
    let s = (mantissa - 1.0) / (mantissa + 1.0);
    let series = (0..12).rev().fold(0.0, |sum, n| 1.0 / f64::from(2 * n + 1) + s * s * sum);
    2.0 * s * series + f64::from(exponent) * LN_2
}

/// The time to the next of events that come by chance, `rate` a second on average.
pub(crate) fn exponential(rng: &mut Rng, rate: f64) -> Duration {
    seconds(-ln(1.0 - rng.f64()) / rate)
}

/// A factor of mean 1 by which service times vary: log-normal, sigma 0.5, so that p99 is 2.8 x the mean.
pub(crate) fn spread(rng: &mut Rng) -> f64 {
    let normal = (0..12).map(|_| rng.f64()).sum::<f64>() - 6.0; // Irwin-Hall: close to normal up to 3 sigma
    exp(0.5 * normal - 0.125)
}

/// A factor of mean 1 by which service times vary with a long tail: Pareto of shape 1.5, so that p99 is 7 x the mean
/// and p99.9 is 33 x; at most 200.
pub(crate) fn long_tail(rng: &mut Rng) -> f64 {
    let least = 1.0 / 3.0; // the mean of a Pareto distribution of shape 1.5 is 3 x its least value
    (least * exp(-ln(1.0 - rng.f64()) / 1.5)).min(200.0)
}

/// A duration of so many seconds; none if negative.
pub(crate) fn seconds(seconds: f64) -> Duration {
    Duration::from_nanos((seconds * 1e9) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_and_ln_agree_with_those_of_the_platform() {
        for x in [-30.0, -1.0, -0.3, 0.0, 1e-9, 0.5, 1.0, 2.5, 20.0] {
            assert!((exp(x) / f64::exp(x) - 1.0).abs() < 1e-14, "exp({x}) = {}", exp(x));
        }
        for x in [1e-12, 0.1, 0.7, 0.99, 1.0, 1.5, 2.0, 1e6] {
            assert!((ln(x) - f64::ln(x)).abs() < 1e-13 * f64::ln(x).abs().max(1.0), "ln({x}) = {}", ln(x));
        }
    }

    #[test]
    fn service_times_vary_around_their_mean() {
        let mut rng = stream(1, 2, 3);
        let mut samples: Vec<f64> = (0..100_000).map(|_| spread(&mut rng)).collect();
        samples.sort_by(f64::total_cmp);
        let mean = samples.iter().sum::<f64>() / 1e5;
        assert!((mean - 1.0).abs() < 0.01, "mean {mean}");
        assert!((2.6..3.0).contains(&samples[99_000]), "p99 {}", samples[99_000]);
    }

    #[test]
    fn service_times_of_a_long_tail_have_the_mean_of_others() {
        let mut rng = stream(1, 2, 3);
        let mut samples: Vec<f64> = (0..100_000).map(|_| long_tail(&mut rng)).collect();
        samples.sort_by(f64::total_cmp);
        let mean = samples.iter().sum::<f64>() / 1e5;
        assert!((0.93..1.03).contains(&mean), "mean {mean}");
        assert!((6.7..7.7).contains(&samples[99_000]), "p99 {}", samples[99_000]);
    }

    #[test]
    fn arrivals_by_chance_have_their_rate() {
        let mut rng = stream(1, 2, 3);
        let total: Duration = (0..100_000).map(|_| exponential(&mut rng, 20.0)).sum();
        assert!((total.as_secs_f64() / 5000.0 - 1.0).abs() < 0.01, "{total:?}");
    }
}
