//! Bulkhead: limits how many calls to one service are in flight at a time.
//!
//! There is no queue: in one, a caller's time would run out unseen, and the work would be done for no caller. Beyond the bound a
//! call is refused at once.

use crate::sync::{AtomicUsize, Ordering};
use std::sync::Arc;

/// A bound of calls in flight to one service. Fallbacks have one of their own, since they run when calls pile up.
#[derive(Debug)]
pub struct Bulkhead {
    name: Arc<str>,
    max: usize,
    in_flight: AtomicUsize,
}

/// Why there was no seat.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("all {max} calls that {name} may have in flight are (call.max_concurrent)")]
#[non_exhaustive]
pub struct Full {
    /// Name of the bulkhead whose seats are taken.
    pub name: Arc<str>,
    /// How many there are.
    pub max: usize,
}

impl Bulkhead {
    /// Room for `max` at a time, one at least; `name` says of what, in a refusal.
    pub fn new(name: &str, max: usize) -> Arc<Self> {
        Arc::new(Self { name: name.into(), max: max.max(1), in_flight: AtomicUsize::new(0) })
    }

    /// Takes a seat, or says at once that there is none.
    ///
    /// # Errors
    ///
    /// If all seats are taken.
    pub fn try_enter(self: &Arc<Self>) -> Result<BulkheadPermit, Full> {
        let one_more = |taken: usize| (taken < self.max).then_some(taken + 1);
        match self.in_flight.fetch_update(Ordering::AcqRel, Ordering::Relaxed, one_more) {
            Ok(_) => Ok(BulkheadPermit(Arc::clone(self))),
            Err(_) => Err(Full { name: Arc::clone(&self.name), max: self.max }),
        }
    }

    /// Seats taken.
    pub fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Seats in all.
    pub fn max(&self) -> usize {
        self.max
    }
}

/// A place among the calls in flight, free again when dropped.
#[derive(Debug)]
#[must_use = "a seat that is dropped at once bounds nothing"]
pub struct BulkheadPermit(Arc<Bulkhead>);

impl Drop for BulkheadPermit {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(all(test, bramble_loom))]
mod loom_tests {
    use super::*;
    use loom::thread;

    #[test]
    fn loom_a_bulkhead_of_one_never_holds_two_and_is_empty_after() {
        loom::model(|| {
            let bulkhead = Bulkhead::new("weather", 1);
            let inside = Arc::new(AtomicUsize::new(0));
            let visit = |bulkhead: &Arc<Bulkhead>, inside: &AtomicUsize| {
                if let Ok(_seat) = bulkhead.try_enter() {
                    assert_eq!(inside.fetch_add(1, Ordering::Relaxed), 0);
                    inside.fetch_sub(1, Ordering::Relaxed);
                }
            };
            let (one, two) = (Arc::clone(&bulkhead), Arc::clone(&inside));
            let other = thread::spawn(move || visit(&one, &two));
            visit(&bulkhead, &inside);
            other.join().expect("no panic");
            assert_eq!(bulkhead.in_flight(), 0);
        });
    }
}

#[cfg(all(test, not(bramble_loom)))]
mod tests {
    use super::*;

    #[test]
    fn one_call_more_than_there_are_seats_is_refused_by_name() {
        let bulkhead = Bulkhead::new("producer", 2);
        let seats = (bulkhead.try_enter().expect("a seat"), bulkhead.try_enter().expect("a seat"));
        let full = bulkhead.try_enter().expect_err("no seat");
        assert_eq!(full.to_string(), "all 2 calls that producer may have in flight are (call.max_concurrent)");
        drop(seats);
        assert_eq!(bulkhead.in_flight(), 0);
    }

    #[test]
    fn a_panic_leaves_its_seat() {
        let bulkhead = Bulkhead::new("producer", 1);
        let inside = Arc::clone(&bulkhead);
        let call = std::thread::spawn(move || {
            let _seat = inside.try_enter().expect("a seat");
            panic!("as a handler might");
        });
        assert!(call.join().is_err());
        assert!(bulkhead.try_enter().is_ok());
    }

    #[test]
    fn however_many_ask_at_once_no_more_get_in_than_there_are_seats() {
        let bulkhead = Bulkhead::new("producer", 10);
        let seats: Vec<_> = std::thread::scope(|scope| {
            let enter = || (0..10).filter_map(|_| bulkhead.try_enter().ok()).collect::<Vec<_>>();
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(enter)).collect();
            threads.into_iter().flat_map(|thread| thread.join().expect("no panic")).collect()
        });
        assert_eq!(seats.len(), 10);
    }
}
