//! State that a caller keeps of one service that it calls.

use super::circuit::ServiceCircuit;
use super::latencies::RecentLatencies;
use super::probes::{Probe, Probes};
use super::{CallSettings, HedgeDelay};
use crate::balance::{BalanceSettings, Balancer, Ending, Endpoint, Pick, Target};
use crate::breaker::{BreakerSettings, HealthCheck, State};
use crate::ratio::Ratio;
use crate::retry::Budget;
use crate::sync::{AtomicU64, Ordering, nanos, nanos_since};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Tokens for attempts beyond the first that are kept at most.
const RETRIES_MAX: u16 = 50;
/// Tokens for copies of late calls: a tenth of the calls that succeed, and as many at most.
const HEDGE_SHARE: Option<Ratio> = Ratio::new(0.1);
const HEDGES_MAX: u16 = 10;
/// A call is late after this at the earliest: below it a copy costs more than the wait.
const HEDGE_MIN: Duration = Duration::from_millis(10);
/// After an answer "no room" the service counts as overloaded for so long.
const OVERLOADED_FOR: Duration = Duration::from_secs(1);
/// An attempt that is out for so long is at an instance that may be silent, however slow the service is.
const PROBE_AFTER_MAX: Duration = Duration::from_millis(300);
/// An attempt that is out for this long, and for longer than usual, may be at a silent instance. Below it a cold
/// instance, which is overtaken each time, would never become warm.
const SUSPECT_MIN: Duration = Duration::from_millis(100);

/// Service that is called: its endpoints with their circuits, its own circuit, and the budgets for second attempts.
/// Shared by all calls to it, from any number of tasks and threads.
#[derive(Debug)]
pub struct CalledService {
    balancer: Balancer,
    circuit: ServiceCircuit,
    retries: Budget,
    hedges: Budget,
    latencies: RecentLatencies,
    probes: Probes,
    epoch: Instant,
    /// When an instance last had no room; 0: never.
    no_room_at: AtomicU64,
    pub(super) attempt_timeout: Duration,
    hedge_after: HedgeDelay,
}

impl CalledService {
    /// A service without endpoints. `zone` is the caller's own, empty if it has none; `seed` any number, another one
    /// for each process.
    pub fn new(
        call: &CallSettings,
        balance: &BalanceSettings,
        breaker: &BreakerSettings,
        zone: &str,
        now: Instant,
        seed: u64,
    ) -> Self {
        Self {
            balancer: Balancer::new(balance, breaker, zone, now, seed),
            circuit: ServiceCircuit::new(now),
            retries: Budget::new(call.retry_budget, RETRIES_MAX, now),
            hedges: Budget::new(HEDGE_SHARE, HEDGES_MAX, now),
            latencies: RecentLatencies::new(),
            probes: Probes::new(now),
            epoch: now,
            no_room_at: AtomicU64::new(0),
            attempt_timeout: call.attempt_timeout.min(call.timeout),
            hedge_after: call.hedge_after,
        }
    }

    /// Replaces the list of endpoints ([`Balancer::update`]). One that is new is a proof of life.
    pub fn update(&self, targets: &[Target], now: Instant) -> usize {
        let known = self.balancer.endpoints();
        let is_new = |target: &&Target| {
            !target.draining && !known.iter().any(|one| one.id() == target.id && one.address() == target.address)
        };
        if targets.iter().find(is_new).is_some() {
            self.circuit.alive(now);
        }
        self.balancer.update(targets, now)
    }

    /// The endpoints, and the choice between them.
    pub fn balancer(&self) -> &Balancer {
        &self.balancer
    }

    /// The circuit of the service as a whole.
    pub fn circuit(&self) -> &ServiceCircuit {
        &self.circuit
    }

    /// The p95 of the latencies of recent successes; 200 ms while too few are known.
    pub fn p95(&self) -> Duration {
        self.latencies.p95()
    }

    /// Retries that the budget allows now.
    pub fn retries_left(&self, now: Instant) -> u32 {
        self.retries.left(now)
    }

    /// The health checks to begin now. After each call [`probed`](Self::probed).
    pub fn probes_due(&self, now: Instant) -> Vec<Probe> {
        match self.probes.is_empty() {
            true => Vec::new(),
            false => self.probes.due(self.missed(now), now),
        }
    }

    /// When [`probes_due`](Self::probes_due) next has a check. None: no circuit is open, or the service is not in use.
    pub fn next_probe(&self, now: Instant) -> Option<Instant> {
        match self.probes.is_empty() {
            true => None,
            false => self.probes.next(self.missed(now), now),
        }
    }

    /// Takes in a health check: whether its endpoint has answered `GET /healthz` with 200 and its own id, in
    /// [`PROBE_TIMEOUT`](super::PROBE_TIMEOUT).
    pub fn probed(&self, probe: &Probe, found: HealthCheck, now: Instant) {
        self.probes.done(&probe.endpoint);
        match found {
            HealthCheck::Alive => {
                probe.endpoint.probed(found, now);
                self.circuit.alive(now);
            }
            _ if probe.is_outdated() => {}
            _ => {
                probe.endpoint.probed(found, now);
                self.probes.watch(&probe.endpoint, now);
                self.all_out(now);
            }
        }
    }

    /// Takes in that discovery has found `endpoint` again after it was lost.
    pub fn found_again(&self, endpoint: &Arc<Endpoint>, now: Instant) {
        endpoint.probed(HealthCheck::Alive, now);
        self.circuit.alive(now);
    }

    pub(super) fn admit(&self, now: Instant) -> Result<(), Instant> {
        self.probes.used(now);
        self.circuit.admit(now)
    }

    /// After how long a call is late. None: no copy is ever sent.
    pub(super) fn late_after(&self) -> Option<Duration> {
        match self.hedge_after {
            HedgeDelay::P95 => Some(self.latencies.p95().max(HEDGE_MIN)),
            HedgeDelay::After(time) => Some(time),
            HedgeDelay::Off => None,
        }
    }

    /// An attempt that is out for longer may be at a silent instance.
    pub(super) fn probe_after(&self) -> Duration {
        self.suspect_after().min(PROBE_AFTER_MAX)
    }

    /// An attempt that is overtaken after longer than that counts as one that has timed out.
    fn suspect_after(&self) -> Duration {
        self.latencies.p95().mul_f64(1.2).max(SUSPECT_MIN)
    }

    /// Has the health of `endpoint` checked at once.
    pub(super) fn suspect(&self, endpoint: &Arc<Endpoint>, now: Instant) {
        self.probes.suspect(endpoint, now);
    }

    pub(super) fn may_retry(&self, now: Instant) -> bool {
        self.retries.try_withdraw(now)
    }

    /// Whether a copy of a late call may be sent: not while instances have no room, since a copy is more load.
    pub(super) fn may_hedge(&self, now: Instant) -> bool {
        !self.is_overloaded(now) && self.hedges.try_withdraw(now)
    }

    /// Whether an instance has had no room lately.
    fn is_overloaded(&self, now: Instant) -> bool {
        let no_room = self.no_room_at.load(Ordering::Relaxed);
        no_room > 0 && nanos_since(self.epoch, now) < no_room.saturating_add(nanos(OVERLOADED_FOR))
    }

    /// How many endpoints there are, if those that are out are missed: all are out, or the others have no room.
    fn missed(&self, now: Instant) -> Option<usize> {
        self.all_out(now).or_else(|| self.is_overloaded(now).then(|| self.balancer.circuits().all))
    }

    /// Records how an attempt ended that began at `started`.
    pub(super) fn record(&self, pick: Pick, started: Instant, ending: Ending, now: Instant) {
        let endpoint = Arc::clone(pick.endpoint());
        let took = now.saturating_duration_since(started);
        let ending = match ending {
            Ending::Overtaken if took > self.suspect_after() => Ending::OvertakenLate,
            ending => ending,
        };
        pick.finish(ending, now);
        if ending.is_answer() {
            self.circuit.alive(now);
        }
        match ending {
            Ending::Success { latency } => {
                self.latencies.record(latency);
                self.retries.deposit(now);
                self.hedges.deposit(now);
                return;
            }
            Ending::NoRoom { .. } => self.no_room_at.store(nanos_since(self.epoch, now).max(1), Ordering::Relaxed),
            Ending::TimedOut | Ending::OvertakenLate => self.probes.suspect(&endpoint, now),
            _ => {}
        }
        if endpoint.breaker().state() == State::Open {
            self.probes.watch(&endpoint, now);
            self.all_out(now);
        }
    }

    /// How many endpoints there are, if all are out; and then the service's circuit may open. While all of them refuse
    /// connections it stays closed: to ask one takes no time.
    fn all_out(&self, now: Instant) -> Option<usize> {
        let counts = self.balancer.circuits();
        if counts.all == 0 || counts.out < counts.all {
            return None;
        }
        if counts.refused < counts.all {
            self.circuit.all_out(now);
        }
        Some(counts.all)
    }
}
