//! Load balancer: which of several equal servers gets the next call.
//!
//! Equal servers differ: one has a worn card, one has just started, one hangs. So each is judged by the calls made to
//! it, two drawn at random are compared, and the cheaper one gets the call. A pick looks at two endpoints whether there
//! are ten or a thousand, allocates nothing and takes no lock; only when nearly all are out it looks at all.
//!
//! A call goes, in this order, to
//!
//! 1. an endpoint whose open [circuit](crate::breaker) is due for its trial call, once per `open_for` and three calls;
//! 2. with a key, the key's home among those of 3: equal questions go to the same endpoint, so that its cache has the
//!    answer;
//! 3. an endpoint whose circuit is closed and that has not just said that it has no room, by the policy;
//! 4. one that has no room, if the call has asked no other yet;
//! 5. one that answers, but fails;
//! 6. one that is silent.
//!
//! So a call is never refused while an endpoint is known that might take it, and goes to a bad one only when there is
//! no better. New and recovered endpoints get a share that grows with time, by every policy.

mod ending;
mod endpoint;
mod ewma;
mod home;
mod last_resort;
mod least_request;
mod peak_ewma;
mod pick;
mod random;
mod roster;
mod round_robin;
mod settings;
mod snapshot;
mod weighted_response_time;

#[cfg(all(test, not(bramble_loom)))]
mod tests;

pub use ending::Ending;
pub use endpoint::{Endpoint, Target};
pub use pick::{NoPick, Pick};
pub use settings::{BalanceSettings, Policy};
pub(crate) use snapshot::CircuitCounts;
pub use snapshot::{BalancerSnapshot, EndpointSnapshot};

use crate::breaker::{self, BreakerRefusal, BreakerSettings, CircuitBreaker, Permit, State};
use crate::sync::{AtomicUsize, Mutex, Ordering, Sharded, lock, mix, nanos_since, shard};
use endpoint::Busy;
use ewma::PeerLatencies;
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
/// Picks lost to circuits that changed meanwhile, before all are looked at.
const TRIES: usize = 4;
/// Every so many calls one may be a trial call that is due: of three calls a minute, not each is for finding out
/// whether a server that hangs still does.
const TRIAL_EVERY: usize = 3;
/// Another zone's endpoint is preferred if its cost times this, and [`ZONE_CROSSING`] more, is below the own zone's.
const ZONE_MARGIN: f64 = 1.1;
/// Seconds that a call into another zone costs more: about a round trip through two switches.
const ZONE_CROSSING: f64 = 0.002;
/// The endpoints of one service, and the choice between them. Shared by any number of tasks and threads.
#[derive(Debug)]
pub struct Balancer {
    policy: Policy,
    slow_start: Duration,
    /// Empty: no zone is preferred.
    zone: Box<str>,
    breaker: BreakerSettings,
    seed: u64,
    epoch: Instant,
    peers: Arc<PeerLatencies>,
    /// Calls since the last trial call while another one was due.
    since_trial: AtomicUsize,
    /// The same list in each shard, so that readers on many cores do not even share a lock's count.
    rosters: Sharded<RwLock<Arc<Roster>>>,
    /// Endpoints made so far; held while the list is replaced.
    updating: Mutex<u64>,
}

/// Constraints on the endpoint of a pick.
#[derive(Debug, Clone, Copy, Default)]
pub struct PickRequest<'a> {
    /// Endpoints that were tried for this call already: any other is wanted.
    pub tried: &'a [Arc<Endpoint>],
    /// Equal questions have equal keys, and go to the same endpoint while it is well.
    pub key: Option<u64>,
    /// Only one whose circuit is closed, and that has room: for a call that has a better choice than a bad endpoint.
    pub only_well: bool,
}

/// Arguments of one pick.
struct PickArguments<'a> {
    roster: &'a Roster,
    wanted: &'a PickRequest<'a>,
    now: Instant,
    nanos: u64,
}

impl Balancer {
    /// A balancer without endpoints. `zone` is the caller's own, empty if it has none; `seed` any number, another one
    /// for each process.
    pub fn new(balance: &BalanceSettings, breaker: &BreakerSettings, zone: &str, now: Instant, seed: u64) -> Self {
        let peers = Arc::new(PeerLatencies::new());
        let empty = Arc::new(Roster::new(Vec::new(), Vec::new(), Vec::new(), [0, 0], &peers));
        Self {
            policy: balance.policy,
            slow_start: balance.slow_start,
            zone: if balance.prefer_zone { zone.into() } else { "".into() },
            breaker: *breaker,
            seed,
            epoch: now,
            peers,
            since_trial: AtomicUsize::new(TRIAL_EVERY),
            rosters: Sharded::new(|| RwLock::new(Arc::clone(&empty))),
            updating: Mutex::new(0),
        }
    }

    /// Replaces the list. An endpoint that stays, by id and address, keeps its statistics and its circuit. Returns how
    /// many were left out, beyond [`ENDPOINTS_MAX`] or named twice.
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
                let breaker = CircuitBreaker::new(&self.breaker, now, mix(self.seed, *made));
                Arc::new(Endpoint::new(target, breaker, self.epoch, joined, &self.peers))
            });
            let member = Member { endpoint, target: target.clone(), weight: target.weight.clamp(1, WEIGHT_MAX) };
            match () {
                () if target.draining => draining.push(member),
                () if !self.zone.is_empty() && *self.zone == *target.zone => own.push(member),
                () => others.push(member),
            }
        }
        let turns = [old.own.turns.taken(), old.others.turns.taken()];
        let roster = Arc::new(Roster::new(own, others, draining, turns, &self.peers));
        for shard in self.rosters.iter() {
            *shard.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&roster);
        }
        targets.len() - seen.len()
    }

    /// Chooses an endpoint for one attempt of a call.
    ///
    /// # Errors
    ///
    /// Why there is none.
    pub fn pick(&self, now: Instant, rng: &mut fastrand::Rng, wanted: &PickRequest<'_>) -> Result<Pick, NoPick> {
        let roster = self.roster();
        let ask = PickArguments { roster: &roster, wanted, now, nanos: nanos_since(self.epoch, now) };
        for _ in 0..TRIES {
            let Some(member) = self.choose(&ask, rng) else { break };
            if let Ok(pick) = self.take(member, &ask) {
                return Ok(pick);
            }
        }
        self.last_resort(&ask, rng)
    }

    /// All endpoints, those that drain too.
    pub fn endpoints(&self) -> Vec<Arc<Endpoint>> {
        self.roster().members().map(|member| Arc::clone(&member.endpoint)).collect()
    }

    /// Whether no endpoint can be picked, since none is known or all drain.
    pub fn is_empty(&self) -> bool {
        self.roster().candidates().next().is_none()
    }

    /// The circuits of all endpoints that can be picked, at this moment.
    pub(crate) fn circuits(&self) -> CircuitCounts {
        let mut counts = CircuitCounts::default();
        for member in self.roster().candidates() {
            let breaker = member.endpoint.breaker();
            counts.all += 1;
            match breaker.state() {
                State::Open | State::HalfOpen => {
                    counts.out += 1;
                    let reason = breaker.open_reason();
                    counts.refused += usize::from(reason == Some(breaker::TripReason::Refused));
                }
                State::ForcedOpen => counts.out += 1,
                _ => {}
            }
        }
        counts
    }

    /// Statistics of this moment.
    pub fn snapshot(&self, now: Instant) -> BalancerSnapshot {
        let roster = self.roster();
        let nanos = nanos_since(self.epoch, now);
        let endpoint = |member: &Member| EndpointSnapshot {
            target: member.target.clone(),
            in_flight: member.endpoint.in_flight(),
            latency: member.endpoint.latency(now),
            cost: peak_ewma::cost(&member.endpoint, member.weight.into(), nanos),
            share: member.endpoint.share(self.slow_start, now),
            full: member.endpoint.is_full(nanos),
            breaker: member.endpoint.breaker().snapshot(now),
        };
        BalancerSnapshot { endpoints: roster.members().map(endpoint).collect() }
    }

    fn roster(&self) -> RwLockReadGuard<'_, Arc<Roster>> {
        self.rosters.at(shard()).read().unwrap_or_else(PoisonError::into_inner)
    }

    /// An endpoint whose trial call is due, or the key's home, or the best by policy. None: no draw found one.
    fn choose<'a>(&self, ask: &PickArguments<'a>, rng: &mut fastrand::Rng) -> Option<&'a Member> {
        let due = ask.roster.due(ask.now, ask.nanos); // asked always, since it also counts
        let is_due = |member: &&Member| ask.is_first() && member.endpoint.breaker().would_admit(ask.now);
        if let Some(member) = due.filter(is_due) {
            if self.since_trial.fetch_add(1, Ordering::Relaxed) + 1 >= TRIAL_EVERY {
                self.since_trial.store(0, Ordering::Relaxed);
                return Some(member);
            }
        }
        if let Some(home) = ask.wanted.key.and_then(|key| self.home(ask, key)) {
            return Some(home);
        }
        let own = self.best(ask, &ask.roster.own, rng);
        match (own, self.best(ask, &ask.roster.others, rng)) {
            (Some(own), Some(other)) => {
                let cost = |member: &Member| peak_ewma::cost(&member.endpoint, member.weight.into(), ask.nanos);
                Some(if cost(other) * ZONE_MARGIN + ZONE_CROSSING < cost(own) { other } else { own })
            }
            (own, other) => own.or(other),
        }
    }

    /// The better of two candidates of `group`, or the one there is.
    fn best<'a>(&self, ask: &PickArguments<'a>, group: &'a Group, rng: &mut fastrand::Rng) -> Option<&'a Member> {
        let first = self.draw(ask, group, rng)?;
        if group.members.len() < 2 || !matches!(self.policy, Policy::LeastRequest | Policy::PeakEwma) {
            return Some(first);
        }
        match self.draw_second(ask, group, first, rng) {
            Some(second) if self.prefers_second(first, second, ask.nanos) => Some(second),
            _ => Some(first),
        }
    }

    fn prefers_second(&self, first: &Member, second: &Member, now: u64) -> bool {
        match self.policy {
            Policy::LeastRequest => least_request::prefers_second(first.rated(), second.rated()),
            _ => peak_ewma::prefers_second(first.rated(), second.rated(), now),
        }
    }

    /// Draws a candidate of `group`, each as likely as its weight and share say. None: no draw found one.
    fn draw<'a>(&self, ask: &PickArguments<'a>, group: &'a Group, rng: &mut fastrand::Rng) -> Option<&'a Member> {
        let mut rejected = None;
        for _ in 0..DRAWS {
            let member = group.draw(self.policy, None, rng)?;
            if !ask.is_candidate(member) {
                continue;
            }
            let keep = self.keep(ask, member);
            if keep >= 1.0 || rng.f64() < keep {
                return Some(member);
            }
            rejected = Some(member);
        }
        rejected
    }

    /// A candidate to compare `first` with, accepted as often as its share is of that of `first`: else a server that
    /// has just recovered, and so has the fewest calls in flight, would win most comparisons. One whose answers are
    /// much faster is accepted always: it is warm, and `first` is overloaded, or slow.
    fn draw_second<'a>(
        &self,
        ask: &PickArguments<'a>,
        group: &'a Group,
        first: &Member,
        rng: &mut fastrand::Rng,
    ) -> Option<&'a Member> {
        let second = (0..SECOND_DRAWS)
            .filter_map(|_| group.draw(self.policy, Some(first), rng))
            .find(|member| ask.is_candidate(member))?;
        let (keep, of_first) = (self.keep(ask, second), self.keep(ask, first));
        let is_accepted = keep >= of_first
            || peak_ewma::is_much_faster(&second.endpoint, &first.endpoint, ask.nanos)
            || rng.f64() * of_first < keep;
        is_accepted.then_some(second)
    }

    /// The probability to keep a candidate once drawn.
    fn keep(&self, ask: &PickArguments<'_>, member: &Member) -> f64 {
        let share = member.endpoint.share(self.slow_start, ask.now);
        match self.policy {
            Policy::WeightedResponseTime => {
                share * weighted_response_time::keep(&member.endpoint, ask.roster.fastest(), ask.nanos)
            }
            _ => share,
        }
    }

    fn take(&self, member: &Member, ask: &PickArguments<'_>) -> Result<Pick, BreakerRefusal> {
        let permit = Permit::acquire(Busy::new(&member.endpoint, ask.nanos), ask.now)?;
        Ok(Pick { permit, started: ask.now, weight: member.weight })
    }
}

impl PickArguments<'_> {
    /// Whether the circuit is closed, the endpoint may have room, and it was not tried.
    fn is_candidate(&self, member: &Member) -> bool {
        member.endpoint.breaker().state().is_available()
            && !member.endpoint.is_full(self.nanos)
            && !self.was_tried(member)
    }

    /// Whether this is the first attempt of a call.
    fn is_first(&self) -> bool {
        self.wanted.tried.is_empty() && !self.wanted.only_well
    }

    fn was_tried(&self, member: &Member) -> bool {
        self.wanted.tried.iter().any(|tried| Arc::ptr_eq(tried, &member.endpoint))
    }
}
