//! Settings of a balancer.

use std::fmt;
use std::time::Duration;

/// Choice between endpoints: the section `[balance]`.
#[derive(Debug, Clone, PartialEq)]
pub struct BalanceSettings {
    /// How one endpoint is chosen.
    pub policy: Policy,
    /// How long a new endpoint takes to get its full share.
    pub slow_start: Duration,
    /// Whether the own zone is preferred.
    pub prefer_zone: bool,
}

impl Default for BalanceSettings {
    fn default() -> Self {
        Self { policy: Policy::PeakEwma, slow_start: Duration::from_secs(10), prefer_zone: true }
    }
}

/// How one of several endpoints is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Policy {
    /// Each in turn.
    RoundRobin,
    /// Any.
    Random,
    /// The one of two random ones that has fewer calls in flight.
    LeastRequest,
    /// At random, the faster the likelier.
    WeightedResponseTime,
    /// The one of two random ones with the lower peak-sensitive latency times calls in flight.
    PeakEwma,
}

impl Policy {
    /// Each as it is written.
    pub const WORDS: &[(Self, &str)] = &[
        (Self::RoundRobin, "round-robin"),
        (Self::Random, "random"),
        (Self::LeastRequest, "least-request"),
        (Self::WeightedResponseTime, "weighted-response-time"),
        (Self::PeakEwma, "peak-ewma"),
    ];
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Self::WORDS.iter().find(|(meaning, _)| meaning == self).map(|(_, name)| *name);
        f.pad(name.expect("the list has every word"))
    }
}
