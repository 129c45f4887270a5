//! What is known of one service that is called: its endpoints, its seats, and how many retries it may still get.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use super::Error;
use super::watch::Watch;
use crate::balance::{Balancer, Target};
use crate::breaker::InvalidSetting;
use crate::bulkhead::Bulkhead;
use crate::config::Config;
use crate::discovery::{Directory, Instance, Status};
use crate::retry::Budget;

/// A service that is called, shared by all its calls.
#[derive(Debug)]
pub(super) struct Callee {
    pub(super) service: Arc<str>,
    pub(super) balancer: Balancer,
    pub(super) bulkhead: Arc<Bulkhead>,
    pub(super) budget: Budget,
    pub(super) counts: Counts,
    pub(super) watch: Watch,
    /// Version of the directory that the balancer has.
    known: AtomicU64,
}

/// What became of the calls, each counted once.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) answered: AtomicU64,
    pub(super) failed: AtomicU64,
    pub(super) refused: AtomicU64,
    pub(super) retries: AtomicU64,
}

impl Callee {
    pub(super) fn new(service: &str, config: &Config, now: Instant) -> Result<Self, InvalidSetting> {
        let zone = &config.node.zone;
        Ok(Self {
            service: service.into(),
            balancer: Balancer::new(&config.balance, &config.breaker, zone, now, fastrand::u64(..))?,
            bulkhead: Bulkhead::new(service, &config.call)?,
            budget: Budget::new(&config.call, now)?,
            counts: Counts::default(),
            watch: Watch::default(),
            known: AtomicU64::new(0),
        })
    }

    /// Brings the balancer up to date. Costs one atomic read when nothing is new.
    pub(super) fn refresh(&self, directory: &Directory, now: Instant) {
        let version = directory.version();
        if self.known.swap(version, Ordering::AcqRel) == version {
            return;
        }
        let instances = directory.instances(&self.service);
        let targets: Vec<Target> = instances.iter().flat_map(|list| list.iter()).map(|one| target(one)).collect();
        let left_out = self.balancer.update(&targets, now);
        if left_out > 0 {
            log::warn!("{left_out} instances of {} are left out: too many, or named twice", self.service);
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
