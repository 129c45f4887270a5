//! Settings of a circuit breaker.

use crate::ratio::Ratio;
use std::num::NonZeroU32;
use std::time::Duration;

/// When a circuit opens, and how it closes: the section `[breaker]`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BreakerSettings {
    /// Length of the sliding window over which rates are measured; at least 10 ms.
    pub window: Duration,
    /// Outcomes that must lie in the window before a rate is known.
    pub minimum_calls: NonZeroU32,
    /// Consecutive failures that open the circuit, whatever the volume.
    pub consecutive_failures: NonZeroU32,
    /// Share of failures at which the circuit opens.
    pub failure_rate: Ratio,
    /// A call at least this long counts as slow.
    pub slow_call: Duration,
    /// Share of slow calls at which the circuit opens.
    pub slow_call_rate: Ratio,
    /// How long an open circuit refuses before a trial call; doubled at each failed trial.
    pub open_for: Duration,
    /// The longest an open circuit refuses, even where `open_for` is longer; 24 h at most.
    pub open_for_max: Duration,
    /// Trial calls admitted at a time while half-open.
    pub half_open_calls: NonZeroU32,
    /// How long the weight of a recovered server takes to grow back to 1.
    pub ramp: Duration,
    /// The weight at the ramp's start.
    pub ramp_floor: Ratio,
}

/// Longest time that the circuit before a callee without substitute stays open, whatever is set. Each second of it is
/// one in which callers get nothing although the callee may be back.
const SOLE_OPEN_FOR_MAX: Duration = Duration::from_secs(3);

impl BreakerSettings {
    /// The longest time that a setting may be: a longer one is a slip of a unit.
    pub const MAX_TIME: Duration = Duration::from_secs(24 * 3600);
    /// The largest number of calls that a setting may be: far below where a counter is full.
    pub const MAX_CALLS: u32 = 1_000_000;

    /// The same for a callee that has no substitute, as an API of the internet: opened by consecutive failures alone,
    /// and by twice as many, since one that fails half of the calls answers the other half; open for `open_for` each
    /// time, 3 s at most; and without a ramp.
    #[must_use]
    pub fn for_sole_callee(&self) -> Self {
        let open_for = self.open_for.min(SOLE_OPEN_FOR_MAX);
        const TWO: NonZeroU32 = NonZeroU32::MIN.saturating_add(1);
        Self {
            consecutive_failures: self.consecutive_failures.saturating_mul(TWO),
            failure_rate: Ratio::ONE,
            open_for,
            open_for_max: open_for,
            ramp: Duration::ZERO,
            ..*self
        }
    }
}

impl Default for BreakerSettings {
    fn default() -> Self {
        Self {
            window: Duration::from_secs(10),
            minimum_calls: const { NonZeroU32::new(20).expect("above 0") },
            consecutive_failures: const { NonZeroU32::new(5).expect("above 0") },
            failure_rate: const { Ratio::new(0.5).expect("a ratio") },
            // As in resilience4j: slow calls open no circuit unless that is asked for. The balancer avoids slow servers
            // while there is a faster one, and a slow answer is better than none.
            slow_call: Duration::from_secs(60),
            slow_call_rate: Ratio::ONE,
            open_for: Duration::from_secs(1),
            open_for_max: Duration::from_secs(60),
            half_open_calls: NonZeroU32::MIN,
            ramp: Duration::from_secs(5),
            ramp_floor: const { Ratio::new(0.1).expect("a ratio") },
        }
    }
}

#[cfg(test)]
pub(crate) fn count(count: u32) -> NonZeroU32 {
    NonZeroU32::new(count).expect("above 0")
}
