//! Watch of the circuits that have left their normal state, so that each change is logged while a call that meets none
//! pays for one read.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use crate::balance::Endpoint;
use crate::breaker::State;
use crate::circuit;

/// The endpoints of a service whose circuits are not closed.
#[derive(Debug, Default)]
pub(super) struct Watch {
    /// Length of `open`, to be read without its lock.
    count: AtomicUsize,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    /// Each once, with the generation logged last. Not kept alive: one that discovery has lost has no news.
    endpoints: Vec<(Weak<Endpoint>, u64)>,
    budget: LogBudget,
}

/// Bounds the log where many circuits of a service open and close at once, or again and again.
#[derive(Debug, Default)]
struct LogBudget {
    /// When the minute that is counted began.
    since: Option<Instant>,
    changes: usize,
    left_out: usize,
}

impl LogBudget {
    /// A whole turn of ten circuits, open, half-open, ramping and closed, and half as much again.
    const CHANGES: usize = 60;
    const MINUTE: Duration = Duration::from_secs(60);

    /// Whether as many changes are logged, and how many were left out in a minute that is over.
    fn admit(&mut self, changes: usize, now: Instant) -> (bool, usize) {
        let is_over = self.since.is_none_or(|since| now.saturating_duration_since(since) >= Self::MINUTE);
        let left_out = if is_over { self.left_out } else { 0 };
        if is_over {
            *self = Self { since: Some(now), ..Self::default() };
        }
        let is_admitted = self.changes < Self::CHANGES;
        self.changes += changes;
        self.left_out += if is_admitted { 0 } else { changes };
        (is_admitted, left_out)
    }
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
        let mut open = self.lock();
        if !open.endpoints.iter().any(|(known, _)| std::ptr::eq(known.as_ptr(), Arc::as_ptr(endpoint))) {
            open.endpoints.push((Arc::downgrade(endpoint), generation));
        }
        self.log(open, Instant::now());
    }

    /// Logs what is new, if any circuit is not closed, and closes those whose ramp is over.
    pub(super) fn look(&self, now: Instant) {
        if self.count.load(Ordering::Relaxed) == 0 {
            return;
        }
        let open = self.lock();
        open.endpoints.iter().filter_map(|(endpoint, _)| endpoint.upgrade()).for_each(|one| one.breaker().settle(now));
        self.log(open, now);
    }

    fn log(&self, mut open: MutexGuard<'_, Open>, now: Instant) {
        let Open { endpoints, budget } = &mut *open;
        endpoints.retain_mut(|(endpoint, logged)| {
            let Some(endpoint) = endpoint.upgrade() else { return false };
            let breaker = endpoint.breaker();
            if breaker.generation() != *logged {
                *logged = log_changes(&endpoint, *logged, budget, now);
            }
            // One that moves only now is added anew by the call that moved it.
            breaker.state() != State::Closed
        });
        self.count.store(endpoints.len(), Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Logs what the circuit of `endpoint` has done since `generation`, as far as `budget` allows; returns the generation
/// it has come to.
fn log_changes(endpoint: &Endpoint, generation: u64, budget: &mut LogBudget, now: Instant) -> u64 {
    let changes = endpoint.breaker().transitions_since(generation);
    let (is_admitted, left_out) = budget.admit(changes.len(), now);
    if left_out > 0 {
        log::warn!("circuits: {left_out} more changes in a minute were not logged; /circuits shows all circuits");
    }
    match is_admitted {
        true => circuit::log_transitions(endpoint.id(), endpoint.breaker(), generation),
        false => changes.last().map_or(generation, |last| last.generation),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_of_circuits_are_logged_up_to_a_bound_in_each_minute_and_those_left_out_are_counted() {
        let (mut budget, start) = (LogBudget::default(), Instant::now());
        let admitted = |budget: &mut LogBudget, at| (0..100).filter(|_| budget.admit(1, start + at).0).count();
        assert_eq!(admitted(&mut budget, Duration::ZERO), LogBudget::CHANGES);
        assert_eq!(admitted(&mut budget, Duration::from_secs(59)), 0);
        assert_eq!(budget.admit(1, start + Duration::from_secs(60)), (true, 200 - LogBudget::CHANGES));
        assert_eq!(budget.admit(1, start + Duration::from_secs(120)), (true, 0));
    }
}
