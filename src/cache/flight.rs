//! Many people ask the same question at the same moment, and one answer serves them all.
//!
//! A flight is one fetch under way. It belongs to nobody who waits for it: a caller that gives up takes nothing down.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use event_listener::Event;
use futures_lite::future;

use super::{Entry, Failure, Missed, Shared};

/// How a fetch ended, as each who waited gets it.
pub(super) type Outcome<V, E> = Result<Entry<V>, Missed<E>>;

/// Fetches under way, by question.
pub(super) type Flights<V, E> = HashMap<Arc<str>, Arc<Flight<V, E>>>;

/// One fetch under way, or just over.
pub(super) struct Flight<V, E> {
    outcome: OnceLock<Outcome<V, E>>,
    landed: Event,
}

impl<V: Clone, E: Clone> Flight<V, E> {
    pub(super) fn new() -> Self {
        Self { outcome: OnceLock::new(), landed: Event::new() }
    }

    /// The first outcome counts, and wakes all who wait.
    fn land(&self, outcome: Outcome<V, E>) {
        let _ = self.outcome.set(outcome);
        self.landed.notify(usize::MAX);
    }

    /// The outcome, or [`Missed::Late`] if there is none by `deadline`.
    pub(super) async fn wait(&self, deadline: Instant) -> Outcome<V, E> {
        loop {
            if let Some(outcome) = self.outcome.get() {
                return outcome.clone();
            }
            let landed = self.landed.listen();
            if self.outcome.get().is_some() {
                continue;
            }
            let late = async {
                async_io::Timer::at(deadline).await;
                true
            };
            let landed = async {
                landed.await;
                false
            };
            if future::or(landed, late).await {
                return self.outcome.get().cloned().unwrap_or(Err(Missed::Late));
            }
        }
    }
}

/// Ends a flight however its task ends: landed, panicked, or dropped with the executor.
pub(super) struct Landing<V: Clone, E: Failure> {
    pub(super) shared: Arc<Shared<V, E>>,
    pub(super) key: Arc<str>,
    pub(super) flight: Arc<Flight<V, E>>,
}

impl<V: Clone, E: Failure> Landing<V, E> {
    pub(super) fn land(self, outcome: Outcome<V, E>) {
        self.flight.land(outcome);
    }
}

impl<V: Clone, E: Failure> Drop for Landing<V, E> {
    fn drop(&mut self) {
        self.shared.flights().remove(&self.key);
        self.flight.land(Err(Missed::Lost));
    }
}
