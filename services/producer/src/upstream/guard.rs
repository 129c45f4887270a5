//! The circuit breaker before the weather API: while the API fails, new places are refused at once instead of after
//! `producer.fetch_timeout` each.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bramble::breaker::{CircuitBreaker, Outcome, Permit, State};
use bramble::circuit;
use bramble::telemetry::hystrix::{Command, Settings};
use bramble::telemetry::{Calls, Event};
use serde_json::{Value, json};
use surf::Url;

use super::NoAnswer;
use crate::openweathermap::{Observation, UpstreamError};

/// The circuit before the weather API, and what the log has been told of it.
#[derive(Debug)]
pub(super) struct Guard {
    breaker: CircuitBreaker,
    /// The generation that was told last.
    told: AtomicU64,
    /// What became of the calls.
    pub(super) calls: Calls,
    /// As `/hystrix.stream` shows it.
    settings: Settings,
    in_flight: AtomicUsize,
}

/// A call that was admitted. Dropped, it gives its permit back and teaches nothing.
#[derive(Debug)]
pub(super) struct Admitted<'a> {
    guard: &'a Guard,
    permit: Permit<&'a CircuitBreaker>,
    _flight: Flight<'a>,
}

/// A call in flight, until dropped.
#[derive(Debug)]
struct Flight<'a>(&'a AtomicUsize);

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Guard {
    pub(super) fn new(breaker: CircuitBreaker, settings: Settings, now: Instant) -> Self {
        let (told, in_flight) = (AtomicU64::new(0), AtomicUsize::new(0));
        Self { breaker, told, calls: Calls::new(now), settings, in_flight }
    }

    /// Admits a call at `now`.
    ///
    /// # Errors
    /// [`UpstreamError::CircuitOpen`].
    pub(super) fn admit(&self, now: Instant) -> Result<Admitted<'_>, UpstreamError> {
        let permit = self.breaker.try_acquire(now);
        self.tell();
        let permit = permit.map_err(|refusal| {
            self.calls.ended(Event::ShortCircuited, Duration::ZERO, now);
            UpstreamError::CircuitOpen { retry_after: refusal.retry_at.map(|at| at.saturating_duration_since(now)) }
        })?;
        self.calls.begun(self.in_flight.fetch_add(1, Ordering::Relaxed) + 1, now);
        Ok(Admitted { guard: self, permit, _flight: Flight(&self.in_flight) })
    }

    /// How long the circuit refuses calls still; `None` unless it is open.
    pub(super) fn opens_in(&self, now: Instant) -> Option<Duration> {
        self.breaker.snapshot(now).next_probe.map(|at| at.saturating_duration_since(now))
    }

    /// The same object, with the same keys, as for a service that is called by its name.
    pub(super) fn show(&self, endpoint: &Url, now: Instant) -> Value {
        let in_flight = self.in_flight.load(Ordering::Relaxed);
        let host = endpoint.host_str().unwrap_or_default();
        let mut shown = circuit::show(&self.breaker.snapshot(now), now);
        shown.insert("id".into(), host.into());
        shown.insert("addr".into(), format!("{host}:{}", endpoint.port_or_known_default().unwrap_or(0)).into());
        shown.insert("in_flight".into(), in_flight.into());
        json!({"service": "upstream", "in_flight": in_flight, "endpoints": [shown]})
    }

    /// The circuit as `/hystrix.stream` shows it.
    pub(super) fn command(&self, now: Instant) -> Command {
        let state = self.breaker.state();
        Command {
            name: "upstream".into(),
            group: "upstream".into(),
            is_open: !state.is_available(),
            by_hand: matches!(state, State::ForcedOpen | State::Disabled | State::MetricsOnly).then_some(state),
            in_flight: self.in_flight.load(Ordering::Relaxed),
            noted: self.calls.noted(now),
            settings: self.settings,
        }
    }

    /// Says in the log what is new, each change once.
    fn tell(&self) {
        let generation = self.breaker.generation();
        if self.told.load(Ordering::Relaxed) < generation {
            let told = self.told.fetch_max(generation, Ordering::Relaxed);
            if told < generation {
                circuit::tell("the weather API", &self.breaker, told);
            }
        }
    }
}

impl Admitted<'_> {
    /// The call that was admitted at `now` has ended, after `took`.
    pub(super) fn ended(self, outcome: Outcome, now: Instant, took: Duration) {
        // A limit holds from the question on, as it does for the gate: neither lets a call out that the other keeps in.
        self.guard.calls.attempted(took, now + took);
        self.guard.calls.ended(outcome.into(), took, now + took);
        let at = if matches!(outcome, Outcome::Rejected { .. }) { now } else { now + took };
        self.permit.record(outcome, at);
        self.guard.tell();
    }
}

/// What a fetch says about the weather API. "No such place" and a refused key are answers. A slow answer is a success: it
/// is of use for as long as the fetch may take, and no other API could be asked instead.
pub(super) fn outcome(answer: &Result<Result<Observation, UpstreamError>, NoAnswer>) -> Outcome {
    const ANSWERED: Outcome = Outcome::Success { latency: Duration::ZERO };
    let error = match answer {
        Ok(Ok(_)) => return ANSWERED,
        Err(NoAnswer { refused: true, .. }) => return Outcome::Refused,
        Ok(Err(error)) | Err(NoAnswer { error, .. }) => error,
    };
    match error {
        UpstreamError::NotFound | UpstreamError::BadQuestion | UpstreamError::BadKey => ANSWERED,
        UpstreamError::RateLimited { retry_after } => Outcome::Rejected { retry_after: *retry_after },
        UpstreamError::TimedOut => Outcome::Timeout,
        UpstreamError::CircuitOpen { .. } | UpstreamError::ClockUnset => Outcome::Ignored,
        UpstreamError::Failed { .. } | UpstreamError::Unusable { .. } | UpstreamError::Unreachable => Outcome::Failure,
    }
}
