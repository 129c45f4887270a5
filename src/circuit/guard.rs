//! Guards the calls to a server that is not called through the [`Client`](crate::client::Client), such as a cache or a
//! foreign API.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};

use super::{log_transitions, to_json};
use crate::breaker::{BreakerRefusal, CircuitBreaker, Outcome, Permit};
use crate::telemetry::hystrix::{Command, CommandSettings};
use crate::telemetry::{Calls, Event};

/// A circuit breaker with the counters of its calls, and all that the log, `/circuits` and `/hystrix.stream` show of
/// it.
///
/// ```
/// use std::time::{Duration, Instant};
///
/// use bramble::breaker::{BreakerSettings, CircuitBreaker, Outcome};
/// use bramble::call::CallSettings;
/// use bramble::circuit::guard::CircuitGuard;
/// use bramble::telemetry::hystrix::CommandSettings;
///
/// let (settings, now) = (BreakerSettings::default(), Instant::now());
/// let breaker = CircuitBreaker::new(&settings, now, fastrand::u64(..));
/// let shown = CommandSettings::new(&settings, &CallSettings::default(), Duration::from_secs(5));
/// let guard = CircuitGuard::new("gauges", breaker, shown, now).logged_as("the API of river gauges");
///
/// let call = guard.admit(now)?; // an error while the circuit is open
/// let latency = Duration::from_millis(80); // ... of the request that is made here
/// call.ended(Outcome::Success { latency }, now, latency);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct CircuitGuard {
    /// Name of the server under `/circuits` and `/hystrix.stream`.
    service: &'static str,
    breaker: CircuitBreaker,
    calls: Calls,
    settings: CommandSettings,
    in_flight: AtomicUsize,
    /// Name of the server in the log. None: transitions are not logged.
    logged_as: Option<&'static str>,
    /// Generation of the transition that was logged last.
    logged: AtomicU64,
}

/// A call that the circuit has admitted. Dropped, it gives its permit back and is not recorded.
#[derive(Debug)]
#[must_use = "a call that is not ended is not recorded"]
pub struct GuardedCall<'a> {
    guard: &'a CircuitGuard,
    permit: Permit<&'a CircuitBreaker>,
    _flight: Flight<'a>,
}

/// Counts a call as in flight, until dropped.
#[derive(Debug)]
struct Flight<'a>(&'a AtomicUsize);

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl CircuitGuard {
    /// A guard of the server `service`; `settings` are those that `/hystrix.stream` shows.
    pub fn new(service: &'static str, breaker: CircuitBreaker, settings: CommandSettings, now: Instant) -> Self {
        let (in_flight, logged) = (AtomicUsize::new(0), AtomicU64::new(0));
        Self { service, breaker, calls: Calls::new(now), settings, in_flight, logged_as: None, logged }
    }

    /// Logs each transition of the circuit as one of the server `name`.
    #[must_use]
    pub fn logged_as(self, name: &'static str) -> Self {
        Self { logged_as: Some(name), ..self }
    }

    /// Admits a call at `now`.
    ///
    /// # Errors
    /// The circuit refuses it; this is counted.
    pub fn admit(&self, now: Instant) -> Result<GuardedCall<'_>, BreakerRefusal> {
        let permit = self.breaker.try_acquire(now);
        self.log();
        let permit = permit.inspect_err(|_| self.note(Event::ShortCircuited, now))?;
        self.calls.begun(self.in_flight.fetch_add(1, Ordering::Relaxed) + 1, now);
        Ok(GuardedCall { guard: self, permit, _flight: Flight(&self.in_flight) })
    }

    /// Counts `event`, one that is not the end of a call: a call that was not sent, or a fallback.
    pub fn note(&self, event: Event, now: Instant) {
        self.calls.note(event, now);
    }

    /// The circuit itself.
    pub fn breaker(&self) -> &CircuitBreaker {
        &self.breaker
    }

    /// The circuit for `/circuits`: a called service with one endpoint, which has the keys of `endpoint` besides.
    pub fn circuit(&self, endpoint: Map<String, Value>, now: Instant) -> Map<String, Value> {
        let in_flight = self.in_flight.load(Ordering::Relaxed);
        let mut shown = to_json(&self.breaker.snapshot(now), now);
        shown.insert("in_flight".into(), in_flight.into());
        shown.extend(endpoint);
        let service =
            [("service", json!(self.service)), ("in_flight", json!(in_flight)), ("endpoints", json!([shown]))];
        service.map(|(key, value)| (key.to_owned(), value)).into_iter().collect()
    }

    /// The circuit for `/hystrix.stream`.
    pub fn command(&self, now: Instant) -> Command {
        Command {
            name: self.service.into(),
            group: self.service.into(),
            state: Some(self.breaker.state()),
            in_flight: self.in_flight.load(Ordering::Relaxed),
            statistics: self.calls.statistics(now),
            settings: self.settings,
        }
    }

    /// Logs the transitions that have not been logged, each once.
    fn log(&self) {
        let (Some(name), generation) = (self.logged_as, self.breaker.generation()) else { return };
        if self.logged.load(Ordering::Relaxed) < generation {
            let logged = self.logged.fetch_max(generation, Ordering::Relaxed);
            if logged < generation {
                log_transitions(name, &self.breaker, logged);
            }
        }
    }
}

impl GuardedCall<'_> {
    /// Records the outcome of the call that was admitted at `now` and took `took`.
    pub fn ended(self, outcome: Outcome, now: Instant, took: Duration) {
        let end = now + took;
        self.guard.calls.attempted(took, end);
        self.guard.calls.ended(outcome.into(), took, end);
        // A server that has no room says for how long from the question on.
        self.permit.record(outcome, if matches!(outcome, Outcome::Rejected { .. }) { now } else { end });
        self.guard.log();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::breaker::BreakerSettings;
    use crate::call::CallSettings;

    #[test]
    fn a_call_that_the_circuit_refuses_is_counted_and_shown_in_circuits_and_in_the_stream() {
        let (rules, now) = (BreakerSettings::default(), Instant::now());
        let breaker = CircuitBreaker::new(&rules, now, 1);
        let settings = CommandSettings::new(&rules, &CallSettings::default(), Duration::from_secs(1));
        let guard = CircuitGuard::new("store", breaker, settings, now);
        for _ in 0..5 {
            guard.admit(now).expect("admitted").ended(Outcome::Failure, now, Duration::ZERO);
        }
        let dropped = guard.admit(now);
        assert!(dropped.is_err());
        let endpoint = [("id".to_owned(), json!("a"))].into_iter().collect();
        let circuit = Value::from(guard.circuit(endpoint, now));
        assert_eq!((&circuit["service"], &circuit["in_flight"]), (&json!("store"), &json!(0)));
        let shown = &circuit["endpoints"][0];
        assert_eq!((&shown["id"], &shown["state"], &shown["in_flight"]), (&json!("a"), &json!("open"), &json!(0)));
        let command = guard.command(now);
        assert_eq!(command.state, Some(crate::breaker::State::Open));
        assert_eq!((command.statistics.total[Event::Failure], command.statistics.total[Event::ShortCircuited]), (5, 1));
    }

    #[test]
    fn a_call_is_in_flight_until_it_ends_or_is_dropped() {
        let (rules, now) = (BreakerSettings::default(), Instant::now());
        let breaker = CircuitBreaker::new(&rules, now, 1);
        let settings = CommandSettings::new(&rules, &CallSettings::default(), Duration::from_secs(1));
        let guard = CircuitGuard::new("store", breaker, settings, now);
        let (one, two) = (guard.admit(now).expect("admitted"), guard.admit(now).expect("admitted"));
        assert_eq!(guard.command(now).in_flight, 2);
        drop(one);
        two.ended(Outcome::Success { latency: Duration::ZERO }, now, Duration::ZERO);
        let command = guard.command(now);
        assert_eq!((command.in_flight, command.statistics.max_in_flight), (0, 2));
        assert_eq!(command.statistics.total[Event::Success], 1, "a dropped call is not recorded");
    }
}
