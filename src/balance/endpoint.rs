//! One server, and what is known of it. What calls write is atomic; what describes it is in [`Target`].

use super::peak_ewma::{Fading, PENALTY};
use crate::breaker::{CircuitBreaker, Outcome, RETRY_AFTER_MAX};
use crate::sync::{AtomicU64, AtomicUsize, Ordering, nanos, nanos_since};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// An endpoint as it describes itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Name of the instance. With the address it makes the identity: the same pair keeps its statistics.
    pub id: String,
    /// Where it listens.
    pub address: SocketAddr,
    /// Share of the traffic in comparison with others; taken as 1 to 100.
    pub weight: u32,
    /// Where it is. Empty: unknown.
    pub zone: String,
    /// Whether it is about to go: it gets no new calls.
    pub draining: bool,
}

/// The lasting part of an endpoint: identity, circuit and statistics.
#[derive(Debug)]
pub struct Endpoint {
    id: Box<str>,
    address: SocketAddr,
    breaker: CircuitBreaker,
    epoch: Instant,
    /// None: here from the start, so there is nobody to be slower than.
    joined: Option<Instant>,
    in_flight: AtomicUsize,
    /// When the first of the calls in flight began, or one of them last ended.
    busy_since: AtomicU64,
    /// The server has asked to be left alone until then.
    retry_until: AtomicU64,
    pub(super) latency: Fading,
    pub(super) penalty: Fading,
}

impl Endpoint {
    pub(super) fn new(target: &Target, breaker: CircuitBreaker, epoch: Instant, joined: Option<Instant>) -> Self {
        Self {
            id: target.id.as_str().into(),
            address: target.address,
            breaker,
            epoch,
            joined,
            in_flight: AtomicUsize::new(0),
            busy_since: AtomicU64::new(0),
            retry_until: AtomicU64::new(0),
            latency: Fading::new(),
            penalty: Fading::new(),
        }
    }

    /// Name of the instance.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its own circuit.
    pub fn breaker(&self) -> &CircuitBreaker {
        &self.breaker
    }

    /// Calls in flight, of this process.
    pub fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Latency by peak EWMA. None: no answer yet.
    pub fn latency(&self, now: Instant) -> Option<Duration> {
        match self.latency.at(nanos_since(self.epoch, now)) {
            0.0 => None,
            seconds => Some(Duration::from_secs_f64(seconds)),
        }
    }

    /// Whether the server has asked to be left alone at `now` nanoseconds.
    pub(super) fn retry_after(&self, now: u64) -> bool {
        now < self.retry_until.load(Ordering::Relaxed)
    }

    /// Seconds that the calls in flight have waited at least, if none of them has ended since.
    pub(super) fn waiting(&self, now: u64) -> f64 {
        match self.in_flight() {
            0 => 0.0,
            _ => now.saturating_sub(self.busy_since.load(Ordering::Relaxed)) as f64 / 1e9,
        }
    }

    /// The share of its traffic that a new or recovered endpoint gets, growing over `slow_start`.
    pub(super) fn warmth(&self, slow_start: Duration, now: Instant) -> f64 {
        const COLD: f64 = 0.1; // enough to warm up
        match self.joined.max(self.breaker.recovered_at()) {
            Some(since) if now < since + slow_start => {
                COLD + (1.0 - COLD) * now.saturating_duration_since(since).as_secs_f64() / slow_start.as_secs_f64()
            }
            _ => 1.0,
        }
    }

    fn learn(&self, outcome: Outcome, took: Duration, now: u64) {
        match outcome {
            Outcome::Success { latency } => self.latency.observe(latency, now),
            Outcome::Timeout => {
                self.latency.observe(took, now);
                self.penalty.observe(PENALTY, now);
            }
            Outcome::Failure | Outcome::Refused => self.penalty.observe(PENALTY, now),
            Outcome::Rejected { retry_after } => {
                self.penalty.observe(PENALTY, now);
                let until = now.saturating_add(nanos(retry_after.unwrap_or_default().min(RETRY_AFTER_MAX)));
                self.retry_until.fetch_max(until, Ordering::Relaxed);
            }
            Outcome::Ignored => {}
        }
        self.busy_since.store(now, Ordering::Relaxed);
    }
}

/// An endpoint with one call more in flight, until dropped.
#[derive(Debug)]
pub(super) struct Busy(Arc<Endpoint>);

impl Busy {
    pub(super) fn new(endpoint: &Arc<Endpoint>, now: u64) -> Self {
        if endpoint.in_flight.fetch_add(1, Ordering::Relaxed) == 0 {
            endpoint.busy_since.store(now, Ordering::Relaxed);
        }
        Self(Arc::clone(endpoint))
    }

    pub(super) fn endpoint(&self) -> &Arc<Endpoint> {
        &self.0
    }

    /// Takes in how the call ended that began at `started`.
    pub(super) fn learn(&self, outcome: Outcome, started: Instant, now: Instant) {
        let took = now.saturating_duration_since(started);
        self.0.learn(outcome, took, nanos_since(self.0.epoch, now));
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

impl AsRef<CircuitBreaker> for Busy {
    fn as_ref(&self) -> &CircuitBreaker {
        &self.0.breaker
    }
}
