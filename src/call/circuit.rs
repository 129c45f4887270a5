//! The circuit of a whole service: while no instance answers, a caller learns so at once instead of after its timeout.
//!
//! It opens only when every instance's circuit is open and nothing has answered for [`SILENT_FOR`], and any proof of
//! life closes it: an answer, a health check, a new instance. While it is open, one call is let through each
//! [`OPEN_FOR`].

use crate::sync::{AtomicU64, Ordering, nanos, nanos_since, settle};
use std::time::{Duration, Instant};

/// Without an answer for so long, all instances together count as silent.
const SILENT_FOR: Duration = Duration::from_secs(3);
/// How long calls are refused before one is let through.
const OPEN_FOR: Duration = Duration::from_secs(3);

/// Refuses calls while every instance is silent.
#[derive(Debug)]
pub struct ServiceCircuit {
    epoch: Instant,
    /// When an instance last gave a proof of life.
    alive_at: AtomicU64,
    /// When the next call is let through; 0: the circuit is closed.
    open_until: AtomicU64,
    /// When it opened last.
    opened_at: AtomicU64,
    /// Changes of state so far: odd while open, once all threads have gone on.
    generation: AtomicU64,
}

impl ServiceCircuit {
    pub(super) fn new(now: Instant) -> Self {
        let zero = || AtomicU64::new(0);
        Self { epoch: now, alive_at: zero(), open_until: zero(), opened_at: zero(), generation: zero() }
    }

    /// Whether a call may be made now; if not, when the next one may be.
    pub(super) fn admit(&self, now: Instant) -> Result<(), Instant> {
        let until = self.open_until.load(Ordering::Acquire);
        let elapsed = nanos_since(self.epoch, now);
        let refused = |until| Err(self.epoch + Duration::from_nanos(until));
        if until == 0 {
            return Ok(());
        }
        if elapsed < until {
            return refused(until);
        }
        let next = elapsed.saturating_add(nanos(OPEN_FOR));
        match self.open_until.compare_exchange(until, next, Ordering::AcqRel, Ordering::Relaxed) {
            Ok(_) | Err(0) => Ok(()),
            Err(next) => refused(next),
        }
    }

    /// Takes in a proof of life; returns whether that closed the circuit.
    pub(super) fn alive(&self, now: Instant) -> bool {
        self.alive_at.fetch_max(nanos_since(self.epoch, now), Ordering::SeqCst);
        settle(); // either this thread sees the circuit open, or the one that opens it sees the proof of life
        self.open_until.load(Ordering::SeqCst) != 0 && self.close()
    }

    fn close(&self) -> bool {
        let closes = self.open_until.swap(0, Ordering::SeqCst) != 0;
        if closes {
            self.generation.fetch_add(1, Ordering::Relaxed);
        }
        closes
    }

    fn is_silent(&self, elapsed: u64) -> bool {
        elapsed.saturating_sub(self.alive_at.load(Ordering::SeqCst)) >= nanos(SILENT_FOR)
    }

    /// Opens the circuit if nothing has answered for [`SILENT_FOR`]; to be called while every instance's circuit is
    /// open. Returns whether that opened it.
    pub(super) fn all_out(&self, now: Instant) -> bool {
        let elapsed = nanos_since(self.epoch, now);
        if !self.is_silent(elapsed) {
            return false;
        }
        let until = elapsed.saturating_add(nanos(OPEN_FOR));
        if self.open_until.compare_exchange(0, until, Ordering::SeqCst, Ordering::Relaxed).is_err() {
            return false;
        }
        self.opened_at.store(elapsed, Ordering::Relaxed);
        self.generation.fetch_add(1, Ordering::Relaxed);
        settle();
        let is_open = self.is_silent(elapsed);
        if !is_open {
            self.close(); // an instance has answered meanwhile
        }
        is_open
    }

    /// Since when the circuit is open. None: it is closed.
    pub fn open_since(&self) -> Option<Instant> {
        (self.open_until.load(Ordering::Relaxed) != 0)
            .then(|| self.epoch + Duration::from_nanos(self.opened_at.load(Ordering::Relaxed)))
    }

    /// When the next call is let through at the latest. None: the circuit is closed.
    pub fn next_call(&self) -> Option<Instant> {
        match self.open_until.load(Ordering::Relaxed) {
            0 => None,
            until => Some(self.epoch + Duration::from_nanos(until)),
        }
    }

    /// Changes of state so far: compare it with the last one seen to know whether there is something to report.
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Relaxed)
    }
}

#[cfg(all(test, bramble_loom))]
mod loom_tests {
    use super::*;
    use loom::{sync::Arc, thread};

    #[test]
    fn loom_a_proof_of_life_while_the_service_circuit_opens_leaves_it_closed() {
        loom::model(|| {
            let start = Instant::now();
            let circuit = Arc::new(ServiceCircuit::new(start));
            let other = Arc::clone(&circuit);
            let now = start + SILENT_FOR;
            let thread = thread::spawn(move || other.alive(now));
            circuit.all_out(now);
            thread.join().expect("no panic");
            assert!(circuit.open_since().is_none() && circuit.admit(now).is_ok());
            assert_eq!(circuit.generation() % 2, 0, "as often closed as opened");
        });
    }

    #[test]
    fn loom_a_proof_of_life_while_an_open_service_circuit_lets_a_call_through_closes_it() {
        loom::model(|| {
            let start = Instant::now();
            let circuit = Arc::new(ServiceCircuit::new(start));
            assert!(circuit.all_out(start + SILENT_FOR));
            let other = Arc::clone(&circuit);
            let now = start + SILENT_FOR + OPEN_FOR;
            let thread = thread::spawn(move || other.alive(now));
            assert!(circuit.admit(now).is_ok(), "as the due call, or since it is closed");
            thread.join().expect("no panic");
            assert!(circuit.open_since().is_none() && circuit.generation() == 2);
        });
    }

    #[test]
    fn loom_of_two_calls_of_an_open_service_circuit_that_is_due_one_is_let_through() {
        loom::model(|| {
            let start = Instant::now();
            let circuit = Arc::new(ServiceCircuit::new(start));
            assert!(circuit.all_out(start + SILENT_FOR));
            let other = Arc::clone(&circuit);
            let now = start + SILENT_FOR + OPEN_FOR;
            let thread = thread::spawn(move || other.admit(now).is_ok());
            let mine = circuit.admit(now).is_ok();
            assert!(mine ^ thread.join().expect("no panic"));
        });
    }
}

#[cfg(all(test, not(bramble_loom)))]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn it_opens_after_three_seconds_of_silence_and_any_proof_of_life_closes_it() {
        let start = Instant::now();
        let circuit = ServiceCircuit::new(start);
        circuit.alive(start + SECOND);
        assert!(!circuit.all_out(start + SECOND * 3), "an answer two seconds ago");
        assert!(circuit.all_out(start + SECOND * 4));
        assert_eq!(circuit.admit(start + SECOND * 5), Err(start + SECOND * 7));
        assert_eq!(circuit.open_since(), Some(start + SECOND * 4));
        assert!(circuit.alive(start + SECOND * 5));
        assert!(circuit.admit(start + SECOND * 5).is_ok() && circuit.open_since().is_none());
        assert_eq!(circuit.generation(), 2);
    }

    #[test]
    fn while_it_is_open_one_call_is_let_through_every_three_seconds_and_the_time_does_not_grow() {
        let start = Instant::now();
        let circuit = ServiceCircuit::new(start);
        assert!(circuit.all_out(start + SECOND * 3));
        let admitted: Vec<u64> =
            (0..200).filter(|tenth| circuit.admit(start + SECOND * 3 + SECOND / 10 * *tenth as u32).is_ok()).collect();
        assert_eq!(admitted, [30, 60, 90, 120, 150, 180]);
    }

    #[test]
    fn it_opens_once_however_often_all_are_out() {
        let start = Instant::now();
        let circuit = ServiceCircuit::new(start);
        assert!(circuit.all_out(start + SECOND * 3));
        assert!(!circuit.all_out(start + SECOND * 4));
        assert_eq!(circuit.next_call(), Some(start + SECOND * 6));
    }
}
