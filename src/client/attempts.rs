//! Records of the attempts at each endpoint, and values that would else be worked out for each call to it; they lie
//! beside the balancer, by the same identity: an endpoint that leaves the list takes its record along, one that stays
//! keeps it.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Instant;

use crate::balance::{ENDPOINTS_MAX, Target};
use crate::telemetry::record::Attempts;
use crate::transport::client::Server;

/// Id and address, as in the balancer.
type Identity = (Box<str>, SocketAddr);

/// Sorted by identity, each once; replaced as a whole.
type Table = Arc<[(Identity, Arc<Notes>)]>;

/// Of one endpoint.
#[derive(Debug)]
pub(super) struct Notes {
    /// The attempts at it.
    pub(super) attempts: Attempts,
    /// Where it is asked.
    pub(super) server: Server,
    /// The [`Instance::epoch`](crate::discovery::Instance::epoch) that the balancer has; [`NEW`] at first.
    epoch: AtomicU64,
}

/// Of an endpoint that has just come, so that its circuit is closed anyway.
const NEW: u64 = u64::MAX;

impl Notes {
    pub(super) fn new(address: SocketAddr, now: Instant) -> Self {
        Self { attempts: Attempts::new(now), server: Server::new(address), epoch: AtomicU64::new(NEW) }
    }

    /// Takes in the epoch of the instance, and returns whether it was lost and found again since.
    pub(super) fn is_found_again(&self, epoch: u32) -> bool {
        let old = self.epoch.swap(epoch.into(), Ordering::Relaxed);
        old != NEW && old != u64::from(epoch)
    }
}

/// The attempts at every endpoint of a service.
#[derive(Debug, Default)]
pub(super) struct AllAttempts {
    /// Locked to take the pointer out or to put another in, never for longer.
    table: RwLock<Table>,
}

impl AllAttempts {
    /// Takes in a new list. One at a time.
    pub(super) fn update(&self, targets: &[Target], now: Instant) {
        let old = self.table();
        let mut identities: Vec<Identity> =
            targets.iter().map(|target| (target.id.as_str().into(), target.address)).collect();
        identities.sort_unstable();
        identities.dedup();
        identities.truncate(ENDPOINTS_MAX);
        let new = identities.into_iter().map(|identity| {
            let known = find(&old, &identity.0, identity.1);
            let address = identity.1;
            (identity, known.unwrap_or_else(|| Arc::new(Notes::new(address, now))))
        });
        let new: Table = new.collect();
        *self.table.write().unwrap_or_else(PoisonError::into_inner) = new;
    }

    /// Record of one endpoint; None if it is not in the list.
    pub(super) fn at(&self, id: &str, address: SocketAddr) -> Option<Arc<Notes>> {
        find(&self.table(), id, address)
    }

    fn table(&self) -> Table {
        Arc::clone(&self.table.read().unwrap_or_else(PoisonError::into_inner))
    }
}

fn find(table: &Table, id: &str, address: SocketAddr) -> Option<Arc<Notes>> {
    let place = table.binary_search_by(|((its, at), _)| (&**its, at).cmp(&(id, &address))).ok()?;
    table.get(place).map(|(_, notes)| Arc::clone(notes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::Event;

    fn target(id: &str, port: u16) -> Target {
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        Target { id: id.to_owned(), address, weight: 1, zone: String::new(), draining: false }
    }

    #[test]
    fn an_endpoint_that_stays_in_the_list_keeps_its_record_and_one_that_returns_begins_anew() {
        let (all, now) = (AllAttempts::default(), Instant::now());
        let (a, b, moved) = (target("a", 1), target("b", 1), target("b", 2));
        let at = |target: &Target| all.at(&target.id, target.address);
        let count = |target: &Target| at(target).map(|notes| notes.attempts.statistics(now).total[Event::Success]);

        all.update(&[b.clone(), a.clone(), b.clone()], now);
        for target in [&a, &b] {
            at(target).expect("in the list").attempts.ended(Event::Success, None, now);
        }
        all.update(&[a.clone(), moved.clone()], now);
        assert_eq!([count(&a), count(&b), count(&moved)], [Some(1), None, Some(0)]);
        all.update(&[a.clone(), b.clone()], now);
        assert_eq!([count(&a), count(&b)], [Some(1), Some(0)]);
    }
}
