//! Which endpoints are due for a health check in the background.
//!
//! Open circuits of a service that is in use are checked here, so that no call has to find out whether a server is back.
//! An endpoint that timed out, or is much later than others, is checked at once: it may be silent.

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
/// Between two health checks of a service of which every endpoint is out.
const EVERY_ALL_OUT: Duration = Duration::from_millis(250);
/// A service that was not called for so long is not in use.
const IN_USE: Duration = Duration::from_secs(60);

/// The schedule of a service's health checks.
#[derive(Debug)]
pub(super) struct Probes {
    epoch: Instant,
    /// When the service was called last.
    used_at: AtomicU64,
    /// Length of `watched`, to be read without its lock.
    count: AtomicUsize,
    /// Endpoints whose circuits are open or that are suspected, each once, at most as many as the balancer has.
    watched: Mutex<Vec<Watched>>,
}

#[derive(Debug)]
struct Watched {
    /// Not kept alive: one that has left the list is not checked any more.
    endpoint: Weak<Endpoint>,
    next: Instant,
    /// Whether a check is in flight.
    in_flight: bool,
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

    /// Adds `endpoint`, whose circuit has opened.
    pub(super) fn watch(&self, endpoint: &Arc<Endpoint>, now: Instant) {
        self.add(endpoint, now + EVERY_ALL_OUT, false);
    }

    /// Has `endpoint` checked at once.
    pub(super) fn suspect(&self, endpoint: &Arc<Endpoint>, now: Instant) {
        self.add(endpoint, now, true);
    }

    fn add(&self, endpoint: &Arc<Endpoint>, next: Instant, suspected: bool) {
        let mut watched = lock(&self.watched);
        match watched.iter_mut().find(|one| std::ptr::eq(one.endpoint.as_ptr(), Arc::as_ptr(endpoint))) {
            Some(known) => {
                known.suspected |= suspected;
                known.next = known.next.min(next);
            }
            None => watched.push(Watched { endpoint: Arc::downgrade(endpoint), next, in_flight: false, suspected }),
        }
        self.count.store(watched.len(), Ordering::Relaxed);
    }

    /// The endpoints to check now. Each counts as in flight until [`done`](Self::done).
    pub(super) fn due(&self, now: Instant) -> Vec<Arc<Endpoint>> {
        if !self.is_in_use(now) {
            return Vec::new();
        }
        let mut watched = lock(&self.watched);
        let mut room = PROBES_MAX.saturating_sub(watched.iter().filter(|one| one.in_flight).count());
        let mut due = Vec::new();
        watched.retain_mut(|one| {
            let Some(endpoint) = one.endpoint.upgrade() else { return false };
            let is_out = matches!(endpoint.breaker().state(), State::Open | State::HalfOpen);
            if !is_out && !one.suspected && !one.in_flight {
                return false;
            }
            if room > 0 && !one.in_flight && one.next <= now {
                room -= 1;
                (one.in_flight, one.suspected) = (true, false);
                due.push(endpoint);
            }
            true
        });
        // The first ones checked go to the end, so that with more than `PROBES_MAX` each has its turn.
        watched.sort_by_key(|one| one.in_flight);
        self.count.store(watched.len(), Ordering::Relaxed);
        due
    }

    /// Takes in that the check of `endpoint` has ended. `all_out`: how many endpoints there are, if all are out.
    pub(super) fn done(&self, endpoint: &Arc<Endpoint>, all_out: Option<usize>, now: Instant) {
        let every = match all_out {
            Some(count) => (EVERY_ALL_OUT * count.clamp(1, 4) as u32).min(EVERY),
            None => EVERY,
        };
        let mut watched = lock(&self.watched);
        if let Some(one) = watched.iter_mut().find(|one| std::ptr::eq(one.endpoint.as_ptr(), Arc::as_ptr(endpoint))) {
            (one.in_flight, one.next) = (false, now + every);
        }
    }

    /// When the next check is due. None: there is nothing to check, or the service is not in use.
    pub(super) fn next(&self, now: Instant) -> Option<Instant> {
        if self.count.load(Ordering::Relaxed) == 0 || !self.is_in_use(now) {
            return None;
        }
        lock(&self.watched).iter().filter(|one| !one.in_flight).map(|one| one.next).min()
    }

    fn is_in_use(&self, now: Instant) -> bool {
        let used = self.epoch + Duration::from_nanos(self.used_at.load(Ordering::Relaxed));
        now < used + IN_USE
    }
}
