//! Sliding window of counts, in ten buckets.
//!
//! A window that is emptied all at once forgets an outage at its every end; ten buckets forget a tenth at a time.
//! The ring is never swept: every count carries the tick it belongs to, and a count of another tick is no count.

use crate::sync::{Sharded, nanos, settle};
use crate::tagged::Tally;
use std::time::Duration;

#[cfg(not(all(test, bramble_loom)))]
pub(crate) const BUCKETS: usize = 10; // 1 s steps over the default window of 10 s
#[cfg(all(test, bramble_loom))]
pub(crate) const BUCKETS: usize = 2;

/// Ticks by which one generation lies after the one before. More than a window, so that nothing of an earlier
/// generation is ever in it, however late a thread adds; far more, so that clocks read a moment apart cannot bridge it.
const GENERATION_TICKS: u64 = 1024;

/// Counts of `KINDS` kinds of events in a sliding time. Lock-free; adding takes one write to the thread's own shard.
#[derive(Debug)]
pub(crate) struct Window<const KINDS: usize> {
    /// Nanoseconds, never 0.
    tick: u64,
    /// 2^64 over the tick, rounded down: a product costs a quarter of a quotient, on a Pi above all.
    inverse: u64,
    shards: Sharded<[[Tally; BUCKETS]; KINDS]>,
}

impl<const KINDS: usize> Window<KINDS> {
    pub(crate) fn new(length: Duration) -> Self {
        let shards = Sharded::new(|| std::array::from_fn(|_: usize| std::array::from_fn(|_: usize| Tally::new())));
        let tick = (nanos(length) / BUCKETS as u64).max(1);
        Self { tick, inverse: u64::MAX / tick, shards }
    }

    /// The tick of `generation` in which `elapsed` nanoseconds since the start lie.
    pub(crate) fn tick(&self, generation: u64, elapsed: u64) -> u64 {
        let short = ((u128::from(elapsed) * u128::from(self.inverse)) >> 64) as u64; // by one at most
        let ticks = short + u64::from(elapsed - short * self.tick >= self.tick);
        generation.wrapping_mul(GENERATION_TICKS).wrapping_add(ticks)
    }

    /// Counts one event of `kind` (below `KINDS`) at `tick`; nothing if the bucket has gone on to a later one.
    pub(crate) fn add(&self, shard: usize, kind: usize, tick: u64) {
        self.shards.at(shard)[kind][(tick % BUCKETS as u64) as usize].add(tick);
    }

    /// Events of each kind in the window that ends with `tick`.
    ///
    /// The last kind is read first, while other threads go on adding. A caller that counts a whole and its parts makes
    /// the whole kind 0 and adds to it first: then a share is never seen larger than it was at some moment. And of
    /// threads that each add and then sum, the last sees all.
    pub(crate) fn sum(&self, tick: u64) -> [u64; KINDS] {
        settle();
        let mut sum = [0; KINDS];
        for (kind, sum) in sum.iter_mut().enumerate().rev() {
            for ring in self.shards.iter().filter_map(|shard| shard.get(kind)) {
                *sum += ring.iter().map(|bucket| bucket.within(BUCKETS as u64, tick)).sum::<u64>();
            }
        }
        sum
    }
}

#[cfg(all(test, not(bramble_loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn what_is_ten_seconds_old_leaves_a_window_of_ten_seconds() {
        let window = Window::<1>::new(Duration::from_secs(10));
        window.add(0, 0, window.tick(0, SECOND / 2));
        assert_eq!(window.sum(window.tick(0, 10 * SECOND - 1)), [1]);
        assert_eq!(window.sum(window.tick(0, 10 * SECOND)), [0]);
    }

    #[test]
    fn what_comes_too_late_for_its_bucket_is_not_counted_into_the_next() {
        let window = Window::<1>::new(Duration::from_secs(10));
        window.add(0, 0, window.tick(0, 10 * SECOND));
        window.add(0, 0, window.tick(0, 0)); // the same place in the ring, ten seconds earlier
        assert_eq!(window.sum(window.tick(0, 10 * SECOND)), [1]);
    }

    #[test]
    fn a_generation_sees_nothing_of_the_one_before_it() {
        let window = Window::<1>::new(Duration::from_secs(10));
        window.add(0, 0, window.tick(0, 9 * SECOND));
        assert_eq!(window.sum(window.tick(1, 0)), [0]);
        assert_eq!(window.sum(window.tick(1, 9 * SECOND)), [0]);
    }

    #[test]
    fn all_that_threads_count_at_the_same_time_is_counted() {
        let window = Window::<2>::new(Duration::from_secs(10));
        std::thread::scope(|scope| {
            for shard in 0..4 {
                let window = &window;
                scope.spawn(move || (0..10_000).for_each(|i| window.add(shard / 2, i % 2, 7)));
            }
        });
        assert_eq!(window.sum(7), [20_000, 20_000]);
    }

    proptest! {
        #[test]
        fn a_tick_is_the_quotient_it_stands_for(length in 10_000_000u64..=86_400_000_000_000, elapsed in 0..=u64::MAX >> 1, ticks in 0u64..1_000_000) {
            let window = Window::<1>::new(Duration::from_nanos(length));
            let tick = length / 10;
            let edge = tick.saturating_mul(ticks).min(u64::MAX >> 1);
            for elapsed in [elapsed, edge, edge.saturating_sub(1), edge + 1] {
                prop_assert_eq!(window.tick(0, elapsed), elapsed / tick);
            }
        }

        /// The model keeps every event and counts those whose tick is one of the last ten.
        #[test]
        fn the_ring_counts_what_a_list_of_all_events_counts(
            events in prop::collection::vec((0usize..8, 0usize..3, 0u64..900_000_000), 1..200),
        ) {
            let window = Window::<3>::new(Duration::from_secs(1));
            let (mut elapsed, mut generation) = (0u64, 0u64);
            let mut all: Vec<(u64, u64, usize)> = Vec::new();
            for (dice, kind, pause) in events {
                elapsed += pause;
                generation += u64::from(dice == 0);
                window.add(dice, kind, window.tick(generation, elapsed));
                all.push((generation, elapsed / 100_000_000, kind));
                let now = elapsed / 100_000_000;
                let mut expected = [0; 3];
                for (_, _, kind) in all.iter().filter(|(own, tick, _)| *own == generation && now - tick < 10) {
                    expected[*kind] += 1;
                }
                prop_assert_eq!(window.sum(window.tick(generation, elapsed)), expected);
            }
        }
    }
}
