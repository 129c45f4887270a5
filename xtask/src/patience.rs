//! How slow this machine is. Tests that wait for something to happen wait that much longer.

use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

/// Where tests find the factor (tests/support/patience.rs). One that is set already is left as it is.
pub(crate) const VARIABLE: &str = "BRAMBLE_TEST_PATIENCE";
/// Time that [`work`] takes on the machine that the deadlines were chosen on, idle: two cores of an AMD EPYC, xtask as
/// `cargo xtask` builds it.
const REFERENCE: Duration = Duration::from_millis(150);
const MOST: f64 = 4.0;
/// The median of so many counts.
const ROUNDS: usize = 5;

/// The factor for the deadlines of tests, 1 to 4; measured once, in about a second.
pub(crate) fn factor() -> f64 {
    static FACTOR: OnceLock<f64> = OnceLock::new();
    *FACTOR.get_or_init(|| {
        let given = std::env::var(VARIABLE).ok().and_then(|value| value.parse().ok());
        let factor = given.map_or_else(|| factor_of(measured()), |given: f64| given.clamp(1.0, MOST));
        println!("Tests wait {factor:.1} times as long as on an idle machine of reference ({VARIABLE}).");
        factor
    })
}

fn factor_of(took: Duration) -> f64 {
    (took.as_secs_f64() / REFERENCE.as_secs_f64()).clamp(1.0, MOST)
}

/// How long [`work`] takes while every processor does it.
fn measured() -> Duration {
    let processors = thread::available_parallelism().map_or(1, usize::from);
    let mut rounds = [(); ROUNDS].map(|()| {
        let began = Instant::now();
        thread::scope(|scope| {
            for _ in 0..processors {
                scope.spawn(work);
            }
        });
        began.elapsed()
    });
    rounds.sort();
    rounds[ROUNDS / 2]
}

/// A fixed piece of work: steps of the generator xorshift64.
fn work() {
    let mut state = 1_u64;
    for _ in 0..10_000_000 {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
    }
    std::hint::black_box(state);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fast_machine_shortens_no_deadline_and_a_slow_one_has_four_times_as_long_at_most() {
        assert!((factor_of(REFERENCE / 10) - 1.0).abs() < f64::EPSILON);
        assert!((factor_of(REFERENCE * 2) - 2.0).abs() < f64::EPSILON);
        assert!((factor_of(REFERENCE * 100) - MOST).abs() < f64::EPSILON);
    }
}
