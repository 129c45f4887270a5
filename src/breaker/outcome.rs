//! Input and output of a circuit breaker.

use super::State;
use std::fmt;
use std::time::{Duration, Instant};

/// How a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// An answer. If it took at least `slow_call` it counts as slow.
    Success {
        /// From the request's start to its answer.
        latency: Duration,
    },
    /// An error of the server's: 5xx, a broken connection, nonsense for an answer.
    Failure,
    /// No answer in time. A failure, and slow.
    Timeout,
    /// Answered that it has no room (429, 503): lowers the success rate, but does not count as a consecutive failure.
    Rejected {
        /// `Retry-After`: the circuit opens for that long, at most [`RETRY_AFTER_MAX`].
        retry_after: Option<Duration>,
    },
    /// The connection was refused, or the host is unreachable: the circuit opens at once.
    Refused,
    /// Answered by something else than the server that was asked for: the circuit opens at once.
    WrongPeer,
    /// The server answered, but only to say that a server behind it failed (502, 504): neither success nor failure in
    /// a closed circuit, a success of a trial call.
    Alive,
    /// Says nothing about the server (a cancelled call): gives the permit back, no more.
    Ignored,
}

/// Result of a health check of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HealthCheck {
    /// The server answered, as the one that it is meant to be.
    Alive,
    /// The server refused the connection, or its host is unreachable: an answer, of a kind, that takes no time.
    Refused,
    /// The server did not answer in time, or another program did.
    Silent,
}

/// The longest `Retry-After` that is obeyed; more is more likely a mistake than a wish.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(3600);

/// Why a circuit opened.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum TripReason {
    /// Share of the calls in the window that failed.
    FailureRate(f64),
    /// Share of the calls in the window that was slow.
    SlowRate(f64),
    /// So many calls in a row failed.
    ConsecutiveFailures(u64),
    /// A connection was refused, or the host was unreachable.
    Refused,
    /// A health check failed.
    Unreachable,
    /// Another program than the server answered at its address.
    WrongPeer,
    /// The server asked to be left alone for so long.
    RetryAfter(Duration),
    /// A trial call failed, or was slow.
    TrialCall,
}

impl TripReason {
    /// Whether the server was silent. A good health check refutes that; it does not refute failed calls.
    pub fn is_silence(self) -> bool {
        matches!(self, Self::Refused | Self::Unreachable)
    }
}

impl fmt::Display for TripReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FailureRate(rate) => write!(f, "{:.0} % of calls failed", rate * 100.0),
            Self::SlowRate(rate) => write!(f, "{:.0} % of calls were slow", rate * 100.0),
            Self::ConsecutiveFailures(count) => write!(f, "{count} consecutive failures"),
            Self::Refused => f.write_str("connection refused"),
            Self::Unreachable => f.write_str("health check failed"),
            Self::WrongPeer => f.write_str("answered by another server or cluster"),
            Self::RetryAfter(time) => write!(f, "asked to retry after {time:?}"),
            Self::TrialCall => f.write_str("trial call failed"),
        }
    }
}

/// Why a call was not admitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the circuit is {state}")]
#[non_exhaustive]
pub struct BreakerRefusal {
    /// The state that refused.
    pub state: State,
    /// When the next call may be admitted, where that is known: for an open circuit.
    pub retry_at: Option<Instant>,
}

/// A change of state.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct Transition {
    /// The state before.
    pub from: State,
    /// The state after.
    pub to: State,
    /// Why, if `to` is open.
    pub reason: Option<TripReason>,
    /// When the first trial call may be made, if `to` is open.
    pub next_probe: Option<Instant>,
    /// When it happened.
    pub at: Instant,
    /// Number of the change, counted from 1.
    pub generation: u64,
}

/// A move by hand that makes no sense.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a circuit cannot be set {to} by hand; it can be closed, forced-open, disabled or metrics-only")]
#[non_exhaustive]
pub struct IllegalMove {
    /// The state asked for.
    pub to: State,
}

/// State and statistics of a circuit at one moment.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct BreakerSnapshot {
    /// The state.
    pub state: State,
    /// Since when.
    pub since: Instant,
    /// Changes of state so far.
    pub generation: u64,
    /// Why it opened last. None: it never did.
    pub reason: Option<TripReason>,
    /// When the first trial call may be made. None unless open, and while health checks fail.
    pub next_probe: Option<Instant>,
    /// Calls in the window.
    pub calls: u64,
    /// Failures among them.
    pub failures: u64,
    /// Slow ones among them.
    pub slow: u64,
    /// Share of failures. None: too few calls to know.
    pub failure_rate: Option<f64>,
    /// Share of slow calls. None: too few calls to know.
    pub slow_rate: Option<f64>,
    /// Failures since the last success.
    pub consecutive_failures: u64,
    /// How long the circuit opened last, without jitter; as long as it has not fully recovered, twice that comes next.
    pub open_for: Option<Duration>,
    /// Share of its usual load that it should get: grows while ramping, 1 when closed, 0 when open or half-open.
    pub ramp_share: f64,
    /// Trial calls in flight.
    pub probes: u32,
}
