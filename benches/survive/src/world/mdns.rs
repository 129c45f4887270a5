//! A simulated mDNS (RFC 6762): servers announce themselves, say goodbye and answer questions; each client's library
//! remembers what it has heard. Clients of Bramble give that to their directory, whose probes are made here; the others
//! have what is remembered as their list.

mod probing;
#[cfg(test)]
mod tests;

use super::{ClientId, Event, World};
use crate::contestant::{DirectoryProbe, EndpointId, Target};
use crate::scenario::Condition;
use bramble::discovery::table::ProbeResult;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// How long a received record is remembered.
const TTL: Duration = Duration::from_secs(120);
/// When a record is asked for again that runs out, in percent of its time; at the last it is gone (RFC 6762, 5.2).
const ASKED_AT: [u32; 5] = [80, 85, 90, 95, 100];
/// Time after which an instance that said goodbye is gone (RFC 6762, 10.1).
const GOODBYE: Duration = Duration::from_secs(1);
/// Until a question is answered at the latest (RFC 6762, 6).
const ANSWERED: Duration = Duration::from_millis(120);
/// An announcement is repeated, and a cable that is back is noticed, after this long.
const SECOND: Duration = Duration::from_secs(1);

// As in `src/discovery/mdns/looks.rs` and `browse.rs`: when all are asked again.
const REGULARLY: Duration = Duration::from_secs(300);
const PAUSE: Duration = Duration::from_secs(10);
const ALONE: [Duration; 2] = [Duration::from_secs(5), Duration::from_secs(60)];
const SETTLES: Duration = Duration::from_millis(500);
const JITTER_MS: u64 = 500;
const ANSWERED_WITHIN: Duration = Duration::from_secs(5);

/// A server, and its process.
type Name = (usize, u32);

#[derive(Debug, Clone, Copy)]
pub(super) enum MdnsEvent {
    /// A server announces itself to all.
    Announced(usize),
    /// A server answers the question of one client.
    Answered(ClientId, usize),
    /// Records that were received then are queried again, or have expired.
    RunsOut {
        client: ClientId,
        name: Name,
        heard: Duration,
    },
    /// A client asks all to announce themselves, if that is still planned.
    Look(ClientId),
    /// The answers to a look at this time are there.
    Looked {
        client: ClientId,
        at: Duration,
    },
    /// A client looks for probes of its directory.
    Probe(ClientId),
    /// The first SYN of a probe has been lost, and TCP sends another one.
    ProbeAgain {
        client: ClientId,
        number: u64,
    },
    Probed {
        client: ClientId,
        number: u64,
        found: ProbeResult,
    },
}

/// A client's mDNS library.
#[derive(Debug)]
pub(super) struct Browser {
    records: BTreeMap<Name, Record>,
    /// The last look.
    looked: Duration,
    /// When the next one is planned.
    look_at: Option<Duration>,
    /// The directory, or a network that is back, wants one at this time.
    wished: Option<Duration>,
    /// The pause between two looks while no instance is known.
    alone: Duration,
    /// When the directory is asked for probes.
    probe_at: Option<Duration>,
    /// Probes whose first SYN has been lost.
    silent: BTreeMap<u64, DirectoryProbe>,
}

#[derive(Debug)]
struct Record {
    addresses: Vec<u8>,
    heard: Duration,
    /// When it runs out, or is asked for again.
    due: Duration,
}

impl Browser {
    pub(super) fn new() -> Self {
        let (looked, alone) = (Duration::ZERO, ALONE[0]);
        let (records, silent) = (BTreeMap::new(), BTreeMap::new());
        Self { records, looked, look_at: None, wished: None, alone, probe_at: None, silent }
    }

    fn endpoints(&self, name: &Name) -> Vec<EndpointId> {
        let (server, process) = *name;
        let addresses = self.records.get(name).into_iter().flat_map(|record| &record.addresses);
        addresses.map(|address| EndpointId { server, process, address: *address }).collect()
    }

    fn next_look(&self) -> Duration {
        let alone = self.records.is_empty().then_some(self.looked + self.alone);
        [self.wished, alone].into_iter().flatten().fold(self.looked + REGULARLY, Duration::min)
    }
}

impl World<'_> {
    fn add_mdns(&mut self, at: Duration, event: MdnsEvent) {
        self.events.add(at, Event::Mdns(event));
    }

    pub(super) fn mdns(&mut self, event: MdnsEvent) {
        match event {
            MdnsEvent::Announced(server) => (0..self.clients.len()).for_each(|client| self.hear(client, server)),
            MdnsEvent::Answered(client, server) => self.hear(client, server),
            MdnsEvent::RunsOut { client, name, heard } => self.runs_out(client, name, heard),
            MdnsEvent::Look(client) => self.look(client),
            MdnsEvent::Looked { client, at } => self.looked(client, at),
            MdnsEvent::Probe(client) => self.probe_directory(client),
            MdnsEvent::ProbeAgain { client, number } => {
                if let Some(probe) = self.clients[client].browser.silent.remove(&number) {
                    self.send_probe(client, probe);
                }
            }
            MdnsEvent::Probed { client, number, found } => {
                if let Some(directory) = self.clients[client].rules.directory() {
                    directory.probed(number, found, self.instant());
                }
                self.directory_changed(client);
            }
        }
    }

    /// The servers that are there at the start announce themselves.
    pub(super) fn begin_mdns(&mut self) {
        for server in 0..self.servers.len() {
            self.add_mdns(Duration::ZERO, MdnsEvent::Announced(server));
        }
        (0..self.clients.len()).for_each(|client| self.plan_look(client));
    }

    /// A process has started, and announces itself twice.
    pub(super) fn announce(&mut self, server: usize, after: Duration) {
        for pause in [after, after + SECOND] {
            self.add_mdns(self.now + pause, MdnsEvent::Announced(server));
        }
    }

    /// The cable of a server, or another address of it, has come.
    pub(super) fn announce_anew(&mut self, server: usize) {
        self.announce(server, SECOND);
    }

    /// A server is announced, whatever its condition.
    pub(super) fn forge(&mut self, server: usize) {
        (0..self.clients.len()).for_each(|client| self.take_in(client, server));
    }

    /// A server says that it is ending.
    pub(super) fn say_goodbye(&mut self, id: usize) {
        let (server, now) = (&self.servers[id], self.instant());
        let (name, zone) = ((id, server.process), server.spec.zone);
        for client in 0..self.clients.len() {
            let state = &mut self.clients[client];
            if state.is_cut || !state.browser.records.contains_key(&name) {
                continue;
            }
            if let Some(directory) = state.rules.directory() {
                directory.announced(&state.browser.endpoints(&name), zone, true, now);
            }
            if let Some(record) = state.browser.records.get_mut(&name) {
                record.due = self.now + GOODBYE;
                let (heard, due) = (record.heard, record.due);
                self.add_mdns(due, MdnsEvent::RunsOut { client, name, heard });
            }
            self.directory_changed(client);
        }
    }

    /// The network of a client is back.
    pub(super) fn look_soon(&mut self, client: ClientId) {
        self.want_look(client, self.now + SETTLES);
    }

    fn want_look(&mut self, client: ClientId, at: Duration) {
        let wished = &mut self.clients[client].browser.wished;
        *wished = Some(wished.map_or(at, |other| other.min(at)));
        self.plan_look(client);
    }

    fn plan_look(&mut self, client: ClientId) {
        let browser = &mut self.clients[client].browser;
        let at = browser.next_look().max(self.now);
        if browser.look_at.replace(at) != Some(at) {
            self.add_mdns(at, MdnsEvent::Look(client));
        }
    }

    /// Whether a client and a server's process hear each other's mDNS.
    fn hears(&self, client: ClientId, server: usize) -> bool {
        let is_there = !matches!(
            self.servers[server].condition,
            Condition::Absent | Condition::Dead | Condition::Unreachable | Condition::Stopped | Condition::Stranger(_)
        );
        is_there && !self.clients[client].is_cut
    }

    fn hear(&mut self, client: ClientId, server: usize) {
        if self.hears(client, server) {
            self.take_in(client, server);
        }
    }

    fn take_in(&mut self, client: ClientId, id: usize) {
        let (server, heard, now) = (&self.servers[id], self.now, self.instant());
        let (name, zone, addresses) = ((id, server.process), server.spec.zone, server.announced_addresses());
        let due = heard + TTL * ASKED_AT[0] / 100;
        let state = &mut self.clients[client];
        let old = state.browser.records.insert(name, Record { addresses: addresses.clone(), heard, due });
        if let Some(directory) = state.rules.directory() {
            directory.announced(&state.browser.endpoints(&name), zone, false, now);
        } else if old.is_none_or(|old| old.addresses != addresses) {
            self.update_list(client);
        }
        self.add_mdns(due, MdnsEvent::RunsOut { client, name, heard });
        self.directory_changed(client);
    }

    /// A baseline's list is what is remembered.
    fn update_list(&mut self, client: ClientId) {
        let state = &self.clients[client];
        let endpoints = state.browser.records.keys().flat_map(|name| state.browser.endpoints(name));
        let target = |endpoint: EndpointId| Target { endpoint, zone: self.servers[endpoint.server].spec.zone };
        let targets: Vec<Target> = endpoints.map(target).collect();
        state.rules.update(&targets, self.instant());
    }

    fn runs_out(&mut self, client: ClientId, name: Name, heard: Duration) {
        let (server, process) = name;
        let Some(record) = self.clients[client].browser.records.get_mut(&name) else { return };
        if record.heard != heard || record.due != self.now {
            return; // it was announced again, or has sent a goodbye packet
        }
        let age = self.now - heard;
        match ASKED_AT.into_iter().map(|percent| TTL * percent / 100).find(|at| *at > age) {
            Some(next) if age >= TTL * ASKED_AT[0] / 100 => {
                record.due = heard + next;
                self.add_mdns(heard + next, MdnsEvent::RunsOut { client, name, heard });
                if self.servers[server].process == process && self.hears(client, server) {
                    self.add_mdns(self.now + ANSWERED, MdnsEvent::Answered(client, server));
                }
            }
            _ => self.forget(client, name),
        }
    }

    fn forget(&mut self, client: ClientId, name: Name) {
        let (server, process) = name;
        let now = self.instant();
        let state = &mut self.clients[client];
        state.browser.records.remove(&name);
        match state.rules.directory() {
            Some(directory) => directory.unheard(EndpointId { server, process, address: 0 }, now),
            None => self.update_list(client),
        }
        self.directory_changed(client);
        self.plan_look(client);
    }

    fn look(&mut self, client: ClientId) {
        let state = &mut self.clients[client];
        if state.browser.look_at != Some(self.now) {
            return; // it was planned anew
        }
        let browser = &mut state.browser;
        browser.alone = if browser.records.is_empty() { (browser.alone * 2).min(ALONE[1]) } else { ALONE[0] };
        (browser.looked, browser.wished, browser.look_at) = (self.now, None, None);
        for server in 0..self.servers.len() {
            if self.hears(client, server) {
                self.add_mdns(self.now + ANSWERED, MdnsEvent::Answered(client, server));
            }
        }
        self.add_mdns(self.now + ANSWERED_WITHIN, MdnsEvent::Looked { client, at: self.now });
        self.plan_look(client);
    }

    /// Ends a look: what Bramble's client has not heard of since, it has forgotten and doubts. The list of a baseline
    /// is not shortened by a question.
    fn looked(&mut self, client: ClientId, at: Duration) {
        let state = &mut self.clients[client];
        let Some(directory) = state.rules.directory() else { return };
        state.browser.records.retain(|_, record| record.heard >= at);
        directory.doubt_unheard_since(self.epoch + at, self.epoch + self.now);
        self.directory_changed(client);
        self.plan_look(client);
    }

    /// Does what a change of a client's directory asks for.
    pub(super) fn directory_changed(&mut self, client: ClientId) {
        if !self.scenario.mdns {
            return;
        }
        let now = self.instant();
        let Some(directory) = self.clients[client].rules.directory() else { return };
        let effects = directory.take_effects();
        if effects.changed {
            self.clients[client].rules.refresh(now);
            self.plan_probe(client, self.now);
        }
        if effects.wants_look {
            let jitter = Duration::from_millis(self.network_rng.u64(..JITTER_MS));
            let at = (self.now + jitter).max(self.clients[client].browser.looked + PAUSE);
            self.want_look(client, at);
        }
        let Some(at) = directory.next_probe() else { return };
        let at = self.since_start(at).max(self.now);
        let browser = &mut self.clients[client].browser;
        if browser.probe_at.is_none_or(|planned| at < planned) {
            browser.probe_at = Some(at);
            self.add_mdns(at, MdnsEvent::Probe(client));
        }
    }

    fn since_start(&self, at: Instant) -> Duration {
        at.saturating_duration_since(self.epoch)
    }
}
