//! Metrics of a process, for Prometheus and Hystrix.
//!
//! A part of a service that has numbers implements [`Collect`]; collecting is never part of a request, and reading holds no lock
//! that a call waits for: calls write words of fixed rings, readers add them up.
//!
//! `record` says where each number is counted, `rolling` and `latency` how; [`OpenMetrics`] is the page for Prometheus,
//! [`hystrix`] one circuit as Netflix's dashboard reads it, and `stream` sends that to up to five readers.

mod counter;
pub mod hystrix;
mod latency;
pub(crate) mod openmetrics;
pub(crate) mod record;
mod rolling;
pub(crate) mod stream;

use std::time::Instant;

pub use counter::Counter;
pub use latency::{BOUNDS, Histogram, PERCENTS, Summary};
pub use openmetrics::{MetricType, OpenMetrics};
pub use record::{CallStatistics, Calls, Event, Tally};
pub use rolling::WINDOW;

/// Source of numbers under `/metrics` and, if it guards calls, under `/circuits` and `/hystrix.stream`.
pub trait Collect: Send + Sync {
    /// Writes its numbers.
    fn metrics(&self, to: &mut OpenMetrics);

    /// Circuits as JSON: one object a service that is called. None if no service is.
    fn circuits(&self) -> Vec<serde_json::Value> {
        Vec::new()
    }

    /// Parts that it does without at the moment, by name, for `/readyz`: the service is ready all the same.
    fn cautions(&self) -> Vec<(&'static str, String)> {
        Vec::new()
    }

    /// Circuits at `now` as commands of Hystrix: services first, then their instances.
    fn commands(&self, now: Instant) -> Vec<hystrix::Command> {
        let _ = now;
        Vec::new()
    }
}
