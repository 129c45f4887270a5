//! The p95 of recent successes: when a call is late.

use crate::sync::{AtomicU64, Mutex, Ordering, lock, nanos};
use std::time::Duration;

/// Successes that are remembered.
const KEPT: usize = 100;
/// Below so many successes the p95 is unknown, and [`UNKNOWN`] is taken.
const ENOUGH: usize = 20;
const UNKNOWN: Duration = Duration::from_millis(200);
/// The p95 is counted anew after so many successes.
const EVERY: usize = 10;

/// Latencies of the last successes, and their p95.
#[derive(Debug)]
pub(super) struct RecentLatencies {
    ring: Mutex<Ring>,
    /// In nanoseconds; 0: unknown.
    p95: AtomicU64,
}

#[derive(Debug)]
struct Ring {
    nanos: [u64; KEPT],
    /// Successes so far.
    count: usize,
}

impl RecentLatencies {
    pub(super) fn new() -> Self {
        Self { ring: Mutex::new(Ring { nanos: [0; KEPT], count: 0 }), p95: AtomicU64::new(0) }
    }

    pub(super) fn record(&self, latency: Duration) {
        let mut ring = lock(&self.ring);
        let place = ring.count % KEPT;
        ring.nanos[place] = nanos(latency);
        ring.count += 1;
        if ring.count >= ENOUGH && ring.count % EVERY == 0 {
            let mut sorted = ring.nanos;
            let known = &mut sorted[..ring.count.min(KEPT)];
            let (_, p95, _) = known.select_nth_unstable(known.len() * 95 / 100);
            self.p95.store((*p95).max(1), Ordering::Relaxed);
        }
    }

    pub(super) fn p95(&self) -> Duration {
        match self.p95.load(Ordering::Relaxed) {
            0 => UNKNOWN,
            nanos => Duration::from_nanos(nanos),
        }
    }
}

#[cfg(all(test, not(bramble_loom)))]
mod tests {
    use super::*;

    #[test]
    fn the_p95_is_known_from_twenty_successes_on_and_follows_the_last_hundred() {
        let latencies = RecentLatencies::new();
        (0..19).for_each(|_| latencies.record(Duration::from_millis(1)));
        assert_eq!(latencies.p95(), UNKNOWN);
        latencies.record(Duration::from_millis(1));
        assert_eq!(latencies.p95(), Duration::from_millis(1));
        (1..=100).for_each(|millis| latencies.record(Duration::from_millis(millis)));
        assert_eq!(latencies.p95(), Duration::from_millis(96));
    }
}
