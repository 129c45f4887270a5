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
