//! Decisions of the limiter: a permit, a ticket of the queue, or a refusal.

use std::time::{Duration, Instant};

/// A place in the queue. Later tickets are larger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub(super) u64);

/// The permit of a request that runs; to be given to [`super::Limiter::finish`] or [`super::Limiter::abandon`].
#[derive(Debug)]
#[must_use = "a permit that is not given back is lost"]
pub struct RequestPermit {
    pub(super) since: Instant,
    /// Service time up to `since`.
    pub(super) served: Duration,
    /// Processor time so far.
    pub(super) processor: Duration,
    /// Number of others that ran when it started.
    pub(super) ahead: usize,
    /// Requests that had been answered by then, in all.
    pub(super) answered: u64,
    pub(super) paused: bool,
}

impl RequestPermit {
    /// Whether the request has paused ([`super::Limiter::pause`]).
    pub fn is_paused(&self) -> bool {
        self.paused
    }
}

/// Why a request is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// The queue is as long as it may get.
    #[error("the queue of requests is full")]
    QueueFull,
    /// The request would wait too long, or has.
    #[error("requests wait too long for their turn")]
    TooSlow,
    /// The caller would no longer wait for the answer.
    #[error("the answer would come after the caller's timeout")]
    TooLate,
}

/// A refusal of one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestRefusal {
    /// Why.
    pub reason: Reason,
    /// When the caller may ask this server again.
    pub retry_after: Duration,
}

/// The decision about a request that has just arrived.
#[derive(Debug)]
pub enum Admission {
    /// The request runs now.
    Run(RequestPermit),
    /// The request waits until [`super::Limiter::call`] returns its ticket.
    Queue(Ticket),
    /// The request is not worked on.
    Refuse(RequestRefusal),
}
