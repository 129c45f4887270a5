//! Numbers of the last ten seconds, in memory that never grows and that no two calls wait for.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::sync::nanos_since;
use crate::tagged::TaggedValue;

/// How far back all of this looks; Hystrix's, and what its dashboard divides by.
pub const WINDOW: Duration = Duration::from_secs(10);

/// A value under the number of a step: up to 42 bits, as microseconds 50 days. The numbers come round after 48 days of
/// steps of 1 s; a word up to 16 steps ahead was written by a clock read a moment later.
pub(super) type RollingCount = TaggedValue<22, 16>;

/// Cuts time into steps, `N` of which are the window.
#[derive(Debug, Clone, Copy)]
pub(super) struct Steps<const N: usize> {
    epoch: Instant,
}

impl<const N: usize> Steps<N> {
    pub(super) fn new(epoch: Instant) -> Self {
        Self { epoch }
    }

    /// The step `now` lies in, and its place in a ring of `N`.
    pub(super) fn at(self, now: Instant) -> (u64, usize) {
        let length = WINDOW.as_nanos() as u64 / N as u64;
        let step = nanos_since(self.epoch, now) / length;
        (step, (step % N as u64) as usize)
    }
}

/// Steps of a second, as Hystrix has it.
const SECONDS: usize = 10;

/// Events of `KINDS` kinds: how many lately, and how many since the start.
#[derive(Debug)]
pub(super) struct Counts<const KINDS: usize> {
    steps: Steps<SECONDS>,
    rings: [[RollingCount; SECONDS]; KINDS],
    totals: [AtomicU64; KINDS],
}

impl<const KINDS: usize> Counts<KINDS> {
    pub(super) fn new(epoch: Instant) -> Self {
        Self {
            steps: Steps::new(epoch),
            rings: std::array::from_fn(|_| std::array::from_fn(|_| RollingCount::new())),
            totals: std::array::from_fn(|_| AtomicU64::new(0)),
        }
    }

    /// Counts an event of `kind`; one that does not exist is not counted.
    pub(super) fn add(&self, kind: usize, now: Instant) {
        let (step, place) = self.steps.at(now);
        if let (Some(ring), Some(total)) = (self.rings.get(kind), self.totals.get(kind)) {
            ring[place].add(step);
            total.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Events of the last ten seconds by kind.
    pub(super) fn rolling(&self, now: Instant) -> [u64; KINDS] {
        let (step, _) = self.steps.at(now);
        let sum = |ring: &[RollingCount; SECONDS]| ring.iter().map(|word| word.within(SECONDS as u64, step)).sum();
        std::array::from_fn(|kind| sum(&self.rings[kind]))
    }

    /// Events since the start by kind.
    pub(super) fn totals(&self) -> [u64; KINDS] {
        std::array::from_fn(|kind| self.totals[kind].load(Ordering::Relaxed))
    }
}

/// The highest value of the last ten seconds.
#[derive(Debug)]
pub(super) struct Peak {
    steps: Steps<SECONDS>,
    ring: [RollingCount; SECONDS],
}

impl Peak {
    pub(super) fn new(epoch: Instant) -> Self {
        Self { steps: Steps::new(epoch), ring: std::array::from_fn(|_| RollingCount::new()) }
    }

    pub(super) fn note(&self, value: u64, now: Instant) {
        let (step, place) = self.steps.at(now);
        // Most values are no new peak: then a look is enough, and the cache line stays shared.
        if self.ring[place].get(step) < value {
            self.ring[place].update(step, |highest| highest.max(value));
        }
    }

    pub(super) fn highest(&self, now: Instant) -> u64 {
        let (step, _) = self.steps.at(now);
        self.ring.iter().map(|word| word.within(SECONDS as u64, step)).max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn after(start: Instant, millis: u64) -> Instant {
        start + Duration::from_millis(millis)
    }

    #[test]
    fn a_count_leaves_the_window_after_ten_seconds_and_never_the_total() {
        let start = Instant::now();
        let counts = Counts::<2>::new(start);
        counts.add(1, after(start, 500));
        assert_eq!(counts.rolling(after(start, 9_999)), [0, 1]);
        assert_eq!(counts.rolling(after(start, 10_000)), [0, 0]);
        assert_eq!(counts.totals(), [0, 1]);
    }

    #[test]
    fn what_comes_too_late_for_its_second_is_not_counted_into_another() {
        let start = Instant::now();
        let counts = Counts::<1>::new(start);
        counts.add(0, after(start, 10_000));
        counts.add(0, after(start, 0)); // the same place in the ring
        assert_eq!(counts.rolling(after(start, 10_000)), [1]);
    }

    #[test]
    fn all_that_threads_count_at_the_same_time_is_counted() {
        let start = Instant::now();
        let counts = Counts::<2>::new(start);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..10_000).for_each(|i| counts.add(i % 2, after(start, 12_345))));
            }
        });
        assert_eq!(counts.rolling(after(start, 12_345)), [20_000, 20_000]);
    }

    #[test]
    fn a_peak_is_forgotten_after_ten_seconds() {
        let start = Instant::now();
        let peak = Peak::new(start);
        for (millis, value) in [(0, 3), (10, 9), (20, 4), (3_000, 5)] {
            peak.note(value, after(start, millis));
        }
        assert_eq!([9_999, 10_000, 13_000].map(|millis| peak.highest(after(start, millis))), [9, 5, 0]);
    }

    proptest! {
        /// The model keeps every event and counts those of the last ten steps.
        #[test]
        fn the_rings_count_what_a_list_of_all_events_counts(
            events in prop::collection::vec((0usize..3, 0u64..4_000), 1..200),
        ) {
            let start = Instant::now();
            let counts = Counts::<3>::new(start);
            let (mut millis, mut all) = (0, Vec::new());
            for (kind, pause) in events {
                millis += pause;
                counts.add(kind, after(start, millis));
                all.push((kind, millis / 1000));
                let recent = |of: usize| {
                    all.iter().filter(|(kind, second)| *kind == of && millis / 1000 - second < 10).count() as u64
                };
                prop_assert_eq!(counts.rolling(after(start, millis)), [recent(0), recent(1), recent(2)]);
            }
        }
    }
}
