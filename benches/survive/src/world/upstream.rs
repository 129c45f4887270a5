//! The servers' caches, and the API behind them.
//!
//! The rules of the cache are Bramble's own ([`CacheTable`]), for the servers of every contestant. Before the API,
//! Bramble's servers have the circuit of the producer, with the steps of `services/producer/src/upstream.rs` in their
//! order, but for the pauses after a refused key or a reached limit, which no scenario has.

#[cfg(test)]
mod tests;

use super::{AttemptId, Event, Reply, World};
use crate::scenario::{UpstreamCondition, UpstreamSpec};
use bramble::breaker::{BreakerSettings, CircuitBreaker, Outcome, Permit};
use bramble::cache::{
    CacheError, CacheSettings, CacheTable, CachedAnswer, Entry, FetchFailure, FetchOrigin, FlightAdmission, Lookup,
};
use bramble::config::Config;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

const WAY_BACK: Duration = Duration::from_millis(20); // what the producer keeps of its caller's time
const UPSTREAM_ERROR: Duration = Duration::from_millis(50); // until an upstream that fails says so
const UNTIL_THERE_IS_ROOM: Duration = Duration::from_millis(250); // as the producer says

/// A server's cache, the circuit before the upstream, and what is being fetched.
#[derive(Debug)]
pub(super) struct Cache {
    settings: CacheSettings,
    seed: u64,
    table: CacheTable<(), FetchError>,
    /// None: the servers of this contestant have no such circuit.
    circuit: Option<Arc<CircuitBreaker>>,
    /// By question.
    fetches: BTreeMap<u64, Fetch>,
}

#[derive(Debug)]
struct Fetch {
    asked: SystemTime,
    permit: Option<Permit>,
    /// The requests that wait for it, and when they came.
    waiting: Vec<(AttemptId, SystemTime)>,
}

/// Why a fetch has brought nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FetchError {
    Failed,
    TimedOut,
    CircuitOpen,
}

/// As for the errors of the same names in `services/producer/src/refusal.rs`.
impl FetchFailure for FetchError {
    fn stale_may_stand_in(&self) -> bool {
        true
    }

    fn remember_for(&self) -> Duration {
        if *self == Self::CircuitOpen { Duration::ZERO } else { Duration::from_secs(1) }
    }
}

impl Cache {
    /// An empty one, with the producer's settings.
    pub(super) fn new(upstream: Option<UpstreamSpec>, has_circuit: bool, now: Instant, seed: u64) -> Self {
        let config = Config::default();
        let mut settings = CacheSettings::new(&config.cache, &config.call);
        if let Some(upstream) = upstream {
            settings.lifetimes.fresh_for = upstream.fresh_for;
        }
        let circuit = has_circuit.then(|| new_circuit(now, seed));
        Self { settings, seed, table: CacheTable::new(settings, |()| Some(0)), circuit, fetches: BTreeMap::new() }
    }

    /// Keeps the answers to questions, asked for at `at`.
    pub(super) fn fill(&self, questions: u64, at: SystemTime) {
        for question in 0..questions {
            self.table.keep(&question.to_string(), &Entry { value: (), stored_at: at }, at);
        }
    }

    /// Loses everything; returns the requests that wait. The circuit of the next process is closed.
    pub(super) fn lose(&mut self, now: Instant) -> Vec<AttemptId> {
        self.table = CacheTable::new(self.settings, |()| Some(0));
        self.circuit = self.circuit.as_ref().map(|_| new_circuit(now, self.seed));
        let fetches = std::mem::take(&mut self.fetches);
        fetches.into_values().flat_map(|fetch| fetch.waiting).map(|(attempt, _)| attempt).collect()
    }

    pub(super) fn has_fresh(&self, key: u64, now: SystemTime) -> bool {
        matches!(self.table.held(&key.to_string(), now), Some(Ok(_)))
    }

    /// Whether a fetch that has begun may go out to the API.
    fn is_admitted(&mut self, key: u64, now: Instant) -> bool {
        let Some(circuit) = &self.circuit else { return true };
        match (Permit::acquire(Arc::clone(circuit), now), self.fetches.get_mut(&key)) {
            (Ok(permit), Some(fetch)) => {
                fetch.permit = Some(permit);
                true
            }
            _ => false,
        }
    }
}

fn new_circuit(now: Instant, seed: u64) -> Arc<CircuitBreaker> {
    Arc::new(CircuitBreaker::new(&BreakerSettings::default().for_sole_callee(), now, seed))
}

impl World<'_> {
    pub(super) fn wall(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000) + self.now
    }

    /// Answers a question out of the cache, or has it fetched.
    pub(super) fn look_up(&mut self, id: usize, attempt: AttemptId, key: u64) {
        let (name, now) = (key.to_string(), self.wall());
        let table = &self.servers[id].cache.table;
        if self.attempts[attempt].only_if_cached {
            let reply = table.held(&name, now).map_or(Reply::UpstreamTimeout, |held| reply_of(&held));
            return self.reply(attempt, reply);
        }
        match table.look_up(&name, now) {
            Lookup::Fresh(_) => self.reply(attempt, Reply::Answer),
            Lookup::Stale(_) => {
                self.reply(attempt, Reply::Answer);
                self.board(id, key, None);
            }
            Lookup::Missing(_) if self.attempts[attempt].deadline <= self.now => {
                self.conclude(id, attempt, key, Err(CacheError::Late), now);
            }
            Lookup::Missing(_) => self.board(id, key, Some(attempt)),
        }
    }

    /// Has `caller` wait for a fetch, which begins if it is not under way and may.
    fn board(&mut self, id: usize, key: u64, caller: Option<AttemptId>) {
        let (name, now) = (key.to_string(), self.wall());
        let Cache { table, fetches, .. } = &mut self.servers[id].cache;
        let under_way = fetches.contains_key(&key).then_some(());
        let begins = match table.board(&name, under_way, fetches.len(), now) {
            Some(FlightAdmission::Joined(())) => false,
            Some(FlightAdmission::There(_)) => {
                return caller.into_iter().for_each(|one| self.reply(one, Reply::Answer));
            }
            Some(FlightAdmission::Refused(missed)) => {
                return caller.into_iter().for_each(|one| self.conclude(id, one, key, Err(missed.clone()), now));
            }
            None => {
                fetches.insert(key, Fetch { asked: now, permit: None, waiting: Vec::new() });
                true
            }
        };
        if let (Some(caller), Some(fetch)) = (caller, fetches.get_mut(&key)) {
            fetch.waiting.push((caller, now));
            let (attempt, generation) = (&self.attempts[caller], self.servers[id].generation);
            let left = attempt.deadline.saturating_sub(self.now);
            let late = self.now + (left - WAY_BACK.min(left / 10));
            self.events.add(late, Event::Late { server: id, generation, key, attempt: caller });
        }
        if begins {
            self.fetch(id, key);
        }
    }

    /// Asks the API, once for equal questions.
    fn fetch(&mut self, id: usize, key: u64) {
        let Some(upstream) = self.scenario.upstream else { return };
        let now = self.instant();
        let generation = self.servers[id].generation;
        if !self.servers[id].cache.is_admitted(key, now) {
            return self.fetched(id, generation, key, Err(FetchError::CircuitOpen));
        }
        self.record.fetches.push(self.now);
        let fails = match self.upstream {
            UpstreamCondition::Failing => true,
            UpstreamCondition::EverySecondFails => self.record.fetches.len() % 2 == 0,
            UpstreamCondition::HalfFail => self.upstream_rng.f64() < 0.5,
            UpstreamCondition::Up | UpstreamCondition::Slow(_) | UpstreamCondition::Silent => false,
        };
        let latency = if let UpstreamCondition::Slow(latency) = self.upstream { latency } else { upstream.latency };
        let takes = match self.upstream {
            _ if fails => UPSTREAM_ERROR,
            UpstreamCondition::Silent => upstream.fetch_timeout,
            _ => latency.mul_f64(0.9 + 0.2 * self.upstream_rng.f64()),
        };
        let result = match takes >= upstream.fetch_timeout {
            true => Err(FetchError::TimedOut),
            false if fails => Err(FetchError::Failed),
            false => Ok(()),
        };
        let at = self.now + takes.min(upstream.fetch_timeout);
        self.events.add(at, Event::Fetched { server: id, generation, key, result });
    }

    pub(super) fn fetched(&mut self, id: usize, generation: u32, key: u64, result: Result<(), FetchError>) {
        let (instant, now) = (self.instant(), self.wall());
        let server = &mut self.servers[id];
        if server.generation != generation {
            return;
        }
        let Some(fetch) = server.cache.fetches.remove(&key) else { return };
        if let Some(permit) = fetch.permit {
            permit.record(outcome(result), instant);
        }
        let outcome = match result {
            Ok(()) => {
                let entry = Entry { value: (), stored_at: fetch.asked };
                server.cache.table.fetched(&key.to_string(), &entry, now);
                Ok((entry, FetchOrigin::Fetch))
            }
            Err(error) => {
                let missed = CacheError::Failed(error);
                server.cache.table.failed(&key.to_string(), &missed, now);
                Err(missed)
            }
        };
        for (attempt, asked) in fetch.waiting {
            self.conclude(id, attempt, key, outcome.clone(), asked);
        }
    }

    /// The time of a caller is over; the fetch goes on.
    pub(super) fn late(&mut self, id: usize, generation: u32, key: u64, attempt: AttemptId) {
        let server = &mut self.servers[id];
        let Some(fetch) = server.cache.fetches.get_mut(&key).filter(|_| server.generation == generation) else {
            return;
        };
        if let Some(index) = fetch.waiting.iter().position(|(other, _)| *other == attempt) {
            let (attempt, asked) = fetch.waiting.swap_remove(index);
            self.conclude(id, attempt, key, Err(CacheError::Late), asked);
        }
    }

    fn conclude(
        &mut self,
        id: usize,
        attempt: AttemptId,
        key: u64,
        outcome: Result<(Entry<()>, FetchOrigin), CacheError<FetchError>>,
        asked: SystemTime,
    ) {
        let answer = self.servers[id].cache.table.conclude(&key.to_string(), outcome, None, asked);
        self.reply(attempt, reply_of(&answer));
    }
}

/// Outcome for the circuit: a slow answer is a success, as for the producer.
fn outcome(result: Result<(), FetchError>) -> Outcome {
    match result {
        Ok(()) => Outcome::Success { latency: Duration::ZERO },
        Err(FetchError::TimedOut) => Outcome::Timeout,
        Err(FetchError::Failed) => Outcome::Failure,
        Err(FetchError::CircuitOpen) => Outcome::Ignored,
    }
}

/// Reply to a caller, with the statuses of the producer. A stale answer is an answer.
fn reply_of(answer: &Result<CachedAnswer<(), FetchError>, CacheError<FetchError>>) -> Reply {
    match answer {
        Ok(_) => Reply::Answer,
        Err(CacheError::Busy) => Reply::NoRoom { retry_after: UNTIL_THERE_IS_ROOM },
        Err(CacheError::Late | CacheError::TimedOut | CacheError::Failed(FetchError::TimedOut)) => {
            Reply::UpstreamTimeout
        }
        Err(_) => Reply::UpstreamFailure,
    }
}
