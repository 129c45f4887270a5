//! Schedule of health checks in the background, by endpoint.
//!
//! Open circuits of a service that is in use are checked here, so that no call has to find out whether a server is
//! back. An endpoint that timed out, or is much later than others, is checked at once: it may be silent.

use crate::balance::Endpoint;
use crate::breaker::State;
use crate::sync::{AtomicU64, AtomicUsize, Mutex, Ordering, lock, nanos_since};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

/// A health check that takes longer has failed.
pub const PROBE_TIMEOUT: Duration = Duration::from_secs(1);
/// Health checks in flight at a time, for one service.
pub const PROBES_MAX: usize = 16;
/// Between two health checks of an endpoint.
const EVERY: Duration = Duration::from_secs(1);
/// Between two health checks of an endpoint that is missed, of each four endpoints.
const EVERY_MISSED: Duration = Duration::from_millis(250);
/// Health checks of one endpoint that is missed in flight at a time: one that was sent just before a network heals is
/// lost, and the next does not wait for it.
const OVERLAP_MAX: u32 = 4;
/// A service that was not called for so long is not in use.
const IN_USE: Duration = Duration::from_secs(60);

/// A health check of an endpoint.
#[derive(Debug, Clone)]
pub struct Probe {
    /// The endpoint to check.
    pub endpoint: Arc<Endpoint>,
    /// Of its circuit when the check began.
    generation: u64,
}

impl Probe {
    /// A check of `endpoint` that begins now.
    pub fn of(endpoint: &Arc<Endpoint>) -> Self {
        Self { endpoint: Arc::clone(endpoint), generation: endpoint.breaker().generation() }
    }

    /// Whether the circuit has changed since the check began: then silence shows nothing.
    pub(super) fn is_outdated(&self) -> bool {
        self.endpoint.breaker().generation() != self.generation
    }
}

/// The schedule of a service's health checks.
#[derive(Debug)]
pub(super) struct Probes {
    epoch: Instant,
    /// When the service was called last.
    used_at: AtomicU64,
    /// Length of `watched`, to be read without its lock.
    count: AtomicUsize,
    /// Endpoints whose circuits are open or that are suspected, each once, at most as many as the balancer has.
    watched: Mutex<Vec<ProbedEndpoint>>,
}

#[derive(Debug)]
struct ProbedEndpoint {
    /// Not kept alive: one that has left the list is not checked any more.
    endpoint: Weak<Endpoint>,
    next: Instant,
    /// Checks in flight: one, or up to [`OVERLAP_MAX`] while it is missed.
    in_flight: u32,
    /// Whether its circuit is closed, and it is checked all the same.
    suspected: bool,
}

impl Probes {
    pub(super) fn new(now: Instant) -> Self {
        Self { epoch: now, used_at: AtomicU64::new(0), count: AtomicUsize::new(0), watched: Mutex::new(Vec::new()) }
    }

    /// Notes that the service is called.
    pub(super) fn used(&self, now: Instant) {
        self.used_at.store(nanos_since(self.epoch, now), Ordering::Relaxed);
    }

    /// Whether there is nothing to check.
    pub(super) fn is_empty(&self) -> bool {
        self.count.load(Ordering::Relaxed) == 0
    }

    /// Adds `endpoint`, whose circuit has opened.
    pub(super) fn watch(&self, endpoint: &Arc<Endpoint>, now: Instant) {
        self.add(endpoint, now + EVERY_MISSED, false);
    }

    /// Has `endpoint` checked at once.
    pub(super) fn suspect(&self, endpoint: &Arc<Endpoint>, now: Instant) {
        self.add(endpoint, now, true);
    }

    fn add(&self, endpoint: &Arc<Endpoint>, next: Instant, suspected: bool) {
        let mut watched = lock(&self.watched);
        match watched.iter_mut().find(|one| std::ptr::eq(one.endpoint.as_ptr(), Arc::as_ptr(endpoint))) {
            Some(known) if suspected => (known.suspected, known.next) = (true, known.next.min(next)),
            Some(_) => {}
            None => watched.push(ProbedEndpoint { endpoint: Arc::downgrade(endpoint), next, in_flight: 0, suspected }),
        }
        self.count.store(watched.len(), Ordering::Relaxed);
    }

    /// The checks to begin now. Each counts as in flight until [`done`](Self::done). `missed`: how many endpoints there
    /// are, if those that are out are missed.
    pub(super) fn due(&self, missed: Option<usize>, now: Instant) -> Vec<Probe> {
        if !self.is_in_use(now) {
            return Vec::new();
        }
        let (every, overlap) = match missed {
            Some(count) => ((EVERY_MISSED * count.div_ceil(4).min(4) as u32).min(EVERY), OVERLAP_MAX),
            None => (EVERY, 1),
        };
        let mut watched = lock(&self.watched);
        let mut room = (PROBES_MAX as u32).saturating_sub(watched.iter().map(|one| one.in_flight).sum());
        let mut due = Vec::new();
        watched.retain_mut(|one| {
            let Some(endpoint) = one.endpoint.upgrade() else { return false };
            let is_out = matches!(endpoint.breaker().state(), State::Open | State::HalfOpen);
            if !is_out && !one.suspected && one.in_flight == 0 {
                return false;
            }
            if room > 0 && one.in_flight < overlap && one.next <= now {
                room -= 1;
                (one.in_flight, one.suspected, one.next) = (one.in_flight + 1, false, now + every);
                due.push(Probe::of(&endpoint));
            }
            true
        });
        // Those that were checked go to the end, so that with more than `PROBES_MAX` each has its turn.
        watched.sort_by_key(|one| one.next);
        self.count.store(watched.len(), Ordering::Relaxed);
        due
    }

    /// Takes in that a check of `endpoint` has ended.
    pub(super) fn done(&self, endpoint: &Arc<Endpoint>) {
        let mut watched = lock(&self.watched);
        if let Some(one) = watched.iter_mut().find(|one| std::ptr::eq(one.endpoint.as_ptr(), Arc::as_ptr(endpoint))) {
            one.in_flight = one.in_flight.saturating_sub(1);
        }
    }

    /// When the next check is due. None: there is nothing to check, or the service is not in use.
    pub(super) fn next(&self, missed: Option<usize>, now: Instant) -> Option<Instant> {
        if self.is_empty() || !self.is_in_use(now) {
            return None;
        }
        let overlap = if missed.is_some() { OVERLAP_MAX } else { 1 };
        lock(&self.watched).iter().filter(|one| one.in_flight < overlap).map(|one| one.next).min()
    }

    fn is_in_use(&self, now: Instant) -> bool {
        let used = self.epoch + Duration::from_nanos(self.used_at.load(Ordering::Relaxed));
        now < used + IN_USE
    }
}
