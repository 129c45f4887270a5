//! Effect of the end of a call on a circuit.

use super::state::{PackedState, State};
use super::{CircuitBreaker, Outcome, RETRY_AFTER_MAX, TripReason};
use crate::sync::{Ordering, lock, settle, shard};
use std::time::Instant;

// What the window counts; first the whole, then its parts.
const CALLS: usize = 0;
const FAILURES: usize = 1;
const SLOW: usize = 2;

impl CircuitBreaker {
    /// Takes in how a call ended that was admitted under `word`.
    pub(super) fn take_in(&self, word: PackedState, outcome: Outcome, now: Instant) {
        if self.word() != word {
            return; // begun before the last change of state
        }
        match word.state() {
            State::Closed | State::Ramping => {
                if let Some(reason) = self.count(word, outcome, now) {
                    self.trip(word, reason, now);
                }
            }
            State::MetricsOnly => {
                self.count(word, outcome, now);
            }
            State::HalfOpen => self.take_in_probe(word, outcome, now),
            State::Open | State::ForcedOpen | State::Disabled => {}
        }
    }

    /// Counts an outcome; Some if the circuit has to open.
    fn count(&self, word: PackedState, outcome: Outcome, now: Instant) -> Option<TripReason> {
        let (tick, shard) = (self.tick(word, now), shard());
        let add = |kind| self.window.add(shard, kind, tick);
        let mut streak = 0;
        match outcome {
            Outcome::Ignored | Outcome::Alive => return None,
            Outcome::Success { latency } => {
                let slow = latency >= self.settings.slow_call;
                add(CALLS);
                if slow {
                    add(SLOW);
                }
                settle();
                self.streak.clear(word.generation());
                if !slow && self.judged.load(Ordering::SeqCst) > tick {
                    return None;
                }
            }
            Outcome::Failure | Outcome::Timeout | Outcome::Rejected { .. } | Outcome::Refused | Outcome::WrongPeer => {
                add(CALLS);
                add(FAILURES);
                if outcome == Outcome::Timeout {
                    add(SLOW);
                }
                if !matches!(outcome, Outcome::Rejected { .. }) {
                    streak = self.streak.add(word.generation());
                }
            }
        }
        match outcome {
            Outcome::Refused => Some(TripReason::Refused),
            Outcome::WrongPeer => Some(TripReason::WrongPeer),
            Outcome::Rejected { retry_after: Some(time) } if !time.is_zero() => {
                Some(TripReason::RetryAfter(time.min(RETRY_AFTER_MAX)))
            }
            _ if streak >= self.settings.consecutive_failures.get().into() => {
                Some(TripReason::ConsecutiveFailures(streak))
            }
            _ => self.judge(tick),
        }
    }

    /// Whether the rates allow the circuit to stay closed.
    fn judge(&self, tick: u64) -> Option<TripReason> {
        let [calls, failures, slow] = self.window.sum(tick);
        if calls < self.settings.minimum_calls.get().into() {
            return None;
        }
        let (failures, slow) = (share(failures, calls), share(slow, calls));
        if failures >= self.settings.failure_rate.get() {
            return Some(TripReason::FailureRate(failures));
        }
        if slow >= self.settings.slow_call_rate.get() {
            return Some(TripReason::SlowRate(slow));
        }
        self.judged.fetch_max(tick + 1, Ordering::SeqCst);
        None
    }

    fn take_in_probe(&self, word: PackedState, outcome: Outcome, now: Instant) {
        let failure = match outcome {
            Outcome::Ignored => return self.give_back(word),
            Outcome::Success { latency } if latency < self.settings.slow_call => None,
            Outcome::Alive => None,
            Outcome::Refused => Some(TripReason::Refused),
            Outcome::WrongPeer => Some(TripReason::WrongPeer),
            Outcome::Rejected { retry_after: Some(time) } if !time.is_zero() => {
                Some(TripReason::RetryAfter(time.min(RETRY_AFTER_MAX)))
            }
            _ => Some(TripReason::TrialCall),
        };
        if let Some(reason) = failure {
            return self.trip(word, reason, now);
        }
        let mut recovery = lock(&self.recovery);
        if self.word() != word {
            return;
        }
        recovery.probes = recovery.probes.saturating_sub(1);
        recovery.passed += 1;
        if recovery.passed >= self.settings.half_open_calls.get() {
            self.recover(&mut recovery, now);
        }
    }

    /// Takes in how a call ended that was made although the circuit, under `word`, refused it.
    pub(super) fn take_in_forced(&self, word: PackedState, outcome: Outcome, now: Instant) {
        let answered = matches!(outcome, Outcome::Success { .. } | Outcome::Alive);
        let mut recovery = lock(&self.recovery);
        if answered && self.word() == word && matches!(word.state(), State::Open | State::HalfOpen) {
            self.recover(&mut recovery, now);
        }
    }
}

/// The share of `part` in `whole`, both exact; the quotient is the double nearest to it, as 0.07 is to 7 of 100.
pub(super) fn share(part: u64, whole: u64) -> f64 {
    part as f64 / whole as f64
}
