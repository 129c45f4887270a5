//! How an attempt at an endpoint ends, as the balancer sees it.

use crate::breaker::Outcome;
use std::time::Duration;

/// How one attempt at an endpoint ended: what it shows about the instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ending {
    /// An answer of the service: 2xx, or a 4xx about the question.
    Success {
        /// From the request's start to its answer.
        latency: Duration,
    },
    /// 502 of the service itself: a server behind it failed. The instance is alive.
    UpstreamFailed,
    /// 504 of the service itself: a server behind it did not answer in time, and may still. The instance is alive.
    UpstreamTimedOut,
    /// 503 or 429: the instance has no room, or drains. It is avoided for a while, and has not failed.
    NoRoom {
        /// For how long it asks to be avoided.
        retry_after: Option<Duration>,
    },
    /// Another program than the service answered at this address.
    WrongPeer,
    /// 500, or a connection that broke.
    Failed,
    /// The connection was refused, or the host is unreachable.
    Refused,
    /// No answer within the time of the attempt.
    TimedOut,
    /// The other of two copies answered first, so that this one was given up.
    Overtaken,
    /// As that, but long after an answer was to be expected: the instance may hang.
    OvertakenLate,
    /// Given up by the caller, or timed out in less time than an attempt should have: it shows nothing.
    Cancelled,
}

impl Ending {
    /// Outcome for the circuit of the endpoint.
    pub(super) fn outcome(self) -> Outcome {
        match self {
            Self::Success { latency } => Outcome::Success { latency },
            Self::UpstreamFailed | Self::UpstreamTimedOut | Self::NoRoom { .. } => Outcome::Alive,
            Self::WrongPeer => Outcome::WrongPeer,
            Self::Failed => Outcome::Failure,
            Self::Refused => Outcome::Refused,
            Self::TimedOut | Self::OvertakenLate => Outcome::Timeout,
            Self::Overtaken | Self::Cancelled => Outcome::Ignored,
        }
    }

    /// Whether the instance has answered, however badly.
    pub fn is_answer(self) -> bool {
        matches!(
            self,
            Self::Success { .. } | Self::UpstreamFailed | Self::UpstreamTimedOut | Self::NoRoom { .. } | Self::Failed
        )
    }
}
