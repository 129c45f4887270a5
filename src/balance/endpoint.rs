//! An endpoint: a server, with the measures of its calls. Values that calls write are atomic; its description is in
//! [`Target`].

use super::ending::Ending;
use super::ewma::{FailureShare, Latency, PeerLatencies};
use crate::breaker::{CircuitBreaker, HealthCheck, Outcome, RETRY_AFTER_MAX};
use crate::sync::{AtomicU64, AtomicUsize, Ordering, mix, nanos, nanos_since, unit};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long an endpoint without room is avoided if it does not say: what its queue takes to shorten noticeably. Asking
/// again sooner costs the server more than the answer is worth.
const NO_ROOM: Duration = Duration::from_millis(300);

/// A call to an endpoint without another one in flight is expected to take this part of the latency estimate, which is
/// nearer to a peak than to the mean. With 0 copies of late calls go to servers that are busy for other callers; with 1
/// a hung server's calls are copied too late.
const IDLE: f64 = 0.75;

/// After a server behind an endpoint has failed, the calls in flight count as waiting for that server for so long:
/// longer than an attempt, so that the next timeout of a silent upstream renews it before it expires.
const UPSTREAM_FAILED: Duration = Duration::from_secs(5);

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
    /// Of id and address.
    hash: u64,
    breaker: CircuitBreaker,
    epoch: Instant,
    /// When it joined a list of others; 0: it was there from the start, so there is nothing to be slower than.
    joined: AtomicU64,
    in_flight: AtomicUsize,
    /// When the first of the calls in flight began, or one of them last ended.
    busy_since: AtomicU64,
    /// The server has no room until then.
    avoid_until: AtomicU64,
    /// When a server behind it last failed; 0: never.
    upstream_failed_at: AtomicU64,
    latency: Latency,
    pub(super) failures: FailureShare,
    peers: Arc<PeerLatencies>,
}

impl Endpoint {
    pub(super) fn new(
        target: &Target,
        breaker: CircuitBreaker,
        epoch: Instant,
        joined: Option<Instant>,
        peers: &Arc<PeerLatencies>,
    ) -> Self {
        let mut hasher = DefaultHasher::new(); // with keys that are the same in every process
        (&target.id, target.address).hash(&mut hasher);
        Self {
            id: target.id.as_str().into(),
            address: target.address,
            hash: hasher.finish(),
            breaker,
            epoch,
            joined: AtomicU64::new(joined.map_or(0, |joined| nanos_since(epoch, joined).max(1))),
            in_flight: AtomicUsize::new(0),
            busy_since: AtomicU64::new(0),
            avoid_until: AtomicU64::new(0),
            upstream_failed_at: AtomicU64::new(0),
            latency: Latency::new(),
            failures: FailureShare::new(),
            peers: Arc::clone(peers),
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

    /// Circuit of the endpoint.
    pub fn breaker(&self) -> &CircuitBreaker {
        &self.breaker
    }

    /// Calls in flight, of this process.
    pub fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Latency by peak EWMA. None: nothing is known yet.
    pub fn latency(&self, now: Instant) -> Option<Duration> {
        match self.latency_estimate(nanos_since(self.epoch, now)) {
            0.0 => None,
            seconds => Some(Duration::from_secs_f64(seconds)),
        }
    }

    /// Takes in a health check ([`CircuitBreaker::probed`]): one that closes the circuit also resets the statistics of
    /// the time before. Returns whether the state of the circuit has changed.
    pub(crate) fn probed(&self, found: HealthCheck, now: Instant) -> bool {
        let changed = self.breaker.probed(found, now);
        if changed && found == HealthCheck::Alive {
            self.reset_statistics();
        }
        changed
    }

    /// How long the call picked last waits for the others in flight and is worked on.
    pub(super) fn expected(&self, weight: u32, now: Instant) -> Duration {
        let now = nanos_since(self.epoch, now);
        let others = self.in_flight().saturating_sub(1);
        let latency = self.latency_estimate(now);
        let expected = match others {
            0 => latency * IDLE,
            _ => (latency * (1.0 + others as f64 / f64::from(weight))).max(self.waiting(now)),
        };
        Duration::from_secs_f64(expected.min(3600.0))
    }

    /// The latency estimate in seconds; 0: nothing is known yet.
    pub(super) fn latency_estimate(&self, now: u64) -> f64 {
        self.latency.at(&self.peers, now)
    }

    /// The latency observed last, in seconds; 0: none.
    pub(super) fn latency_observed(&self) -> f64 {
        self.latency.observed()
    }

    /// Whether the server has said that it has no room, and may still have none.
    pub(super) fn is_full(&self, now: u64) -> bool {
        now < self.avoid_until.load(Ordering::Relaxed)
    }

    /// Whether a server behind it has failed lately: then its calls in flight may wait for that one.
    pub(super) fn waits_for_upstream(&self, now: u64) -> bool {
        let failed = self.upstream_failed_at.load(Ordering::Relaxed);
        failed > 0 && now.saturating_sub(failed) < nanos(UPSTREAM_FAILED)
    }

    /// Seconds that the calls in flight have waited at least, if none of them has ended since.
    pub(super) fn waiting(&self, now: u64) -> f64 {
        match self.in_flight() {
            0 => 0.0,
            _ => now.saturating_sub(self.busy_since.load(Ordering::Relaxed)) as f64 / 1e9,
        }
    }

    /// The share of its traffic that a new or recovered endpoint gets: grows over `slow_start`, or with the ramp of its
    /// circuit.
    pub(super) fn share(&self, slow_start: Duration, now: Instant) -> f64 {
        const COLD: f64 = 0.4; // with 0.1 new ones are still cold after 3 s, when a deployment ends those before them
        let weight = self.breaker.weight(now);
        let joined = self.joined.load(Ordering::Relaxed);
        if joined == 0 {
            return weight;
        }
        let age = Duration::from_nanos(nanos_since(self.epoch, now).saturating_sub(joined));
        if age >= slow_start {
            return weight;
        }
        weight.min(COLD + (1.0 - COLD) * age.as_secs_f64() / slow_start.as_secs_f64())
    }

    /// How well it fits a key: of all endpoints the one with the highest score is the key's home (rendezvous hashing;
    /// Thaler and Ravishankar, 1998; with weights: Schindelhauer and Schomaker, 2005).
    pub(super) fn affinity(&self, key: u64, weight: f64) -> f64 {
        -weight / unit(mix(self.hash, key)).max(f64::MIN_POSITIVE).ln()
    }

    /// A number from 0 to 1 that is always the same for this endpoint and `key`, and independent of its affinity.
    pub(super) fn lot(&self, key: u64) -> f64 {
        unit(mix(!self.hash, key))
    }

    fn learn(&self, ending: Ending, took: Duration, now: u64) {
        match ending {
            Ending::Success { latency } => {
                self.latency.observe(latency, now);
                self.failures.observe(false, now);
                self.avoid_until.store(0, Ordering::Relaxed);
            }
            Ending::TimedOut => {
                self.latency.observe(took, now);
                self.failures.observe(true, now);
            }
            Ending::Failed => self.failures.observe(true, now),
            Ending::Overtaken | Ending::OvertakenLate if took.as_secs_f64() > self.latency_estimate(now) => {
                self.latency.observe(took, now);
            }
            Ending::NoRoom { retry_after } => {
                let random = unit(mix(self.hash, now));
                let time = match retry_after {
                    Some(time) => time.min(RETRY_AFTER_MAX).mul_f64(1.0 + random / 2.0),
                    None => NO_ROOM.mul_f64(0.5 + random),
                };
                self.avoid_until.fetch_max(now.saturating_add(nanos(time)), Ordering::Relaxed);
            }
            Ending::UpstreamFailed | Ending::UpstreamTimedOut => {
                self.upstream_failed_at.store(now.max(1), Ordering::Relaxed);
            }
            _ => {}
        }
        self.busy_since.store(now, Ordering::Relaxed);
    }

    fn reset_statistics(&self) {
        self.latency.reset();
        self.failures.reset();
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

    /// Takes in how the call ended that began at `started`. `was_out`: whether the circuit was not closed; then an
    /// answer that closes it starts the statistics anew.
    pub(super) fn learn(&self, ending: Ending, started: Instant, was_out: bool, now: Instant) {
        if was_out && matches!(ending.outcome(), Outcome::Success { .. } | Outcome::Alive) {
            self.0.reset_statistics();
        }
        let took = now.saturating_duration_since(started);
        self.0.learn(ending, took, nanos_since(self.0.epoch, now));
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
