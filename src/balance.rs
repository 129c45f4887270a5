//! Which of several equal servers gets the next call.
//!
//! Equal servers are not: one's card is worn, one has just started, one is about to go, one hangs. So each is judged
//! by what calls to it showed, two drawn at random are compared, and the better one gets the call. A pick looks at
//! two endpoints whether there are ten or a thousand, allocates nothing and waits for nobody; only when nearly all
//! refuse it looks at all.
//!
//! A candidate is one whose own [circuit](crate::breaker) admits. If fewer than `panic_threshold` of all are
//! available, the circuits are more likely wrong than the servers, or nothing is left to lose: then all are
//! candidates, but those forced open by hand.

mod endpoint;
mod least_request;
mod peak_ewma;
mod random;
mod roster;
mod round_robin;
mod weighted_response_time;

#[cfg(all(test, not(bramble_loom)))]
mod tests;

pub use endpoint::{Endpoint, Target};

use crate::breaker::{self, CircuitBreaker, InvalidSetting, Outcome, Permit, Refusal, Rules, State};
use crate::config::{self, Policy};
use crate::sync::{Mutex, Sharded, lock, mix, nanos_since, shard};
use endpoint::Busy;
use roster::{Group, Member, Roster};
use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use std::time::{Duration, Instant};

/// Endpoints of one service; more are left out. A LAN of Pis has hundreds at most.
pub const ENDPOINTS_MAX: usize = 4096;

const WEIGHT_MAX: u32 = 100;
/// Draws of one candidate, before the last one rejected for being cold or slow is taken, or all are looked at.
const DRAWS: usize = 16;
/// Draws of the candidate to compare with: with half of all out, 15 of 16 picks still compare two.
const SECOND_DRAWS: usize = 4;
/// Picks lost to others or to a ramp, before all are looked at.
const TRIES: usize = 4;
/// Calls in flight per weight from which on the own zone is compared with another.
const SPILL: f64 = 8.0;

/// The endpoints of one service, and the choice between them. Shared by any number of tasks and threads.
#[derive(Debug)]
pub struct Balancer {
    policy: Policy,
    panic_threshold: f64,
    slow_start: Duration,
    /// Empty: no zone is preferred.
    zone: Box<str>,
    rules: Rules,
    seed: u64,
    epoch: Instant,
    /// The same list in each shard, so that readers on many cores do not even share a lock's count.
    rosters: Sharded<RwLock<Arc<Roster>>>,
    /// Endpoints made so far; held by who updates.
    updating: Mutex<u64>,
}

/// Why there was nobody to call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoPick {
    /// None is known, or all are draining.
    #[error("no endpoint is known")]
    Empty,
    /// Each has been tried for this call.
    #[error("every endpoint has been tried")]
    AllTried,
    /// Each that is left has an open circuit.
    #[error("every endpoint's circuit refuses")]
    AllRefuse {
        /// When the first of them may be probed, if that is known.
        retry_at: Option<Instant>,
    },
}

/// What is asked in one pick.
struct Ask<'a> {
    roster: &'a Roster,
    tried: &'a [Arc<Endpoint>],
    now: Instant,
    nanos: u64,
    /// Whether ramping endpoints are candidates. Not once a ramp has refused: a call offered to one ramp after the
    /// other would be let in by some, and a cluster that comes back as a whole would get its full load at once.
    ramps: bool,
}

impl Balancer {
    /// A balancer without endpoints. `zone` is the caller's own, empty if it has none; `seed` any number, another one
    /// for each process.
    ///
    /// # Errors
    ///
    /// A setting of either section that makes no sense.
    pub fn new(
        balance: &config::Balance,
        breaker: &config::Breaker,
        zone: &str,
        now: Instant,
        seed: u64,
    ) -> Result<Self, InvalidSetting> {
        let threshold = balance.panic_threshold;
        InvalidSetting::unless((0.0..=1.0).contains(&threshold), "balance.panic_threshold", &threshold, "0 to 1")?;
        let day = Duration::from_secs(24 * 3600);
        let slow_start = balance.slow_start;
        InvalidSetting::unless(slow_start <= day, "balance.slow_start", &slow_start, "at most 24h")?;
        let empty = Arc::new(Roster::new(Vec::new(), Vec::new(), Vec::new(), [0, 0]));
        Ok(Self {
            policy: balance.policy,
            panic_threshold: threshold,
            slow_start,
            zone: if balance.prefer_zone { zone.into() } else { "".into() },
            rules: Rules::new(breaker)?,
            seed,
            epoch: now,
            rosters: Sharded::new(|| RwLock::new(Arc::clone(&empty))),
            updating: Mutex::new(0),
        })
    }

    /// Replaces the list. Who stays, by id and address, keeps its statistics and its circuit. Returns how many were
    /// left out, beyond [`ENDPOINTS_MAX`] or named twice.
    pub fn update(&self, targets: &[Target], now: Instant) -> usize {
        let mut made = lock(&self.updating);
        let old = Arc::clone(&self.roster());
        let known: HashMap<(&str, SocketAddr), &Arc<Endpoint>> =
            old.members().map(|member| ((member.endpoint.id(), member.endpoint.address()), &member.endpoint)).collect();
        let joined = (!known.is_empty()).then_some(now);
        let (mut own, mut others, mut draining, mut seen) = (Vec::new(), Vec::new(), Vec::new(), HashSet::new());
        for target in targets {
            let identity = (target.id.as_str(), target.address);
            if seen.len() == ENDPOINTS_MAX || !seen.insert(identity) {
                continue;
            }
            let endpoint = known.get(&identity).map(|endpoint| Arc::clone(endpoint)).unwrap_or_else(|| {
                *made += 1;
                let breaker = CircuitBreaker::with_rules(self.rules, now, mix(self.seed, *made));
                Arc::new(Endpoint::new(target, breaker, self.epoch, joined))
            });
            let member = Member { endpoint, target: target.clone(), weight: target.weight.clamp(1, WEIGHT_MAX) };
            match () {
                () if target.draining => draining.push(member),
                () if !self.zone.is_empty() && *self.zone == *target.zone => own.push(member),
                () => others.push(member),
            }
        }
        let roster = Arc::new(Roster::new(own, others, draining, [old.own.turns.taken(), old.others.turns.taken()]));
        for shard in self.rosters.iter() {
            *shard.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&roster);
        }
        targets.len() - seen.len()
    }

    /// Chooses an endpoint for one call, other than those `tried` for it already.
    ///
    /// # Errors
    ///
    /// Why there is none.
    pub fn pick(&self, now: Instant, rng: &mut fastrand::Rng, tried: &[Arc<Endpoint>]) -> Result<Pick, NoPick> {
        let roster = self.roster();
        let mut ask = Ask { roster: &roster, tried, now, nanos: nanos_since(self.epoch, now), ramps: true };
        for _ in 0..TRIES {
            match self.choose(&ask, rng).map(|member| self.take(member, &ask)) {
                Some(Ok(pick)) => return Ok(pick),
                Some(Err(refusal)) => ask.ramps &= refusal.state != State::Ramping,
                None => break,
            }
        }
        self.look_at_all(ask, rng)
    }

    /// All endpoints, those that drain too.
    pub fn endpoints(&self) -> Vec<Arc<Endpoint>> {
        self.roster().members().map(|member| Arc::clone(&member.endpoint)).collect()
    }

    /// What there is to see at this moment.
    pub fn snapshot(&self, now: Instant) -> Snapshot {
        let roster = self.roster();
        let nanos = nanos_since(self.epoch, now);
        let endpoint = |member: &Member| EndpointSnapshot {
            target: member.target.clone(),
            in_flight: member.endpoint.in_flight(),
            latency: member.endpoint.latency(now),
            cost: peak_ewma::cost(&member.endpoint, member.weight.into(), nanos),
            share: member.endpoint.warmth(self.slow_start, now),
            breaker: member.endpoint.breaker().snapshot(now),
        };
        Snapshot {
            panic: roster.health(self.panic_threshold, nanos).panic,
            endpoints: roster.members().map(endpoint).collect(),
        }
    }

    fn roster(&self) -> RwLockReadGuard<'_, Arc<Roster>> {
        self.rosters.at(shard()).read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The better of two candidates, or the one there is, or a probe that is due: without calls it would never be
    /// known to be back, and none would come while others are cheaper.
    fn choose<'a>(&self, ask: &Ask<'a>, rng: &mut fastrand::Rng) -> Option<&'a Member> {
        let group = ask.roster.group(self.panic_threshold, ask.nanos, rng);
        let (first, probe) = self.draw(ask, group, None, rng)?;
        if probe {
            return Some(first);
        }
        let mut best = first;
        if matches!(self.policy, Policy::LeastRequest | Policy::PeakEwma) && group.members.len() > 1 {
            match self.draw(ask, group, Some(first), rng) {
                Some((second, probe)) if probe || self.prefers_second(first, second, ask.nanos) => best = second,
                _ => {}
            }
        }
        Some(self.spill(ask, group, best, rng))
    }

    fn prefers_second(&self, first: &Member, second: &Member, now: u64) -> bool {
        match self.policy {
            Policy::LeastRequest => least_request::prefers_second(first.rated(), second.rated()),
            _ => peak_ewma::prefers_second(first.rated(), second.rated(), now),
        }
    }

    /// Another zone's endpoint if the own one is busy, and that one less than half as much.
    fn spill<'a>(&self, ask: &Ask<'a>, group: &Group, best: &'a Member, rng: &mut fastrand::Rng) -> &'a Member {
        let load = |member: &Member| member.endpoint.in_flight() as f64 / f64::from(member.weight);
        if !std::ptr::eq(group, &ask.roster.own) || load(best) <= SPILL {
            return best;
        }
        match self.draw(ask, &ask.roster.others, None, rng) {
            Some((other, _)) if load(other) * 2.0 < load(best) => other,
            _ => best,
        }
    }

    /// One candidate of `group` but `not`, and whether it would be a probe. None: no draw found one.
    fn draw<'a>(
        &self,
        ask: &Ask<'a>,
        group: &'a Group,
        not: Option<&Member>,
        rng: &mut fastrand::Rng,
    ) -> Option<(&'a Member, bool)> {
        let mut rejected = None;
        for _ in 0..if not.is_some() { SECOND_DRAWS } else { DRAWS } {
            let member = group.draw(self.policy, not, rng)?;
            if !ask.allows(member) {
                continue;
            }
            let breaker = member.endpoint.breaker();
            let admits = breaker.would_admit(ask.now);
            if !admits && !self.panics(ask, breaker.state()) {
                continue;
            }
            if admits && !breaker.state().is_available() {
                return Some((member, true));
            }
            let keep = self.keep(ask, member);
            if keep >= 1.0 || rng.f64() < keep {
                return Some((member, false));
            }
            rejected = Some((member, false));
        }
        rejected
    }

    /// The probability to keep a candidate once drawn.
    fn keep(&self, ask: &Ask<'_>, member: &Member) -> f64 {
        let warmth = member.endpoint.warmth(self.slow_start, ask.now);
        match self.policy {
            Policy::WeightedResponseTime => {
                let fastest = ask.roster.fastest(self.panic_threshold, ask.nanos);
                warmth * weighted_response_time::keep(&member.endpoint, fastest, ask.nanos)
            }
            _ => warmth,
        }
    }

    /// Whether an endpoint whose circuit refuses, in `state`, is a candidate all the same.
    fn panics(&self, ask: &Ask<'_>, state: State) -> bool {
        state != State::ForcedOpen && ask.roster.health(self.panic_threshold, ask.nanos).panic
    }

    fn take(&self, member: &Member, ask: &Ask<'_>) -> Result<Pick, Refusal> {
        let busy = || Busy::new(&member.endpoint, ask.nanos);
        match Permit::acquire(busy(), ask.now) {
            Ok(permit) => Ok(Pick { permit, started: ask.now, panic: false }),
            Err(refusal) if self.panics(ask, refusal.state) => {
                Ok(Pick { permit: Permit::bystander(busy()), started: ask.now, panic: true })
            }
            Err(refusal) => Err(refusal),
        }
    }

    /// For when nearly all refuse: the first that admits, own zone first, from a random place on.
    fn look_at_all(&self, mut ask: Ask<'_>, rng: &mut fastrand::Rng) -> Result<Pick, NoPick> {
        let (mut retry_at, mut left) = (None::<Instant>, false);
        for group in [&ask.roster.own, &ask.roster.others] {
            let start = rng.usize(..group.members.len().max(1));
            let (before, after) = group.members.split_at(start);
            for member in after.iter().chain(before) {
                left |= !ask.was_tried(member);
                if !ask.allows(member) {
                    continue;
                }
                match self.take(member, &ask) {
                    Ok(pick) => return Ok(pick),
                    Err(refusal) => {
                        ask.ramps &= refusal.state != State::Ramping;
                        retry_at = [retry_at, refusal.retry_at].into_iter().flatten().min();
                    }
                }
            }
        }
        Err(match ask.roster.candidates().next() {
            None => NoPick::Empty,
            Some(_) if !left => NoPick::AllTried,
            Some(_) => NoPick::AllRefuse { retry_at },
        })
    }
}

impl Ask<'_> {
    fn allows(&self, member: &Member) -> bool {
        !self.was_tried(member) && (self.ramps || member.endpoint.breaker().state() != State::Ramping)
    }

    fn was_tried(&self, member: &Member) -> bool {
        self.tried.iter().any(|tried| Arc::ptr_eq(tried, &member.endpoint))
    }
}

/// An endpoint chosen for one call, with the permit of its circuit. Dropped without [`finish`](Self::finish) it gives
/// back both, and the call taught nothing.
#[derive(Debug)]
#[must_use = "a pick that is dropped at once calls nobody"]
pub struct Pick {
    permit: Permit<Busy>,
    started: Instant,
    panic: bool,
}

impl Pick {
    /// Whom to call.
    pub fn endpoint(&self) -> &Arc<Endpoint> {
        self.permit.holder().endpoint()
    }

    /// Whether the endpoint's circuit refused, and it was picked since too few are available.
    pub fn is_panic(&self) -> bool {
        self.panic
    }

    /// Whether the call is a probe of a half-open circuit.
    pub fn is_probe(&self) -> bool {
        self.permit.is_probe()
    }

    /// Teaches balancer and circuit how the call ended.
    pub fn finish(self, outcome: Outcome, now: Instant) {
        self.permit.holder().learn(outcome, self.started, now);
        self.permit.record(outcome, now);
    }
}

/// A balancer at one moment, for those who look at it.
#[derive(Debug, Clone, PartialEq)]
pub struct Snapshot {
    /// Whether too few are available, so that all are candidates.
    pub panic: bool,
    /// Every endpoint, those of the own zone first and those that drain last.
    pub endpoints: Vec<EndpointSnapshot>,
}

/// One endpoint at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct EndpointSnapshot {
    /// How it describes itself.
    pub target: Target,
    /// Calls in flight, of this process.
    pub in_flight: usize,
    /// Latency by peak EWMA. None: no answer yet.
    pub latency: Option<Duration>,
    /// Seconds one more call is expected to take, penalties included; what `peak-ewma` compares.
    pub cost: f64,
    /// The share of its traffic that slow start gives it, up to 1.
    pub share: f64,
    /// Its circuit.
    pub breaker: breaker::Snapshot,
}
