//! Whether a service starts, is ready, or drains.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use event_listener::Event;

/// Where a service is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Phase {
    Starting,
    Ready,
    Draining,
}

/// Whether the service is ready, starts or drains, for `/readyz` and for answers that end when it drains.
#[derive(Debug, Default)]
pub struct Health {
    phase: AtomicU8,
    /// Notified when draining begins.
    drains: Event,
    /// Why the service is not ready although it serves, one for each [`NotReady`].
    reasons: Mutex<Vec<&'static str>>,
}

/// While there is one, `/readyz` answers 503 with its reason: [`Host::not_ready`](super::Host::not_ready).
#[must_use = "dropped, it says that the service is ready again"]
#[derive(Debug)]
pub struct NotReady {
    health: Arc<Health>,
    reason: &'static str,
}

impl NotReady {
    pub(super) fn new(health: &Arc<Health>, reason: &'static str) -> Self {
        health.reasons.lock().unwrap_or_else(PoisonError::into_inner).push(reason);
        Self { health: Arc::clone(health), reason }
    }
}

impl Drop for NotReady {
    fn drop(&mut self) {
        let mut reasons = self.health.reasons.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(place) = reasons.iter().position(|reason| *reason == self.reason) {
            reasons.remove(place);
        }
    }
}

impl Health {
    pub(super) fn set(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Release);
        if phase == Phase::Draining {
            self.drains.notify(usize::MAX);
        }
    }

    pub(super) fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Acquire) {
            0 => Phase::Starting,
            1 => Phase::Ready,
            _ => Phase::Draining,
        }
    }

    pub(super) fn reasons(&self) -> Vec<&'static str> {
        self.reasons.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether the service has begun to end: what streams without end is to end too.
    pub fn is_draining(&self) -> bool {
        self.phase() == Phase::Draining
    }

    /// Resolves when draining begins, at once if it has begun.
    pub fn drains(&self) -> impl Future<Output = ()> + Send + Sync + use<> {
        let (begins, is_draining) = (self.drains.listen(), self.is_draining());
        async move {
            if !is_draining {
                begins.await;
            }
        }
    }
}
