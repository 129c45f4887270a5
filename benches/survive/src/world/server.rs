use super::AttemptId;
use super::door::{Door, Turn};
use super::upstream::Cache;
use crate::random::{long_tail, spread};
use crate::scenario::{Cold, Condition, Link, ServerSpec};
use fastrand::Rng;
use std::time::{Duration, Instant};

/// Cost of a refusal to the server, as a share of an answer: it still accepts, reads the head and writes.
const REFUSAL_COST: f64 = 0.05;

/// A server: a queue before some workers, and a cache.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) spec: ServerSpec,
    pub(super) condition: Condition,
    pub(super) link: Link,
    /// How often the process was replaced by one of another identity.
    pub(super) process: u32,
    /// Counts losses of all work: what was begun before is void.
    pub(super) generation: u32,
    early_refusal: bool,
    epoch: Instant,
    door: Door,
    /// Requests that a worker has.
    working: Vec<AttemptId>,
    /// Events that arrived, or work that was done, while the process was stopped.
    pub(super) stopped: Vec<Pending>,
    cold: Cold,
    started: Duration,
    served: u32,
    /// Time that refusals took from the workers.
    debt: Duration,
    pub(super) cache: Cache,
    /// Number of the address among those that it has had.
    pub(super) address: u8,
    /// Whether its old addresses answer nothing; otherwise they refuse connections.
    has_silent_past: bool,
    /// Whether mDNS announces its last address too.
    announces_old: bool,
    pub(super) rng: Rng,
}

/// Event that a stopped process will find when it continues.
#[derive(Debug, Clone, Copy)]
pub(super) enum Pending {
    Request(AttemptId),
    Worked(AttemptId),
}

/// Next action of a server.
pub(super) enum Work {
    /// A worker takes a request, for so long.
    Begin(AttemptId, Duration),
    /// A request is refused after it has waited.
    Refuse(AttemptId, Duration),
}

impl Server {
    pub(super) fn new(spec: ServerSpec, early_refusal: bool, epoch: Instant, rng: Rng, cache: Cache) -> Self {
        Self {
            spec,
            condition: spec.condition,
            link: Link::default(),
            process: 0,
            generation: 0,
            early_refusal,
            epoch,
            door: Door::new(spec.workers, early_refusal, epoch),
            working: Vec::new(),
            stopped: Vec::new(),
            cold: Cold::No,
            started: Duration::ZERO,
            served: 0,
            debt: Duration::ZERO,
            cache,
            address: 0,
            has_silent_past: false,
            announces_old: false,
            rng,
        }
    }

    /// Starts the process, or ends what made it as good as dead.
    pub(super) fn start(&mut self, cold: Cold, new_identity: bool, now: Duration) {
        self.condition = Condition::Up;
        self.cold = cold;
        (self.started, self.served) = (now, 0);
        self.process += u32::from(new_identity);
    }

    /// Loses all work and memory; returns the requests that had arrived.
    pub(super) fn lose(&mut self, now: Duration) -> Vec<AttemptId> {
        self.generation += 1;
        let mut lost = self.door.waiting();
        lost.append(&mut self.working);
        lost.extend(self.stopped.drain(..).filter_map(|pending| match pending {
            Pending::Request(attempt) => Some(attempt),
            Pending::Worked(_) => None, // a worker has it
        }));
        lost.extend(self.cache.lose(self.epoch + now));
        self.door = Door::new(self.spec.workers, self.early_refusal, self.epoch + now);
        self.debt = Duration::ZERO;
        lost
    }

    /// Takes a request in, or says when to come again. `deadline`: until when its client waits.
    pub(super) fn arrive(&mut self, attempt: AttemptId, deadline: Duration, now: Duration) -> Result<(), Duration> {
        let taken = self.door.arrive(attempt, self.epoch + deadline, self.epoch + now);
        if taken.is_err() {
            self.debt += self.spec.service_time.mul_f64(REFUSAL_COST);
        }
        taken
    }

    /// A caller has closed the connection.
    pub(super) fn leave(&mut self, attempt: AttemptId) {
        if self.spec.drops_abandoned {
            self.door.leave(attempt);
        }
    }

    /// Gives the next request to a free worker.
    pub(super) fn work(&mut self, now: Duration) -> Option<Work> {
        let attempt = match self.door.turn(self.epoch + now)? {
            Turn::Begin(attempt) => attempt,
            Turn::Refuse(attempt, retry_after) => return Some(Work::Refuse(attempt, retry_after)),
        };
        let slow = if let Condition::Slow(factor) = self.condition { factor } else { 1.0 };
        let varied = if self.spec.long_tail { long_tail(&mut self.rng) } else { spread(&mut self.rng) };
        let factor = slow * self.coldness(now) * varied;
        let takes = self.spec.service_time.mul_f64(factor) + std::mem::take(&mut self.debt);
        self.working.push(attempt);
        Some(Work::Begin(attempt, takes))
    }

    /// Frees the worker.
    pub(super) fn worked(&mut self, attempt: AttemptId, now: Duration) {
        self.served += 1;
        self.door.finish(attempt, self.epoch + now);
        if let Some(index) = self.working.iter().position(|other| *other == attempt) {
            self.working.swap_remove(index);
        }
    }

    /// The factor by which a process that has just started is slower.
    fn coldness(&self, now: Duration) -> f64 {
        match self.cold {
            Cold::Requests { factor, count } if self.served < count => factor,
            Cold::Seconds { factor, warm_after } => {
                let age = (now - self.started).as_secs_f64() / warm_after.as_secs_f64();
                1.0 + (factor - 1.0) * (1.0 - age).max(0.0)
            }
            _ => 1.0,
        }
    }

    /// The process that starts listens at another port than the one before.
    pub(super) fn change_port(&mut self) {
        self.address += 1;
        (self.has_silent_past, self.announces_old) = (false, false);
    }

    /// Moves the server to another IP address; nothing is at the old one, which mDNS goes on to announce.
    pub(super) fn move_away(&mut self) {
        self.address += 1;
        (self.has_silent_past, self.announces_old) = (true, true);
    }

    /// Addresses of the server by mDNS, the old one first.
    pub(super) fn announced_addresses(&self) -> Vec<u8> {
        let old = self.announces_old.then(|| self.address.saturating_sub(1));
        old.into_iter().chain([self.address]).collect()
    }

    /// Whether nothing answers at one of its addresses, not even its host.
    pub(super) fn is_silent_at(&self, address: u8) -> bool {
        address != self.address && self.has_silent_past
    }
}
