//! How long calls took lately. A mean hides the one call in a hundred that a person waits for, and keeping every
//! latency takes memory without bound; a histogram with steps that grow with the value keeps any percentile within 7 %
//! in 1.8 kB (the layout is that of Tene's HdrHistogram, with 8 steps to the power of two).

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::rolling::{RollingCount, Steps};

/// Steps of two seconds: half the memory of ten, for a window of eight to ten seconds.
const STEPS: usize = 5;
/// Buckets to each power of two: each is at most 1/8 wider than its lower end.
const PARTS: usize = 8;
/// Below 2^8 µs buckets are 32 µs wide; nothing on a network is faster.
const FIRST_POWER: u32 = 8;
/// From 2^23 µs (8.4 s) on all is one bucket; beyond any sensible deadline, and the highest is kept exactly.
const POWERS: usize = 15;
const BUCKETS: usize = PARTS * (1 + POWERS);
/// Counts in a word: three of 14 bits, 16,383 calls in two seconds each, beside the tag.
const PACKED: usize = 3;
const COUNT_BITS: u32 = 14;
const COUNT_MAX: u64 = (1 << COUNT_BITS) - 1;

/// Latencies of the last ten seconds. Observing never waits; fixed in size.
#[derive(Debug)]
pub(super) struct Latencies {
    steps: Steps<STEPS>,
    ring: [Step; STEPS],
}

#[derive(Debug)]
struct Step {
    counts: [RollingCount; BUCKETS.div_ceil(PACKED)],
    /// Microseconds of all together.
    sum: RollingCount,
    max: RollingCount,
    /// The lowest, plus 1: 0 is none.
    min: RollingCount,
}

impl Step {
    fn new() -> Self {
        let counts = std::array::from_fn(|_| RollingCount::new());
        Self { counts, sum: RollingCount::new(), max: RollingCount::new(), min: RollingCount::new() }
    }
}

impl Latencies {
    pub(super) fn new(epoch: Instant) -> Self {
        Self { steps: Steps::new(epoch), ring: std::array::from_fn(|_| Step::new()) }
    }

    /// Takes in a call that took `latency` and ended at `now`.
    pub(super) fn observe(&self, latency: Duration, now: Instant) {
        let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX).min(RollingCount::MAX - 1);
        let (step, place) = self.steps.at(now);
        let at = &self.ring[place];
        let (bucket, shift) = place_of(bucket(micros));
        at.counts[bucket].update(step, |counts| match counts >> shift & COUNT_MAX {
            COUNT_MAX => counts,
            _ => counts + (1 << shift),
        });
        at.sum.update(step, |sum| sum.saturating_add(micros));
        // Few are a new extreme; a look does not take the cache line from other cores.
        if at.max.get(step) < micros {
            at.max.update(step, |max| max.max(micros));
        }
        let min = at.min.get(step);
        if min == 0 || min > micros + 1 {
            at.min.update(step, |min| if min == 0 { micros + 1 } else { min.min(micros + 1) });
        }
    }

    /// Summary of the last ten seconds.
    pub(super) fn summary(&self, now: Instant) -> Summary {
        let (step, _) = self.steps.at(now);
        let mut seen = LatencyCounts { counts: [0; BUCKETS], min: u64::MAX, max: 0 };
        let mut sum = 0;
        for at in &self.ring {
            let value = |word: &RollingCount| word.within(STEPS as u64, step);
            for (bucket, count) in seen.counts.iter_mut().enumerate() {
                let (word, shift) = place_of(bucket);
                *count += value(&at.counts[word]) >> shift & COUNT_MAX;
            }
            sum += value(&at.sum);
            seen.max = seen.max.max(value(&at.max));
            seen.min = seen.min.min(value(&at.min).wrapping_sub(1)); // none becomes the highest
        }
        let count: u64 = seen.counts.iter().sum();
        Summary {
            count,
            mean: Duration::from_micros(sum.checked_div(count).unwrap_or(0)),
            percentiles: PERCENTS.map(|percent| Duration::from_micros(seen.percentile(percent, count))),
        }
    }
}

/// The percentiles of a [`Summary`]: those Netflix's dashboard asks for.
pub const PERCENTS: [f64; 9] = [0.0, 25.0, 50.0, 75.0, 90.0, 95.0, 99.0, 99.5, 100.0];

/// Latencies of a time. All zero if there were none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Summary {
    /// How many.
    pub count: u64,
    /// Mean of the latencies.
    pub mean: Duration,
    /// Percentiles by [`PERCENTS`], in its order; the first and the last are exact, those between within 7 %.
    pub percentiles: [Duration; PERCENTS.len()],
}

impl Summary {
    /// The percentile, one of [`PERCENTS`]. None for another, and if there were no calls.
    pub fn percentile(&self, percent: f64) -> Option<Duration> {
        let index = PERCENTS.iter().position(|known| *known == percent)?;
        (self.count > 0).then(|| self.percentiles[index])
    }
}

struct LatencyCounts {
    counts: [u64; BUCKETS],
    min: u64,
    max: u64,
}

impl LatencyCounts {
    /// The value below which `percent` of all lie, in microseconds: within a bucket as if evenly spread.
    fn percentile(&self, percent: f64, count: u64) -> u64 {
        if count == 0 {
            return 0;
        }
        let (min, max) = (self.min.min(self.max), self.max);
        let rank = percent / 100.0 * count as f64;
        let mut below = 0;
        for (bucket, here) in self.counts.iter().enumerate().filter(|(_, here)| **here > 0) {
            if (below + here) as f64 >= rank {
                let (low, high) = (lowest(bucket).max(min), lowest(bucket + 1).min(max).max(min));
                let share = (rank - below as f64) / *here as f64;
                return (low + ((high.saturating_sub(low)) as f64 * share).round() as u64).clamp(min, max);
            }
            below += here;
        }
        max
    }
}

/// Word and bit of a bucket's count.
fn place_of(bucket: usize) -> (usize, u32) {
    (bucket / PACKED, (bucket % PACKED) as u32 * COUNT_BITS)
}

fn bucket(micros: u64) -> usize {
    let power = micros.checked_ilog2().unwrap_or(0);
    if power < FIRST_POWER {
        return (micros >> (FIRST_POWER - PARTS.ilog2())) as usize;
    }
    let part = (micros >> (power - PARTS.ilog2())) as usize % PARTS;
    (((power - FIRST_POWER) as usize + 1) * PARTS + part).min(BUCKETS - 1)
}

/// The lowest value of a bucket; of the one after the last: the highest there is.
fn lowest(bucket: usize) -> u64 {
    let (power, part) = (bucket / PARTS, (bucket % PARTS) as u64);
    match power {
        0 => part << (FIRST_POWER - PARTS.ilog2()),
        _ if bucket >= BUCKETS => u64::MAX,
        _ => (PARTS as u64 + part) << (FIRST_POWER - PARTS.ilog2() + power as u32 - 1),
    }
}

/// Upper ends of the buckets of a [`Histogram`], in seconds: from a cached answer on the LAN to the longest deadline.
pub const BOUNDS: [f64; 12] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0];

/// Durations since the start, for rates that the reader computes: only ever grows.
#[derive(Debug, Default)]
pub struct Histogram {
    /// A count for each of [`BOUNDS`], and one for the rest; each duration is counted in one only.
    counts: [AtomicU64; BOUNDS.len() + 1],
    micros: AtomicU64,
}

impl Histogram {
    /// Takes in one duration.
    pub fn observe(&self, duration: Duration) {
        let seconds = duration.as_secs_f64();
        let bucket = BOUNDS.partition_point(|bound| *bound < seconds);
        self.counts[bucket].fetch_add(1, Ordering::Relaxed);
        self.micros.fetch_add(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Durations up to each of [`BOUNDS`] and all of them; then their sum in seconds.
    pub fn cumulative(&self) -> ([u64; BOUNDS.len() + 1], f64) {
        let mut sum = 0;
        let counts = std::array::from_fn(|bucket| {
            sum += self.counts[bucket].load(Ordering::Relaxed);
            sum
        });
        (counts, self.micros.load(Ordering::Relaxed) as f64 / 1e6)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn millis(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn a_hundred_latencies_give_the_percentiles_they_have() {
        let now = Instant::now();
        let latencies = Latencies::new(now);
        (1..=100).for_each(|ms| latencies.observe(millis(ms), now));
        let seen = latencies.summary(now);
        assert_eq!((seen.count, seen.mean), (100, Duration::from_micros(50_500)));
        assert_eq!((seen.percentile(0.0), seen.percentile(100.0)), (Some(millis(1)), Some(millis(100))));
        for (percent, exact) in [(25.0, 25.0), (50.0, 50.0), (75.0, 75.0), (90.0, 90.0), (95.0, 95.0), (99.0, 99.0)] {
            let told = seen.percentile(percent).expect("one of those told").as_secs_f64() * 1e3;
            assert!((told - exact).abs() / exact < 0.07, "p{percent}: {told} ms");
        }
    }

    #[test]
    fn without_calls_there_is_no_percentile_and_ten_seconds_later_neither() {
        let now = Instant::now();
        let latencies = Latencies::new(now);
        assert_eq!(latencies.summary(now), Summary::default());
        assert_eq!(latencies.summary(now).percentile(50.0), None);
        latencies.observe(millis(7), now);
        assert_eq!(latencies.summary(now + millis(9_999)).percentile(50.0), Some(millis(7)));
        assert_eq!(latencies.summary(now + millis(10_000)), Summary::default());
    }

    #[test]
    fn the_fastest_and_the_slowest_call_there_can_be_have_a_place() {
        let now = Instant::now();
        let latencies = Latencies::new(now);
        for latency in [Duration::ZERO, Duration::MAX] {
            latencies.observe(latency, now);
        }
        let seen = latencies.summary(now);
        assert_eq!((seen.count, seen.percentile(0.0)), (2, Some(Duration::ZERO)));
        assert_eq!(seen.percentile(100.0), Some(Duration::from_micros(RollingCount::MAX - 1)));
    }

    #[test]
    fn buckets_lie_side_by_side_and_each_holds_what_belongs_to_it() {
        for number in 1..BUCKETS {
            assert_eq!((bucket(lowest(number) - 1), bucket(lowest(number))), (number - 1, number), "{number}");
        }
    }

    #[test]
    fn a_flood_fills_a_count_without_running_into_the_next() {
        let now = Instant::now();
        let latencies = Latencies::new(now);
        (0..20_000).for_each(|_| latencies.observe(millis(3), now));
        assert_eq!(latencies.summary(now).count, COUNT_MAX);
        assert_eq!(latencies.summary(now).percentile(99.0), Some(millis(3)));
    }

    #[test]
    fn all_that_threads_observe_at_the_same_time_is_in_it() {
        let now = Instant::now();
        let (latencies, histogram) = (Latencies::new(now), Histogram::default());
        std::thread::scope(|scope| {
            for thread in 1..=4 {
                let (latencies, histogram) = (&latencies, &histogram);
                scope.spawn(move || {
                    for _ in 0..1_000 {
                        latencies.observe(millis(thread), now + millis(2_500));
                        histogram.observe(millis(thread));
                    }
                });
            }
        });
        let seen = latencies.summary(now + millis(2_500));
        assert_eq!((seen.count, seen.mean), (4_000, Duration::from_micros(2_500)));
        let (counts, sum) = histogram.cumulative();
        assert_eq!((&counts[..4], counts[12], sum), (&[1_000, 2_000, 4_000, 4_000][..], 4_000, 10.0));
    }

    #[test]
    fn what_lasts_exactly_as_long_as_a_bound_lies_below_it() {
        let histogram = Histogram::default();
        histogram.observe(millis(500));
        histogram.observe(Duration::from_secs(60));
        let (counts, sum) = histogram.cumulative();
        assert_eq!((counts[7], counts[8], counts[11], counts[12], sum), (0, 1, 1, 2, 60.5));
    }

    proptest! {
        /// The model sorts all latencies; a percentile lies between its neighbours there, a bucket's width aside.
        #[test]
        fn a_percentile_is_within_a_bucket_of_the_exact_one(micros in prop::collection::vec(0u64..8_000_000, 1..200)) {
            let now = Instant::now();
            let latencies = Latencies::new(now);
            micros.iter().for_each(|micros| latencies.observe(Duration::from_micros(*micros), now));
            let mut sorted = micros;
            sorted.sort_unstable();
            let seen = latencies.summary(now);
            for (percent, told) in PERCENTS.iter().zip(seen.percentiles) {
                let rank = (percent / 100.0 * sorted.len() as f64).ceil().max(1.0) as usize;
                let exact = sorted[rank - 1];
                let told = u64::try_from(told.as_micros()).expect("small");
                prop_assert!(bucket(told).abs_diff(bucket(exact)) <= 1, "p{percent}: {told} for {exact}");
            }
        }
    }
}
