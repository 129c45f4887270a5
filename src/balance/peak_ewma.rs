//! Peak EWMA: how long one would wait there, judged by the worst of late.
//!
//! An average believes a server that was fast a minute ago; this one jumps up to a peak at once and comes down with
//! time (Finagle's `PeakEwma`). And it does not wait for the answer to believe the worst: a call that has been out
//! for a second has taken a second already, so a server that hangs is left alone before its first timeout.

use super::endpoint::Endpoint;
use crate::sync::{AtomicU64, Ordering};
use std::time::Duration;

/// In this time an old observation loses all but 37 % of its say.
const DECAY: Duration = Duration::from_secs(10);
/// Assumed latency, in seconds, of an endpoint that has calls in flight and never answered one.
const UNKNOWN: f64 = 1.0;
/// A second choice must be this much cheaper: noise is no reason, and the first is drawn by weight.
const CLEARLY: f64 = 1.25;
/// Cost of a failure, in seconds of latency; it fades like latency.
pub(super) const PENALTY: Duration = Duration::from_secs(1);
/// Cost, in seconds, while the server has asked to be left alone.
const RETRY_AFTER: f64 = 10.0;

/// Whether `second` is clearly the cheaper.
pub(super) fn prefers_second(first: (&Endpoint, f64), second: (&Endpoint, f64), now: u64) -> bool {
    cost(second.0, second.1, now) * CLEARLY < cost(first.0, first.1, now)
}

/// Seconds one more call is expected to take: latency times calls in flight per weight, plus penalties.
pub(super) fn cost(endpoint: &Endpoint, weight: f64, now: u64) -> f64 {
    let in_flight = endpoint.in_flight() as f64;
    let latency = match endpoint.latency.at(now) {
        0.0 if in_flight > 0.0 => UNKNOWN,
        seconds => seconds,
    };
    let penalty = endpoint.penalty.at(now) + if endpoint.retry_after(now) { RETRY_AFTER } else { 0.0 };
    latency.max(endpoint.waiting(now)) * (1.0 + in_flight / weight) + penalty
}

/// A number of seconds that jumps up and fades, in one word: an f32, and the millisecond it is of.
#[derive(Debug)]
pub(super) struct Fading(AtomicU64);

impl Fading {
    pub(super) fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// Takes in an observation at `now` nanoseconds. Bounded to a microsecond and an hour.
    pub(super) fn observe(&self, seen: Duration, now: u64) {
        let seen = seen.as_secs_f64().clamp(1e-6, 3600.0);
        let mut old = self.0.load(Ordering::Relaxed);
        loop {
            let last = value(old);
            let keep = faded(old, now);
            let new = if seen > last { seen } else { last * keep + seen * (1.0 - keep) };
            let word = (u64::from((new as f32).to_bits()) << 32) | u64::from(millis(now));
            match self.0.compare_exchange_weak(old, word, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return,
                Err(now) => old = now,
            }
        }
    }

    /// The seconds left at `now`; 0 if nothing was ever observed.
    pub(super) fn at(&self, now: u64) -> f64 {
        let word = self.0.load(Ordering::Relaxed);
        match value(word) {
            0.0 => 0.0,
            seconds => seconds * faded(word, now),
        }
    }
}

fn value(word: u64) -> f64 {
    f32::from_bits((word >> 32) as u32).into()
}

/// The share that is left at `now`, 1 at once, 0 after long.
fn faded(word: u64, now: u64) -> f64 {
    // Wraps after 49 days; a stamp from the future, by a clock read elsewhere, is of now.
    let age = (millis(now).wrapping_sub(word as u32) as i32).max(0);
    if age == 0 { 1.0 } else { (f64::from(-age) / DECAY.as_millis() as f64).exp() }
}

fn millis(nanos: u64) -> u32 {
    (nanos / 1_000_000) as u32
}

#[cfg(all(test, bramble_loom))]
mod loom_tests {
    use super::*;

    #[test]
    fn loom_of_two_observations_at_once_the_peak_stays() {
        loom::model(|| {
            let latency = loom::sync::Arc::new(Fading::new());
            let other = loom::sync::Arc::clone(&latency);
            let thread = loom::thread::spawn(move || other.observe(Duration::from_secs(2), 0));
            latency.observe(Duration::from_secs(1), 0);
            thread.join().expect("no panic");
            assert_eq!(latency.at(0), 2.0);
        });
    }
}

#[cfg(all(test, not(bramble_loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn a_peak_is_believed_at_once_and_fades_with_time() {
        let latency = Fading::new();
        latency.observe(Duration::from_millis(10), 0);
        latency.observe(Duration::from_secs(2), SECOND);
        assert_eq!(latency.at(SECOND), 2.0);
        assert!((latency.at(11 * SECOND) - 2.0 / std::f64::consts::E).abs() < 1e-3);
        assert!(latency.at(1000 * SECOND) < 1e-6);
    }

    #[test]
    fn a_faster_answer_counts_the_more_the_older_the_peak_is() {
        let after = |seconds: u64| {
            let latency = Fading::new();
            latency.observe(Duration::from_secs(2), 0);
            latency.observe(Duration::from_millis(10), seconds * SECOND);
            latency.at(seconds * SECOND)
        };
        assert!(after(1) > 1.8 && after(10) < 0.8 && after(60) < 0.02);
    }

    #[test]
    fn an_observation_beyond_reason_is_bounded() {
        let latency = Fading::new();
        latency.observe(Duration::MAX, u64::MAX);
        assert_eq!(latency.at(u64::MAX), 3600.0);
        latency.observe(Duration::ZERO, 0);
        assert!(latency.at(0).is_finite() && latency.at(0) > 0.0);
    }

    proptest! {
        /// The model: an f64 and its time, no words, no wrapping.
        #[test]
        fn it_follows_the_textbook(steps in prop::collection::vec((0u64..20_000, 1u64..5_000_000), 1..100)) {
            let latency = Fading::new();
            let (mut now, mut value, mut stamp) = (0u64, 0.0f64, 0u64);
            for (pause, micros) in steps {
                now += pause;
                let seen = micros as f64 / 1e6;
                let keep = (-((now - stamp) as f64) / 10_000.0).exp();
                value = if seen > value { seen } else { value * keep + seen * (1.0 - keep) };
                stamp = now;
                latency.observe(Duration::from_micros(micros), now * 1_000_000);
                let got = latency.at(now * 1_000_000);
                prop_assert!((got - value).abs() <= value * 1e-4, "{} is not {}", got, value);
            }
        }
    }
}
