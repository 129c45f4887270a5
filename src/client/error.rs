//! Why a call has no answer.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::transport::client::Error as WireError;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Discovery knows no instance that could be called.
    #[error("no {service} is available: {why}")]
    NoInstance {
        /// The service that was asked for.
        service: Arc<str>,
        /// Places to look at.
        why: String,
        /// When an instance that does not answer is probed next: it takes calls at its first answer. None: there is
        /// none.
        retry_at: Option<Instant>,
    },
    /// No instance answers, so that the circuit of the service is open.
    #[error("no {service} answers: the circuit of the service is open")]
    AllOpen {
        /// The service that was asked for.
        service: Arc<str>,
        /// When the next call is let through at the latest, if known.
        retry_at: Option<Instant>,
    },
    /// The request cannot be sent as it is.
    #[error("the request cannot be sent: {0}")]
    InvalidRequest(String),
    /// Too many calls are in flight already.
    #[error("{max} calls to {service} are in flight already, and call.max_concurrent allows no more")]
    Full {
        /// The service that was asked for.
        service: Arc<str>,
        /// How many are allowed.
        max: usize,
    },
    /// The time was over.
    #[error("no {service} answered in time")]
    DeadlineExceeded {
        /// The service that was asked for.
        service: Arc<str>,
    },
    /// Another server than the instance answered at its address, or with bytes that are no answer of the service.
    #[error("at the address of {instance} another server answers, with status {status}")]
    WrongPeer {
        /// The instance that was asked last.
        instance: Arc<str>,
        /// The status of what answered.
        status: u16,
    },
    /// The last attempt failed on the way.
    #[error("{instance} did not answer: {cause}")]
    Failed {
        /// The instance that was asked last.
        instance: Arc<str>,
        /// Error on the wire.
        cause: WireError,
    },
    /// The instance answers its own cluster only, and this process is not of it.
    #[error("{instance} answers its own cluster only: node.cluster_key_file here must name a key of that cluster")]
    Forbidden {
        /// The instance that answered.
        instance: Arc<str>,
    },
    /// The body of the answer is not the JSON that was expected.
    #[error("what {instance} answered with status {status} is not the JSON that was expected: {cause}")]
    Unreadable {
        /// The instance that answered.
        instance: Arc<str>,
        /// The status of the answer.
        status: u16,
        /// The error of the JSON parser.
        cause: serde_json::Error,
    },
}

/// How soon a call may find room where all of `[call] max_concurrent` are in flight: about as long as one of them
/// takes.
const UNTIL_THERE_IS_ROOM: Duration = Duration::from_millis(250);

impl Error {
    /// A sentence for people, without addresses, instances and settings.
    pub fn message(&self) -> String {
        match self {
            Self::NoInstance { service, .. } | Self::AllOpen { service, .. } => format!("No {service} is available."),
            Self::Full { service, .. } => format!("There are too many calls to {service} at the moment."),
            Self::DeadlineExceeded { service } => format!("No {service} answered in time."),
            Self::InvalidRequest(_) => "The request cannot be sent.".to_owned(),
            Self::WrongPeer { .. } => "Another server answered in place of the service.".to_owned(),
            Self::Failed { .. } => "The service did not answer.".to_owned(),
            Self::Forbidden { .. } => "The service refused the call.".to_owned(),
            Self::Unreadable { .. } => "The service gave an answer that cannot be read.".to_owned(),
        }
    }

    /// How long to wait from `now` on until asking again is worth it, where that is known.
    pub fn retry_after(&self, now: Instant) -> Option<Duration> {
        match self {
            Self::Full { .. } => Some(UNTIL_THERE_IS_ROOM),
            Self::AllOpen { retry_at, .. } | Self::NoInstance { retry_at, .. } => {
                retry_at.map(|at| at.saturating_duration_since(now))
            }
            _ => None,
        }
    }
}
