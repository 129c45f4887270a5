//! What is known of one service that is called: its endpoints, its seats, and how many retries it may still get.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use super::Error;
use super::attempts::AllAttempts;
use super::watch::Watch;
use crate::balance::{Balancer, Target};
use crate::breaker::{CircuitBreaker, InvalidSetting, State};
use crate::bulkhead::Bulkhead;
use crate::circuit;
use crate::config::Config;
use crate::discovery::{Directory, Instance, Status};
use crate::retry::Budget;
use crate::telemetry::record::Calls;

/// A service that is called, shared by all its calls.
#[derive(Debug)]
pub(super) struct Callee {
    pub(super) service: Arc<str>,
    pub(super) balancer: Balancer,
    /// The service's own circuit: with every endpoint failing, all are candidates again, and then this one spares them
    /// and the caller.
    pub(super) breaker: CircuitBreaker,
    /// Generation of `breaker` that the log has.
    told: AtomicU64,
    pub(super) bulkhead: Arc<Bulkhead>,
    pub(super) budget: Budget,
    /// What became of its calls.
    pub(super) calls: Calls,
    /// What became of the attempts at each endpoint.
    pub(super) attempts: AllAttempts,
    pub(super) watch: Watch,
    /// Version of the directory that the balancer has.
    known: AtomicU64,
    /// Held to take in a new version: an older list never replaces a newer one.
    refreshing: Mutex<()>,
}

impl Callee {
    pub(super) fn new(service: &str, config: &Config, now: Instant) -> Result<Self, InvalidSetting> {
        let zone = &config.node.zone;
        Ok(Self {
            service: service.into(),
            balancer: Balancer::new(&config.balance, &config.breaker, zone, now, fastrand::u64(..))?,
            breaker: CircuitBreaker::new(&config.breaker, now, fastrand::u64(..))?,
            told: AtomicU64::new(0),
            bulkhead: Bulkhead::new(service, &config.call)?,
            budget: Budget::new(&config.call, now)?,
            calls: Calls::new(now),
            attempts: AllAttempts::default(),
            watch: Watch::default(),
            known: AtomicU64::new(0),
            refreshing: Mutex::default(),
        })
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
        let is_new = targets.iter().any(|one| !one.draining && self.attempts.at(&one.id, one.address).is_none());
        self.attempts.update(&targets, now); // first: whoever is picked has a place for what is noted
        let left_out = self.balancer.update(&targets, now);
        if is_new && self.breaker.state() == State::Open {
            // What was learnt of the others says nothing of who has just come.
            let _ = self.breaker.set(State::Closed, now);
        }
        self.known.store(version, Ordering::Release);
        if left_out > 0 {
            log::warn!("{left_out} instances of {} are left out: too many, or named twice", self.service);
        }
    }

    /// Says in the log what the service's own circuit has done. Costs two atomic reads when nothing is new.
    pub(super) fn tell(&self) {
        let told = self.told.load(Ordering::Relaxed);
        let generation = self.breaker.generation();
        if generation != told
            && self.told.compare_exchange(told, generation, Ordering::Relaxed, Ordering::Relaxed).is_ok()
        {
            circuit::tell(&format!("every {}", self.service), &self.breaker, told);
        }
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
