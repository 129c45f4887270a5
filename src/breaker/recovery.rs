//! The part of a circuit that changes seldom: why and for how long it is open, which probes are out, and what it did.

use super::{BreakerSettings, State, Transition, TripReason};
use crate::sync::{mix, unit};
use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::time::{Duration, Instant};

/// Transitions that are kept until they are reported.
const EVENTS: usize = 32;
/// A trial call that is out for so long does not keep the next one back: it may hang at a server that was silent when
/// it was sent, and is back.
pub(super) const ANOTHER_TRIAL_AFTER: Duration = Duration::from_millis(1500);
/// Trial calls that may be out besides, while earlier ones hang.
pub(super) const LATE_TRIALS: u32 = 4;
/// Share by which a doubled time may last longer than announced, so that callers that opened together do not probe
/// together.
const JITTER: f64 = 0.1;

/// Behind the breaker's lock, which no call takes while the circuit is closed.
#[derive(Debug)]
pub(super) struct Recovery {
    /// Trial calls in flight: at most `half_open_calls`, and [`LATE_TRIALS`] more.
    pub(super) probes: u32,
    /// When the last trial call was admitted.
    pub(super) trial_at: Instant,
    /// Probes of this half-open time that succeeded, less than `half_open_calls`.
    pub(super) passed: u32,
    /// How long the circuit was open last; None once a recovery has gone through.
    pub(super) open_for: Option<Duration>,
    pub(super) reason: Option<TripReason>,
    pub(super) since: Instant,
    /// Oldest first, at most [`EVENTS`], generations without a gap.
    pub(super) events: VecDeque<Transition>,
}

impl Recovery {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            probes: 0,
            trial_at: now,
            passed: 0,
            open_for: None,
            reason: None,
            since: now,
            events: VecDeque::with_capacity(EVENTS),
        }
    }

    /// Whether the half-open circuit admits a trial call.
    pub(super) fn has_trial(&self, at_a_time: NonZeroU32, now: Instant) -> bool {
        let at_a_time = at_a_time.get();
        let is_late = now.saturating_duration_since(self.trial_at) >= ANOTHER_TRIAL_AFTER;
        self.probes < at_a_time || (is_late && self.probes < at_a_time.saturating_add(LATE_TRIALS))
    }

    /// Notes that the circuit opens for `reason`, and returns for how long, jitter included.
    pub(super) fn open(&mut self, reason: TripReason, settings: &BreakerSettings, random: u64) -> Duration {
        let most = settings.open_for_max.min(BreakerSettings::MAX_TIME);
        let (first, at_least) = match reason {
            TripReason::RetryAfter(time) => (Duration::ZERO, time),
            _ => (settings.open_for, Duration::ZERO),
        };
        let (nominal, jitter) = match self.open_for {
            None => (first, 0.0),
            Some(last) => (last.saturating_mul(2).max(first), JITTER * unit(random)),
        };
        let nominal = nominal.min(most);
        self.reason = Some(reason);
        self.open_for = Some(nominal.max(at_least).min(most));
        nominal.mul_f64(1.0 + jitter).min(most).max(at_least)
    }

    /// Notes a change of state.
    pub(super) fn enter(&mut self, transition: Transition) {
        self.probes = 0;
        self.passed = 0;
        self.since = transition.at;
        if matches!(transition.to, State::Closed | State::ForcedOpen | State::Disabled | State::MetricsOnly) {
            self.open_for = None;
        }
        if self.events.len() == EVENTS {
            self.events.pop_front();
        }
        self.events.push_back(transition);
    }
}

/// The random number of one opening: the same breaker's next one differs, and so does another breaker's.
pub(super) fn random(seed: u64, generation: u64) -> u64 {
    mix(seed, generation)
}
