//! Which circuits have left their normal state, so that each change can be told in the log while a call that meets none
//! pays for one read.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Instant;

use crate::balance::Endpoint;
use crate::breaker::State;
use crate::circuit;

/// The endpoints whose circuits are not closed.
#[derive(Debug, Default)]
pub(super) struct Watch {
    /// Length of `restless`, to be read without its lock.
    count: AtomicUsize,
    /// Each once, with the generation told last. Not kept alive: one that discovery has lost has no news.
    restless: Mutex<Vec<(Weak<Endpoint>, u64)>>,
}

impl Watch {
    /// Logs what the circuit of `endpoint` has done since `generation`.
    pub(super) fn add_if_changed(&self, endpoint: &Arc<Endpoint>, generation: u64) {
        if endpoint.breaker().generation() != generation {
            self.add(endpoint, generation);
        }
    }

    /// `endpoint` has left the `generation` in which it was closed.
    fn add(&self, endpoint: &Arc<Endpoint>, generation: u64) {
        let mut restless = self.lock();
        if !restless.iter().any(|(known, _)| std::ptr::eq(known.as_ptr(), Arc::as_ptr(endpoint))) {
            restless.push((Arc::downgrade(endpoint), generation));
        }
        self.tell(restless);
    }

    /// Logs what is new, if any circuit is not closed, and closes those whose ramp is over.
    pub(super) fn look(&self, now: Instant) {
        if self.count.load(Ordering::Relaxed) == 0 {
            return;
        }
        let restless = self.lock();
        restless.iter().filter_map(|(endpoint, _)| endpoint.upgrade()).for_each(|one| one.breaker().settle(now));
        self.tell(restless);
    }

    fn tell(&self, mut restless: MutexGuard<'_, Vec<(Weak<Endpoint>, u64)>>) {
        restless.retain_mut(|(endpoint, told)| {
            let Some(endpoint) = endpoint.upgrade() else { return false };
            let breaker = endpoint.breaker();
            if breaker.generation() != *told {
                *told = circuit::log_transitions(endpoint.id(), breaker, *told);
            }
            // One that moves only now is added anew by the call that moved it.
            breaker.state() != State::Closed
        });
        self.count.store(restless.len(), Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, Vec<(Weak<Endpoint>, u64)>> {
        self.restless.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
