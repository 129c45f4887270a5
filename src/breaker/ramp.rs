//! Gradual re-admission: the weight of a server that has just recovered grows with time, since its caches are cold and
//! its full load at once would overload it again.

use std::time::Duration;

/// A weight from `floor` to 1, linear in time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ramp {
    pub(super) length: Duration,
    pub(super) floor: f64,
}

impl Ramp {
    /// The weight `elapsed` after the ramp's start, from `floor` to 1.
    pub(super) fn share(&self, elapsed: Duration) -> f64 {
        if elapsed >= self.length {
            return 1.0;
        }
        self.floor + (1.0 - self.floor) * (elapsed.as_secs_f64() / self.length.as_secs_f64())
    }
}

#[cfg(all(test, not(bramble_loom)))]
mod tests {
    use super::*;

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
}
