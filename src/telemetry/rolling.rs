//! Numbers of the last ten seconds, in memory that never grows and that no two calls wait for.
//!
//! Each word of a ring carries the step of time it belongs to beside its value, so a ring needs no sweeper and no lock:
//! the writer of the first value of a new step replaces the old one in the same exchange, and readers pass over words
//! whose step is over.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::sync::nanos_since;

/// How far back all of this looks; Hystrix's, and what its dashboard divides by.
pub const WINDOW: Duration = Duration::from_secs(10);

const TAG_BITS: u32 = 22;
const VALUE_BITS: u32 = u64::BITS - TAG_BITS;
/// The largest value of a [`RollingCount`]: as microseconds 50 days.
pub(super) const VALUE_MAX: u64 = (1 << VALUE_BITS) - 1;
const TAGS: u64 = 1 << TAG_BITS;
/// A word this many steps ahead, or fewer, was written by a clock read a moment later; one further ahead is a remnant
/// from before the tags came round.
const AHEAD: u64 = 16;

/// A value that belongs to one step of time, and is 0 in every other.
#[derive(Debug, Default)]
pub(super) struct RollingCount(AtomicU64);

impl RollingCount {
    /// Puts `new(value)` in place of the value of `step`, at most [`VALUE_MAX`]; nothing if a later step has begun.
    pub(super) fn update(&self, step: u64, new: impl Fn(u64) -> u64) {
        let tag = step % TAGS;
        let mut old = self.0.load(Ordering::Relaxed);
        loop {
            let ahead = (old >> VALUE_BITS).wrapping_sub(tag) % TAGS;
            if (1..=AHEAD).contains(&ahead) {
                return;
            }
            let value = if ahead == 0 { old & VALUE_MAX } else { 0 };
            let word = (tag << VALUE_BITS) | new(value).min(VALUE_MAX);
            match self.0.compare_exchange_weak(old, word, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return,
                Err(now) => old = now,
            }
        }
    }

    /// The value, if it is of `step` or of one of the `steps - 1` before it; else 0.
    pub(super) fn within(&self, steps: u64, step: u64) -> u64 {
        let word = self.0.load(Ordering::Relaxed);
        let behind = (step % TAGS).wrapping_sub(word >> VALUE_BITS) % TAGS;
        if behind < steps { word & VALUE_MAX } else { 0 }
    }
}

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
            rings: std::array::from_fn(|_| Default::default()),
            totals: std::array::from_fn(|_| AtomicU64::new(0)),
        }
    }

    /// Counts an event of `kind`; one that does not exist is not counted.
    pub(super) fn add(&self, kind: usize, now: Instant) {
        let (step, place) = self.steps.at(now);
        if let (Some(ring), Some(total)) = (self.rings.get(kind), self.totals.get(kind)) {
            ring[place].update(step, |count| count + 1);
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
        Self { steps: Steps::new(epoch), ring: Default::default() }
    }

    pub(super) fn note(&self, value: u64, now: Instant) {
        let (step, place) = self.steps.at(now);
        // Most values are no new peak: then a look is enough, and the cache line stays shared.
        if self.ring[place].within(1, step) < value {
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
    fn a_ring_goes_on_counting_when_its_tags_have_come_round() {
        let word = RollingCount::default();
        word.update(5, |count| count + 7);
        word.update(TAGS + 6, |count| count + 1);
        assert_eq!((word.within(10, TAGS + 6), word.within(10, TAGS / 2)), (1, 0));
        word.update(TAGS / 2, |count| count + 1); // no call for two months
        assert_eq!(word.within(10, TAGS / 2), 1);
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
