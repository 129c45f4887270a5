use crate::contestant::EndpointId;
use bramble::discovery::table::{Effects, ProbeRequest, ProbeResult};
use bramble::discovery::{Change, Instance, InstanceTable, ServiceFilter, Source, Status, Suspicion};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

const SERVICE: &str = "service";

/// Directory of a client process of Bramble: the real table of discovery. The simulator is its mDNS and makes its
/// probes.
#[derive(Debug)]
pub struct Directory {
    table: RefCell<InstanceTable>,
    /// Probes in flight.
    probes: RefCell<BTreeMap<u64, ProbeRequest>>,
}

/// A probe that is to be made.
#[derive(Debug, Clone)]
pub struct DirectoryProbe {
    /// Another one for each probe of a client.
    pub number: u64,
    /// Where the instance may be, in the order in which it is asked for.
    pub endpoints: Vec<EndpointId>,
    /// How long one connect may take.
    pub connects_within: Duration,
}

impl Directory {
    pub(super) fn new(now: Instant, seed: u64) -> Self {
        let table = RefCell::new(InstanceTable::new(ServiceFilter::None, now, seed));
        Self { table, probes: RefCell::default() }
    }

    /// mDNS tells of an instance, at one address or more. `is_ending`: it says that it takes no more calls.
    pub fn announced(&self, endpoints: &[EndpointId], zone: &str, is_ending: bool, now: Instant) {
        let Some(first) = endpoints.first() else { return };
        let id: Arc<str> = first.id().into();
        let instance = Instance {
            zone: zone.into(),
            status: if is_ending { Status::Drain } else { Status::Up },
            ..Instance::new(Arc::clone(&id), SERVICE, first.socket_address(), Source::Mdns)
        };
        let addresses = endpoints.iter().map(EndpointId::socket_address).collect();
        self.table.borrow_mut().apply(Source::Mdns, &id, Change::Announced(instance, addresses), now);
    }

    /// mDNS no longer tells of an instance.
    pub fn unheard(&self, endpoint: EndpointId, now: Instant) {
        self.table.borrow_mut().apply(Source::Mdns, &endpoint.id(), Change::Unheard, now);
    }

    /// All instances were asked at `since` to announce themselves.
    pub fn doubt_unheard_since(&self, since: Instant, now: Instant) {
        self.table.borrow_mut().doubt_unheard_since(since, false, now);
    }

    /// A call to an instance, or a check of its health, came to no answer.
    pub fn suspect(&self, endpoint: EndpointId, why: Suspicion, now: Instant) {
        self.table.borrow_mut().suspect(&endpoint.id(), why, now);
    }

    /// When [`Directory::probes_due`] is to be asked next, if ever.
    pub fn next_probe(&self) -> Option<Instant> {
        self.table.borrow().next_due()
    }

    /// The probes to be made now.
    pub fn probes_due(&self, now: Instant) -> Vec<DirectoryProbe> {
        let mut probes = self.probes.borrow_mut();
        let due = self.table.borrow_mut().due(now).into_iter().map(|request| {
            let number = probes.last_key_value().map_or(0, |(last, _)| last + 1);
            let endpoints = request.addrs.iter().map(|addr| EndpointId::new(&request.id, *addr)).collect();
            let connects_within = request.connects_within;
            probes.insert(number, request);
            DirectoryProbe { number, endpoints, connects_within }
        });
        due.collect()
    }

    /// Takes in what a probe found.
    pub fn probed(&self, number: u64, found: ProbeResult, now: Instant) {
        let request = self.probes.borrow_mut().remove(&number);
        if let Some(request) = request {
            self.table.borrow_mut().probed(&request, found, now);
        }
    }

    /// The effects of all changes since the last call.
    pub fn take_effects(&self) -> Effects {
        self.table.borrow_mut().take_effects()
    }

    /// The instances in use.
    pub(super) fn instances(&self) -> Vec<Arc<Instance>> {
        self.table.borrow().instances(SERVICE).map(|instances| instances.to_vec()).unwrap_or_default()
    }
}

const FIRST_PORT: u16 = 9000;

impl EndpointId {
    /// The name of the instance.
    pub(super) fn id(&self) -> String {
        format!("{}.{}", self.server, self.process)
    }

    /// Where it is called.
    pub(crate) fn socket_address(&self) -> SocketAddr {
        ([10, 0, 0, 1 + self.address], FIRST_PORT + self.server as u16).into()
    }

    /// The instance called `id` at `address`.
    pub(super) fn new(id: &str, address: SocketAddr) -> Self {
        let process = id.rsplit('.').next().and_then(|process| process.parse().ok());
        let last = if let SocketAddr::V4(v4) = address { v4.ip().octets()[3] } else { 1 };
        Self {
            server: (address.port() - FIRST_PORT).into(),
            process: process.unwrap_or_default(),
            address: last.saturating_sub(1),
        }
    }
}
