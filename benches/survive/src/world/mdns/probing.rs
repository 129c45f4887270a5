//! Makes the probes of a directory, as `src/discovery/probe.rs` does.

use super::MdnsEvent;
use crate::contestant::{DirectoryProbe, EndpointId};
use crate::scenario::Condition;
use crate::world::{ClientId, World};
use bramble::discovery::table::ProbeResult;
use std::time::Duration;

// As in `src/discovery/probe.rs`.
const HEAD_START: Duration = Duration::from_millis(250);
const ANSWERS_WITHIN: Duration = Duration::from_secs(2);
/// After which TCP sends a lost SYN again (Linux' first timeout of a connect).
const SYN_AGAIN: Duration = Duration::from_secs(1);

impl World<'_> {
    pub(super) fn probe_directory(&mut self, client: ClientId) {
        if self.clients[client].browser.probe_at != Some(self.now) {
            return; // an earlier one has been planned since
        }
        self.clients[client].browser.probe_at = None;
        let Some(directory) = self.clients[client].rules.directory() else { return };
        for probe in directory.probes_due(self.instant()) {
            self.record.probes.push(self.now);
            self.send_probe(client, probe);
        }
        self.directory_changed(client);
    }

    pub(super) fn send_probe(&mut self, client: ClientId, mut probe: DirectoryProbe) {
        let number = probe.number;
        let is_silent = probe.endpoints.iter().all(|endpoint| self.is_blocked(client, *endpoint));
        if is_silent && probe.connects_within > SYN_AGAIN {
            probe.connects_within -= SYN_AGAIN;
            self.clients[client].browser.silent.insert(number, probe);
            return self.add_mdns(self.now + SYN_AGAIN, MdnsEvent::ProbeAgain { client, number });
        }
        let (after, found) = self.probe_all(client, &probe.endpoints, probe.connects_within);
        self.add_mdns(self.now + after, MdnsEvent::Probed { client, number, found });
    }

    /// How long a probe of an instance at these addresses takes, and what it finds: the second one is asked when the
    /// first has failed, or after a head start.
    fn probe_all(&self, client: ClientId, endpoints: &[EndpointId], within: Duration) -> (Duration, ProbeResult) {
        let Some((first, others)) = endpoints.split_first() else { return (Duration::ZERO, ProbeResult::Absent) };
        let first = self.probe_one(client, *first, within);
        let is_found = |found| matches!(found, ProbeResult::Answered(_));
        if others.is_empty() || (is_found(first.1) && first.0 <= HEAD_START) {
            return first;
        }
        let (after, found) = self.probe_all(client, others, within);
        let other = (after + first.0.min(HEAD_START), found);
        match (is_found(first.1), is_found(found)) {
            (true, true) if other.0 < first.0 => other,
            (true, _) => first,
            (false, true) => other,
            (false, false) => (first.0.max(other.0), first.1),
        }
    }

    fn probe_one(&self, client: ClientId, endpoint: EndpointId, within: Duration) -> (Duration, ProbeResult) {
        if self.is_blocked(client, endpoint) {
            return (within, ProbeResult::Absent);
        }
        let there_and_back = self.latency(client, endpoint) * 2;
        let server = &self.servers[endpoint.server];
        match server.condition {
            _ if server.address != endpoint.address => (there_and_back, ProbeResult::Absent),
            Condition::Dead | Condition::Absent => (there_and_back, ProbeResult::Absent),
            Condition::Stopped | Condition::Hung { healthz: false } => {
                (there_and_back + ANSWERS_WITHIN, ProbeResult::Unclear)
            }
            Condition::Stranger(_) => (there_and_back * 2, ProbeResult::Absent),
            _ if server.process != endpoint.process => (there_and_back * 2, ProbeResult::Absent),
            _ => (there_and_back * 2, ProbeResult::Answered(endpoint.socket_address())),
        }
    }
}
