//! Runs a scenario in virtual time.
//!
//! One queue of events; each is handled at its time and adds others. What a client decides is its contestant's; all
//! else is here: arrivals, network, servers, the API behind them, and discovery.

mod calls;
mod door;
mod mdns;
mod processes;
mod queue;
mod record;
mod server;
mod service;
#[cfg(test)]
mod tests;
mod upstream;

pub use record::{CallRecord, Record};

use crate::contestant::{Client, ClientOptions, Contestant, EndpointId, HealthCheck, Probe, Target};
use crate::random::{exponential, seconds, stream};
use crate::scenario::{Change, ClientGroup, Condition, Questions, Scenario, ServerSpec, UpstreamCondition};
use calls::{Attempt, CallState};
use fastrand::Rng;
use mdns::{Browser, MdnsEvent};
use processes::Processes;
use queue::EventQueue;
use server::{Pending, Server};
use std::time::{Duration, Instant};
use upstream::{Cache, FetchError};

type ClientId = usize;
type CallId = usize;
type AttemptId = usize;

const ONE_WAY: Duration = Duration::from_micros(300); // a message on a LAN
const PROBE_PAUSE: Duration = Duration::from_millis(1); // between two looks at what is to be probed

// What each stream of random numbers is for.
const ARRIVALS: u64 = 1;
const DECISIONS: u64 = 2;
const SERVICE: u64 = 3;
const NETWORK: u64 = 4;
const UPSTREAM: u64 = 5;

/// Runs `scenario` with the rules of `contestant`. Equal arguments have equal results.
pub fn run(scenario: &Scenario, contestant: &dyn Contestant, seed: u64) -> Record {
    let processes = Processes::default();
    let mut world = World::new(scenario, contestant, seed, &processes);
    let end = scenario.end();
    while let Some((at, event)) = world.events.next() {
        if at > end {
            break;
        }
        world.now = at;
        world.handle(event);
    }
    world.record
}

/// A simulation in progress.
struct World<'a> {
    scenario: &'a Scenario,
    contestant: &'a dyn Contestant,
    seed: u64,
    /// The rules take an `Instant`; only differences of them count.
    epoch: Instant,
    /// Since the start.
    now: Duration,
    events: EventQueue<Event>,
    servers: Vec<Server>,
    clients: Vec<ClientState<'a>>,
    /// Where the next client process is kept.
    processes: &'a Processes,
    calls: Vec<CallState<'a>>,
    attempts: Vec<Attempt>,
    upstream: UpstreamCondition,
    upstream_rng: Rng,
    /// The share of messages lost.
    loss: f64,
    network_rng: Rng,
    record: Record,
}

/// Event at a time.
#[derive(Debug, Clone, Copy)]
enum Event {
    Arrival(ClientId),
    Wake(CallId),
    Timeout(AttemptId),
    /// A request arrives, or is sent again for the `repeats`th time.
    Request {
        attempt: AttemptId,
        repeats: u32,
    },
    /// Likewise a response.
    Response {
        attempt: AttemptId,
        reply: Reply,
        repeats: u32,
    },
    Worked {
        server: usize,
        generation: u32,
        attempt: AttemptId,
    },
    Fetched {
        server: usize,
        generation: u32,
        key: u64,
        result: Result<(), FetchError>,
    },
    /// The caller of a request that waits for a fetch waits no longer.
    Late {
        server: usize,
        generation: u32,
        key: u64,
        attempt: AttemptId,
    },
    Change(usize),
    Mdns(MdnsEvent),
    Discovered,
    Probe(ClientId),
    Probed {
        client: ClientId,
        life: u32,
        probe: Probe,
        found: HealthCheck,
    },
}

/// Reply from a server's address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reply {
    Answer,
    /// A 200 with a body that is no answer.
    Nonsense,
    Failure,
    UpstreamFailure,
    UpstreamTimeout,
    NoRoom {
        retry_after: Duration,
    },
    /// Another program's answer, not 2xx.
    Stranger,
    Refused,
    /// The connection broke.
    Reset,
}

/// A place where client processes run: one after the other if they are short-lived.
struct ClientState<'a> {
    group: &'a ClientGroup,
    rate: f64,
    rules: &'a dyn Client,
    /// Counts processes.
    life: u32,
    in_flight: usize,
    is_cut: bool,
    /// When the next look at what is to be probed is planned.
    probe_at: Option<Duration>,
    browser: Browser,
    arrivals: Rng,
    decisions: Rng,
}

impl<'a> World<'a> {
    fn new(scenario: &'a Scenario, contestant: &'a dyn Contestant, seed: u64, processes: &'a Processes) -> Self {
        let (refuses, has_circuit) = (contestant.early_refusal(), contestant.upstream_circuit());
        let epoch = Instant::now();
        let server = |(id, spec): (usize, &ServerSpec)| {
            let cache = Cache::new(scenario.upstream, has_circuit, epoch, stream(seed, UPSTREAM, 1 + id).u64(..));
            Server::new(*spec, refuses, epoch, stream(seed, SERVICE, id), cache)
        };
        let mut world = World {
            scenario,
            contestant,
            seed,
            epoch,
            now: Duration::ZERO,
            events: EventQueue::new(),
            servers: scenario.servers.iter().enumerate().map(server).collect(),
            clients: Vec::new(),
            processes,
            calls: Vec::new(),
            attempts: Vec::new(),
            upstream: UpstreamCondition::Up,
            upstream_rng: stream(seed, UPSTREAM, 0),
            loss: 0.0,
            network_rng: stream(seed, NETWORK, 0),
            record: Record::default(),
        };
        for (i, (at, _)) in scenario.changes.iter().enumerate() {
            world.events.add(*at, Event::Change(i));
        }
        for group in &scenario.clients {
            (0..group.count).for_each(|_| world.add_client(group));
        }
        world.fill_caches();
        if scenario.mdns {
            world.begin_mdns();
        }
        world
    }

    fn fill_caches(&mut self) {
        let known = self.scenario.clients.iter().filter_map(|group| match group.questions {
            Questions::Keyed { known, .. } => Some(known),
            Questions::Plain => None,
        });
        let known = known.max().filter(|_| self.scenario.upstream.is_some_and(|upstream| upstream.filled));
        self.servers.iter().for_each(|server| server.cache.fill(known.unwrap_or_default(), self.wall()));
    }

    fn add_client(&mut self, group: &'a ClientGroup) {
        let id = self.clients.len();
        let rules = self.new_rules(group, id, 0);
        let mut client = ClientState {
            group,
            rate: group.rate,
            rules,
            life: 0,
            in_flight: 0,
            is_cut: false,
            probe_at: None,
            browser: Browser::new(),
            arrivals: stream(self.seed, ARRIVALS, id),
            decisions: stream(self.seed, DECISIONS, id),
        };
        let first = client.arrivals.f64() / client.rate; // so that steady clients are not in step
        self.clients.push(client);
        self.events.add(seconds(first), Event::Arrival(id));
    }

    fn new_rules(&mut self, group: &ClientGroup, id: ClientId, life: u32) -> &'a dyn Client {
        let seed = stream(self.seed ^ u64::from(life), DECISIONS, id).u64(..);
        let options = ClientOptions { zone: group.zone, seed, limits: self.scenario.limits };
        let rules;
        (rules, self.processes) = self.processes.keep(self.contestant.client(options, self.instant()));
        if !self.scenario.mdns {
            rules.update(&self.targets(), self.instant());
        }
        rules
    }

    fn instant(&self) -> Instant {
        self.epoch + self.now
    }

    /// The instances that discovery knows.
    fn targets(&self) -> Vec<Target> {
        let known = self.servers.iter().enumerate().filter(|(_, server)| server.condition != Condition::Absent);
        known
            .map(|(id, server)| Target {
                endpoint: EndpointId { server: id, process: server.process, address: server.address },
                zone: server.spec.zone,
            })
            .collect()
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Arrival(client) => self.arrival(client),
            Event::Wake(call) => self.wake(call),
            Event::Timeout(attempt) => self.ended(attempt, None),
            Event::Request { attempt, repeats } => self.request(attempt, repeats),
            Event::Response { attempt, reply, repeats } => self.response(attempt, reply, repeats),
            Event::Worked { server, generation, attempt } => self.worked(server, generation, attempt),
            Event::Fetched { server, generation, key, result } => self.fetched(server, generation, key, result),
            Event::Late { server, generation, key, attempt } => self.late(server, generation, key, attempt),
            Event::Change(index) => self.change(index),
            Event::Mdns(event) => self.mdns(event),
            Event::Discovered => self.discovered(),
            Event::Probe(client) => self.probe(client),
            Event::Probed { client, life, probe, found } => self.probed(client, life, probe, found),
        }
    }

    fn arrival(&mut self, id: ClientId) {
        let client = &mut self.clients[id];
        let rate = client.rate;
        let gap = if client.group.steady { seconds(1.0 / rate) } else { exponential(&mut client.arrivals, rate) };
        self.events.add(self.now + gap, Event::Arrival(id));
        self.begin_call(id);
    }

    /// Begins a call, in a process of its own if the client's are short-lived.
    fn begin_call(&mut self, id: ClientId) {
        let client = &mut self.clients[id];
        if client.group.short_lived {
            client.life += 1;
            let (group, life) = (client.group, client.life);
            self.clients[id].rules = self.new_rules(group, id, life);
        }
        self.begin(id);
    }

    fn discovered(&mut self) {
        let (targets, now) = (self.targets(), self.instant());
        for id in 0..self.clients.len() {
            self.clients[id].rules.update(&targets, now);
            self.plan_probe(id, self.now);
        }
    }

    fn change(&mut self, index: usize) {
        match &self.scenario.changes[index].1 {
            Change::Servers(servers, condition) => servers.clone().for_each(|id| self.set_condition(id, *condition)),
            Change::Start { servers, cold, new_identity } => {
                for id in servers.clone() {
                    self.servers[id].start(*cold, *new_identity, self.now);
                    self.plan_discovery(id);
                }
            }
            Change::StartElsewhere(servers, cold) => {
                for id in servers.clone() {
                    self.servers[id].start(*cold, true, self.now);
                    self.servers[id].change_port();
                    self.plan_discovery(id);
                }
            }
            Change::Move(servers) => {
                for id in servers.clone() {
                    self.servers[id].move_away();
                    self.announce_anew(id);
                }
            }
            Change::Forge(servers) => servers.clone().for_each(|id| self.forge(id)),
            Change::Upstream(condition) => self.upstream = *condition,
            Change::Rate(rate) => self.clients.iter_mut().for_each(|client| client.rate = *rate),
            Change::ClientsCut(clients, is_cut) => {
                self.clients[clients.clone()].iter_mut().for_each(|client| client.is_cut = *is_cut);
                if self.scenario.mdns && !is_cut {
                    clients.clone().for_each(|client| self.look_soon(client));
                }
            }
            Change::Loss(share) => self.loss = *share,
            Change::Links(servers, link) => {
                self.servers[servers.clone()].iter_mut().for_each(|server| server.link = *link);
            }
            Change::Burst(clients, calls) => {
                clients.clone().for_each(|client| (0..*calls).for_each(|_| self.begin_call(client)));
            }
        }
    }

    /// The clients learn that a server's process has started or ended.
    fn plan_discovery(&mut self, id: usize) {
        match (self.scenario.mdns, self.servers[id].condition) {
            (false, _) => self.events.add(self.now + self.scenario.discovery, Event::Discovered),
            (true, Condition::Absent) => self.say_goodbye(id),
            (true, _) => self.announce(id, self.scenario.discovery),
        }
    }

    fn set_condition(&mut self, id: usize, condition: Condition) {
        let server = &mut self.servers[id];
        let old = std::mem::replace(&mut server.condition, condition);
        match condition {
            Condition::Absent => self.plan_discovery(id),
            Condition::Dead | Condition::Stranger(_) => {
                for attempt in server.lose(self.now) {
                    self.reply(attempt, Reply::Reset);
                }
            }
            Condition::Hung { .. } => {
                server.lose(self.now);
            }
            Condition::Up => {
                self.go_on(id);
                if old == Condition::Unreachable && self.scenario.mdns {
                    self.announce_anew(id);
                }
            }
            _ => {}
        }
    }

    /// A stopped process finds what has happened meanwhile.
    fn go_on(&mut self, id: usize) {
        for pending in std::mem::take(&mut self.servers[id].stopped) {
            match pending {
                Pending::Request(attempt) if self.attempts[attempt].is_over => {}
                Pending::Request(attempt) => self.serve(attempt),
                Pending::Worked(attempt) => self.worked(id, self.servers[id].generation, attempt),
            }
        }
    }

    /// Looks for probes at the time that the rules name, but not before `earliest`.
    fn plan_probe(&mut self, id: ClientId, earliest: Duration) {
        let now = self.instant();
        let client = &mut self.clients[id];
        let Some(at) = client.rules.next_probe(now) else { return };
        let at = at.saturating_duration_since(self.epoch).max(earliest);
        if client.probe_at.is_none_or(|planned| at < planned) {
            client.probe_at = Some(at);
            self.events.add(at, Event::Probe(id));
        }
    }

    fn probe(&mut self, id: ClientId) {
        let now = self.instant();
        let client = &mut self.clients[id];
        if client.probe_at != Some(self.now) {
            return; // an earlier one has been planned since
        }
        client.probe_at = None;
        let life = client.life;
        for probe in client.rules.probes_due(now) {
            self.record.probes.push(self.now);
            let (after, found) = self.healthz(id, probe.endpoint);
            self.events.add(self.now + after, Event::Probed { client: id, life, probe, found });
        }
        self.plan_probe(id, self.now + PROBE_PAUSE);
    }

    fn probed(&mut self, id: ClientId, life: u32, probe: Probe, found: HealthCheck) {
        let now = self.instant();
        if self.clients[id].life == life {
            self.clients[id].rules.probed(probe, found, now);
            self.plan_probe(id, self.now);
        }
    }
}
