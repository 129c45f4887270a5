//! Discovery: finds the instances of each service, without a central server.
//!
//! Each process has a view of its own. It can be late or wrong, so it is a hint that the next call proves or disproves.
//!
//! A [`Directory`] merges what its sources say: `mdns` on the LAN, a [`dns`] alias, a [`fixed`] list. A source names
//! what it knows by a key of its own; the same address from two sources is one instance.
//!
//! Anything on the LAN can announce an instance, and mDNS may be late or lose packets. So what mDNS says is checked by
//! probes (`GET /healthz`, which is answered with the header [`ID_HEADER`](crate::ID_HEADER)):
//!
//! - An announced instance takes calls once it has answered a probe with its id; until then it is [`InstanceState::Unproven`].
//! - An instance whose calls fail ([`Directory::suspect`]), or that mDNS no longer tells of, is probed at each of its
//!   addresses. If it answers, it stays in use; at another address than before, its calls go there. If not, it is
//!   [`InstanceState::Lost`]: out of use, but probed again for ten minutes, and callable again at the first answer.
//! - An instance of a service that this process calls or shows ([`ServiceFilter`]) is probed every 30 s, so that one that has died
//!   is lost also while nothing is called. mDNS alone keeps it for two minutes.
//! - Each time it is found, [`Instance::epoch`] changes: what was learnt before is out of date.

mod alias;
#[cfg(feature = "mdns")]
pub(crate) mod container;
pub mod dns;
pub mod fixed;
mod instance;
#[cfg(feature = "mdns")]
mod interfaces;
#[cfg(feature = "mdns")]
mod links;
#[cfg(feature = "mdns")]
pub mod mdns;
mod news;
#[cfg(feature = "mdns")]
mod probe;
mod schedule;
pub mod table;
mod txt;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, PoisonError, RwLock, RwLockWriteGuard};
use std::time::{Duration, Instant};

use event_listener::{Event, EventListener};
use smol::channel::{Receiver, Sender};

pub use alias::Alias;
use alias::Aliases;
use instance::whole_seconds;
pub use instance::{Change, Instance, InstanceRecord, InstanceState, Source, Status, Suspicion};
#[cfg(feature = "mdns")]
pub use mdns::Registration;
pub use news::{News, NewsKind};
pub use table::{InstanceTable, MAX_INSTANCES, MAX_PER_SERVICE};
use table::{ProbeRequest, ProbeResult};
pub use txt::Announcement;

/// The service type everything is registered under.
pub const SERVICE_TYPE: &str = "_bramble._tcp.local.";

/// The instances this process knows of. Cheap to clone; all clones are one.
#[derive(Debug, Clone)]
pub struct Directory {
    inner: Arc<Inner>,
}

/// Of which instances the log tells at its default level, and which are probed though nothing is wrong: each of them in
/// every process would drown the rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServiceFilter {
    /// All of them.
    All,
    /// The instances of these services.
    Of(&'static [&'static str]),
    /// None.
    None,
}

impl ServiceFilter {
    fn level(self, instance: &Instance) -> log::Level {
        if self.is_of(&instance.service) { log::Level::Info } else { log::Level::Debug }
    }

    /// Whether this process calls the instances of `service`, or shows them.
    fn is_of(self, service: &str) -> bool {
        match self {
            Self::All => true,
            Self::Of(services) => services.contains(&service),
            Self::None => false,
        }
    }
}

#[derive(Debug)]
struct Inner {
    table: RwLock<InstanceTable>,
    /// Grows with each change, so that a reader sees without a lock that nothing is new.
    version: AtomicU64,
    changed: Event,
    /// A probe is wanted earlier than before.
    wants_probe: Event,
    /// Holds one request at most: mDNS is to ask every instance to announce itself again.
    looks: (Sender<()>, Receiver<()>),
    aliases: Aliases,
    /// Why there is no mDNS, if there is none.
    without_mdns: OnceLock<String>,
    /// The UDP port of mDNS, for sentences about what may be in its way.
    mdns_port: AtomicU16,
    started: Instant,
}

impl Directory {
    /// How long a new directory may still be empty because answers are on their way: mDNS answers within 120 ms, and
    /// asks again after 1 s (RFC 6762, 5.2 and 6).
    const SETTLES_WITHIN: Duration = Duration::from_secs(3);

    /// An empty directory that began at `now`.
    pub fn new(told: ServiceFilter, now: Instant) -> Self {
        let inner = Inner {
            table: RwLock::new(InstanceTable::new(told, now, fastrand::u64(..))),
            version: AtomicU64::new(1),
            changed: Event::new(),
            wants_probe: Event::new(),
            looks: smol::channel::bounded(1),
            aliases: Aliases::default(),
            without_mdns: OnceLock::new(),
            mdns_port: AtomicU16::new(5353),
            started: now,
        };
        Self { inner: Arc::new(inner) }
    }

    /// The callable instances of `service`, sorted by id. Costs one short lock and no allocation.
    pub fn instances(&self, service: &str) -> Option<Arc<[Arc<Instance>]>> {
        self.read(|table| table.instances(service).cloned())
    }

    /// Every instance in use, by service and id.
    pub fn all(&self, now: Instant) -> Vec<InstanceRecord> {
        self.read(|table| table.all(now))
    }

    /// Every instance that was lost in the last ten minutes and is still probed.
    pub fn lost(&self, now: Instant) -> Vec<InstanceRecord> {
        self.read(|table| table.lost(now))
    }

    /// Every instance that is announced by mDNS and has not answered a probe with its id yet. It gets no calls.
    pub fn unproven(&self, now: Instant) -> Vec<InstanceRecord> {
        self.read(|table| table.unproven(now))
    }

    /// Why an announced instance gets no calls yet, as the end of a sentence that begins with its name and address.
    pub fn why_unproven(&self, announced: &Instance) -> String {
        self.read(|table| table.why_unproven(announced))
    }

    /// Events of late, the newest first; at most 100.
    pub fn events(&self, now: Instant) -> Vec<News> {
        self.read(|table| table.events(now))
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
        self.write(|table| table.apply(source, key, change, now));
    }

    /// Takes in that `instances` are all that `source` knows of `service`.
    pub fn replace(&self, source: Source, service: &str, instances: Vec<Instance>, now: Instant) {
        let addrs: Vec<SocketAddr> = instances.iter().map(|one| one.addr).collect();
        let gone = self.read(|table| table.not_among(source, service, &addrs));
        // New ones come first: when all have been replaced, there is one at every moment.
        for instance in instances {
            let key = format!("{service} {}", instance.addr);
            self.apply(source, &key, Change::Is(instance), now);
        }
        for key in gone {
            self.apply(source, &key, Change::Gone, now);
        }
    }

    /// The names that stand for services, and how they are.
    pub fn aliases(&self, now: Instant) -> Vec<Alias> {
        self.inner.aliases.list(now)
    }

    fn follow_alias(&self, service: &Arc<str>, name: &Arc<str>) -> Receiver<()> {
        self.inner.aliases.follow(service, name)
    }

    fn tell_of_alias(&self, service: &str, addresses: usize, problem: Option<Arc<str>>, now: Instant) {
        self.inner.aliases.tell(service, addresses, problem, now);
    }

    /// Why no instance of `service` is callable, as a sentence.
    pub fn why_none_found(&self, service: &str) -> String {
        match self.inner.aliases.of(service) {
            Some((_, Some(problem))) => problem.to_string(),
            Some((name, None)) => format!("every instance behind {name} is ending"),
            None => match self.inner.without_mdns.get() {
                Some(why) => format!("mDNS is {why}; [discovery] dns or fixed must say where it is"),
                None => self.read(|table| table.why_none(service, self.inner.mdns_port.load(Ordering::Relaxed))),
            },
        }
    }

    /// Takes in that there is no mDNS, and why.
    pub(crate) fn goes_without_mdns(&self, why: &str) {
        let _ = self.inner.without_mdns.set(why.to_owned()); // the first reason is the reason
    }

    /// Takes in the UDP port of mDNS, where it is another one than 5353.
    pub(crate) fn uses_mdns_port(&self, port: u16) {
        self.inner.mdns_port.store(port, Ordering::Relaxed);
    }

    /// Takes in that a call to the instance called `id` came to no answer, because of `why`. Cheap enough for every such
    /// attempt: one short lock, no I/O.
    ///
    /// An instance found by mDNS is probed at each of its addresses: one probe at a time, one a second at most. If it
    /// answers at another address, [`Instance::addr`] and [`Instance::epoch`] change; if two probes in a row fail (one,
    /// if it refused a connection), it is lost. In both cases [`Directory::version`] moves. An instance behind a DNS
    /// alias that refused a connection or is unreachable has the name looked up again.
    pub fn suspect(&self, id: &str, why: Suspicion, now: Instant) {
        if why != Suspicion::TimedOut {
            if let Some(service) = self.read(|table| table.named_service_of(id)) {
                self.inner.aliases.look_again(&service);
            }
        }
        let is_new = self.table().suspect(id, why, now);
        if is_new {
            self.inner.wants_probe.notify(usize::MAX);
        }
    }

    /// Resolves when a probe is wanted earlier than [`Directory::next_probe`] told before this call.
    fn wants_probe(&self) -> EventListener {
        self.inner.wants_probe.listen()
    }

    /// The probes that are to begin now.
    fn due_probes(&self, now: Instant) -> Vec<ProbeRequest> {
        let mut due = Vec::new();
        self.write(|table| due = table.due(now));
        due
    }

    pub(crate) fn next_probe(&self) -> Option<Instant> {
        self.read(InstanceTable::next_due)
    }

    /// When an instance of `service` that is out of use is probed next. None: there is none that may come back.
    pub fn next_probe_of(&self, service: &str) -> Option<Instant> {
        self.read(|table| table.next_probe_of(service))
    }

    fn probed(&self, request: &ProbeRequest, result: ProbeResult, now: Instant) {
        self.write(|table| table.probed(request, result, now));
    }

    /// Instances that were not heard of since `since` are probed. If there is one, a look may find more: `wants_look`.
    fn doubt_unheard_since(&self, since: Instant, wants_look: bool, now: Instant) {
        self.write(|table| table.doubt_unheard_since(since, wants_look, now));
    }

    /// How many instances there may be.
    fn len(&self) -> usize {
        self.read(InstanceTable::len)
    }

    /// Whether mDNS tells of no instance but the one called `own`.
    fn is_alone(&self, own: &str) -> bool {
        self.read(|table| table.is_alone(own))
    }

    /// Resolves when mDNS is to ask every instance to announce itself again.
    async fn wants_look(&self) {
        let _ = self.inner.looks.1.recv().await; // the directory holds the other end
    }

    fn read<T>(&self, look: impl FnOnce(&InstanceTable) -> T) -> T {
        look(&self.inner.table.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn table(&self) -> RwLockWriteGuard<'_, InstanceTable> {
        self.inner.table.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the table, and does what that asks for.
    fn write(&self, change: impl FnOnce(&mut InstanceTable)) {
        let mut table = self.table();
        change(&mut table);
        let effects = table.take_effects();
        if effects.changed {
            self.inner.version.fetch_add(1, Ordering::Release);
        }
        drop(table);
        if effects.changed {
            self.inner.changed.notify(usize::MAX);
        }
        if effects.wants_probe {
            self.inner.wants_probe.notify(usize::MAX);
        }
        if effects.wants_look {
            let _ = self.inner.looks.0.try_send(()); // full: it is about to look
        }
    }
}

#[cfg(test)]
mod tests;
