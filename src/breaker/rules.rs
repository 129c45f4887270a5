//! Settings of a circuit breaker, and their checked form.

use super::ramp::Ramp;
use std::time::Duration;

/// A setting that cannot be worked with.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key} = {value}: must be {must}")]
#[non_exhaustive]
pub struct InvalidSetting {
    /// Section and key, as in the file: `breaker.failure_rate`.
    pub key: &'static str,
    /// Value that was given.
    pub value: String,
    /// Values that would be accepted.
    pub must: &'static str,
}

impl InvalidSetting {
    /// `Err` naming `key` unless `holds`.
    pub(crate) fn unless(
        holds: bool,
        key: &'static str,
        value: &dyn std::fmt::Debug,
        must: &'static str,
    ) -> Result<(), Self> {
        if holds { Ok(()) } else { Err(Self { key, value: format!("{value:?}"), must }) }
    }
}

/// When a circuit opens, and how it closes: the section `[breaker]`.
#[derive(Debug, Clone, PartialEq)]
pub struct BreakerSettings {
    /// Length of the sliding window over which rates are measured.
    pub window: Duration,
    /// Outcomes that must lie in the window before a rate is known.
    pub minimum_calls: u32,
    /// Consecutive failures that open the circuit, whatever the volume.
    pub consecutive_failures: u32,
    /// Share of failures at which the circuit opens, above 0 and up to 1.
    pub failure_rate: f64,
    /// A call at least this long counts as slow.
    pub slow_call: Duration,
    /// Share of slow calls at which the circuit opens, above 0 and up to 1.
    pub slow_call_rate: f64,
    /// How long an open circuit refuses before a trial call; doubled at each failed trial.
    pub open_for: Duration,
    /// The longest an open circuit refuses.
    pub open_for_max: Duration,
    /// Trial calls admitted at a time while half-open.
    pub half_open_calls: u32,
    /// How long the weight of a recovered server takes to grow back to 1.
    pub ramp: Duration,
    /// The weight at the ramp's start, above 0 and up to 1.
    pub ramp_floor: f64,
}

/// Longest time that the circuit before a callee without substitute stays open. Each second of it is one in which callers
/// get nothing although the callee may be back; a trial call every 3 s is no load for it.
const SOLE_OPEN_FOR_MAX: Duration = Duration::from_secs(3);

impl BreakerSettings {
    /// The longest time that a setting may be: a longer one is a slip of a unit.
    pub const MAX_TIME: Duration = Duration::from_secs(24 * 3600);
    /// The largest number of calls that a setting may be: far below where a counter is full.
    pub const MAX_CALLS: u32 = 1_000_000;

    /// The same for a callee that has no substitute, as an API of the internet: opened by consecutive failures alone, and by twice
    /// as many, since one that fails half of the calls answers the other half; open for 3 s at most; and without a ramp.
    #[must_use]
    pub fn for_sole_callee(&self) -> Self {
        let [open_for, open_for_max] = [self.open_for, self.open_for_max].map(|time| time.min(SOLE_OPEN_FOR_MAX));
        let consecutive_failures = self.consecutive_failures.saturating_mul(2).min(Self::MAX_CALLS);
        Self { consecutive_failures, failure_rate: 1.0, open_for, open_for_max, ramp: Duration::ZERO, ..self.clone() }
    }
}

impl Default for BreakerSettings {
    fn default() -> Self {
        Self {
            window: Duration::from_secs(10),
            minimum_calls: 20,
            consecutive_failures: 5,
            failure_rate: 0.5,
            // As in resilience4j: slow calls open no circuit unless that is asked for. The balancer avoids slow servers
            // while there is a faster one, and a slow answer is better than none.
            slow_call: Duration::from_secs(60),
            slow_call_rate: 1.0,
            open_for: Duration::from_secs(1),
            open_for_max: Duration::from_secs(60),
            half_open_calls: 1,
            ramp: Duration::from_secs(5),
            ramp_floor: 0.1,
        }
    }
}

/// When a circuit opens and how it closes: [`BreakerSettings`], checked.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    pub(super) window: Duration,
    pub(super) minimum_calls: u64,
    pub(super) consecutive_failures: u64,
    pub(super) failure_rate: f64,
    pub(super) slow_call: Duration,
    pub(super) slow_call_rate: f64,
    pub(super) open_for: Duration,
    pub(super) open_for_max: Duration,
    pub(super) half_open_calls: u32,
    pub(super) ramp: Ramp,
}

impl Rules {
    /// Checks `[breaker]`.
    ///
    /// # Errors
    ///
    /// The first setting that makes no sense, by its key.
    pub fn new(config: &BreakerSettings) -> Result<Self, InvalidSetting> {
        let must = InvalidSetting::unless;
        let rate = |rate: f64| rate > 0.0 && rate <= 1.0; // false for NaN too
        let time = |time: Duration| !time.is_zero() && time <= BreakerSettings::MAX_TIME;
        let window = config.window;
        must(
            window >= Duration::from_millis(10) && window <= BreakerSettings::MAX_TIME,
            "breaker.window",
            &window,
            "10ms to 24h",
        )?;
        let count = |count: u32| (1..=BreakerSettings::MAX_CALLS).contains(&count);
        must(count(config.minimum_calls), "breaker.minimum_calls", &config.minimum_calls, "1 to 1000000")?;
        let consecutive = config.consecutive_failures;
        must(count(consecutive), "breaker.consecutive_failures", &consecutive, "1 to 1000000")?;
        must(rate(config.failure_rate), "breaker.failure_rate", &config.failure_rate, "above 0 and at most 1")?;
        must(time(config.slow_call), "breaker.slow_call", &config.slow_call, "above 0 and at most 24h")?;
        must(rate(config.slow_call_rate), "breaker.slow_call_rate", &config.slow_call_rate, "above 0 and at most 1")?;
        must(time(config.open_for), "breaker.open_for", &config.open_for, "above 0 and at most 24h")?;
        let open_for_max = config.open_for_max;
        must(
            open_for_max >= config.open_for && time(open_for_max),
            "breaker.open_for_max",
            &open_for_max,
            "at least open_for, and at most 24h",
        )?;
        must(count(config.half_open_calls), "breaker.half_open_calls", &config.half_open_calls, "1 to 1000000")?;
        must(config.ramp <= BreakerSettings::MAX_TIME, "breaker.ramp", &config.ramp, "at most 24h")?;
        must(rate(config.ramp_floor), "breaker.ramp_floor", &config.ramp_floor, "above 0 and at most 1")?;
        Ok(Self {
            window,
            minimum_calls: config.minimum_calls.into(),
            consecutive_failures: consecutive.into(),
            failure_rate: config.failure_rate,
            slow_call: config.slow_call,
            slow_call_rate: config.slow_call_rate,
            open_for: config.open_for,
            open_for_max,
            half_open_calls: config.half_open_calls,
            ramp: Ramp { length: config.ramp, floor: config.ramp_floor },
        })
    }
}
