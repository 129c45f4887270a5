//! Counting that many threads share without waiting for each other.
//!
//! A counter that every core writes makes a call slower the more cores there are: its cache line wanders. So values
//! that every call writes are kept once a shard, a thread writes to its own, and only a reader of the sum reads them
//! all.
//!
//! Under `--cfg bramble_loom` the primitives are loom's, and loom tries every order in which threads can interleave.

#[cfg(all(test, bramble_loom))]
pub(crate) use loom::sync::{
    Mutex, MutexGuard,
    atomic::{AtomicU64, AtomicUsize, Ordering},
};
#[cfg(not(all(test, bramble_loom)))]
pub(crate) use std::sync::{
    Mutex, MutexGuard,
    atomic::{AtomicU64, AtomicUsize, Ordering},
};

use std::sync::PoisonError;
use std::sync::atomic::AtomicUsize as StdAtomicUsize;
use std::time::{Duration, Instant};

/// Shards of what is written at every call: as many as a Pi has cores.
#[cfg(not(all(test, bramble_loom)))]
pub(crate) const SHARDS: usize = 4;
#[cfg(all(test, bramble_loom))]
pub(crate) const SHARDS: usize = 2; // every further location multiplies the orders to try

/// The shard of the calling thread: the same each time, and another for each of the next [`SHARDS`] threads.
pub(crate) fn shard() -> usize {
    static NEXT: StdAtomicUsize = StdAtomicUsize::new(0);
    thread_local! {
        static SHARD: usize = NEXT.fetch_add(1, Ordering::Relaxed) % SHARDS;
    }
    SHARD.with(|shard| *shard)
}

/// A value for each shard, each on cache lines of its own (128 bytes: two lines are fetched together).
#[derive(Debug)]
pub(crate) struct Sharded<T>([Padded<T>; SHARDS]);

#[derive(Debug)]
#[repr(align(128))]
struct Padded<T>(T);

impl<T> Sharded<T> {
    pub(crate) fn new(mut value: impl FnMut() -> T) -> Self {
        Self(std::array::from_fn(|_| Padded(value())))
    }

    /// The value of `shard`, any number.
    pub(crate) fn at(&self, shard: usize) -> &T {
        &self.0[shard % SHARDS].0
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.0.iter().map(|padded| &padded.0)
    }
}

/// A count that belongs to a tag and starts anew with a higher one, tag and count in one word.
///
/// So a ring of them needs no sweeper, and what comes too late for its tag changes nothing.
#[derive(Debug)]
pub(crate) struct Tally(AtomicU64);

const COUNT_BITS: u32 = 24; // 16 million calls a bucket; 40 bits of tag last 34 years of 1 ms ticks
const COUNT_MAX: u64 = (1 << COUNT_BITS) - 1;

impl Tally {
    pub(crate) fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// Adds one under `tag`, up to [`COUNT_MAX`], and returns the count; 0 if a higher tag has begun.
    pub(crate) fn add(&self, tag: u64) -> u64 {
        let mut old = self.0.load(Ordering::Relaxed);
        loop {
            let new = match (old >> COUNT_BITS).cmp(&tag) {
                std::cmp::Ordering::Less => (tag << COUNT_BITS) | 1,
                std::cmp::Ordering::Equal if old & COUNT_MAX == COUNT_MAX => return COUNT_MAX,
                std::cmp::Ordering::Equal => old + 1,
                std::cmp::Ordering::Greater => return 0,
            };
            // SeqCst: of two threads that add and then sum, one must see both.
            match self.0.compare_exchange_weak(old, new, Ordering::SeqCst, Ordering::Relaxed) {
                Ok(_) => return new & COUNT_MAX,
                Err(now) => old = now,
            }
        }
    }

    /// The tag and its count.
    pub(crate) fn get(&self) -> (u64, u64) {
        let word = self.0.load(Ordering::SeqCst);
        (word >> COUNT_BITS, word & COUNT_MAX)
    }

    /// The count under `tag`, 0 if it is another's.
    pub(crate) fn count(&self, tag: u64) -> u64 {
        match self.get() {
            (own, count) if own == tag => count,
            _ => 0,
        }
    }

    /// Sets the count under `tag` to 0; writes nothing if it is 0 already, or another's.
    pub(crate) fn clear(&self, tag: u64) {
        let mut old = self.0.load(Ordering::Relaxed);
        while old >> COUNT_BITS == tag && old & COUNT_MAX != 0 {
            match self.0.compare_exchange_weak(old, tag << COUNT_BITS, Ordering::SeqCst, Ordering::Relaxed) {
                Ok(_) => return,
                Err(now) => old = now,
            }
        }
    }
}

/// Between adding to one place and reading another. SeqCst operations order that by themselves; loom, which knows
/// SeqCst for fences only, needs to be told.
pub(crate) fn settle() {
    #[cfg(all(test, bramble_loom))]
    loom::sync::atomic::fence(Ordering::SeqCst);
}

/// Locks; a panic of another holder leaves nothing half-written here, so its poison is no reason to fail.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Nanoseconds from `epoch` to `now`: 0 if `now` is earlier, enough for 584 years.
pub(crate) fn nanos_since(epoch: Instant, now: Instant) -> u64 {
    nanos(now.saturating_duration_since(epoch))
}

/// `duration` in nanoseconds, at most 584 years.
pub(crate) fn nanos(duration: Duration) -> u64 {
    duration.as_secs().saturating_mul(1_000_000_000).saturating_add(u64::from(duration.subsec_nanos()))
}

/// A well-mixed number from two: splitmix64's finaliser (Steele, Lea, Flood 2014).
pub(crate) fn mix(a: u64, b: u64) -> u64 {
    let mut z = a ^ b.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// `bits` as a number from 0 up to, but without, 1.
pub(crate) fn unit(bits: u64) -> f64 {
    (bits >> 11) as f64 / (1u64 << 53) as f64
}
