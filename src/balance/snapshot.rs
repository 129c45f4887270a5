//! Statistics of a balancer, to be shown and compared.

use super::endpoint::Target;
use crate::breaker;
use std::time::Duration;

/// How many endpoints there are, and how many are out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct CircuitCounts {
    /// Endpoints that are not draining.
    pub(crate) all: usize,
    /// Endpoints whose circuits are open or half-open.
    pub(crate) out: usize,
    /// Endpoints of these that refused a connection: to ask them again costs the caller no time.
    pub(crate) refused: usize,
}

/// Statistics of a balancer at one moment.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct BalancerSnapshot {
    /// Every endpoint, those of the own zone first and those that drain last.
    pub endpoints: Vec<EndpointSnapshot>,
}

/// An endpoint at one moment.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct EndpointSnapshot {
    /// How it describes itself.
    pub target: Target,
    /// Calls in flight, of this process.
    pub in_flight: usize,
    /// Latency by peak EWMA. None: nothing is known yet.
    pub latency: Option<Duration>,
    /// Seconds one more call is expected to take, more where calls failed; what `peak-ewma` compares.
    pub cost: f64,
    /// The share of its traffic that slow start and ramp give it, up to 1.
    pub share: f64,
    /// Whether it has just said that it has no room.
    pub full: bool,
    /// Circuit of the endpoint.
    pub breaker: breaker::BreakerSnapshot,
}
