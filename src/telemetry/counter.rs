//! Counters of a service's own.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::{Collect, MetricType, OpenMetrics};

/// A number under `/metrics` that grows; clones count together. [`Host::counter`](crate::Host::counter) makes one.
#[derive(Debug, Clone)]
pub struct Counter {
    name: &'static str,
    help: &'static str,
    value: Arc<AtomicU64>,
}

impl Counter {
    pub(crate) fn new(name: &'static str, help: &'static str) -> Self {
        Self { name, help, value: Arc::default() }
    }

    /// Counts `more`.
    pub fn add(&self, more: u64) {
        self.value.fetch_add(more, Ordering::Relaxed);
    }

    /// Count so far.
    pub fn value(&self) -> u64 {
        self.value.load(Ordering::Relaxed)
    }
}

impl Collect for Counter {
    fn metrics(&self, to: &mut OpenMetrics) {
        to.family(self.name, MetricType::Counter, self.help);
        to.sample(&[], self.value());
    }
}
