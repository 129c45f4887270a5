//! Gradual re-admission: a server that has just come back, with cold caches and everyone waiting, is felled again by
//! the full load at once. So what is let through grows with time instead.

use std::time::Duration;

/// 2^64 over the golden ratio: its multiples spread over the range as evenly as can be, however many (Weyl, 1916).
const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;

/// The admitted share, from `floor` to 1, linear in time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ramp {
    pub(super) length: Duration,
    pub(super) floor: f64,
}

impl Ramp {
    /// The share admitted `elapsed` after the ramp's start, from `floor` to 1.
    pub(super) fn share(&self, elapsed: Duration) -> f64 {
        if elapsed >= self.length {
            return 1.0;
        }
        self.floor + (1.0 - self.floor) * (elapsed.as_secs_f64() / self.length.as_secs_f64())
    }
}

/// Whether the `turn`th call is among the `share` of calls that are let through. `seed` shifts the order, so that
/// many callers do not let through the same calls.
pub(super) fn admits(seed: u64, turn: u64, share: f64) -> bool {
    crate::sync::unit(seed.wrapping_add(turn.wrapping_mul(GOLDEN))) < share
}

#[cfg(all(test, not(bramble_loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_share_grows_in_a_line_from_the_floor_to_all() {
        let ramp = Ramp { length: Duration::from_secs(10), floor: 0.1 };
        let share = |millis| ramp.share(Duration::from_millis(millis));
        assert_eq!(share(0), 0.1);
        assert!((share(5000) - 0.55).abs() < 1e-9);
        assert_eq!(share(10_000), 1.0);
        assert_eq!(share(u64::MAX), 1.0);
    }

    #[test]
    fn a_ramp_of_no_length_admits_all() {
        assert_eq!(Ramp { length: Duration::ZERO, floor: 0.1 }.share(Duration::ZERO), 1.0);
    }

    proptest! {
        #[test]
        fn of_any_number_of_calls_the_share_is_let_through_and_hardly_one_more_or_less(
            seed: u64, start in 0u64..1 << 40, calls in 1u64..2000, share in 0.0f64..=1.0,
        ) {
            let admitted = (start..start + calls).filter(|turn| admits(seed, *turn, share)).count() as f64;
            prop_assert!((admitted - share * calls as f64).abs() < 6.0, "{} of {} at {}", admitted, calls, share);
        }
    }
}
