//! Views of the table for callers, pages and sources.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Entry, InstanceTable, State};
use crate::discovery::news::News;
use crate::discovery::{Instance, InstanceRecord, InstanceState, Source, Status};

/// The most services that are named where the one that is called was not found.
const NAMED_MAX: usize = 8;

impl InstanceTable {
    /// The instances of `service` in use, sorted by id.
    pub fn instances(&self, service: &str) -> Option<&Arc<[Arc<Instance>]>> {
        self.merged.get(service)
    }

    /// Events of late, the newest first; at most 100.
    pub(in crate::discovery) fn events(&self, now: Instant) -> Vec<News> {
        self.news.list(now)
    }

    /// Every instance in use, by service and id.
    pub fn all(&self, now: Instant) -> Vec<InstanceRecord> {
        let mut since: BTreeMap<SocketAddr, Instant> = BTreeMap::new();
        let mut unheard: BTreeMap<(SocketAddr, &str), Instant> = BTreeMap::new();
        let mut ending: BTreeMap<(SocketAddr, &str), Instant> = BTreeMap::new();
        for (_, entry) in self.in_state(State::InUse) {
            let first = since.entry(entry.instance.addr).or_insert(entry.since);
            *first = entry.since.min(*first);
            if let Some(silence) = entry.unheard {
                unheard.insert((entry.instance.addr, &entry.instance.id), silence.since);
            }
            if let Some(since) = entry.ending {
                ending.insert((entry.instance.addr, &entry.instance.id), since);
            }
        }
        let seen = self.merged.values().flat_map(|instances| instances.iter()).map(|instance| {
            let since = since.get(&instance.addr).copied().unwrap_or(now);
            let unheard = unheard.get(&(instance.addr, &*instance.id)).copied();
            let ending = ending.get(&(instance.addr, &*instance.id)).copied();
            InstanceRecord {
                instance: Arc::clone(instance),
                known_for: now.saturating_duration_since(since),
                standing: unheard.map_or(InstanceState::Confirmed, |_| InstanceState::Unconfirmed),
                standing_for: now.saturating_duration_since(unheard.unwrap_or(since)),
                ending_for: ending.map(|since| now.saturating_duration_since(since)),
            }
        });
        seen.collect()
    }

    /// Every instance that was lost in the last ten minutes.
    pub fn lost(&self, now: Instant) -> Vec<InstanceRecord> {
        self.out_of_use(State::Lost, InstanceState::Lost, now)
    }

    /// Every instance that is announced and has not answered a probe yet.
    pub fn unproven(&self, now: Instant) -> Vec<InstanceRecord> {
        self.out_of_use(State::Unproven, InstanceState::Unproven, now)
    }

    fn out_of_use(&self, state: State, standing: InstanceState, now: Instant) -> Vec<InstanceRecord> {
        let seen = self.in_state(state).map(|(_, entry)| {
            let time: Duration = now.saturating_duration_since(entry.since);
            InstanceRecord {
                instance: Arc::clone(&entry.instance),
                known_for: time,
                standing,
                standing_for: time,
                ending_for: None,
            }
        });
        seen.collect()
    }

    /// Why no instance of `service` takes calls, and what to look at, as a sentence. `port`: of mDNS.
    pub(in crate::discovery) fn why_none(&self, service: &str, port: u16) -> String {
        let these = |state| {
            let of_service = self.in_state(state).map(|(_, entry)| entry);
            of_service.filter(|entry| *entry.instance.service == *service)
        };
        let named = |entry: &Entry| format!("{} at {}", entry.instance.id, entry.instance.addr);
        // The newest loss tells most of what is wrong now.
        if let Some(lost) = these(State::Lost).max_by_key(|entry| entry.since) {
            return format!("{} has stopped answering; is it running, and is the network up?", named(lost));
        }
        let is_new = |entry: &&Entry| entry.instance.status == Status::Up;
        if let Some(new) = these(State::Unproven).find(is_new) {
            return format!("{} is announced, but {}", named(new), self.why_unproven(&new.instance));
        }
        if let Some(ended) = these(State::InUse).chain(these(State::Ending)).next() {
            return format!("{} has said that it is ending, and no other was found; start another one", named(ended));
        }
        let others: BTreeSet<&str> = self.in_state(State::InUse).map(|(_, entry)| &*entry.instance.service).collect();
        let others: Vec<&str> = others.into_iter().filter(|name| *name != service).take(NAMED_MAX).collect();
        let found = match others.as_slice() {
            [] => String::new(),
            others => format!(" (found are {})", others.join(", ")),
        };
        format!("none was found{found}; is one running, and is mDNS (UDP {port}) allowed on this network?")
    }

    /// Why an announced instance is not in use, as the end of a sentence.
    pub(in crate::discovery) fn why_unproven(&self, announced: &Instance) -> String {
        let mut in_use = self.in_state(State::InUse).map(|(_, entry)| &entry.instance);
        match in_use.find(|other| other.addr == announced.addr && other.id != announced.id) {
            // A process started anew at the same port, and a record of the old one: no mistake of a firewall.
            Some(other) => format!("{} answers there instead", other.id),
            None => format!(
                "does not answer GET /healthz there with its id; does its firewall allow TCP port {}?",
                announced.addr.port()
            ),
        }
    }

    /// Keys of what `source` knows of `service` at other addresses than these.
    pub(in crate::discovery) fn not_among(&self, source: Source, service: &str, addrs: &[SocketAddr]) -> Vec<Box<str>> {
        let old = self.entries.iter().filter(|((from, _), entry)| {
            *from == source && &*entry.instance.service == service && !addrs.contains(&entry.instance.addr)
        });
        old.map(|((_, key), _)| key.clone()).collect()
    }

    /// The service of the instance called `id`, if a name leads to its address.
    pub(in crate::discovery) fn named_service_of(&self, id: &str) -> Option<Arc<str>> {
        let mut in_use = self.in_state(State::InUse).map(|(_, entry)| entry);
        let addr = in_use.find(|entry| *entry.instance.id == *id)?.instance.addr;
        let leads_there = |source: Source, entry: &Entry| source == Source::Dns && entry.instance.addr == addr;
        let named = self.entries.iter().find(|((source, _), entry)| leads_there(*source, entry));
        named.map(|(_, entry)| Arc::clone(&entry.instance.service))
    }

    /// How many instances there may be: those in use, and those whose first probe is not over.
    pub(in crate::discovery) fn len(&self) -> usize {
        let counts = |entry: &&Entry| match entry.state {
            State::InUse => true,
            State::Unproven => entry.failures == 0,
            State::Lost | State::Ending => false,
        };
        self.entries.values().filter(counts).count()
    }

    /// Whether mDNS tells of no instance but the one called `own`.
    pub(in crate::discovery) fn is_alone(&self, own: &str) -> bool {
        let mut told = self.in_state(State::InUse).filter(|((source, _), _)| *source == Source::Mdns);
        !told.any(|(_, entry)| entry.unheard.is_none() && *entry.instance.id != *own)
    }
}
