//! Who is there. No process is needed for others to find each other, so what one process knows is its own view: it can
//! be late or wrong, and everything built on it treats it as a hint that the next call proves or disproves.
//!
//! A [`Directory`] merges what its sources say: [`mdns`] on the LAN, a [`dns`] alias, a [`fixed`] list. A source names
//! what it knows by a key of its own; the same address from two sources is one instance.

pub mod dns;
pub mod fixed;
mod interfaces;
pub mod mdns;
mod txt;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use event_listener::{Event, EventListener};
use serde::{Serialize, Serializer};

pub use mdns::Registration;
pub use txt::Announcement;

/// The service type everything is registered under.
pub const SERVICE_TYPE: &str = "_bramble._tcp.local.";
/// Instances of one service that are remembered; a lecture hall of Pis has fewer, a flood of forged records more.
pub const MAX_PER_SERVICE: usize = 256;
/// Instances that are remembered in all.
pub const MAX_INSTANCES: usize = 1024;

/// One process that serves, as this process sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Instance {
    /// `producer-5f0c2a9be81d4477`; for sources that know no name, the address.
    pub id: Arc<str>,
    /// `producer`.
    pub service: Arc<str>,
    /// Where it answers.
    pub addr: SocketAddr,
    /// Where its page or interface starts.
    pub path: Box<str>,
    /// Where the node is; empty if it does not say.
    pub zone: Box<str>,
    /// Share of the traffic in comparison with others, 1-100.
    pub weight: u32,
    /// Version of the program; empty if it does not say.
    pub version: Box<str>,
    /// Whether it wants new calls.
    pub status: Status,
    /// Who told.
    pub source: Source,
}

/// Whether an instance wants new calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// It serves.
    Up,
    /// It finishes what it has and ends.
    Drain,
}

/// Who told of an instance. The order is the order of belief: mDNS knows more of an instance than an address does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// Its own registration on the LAN.
    Mdns,
    /// An address of a DNS name.
    Dns,
    /// The configuration.
    Fixed,
}

impl Source {
    /// As a person reads it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Mdns => "mDNS",
            Self::Dns => "DNS alias",
            Self::Fixed => "fixed list",
        }
    }
}

/// What a source tells about one key.
#[derive(Debug, Clone)]
pub enum Change {
    /// It is there, or is otherwise than before.
    Is(Instance),
    /// It is gone.
    Gone,
}

/// The instances this process knows of. Cheap to clone; all clones are one.
#[derive(Debug, Clone)]
pub struct Directory {
    inner: Arc<Inner>,
}

/// Of which instances the log tells at its default level: each of them in every process would drown the rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// All of them.
    Everyone,
    /// Those of one service.
    Of(&'static str),
    /// None.
    Nobody,
}

impl Told {
    fn level(self, instance: &Instance) -> log::Level {
        match self {
            Self::Everyone => log::Level::Info,
            Self::Of(service) if *service == *instance.service => log::Level::Info,
            _ => log::Level::Debug,
        }
    }
}

#[derive(Debug)]
struct Inner {
    told: Told,
    known: RwLock<Known>,
    /// Grows with each change, so that a reader sees without a lock that nothing is new.
    version: AtomicU64,
    changed: Event,
    started: Instant,
}

#[derive(Debug, Default)]
struct Known {
    /// What each source said last. At most [`MAX_INSTANCES`], and [`MAX_PER_SERVICE`] of a service.
    entries: BTreeMap<(Source, Box<str>), Entry>,
    /// Per service what `entries` comes to, sorted by id; no two share an address.
    merged: BTreeMap<Arc<str>, Arc<[Arc<Instance>]>>,
}

#[derive(Debug, Clone)]
struct Entry {
    instance: Arc<Instance>,
    since: Instant,
}

/// An instance with how long it has been known, for pages.
#[derive(Debug, Clone, Serialize)]
pub struct Seen {
    /// The instance.
    #[serde(flatten)]
    pub instance: Arc<Instance>,
    /// How long it has been known, in seconds.
    #[serde(rename = "known_for_s", serialize_with = "whole_seconds")]
    pub known_for: Duration,
}

fn whole_seconds<S: Serializer>(duration: &Duration, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_u64(duration.as_secs())
}

impl Directory {
    /// How long a new directory may still be empty because answers are on their way: mDNS answers within 120 ms, and
    /// asks again after 1 s (RFC 6762, 5.2 and 6).
    const SETTLES_WITHIN: Duration = Duration::from_secs(3);

    /// An empty directory that began at `now`.
    pub fn new(told: Told, now: Instant) -> Self {
        let inner =
            Inner { told, known: RwLock::default(), version: AtomicU64::new(1), changed: Event::new(), started: now };
        Self { inner: Arc::new(inner) }
    }

    /// Who serves `service`, sorted by id. Costs one short lock and no allocation.
    pub fn instances(&self, service: &str) -> Option<Arc<[Arc<Instance>]>> {
        self.read(|known| known.merged.get(service).cloned())
    }

    /// Everyone, by service and id.
    pub fn all(&self, now: Instant) -> Vec<Seen> {
        self.read(|known| {
            let since = |instance: &Arc<Instance>| {
                let told = known.entries.values().filter(|entry| entry.instance.addr == instance.addr);
                told.map(|entry| entry.since).min().unwrap_or(now)
            };
            let merged = known.merged.values().flat_map(|instances| instances.iter());
            merged
                .map(|instance| Seen {
                    instance: Arc::clone(instance),
                    known_for: now.saturating_duration_since(since(instance)),
                })
                .collect()
        })
    }

    /// Grows with each change.
    pub fn version(&self) -> u64 {
        self.inner.version.load(Ordering::Acquire)
    }

    /// Resolves at the next change after this call.
    pub fn changed(&self) -> EventListener {
        self.inner.changed.listen()
    }

    /// Whether an empty answer may only mean that it is too early.
    pub fn is_settling(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.inner.started) < Self::SETTLES_WITHIN
    }

    /// Takes in what `source` says about `key`. Says in the log what is new; beyond the bounds, what is new is refused.
    pub fn apply(&self, source: Source, key: &str, change: Change, now: Instant) {
        let mut known = self.inner.known.write().unwrap_or_else(PoisonError::into_inner);
        if known.apply(source, key, change, self.inner.told, now) {
            self.inner.version.fetch_add(1, Ordering::Release);
            drop(known);
            self.inner.changed.notify(usize::MAX);
        }
    }

    /// Takes in that `instances` are all that `source` knows of `service`.
    pub fn replace(&self, source: Source, service: &str, instances: Vec<Instance>, now: Instant) {
        let gone: Vec<Box<str>> = self.read(|known| {
            let old = known
                .entries
                .iter()
                .filter(|((from, _), entry)| *from == source && &*entry.instance.service == service);
            let old = old.filter(|(_, entry)| !instances.iter().any(|new| new.addr == entry.instance.addr));
            old.map(|((_, key), _)| key.clone()).collect()
        });
        for key in gone {
            self.apply(source, &key, Change::Gone, now);
        }
        for instance in instances {
            let key = format!("{service} {}", instance.addr);
            self.apply(source, &key, Change::Is(instance), now);
        }
    }

    fn read<T>(&self, look: impl FnOnce(&Known) -> T) -> T {
        look(&self.inner.known.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Known {
    /// True if anything changed.
    fn apply(&mut self, source: Source, key: &str, change: Change, told: Told, now: Instant) -> bool {
        let at = (source, Box::from(key));
        let service = match change {
            Change::Is(instance) => {
                let old = self.entries.get(&at);
                if old.is_some_and(|entry| *entry.instance == instance) {
                    return false;
                }
                if old.is_none() && !self.has_room_for(&instance) {
                    log::warn!("{} is left out: there are too many instances already", instance.id);
                    return false;
                }
                let since = old.map_or(now, |entry| entry.since);
                let moved_from = old.map(|entry| Arc::clone(&entry.instance.service));
                let level = told.level(&instance);
                match (old, instance.status) {
                    (None, _) => log::log!(level, "found {} at {} by {}", instance.id, instance.addr, source.as_str()),
                    (Some(_), Status::Drain) => log::log!(level, "{} is ending", instance.id),
                    (Some(_), Status::Up) => log::log!(level, "{} is now at {}", instance.id, instance.addr),
                }
                let service = Arc::clone(&instance.service);
                self.entries.insert(at, Entry { instance: Arc::new(instance), since });
                if let Some(other) = moved_from.filter(|other| *other != service) {
                    self.merge(&other);
                }
                service
            }
            Change::Gone => {
                let Some(entry) = self.entries.remove(&at) else { return false };
                log::log!(told.level(&entry.instance), "{} is gone from {}", entry.instance.id, source.as_str());
                Arc::clone(&entry.instance.service)
            }
        };
        self.merge(&service);
        true
    }

    fn has_room_for(&self, instance: &Instance) -> bool {
        let same = self.entries.values().filter(|entry| entry.instance.service == instance.service);
        self.entries.len() < MAX_INSTANCES && same.count() < MAX_PER_SERVICE
    }

    /// Works out anew who serves `service`. Where sources share an address, the most believed one counts.
    fn merge(&mut self, service: &Arc<str>) {
        let mut by_addr: BTreeMap<SocketAddr, &Arc<Instance>> = BTreeMap::new();
        for Entry { instance, .. } in self.entries.values().filter(|entry| entry.instance.service == *service) {
            by_addr.entry(instance.addr).or_insert(instance); // `entries` goes through the sources in order of belief
        }
        let mut instances: Vec<Arc<Instance>> = by_addr.into_values().map(Arc::clone).collect();
        instances.sort_by(|a, b| a.id.cmp(&b.id));
        if instances.is_empty() {
            self.merged.remove(service);
        } else {
            self.merged.insert(Arc::clone(service), instances.into());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instance(id: &str, port: u16, source: Source) -> Instance {
        Instance {
            id: id.into(),
            service: "producer".into(),
            addr: SocketAddr::from(([127, 0, 0, 1], port)),
            path: "/".into(),
            zone: "".into(),
            weight: 1,
            version: "".into(),
            status: Status::Up,
            source,
        }
    }

    fn ids(directory: &Directory) -> Vec<String> {
        let found = directory.instances("producer");
        found.iter().flat_map(|instances| instances.iter()).map(|instance| instance.id.to_string()).collect()
    }

    #[test]
    fn what_two_sources_tell_of_one_address_is_one_instance_with_the_name_mdns_gives_it() {
        let now = Instant::now();
        let directory = Directory::new(Told::Nobody, now);
        directory.replace(Source::Fixed, "producer", vec![instance("127.0.0.1:1", 1, Source::Fixed)], now);
        directory.apply(Source::Mdns, "a", Change::Is(instance("producer-a", 1, Source::Mdns)), now);
        assert_eq!(ids(&directory), ["producer-a"]);
        directory.apply(Source::Mdns, "a", Change::Gone, now);
        assert_eq!(ids(&directory), ["127.0.0.1:1"], "the fixed list still knows it");
    }

    #[test]
    fn an_alias_that_loses_an_address_loses_that_instance_alone() {
        let now = Instant::now();
        let directory = Directory::new(Told::Nobody, now);
        let three = [1, 2, 3].map(|port| instance(&port.to_string(), port, Source::Dns));
        directory.replace(Source::Dns, "producer", three.to_vec(), now);
        directory.replace(Source::Dns, "producer", vec![three[0].clone(), three[2].clone()], now);
        assert_eq!(ids(&directory), ["1", "3"]);
    }

    #[test]
    fn what_is_already_known_changes_nothing_and_wakes_nobody() {
        let now = Instant::now();
        let directory = Directory::new(Told::Nobody, now);
        directory.apply(Source::Mdns, "a", Change::Is(instance("producer-a", 1, Source::Mdns)), now);
        let version = directory.version();
        directory.apply(Source::Mdns, "a", Change::Is(instance("producer-a", 1, Source::Mdns)), now);
        directory.apply(Source::Mdns, "b", Change::Gone, now);
        assert_eq!(directory.version(), version);
    }

    #[test]
    fn a_flood_of_forged_instances_is_cut_off_and_the_first_ones_stay() {
        let now = Instant::now();
        let directory = Directory::new(Told::Nobody, now);
        for port in 1..=2000 {
            let forged = instance(&format!("producer-{port:05}"), port, Source::Mdns);
            directory.apply(Source::Mdns, &port.to_string(), Change::Is(forged), now);
        }
        assert_eq!(ids(&directory).len(), MAX_PER_SERVICE);
        assert_eq!(ids(&directory)[0], "producer-00001");
    }
}
