//! Gradual re-admission: the weight of a server that has just recovered grows with time, since its caches are cold and
//! its full load at once would overload it again.

use super::BreakerSettings;
use std::time::Duration;

/// The weight `elapsed` after the ramp's start: from `ramp_floor` to 1, linear in time.
pub(super) fn share(settings: &BreakerSettings, elapsed: Duration) -> f64 {
    let (length, floor) = (settings.ramp, settings.ramp_floor.get());
    if elapsed >= length {
        return 1.0;
    }
    floor + (1.0 - floor) * (elapsed.as_secs_f64() / length.as_secs_f64())
}

#[cfg(all(test, not(bramble_loom)))]
mod tests {
    use super::*;

    #[test]
    fn the_share_grows_in_a_line_from_the_floor_to_all() {
        let settings = BreakerSettings { ramp: Duration::from_secs(10), ..BreakerSettings::default() };
        let share = |millis| share(&settings, Duration::from_millis(millis));
        assert_eq!(share(0), 0.1);
        assert!((share(5000) - 0.55).abs() < 1e-9);
        assert_eq!(share(10_000), 1.0);
        assert_eq!(share(u64::MAX), 1.0);
    }

    #[test]
    fn a_ramp_of_no_length_admits_all() {
        let settings = BreakerSettings { ramp: Duration::ZERO, ..BreakerSettings::default() };
        assert_eq!(share(&settings, Duration::ZERO), 1.0);
    }
}
