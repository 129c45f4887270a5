//! Circuits in the log and under `/circuits`: each change of state is one line, in the same words for every circuit.

pub mod guard;

use std::time::{Duration, Instant};

use log::Level;
use serde_json::{Map, Value, json};

use crate::breaker::{BreakerSnapshot, CircuitBreaker, State, Transition};

/// Logs the transitions of the circuit of `server` since `generation`, at level warn where it opened; returns the
/// generation of the last one.
pub fn log_transitions(server: &str, breaker: &CircuitBreaker, generation: u64) -> u64 {
    let changes = breaker.transitions_since(generation);
    for change in &changes {
        let level = if change.to == State::Open { Level::Warn } else { Level::Info };
        log::log!(level, "circuit of {server}: {}", sentence(change, &breaker.snapshot(change.at)));
    }
    changes.last().map_or(generation, |last| last.generation)
}

/// A circuit for `/circuits`.
pub fn to_json(circuit: &BreakerSnapshot, now: Instant) -> Map<String, Value> {
    let next_probe = circuit.next_probe.map(|at| milliseconds(at.saturating_duration_since(now)));
    let shown = json!({
        "state": circuit.state.as_str(),
        "for_ms": milliseconds(now.saturating_duration_since(circuit.since)),
        "reason": circuit.reason.filter(|_| circuit.state != State::Closed).map(|reason| reason.to_string()),
        "next_probe_ms": next_probe,
        "admitted_share": circuit.ramp_share,
        "recent_calls": circuit.calls,
        "failure_rate": circuit.failure_rate,
        "slow_rate": circuit.slow_rate,
        "failures_in_a_row": circuit.consecutive_failures,
    });
    match shown {
        Value::Object(shown) => shown,
        _ => Map::new(),
    }
}

/// Sentence after the name. `then` is the circuit as it was at that moment, if it has not changed since.
fn sentence(change: &Transition, then: &BreakerSnapshot) -> String {
    match (change.to, change.from) {
        (State::Open, _) => {
            let why = change.reason.map_or_else(String::new, |reason| format!(" ({reason})"));
            format!("{}{why}", open_until(change.next_probe, change.at))
        }
        (State::HalfOpen, _) => "half-open, a trial call is made".into(),
        (State::Ramping, _) if then.generation == change.generation => {
            format!("ramping up from {:.0} % of its load", then.ramp_share * 100.0)
        }
        (State::Ramping, _) => "ramping up".into(),
        (State::Closed, State::Open | State::HalfOpen | State::Ramping) => "closed".into(),
        (to, _) => format!("set to {} by hand", to.as_str()),
    }
}

/// "open for 5 s" of a circuit that opened at `since` and lets the next call through at `until`.
pub(crate) fn open_until(until: Option<Instant>, since: Instant) -> String {
    match until.map(|until| until.saturating_duration_since(since)) {
        Some(time) if !time.is_zero() => format!("open for {} s", seconds(time)),
        _ => "open for a moment".to_owned(),
    }
}

/// Seconds as a person says them: 0.6, 5, 61.
fn seconds(time: Duration) -> String {
    let text = format!("{:.*}", usize::from(time < Duration::from_secs(10)), time.as_secs_f64());
    text.strip_suffix(".0").map(str::to_owned).unwrap_or(text)
}

/// Whole milliseconds.
pub(crate) fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::breaker::BreakerSettings;
    use crate::breaker::Outcome;

    /// The sentences of all changes from the first on, each told when it had just happened.
    struct LoggedCircuit(CircuitBreaker, u64, Vec<String>);

    impl LoggedCircuit {
        fn look(&mut self) {
            for change in self.0.transitions_since(self.1) {
                self.2.push(sentence(&change, &self.0.snapshot(change.at)));
                self.1 = change.generation;
            }
        }

        fn call(&mut self, outcome: Outcome, now: Instant) {
            self.0.try_acquire(now).expect("admitted").record(outcome, now);
            self.look();
        }
    }

    #[test]
    fn a_way_out_and_back_is_told_in_four_lines() {
        let (config, now) = (BreakerSettings::default(), Instant::now());
        let mut told = LoggedCircuit(CircuitBreaker::new(&config, now, 1), 0, Vec::new());
        (0..5).for_each(|_| told.call(Outcome::Failure, now));
        let later = now + Duration::from_secs(5);
        told.call(Outcome::Success { latency: Duration::ZERO }, later);
        told.call(Outcome::Ignored, later + Duration::from_secs(10));
        let expected = [
            "open for 1 s (5 consecutive failures)",
            "half-open, a trial call is made",
            "ramping up from 10 % of its load",
            "closed",
        ];
        assert_eq!(told.2, expected);
    }

    #[test]
    fn what_was_set_by_hand_is_not_called_a_recovery() {
        let (config, now) = (BreakerSettings::default(), Instant::now());
        let mut told = LoggedCircuit(CircuitBreaker::new(&config, now, 1), 0, Vec::new());
        for state in [State::ForcedOpen, State::Closed] {
            told.0.set(state, now).expect("a move by hand");
            told.look();
        }
        assert_eq!(told.2, ["set to forced-open by hand", "set to closed by hand"]);
    }

    #[test]
    fn a_circuit_is_never_said_to_be_open_for_no_time() {
        let since = Instant::now();
        assert_eq!(open_until(Some(since + Duration::from_secs(3)), since), "open for 3 s");
        for until in [None, Some(since)] {
            assert_eq!(open_until(until, since), "open for a moment");
        }
    }

    #[test]
    fn seconds_are_said_as_a_person_says_them() {
        for (millis, said) in [(625, "0.6"), (5000, "5"), (5342, "5.3"), (9_999, "10"), (61_400, "61")] {
            assert_eq!(seconds(Duration::from_millis(millis)), said);
        }
    }
}
