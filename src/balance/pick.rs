//! Result of a choice: an endpoint with the permission to call it, or the reason why there is none.

use super::ending::Ending;
use super::endpoint::{Busy, Endpoint};
use crate::breaker::Permit;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Why there is no endpoint to call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NoPick {
    /// None is known, or all are draining.
    #[error("no endpoint is known")]
    Empty,
    /// Each has been tried for this call.
    #[error("every endpoint has been tried")]
    AllTried,
    /// The endpoints that were not tried have no room.
    #[error("no endpoint has room")]
    NoRoom,
    /// The endpoints that were not tried are silent: not worth a second attempt.
    #[error("no other endpoint answers")]
    AllOut,
    /// The circuits of those that are left were forced open by hand.
    #[error("every endpoint's circuit is forced open")]
    ForcedOpen,
}

/// An endpoint chosen for one call, with the permit of its circuit. Dropped without [`finish`](Self::finish) it gives
/// back both, and the call is not recorded.
#[derive(Debug)]
#[must_use = "a pick that is dropped at once calls no endpoint"]
pub struct Pick {
    pub(super) permit: Permit<Busy>,
    pub(super) started: Instant,
    pub(super) weight: u32,
}

impl Pick {
    /// The endpoint to call.
    pub fn endpoint(&self) -> &Arc<Endpoint> {
        self.permit.holder().endpoint()
    }

    /// How long this call is expected to take behind the others at its endpoint; zero if there are none.
    pub(crate) fn expected(&self, now: Instant) -> Duration {
        self.endpoint().expected(self.weight, now)
    }

    /// Whether the endpoint's circuit refused, and it was picked since there is no better one.
    pub fn is_forced(&self) -> bool {
        self.permit.is_forced()
    }

    /// Whether the call is the trial call of a half-open circuit.
    pub fn is_trial(&self) -> bool {
        self.permit.is_trial()
    }

    /// Records how the call ended, for the balancer and the circuit.
    pub fn finish(self, ending: Ending, now: Instant) {
        let was_out = self.permit.is_trial() || self.permit.is_forced();
        self.permit.holder().learn(ending, self.started, was_out, now);
        self.permit.record(ending.outcome(), now);
    }
}
