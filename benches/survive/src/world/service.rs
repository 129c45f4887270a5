//! The servers' side, and the network before them.

use super::{AttemptId, ClientId, Event, ONE_WAY, Reply, World};
use crate::contestant::{EndpointId, HealthCheck};
use crate::scenario::Condition;
use crate::world::server::{Pending, Work};
use bramble::call::PROBE_TIMEOUT;
use std::time::Duration;

const AT_ONCE: Duration = Duration::from_micros(200); // an answer without work
const REPEAT: Duration = Duration::from_millis(200); // before TCP sends a lost message again; doubles (Linux' RTO_MIN)

impl World<'_> {
    /// How long a message between an attempt's client and its server takes.
    pub(super) fn one_way(&self, attempt: AttemptId) -> Duration {
        let attempt = &self.attempts[attempt];
        self.latency(attempt.client, attempt.endpoint)
    }

    pub(super) fn latency(&self, client: ClientId, endpoint: EndpointId) -> Duration {
        let is_near = self.scenario.zone_latency.is_zero()
            || self.clients[client].group.zone == self.servers[endpoint.server].spec.zone;
        let way = ONE_WAY + self.servers[endpoint.server].link.delay;
        if is_near { way } else { way + self.scenario.zone_latency }
    }

    pub(super) fn is_blocked(&self, client: ClientId, endpoint: EndpointId) -> bool {
        let server = &self.servers[endpoint.server];
        self.clients[client].is_cut
            || server.condition == Condition::Unreachable
            || server.is_silent_at(endpoint.address)
    }

    /// Whether a message of an attempt is lost. If so, `again` happens when TCP sends it again.
    fn is_lost(&mut self, attempt: AttemptId, repeats: u32, again: Event) -> bool {
        let (client, endpoint) = (self.attempts[attempt].client, self.attempts[attempt].endpoint);
        let loss = self.loss.max(self.servers[endpoint.server].link.loss);
        let lost = self.is_blocked(client, endpoint) || (loss > 0.0 && self.network_rng.f64() < loss);
        if lost {
            self.events.add(self.now + REPEAT * 2_u32.pow(repeats.min(10)), again);
        }
        lost
    }

    pub(super) fn request(&mut self, id: AttemptId, repeats: u32) {
        let again = Event::Request { attempt: id, repeats: repeats + 1 };
        if !self.attempts[id].is_over && !self.is_lost(id, repeats, again) {
            self.serve(id);
        }
    }

    pub(super) fn response(&mut self, id: AttemptId, reply: Reply, repeats: u32) {
        let again = Event::Response { attempt: id, reply, repeats: repeats + 1 };
        if !self.attempts[id].is_over && !self.is_lost(id, repeats, again) {
            self.ended(id, Some(reply));
        }
    }

    pub(super) fn reply(&mut self, id: AttemptId, reply: Reply) {
        self.events.add(self.now + self.one_way(id), Event::Response { attempt: id, reply, repeats: 0 });
    }

    /// Takes a request that has arrived.
    pub(super) fn serve(&mut self, id: AttemptId) {
        let now = self.wall();
        let attempt = &self.attempts[id];
        let server = &mut self.servers[attempt.endpoint.server];
        let knows = self.scenario.upstream.is_none() || attempt.key.is_some_and(|key| server.cache.has_fresh(key, now));
        let at_once = match server.condition {
            _ if server.address != attempt.endpoint.address => return self.reply(id, Reply::Refused),
            Condition::Dead | Condition::Absent => return self.reply(id, Reply::Refused),
            Condition::Hung { .. } => return,
            Condition::Stopped => return server.stopped.push(Pending::Request(id)),
            Condition::Stranger(status) if (200..300).contains(&status) => Some(Reply::Nonsense),
            Condition::Stranger(_) => Some(Reply::Stranger),
            Condition::Lying(share) if server.rng.f64() < share => Some(Reply::Nonsense),
            Condition::Failing { share, at_once: true } if server.rng.f64() < share => Some(Reply::Failure),
            _ if server.process != attempt.endpoint.process && self.contestant.checks_contract() => {
                Some(Reply::Stranger) // an answer, but of another instance than the one asked
            }
            _ if attempt.only_if_cached && !knows => Some(Reply::UpstreamTimeout), // 504, as the producer
            _ => server.arrive(id, attempt.deadline, self.now).err().map(|retry_after| Reply::NoRoom { retry_after }),
        };
        match at_once {
            Some(reply) => {
                let at = self.now + AT_ONCE + self.one_way(id);
                self.events.add(at, Event::Response { attempt: id, reply, repeats: 0 });
            }
            None => self.work(self.attempts[id].endpoint.server),
        }
    }

    /// An attempt's client has closed its connection.
    pub(super) fn leave(&mut self, id: AttemptId) {
        let (client, endpoint) = (self.attempts[id].client, self.attempts[id].endpoint);
        if !self.is_blocked(client, endpoint) {
            self.servers[endpoint.server].leave(id);
        }
    }

    /// Gives waiting requests to free workers.
    fn work(&mut self, id: usize) {
        while let Some(work) = self.servers[id].work(self.now) {
            match work {
                Work::Begin(attempt, takes) => {
                    let generation = self.servers[id].generation;
                    self.events.add(self.now + takes, Event::Worked { server: id, generation, attempt });
                }
                Work::Refuse(attempt, retry_after) => self.reply(attempt, Reply::NoRoom { retry_after }),
            }
        }
    }

    /// A worker is ready with a request.
    pub(super) fn worked(&mut self, id: usize, generation: u32, attempt: AttemptId) {
        let server = &mut self.servers[id];
        if server.generation != generation {
            return;
        }
        if matches!(server.condition, Condition::Stopped | Condition::Stalled) {
            return server.stopped.push(Pending::Worked(attempt));
        }
        server.worked(attempt, self.now);
        let fails =
            matches!(server.condition, Condition::Failing { share, at_once: false } if server.rng.f64() < share);
        self.record.worked.push((self.now, !self.attempts[attempt].is_over));
        match (self.scenario.upstream.is_some(), self.attempts[attempt].key) {
            _ if fails => self.reply(attempt, Reply::Failure),
            (true, Some(key)) => self.look_up(id, attempt, key),
            _ => self.reply(attempt, Reply::Answer),
        }
        self.work(id);
    }

    /// How long a health check takes, and what it finds.
    pub(super) fn healthz(&self, client: ClientId, endpoint: EndpointId) -> (Duration, HealthCheck) {
        let there_and_back = self.latency(client, endpoint) * 2;
        if self.is_blocked(client, endpoint) {
            return (PROBE_TIMEOUT, HealthCheck::Silent);
        }
        let server = &self.servers[endpoint.server];
        match server.condition {
            _ if server.address != endpoint.address => (there_and_back, HealthCheck::Refused),
            Condition::Stopped | Condition::Hung { healthz: false } => (PROBE_TIMEOUT, HealthCheck::Silent),
            Condition::Dead | Condition::Absent => (there_and_back, HealthCheck::Refused),
            Condition::Stranger(_) => (there_and_back + AT_ONCE, HealthCheck::Silent),
            _ if server.process != endpoint.process => (there_and_back + AT_ONCE, HealthCheck::Silent),
            _ => (there_and_back + AT_ONCE, HealthCheck::Alive),
        }
    }
}
