//! Averages that decay with time, each in one atomic word: the latency of an endpoint, the mean of its peers, its share
//! of failures.

use crate::sync::{AtomicU64, Ordering};
use std::time::Duration;

/// In this time an old observation loses all but 37 % of its weight, and an unused estimate as much of its distance to
/// the mean.
const DECAY: Duration = Duration::from_secs(5);
/// Sum and count of the latency estimates of endpoints whose circuits are closed, in one word: an f32 of seconds, and a
/// count.
#[derive(Debug)]
pub(super) struct PeerLatencies(AtomicU64);

impl PeerLatencies {
    pub(super) fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    pub(super) fn store(&self, sum: f64, count: u32) {
        self.0.store(pack(sum, count), Ordering::Relaxed);
    }

    /// The mean of all but one endpoint, whose estimate is `own` (0: none, so it is not among them). 0: there is none.
    fn mean_without(&self, own: f64) -> f64 {
        let (sum, count) = unpack(self.0.load(Ordering::Relaxed));
        match (count, own > 0.0) {
            (0, _) | (1, true) => 0.0,
            (count, false) => sum / f64::from(count),
            (count, true) => ((sum - own) / f64::from(count - 1)).max(0.0),
        }
    }
}

/// An estimate of latency in seconds, and the millisecond it is of, in one word.
#[derive(Debug)]
pub(super) struct Latency(AtomicU64);

impl Latency {
    pub(super) fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// Takes in an observation at `now` nanoseconds. Bounded to a microsecond and an hour. Drift is no part of what is
    /// kept: it would pull an endpoint in use half-way to the others' mean.
    pub(super) fn observe(&self, seen: Duration, now: u64) {
        let seen = seen.as_secs_f64().clamp(1e-6, 3600.0);
        update(&self.0, now, |value, keep| if seen > value { seen } else { value * keep + seen * (1.0 - keep) });
    }

    /// Forgets all observations.
    pub(super) fn reset(&self) {
        self.0.store(0, Ordering::Relaxed);
    }

    /// The seconds observed last, without drift; 0 if nothing was observed.
    pub(super) fn observed(&self) -> f64 {
        unpack(self.0.load(Ordering::Relaxed)).0
    }

    /// The estimate at `now`, in seconds; 0 if nothing is known of this endpoint or any other.
    pub(super) fn at(&self, peers: &PeerLatencies, now: u64) -> f64 {
        let word = self.0.load(Ordering::Relaxed);
        let (value, _) = unpack(word);
        if value == 0.0 { peers.mean_without(0.0) } else { drifted(value, kept(word, now, DECAY), peers) }
    }
}

/// An estimate on its way to the mean of the others; one that has no others stays.
fn drifted(value: f64, keep: f64, peers: &PeerLatencies) -> f64 {
    if keep >= 1.0 {
        return value;
    }
    match peers.mean_without(value) {
        0.0 => value,
        mean => mean + (value - mean) * keep,
    }
}

/// The share of calls that failed lately, from 0 to 1: a call has a tenth of the weight, and all fade in two seconds.
#[derive(Debug)]
pub(super) struct FailureShare(AtomicU64);

impl FailureShare {
    const FADE: Duration = Duration::from_secs(2);
    const STEP: f64 = 0.1;

    pub(super) fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    pub(super) fn observe(&self, failed: bool, now: u64) {
        if !failed && self.0.load(Ordering::Relaxed) >> 32 == 0 {
            return;
        }
        let old = self.at(now);
        let new = if failed { old + (1.0 - old) * Self::STEP } else { old * (1.0 - Self::STEP) };
        // Of two observations at once one may be lost: it is an estimate.
        self.0.store(pack(if new < 1e-6 { 0.0 } else { new }, millis(now)), Ordering::Relaxed);
    }

    /// Forgets all failures.
    pub(super) fn reset(&self) {
        self.0.store(0, Ordering::Relaxed);
    }

    pub(super) fn at(&self, now: u64) -> f64 {
        let word = self.0.load(Ordering::Relaxed);
        match unpack(word) {
            (0.0, _) => 0.0,
            (share, _) => share * kept(word, now, Self::FADE),
        }
    }
}

fn pack(value: f64, low: u32) -> u64 {
    (u64::from((value as f32).to_bits()) << 32) | u64::from(low)
}

fn unpack(word: u64) -> (f64, u32) {
    (f32::from_bits((word >> 32) as u32).into(), word as u32)
}

/// Replaces the value in `word` by what `next` makes of it and of the share of it that is left at `now`.
fn update(word: &AtomicU64, now: u64, next: impl Fn(f64, f64) -> f64) {
    let mut old = word.load(Ordering::Relaxed);
    loop {
        let new = pack(next(unpack(old).0, kept(old, now, DECAY)), millis(now));
        match word.compare_exchange_weak(old, new, Ordering::Relaxed, Ordering::Relaxed) {
            Ok(_) => return,
            Err(changed) => old = changed,
        }
    }
}

/// The share that is left at `now` of a value that decays in `decay`: 1 at once, 0 after long.
fn kept(word: u64, now: u64, decay: Duration) -> f64 {
    // Wraps after 49 days; a stamp from the future, by a clock read elsewhere, is of now.
    let age = (millis(now).wrapping_sub(word as u32) as i32).max(0);
    if age == 0 { 1.0 } else { (f64::from(-age) / decay.as_millis() as f64).exp() }
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
            let latency = loom::sync::Arc::new((Latency::new(), PeerLatencies::new()));
            let other = loom::sync::Arc::clone(&latency);
            let thread = loom::thread::spawn(move || other.0.observe(Duration::from_secs(2), 0));
            latency.0.observe(Duration::from_secs(1), 0);
            thread.join().expect("no panic");
            assert_eq!(latency.0.at(&latency.1, 0), 2.0);
        });
    }
}

#[cfg(all(test, not(bramble_loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: u64 = 1_000_000_000;

    fn peers(latencies: &[f64]) -> PeerLatencies {
        let peers = PeerLatencies::new();
        peers.store(latencies.iter().sum(), latencies.len() as u32);
        peers
    }

    #[test]
    fn a_peak_counts_at_once_and_drifts_to_the_mean_of_the_others() {
        let latency = Latency::new();
        latency.observe(Duration::from_millis(10), 0);
        latency.observe(Duration::from_secs(2), SECOND);
        let peers = peers(&[2.0, 0.1, 0.3]);
        assert_eq!(latency.at(&peers, SECOND), 2.0);
        assert!((latency.at(&peers, 6 * SECOND) - (0.2 + 1.8 / std::f64::consts::E)).abs() < 1e-3);
        assert!((latency.at(&peers, 1000 * SECOND) - 0.2).abs() < 1e-3);
    }

    #[test]
    fn an_estimate_without_others_stays_and_one_without_observations_is_that_of_the_others() {
        let latency = Latency::new();
        assert_eq!(latency.at(&peers(&[]), 0), 0.0);
        assert!((latency.at(&peers(&[0.1, 0.3]), 0) - 0.2).abs() < 1e-6);
        latency.observe(Duration::from_secs(2), 0);
        assert_eq!(latency.at(&peers(&[2.0]), 1000 * SECOND), 2.0);
    }

    #[test]
    fn a_faster_answer_counts_the_more_the_older_the_peak_is() {
        let after = |seconds: u64| {
            let (latency, alone) = (Latency::new(), peers(&[]));
            latency.observe(Duration::from_secs(2), 0);
            latency.observe(Duration::from_millis(10), seconds * SECOND);
            latency.at(&alone, seconds * SECOND)
        };
        assert!(after(1) > 1.6 && after(5) < 0.8 && after(30) < 0.02);
    }

    #[test]
    fn an_estimate_in_use_is_that_of_its_own_calls_whatever_the_others_take() {
        let (latency, slow) = (Latency::new(), peers(&[0.01, 2.0]));
        for call in 0..1000 {
            latency.observe(Duration::from_millis(10), call * SECOND / 10);
        }
        assert!((latency.at(&slow, 100 * SECOND) - 0.01).abs() < 0.05, "a tenth of a second of drift");
        assert!((latency.at(&slow, 999 * SECOND / 10) - 0.01).abs() < 1e-6);
    }

    #[test]
    fn an_observation_beyond_reason_is_bounded() {
        let (latency, alone) = (Latency::new(), peers(&[]));
        latency.observe(Duration::MAX, u64::MAX);
        assert_eq!(latency.at(&alone, u64::MAX), 3600.0);
        latency.reset();
        latency.observe(Duration::ZERO, 0);
        assert!(latency.at(&alone, 0).is_finite() && latency.at(&alone, 0) > 0.0);
    }

    #[test]
    fn one_failure_is_a_tenth_and_fades_in_seconds() {
        let failures = FailureShare::new();
        failures.observe(false, 0);
        assert_eq!(failures.at(0), 0.0);
        failures.observe(true, 0);
        assert!((failures.at(0) - 0.1).abs() < 1e-6);
        assert!(failures.at(6 * SECOND) < 0.006);
        (0..100).for_each(|_| failures.observe(true, 0));
        assert!(failures.at(0) > 0.99 && failures.at(0) <= 1.0);
    }

    proptest! {
        /// The model: an f64 and its time, no words, no wrapping.
        #[test]
        fn it_follows_the_textbook(steps in prop::collection::vec((0u64..20_000, 1u64..5_000_000), 1..100)) {
            let (latency, alone) = (Latency::new(), peers(&[]));
            let (mut now, mut value, mut stamp) = (0u64, 0.0f64, 0u64);
            for (pause, micros) in steps {
                now += pause;
                let seen = micros as f64 / 1e6;
                let keep = (-((now - stamp) as f64) / 5_000.0).exp();
                value = if value == 0.0 || seen > value { seen } else { value * keep + seen * (1.0 - keep) };
                stamp = now;
                latency.observe(Duration::from_micros(micros), now * 1_000_000);
                let got = latency.at(&alone, now * 1_000_000);
                prop_assert!((got - value).abs() <= value * 1e-4, "{} is not {}", got, value);
            }
        }
    }
}
