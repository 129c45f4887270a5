//! A service that is called: the rules of its calls, its permits, and its counters.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use super::attempts::AllAttempts;
use super::error::Error;
use super::watch::Watch;
use crate::balance::Target;
use crate::bulkhead::Bulkhead;
use crate::call;
use crate::circuit::open_until;
use crate::config::{CalleeSettings, Config};
use crate::discovery::{Directory, Instance, Status};
use crate::telemetry::record::Calls;

/// A service that is called, shared by all its calls.
#[derive(Debug)]
pub(super) struct ServiceClient {
    pub(super) service: Arc<str>,
    pub(super) settings: CalleeSettings,
    /// Endpoints, circuits and budgets of the service.
    pub(super) rules: call::CalledService,
    /// Generation of the service's circuit that the log has.
    logged: AtomicU64,
    pub(super) bulkhead: Arc<Bulkhead>,
    /// Seats of what is done in the place of calls that failed.
    pub(super) fallbacks: Arc<Bulkhead>,
    /// Record of the calls.
    pub(super) calls: Calls,
    /// Records of the attempts at each endpoint.
    pub(super) attempts: AllAttempts,
    pub(super) watch: Watch,
    /// Version of the directory that the balancer has.
    known: AtomicU64,
    /// Held to take in a new version: an older list never replaces a newer one.
    refreshing: Mutex<()>,
}

impl ServiceClient {
    pub(super) fn new(service: &str, config: &Config, now: Instant) -> Self {
        let (zone, settings) = (&config.node.zone, config.for_callee(service));
        let CalleeSettings { call, breaker, balance } = &settings;
        Self {
            service: service.into(),
            rules: call::CalledService::new(call, balance, breaker, zone, now, fastrand::u64(..)),
            logged: AtomicU64::new(0),
            bulkhead: Bulkhead::new(service, call.max_concurrent),
            fallbacks: Bulkhead::new("fallback", call.max_concurrent),
            calls: Calls::new(now),
            attempts: AllAttempts::default(),
            watch: Watch::default(),
            known: AtomicU64::new(0),
            settings,
            refreshing: Mutex::default(),
        }
    }

    /// Brings the balancer up to date. Costs one atomic read when nothing is new.
    pub(super) fn refresh(&self, directory: &Directory, now: Instant) {
        if self.known.load(Ordering::Acquire) == directory.version() {
            return;
        }
        let _refreshing = self.refreshing.lock().unwrap_or_else(PoisonError::into_inner);
        let version = directory.version(); // before the list: what changes in between is taken in once more
        if self.known.load(Ordering::Acquire) == version {
            return;
        }
        let instances = directory.instances(&self.service);
        let targets: Vec<Target> = instances.iter().flat_map(|list| list.iter()).map(|one| target(one)).collect();
        self.attempts.update(&targets, now); // first: an endpoint that is picked has a place for what is counted
        let left_out = self.rules.update(&targets, now);
        self.close_found_again(instances.iter().flat_map(|list| list.iter()), now);
        self.known.store(version, Ordering::Release);
        if left_out > 0 {
            log::warn!("{left_out} instances of {} are left out: too many, or named twice", self.service);
        }
    }

    /// Closes the circuits of instances that discovery has lost and found again.
    fn close_found_again<'a>(&self, instances: impl Iterator<Item = &'a Arc<Instance>>, now: Instant) {
        for instance in instances {
            let notes = self.attempts.at(&instance.id, instance.addr);
            if !notes.is_some_and(|notes| notes.is_found_again(instance.epoch)) {
                continue;
            }
            let endpoints = self.rules.balancer().endpoints();
            let endpoint = endpoints.iter().find(|one| one.id() == &*instance.id && one.address() == instance.addr);
            if let Some(endpoint) = endpoint {
                self.rules.found_again(endpoint, now);
            }
        }
    }

    /// Logs what the circuits have done. Costs two atomic reads when nothing is new.
    pub(super) fn log_changes(&self, now: Instant) {
        self.watch.look(now);
        let (logged, generation) = (self.logged.load(Ordering::Relaxed), self.rules.circuit().generation());
        if generation == logged
            || self.logged.compare_exchange(logged, generation, Ordering::Relaxed, Ordering::Relaxed).is_err()
        {
            return;
        }
        // Odd while open: one that has opened and closed again between two looks is no news.
        if generation % 2 == logged % 2 {
            return;
        }
        let circuit = self.rules.circuit();
        match circuit.open_since() {
            Some(since) => {
                let open = open_until(circuit.next_call(), since);
                log::warn!("circuit of {}: {open} (no instance answers)", self.service);
            }
            None => log::info!("circuit of {}: closed (an instance answers)", self.service),
        }
    }

    /// The key of a question: equal texts have equal keys, in every process.
    pub(super) fn key(&self, home: &str) -> u64 {
        let mut hasher = DefaultHasher::new(); // with keys that are the same in every process
        home.hash(&mut hasher);
        hasher.finish()
    }

    pub(super) fn too_late(&self) -> Error {
        Error::DeadlineExceeded { service: Arc::clone(&self.service) }
    }
}

fn target(instance: &Instance) -> Target {
    Target {
        id: instance.id.to_string(),
        address: instance.addr,
        weight: instance.weight,
        zone: instance.zone.to_string(),
        draining: instance.status == Status::Drain,
    }
}
